"""`calibrate`: parameters of a system's theory fitted to curves by gradient."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from jaxscale.paths import get, set_leaves
from jaxscale.status import STATUS
from jaxscale.sweep.dataset import Layout
from jaxscale.sweep.grid import Grid, is_leaf
from jaxscale.sweep.plan import plan as make_plan
from jaxscale.sweep.predict import predict, predict_columns

if TYPE_CHECKING:
    import xarray

SCAN = np.log(10.0) * np.linspace(-4.0, 4.0, 33)
MAX_STEPS = 256
REFUSED = 1e30  # residual where theory is lost on the way: above any real one, its square finite


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Fitted parameters with their uncertainty.

    - `free`: names of the fitted fields.
    - `values`, `standard_error`: for each, a float, or an array over `each`.
    - `covariance`: `(p, p)`, or `(n, p, p)` over `each`.
    - `residual_rms`: root mean square residual, in units of each observable's own rms.
    - `converged`: whether the solver met its tolerance.
    - `n_points`: data points of one fit.
    - `each`: dimension that was fitted separately, with its `labels`.
    """

    grid: Grid
    free: tuple[str, ...]
    values: dict[str, Any]
    standard_error: dict[str, Any]
    covariance: np.ndarray
    residual_rms: Any
    converged: Any
    n_points: int
    each: str | None
    labels: tuple[Any, ...]

    def predict(self) -> "xarray.Dataset":
        """Theory at the fitted values, with a leading `each` dimension where there is one."""
        import xarray

        if self.each is None:
            return _predicted(self.grid, {f: self.values[f] for f in self.free})
        rows = ({f: self.values[f][i] for f in self.free} for i in range(len(self.labels)))
        fits = [_predicted(self.grid, row) for row in rows]
        index = xarray.DataArray(list(self.labels), dims=self.each, name=self.each)
        return xarray.concat(fits, dim=index)

    def __str__(self) -> str:
        rows = []
        for name in self.free:
            pairs = zip(*np.atleast_1d(self.values[name], self.standard_error[name]), strict=True)
            rows += [f"{name} = {value:.6g} ± {error:.2g}" for value, error in pairs]
        return "\n".join(rows)


def _predicted(grid: Grid, values: dict[str, float]) -> "xarray.Dataset":
    system = set_leaves(grid.system, {p: np.asarray(v, np.float64) for p, v in values.items()})
    return predict(Grid(system, grid.axes, seeds=grid.seeds[:1], key=grid.key))


def calibrate(
    grid: Grid,
    runs: "xarray.Dataset",
    free: Sequence[str],
    *,
    observables: Sequence[str] | None = None,
    each: str | None = None,
) -> Calibration:
    """Fit fields of the theory to simulated curves by least squares.

    Minimises `sum ((theory - data) / scale)^2` over the points that both have, `scale` being the
    root mean square of each observable's data. The points are chosen at the grid's values, where a
    NaN of the theory means that it makes no statement; values at which it is undefined at a chosen
    point, such as `initial_strength` above `target_scale`, are refused. Positive fields are fitted
    in their logarithm; a single one is first scanned over eight decades around its present value,
    so that a start on a flat part of the curve does no harm. The covariance is `s^2 (J^T J)^-1` at
    the optimum, from forward-mode derivatives, and treats the points as independent: along one
    training curve they are not, so over seeds prefer the spread of `each="seed"`.

    **Arguments**

    - `grid`: the grid of the theory.
    - `runs`: data on the grid's dimensions, or a selection of them, such as `runs.sel(skill=[1])`.
    - `free`: field paths to fit, none of them an axis, starting from the grid's values.
    - `observables`: which to use; by default all that theory predicts and `runs` has.
    - `each`: a dimension, usually `"seed"`, along which separate fits are made (in one `vmap`).

    **Returns** a `Calibration`.

    **Raises** `ValueError` for a field that cannot be fitted, or when there is nothing to compare.
    """
    start = _start(grid, free)
    log = start > 0
    theory, names = _theory(grid, tuple(free), observables)
    data, scales, index, labels = _aligned(grid, runs, names, each)
    problem = _Problem(theory, index, scales, start, log)
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, _fits(problem, data, len(start) == 1 and bool(log[0])))
    z, covariance, rms, converged, n_points, blind, n_stated = found
    if n_points.min() <= len(start):
        why = "" if n_stated else ": theory makes no statement there at the grid's start values"
        raise ValueError(
            f"`runs` must hold more points with a theory than {len(start)} free fields, "
            f"got {int(n_points.min())}{why}."
        )
    if blind.all(axis=0).any():
        idle = free[int(np.argmax(blind.all(axis=0)))]
        raise ValueError(f"`free` names {idle!r}, which does not change what is compared.")
    value = np.where(log, start * np.exp(z), start + z)
    jacobian = np.where(log, value, 1.0)
    covariance = covariance * jacobian[..., :, None] * jacobian[..., None, :]
    error = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    pick: Any = slice(None) if each else 0
    return Calibration(
        grid=grid,
        free=tuple(free),
        values={f: value[pick, i] for i, f in enumerate(free)},
        standard_error={f: error[pick, i] for i, f in enumerate(free)},
        covariance=covariance[pick],
        residual_rms=rms[pick],
        converged=converged[pick],
        n_points=int(n_points.min()),
        each=each,
        labels=labels,
    )


def _start(grid: Grid, free: Sequence[str]) -> np.ndarray:
    if isinstance(free, str) or not free:
        raise ValueError(f"`free` must be a sequence of field paths, got {free!r}.")
    if len(set(free)) < len(free):
        raise ValueError(f"`free` must name distinct fields, got {list(free)!r}.")
    for path in free:
        value = get(grid.system, path)
        if path in grid.axes:
            raise ValueError(f"`free` must not name an axis of the grid, got {path!r}.")
        if not (is_leaf(value) and np.asarray(value).dtype.kind == "f"):
            raise ValueError(f"`free` must name float fields that are set, got {path!r}.")
    return np.asarray([float(get(grid.system, path)) for path in free])


class _Theory(eqx.Module):
    """Function from field values to arrays over (grid axes without seed, observable axes)."""

    templates: tuple[Any, ...]
    columns: tuple[dict[str, np.ndarray], ...]
    run_ids: tuple[np.ndarray, ...]
    places: tuple[dict[str, tuple[np.ndarray, ...]], ...]
    free: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    grid_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, values: Float[Array, " p"]) -> dict[str, Array]:
        n_runs = math.prod(self.grid_shape)
        out = {n: jnp.full((n_runs, *shape), jnp.nan) for n, shape in self.shapes}
        buckets = zip(self.templates, self.columns, self.run_ids, self.places, strict=True)
        for template, columns, run_ids, places in buckets:
            filled = set_leaves(template, {path: values[k] for k, path in enumerate(self.free)})
            found = predict_columns(filled, columns, len(run_ids))
            for n in out:
                out[n] = out[n].at[jnp.ix_(run_ids, *places[n])].set(found[n])
        return {n: out[n].reshape(*self.grid_shape, *shape) for n, shape in self.shapes}


def _theory(
    grid: Grid, free: tuple[str, ...], observables: Sequence[str] | None
) -> tuple[_Theory, dict[str, Any]]:
    """The theory of a grid, and for each observable its coordinates."""
    one = Grid(grid.system, grid.axes, seeds=grid.seeds[:1], key=grid.key)
    plan = make_plan(one, max_compiles=one.n_structures)
    layout = Layout.of(plan, predicted=True)
    closed = [name for name in layout.observables if name != STATUS]
    names = closed if observables is None else list(observables)
    for name in names:
        if name not in closed:
            known = ", ".join(closed)
            raise ValueError(f"`observables` must have a closed form ({known}), got {name!r}.")
    blank = dict.fromkeys(free, 0.0)  # the same for every start, so that they share one program
    observed = {n: layout.observables[n].dims for n in names}
    theory = _Theory(
        templates=tuple(set_leaves(b.template, blank) for b in plan.buckets),
        columns=tuple(b.columns for b in plan.buckets),
        run_ids=tuple(b.run_ids for b in plan.buckets),
        places=tuple({n: tuple(p[d] for d in observed[n]) for n in names}
                     for p in layout.positions),
        free=free,
        shapes=tuple((n, layout.shape(n)) for n in names),
        grid_shape=tuple(grid.shape[:-1]),
    )  # fmt: skip
    coordinates = {**grid.coordinates, **layout.coordinates}
    return theory, {n: {d: coordinates[d] for d in (*grid.dims[:-1], *observed[n])} for n in names}


def _aligned(
    grid: Grid, runs: "xarray.Dataset", names: dict[str, Any], each: str | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any], tuple[Any, ...]]:
    """Data with axes (each, seeds, theory's axes), their scales, and theory's index of each."""
    data, scales, index = {}, {}, {}
    labels: tuple[Any, ...] = ()
    for name, coordinates in names.items():
        if name not in runs:
            continue
        array = runs[name]
        for dim in coordinates:
            if dim not in array.dims:
                if dim not in array.coords:
                    raise ValueError(f"`runs` must keep the dimension {dim!r} of {name!r}.")
                array = array.expand_dims(dim)
        others = [d for d in array.dims if d not in coordinates and d != each]
        if each is not None and each not in array.dims:
            raise ValueError(f"`each` must be a dimension of `runs`, got {each!r}.")
        if each is not None and each in coordinates:
            raise ValueError(f"`each` must not be a dimension of the theory, got {each!r}.")
        order = [*([each] if each else []), *others, *coordinates]
        values = np.asarray(array.transpose(*order), np.float64)
        n_each = values.shape[0] if each else 1
        values = values.reshape(n_each, -1, *values.shape[len(order) - len(coordinates) :])
        where = [_positions(d, c, np.asarray(array[d])) for d, c in coordinates.items()]
        labels = tuple(np.asarray(array[each]).tolist()) if each else ()
        data[name], index[name] = values, np.ix_(*where)
        finite = values[np.isfinite(values)]
        scales[name] = np.asarray(np.sqrt(np.mean(finite**2)) if np.any(finite) else 1.0)
    if not data:
        raise ValueError(f"`runs` must hold one of {', '.join(names)}, got {list(runs)}.")
    return data, scales, index, labels


def _positions(dim: str, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = {value: i for i, value in enumerate(known.tolist())}
    missing = [w for w in wanted.tolist() if w not in found]
    if missing:
        raise ValueError(f"`runs` has {dim} = {missing[0]!r}, which the grid has not.")
    return np.asarray([found[w] for w in wanted.tolist()])


class _Problem(eqx.Module):
    """Least squares in `z`, the change of the fields from `start` (of their logarithm if `log`)."""

    theory: _Theory
    index: dict[str, Any]
    scales: dict[str, Any]
    start: Any
    log: Any

    def expected(self, z: Float[Array, " p"]) -> dict[str, Array]:
        found = self.theory(jnp.where(self.log, self.start * jnp.exp(z), self.start + z))
        return {name: found[name][where] for name, where in self.index.items()}

    def residual(self, z: Float[Array, " p"], points: tuple[Any, Any]) -> Float[Array, " m"]:
        (data, use), parts = points, []
        for name, expected in self.expected(z).items():
            defined = jnp.isfinite(expected)
            safe = jnp.where(defined, expected, 0.0)
            difference = (safe - jnp.where(use[name], data[name], 0.0)) / self.scales[name]
            difference = jnp.where(defined, difference, REFUSED)
            parts.append(jnp.where(use[name], difference, 0.0).ravel())
        return jnp.concatenate(parts)


@eqx.filter_jit
def _fits(problem: _Problem, data: dict[str, Any], scan: bool) -> tuple[Any, ...]:
    """Fits along the leading axis of `data`, and how many points theory states at the start."""
    stated = jax.tree.map(jnp.isfinite, problem.expected(jnp.zeros(problem.start.shape)))
    use = {name: stated[name] & jnp.isfinite(seen) for name, seen in data.items()}
    fits = jax.vmap(lambda data, use: _fit(problem, (data, use), scan))(data, use)
    return *fits, jnp.sum(jnp.stack([jnp.sum(s) for s in stated.values()]))


def _fit(problem: _Problem, points: tuple[Any, Any], scan: bool) -> tuple[Array, ...]:
    residual, n_free = problem.residual, problem.start.size
    z0 = jnp.zeros(n_free)
    n_used = jnp.sum(jnp.stack([jnp.sum(u, dtype=z0.dtype) for u in points[1].values()]))
    if scan:
        costs = jax.lax.map(lambda z: jnp.sum(residual(z[None], points) ** 2), jnp.asarray(SCAN))
        z0 = jnp.asarray(SCAN)[jnp.argmin(costs)][None]
    solver = optx.LevenbergMarquardt(rtol=1e-9, atol=1e-9)
    solution = optx.least_squares(residual, solver, z0, points, max_steps=MAX_STEPS, throw=False)
    z = solution.value
    left, jacobian = residual(z, points), jax.jacfwd(residual)(z, points)
    variance = jnp.sum(left**2) / jnp.maximum(n_used - n_free, 1)
    covariance = variance * jnp.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    blind = jnp.all(jacobian == 0, axis=0)  # a field that moves nothing is not determined
    covariance = jnp.where(jnp.diag(blind), jnp.inf, covariance)
    converged = (solution.result == optx.RESULTS.successful) & ~jnp.any(blind)
    rms = jnp.sqrt(jnp.sum(left**2) / jnp.maximum(n_used, 1))
    return z, covariance, rms, converged, n_used, blind
