"""Faults: kills, Ctrl-C, full disks, damaged and foreign stores. What is finished is never lost."""

import contextlib
import errno
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from checks import files_under
from counted import DRAWN, SYSTEM, Drawn, logged_runs, n_logged, runs_done, runs_of
from server import Server, when

import jaxscale as js
from jaxscale import cli
from jaxscale.emergence import FiniteSet, MultilinearSkills

GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=4)
PLAN = js.plan(GRID, max_runs_per_chunk=2)  # four chunks
CHUNK = 4
IN_FLIGHT = 2 * CHUNK  # one chunk being written while the next is computed
MANY = js.Grid(DRAWN, {"learning_rate": [0.1, 0.2]}, seeds=24)  # twelve chunks
KILLS = int(os.environ.get("JAXSCALE_TEST_KILLS", "8"))  # of each of two chains


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished store, to be copied."""
    path = tmp_path_factory.mktemp("finished") / "a.zarr"
    js.run(PLAN, store=path)
    return path


@pytest.fixture
def store(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "a.zarr"))


@pytest.fixture
def no_space(monkeypatch):
    """After so many chunks of the loss the disk is full; None for a disk with room."""
    real = zarr.storage.LocalStore.set
    state = {"remaining": None, "refused": 0}

    async def set(self, key, *args, **kwargs):
        if state["remaining"] is not None:
            if state["remaining"] == 0:
                state["refused"] += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            state["remaining"] -= key.startswith("loss/c/")
        return await real(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", set)
    return state


def log_in(monkeypatch, path):
    monkeypatch.setenv("COUNTED_LOG", str(path))
    return path


# a full disk


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch, finished, no_space, chunks):
    path, reference = tmp_path / "a.zarr", js.open_store(finished)
    log = log_in(monkeypatch, tmp_path / "log")
    no_space["remaining"] = chunks
    with pytest.raises((ValueError, OSError), match="`store`") as caught:
        js.run(PLAN, store=path)
    assert no_space["refused"] >= 1
    assert "No space left" in str(caught.value)
    no_space["remaining"] = None
    part = js.open_store(path)
    done, first = runs_done(part), logged_runs(log, GRID)
    assert done <= set(first)
    assert 2 * (chunks - 1) <= len(done) <= 2 * chunks
    assert len(first) - len(done) <= 4  # chunks of two runs: one in writing, one computed
    _assert_same_where_done(part, reference)
    log.unlink()
    runs = js.run(PLAN, store=path)
    assert set(logged_runs(log, GRID)) == set(runs_of(GRID)) - done
    assert runs.equals(reference)
    assert runs.attrs["complete"] == 1


def test_no_space_for_a_new_store_leaves_nothing(tmp_path, no_space):
    no_space["remaining"] = 0
    with pytest.raises((ValueError, OSError), match="`store`"):
        js.run(PLAN, store=tmp_path / "a.zarr")
    no_space["remaining"] = None
    assert no_space["refused"] >= 1
    assert not files_under(tmp_path)


def _assert_same_where_done(part, reference):
    done = part["status"] >= 0
    for name in reference.data_vars:
        expected = reference[name].where(
            done, part[name].dtype.type(np.nan if name != "status" else -1)
        )
        np.testing.assert_array_equal(part[name], expected.transpose(*part[name].dims))


# damaged and foreign stores


def _truncate(path):
    file = path / "loss" / "c" / "1" / "0"
    file.write_bytes(file.read_bytes()[:-5])


def _alter(path):
    file = path / "loss" / "c" / "1" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def _empty(path):
    (path / "loss" / "c" / "1" / "0").write_bytes(b"")


def _delete(path):
    (path / "skill_strength" / "c" / "2" / "0" / "0").unlink()


def _delete_status(path):
    (path / "status" / "c" / "0").unlink()


def _delete_variable(path):
    shutil.rmtree(path / "loss")


def _truncate_header(path):
    header = path / "zarr.json"
    header.write_bytes(header.read_bytes()[:100])


def _other_format(path):
    zarr.open_group(path, mode="r+").update_attributes({"jaxscale_format": 99})


def _no_grid(path):
    root = zarr.open_group(path, mode="r+")
    root.attrs.put({k: v for k, v in root.attrs.items() if k != "grid"})


def _bad_grid(path):
    zarr.open_group(path, mode="r+").update_attributes({"grid": '{"system": "no'})


def _unknown_class(path):
    root = zarr.open_group(path, mode="r+")
    root.update_attributes({"grid": str(root.attrs["grid"]).replace("counted", "nowhere")})


@pytest.mark.parametrize(
    "damage",
    [
        _truncate, _alter, _empty, _delete, _delete_status, _delete_variable, _truncate_header,
        _other_format, _no_grid, _bad_grid, _unknown_class,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
@pytest.mark.parametrize("call", ["run", "open"])
def test_a_damaged_store_is_one_clear_error(store, damage, call):
    damage(store)
    before = files_under(store.parent)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.run(PLAN, store=store) if call == "run" else js.open_store(store)
    assert "a.zarr" in str(caught.value)
    assert files_under(store.parent) == before


@pytest.mark.parametrize(
    "damage", [_truncate, _alter, _empty, _delete, _delete_status], ids=lambda f: f.__name__
)
def test_what_a_damaged_store_advises_mends_it(store, finished, damage, tmp_path, monkeypatch):
    damage(store)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.open_store(store)
    (mark,) = re.findall(r"delete (\S+)", str(caught.value))
    Path(mark).unlink()
    log = log_in(monkeypatch, tmp_path / "log")
    assert int((js.open_store(store)["status"] < 0).sum()) == 2
    assert js.run(PLAN, store=store).equals(js.open_store(finished))
    assert len(logged_runs(log, GRID)) == 2


@pytest.mark.parametrize("damage", [_truncate, _delete], ids=lambda f: f.__name__)
def test_an_unfinished_damaged_store_can_be_mended(store, finished, damage):
    zarr.open_group(store, mode="r+")["done"][3] = False
    damage(store)
    with pytest.raises(ValueError, match="`store`"):
        js.run(PLAN, store=store)
    for name in ("loss/c/1/0", "skill_strength/c/2/0/0"):
        shutil.copy(finished / name, store / name)
    assert js.run(PLAN, store=store).equals(js.open_store(finished))


def _folder(path):
    path.mkdir()
    (path / "precious").write_text("mine")


def _file(path):
    path.write_text("mine")


def _foreign_group(path):
    root = zarr.open_group(path, mode="w", attributes={"grid": "mine"})
    root.create_array("loss", data=np.arange(5.0))


def _foreign_array(path):
    zarr.create_array(path, data=np.arange(5.0))


@pytest.mark.parametrize(
    "make", [_folder, _file, _foreign_group, _foreign_array], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("call", ["run", "open"])
def test_a_foreign_path_is_refused(tmp_path, make, call):
    path = tmp_path / "a.zarr"
    make(path)
    before = files_under(tmp_path)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.run(PLAN, store=path) if call == "run" else js.open_store(path)
    assert str(path) in str(caught.value)
    assert files_under(tmp_path) == before


@pytest.mark.parametrize(
    "other",
    [
        js.Grid(SYSTEM, GRID.axes, seeds=4, key=1),
        js.Grid(js.replace(SYSTEM, "skill_exponent", 0.7), GRID.axes, seeds=4),
        js.Grid(js.replace(SYSTEM, "dtype", "float64"), GRID.axes, seeds=4),
        js.Grid(
            MultilinearSkills(n_skills=5, n_steps=50, data=FiniteSet(n_samples=30)),
            GRID.axes,
            seeds=4,
        ),
    ],
    ids=["key", "field", "dtype", "class"],
)
def test_results_of_something_else_are_kept(store, other):
    before = files_under(store.parent)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.run(other, store=store)
    assert str(store) in str(caught.value)
    assert files_under(store.parent) == before


def test_a_store_that_may_not_be_written(store, finished, monkeypatch):
    zarr.open_group(store, mode="r+")["done"][3] = False
    before = files_under(store.parent)
    if os.geteuid() == 0:  # no mode bits bind root

        def refuse(self, *args, **kwargs):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

        monkeypatch.setattr(zarr.storage.LocalStore, "set", refuse)
        monkeypatch.setattr(Path, "write_text", refuse)
    else:
        for folder in [store, *(p for p in store.rglob("*") if p.is_dir())]:
            folder.chmod(0o555)
    try:
        with pytest.raises((ValueError, OSError), match="`store`"):
            js.run(PLAN, store=store)
    finally:
        for folder in [store, *(p for p in store.rglob("*") if p.is_dir())]:
            folder.chmod(0o755)
    assert files_under(store.parent) == before
    assert len(runs_done(js.open_store(store))) == 6
    monkeypatch.undo()
    assert js.run(PLAN, store=store).equals(js.open_store(finished))


# runs that fail


@pytest.mark.parametrize("bad", [1e30, 50.0])
def test_a_bad_run_is_reported_and_harms_nobody(tmp_path, bad):
    system = js.replace(SYSTEM, "target_scale", 5.0)
    rates = [0.01, 0.03, 0.02]
    good = js.run(js.Grid(system, {"learning_rate": rates}, seeds=3), store=tmp_path / "good.zarr")
    rates[1] = bad
    with pytest.warns(UserWarning, match="3 of 9 runs ended badly"):
        js.run(js.Grid(system, {"learning_rate": rates}, seeds=3), store=tmp_path / "bad.zarr")
    runs = js.open_store(tmp_path / "bad.zarr")
    assert runs.attrs["complete"] == 1
    status = runs["status"].values
    assert (good["status"] == js.Status.ok).all()
    assert (status[[0, 2]] == js.Status.ok).all()
    assert np.isin(status[1], [js.Status.nonfinite, js.Status.diverged]).all()
    assert np.isnan(runs["loss"].values[1, :, -1]).all()
    assert np.isfinite(runs["loss"].values[1, :, 0]).all()
    for name in runs.data_vars:
        neighbours = runs[name].isel(learning_rate=[0, 2])
        np.testing.assert_array_equal(neighbours, good[name].isel(learning_rate=[0, 2]))


def test_the_command_line_counts_bad_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.toml").write_text("""
        system = "emergence.MultilinearSkills"
        seeds = 3
        fields = {n_skills = 5, n_steps = 50, target_scale = 5.0}
        axes = {learning_rate = [0.01, 1e30, 0.02, 0.03]}
    """)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["jaxscale", "run", "small.toml", "--store", "a.zarr"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "9 runs ok, 3 nonfinite, 0 diverged" in capsys.readouterr().out
    assert int((js.open_store("a.zarr")["status"] == js.Status.nonfinite).sum()) == 3


# processes that are stopped


def _request(folder, name, grid, sleep=0.004):
    log = folder / "log"
    log.unlink(missing_ok=True)
    (folder / "outcome").unlink(missing_ok=True)
    return {
        "store": str(folder / name),
        "grid": grid.to_dict(),
        "chunk": CHUNK,
        "outcome": str(folder / "outcome"),
        "environment": {"COUNTED_LOG": str(log), "COUNTED_SLEEP": str(sleep)},
    }


def _kill_at_random(rng, server, folder, request):
    """Start a request and kill it, while it opens or makes the store or between two runs."""
    pid = server.start(**request)
    alive = Path(f"/proc/{pid}").exists
    fresh = not Path(request["store"]).exists()  # making it takes a moment only
    if rng.random() < (0.8 if fresh else 0.35):
        when((folder / "outcome").exists, alive=alive)
        pause = rng.uniform(0.0, 0.05 if fresh else 0.25)
    else:
        runs = int(rng.integers(1, 4 * CHUNK))
        when(lambda: n_logged(folder / "log") >= runs, alive=alive)
        pause = rng.uniform(0.0, 0.04)
    time.sleep(pause)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return server.wait()


def _chains_of_kills(folder, seed, n_kills):
    """Kill runs until `n_kills` died, each continuing its store; the kills before a first chunk."""
    rng, kills, early, recomputed = np.random.default_rng(seed), 0, 0, 0
    folder.mkdir()
    with Server() as server:
        assert server.finish(**_request(folder, "reference.zarr", MANY, sleep=0.0)) == 0
        reference = js.open_store(folder / "reference.zarr")
        assert runs_done(reference) == set(runs_of(MANY))
        number = 0
        while kills < n_kills:
            number += 1
            name, before, code = f"{number}.zarr", set(), None
            path = folder / name
            while code != 0:
                request = _request(folder, name, MANY)
                if kills < n_kills:
                    code = _kill_at_random(rng, server, folder, request)
                else:
                    code = server.finish(**request)
                assert code in (0, -signal.SIGKILL), (folder / "outcome").read_text()
                kills += code != 0
                ran = logged_runs(folder / "log", MANY)
                assert len(set(ran)) == len(ran)  # nothing twice in one session
                assert not before & set(ran)  # nothing that was finished
                if path.exists():
                    part = js.open_store(path)
                    after = runs_done(part)
                    assert before <= after <= before | set(ran)
                    _assert_same_where_done(part, reference)
                    lost = set(ran) - after
                    assert len(lost) <= IN_FLIGHT
                    recomputed += len(lost)
                    before = after
                else:
                    assert not ran
                    early += 1
            assert js.open_store(path).equals(reference)
            assert js.open_store(path).attrs["complete"] == 1
        remaining = {p.name for p in folder.iterdir() if ".lock" not in p.name} - {"log", "outcome"}
        assert remaining == {"reference.zarr", *(f"{i + 1}.zarr" for i in range(number))}
    return kills, early, recomputed


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(_chains_of_kills, tmp_path / str(s), s, KILLS) for s in (0, 1)]
        kills, early, recomputed = np.sum([job.result() for job in jobs], axis=0)
    assert kills >= 2 * KILLS
    assert early >= 1  # some came before there was a store,
    assert recomputed >= CHUNK  # some in the middle of a chunk


@pytest.mark.slow
def test_ctrl_c_returns_what_is_finished(tmp_path):
    system = MultilinearSkills(n_skills=100, n_steps=40_000, record=(0, 40_000))
    grid = js.Grid(system, {"learning_rate": [0.1, 0.2]}, seeds=32)
    outcome, path = tmp_path / "outcome", tmp_path / "a.zarr"
    n_before = 0
    with Server() as server:
        for n_more in (1, 20):  # in a new store, and in one that is continued

            def enough(runs=n_before + n_more):
                return path.exists() and len(runs_done(js.open_store(path))) >= runs

            pid = server.start(**_request(tmp_path, "a.zarr", grid))
            assert when(enough, alive=Path(f"/proc/{pid}").exists, pause=0.02)
            os.kill(pid, signal.SIGINT)
            assert server.wait() == 0
            assert outcome.read_text() == "complete=0"
            part = js.open_store(path)
            n_done = len(runs_done(part))
            assert n_before + n_more <= n_done < grid.n_runs
            assert part.attrs["complete"] == 0
            assert np.isnan(part["loss"].where(part["status"] < 0, drop=True)).all()
            n_before = n_done
        assert server.finish(**_request(tmp_path, "a.zarr", grid)) == 0
        assert outcome.read_text() == "complete=1"
        assert server.finish(**_request(tmp_path, "reference.zarr", grid)) == 0
    assert js.open_store(path).equals(js.open_store(tmp_path / "reference.zarr"))


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    system = Drawn(n_skills=40, n_steps=4000, record=range(0, 4001, 2))
    grid = js.Grid(system, GRID.axes, seeds=16)
    outcome, path = tmp_path / "outcome", tmp_path / "a.zarr"
    with Server() as server:
        limited = {**_request(tmp_path, "a.zarr", grid), "largest_file": 40_000}
        assert server.finish(**limited) == 1
        kind, _, message = outcome.read_text().partition("\n")[0].partition(": ")
        assert kind in ("ValueError", "OSError")
        assert "`store`" in message
        assert "too large" in message
        assert server.finish(**_request(tmp_path, "a.zarr", grid)) == 0
        assert server.finish(**_request(tmp_path, "reference.zarr", grid)) == 0
    assert js.open_store(path).equals(js.open_store(tmp_path / "reference.zarr"))
