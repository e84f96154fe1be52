"""`calibrate`: parameters of a system's theory fitted to curves by gradient."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from jaxscale.fields import get, set_leaf
from jaxscale.sweep.dataset import Layout
from jaxscale.sweep.execute import predict_columns
from jaxscale.sweep.grid import Grid, is_leaf
from jaxscale.sweep.plan import plan as make_plan

if TYPE_CHECKING:
    import xarray

SCAN = np.log(10.0) * np.linspace(-4.0, 4.0, 33)
MAX_STEPS = 256


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
            return _theory(self.grid, {f: self.values[f] for f in self.free})
        fits = [
            _theory(self.grid, {f: self.values[f][i] for f in self.free})
            for i in range(len(self.labels))
        ]
        index = xarray.DataArray(list(self.labels), dims=self.each, name=self.each)
        return xarray.concat(fits, dim=index)

    def __str__(self) -> str:
        rows = []
        for name in self.free:
            value, error = (
                np.atleast_1d(self.values[name]),
                np.atleast_1d(self.standard_error[name]),
            )
            rows += [f"{name} = {v:.6g} ± {e:.2g}" for v, e in zip(value, error, strict=True)]
        return "\n".join(rows)


def _theory(grid: Grid, values: dict[str, float]) -> "xarray.Dataset":
    from jaxscale.sweep.execute import predict

    system = grid.system
    for path, value in values.items():
        system = set_leaf(system, path, np.asarray(value, np.float64))
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
    root mean square of each observable's data. Positive fields are fitted in their logarithm; a
    single one is first scanned over eight decades around its present value, so that a start on a
    flat part of the curve does no harm. The covariance is `s^2 (J^T J)^-1` at the optimum, from
    forward-mode derivatives, and treats the points as independent: along one training curve they
    are not, so over seeds prefer the spread of `each="seed"`.

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
    with jax.enable_x64(True):
        theory, names = _theory_function(grid, tuple(free), observables)
        data, scales, index, labels = _aligned(grid, runs, names, each)
        residual = _residual_function(theory, index, scales, start, log)
        fit = eqx.filter_jit(eqx.filter_vmap(lambda d: _fit(residual, d, len(start), bool(log[0]))))
        z, covariance, rms, converged, n_points = jax.tree.map(np.asarray, fit(data))
    if n_points.min() <= len(start):
        raise ValueError(
            f"`runs` must hold more points with a theory than {len(start)} free fields, "
            f"got {int(n_points.min())}."
        )
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
    for path in free:
        value = get(grid.system, path)
        if path in grid.axes:
            raise ValueError(f"`free` must not name an axis of the grid, got {path!r}.")
        if not (is_leaf(value) and np.asarray(value).dtype.kind == "f"):
            raise ValueError(f"`free` must name float fields that are set, got {path!r}.")
    return np.asarray([float(get(grid.system, path)) for path in free])


def _theory_function(grid: Grid, free: tuple[str, ...], observables: Sequence[str] | None) -> Any:
    """Function from field values to arrays over (grid axes without seed, observable axes)."""
    plan = make_plan(Grid(grid.system, grid.axes, seeds=grid.seeds[:1], key=grid.key))
    layout = Layout.of(plan, predicted=True)
    names = list(layout.observables) if observables is None else list(observables)
    for name in names:
        if name not in layout.observables:
            known = ", ".join(layout.observables)
            raise ValueError(f"`observables` must have a closed form ({known}), got {name!r}.")

    def theory(values: Float[Array, " p"]) -> dict[str, Array]:
        out = {n: jnp.full((grid.n_runs // len(grid.seeds), *layout.shape(n)), jnp.nan)
               for n in names}  # fmt: skip
        for i, bucket in enumerate(plan.buckets):
            template = bucket.template
            for k, path in enumerate(free):
                template = set_leaf(template, path, values[k])
            found = predict_columns(template, bucket.columns, len(bucket.run_ids))
            for n in names:
                places = [layout.positions[i][d] for d in layout.observables[n].dims]
                out[n] = out[n].at[np.ix_(bucket.run_ids, *places)].set(found[n])
        return {n: v.reshape(*grid.shape[:-1], *layout.shape(n)) for n, v in out.items()}

    dims = {n: (*grid.dims[:-1], *layout.observables[n].dims) for n in names}
    coordinates = {**grid.coordinates, **layout.coordinates}
    return theory, {n: {d: coordinates[d] for d in dims[n]} for n in names}


def _aligned(
    grid: Grid, runs: "xarray.Dataset", names: dict[str, Any], each: str | None
) -> tuple[dict[str, Array], dict[str, float], dict[str, Any], tuple[Any, ...]]:
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
        data[name], index[name] = jnp.asarray(values), np.ix_(*where)
        finite = values[np.isfinite(values)]
        scales[name] = float(np.sqrt(np.mean(finite**2))) if np.any(finite) else 1.0
    if not data:
        raise ValueError(f"`runs` must hold one of {', '.join(names)}, got {list(runs)}.")
    return data, scales, index, labels


def _positions(dim: str, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = {value: i for i, value in enumerate(known.tolist())}
    missing = [w for w in wanted.tolist() if w not in found]
    if missing:
        raise ValueError(f"`runs` has {dim} = {missing[0]!r}, which the grid has not.")
    return np.asarray([found[w] for w in wanted.tolist()])


def _residual_function(
    theory: Any, index: dict[str, Any], scales: dict[str, float], start: np.ndarray, log: np.ndarray
) -> Any:
    def residual(z: Float[Array, " p"], data: dict[str, Array]) -> tuple[Array, Array]:
        values = jnp.where(log, start * jnp.exp(z), start + z)
        found = theory(values)
        parts, n_used = [], jnp.zeros(())
        for name, seen in data.items():
            expected = found[name][index[name]]
            # theory is NaN where it makes no statement, data where a run went bad
            use = jnp.isfinite(expected) & jnp.isfinite(seen)
            safe = jnp.where(jnp.isfinite(expected), expected, 0.0)
            parts.append(jnp.where(use, (safe - jnp.where(use, seen, 0.0)) / scales[name], 0.0))
            n_used += jnp.sum(use, dtype=n_used.dtype)
        return jnp.concatenate([p.ravel() for p in parts]), n_used

    return residual


def _fit(residual: Any, data: dict[str, Array], n_free: int, scan: bool) -> Any:
    z0 = jnp.zeros(n_free)
    if n_free == 1 and scan:
        costs = jax.lax.map(lambda z: jnp.sum(residual(z[None], data)[0] ** 2), jnp.asarray(SCAN))
        z0 = jnp.asarray(SCAN)[jnp.argmin(costs)][None]
    solution = optx.least_squares(
        lambda z, data: residual(z, data)[0],
        optx.LevenbergMarquardt(rtol=1e-9, atol=1e-9),
        z0,
        args=data,
        max_steps=MAX_STEPS,
        throw=False,
    )
    z = solution.value
    left, n_used = residual(z, data)
    jacobian = jax.jacfwd(lambda z: residual(z, data)[0])(z)
    variance = jnp.sum(left**2) / jnp.maximum(n_used - n_free, 1)
    covariance = variance * jnp.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    converged = solution.result == optx.RESULTS.successful
    return z, covariance, jnp.sqrt(jnp.sum(left**2) / jnp.maximum(n_used, 1)), converged, n_used
