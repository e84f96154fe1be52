"""`calibrate`: parameters of a theory fitted to curves by gradient, with their uncertainty."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxscale.analysis import least_squares
from jaxscale.analysis.bounds import AbstractBound, default_bound
from jaxscale.analysis.calibration import Calibration, Start
from jaxscale.analysis.formula import Formula
from jaxscale.analysis.gridded import GridTheory
from jaxscale.analysis.levenberg import CONVERGED, Points, Problem
from jaxscale.analysis.observed import Observed
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual, Log, Scaled, Squared
from jaxscale.analysis.tables import Data
from jaxscale.analysis.warned import (
    check_count,
    check_points,
    edges,
    tell_edges,
    tell_failed,
    tell_few,
    tell_indistinct,
)
from jaxscale.sweep.grid import Grid


def calibrate(
    theory: Grid | Formula,
    data: Data,
    free: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    observables: Sequence[str] | None = None,
    each: str | None = None,
    residual: AbstractResidual | None = None,
    loss: AbstractLoss | None = None,
    bounds: Mapping[str, AbstractBound] | None = None,
    n_starts: int = 4,
    bootstrap: int = 0,
    resample: str | None = None,
    key: int = 0,
) -> Calibration:
    r"""Fit parameters of a theory to curves, simulated or one's own, by least squares.

    $$\hat\theta = \arg\min_\theta \sum_i \rho(r_i), \qquad
      r_i = \ln y_\theta(x_i) - \ln y_i$$

    with `rho` a square by default. Observables that take both signs (skill strengths) are compared
    as they are, in units of their root mean square. The points are chosen at the starting values,
    where a NaN of the theory means that it makes no statement; values at which it is undefined at a
    chosen point are refused on the way. Parameters move on the real line behind their `bounds`. The
    starts are the given values and the best `n_starts - 1` of 64 scattered candidates per
    parameter, all of them fitted; the best fit is returned, and what became of each is in `starts`.

    The covariance `s^2 (J^T J)^-1` treats the points as independent: along one training curve they
    are not. Over seeds prefer the spread of `each="seed"`, or `bootstrap` with `resample="seed"`.

    **Arguments**

    - `theory`: a grid, whose system's `predict` is fitted, or a `Formula`.
    - `data`: a Dataset on the grid's dimensions, or a selection of it, such as
      `runs.sel(skill=[1])`; for a grid also a table with a column for each dimension; for a
      formula any table: a Dataset, a DataFrame or the path of a CSV file.
    - `free`: what to fit: float fields of the grid's system (none of them an axis), or parameters
      of the formula. They start from the values they have.
    - `columns`: our names to those of the table, such as `{"step": "iteration"}`.
    - `observables`: which to use; by default the loss where theory predicts it, else the first that
      it predicts. Several observables of one run repeat each other: their errors are too small.
    - `each`: a dimension or column, usually `"seed"`, along which separate fits are made (in one
      program).
    - `residual`: `Log()` or `Scaled()` for every observable.
    - `loss`: `Squared()`, or `Huber(delta)` against outliers.
    - `bounds`: by name; by default `Positive()` for what starts above zero, else `Unbounded()`.
    - `n_starts`: fits from different starts; 1 starts from the given values alone.
    - `bootstrap`: number of resamples that are fitted again, from the optimum.
    - `resample`: the dimension or column whose values are drawn with replacement; by default the
      points themselves.
    - `key`: of the resamples.

    **Returns** a `Calibration`.

    **Raises** `ValueError` for what cannot be fitted, or when there is nothing to compare.

    >>> import jaxscale as js
    >>> import pandas
    >>> curve = pandas.DataFrame({"n": [1.0, 10.0, 100.0], "loss": [2.0, 0.5, 0.125]})
    >>> law = js.Formula(lambda n, a, b: a * n**-b, {"a": 1.0, "b": 1.0})
    >>> fit = js.calibrate(law, curve, ["a", "b"])
    >>> round(float(fit.values["b"]), 3)
    0.602
    """
    _check_free(free)
    _check_counts(n_starts, bootstrap)
    if resample is not None and not bootstrap:
        raise ValueError(f"`bootstrap` must be given with `resample`, got resample={resample!r}.")
    if loss is not None and not isinstance(loss, AbstractLoss):
        raise ValueError(f"`loss` must be Squared() or Huber(delta), got {loss!r}.")
    known, observed = _observed(theory, data, free, columns, observables, each, resample)
    kinds = _residuals(observed, residual)
    limits = _bounds(free, observed.start, {**observed.bounds, **(bounds or {})})
    points, units, n_left_out = _points(observed, kinds)
    with jax.enable_x64(True):
        problem = Problem(observed.theory, limits, kinds, units, loss or Squared())
        start = zip(limits, jnp.asarray(observed.start), strict=True)
        z = np.asarray([bound.coordinate(value) for bound, value in start])
        n_usable = _n_weighted(points)
        points, n_stated, n_bad = _stated(problem, z, points)
        if n_bad:
            raise ValueError(
                f"`theory` is zero, negative or infinite at {int(n_bad)} points for the values it "
                "starts from: start elsewhere, or compare as it is with residual=Scaled()."
            )
        n_left_out += n_usable - _n_weighted(points)
        scattered = least_squares.candidates(limits, z) if n_starts > 1 else z[None]
        found = least_squares.fit(problem, z, scattered, n_starts, points)
        found = jax.tree.map(np.asarray, found)
        edge = edges(limits, found.z)
        check_points(found, free, z, n_stated, edge, observed.labels)
        resamples = None
        if bootstrap:
            tell_few(observed.n_units)
            again, status = least_squares.refit(
                problem, found.z, points, observed.units, observed.n_units, bootstrap,
                jax.random.key(key),
            )  # fmt: skip
            lost = np.asarray(status)[..., None] != CONVERGED
            resamples = np.where(lost, np.nan, np.asarray(again))
    tell_failed(found, observed.labels)
    tell_edges(free, limits, edge)
    tell_indistinct(found, free, edge)
    pick: Any = slice(None) if each else 0
    return Calibration(
        theory=known,
        free=tuple(free),
        bounds=limits,
        coordinates=found.z[pick],
        covariance=found.covariance[pick],
        residual_rms=found.rms[pick],
        converged=((found.status == CONVERGED) & ~found.blind.any(axis=-1))[pick],
        condition=found.condition[pick],
        n_points=found.n_points.round().astype(int)[pick],
        n_left_out=n_left_out,
        starts=Start(found.start_z[pick], found.start_cost[pick], found.start_status[pick]),
        resamples=None if resamples is None else resamples[pick],
        each=each,
        labels=observed.labels,
    )


def _check_free(free: Sequence[str]) -> None:
    if isinstance(free, str) or not free:
        raise ValueError(f"`free` must be a sequence of names, got {free!r}.")
    if len(set(free)) < len(free):
        raise ValueError(f"`free` must name distinct parameters, got {list(free)!r}.")


def _check_counts(n_starts: int, bootstrap: int) -> None:
    check_count("n_starts", n_starts, 1)
    check_count("bootstrap", bootstrap, 0)
    if n_starts > least_squares.CANDIDATES:
        raise ValueError(f"`n_starts` must be at most {least_squares.CANDIDATES}, got {n_starts}.")


def _observed(
    theory: Grid | Formula, data: Data, free: Sequence[str], *options: Any
) -> tuple[GridTheory | Formula, Observed]:
    with jax.enable_x64(True):
        if isinstance(theory, Formula):
            return theory.observe(data, free, *options)
        if isinstance(theory, Grid):
            return GridTheory(theory).observe(data, free, *options)
    raise ValueError(f"`theory` must be a Grid or a Formula, got {theory!r}.")


def _residuals(observed: Observed, residual: AbstractResidual | None) -> dict[str, Any]:
    if residual is not None and not isinstance(residual, AbstractResidual):
        raise ValueError(f"`residual` must be Log() or Scaled(), got {residual!r}.")
    by_sign = {n: Scaled() if n in observed.signed else Log() for n in observed.data}
    return by_sign if residual is None else dict.fromkeys(observed.data, residual)


def _bounds(
    free: Sequence[str], start: np.ndarray, bounds: Mapping[str, AbstractBound]
) -> tuple[AbstractBound, ...]:
    for name, bound in bounds.items():
        if name not in free:
            raise ValueError(f"`bounds` must be of free parameters {list(free)}, got {name!r}.")
        if not isinstance(bound, AbstractBound):
            raise ValueError(f"`bounds` of {name} must be a bound, got {bound!r}.")
    named = dict(zip(free, start.tolist(), strict=True))
    found = tuple(bounds.get(name, default_bound(value)) for name, value in named.items())
    for (name, value), bound in zip(named.items(), found, strict=True):
        if not bound.contains(value):
            raise ValueError(f"`{name}` must start inside {bound!r}, got {value:g}.")
    return found


def _points(
    observed: Observed, kinds: Mapping[str, AbstractResidual]
) -> tuple[Points, dict[str, Any], int]:
    """Data on the scale of their residuals, the units of those, and how many have none."""
    target, weight, units, left_out = {}, {}, {}, 0
    for name, values in observed.data.items():
        usable = kinds[name].usable(values)
        missing = int(np.sum(~np.isnan(values) & ~usable))
        if missing and usable.any():
            warnings.warn(
                f"{missing} values of {name} are not positive (or infinite) and have no logarithm: "
                "left out (`residual=Scaled()` compares what is finite)",
                stacklevel=3,
            )
        left_out += missing
        units[name] = np.asarray(kinds[name].unit(values[usable]))
        with jax.enable_x64(True):
            scaled = np.asarray(kinds[name].scaled(jnp.asarray(np.where(usable, values, 1.0))))
        target[name] = np.where(usable, scaled, 0.0) / units[name]
        weight[name] = usable.astype(float)
    return Points(observed.inputs, target, weight), units, left_out


@eqx.filter_jit
def _stated(problem: Problem, z: Any, points: Points) -> tuple[Points, Any, Any]:
    """Points at which theory makes a statement at the start, values that it states, and bad ones.

    NaN is no statement. A theory that is zero, negative or infinite states something that has no
    residual: a bad start.
    """

    def one(points: Points) -> tuple[dict[str, Any], Any, Any]:
        raw = problem.theory(problem.values(z), points.inputs)
        stated = {n: ~jnp.isnan(v).ravel() for n, v in raw.items()}
        finite = {n: jnp.isfinite(v).ravel() for n, v in problem.scaled(z, points.inputs).items()}
        weight = {n: w * stated[n].astype(w.dtype) for n, w in points.weight.items()}
        bad = [jnp.sum((weight[n] > 0) & ~finite[n]) for n in weight]
        return weight, sum(jnp.sum(s) for s in stated.values()), sum(bad)

    weight, n_stated, n_bad = jax.lax.map(one, points)
    return Points(points.inputs, points.target, weight), jnp.sum(n_stated), jnp.sum(n_bad)


def _n_weighted(points: Points) -> int:
    return int(sum(np.sum(np.asarray(w) > 0) for w in points.weight.values()))
