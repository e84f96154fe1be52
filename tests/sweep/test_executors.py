"""Executors: the same results from worker processes, lost workers, and pools that are refused."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray
from checks import assert_close, spawned
from counted import SYSTEM, logged_runs, runs_done, runs_of

import jaxscale as js
from jaxscale._targets import Target
from jaxscale.emergence import Online, ParityNetwork
from jaxscale.sweep import _bucket as bucket, _executor as executors
from jaxscale.sweep._cache import PROGRAMS
from jaxscale.sweep._compute import Answer
from jaxscale.sweep._execute import Session
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._store import MemoryStore, ZarrStore

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=8)
PLAN = js.plan(GRID, max_runs_per_chunk=2)  # eight chunks
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def local():
    return js.run(PLAN)


@pytest.fixture
def log(tmp_path, monkeypatch):
    file = tmp_path / "log"
    monkeypatch.setenv("COUNTED_LOG", str(file))
    return file


# what is refused, and threads: no worker processes


@pytest.mark.parametrize("store", [None, "a.zarr"])
def test_a_pool_that_forks_is_refused(tmp_path, store):
    store = store and tmp_path / store
    pools = [ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))]
    if multiprocessing.get_start_method() == "fork":
        pools.append(ProcessPoolExecutor(1))
    for pool in pools:
        with pool, pytest.raises(ValueError, match="`executor`") as caught:
            js.run(GRID, store=store, executor=pool)
        assert "spawn" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", [4, "dask", ThreadPoolExecutor, print, [1]], ids=str)
def test_what_is_no_executor_is_refused(tmp_path, what):
    with pytest.raises(ValueError, match="`executor`"):
        js.run(GRID, store=tmp_path / "a.zarr", executor=what)
    assert not list(tmp_path.iterdir())


def test_an_executor_that_was_shut_down(tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises((ValueError, RuntimeError), match="`executor`"):
        js.run(PLAN, store=tmp_path / "a.zarr", executor=pool)
    assert not runs_done(js.open_store(tmp_path / "a.zarr"))


@pytest.mark.parametrize("n_workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_threads(tmp_path, log, local, n_workers):
    with ThreadPoolExecutor(n_workers) as pool:
        runs = js.run(PLAN, store=tmp_path / "a.zarr", executor=pool)
    assert sorted(logged_runs(log, GRID)) == sorted(runs_of(GRID))
    assert_close(runs, local, **CLOSE)
    assert runs.identical(js.open_store(tmp_path / "a.zarr"))
    assert runs.attrs["complete"] == 1


def test_results_in_memory(local):
    with ThreadPoolExecutor(1) as pool:
        assert_close(js.run(PLAN, executor=pool), local, **CLOSE)


class Batches(ThreadPoolExecutor):
    """Counts the tasks that it holds, and those of each batch."""

    def __init__(self, n_workers):
        super().__init__(n_workers)
        self.futures, self.most, self.sizes = [], 0, []

    @contextlib.contextmanager
    def batch(self):
        before = len(self.futures)
        yield
        self.sizes.append(len(self.futures) - before)

    def submit(self, function, /, *arguments, **named):
        self.futures.append(super().submit(function, *arguments, **named))
        self.most = max(self.most, sum(not f.done() for f in self.futures))
        return self.futures[-1]


@pytest.mark.parametrize(
    ("n_workers", "bound", "most"),
    [
        pytest.param(1, 1000, 2, marks=pytest.mark.slow),
        (2, 1000, 4),
        pytest.param(8, 4, 4, marks=pytest.mark.slow),
    ],
)
def test_an_executor_holds_a_bounded_number_of_tasks(
    tmp_path, log, local, monkeypatch, n_workers, bound, most
):
    monkeypatch.setattr(executors, "IN_FLIGHT", bound)
    with Batches(n_workers) as pool:
        runs = js.run(PLAN, store=tmp_path / "a.zarr", executor=pool)
    assert pool.most <= most
    assert pool.sizes[0] == most
    assert sum(pool.sizes) == 8
    assert min(pool.sizes[:-1]) >= most // 2  # the last is what is left
    assert sorted(logged_runs(log, GRID)) == sorted(runs_of(GRID))
    assert_close(runs, local, **CLOSE)


class Broken(ThreadPoolExecutor):
    """Loses every task from the n-th on."""

    def __init__(self, n):
        super().__init__(1)
        self.n = n

    def submit(self, function, /, *arguments, **named):
        self.n -= 1
        if self.n < 0:
            return super().submit(self.lose)
        return super().submit(function, *arguments, **named)

    @staticmethod
    def lose():
        raise ConnectionError("the cluster is gone")


class Closing(ThreadPoolExecutor):
    """Takes no more tasks after the first four have been computed."""

    def submit(self, function, /, *arguments, **named):
        if self.remaining == 0:
            raise ConnectionError("the cluster is gone")
        self.remaining -= 1
        return super().submit(function, *arguments, **named)

    remaining = 4


def test_what_was_computed_before_a_refusal_is_kept(tmp_path, log, local, monkeypatch):
    monkeypatch.setattr(executors, "IN_FLIGHT", 4)
    path = tmp_path / "a.zarr"
    with Closing(2) as pool, pytest.raises(RuntimeError, match=r"`executor` .*is gone"):
        js.run(PLAN, store=path, executor=pool)
    done = runs_done(js.open_store(path))
    assert 4 <= len(done) <= 8
    log.unlink()
    assert_close(js.run(PLAN, store=path), local, **CLOSE)
    assert set(logged_runs(log, GRID)) == set(runs_of(GRID)) - done


class AtOnce:
    """Computes a task when it is submitted, and refuses those after the n-th."""

    def __init__(self, n):
        self.remaining = n

    def submit(self, function, task):
        if self.remaining == 0:
            raise ConnectionError("the cluster is gone")
        self.remaining -= 1
        future = Future()
        future.set_result(function(task))
        return future


def test_what_was_computed_in_a_batch_that_was_refused_is_kept(tmp_path, log):
    path = tmp_path / "a.zarr"
    with pytest.raises(RuntimeError, match=r"`executor` .*is gone"):
        js.run(PLAN, store=path, executor=AtOnce(3))
    assert runs_done(js.open_store(path)) == set(logged_runs(log, GRID))
    assert len(runs_done(js.open_store(path))) == 6


@pytest.fixture
def interrupts(monkeypatch):
    """Every Ctrl-C that came, which is raised as ever."""
    came, raised = [], signal.getsignal(signal.SIGINT)

    def handler(*arguments):
        came.append(arguments)
        raised(*arguments)

    signal.signal(signal.SIGINT, handler)
    yield came
    signal.signal(signal.SIGINT, raised)


def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_ctrl_c_while_writing_keeps_what_an_executor_has_done(
    tmp_path, local, monkeypatch, interrupts
):
    path, write, written = tmp_path / "a.zarr", ZarrStore.write, []

    def stop(self, *arguments):
        written.append(arguments[:2])
        if len(written) == 1:
            time.sleep(0.2)  # the second chunk is handed over by now
            interrupt()
            time.sleep(0.2)
        return write(self, *arguments)

    monkeypatch.setattr(ZarrStore, "write", stop)
    runs = js.run(PLAN, store=path, executor=AtOnce(8))
    assert len(interrupts) == 1
    assert_close(runs, local, **CLOSE)
    assert len(written) == len(set(written)) == 8  # none twice, though the second came twice
    assert xarray.open_zarr(path, consolidated=False).attrs["complete"] == 1


class Late(Future):
    """Is done when it is asked for the third time, at which moment Ctrl-C comes."""

    asked = 0

    def done(self):
        self.asked += 1
        if self.asked == 3:
            signal.raise_signal(signal.SIGINT)
        return self.asked >= 3


class LastIsLate(AtOnce):
    """Its eighth task is done when Ctrl-C comes; the ninth and those after it never begin."""

    futures = ()

    def submit(self, function, task):
        if self.remaining == 0:
            self.futures = (*self.futures, Future())
            return self.futures[-1]
        future = super().submit(function, task)
        if self.remaining == 0:
            late = Late()
            late.set_result(future.result())
            return late
        return future


@pytest.mark.parametrize("n", [8, 5])
def test_ctrl_c_while_waiting_keeps_what_an_executor_has_done(tmp_path, log, n, interrupts):
    executor = LastIsLate(n)
    stopped = pytest.warns(UserWarning, match=f"stopped by Ctrl-C: {2 * n} of 16 runs")
    with stopped if n < 8 else contextlib.nullcontext():
        runs = js.run(PLAN, store=tmp_path / "a.zarr", executor=executor)
    assert len(interrupts) == 1
    assert runs_done(runs) == set(logged_runs(log, GRID))
    assert len(runs_done(runs)) == 2 * n
    assert runs.attrs["complete"] == (n == 8)
    assert len(executor.futures) == 8 - n
    assert all(future.cancelled() for future in executor.futures)


class Odd(Future):
    """Raises where the state of a task is asked for, or holds what a worker was ended by."""

    def done(self):
        raise ConnectionError("the scheduler is gone")


def ended_by(error):
    future = Future()
    future.set_exception(error)
    return future


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (Odd(), "the scheduler is gone"),
        (object(), "has no attribute 'done'"),
        (ended_by(KeyboardInterrupt()), "KeyboardInterrupt"),
        (ended_by(SystemExit(3)), "SystemExit"),
    ],
    ids=["odd", "no-future", "interrupted", "exit"],
)
def test_however_a_task_is_lost_the_others_are_kept(tmp_path, log, monkeypatch, last, words):
    executor, submit = AtOnce(8), AtOnce.submit
    monkeypatch.setattr(
        AtOnce, "submit", lambda self, *a: last if self.remaining == 5 else submit(self, *a)
    )
    monkeypatch.setattr(executors, "IN_FLIGHT", 4)
    with pytest.raises(RuntimeError, match=rf"`executor` .*{words}"):
        js.run(PLAN, store=tmp_path / "a.zarr", executor=executor)
    assert runs_done(js.open_store(tmp_path / "a.zarr")) == set(logged_runs(log, GRID))
    assert len(set(logged_runs(log, GRID))) >= 6


def test_lost_tasks_are_one_clear_error(tmp_path, log, local):
    path = tmp_path / "a.zarr"
    with Broken(3) as pool, pytest.raises((ValueError, RuntimeError), match="`executor`") as caught:
        js.run(PLAN, store=path, executor=pool)
    assert "the cluster is gone" in str(caught.value)
    done = runs_done(js.open_store(path))
    assert done == set(logged_runs(log, GRID))
    assert len(done) == 6
    log.unlink()
    assert_close(js.run(PLAN, store=path), local, **CLOSE)
    assert set(logged_runs(log, GRID)) == set(runs_of(GRID)) - done


def test_a_worker_returns_as_much_at_once_as_its_devices_hold(monkeypatch):
    """A plan made where a call has many single runs, for a worker with large groups."""
    made = Session(PLAN, MemoryStore(Layout.of(PLAN)), None).task(0, 0)
    many = dataclasses.replace(made.bucket, group=1, per_call=1 << 20, target=Target.named("h200"))
    received, none = [], Answer({}, 0.0, "")
    monkeypatch.setattr(executors, "compute", lambda task: received.append(task) or none)
    executors.compute_anywhere(dataclasses.replace(made, bucket=many))
    (task,) = received
    assert task.bucket.per_call * task.bucket.group * task.bucket.n_devices == task.bucket.chunk


@pytest.mark.slow
def test_a_worker_slices_for_its_own_devices(monkeypatch):
    """A plan made where batches stay whole, computed by a worker with a small cache."""
    system = ParityNetwork(
        n_skills=2, n_bits=6, width=16, batch_size=64, n_steps=4, record=[0, 4], n_evaluation=16
    )
    grid = js.Grid(system, seeds=2)
    planned = js.plan(grid)
    assert planned.buckets[0].traced_system.micro_batch is None
    reference = js.run(planned)
    made = Session(planned, MemoryStore(Layout.of(planned)), None).task(0, 0)
    monkeypatch.setattr(bucket, "CPU_SLICE_ABOVE_BYTES", 3000)
    monkeypatch.setattr(bucket, "CPU_SLICE_BYTES", 2000)
    elsewhere = dataclasses.replace(made.bucket, target=Target.named("h200"))
    answer = executors.compute_anywhere(dataclasses.replace(made, bucket=elsewhere))
    assert PROGRAMS.values()[-1].traced_system.micro_batch == 16
    np.testing.assert_allclose(answer.values["loss"], reference["loss"], rtol=1e-5)


# worker processes, each of which imports JAX


@pytest.fixture(scope="module")
def pool_log(tmp_path_factory):
    """What the workers of `shared` log."""
    return tmp_path_factory.mktemp("pool") / "log"


@pytest.fixture(scope="module")
def shared(pool_log):
    """Two worker processes, of which none is lost."""
    with pytest.MonkeyPatch.context() as patch, spawned(2) as pool:
        patch.setenv("COUNTED_LOG", str(pool_log))
        for future in [pool.submit(time.sleep, 0.1) for _ in range(2)]:
            future.result()  # both have started, with this environment
        patch.undo()
        yield pool


@pytest.mark.dist
def test_spawned_processes(tmp_path, shared, pool_log, local):
    pool_log.unlink(missing_ok=True)
    runs = js.run(PLAN, store=tmp_path / "a.zarr", executor=shared)
    assert sorted(logged_runs(pool_log, GRID)) == sorted(runs_of(GRID))
    assert_close(runs, local, **CLOSE)
    assert runs.attrs["complete"] == 1


@pytest.mark.dist
def test_spawned_processes_and_several_programs(shared):
    grid = js.Grid(SYSTEM, {"data": [Online(), SYSTEM.data]}, seeds=4)
    assert js.plan(grid).n_programs == 2
    runs = js.run(js.plan(grid, max_runs_per_chunk=2), executor=shared)
    assert_close(runs, js.run(grid), **CLOSE)


@pytest.mark.dist
def test_double_precision_in_processes(shared):
    grid = js.Grid(js.replace(SYSTEM, "dtype", "float64"), seeds=4)
    runs = js.run(grid, executor=shared)
    assert runs["loss"].dtype == np.float64
    np.testing.assert_allclose(runs["loss"], js.run(grid)["loss"], rtol=1e-12)


@pytest.mark.dist
def test_a_pool_whose_worker_dies(tmp_path, log, local, monkeypatch):
    """Finished chunks stay, and the same call with another pool computes the others only."""
    path, mark = tmp_path / "a.zarr", tmp_path / "died"
    monkeypatch.setenv("COUNTED_DIE", f"7:{mark}")
    monkeypatch.setenv("COUNTED_SLEEP", "0.1")
    with spawned(1) as pool, pytest.raises((ValueError, RuntimeError), match="`executor`"):
        js.run(PLAN, store=path, executor=pool)
    assert mark.exists()
    done, logged = runs_done(js.open_store(path)), logged_runs(log, GRID)
    assert len(logged) == 7
    assert done <= set(logged)
    assert len(done) in (4, 6)  # three chunks of two runs ended; the last may not have arrived
    log.unlink()
    with spawned(1) as pool:
        runs = js.run(PLAN, store=path, executor=pool)
    assert set(logged_runs(log, GRID)) == set(runs_of(GRID)) - done
    assert_close(runs, local, **CLOSE)


@pytest.mark.dist
@pytest.mark.filterwarnings("default")  # those of Dask and its dependencies are not ours
def test_dask(tmp_path, log, local, monkeypatch):
    """A healthy cluster, and one whose worker is killed in the second sweep."""
    distributed = pytest.importorskip("distributed")
    mark = tmp_path / "died"
    monkeypatch.setenv("COUNTED_DIE", f"{GRID.n_runs + 5}:{mark}")
    monkeypatch.setenv("COUNTED_SLEEP", "0.02")
    with (
        distributed.LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for name, dies in (("a.zarr", False), ("b.zarr", True)):
            n_before = len(logged_runs(log, GRID))
            runs = js.run(PLAN, store=tmp_path / name, executor=client.get_executor())
            assert mark.exists() == dies
            logged = logged_runs(log, GRID)[n_before:]
            assert set(logged) == set(runs_of(GRID))
            assert (len(logged) > len(set(logged))) == dies
            assert_close(runs, local, **CLOSE)
            assert runs.attrs["complete"] == 1


@pytest.mark.dist
@pytest.mark.filterwarnings("default")  # those of submitit are not ours
def test_submitit(tmp_path, log, local, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, sys.path))
    )  # where the worker finds `counted`
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    executor.update_parameters(timeout_min=5)
    plan = js.plan(GRID, max_runs_per_chunk=8)
    runs = js.run(plan, store=tmp_path / "a.zarr", executor=executor)
    assert sorted(logged_runs(log, GRID)) == sorted(runs_of(GRID))
    assert_close(runs, local, **CLOSE)


@pytest.mark.dist
@pytest.mark.filterwarnings("default")
def test_submitit_in_this_process(tmp_path, local):
    submitit = pytest.importorskip("submitit")
    executor = submitit.DebugExecutor(folder=tmp_path / "jobs")
    assert_close(js.run(PLAN, store=tmp_path / "a.zarr", executor=executor), local, **CLOSE)


@pytest.mark.dist
def test_the_example_for_slurm_runs_here(tmp_path):
    pytest.importorskip("submitit")
    example = ROOT / "examples" / "slurm.py"
    command = [sys.executable, str(example), "--local", "--steps", "50"]
    for _ in range(2):  # the second call finds everything done
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "96 runs" in done.stdout
        assert "final loss" in done.stdout
    runs = js.open_store(tmp_path / "slurm.zarr")
    assert runs.attrs["complete"] == 1
    assert (runs["status"] >= 0).all()
    assert len(list((tmp_path / "slurm-jobs").glob("*_submitted.pkl"))) >= 2


@pytest.mark.dist
def test_an_interrupted_run_leaves_the_pool_usable(tmp_path, local, shared, monkeypatch):
    """Ctrl-C cancels what waits; the same pool continues."""
    path, write, written = tmp_path / "a.zarr", ZarrStore.write, []

    def stop(self, *arguments):
        written.append(arguments)
        if len(written) == 3:
            interrupt()
            time.sleep(0.5)
        return write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "write", stop)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C"):
            part = js.run(PLAN, store=path, executor=shared)
    assert part.attrs["complete"] == 0
    assert 6 <= len(runs_done(part)) <= 12  # and what waited to be written, or in the pool
    assert_close(js.run(PLAN, store=path, executor=shared), local, **CLOSE)


def test_the_environment_is_clean():
    """A worker that dies on command would make every other test here fail."""
    assert not [name for name in os.environ if name.startswith("COUNTED_")]
