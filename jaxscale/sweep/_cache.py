"""Compiled programs that a process keeps by structure: the ones that were used last."""

import threading
from collections.abc import Callable, Hashable
from typing import Any

MOST_PROGRAMS = 32  # that a process keeps; 30 to 40 MB each


class ProgramCache:
    """The `most` programs of a process that were used last, by structure."""

    def __init__(self, most: int):
        self._most = most
        self._programs: dict[Hashable, Any] = {}  # in order, the most recently used last
        self._lock = threading.RLock()  # threads of one process share its programs

    def find(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """The program of `key`, built if it is missing; threads wait for one that is built."""
        with self._lock:
            program = self._programs.pop(key) if key in self._programs else build()
            self._programs[key] = program
            if len(self._programs) > self._most:
                del self._programs[next(iter(self._programs))]
            return program

    def values(self) -> list[Any]:
        """The programs, the most recently used last."""
        with self._lock:
            return list(self._programs.values())

    def clear(self) -> None:
        """Drop all programs."""
        with self._lock:
            self._programs.clear()


PROGRAMS = ProgramCache(MOST_PROGRAMS)
