"""One compiled program: the runs of a chunk, spread over devices and walked in groups.

`shard_map` spreads the runs over the local devices without any collective, and on each device
`lax.map` walks over groups of `vmap`-ed runs. Every run sees its own leaves and its own key and
nothing of its neighbours.
"""

import dataclasses
import threading
import time
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxscale.devices import device_memory
from jaxscale.keys import IMPLEMENTATION
from jaxscale.linalg import one_blas_thread
from jaxscale.paths import set_leaves
from jaxscale.status import STATUS
from jaxscale.sweep.bucket import Bucket, cached_group, devices_for, with_micro_batches
from jaxscale.system import AbstractSystem

RUNS = "runs"
PROGRAMS_KEPT = 8  # by a worker process


@dataclasses.dataclass(frozen=True)
class Task:
    """One chunk as plain data: everything that a process needs to compute it.

    - `name`: of the program; a process compiles it once.
    - `padded_system`, `group`: what the program is traced with, its steps sliced where it runs.
    - `columns`, `seeds`: of the runs, padding included.
    - `root`: data of the root key.
    - `memory`: bytes that the program may take on each device; None for what the device allows.
    - `matmul_precision`: of float32 products on accelerators.
    - `platform`: where the group was chosen.
    """

    name: tuple[str, int]
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
    """A compiled program and the shapes it takes; `task` is any of its chunks."""

    def __init__(self, task: Task, n_devices: int):
        self.n_devices, self.group, self.compile_seconds = n_devices, task.group, 0.0
        self.traced_system = with_micro_batches(task.padded_system)
        self._leaves, static = eqx.partition(self.traced_system, eqx.is_array_like)
        self._compile(task, static)
        used, per_device = self.bytes, len(task.seeds) // n_devices
        memory = device_memory() if task.memory is None else task.memory
        if used > memory and self.group > 1:  # the plan was wrong: smaller groups, once
            most = max(1, int(self.group * memory / used))
            self.group = max(g for g in range(1, most + 1) if per_device % g == 0)
            self._compile(task, static)

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

    def _compile(self, task: Task, static: Any) -> None:
        group = self.group

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
            mesh=_mesh(self.n_devices),
            in_specs=(everywhere, everywhere, spread, spread),
            out_specs=spread,
            check_vma=False,
        )
        began = time.perf_counter()
        lowered = jax.jit(sharded).lower(self._leaves, task.root, *self._arguments(task))
        _check_outputs(self.traced_system, lowered.out_info)
        self._compiled = lowered.compile()
        self.compile_seconds += time.perf_counter() - began

    def _arguments(self, task: Task) -> tuple[dict[str, Any], Any]:
        """Columns and seeds, shaped (groups, group) and spread over the devices."""
        sharding = NamedSharding(_mesh(self.n_devices), PartitionSpec(RUNS))

        def shape(column: np.ndarray) -> Any:
            return jax.device_put(column.reshape(-1, self.group), sharding)

        return {p: shape(c) for p, c in task.columns.items()}, shape(task.seeds)

    def __call__(self, task: Task) -> dict[str, np.ndarray]:
        """Observables of the runs of a chunk, on the host."""
        out = self._compiled(self._leaves, task.root, *self._arguments(task))
        return {k: np.asarray(v).reshape(-1, *v.shape[2:]) for k, v in out.items()}


def _check_outputs(system: AbstractSystem, found: dict[str, Any]) -> None:
    """Whether a system returns what its schema declares.

    **Raises** `ValueError` naming the observable and both shapes.
    """
    name, schema = type(system).__name__, system.schema
    declared = {n: schema.shape(n) for n in schema.observables} | {STATUS: ()}
    for observable in {**declared, **found}:
        if observable not in found:
            raise ValueError(
                f"`schema` of {name} declares {observable!r}, which it does not return "
                f"({', '.join(found)})."
            )
        shape = found[observable].shape[2:]
        if declared.get(observable) != shape:
            what = f"with shape {declared[observable]}" if observable in declared else "not at all"
            raise ValueError(
                f"`schema` of {name} declares {observable!r} {what}, it returns shape {shape}."
            )


def _mesh(n_devices: int) -> Mesh:
    devices = jax.local_devices()[:n_devices]
    return jax.make_mesh((n_devices,), (RUNS,), axis_types=(AxisType.Auto,), devices=devices)


def slots(bucket: Bucket, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Position of each run of a chunk in its bucket, and its run id (-1 for padding)."""
    first, n = chunk * bucket.chunk, bucket.n_runs
    numbers = np.arange(first, first + bucket.chunk)
    source = np.minimum(numbers, n - 1)
    return source, np.where(numbers < n, bucket.run_ids[source], -1)


def compute(task: Task, programs: dict[Any, Program], n_devices: int) -> Answer:
    """Compute a chunk here.

    **Arguments**

    - `task`: the chunk.
    - `programs`: by name; the one of the task is compiled and added if it is missing.
    - `n_devices`: that share the chunk.

    **Returns** the results, with the seconds spent compiling.
    """
    seconds = 0.0
    with (
        jax.enable_x64(task.padded_system.dtype == "float64"),
        jax.default_matmul_precision(task.matmul_precision),
    ):
        with _compiling:  # threads of one process share its programs
            program = programs.get(task.name)
            if program is None:
                program = programs[task.name] = Program(task, n_devices)
                seconds = program.compile_seconds
            while len(programs) > PROGRAMS_KEPT and programs is _kept:
                programs.pop(next(iter(programs)))
        values = program(task)
    return Answer(values, seconds, here(program.n_devices))


def here(n_devices: int) -> str:
    """The devices of this process, in words."""
    device = jax.local_devices()[0]
    return f"{n_devices} x {device.device_kind} ({device.platform})"


_kept: dict[Any, Program] = {}
_compiling = threading.Lock()


def compute_anywhere(task: Task) -> Answer:
    """Compute a chunk in a worker process, on all its devices that can share it evenly."""
    group = task.group
    if task.platform != jax.default_backend():  # planned elsewhere
        group = cached_group(with_micro_batches(task.padded_system))
    n_devices, group = devices_for(len(task.seeds), group, jax.local_device_count())
    with one_blas_thread():
        return compute(dataclasses.replace(task, group=group), _kept, n_devices)
