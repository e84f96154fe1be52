"""In what the grid of a store differs from a larger one that should contain it, in words."""

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from jaxscale._system import AbstractSystem
from jaxscale._text import counted
from jaxscale.paths import get, replace
from jaxscale.sweep._axes import label
from jaxscale.sweep._config import encode
from jaxscale.sweep._grid import Grid

MOST_DIFFERENCES = 5  # that a message lists
MOST_VALUES = 3  # of an axis
LONGEST = 40  # characters of a value
READ = "read it with js.open_store and Dataset.sel"
LONGER = "train longer first, then add runs"


def axis_differences(part: Grid, larger: Grid) -> list[str]:
    """Axes that the larger grid lacks, and values that it lacks."""
    texts = [
        f"`{name}` is an axis of it"
        for name, values in part.axes.items()
        if name not in larger.axes and len(values) > 1
    ]
    base, own = part.system_at(0), {**part.axes, "seed": list(part.seeds)}
    for name, values in {**larger.axes, "seed": list(larger.seeds)}.items():
        try:
            stored = own[name] if name in own else [get(base, name)]
        except ValueError:
            texts.append(f"`{name}` is no field of it")
            continue
        present = {label(v) for v in values}
        absent = [str(text) for text in map(label, stored) if text not in present]
        if absent:
            dots = ", ..." if len(absent) > MOST_VALUES else ""
            noun = "value" if len(absent) == 1 else "values"
            texts.append(f"`{name}` has the {noun} {', '.join(absent[:MOST_VALUES])}{dots} there")
    return texts


def first_differences(part: Grid, larger: Grid) -> list[str]:
    """The fields that are no axes in which the systems of two grids differ, at the first run."""
    swept = {*larger.axes, *(name for name, values in part.axes.items() if len(values) > 1)}
    one, two = part.system_at(0), larger.system
    for name in swept:
        with contextlib.suppress(ValueError):  # it has no such field, or refuses the value
            two = replace(two, name, get(one, name))
    return system_differences(one, two, swept)


def system_differences(
    one: AbstractSystem, two: AbstractSystem, swept: Collection[str] = ()
) -> list[str]:
    """The fields in which two systems differ, and both values, but for those that are swept."""
    texts = []
    for path, *values in _fields(encode(one), encode(two)):
        if not any(f"{path}.".startswith(f"{name}.") for name in swept):
            stored, given = map(_short, values)
            texts.append(f"it {f'has {path}' if path else 'is'} {stored}, not {given}")
    if texts:
        texts[0] = f"its system differs: {texts[0]}"
    return texts


def asks_for_more_steps(one: AbstractSystem, two: AbstractSystem) -> bool:
    """Whether the second system is the first, trained longer."""
    paths = {path for path, *_ in _fields(encode(one), encode(two))}
    steps = getattr(one, "n_steps", 0), getattr(two, "n_steps", 0)
    return paths <= {"n_steps", "record"} and steps[0] < steps[1]


def in_words(texts: Sequence[str], hint: str = "") -> str:
    """Some differences, how many more there are, and what can be done."""
    more = len(texts) - MOST_DIFFERENCES
    rest = [f"and {counted(more, 'difference')} more"] if more > 0 else []
    return "; ".join([*texts[:MOST_DIFFERENCES], *rest, *([hint] if hint else [])])


def _fields(one: Any, two: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path and both values of every field in which two encoded systems differ."""
    if isinstance(one, dict) and isinstance(two, dict) and one.get("type") == two.get("type"):
        for name in dict.fromkeys([*one, *two]):
            yield from _fields(one.get(name), two.get(name), f"{path}.{name}".lstrip("."))
    elif json.dumps(one, sort_keys=True) != json.dumps(two, sort_keys=True):
        yield path, one, two


def _short(value: Any) -> str:
    if isinstance(value, list) and len(str(value)) > LONGEST:
        first = ", ".join(_short(v) for v in value[:2])
        return f"[{first}, ..., {_short(value[-1])}] of {len(value)} values"
    text = str(value["type"] if isinstance(value, dict) and "type" in value else value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
