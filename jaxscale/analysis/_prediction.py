"""A fitted formula at new inputs: its interval, that of a new measurement, and how far it is."""

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from jaxscale._text import choices
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._intervals import check_level, decades_outside
from jaxscale.analysis._new_value import ends_of_new
from jaxscale.analysis.residuals import Log

if TYPE_CHECKING:
    import pandas

N_DRAWS = 400  # from a covariance


def predicted(
    fit: Any, formula: Formula, inputs: Mapping[str, Any], level: float
) -> "pandas.DataFrame":
    """The table that `Calibration.predict` returns for a formula; `fit` is the calibration."""
    check_level(level)
    inputs = _columns(fit, formula, inputs)
    values = fit.values
    if fit.each is None:
        return _one(fit, formula, 0, values, inputs, level)
    rows = [{n: values[n][i] for n in fit.free} for i in range(len(fit.labels))]
    tables = [_one(fit, formula, i, row, inputs, level) for i, row in enumerate(rows)]
    return formula.joined(tables, fit.each, fit.labels)


def _columns(fit: Any, formula: Formula, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs as vectors of one length; refuse others with a `ValueError`."""
    for name in fit.inputs:
        if name not in inputs:
            raise ValueError(f"`{name}` must be given: the fit has a column of it.")
    for name in inputs:
        if name not in fit.inputs:
            own = inspect.signature(formula.function).parameters.get(name)
            took = formula.values.get(name, own.default if own else inspect.Parameter.empty)
            none = took is inspect.Parameter.empty
            hint = choices(name, fit.inputs) if none else f", which took {took!r}."
            raise ValueError(f"`{name}` is not an input of the fit{hint}")
    vectors = {n: np.atleast_1d(np.asarray(x)) for n, x in inputs.items()}
    for name, vector in vectors.items():
        if name not in formula.labels and vector.dtype.kind not in "iufb":
            raise ValueError(f"`{name}` must hold numbers, got {inputs[name]!r}.")
    try:
        return dict(zip(vectors, np.broadcast_arrays(*vectors.values()), strict=True))
    except ValueError:
        sizes = ", ".join(f"{n} {x.shape}" for n, x in vectors.items())
        raise ValueError(f"`inputs` must have shapes that broadcast, got {sizes}.") from None


def _one(
    fit: Any,
    formula: Formula,
    i: int,
    values: Mapping[str, float],
    inputs: Mapping[str, Any],
    level: float,
) -> "pandas.DataFrame":
    """Prediction of the fit number `i` of `each`."""
    table = formula.replaced(values).predicted(**inputs)
    columns = formula.coded({n: table[n].to_numpy() for n in inputs})
    result, size = formula.result, len(table)
    ends = {k: np.full((2, size), np.nan) for k in (result, "new")}
    curves = _curves(fit, formula, i, columns, size)
    if curves is not None and size:
        ends[result] = ends_of(fit, i, result, curves, level)
        ends["new"] = ends_of_new(fit, i, table[result].to_numpy(float), ends[result], level)
    named = {f"{k}_{end}": v[j] for k, v in ends.items() for j, end in enumerate(("low", "high"))}
    sizes = {n: x for n, x in columns.items() if n not in formula.labels}
    return table.assign(**named, decades_outside=_outside(fit, i, sizes))


def band_of(
    fit: Any,
    formula: Formula,
    i: int,
    x: Mapping[str, Float[np.ndarray, " k"]],
    level: float = 0.95,
) -> Float[np.ndarray, "2 k"]:
    """Ends of the interval of the curve of the fit number `i` of `each`; NaN without one."""
    size = len(next(iter(x.values())))
    curves = _curves(fit, formula, i, formula.coded(x), size)
    return (
        np.full((2, size), np.nan)
        if curves is None
        else ends_of(fit, i, formula.result, curves, level)
    )


def _curves(
    fit: Any, formula: Formula, i: int, columns: Mapping[str, Any], size: int
) -> Float[np.ndarray, "b k"] | None:
    """The formula at the values of every refit or draw; None without either."""
    drawn = draws_of(fit, i)
    if drawn is None:
        return None
    with jax.enable_x64(True):
        curves = np.asarray(jax.vmap(lambda v: formula.evaluated(v, columns))(drawn))
    return np.broadcast_to(curves, (len(curves), size))


def draws_of(fit: Any, i: int) -> "dict[str, Float[np.ndarray, ' b']] | None":
    """Refitted values, or some drawn from the covariance, of one data set; None without either."""
    if fit.drawn is not None:
        return {n: np.atleast_2d(v)[i] for n, v in fit.refits.items()}
    if not fit.has_covariance(i):
        return None
    rows = fit.draws(N_DRAWS, i)
    return {n: np.asarray([row[n] for row in rows]) for n in fit.free}


def ends_of(
    fit: Any, i: int, name: str, curves: Float[np.ndarray, "b *k"], level: float
) -> Float[np.ndarray, "2 *k"]:
    """Ends of the values of the observable `name` by every refit or draw, of one data set."""
    if fit.drawn is not None:
        positive = isinstance(fit.residual[name], Log)
        with np.errstate(divide="ignore"):
            values = np.log(np.maximum(curves, 0.0)) if positive else curves
        ends = np.stack(fit.drawn.of_set(i).ends(values, level))
        return np.exp(ends) if positive else ends
    with np.errstate(invalid="ignore"), warnings.catch_warnings():  # draws far out are infinite
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # where theory says nothing
        return np.nanquantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _outside(fit: Any, i: int, columns: Mapping[str, np.ndarray]) -> Float[np.ndarray, " k"]:
    """Largest distance of an input from those that were fitted, in decades."""
    most = np.zeros(np.broadcast_shapes(*(np.shape(x) for x in columns.values())))
    for name, x in columns.items():
        own = np.atleast_2d(fit.inputs[name])[i]
        low, high = (float(f(own[own > 0], initial=e)) for f, e in ((np.min, np.inf), (np.max, 0)))
        most = np.maximum(most, decades_outside(x, low, high))
    return most
