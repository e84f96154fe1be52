"""A fitted theory of a grid, with intervals of the observables that were fitted."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._prediction import draws_of, ends_of

if TYPE_CHECKING:
    import xarray


def predicted_grid(fit: Any, theory: GridTheory, level: float) -> "xarray.Dataset":
    """The Dataset that `Calibration.predict` returns for a grid; `fit` is the calibration."""
    check_level(level)
    values = {name: np.atleast_1d(v) for name, v in fit.values.items()}
    rows = [{name: v[i] for name, v in values.items()} for i in range(len(fit.labels) or 1)]
    tables = [_one(fit, theory.replaced(row), i, level) for i, row in enumerate(rows)]
    table = tables[0] if fit.each is None else theory.joined(tables, fit.each, fit.labels)
    numbers = [f"{name} = {rows[0][name]:.4g}" for name in values]
    fitted = numbers if fit.each is None else [f"{name} for each {fit.each}" for name in values]
    for observable in table.data_vars.values():  # what legends say
        observable.attrs["calibrated"] = ", ".join(fitted)
    return table


def _one(fit: Any, theory: GridTheory, i: int, level: float) -> "xarray.Dataset":
    """Prediction of the fit number `i` of `each`."""
    table, drawn, ends = theory.predicted(), draws_of(fit, i), {}
    for name in fit.residual:
        shape = np.shape(table[name])
        low = high = np.full(shape, np.nan)
        if drawn is not None:
            curves = theory.curves(name, drawn)
            low, high = (x.reshape(shape) for x in ends_of(fit, i, name, curves, level))
        ends |= {f"{name}_low": (table[name].dims, low), f"{name}_high": (table[name].dims, high)}
    return table.assign(ends)
