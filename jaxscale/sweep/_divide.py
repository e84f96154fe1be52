"""Which runs share a program: the cheapest division of a grid by structure and by size.

Static and object axes need a bucket per combination of their values. A program serves every size
up to its padded lengths, at the cost of these, so that the runs of a structure are split by size
where that saves more time than the compilation of another program takes: the values of each size
axis are put into a few cells, and a bucket is a box of cells. Boxes are cut in two, axis by axis,
as often as the number of programs allows. Among all such divisions the one of least cost is found
exactly, by dynamic programming over boxes. (Cutting greedily, where one more cut saves most, costs
up to 9.5 % more.)
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale._targets import Target
from jaxscale.sweep._bucket import (
    cached_group,
    columns_of,
    padded_to,
    run_seconds,
    structural_system,
    structures,
    with_micro_batches,
)
from jaxscale.sweep._grid import Grid

COMPILE_SECONDS = 3.0
MOST_BUCKETS = 12  # of one structure, unless `max_programs` says otherwise
MOST_SPLIT = 24  # in all, by the same token: fewer than the programs that a process keeps
MOST_BOXES = 300  # systems that are built to find the division of all structures
MOST_CELLS = 12  # per axis
Box: TypeAlias = tuple[tuple[int, int], ...]


def divided(
    grid: Grid, run_ids: np.ndarray, bound: int | None, target: Target
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
    options = [_divisions(grid, ids, most, target, boxes) for ids in combinations]
    taken = allocate_buckets([[cost for cost, _ in divisions] for divisions, _ in options], extra)
    parts = []
    for ids, (divisions, _), t in zip(combinations, options, taken, strict=True):
        parts += [ids[mask] for mask in divisions[t - 1][1]]
    return parts, sum(flops for _, flops in options)


def _divisions(
    grid: Grid, ids: np.ndarray, most: int, target: Target, boxes: int
) -> tuple[list[tuple[float, list[np.ndarray]]], float]:
    """Cheapest divisions of the runs of one structure, and the work at their own sizes."""
    columns, _ = columns_of(grid, ids)
    structural = structural_system(grid, ids)
    single = {p: c[:1] for p, c in columns.items() if np.min(c) == np.max(c)}

    def program_for(values: dict[str, np.ndarray]) -> AbstractSystem:
        return with_micro_batches(padded_to(structural, single | values), target)

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
        rounds = math.ceil(int(count[mask].sum()) / target.n_devices)
        seconds = run_seconds(system, cached_group(system, target), target)
        return seconds * rounds + COMPILE_SECONDS

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
