"""Static sizes of the draws of a run, from plain numbers, before anything compiles."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxscale.sparse._spectrum import HEAD_PROBABILITY, MAX_TABLE, MIN_TABLE, power_law_events

LONGEST_HEAD = 100_000
OVERFLOW = 5e-9  # chance that a bound is exceeded


@dataclasses.dataclass(frozen=True)
class Padding:
    """Static sizes that hold the draws of every run of one program.

    - `n_rows`: samples, test samples of nonlinear features included.
    - `table`: coordinates tabulated one by one (of a long spectrum, behind those drawn by row).
    - `head`: coordinates drawn row by row.
    - `points`: events of the others.
    - `seen`: columns of the inputs.
    """

    n_rows: int
    table: int
    head: int
    points: int
    seen: int


def _upper(log_moment: Callable[[np.ndarray], np.ndarray]) -> int:
    """Chernoff bound on a count: exceeded with chance below `OVERFLOW`, whatever `theta` is best.

    `P(K >= k) <= exp(log E e^(theta K) - theta k)`, for every theta > 0.
    """
    theta = np.geomspace(0.05, 5.0, 24)
    return math.ceil(float(np.min((log_moment(theta) - math.log(OVERFLOW)) / theta)))


def padding_for(
    n_rows: int, probability: Float[np.ndarray, " n"], tail_events: float, table: int
) -> Padding:
    """Derive the padding of one run, which its draws exceed with a chance below 1e-8.

    `probability` holds `p_i` of head and table, not increasing; `tail_events` are expected per
    sample beyond them.
    """
    head = int(np.sum(probability > HEAD_PROBABILITY))
    rare = probability[head:]
    mean = n_rows * (float(-np.sum(np.log1p(-rare))) + tail_events)
    chance = -np.expm1(n_rows * np.log1p(-rare))

    def log_moment_of_seen(theta: np.ndarray) -> np.ndarray:
        growth = np.expm1(theta)
        inside = np.sum(np.log1p(chance * growth[:, None]), axis=1)
        return inside + n_rows * tail_events * growth

    points = _upper(lambda theta: mean * np.expm1(theta)) if mean > 0 else 0
    others = len(rare) if tail_events == 0 else points
    seen = head + min(_upper(log_moment_of_seen), others, points)
    return Padding(n_rows, table, head, points, seen)


@functools.lru_cache(maxsize=4096)  # a planner asks for the same sizes again and again
def power_law_padding(
    n_rows: int, sparsity_exponent: float, activity: float, n_coordinates: int | float
) -> Padding:
    """`padding_for` a power law: tabulated in full if short, else for `MIN_TABLE` behind its head.

    **Raises** `ValueError` for infinitely many active coordinates, or a head too long to tabulate.
    """
    if n_coordinates == math.inf and sparsity_exponent <= 1:
        raise ValueError(
            "`n_coordinates` must be finite for sparsity_exponent <= 1 (a sample would activate "
            f"infinitely many), got inf with sparsity_exponent {sparsity_exponent:g}."
        )
    head = (2 * activity) ** (1 / sparsity_exponent) if sparsity_exponent > 0 else math.inf
    head = min(head if 2 * activity > 1 else 0.0, n_coordinates)
    if head > LONGEST_HEAD:
        raise ValueError(
            f"`activity` must leave at most {LONGEST_HEAD} coordinates active in every other "
            f"sample, got {activity:g} with sparsity_exponent {sparsity_exponent:g}."
        )
    is_short = n_coordinates <= MAX_TABLE
    table = int(n_coordinates) if is_short else MIN_TABLE
    last = int(n_coordinates if is_short else min(n_coordinates, math.ceil(head) + MIN_TABLE))
    number = np.arange(1.0, last + 1)
    probability = np.minimum(1.0, activity * number**-sparsity_exponent)
    events = 0.0
    if n_coordinates > last:
        slope = 1.0 - sparsity_exponent
        slope = slope if abs(slope) > 1e-9 else 1e-9
        end = 0.0 if n_coordinates == math.inf else ((n_coordinates + 0.5) / (last + 0.5)) ** slope
        first = activity * (last + 1.0) ** -sparsity_exponent
        events = float(power_law_events(activity, slope, last, end, first))
    return padding_for(n_rows, probability, events, table)
