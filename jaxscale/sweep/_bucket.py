"""`Bucket`: runs that one compiled program serves, and what they cost."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np

from jaxscale._devices import host_memory
from jaxscale._system import AbstractSystem
from jaxscale.paths import replace
from jaxscale.sweep._grid import Grid

CPU_WORKING_BYTES = 400_000
GPU_WORKING_BYTES = 2_000_000_000  # on an H200 groups gain up to the largest tried, 1.2 GB
CPU_SLICE_ABOVE_BYTES, CPU_SLICE_BYTES = 4_000_000, 1_000_000
CPU_FLOPS, GPU_FLOPS = 45e9, 12e12  # reached by networks of width 16 to 1000: 8 to 21 TFLOP/s
CPU_STEP_SECONDS, GPU_STEP_SECONDS = 15e-6, 40e-6  # of a group: dispatch, launches
CHUNK_SECONDS = 5.0
HOST_COPIES = 4  # of a chunk's results: computed, written, and being compressed by several threads


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Runs that one compiled program serves.

    - `padded_system`: the system of the program, its arrays long enough for every run.
    - `run_ids`: flat indices of the runs in the grid.
    - `columns`: for every leaf axis, the value of each run.
    - `seeds`: seed of each run.
    - `chunk`: runs per call; `group`: runs per `vmap`.
    - `n_devices`: devices that share a chunk.
    """

    padded_system: AbstractSystem
    run_ids: np.ndarray
    columns: dict[str, np.ndarray]
    seeds: np.ndarray
    chunk: int
    group: int
    n_devices: int

    @functools.cached_property
    def traced_system(self) -> AbstractSystem:
        """The system that is traced here, with its steps sliced for the devices of this process."""
        return with_micro_batches(self.padded_system)

    @property
    def n_runs(self) -> int:
        """Runs, padding apart."""
        return len(self.run_ids)

    @property
    def n_chunks(self) -> int:
        """Calls of the program."""
        return math.ceil(self.n_runs / self.chunk)

    def n_runs_of(self, chunk: int) -> int:
        """Runs of one chunk, padding apart."""
        return min(self.chunk, self.n_runs - chunk * self.chunk)

    @property
    def bytes_per_device(self) -> float:
        """Memory of one call on each device: the runs in flight, and the results of its runs."""
        itemsize, per_device = _itemsize(self.traced_system), self.chunk // self.n_devices
        floats = self.group * self.traced_system.work().resident_floats
        return itemsize * (floats + per_device * n_outputs(self.traced_system))

    @property
    def result_bytes(self) -> float:
        """Results of one run."""
        return _itemsize(self.traced_system) * n_outputs(self.traced_system)

    @property
    def flops(self) -> float:
        """Floating-point operations of all runs at the sizes of the program."""
        return self.n_runs * self.traced_system.work().flops

    @property
    def seconds(self) -> float:
        """Estimated run time."""
        rounds = math.ceil(self.n_runs / self.n_devices)
        return rounds * run_seconds(self.traced_system, self.group)


def _itemsize(system: AbstractSystem) -> int:
    return np.dtype(system.dtype).itemsize


def n_outputs(system: AbstractSystem) -> int:
    """Numbers that one run returns."""
    schema = system.schema
    return sum(math.prod(schema.shape(name)) for name in schema.observables)


def on_cpu() -> bool:
    """Whether programs run on the host."""
    return jax.default_backend() == "cpu"


def padded_system_of(
    grid: Grid, columns: dict[str, np.ndarray], chosen: dict[str, int]
) -> AbstractSystem:
    """System whose sizes hold these runs; `with_micro_batches` makes the one that is traced.

    **Arguments**

    - `grid`: the grid.
    - `columns`: values of the leaf axes that the program must hold, one entry per run.
    - `chosen`: index of the value of every structural axis.

    **Returns** the system with sizes at their maximum.
    """
    template = grid.system
    for path, index in chosen.items():
        template = replace(template, path, grid.axes[path][index])
    for path, column in columns.items():  # sizes re-derive their maximum from the largest value
        template = replace(template, path, np.max(column))
    return template.padded_for(columns)


def with_micro_batches(template: AbstractSystem) -> AbstractSystem:
    """The system with its steps sliced where they leave the cache of this process's devices."""
    itemsize = _itemsize(template)
    if on_cpu() and itemsize * template.work().working_floats > CPU_SLICE_ABOVE_BYTES:
        return template.with_micro_batch(CPU_SLICE_BYTES / itemsize)
    return template


def columns_of(grid: Grid, run_ids: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Leaf columns and seeds of runs."""
    position = dict(zip(grid.dims, np.unravel_index(run_ids, grid.shape), strict=True))
    columns = {p: np.stack(grid.axes[p])[position[p]] for p in grid.leaf_axes}
    return columns, np.asarray(grid.seeds, np.uint32)[position["seed"]]


def structure_of(grid: Grid, run_ids: np.ndarray) -> dict[str, int]:
    """Index of the value of every structural axis, the same for all runs."""
    position = dict(zip(grid.dims, np.unravel_index(run_ids, grid.shape), strict=True))
    found = {path: np.unique(position[path]) for path in grid.structural_axes}
    mixed = [path for path, index in found.items() if len(index) > 1]
    if mixed:
        raise ValueError(f"axis `{mixed[0]}` needs a program per value; a bucket mixes them.")
    return {path: int(index[0]) for path, index in found.items()}


def structures(grid: Grid, run_ids: np.ndarray) -> list[np.ndarray]:
    """Runs of every combination of values of the structural axes."""
    index = dict(zip(grid.dims, np.unravel_index(run_ids, grid.shape), strict=True))
    label = np.zeros(len(run_ids), int)
    for path in grid.structural_axes:
        label = label * len(grid.axes[path]) + index[path]
    return [run_ids[label == value] for value in np.unique(label)]


def cached_group(system: AbstractSystem) -> int:
    """Runs per `vmap` whose working set stays in cache (on an accelerator: fills it)."""
    work = system.work()
    if work.branches and on_cpu():
        return 1
    working = CPU_WORKING_BYTES if on_cpu() else GPU_WORKING_BYTES
    return max(1, int(working // max(_itemsize(system) * work.working_floats, 1)))


def run_seconds(template: AbstractSystem, group: int | None = None) -> float:
    """Estimated seconds of one run on one device, in groups of `group` or those that fit."""
    work, cpu = template.work(), on_cpu()
    group = cached_group(template) if group is None else group
    flops, step = (CPU_FLOPS, CPU_STEP_SECONDS) if cpu else (GPU_FLOPS, GPU_STEP_SECONDS)
    return work.flops / flops + step * work.n_steps / group


def make_bucket(
    grid: Grid,
    run_ids: np.ndarray,
    n_devices: int,
    memory: float,
    max_runs_per_chunk: int | None = None,
) -> Bucket:
    """Bucket of runs that share a structure, cut into chunks by time, memory and devices.

    **Arguments**

    - `grid`, `run_ids`: the runs.
    - `n_devices`: that share a chunk.
    - `memory`: bytes that a call may take on each device.
    - `max_runs_per_chunk`: the caller's bound.

    **Returns** the bucket; its bytes exceed the memory only if one run alone does.
    """
    columns, seeds = columns_of(grid, run_ids)
    padded = padded_system_of(grid, columns, structure_of(grid, run_ids))
    template = with_micro_batches(padded)
    work, itemsize = template.work(), _itemsize(template)
    outputs = itemsize * n_outputs(template)
    resident = itemsize * work.resident_floats
    group = cached_group(template)
    group = max(1, min(group, int(memory // (resident + outputs))))
    seconds = run_seconds(template, group)
    per_device = math.ceil(len(run_ids) / n_devices)
    cap = max(1, int(CHUNK_SECONDS / seconds))
    if not on_cpu():  # which computes a full group in little more than the time of one run
        cap = max(cap, group)
    cap = max(min(cap, per_device), min(group, per_device) if cap >= group else 1)
    cap = max(1, min(cap, int((memory - group * resident) // max(outputs, 1))))
    on_host = 0.5 * host_memory() / HOST_COPIES / n_devices
    cap = max(1, min(cap, int(on_host // max(outputs, 1))))
    if max_runs_per_chunk is not None:
        cap = max(1, min(cap, max_runs_per_chunk // n_devices))
    per_device = math.ceil(per_device / math.ceil(per_device / cap))
    group = _even(per_device, min(group, per_device), cap)
    per_device = math.ceil(per_device / group) * group
    return Bucket(padded, run_ids, columns, seeds, per_device * n_devices, group, n_devices)


def _even(n_runs: int, most: int, limit: int) -> int:
    """Runs per group, at most `most`: the least padding, never beyond `limit`, and large groups."""

    def padded(group: int) -> int:
        return math.ceil(n_runs / group) * group

    allowed = [g for g in range(1, most + 1) if padded(g) <= max(limit, n_runs)]
    large = [g for g in allowed if 2 * g >= most]
    return min(large or allowed, key=lambda g: (padded(g), -g))


def stored_bucket(grid: Grid, run_ids: np.ndarray, chunk: int, group: int) -> Bucket:
    """Bucket with the chunks that a store was cut into, on the devices that are here.

    **Arguments**: as `make_bucket`; `chunk` and `group` are runs per call and per `vmap`.

    **Raises** `ValueError` if the runs need several programs.
    """
    columns, seeds = columns_of(grid, run_ids)
    padded = padded_system_of(grid, columns, structure_of(grid, run_ids))
    n_devices, group = devices_for(chunk, group, jax.local_device_count())
    return Bucket(padded, run_ids, columns, seeds, chunk, group, n_devices)


def devices_for(chunk: int, group: int, available: int) -> tuple[int, int]:
    """Devices that share a chunk evenly, as many as there are, and the largest group they allow."""
    n_devices = max(d for d in range(1, min(available, chunk) + 1) if chunk % d == 0)
    per_device = chunk // n_devices
    return n_devices, max(g for g in range(1, min(group, per_device) + 1) if per_device % g == 0)


def summary(bucket: Bucket) -> dict[str, Any]:
    """The numbers of one bucket that a store keeps."""
    return {
        "runs": bucket.n_runs,
        "chunks": bucket.n_chunks,
        "runs_per_chunk": bucket.chunk,
        "runs_per_group": bucket.group,
        "devices": bucket.n_devices,
        "megabytes_per_device": round(bucket.bytes_per_device / 1e6, 3),
    }
