"""Residuals of a fit: against the fitted value and every input, and their quantiles."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from jaxscale._arguments import hinted
from jaxscale._convert import require_instance
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._formula import Formula
from jaxscale.report._figures import (
    GREY,
    MAX_CURVES,
    OKABE_ITO,
    SMALL_POINTS,
    literal,
    log_axis,
    new_figure,
    spans_decades,
)
from jaxscale.report._legend import add_legend, widen

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


@hinted
def residuals_figure(fit: Calibration) -> "matplotlib.figure.Figure":
    """Draw what a fitted formula leaves: residuals should show no trend and be normal.

    Residuals are data less theory on the scale that was fitted (`fit.residuals` with the other
    sign), against the fitted value and each input; the last panel has their quantiles, in units of
    their rms, against those of a normal law. One colour per value of `each`; points without a
    residual are not drawn.

    **Arguments:** `fit`, of a formula or a form.

    **Returns:** a figure with one panel per input and two more.

    **Raises** `ValueError` for the calibration of a grid, and for anything else.
    """
    require_instance("fit", fit, Calibration, "js.calibrate")
    formula = fit.theory
    if not isinstance(formula, Formula):
        raise ValueError("`fit` must be of a Formula; `js.plot(runs, fit.predict())` draws a grid.")
    n_sets = len(fit.labels) or 1
    residuals = -np.asarray(fit.residuals, float).reshape(n_sets, -1)
    inputs = {n: np.asarray(x, float).reshape(n_sets, -1) for n, x in fit.inputs.items()}
    panels = {f"fitted {formula.result}": _fitted(fit, formula, inputs), **inputs}
    figure, grid = new_figure(len(panels) + 1)
    for axes, (name, x) in zip(grid[0], panels.items(), strict=False):
        for i in range(min(n_sets, MAX_CURVES)):
            axes.plot(x[i], residuals[i], color=OKABE_ITO[i], label=_label(fit, i), **SMALL_POINTS)
        axes.axhline(0.0, **GREY)
        shown = x[np.isfinite(x) & np.isfinite(residuals)]
        if name in formula.labels:
            texts = [literal(label) for label in formula.labels[name]]
            axes.set_xticks(range(len(texts)), texts, rotation=90 if len(texts) > MAX_CURVES else 0)
        elif spans_decades(shown):
            log_axis(axes, "x")
        axes.set_xlabel(name)
        axes.set_ylabel("residual, measured less fitted")
    _quantiles(grid[0, -1], residuals, fit)
    if fit.each is not None:
        handles = grid[0, 0].get_legend_handles_labels()[0]
        widen(figure, add_legend(grid[0, 0], handles, ""))
    return figure


def _label(fit: Calibration, i: int) -> str:
    return f"{fit.each} {literal(fit.labels[i])}" if fit.each is not None else ""


def _fitted(
    fit: Calibration, formula: Formula, inputs: dict[str, Float[np.ndarray, "n t"]]
) -> Float[np.ndarray, "n t"]:
    """The formula at its points, by data set."""
    rows = []
    for i in range(len(fit.labels) or 1):
        values = {name: float(np.atleast_1d(v)[i]) for name, v in fit.values.items()}
        with jax.enable_x64(True):
            rows.append(np.asarray(formula.evaluated(values, {n: x[i] for n, x in inputs.items()})))
    return np.stack(rows)


def _quantiles(
    axes: "matplotlib.axes.Axes", residuals: Float[np.ndarray, "n t"], fit: Calibration
) -> None:
    """Sorted residuals against the normal quantiles of their ranks, (i - 1/2) / n."""
    from scipy.special import ndtri

    ends = [0.0, 0.0]
    for i, own in enumerate(residuals[:MAX_CURVES]):
        own = np.sort(own[np.isfinite(own)])
        rms = np.sqrt(np.mean(own**2)) if own.size else 0.0
        if rms > 0:
            normal = ndtri((np.arange(own.size) + 0.5) / own.size)
            axes.plot(normal, own / rms, color=OKABE_ITO[i], label=_label(fit, i), **SMALL_POINTS)
            ends = [min(ends[0], float(normal[0])), max(ends[1], float(normal[-1]))]
    axes.plot(ends, ends, **GREY)
    axes.set_xlabel("normal quantile")
    axes.set_ylabel("residual / rms, measured less fitted")
