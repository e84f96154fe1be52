"""How far a run is and how long it will take: a bar on a terminal, lines elsewhere."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxscale._text import duration
from jaxscale.sweep._bucket import Bucket

LINE_SECONDS = 10.0  # between lines where there is no terminal
SHORTEST_TIME, LEAST_RUNS = 0.02, 0.1  # that say how long runs of a kind take


class Progress:
    """Runs that are done and the time that the others will take, by the clock.

    A bucket whose runs have been timed takes as long for the others; a bucket that has not begun
    takes its estimate times the ratio of measured to estimated time so far.
    """

    def __init__(
        self,
        buckets: Sequence[Bucket],
        remaining: Sequence[float],
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._parts = any(b.stretched for b in buckets)  # of runs are done, too
        self._estimates = [b.seconds / b.n_runs for b in buckets]
        self.total, self.remaining = sum(b.n_runs for b in buckets), list(remaining)
        self._runs, self._seconds = [0.0] * len(buckets), [0.0] * len(buckets)
        self._clock = clock
        self.began = self._last = clock()
        self.compiling = False
        self._update: Callable[[], None] = lambda: None  # draws a bar anew

    @property
    def done(self) -> float:
        """Runs that are done, and parts of runs."""
        return self.total - sum(self.remaining)

    def advance(self, bucket: int, n_runs: float, seconds: float | None = None) -> None:
        """Count runs of a bucket, or parts of runs, which took `seconds` if they were compiled."""
        now = self._clock()
        n_runs = min(n_runs, self.remaining[bucket])  # the last chunk is padded
        self.remaining[bucket] -= n_runs
        self._runs[bucket] += n_runs
        if seconds is None or not self.compiling:  # by the clock: writing is included
            seconds = now - self._last
        self._seconds[bucket] += seconds
        self._last, self.compiling = now, False
        self._update()

    def compile(self) -> None:
        """Say that a program is being compiled, whose time is not that of a run."""
        self.compiling = True
        self._update()

    def measured(self) -> dict[int, tuple[float, float]]:
        """Estimated and measured seconds per run of the buckets that were timed long enough."""
        timed = [
            i
            for i, seconds in enumerate(self._seconds)
            if seconds >= SHORTEST_TIME and self._runs[i] >= LEAST_RUNS
        ]
        return {i: (self._estimates[i], self._seconds[i] / self._runs[i]) for i in timed}

    @property
    def seconds_remaining(self) -> float | None:
        """Seconds until the last run is done, compilation apart; None before the first is."""
        estimated = sum(n * e for n, e in zip(self._runs, self._estimates, strict=True))
        if not estimated:
            return None
        ratio, seconds = sum(self._seconds) / estimated, 0.0
        for i, n in enumerate(self.remaining):
            timed = self._seconds[i] / self._runs[i] if self._runs[i] else None
            seconds += n * (ratio * self._estimates[i] if timed is None else timed)
        since = 0.0 if self.compiling else self._clock() - self._last
        return max(0.0, seconds - since)

    def __str__(self) -> str:
        seconds = self.seconds_remaining
        ends = "" if seconds is None else f", about {duration(seconds)} remaining"
        doing = ", compiling" if self.compiling else ""
        share = f"{self.done / self.total:.0%} of {self.total:,} runs"
        if not self._parts:
            share = f"{int(self.done):,} of {self.total:,} runs ({self.done / self.total:.0%})"
        return f"{share} after {duration(self._clock() - self.began)}{ends}{doing}"

    @contextlib.contextmanager
    def shown(self, show: bool | None) -> Iterator[None]:
        """Show the progress meanwhile, unless `show` is False.

        That is a bar on a terminal, and elsewhere a line on the standard error every
        `LINE_SECONDS`.
        """
        from rich.progress import BarColumn, Progress as Bar

        bar = Bar(BarColumn(), "{task.description}", transient=True)
        if show is False:
            yield
        elif bar.console.is_terminal:
            with bar:
                line = bar.add_task(str(self), total=self.total, completed=int(self.done))
                self._update = lambda: bar.update(line, completed=self.done, description=str(self))
                yield
        else:
            with repeated(LINE_SECONDS, lambda: print(self, file=sys.stderr, flush=True)):
                yield


@contextlib.contextmanager
def repeated(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call every so many seconds while the block runs: in a thread, for it may run for minutes."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with delayed_interrupt():  # else it would call on
            ended.set()
            thread.join()


@contextlib.contextmanager
def delayed_interrupt() -> Iterator[list[tuple[Any, ...]]]:
    """Let Ctrl-C wait for the end of the block, so that a chunk is written completely or not.

    The block sees whether one waits in the list that it is given.
    """
    received: list[tuple[Any, ...]] = []
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C comes to that one
        yield received
        return
    handler = signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
    if received and callable(handler):
        handler(*received[0])
