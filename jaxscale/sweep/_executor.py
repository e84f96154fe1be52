"""Chunks that an executor computes.

An executor is anything with `submit(function, task)` whose results have `done()`, `exception()`,
`result()` and `cancel()`: every `concurrent.futures.Executor`, Dask's `client.get_executor()`,
submitit's executors (whose `batch()` makes a job array of the chunks).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from jaxscale._linalg import one_blas_thread
from jaxscale._targets import Target
from jaxscale.sweep._bucket import cached_group, on_local_devices
from jaxscale.sweep._compute import Answer, Task, compute
from jaxscale.sweep._states import Where
from jaxscale.sweep._stretches import State

SHORTEST_WAIT, LONGEST_WAIT = 0.005, 0.5
IN_FLIGHT = 1000  # tasks, each of which holds its system: also SLURM's longest job array
PER_WORKER = 2  # tasks in flight of a local pool, whose answers wait in this process


def check_executor(executor: Any) -> None:
    """Refuse what takes no tasks, and forked processes: JAX hangs in them."""
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise ValueError(f"`executor` must have a method submit, got {executor!r}.")
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork, for JAX hangs in a forked process; use "
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")).'
        )


def answers(
    executor: Any, remaining: Iterable[Where], task: Callable[[int, int], Task]
) -> Iterator[tuple[Where, Answer]]:
    """Answers of the executor to the tasks that remain, as they come.

    At most `IN_FLIGHT` tasks are with the executor, or `PER_WORKER` for every worker of a local
    pool; more follow, as one batch, when half of them have been answered. When the caller is
    interrupted (or throws a `KeyboardInterrupt` in) or a task fails, what has not begun is
    cancelled, and what is done still comes. An answer that the caller was interrupted with comes
    once more.

    **Raises** `RuntimeError` if the executor loses a task, after all that are done came.
    """
    workers = getattr(executor, "_max_workers", None)  # of a pool of concurrent.futures
    most = IN_FLIGHT if workers is None else min(IN_FLIGHT, PER_WORKER * workers)
    wait, failure = SHORTEST_WAIT, None
    waiting: dict[Where, State | None] = dict.fromkeys(remaining)
    pending: dict[Where, Any] = {}

    def again(where: Where, answer: Answer) -> None:
        others = dict(waiting)
        waiting.clear()
        waiting.update({where: answer.state} | others)  # first: fewer runs are under way

    def submit(where: Where) -> Any:
        made, state = task(*where), waiting.pop(where)
        made = made if state is None else dataclasses.replace(made, state=state)
        return executor.submit(compute_anywhere, made)

    try:
        while (pending or waiting) and failure is None:
            try:
                if waiting and 2 * len(pending) <= most:
                    with getattr(executor, "batch", contextlib.nullcontext)():
                        for where in list(waiting)[: most - len(pending)]:
                            pending[where] = submit(where)
                ready = [where for where, future in pending.items() if future.done()]
            except Exception as error:  # a pool that was shut down, or broke
                failure, ready = error, _done(pending)
            failure = (yield from _collected(pending, ready, again)) or failure
            wait = SHORTEST_WAIT if ready else min(2 * wait, LONGEST_WAIT)
            if pending and not ready and failure is None:
                time.sleep(wait)
    except KeyboardInterrupt:
        _cancel(pending)
        while ready := _done(pending):
            yield from _collected(pending, ready)
        raise
    finally:
        _cancel(pending)
    if failure is not None:
        raise RuntimeError(
            f"`executor` lost a chunk ({type(failure).__name__}: {failure}); what was finished is "
            "in the store, if there is one, and the same call continues it."
        ) from failure


def _collected(
    pending: dict[Where, Any],
    ready: Iterable[Where],
    unfinished: Callable[[Where, Answer], None] = lambda where, answer: None,
) -> Generator[tuple[Where, Answer], None, BaseException | None]:
    """Take tasks that are done out of `pending`: answers come, the last error is returned.

    `unfinished` is called with answers after a stretch, without results, once the caller has them.
    """
    failure = None
    for where in ready:
        answer = _outcome(pending[where])
        if isinstance(answer, Answer):
            yield where, answer
            if not answer.values:
                unfinished(where, answer)
        else:
            failure = answer
        del pending[where], answer  # the caller has it now
    return failure


def _done(pending: dict[Where, Any]) -> list[Where]:
    """Tasks that are done, without those of a batch that was never submitted: they raise."""
    done = []
    for where, future in pending.items():
        with contextlib.suppress(Exception):
            done += [where] if future.done() else []
    return done


def _outcome(future: Any) -> Answer | BaseException:
    """The answer of a task that is done, or its error; Ctrl-C in a worker is an error, too."""
    try:
        error = future.exception()
        return future.result() if error is None else error
    except Exception as error:  # that it was cancelled, and whatever an executor makes of it
        return error


def _cancel(pending: dict[Where, Any]) -> None:
    for where in pending.keys() - _done(pending):
        with contextlib.suppress(Exception):
            pending[where].cancel()


def compute_anywhere(task: Task) -> Answer:
    """Compute a chunk in a worker process, on all its devices that can share it evenly."""
    bucket, options = task.bucket, task.options
    local = dataclasses.replace(bucket, target=Target.of_this_process())
    elsewhere = local.target.is_host != bucket.target.is_host
    group = cached_group(local.traced_system, local.target) if elsewhere else bucket.group
    memory = options.memory or local.target.budget
    bucket = on_local_devices(local, bucket.chunk, group, memory, options.max_runs_per_chunk)
    with one_blas_thread():
        return compute(dataclasses.replace(task, bucket=bucket))
