"""`Writer`: a chunk is written by a thread while the next one is computed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any


class Writer:
    """Calls `write` in a thread, one call after the other, while its caller goes on.

    As a context manager it ends when every call has ended, whatever interrupts it: what is being
    written must not outlive the lock of its store.

    **Arguments**

    - `write`: called with the arguments of every `put`.

    **Raises** what `write` raised, at the next `put` or at the end.
    """

    def __init__(self, write: Callable[..., None]):
        self._write, self._thread = write, ThreadPoolExecutor(1)
        self._calls: list[Future[None]] = []

    def put(self, *arguments: Any) -> None:
        """Hand a call over; returns when the call before has ended, so that one is under way."""
        self._calls.append(self._thread.submit(self._write, *arguments))
        for before in self._calls[:-1]:
            wait([before])
            self._calls.remove(before)
            before.result()

    def __enter__(self) -> "Writer":
        self._thread.submit(bool).result()  # begun here, so that no interrupt makes it two threads
        return self

    def __exit__(self, *_: object) -> None:
        last: Future[bool] | None = None  # calls end in order; one may have begun unnoticed
        while last is None or not last.done():
            try:
                last = self._thread.submit(bool) if last is None else last
                wait([last])
            except KeyboardInterrupt:  # a second one breaks a wait for the end of a thread for good
                continue
        self._thread.shutdown()
        for call in self._calls:
            call.result()
