"""`plan`: how a grid is cut into compiled programs and chunks, computed without compiling.

Static and object axes need a bucket per combination of their values. A program serves every size
up to its padded lengths, at the cost of these, so that the runs of a structure are split by size
where that saves more time than the compilation of another program takes: the values of each size
axis are put into a few cells, and a bucket is a box of cells. Boxes are cut in two, axis by axis,
as often as the number of programs allows. Among all such divisions the one of least cost is found
exactly, by dynamic programming over boxes. (Cutting greedily, where one more cut saves most, costs
up to 9.5 % more.)

The run axis of a bucket is cut into *chunks*, each one call of the program, and these into *groups*
of `vmap`-ed runs, whose size keeps the working set in cache. On a CPU, steps that touch far more
than the cache are sliced, which changes results by rounding only.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxscale._deprecated import warn_deprecated
from jaxscale._devices import device_memory
from jaxscale._system import AbstractSystem
from jaxscale._table import Column, Table
from jaxscale._text import as_text, counted, unknown
from jaxscale.fields import as_int, as_real
from jaxscale.paths import replace
from jaxscale.sweep._bucket import (
    Bucket,
    cached_group,
    columns_of,
    on_cpu,
    padded_to,
    planned_bucket,
    run_seconds,
    stored_bucket,
    structural_system,
    structures,
    with_micro_batches,
)
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._timings import measured_ratio

PRECISIONS = ("float32", "tensorfloat32", "bfloat16", "highest", "high", "default")
COMPILE_SECONDS = 3.0
MOST_BUCKETS = 12  # of one structure, unless `max_programs` says otherwise
MOST_SPLIT = 24  # in all, by the same token: fewer than the programs that a process keeps
MOST_BOXES = 300  # systems that are built to find the division of all structures
MOST_CELLS = 12  # per axis
Box: TypeAlias = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller asked of the planner; None leaves it to the planner."""

    max_runs_per_chunk: int | None = None
    max_programs: int | None = None
    memory: float | None = None
    matmul_precision: str = "float32"


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A grid cut into buckets and chunks, for `print` and `js.run`.

    - `grid`: the grid.
    - `buckets`: the runs of each program.
    - `warnings`: what the systems say against their values.
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
    def n_devices(self) -> int:
        """Most devices that a bucket is spread over."""
        return max((b.n_devices for b in self.buckets), default=1)

    @functools.cached_property
    def ratios(self) -> tuple[float | None, ...]:
        """Measured over estimated time of runs like those of each bucket; None without any."""
        return tuple(
            measured_ratio(b.padded_system, b.seconds / max(b.n_runs, 1)) for b in self.buckets
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether this machine has timed runs of every bucket's class."""
        return None not in self.ratios

    @property
    def seconds(self) -> float:
        """Estimated run time, compilation apart, by earlier runs of the class if any were timed."""
        return sum(self._bucket_seconds)

    @property
    def _bucket_seconds(self) -> list[float]:
        pairs = zip(self.buckets, self.ratios, strict=True)
        return [b.seconds * (1.0 if ratio is None else ratio) for b, ratio in pairs]

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
        return results + chunk + (on_devices if on_cpu() else 0.0)

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
            "estimated_seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        names = ("bucket", "runs", "chunks", "runs/chunk", "runs/vmap", "MB/device", "GFLOP", "~s")
        rows = []
        for i, b in enumerate(self.buckets):
            counts = map(str, (i, b.n_runs, b.n_chunks, b.chunk, b.group))
            seconds = self._bucket_seconds[i]
            costs = (f"{b.bytes_per_device / 1e6:.1f}", f"{b.flops / 1e9:.3g}", f"{seconds:.3g}")
            rows.append([*counts, *costs])
        table = Table(repr(self.grid), "", [Column(name, number=True) for name in names], rows)
        total = (
            f"{counted(self.n_runs, 'run')}, {counted(self.n_programs, 'program')}, "
            f"{counted(self.n_devices, 'device')}, "
            f"{self.padding_waste:.0%} more work by padding, {self.host_bytes / 1e6:.3g} MB of "
            f"host memory, about {self.seconds:.3g} s and compilation"
            f"{'' if self.is_calibrated else ' (no such run was timed on this machine yet)'}"
        )
        return as_text(table, total, *(f"warning: {warning}" for warning in self.warnings))


def plan(
    grid: Grid,
    *,
    max_runs_per_chunk: int | None = None,
    max_programs: int | None = None,
    memory: float | None = None,
    matmul_precision: str = "float32",
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
    - `max_compiles`: deprecated name of `max_programs`.

    **Returns** a `Plan`, for `print` and `js.run`.

    **Raises** `ValueError` for a bound that cannot be met.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> plan = js.plan(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=8))
    >>> plan.n_runs, plan.n_programs
    (16, 1)
    """
    if not isinstance(grid, Grid):
        raise ValueError(f"`grid` must be a Grid, got {grid!r}.")
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
    options = Options(max_runs_per_chunk, max_programs, memory, matmul_precision)
    return plan_of(grid, np.arange(grid.n_runs), options)


def plan_of(grid: Grid, run_ids: np.ndarray, options: Options) -> Plan:
    """Plan for some of the runs of a grid, by their flat indices."""
    memory = options.memory or device_memory()
    available, bound = jax.local_device_count(), options.max_runs_per_chunk
    parts, own_flops = _divide(grid, run_ids, options.max_programs, available)
    buckets = tuple(planned_bucket(grid, ids, available, memory, bound) for ids in parts)
    plan = Plan(grid, buckets, _warnings(buckets), own_flops, options)
    if options.memory is not None and plan.bytes_per_device > options.memory:
        raise ValueError(
            "`memory` must hold one run and its results, "
            f"{plan.bytes_per_device / 1e6:.3g} megabytes, got {options.memory / 1e6:.3g}."
        )
    return plan


def continued(grid: Grid, cuts: Sequence[tuple[np.ndarray, int, int]], options: Options) -> Plan:
    """Plan with the buckets of a store: runs, runs per chunk and runs per group of each."""
    buckets = tuple(stored_bucket(grid, *cut, options.max_runs_per_chunk) for cut in cuts)
    return Plan(grid, buckets, (), sum(b.flops for b in buckets), options)


def _warnings(buckets: Sequence[Bucket]) -> tuple[str, ...]:
    """Warnings of the systems and of each single axis value on them, each once."""
    said = {}
    for bucket in buckets:
        said |= dict.fromkeys(bucket.traced_system.warnings())
        for path, column in bucket.columns.items():
            for value in np.unique(column):
                said |= dict.fromkeys(replace(bucket.traced_system, path, value).warnings())
    return tuple(said)


def _divide(
    grid: Grid, run_ids: np.ndarray, bound: int | None, available: int
) -> tuple[list[np.ndarray], float]:
    """Runs of every bucket, at most `bound`, and the work of all runs at their own sizes."""
    combinations = structures(grid, run_ids)
    n = len(combinations)
    if bound is not None and bound < n:
        raise ValueError(
            f"`max_programs` must be at least {n}, the combinations of static and object axes, "
            f"got {bound}."
        )
    extra = max(0, min((MOST_BUCKETS - 1) * n, MOST_SPLIT - n)) if bound is None else bound - n
    most = MOST_BUCKETS if bound is None else 1 + extra
    boxes = max(MOST_BOXES // max(n, 1), 9)
    options = [_divisions(grid, ids, most, available, boxes) for ids in combinations]
    taken = allocate_buckets([[cost for cost, _ in divisions] for divisions, _ in options], extra)
    parts = []
    for ids, (divisions, _), t in zip(combinations, options, taken, strict=True):
        parts += [ids[mask] for mask in divisions[t - 1][1]]
    return parts, sum(flops for _, flops in options)


def _divisions(
    grid: Grid, ids: np.ndarray, most: int, available: int, boxes: int
) -> tuple[list[tuple[float, list[np.ndarray]]], float]:
    """Cheapest divisions of the runs of one structure, and the work at their own sizes."""
    columns, _ = columns_of(grid, ids)
    structural = structural_system(grid, ids)
    single = {p: c[:1] for p, c in columns.items() if np.min(c) == np.max(c)}

    def program_for(values: dict[str, np.ndarray]) -> AbstractSystem:
        return with_micro_batches(padded_to(structural, single | values))

    def sets_a_length(path: str, column: np.ndarray) -> bool:
        low, high = (program_for({path: np.asarray([v])}) for v in (column.min(), column.max()))
        return low.lengths != high.lengths

    sizes = [p for p, c in columns.items() if p not in single and sets_a_length(p, c)]
    undivided = [(0.0, [np.ones(len(ids), bool)])]
    if not sizes:
        return undivided, len(ids) * program_for({}).work().flops
    stacked = np.stack([columns[p] for p in sizes])
    values, combination = np.unique(stacked, axis=1, return_inverse=True)
    combination = combination.reshape(-1)  # NumPy 2.0 has it in two dimensions
    count = np.bincount(combination)
    columns = dict(zip(sizes, values, strict=True))
    counted = min(len(count), boxes)  # at random: evenly spaced ones could all be small
    sample = np.random.default_rng(0).choice(len(count), counted, replace=False)
    own = [program_for({p: c[[i]] for p, c in columns.items()}).work().flops for i in sample]
    flops = float(np.average(own, weights=count[sample])) * len(ids)
    if most == 1:
        return undivided, flops

    def cost(mask: np.ndarray) -> float:
        system = program_for({p: c[mask] for p, c in columns.items()})
        rounds = math.ceil(int(count[mask].sum()) / available)
        return run_seconds(system, cached_group(system)) * rounds + COMPILE_SECONDS

    divisions = cheapest(cells(list(columns.values()), boxes), cost, min(most, MOST_CELLS))
    return [(c, [mask[combination] for mask in masks]) for c, masks in divisions], flops


def cells(columns: Sequence[np.ndarray], most_boxes: int = MOST_BOXES) -> tuple[np.ndarray, ...]:
    """Cell of every run along every size axis; the fewer, the more boxes they could make."""
    sides = range(2, MOST_CELLS + 1)
    most = max((c for c in sides if (c * (c + 1) // 2) ** len(columns) <= most_boxes), default=2)
    places = []
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        places.append(place * min(most, len(values)) // len(values))
    return tuple(places)


def cheapest(
    places: Sequence[np.ndarray], cost: Callable[[np.ndarray], float], most: int
) -> list[tuple[float, list[np.ndarray]]]:
    """Costs and masks of the runs of the cheapest divisions into 1, 2, ... `most` buckets.

    `places` are the cells of the runs along every size axis, of which there may be fewer than
    `most`; `cost` estimates the seconds of a program for the runs in a mask.
    """
    everything: Box = tuple((0, int(p.max()) + 1) for p in places)

    @functools.cache
    def inside(box: Box) -> np.ndarray:
        mask = np.ones(len(places[0]), bool)
        for place, (low, high) in zip(places, box, strict=True):
            mask &= (place >= low) & (place < high)
        return mask

    @functools.cache
    def undivided(box: Box) -> float:
        mask = inside(box)
        return cost(mask) if mask.any() else 0.0

    @functools.cache
    def best(box: Box, n: int) -> tuple[float, tuple[Box, ...]]:
        """Cheapest division of a box into at most `n`."""
        division = (undivided(box), (box,))
        for low, high in _cuts(box) if n > 1 else ():
            for n_low in range(1, n):
                one, two = best(low, n_low), best(high, n - n_low)
                if one[0] + two[0] < division[0]:
                    division = (one[0] + two[0], one[1] + two[1])
        return division

    divisions = [best(everything, n) for n in range(1, most + 1)]
    return [(c, [m for m in map(inside, boxes) if m.any()]) for c, boxes in divisions]


def _cuts(box: Box) -> Iterator[tuple[Box, Box]]:
    for axis, (low, high) in enumerate(box):
        before, after = box[:axis], box[axis + 1 :]
        for middle in range(low + 1, high):
            yield (*before, (low, middle), *after), (*before, (middle, high), *after)


def allocate_buckets(costs: Sequence[Sequence[float]], extra: int) -> list[int]:
    """Number of buckets of each structure: cuts go where they save most, on average over them.

    `costs[s][n - 1]` is the cost of structure `s` in `n` buckets. Several cuts of one structure are
    weighed together, for the first alone may save nothing.
    """
    taken = [1] * len(costs)
    while extra > 0:
        steps = [
            ((cost[t - 1] - cost[n - 1]) / (n - t), -(n - t), s)
            for s, (cost, t) in enumerate(zip(costs, taken, strict=True))
            for n in range(t + 1, min(t + extra, len(cost)) + 1)
        ]
        gain, cuts, s = max(steps, default=(0.0, 0, 0))
        if gain <= 0:
            break
        taken[s] -= cuts
        extra += cuts
    return taken
