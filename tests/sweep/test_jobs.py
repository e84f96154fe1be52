"""Jobs of submitit that their cluster takes back, or that die: nothing is lost.

The local executor's jobs get what those of SLURM get: the signal of a preemption, which submitit
answers by putting the job into the queue again, or that of a time limit, which ends it.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from checks import assert_close
from counted import DRAWN, logged_runs, n_logged, runs_done, runs_of

import jaxscale as js
from jaxscale.sweep import _executor as executors
from jaxscale.sweep._store import ZarrStore

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
GRID = js.Grid(DRAWN, {"learning_rate": [0.1, 0.2]}, seeds=6)
CHUNK = 4  # runs of a job: one before the one that is hit, and one after it where jobs go on
GRIDS = {"preempted": GRID, "out of time": GRID.replace(seeds=4), "killed": GRID.replace(seeds=4)}
MINUTES = {"preempted": 60, "out of time": 5}  # submitit takes 80 % of the limit, or all but ten
LINGER = 1.5  # seconds between the last run of a job and its answer

pytestmark = [pytest.mark.dist, pytest.mark.filterwarnings("default")]
submitit = pytest.importorskip("submitit")


class Jobs:
    """Jobs one by one, the second of which is hit when all of its runs are computed."""

    def __init__(self, folder, log, fault):
        self.executor = submitit.AutoExecutor(folder=folder, cluster="local")
        self.executor.update_parameters(timeout_min=MINUTES.get(fault, 60))
        self.batch, self.jobs, self.log = self.executor.batch, [], log
        self.number = signal.SIGKILL if fault == "killed" else signal.SIGUSR2
        self.was_hit, self.thread = None, threading.Thread(target=self.hit, daemon=True)
        self.thread.start()

    def submit(self, function, task):
        def lingering(task):
            answer = function(task)
            time.sleep(LINGER)
            return answer

        self.jobs.append(self.executor.submit(lingering, task))
        return self.jobs[-1]

    def hit(self):
        while n_logged(self.log) < 2 * CHUNK:
            time.sleep(0.01)
        time.sleep(LINGER / 3)
        (task,) = _children(self.jobs[-1].job_id)
        self.was_hit = time.monotonic()
        os.kill(task, self.number)


def _children(pid):
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, timeout=30)
    return [int(number) for number in listed.stdout.split()]


@pytest.mark.parametrize("fault", ["preempted", "out of time", "killed"])
def test_a_job_that_is_taken_back_loses_nothing(tmp_path, monkeypatch, fault, record_property):
    path, log, written, write = tmp_path / "a.zarr", tmp_path / "log", [], ZarrStore.write
    grid = GRIDS[fault]
    plan = js.plan(grid, max_runs_per_chunk=CHUNK)
    monkeypatch.setenv("COUNTED_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr(executors, "IN_FLIGHT", 1)
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)  # of a slow file system

    def timed(*arguments):
        write(*arguments)
        written.append(time.monotonic())

    monkeypatch.setattr(ZarrStore, "write", timed)
    jobs = Jobs(tmp_path / "jobs", log, fault)
    if fault != "preempted":  # one error, and the same call goes on
        with pytest.raises(RuntimeError, match=r"(?s)`executor` lost a chunk .*the same call"):
            js.run(plan, store=path, executor=jobs)
        assert len(runs_done(js.open_store(path))) == CHUNK
    runs = js.run(plan, store=path, executor=jobs)
    logged, chunks = logged_runs(log, grid), plan.n_runs // CHUNK
    assert len(jobs.jobs) == chunks + (fault != "preempted")
    assert len(written) == chunks
    assert set(logged) == set(runs_of(grid))
    assert len(logged) == grid.n_runs + CHUNK
    record_property("runs computed again", CHUNK)
    record_property("seconds until they are there", written[1] - jobs.was_hit)
    monkeypatch.delenv("COUNTED_LOG")
    assert_close(runs, js.run(plan), **CLOSE)
