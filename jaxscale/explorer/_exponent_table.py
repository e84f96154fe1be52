"""Exponents of the shown curves in a window, and of their theory; and the lowest value."""

import dataclasses
from typing import Any

import numpy as np
import xarray
from jaxtyping import Float

from jaxscale.analysis._exponents import fit_exponent
from jaxscale.analysis._intervals import standard_error, student
from jaxscale.explorer._page import escaped, html_table
from jaxscale.explorer._sweep import SEED, Curves, Sweep, View, Window, inside_of

ROUNDED = 100.0  # squares of rounding errors: below them, a loss of squares is flat


def tables(
    sweep: Sweep,
    view: View,
    curves: Curves,
    theory: Float[np.ndarray, "p c x"] | None,
    window: Window | None,
) -> str:
    """Tables under the curves of a view."""
    first = lowest(view, curves, sweep) if view.x in sweep.grid.axes else ""
    dtype = sweep.runs[view.observable].dtype
    return first + exponent_table(view, curves, theory, window, dtype)


def exponent_table(
    view: View,
    curves: Curves,
    theory: Float[np.ndarray, "p c x"] | None,
    window: Window | None,
    dtype: Any = "float32",
) -> str:
    """Table of fitted exponents with their intervals, beside those of theory in the same window.

    `dtype` is that of the runs.

    Intervals are Student's t over seeds, of two seeds or more; of one there is none, for points of
    a curve are not independent.
    """
    if curves.ticks or view.x == SEED or window is None:
        return ""
    rounded = ROUNDED * float(np.finfo(dtype).eps) ** 2
    rows = []
    for i, panel in enumerate(curves.panel_labels):
        for k, label in enumerate(curves.labels):
            formula = None if theory is None else theory[i, k]
            fitted = _row(curves.x, curves.values[i, k], formula, window, rounded)
            where = f"{view.panel} {panel}" if view.panel else ""
            which = f"{view.color} {label}" if view.color else view.observable
            cells = [where, which, *fitted]
            rows.append("".join(f"<td>{escaped(c)}</td>" for c in cells))
    head = ("", "", "exponent", "95 % interval", "theory", "")
    title = f"Exponents in {view.x} from {window[0]:g} to {window[1]:g}"
    title += ": mean of each seed's slope, Student's t over seeds"
    return html_table(title, [f"<tr>{row}</tr>" for row in rows], head)


def _row(x: Any, values: Any, formula: Any, window: Window, rounded: float) -> list[str]:
    """Exponent, interval, that of theory, and whether they agree."""
    curve = xarray.DataArray(values, {SEED: np.arange(len(values)), "x": x}, (SEED, "x"))
    if len(values) == 1:
        curve = curve.isel({SEED: 0}, drop=True)
    try:
        fit = fit_exponent(curve, "x", window)
    except ValueError as error:
        return [str(error).replace("`", "").replace("curve", "the curve", 1), "", "", ""]
    slopes = fit.per_seed[np.isfinite(fit.per_seed)]
    is_same = len(values) > 1 and np.array_equal(values, values[:1].repeat(len(values), 0), True)
    error = 0.0 if is_same else standard_error(slopes)  # slopes have rounding errors of their own
    low, high = dataclasses.astuple(student(slopes, fit.level))[:2] if slopes.size > 1 else (
        np.nan, np.nan)  # fmt: skip
    ends = f"{low:.4g} to {high:.4g}" if error > 0 else "equal seeds" if error == 0 else "one seed"
    row = [f"{fit.value:.4g}", ends]
    lowest_share = float(np.nanmin(values[:, inside_of(x, window)]) / np.nanmax(values))
    if formula is None:
        return [*row, "", ""]
    inside = inside_of(x, window) & (formula > 0) & np.isfinite(values).any(axis=0)  # as the fit
    if inside.sum() < 2:
        return [*row, "no value in the window", ""]
    slope = float(np.polyfit(np.log(x[inside]), np.log(formula[inside]), 1)[0])
    if lowest_share < rounded:
        why = f"down to {lowest_share:.0e} of the largest: flattened by rounding, narrow the window"
        return [*row, f"{slope:.4g}", why]
    if not error > 0:
        return [*row, f"{slope:.4g}", ""]
    verdict = "inside the interval" if low <= slope <= high else "outside the interval"
    far = abs(slope - fit.value) / error
    return [*row, f"{slope:.4g}", f"{verdict}, {far:.1f} standard errors"]


def lowest(view: View, curves: Curves, sweep: Sweep) -> str:
    """At which value of the x axis the mean of each curve is lowest, and how surely."""
    labels = sweep.labels(view.x, sweep.ordered(view.x))
    lines = []
    for i, panel in enumerate(curves.panel_labels):
        for k, label in enumerate(curves.labels):
            mean, values = curves.mean[i, k], curves.values[i, k]
            order = np.argsort(np.where(np.isfinite(mean), mean, np.inf))
            best, second = order[0], order[min(1, len(order) - 1)]
            if not np.isfinite(mean[best]):
                continue
            what = " ".join([view.panel, panel, view.color, label]).strip()
            error = _standard_error(values[:, best])
            text = f"{view.x} = {labels[best]}: {mean[best]:.4g}"
            text += f" ± {error:.2g} (standard error)" if np.isfinite(error) else ""
            if second != best and np.isfinite(mean[second]):
                text += f"; next {labels[second]}: {mean[second]:.4g}"
                # runs of one seed share their draws: the difference is taken seed by seed
                error = _standard_error(values[:, second] - values[:, best])
                gap = mean[second] - mean[best]
                text += (
                    f", {gap / error:.1f} standard errors apart, seed by seed" if error > 0 else ""
                )
            lines.append(f"<tr><td>{escaped(what)}</td><td>{escaped(text)}</td></tr>")
    return html_table(f"Lowest {view.observable}", lines) if lines else ""


def _standard_error(values: Float[np.ndarray, " s"]) -> float:
    """Of the mean over the seeds that count; NaN for fewer than two."""
    return standard_error(values[np.isfinite(values)])
