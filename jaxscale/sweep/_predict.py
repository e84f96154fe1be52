"""A grid without simulations: its closed forms by `predict`, the system of one run by `select`."""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxscale._arguments import hinted
from jaxscale._labels import match_labels
from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem
from jaxscale._text import choices, described
from jaxscale._warn import warn_user
from jaxscale.paths import get, set_leaves
from jaxscale.sweep._axes import label
from jaxscale.sweep._bucket import Bucket, structures, uncut_bucket
from jaxscale.sweep._cache import PROGRAMS
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._store import MemoryStore
from jaxscale.sweep._structure import structure_key

if TYPE_CHECKING:
    import xarray

PREDICTED_AT_ONCE = 64  # bounds the memory of expectations over large grids


@hinted
def predict(grid: Grid) -> "xarray.Dataset":
    """Closed form of every observable that has one, in float64.

    **Arguments**

    - `grid`: the grid.

    **Returns** a `Dataset` with the dimensions of `run` but `seed`; with a `status` where finding a
    closed form can fail. It is empty where nothing has a closed form: a warning then names the part
    of the system that has none, and so does the attribute `no_theory`. What is `calibrated` has an
    attribute `uncalibrated`, naming fields, while these have their default values.

    **Raises** `ValueError` if `grid` is not a `Grid`.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> theory = js.predict(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}))
    >>> print(theory.loss.isel(step=-1).values.round(4))
    [0.4142 0.1878]
    """
    if not isinstance(grid, Grid):
        hint = (
            ": take the grid that was run, js.predict(grid)" if hasattr(grid, "data_vars") else ""
        )
        raise ValueError(f"`grid` must be a Grid, got {described(grid)}{hint}.")
    layout = theory_layout(grid)
    results = MemoryStore(layout)
    reason = "" if closed_forms(layout) else no_theory(grid)
    with jax.enable_x64(True):
        for index, bucket in enumerate(layout.buckets if not reason else ()):
            results.write(index, 0, _predictions(bucket))
    theory = results.dataset().isel(seed=0, drop=True)
    if reason:
        warn_user(f"theory is empty: {reason}")
        return theory.drop_vars(STATUS, errors="ignore").assign_attrs(no_theory=reason)
    systems = [bucket.padded_system for bucket in layout.buckets]
    for name in closed_forms(layout):
        fields = [f for s in systems for f in uncalibrated(s, name) if f not in grid.axes]
        if fields:
            theory[name].attrs["uncalibrated"] = ", ".join(dict.fromkeys(fields))
    return theory


def closed_forms(layout: Layout) -> list[str]:
    """Names of the observables that a layout of closed forms holds."""
    return [name for name in layout.observables if name != STATUS]


def no_theory(grid: Grid) -> str:
    """One line on why no observable of a grid has a closed form, naming the parts."""
    schemas = [bucket.padded_system.schema for bucket in theory_layout(grid).buckets]
    every = (o.no_theory for schema in schemas for o in schema.observables.values())
    reasons = dict.fromkeys(reason for reason in every if reason)
    name = type(grid.system).__name__
    return f"{name}: {'; '.join(reasons) or 'no observable has a closed form'}"


def uncalibrated(system: AbstractSystem, name: str) -> list[str]:
    """Fields that calibrate an observable and have their default values."""
    fields, observable = [], system.schema.observables.get(name)
    for path in observable.fitted if observable is not None else ():
        head, _, field = path.rpartition(".")
        owner = get(system, head) if head else system
        default = next(f.default for f in dataclasses.fields(owner) if f.name == field)
        fields += [path] if np.all(getattr(owner, field) == default) else []
    return fields


def theory_layout(grid: Grid) -> Layout:
    """Layout of the closed forms of a grid at its first seed, with a bucket per structure."""
    one_seed = grid.replace(seeds=grid.seeds[:1])
    parts = structures(one_seed, np.arange(one_seed.n_runs))
    return Layout.of_predictions(one_seed, [uncut_bucket(one_seed, ids) for ids in parts])


def _predictions(bucket: Bucket) -> dict[str, np.ndarray]:
    """Predictions of all points of a structure, in calls of one shape for grids of any size."""
    n_points = bucket.n_runs if bucket.columns else 1
    size = min(PREDICTED_AT_ONCE, 1 << (n_points - 1).bit_length())
    parts = dataclasses.replace(bucket, chunk=size)
    columns = [parts.only(i).columns for i in range(math.ceil(n_points / size))]
    leaves, static = eqx.partition(bucket.padded_system, eqx.is_array_like)

    def build() -> Any:
        def call(leaves: Any, columns: dict[str, Any]) -> Any:
            return predict_columns(eqx.combine(leaves, static), columns, size)

        lowered = jax.jit(call).lower(leaves, columns[0])
        _check_predicted(bucket.padded_system, lowered.out_info)
        return lowered.compile()

    key = ("predict", structure_key(bucket.padded_system), bucket.kinds, size)
    program = PROGRAMS.find(key, build)
    calls = [program(leaves, part) for part in columns]
    point = np.minimum(np.arange(bucket.n_runs), n_points - 1)
    return {name: np.concatenate([call[name] for call in calls])[point] for name in calls[0]}


def predict_columns(system: AbstractSystem, columns: dict[str, Any], n_runs: int) -> Any:
    """`predict` of `n_runs` systems that differ from `system` in their columns."""

    def one(column: dict[str, Any]) -> Any:
        return set_leaves(system, column).predict()

    if not columns:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_runs, *jnp.shape(x))), one({}))
    traced = {path: jnp.asarray(column) for path, column in columns.items()}
    if n_runs <= PREDICTED_AT_ONCE:
        return jax.vmap(one)(traced)
    return jax.lax.map(one, traced, batch_size=PREDICTED_AT_ONCE)


def _check_predicted(system: AbstractSystem, predicted: Any) -> None:
    """Raise `ValueError` unless a system predicts what its schema says."""
    name, schema = type(system).__name__, system.schema
    if not isinstance(predicted, Mapping):
        raise ValueError(
            f"`predict` of {name} must return a dictionary of arrays, got {described(predicted)}."
        )
    for observable in schema.predicted():
        if observable not in predicted:
            raise ValueError(
                f"`predict` of {name} must return {observable!r}, as its schema says; it returns "
                f"{', '.join(predicted) or 'nothing'}."
            )
        if (shape := predicted[observable].shape[1:]) != schema.shape(observable):
            dims = schema.observables[observable].dims
            raise ValueError(
                f"`predict` of {name} must return {observable!r} with dimensions {dims}, shape "
                f"{schema.shape(observable)}, got {shape}."
            )


def grid_of(runs: "xarray.Dataset") -> Grid:
    """The grid that `runs` came from, rebuilt from its attributes."""
    if "grid" not in getattr(runs, "attrs", {}):
        raise ValueError(
            "`runs` must come from js.run or js.open_store: it has no attribute `grid`."
        )
    return _parsed(runs.attrs["grid"])


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Grid:
    """Validating every value of a large grid takes a while, and figures ask for it often."""
    return Grid.from_dict(json.loads(text))


def select(runs: "xarray.Dataset", **values: Any) -> tuple[AbstractSystem, Key[Array, ""]]:
    """System and key of one run, to simulate, train or inspect it alone.

    The system has its own sizes, not the padded ones. Where the sweep did not pad it, it equals
    that run bit for bit as a rule, else up to rounding, which chaotic training (a large learning
    rate) amplifies: single runs differ after some hundred steps, while means over seeds agree (FAQ,
    "Are two runs equal to the last bit?").

    **Arguments**

    - `runs`: result of `js.run` or `js.open_store`.
    - `values`: one value per dimension of the grid, `seed` included (paths with a dot as
      `**{"data.n_samples": 1000}`); a dimension with a single value, or along which `runs` is a
      selection already, may be left out.

    **Returns** `(system, key)`, for `js.train(system, key)` or `system.simulate(key)` (within
    `with jax.enable_x64(True):` for a float64 system).

    **Raises** `ValueError` naming a dimension that is missing, unknown, or lacks the value.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=2))
    >>> chosen, key = js.select(runs, learning_rate=0.2, seed=1)
    >>> float(chosen.learning_rate)
    0.2
    """
    grid = grid_of(runs)
    coordinates = {d: np.atleast_1d(runs.coords[d]) for d in grid.dims if d in runs.coords}
    selected = {d: own.item() for d, own in coordinates.items() if own.size == 1}
    run_id = run_at(grid, selected | values)
    return grid.system_at(run_id), grid.run_key(grid.seeds[run_id % len(grid.seeds)])


def run_at(grid: Grid, values: Mapping[str, Any]) -> int:
    """Run at one value per dimension, of which those with a single value may be left out."""
    for name in values:
        if name not in grid.dims:
            raise ValueError(f"`{name}` is not a dimension of the grid{choices(name, grid.dims)}")
    index = []
    for name, coordinate in grid.coordinates.items():
        if name not in values and len(coordinate) > 1:
            raise ValueError(f"`{name}` must be given; it has {len(coordinate)} values.")
        index.append(_position(name, coordinate, values[name]) if name in values else 0)
    return int(np.ravel_multi_index(index, grid.shape))


def _position(name: str, coordinate: np.ndarray, value: Any) -> int:
    try:
        wanted = float(value) if coordinate.dtype.kind in "iuf" else str(label(value))
    except (TypeError, ValueError):
        wanted = ""
    (place,) = match_labels(coordinate, np.asarray([wanted]))
    if place < 0:
        raise ValueError(f"`{name}` has no value {value!r}; it has {coordinate.tolist()}.")
    return int(place)
