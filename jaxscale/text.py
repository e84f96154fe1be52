"""Tables as plain text, the same in a terminal, a notebook and a log."""

import io
from typing import Any

from rich.console import Console

WIDTH = 100


def as_text(*shown: Any) -> str:
    """What rich would print of `shown`, without colours or escape codes, at most 100 wide."""
    console = Console(
        file=io.StringIO(), width=WIDTH, force_terminal=False, force_jupyter=False,
        color_system=None,
    )  # fmt: skip
    with console.capture() as text:
        for one in shown:
            console.print(one)
    return text.get().rstrip()


def counted(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
