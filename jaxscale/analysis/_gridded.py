"""Theory of a whole grid as a function of the values of some fields, beside data on the grid."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._schedules import Constant
from jaxscale._status import STATUS
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._resampling import aligned, groups_of, rows_of
from jaxscale.analysis._tables import Data, as_dataset, as_table, require_columns
from jaxscale.analysis.bounds import AbstractBound, Between
from jaxscale.fields import as_int, interval_of
from jaxscale.paths import get, replace, set_leaves
from jaxscale.sweep._grid import Grid, is_leaf
from jaxscale.sweep._predict import predict, predict_columns, theory_layout
from jaxscale.training import AbstractTrainedSystem

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
    ) -> tuple["GridTheory", FitData]:  # fmt: skip
        """The theory at the steps of the data, and data on the grid's values."""
        import xarray

        start = self.start(free)
        known = {n: o.dims for n, o in self.grid.system.schema.observables.items()}
        if isinstance(data, xarray.Dataset) and columns is None:
            here, runs = self, data
        else:
            here, runs = self._tabulated(data, known, columns, each)
        theory, names, signed = _theory(here.grid, tuple(free), observables, [str(n) for n in runs])
        values, index, labels, order = aligned(runs, names, each, signed)
        groups, n_groups = groups_of(values, order, resample)
        n_axes = {name: len(coordinates) for name, coordinates in names.items()}
        values = rows_of(values, n_axes, np.nan)
        groups = rows_of({n: g[None] for n, g in groups.items()}, n_axes, 0)
        observed = FitData(
            theory=_Indexed(theory, index), start=start, data=values, inputs=None,
            groups={n: g[0] for n, g in groups.items()}, n_groups=n_groups, labels=labels,
            signed=signed, bounds=_declared(self.grid.system, free, start),
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
    layout = theory_layout(grid)
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
        templates=tuple(set_leaves(b.padded_system, blank) for b in layout.buckets),
        columns=tuple(b.columns for b in layout.buckets),
        run_ids=tuple(b.run_ids for b in layout.buckets),
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
