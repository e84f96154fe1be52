"""`calibrate`: parameters of a theory fitted to curves by gradient, with their uncertainty."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxscale._arguments import hinted
from jaxscale._linalg import one_blas_thread
from jaxscale._warn import warn_user
from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._calibration import Calibration, Start
from jaxscale.analysis._compared import (
    bounds_of,
    only_observable,
    residuals_of,
    scaled_data,
    stated_points,
)
from jaxscale.analysis._data import Data, check_columns, check_names, read_data
from jaxscale.analysis._diagnostics import (
    as_key,
    check_bootstrap,
    check_count,
    check_result,
    half_variance,
    huber_delta,
    poorly_constrained,
    warn_bias,
    warn_huber,
    warn_logarithms,
    warn_of,
    warn_spread,
    warn_undetermined,
)
from jaxscale.analysis._enough import check_floors, check_points, short_groups, withheld
from jaxscale.analysis._expansion import Expansion, FitProblem, of_sets
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._form import Parameter
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory, check_runs_of
from jaxscale.analysis._grouped import Grouped, with_groups
from jaxscale.analysis._information import warn_constant, warn_single_inputs
from jaxscale.analysis._levenberg import CONVERGED
from jaxscale.analysis._refits import refitted
from jaxscale.analysis._resamples import FEW_GROUPS, N_RESAMPLES, POINTS, Resamples
from jaxscale.analysis._starts import form_starts
from jaxscale.analysis.bounds import AbstractBound, NotNegative
from jaxscale.analysis.residuals import (
    AbstractLoss,
    AbstractResidual,
    AdaptiveHuber,
    Huber,
    Log,
    LogMean,
    Squared,
)
from jaxscale.keys import root_key
from jaxscale.sweep._grid import Grid

STARTS, FORM_STARTS = 4, 16
ADAPTATIONS = 30  # of the delta of an adaptive loss, at most
SETTLED = 3e-3  # relative change of a delta that stays
SEED = "seed"
SAME = 1e-6  # spread of a coordinate over resamples that is rounding


@hinted
def calibrate(
    theory: Grid | Formula | Grouped | Callable[..., Any],
    data: Data,
    free: Sequence[str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    observables: Sequence[str] | None = None,
    each: str | None = None,
    weights: str | None = None,
    residual: AbstractResidual | None = None,
    loss: AbstractLoss | None = None,
    bounds: Mapping[str, AbstractBound] | None = None,
    n_starts: int | None = None,
    bootstrap: int | None = None,
    resample: str | None = None,
    key: int = 0,
) -> Calibration:
    r"""Fit parameters of a theory to curves, simulated or one's own, by least squares.

    $$\hat\theta = \arg\min_\theta \sum_i w_i \rho(r_i), \qquad
      r_i = \ln y_\theta(x_i) - \ln y_i$$

    with `rho` a square by default. Observables that take both signs (skill strengths) are compared
    as they are, in units of their root mean square. The points are chosen at the starting values,
    where a NaN of the theory means that it makes no statement; values at which it is undefined at a
    chosen point are refused on the way. Parameters move on the real line behind their `bounds`. The
    starts are the given values and the best of 64 scattered candidates per parameter, or what a
    form of `js.forms` finds by itself; the best fit is returned, and what became of each is in
    `starts`.

    **Intervals** are percentiles of refits where something was resampled. Points along one training
    curve are not independent, so runs with five seeds or more are resampled by seed unless you say
    otherwise. Without resamples the covariance `s^2 (J^T J)^-1` takes the points for independent.
    A positive parameter whose logarithm has a standard error above 10 is not constrained, and a
    warning says so, although the solver converged.
    Where values spread widely over seeds, the mean of logarithms lies below the logarithm of the
    mean, which is what theory predicts: take `residual=LogMean()`.
    Runs that ended badly are left out, as in `compare`.

    **Arguments**

    - `theory`: a grid, whose system's `predict` is fitted, a `Formula`, a form of `js.forms`, or
      one that is `grouped`.
    - `data`: a Dataset on the grid's dimensions, or a selection of it, such as
      `runs.sel(skill=[1])`; for a grid also a table with a column for each dimension; for a
      formula any table: a Dataset, a DataFrame or the path of a file.
    - `free`: what to fit: float fields of the grid's system (none of them an axis), or parameters
      of the formula. They start from the values they have. Of a form by default all parameters
      that have no value.
    - `columns`: our names to those of the table, such as `{"step": "iteration"}`.
    - `observables`: which to use; by default the loss where theory predicts it, else the first that
      it predicts. Several observables of one run repeat each other: their errors are too small.
    - `each`: a dimension or column, usually `"seed"`, along which separate fits are made.
    - `weights`: column of a formula's table: weights of its points, such as one over their squared
      errors; only their ratios count, and `residual_rms` is that of weighted residuals.
    - `residual`: `Log()`, `LogMean()` or `Scaled()` for every observable.
    - `loss`: `Squared()`, or `Huber(delta)` against outliers; by default that of the form.
    - `bounds`: by name; by default `Positive()` for what starts above zero, else `Unbounded()`.
    - `n_starts`: fits from different starts, by default 4, of a form 16; 1 starts from the given
      values alone.
    - `bootstrap`: number of resamples that are fitted again, from the optimum; 40 or more. By
      default 200 of a form, where `resample` or the seeds of runs say what to resample, and where a
      Huber loss has no covariance; else none.
    - `resample`: the dimension or column whose values are drawn with replacement, or `"points"`; by
      default `"seed"` for runs with five seeds or more, else the points.
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
    check_columns(columns)
    aside = {"each": each, "weights": weights, "resample": resample}
    check_names(**{argument: name for argument, name in aside.items() if name is not None})
    key = as_key(key)
    data = read_data(data)
    source = _source(theory, data, columns, each)
    if isinstance(source, GridTheory) and columns is None:
        check_runs_of(source, data, free or (), each)
    form = source.form
    if free is None:
        if form is None:
            raise ValueError("`free` must name what to fit, got None: only a form knows.")
        free = source.unset
        if not free:
            name = form.function.__name__
            raise ValueError(f"`free` must name what to fit: every parameter of {name} has "
                             "a value; leave one out, or name it in `free`.")  # fmt: skip
    n_starts = (FORM_STARTS if form else STARTS) if n_starts is None else n_starts
    _check(free, n_starts)
    if loss is not None and not isinstance(loss, AbstractLoss):
        raise ValueError(f"`loss` must be Squared() or Huber(delta), got {loss!r}.")
    loss = loss or (form.loss if form else Squared())
    curved = form is not None or type(loss) is not Squared
    of, n_resamples = _resampled(_n_seeds(data, columns), each, curved, bootstrap, resample)
    drawn = None if of == POINTS else of
    with jax.enable_x64(True):
        fitted, data_sets = source.observe(
            data, free, columns, observables, each, drawn if n_resamples else None, weights
        )
    pick: Any = slice(None) if each else 0
    kinds = residuals_of(data_sets, residual, loss)
    parameters = [form.parameters[n] for n in free] if form else []
    limits = bounds_of(free, data_sets, parameters, bounds or {}, source.unset)
    warned = False
    if isinstance(source, GridTheory):
        logs = {n: v for n, v in data_sets.data.items() if type(kinds[n]) is Log}
        is_apart = each == "seed"
        warned = warn_spread(
            {n: v.swapaxes(0, 1) if is_apart else v for n, v in logs.items()}, is_apart
        )
    else:
        fixed = {n: v for n, v in source.values.items() if n not in free}
        check_floors(form, fixed, data_sets)
    points, scales, n_left_out = scaled_data(data_sets, kinds)
    if isinstance(source, Formula):
        check_points(source.form, free, data_sets, points)
    with jax.enable_x64(True), one_blas_thread():  # products of many small matrices
        n_lanes = len(points.target) * max(n_starts, n_resamples)

        def expansion(loss: AbstractLoss) -> Expansion:
            problem = FitProblem(data_sets.theory, limits, kinds, scales, loss)
            return Expansion(problem, points, n_lanes)

        expand = expansion(loss)
        starts, n_given = _starts(expand, source, free, parameters, data_sets)
        z = starts[0, 0 if n_given else least_squares.costs(expand, starts[:1]).argmin()]
        points, n_stated, n_dropped = stated_points(expand, z, source)
        if isinstance(source, Formula) and n_dropped:
            check_points(source.form, free, data_sets, points)
        silent = warn_constant(data_sets.data, points.weight, free)
        loss, expand, result = _solved(expansion, loss, starts, n_starts, n_given)
        check_result(result, free, z, n_stated, data_sets.labels)
        drawn = None
        if n_resamples:
            again, shares = refitted(expand, result, starts, n_resamples, root_key(key))
            numbers = np.sum(expand.points_by_group > 0, axis=1)
            short = short_groups(form, free, data_sets, points, of)
            reasons = withheld(result, limits, silent, short)
            groups = None if of == POINTS else points.groups
            broken = of == POINTS and any(p.within for p in parameters)
            spent = len(free) if broken else 1
            drawn = Resamples(again, of, numbers, shares, reasons, groups, spent)
            drawn = drawn if each else drawn.of_set(0)
            if of == SEED and drawn.spread < SAME:
                drawn = None  # all seeds are equal
            else:
                drawn.warn()
        residuals = expand.residuals(result.z)
        moved = None
        if isinstance(source, GridTheory) and not (each or warned):
            moved = expand.moved_by(result.z, _half_variance(data_sets, kinds, residuals))[0]
        takes_huber = not (isinstance(loss, Huber) or isinstance(residual, LogMean))
        hinted = huber_delta(residuals) if takes_huber else [np.nan]
        delta = np.resize(hinted, len(result.z))
    if isinstance(source, Formula):
        if isinstance(kinds[source.result], Log):
            warn_logarithms(source.result, residuals, isinstance(loss, Squared))
        elif isinstance(loss, Huber):
            warn_huber(source.result, residuals, points.target, np.asarray(loss.delta))
    warn_of(result, free, limits, data_sets.labels, resampled=drawn is not None)
    unsure = bool(result.ended.any()) or poorly_constrained(result)
    warn_single_inputs(data_sets.inputs, unsure)
    floors = [isinstance(bound, NotNegative) for bound in limits]
    z = np.where(result.ended & floors, -np.inf, result.z)
    calibration = Calibration(
        theory=fitted,
        free=tuple(free),
        bounds=limits,
        coordinates=z[pick],
        covariance=result.covariance[pick],
        residuals=residuals[pick],
        residual=kinds,
        units={name: unit[pick] for name, unit in scales.items()},
        loss=loss if each else _plain_loss(of_sets(loss, 0)),
        objective=result.cost[pick],
        residual_rms=result.rms[pick],
        huber_delta=delta[pick],
        converged=((result.status == CONVERGED) & ~(result.blind & ~result.ended).any(axis=-1))[
            pick
        ],
        condition=result.condition[pick],
        n_points=result.n_points[pick],
        n_left_out=n_left_out + n_dropped,
        starts=Start(result.start_z[pick], result.start_cost[pick], result.start_status[pick]),
        drawn=drawn,
        each=each,
        labels=data_sets.labels,
        inputs={n: x[pick] for n, x in (data_sets.inputs or {}).items()},
    )
    if not np.any(silent):  # else the data were said to be constant
        warn_undetermined(calibration)
    if moved is not None and warn_bias(
        dict(zip(free, moved.tolist(), strict=True)), calibration.standard_error
    ):  # residuals that spread differ in size, and none has failed
        return dataclasses.replace(calibration, huber_delta=np.nan)
    return calibration


def _half_variance(data: Any, kinds: Mapping[str, Any], residuals: np.ndarray) -> np.ndarray:
    """Bias of the data of every theory, shape `(n, t)`: 0 but for logarithms."""
    names = sorted(data.data)
    is_log = [np.full(data.data[n].shape[-1], type(kinds[n]) is Log) for n in names]
    return np.where(np.concatenate(is_log), half_variance(residuals), 0.0)


def _source(
    theory: Any, data: Data, columns: Mapping[str, str] | None, each: str | None
) -> GridTheory | Formula:
    """What is fitted: the theory of a grid, or a formula."""
    if isinstance(theory, Grid):
        return GridTheory(theory)
    formula = with_groups(theory, data, columns, "a Grid, a Formula or a form")
    if each in formula.labels:
        raise ValueError(f"`each` must be another column than that of the groups, got {each!r}.")
    return formula


def _n_seeds(data: Data, columns: Mapping[str, str] | None) -> int:
    """How many seeds a Dataset or a table has; 0 without a column of them."""
    column = (columns or {}).get(SEED, SEED)
    if hasattr(data, "sizes"):
        return data.sizes.get(column, 0)
    return data[column].nunique() if column in getattr(data, "columns", ()) else 0


def _resampled(
    n_seeds: int, each: str | None, curved: bool, bootstrap: int | None, resample: str | None
) -> tuple[str, int]:
    """What is resampled, and how often; a `curved` problem has no covariance worth its name."""
    seeded = each != SEED and n_seeds >= FEW_GROUPS
    of = resample or (SEED if seeded else POINTS)
    if bootstrap is None:
        needed = resample is not None or seeded or curved
        return of, N_RESAMPLES if needed else 0
    check_bootstrap(bootstrap)
    if resample is not None and not bootstrap:
        raise ValueError(f"`bootstrap` must be given with `resample`, got resample={resample!r}.")
    return of, bootstrap


def _starts(
    expand: Expansion,
    source: GridTheory | Formula,
    free: Sequence[str],
    parameters: Sequence[Parameter],
    data: FitData,
) -> tuple[np.ndarray, int]:
    """Coordinates of starts of every data set, and how many of them were given."""
    if parameters and set(free) <= set(source.unset):
        usable = np.where(expand.data.weight > 0, only_observable(data.data), np.nan)
        return form_starts(expand, parameters, usable), 0
    small = [b.small if isinstance(b, NotNegative) else -np.inf for b in expand.problem.bounds]
    z = expand.problem.by_parameter("unconstrain", np.maximum(data.start, small)[None])
    starts = np.concatenate([z, least_squares.candidates(expand.problem.bounds, z[0])])
    return np.broadcast_to(starts, (len(expand.data.target), *starts.shape)), 1


def _solved(
    expansion: Callable[[AbstractLoss], Expansion],
    loss: AbstractLoss,
    starts: np.ndarray,
    n_starts: int,
    n_given: int,
) -> tuple[AbstractLoss, Expansion, least_squares.FitResult]:
    """Fit from the starts; an adaptive loss fits again until the delta of every set stays."""
    expand = expansion(loss)
    result = least_squares.fit(expand, starts, n_starts, n_given)
    if not isinstance(loss, AdaptiveHuber):
        return loss, expand, result
    own = loss.huber(expand.residuals(result.z))
    for k in range(ADAPTATIONS):
        expand = expansion(own)
        again = least_squares.fit(expand, result.z[:, None] if k else starts, n_starts, n_given)
        own_starts = {n: getattr(result, n) for n in ("start_z", "start_cost", "start_status") if k}
        result = again._replace(**own_starts)
        following = loss.huber(expand.residuals(result.z)).delta
        # squares are for residuals that vanish without a delta: with one they leave outliers alone
        following = np.where(np.isinf(following), own.delta, following)
        with np.errstate(invalid="ignore"):  # infinite ones, which stay
            change: Any = np.nan_to_num(np.abs(following / own.delta - 1))
        if np.all(change <= SETTLED):
            return own, expand, result
        if k < ADAPTATIONS - 1:  # a set that has settled does not wait for the others
            delta = np.where(change <= SETTLED, own.delta, following)
            own = eqx.tree_at(lambda huber: huber.delta, own, delta)
    warn_user(
        f"the delta of an adaptive loss does not settle in {np.sum(change > SETTLED)} of "
        f"{change.size} fits: it still moves by {np.max(change):.1%} after {ADAPTATIONS}; take "
        "loss=Huber(delta=...) (in a shell, --huber) or Squared()"
    )
    return own, expand, result


def _plain_loss(loss: AbstractLoss) -> AbstractLoss:
    """Squares for Huber's loss with an infinite delta."""
    return Squared() if isinstance(loss, Huber) and np.isinf(loss.delta) else loss


def _check(free: Sequence[str], n_starts: int) -> None:
    if isinstance(free, str) or not free:
        raise ValueError(f"`free` must be a sequence of names, got {free!r}.")
    if len(set(free)) < len(free):
        raise ValueError(f"`free` must name distinct parameters, got {list(free)!r}.")
    check_count("n_starts", n_starts, 1)
    if n_starts > least_squares.CANDIDATES:
        raise ValueError(f"`n_starts` must be at most {least_squares.CANDIDATES}, got {n_starts}.")
