"""Cases in which a store once told something else than what had been computed."""

import contextlib
import errno
import json
import os
import shutil
import stat

import numpy as np
import pytest
import zarr

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online
from jaxscale.fields import Real, real
from jaxscale.sweep import _execute as execute, _layout as layout

SYSTEM = MultilinearSkills(n_skills=3, n_steps=5, data=FiniteSet(n_samples=10))
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "a.zarr"
    js.run(js.plan(GRID, max_runs_per_chunk=2), store=path)
    return path


@pytest.fixture
def path(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "a.zarr")


def test_a_value_set_through_an_axis_is_not_that_of_the_system(tmp_path):
    path = tmp_path / "a.zarr"
    js.run(js.Grid(SYSTEM, {"data": [FiniteSet(n_samples=1000)]}, seeds=2), store=path)
    grid = js.Grid(SYSTEM, {"data.n_samples": [10, 1000]}, seeds=2)
    assert js.run(grid, store=path).equals(js.run(grid))
    path = tmp_path / "b.zarr"
    js.run(js.Grid(SYSTEM, {"data.n_samples": [99]}, seeds=2), store=path)
    with pytest.raises(ValueError, match=r"another grid \(`data` has the value FiniteSet"):
        js.run(js.Grid(SYSTEM, {"data": [FiniteSet(n_samples=10), Online()]}), store=path)


class Optional(MultilinearSkills):
    """A number that a grid may also leave out: such an axis needs a program per value."""

    extra: Real | None = real(None, optional=True)

    def observe(self, state):
        shift = 0.0 if self.extra is None else self.extra
        observed = super().observe(state)
        return observed | {"loss": observed["loss"] + shift}


def test_a_program_of_several_structures_is_refused(tmp_path, monkeypatch):
    path, system = tmp_path / "a.zarr", Optional(n_skills=3, n_steps=5)
    js.run(js.Grid(system, {"extra": [1.0, 2.0]}, seeds=2), store=path)
    with pytest.raises(ValueError, match=r"`store` .*need several in the new grid"):
        js.run(js.Grid(system, {"extra": [1.0, 2.0, None]}, seeds=2), store=path)
    assert js.open_store(path).sizes["extra"] == 2


def test_a_link_to_a_store_is_that_store(path, tmp_path):
    link = tmp_path / "link.zarr"
    link.symlink_to(path)
    more = js.Grid(SYSTEM, GRID.axes, seeds=3)
    assert js.run(more, store=link).sizes["seed"] == 3
    assert link.is_symlink()
    assert js.open_store(path).sizes["seed"] == 3
    assert js.run(more, store=link).equals(js.open_store(path))


def test_runs_that_lost_their_names_are_not_read(path):
    os.remove(path / "run_id" / "c" / "0")
    for call in (lambda: js.open_store(path), lambda: js.run(GRID, store=path)):
        with pytest.raises(ValueError, match=r"`store` .*'run_id'"):
            call()


def test_a_mark_that_cannot_be_read_marks_nothing(path):
    before = js.open_store(path)
    (path / "done" / "c" / "0").write_bytes(b"")
    assert int((js.open_store(path).status < 0).sum()) == 2
    assert js.run(GRID, store=path).equals(before)


@pytest.mark.parametrize("name", ["run_id", "loss"])
def test_an_empty_file_is_damage(path, name):
    chunk = path / name / "c" / "0"
    (chunk / "0" if name == "loss" else chunk).write_bytes(b"")
    with pytest.raises(ValueError, match=f"`store` .*'{name}'.*damaged"):
        js.open_store(path)


@pytest.mark.parametrize("name", ["", "loss", "done", "run_id", "step"])
@pytest.mark.parametrize("text", [None, "null", '"a"'])
def test_a_cut_header_is_damage(path, name, text):
    header = path / name / "zarr.json"
    header.write_text(header.read_text()[:100] if text is None else text)
    place = f"'{name}'" if name else r"its zarr\.json"
    for call in (lambda: js.open_store(path), lambda: js.run(GRID, store=path)):
        with pytest.raises(ValueError, match=f"`store` .*cannot be read at {place}"):
            call()


def test_a_mark_that_the_file_system_refuses_may_be_sound(path, monkeypatch):
    mark, read = path / "done" / "c" / "1", zarr.Array.__getitem__

    def refused(self, which):
        if self.path == "done":
            raise OSError(errno.EMFILE, "Too many open files")
        return read(self, which)

    monkeypatch.setattr(zarr.Array, "__getitem__", refused)
    for call in (lambda: js.open_store(path), lambda: js.run(js.Grid(SYSTEM, seeds=3), store=path)):
        with pytest.raises(ValueError, match=r"`store` .*'done' .*Too many open files\)\.$"):
            call()
    monkeypatch.undo()
    assert mark.is_file()
    assert js.open_store(path).attrs["complete"] == 1


def test_the_working_directory_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="`store` must not be the working directory"):
        js.run(GRID, store=".")
    assert not list(tmp_path.joinpath("here").iterdir())


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch):
    flush = os.fsync

    def refuse(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(file)

    monkeypatch.setattr(os, "fsync", refuse)
    runs = js.run(GRID, store=tmp_path / "b.zarr")
    assert js.open_store(tmp_path / "b.zarr").identical(runs)


def test_results_of_another_precision_are_not_mixed(path):
    for grid in (GRID, js.Grid(SYSTEM, GRID.axes, seeds=3)):  # complete, and to be extended
        plan = js.plan(grid, matmul_precision="bfloat16")
        with pytest.raises(ValueError, match=r"`store` .*'float32', got 'bfloat16'"):
            js.run(plan, store=path)


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_store_between_two_renamings_is_still_there(path, made_anew):
    before = js.open_store(path)
    path.rename(path.with_name(".a.zarr.previous"))
    if made_anew:  # by a script that begins with mkdir
        path.mkdir()
    assert js.open_store(path).equals(before)
    assert js.run(GRID, store=path).identical(before)  # with its session: nothing is computed
    assert path.is_dir()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "not allowed"])
def test_a_store_that_was_deleted_by_half_is_no_store(path, monkeypatch, is_killed):
    """What an extension has replaced is not taken for the store when that is deleted by hand."""
    larger = js.Grid(SYSTEM, GRID.axes, seeds=3)

    deleted = shutil.rmtree

    def stops(folder, *others, **options):
        if ".removed-" not in str(folder):  # of somebody else
            return deleted(folder, *others, **options)
        for file in folder.glob("loss/c/**/*"):
            file.is_file() and file.unlink()
        if is_killed and folder.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stops)
        with pytest.raises(KeyboardInterrupt) if is_killed else contextlib.nullcontext():
            js.run(larger, store=path, progress=False)
    assert len(list(path.parent.glob(".a.zarr.removed-*"))) == 1
    shutil.rmtree(path)
    with pytest.raises(ValueError, match="does not exist"):
        js.open_store(path)
    assert js.run(larger, store=path).equals(js.run(larger))
    assert [p.name for p in path.parent.glob(".*")] == [".a.zarr.lock"]


def test_a_neighbour_with_a_longer_name_is_not_touched(path):
    for name in (".a.zarr.newer", ".a.zarr.new-x.previous", ".a.zarr.removed-1"):
        (path.parent / name).mkdir()
    js.run(js.Grid(SYSTEM, GRID.axes, seeds=3), store=path)
    assert len(list(path.parent.glob(".a.zarr.[nr]*"))) == 3


def test_what_zarr_had_begun_to_write_is_deleted(path):
    zarr.open_group(path, mode="r+")["done"][1] = False
    begun = [path / "loss/c/1/0.c0ffee.partial", path / "status/c/1.c0ffee.partial"]
    for file in begun:
        file.write_bytes(b"half of it")
    with pytest.raises(ValueError, match="holds the results of another grid"):
        js.run(js.Grid(SYSTEM, GRID.axes, seeds=2, key=1), store=path)
    assert all(file.exists() for file in begun)  # a refusal changes nothing
    js.run(js.plan(GRID, max_runs_per_chunk=1), store=path)
    assert not list(path.rglob("*.partial"))


def test_a_store_is_complete_when_nothing_is_left(path):
    """Whatever the attribute says: another order of the axes runs nothing; a kill can come late."""
    order = js.Grid(SYSTEM, {"learning_rate": [0.2, 0.1]}, seeds=2)
    assert js.run(order, store=path).attrs["complete"] == 1
    zarr.open_group(path, mode="r+").update_attributes({"complete": 0})
    assert js.run(order, store=path).attrs["complete"] == 1


def test_the_seconds_of_a_session_are_on_disk_while_it_runs(tmp_path, monkeypatch):
    """A kill leaves what was recorded last, also in the middle of a chunk."""
    path, recorded, compute = tmp_path / "a.zarr", [], execute.compute

    def slow(*arguments, compiled, **named):
        compiled(7.0)
        while (
            len({r["wall_seconds"] for r in recorded}) < 2 or recorded[-1]["compile_seconds"] < 7.0
        ):
            recorded.append(json.loads(js.open_store(path).attrs["sessions"])[-1])
        return compute(*arguments, compiled=compiled, **named)

    monkeypatch.setattr(execute, "RECORD_SECONDS", 0.01)
    monkeypatch.setattr(execute, "compute", slow)
    js.run(js.plan(GRID, max_runs_per_chunk=2), store=path)
    assert recorded[-1]["wall_seconds"] > recorded[0]["wall_seconds"]
    assert not any(session["complete"] for session in recorded)


def test_a_session_is_written_when_it_begins(path, monkeypatch):
    written, run = [], execute.Session.run

    def looking(self, shown):
        written.append(json.loads(js.open_store(path).attrs["sessions"]))
        return run(self, shown)

    monkeypatch.setattr(execute.Session, "run", looking)
    js.run(js.Grid(SYSTEM, GRID.axes, seeds=3), store=path)
    assert [[s["complete"] for s in sessions] for sessions in written] == [[1, 0]]
    assert [s["complete"] for s in json.loads(js.open_store(path).attrs["sessions"])] == [1, 1]


def test_mixed_precision_keeps_the_wider():
    runs = js.run(js.Grid(SYSTEM, {"dtype": ["float32", "float64"]}))
    assert runs["loss"].dtype == np.float64
    wide = runs["loss"].sel(dtype="float64").values
    assert np.any(wide != wide.astype(np.float32))


def test_observables_of_other_dimensions_are_two_grids():
    solvers = [js.sparse.MinNorm(), js.sparse.GradientDescent(learning_rate=0.1, n_steps=5)]
    model = js.sparse.RandomFeatureRegression(
        n_features=4, n_samples=8, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    with pytest.raises(ValueError, match="'loss' one set of dimensions"):
        js.run(js.Grid(model, {"solver": solvers}))


@pytest.mark.parametrize("bad", ["s3://bucket/a.zarr", "", "a\0b", "x" * 300])
def test_what_is_no_path_is_refused(bad):
    with pytest.raises(ValueError, match="`store`"):
        js.run(GRID, store=bad)


def test_a_grid_of_a_billion_runs_is_refused_at_once():
    with pytest.raises(ValueError, match="`seeds` must be at most 1e8, got 1000000000"):
        js.Grid(SYSTEM, seeds=10**9)
    with pytest.raises(ValueError, match="`axes` and `seeds` must make at most 1e8 runs"):
        js.Grid(SYSTEM, {"learning_rate": np.linspace(0.1, 0.9, 600)}, seeds=200_000)


def test_large_runs_have_short_zarr_chunks(tmp_path, monkeypatch):
    plan = js.plan(js.Grid(SYSTEM, GRID.axes, seeds=6), max_runs_per_chunk=6)
    run_bytes = 4 * len(SYSTEM.record_steps) * 3
    assert layout.Layout.of(plan).shard_length == 6
    monkeypatch.setattr(layout, "ZARR_CHUNK_BYTES", 4 * run_bytes)
    assert layout.Layout.of(plan).shard_length == 3  # a divisor of the chunk: no padding, no copy
    monkeypatch.setattr(layout, "ZARR_CHUNK_BYTES", 1)
    assert layout.Layout.of(plan).shard_length == 1
    seven = js.plan(js.Grid(SYSTEM, seeds=7), max_runs_per_chunk=8)
    assert seven.buckets[0].chunk >= 7
    monkeypatch.setattr(layout, "ZARR_CHUNK_BYTES", 4 * run_bytes)
    assert layout.Layout.of(seven).shard_length == 4
    stored = js.run(seven, store=tmp_path / "a.zarr")
    assert stored.equals(js.run(seven))


def test_a_store_keeps_its_zarr_chunks(path, monkeypatch):
    """Whatever this version would choose: it is continued, read and extended as it was cut."""
    before = js.open_store(path)
    zarr.open_group(path, mode="r+")["done"][1] = False
    monkeypatch.setattr(layout, "ZARR_CHUNK_BYTES", 1)
    part = js.open_store(path)
    assert int((part.status < 0).sum()) == 2
    assert js.run(GRID, store=path).equals(before)
    assert zarr.open_group(path, mode="r").attrs["slots"] == 2
    more = js.Grid(SYSTEM, GRID.axes, seeds=3)
    assert js.run(more, store=path).sel(seed=[0, 1]).equals(before)
    assert zarr.open_group(path, mode="r").attrs["slots"] == 1
