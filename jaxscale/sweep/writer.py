"""`Writer`: a chunk is written by a thread while the next one is computed."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

LONGEST_WAIT = 0.1  # seconds, in case that the word of an end was taken by an interrupt


class Writer:
    """Calls `write` in a thread, one call after the other, while its caller goes on.

    As a context manager it ends when every call has ended, whatever interrupts it: what is being
    written must not outlive the lock of its store. Ctrl-C may come between any two instructions of
    the main thread, so that it takes no lock which it could keep: it shares only `SimpleQueue`s
    with the thread, whose operations are one instruction each.

    **Arguments**

    - `write`: called with the arguments of every `put`.

    **Raises** the first error of `write`, at the next `put` or at the end.
    """

    def __init__(self, write: Callable[..., None]):
        self._write = write
        self._given: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._told: SimpleQueue[None] = SimpleQueue()
        self._errors: list[BaseException] = []
        self._ended = False

    def put(self, *arguments: Any) -> None:
        """Hand a call over; returns when the call before has ended, so that one is under way."""
        self._given.put(arguments)
        while not self._given.empty():
            self._wait()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> "Writer":
        threading.Thread(target=self._work, daemon=True).start()  # its end is waited for
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        while not self._ended:
            try:
                self._given.put(None)
                self._wait()
            except KeyboardInterrupt:
                continue
        if self._errors and error is not self._errors[0]:
            raise self._errors[0]

    def _wait(self) -> None:
        try:
            self._told.get(timeout=LONGEST_WAIT)
        except Empty:
            return

    def _work(self) -> None:
        while (arguments := self._given.get()) is not None:
            self._told.put(None)  # the call before has ended
            try:
                self._write(*arguments)
            except BaseException as error:  # raised where it is waited for
                self._errors.append(error)
            del arguments  # they may be large
        self._ended = True
        self._told.put(None)
