"""`predict`: the closed form of a whole grid, a program per structure."""

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.paths import set_leaves
from jaxscale.sweep._bucket import columns_of, padded_system_of, structure_of, structures
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._program import PROGRAMS
from jaxscale.sweep._store import MemoryStore
from jaxscale.sweep._structure import structure_key

if TYPE_CHECKING:
    import xarray

PREDICTED_AT_ONCE = 64  # bounds the memory of expectations over large grids


class Structure(NamedTuple):
    """Points of a grid that one program predicts: they differ from its system in `columns`."""

    traced_system: AbstractSystem
    columns: dict[str, np.ndarray]
    run_ids: np.ndarray


def structures_of(grid: Grid) -> list[Structure]:
    """A `Structure` per combination of values of the static and object axes."""
    parts = []
    for ids in structures(grid, np.arange(grid.n_runs)):
        columns, _ = columns_of(grid, ids)
        parts.append(
            Structure(padded_system_of(grid, columns, structure_of(grid, ids)), columns, ids)
        )
    return parts


def predict(grid: Grid) -> "xarray.Dataset":
    """Closed form of every observable that has one, in float64.

    **Arguments**

    - `grid`: the grid.

    **Returns** a `Dataset` with the dimensions of `run` but `seed`; with a `status` where finding a
    closed form can fail.

    **Raises** `ValueError` for what is no `Grid`.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> theory = js.predict(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}))
    >>> print(theory.loss.isel(step=-1).values.round(4))
    [0.4142 0.1878]
    """
    if not isinstance(grid, Grid):
        raise ValueError(f"`grid` must be a Grid, got {grid!r}.")
    one_seed = Grid(grid.system, grid.axes, seeds=grid.seeds[:1], key=grid.key)
    parts = structures_of(one_seed)
    layout = Layout.of_predictions(
        one_seed, [p.traced_system for p in parts], [p.run_ids for p in parts]
    )
    results = MemoryStore(layout)
    with jax.enable_x64(True):
        for index, part in enumerate(parts):
            results.write(index, 0, part.run_ids, _predictions(part))
    return results.dataset().isel(seed=0, drop=True)


def _predictions(part: Structure) -> dict[str, np.ndarray]:
    """Predictions of all points of a structure, in calls of one shape for grids of any size."""
    n_points = len(part.run_ids) if part.columns else 1
    size = min(PREDICTED_AT_ONCE, 1 << (n_points - 1).bit_length())
    arrays = {path: np.asarray(column) for path, column in part.columns.items()}
    leaves, static = eqx.partition(part.traced_system, eqx.is_array_like)

    def columns_from(first: int) -> dict[str, np.ndarray]:
        index = np.minimum(np.arange(first, first + size), n_points - 1)
        return {path: column[index] for path, column in arrays.items()}

    def build() -> Any:
        def call(leaves: Any, columns: dict[str, Any]) -> Any:
            return predict_columns(eqx.combine(leaves, static), columns, size)

        return jax.jit(call).lower(leaves, columns_from(0)).compile()

    kinds = tuple((path, column.dtype) for path, column in sorted(arrays.items()))
    program = PROGRAMS.find(("predict", structure_key(part.traced_system), kinds, size), build)
    calls = [program(leaves, columns_from(first)) for first in range(0, n_points, size)]
    stacked = jax.tree.map(lambda *values: np.concatenate(values), *calls)
    return {name: values[np.minimum(np.arange(len(part.run_ids)), n_points - 1)]
            for name, values in stacked.items()}  # fmt: skip


def predict_columns(system: AbstractSystem, columns: dict[str, Any], n_runs: int) -> Any:
    """`predict` of `n_runs` systems that differ from `system` in their columns."""

    def one(column: dict[str, Any]) -> Any:
        return set_leaves(system, column).predict()

    if not columns:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_runs, *x.shape)), one({}))
    traced = {path: jnp.asarray(column) for path, column in columns.items()}
    if n_runs <= PREDICTED_AT_ONCE:
        return jax.vmap(one)(traced)
    return jax.lax.map(one, traced, batch_size=PREDICTED_AT_ONCE)
