"""`plan`: how a grid is cut into compiled programs and chunks, computed without compiling.

A *bucket* is a set of runs that one program serves: the same static fields, with sizes padded to
the bucket's maximum. Its run axis is cut into *chunks*, each one call of the program; a chunk is
spread over the devices, and on each device `lax.map` walks over *groups* of `vmap`-ed runs, whose
size keeps the working set in cache. On a CPU, steps that touch far more than the cache are sliced
(`micro_batch`), which changes results by rounding only.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxscale.fields import as_int, replace
from jaxscale.sweep.grid import Grid
from jaxscale.system import AbstractSystem

CPU_WORKING_BYTES = 400_000
GPU_WORKING_BYTES = 200_000_000
CPU_SLICE_ABOVE_BYTES, CPU_SLICE_BYTES = 4_000_000, 1_000_000
CPU_FLOPS, GPU_FLOPS = 45e9, 5e12
STEP_SECONDS = 15e-6
CHUNK_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Runs that one compiled program serves.

    - `template`: system whose static fields the program is traced with, sizes at their maximum.
    - `run_ids`: flat indices of the runs in the grid.
    - `columns`: for every leaf axis, the value of each run.
    - `seeds`: seed of each run.
    - `chunk`: runs per call; `group`: runs per `vmap`.
    - `bytes_per_chunk`, `flops`, `seconds`: estimates.
    """

    template: AbstractSystem
    run_ids: np.ndarray
    columns: dict[str, np.ndarray]
    seeds: np.ndarray
    chunk: int
    group: int
    bytes_per_chunk: float
    flops: float
    seconds: float

    @property
    def n_chunks(self) -> int:
        """Calls of the program."""
        return math.ceil(len(self.run_ids) / self.chunk)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A grid cut into buckets and chunks; printable, and it keeps its compiled programs."""

    grid: Grid
    buckets: tuple[Bucket, ...]
    n_devices: int
    warnings: tuple[str, ...]
    programs: dict[int, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def n_runs(self) -> int:
        """Runs of the grid."""
        return self.grid.n_runs

    @property
    def n_compiles(self) -> int:
        """Programs, one per bucket."""
        return len(self.buckets)

    @property
    def seconds(self) -> float:
        """Estimated run time, compilation apart."""
        return sum(b.seconds for b in self.buckets)

    @property
    def flops(self) -> float:
        """Estimated floating-point operations."""
        return sum(b.flops for b in self.buckets)

    def summary(self) -> dict[str, Any]:
        """The numbers that are printed and stored."""
        return {
            "runs": self.n_runs,
            "buckets": self.n_compiles,
            "devices": self.n_devices,
            "chunks": [b.n_chunks for b in self.buckets],
            "runs_per_chunk": [b.chunk for b in self.buckets],
            "runs_per_group": [b.group for b in self.buckets],
            "megabytes_per_chunk": [round(b.bytes_per_chunk / 1e6, 3) for b in self.buckets],
            "flops": self.flops,
            "estimated_seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        table = Table(title=repr(self.grid), title_justify="left")
        names = ("bucket", "runs", "chunks", "runs/chunk", "runs/vmap", "MB/chunk", "GFLOP", "~s")
        for name in names:
            table.add_column(name, justify="right")
        for i, b in enumerate(self.buckets):
            megabytes, gigaflops = f"{b.bytes_per_chunk / 1e6:.1f}", f"{b.flops / 1e9:.3g}"
            cells = (i, len(b.run_ids), b.n_chunks, b.chunk, b.group, megabytes, gigaflops)
            table.add_row(*map(str, cells), f"{b.seconds:.3g}")
        console = Console(width=100)
        with console.capture() as text:
            console.print(table)
            console.print(
                f"{self.n_runs} runs, {self.n_compiles} compiles, {self.n_devices} devices, "
                f"about {self.seconds:.3g} s",
            )
            for warning in self.warnings:
                console.print(f"warning: {warning}")
        return text.get().rstrip()


def plan(grid: Grid, *, max_runs_per_chunk: int | None = None) -> Plan:
    """Cut a grid into buckets and chunks; compiles nothing.

    **Arguments**

    - `grid`: the grid.
    - `max_runs_per_chunk`: upper bound on the runs of one call.

    **Returns** a `Plan`, for `print` and `js.run`.

    **Raises** `ValueError` for a bound below 1.
    """
    if not isinstance(grid, Grid):
        raise ValueError(f"`grid` must be a Grid, got {grid!r}.")
    if max_runs_per_chunk is not None:
        if as_int("max_runs_per_chunk", max_runs_per_chunk) < 1:
            raise ValueError(f"`max_runs_per_chunk` must be at least 1, got {max_runs_per_chunk}.")
    combinations = _combinations(grid)
    n_devices = min(jax.local_device_count(), grid.n_runs // len(combinations))
    buckets = tuple(_bucket(grid, c, n_devices, max_runs_per_chunk) for c in combinations)
    unit = min(b.chunk for b in buckets)
    buckets = tuple(_cut(b, b.chunk // unit * unit, n_devices) for b in buckets)
    told = dict.fromkeys(w for b in buckets for w in _warnings(b))
    return Plan(grid, buckets, n_devices, tuple(told))


def with_chunks(plan: Plan, runs_per_chunk: Sequence[int]) -> Plan:
    """The same runs cut as a store was cut, one chunk length per bucket.

    **Raises** `ValueError` if a chunk cannot be spread evenly over the devices.
    """
    if [b.chunk for b in plan.buckets] == list(runs_per_chunk):
        return plan
    n = plan.n_devices
    if len(runs_per_chunk) != len(plan.buckets) or any(c < 1 or c % n for c in runs_per_chunk):
        raise ValueError(
            f"`store` was cut into chunks of {list(runs_per_chunk)} runs, which {n} devices cannot "
            "share evenly; continue it with a number of devices that divides them."
        )
    pairs = zip(plan.buckets, runs_per_chunk, strict=True)
    return Plan(plan.grid, tuple(_cut(b, c, n) for b, c in pairs), n, plan.warnings)


def _cut(bucket: Bucket, chunk: int, n_devices: int) -> Bucket:
    """`bucket` with another chunk; its group becomes the largest one that divides it evenly."""
    if chunk == bucket.chunk:
        return bucket
    per_device = chunk // n_devices
    group = max(g for g in range(1, bucket.group + 1) if per_device % g == 0)
    size = bucket.bytes_per_chunk * chunk / bucket.chunk
    return dataclasses.replace(bucket, chunk=chunk, group=group, bytes_per_chunk=size)


def _combinations(grid: Grid) -> list[dict[str, int]]:
    paths = grid.structural_axes
    counts = [range(len(grid.axes[p])) for p in paths]
    return [dict(zip(paths, c, strict=True)) for c in itertools.product(*counts)]


def _bucket(
    grid: Grid, chosen: dict[str, int], n_devices: int, max_runs_per_chunk: int | None
) -> Bucket:
    template = grid.system
    for path, index in chosen.items():
        template = replace(template, path, grid.axes[path][index])
    for path in grid.leaf_axes:  # sizes re-derive their padded maximum from the largest value
        template = replace(template, path, max(grid.axes[path]))

    index = np.indices(grid.shape).reshape(len(grid.shape), -1)
    mine = np.ones(grid.n_runs, bool)
    for path, i in chosen.items():
        mine &= index[grid.dims.index(path)] == i
    run_ids = np.flatnonzero(mine)
    position = dict(zip(grid.dims, index[:, mine], strict=True))
    columns = {p: np.stack(grid.axes[p])[position[p]] for p in grid.leaf_axes}
    seeds = np.asarray(grid.seeds, np.uint32)[position["seed"]]
    template = template.enclosing(columns)

    work, itemsize = template.work(), np.dtype(template.dtype).itemsize
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and itemsize * work.working_floats > CPU_SLICE_ABOVE_BYTES:
        template = template.sliced(CPU_SLICE_BYTES / itemsize)
        work = template.work()
    working = itemsize * work.working_floats
    group = max(1, int((CPU_WORKING_BYTES if on_cpu else GPU_WORKING_BYTES) // max(working, 1)))
    overhead = STEP_SECONDS * work.n_steps / (group if on_cpu else 1000)
    run_seconds = work.flops / (CPU_FLOPS if on_cpu else GPU_FLOPS) + overhead

    n_runs = len(run_ids)
    per_device = math.ceil(n_runs / n_devices)
    cap = max(1, int(CHUNK_SECONDS / run_seconds))
    cap = max(min(cap, per_device), min(group, per_device) if cap >= group else 1)
    if max_runs_per_chunk is not None:
        cap = max(1, min(cap, max_runs_per_chunk // n_devices))
    per_device = math.ceil(per_device / math.ceil(per_device / cap))
    group = math.ceil(per_device / math.ceil(per_device / min(group, per_device)))
    per_device = math.ceil(per_device / group) * group
    outputs = sum(math.prod(template.schema.shape(n)) for n in template.schema.observables)
    return Bucket(
        template=template,
        run_ids=run_ids,
        columns=columns,
        seeds=seeds,
        chunk=per_device * n_devices,
        group=group,
        bytes_per_chunk=itemsize
        * n_devices
        * (group * work.resident_floats + per_device * outputs),
        flops=work.flops * n_runs,
        seconds=run_seconds * n_runs / n_devices,
    )


def _warnings(bucket: Bucket) -> list[str]:
    """Warnings of the template and of each single axis value on it."""
    told = list(bucket.template.warnings())
    for path, column in bucket.columns.items():
        for value in np.unique(column):
            told += replace(bucket.template, path, value).warnings()
    return told
