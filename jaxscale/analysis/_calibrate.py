"""`calibrate`: parameters of a theory fitted to curves by gradient, with their uncertainty."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxscale._text import choices
from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._calibration import Calibration, Start
from jaxscale.analysis._data import Data
from jaxscale.analysis._diagnostics import (
    SCALED,
    at_bounds,
    check_bootstrap,
    check_count,
    check_result,
    huber_delta,
    poorly_constrained,
    warn_few_groups,
    warn_of,
    warn_spread,
)
from jaxscale.analysis._expansion import DataSets, Expansion, FitProblem
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._information import (
    check_places,
    warn_constant,
    warn_single_inputs,
    warn_zero_inputs,
)
from jaxscale.analysis._levenberg import CONVERGED
from jaxscale.analysis.bounds import AbstractBound, default_bound
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual, Huber, Log, Scaled, Squared
from jaxscale.sweep._grid import Grid


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
    Where values spread widely over seeds, the mean of logarithms lies below the logarithm of the
    mean, which is what theory predicts: take `residual=Scaled()`, or fit `runs.mean("seed")`.
    Runs that ended badly are left out, as in `compare`.

    **Arguments**

    - `theory`: a grid, whose system's `predict` is fitted, or a `Formula`.
    - `data`: a Dataset on the grid's dimensions, or a selection of it, such as
      `runs.sel(skill=[1])`; for a grid also a table with a column for each dimension; for a
      formula any table: a Dataset, a DataFrame or the path of a file.
    - `free`: what to fit: float fields of the grid's system (none of them an axis), or parameters
      of the formula. They start from the values they have.
    - `columns`: our names to those of the table, such as `{"step": "iteration"}`.
    - `observables`: which to use; by default the loss where theory predicts it, else the first that
      it predicts. Several observables of one run repeat each other: their errors are too small.
    - `each`: a dimension or column, usually `"seed"`, along which separate fits are made.
    - `residual`: `Log()` or `Scaled()` for every observable.
    - `loss`: `Squared()`, or `Huber(delta)` against outliers.
    - `bounds`: by name; by default `Positive()` for what starts above zero, else `Unbounded()`.
    - `n_starts`: fits from different starts; 1 starts from the given values alone.
    - `bootstrap`: number of resamples that are fitted again, from the optimum; 40 or more.
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
    _check(free, n_starts)
    check_bootstrap(bootstrap)
    if resample is not None and not bootstrap:
        raise ValueError(f"`bootstrap` must be given with `resample`, got resample={resample!r}.")
    if loss is not None and not isinstance(loss, AbstractLoss):
        raise ValueError(f"`loss` must be Squared() or Huber(delta), got {loss!r}.")
    source = GridTheory(theory) if isinstance(theory, Grid) else theory
    if not isinstance(source, GridTheory | Formula):
        raise ValueError(f"`theory` must be a Grid or a Formula, got {theory!r}.")
    with jax.enable_x64(True):
        fitted, data_sets = source.observe(data, free, columns, observables, each, resample)
    kinds = _residuals(data_sets, residual)
    limits = _bounds(free, data_sets.start, {**data_sets.bounds, **(bounds or {})})
    points, scales, n_left_out = _scaled_data(data_sets, kinds)
    if isinstance(source, GridTheory):
        logs = {n: v for n, v in data_sets.data.items() if isinstance(kinds[n], Log)}
        warn_spread({n: v.swapaxes(0, 1) if each == "seed" else v for n, v in logs.items()})
    with jax.enable_x64(True):
        problem = FitProblem(data_sets.theory, limits, kinds, scales, loss or Squared())
        start = zip(limits, data_sets.start, strict=True)
        z = np.asarray([float(bound.unconstrain(np.asarray(value))) for bound, value in start])
        n_lanes = len(points.target) * max(n_starts, bootstrap)
        points, n_stated, n_dropped = _stated(Expansion(problem, points, n_lanes), z)
        expand = Expansion(problem, points, n_lanes)
        check_places(points, free, data_sets.labels)
        warn_constant(data_sets.data, points.weight, free)
        scattered = least_squares.candidates(limits, z) if n_starts > 1 else z[None]
        result = least_squares.fit(expand, z, scattered, n_starts)
        ended = at_bounds(limits, result.z)
        check_result(result, free, z, n_stated, ended, data_sets.labels)
        resamples = None
        if bootstrap:
            warn_few_groups(data_sets.n_groups)
            again, status = least_squares.refit(expand, result.z, bootstrap, jax.random.key(key))
            resamples = np.where(status[..., None] == CONVERGED, again, np.nan)
        delta = np.full(len(result.z), np.nan)
        if not isinstance(problem.loss, Huber):
            delta = huber_delta(expand.residuals(result.z))
    warn_of(result, free, limits, ended, data_sets.labels)
    warn_single_inputs(data_sets.inputs, bool(ended.any()) or poorly_constrained(result))
    pick: Any = slice(None) if each else 0
    return Calibration(
        theory=fitted,
        free=tuple(free),
        bounds=limits,
        coordinates=result.z[pick],
        covariance=result.covariance[pick],
        huber_delta=delta[pick],
        residual_rms=result.rms[pick],
        converged=((result.status == CONVERGED) & ~result.blind.any(axis=-1))[pick],
        condition=result.condition[pick],
        n_points=result.n_points.round().astype(int)[pick],
        n_left_out=n_left_out + n_dropped,
        starts=Start(result.start_z[pick], result.start_cost[pick], result.start_status[pick]),
        resamples=None if resamples is None else resamples[pick],
        each=each,
        labels=data_sets.labels,
    )


def _check(free: Sequence[str], n_starts: int) -> None:
    if isinstance(free, str) or not free:
        raise ValueError(f"`free` must be a sequence of names, got {free!r}.")
    if len(set(free)) < len(free):
        raise ValueError(f"`free` must name distinct parameters, got {list(free)!r}.")
    check_count("n_starts", n_starts, 1)
    if n_starts > least_squares.CANDIDATES:
        raise ValueError(f"`n_starts` must be at most {least_squares.CANDIDATES}, got {n_starts}.")


def _residuals(data: FitData, residual: AbstractResidual | None) -> dict[str, Any]:
    if residual is not None and not isinstance(residual, AbstractResidual):
        raise ValueError(f"`residual` must be Log() or Scaled(), got {residual!r}.")
    by_sign = {n: Scaled() if n in data.signed else Log() for n in data.data}
    return by_sign if residual is None else dict.fromkeys(data.data, residual)


def _bounds(
    free: Sequence[str], start: np.ndarray, bounds: Mapping[str, AbstractBound]
) -> tuple[AbstractBound, ...]:
    for name, bound in bounds.items():
        if name not in free:
            hint = choices(name, free)
            raise ValueError(f"`bounds` must be of free parameters, got {name!r}{hint}")
        if not isinstance(bound, AbstractBound):
            raise ValueError(f"`bounds` of {name} must be a bound, got {bound!r}.")
    named = dict(zip(free, start.tolist(), strict=True))
    limits = tuple(bounds.get(name, default_bound(value)) for name, value in named.items())
    for (name, value), bound in zip(named.items(), limits, strict=True):
        if not bound.contains(value):
            raise ValueError(f"`{name}` must start inside {bound!r}, got {value:g}.")
    return limits


def _scaled_data(
    data: FitData, kinds: Mapping[str, AbstractResidual]
) -> tuple[DataSets, dict[str, Any], int]:
    """Put data on the scale of their residuals; return also their units and how many have none."""
    target, weight, units, n_left_out = [], [], {}, data.n_left_out
    for name, values in sorted(data.data.items()):
        usable = kinds[name].usable(values)
        missing = int(np.sum(~np.isnan(values) & ~usable))
        if missing and usable.any():
            warnings.warn(
                f"{missing} values of {name} are not positive (or infinite) and have no logarithm: "
                f"left out ({SCALED} compares what is finite)",
                stacklevel=3,
            )
        n_left_out += missing
        units[name] = np.asarray(kinds[name].unit(values[usable]))
        scaled = kinds[name].scaled(np.where(usable, values, 1.0))
        target.append(np.where(usable, scaled, 0.0) / units[name])
        weight.append(usable.astype(float))
    target, weight = np.concatenate(target, axis=-1), np.concatenate(weight, axis=-1)
    if n_left_out and not weight.any():
        blank = data.n_left_out
        reasons = {
            "blank, of failed runs or below rounding": blank,
            f"not positive (or infinite); {SCALED} takes both signs": n_left_out - blank,
        }
        listed = " and ".join(f"{n} are {why}" for why, n in reasons.items() if n)
        raise ValueError(f"`data` has no value of {', '.join(sorted(data.data))} to fit: {listed}.")
    points = DataSets(data.inputs, target, weight, data.groups, data.n_groups)
    return points, units, n_left_out


def _stated(expand: Expansion, z: np.ndarray) -> tuple[DataSets, int, int]:
    """Drop points at which theory makes no statement at the start.

    NaN is no statement, nor is infinity where an input is zero, such as step 0 of a power law. A
    theory that is zero, negative or infinite elsewhere states something that has no residual: a bad
    start, which is refused. Returns the data sets, how many values theory states, and how many
    points were dropped.
    """
    theory, scaled = expand.theory_at(z)
    before = expand.data.weight
    at_zero = warn_zero_inputs(expand.data.inputs, theory, before)
    stated = ~np.isnan(theory) & ~at_zero
    weight = np.where(stated[:, None], before, 0.0)
    n_bad = int(np.sum((weight > 0) & ~np.isfinite(scaled)[:, None]))
    if n_bad:
        raise ValueError(
            f"`theory` is zero, negative or infinite at {n_bad} points for the values it "
            f"starts from: start elsewhere, or compare as it is with {SCALED}."
        )
    n_dropped = int(np.sum((before > 0) & (weight == 0)))
    return dataclasses.replace(expand.data, weight=weight), int(stated.sum()), n_dropped
