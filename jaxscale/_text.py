"""Plain text: the same in a terminal, a notebook and a log; numbers, counts and hints."""

import difflib
import io
import math
from collections.abc import Iterable
from typing import Any

from rich.console import Console

WIDTH = 80


def as_text(*shown: Any) -> str:
    """Return what rich would print of `shown`, without colours, at most 80 wide."""
    console = Console(
        file=io.StringIO(), width=WIDTH, force_terminal=False, force_jupyter=False,
        color_system=None,
    )  # fmt: skip
    with console.capture() as text:
        for one in shown:
            console.print(one)
    return text.get().rstrip()


def counted(n: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def number(value: float | None, form: str) -> str:
    """Format a number, or return a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean ...?`, or an empty string where no name resembles `name`."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def choices(name: str, names: Iterable[str]) -> str:
    """Return `(a, b, c)` for the end of an error, with the name that `name` resembles."""
    listed = list(names)
    return f"({', '.join(listed)}){nearest(name, listed)}"
