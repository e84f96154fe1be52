"""Work of a page in threads: the newest request wins, and none waits in a queue."""

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="jaxscale-explore")
LONG = ThreadPoolExecutor(max_workers=2, thread_name_prefix="jaxscale-explore-long")  # fits, files
Tried: TypeAlias = tuple[Any, Any, Exception | None]  # a request, its result or its error


class Newest:
    """Compute requests one at a time; those that newer ones overtook are dropped.

    **Arguments**

    - `document`: of the page; `show` is called within its event loop.
    - `compute`: `compute(request)`, in a thread.
    - `show`: `show(result)`.
    - `fail`: `fail(error)`, for what `compute` or `show` raised.
    - `threads`: where it computes; `LONG` for what takes seconds.
    """

    def __init__(
        self,
        document: Any,
        compute: Callable[[Any], Any],
        show: Callable[[Any], None],
        fail: Callable[[Exception], None],
        threads: ThreadPoolExecutor = THREADS,
    ):
        self._threads = threads
        self._document, self._compute, self._show, self._fail = document, compute, show, fail
        self._waiting: list[Any] = []
        self._is_busy = False
        self.n_computed = self.n_dropped = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is computed or waits."""
        return self._is_busy

    @property
    def is_waiting(self) -> bool:
        """Whether a newer request waits."""
        return bool(self._waiting)

    def ask(self, request: Any) -> None:
        """Compute `request` as soon as the one under way is done, unless a newer one comes."""
        self.n_dropped += len(self._waiting)
        self._waiting = [request]
        if not self._is_busy:
            self._begin()

    def _begin(self) -> None:
        self._is_busy = True
        done = self._threads.submit(self._compute, self._waiting.pop())
        done.add_done_callback(self._hand_over)

    def _hand_over(self, done: Future[Any]) -> None:
        """Return to the event loop of the page, which may be closed meanwhile."""
        if self._document.session_context is None or not self._document.session_context.destroyed:
            self._document.add_next_tick_callback(functools.partial(self._finish, done))

    def _finish(self, done: Future[Any]) -> None:
        self._is_busy = False
        self.n_computed += 1
        try:
            self._show(done.result())
        except Exception as error:  # a page says what went wrong, and goes on
            self._fail(error)
        if self._waiting and not self._is_busy:
            self._begin()


def tried(compute: Callable[[Any], Any]) -> Callable[[Any], Tried]:
    """`compute` for errors that are said only while their request matters."""

    def computed(request: Any) -> Tried:
        try:
            return request, compute(request), None
        except Exception as error:  # whoever shows the result says it
            return request, None, error

    return computed
