"""More than one host: a link that is cut, workers and schedulers that die.

The hosts are network namespaces of this machine, each with its own address and one link between
them; whoever may not make them has these tests skipped.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import two_hosts
from checks import assert_close
from counted import logged_runs, n_logged, runs_done, runs_of

import jaxscale as js

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
PLAN = two_hosts.plan()
GRID, IN_FLIGHT = PLAN.grid, 2  # runs of one chunk, which the only worker computes

pytestmark = [pytest.mark.dist, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def local():
    return js.run(PLAN)


@pytest.fixture
def hosts():
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(two_hosts.hosts())
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield


@pytest.fixture
def environment(tmp_path):
    paths = os.pathsep.join(filter(None, sys.path))
    return {"COUNTED_LOG": str(tmp_path / "log"), "COUNTED_SLEEP": "0.3", "PYTHONPATH": paths}


def _until(condition, limit=120.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, "nothing happened"
        time.sleep(0.05)


def _done(path):
    """Runs of a store that may be in the making."""
    try:
        return runs_done(js.open_store(path))
    except ValueError:
        return []


class Sweep:
    """A sweep under way on two hosts, with a scheduler and a worker of its own."""

    def __init__(self, store, environment):
        self.scheduler = two_hosts.scheduler(**environment)
        self.worker = two_hosts.worker(**environment)
        self.client = two_hosts.sweep(store, **environment)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in (self.client, self.worker, self.scheduler):
            two_hosts.end(process)

    def outcome(self):
        output, _ = self.client.communicate(timeout=240)
        return json.loads(output.splitlines()[-1])["outcome"]


def test_a_sweep_outlives_its_link_and_its_worker(
    hosts, tmp_path, environment, local, record_property
):
    """The worker is killed, which loses one chunk; then the link is cut, which loses nothing."""
    path, log = tmp_path / "a.zarr", tmp_path / "log"

    def goes_on():
        began, before = time.monotonic(), n_logged(log)
        _until(lambda: n_logged(log) > before)
        return time.monotonic() - began

    with Sweep(path, environment) as sweep:
        _until(lambda: n_logged(log) > IN_FLIGHT)
        for number in two_hosts.worker_processes(sweep.worker):
            os.kill(number, signal.SIGKILL)
        n_before = n_logged(log)
        record_property("seconds until it goes on after a kill", goes_on())
        assert n_logged(log) < GRID.n_runs - 3 * IN_FLIGHT  # the worker holds less
        two_hosts.set_link(up=False)
        time.sleep(3.0)
        two_hosts.set_link(up=True)
        record_property("seconds until it goes on after a cut", goes_on())
        assert sweep.outcome() == "complete"
    logged = logged_runs(log, GRID)
    assert set(logged) == set(runs_of(GRID))
    repeated, after = len(logged) - len(set(logged)), logged[n_before:]
    record_property("runs computed again", repeated)
    assert repeated <= IN_FLIGHT
    assert len(after) == len(set(after))
    assert_close(js.open_store(path), local, **CLOSE)


def test_what_a_lost_scheduler_had_is_kept(hosts, tmp_path, environment, local, monkeypatch):
    """Whoever goes on computes only the rest; here that is this process."""
    path, log = tmp_path / "a.zarr", tmp_path / "log"
    with Sweep(path, environment) as sweep:
        _until(lambda: _done(path))
        two_hosts.end(sweep.scheduler)
        assert sweep.outcome().startswith("RuntimeError: `executor` lost a chunk")
    done = runs_done(js.open_store(path))
    assert done
    log.unlink()
    monkeypatch.setenv("COUNTED_LOG", str(log))
    js.run(PLAN, store=path)
    assert set(logged_runs(log, GRID)) == set(runs_of(GRID)) - set(done)
    assert_close(js.open_store(path), local, **CLOSE)
