"""The worst error of a case: random points of its box, then steps around the worst.

The documented errors come from a search that is `LONG`, with ever smaller steps; the slow tests
make a `SHORT` one.
"""

import dataclasses

import numpy as np

from references._case import Case, relative

PARENTS, CHILDREN = 3, 3


@dataclasses.dataclass(frozen=True)
class Search:
    """Random points for each random point of the case's table, then steps around the worst.

    `steps` are in shares of the ranges; slopes are compared at `n_slopes` points.
    """

    per_random: int
    steps: tuple[float, ...]
    n_slopes: int


LONG, SHORT = Search(4, (0.1, 0.03, 0.01), 6), Search(1, (0.03,), 2)


@dataclasses.dataclass(frozen=True)
class Worst:
    """The worst errors of values and slopes, and where they are."""

    error: float
    at: dict[str, float]
    slope_error: float
    slope_at: dict[str, float]


def _steps(units: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Points around some, of which special values mostly stay."""
    moved = np.clip(units + size * rng.standard_normal(units.shape), 0.0, 1.0)
    return np.where((units > 1) & (rng.random(units.shape) < 0.8), units, moved)


def hunt(case: Case, seed: int, search: Search) -> Worst:
    """Search the box of a case; the same seed gives the same points."""
    rng = np.random.default_rng([seed, *case.name.encode()])
    units = np.stack([case.sample(rng) for _ in range(search.per_random * case.n_random)])
    errors = case.errors([case.at(u) for u in units])
    for size in search.steps:
        worst = units[np.argsort(-errors)[:PARENTS]]
        children = _steps(np.repeat(worst, CHILDREN, axis=0), size, rng)
        errors = np.append(errors, case.errors([case.at(u) for u in children]))
        units = np.concatenate([units, children])
    order = np.argsort(-errors)
    at = case.at(units[order[0]])
    if not case.slopes:
        return Worst(float(errors[order[0]]), at, 0.0, {})
    n_worst = search.n_slopes // 2
    chosen = [*order[:n_worst], *rng.choice(len(units), search.n_slopes - n_worst)]
    points = [case.at(units[i]) for i in chosen]
    slope_errors = np.max(slope_errors_of(case, points), axis=1)
    i = int(np.argmax(slope_errors))
    return Worst(float(errors[order[0]]), at, float(slope_errors[i]), points[i])


def slope_errors_of(case: Case, points: list[dict[str, float]]) -> np.ndarray:
    """Errors of the slopes at some points, `(n_points, n_arguments)`."""
    exact = np.array([[case.slope(p, k) for k in p] for p in points])
    sizes = np.array([case.reference(p)[1] for p in points])
    return compare_slopes(case.with_gradients(points)[1], exact, sizes, points)


def compare_slopes(
    slopes: np.ndarray, exact: np.ndarray, sizes: np.ndarray, points: list[dict[str, float]]
) -> np.ndarray:
    """Errors of x df/dx, relative to the larger of it and what values are relative to."""
    x = np.abs(np.array([list(p.values()) for p in points]))
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.maximum(np.abs(exact), sizes[:, None] / x)
    return np.where(np.isnan(exact), 0.0, relative(slopes, exact, size))
