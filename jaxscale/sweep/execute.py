"""`run`: one compiled program per bucket, called chunk by chunk from the host.

Inside the program, `shard_map` spreads the runs of a chunk over the local devices without any
collective, and on each device `lax.map` walks over groups of `vmap`-ed runs. Every run sees its own
leaves and its own key and nothing of its neighbours.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxscale.fields import set_leaf
from jaxscale.keys import IMPLEMENTATION, root_key
from jaxscale.linalg import one_blas_thread
from jaxscale.sweep.dataset import Layout, provenance
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Bucket, Plan, with_chunks
from jaxscale.sweep.plan import plan as make_plan
from jaxscale.sweep.store import MemoryStore, ZarrStore
from jaxscale.system import AbstractSystem

if TYPE_CHECKING:
    import xarray

RUNS = "runs"
PREDICTED_AT_ONCE = 64  # bounds the memory of expectations over large grids


def _program(bucket: Bucket, root: Any, n_devices: int) -> Any:
    """Lowered and compiled program of a bucket, and the seconds it took."""
    leaves, static = eqx.partition(bucket.template, eqx.is_array_like)

    def one(leaves: Any, root: Any, column: dict[str, Any], seed: Any) -> Any:
        system: AbstractSystem = eqx.combine(leaves, static)
        for path, value in column.items():
            system = set_leaf(system, path, value)
        key = jr.wrap_key_data(root, impl=IMPLEMENTATION)
        return system.simulate(jr.fold_in(key, seed))

    def chunk(leaves: Any, root: Any, columns: dict[str, Any], seeds: Any) -> Any:
        def alone(arguments: Any) -> Any:
            return one(leaves, root, *jax.tree.map(lambda x: x[0], arguments))

        def group(arguments: Any) -> Any:
            if bucket.group == 1:  # a batch axis of length 1 would cost XLA its plain products
                return jax.tree.map(lambda x: x[None], alone(arguments))
            return jax.vmap(lambda column, seed: one(leaves, root, column, seed))(*arguments)

        return jax.lax.map(group, (columns, seeds))

    spread, everywhere = PartitionSpec(RUNS), PartitionSpec()
    sharded = jax.shard_map(
        eqx.debug.assert_max_traces(chunk, max_traces=1),
        mesh=_mesh(n_devices),
        in_specs=(everywhere, everywhere, spread, spread),
        out_specs=spread,
        check_vma=False,
    )
    began = time.perf_counter()
    compiled = jax.jit(sharded).lower(leaves, root, *_arguments(bucket, 0, n_devices)[:2]).compile()
    return compiled, leaves, time.perf_counter() - began


def _mesh(n_devices: int) -> Mesh:
    devices = jax.local_devices()[:n_devices]
    return jax.make_mesh((n_devices,), (RUNS,), axis_types=(AxisType.Auto,), devices=devices)


def _arguments(
    bucket: Bucket, chunk: int, n_devices: int
) -> tuple[dict[str, Any], Any, np.ndarray]:
    """Columns and seeds of one chunk, shaped (groups, group), and the run ids (-1 for padding)."""
    first, n = chunk * bucket.chunk, len(bucket.run_ids)
    slots = np.arange(first, first + bucket.chunk)
    source = np.minimum(slots, n - 1)
    ids = np.where(slots < n, bucket.run_ids[source], -1)

    sharding = NamedSharding(_mesh(n_devices), PartitionSpec(RUNS))

    def shape(column: np.ndarray) -> Any:
        return jax.device_put(column[source].reshape(-1, bucket.group), sharding)

    return {p: shape(c) for p, c in bucket.columns.items()}, shape(bucket.seeds), ids


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        disable=not shown,
        transient=True,
    )


def _chunks(plan: Plan, store: MemoryStore | ZarrStore, progress: bool) -> Iterator[Any]:
    root = jr.key_data(root_key(plan.grid.key))
    name = type(plan.grid.system).__name__
    with _bar(progress and plan.seconds > 1.0) as bar:
        task = bar.add_task(name, total=plan.n_runs)
        for index, bucket in enumerate(plan.buckets):
            with jax.enable_x64(bucket.template.dtype == "float64"):
                for chunk in range(bucket.n_chunks):
                    columns, seeds, ids = _arguments(bucket, chunk, plan.n_devices)
                    n_real = int(np.sum(ids >= 0))
                    if not store.is_done(index, chunk):
                        if index not in plan.programs:
                            bar.update(task, description=f"{name}: compiling")
                            plan.programs[index] = _program(bucket, root, plan.n_devices)
                            bar.update(task, description=name)
                        compiled, leaves, _ = plan.programs[index]
                        out = compiled(leaves, root, columns, seeds)
                        flat = {k: np.asarray(v).reshape(-1, *v.shape[2:]) for k, v in out.items()}
                        yield index, chunk, ids, flat
                    bar.update(task, advance=n_real)


def _results(path: Path | None, plan: Plan) -> tuple[MemoryStore | ZarrStore, Plan]:
    """Where results go, and `plan` cut as the store there was cut, if there is one."""
    if path is None:
        return MemoryStore(Layout.of(plan)), plan
    store = ZarrStore.create(path, Layout.of(plan))
    if store.is_complete:
        return store, plan
    plan = with_chunks(plan, store.runs_per_chunk)
    return ZarrStore(path, Layout.of(plan)), plan


def run(
    plan: Plan | Grid, *, store: str | Path | None = None, progress: bool | None = None
) -> "xarray.Dataset":
    """Run every run of a plan, once.

    Finished chunks are on disk before they count; the same call continues a store that was
    interrupted, in the chunks it was cut into. Ctrl-C keeps and returns what is finished.

    **Arguments**

    - `plan`: a `Plan`, or a `Grid` to plan with the defaults.
    - `store`: path of a Zarr store; None keeps the results in memory.
    - `progress`: show a bar for plans longer than a second; by default on a terminal.

    **Returns** a `Dataset` with the grid's dimensions, `seed`, and those of each observable.

    **Raises** `ValueError` if `store` holds something else.
    """
    plan = make_plan(plan) if isinstance(plan, Grid) else plan
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a Plan or a Grid, got {plan!r}.")
    path = None if store is None else Path(store)
    results, plan = _results(path, plan)
    if isinstance(results, ZarrStore) and results.is_complete:
        return results.dataset()
    shown = _bar(True).console.is_terminal if progress is None else progress
    compiled_before = set(plan.programs)
    began, complete = time.perf_counter(), True
    try:
        with one_blas_thread():
            for index, chunk, ids, values in _chunks(plan, results, shown):
                results.write(index, chunk, ids, values)
    except KeyboardInterrupt:
        complete = False
    new = [p for i, p in plan.programs.items() if i not in compiled_before]
    compile_seconds = sum(seconds for _, _, seconds in new)
    wall = time.perf_counter() - began
    results.finish(provenance(plan, wall, compile_seconds, complete))
    return results.dataset()


def predict(grid: Grid) -> "xarray.Dataset":
    """Closed form of every observable that has one, in float64.

    **Arguments**

    - `grid`: the grid.

    **Returns** a `Dataset` with the dimensions of `run` but `seed`; with a `status` where finding a
    closed form can fail.
    """
    if not isinstance(grid, Grid):
        raise ValueError(f"`grid` must be a Grid, got {grid!r}.")
    plan = make_plan(Grid(grid.system, grid.axes, seeds=grid.seeds[:1], key=grid.key))
    layout = Layout.of(plan, predicted=True)
    results = MemoryStore(layout)
    with jax.enable_x64(True):
        for index, bucket in enumerate(plan.buckets):
            values = predict_columns(bucket.template, bucket.columns, len(bucket.run_ids))
            results.write(index, 0, bucket.run_ids, {k: np.asarray(v) for k, v in values.items()})
    return results.dataset().isel(seed=0, drop=True)


@eqx.filter_jit
def predict_columns(template: AbstractSystem, columns: dict[str, Any], n_runs: int) -> Any:
    """`predict` of `n_runs` systems that differ from `template` in their columns."""

    def one(column: dict[str, Any]) -> Any:
        system = template
        for path, value in column.items():
            system = set_leaf(system, path, value)
        return system.predict()

    if not columns:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_runs, *x.shape)), one({}))
    traced = {path: jnp.asarray(column) for path, column in columns.items()}
    if n_runs <= PREDICTED_AT_ONCE:
        return jax.vmap(one)(traced)
    return jax.lax.map(one, traced, batch_size=PREDICTED_AT_ONCE)
