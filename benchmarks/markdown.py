"""Cells and tables in Markdown."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratio(comparison: Mapping[str, Any] | None, goal: float | None = None) -> str:
    """A ratio with its lowest and highest round, and whether it reaches its goal."""
    if comparison is None:
        return "not measured"
    low, high = min(comparison["rounds"]), max(comparison["rounds"])
    reached = (
        "" if goal is None else f"{', met' if comparison['ratio'] >= goal else ', **missed**'}"
    )
    return f"**{digits(comparison['ratio'])}x** ({digits(low)} to {digits(high)}){reached}"


def digits(x: float) -> str:
    """Two decimals below 10, one above."""
    return f"{x:.2f}" if x < 10 else f"{x:.1f}"


def load(machine: Mapping[str, Any]) -> str:
    """Load average before and after."""
    return f"{machine['load'][0]:.1f}, {machine['load_after'][0]:.1f}"


def number(x: float) -> str:
    """A rate: no decimals from 100 on."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def spread(values: Sequence[float]) -> str:
    """Median and range of a share, in per cent."""
    middle = statistics.median(values)
    return f"{middle:.1%} ({min(values):.1%} to {max(values):.1%})"
