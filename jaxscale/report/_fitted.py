"""Figures of a fit: data, the fitted theory with its band, and measured over fitted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._formula import Formula
from jaxscale.report._figures import (
    MAX_CURVES,
    OKABE_ITO,
    label_ends,
    log_axis,
    new_figure,
    spans_decades,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

N_DRAWS, N_PLACES = 200, 200


def fit_figure(
    fit: Calibration, table: "pandas.DataFrame", columns: Mapping[str, str] | None = None
) -> "matplotlib.figure.Figure":
    """Draw a fitted formula over its data.

    With one input: points, the curve and its 95 % band from the covariance, one colour per value of
    `each`. With several: measured over fitted against each input. The columns of `table` have the
    names of the formula; `columns` is the map that the fit was given, for arguments with a default.

    **Raises** `ValueError` for the calibration of a grid, which `js.plot` draws.
    """
    formula = fit.theory
    if not isinstance(formula, Formula):
        raise ValueError("`fit` must be of a Formula; `js.plot(runs, fit.predict())` draws a grid.")
    inputs = formula.columns(columns or {}, table)
    table = table.dropna(subset=[formula.result, *inputs])
    groups: list[Any] = [(None, table)]
    if fit.each is not None:
        groups = [(label, table[table[fit.each] == label]) for label in fit.labels]
    if len(inputs) > 1:
        return _ratios(fit, formula, groups, inputs)
    figure, grid = new_figure(1, size=(6.2, 4.0))
    axes, x, ends = grid[0, 0], inputs[0], []
    for i, (name, group) in enumerate(groups[:MAX_CURVES]):
        color = OKABE_ITO[i % len(OKABE_ITO)]
        axes.plot(group[x], group[formula.result], "o", ms=3.5, color=color, mew=0, alpha=0.8)
        spaced = np.geomspace if spans_decades(group[x].to_numpy(float)) else np.linspace
        places = spaced(group[x].min(), group[x].max(), N_PLACES)
        curve, low, high = _band(fit, formula, i, {x: places})
        axes.plot(places, curve, color=color, lw=1.4)
        axes.fill_between(places, low, high, color=color, alpha=0.2, lw=0)
        if fit.each is not None:
            ends.append((float(places[-1]), float(curve[-1]), f"{fit.each} {name}", color))
    if spans_decades(table[x].to_numpy(float)):
        log_axis(axes, "x")
        if table[formula.result].to_numpy(float).min() > 0:
            log_axis(axes, "y")
    label_ends(axes, ends)
    axes.set_xlabel(x)
    axes.set_ylabel(formula.result)
    axes.set_title(f"{formula.name}: points, fit and its 95 % band", fontsize=9)
    return figure


def _fitted(fit: Calibration, i: int) -> dict[str, float]:
    return {name: float(np.atleast_1d(v)[i]) for name, v in fit.values.items()}


def _at(formula: Formula, values: dict[str, float], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The formula with these values of its free parameters, at `inputs`."""
    return formula.replaced(values).predicted(**inputs)[formula.result].to_numpy()


def _band(
    fit: Calibration, formula: Formula, i: int, inputs: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fitted curve, and the 95 % band of curves drawn from the covariance."""
    curve = _at(formula, _fitted(fit, i), inputs)
    if not fit.has_covariance(i):
        return curve, curve, curve
    try:
        curves = np.stack([_at(formula, drawn, inputs) for drawn in fit.draws(N_DRAWS, i)])
    except ValueError:  # the theory refuses values that overflow: there is no band
        return curve, curve, curve
    low, high = np.nanquantile(curves, [0.025, 0.975], axis=0)
    return curve, low, high


def _ratios(
    fit: Calibration, formula: Formula, groups: list[Any], inputs: list[str]
) -> "matplotlib.figure.Figure":
    """Measured over fitted values against each input."""
    figure, grid = new_figure(len(inputs))
    for axes, name in zip(grid[0], inputs, strict=True):
        for i, (label, group) in enumerate(groups[:MAX_CURVES]):
            at = {n: group[n].to_numpy(float) for n in inputs}
            ratio = group[formula.result].to_numpy(float) / _at(formula, _fitted(fit, i), at)
            color = OKABE_ITO[i % len(OKABE_ITO)]
            axes.plot(group[name], ratio, "o", ms=3.5, color=color, mew=0, alpha=0.8,
                      label=f"{fit.each} {label}")  # fmt: skip
        axes.axhline(1.0, color="#444444", lw=1.0)
        if spans_decades(np.concatenate([g[name].to_numpy(float) for _, g in groups])):
            log_axis(axes, "x")
        axes.set_xlabel(name)
        axes.set_ylabel(f"measured {formula.result} / fitted")
    if fit.each is not None:
        grid[0, -1].legend(fontsize=8)
    return figure
