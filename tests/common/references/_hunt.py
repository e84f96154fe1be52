"""The worst error of a case: random points of its box, then steps around the worst.

The documented errors come from a search that is `LONG`, with ever smaller steps; the slow tests
make a `SHORT` one.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from references._case import Case, relative
from references._tables import Table


@dataclasses.dataclass(frozen=True)
class Search:
    """Random points for each random point of the case's table, then steps around the worst.

    `steps` are in shares of the ranges, `n_around` of each size around as many points; slopes are
    compared at `n_slopes` points.
    """

    per_random: int
    steps: tuple[float, ...]
    n_around: int
    n_slopes: int


LONG, SHORT = Search(4, (0.1, 0.03, 0.01), 3, 6), Search(1, (0.03,), 2, 2)


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


def hunt(
    case: Case,
    seed: int,
    search: Search,
    table: Table | None = None,
    values: Callable[[list[dict[str, float]]], np.ndarray] | None = None,
) -> Worst:
    """Search the box of a case; the same seed gives the same points.

    What the table has with 50 digits is not computed anew: seed 0 has its random points. `values`
    replaces those of a plain call.
    """
    values, stored = values or case.values, _by_point(table)

    def errors_at(points: list[dict[str, float]]) -> np.ndarray:
        exact = [stored.get(tuple(p.values())) or case.reference(p) for p in points]
        return relative(values(points), *np.array([e[:2] for e in exact]).T)

    rng = np.random.default_rng([seed, *case.name.encode()])
    units = np.stack([case.sample(rng) for _ in range(search.per_random * case.n_random)])
    errors = errors_at([case.at(u) for u in units])
    for size in search.steps:
        worst = units[np.argsort(-errors)[: search.n_around]]
        children = _steps(np.repeat(worst, search.n_around, axis=0), size, rng)
        errors = np.append(errors, errors_at([case.at(u) for u in children]))
        units = np.concatenate([units, children])
    order = np.argsort(-errors)
    at = case.at(units[order[0]])
    if not case.slopes:
        return Worst(float(errors[order[0]]), at, 0.0, {})
    n_worst = search.n_slopes // 2
    chosen = [*order[:n_worst], *rng.choice(len(units), search.n_slopes - n_worst)]
    points = [case.at(units[i]) for i in chosen]
    exact = [stored.get(tuple(p.values())) or _with_slopes(case, p) for p in points]
    sizes, slopes = np.array([e[1] for e in exact]), np.stack([e[2] for e in exact])
    gradients = case.with_gradients(points)[1]
    slope_errors = np.max(compare_slopes(gradients, slopes, sizes, points), axis=1)
    i = int(np.argmax(slope_errors))
    return Worst(float(errors[order[0]]), at, float(slope_errors[i]), points[i])


def _by_point(table: Table | None) -> dict[tuple[float, ...], tuple[float, float, np.ndarray]]:
    """Value, size and slopes of every point of a table."""
    if table is None:
        return {}
    slopes = table.slopes if len(table.slopes) else [np.zeros(0)] * len(table.points)
    rows = zip(table.values, table.sizes, slopes, strict=True)
    return {tuple(p.values()): row for p, row in zip(table.points, rows, strict=True)}


def _with_slopes(case: Case, point: dict[str, float]) -> tuple[float, float, np.ndarray]:
    return *case.reference(point), np.array([case.slope(point, k) for k in point])


def compare_slopes(
    slopes: np.ndarray, exact: np.ndarray, sizes: np.ndarray, points: list[dict[str, float]]
) -> np.ndarray:
    """Errors of x df/dx, relative to the larger of it and what values are relative to."""
    x = np.abs(np.array([list(p.values()) for p in points]))
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.maximum(np.abs(exact), sizes[:, None] / x)
    return np.where(np.isnan(exact), 0.0, relative(slopes, exact, size))
