"""What a user can move in a system: sliders for its numbers, choices for its parts."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.fields import (
    Configurable,
    base_of,
    choices_of,
    concrete_classes,
    field_names,
    interval_of,
)
from jaxscale.paths import get, is_static, replace

POSITIONS = 240  # of a slider
FACTOR = 100.0  # that a slider of a positive number without an upper end goes up and down
SIZE_FACTOR = 8.0  # the same of a size
SMALLEST_EXPONENT, LARGEST_EXPONENT = 0.05, 3.0  # of a slider, unless the system's is outside
# how numbers are computed, not what they are
HIDDEN = ("dtype", "micro_batch", "n_evaluation")
INSET = 1e-3  # of a finite interval whose ends may be refused


@dataclasses.dataclass(frozen=True)
class Knob:
    """A number that a slider moves: `path` in the system, its ends, and how positions map to it."""

    path: str
    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False

    def value(self, position: float) -> float:
        """Value at a position of the slider, 0 to `POSITIONS`."""
        share = position / POSITIONS
        if self.is_log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return float(round(value)) if self.is_integer else float(f"{value:.4g}")

    def position(self, value: float) -> float:
        """Position of the slider that is nearest to a value."""
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0) * POSITIONS

    def spaced(self, n: int) -> np.ndarray:
        """`n` values over the slider, for an axis of a figure; whole ones may repeat."""
        space = np.geomspace if self.is_log else np.linspace
        values = space(self.low, self.high, n)
        return np.round(values) if self.is_integer else values


@dataclasses.dataclass(frozen=True)
class Choice:
    """A part, or a name out of a list: the classes or names it may be."""

    path: str
    options: tuple[str, ...]
    value: str


@dataclasses.dataclass(frozen=True)
class Shape:
    """A whole number that sets a shape: another value needs another program."""

    path: str
    value: int
    low: int


def number_of(name: str, text: str) -> float:
    """The number that was typed; `ValueError` with the name of the field for what is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be a number, got {text!r}.")
    return value


def integer_of(name: str, text: str) -> int:
    """The whole number that was typed, 1e3 too; `ValueError` for what is none."""
    value = number_of(name, text)
    if value != round(value):
        raise ValueError(f"`{name}` must be a whole number, got {text!r}.")
    return int(value)


def paths_of(module: Any, prefix: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a module and of its parts."""
    for name in field_names(module):
        value = getattr(module, name)
        yield prefix + name
        if isinstance(value, eqx.Module):
            yield from paths_of(value, f"{prefix}{name}.")


def leaf_paths(system: AbstractSystem) -> list[str]:
    """Paths of the numbers that a program takes as arguments."""
    return [p for p in paths_of(system) if is_number(get(system, p)) and not is_static(system, p)]


def is_number(value: Any) -> bool:
    """Whether a field holds one number that a program can take as an argument."""
    return isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "if"


def has(system: AbstractSystem | None, path: str) -> bool:
    """Whether a system has a field at `path`."""
    try:
        get(system, path)
    except ValueError:
        return False
    return True


def knob_of(system: AbstractSystem, path: str) -> Knob:
    """Slider of the number at `path`, over its declared interval or about its present value."""
    value = float(get(system, path))
    low, high = interval_of(system, path)
    if get(system, path).dtype.kind == "i":
        first = max(1.0 if low is None else float(low), value / SIZE_FACTOR, 1.0)
        return Knob(path, math.floor(first), math.ceil(max(value, 2) * SIZE_FACTOR), True, True)
    if low is not None and high is not None:
        inset = INSET * (high - low)
        return Knob(path, low + inset, high - inset)
    if "exponent" in path.rpartition(".")[2]:
        first = 0.0 if low is None else float(low)
        start = min(value, first + SMALLEST_EXPONENT)  # the end itself may be refused
        return Knob(path, start, first + max(LARGEST_EXPONENT, 2 * (value - first)))
    if low == 0 and value > 0:
        return Knob(path, value / FACTOR, value * FACTOR, True)
    if low is not None:
        return Knob(path, low, low + max(1.0, 2 * (value - low)))
    return Knob(path, value - 2 * max(1.0, abs(value)), value + 2 * max(1.0, abs(value)))


def refusal(system: AbstractSystem, values: Mapping[str, float]) -> str:
    """Why fields cannot have these values, set in turn as the Python of a page does."""
    try:
        for path, value in values.items():
            system = replace(system, path, value)
    except ValueError as error:
        return " ".join(str(error).split())
    return ""


def taken(system: AbstractSystem, knob: Knob, n: int) -> np.ndarray:
    """`n` values over the slider that the system takes; the last one repeats for those refused."""
    values = [v for v in knob.spaced(n).tolist() if not refusal(system, {knob.path: v})]
    values = values or [float(get(system, knob.path))]
    return np.array(values + values[-1:] * (n - len(values)))


def choices_in(system: AbstractSystem, start: AbstractSystem | None = None) -> list[Choice]:
    """Parts and names of a system that have alternatives which need no further arguments.

    Parts of `start` are options, too.
    """
    choices = []
    for path in paths_of(system):
        value, base, names = get(system, path), base_of(system, path), choices_of(system, path)
        if path.rpartition(".")[2] in HIDDEN:
            continue
        if len(names) > 1:
            choices.append(Choice(path, names, str(value)))
        elif base is not None and issubclass(base, Configurable) and value is not None:
            now, own = type(value).__name__, _part(start, path)
            first = [now] if own is None else [now, type(own).__name__]
            others = [c.__name__ for c in concrete_classes(base) if _fits(system, path, c)]
            options = tuple(dict.fromkeys([*first, *others]))
            choices += [Choice(path, options, now)] if len(options) > 1 else []
    return choices


def _fits(system: AbstractSystem, path: str, cls: type) -> bool:
    """Whether a system takes a part of this class without arguments."""
    try:
        replace(system, path, cls())
    except (ValueError, TypeError):
        return False
    return True


def _part(system: AbstractSystem | None, path: str) -> Configurable | None:
    """The part of a system at `path`, None where it has none."""
    value = get(system, path) if has(system, path) else None
    return value if isinstance(value, Configurable) else None


def chosen(
    system: AbstractSystem, path: str, option: str, start: AbstractSystem | None = None
) -> AbstractSystem:
    """The system with another part or name at `path`: that of `start`, else a new one.

    **Raises** `ValueError` for what is not an option of it.
    """
    for choice in choices_in(system, start):
        if choice.path == path and option in choice.options:
            if option == choice.value:
                return system
            own = _part(start, path)
            if type(own).__name__ == option:
                return replace(system, path, own)
            base = base_of(system, path)
            classes = {} if base is None else {c.__name__: c for c in concrete_classes(base)}
            return replace(system, path, classes[option]() if option in classes else option)
    raise ValueError(f"`{path}` has no option {option!r}.")


def shapes_in(system: AbstractSystem) -> list[Shape]:
    """Whole numbers of a system that set shapes."""
    shapes = []
    for path in paths_of(system):
        value = get(system, path)
        if isinstance(value, int) and not isinstance(value, bool) and is_static(system, path):
            low = interval_of(system, path)[0]
            if path.rpartition(".")[2] not in HIDDEN:
                shapes.append(Shape(path, value, 1 if low is None else int(low)))
    return shapes
