"""Plain text: tables that look the same in a terminal, a notebook and a log; counts; hints."""

import difflib
import io
from collections.abc import Iterable
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


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing where no known name resembles `name`."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
