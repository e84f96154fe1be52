"""Short runs: a program that computes groups of runs from start to end.

`shard_map` spreads the runs of a call over the local devices without any collective, and on each
device a loop goes over groups of `vmap`-ed runs. The number of groups is an argument, so that one
program serves chunks of any length, in calls that last about `CALL_SECONDS` by the clock. Every run
sees its own leaves and its own key and nothing of its neighbours. Numbers are arguments of a
program, so that a process compiles once per structure and shape.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxscale._compilation import quick_options
from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem
from jaxscale._text import described
from jaxscale.keys import IMPLEMENTATION
from jaxscale.paths import set_leaves
from jaxscale.sweep._bucket import Bucket

RUNS = "runs"
ROOT = jax.ShapeDtypeStruct((2,), np.uint32)  # data of a key
CALL_SECONDS = 0.5  # between looks at the clock
FASTER = 8.0  # a call has at most so many times the groups (or steps) of the one before


def of_group(
    static: Any,
    group: int,
    function: Callable[..., Any],
    leaves: Any,
    root: Any,
    columns: dict[str, Any],
    seeds: Any,
    *more: Any,
) -> Any:
    """`function(system, key, *more)` of every run of a group, from its columns and its seed.

    `static` and `leaves` make the system, `root` is the data of the root key; `more` has an axis
    over the runs.
    """

    def single(column: dict[str, Any], seed: Any, *more: Any) -> Any:
        system: AbstractSystem = set_leaves(eqx.combine(leaves, static), column)
        key = jr.wrap_key_data(root, impl=IMPLEMENTATION)
        return function(system, jr.fold_in(key, seed), *more)

    if group == 1:  # a batch axis of length 1 would cost XLA its plain products
        arguments = jax.tree.map(lambda x: x[0], (columns, seeds, *more))
        return jax.tree.map(lambda x: x[None], single(*arguments))
    return jax.vmap(single)(columns, seeds, *more)


def spread_over(mesh: Mesh, call: Callable[..., Any], spread: Sequence[bool]) -> Callable[..., Any]:
    """`call` on every device of the mesh, with its part of the arguments that are `spread`."""
    return jax.shard_map(
        eqx.debug.assert_max_traces(call, max_traces=1),
        mesh=mesh,
        in_specs=tuple(PartitionSpec(RUNS) if part else PartitionSpec() for part in spread),
        out_specs=PartitionSpec(RUNS),
        check_vma=False,
    )


def shapes_of_runs(bucket: Bucket, mesh: Mesh) -> tuple[dict[str, Any], Any]:
    """Shapes of columns and seeds, by group, as they are spread over the devices of `mesh`."""

    def spread_out(column: np.ndarray) -> Any:
        shape = (bucket.n_devices * bucket.per_call, bucket.group, *column.shape[1:])
        return spread_shape(shape, jax.dtypes.canonicalize_dtype(column.dtype), mesh)

    columns = {path: spread_out(column) for path, column in bucket.columns.items()}
    return columns, spread_out(bucket.seeds)


def spread_shape(shape: tuple[int, ...], dtype: Any, mesh: Mesh) -> jax.ShapeDtypeStruct:
    """Shape of an array whose first axis is spread over the devices of `mesh`."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(RUNS)))


def compiled_bytes(compiled: jax.stages.Compiled) -> float:
    """Memory of a call on each device, by the compiler's own account; 0 if it gives none."""
    sizes = compiled.memory_analysis()
    if sizes is None:  # not offered by every backend
        return 0.0
    outputs = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return sizes.temp_size_in_bytes + outputs + sizes.argument_size_in_bytes


def program_function(bucket: Bucket, mesh: Mesh) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What `bucket` computes in a call on the devices of `mesh`, and the shapes of its arguments.

    These are leaves of the traced system, root key, number of groups, columns and seeds. The
    devices may be absent, where the function is only exported or compiled.
    """
    leaves, static = eqx.partition(bucket.traced_system, eqx.is_array_like)

    def simulate(system: Any, key: Any) -> Any:
        return system.simulate(key)

    @jax.jit  # traced once, for its shapes and for the loop
    def simulated(leaves: Any, root: Any, arguments: Any) -> Any:
        return of_group(static, bucket.group, simulate, leaves, root, *arguments)

    def call(leaves: Any, root: Any, n_groups: Any, *arguments: Any) -> Any:
        def numbered(i: Any) -> Any:
            return simulated(leaves, root, jax.tree.map(lambda x: x[i], arguments))

        def write(i: Any, out: Any) -> Any:
            return jax.tree.map(lambda o, v: o.at[i].set(v), out, numbered(i))

        shapes = jax.eval_shape(numbered, n_groups)
        out = jax.tree.map(lambda s: jnp.zeros((bucket.per_call, *s.shape), s.dtype), shapes)
        return jax.lax.fori_loop(0, n_groups, write, out)

    n_groups = np.int32(0)
    sharded = spread_over(mesh, call, (False, False, False, True, True))
    return sharded, (leaves, ROOT, n_groups, *shapes_of_runs(bucket, mesh))


def compiled_on(bucket: Bucket, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The program of a bucket, compiled for the devices of its target."""
    options: dict[str, Any] = {}
    if bucket.target.is_host:
        if bucket.quick:
            options |= quick_options()
        if (bits := bucket.traced_system.work().vector_bits) is not None:
            options["xla_cpu_prefer_vector_width"] = str(bits)
    return lowered.compile(options)


class CompiledProgram:
    """What the compiler says of a program."""

    _compiled: jax.stages.Compiled

    @functools.cached_property
    def bytes(self) -> float:
        """Memory of a call on each device, by the compiler's own account."""
        return compiled_bytes(self._compiled)

    @property
    def text(self) -> str:
        """The compiled program, as XLA prints it."""
        return self._compiled.as_text() or ""


class Program(CompiledProgram):
    """A compiled program for calls of up to `per_call` groups, of the structure of `bucket`."""

    def __init__(self, bucket: Bucket):
        self.traced_system = bucket.traced_system
        began = time.perf_counter()
        function, arguments = program_function(bucket, mesh_of(bucket.n_devices))
        lowered = jax.jit(function).lower(*arguments)
        check_outputs(self.traced_system, lowered.out_info)
        self._compiled = compiled_on(bucket, lowered)
        self.compile_seconds = time.perf_counter() - began

    def simulate(
        self,
        bucket: Bucket,
        root: np.ndarray,
        begun: dict[str, np.ndarray],
        most_seconds: float,
        *,
        run_seconds: float,
        advanced: Callable[[int, float], None],
        clock: Callable[[], float],
    ) -> dict[str, np.ndarray]:
        """Observables of the runs of a chunk, of which the first may have `begun`.

        It ends early after the call with which `most_seconds` have passed. `run_seconds` is the
        time of a run on each device, NaN if nobody knows; `advanced` is called with the runs and
        seconds of every call.
        """
        parts, total = [begun] if begun else [], 0.0
        first, n_groups = len(begun.get(STATUS, ())), 1
        while first < bucket.n_runs and total < most_seconds:
            remaining = math.ceil((bucket.n_runs - first) / (bucket.group * bucket.n_devices))
            if not math.isnan(run_seconds):
                in_time = CALL_SECONDS / max(run_seconds * bucket.group, 1e-9)
                n_groups = int(min(in_time, FASTER * n_groups))
            n_groups = max(1, min(n_groups, remaining, bucket.per_call))
            began = clock()
            parts.append(self(bucket, root, first, n_groups))
            spent = clock() - began
            run_seconds = spent / (n_groups * bucket.group)
            n_runs = len(parts[-1][STATUS])
            first, total = first + n_runs, total + spent
            advanced(n_runs, spent)
        values = parts[0]
        if len(parts) > 1:
            values = {name: np.concatenate([part[name] for part in parts]) for name in values}
        return {name: value[: bucket.n_runs] for name, value in values.items()}

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


def _arguments(bucket: Bucket, first: int, n_groups: int) -> tuple[Any, dict[str, Any], Any]:
    """Groups per device; columns and seeds, shaped (groups, group) and spread over the devices."""
    sharding = NamedSharding(mesh_of(bucket.n_devices), PartitionSpec(RUNS))
    shape = (bucket.n_devices, bucket.per_call, bucket.group)
    rows = np.full(shape, first)
    rows[:, :n_groups] += np.arange(rows[:, :n_groups].size).reshape(-1, n_groups, bucket.group)
    rows = rows.clip(max=bucket.n_runs - 1).reshape(-1, bucket.group)

    def put(column: np.ndarray) -> Any:
        return jax.device_put(column[rows], sharding)

    columns = {path: put(column) for path, column in bucket.columns.items()}
    return np.int32(n_groups), columns, put(bucket.seeds)


def check_outputs(system: AbstractSystem, returned: Any) -> None:
    """Raise `ValueError` unless a system returns what its schema declares."""
    name, schema = type(system).__name__, system.schema
    if not isinstance(returned, Mapping):
        raise ValueError(
            f"`simulate` of {name} must return a dictionary of arrays, got {described(returned)}."
        )
    declared = {n: schema.shape(n) for n in schema.observables} | {STATUS: ()}
    for observable in {**declared, **returned}:
        if observable not in returned:
            raise ValueError(
                f"`schema` of {name} declares {observable!r}, which it does not return "
                f"({', '.join(returned)})."
            )
        shape = returned[observable].shape[2:]
        if observable not in declared:
            raise ValueError(
                f"`schema` of {name} must declare {observable!r}, which it returns with shape "
                f"{shape}: return `schema.adding({observable}=js.Observable(dims, units, "
                "description))` from it."
            )
        if declared[observable] != shape:
            raise ValueError(
                f"`schema` of {name} declares {observable!r} with shape {declared[observable]}, "
                f"it returns shape {shape}."
            )


def mesh_of(n_devices: int) -> Mesh:
    """The first devices of this process, along the axis of the runs."""
    devices = jax.local_devices()[:n_devices]
    return jax.make_mesh((n_devices,), (RUNS,), axis_types=(AxisType.Auto,), devices=devices)
