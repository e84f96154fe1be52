"""Theory of a whole grid as a function of the values of some fields, beside data on the grid."""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale.analysis.bounds import AbstractBound, Between
from jaxscale.analysis.observed import Observed
from jaxscale.analysis.tables import Data, as_dataset, as_table, require_columns
from jaxscale.fields import as_int, interval_of
from jaxscale.paths import get, replace, set_leaves
from jaxscale.schedules import Constant
from jaxscale.status import STATUS
from jaxscale.sweep.dataset import Layout
from jaxscale.sweep.grid import Grid, is_leaf
from jaxscale.sweep.plan import plan as make_plan
from jaxscale.sweep.predict import predict, predict_columns
from jaxscale.system import AbstractTrainedSystem

if TYPE_CHECKING:
    import xarray

STEP, SEED, LOSS = "step", "seed", "loss"


@dataclasses.dataclass(frozen=True)
class GridTheory:
    """`predict` of the systems of a grid, as a function of some of their fields."""

    grid: Grid

    def start(self, free: Sequence[str]) -> np.ndarray:
        """The grid's values of the free fields.

        **Raises** `ValueError` for an axis of the grid, and for what is not a float that is set.
        """
        for path in free:
            value = get(self.grid.system, path)
            if path in self.grid.axes:
                raise ValueError(f"`free` must not name an axis of the grid, got {path!r}.")
            if not (is_leaf(value) and np.asarray(value).dtype.kind == "f"):
                raise ValueError(f"`free` must name float fields that are set, got {path!r}.")
        return np.asarray([float(get(self.grid.system, path)) for path in free])

    def replaced(self, values: Mapping[str, Any]) -> "GridTheory":
        """The same grid with other values of its system's fields."""
        leaves = {p: np.asarray(v, np.float64) for p, v in values.items()}
        return GridTheory(_with(self.grid, set_leaves(self.grid.system, leaves)))

    def predicted(self) -> "xarray.Dataset":
        """The theory of the grid."""
        return predict(_with(self.grid, self.grid.system))

    def described(self) -> dict[str, Any]:
        """The grid, as plain data."""
        return {"grid": self.grid.to_dict()}

    @staticmethod
    def joined(
        found: Sequence["xarray.Dataset"], each: str, labels: Sequence[Any]
    ) -> "xarray.Dataset":
        """Theories along a new dimension `each` of their labels."""
        import xarray

        index = xarray.DataArray(list(labels), dims=each, name=each)
        return xarray.concat(found, dim=index)

    def observe(
        self, data: Data, free: Sequence[str], columns: Mapping[str, str] | None,
        observables: Sequence[str] | None, each: str | None, resample: str | None,
    ) -> tuple["GridTheory", Observed]:  # fmt: skip
        """The theory at the steps of the data, and data on the grid's values."""
        import xarray

        start = self.start(free)
        known = {n: o.dims for n, o in self.grid.system.schema.observables.items()}
        if isinstance(data, xarray.Dataset) and columns is None:
            here, runs = self, data
        else:
            here, runs = self._tabulated(data, known, columns, each)
        theory, names, signed = _theory(here.grid, tuple(free), observables, [str(n) for n in runs])
        values, index, labels, order = _aligned(runs, names, each, signed)
        units, n_units = _units(values, order, resample)
        n_axes = {name: len(coordinates) for name, coordinates in names.items()}
        values = _rows(values, n_axes, np.nan)
        units = {
            n: u[0] for n, u in _rows({k: v[None] for k, v in units.items()}, n_axes, 0).items()
        }
        observed = Observed(
            theory=_Indexed(theory, index), start=start, data=values, inputs=None, units=units,
            n_units=n_units, labels=labels, signed=signed,
            bounds=_declared(self.grid.system, free, start),
        )  # fmt: skip
        return here, observed

    def _tabulated(
        self, data: Data, known: Mapping[str, tuple[str, ...]], columns: Mapping[str, str] | None,
        each: str | None,
    ) -> "tuple[GridTheory, xarray.Dataset]":  # fmt: skip
        table = as_table(data, columns)
        observables = [n for n in known if n in table]
        if not observables:
            raise ValueError(
                f"`data` must have a column of {', '.join(known)}, got {', '.join(table.columns)}; "
                "`columns` maps our names to yours."
            )
        here = self._recording(table)
        parts = []
        for name in observables:
            dims = [*here.grid.dims[:-1], *known[name], *([each] if each else [])]
            dims += [SEED] if SEED in table and SEED not in dims else []
            single = {d for d in here.grid.dims[:-1] if len(here.grid.coordinates[d]) == 1}
            held = [d for d in dims if d in table or d not in single]
            require_columns(table, held)
            part = as_dataset(table.drop_duplicates([*held, name]), held, [name])
            parts.append(part.expand_dims({d: here.grid.coordinates[d] for d in dims
                                           if d not in held}))  # fmt: skip
        return here, _merged(parts)

    def _recording(self, table: Any) -> "GridTheory":
        """The same theory at the steps of a table."""
        system = self.grid.system
        if STEP not in table or not isinstance(system, AbstractTrainedSystem):
            return self
        steps = sorted({as_int(STEP, s) for s in table[STEP].dropna()})
        if set(steps) <= set(system.record_steps):
            return self
        if steps[-1] > system.n_steps and not isinstance(_schedule(system), Constant):
            raise ValueError(
                "`n_steps` must be that of your runs, for the schedule depends on it: the data go "
                f"to step {steps[-1]}, n_steps is {system.n_steps}."
            )
        longer = replace(replace(system, "record", None), "n_steps", max(system.n_steps, steps[-1]))
        return GridTheory(_with(self.grid, replace(longer, "record", steps), every_seed=True))


def _declared(system: Any, free: Sequence[str], start: np.ndarray) -> dict[str, AbstractBound]:
    """Bounds of the fields that declare an interval and start inside it."""
    found: dict[str, AbstractBound] = {}
    for path, value in zip(free, start.tolist(), strict=True):
        low, high = interval_of(system, path)
        if low is not None and high is not None and low < value < high:
            found[path] = Between(low=np.asarray(low), high=np.asarray(high))
    return found


def _schedule(system: Any) -> Any:
    """The schedule of a system; a constant one where it has none."""
    return getattr(system, "schedule", None) or Constant()


def _merged(parts: Sequence["xarray.Dataset"]) -> "xarray.Dataset":
    """One Dataset of several with their own dimensions."""
    import xarray

    return xarray.merge(parts, join="outer", compat="no_conflicts")


def _with(grid: Grid, system: Any, every_seed: bool = False) -> Grid:
    seeds = grid.seeds if every_seed else grid.seeds[:1]
    return Grid(system, grid.axes, seeds=seeds, key=grid.key)


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


class _Indexed(eqx.Module):
    """A theory at the places of the data."""

    theory: _Theory
    index: dict[str, Any]

    def __call__(self, values: Float[Array, " p"], inputs: None) -> dict[str, Array]:
        found = self.theory(values)
        return {name: found[name][where] for name, where in self.index.items()}


def _theory(
    grid: Grid,
    free: tuple[str, ...],
    observables: Sequence[str] | None,
    measured: Sequence[str],
) -> tuple[_Theory, dict[str, Any], frozenset[str]]:
    """The theory of a grid, for each observable its coordinates, and which take both signs."""
    one = Grid(grid.system, grid.axes, seeds=grid.seeds[:1], key=grid.key)
    plan = make_plan(one, max_compiles=one.n_structures)
    layout = Layout.of(plan, predicted=True)
    closed = [name for name in layout.observables if name != STATUS]
    # observables of one state repeat each other: by default one of them is compared
    here = [name for name in closed if name in measured] or closed
    names = [LOSS if LOSS in here else here[0]] if observables is None else list(observables)
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
    signed = frozenset(n for n in names if layout.observables[n].signed)
    held = {n: {d: coordinates[d] for d in (*grid.dims[:-1], *observed[n])} for n in names}
    return theory, held, signed


def _aligned(
    runs: "xarray.Dataset", names: dict[str, Any], each: str | None, signed: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, ...], dict[str, list[str]]]:
    """Data with axes (each, others, theory's), theory's index of each, labels, and their axes."""
    data, index, order = {}, {}, {}
    labels: tuple[Any, ...] = ()
    for name, coordinates in names.items():
        if name not in runs:
            continue
        array = runs[name]
        for dim in coordinates:
            if dim not in array.dims:
                if dim not in array.coords:
                    raise ValueError(f"`data` must keep the dimension {dim!r} of {name!r}.")
                array = array.expand_dims(dim)
        if each is not None and each not in array.dims:
            raise ValueError(f"`each` must be a dimension of `data`, got {each!r}.")
        if each is not None and each in coordinates:
            raise ValueError(f"`each` must not be a dimension of the theory, got {each!r}.")
        others = [str(d) for d in array.dims if d not in coordinates and d != each]
        order[name] = [*others, *coordinates]
        values = np.asarray(array.transpose(*([each] if each else []), *order[name]), np.float64)
        data[name] = _resolved(name, array, values if each else values[None], name in signed)
        index[name] = np.ix_(
            *(_positions(d, c, np.asarray(array[d])) for d, c in coordinates.items())
        )
        labels = tuple(np.asarray(array[each]).tolist()) if each else ()
    if not data:
        raise ValueError(f"`data` must hold one of {', '.join(names)}, got {list(runs)}.")
    return data, index, labels, order


def _resolved(name: str, array: Any, values: np.ndarray, signed: bool) -> np.ndarray:
    """Values without those that the rounding of their own type decides."""
    if signed or array.dtype not in (np.float16, np.float32) or not np.isfinite(values).any():
        return values
    smallest = np.finfo(array.dtype).eps * np.max(
        np.abs(values), where=np.isfinite(values), initial=0
    )
    rounded = (np.abs(values) < smallest) & (values != 0)
    if rounded.any():
        warnings.warn(
            f"{int(rounded.sum())} values of {name} lie below the rounding of {array.dtype}: "
            "left out", stacklevel=4,
        )  # fmt: skip
    return np.where(rounded, np.nan, values)


def _rows(
    arrays: dict[str, np.ndarray], n_axes: dict[str, int], blank: float
) -> dict[str, np.ndarray]:
    """Arrays `(n, others, theory axes)` as `(n, o, t)`, with as many others for all, some blank."""
    flat = {}
    for name, array in arrays.items():
        shape = array.shape[array.ndim - n_axes[name] :]
        flat[name] = array.reshape(len(array), -1, math.prod(shape))
    most = max(a.shape[1] for a in flat.values())
    short = {n: ((0, 0), (0, most - a.shape[1]), (0, 0)) for n, a in flat.items()}
    return {n: np.pad(a, short[n], constant_values=blank) for n, a in flat.items()}


def _positions(dim: str, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = {value: i for i, value in enumerate(known.tolist())}
    missing = [w for w in wanted.tolist() if w not in found]
    if missing:
        raise ValueError(f"`data` has {dim} = {missing[0]!r}, which the grid has not.")
    return np.asarray([found[w] for w in wanted.tolist()])


def _units(
    data: dict[str, np.ndarray], order: dict[str, list[str]], resample: str | None
) -> tuple[dict[str, np.ndarray], int]:
    """Numbers of what is resampled together: single points, or the slices along a dimension."""
    if resample is None:
        sizes = [math.prod(v.shape[1:]) for v in data.values()]
        first = np.cumsum([0, *sizes])
        shapes = zip(data.items(), first[:-1], sizes, strict=True)
        units = {n: (a + np.arange(s)).reshape(v.shape[1:]) for (n, v), a, s in shapes}
        return units, int(first[-1])
    units = {}
    for name, dims in order.items():
        if resample not in dims:
            known = ", ".join(dims)
            raise ValueError(
                f"`resample` must be a dimension of the data ({known}), got {resample!r}."
            )
        shape = [1] * len(dims)
        shape[dims.index(resample)] = data[name].shape[1 + dims.index(resample)]
        units[name] = np.broadcast_to(np.arange(max(shape)).reshape(shape), data[name].shape[1:])
    return units, max(int(u.max()) + 1 for u in units.values())
