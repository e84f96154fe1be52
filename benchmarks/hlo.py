"""What a compiled program does in a step, counted in the text of its optimised HLO.

A kernel is an instruction that a device launches: a fusion, a product, a copy, a call of a library.
Its bytes are those of operands and results in HBM, padded as the layout says; of an operand that is
only sliced or gathered, or of a result that is only updated in place, they are those of the slice.
"""

import dataclasses
import math
import re

BITS = {"pred": 8, "token": 0, "opaque": 0}
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "partition-id", "replica-id", "add-dependency", "copy-done", "async-done", "async-update",
    "slice-done", "dynamic-slice-done", "dynamic-update-slice-done", "send-done", "recv-done",
}  # fmt: skip
CALLS = {"while": "body", "call": "to_apply", "async-start": "calls", "conditional": ""}
READS_A_PART = ("dynamic-slice", "gather", "slice")
STEP = ".step"  # functions of this name are what a loop over steps calls

SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
INSTRUCTION = re.compile(r"\s+(ROOT )?%([\w.\-]+) = ")
COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) .*\{$")
NAME = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: its name, its type as printed, what it computes from what, and the rest."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    def called(self, attribute: str) -> list[str]:
        """Computations that an attribute names."""
        listed = re.search(rf"{attribute}=(?:%[\w.\-]+|\{{[^}}]*\}})", self.attributes)
        return NAME.findall(listed[0]) if listed else []

    @property
    def trips(self) -> int:
        """Known number of trips of a loop, else 1."""
        given = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.attributes)
        return int(given[1]) if given else 1


@dataclasses.dataclass(frozen=True)
class Count:
    """Kernels and bytes of HBM traffic."""

    kernels: int = 0
    bytes: float = 0.0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.kernels + other.kernels, self.bytes + other.bytes)

    def times(self, n: int) -> "Count":
        """The same, `n` times."""
        return Count(n * self.kernels, n * self.bytes)


class Program:
    """The computations of a module, from its text."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        lines: list[Instruction] = []
        for line in text.splitlines():
            if started := COMPUTATION.match(line):
                lines = self.computations.setdefault(started[2], [])
                if started[1]:
                    self.entry = started[2]
            elif begun := INSTRUCTION.match(line):
                lines.append(_instruction(line[begun.end() :], begun[2], bool(begun[1])))
        self._in_a_step = _frames_of_steps(text)

    def step(self) -> Count | None:
        """Kernels and traffic of one step, or None of a program without steps.

        The loop over steps is the one whose body has the most instructions that come from a
        method `step`.
        """

        def from_a_step(body: str) -> int:
            return sum(
                int(frame) in self._in_a_step
                for instruction in self.computations[body]
                for frame in re.findall(r"stack_frame_id=(\d+)", instruction.attributes)
            )

        loops = [i for lines in self.computations.values() for i in lines if i.opcode == "while"]
        body = max((i.called("body")[0] for i in loops), key=from_a_step, default=None)
        return None if body is None or not from_a_step(body) else self.count(body)

    def count(self, computation: str) -> Count:
        """Kernels and traffic of a computation; a loop without a known number of trips counts once.

        Of branches, that with the most kernels counts.
        """
        total = Count()
        types = {i.name: i.type for i in self.computations[computation]}
        for i in self.computations[computation]:
            if i.opcode == "conditional":
                taken = i.called("branch_computations")
                taken = taken or [*i.called("true_computation"), *i.called("false_computation")]
                total += max((self.count(c) for c in taken), key=lambda c: c.kernels)
            elif i.opcode in CALLS:
                total += self.count(i.called(CALLS[i.opcode])[0]).times(i.trips)
            elif i.opcode not in FREE:
                total += Count(1, self._traffic(i, types))
        return total

    def _traffic(self, i: Instruction, types: dict[str, str]) -> float:
        inside = self.computations[i.called("calls")[0]] if i.opcode == "fusion" else [i]
        if i.opcode == "copy-start":
            return 2 * hbm_bytes(types[i.operands[0]])
        if i.opcode != "fusion":
            return _one(i, types)
        own = {j.name: j for j in inside}
        root = next(j for j in inside if j.is_root)
        roots = [own[n] for n in root.operands] if root.opcode == "tuple" else [root]
        updated, total = set(), 0.0
        results = _elements(i.type)
        for result, source in zip(results, roots, strict=False):
            while source.opcode in ("bitcast", "copy") and source.operands[0] in own:
                source = own[source.operands[0]]
            if source.opcode == "dynamic-update-slice":
                updated.add(_origin(source.operands[0], own))
                total += min(hbm_bytes(result), hbm_bytes(own[source.operands[1]].type))
            else:
                total += hbm_bytes(result)
        for j in inside:
            if j.opcode == "parameter" and j.name not in updated:
                outer = types[i.operands[int(j.attributes.split(")")[0])]]
                total += _read(j, outer, inside)
        return total


def _read(parameter: Instruction, outer: str, inside: list[Instruction]) -> float:
    """Bytes that a fusion reads of one of its operands."""
    users = [j for j in inside if parameter.name in j.operands]
    if users and all(
        j.opcode in READS_A_PART and parameter.name not in j.operands[1:] for j in users
    ):
        per_element = hbm_bytes(outer) / max(_size(outer), 1)
        return min(hbm_bytes(outer), sum(per_element * _size(j.type) for j in users))
    return hbm_bytes(outer)


def _one(i: Instruction, types: dict[str, str]) -> float:
    """Bytes of an instruction that is not fused."""
    result, operands = hbm_bytes(i.type), [hbm_bytes(types[n]) for n in i.operands]
    if i.opcode in READS_A_PART:
        return 2 * result
    if i.opcode == "dynamic-update-slice":
        return 2 * operands[1]
    return result + sum(operands)


def _origin(name: str, own: dict[str, Instruction]) -> str:
    while own[name].opcode in ("bitcast", "copy"):
        name = own[name].operands[0]
    return name


def _elements(type_: str) -> list[str]:
    """Types of the arrays in a type."""
    return [match[0] for match in SHAPE.finditer(type_)]


def _size(type_: str) -> int:
    return sum(math.prod(int(d) for d in m[2].split(",") if d) for m in SHAPE.finditer(type_))


def hbm_bytes(type_: str) -> float:
    """Bytes in HBM of the arrays of a type, with the padding of their tiles."""
    return sum(_array_bytes(match) for match in SHAPE.finditer(type_))


def _array_bytes(match: re.Match[str]) -> float:
    kind, shape, order, layout = match.groups()
    if re.search(r"S\([1-9]", layout or ""):  # on the chip
        return 0.0
    sizes = [int(d) for d in shape.split(",") if d]
    physical = [sizes[int(d)] for d in reversed(order.split(","))] if order else sizes
    tile = re.match(r"T\(([\d,]+)\)", layout or "")
    if tile:
        steps = [int(t) for t in tile[1].split(",")]
        physical = [1] * (len(steps) - len(physical)) + physical
        for place, step in enumerate(reversed(steps), 1):
            physical[-place] = math.ceil(physical[-place] / step) * step
    bits = BITS[kind] if kind in BITS else int(re.findall(r"\d+", kind)[0])
    return math.prod(physical) * bits / 8


def _instruction(rest: str, name: str, is_root: bool) -> Instruction:
    """An instruction from its text after `=`."""
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    type_, rest = rest[:end], rest[end:].lstrip()
    opens = rest.index("(")
    closes = _closing(rest, opens)
    operands = tuple(NAME.findall(rest[opens:closes]))
    attributes = rest[opens + 1 :] if rest.startswith("parameter") else rest[closes + 1 :]
    return Instruction(name, type_, rest[:opens], operands, attributes, is_root)


def _closing(text: str, start: int) -> int:
    """Where the bracket closes that opens at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"`text` has no closing bracket: {text[:80]!r}.")


def _frames_of_steps(text: str) -> set[int]:
    """Stack frames within a method `step`, from the tables at the top of the text."""
    names = {int(n) for n, name in re.findall(r'^(\d+) "(.*)"$', text, re.M) if name.endswith(STEP)}
    places = re.findall(r"^(\d+) \{file_name_id=\d+ function_name_id=(\d+)", text, re.M)
    places = {int(place) for place, function in places if int(function) in names}
    frames = re.findall(r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?", text, re.M)
    inside: set[int] = set()
    for frame, place, parent in frames:  # a parent comes before its children
        if int(place) in places or (parent and int(parent) - 1 in inside):
            inside.add(int(frame))
    return inside
