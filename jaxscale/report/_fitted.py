"""Figures of a fit: data, the fitted theory with its band, and measured over fitted."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._convert import require_instance
from jaxscale._text import counted
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import as_numbers
from jaxscale.analysis._fit_text import n_failed
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._prediction import band_of
from jaxscale.report._figures import (
    GREY,
    MAX_CURVES,
    OKABE_ITO,
    SMALL_POINTS,
    drawable,
    label_ends,
    literal,
    log_axis,
    new_figure,
    not_drawn,
    spans_decades,
)
from jaxscale.report._legend import add_legend, widen

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

N_LOCATIONS = 200


def fit_figure(
    fit: Calibration, table: "pandas.DataFrame", columns: Mapping[str, str] | None = None
) -> "matplotlib.figure.Figure":
    """Draw a fitted formula over its data.

    With one input: points, the curve and its 95 % band, by the refits or, without any, from the
    covariance, one colour per value of `each`. With several: measured over fitted against each
    input. The columns of `table` have the names of the formula; `columns` is the map that the fit
    was given, for arguments with a default. The title counts what is infinite, undefined or beyond
    the axes, which is not drawn.

    **Raises** `ValueError` for the calibration of a grid, which `js.plot` draws.
    """
    require_instance("fit", fit, Calibration, "js.calibrate")
    formula = fit.theory
    if not isinstance(formula, Formula):
        raise ValueError("`fit` must be of a Formula; `js.plot(runs, fit.predict())` draws a grid.")
    inputs = formula.columns(columns or {}, table)
    measured = [formula.result, *(n for n in inputs if n not in formula.labels)]
    table = as_numbers(table, measured).dropna(subset=measured)
    used: Any = table[np.isfinite(drawable(table[measured])).all(axis=1)]
    hidden = Counter({"point": len(table) - len(used)})
    groups: list[Any] = [(None, used)]
    if fit.each is not None:
        groups = [(label, used[used[fit.each] == label]) for label in fit.labels]
    drawn = [(i, *group) for i, group in enumerate(groups) if len(group[1])][:MAX_CURVES]
    hidden["fit"] = len(groups) - len(drawn)
    if len(inputs) > 1:
        return _ratios(fit, formula, drawn, inputs, hidden)
    figure, grid = new_figure(1, size=(6.2, 4.0))
    _curves(fit, formula, drawn, inputs[0], hidden, grid[0, 0])
    return figure


def _curves(
    fit: Calibration,
    formula: Formula,
    groups: list[Any],
    x: str,
    hidden: Counter[str],
    axes: "matplotlib.axes.Axes",
) -> None:
    """Points, curve and band of each group over the only input `x`."""
    table = [group for _, _, group in groups]
    across = np.concatenate([np.empty(0), *(t[x] for t in table)])
    heights = np.concatenate([np.empty(0), *(t[formula.result] for t in table)])
    log_x = spans_decades(across)
    log_y = bool(log_x and heights.min() > 0)
    ends = []
    for i, name, group in groups:
        color = OKABE_ITO[i % len(OKABE_ITO)]
        axes.plot(group[x], group[formula.result], color=color, **SMALL_POINTS)
        spaced = np.geomspace if spans_decades(group[x].to_numpy(float)) else np.linspace
        locations = spaced(group[x].min(), group[x].max(), N_LOCATIONS)
        curve, low, high = _band(fit, formula, i, {x: locations})
        curve, low, high = drawable(curve, log=log_y), drawable(low), drawable(high)
        shown = np.isfinite(curve)
        hidden["curve"] += not shown.all()
        hidden["band"] += not np.isfinite(low + high).all()
        axes.plot(locations, curve, color=color, lw=1.4)
        axes.fill_between(locations, low, high, color=color, alpha=0.2, lw=0)
        if fit.each is not None:
            end = np.flatnonzero(shown)[-1:]
            last = group.iloc[-1]
            at = (locations[end[0]], curve[end[0]]) if len(end) else (last[x], last[formula.result])
            ends.append((float(at[0]), float(at[1]), f"{fit.each} {name}", color))
    if log_x:
        log_axis(axes, "x")
    if log_y:
        log_axis(axes, "y")
    label_ends(axes, ends)
    axes.set_xlabel(x)
    axes.set_ylabel(formula.result)
    title = f"{formula.name}: points, fit and its 95 % band{_said(fit, hidden)}"
    axes.set_title(title, fontsize=9)


def _said(fit: Calibration, hidden: Counter[str]) -> str:
    """The line of a title on what is not drawn, and on fits that did not converge."""
    said = not_drawn([counted(n, what) for what, n in hidden.items() if n])
    failed = n_failed(fit)
    lost = f"{counted(failed, 'fit')} did not converge" if failed else ""
    return said + ("; " if said and lost else "\n" if lost else "") + lost


def _fitted(fit: Calibration, i: int) -> dict[str, float]:
    return {name: float(np.atleast_1d(v)[i]) for name, v in fit.values.items()}


def _at(formula: Formula, values: dict[str, float], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The formula with these values of its free parameters; NaN if it refuses them."""
    try:
        return formula.replaced(values).predicted(**inputs)[formula.result].to_numpy()
    except ValueError:  # values that overflowed, or that lie at the end of their interval
        return np.full(len(next(iter(inputs.values()))), np.nan)


def _band(
    fit: Calibration, formula: Formula, i: int, inputs: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fitted curve and its 95 % interval, NaN where the fit has none."""
    curve = _at(formula, _fitted(fit, i), inputs)
    low = high = np.full_like(curve, np.nan)
    with warnings.catch_warnings():  # of NumPy, for curves that overflow
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.suppress(ValueError):  # as in `_at`
            if np.isfinite(curve).any():
                low, high = band_of(fit, formula, i, inputs)
    return curve, low, high


def _ratios(
    fit: Calibration, formula: Formula, groups: list[Any], inputs: list[str], hidden: Counter[str]
) -> "matplotlib.figure.Figure":
    """Measured over fitted values against each input."""
    figure, grid = new_figure(len(inputs))
    ratios = {}
    for i, _, group in groups:
        at = {n: group[n].to_numpy() for n in inputs}
        with np.errstate(all="ignore"):
            ratio = group[formula.result].to_numpy(float) / _at(formula, _fitted(fit, i), at)
        ratios[i] = drawable(ratio)
        hidden["point"] += int(np.isnan(ratios[i]).sum())
    for axes, name in zip(grid[0], inputs, strict=True):
        for i, label, group in groups:
            color = OKABE_ITO[i % len(OKABE_ITO)]
            axes.plot(group[name], ratios[i], color=color, **SMALL_POINTS,
                      label=f"{fit.each} {literal(label)}")  # fmt: skip
        axes.axhline(1.0, **GREY)
        shown = [g[name][np.isfinite(ratios[i])] for i, _, g in groups]
        if name not in formula.labels and spans_decades(np.concatenate([np.empty(0), *shown])):
            log_axis(axes, "x")
        axes.set_xlabel(name)
        axes.set_ylabel(f"measured {formula.result} / fitted")
    grid[0, 0].set_title(_said(fit, hidden).strip(), fontsize=9)
    if fit.each is not None:
        handles = grid[0, -1].get_legend_handles_labels()[0]
        widen(figure, add_legend(grid[0, -1], handles, ""))
    return figure
