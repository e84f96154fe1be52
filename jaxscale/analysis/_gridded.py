"""Theory of a grid as a function of the values of some fields, and data on the axes of the grid."""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._schedules import Constant
from jaxscale._text import choices, of_argument
from jaxscale.analysis._data import (
    Data,
    as_dataset,
    as_table,
    require_columns,
    require_numbers,
)
from jaxscale.analysis._expansion import FITS, is_array
from jaxscale.analysis._fit_data import FitData, aligned, groups_of, rows_of
from jaxscale.analysis.bounds import AbstractBound, Between
from jaxscale.fields import as_int, field_names, interval_of
from jaxscale.paths import get, replace, set_leaves
from jaxscale.sweep._axes import is_leaf
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._predict import (
    closed_forms,
    no_theory,
    predict,
    predict_columns,
    theory_layout,
)
from jaxscale.sweep._structure import structure_key
from jaxscale.training import AbstractTrainedSystem

if TYPE_CHECKING:
    import xarray


CURVES_AT_ONCE = 16  # bounds the memory of closed forms over large grids


@dataclasses.dataclass(frozen=True)
class GridTheory:
    """`predict` of the systems of a grid, as a function of some of their fields."""

    grid: Grid
    form: ClassVar[None] = None
    unset: ClassVar[tuple[str, ...]] = ()

    @property
    def names(self) -> list[str]:
        """Fields that can be fitted."""
        return [n for n in _float_fields(self.grid.system) if n not in self.grid.axes]

    def start(self, free: Sequence[str], argument: str = "free") -> np.ndarray:
        """The grid's values of the free fields, which `argument` of the user's call names.

        **Raises** `ValueError` for an axis of the grid, and for what is not a float that is set.
        """
        for path in free:
            with of_argument(argument):
                value = get(self.grid.system, path)
            if path in self.grid.axes or not _is_float(value):
                raise ValueError(
                    f"`{argument}` must name finite float fields that are no axes of the grid, "
                    f"got {path!r}{choices(path, self.names)}"
                )
        return np.asarray([float(get(self.grid.system, path)) for path in free])

    def replaced(self, values: Mapping[str, Any]) -> "GridTheory":
        """The same grid with other values of its system's fields."""
        leaves = {p: np.asarray(v, np.float64) for p, v in values.items()}
        system = set_leaves(self.grid.system, leaves)
        return GridTheory(self.grid.replace(system=system, seeds=self.grid.seeds[:1]))

    def predicted(self) -> "xarray.Dataset":
        """The theory of the grid."""
        return predict(self.grid)

    def curves(
        self, name: str, values: Mapping[str, Float[np.ndarray, " b"]]
    ) -> Float[np.ndarray, "b ..."]:
        """An observable of `predicted` at many values of some fields."""
        layout = theory_layout(self.grid)
        theory, _, _ = _closed_forms(self.grid, layout, tuple(values), [name], [])
        everywhere = dataclasses.replace(theory, index={name: ()})
        arrays, static = eqx.partition(everywhere, is_array)

        def many(arrays: Any, points: Array) -> Array:
            every = eqx.combine(arrays, static)
            return jax.lax.map(lambda p: every(p, None)[name], points, batch_size=CURVES_AT_ONCE)

        key = ("curves", structure_key(everywhere, is_array))
        program = FITS.find(key, lambda: jax.jit(many))
        with jax.enable_x64(True):
            return np.asarray(program(arrays, np.stack([*values.values()], axis=1)))

    def described(self, free: Sequence[str]) -> dict[str, Any]:
        """The grid without its free fields, as plain data."""
        grid = self.grid.to_dict()
        for path in free:
            *owners, name = path.split(".")
            del functools.reduce(operator.getitem, owners, grid["fields"])[name]
        return {"grid": grid}

    @staticmethod
    def joined(
        theories: Sequence["xarray.Dataset"], each: str, labels: Sequence[Any]
    ) -> "xarray.Dataset":
        """Theories along a new dimension `each` of their labels."""
        import xarray

        index = xarray.DataArray(list(labels), dims=each, name=each)
        return xarray.concat(theories, dim=index)

    def observe(
        self, data: Data, free: Sequence[str], columns: Mapping[str, str] | None,
        observables: Sequence[str] | None, each: str | None, resample: str | None,
        weights: str | None,
    ) -> tuple["GridTheory", FitData]:  # fmt: skip
        """The theory at the steps of the data, and data on the grid's values."""
        import xarray

        if weights is not None:
            raise ValueError(
                f"`weights` belong to the points of a formula's table, got {weights!r}: runs of a "
                "grid are resampled by seed instead."
            )
        layout = theory_layout(self.grid)
        if not closed_forms(layout):
            raise ValueError(f"`theory` has nothing to fit: {no_theory(self.grid)}.")
        start, recorded, runs, blanks = self.start(free), self, data, {}
        if not isinstance(data, xarray.Dataset) or columns is not None:
            recorded, runs, blanks = self._tabulated(data, columns, each)
            layout = theory_layout(recorded.grid)
        measured = [str(n) for n in runs]
        theory, coordinates, signed = _closed_forms(
            recorded.grid, layout, tuple(free), observables, measured
        )
        values, index, labels, order, n_left_out = aligned(runs, coordinates, each, signed)
        groups, n_groups = groups_of(values, order, resample)
        n_axes = {name: len(axes) for name, axes in coordinates.items()}
        groups = rows_of({n: g[None] for n, g in groups.items()}, n_axes, 0)
        grouped = np.concatenate([g for _, g in sorted(groups.items())], axis=-1)
        n_sets = len(next(iter(values.values())))
        return recorded, FitData(
            theory=dataclasses.replace(theory, index=index),
            start=start,
            data=rows_of(values, n_axes, np.nan),
            inputs=None,
            groups=np.broadcast_to(grouped, (n_sets, *grouped.shape[1:])),
            n_groups=n_groups,
            labels=labels,
            signed=signed,
            bounds=_declared(self.grid.system, free, start),
            n_left_out=n_left_out + sum(blanks.get(name, 0) for name in values),
        )

    def _tabulated(
        self, data: Data, columns: Mapping[str, str] | None, each: str | None
    ) -> "tuple[GridTheory, xarray.Dataset, dict[str, int]]":
        """The theory at a table's steps, the table on the grid's axes, and its blank values."""
        import xarray

        schema = self.grid.system.schema.observables
        table: Any = as_table(data, columns)
        named = [n for n in schema if n in table and table[n].notna().any()]
        if not named:
            raise ValueError(
                f"`data` must have a column of {', '.join(schema)} that is not blank, got "
                f"{', '.join(table.columns)}; `columns` maps our names to yours."
            )
        numeric = [d for d, c in self.grid.coordinates.items() if c.dtype.kind in "iuf"]
        require_numbers(table, [d for d in [*numeric, "step"] if d in table])
        recorded = self._recording(table)
        axes = {d: recorded.grid.coordinates[d] for d in recorded.grid.dims[:-1]}
        parts = []
        for name in named:
            dims = [*axes, *schema[name].dims, *([each] if each else [])]
            dims += ["seed"] if "seed" in table and "seed" not in dims else []
            single = {d: axes[d] for d in axes if len(axes[d]) == 1 and d not in table}
            held = [d for d in dims if d not in single]
            require_columns(table, held)
            part = as_dataset(table.drop_duplicates([*held, name]), held, [name])
            parts.append(part.expand_dims(single))
        merged: Any = xarray.merge(parts, join="outer", compat="no_conflicts")
        return recorded, merged, {name: int(table[name].isna().sum()) for name in named}

    def _recording(self, table: Any) -> "GridTheory":
        """The same theory at the steps of a table."""
        system = self.grid.system
        if "step" not in table or not isinstance(system, AbstractTrainedSystem):
            return self
        steps = sorted({as_int("step", s) for s in table["step"].dropna()})
        if set(steps) <= set(system.record_steps):
            return self
        constant = isinstance(getattr(system, "schedule", None) or Constant(), Constant)
        if steps[-1] > system.n_steps and not constant:
            raise ValueError(
                "`n_steps` must be that of your runs, for the schedule depends on it: the data go "
                f"to step {steps[-1]}, n_steps is {system.n_steps}."
            )
        longer = replace(replace(system, "record", None), "n_steps", max(system.n_steps, steps[-1]))
        return GridTheory(self.grid.replace(system=replace(longer, "record", steps)))


def check_runs_of(theory: GridTheory, data: Any, free: Sequence[str], each: str | None) -> None:
    """Refuse runs whose values of a field are not the grid's, unless the field is fitted."""
    labels = data.coords if hasattr(data, "data_vars") else getattr(data, "columns", ())
    for name in (n for n in theory.names if n in labels and n not in (*free, each)):
        value = np.asarray(get(theory.grid.system, name), float)
        values = np.unique(np.asarray(data[name]))
        if values.dtype.kind in "iuf" and not np.allclose(values, value, rtol=1e-5, atol=0.0):
            listed = ", ".join(f"{v:g}" for v in values[:4].tolist())
            raise ValueError(
                f"`data` must be of runs at the {name} of the grid, {value:g}, got {listed}: take "
                f"the grid that was run, or name {name} in `free`."
            )


def _is_float(value: Any) -> bool:
    """Whether a field holds a number that can change: an infinite one is a way to compute."""
    return is_leaf(value) and np.asarray(value).dtype.kind == "f" and bool(np.isfinite(value).all())


def _float_fields(module: eqx.Module, head: str = "") -> list[str]:
    """Paths of the fields of a module and its parts that hold a float."""
    values = {f"{head}{name}": getattr(module, name) for name in field_names(module)}
    inner = [_float_fields(v, f"{n}.") for n, v in values.items() if isinstance(v, eqx.Module)]
    return [*(n for n, v in values.items() if _is_float(v)), *itertools.chain(*inner)]


def _declared(system: Any, free: Sequence[str], start: np.ndarray) -> dict[str, AbstractBound]:
    """Bounds of the fields that declare an interval and start inside it."""
    bounds: dict[str, AbstractBound] = {}
    for path, value in zip(free, start.tolist(), strict=True):
        low, high = interval_of(system, path)
        if low is not None and high is not None and low < value < high:
            bounds[path] = Between(low=np.asarray(low), high=np.asarray(high))
    return bounds


class _ClosedForms(eqx.Module):
    """Observables over (grid axes without seed, their own axes), at the locations of the data."""

    templates: tuple[Any, ...]
    columns: tuple[dict[str, np.ndarray], ...]
    run_ids: tuple[np.ndarray, ...]
    positions: tuple[dict[str, tuple[np.ndarray, ...]], ...]
    free: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    grid_shape: tuple[int, ...] = eqx.field(static=True)
    index: dict[str, Any]

    def __call__(self, values: Float[Array, " p"], inputs: None) -> dict[str, Array]:
        n_runs = math.prod(self.grid_shape)
        out = {n: jnp.full((n_runs, *shape), jnp.nan) for n, shape in self.shapes}
        buckets = zip(self.templates, self.columns, self.run_ids, self.positions, strict=True)
        for template, columns, run_ids, positions in buckets:
            filled = set_leaves(template, {path: values[k] for k, path in enumerate(self.free)})
            predictions = predict_columns(filled, columns, len(run_ids))
            for n in out:
                out[n] = out[n].at[jnp.ix_(run_ids, *positions[n])].set(predictions[n])
        full = {n: out[n].reshape(*self.grid_shape, *shape) for n, shape in self.shapes}
        return {n: full[n][where] for n, where in self.index.items()}


def _closed_forms(
    grid: Grid,
    layout: Layout,
    free: tuple[str, ...],
    observables: Sequence[str] | None,
    measured: Sequence[str],
) -> tuple[_ClosedForms, dict[str, Any], frozenset[str]]:
    """The theory of a grid, the coordinates of each observable, and which take both signs."""
    closed = closed_forms(layout)
    # observables of one state repeat each other: by default one of them is compared
    usable = [name for name in closed if name in measured] or closed
    names = ["loss" if "loss" in usable else usable[0]] if observables is None else [*observables]
    for name in names:
        if name not in closed:
            observable = grid.system.schema.observables.get(name)
            reason = "" if observable is None else observable.no_theory
            hint = f": {reason}." if reason else choices(name, closed)
            raise ValueError(f"`observables` must have a closed form, got {name!r}{hint}")
    blank = dict.fromkeys(free, 0.0)  # the same for every start, so that they share one program
    dims = {n: layout.observables[n].dims for n in names}
    theory = _ClosedForms(
        templates=tuple(set_leaves(b.padded_system, blank) for b in layout.buckets),
        columns=tuple(b.columns for b in layout.buckets),
        run_ids=tuple(b.run_ids for b in layout.buckets),
        positions=tuple({n: tuple(p[d] for d in dims[n]) for n in names} for p in layout.positions),
        free=free,
        shapes=tuple((n, layout.shape(n)) for n in names),
        grid_shape=tuple(grid.shape[:-1]),
        index={},
    )
    labels = {**grid.coordinates, **layout.coordinates}
    coordinates = {n: {d: labels[d] for d in (*grid.dims[:-1], *dims[n])} for n in names}
    return theory, coordinates, frozenset(n for n in names if layout.observables[n].signed)
