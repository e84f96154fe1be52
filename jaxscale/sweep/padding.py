"""How runs of several sizes are split into padded buckets: the cheapest few programs.

A program serves every size up to its maximum, at the cost of the maximum. The values of each size
axis are put into a few cells; a bucket is a box of cells, and boxes are cut in two, axis by axis,
as often as the number of programs allows. Among all such divisions the cheapest is found exactly,
by dynamic programming over boxes: its cost is the estimated run time of every box at its largest
sizes, plus the compilation of its program.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

Box: TypeAlias = tuple[tuple[int, int], ...]
MOST_CELLS = 12  # per axis


def cells(columns: Sequence[np.ndarray], most_boxes: int = 300) -> tuple[np.ndarray, ...]:
    """Cell of every run along every size axis; the fewer, the more boxes they could make."""
    sides = range(2, MOST_CELLS + 1)
    most = max((c for c in sides if (c * (c + 1) // 2) ** len(columns) <= most_boxes), default=2)
    found = []
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        found.append(place * min(most, len(values)) // len(values))
    return tuple(found)


def cheapest(
    places: Sequence[np.ndarray], cost: Callable[[np.ndarray], float], most: int
) -> list[tuple[float, list[np.ndarray]]]:
    """Cheapest division into 1, 2, ... `most` buckets.

    **Arguments**

    - `places`: cell of every run along every size axis.
    - `cost`: estimated seconds of a program for the runs in a mask.
    - `most`: largest number of buckets.

    **Returns** for each number of buckets the cost and the masks of the runs; never more buckets
    than there are cells.
    """
    whole: Box = tuple((0, int(p.max()) + 1) for p in places)

    @functools.cache
    def inside(box: Box) -> np.ndarray:
        mask = np.ones(len(places[0]), bool)
        for place, (low, high) in zip(places, box, strict=True):
            mask &= (place >= low) & (place < high)
        return mask

    @functools.cache
    def alone(box: Box) -> float:
        mask = inside(box)
        return cost(mask) if mask.any() else 0.0

    @functools.cache
    def best(box: Box, n: int) -> tuple[float, tuple[Box, ...]]:
        """Cheapest division of a box into at most `n`."""
        found = (alone(box), (box,))
        for left, right in _cuts(box) if n > 1 else ():
            for n_left in range(1, n):
                one, two = best(left, n_left), best(right, n - n_left)
                if one[0] + two[0] < found[0]:
                    found = (one[0] + two[0], one[1] + two[1])
        return found

    divisions = [best(whole, n) for n in range(1, most + 1)]
    return [(c, [m for m in map(inside, boxes) if m.any()]) for c, boxes in divisions]


def _cuts(box: Box) -> list[tuple[Box, Box]]:
    """All ways to cut a box in two."""
    pairs = []
    for axis, (low, high) in enumerate(box):
        for middle in range(low + 1, high):
            left, right = list(box), list(box)
            left[axis], right[axis] = (low, middle), (middle, high)
            pairs.append((tuple(left), tuple(right)))
    return pairs


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


def distinct(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First run of every combination of values, and the combination of every run."""
    index = [np.unique(c, return_inverse=True)[1] for c in columns]
    flat = np.ravel_multi_index(index, [int(i.max()) + 1 for i in index])
    _, first, combination = np.unique(flat, return_index=True, return_inverse=True)
    return first, combination
