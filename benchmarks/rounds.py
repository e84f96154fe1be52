"""Interleaved rounds: every call once per round, medians over rounds, ratios within a round."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, float]]


def take_turns(benchmark: Any, calls: Mapping[str, Callable[[], float]], n_rounds: int) -> Rows:
    """Seconds of every call in every round.

    The first call is the one that pytest-benchmark times too; the others take their turn in its
    setup, so that a round passes over all of them.
    """
    (first, ours), *others = calls.items()
    rows: list[dict[str, float]] = []

    def peers() -> None:
        rows.append({name: call() for name, call in others})

    def timed() -> None:
        rows[-1][first] = ours()

    benchmark.pedantic(timed, setup=peers, rounds=n_rounds)
    return rows


def medians(rows: Rows) -> dict[str, float]:
    """Median over the rounds of every entry."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def ratio(rows: Rows, over: str, under: str) -> dict[str, Any]:
    """`over / under` of every round, and the median of that."""
    ratios = [row[over] / row[under] for row in rows]
    return {"ratio": statistics.median(ratios), "rounds": ratios, "against": under}
