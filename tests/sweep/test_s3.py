"""Stores in buckets of a server that speaks S3: faults, kills, and two that write."""

import contextlib
import datetime
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from counted import DRAWN, logged_runs, runs_done, runs_of
from s3 import PYTHON, S3
from server import Server, when

import jaxscale as js
from jaxscale.emergence import MultilinearSkills
from jaxscale.sweep import _object_files as object_files, _object_lock as object_lock
from jaxscale.sweep._locate import place_of

if not PYTHON:
    pytest.importorskip("moto", reason="the server needs the extra s3")

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("JAXSCALE_TEST_KILLS", "8"))
SYSTEM = MultilinearSkills(n_skills=3, n_steps=20)
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=4)
LARGER = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2, 0.3]}, seeds=5)
MANY = js.Grid(DRAWN, {"learning_rate": [0.1, 0.2]}, seeds=24)
CHUNK = 4
FAULTS = {  # each of which some request of a sweep meets: kind, requests, those that go well before
    "busy": [
        ("busy", "^PUT .*/done/c/", 0, 6),
        ("busy", "^PUT .*lock", 0, 3),
        ("busy", "^PUT .*a.zarr/zarr.json", 0, 2),
        ("busy", "", 0, 4),
        ("busy", "^PUT", 10, 8),
        ("busy", "^GET", 10, 8),
    ],
    "lost": [
        ("lost", "^PUT .*/done/c/", 0, 6),
        ("lost", "^PUT .*lock", 0, 2),
        ("lost", "^PUT .*a.zarr/zarr.json", 0, 1),
        ("lost", "^POST", 0, 2),
        ("lost", "^PUT", 3, 8),
        ("lost", "^GET", 20, 8),
    ],
    "cut": [
        ("cut", "^GET .*/loss/c/", 0, 5),
        ("cut", "^GET /bucket$", 0, 2),
        ("cut", "^GET .*zarr.json", 5, 5),
        ("cut", "^PUT", 5, 8),
        ("cut", "", 30, 8),
    ],
    "slow": [("slow", "zarr.json", 0, 10), ("slow", "", 20, 10)],
    "stale": [("stale", "^GET /bucket$", 0, 100)],
}


@pytest.fixture(scope="module")
def server():
    with S3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        pauses = {"init_backoff": 0.01, "max_backoff": 0.05}
        shorter = {"base": 2} | {n: datetime.timedelta(seconds=s) for n, s in pauses.items()}
        patch.setitem(object_files.RETRIES, "backoff", shorter)
        patch.setattr(object_files, "PAUSE", 0.01)
        patch.setattr(object_files, "LONGEST_PAUSE", 0.05)
        yield server


@pytest.fixture
def url(server, request):
    server.recover()
    name = request.node.name.replace("[", "-").rstrip("]")
    return f"s3://bucket/{name}/a.zarr"


def run(grid, store=None):
    plan = js.plan(grid, max_runs_per_chunk=2) if isinstance(grid, js.Grid) else grid
    return js.run(plan, store=store, progress=False)


@pytest.fixture(scope="module")
def expected():
    return run(GRID), run(LARGER), run(LARGER.longer(50))


def test_a_store_on_a_server(url, expected):
    for grid, runs in zip((GRID, LARGER), expected, strict=False):
        assert run(js.plan(grid, keep_states=True, max_runs_per_chunk=2), url).equals(runs)
        assert js.open_store(url).equals(runs)
    assert js.open_state(url, learning_rate=0.3, seed=4)[0] == 20
    assert run(LARGER.longer(50), url).equals(expected[2])
    place = place_of(url)
    assert place.objects.inside(place.prefix) == {"zarr.json", place.current().generation}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_change_nothing(server, url, expected, kind):
    """A sweep and its extension, then another reader, while requests go wrong."""
    failed = []
    for work in (
        lambda: run(GRID, url).equals(expected[0]),
        lambda: run(LARGER, url).equals(expected[1]),
        lambda: js.open_store(url).equals(expected[1]),
    ):
        for fault in FAULTS[kind]:
            server.go_wrong(*fault, seconds=0.05)
        assert work()
        failed.append(server.recover())
    assert np.min(np.sum(failed, axis=0)) >= (0 if kind == "stale" else 1), failed
    assert js.open_store(url).equals(expected[1])


@pytest.mark.parametrize("after", [5, 40, 60, 80])
def test_a_server_that_stays_away_costs_what_was_in_flight(
    server, url, expected, after, monkeypatch
):
    monkeypatch.setitem(object_files.RETRIES, "max_retries", 1)
    monkeypatch.setattr(object_files, "PATIENCE", 0.0)
    server.go_wrong("busy", "", after, 10**6)
    with pytest.raises(ValueError, match=r"`store` s3://.* cannot be .*SlowDown: as told"):
        run(GRID, url)
    assert sum(server.recover()) >= 1
    place = place_of(url)
    done = 0
    if place.identity() is not None:
        part = js.open_store(url)
        done = int((part["status"] >= 0).sum())
        same = part.where(part["status"] >= 0).equals(expected[0].where(part["status"] >= 0))
        assert same
    assert run(GRID, url).equals(expected[0])
    assert done < GRID.n_runs


def test_what_is_wrong_is_named(server, url, monkeypatch):
    with pytest.raises(ValueError, match=r"`store` s3://none/a.zarr .* no such bucket.*make the"):
        js.run(GRID, store="s3://none/a.zarr")
    server.go_wrong("refused", "", 0, 10**6)
    with pytest.raises(ValueError, match=r"AccessDenied: as told.*check the credentials"):
        js.run(GRID, store=url)
    server.recover()
    run(GRID, url)
    server.go_wrong("refused", "^(PUT|POST)", 0, 10**6)
    assert run(GRID, url).attrs["complete"] == 1  # it is only read
    with pytest.raises(ValueError, match=r"AccessDenied: as told.*check the credentials"):
        run(LARGER, url)
    server.recover()
    monkeypatch.setitem(object_files.RETRIES, "max_retries", 1)
    monkeypatch.setattr(object_files, "PATIENCE", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"`store` s3://.* cannot be reached \(.*127.0.0.1:9"):
        js.open_store(url)


def request(folder, url, name, grid=MANY, **more):
    return {
        "grid": grid.to_dict(), "store": url, "chunk": CHUNK, "outcome": str(folder / "outcome"),
        "environment": {"COUNTED_LOG": str(folder / "log"), "COUNTED_SLEEP": str(name)},
        **more,
    }  # fmt: skip


def test_kills_at_random_moments(url, tmp_path):
    """Nothing that was finished is lost, nothing is wrong, and the lock of the dead is taken.

    Every other sweep extends a store.
    """
    rng, kills, chains, recomputed = np.random.default_rng(0), 0, 0, 0
    log = tmp_path / "log"

    def kill(pid):
        """At once or so, or after some of the runs."""
        alive = Path(f"/proc/{pid}").exists
        if rng.random() < 0.7:
            n_runs = len(log.read_text().splitlines()) + int(rng.integers(1, MANY.n_runs))
            when(lambda: len(log.read_text().splitlines()) >= n_runs, alive=alive)
        time.sleep(rng.uniform(0.0, 0.2))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    with Server() as server:
        assert server.finish(**request(tmp_path, f"{url}.reference", 0.0)) == 0
        reference = js.open_store(f"{url}.reference")
        while kills < KILLS:
            store, code, done = f"{url}.{chains}", -signal.SIGKILL, set()
            log.write_text("")
            if chains % 2:
                part = MANY.replace(seeds=8)
                assert server.finish(**request(tmp_path, store, 0.0, part)) == 0
            while code != 0:
                pid = server.start(**request(tmp_path, store, 0.005))
                if kills < KILLS:
                    kill(pid)
                code = server.wait()
                assert code in (0, -signal.SIGKILL), (tmp_path / "outcome").read_text()
                kills += code != 0
                if place_of(store).identity() is not None:
                    part = js.open_store(store)
                    assert done <= runs_done(part)  # nothing is lost
                    done, at = runs_done(part), part["status"] >= 0
                    assert part.where(at).equals(reference.sel(seed=part.seed).where(at))
            recomputed += len(logged_runs(log, MANY)) - MANY.n_runs
            assert js.open_store(store).equals(reference)
            place = place_of(store)
            assert len(place.objects.inside(place.prefix)) == 2  # the root, one generation
            chains += 1
    assert recomputed >= 1  # some came in the middle of a chunk
    print(f"{kills} kills of {chains} sweeps, {recomputed} runs computed anew")


def test_one_that_is_suspended_is_taken_over(url, tmp_path, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENT_SECONDS", 3.0)
    log = tmp_path / "log"
    with Server() as server:
        pid = server.start(**request(tmp_path, url, 0.05, silent_seconds=3.0))
        assert when(lambda: log.exists() and log.read_text().count("\n") >= 6)
        with pytest.raises(ValueError, match=rf"written by process {pid} on .*last sign of life"):
            run(MANY, url)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(6.0)
        runs = js.run(js.plan(MANY, max_runs_per_chunk=CHUNK), store=url, progress=False)
        os.kill(pid, signal.SIGCONT)
        assert server.wait() == 1
    assert "was taken over by" in (tmp_path / "outcome").read_text()
    assert js.open_store(url).equals(runs)
    assert runs_done(runs) == set(runs_of(MANY))


def test_of_two_processes_one_writes(url, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with Server() as one, Server() as two:
        for server, folder in zip((one, two), folders, strict=True):
            server.start(**request(folder, url, 0.02))
        codes = [one.wait(), two.wait()]
    assert 0 in codes
    outcomes = [(folder / "outcome").read_text() for folder in folders]
    for code, outcome in zip(codes, outcomes, strict=True):
        assert code == 0 or "is being written by process" in outcome
    assert js.open_store(url).attrs["complete"] == 1


def test_the_block_of_the_page_reads_a_generation(server, expected, monkeypatch):
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # this server has no TLS
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    (block,) = re.findall(r"<!-- bucket -->\n```python\n(.*?)```", page, re.S)
    (address,) = re.findall(r'"(s3://bucket/.*?)"', block)
    server.recover()
    run(GRID, address)
    names = {}
    exec(compile(block, "docs/sweeps.md", "exec"), names)
    rows = names["rows"].load()
    assert rows.sizes["run_slot"] == GRID.n_runs
    losses = expected[0].loss.values.reshape(GRID.n_runs, -1)
    np.testing.assert_array_equal(rows.loss.values, losses[rows.run_id.values])
