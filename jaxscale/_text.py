"""Plain text: the same in a terminal, a notebook and a log; numbers, counts and hints."""

import contextlib
import difflib
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

WIDTH = 80
DASH = "–"  # for what there is none of
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # characters, but for tabs and line ends
FORMULA = r"\$([^$]+)\$"  # in a sentence


def as_text(*shown: Any) -> str:
    """Return what rich would print of `shown`, without colours, at most 80 wide."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=WIDTH, force_terminal=False, force_jupyter=False,
        color_system=None,
    )  # fmt: skip
    with console.capture() as text:
        for one in shown:
            console.print(one)
    return text.get().rstrip()


def without_marks(text: str) -> str:
    """Return a text without the dollar signs around its formulas."""
    return re.sub(FORMULA, r"\1", text)


def plain_equation(tex: str) -> str:
    """Return a simple equation of TeX as one for the terminal, `E + A N^-alpha`."""
    text = re.sub(r"\\(left|right|quad)(?![a-z])", "", " ".join(tex.split()))
    text = re.sub(r"\\text\{(\w+)\}", r"\1", text)
    text = re.sub(r"_\{\\?(\w+)\}", r"_\1", text)
    text = re.sub(r"\\frac\{(\w+)\}\{(\w+)\}", r"\1 / \2", text)
    if re.search(r"\\(frac|sqrt|[^a-zA-Z])", text):
        return tex
    text = re.sub(r"\^\{(-?\\?[\w']+)\}", r"^\1", text).replace("\\", "")
    return re.sub(r"\s+", " ", text.replace("{", "(").replace("}", ")"))


def printable(text: str) -> str:
    """Return a text without characters that command a terminal."""
    return re.sub(CONTROL, "\N{REPLACEMENT CHARACTER}", text)


def counted(n: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """Format seconds in the largest unit of which there are two, `2.2 years` or `39 min`."""
    units = (("years", 31_557_600), ("days", 86400), ("h", 3600), ("min", 60))
    for unit, size in units:
        if (n := seconds / size) >= 2:
            return f"{n:,.0f} {unit}" if n >= 10 else f"{n:.1f} {unit}"
    if seconds >= 1 or not seconds:
        return f"{seconds:.1f} s"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def described(value: Any) -> str:
    """What was given in place of something else, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__} (write {value.__name__}() for an object of it)"
    text = repr(value)
    return text if len(text) <= WIDTH and "\n" not in text else f"a {type(value).__name__}"


def number(value: float | None, form: str) -> str:
    """Format a number, or return a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else format(value, form)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean ...?`, or an empty string where no name resembles `name`.

    Upper and lower case are the same, and the last part of a dotted name is a name of it, too.
    """
    listed = list(names)
    forms = {n.rpartition(".")[2].lower(): n for n in listed} | {n.lower(): n for n in listed}
    near = difflib.get_close_matches(str(name).lower(), forms, n=1)
    return f"; did you mean `{forms[near[0]]}`?" if near else ""


def unknown(
    what: str, given: Any, names: Iterable[str], other: str = "", of: str = ""
) -> ValueError:
    """Return the error of a name that is looked up: what `what` must be, or resembles."""
    listed = list(names)
    hint = nearest(given, listed) if isinstance(given, str) else ""
    return ValueError(
        f"{what} must be one of {of}{', '.join(listed)}{other}, got {given!r}{hint or '.'}"
    )


def choices(name: str, names: Iterable[str]) -> str:
    """Return the end of an error: the name that `name` resembles, else `; there are a, b, c.`."""
    listed = list(names)
    return nearest(name, listed) or f"; there are {', '.join(listed) or 'none'}."


def once(option: str, named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by name; refuse a name that an option gives two values."""
    values: dict[str, Any] = {}
    for name, value in named:
        if name in values:
            raise ValueError(
                f"`{option}` must name {name} once, got {values[name]!r} and {value!r}."
            )
        values[name] = value
    return values


@contextlib.contextmanager
def of_argument(argument: str) -> Iterator[None]:
    """Let errors of the block begin with the argument that caused them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"`{argument}`: {error}") from None


def nested(paths: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Pairs of paths of which the first lies inside of the second."""
    pairs = itertools.permutations(paths, 2)
    return [(inner, outer) for inner, outer in pairs if f"{inner}".startswith(f"{outer}.")]
