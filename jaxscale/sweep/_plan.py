"""`plan`: how a grid is cut into compiled programs and chunks, computed without compiling.

The run axis of a bucket is cut into *chunks*, which are written when they are done, and these into
*groups* of `vmap`-ed runs, whose size keeps the working set in cache. On a CPU, steps that touch
far more than the cache are sliced, which changes results by rounding only.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale._deprecated import warn_deprecated
from jaxscale._status import STATUS
from jaxscale._system import Schema, require_work
from jaxscale._table import Column, Table
from jaxscale._targets import Target
from jaxscale._text import as_text, counted, described, duration, unknown
from jaxscale.fields import as_int, as_real
from jaxscale.paths import replace
from jaxscale.sweep._bucket import (
    Bucket,
    on_local_devices,
    planned_bucket,
    quick_if_brief,
    uncut_bucket,
)
from jaxscale.sweep._divide import divided
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._timings import measured_ratio, products_ratio

EVERY_RUN = ("seed", STATUS, "run_id", "done")  # names in results and stores
START_SECONDS = 0.1  # of a program, until it computes: it is loaded, and its store is opened
PRECISIONS = ("float32", "tensorfloat32", "bfloat16", "highest", "high", "default")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller asked of the planner; None leaves it to the planner."""

    max_runs_per_chunk: int | None = None
    max_programs: int | None = None
    memory: float | None = None
    matmul_precision: str = "float32"
    checkpoint_seconds: float = 60.0
    keep_states: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A grid cut into buckets and chunks, for `print` and `js.run`.

    - `grid`: the grid.
    - `buckets`: the runs of each program.
    - `warnings`: what the systems say against their values, and that one run needs more memory than
      there is.
    - `own_flops`: floating-point operations at the sizes of every run.
    - `options`: what the caller asked for.
    """

    grid: Grid
    buckets: tuple[Bucket, ...]
    warnings: tuple[str, ...]
    own_flops: float
    options: Options

    @property
    def n_runs(self) -> int:
        """Runs of the plan."""
        return sum(b.n_runs for b in self.buckets)

    @property
    def n_programs(self) -> int:
        """Programs, one per bucket."""
        return len(self.buckets)

    @property
    def n_compiles(self) -> int:
        """Deprecated name of `n_programs`."""
        warn_deprecated("Plan.n_compiles", "Plan.n_programs")
        return self.n_programs

    @property
    def target(self) -> Target:
        """The devices that it was made for."""
        return self.buckets[0].target if self.buckets else Target.of_this_process()

    @property
    def n_devices(self) -> int:
        """Most devices that a bucket is spread over."""
        return max((b.n_devices for b in self.buckets), default=1)

    @functools.cached_property
    def ratios(self) -> tuple[float | None, ...]:
        """Measured over estimated time of runs like those of each bucket; None without any."""
        if not self.target.is_local:
            return (None,) * len(self.buckets)
        return tuple(
            measured_ratio(b.padded_system, b.seconds / max(b.n_runs, 1)) for b in self.buckets
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether this machine has timed runs like those of every bucket."""
        return None not in self.ratios

    @property
    def seconds(self) -> float:
        """Estimated run time, compilation apart, by earlier runs like these if any were timed.

        Where none were, it is scaled by the speed of this machine's cores, which is timed once.
        """
        return sum(self._bucket_seconds)

    @functools.cached_property
    def _bucket_seconds(self) -> list[float]:
        timed = self.target.is_host and self.target.is_local and not self.is_calibrated
        usual = products_ratio() if timed else 1.0
        pairs = zip(self.buckets, self.ratios, strict=True)
        each = [b.seconds * (usual if ratio is None else ratio) for b, ratio in pairs]
        return [START_SECONDS + seconds for seconds in each]

    @property
    def n_stretches(self) -> int:
        """Estimated stretches of long runs, between two of which their state is on disk."""
        stretches = 0.0
        for bucket, seconds in zip(self.buckets, self._bucket_seconds, strict=True):
            each = seconds / bucket.n_chunks / self.options.checkpoint_seconds
            stretches += bucket.n_chunks * math.ceil(each) if bucket.stretched else 0
        return int(stretches)

    @property
    def flops(self) -> float:
        """Estimated floating-point operations, padding included."""
        return sum(b.flops for b in self.buckets)

    @property
    def padding_waste(self) -> float:
        """Work on padding over work on the runs' own sizes."""
        return self.flops / self.own_flops - 1.0 if self.own_flops else 0.0

    @property
    def bytes_per_device(self) -> float:
        """Memory of the largest bucket on each device."""
        return max((b.bytes_per_device for b in self.buckets), default=0.0)

    @property
    def host_bytes(self) -> float:
        """Memory of the host without a store: results, those of the last chunk, its CPU devices."""
        results = sum(b.n_runs * b.result_bytes for b in self.buckets)
        chunk = max((b.chunk * b.result_bytes for b in self.buckets), default=0.0)
        on_devices = max((b.n_devices * b.bytes_per_device for b in self.buckets), default=0.0)
        return results + chunk + (on_devices if self.target.is_host else 0.0)

    def summary(self) -> dict[str, Any]:
        """The numbers that are printed and stored."""
        return {
            "runs": self.n_runs,
            "compiles": self.n_programs,
            "devices": self.n_devices,
            "buckets": [b.summary() for b in self.buckets],
            "megabytes_of_host": round(self.host_bytes / 1e6, 3),
            "matmul_precision": self.options.matmul_precision,
            "padding_waste": round(self.padding_waste, 4),
            "flops": self.flops,
        }

    @property
    def least_seconds(self) -> dict[str, float]:
        """Time that flops at the peak of the device, and bytes at its bandwidth, would take."""
        each = [b.least_seconds for b in self.buckets]
        return {cause: sum(s[cause] for s in each) for cause in ("flops", "bytes")}

    def __str__(self) -> str:
        names = [
            "bucket", "runs", "chunks", "runs/chunk", "runs/vmap", "MB/device", "GFLOP", "time"
        ]  # fmt: skip
        target, kind, limits, rows = self.target, "", "", []
        source = " (no such run was timed on this machine yet)"
        if not target.is_host:
            names[-2] = "bound by"
            kind, least = f" ({target.name})", self.least_seconds
            source = " (scaled from what one H200 reached)"
            flops, moved = (duration(least[cause]) for cause in ("flops", "bytes"))
            limits = (
                f"; at least {flops} by flops, at {target.flops / 1e12:.3g} TFLOP/s in float32, "
                f"and {moved} by bytes, at {target.bandwidth / 1e12:.3g} TB/s"
            )
        stretches = ""
        if n := self.n_stretches:
            every = self.options.checkpoint_seconds
            pieces = f"{n} stretch{'es' if n > 1 else ''}"
            stretches = f"; long runs in {pieces}, which end with their chunk or after {every:g} s"
        for i, b in enumerate(self.buckets):
            counts = map(str, (i, b.n_runs, b.n_chunks, b.chunk, b.group))
            seconds = self._bucket_seconds[i]
            cost = f"{b.flops / 1e9:.3g}" if target.is_host else b.bound
            rows.append([*counts, f"{b.bytes_per_device / 1e6:.1f}", cost, duration(seconds)])
        table = Table(repr(self.grid), "", [Column(name, number=True) for name in names], rows)
        total = (
            f"{counted(self.n_runs, 'run')}, {counted(self.n_programs, 'program')}, "
            f"{counted(self.n_devices, 'device')}{kind}, "
            f"{self.padding_waste:.0%} more work by padding, {self.host_bytes / 1e6:.3g} MB of "
            f"host memory, about {duration(self.seconds)}{'' if self.is_calibrated else source}, "
            f"on top of which comes compilation{limits}{stretches}"
        )
        return as_text(table, total, *(f"warning: {warning}" for warning in self.warnings))


@hinted
def plan(
    grid: Grid,
    *,
    max_runs_per_chunk: int | None = None,
    max_programs: int | None = None,
    memory: float | None = None,
    matmul_precision: str = "float32",
    target: str | None = None,
    checkpoint_seconds: float = 60.0,
    keep_states: bool = False,
    max_compiles: int | None = None,
) -> Plan:
    """Cut a grid into buckets and chunks; compiles nothing.

    **Arguments**

    - `grid`: the grid.
    - `max_runs_per_chunk`: upper bound on the runs of one call.
    - `max_programs`: upper bound on the programs; static and object axes need one per combination.
      By default up to twelve per combination, and 24 in all unless there are more combinations,
      if splitting sizes saves more than compiling takes.
    - `memory`: bytes that a call may take on each device; by default 80 % of an accelerator's, and
      half of the host's shared by its CPU devices.
    - `matmul_precision`: precision of float32 products on accelerators, as JAX names it;
      `"tensorfloat32"` trades digits for speed.
    - `target`: devices that need not be there, as "h200" or "8xh200": cpu, h100, h200, a100, v5e,
      v5p or v6e. By default the local ones; a plan for others is for `print` alone.
    - `checkpoint_seconds`: time between two states of long runs in a store, which a kill may cost.
      With an executor it is the length of a task.
    - `keep_states`: keep the final states, too, from which the runs can be trained longer.
    - `max_compiles`: deprecated name of `max_programs`.

    **Returns** a `Plan`, for `print` and `js.run`.

    **Raises** `ValueError` for a bound that cannot be met, and a `target` that is not one of these.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> plan = js.plan(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=8))
    >>> plan.n_runs, plan.n_programs
    (16, 1)
    """
    if not isinstance(grid, Grid):
        raise ValueError(f"`grid` must be a Grid, got {described(grid)}.")
    if max_compiles is not None:
        if max_programs is not None:
            raise ValueError("`max_compiles` is the old name of `max_programs`: give the new one.")
        warn_deprecated("max_compiles", "max_programs")
        max_programs = max_compiles
    if matmul_precision not in PRECISIONS:
        raise unknown("`matmul_precision`", matmul_precision, PRECISIONS)
    if max_runs_per_chunk is not None:
        max_runs_per_chunk = as_int("max_runs_per_chunk", max_runs_per_chunk, at_least=1)
    if max_programs is not None:
        max_programs = as_int("max_programs", max_programs, at_least=1)
    if memory is not None:
        memory = float(as_real("memory", memory, above=0.0))
    checkpoint_seconds = float(as_real("checkpoint_seconds", checkpoint_seconds, above=0.0))
    if not isinstance(keep_states, bool):
        raise ValueError(f"`keep_states` must be True or False, got {keep_states!r}.")
    options = Options(
        max_runs_per_chunk, max_programs, memory, matmul_precision, checkpoint_seconds, keep_states
    )
    chosen = None if target is None else Target.named(target)
    return plan_of(grid, np.arange(grid.n_runs), options, chosen)


def plan_of(
    grid: Grid, run_ids: np.ndarray, options: Options, target: Target | None = None
) -> Plan:
    """Plan for some of the runs of a grid, by their flat indices."""
    target = target or Target.of_this_process()
    bounds = options.memory or target.budget, options.max_runs_per_chunk
    if reason := grid.system.unsupported(target.platform):
        name = type(grid.system).__name__
        raise ValueError(f"`target` {target} cannot run {name}: {reason}; plan it for another.")
    require_work(grid.system)
    parts, own_flops = divided(grid, run_ids, options.max_programs, target)
    buckets = tuple(
        quick_if_brief(planned_bucket(grid, ids, target, *bounds, options.keep_states))
        for ids in parts
    )
    schemas = [bucket.padded_system.schema for bucket in buckets]
    require_own_names(grid, schemas, [s.observables for s in schemas])
    plan = Plan(grid, buckets, _warnings(buckets), own_flops, options)
    if options.memory is not None and plan.bytes_per_device > options.memory:
        raise ValueError(
            f"`memory` must be at least {plan.bytes_per_device:.4g} bytes "
            f"({plan.bytes_per_device / 1e6:.4g} MB), for one run and its results, "
            f"got {options.memory:.4g} ({options.memory / 1e6:.4g} MB)."
        )
    return plan


def require_own_names(
    grid: Grid, schemas: Sequence[Schema], names: Sequence[Iterable[str]]
) -> None:
    """Refuse observables and dimensions with the name of something else in the results."""
    taken = dict.fromkeys(EVERY_RUN, f"what results have of every run ({', '.join(EVERY_RUN)})")
    taken |= dict.fromkeys(grid.axes, "an axis")
    pairs = list(zip(schemas, names, strict=True))
    dims = (dim for s, own in pairs for name in own for dim in s.observables[name].dims)
    for dim in (dim for dim in dims if dim in taken):
        raise ValueError(
            f"dimension `{dim}` of {type(grid.system).__name__} has the name of {taken[dim]}: "
            "rename it in `schema`."
        )
    own_dims = (name for s in schemas for name in s.coordinates if name not in taken)
    taken |= dict.fromkeys(own_dims, "a dimension of its schema")
    for name in (name for own in names for name in own if name in taken):
        raise ValueError(
            f"observable `{name}` of {type(grid.system).__name__} has the name of {taken[name]}: "
            "rename it in `schema`, and where it is returned."
        )


def continued(
    grid: Grid, cuts: Sequence[tuple[np.ndarray, int, int, bool]], options: Options
) -> Plan:
    """Plan with the buckets of a store.

    `cuts` says of each its runs, runs per chunk and per group, and whether it has stretches.
    """
    bounds = options.memory or Target.of_this_process().budget, options.max_runs_per_chunk
    buckets = tuple(
        quick_if_brief(on_local_devices(uncut_bucket(grid, ids, stretched), chunk, group, *bounds))
        for ids, chunk, group, stretched in cuts
    )
    return Plan(grid, buckets, (), sum(b.flops for b in buckets), options)


def _warnings(buckets: Sequence[Bucket]) -> tuple[str, ...]:
    """Warnings of the systems, of each single axis value on them, and of memory; each once."""
    said = {}
    if any(b.traced_system.work().branches and not b.target.is_host for b in buckets):
        text = "factorisations on an accelerator take up to 400 times their estimate, "
        said[
            text + "which counts operations alone (1,024 runs of N = D = 128 on one H200: .75 s)"
        ] = 0
    for bucket in buckets:
        said |= _of_values(bucket)
        memory = bucket.target.memory_each(bucket.n_devices)
        needed = bucket.bytes_per_device
        if needed > memory:
            text = f"one run needs about {needed / 1e6:.3g} MB of a device, which has "
            said[f"{text}{memory / 1e6:.3g} MB: give a smaller size or batch"] = None
    return tuple(said)


def _of_values(bucket: Bucket) -> dict[str, None]:
    """Warnings of a system at each value of an axis, which is named where they depend on it."""
    system, places = bucket.traced_system, {}
    for path, column in bucket.columns.items():
        each = {value: replace(system, path, value).warnings() for value in np.unique(column)}
        differ = len(set(map(tuple, each.values()))) > 1
        for value, texts in each.items():
            for text in texts:
                own = differ and not text.startswith(f"{path} ")  # else it says the value itself
                places.setdefault(text, []).extend([f"{path} = {float(value):g}"] if own else [])
    for text in system.warnings():
        places.setdefault(text, [])
    return {f"{text} at {' and '.join(at)}" if at else text: None for text, at in places.items()}
