"""Long runs, cut in time: a program that trains all runs of a chunk from one step to another.

It takes and returns all that the next steps need, so that a run outlives its process. The bounds of
its loops are traced: results are the same wherever a run is cut.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxscale._records import stop_steps
from jaxscale._under_way import Training, advance, begin, results_of
from jaxscale.keys import root_key
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._program import (
    CALL_SECONDS,
    FASTER,
    ROOT,
    RUNS,
    CompiledProgram,
    check_outputs,
    compiled_on,
    mesh_of,
    of_group,
    program_function,
    shapes_of_runs,
    spread_over,
    spread_shape,
)
from jaxscale.training import AbstractTrainedSystem

UNDER_WAY = 4  # argument of a program of stretches, whose memory its result takes over


@dataclasses.dataclass(frozen=True)
class State:
    """Runs of a chunk under way, as plain data in their order, padding included.

    - `step`: steps that they have done.
    - `leaves`: leaves of their `Training` but the history, by their path; keys as their words.
    - `history`: observables at every stop, blank where it is not reached.
    """

    step: int
    leaves: dict[str, np.ndarray]
    history: dict[str, np.ndarray]

    def of_run(self, system: AbstractTrainedSystem, row: int) -> Any:
        """State of one run of the chunk, as `system.init` and `system.step` define it."""
        with jax.enable_x64(system.dtype == "float64"):
            form = Form.of(begin, system, root_key(0))
            leaves = {
                path: jnp.asarray(_named(self.leaves[path], shape.dtype)[row])
                for path, shape in form.shapes[0].items()
            }
            return form.training((leaves, {})).state

    def values(self, system: Any) -> dict[str, np.ndarray]:
        """Observables at the records of `system`, blank where none is reached; no status."""
        rows = np.searchsorted(stop_steps(system), system.record_steps)
        return {name: value[:, rows] for name, value in self.history.items()}


class StretchProgram(CompiledProgram):
    """A compiled program that trains the runs of a chunk from one step to another."""

    def __init__(self, bucket: Bucket):
        mesh = mesh_of(bucket.n_devices)
        self._sharding = NamedSharding(mesh, PartitionSpec(RUNS))
        began = time.perf_counter()
        lowered, arguments = lowered_for(bucket, mesh)
        check_outputs(bucket.traced_system, lowered.out_info[1])
        self._shapes, self._compiled = arguments[UNDER_WAY], compiled_on(bucket, lowered)
        self.compile_seconds = time.perf_counter() - began

    def _arguments(self, bucket: Bucket, root: np.ndarray, state: State | None) -> tuple[Any, ...]:
        """Arguments of a call but its bounds, on the devices."""

        def put(values: np.ndarray) -> Any:
            by_group = values.reshape(-1, bucket.group, *values.shape[1:])
            return jax.device_put(by_group, self._sharding)

        def put_state(values: np.ndarray | None, like: Any) -> Any:
            values = None if values is None else _named(values, like.dtype)
            if values is None or (values.shape[1:], values.dtype) != (like.shape[2:], like.dtype):
                raise ValueError(
                    "`store` has states of other runs than its system trains here: its class was "
                    "changed; delete the folder `done/states` in it to train them from the start."
                )
            return put(values)

        if state is None:
            make = functools.partial(jnp.zeros, device=self._sharding)
            under_way = jax.tree.map(lambda like: make(like.shape, like.dtype), self._shapes)
        else:
            under_way = tuple(
                {name: put_state(given.get(name), like) for name, like in shapes.items()}
                for given, shapes in zip((state.leaves, state.history), self._shapes, strict=True)
            )
        leaves = eqx.filter(bucket.traced_system, eqx.is_array_like)
        columns = {path: put(column) for path, column in bucket.columns.items()}
        return leaves, root, columns, put(bucket.seeds), under_way

    def train(
        self,
        bucket: Bucket,
        root: np.ndarray,
        state: State | None,
        *,
        run_seconds: float,
        most_seconds: float,
        stopped: Callable[[], bool],
        advanced: Callable[[float, float], None],
        clock: Callable[[], float],
    ) -> tuple[dict[str, np.ndarray], State]:
        """Train the runs of a chunk until they are done, for `most_seconds`, or until `stopped`.

        `run_seconds` is the time of a run on each device, NaN if nobody knows; `advanced` is called
        with the parts of runs and the seconds of every call. There are no results before the runs
        are done.
        """
        n_steps: int = bucket.traced_system.n_steps  # pyright: ignore
        step, total, results = 0 if state is None else state.step, 0.0, None
        *fixed, under_way = self._arguments(bucket, root, state)
        seconds = run_seconds * bucket.n_runs / bucket.n_devices
        n = 1.0 if math.isnan(seconds) else CALL_SECONDS / max(seconds / n_steps, 1e-9)
        while results is None or (step < n_steps and total < most_seconds and not stopped()):
            began, last = clock(), int(min(step + max(n, 1.0), n_steps))
            bounds = np.int32(step), np.int32(last)
            under_way, results = jax.block_until_ready(self._compiled(*fixed, under_way, *bounds))
            spent = clock() - began
            advanced((last - step) / n_steps * bucket.n_runs, spent)
            n = (last - step) * min(FASTER, CALL_SECONDS / max(spent, 1e-9))
            step, total = last, total + spent

        def in_order(value: Any) -> np.ndarray:
            return np.array(value).reshape(-1, *value.shape[2:])  # a copy: it may be donated

        values = {} if step < n_steps else jax.tree.map(in_order, results)
        return values, State(step, *jax.tree.map(in_order, under_way))


def lowered_for(bucket: Bucket, mesh: Mesh) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
    """The program of a bucket for the devices of `mesh`, and the shapes of its arguments."""
    if not bucket.stretched:
        function, arguments = program_function(bucket, mesh)
        return jax.jit(function).lower(*arguments), arguments
    function, arguments = stretch_function(bucket, mesh)
    return jax.jit(function, donate_argnums=UNDER_WAY).lower(*arguments), arguments


def stretch_function(bucket: Bucket, mesh: Mesh) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What a program of stretches computes on the devices of `mesh`, and shapes of its arguments.

    These are leaves of the traced system, root key, columns and seeds, runs under way (leaves and
    history), and the first and the last step. It returns the runs under way, and what their results
    would be if they ended there.
    """
    system = bucket.traced_system
    assert isinstance(system, AbstractTrainedSystem)
    leaves, static = eqx.partition(system, eqx.is_array_like)
    stops = np.asarray(stop_steps(system), np.int32)

    def starting(*runs: Any) -> Any:
        return of_group(static, bucket.group, begin, *runs)

    runs = shapes_of_runs(bucket, mesh)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), runs)
    form = Form.of(starting, leaves, ROOT, *one)
    n_groups = bucket.n_devices * bucket.per_call
    under_way = jax.tree.map(
        lambda x: spread_shape((n_groups, *x.shape), x.dtype, mesh), form.shapes
    )

    def stretch(
        leaves: Any, root: Any, columns: Any, seeds: Any, under_way: Any, first: Any, last: Any
    ) -> Any:
        def one_group(group: Any) -> Any:
            *own, data = group

            def each(function: Any, *more: Any) -> Any:
                return of_group(static, bucket.group, function, leaves, root, *own, *more)

            def begun() -> Any:
                return to_data(starting(leaves, root, *own))

            data = jax.lax.cond(first == 0, begun, lambda: data)
            training = advance(each, form.training(data), stops, first, last)
            return to_data(training), each(results_of, training)

        groups = columns, seeds, under_way
        if bucket.per_call == 1:
            out = one_group(jax.tree.map(lambda x: x[0], groups))
            return jax.tree.map(lambda x: x[None], out)
        return jax.lax.map(one_group, groups)

    sharded = spread_over(mesh, stretch, (False, False, True, True, True, False, False))
    return sharded, (leaves, ROOT, *runs, under_way, np.int32(0), np.int32(0))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_data(training: Training) -> tuple[dict[str, Any], Any]:
    """Leaves of a `Training` but the history, by their path, keys as words; and the history."""
    leaves, _ = jax.tree.flatten_with_path(dataclasses.replace(training, history={}))
    return {
        jax.tree_util.keystr(path): jr.key_data(leaf) if _is_key(leaf) else leaf
        for path, leaf in leaves
    }, training.history


@dataclasses.dataclass(frozen=True)
class Form:
    """How a `Training` is made of data: shapes of the data, its tree, paths and generators of keys.

    JAX sorts dictionaries: the paths are in the order of the tree.
    """

    shapes: tuple[dict[str, Any], Any]
    tree: Any
    paths: tuple[str, ...]
    generators: tuple[Any, ...]

    @classmethod
    def of(cls, make: Callable[..., Training], *arguments: Any) -> "Form":
        """The form of what `make` returns."""
        form: list[Any] = []  # tree, paths and generators, once they are traced

        def data(*arguments: Any) -> Any:
            training = make(*arguments)
            leaves, tree = jax.tree.flatten(dataclasses.replace(training, history={}))
            generators = tuple(jr.key_impl(leaf) if _is_key(leaf) else None for leaf in leaves)
            by_path, history = to_data(training)
            form[:] = tree, tuple(by_path), generators
            return by_path, history

        return cls(jax.eval_shape(data, *arguments), *form)

    def training(self, data: Any) -> Training:
        """The `Training` that these data are made of."""
        leaves, history = data
        pairs = zip(self.paths, self.generators, strict=True)
        typed = [
            leaves[path] if generator is None else jr.wrap_key_data(leaves[path], impl=generator)
            for path, generator in pairs
        ]
        return dataclasses.replace(jax.tree.unflatten(self.tree, typed), history=history)


def _named(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Values of JAX's short floats, whose name NumPy's files do not keep."""
    unnamed = values.dtype.kind == "V" and values.itemsize == np.dtype(dtype).itemsize
    return values.view(dtype) if unnamed else values
