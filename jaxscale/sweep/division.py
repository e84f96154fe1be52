"""Which runs share a program: the cheapest division of a grid into buckets.

Static and object axes need a bucket per combination of their values. Sizes are padded to the
largest of a bucket, so that its runs are split by size where that saves more time than the
compilation of another program takes.
"""

import math
from typing import Any

import numpy as np

from jaxscale.sweep.bucket import (
    columns_of,
    padded_system_of,
    run_seconds,
    structure_of,
    structures,
    with_micro_batches,
)
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.padding import MOST_CELLS, allocate_buckets, cells, cheapest, distinct
from jaxscale.system import AbstractSystem

COMPILE_SECONDS = 3.0
MOST_BUCKETS = 4  # of one structure, unless `max_programs` says otherwise
MOST_BOXES = 300  # templates that are built to find the division of all structures


def divide(
    grid: Grid, run_ids: np.ndarray, bound: int | None, available: int
) -> tuple[list[np.ndarray], float]:
    """Runs of every bucket, and the work of all runs at their own sizes.

    **Arguments**

    - `grid`: the grid.
    - `run_ids`: flat indices of the runs to divide.
    - `bound`: most buckets; None leaves it to what compiling costs.
    - `available`: devices that runs are spread over.

    **Raises** `ValueError` if static and object axes need more buckets than `bound`.
    """
    combinations = structures(grid, run_ids)
    n = len(combinations)
    if bound is not None and bound < n:
        raise ValueError(
            f"`max_programs` must be at least {n}, the combinations of static and object axes, "
            f"got {bound}."
        )
    extra = (MOST_BUCKETS - 1) * n if bound is None else bound - n
    most = MOST_BUCKETS if bound is None else 1 + extra
    boxes = max(MOST_BOXES // max(n, 1), 9)
    found = [_divisions(grid, ids, most, available, boxes) for ids in combinations]
    taken = allocate_buckets([[cost for cost, _ in divisions] for divisions, _ in found], extra)
    parts = []
    for ids, (divisions, _), t in zip(combinations, found, taken, strict=True):
        parts += [ids[mask] for mask in divisions[t - 1][1]]
    return parts, sum(flops for _, flops in found)


def _divisions(
    grid: Grid, ids: np.ndarray, most: int, available: int, boxes: int
) -> tuple[list[tuple[float, list[np.ndarray]]], float]:
    """Cheapest divisions of the runs of one structure, and the work at their own sizes."""
    columns, _ = columns_of(grid, ids)
    chosen = structure_of(grid, ids)
    single = {p: c[:1] for p, c in columns.items() if np.min(c) == np.max(c)}

    def template(values: dict[str, np.ndarray]) -> AbstractSystem:
        return with_micro_batches(padded_system_of(grid, single | values, chosen))

    sizes = [p for p, c in columns.items() if p not in single and _is_size(template, p, c)]
    whole = [(0.0, [np.ones(len(ids), bool)])]
    if not sizes:
        return whole, len(ids) * template({}).work().flops
    first, combination = distinct([columns[p] for p in sizes])
    count = np.bincount(combination)
    columns = {p: columns[p][first] for p in sizes}
    counted = min(len(first), boxes)  # at random: evenly spaced ones could all be small
    kept = np.random.default_rng(0).choice(len(first), counted, replace=False)
    own = [template({p: c[[i]] for p, c in columns.items()}).work().flops for i in kept]
    flops = float(np.average(own, weights=count[kept])) * len(ids)
    if most == 1:
        return whole, flops

    def cost(mask: np.ndarray) -> float:
        seconds = run_seconds(template({p: c[mask] for p, c in columns.items()}))
        return seconds * math.ceil(int(count[mask].sum()) / available) + COMPILE_SECONDS

    places = cells(list(columns.values()), boxes)
    found = cheapest(places, cost, min(most, MOST_CELLS))
    return [(c, [mask[combination] for mask in masks]) for c, masks in found], flops


def _is_size(template: Any, path: str, column: np.ndarray) -> bool:
    """Whether the arrays of a program depend on the values of this axis that it must hold."""
    ends = [template({path: np.asarray([v])}).lengths for v in (np.min(column), np.max(column))]
    return ends[0] != ends[1]
