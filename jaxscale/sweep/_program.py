"""Compiled programs: kept by structure, and run over the devices of this process.

`shard_map` spreads the runs of a call over the local devices without any collective, and on each
device a loop goes over groups of `vmap`-ed runs. The number of groups is an argument, so that one
program serves chunks of any length, in calls that last about `CALL_SECONDS` by the clock. Every run
sees its own leaves and its own key and nothing of its neighbours. Numbers are arguments of a
program, so that a process compiles once per structure and shape: `PROGRAMS` keeps what was used
last.
"""

import contextlib
import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem, largest_divisor
from jaxscale.keys import IMPLEMENTATION
from jaxscale.paths import set_leaves
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._plan import Options
from jaxscale.sweep._structure import structure_key

RUNS = "runs"
CALL_SECONDS = 0.5  # between looks at the clock
FASTER = 8.0  # a call has at most so many times the groups of the one before
MOST_PROGRAMS = 32  # that a process keeps; 30 to 40 MB each


class ProgramCache:
    """The `most` programs of a process that were used last, by structure."""

    def __init__(self, most: int):
        self._most = most
        self._programs: dict[Hashable, Any] = {}  # in order, the most recently used last
        self._lock = threading.RLock()  # threads of one process share its programs

    def find(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """The program of `key`, built if it is missing; threads wait for one that is built."""
        with self._lock:
            program = self._programs.pop(key) if key in self._programs else build()
            self._programs[key] = program
            if len(self._programs) > self._most:
                del self._programs[next(iter(self._programs))]
            return program

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

    The bucket holds the runs of the chunk alone, padding included.
    """

    bucket: Bucket
    root: np.ndarray  # data of the root key
    options: Options


@dataclasses.dataclass(frozen=True)
class Answer:
    """Results of a chunk, the seconds spent compiling, and the devices that computed it."""

    values: dict[str, np.ndarray]
    compile_seconds: float
    device: str


def program_function(bucket: Bucket, mesh: Mesh) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What `bucket` computes in a call on the devices of `mesh`, and the shapes of its arguments.

    These are leaves of the traced system, root key, number of groups, columns and seeds. The
    devices may be absent, where the function is only exported or compiled.
    """
    leaves, static = eqx.partition(bucket.traced_system, eqx.is_array_like)

    def one(leaves: Any, root: Any, column: dict[str, Any], seed: Any) -> Any:
        system: AbstractSystem = set_leaves(eqx.combine(leaves, static), column)
        key = jr.wrap_key_data(root, impl=IMPLEMENTATION)
        return system.simulate(jr.fold_in(key, seed))

    @jax.jit  # traced once, for its shapes and for the loop
    def of_group(leaves: Any, root: Any, arguments: Any) -> Any:
        if bucket.group == 1:  # a batch axis of length 1 would cost XLA its plain products
            single = one(leaves, root, *jax.tree.map(lambda x: x[0], arguments))
            return jax.tree.map(lambda x: x[None], single)
        return jax.vmap(lambda column, seed: one(leaves, root, column, seed))(*arguments)

    def call(leaves: Any, root: Any, n_groups: Any, *arguments: Any) -> Any:
        def numbered(i: Any) -> Any:
            return of_group(leaves, root, jax.tree.map(lambda x: x[i], arguments))

        def write(i: Any, out: Any) -> Any:
            return jax.tree.map(lambda o, v: o.at[i].set(v), out, numbered(i))

        shapes = jax.eval_shape(numbered, n_groups)
        out = jax.tree.map(lambda s: jnp.zeros((bucket.per_call, *s.shape), s.dtype), shapes)
        return jax.lax.fori_loop(0, n_groups, write, out)

    def spread_out(column: np.ndarray) -> Any:
        shape = (bucket.n_devices * bucket.per_call, bucket.group, *column.shape[1:])
        dtype = jax.dtypes.canonicalize_dtype(column.dtype)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spread))

    spread, everywhere = PartitionSpec(RUNS), PartitionSpec()
    sharded = jax.shard_map(
        eqx.debug.assert_max_traces(call, max_traces=1),
        mesh=mesh,
        in_specs=(everywhere, everywhere, everywhere, spread, spread),
        out_specs=spread,
        check_vma=False,
    )
    root = jax.eval_shape(lambda: jr.key_data(jr.key(0, impl=IMPLEMENTATION)))
    columns = {path: spread_out(column) for path, column in bucket.columns.items()}
    return sharded, (leaves, root, np.int32(0), columns, spread_out(bucket.seeds))


class Program:
    """A compiled program for calls of up to `per_call` groups, of the structure of `bucket`."""

    def __init__(self, bucket: Bucket):
        self.traced_system = bucket.traced_system
        began = time.perf_counter()
        function, arguments = program_function(bucket, _mesh(bucket.n_devices))
        lowered = jax.jit(function).lower(*arguments)
        _check_outputs(self.traced_system, lowered.out_info)
        self._compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - began

    @functools.cached_property
    def bytes(self) -> float:
        """Memory of a call on each device, by the compiler's own account."""
        return compiled_bytes(self._compiled)

    @property
    def text(self) -> str:
        """The compiled program, as XLA prints it."""
        return self._compiled.as_text() or ""

    def __call__(
        self, bucket: Bucket, root: np.ndarray, first: int, n_groups: int
    ) -> dict[str, np.ndarray]:
        """Observables of `n_groups` groups per device from run `first` on, on the host."""
        leaves = eqx.filter(bucket.traced_system, eqx.is_array_like)
        out = self._compiled(leaves, root, *_arguments(bucket, first, n_groups))
        n_runs = min(n_groups * bucket.n_devices * bucket.group, bucket.n_runs - first)

        def runs(value: Any) -> np.ndarray:
            by_device = np.asarray(value).reshape(
                bucket.n_devices, bucket.per_call, *value.shape[1:]
            )
            some = by_device[:, :n_groups].reshape(-1, *value.shape[2:])[:n_runs]
            return some.copy()  # a view would keep the results of a full call

        return {name: runs(value) for name, value in out.items()}


def compiled_bytes(compiled: jax.stages.Compiled) -> float:
    """Memory of a call on each device, by the compiler's own account; 0 if it gives none."""
    sizes = compiled.memory_analysis()
    if sizes is None:  # not offered by every backend
        return 0.0
    return sizes.temp_size_in_bytes + sizes.output_size_in_bytes + sizes.argument_size_in_bytes


def _arguments(bucket: Bucket, first: int, n_groups: int) -> tuple[Any, dict[str, Any], Any]:
    """Groups per device; columns and seeds, shaped (groups, group) and spread over the devices."""
    sharding = NamedSharding(_mesh(bucket.n_devices), PartitionSpec(RUNS))
    shape = (bucket.n_devices, bucket.per_call, bucket.group)
    rows = np.full(shape, first)
    rows[:, :n_groups] += np.arange(rows[:, :n_groups].size).reshape(-1, n_groups, bucket.group)
    rows = rows.clip(max=bucket.n_runs - 1).reshape(-1, bucket.group)

    def put(column: np.ndarray) -> Any:
        return jax.device_put(column[rows], sharding)

    columns = {path: put(column) for path, column in bucket.columns.items()}
    return np.int32(n_groups), columns, put(bucket.seeds)


def _check_outputs(system: AbstractSystem, returned: dict[str, Any]) -> None:
    """Raise `ValueError` unless a system returns what its schema declares."""
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


@dataclasses.dataclass
class Pace:
    """What a session has learned about a bucket, and takes longer to find than a chunk."""

    key: Hashable = None  # its structure
    seconds: float = math.nan  # of a run on each device


def compute(
    task: Task,
    pace: Pace | None = None,
    begun: Answer | None = None,
    most_seconds: float = math.inf,
    *,
    compiling: Callable[[], None] = lambda: None,
    compiled: Callable[[float], None] = lambda seconds: None,
    advanced: Callable[[int, float], None] = lambda n_runs, seconds: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Answer:
    """Compute a chunk in this process, its first runs apart that have `begun`.

    It ends early after the call of the program with which `most_seconds` have passed. `compiling`
    is called before a program is compiled, `compiled` after it, with its seconds; `advanced` after
    every call, with its runs and seconds. `ValueError` if the device has too little memory.
    """
    bucket, root, seconds, total = task.bucket, task.root, 0.0, 0.0
    pace = Pace() if pace is None else pace
    memory = task.options.memory or bucket.target.budget
    with (
        _memory_errors(bucket, memory),
        jax.enable_x64(bucket.padded_system.dtype == "float64"),
        jax.default_matmul_precision(task.options.matmul_precision),
    ):
        devices = tuple(jax.local_devices()[: bucket.n_devices])
        if pace.key is None:
            pace.key = structure_key(bucket.traced_system)

        def program_of(bucket: Bucket) -> Program:
            def build() -> Program:
                nonlocal seconds
                compiling()
                program = Program(bucket)
                seconds += program.compile_seconds
                compiled(program.compile_seconds)
                return program

            key = (pace.key, bucket.kinds, devices, bucket.per_call, bucket.group)
            return PROGRAMS.find(key, build)

        program = program_of(bucket)
        if bucket.group > 1 and program.bytes > memory:  # the plan was wrong: smaller groups, once
            fitting = bucket.group * memory / program.bytes
            group = largest_divisor(bucket.chunk // bucket.n_devices, fitting)
            bucket = dataclasses.replace(bucket, group=group)
            program = program_of(bucket)
        parts = [] if begun is None else [begun.values]
        first, n_groups = sum(len(part[STATUS]) for part in parts), 1
        while first < bucket.n_runs and total < most_seconds:
            remaining = math.ceil((bucket.n_runs - first) / (bucket.group * bucket.n_devices))
            if not math.isnan(pace.seconds):
                in_time = CALL_SECONDS / max(pace.seconds * bucket.group, 1e-9)
                n_groups = int(min(in_time, FASTER * n_groups))
            n_groups = max(1, min(n_groups, remaining, bucket.per_call))
            began = clock()
            parts.append(program(bucket, root, first, n_groups))
            spent = clock() - began
            pace.seconds = spent / (n_groups * bucket.group)
            n_runs = len(parts[-1][STATUS])
            first, total = first + n_runs, total + spent
            advanced(n_runs, spent)
    values = parts[0]
    if len(parts) > 1:
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values = {name: value[: bucket.n_runs] for name, value in values.items()}
    return Answer(values, seconds, describe_devices(bucket.n_devices))


@contextlib.contextmanager
def _memory_errors(bucket: Bucket, memory: float) -> Iterator[None]:
    """Raise `ValueError` where XLA says that a device has too little memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needed = bucket.bytes_per_device
        raise ValueError(
            f"`plan` needs more memory than a device has: about {needed / 1e6:.3g} MB by its "
            f"estimate, and it may take {memory / 1e6:.3g} MB; give a smaller size or batch, or "
            "give js.plan a smaller `memory`, for fewer runs at once."
        ) from error


def describe_devices(n_devices: int) -> str:
    """Number and kind of the devices that this process uses."""
    device = jax.local_devices()[0]
    return f"{n_devices} x {device.device_kind} ({device.platform})"
