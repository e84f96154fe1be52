"""A store of a part of a grid becomes one of the whole: only what is missing is computed."""

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from checks import assert_close, files_under
from counted import DRAWN, SYSTEM, logged_runs, runs_done, runs_of
from server import Server, when

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online
from jaxscale.sweep._extend import match_runs
from jaxscale.sweep._predict import grid_of

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
PART = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=2)
LARGER = js.Grid(SYSTEM, {"learning_rate": [0.3, 0.2, 0.1]}, seeds=[3, 1, 2, 0])
CUT = {"max_runs_per_chunk": 2}


@pytest.fixture(scope="module")
def of_part(tmp_path_factory):
    path = tmp_path_factory.mktemp("part") / "a.zarr"
    js.run(js.plan(PART, **CUT), store=path)
    return path


@pytest.fixture(scope="module")
def of_larger(tmp_path_factory):
    path = tmp_path_factory.mktemp("larger") / "a.zarr"
    js.run(js.plan(LARGER, **CUT), store=path)
    return path


@pytest.fixture
def path(of_part, tmp_path):
    return Path(shutil.copytree(of_part, tmp_path / "a.zarr"))


@pytest.fixture
def log(tmp_path_factory, monkeypatch):
    file = tmp_path_factory.mktemp("log") / "log"
    monkeypatch.setenv("COUNTED_LOG", str(file))
    return file


def part_of(runs, like):
    """The runs of `like` in `runs`."""
    axes = [d for d in like["status"].dims if d in runs.dims]
    return runs.sel({d: like[d].values for d in axes}).transpose(*like.dims)


def assert_holds(runs, part):
    """The runs of `part` are in `runs`, bit for bit, where they are done."""
    matching, done = part_of(runs, part), part["status"] >= 0
    for name in part.data_vars:
        values = matching[name].transpose(*part[name].dims)
        mask = np.broadcast_to(done.values.reshape(done.shape + (1,) * (values.ndim - done.ndim)),
                               values.shape)  # fmt: skip
        np.testing.assert_array_equal(values.values[mask], part[name].values[mask])


def test_only_what_is_missing_runs(path, of_part, of_larger, log):
    runs = js.run(js.plan(LARGER, **CUT), store=path)
    assert sorted(logged_runs(log, LARGER)) == sorted(set(runs_of(LARGER)) - set(runs_of(PART)))
    assert runs["learning_rate"].values.tolist() == [0.3, 0.2, 0.1]
    assert runs["seed"].values.tolist() == [3, 1, 2, 0]
    assert runs.attrs["complete"] == 1
    assert runs.identical(js.open_store(path))
    assert js.Grid.from_dict(LARGER.to_dict()).to_dict() == grid_of(runs).to_dict()
    assert_holds(runs, js.open_store(of_part))
    assert_close(runs, js.open_store(of_larger), **CLOSE)
    sessions = [json.loads(js.open_store(p).attrs["sessions"]) for p in (of_part, path)]
    assert len(sessions[0]) == 1
    assert len(sessions[1]) == 2
    assert sessions[1][:1] == sessions[0]
    assert [p.name for p in path.parent.iterdir() if ".lock" not in p.name] == ["a.zarr"]


@pytest.mark.slow
def test_a_store_grows_step_by_step(path, of_larger, log):
    more = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.3, 0.2]}, seeds=2)
    js.run(more, store=path)
    assert set(logged_runs(log, more)) == {(0.3, 0), (0.3, 1)}
    log.unlink()
    runs = js.run(LARGER, store=path)
    assert set(logged_runs(log, LARGER)) == set(runs_of(LARGER)) - set(runs_of(more))
    assert_close(runs, js.open_store(of_larger), **CLOSE)
    log.unlink()
    assert js.run(LARGER, store=path).identical(runs)
    assert not log.exists()


@pytest.mark.parametrize(
    ("axes", "seeds"),
    [({"learning_rate": [0.2, 0.1]}, [0, 1]), ({"learning_rate": [0.1, 0.2]}, [1, 0])],
    ids=["axis", "seeds"],
)
def test_another_order_runs_nothing(path, of_part, log, axes, seeds):
    grid = js.Grid(SYSTEM, axes, seeds=seeds)
    runs = js.run(grid, store=path)
    assert not log.exists()
    assert runs["learning_rate"].values.tolist() == axes["learning_rate"]
    assert runs["seed"].values.tolist() == seeds
    assert_holds(runs, js.open_store(of_part))
    assert js.open_store(path).identical(runs)


@pytest.mark.slow
def test_axes_in_another_order(tmp_path):
    system = MultilinearSkills(n_skills=5, n_steps=20, data=FiniteSet(n_samples=30))
    axes = {"learning_rate": [0.1, 0.2], "data.n_samples": [10, 30]}
    part = js.run(js.Grid(system, axes, seeds=2), store=tmp_path / "a.zarr")
    turned = {"data.n_samples": [10, 20, 30], "learning_rate": [0.2, 0.1]}
    runs = js.run(js.Grid(system, turned, seeds=2), store=tmp_path / "a.zarr")
    assert runs["loss"].dims == ("data.n_samples", "learning_rate", "seed", "step")
    assert (runs["status"] == 0).all()
    assert_holds(runs, part)
    assert_close(runs, js.run(js.Grid(system, turned, seeds=2)), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "part", "larger"),
    [
        (MultilinearSkills(n_skills=5, n_steps=20), {"n_skills": [3, 5]}, {"n_skills": [4, 5, 3]}),
        (
            MultilinearSkills(n_skills=5, n_steps=20),
            {"data": [FiniteSet(n_samples=30)]},
            {"data": [Online(), FiniteSet(n_samples=30), FiniteSet(n_samples=10)]},
        ),
        (
            MultilinearSkills(n_skills=5, n_steps=20),
            {"record": [[0, 20]]},
            {"record": [[0, 7, 20], [0, 20]]},
        ),
        (
            MultilinearSkills(n_skills=5, n_steps=20),
            {"n_parameters": [2, 3]},
            {"n_parameters": [5, 2, 3]},
        ),
    ],
    ids=["static", "objects", "ragged", "size"],
)
def test_every_kind_of_axis_extends(tmp_path, system, part, larger):
    small = js.run(js.Grid(system, part, seeds=3), store=tmp_path / "a.zarr")
    grid = js.Grid(system, larger, seeds=3)
    runs = js.run(grid, store=tmp_path / "a.zarr")
    assert runs.identical(js.open_store(tmp_path / "a.zarr"))
    assert_close(runs, js.run(grid), **CLOSE)
    (name,) = part
    matching = runs.sel({name: small[name].values}).sel(step=small["step"])
    for variable in small.data_vars:
        dims = small[variable].dims
        values = matching[variable]
        if "skill" in dims:
            values = values.sel(skill=small["skill"])
        np.testing.assert_array_equal(values.transpose(*dims), small[variable])


@pytest.mark.parametrize(
    "other",
    [
        js.Grid(SYSTEM, LARGER.axes, seeds=4, key=1),
        js.Grid(js.replace(SYSTEM, "target_scale", 2.0), LARGER.axes, seeds=4),
        js.Grid(js.replace(SYSTEM, "n_steps", 60), LARGER.axes, seeds=4),
        js.Grid(js.replace(SYSTEM, "data.n_samples", 31), LARGER.axes, seeds=4),
        js.Grid(SYSTEM, {"learning_rate": [0.1, 0.3]}, seeds=4),
        js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2, 0.3]}, seeds=[1, 2]),
        js.Grid(SYSTEM, {"target_scale": [1.0, 2.0]}, seeds=4),
        js.Grid(js.replace(SYSTEM, "learning_rate", 0.1), seeds=4),
    ],
    ids=["key", "field", "static", "nested", "axis", "seeds", "other-axis", "no-axis"],
)
def test_what_is_no_extension_is_refused(path, log, other):
    before = files_under(path.parent)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.run(other, store=path)
    assert str(path) in str(caught.value)
    assert files_under(path.parent) == before
    assert not log.exists()


def test_a_part_of_a_store_is_read_not_run(of_larger, tmp_path, log):
    path = Path(shutil.copytree(of_larger, tmp_path / "a.zarr"))
    before = files_under(tmp_path)
    with pytest.raises(ValueError, match="`store`") as caught:
        js.run(PART, store=path)
    assert "js.open_store" in str(caught.value)
    assert "sel" in str(caught.value)
    assert files_under(tmp_path) == before
    assert not log.exists()


@pytest.mark.slow
def test_an_unfinished_part_is_extended(path, of_part, of_larger, log):
    root = zarr.open_group(path, mode="r+")
    root["done"][1] = False
    root.update_attributes({"complete": 0})
    done = runs_done(js.open_store(path))
    assert len(done) == 2
    runs = js.run(js.plan(LARGER, **CUT), store=path)
    assert set(logged_runs(log, LARGER)) == set(runs_of(LARGER)) - done
    assert_close(runs, js.open_store(of_larger), **CLOSE)
    assert runs.attrs["complete"] == 1


@pytest.mark.parametrize(
    "writes", [10, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 25, 32, 40, 45))]
)
def test_an_extension_that_fails_damages_nothing(path, of_part, of_larger, monkeypatch, writes):
    """Whatever the number of writes after which the disk is full."""
    real, remaining = zarr.storage.LocalStore.set, [writes]

    async def set(self, key, *args, **kwargs):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await real(self, key, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", set)
        with pytest.raises((ValueError, OSError), match="`store`"):
            js.run(js.plan(LARGER, **CUT), store=path)
    assert remaining[0] < 0
    runs, part = js.open_store(path), js.open_store(of_part)
    assert runs.sizes["seed"] in (2, 4)
    assert_holds(runs, part)
    assert_close(js.run(js.plan(LARGER, **CUT), store=path), js.open_store(of_larger), **CLOSE)
    names = [p.name for p in path.parent.iterdir() if ".lock" not in p.name]
    assert names == ["a.zarr"]


def test_a_damaged_part_is_not_extended(path):
    file = path / "loss" / "c" / "1" / "0"
    file.write_bytes(file.read_bytes()[:-5])
    before = files_under(path.parent)
    with pytest.raises(ValueError, match="`store`"):
        js.run(LARGER, store=path)
    assert files_under(path.parent) == before


BEFORE = js.Grid(DRAWN, {"learning_rate": [0.1, 0.2]}, seeds=16)
AFTER = js.Grid(DRAWN, {"learning_rate": [0.2, 0.3, 0.1]}, seeds=range(20, -1, -1))


def _killed_extensions(folder, seed, n_kills):
    """Kill extensions at random moments; the kills that left the part, and those after it."""
    rng, parts, wholes = np.random.default_rng(seed), 0, 0
    folder.mkdir()
    outcome, log, path = folder / "outcome", folder / "log", folder / "a.zarr"

    def request(name, grid, sleep=0.002):
        outcome.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        environment = {"COUNTED_LOG": str(log), "COUNTED_SLEEP": str(sleep)}
        return {
            "store": str(folder / name), "grid": grid.to_dict(), "chunk": 4,
            "outcome": str(outcome), "environment": environment,
        }  # fmt: skip

    with Server() as server:
        assert server.finish(**request("part.zarr", BEFORE)) == 0
        assert server.finish(**request("larger.zarr", AFTER)) == 0
        part, reference = js.open_store(folder / "part.zarr"), js.open_store(folder / "larger.zarr")
        shutil.copytree(folder / "part.zarr", path)
        server.start(**request("a.zarr", AFTER))
        when(outcome.exists)
        began = time.perf_counter()
        assert server.wait() == 0
        span = time.perf_counter() - began  # of an extension that nobody kills, on this machine
        while parts + wholes < n_kills:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(folder / "part.zarr", path)
            for early in rng.permutation([True, False]):  # the second finds what the first left
                pid = server.start(**request("a.zarr", AFTER))
                when(outcome.exists)
                time.sleep(span * (rng.uniform(0.0, 0.1) if early else rng.uniform(0.1, 0.8)))
                with contextlib.suppress(ProcessLookupError):  # it was done before
                    os.kill(pid, signal.SIGKILL)
                if server.wait() == 0:
                    break
                if not path.exists():  # between two renamings: the next call puts it back
                    parts += 1
                    continue
                runs = js.open_store(path)
                assert runs.sizes["seed"] in (16, 21)
                assert_holds(runs, part)
                parts += runs.sizes["seed"] == 16
                wholes += runs.sizes["seed"] == 21
            assert server.finish(**request("a.zarr", AFTER, sleep=0.0)) == 0, outcome.read_text()
            assert not set(logged_runs(log, AFTER)) & set(runs_of(BEFORE))
            runs = js.open_store(path)
            assert runs.attrs["complete"] == 1
            assert_holds(runs, part)
            assert_close(runs, reference, **CLOSE)
            names = {p.name for p in folder.iterdir() if ".lock" not in p.name}
            assert names - {"log"} == {"a.zarr", "part.zarr", "larger.zarr", "outcome"}
    return parts, wholes


@pytest.mark.slow
def test_killed_extensions(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(_killed_extensions, tmp_path / str(s), s, 6) for s in (0, 1)]
        parts, wholes = np.sum([job.result() for job in jobs], axis=0)
    assert parts >= 1
    assert wholes >= 1


def test_all_differences_of_another_grid_are_listed(path):
    other = js.replace(js.replace(SYSTEM, "data.n_samples", 31), "n_steps", 60)
    grid = js.Grid(other, {"learning_rate": [0.1, 0.3]}, seeds=2, key=3)
    with pytest.raises(ValueError, match="another grid") as caught:
        js.run(grid, store=path)
    assert (
        "(its key is 0, not 3; `learning_rate` has the value 0.2 there; its system differs: it has "
        f"data.n_samples 30, not 31; it has n_steps {SYSTEM.n_steps}, not 60; read it with "
        "js.open_store and Dataset.sel); nothing"
    ) in str(caught.value)


def test_many_differences_are_counted():
    fields = {"n_skills": 5, "skill_exponent": 0.9, "target_scale": 2.0, "initial_strength": 0.2}
    one = two = js.emergence.MultilinearSkills(n_skills=3, n_steps=20, learning_rate=0.1)
    for name, value in {**fields, "learning_rate": 0.3}.items():
        two = js.replace(two, name, value)
    part, larger = js.Grid(one, seeds=6), js.Grid(two, seeds=1, key=1)
    with pytest.raises(ValueError, match=r"`seed` has the values 1, 2, 3, \.\.\. there") as caught:
        match_runs(part, larger, Path("a.zarr"))
    assert "; and 2 differences more; read it with" in str(caught.value)
    named = [name for name in (*fields, "learning_rate") if f"it has {name} " in str(caught.value)]
    assert len(named) == 3
    network = js.Grid(js.emergence.ParityNetwork(), {"width": [8, 16]})
    words = r"another grid \(`width` is no field of it; .*it is emergence\.MultilinearSkills, not "
    with pytest.raises(ValueError, match=words):
        match_runs(js.Grid(one), network, Path("a.zarr"))
    often = js.Grid(js.replace(one, "record", list(range(21))))
    with pytest.raises(ValueError, match=r"record None, not \[0, 1, \.\.\., 20\] of 21 values\);"):
        match_runs(js.Grid(one), often, Path("a.zarr"))
    longer = js.Grid(js.replace(one, "n_steps", 30))
    with pytest.raises(
        ValueError, match=r"n_steps 20, not 30; train longer first, then add runs\)"
    ):
        match_runs(js.Grid(one), longer, Path("a.zarr"))
    with pytest.raises(
        ValueError, match=r"record None, not .*; train longer first, then add runs\)"
    ):
        match_runs(js.Grid(one), js.Grid(one).longer(60).replace(seeds=5), Path("a.zarr"))
