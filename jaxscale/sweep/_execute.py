"""`run`: the chunks of a plan, computed here or by an executor, and written as they come."""

import contextlib
import functools
import json
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.random as jr
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxscale._devices import host_memory
from jaxscale._linalg import one_blas_thread
from jaxscale.keys import root_key
from jaxscale.sweep._extend import extend, recover
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout, grid_text
from jaxscale.sweep._lock import store_lock
from jaxscale.sweep._plan import Plan, plan as make_plan
from jaxscale.sweep._program import Answer, Task, chunk_runs, compute, describe_devices
from jaxscale.sweep._provenance import provenance
from jaxscale.sweep._reader import StoreReader, store_path
from jaxscale.sweep._remote import answers, check_executor
from jaxscale.sweep._store import MemoryStore, ZarrStore, create, is_free

if TYPE_CHECKING:
    import xarray


class Session:
    """One call of `run`: the chunks that remain, their answers, and their cost."""

    def __init__(self, plan: Plan, results: MemoryStore | ZarrStore, executor: Any):
        self.plan, self.results, self.executor = plan, results, executor
        self.root = np.asarray(jr.key_data(root_key(plan.grid.key)))
        self.compile_seconds, self.device = 0.0, describe_devices(plan.n_devices)
        self.written: set[tuple[int, int]] = set()
        self.remaining = [
            (bucket, chunk)
            for bucket in range(len(plan.buckets))
            for chunk in range(plan.buckets[bucket].n_chunks)
            if not results.is_done(bucket, chunk)
        ]

    def task(self, bucket: int, chunk: int) -> Task:
        """A chunk as plain data."""
        of, plan = self.plan.buckets[bucket], self.plan
        source, _ = chunk_runs(of, chunk)
        columns = {path: column[source] for path, column in of.columns.items()}
        memory, precision = plan.options.memory, plan.options.matmul_precision
        return Task(
            of.padded_system, of.group, columns, of.seeds[source], self.root, memory, precision
        )

    def chunks(self, bar: Progress) -> Generator[tuple[tuple[int, int], Answer]]:
        """Answers as they come."""
        if self.executor is not None:
            yield from answers(
                self.executor, {where: self.task(*where) for where in self.remaining}
            )
            return
        describe = functools.partial(bar.update, bar.task_ids[0])
        compiling = functools.partial(describe, description="compiling")
        for where in self.remaining:
            of = self.plan.buckets[where[0]]
            yield where, compute(self.task(*where), of.traced_system, of.n_devices, compiling)
            describe(description="running")

    @property
    def is_complete(self) -> bool:
        """Whether nothing remains."""
        return self.written.issuperset(self.remaining)

    def run(self, shown: bool) -> None:
        """Compute and write what remains, or until Ctrl-C.

        A chunk is written before the next one is computed: a thread that writes meanwhile gained
        nothing that could be measured, for computing and compressing share the cores.
        """
        buckets, total = self.plan.buckets, self.plan.n_runs
        remaining = sum(buckets[bucket].n_runs_of(chunk) for bucket, chunk in self.remaining)
        with _bar(shown) as bar:
            line = bar.add_task("running", total=total, completed=total - remaining)

            def accept(where: tuple[int, int], answer: Answer) -> None:
                if where in self.written:  # it came once more, after an interrupt
                    return
                bucket, chunk = where
                _, ids = chunk_runs(buckets[bucket], chunk)
                with _delayed_interrupt():
                    self.results.write(bucket, chunk, ids, answer.values)
                    self.written.add(where)
                    self.compile_seconds += answer.compile_seconds
                    self.device = answer.device
                    bar.update(line, advance=buckets[bucket].n_runs_of(chunk))

            with contextlib.suppress(KeyboardInterrupt), one_blas_thread():
                with contextlib.closing(self.chunks(bar)) as coming:
                    _until_interrupted(coming, accept)


@contextlib.contextmanager
def _delayed_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, so that a chunk is written completely or not."""
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C comes to that one
        yield
        return
    received: list[tuple[Any, ...]] = []
    handler = signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
    if received and callable(handler):
        handler(*received[0])


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


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        disable=not shown,
        transient=True,
    )


def _opened(path: Path, plan: Plan) -> tuple[ZarrStore, Plan]:
    """The store at `path`, made, continued or extended, and the plan it is cut by."""
    recover(path)
    if is_free(path):
        layout = Layout.of(plan)
        create(path, layout)
        return ZarrStore(path, layout), plan
    stored = StoreReader(path)
    made_with = json.loads(stored.attributes["plan"])["matmul_precision"]
    if made_with != plan.options.matmul_precision:
        raise ValueError(
            f"`store` {path} was made with matmul_precision {made_with!r}, "
            f"got {plan.options.matmul_precision!r}; nothing was written."
        )
    if stored.attributes["grid"] != grid_text(plan.grid):
        plan = extend(path, stored, plan)
        return ZarrStore(path, Layout.of(plan)), plan
    plan = plan if _same_cuts(stored, plan) else stored.plan(plan.options)
    layout = stored.layout(plan)
    stored.check(layout)
    return ZarrStore(path, layout), plan


def _same_cuts(stored: StoreReader, plan: Plan) -> bool:
    cuts = [(b.run_ids, b.chunk, b.group) for b in plan.buckets]
    if len(cuts) != len(stored.cuts):
        return False
    pairs = zip(cuts, stored.cuts, strict=True)
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in pairs)


def _complete(path: Path, plan: Plan) -> StoreReader | None:
    """Return the store if it holds every run of this grid, else None (checked without the lock)."""
    try:
        stored = StoreReader(path)
    except ValueError:  # none, a bad one, or one that is being replaced: checked under the lock
        return None
    complete = stored.is_complete and stored.attributes["grid"] == grid_text(plan.grid)
    return stored if complete else None


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
    is missing runs. Ctrl-C keeps and returns what is finished.

    **Arguments**

    - `plan`: a `Plan`, or a `Grid` to plan with the defaults.
    - `store`: path of a Zarr store; None keeps the results in memory.
    - `executor`: computes the chunks elsewhere: any `concurrent.futures.Executor` that does not
      fork, Dask's `client.get_executor()`, or an executor of submitit. Each worker compiles its own
      programs and uses all its devices; this process alone writes.
    - `progress`: show a bar for plans longer than a second; by default on a terminal.

    **Returns** a `Dataset` with the grid's dimensions, `seed`, and those of each observable.

    **Raises** `ValueError` if `store` holds something else, is damaged, cannot be written, or is
    being written by another process; `RuntimeError` if the executor loses a chunk.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=2))
    >>> runs.loss.dims
    ('learning_rate', 'seed', 'step')
    >>> print(runs.loss.isel(step=-1).mean("seed").values.round(4))
    [0.4189 0.1955]
    """
    plan = make_plan(plan) if isinstance(plan, Grid) else plan
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a Plan or a Grid, got {plan!r}.")
    if not isinstance(store, str | Path | None):
        raise ValueError(f"`store` must be a path or None, got {store!r}.")
    if executor is not None:
        check_executor(executor)
    shown = _bar(True).console.is_terminal if progress is None else progress
    shown = shown and plan.seconds > 1.0
    if store is None:
        layout = Layout.of(plan)
        if layout.result_bytes > host_memory():
            raise ValueError(
                f"`store` must be given: the results take {layout.result_bytes / 1e9:.3g} GB, and "
                f"this process may use {host_memory() / 1e9:.3g} GB of memory."
            )
        results = MemoryStore(layout)
        _work(Session(plan, results, executor), shown)
        return results.dataset()
    path = store_path(store)
    stored = _complete(path, plan)
    if stored is not None:
        return stored.dataset()
    with store_lock(path):
        results, plan = _opened(path, plan)
        _work(Session(plan, results, executor), shown)
        return results.dataset()


def _work(session: Session, shown: bool) -> None:
    """Run a session, and write its provenance when it begins and however it ends."""
    began = time.perf_counter()

    def made() -> dict[str, Any]:
        wall, compiling = time.perf_counter() - began, session.compile_seconds
        return provenance(session.plan, session.device, wall, compiling, session.is_complete)

    if session.remaining:
        session.results.begin(made())
        try:
            session.run(shown)
        finally:
            session.results.finish(made())
