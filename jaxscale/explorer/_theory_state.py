"""The system of a theory page: its parts as they were chosen, and its numbers as they were set."""

from collections.abc import Mapping

import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.explorer._knobs import chosen, has, integer_of, number_of
from jaxscale.paths import get, replace, replace_together

SET = "set."  # begins the fields in an address


class ChosenSystem:
    """A system whose fields are set from texts, in any order.

    - `base`: the system with the chosen parts, before its numbers were set.
    - `system`: the same with its numbers.

    **Arguments**

    - `start`: the system before anything is set.
    """

    def __init__(self, start: AbstractSystem):
        self.start = self.base = self.system = start
        self._parts: dict[str, str] = {}  # what was chosen of parts and shapes
        self._numbers: dict[str, str] = {}

    def address(self) -> dict[str, str]:
        """What was set, as an address says it."""
        return {SET + path: text for path, text in {**self._parts, **self._numbers}.items()}

    def restore(self, given: Mapping[str, str]) -> list[ValueError]:
        """Set what an address says, and return why some of it is refused.

        Parts are set first, again while fewer are refused, then the numbers together: some bound
        others.
        """
        fields = {n.removeprefix(SET): t for n, t in given.items() if n.startswith(SET)}
        before, refused = len(fields), self._set_parts(fields)
        while 0 < len(refused) < before:
            before, refused = len(refused), self._set_parts(fields)
        return refused + self._set_numbers()

    def _set_parts(self, fields: Mapping[str, str]) -> list[ValueError]:
        """Set parts and shapes, outer ones first, keep numbers, and return what is refused."""
        numbers, refused = {}, []
        for path in sorted(fields, key=lambda path: path.count(".")):
            try:
                if self._is_number(path):
                    number_of(path, fields[path])
                    numbers[path] = fields[path]
                else:
                    self.set(path, fields[path])
            except ValueError as error:
                refused.append(error)
        self._numbers = numbers
        return refused

    def set(self, path: str, text: str) -> list[ValueError]:
        """Set a field to what was chosen or typed, and return which numbers this drops, and why.

        **Raises** `ValueError` for what the field refuses; nothing changes then.
        """
        if self._is_number(path):
            self.system = replace(self.system, path, number_of(path, text))
            self._numbers[path] = text
            return []
        self.base = self._with_part(path, text)
        within = [p for p in self._parts if p.startswith(f"{path}.")]  # of what was left
        self._parts = {p: t for p, t in self._parts.items() if p not in within}
        self._parts[path] = text
        return self._set_numbers()

    def _is_number(self, path: str) -> bool:
        """Whether a field is a number that no shape depends on."""
        value = get(self.system, path)
        return isinstance(value, np.ndarray) or value is None

    def _with_part(self, path: str, text: str) -> AbstractSystem:
        if isinstance(get(self.base, path), int):
            return replace(self.base, path, integer_of(path, text))
        return chosen(self.base, path, text, self.start)

    def _set_numbers(self) -> list[ValueError]:
        """Give the present parts the numbers that were set, where they still have them.

        If they refuse them together, those that they refuse one by one are dropped.
        """
        self.system, dropped = self.base, []
        self._numbers = {p: t for p, t in self._numbers.items() if has(self.system, p)}
        numbers = {path: number_of(path, text) for path, text in self._numbers.items()}
        try:
            self.system = replace_together(self.system, numbers)
            return []
        except ValueError:
            pass
        for path, number in numbers.items():
            try:
                self.system = replace(self.system, path, number)
            except ValueError as error:
                text = self._numbers.pop(path)
                dropped.append(ValueError(f"{path} = {text} was dropped: {error}"))
        return dropped
