"""`predict`: the closed form of a whole grid."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxscale.paths import set_leaves
from jaxscale.sweep.dataset import Layout
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import plan
from jaxscale.sweep.store import MemoryStore
from jaxscale.system import AbstractSystem

if TYPE_CHECKING:
    import xarray

PREDICTED_AT_ONCE = 64  # bounds the memory of expectations over large grids


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
    planned = plan(one_seed, max_programs=one_seed.n_structures)
    results = MemoryStore(Layout.of(planned, predicted=True))
    with jax.enable_x64(True):
        for index, bucket in enumerate(planned.buckets):
            values = predict_columns(bucket.traced_system, bucket.columns, len(bucket.run_ids))
            results.write(index, 0, bucket.run_ids, {k: np.asarray(v) for k, v in values.items()})
    return results.dataset().isel(seed=0, drop=True)


@eqx.filter_jit
def predict_columns(template: AbstractSystem, columns: dict[str, Any], n_runs: int) -> Any:
    """`predict` of `n_runs` systems that differ from `template` in their columns."""

    def one(column: dict[str, Any]) -> Any:
        return set_leaves(template, column).predict()

    if not columns:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_runs, *x.shape)), one({}))
    traced = {path: jnp.asarray(column) for path, column in columns.items()}
    if n_runs <= PREDICTED_AT_ONCE:
        return jax.vmap(one)(traced)
    return jax.lax.map(one, traced, batch_size=PREDICTED_AT_ONCE)
