"""Compiled programs: the runs of a chunk, spread over devices and processed in groups.

`shard_map` spreads the runs over the local devices without any collective, and on each device
`lax.map` runs over groups of `vmap`-ed runs. Every run sees its own leaves and its own key and
nothing of its neighbours. Numbers are arguments of a program, so that a process compiles once per
structure and shape: `PROGRAMS` keeps what was used last.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxscale._devices import device_memory
from jaxscale._linalg import one_blas_thread
from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem
from jaxscale.keys import IMPLEMENTATION
from jaxscale.paths import set_leaves
from jaxscale.sweep._bucket import Bucket, cached_group, devices_for, with_micro_batches
from jaxscale.sweep._structure import structure_key

RUNS = "runs"
MOST_PROGRAMS = 32  # that a process keeps; 30 to 40 MB each


class ProgramCache:
    """Compiled programs of a process by structure; the least recently used is dropped first.

    **Arguments**

    - `most`: number of programs that are kept.
    """

    def __init__(self, most: int):
        self._most = most
        self._programs: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.RLock()  # threads of one process share its programs

    def find(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """The program of `key`, built if it is missing; threads wait for one that is built."""
        with self._lock:
            if key not in self._programs:
                self._programs[key] = build()
                while len(self._programs) > self._most:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._programs

    def values(self) -> list[Any]:
        """The programs, the most recently used last."""
        with self._lock:
            return list(self._programs.values())

    def clear(self) -> None:
        """Drop all programs."""
        with self._lock:
            self._programs.clear()


PROGRAMS = ProgramCache(MOST_PROGRAMS)


@dataclasses.dataclass(frozen=True)
class Task:
    """One chunk as plain data: everything that a process needs to compute it.

    - `padded_system`, `group`: what the program is traced with, cut into micro-batches where it
      runs.
    - `columns`, `seeds`: of the runs, padding included.
    - `root`: data of the root key.
    - `memory`: bytes that the program may take on each device; None for what the device allows.
    - `matmul_precision`: of float32 products on accelerators.
    - `platform`: where the group was chosen.
    """

    padded_system: AbstractSystem
    group: int
    columns: dict[str, np.ndarray]
    seeds: np.ndarray
    root: np.ndarray
    memory: float | None
    matmul_precision: str
    platform: str = dataclasses.field(default_factory=jax.default_backend)


@dataclasses.dataclass(frozen=True)
class Answer:
    """Results of a chunk, the seconds spent compiling, and the devices that computed it."""

    values: dict[str, np.ndarray]
    compile_seconds: float
    device: str


class Program:
    """A compiled program.

    **Arguments**

    - `traced_system`: a system of its structure, with sizes at their maximum.
    - `task`: a chunk of its shapes.
    - `group`: runs per `vmap`.
    - `n_devices`: that share a chunk.
    """

    def __init__(self, traced_system: AbstractSystem, task: Task, group: int, n_devices: int):
        self.traced_system, self.group, self.n_devices = traced_system, group, n_devices
        leaves, static = eqx.partition(traced_system, eqx.is_array_like)

        def one(leaves: Any, root: Any, column: dict[str, Any], seed: Any) -> Any:
            system: AbstractSystem = set_leaves(eqx.combine(leaves, static), column)
            key = jr.wrap_key_data(root, impl=IMPLEMENTATION)
            return system.simulate(jr.fold_in(key, seed))

        def chunk(leaves: Any, root: Any, columns: dict[str, Any], seeds: Any) -> Any:
            def alone(arguments: Any) -> Any:
                return one(leaves, root, *jax.tree.map(lambda x: x[0], arguments))

            def together(arguments: Any) -> Any:
                if group == 1:  # a batch axis of length 1 would cost XLA its plain products
                    return jax.tree.map(lambda x: x[None], alone(arguments))
                return jax.vmap(lambda column, seed: one(leaves, root, column, seed))(*arguments)

            return jax.lax.map(together, (columns, seeds))

        spread, everywhere = PartitionSpec(RUNS), PartitionSpec()
        sharded = jax.shard_map(
            eqx.debug.assert_max_traces(chunk, max_traces=1),
            mesh=_mesh(n_devices),
            in_specs=(everywhere, everywhere, spread, spread),
            out_specs=spread,
            check_vma=False,
        )
        began = time.perf_counter()
        lowered = jax.jit(sharded).lower(leaves, task.root, *self._arguments(task))
        _check_outputs(traced_system, lowered.out_info)
        self._compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - began

    @property
    def bytes(self) -> float:
        """Memory of a call on each device, by the compiler's own account."""
        sizes = self._compiled.memory_analysis()
        if sizes is None:  # not offered by every backend
            return 0.0
        return sizes.temp_size_in_bytes + sizes.output_size_in_bytes + sizes.argument_size_in_bytes

    @property
    def text(self) -> str:
        """The compiled program, as XLA prints it."""
        return self._compiled.as_text() or ""

    def _arguments(self, task: Task) -> tuple[dict[str, Any], Any]:
        """Columns and seeds, shaped (groups, group) and spread over the devices."""
        sharding = NamedSharding(_mesh(self.n_devices), PartitionSpec(RUNS))

        def shape(column: np.ndarray) -> Any:
            return jax.device_put(column.reshape(-1, self.group), sharding)

        return {p: shape(c) for p, c in task.columns.items()}, shape(task.seeds)

    def __call__(self, system: AbstractSystem, task: Task) -> dict[str, np.ndarray]:
        """Observables of the runs of a chunk, on the host; `system` has the program's structure."""
        leaves = eqx.filter(system, eqx.is_array_like)
        out = self._compiled(leaves, task.root, *self._arguments(task))
        return {k: np.asarray(v).reshape(-1, *v.shape[2:]) for k, v in out.items()}


def _check_outputs(system: AbstractSystem, returned: dict[str, Any]) -> None:
    """Check that a system returns what its schema declares.

    **Raises** `ValueError` naming the observable and both shapes.
    """
    name, schema = type(system).__name__, system.schema
    declared = {n: schema.shape(n) for n in schema.observables} | {STATUS: ()}
    for observable in {**declared, **returned}:
        if observable not in returned:
            raise ValueError(
                f"`schema` of {name} declares {observable!r}, which it does not return "
                f"({', '.join(returned)})."
            )
        shape = returned[observable].shape[2:]
        if declared.get(observable) != shape:
            what = f"with shape {declared[observable]}" if observable in declared else "not at all"
            raise ValueError(
                f"`schema` of {name} declares {observable!r} {what}, it returns shape {shape}."
            )


def _mesh(n_devices: int) -> Mesh:
    devices = jax.local_devices()[:n_devices]
    return jax.make_mesh((n_devices,), (RUNS,), axis_types=(AxisType.Auto,), devices=devices)


def chunk_runs(bucket: Bucket, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Position of each run of a chunk in its bucket, and its run id (-1 for padding)."""
    first, n = chunk * bucket.chunk, bucket.n_runs
    numbers = np.arange(first, first + bucket.chunk)
    source = np.minimum(numbers, n - 1)
    return source, np.where(numbers < n, bucket.run_ids[source], -1)


def compute(
    task: Task,
    traced_system: AbstractSystem,
    n_devices: int,
    compiling: Callable[[], None] = lambda: None,
) -> Answer:
    """Compute a chunk in this process.

    **Arguments**

    - `task`: the chunk.
    - `traced_system`: its system, with its steps sliced for the devices of this process.
    - `n_devices`: that share the chunk.
    - `compiling`: called before a program is compiled.

    **Returns** the results, with the seconds spent compiling.
    """
    seconds = 0.0
    devices = tuple(jax.local_devices()[:n_devices])

    def program_of(group: int) -> Program:
        def build() -> Program:
            nonlocal seconds
            compiling()
            program = Program(traced_system, task, group, n_devices)
            seconds += program.compile_seconds
            return program

        return PROGRAMS.find((structure, shapes, group, devices), build)

    with (
        jax.enable_x64(task.padded_system.dtype == "float64"),
        jax.default_matmul_precision(task.matmul_precision),
    ):
        structure = structure_key(traced_system)
        shapes = (len(task.seeds), *((p, c.dtype) for p, c in sorted(task.columns.items())))
        program = program_of(task.group)
        used, per_device = program.bytes, len(task.seeds) // n_devices
        memory = device_memory() if task.memory is None else task.memory
        if used > memory and task.group > 1:  # the plan was wrong: smaller groups, once
            most = max(1, int(task.group * memory / used))
            program = program_of(max(g for g in range(1, most + 1) if per_device % g == 0))
        values = program(traced_system, task)
    return Answer(values, seconds, describe_devices(program.n_devices))


def describe_devices(n_devices: int) -> str:
    """Number and kind of the devices that this process uses."""
    device = jax.local_devices()[0]
    return f"{n_devices} x {device.device_kind} ({device.platform})"


def compute_anywhere(task: Task) -> Answer:
    """Compute a chunk in a worker process, on all its devices that can share it evenly."""
    traced_system, group = with_micro_batches(task.padded_system), task.group
    if task.platform != jax.default_backend():  # planned elsewhere
        group = cached_group(traced_system)
    n_devices, group = devices_for(len(task.seeds), group, jax.local_device_count())
    with one_blas_thread():
        return compute(dataclasses.replace(task, group=group), traced_system, n_devices)
