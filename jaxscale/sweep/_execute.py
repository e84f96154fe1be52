"""`run`: the chunks of a plan, computed here or by an executor, and written here as they come."""

import contextlib
import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.random as jr
import numpy as np

from jaxscale._arguments import hinted
from jaxscale._devices import host_memory
from jaxscale._linalg import one_blas_thread
from jaxscale._targets import Target
from jaxscale._text import described
from jaxscale._warn import warn_user
from jaxscale.keys import root_key
from jaxscale.sweep._bucket import is_trained_by_steps, recut, uncut_bucket
from jaxscale.sweep._compute import Answer, Pace, Task, compute, describe_devices, prepared
from jaxscale.sweep._executor import answers, check_executor
from jaxscale.sweep._extend import extend
from jaxscale.sweep._failures import warn_of_failures
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout, grid_text, provenance
from jaxscale.sweep._locate import place_of
from jaxscale.sweep._longer import is_longer, lengthen
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._plan import Plan, plan as make_plan
from jaxscale.sweep._progress import Progress, delayed_interrupt, repeated
from jaxscale.sweep._reader import StoreReader
from jaxscale.sweep._states import Where
from jaxscale.sweep._store import MemoryStore, ZarrStore, create
from jaxscale.sweep._timings import keep_time

if TYPE_CHECKING:
    import xarray

PILOT_SECONDS = 0.25  # that runs are timed for before a new store is cut into chunks
RECORD_SECONDS = 1.0  # between records of what a session took so far


@hinted
def run(
    plan: Plan | Grid,
    *,
    store: str | Path | None = None,
    executor: Any = None,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """Run every run of a plan, once.

    Finished chunks are on disk before they count; the same call continues a store that was
    interrupted, in the chunks it was cut into, and extends the store of a smaller grid: only what
    is missing runs. Ctrl-C keeps and returns what is finished. A `UserWarning` counts what Ctrl-C
    left, and the runs that diverged or became NaN or infinite: where warnings are errors, a `store`
    keeps the results.

    **Arguments**

    - `plan`: a `Plan`, or a `Grid` to plan with the defaults.
    - `store`: path of a Zarr store, or its URL in a bucket (s3://, gs://, memory://); None keeps
      the results in memory. Long runs are trained in stretches, whose state is in it: a kill loses
      at most the `checkpoint_seconds` of `js.plan`.
    - `executor`: computes the chunks elsewhere: any `concurrent.futures.Executor` that does not
      fork, Dask's `client.get_executor()`, or an executor of submitit. Each worker compiles its own
      programs and uses all its devices; this process alone writes.
    - `progress`: False shows nothing; by default a bar on a terminal, and elsewhere a line every
      ten seconds, both with the time that remains by the clock.

    **Returns** a `Dataset` with the grid's dimensions, `seed`, and those of each observable.

    **Raises** `ValueError` if `store` holds something else, is damaged, cannot be written, or is
    being written by another process; if results without a store, or runs in flight, need more
    memory than there is; `RuntimeError` if the executor loses a chunk.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=2))
    >>> runs.loss.dims
    ('learning_rate', 'seed', 'step')
    >>> print(runs.loss.isel(step=-1).mean("seed").values.round(4))
    [0.4189 0.1955]
    """
    if isinstance(plan, Grid):
        if store is None:  # to plan 1e8 runs takes a minute
            _require_memory(plan.n_runs * uncut_bucket(plan, np.arange(1)).result_bytes)
        plan = make_plan(plan)
    if not isinstance(plan, Plan):
        raise ValueError(
            f"`plan` must be a Plan or a Grid, such as js.Grid(system), got {described(plan)}."
        )
    if not plan.target.is_local:
        raise ValueError(
            f"`plan` is for {plan.target}, and this process has {Target.of_this_process()}: plan "
            "without `target` where it runs."
        )
    if not isinstance(store, str | Path | None):
        raise ValueError(f"`store` must be a path, a URL or None, got {store!r}.")
    if executor is not None:
        check_executor(executor)
    if store is None:
        if plan.options.keep_states:
            raise ValueError("`store` must be given: the plan has `keep_states`, which lie in it.")
        layout = Layout.of(plan)
        _require_memory(layout.result_bytes)
        return _work(Session(plan, MemoryStore(layout), executor), progress)
    place = place_of(store)
    stored = _complete(place, plan)
    if stored is not None:
        _warn_of_states(stored.plan(plan.options))
        return stored.dataset()
    with place.lock():
        plan, results = _opened(place, plan)
        _warn_of_states(plan)
        return _work(Session(plan, results, executor), progress)


def _warn_of_states(plan: Plan) -> None:
    """Warn if states are asked for of runs that a store has begun without them."""
    buckets = [b for b in plan.buckets if is_trained_by_steps(b.padded_system) and not b.stretched]
    if plan.options.keep_states and buckets:
        n_runs = sum(b.n_runs for b in buckets)
        text = f"`keep_states` comes too late for {n_runs} runs, which the store began without it"
        warn_user(text)


def _require_memory(result_bytes: float) -> None:
    """Raise `ValueError` unless this process may hold so many bytes."""
    if result_bytes > host_memory():
        raise ValueError(
            f"`store` must be given: the results take {result_bytes / 1e9:.3g} GB, and "
            f"this process may use {host_memory() / 1e9:.3g} GB of memory."
        )


def _complete(place: AbstractPlace, plan: Plan) -> StoreReader | None:
    """Return the store if it already holds every run of this grid, else None.

    It is checked without the lock: None also for a bad store and for one that is being replaced.
    """
    if place.identity() is None:
        return None
    try:
        stored = StoreReader(place, plan.grid)
    except ValueError:
        return None
    if not stored.is_complete or stored.attributes["grid"] != grid_text(plan.grid):
        return None
    stored.check_precision(plan.options)
    return stored


def _opened(place: AbstractPlace, plan: Plan) -> tuple[Plan, ZarrStore]:
    """The store at `place`, made, continued or extended, and the plan it is cut by."""
    place.recover()
    if place.is_free():
        layout = Layout.of(plan)
        create(place, layout)
        return plan, ZarrStore(place, layout)
    stored = StoreReader(place, plan.grid)
    stored.check_precision(plan.options)
    if stored.attributes["grid"] != grid_text(plan.grid):
        change = lengthen if is_longer(stored.grid, plan.grid) else extend
        plan = change(place, stored, plan)
        return plan, ZarrStore(place, Layout.of(plan))
    plan = stored.plan(plan.options)
    layout = stored.layout(plan)
    stored.check(layout)
    return plan, ZarrStore(place, layout)


class Session:
    """One call of `run`: the chunks that remain, their answers, and their cost."""

    def __init__(self, plan: Plan, results: MemoryStore | ZarrStore, executor: Any):
        self.plan, self.results, self.executor = plan, results, executor
        self.root = np.asarray(jr.key_data(root_key(plan.grid.key)))
        self.compile_seconds, self.device = 0.0, describe_devices(plan.n_devices)
        self.began = time.perf_counter()
        self.written: set[Where] = set()
        self.remaining = [where for where in results.layout.rows if not results.is_done(*where)]
        self.steps = results.steps()  # of runs under way, by chunk
        self.paces: dict[int, Pace] = {}
        self.lock = threading.RLock()  # of the results' provenance

    def task(self, bucket: int, chunk: int) -> Task:
        state = self.results.state(bucket, chunk)
        return Task(self.plan.buckets[bucket].only(chunk), self.root, self.plan.options, state)

    def n_runs(self, where: Where) -> int:
        """Runs of a chunk."""
        return len(self.plan.buckets[where[0]].ids_of(where[1]))

    def n_done(self, where: Where) -> float:
        """Runs of an unfinished chunk times the part of their steps that is done."""
        if where not in self.steps:
            return 0.0
        system: Any = self.plan.buckets[where[0]].padded_system
        return self.n_runs(where) * self.steps[where] / system.n_steps

    def chunks(self, progress: Progress) -> Generator[tuple[Where, Answer]]:
        """Answers as they come; nothing of one is held while the next is computed."""
        if self.executor is not None:
            yield from answers(self.executor, self.remaining, self.task)
            return
        begun: dict[Where, Answer] = {}
        if (pilot := self.pilot()) is not None:
            begun[pilot, 0] = self.computed((pilot, 0), progress, most_seconds=PILOT_SECONDS)
            self.recut(pilot)
        for where in self.remaining:
            if self.plan.buckets[where[0]].stretched:
                yield from self.stretches(where, progress)
            else:
                yield where, self.computed(where, progress, begun.pop(where, None))

    def stretches(self, where: Where, progress: Progress) -> Generator[tuple[Where, Answer]]:
        """Answers for a chunk after every stretch; Ctrl-C ends one early, and waits for it."""
        task, ended = self.task(*where), False
        prepared(task, self.paces.setdefault(where[0], Pace()), progress.compile, self.compiled)
        while not ended:
            with delayed_interrupt() as interrupts:
                stopped = functools.partial(bool, interrupts)
                answer = self.computed(where, progress, task=task, stopped=stopped)
                ended = bool(answer.values)
                yield where, answer
            task = dataclasses.replace(task, state=answer.state)

    def computed(
        self,
        where: Where,
        progress: Progress,
        begun: Answer | None = None,
        most_seconds: float = math.inf,
        *,
        task: Task | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer for a chunk, of which the first runs may have begun, or for as many as fit."""
        return compute(
            self.task(*where) if task is None else task,
            self.paces.setdefault(where[0], Pace()),
            begun,
            most_seconds,
            compiling=progress.compile,
            compiled=self.compiled,
            advanced=functools.partial(progress.advance, where[0]),
            stopped=stopped,
        )

    def compiled(self, seconds: float) -> None:
        self.compile_seconds += seconds

    def pilot(self) -> int | None:
        """The bucket by which a new store is cut: the longest whose chunks can be cut otherwise."""
        if len(self.remaining) < len(self.results.layout.rows) or self.steps:
            return None
        buckets = self.plan.buckets
        pilots = [
            i for i, b in enumerate(buckets) if b.n_runs > b.group * b.n_devices and not b.stretched
        ]
        return max(pilots, key=lambda i: buckets[i].seconds, default=None)

    def recut(self, pilot: int) -> None:
        """Cut all buckets by the measured time of one, which is computed first."""
        old, most = self.plan.buckets, self.plan.options.max_runs_per_chunk
        ratio = self.paces[pilot].seconds / old[pilot].run_seconds
        buckets = tuple(recut(bucket, ratio, most) for bucket in old)
        # another thread records; after Ctrl-C in here the old header would go to the new store
        with self.lock, delayed_interrupt():
            if [b.chunk for b in buckets] != [b.chunk for b in old]:
                self.plan = dataclasses.replace(self.plan, buckets=buckets)
                self.results = self.results.relaid(Layout.of(self.plan))
                self.record()
            rows = self.results.layout.rows
            self.remaining = sorted(rows, key=lambda where: where[0] != pilot)

    def record(self, ended: bool = False) -> None:
        """Write the provenance of this session, as it is so far."""
        with self.lock:
            seconds = time.perf_counter() - self.began, self.compile_seconds
            complete = self.written.issuperset(self.remaining)
            made = provenance(self.plan, self.device, *seconds, complete=complete, ended=ended)
            self.results.record(made)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record when the block begins, every second (a kill loses one), and however it ends."""

        def record() -> None:
            with contextlib.suppress(ValueError):  # a full disk stops the next chunk
                self.record()

        try:
            self.record()
            with repeated(RECORD_SECONDS, record):
                yield
        finally:
            with delayed_interrupt():
                self.record(ended=True)

    def run(self, show: bool | None) -> None:
        """Compute and write what remains, or until Ctrl-C.

        A chunk is written before the next one is computed: a thread that writes meanwhile gained
        nothing that could be measured, for computing and compressing share the cores.
        """
        remaining = [0.0] * len(self.plan.buckets)
        for where in self.remaining:
            remaining[where[0]] += self.n_runs(where) - self.n_done(where)
        progress = Progress(self.plan.buckets, remaining)

        def accept(where: Where, answer: Answer) -> None:
            if where in self.written:  # it came once more, after an interrupt
                return
            with delayed_interrupt():
                before, n_runs = self.n_done(where), self.n_runs(where)
                if answer.values or answer.state is None:
                    self.results.write(*where, answer.values, answer.state)
                    self.written.add(where)
                    self.steps.pop(where, None)
                else:
                    self.results.write_state(*where, answer.state)
                    self.steps[where] = answer.state.step
                    n_runs = self.n_done(where)
                self.device = answer.device
                if self.executor is not None:  # else counted when it was computed
                    self.compile_seconds += answer.compile_seconds
                    progress.advance(where[0], n_runs - before)

        with progress.shown(show), contextlib.suppress(KeyboardInterrupt), one_blas_thread():
            with contextlib.closing(self.chunks(progress)) as coming:
                _until_interrupted(coming, accept)
        if self.executor is None:  # else they were timed on other machines
            for i, times in progress.measured().items():
                keep_time(self.plan.buckets[i].padded_system, *times)


def _work(session: Session, show: bool | None) -> "xarray.Dataset":
    """Results of a session, whose provenance is written when it begins and however it ends."""
    if session.remaining:
        with contextlib.suppress(KeyboardInterrupt), session.recording():
            session.run(show)
    unfinished = set(session.remaining) - session.written
    if unfinished:
        n_runs = session.plan.n_runs
        done = n_runs - sum(map(session.n_runs, unfinished))
        stored = isinstance(session.results, ZarrStore)
        then = "the same call continues" if stored else "they are kept in this result only"
        under_way = sum(map(session.n_runs, session.steps))
        more = f", {under_way} are under way" if under_way else ""
        text = f"stopped by Ctrl-C: {done} of {n_runs} runs are done{more}; {then}"
        warn_user(text)
    runs = session.results.dataset()
    if session.written:
        warn_of_failures(runs, session.plan)
    return runs


def _until_interrupted(coming: Generator[Any], accept: Callable[..., None]) -> None:
    """Accept what comes; after Ctrl-C only what an executor has finished already."""
    try:
        _accept_all(coming, accept)
    except KeyboardInterrupt:
        accept(*coming.throw(KeyboardInterrupt))  # which it raises at its end
        _accept_all(coming, accept)


def _accept_all(coming: Generator[Any], accept: Callable[..., None]) -> None:
    """Accept what comes, and hold nothing of it while the next is computed."""
    while (item := next(coming, None)) is not None:
        accept(*item)
        del item
