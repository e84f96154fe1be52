"""Runs that one compiled program serves, how they are cut into its calls, and what they cost."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxscale._devices import host_memory
from jaxscale._system import AbstractSystem, largest_divisor, require_schema
from jaxscale._targets import Target
from jaxscale.paths import replace
from jaxscale.sweep._grid import Grid, positions
from jaxscale.training import AbstractTrainedSystem

CPU_WORKING_BYTES = 400_000
GPU_WORKING_BYTES = 2_000_000_000  # on an H200 groups gain up to the largest tried, 1.2 GB
CPU_SLICE_ABOVE_BYTES, CPU_SLICE_BYTES = 4_000_000, 1_000_000
CPU_FLOPS = 45e9
# reached on an H200: 8 to 21 of 67 TFLOP/s by networks of width 16 to 1000; bandwidth by a copy
REACHED_FLOPS, REACHED_BANDWIDTH = 12 / 67, 0.74
CPU_KERNEL_SECONDS, GPU_STEP_SECONDS = 0.5e-6, 40e-6  # of a group: dispatch, launches
CPU_DRAW_SECONDS = 6.5e-9
CPU_SOLVER_SECONDS = 120e-6  # of a run that calls factorisations: small ones and the branches
CHUNK_SECONDS = 5.0
LONG_SECONDS = 2.0  # of a group, from which on its runs are trained in stretches
# of a bucket, up to which quick code of `Work.quick` costs less time than its compilation saves
QUICK_SECONDS = 4.0
CALL_BYTES = 2**21  # of the results of a call on each device, which are cleared before it
HOST_COPIES = 4  # of a chunk's results: computed, written, and being compressed by several threads


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Runs of the same static fields, with sizes padded to the largest of them."""

    padded_system: AbstractSystem  # of the program; its arrays are long enough for every run
    run_ids: np.ndarray  # flat indices of the runs in the grid
    columns: dict[str, np.ndarray]  # for every leaf axis, the value of each run
    seeds: np.ndarray  # seed of each run
    chunk: int  # runs that are written together
    group: int  # runs per `vmap`
    n_devices: int  # devices that share a chunk
    per_call: int = 1  # groups that a call computes on each device, at most
    target: Target = dataclasses.field(default_factory=Target.of_this_process)
    stretched: bool = False  # whether its runs are trained by stretches of steps
    quick: bool = False  # whether its program is compiled quickly

    @functools.cached_property
    def traced_system(self) -> AbstractSystem:
        """The system that is traced, with its steps sliced for the target."""
        return with_micro_batches(self.padded_system, self.target)

    @property
    def n_runs(self) -> int:
        """Runs, padding apart."""
        return len(self.run_ids)

    @property
    def n_chunks(self) -> int:
        """Chunks, the last of which may be padded."""
        return math.ceil(self.n_runs / self.chunk)

    def ids_of(self, chunk: int) -> np.ndarray:
        """Runs of one chunk, padding apart."""
        return self.run_ids[chunk * self.chunk : (chunk + 1) * self.chunk]

    def only(self, chunk: int) -> "Bucket":
        """Bucket of one chunk, padded by its last run."""
        source = np.arange(chunk * self.chunk, (chunk + 1) * self.chunk).clip(max=self.n_runs - 1)
        columns = {path: column[source] for path, column in self.columns.items()}
        part = dataclasses.replace(
            self, run_ids=self.run_ids[source], columns=columns, seeds=self.seeds[source]
        )
        if "traced_system" in vars(self):  # as in every plan: not made again for every chunk
            vars(part)["traced_system"] = self.traced_system
        return part

    def in_groups(self, group: int) -> "Bucket":
        """The same chunks in groups of another size, which divides the runs of a device."""
        per_call = self.chunk // (self.n_devices * group) if self.stretched else self.per_call
        return dataclasses.replace(self, group=group, per_call=per_call)

    @property
    def kinds(self) -> tuple[tuple[str, np.dtype], ...]:
        """Names and types of the columns, which its program is compiled for."""
        return tuple((path, column.dtype) for path, column in sorted(self.columns.items()))

    @functools.cached_property
    def bytes_per_device(self) -> float:
        """Memory of one call on each device: the runs in flight, and its results."""
        in_flight = self.group * resident_bytes(self.traced_system)
        results = self.per_call * self.group * self.result_bytes
        return in_flight + results * (2 if self.stretched else 1)  # the history is as large

    @functools.cached_property
    def result_bytes(self) -> float:
        """Bytes that one run returns."""
        schema = self.padded_system.schema
        floats = sum(math.prod(schema.shape(name)) for name in schema.observables)
        return itemsize(self.padded_system) * floats

    @property
    def flops(self) -> float:
        """Floating-point operations of all runs at the sizes of the program."""
        return self.n_runs * self.traced_system.work().flops

    @functools.cached_property
    def run_seconds(self) -> float:
        """Estimated time of one run on one device, in its group."""
        return run_seconds(self.traced_system, self.group, self.target)

    @property
    def bound(self) -> str:
        """What takes the longest of a run: its "flops", its "bytes" or its "launches"."""
        seconds = seconds_by_cause(self.traced_system, self.group, self.target)
        return max(seconds, key=lambda cause: seconds[cause])

    @property
    def least_seconds(self) -> dict[str, float]:
        """Time at the vendor's figures: of all flops at the peak, of all bytes."""
        rounds = math.ceil(self.n_runs / self.n_devices)
        seconds = least_seconds(self.traced_system, self.target)
        return {cause: rounds * s for cause, s in seconds.items()}

    @property
    def group_seconds(self) -> float:
        """Estimated time of one group for all its steps."""
        return self.group * self.run_seconds

    @property
    def seconds(self) -> float:
        """Estimated run time."""
        return math.ceil(self.n_runs / self.n_devices) * self.run_seconds

    def summary(self) -> dict[str, Any]:
        """The numbers that a store keeps."""
        return {
            "runs": self.n_runs,
            "chunks": self.n_chunks,
            "runs_per_chunk": self.chunk,
            "runs_per_group": self.group,
            "devices": self.n_devices,
            "stretched": self.stretched,
            "megabytes_per_device": round(self.bytes_per_device / 1e6, 3),
        }


def itemsize(system: AbstractSystem) -> int:
    """Bytes of a float of the system."""
    return np.dtype(system.dtype).itemsize


def resident_bytes(system: AbstractSystem) -> float:
    """Bytes that one run holds at its peak, its results apart."""
    return itemsize(system) * system.work().resident_floats


def columns_of(grid: Grid, run_ids: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Leaf columns and seeds of runs."""
    index = positions(grid, run_ids)
    columns = {path: np.stack(grid.axes[path])[index[path]] for path in grid.leaf_axes}
    return columns, np.asarray(grid.seeds, np.uint32)[index["seed"]]


def structures(grid: Grid, run_ids: np.ndarray) -> list[np.ndarray]:
    """Runs of every combination of values of the structural axes."""
    index = positions(grid, run_ids)
    combination = np.zeros(len(run_ids), int)
    for path in grid.structural_axes:
        combination = combination * len(grid.axes[path]) + index[path]
    return [run_ids[combination == value] for value in np.unique(combination)]


def structural_system(grid: Grid, run_ids: np.ndarray) -> AbstractSystem:
    """The grid's system with the values that these runs share on the structural axes."""
    system, index = grid.system, positions(grid, run_ids)
    for path in grid.structural_axes:
        values = np.unique(index[path])
        if len(values) > 1:
            raise ValueError(f"axis `{path}` needs a program per value; a bucket mixes them.")
        system = replace(system, path, grid.axes[path][int(values[0])])
    return system


def padded_to(system: AbstractSystem, columns: dict[str, np.ndarray]) -> AbstractSystem:
    """The system with arrays that hold every run of `columns`, its own sizes at their maximum."""
    for path, column in columns.items():
        system = replace(system, path, np.max(column))
    return system.padded_for(columns)


def with_micro_batches(system: AbstractSystem, target: Target) -> AbstractSystem:
    """The system with its steps sliced where they leave the cache of a CPU."""
    size = itemsize(system)
    if target.is_host and size * system.work().working_floats > CPU_SLICE_ABOVE_BYTES:
        return system.with_micro_batch(CPU_SLICE_BYTES / size)
    return system


def cached_group(system: AbstractSystem, target: Target) -> int:
    """Runs per `vmap` whose working set stays in cache (on an accelerator: fills it)."""
    work = system.work()
    if work.branches and target.is_host:
        return 1
    working = CPU_WORKING_BYTES if target.is_host else GPU_WORKING_BYTES
    return max(1, int(working // max(itemsize(system) * work.working_floats, 1)))


def run_seconds(system: AbstractSystem, group: int, target: Target) -> float:
    """Estimated seconds of one run on one device, in groups of `group`."""
    seconds = seconds_by_cause(system, group, target)
    launches = seconds.pop("launches")
    return max(seconds.values()) + launches


def seconds_by_cause(system: AbstractSystem, group: int, target: Target) -> dict[str, float]:
    """Estimated seconds of one run for its flops, meanwhile its bytes, and for its launches."""
    work = system.work()
    if target.is_host:
        solver = CPU_SOLVER_SECONDS if work.branches else 0.0
        other = CPU_DRAW_SECONDS * work.draws + solver
        computing = work.flops / (CPU_FLOPS * 4 / itemsize(system)) + other
        step = CPU_KERNEL_SECONDS * work.kernels
        return {"flops": computing, "launches": step * work.n_steps / group}
    least = least_seconds(system, target)
    return {
        "flops": least["flops"] / REACHED_FLOPS,
        "bytes": least["bytes"] / REACHED_BANDWIDTH,
        "launches": GPU_STEP_SECONDS * work.n_steps / group,
    }


def least_seconds(system: AbstractSystem, target: Target) -> dict[str, float]:
    """Seconds of one run for its flops at the peak, and for its bytes at the full bandwidth."""
    work, size = system.work(), itemsize(system)
    moved = size * (work.traffic_floats or 0.0)
    return {"flops": work.flops * size / 4 / target.flops, "bytes": moved / target.bandwidth}


def uncut_bucket(grid: Grid, run_ids: np.ndarray, stretched: bool = False) -> Bucket:
    """Bucket of runs that share a structure, in one chunk and one group."""
    columns, seeds = columns_of(grid, run_ids)
    padded = padded_to(structural_system(grid, run_ids), columns)
    require_schema(padded)
    n = len(run_ids)
    return Bucket(padded, run_ids, columns, seeds, n, n, 1, stretched=stretched)


def on_local_devices(
    bucket: Bucket, chunk: int, group: int, memory: float, most_runs: int | None
) -> Bucket:
    """Bucket in these chunks, on all devices of its target that share one evenly."""
    n_devices, group = devices_for(chunk, group, bucket.target.n_devices)
    return _with_calls(bucket, chunk, group, n_devices, memory, most_runs)


def planned_bucket(
    grid: Grid,
    run_ids: np.ndarray,
    target: Target,
    memory: float,
    most_runs: int | None,
    keep_states: bool,
) -> Bucket:
    """Bucket of runs that share a structure, cut by time, by memory, and evenly over devices.

    A chunk has at most `most_runs`; its bytes per device exceed `memory` only if one run alone
    does. Runs of which a group takes longer than `LONG_SECONDS` are cut in time: a chunk is a group
    on each device, trained by stretches of steps.
    """
    n_devices = min(target.n_devices, len(run_ids), most_runs or len(run_ids))
    bucket = dataclasses.replace(uncut_bucket(grid, run_ids), target=target)
    system, outputs = bucket.traced_system, bucket.result_bytes
    resident = resident_bytes(system)
    group = max(1, min(cached_group(system, target), int(memory // (resident + outputs))))
    per_device = math.ceil(len(run_ids) / n_devices)
    in_flight = min(group, per_device)
    long = keep_states or in_flight * run_seconds(system, in_flight, target) > LONG_SECONDS
    if long and is_trained_by_steps(system):
        most = per_device if most_runs is None else most_runs // n_devices
        most = min(most, max(1, int(memory // (resident + 2 * outputs))))  # and the history
        group = _even(per_device, min(group, per_device, most))
        bucket = dataclasses.replace(bucket, stretched=True)
        return _with_calls(bucket, group * n_devices, group, n_devices, memory, most_runs)
    in_time = max(1, int(CHUNK_SECONDS / run_seconds(system, group, target)))
    for_results = min(memory - group * resident, 0.5 * host_memory() / HOST_COPIES / n_devices)
    most = max(1, int(for_results // max(outputs, 1)))
    if most_runs is not None:
        most = min(most, most_runs // n_devices)
    if target.is_host:  # where a chunk is short even if that makes groups smaller
        most = min(in_time, most)
        per_device = math.ceil(per_device / math.ceil(per_device / most))
        group = _even(per_device, min(group, per_device), most)
        n_groups = math.ceil(per_device / group)
    else:  # a full group takes little more than the time of one run: a chunk has at least one
        group = _even(per_device, min(group, per_device, most))
        n_groups = math.ceil(per_device / group)
        n_chunks = math.ceil(n_groups / max(1, min(in_time, most) // group))
        n_groups = math.ceil(n_groups / n_chunks)
    chunk = n_groups * group * n_devices
    return _with_calls(bucket, chunk, group, n_devices, memory, most_runs)


def _with_calls(
    bucket: Bucket, chunk: int, group: int, n_devices: int, memory: float, most_runs: int | None
) -> Bucket:
    """Bucket in these chunks and groups, with as many groups per call as its results allow.

    They are the same for chunks of any length, which therefore share a program. Runs that are
    trained in stretches take all groups of a chunk in one call.
    """
    if bucket.stretched:
        return dataclasses.replace(bucket, chunk=chunk, n_devices=n_devices).in_groups(group)
    results = max(group * bucket.result_bytes, 1)
    free = memory - group * resident_bytes(bucket.traced_system)
    n_groups = math.ceil(bucket.n_runs / (group * n_devices))
    per_call = min(1 << (n_groups - 1).bit_length(), int(min(CALL_BYTES, free) // results))
    if most_runs is not None:
        per_call = min(per_call, most_runs // (group * n_devices))
    return dataclasses.replace(
        bucket, chunk=chunk, group=group, n_devices=n_devices, per_call=max(1, per_call)
    )


def quick_if_brief(bucket: Bucket) -> Bucket:
    """The bucket of all runs, to be compiled quickly where they are brief.

    Nothing measured decides, since a run that is continued has to be compiled as before.
    """
    may_be = bucket.target.is_host and bucket.traced_system.work().quick
    return dataclasses.replace(bucket, quick=may_be and bucket.seconds <= QUICK_SECONDS)


def is_trained_by_steps(system: AbstractSystem) -> bool:
    """Whether `init`, `step` and `observe` are all that a run does: it may be cut in time."""
    simulate = AbstractTrainedSystem.simulate
    return isinstance(system, AbstractTrainedSystem) and type(system).simulate is simulate


def recut(bucket: Bucket, ratio: float, most_runs: int | None) -> Bucket:
    """Bucket in chunks of about `CHUNK_SECONDS`, if runs take `ratio` times their estimate.

    Its groups stay as they are: so does its program. A chunk that is planned well enough, within a
    factor of two, is not changed.
    """
    if bucket.stretched:
        return bucket
    per_group = bucket.group * bucket.n_devices  # runs that all devices compute at once
    seconds = ratio * bucket.group_seconds
    lasts = bucket.chunk / per_group * seconds
    if lasts <= 2 * CHUNK_SECONDS and (bucket.n_chunks == 1 or 2 * lasts >= CHUNK_SECONDS):
        return bucket
    most = 0.5 * host_memory() / HOST_COPIES / max(bucket.result_bytes * per_group, 1)
    if most_runs is not None:
        most = min(most, most_runs // per_group)
    n_groups = math.ceil(bucket.n_runs / per_group)
    groups = max(1, int(min(n_groups, most, CHUNK_SECONDS / max(seconds, 1e-9))))
    groups = math.ceil(n_groups / math.ceil(n_groups / groups))
    return dataclasses.replace(bucket, chunk=groups * per_group)


def _even(n_runs: int, most: int, limit: float = math.inf) -> int:
    """Runs per group, at most `most`: the least padding, never beyond `limit`, and large groups."""

    def padded(group: int) -> int:
        return math.ceil(n_runs / group) * group

    allowed = [g for g in range(1, most + 1) if padded(g) <= max(limit, n_runs)]
    large = [g for g in allowed if 2 * g >= most]
    return min(large or allowed, key=lambda g: (padded(g), -g))


def devices_for(chunk: int, group: int, available: int) -> tuple[int, int]:
    """Devices that share a chunk evenly, as many as there are, and the largest group they allow."""
    n_devices = largest_divisor(chunk, available)
    return n_devices, largest_divisor(chunk // n_devices, group)
