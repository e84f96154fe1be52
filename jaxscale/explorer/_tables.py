"""Closed forms at every position of a few sliders, as tables that a page can hold."""

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxscale._system import AbstractSystem
from jaxscale._text import choices
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._curve_figure import SAME, Shown
from jaxscale.explorer._curves import curves_of, why_no_theory, x_options
from jaxscale.explorer._knobs import POSITIONS, Knob, knob_of, refusal, taken
from jaxscale.explorer._theory_code import POINTS
from jaxscale.paths import get

TABLE_BYTES = 4_000_000  # of all tables of a page
NUMBER_BYTES = 11  # of a number at most: base64 of 8 bytes, and a bit
COMBINATIONS = 400  # of positions at most: each is an evaluation of every closed form
MOST, FEWEST = 61, 5  # positions of a slider
SLIDERS = 3  # at most, unless they are named
DIGITS = 8  # of a number that is written out
Index = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Slide:
    """A slider of a page without a server: its field, its values, and the place of the system's."""

    path: str
    values: tuple[float, ...]
    start: int


@dataclasses.dataclass(frozen=True)
class CurveTable:
    """Curves of one observable at every position; an axis it does not depend on has length 1."""

    first: Shown
    lines: Float[np.ndarray, "*positions k n"]
    claimed: Bool[np.ndarray, "*own_positions k n"]

    @property
    def is_constant(self) -> bool:
        """Whether no curve depends on x."""
        return self.lines.shape[-1] == 1

    def at(self, index: Index) -> tuple[np.ndarray, np.ndarray]:
        """Curves at a position of every slider, and where theory makes its claim."""
        lines, claimed = self.lines, self.claimed
        return lines[_clipped(index, lines)], claimed[_clipped(index, claimed)]


@dataclasses.dataclass(frozen=True)
class Tables:
    """What a page shows: curves over `x` at every position of its sliders.

    `refused` says by position why there is no such system.
    """

    system: AbstractSystem
    x: str
    knob: Knob | None
    slides: tuple[Slide, ...]
    curves: tuple[CurveTable, ...]
    refused: Mapping[int, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions of every slider."""
        return tuple(len(slide.values) for slide in self.slides)


def tabulated(
    system: AbstractSystem,
    sliders: Sequence[str] = (),
    x: str = "",
    *,
    n_combinations: int = COMBINATIONS,
    n_bytes: int = TABLE_BYTES,
    say: Callable[[str], None] = lambda text: None,
) -> Tables:
    """Evaluate the closed forms of `system` at every position of a few sliders.

    **Arguments**

    - `sliders`: fields; by default two or three, sizes and exponents first.
    - `x`: dimension or field of the x axis; by default the steps, else a size.
    - `n_combinations`: most positions of all sliders together, for each is an evaluation.
    - `n_bytes`: most bytes of the tables; sliders have fewer positions rather than larger tables.
    - `say`: gets a line on what is evaluated, before it is.

    **Raises** `ValueError` for a system without theory, fields that no closed form reads, and
    tables that are too large at five positions of each slider.
    """
    if not system.schema.predicted():
        raise ValueError(
            f"`source` {type(system).__name__} has no closed form: {why_no_theory(system)}."
        )
    one = ClosedForms(system)
    knobs = {path: knob_of(system, path) for path in one.used}
    axes = x_options(system, knobs)
    if x and x not in axes:
        raise ValueError(f"`x` {x!r} is no axis of the closed forms{choices(x, axes)}")
    x = x or next(iter(axes), "")
    movable = [path for path in _by_weight(knobs) if path != x]
    for path in sliders:
        if path not in movable:
            raise ValueError(
                f"`slider` {path!r} is no number that the closed forms read beside the x axis "
                f"{x}{choices(path, movable)}"
            )
    paths = list(dict.fromkeys(sliders)) or movable[: _how_many(movable, knobs)]
    forms = ClosedForms(system, x, POINTS) if x in knobs else one
    at = taken(system, knobs[x], POINTS) if x in knobs else None
    n_numbers = sum(_n_numbers(system, x, at))
    most = min(n_combinations, n_bytes // (NUMBER_BYTES * n_numbers)) if n_numbers else 1
    n = _n_positions(len(paths), n_numbers, most)
    slides = tuple(_slide(system, knobs[path], n) for path in paths)
    tables = Tables(system, x, knobs.get(x), slides, (), {})
    say(f"{math.prod(tables.shape)} positions of {', '.join(paths) or 'no slider'}, over {x}")
    return _evaluated(tables, forms, at)


def _by_weight(knobs: Mapping[str, Knob]) -> list[str]:
    """Fields, sizes first, then exponents."""
    return sorted(knobs, key=lambda path: (not knobs[path].is_integer, not _is_exponent(path)))


def _is_exponent(path: str) -> bool:
    return "exponent" in path.rpartition(".")[2]


def _how_many(movable: Sequence[str], knobs: Mapping[str, Knob]) -> int:
    """Two sliders, or three where there are as many sizes and exponents."""
    weighty = [path for path in movable if knobs[path].is_integer or _is_exponent(path)]
    return min(max(len(weighty), SLIDERS - 1), SLIDERS)


def _n_numbers(system: AbstractSystem, x: str, at: np.ndarray | None) -> Iterator[int]:
    """Numbers of every observable at one position, before anything is evaluated."""
    schema = system.schema
    for name in schema.predicted():
        shape = [len(schema.coordinates[dim]) for dim in schema.observables[name].dims]
        value = np.zeros(shape if at is None else (len(at), *shape))
        for shown in curves_of(system, x, at, {name: value}, {}):
            yield shown.lines.size


def _n_positions(n_sliders: int, n_numbers: int, most: int) -> int:
    """Positions of each slider, `most` for all together."""
    n = min(MOST, int(most ** (1 / max(n_sliders, 1)) + 1e-9))
    if n_sliders and n < FEWEST:
        raise ValueError(
            f"`slider`: {FEWEST} positions of each of {n_sliders} sliders are "
            f"{FEWEST**n_sliders:,} positions of {n_numbers:,} numbers, and a page has room for "
            f"{most:,}; name fewer sliders, or record fewer steps."
        )
    return n


def _slide(system: AbstractSystem, knob: Knob, n: int) -> Slide:
    """A slider over the values that a field can have, with the system's own among `n` of them."""
    own = float(get(system, knob.path))
    values = {knob.value(i) for i in range(POSITIONS + 1)}
    usable = sorted(v for v in values if not refusal(system, {knob.path: v})) or [own]
    few = {usable[i] for i in np.linspace(0, len(usable) - 1, n).round().astype(int)} - {own}
    if len(few) >= n:  # the nearest makes room
        few -= {min(few, key=lambda value: abs(knob.position(value) - knob.position(own)))}
    ordered = sorted(few | {own})
    return Slide(knob.path, tuple(ordered), ordered.index(own))


def _evaluated(tables: Tables, forms: ClosedForms, at: np.ndarray | None) -> Tables:
    """Fill the tables."""
    refused: dict[int, str] = {}
    first = _curves(tables, forms, at, {})
    lines = {shown.name: np.full((*tables.shape, *shown.lines.shape), np.nan) for shown in first}
    claimed = {name: np.zeros(value.shape, bool) for name, value in lines.items()}
    for i, index in enumerate(np.ndindex(tables.shape)):
        values = {s.path: s.values[j] for s, j in zip(tables.slides, index, strict=True)}
        if why := refusal(tables.system, values):
            refused[i] = why
            continue
        for shown in _curves(tables, forms, at, values):
            lines[shown.name][index] = np.where(np.isfinite(shown.lines), shown.lines, np.nan)
            claimed[shown.name][index] = shown.claimed
    curves = tuple(_narrowed(shown, lines[shown.name], claimed[shown.name]) for shown in first)
    return dataclasses.replace(tables, curves=curves, refused=refused)


def _curves(
    tables: Tables, forms: ClosedForms, at: np.ndarray | None, values: Mapping[str, float]
) -> list[Shown]:
    return curves_of(tables.system, tables.x, at, *forms.with_claims(values, at))


def _narrowed(first: Shown, lines: np.ndarray, claimed: np.ndarray) -> CurveTable:
    """A table without axes on which nothing depends."""
    if _all_same(lines, lines[..., -1:]):
        last = slice(-1, None)
        first = Shown(
            first.name, first.x[last], first.lines[:, last], first.claimed[:, last], first.labels
        )
        lines, claimed = lines[..., -1:], claimed[..., -1:]
    for axis in range(lines.ndim - 2):
        one = lines.take([0], axis)
        lines = one if _all_same(lines, one) else lines
        one = claimed.take([0], axis)
        claimed = one if np.all(claimed == one) else claimed
    return CurveTable(first, lines, claimed)


def _all_same(values: np.ndarray, one: np.ndarray) -> bool:
    return np.allclose(values, one, rtol=SAME, atol=0, equal_nan=True)


def _clipped(index: Index, table: np.ndarray) -> Index:
    """A position in a table whose axes may have length 1."""
    return tuple(min(i, n - 1) for i, n in zip(index, table.shape, strict=False))


def encoded(values: Float[np.ndarray, "..."]) -> dict[str, Any]:
    """Numbers as the shortest of base64 of float32, of float64, and text; NaN is empty in text.

    They are within 1e-7 of their size; float32 is left out where a value is none of its range.
    """
    flat = values.ravel()
    usable = flat[np.isfinite(flat) & (flat != 0)]
    limits = np.finfo(np.float32)
    written = {
        "text": ",".join("" if math.isnan(v) else f"{v:.{DIGITS}g}" for v in flat.tolist()),
        "f8": base64.b64encode(flat.astype("<f8").tobytes()).decode(),
    }
    if np.all((np.abs(usable) >= limits.tiny) & (np.abs(usable) <= limits.max)):
        written["f4"] = base64.b64encode(flat.astype("<f4").tobytes()).decode()
    kind = min(written, key=lambda name: len(written[name]))
    return {"shape": list(values.shape), kind: written[kind]}


def encoded_bits(values: Bool[np.ndarray, "..."]) -> dict[str, Any]:
    """Truths as base64 of bits; nothing where all are true."""
    bits = np.packbits(values.ravel(), bitorder="little")
    text = "" if np.all(values) else base64.b64encode(bits.tobytes()).decode()
    return {"shape": list(values.shape), "bits": text}
