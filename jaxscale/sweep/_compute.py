"""Chunks as tasks: what a process needs to compute one, and what it answers."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np

from jaxscale._system import largest_divisor
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._cache import PROGRAMS
from jaxscale.sweep._plan import Options
from jaxscale.sweep._program import Program
from jaxscale.sweep._stretches import State, StretchProgram
from jaxscale.sweep._structure import structure_key


@dataclasses.dataclass(frozen=True)
class Task:
    """One chunk as plain data: everything that a process needs to compute it.

    The bucket holds the runs of the chunk alone, padding included.
    """

    bucket: Bucket
    root: np.ndarray  # data of the root key
    options: Options
    state: State | None = None  # of runs under way, if they are trained in stretches


@dataclasses.dataclass(frozen=True)
class Answer:
    """Results of a chunk, the seconds spent compiling, and the devices that computed it.

    Runs that are trained in stretches come with their state, and without results until they end.
    """

    values: dict[str, np.ndarray]
    compile_seconds: float
    device: str
    state: State | None = None


@dataclasses.dataclass
class Pace:
    """What a session has learned about a bucket, and takes longer to find than a chunk."""

    key: Hashable = None  # its structure
    seconds: float = math.nan  # of a run on each device


def prepared(
    task: Task,
    pace: Pace,
    compiling: Callable[[], None] = lambda: None,
    compiled: Callable[[float], None] = lambda seconds: None,
) -> tuple[Any, Bucket]:
    """The program of a task, compiled if this process does not keep it, and the bucket it is for.

    Its groups are smaller than planned if the program would take too much memory.
    """
    bucket = task.bucket
    memory = task.options.memory or bucket.target.budget
    devices = tuple(jax.local_devices()[: bucket.n_devices])
    with _settings(task):
        if pace.key is None:
            pace.key = structure_key(bucket.traced_system)

        def program_of(bucket: Bucket) -> Any:
            def build() -> Any:
                compiling()
                program = StretchProgram(bucket) if bucket.stretched else Program(bucket)
                compiled(program.compile_seconds)
                return program

            shape = bucket.per_call, bucket.group, bucket.stretched, bucket.quick
            return PROGRAMS.find((pace.key, bucket.kinds, devices, *shape), build)

        program = program_of(bucket)
        if bucket.group > 1 and program.bytes > memory:  # the plan was wrong: smaller groups, once
            fitting = bucket.group * memory / program.bytes
            bucket = bucket.in_groups(largest_divisor(bucket.chunk // bucket.n_devices, fitting))
            program = program_of(bucket)
    return program, bucket


def compute(
    task: Task,
    pace: Pace | None = None,
    begun: Answer | None = None,
    most_seconds: float = math.inf,
    *,
    compiling: Callable[[], None] = lambda: None,
    compiled: Callable[[float], None] = lambda seconds: None,
    advanced: Callable[[float, float], None] = lambda n_runs, seconds: None,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Answer:
    """Compute a chunk in this process; `begun` has results of its first runs, if there are any.

    It ends early after the call of the program with which `most_seconds` have passed; runs that are
    trained in stretches also after a stretch, or if they are `stopped`. `compiling` is called
    before a program is compiled (and before long runs start, which is no time of a step, either),
    `compiled` after it, with its seconds; `advanced` after every call, with its runs (parts of
    runs, in stretches) and seconds. `ValueError` if the device has too little memory.
    """
    pace, seconds = Pace() if pace is None else pace, 0.0

    def counted(spent: float) -> None:
        nonlocal seconds
        seconds += spent
        compiled(spent)

    program, bucket = prepared(task, pace, compiling, counted)
    starts = bucket.stretched and task.state is None
    if starts:
        compiling()

    def called(n_runs: float, spent: float) -> None:
        nonlocal starts
        if n_runs and not starts:
            pace.seconds = spent * bucket.n_devices / n_runs
        advanced(n_runs, 0.0 if starts else spent)
        starts = False

    how: dict[str, Any] = {"advanced": called, "clock": clock, "run_seconds": pace.seconds}
    with _settings(task):
        if bucket.stretched:
            most = min(most_seconds, task.options.checkpoint_seconds)
            how |= {"most_seconds": most, "stopped": stopped}
            values, state = program.train(bucket, task.root, task.state, **how)
            state = None if values and not task.options.keep_states else state
        else:
            parts = {} if begun is None else begun.values
            values, state = program.simulate(bucket, task.root, parts, most_seconds, **how), None
    return Answer(values, seconds, describe_devices(bucket.n_devices), state)


@contextlib.contextmanager
def _settings(task: Task) -> Iterator[None]:
    """Precision of a task; XLA's errors of memory as `ValueError`."""
    with (
        _memory_errors(task.bucket, task.options.memory or task.bucket.target.budget),
        jax.enable_x64(task.bucket.padded_system.dtype == "float64"),
        jax.default_matmul_precision(task.options.matmul_precision),
    ):
        yield


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
            "give a smaller `memory`, for fewer runs at once."
        ) from error


def describe_devices(n_devices: int) -> str:
    """Number and kind of the devices that this process uses."""
    device = jax.local_devices()[0]
    return f"{n_devices} x {device.device_kind} ({device.platform})"
