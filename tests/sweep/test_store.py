"""Stores: what lies on disk, how a sweep continues, and what is refused."""

import collections
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from checks import count_chunks, files_under
from systems import FINITE as SYSTEM, ONLINE
from zarr.storage import LocalStore

import jaxscale as js
from jaxscale.emergence import FiniteSet, Online
from jaxscale.report._stored import shown_store
from jaxscale.sweep import (
    _bucket as bucket,
    _execute as execute,
    _reader as reader,
    _store as store,
)
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._local import LocalPlace
from jaxscale.sweep._lock import store_lock
from jaxscale.sweep._reader import StoreReader, open_root

GRID = js.Grid(SYSTEM, {"data.n_samples": [10, 40]}, seeds=3)


def test_layout_on_disk(tmp_path):
    path = tmp_path / "deep" / "a.zarr"
    js.run(js.plan(GRID, max_runs_per_chunk=4), store=path)
    root = zarr.open_group(path, mode="r")
    assert root.metadata.zarr_format == 3
    assert root.metadata.consolidated_metadata is None
    assert root["loss"].shape == (8, len(SYSTEM.record_steps))
    assert root["loss"].chunks == (4, len(SYSTEM.record_steps))
    assert root["loss"].metadata.dimension_names == ("run_slot", "step")
    assert root["skill_strength"].metadata.dimension_names == ("run_slot", "step", "skill")
    assert root["run_id"][:].tolist() == [0, 1, 2, 3, 4, 5, -1, -1]
    assert root["done"][:].tolist() == [True, True]
    assert sorted(p.name for p in path.parent.iterdir()) == [".a.zarr.lock", "a.zarr"]


def test_plain_xarray_reads_it(tmp_path):
    axes = {"data": [Online(), FiniteSet(n_samples=40)], "learning_rate": [0.1, 0.2]}
    runs = js.run(js.Grid(SYSTEM, axes, seeds=2), store=tmp_path / "a.zarr")
    plain = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert {"data", "learning_rate", "seed", "run_id", "step", "skill"} <= set(plain.coords)
    assert plain["loss"].attrs["units"] == "target²"
    for slot in range(plain.sizes["run_slot"]):
        row = plain.isel(run_slot=slot)
        if int(row["run_id"]) < 0:
            continue
        label, rate = str(row["data"].values), float(row["learning_rate"])
        selected = runs["loss"].sel(data=label, learning_rate=rate, seed=int(row["seed"]))
        np.testing.assert_array_equal(selected, row["loss"])


class Named(type(ONLINE)):
    """Its skills have names."""

    @property
    def schema(self):
        own, names = super().schema, np.asarray(["a", "bb", "ccc"])
        return js.Schema(own.observables, {**own.coordinates, "skill": names})


def test_names_in_a_schema_are_text_of_any_length(tmp_path, recwarn):
    grid, path = js.Grid(Named(n_skills=3, n_steps=5)), tmp_path / "a.zarr"
    for seeds in (1, 2):  # made, and extended
        runs = js.run(grid.replace(seeds=seeds), store=path, progress=False)
        assert runs["skill"].values.tolist() == ["a", "bb", "ccc"]
        assert zarr.open_group(path)["skill"].dtype == np.dtypes.StringDType()
    assert not [
        w for w in recwarn if issubclass(w.category, zarr.errors.UnstableSpecificationWarning)
    ]


@pytest.mark.parametrize(
    "axes",
    [
        {"data.n_samples": [10, 40]},
        {"data": [Online(), FiniteSet(n_samples=40)]},
        {"n_skills": [3, 5], "n_parameters": [2, 3]},
        {"n_parameters": [None, 3]},
    ],
    ids=["dotted", "objects", "ragged", "optional"],
)
def test_a_store_returns_what_memory_does(tmp_path, axes):
    grid = js.Grid(SYSTEM if "data.n_samples" in axes else ONLINE, axes, seeds=3, key=2)
    plan = js.plan(grid)
    memory, disk = js.run(plan), js.run(plan, store=tmp_path / "a.zarr")
    opened = js.open_store(str(tmp_path / "a.zarr"))
    assert disk.identical(opened)
    assert memory.equals(opened)
    for name in memory.variables:
        assert opened[name].attrs == memory[name].attrs
        assert opened[name].dtype == memory[name].dtype
    assert set(opened.attrs) == set(memory.attrs)


def test_an_interrupted_store_continues(tmp_path, monkeypatch):
    plan = js.plan(GRID, max_runs_per_chunk=2)
    reference = js.run(plan)
    with monkeypatch.context() as patch:
        assert len(count_chunks(patch, stop_after=1)) == 0
        with pytest.warns(UserWarning, match="2 of 6 runs are done; the same call continues"):
            part = js.run(plan, store=tmp_path / "a.zarr")
    assert part.attrs["complete"] == 0
    assert int((part["status"] == 0).sum()) == 2
    assert part.identical(js.open_store(tmp_path / "a.zarr"))
    computed = count_chunks(monkeypatch)
    done = js.run(plan, store=tmp_path / "a.zarr")
    assert computed == [(0, 1), (0, 2)]
    assert done.attrs["complete"] == 1
    assert done.equals(reference)
    js.run(plan, store=tmp_path / "a.zarr")
    assert len(computed) == 2


def test_a_store_continues_in_its_own_chunks(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        count_chunks(patch, stop_after=2)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C"):
            js.run(js.plan(GRID, max_runs_per_chunk=2), store=tmp_path / "a.zarr")
    computed = count_chunks(monkeypatch)
    done = js.run(GRID, store=tmp_path / "a.zarr")
    assert computed == [(0, 2)]
    assert done["status"].values.tolist() == [[0] * 3] * 2
    (bucket,) = json.loads(done.attrs["plan"])["buckets"]
    assert bucket["runs_per_chunk"] == 2


def test_a_lost_chunk_is_computed_again(tmp_path, monkeypatch):
    plan = js.plan(GRID, max_runs_per_chunk=2)
    reference = js.run(plan, store=tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="r+")["done"][1] = False
    assert np.isnan(js.open_store(tmp_path / "a.zarr")["loss"]).any()
    computed = count_chunks(monkeypatch)
    assert js.run(plan, store=tmp_path / "a.zarr").equals(reference)
    assert computed == [(0, 1)]


@pytest.mark.parametrize(
    "other",
    [
        js.Grid(SYSTEM, {"data.n_samples": [10, 41]}, seeds=3),
        js.Grid(SYSTEM, {"data.n_samples": [10, 40]}, seeds=3, key=1),
        js.Grid(js.replace(SYSTEM, "learning_rate", 0.2), {"data.n_samples": [10, 40]}, seeds=3),
    ],
    ids=["axis", "key", "system"],
)
def test_another_grid_is_refused(tmp_path, other):
    store.create(LocalPlace(tmp_path / "a.zarr"), Layout.of(js.plan(GRID)))
    before = js.open_store(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="another grid"):
        js.run(other, store=tmp_path / "a.zarr")
    assert js.open_store(tmp_path / "a.zarr").identical(before)


def test_foreign_paths_are_refused(tmp_path):
    folder, file, group = tmp_path / "folder", tmp_path / "file", tmp_path / "group"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    file.write_text("mine")
    zarr.open_group(group, mode="w", attributes={"jaxscale_format": 99})
    is_file = "not a jaxscale|must be a folder"
    for path, words in ((folder, "not a jaxscale"), (file, is_file), (group, "format 99")):
        for call in (
            lambda path=path: js.run(GRID, store=path),
            lambda path=path: js.open_store(path),
        ):
            with pytest.raises(ValueError, match=words) as caught:
                call()
            assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="missing"):
        js.open_store(tmp_path / "missing")
    assert (folder / "precious").read_text() == file.read_text() == "mine"
    assert [p.name for p in folder.iterdir()] == ["precious"]


def test_an_empty_folder_becomes_a_store(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    runs = js.run(GRID, store=tmp_path / "a.zarr")
    assert js.open_store(tmp_path / "a.zarr").identical(runs)


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"`store`.*must be a folder: .*file is a file"):
        js.run(GRID, store=tmp_path / "file" / "a.zarr")


def fail(*_):
    raise OSError("disk is full")


@pytest.mark.parametrize("step", ["rename", "header"])
def test_a_failed_creation_leaves_nothing(tmp_path, monkeypatch, step):
    if step == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    else:
        monkeypatch.setattr(store, "_columns", fail)
    with pytest.raises(ValueError, match=r"a\.zarr cannot be written .*disk is full"):
        js.run(GRID, store=tmp_path / "a.zarr")
    assert [p.name for p in tmp_path.iterdir()] == [".a.zarr.lock"]


def test_an_error_while_writing_leaves_the_chunk_undone(tmp_path, monkeypatch):
    def failing(self, *arguments):
        self.root["loss"][:] = 0.0
        raise ValueError("half of it is written")

    plan = js.plan(GRID)
    with monkeypatch.context() as patch:
        patch.setattr(store.ZarrStore, "write", failing)
        with pytest.raises(ValueError, match="half of it"):
            js.run(plan, store=tmp_path / "a.zarr")
    assert np.isnan(js.open_store(tmp_path / "a.zarr")["loss"]).all()
    assert js.run(plan, store=tmp_path / "a.zarr").equals(js.run(plan))


@pytest.fixture
def empty(tmp_path):
    """A store of which nothing is done."""
    layout, place = Layout.of(js.plan(GRID)), LocalPlace(tmp_path / "a.zarr")
    store.create(place, layout)
    return store.ZarrStore(place, layout)


RECORD = {"wall_seconds": 1.0, "complete": 0}


def test_a_record_is_on_the_disk(empty, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    empty.record(RECORD)
    header = empty.place.path / "zarr.json"
    assert synced == [header.stat().st_ino, empty.place.path.stat().st_ino]
    assert zarr.open_group(empty.place.path, mode="r").attrs["wall_seconds"] == 1.0


def test_a_record_that_fails_leaves_the_one_before(empty, monkeypatch):
    empty.record(RECORD)
    before = files_under(empty.place.path.parent)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ValueError, match="disk is full"):
        empty.record({**RECORD, "wall_seconds": 2.0})
    assert files_under(empty.place.path.parent) == before


def test_ctrl_c_while_a_store_is_cut_anew_waits(tmp_path, monkeypatch):
    relaid, record, recorded = store.ZarrStore.relaid, store.ZarrStore.record, []

    def interrupted(self, layout):
        before = len(recorded)
        new = relaid(self, layout)
        time.sleep(0.05)
        assert len(recorded) == before  # the thread would write the old header
        signal.raise_signal(signal.SIGINT)
        return new

    def counted(self, provenance):
        recorded.append(1)
        record(self, provenance)

    plan = js.plan(GRID, max_runs_per_chunk=2)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "RECORD_SECONDS", 0.001)
        patch.setattr(store.ZarrStore, "record", counted)
        patch.setattr(store.ZarrStore, "relaid", interrupted)
        patch.setattr(execute, "recut", lambda b, *_: dataclasses.replace(b, chunk=b.n_runs))
        with pytest.warns(UserWarning, match="stopped by Ctrl-C: 0 of 6 runs"):
            part = js.run(plan, store=tmp_path / "a.zarr")
    assert part.attrs["complete"] == 0
    (bucket,) = json.loads(part.attrs["plan"])["buckets"]
    assert bucket["runs_per_chunk"] == 6
    assert js.run(plan, store=tmp_path / "a.zarr").equals(js.run(plan))


def test_what_a_kill_left_is_removed(tmp_path):
    (tmp_path / ".a.zarr.new" / "loss").mkdir(parents=True)
    store.create(LocalPlace(tmp_path / "a.zarr"), Layout.of(js.plan(GRID)))
    (tmp_path / ".a.zarr.new-0a1b2c3d" / "loss").mkdir(parents=True)
    js.run(GRID, store=tmp_path / "a.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.zarr.lock", "a.zarr"]


def test_every_header_is_read_once(tmp_path, monkeypatch):
    """A request each, where a store lies in a bucket."""
    js.run(GRID, store=tmp_path / "a.zarr")
    read, get = collections.Counter(), LocalStore.get

    async def counted(self, key, *arguments, **named):
        read[key] += 1
        return await get(self, key, *arguments, **named)

    monkeypatch.setattr(LocalStore, "get", counted)
    js.open_store(tmp_path / "a.zarr")
    headers = {key: n for key, n in read.items() if key.endswith("zarr.json")}
    assert {"zarr.json", "run_id/zarr.json", "loss/zarr.json"} <= headers.keys()
    assert set(headers.values()) == {1}


def test_a_store_that_is_replaced_while_it_is_opened_is_refused(empty, monkeypatch):
    def replaced(place):
        opened = open_root(place)
        empty.relaid(empty.layout)
        return opened

    monkeypatch.setattr(reader, "open_root", replaced)
    with pytest.raises(ValueError, match="was replaced since it was opened; open it again"):
        js.open_store(empty.place.path)


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(tmp_path, monkeypatch):
    runs = js.run(GRID, store=tmp_path / "a.zarr")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert js.run(GRID, store=tmp_path / "a.zarr").equals(runs)  # complete: it is only read
    with pytest.raises(ValueError, match=r"b\.zarr cannot be written: permission denied"):
        js.run(GRID, store=tmp_path / "b.zarr")


def test_a_stored_plan_keeps_the_bound_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "cached_group", lambda *_: 1)
    plan = js.plan(GRID)
    store.create(LocalPlace(tmp_path / "a.zarr"), Layout.of(plan))
    single = js.plan(GRID, memory=js.plan(GRID, max_runs_per_chunk=1).bytes_per_device)
    assert single.bytes_per_device < plan.bytes_per_device
    stored = StoreReader(LocalPlace(tmp_path / "a.zarr")).plan(single.options)
    assert stored.bytes_per_device == single.bytes_per_device


def test_a_session_is_shown_as_it_is(empty):
    shutil.copytree(empty.place.path, store.sibling_path(empty.place.path, "previous"))
    empty.record({**RECORD, "compile_seconds": 0.0, "versions": '{"jaxscale": "1"}'})
    with store_lock(empty.place.path):
        grid, sessions = shown_store(empty.place.path.parent)[0]
    assert "6 runs: 6 not run." in str(grid)
    assert "6 runs remain; a session is running." in str(grid)
    assert sessions.rows[0][-1] == "running"
    _, sessions = shown_store(empty.place.path)[0]
    assert sessions.rows[0][-1] == "stopped"  # older sessions do not say whether they ended
    empty.record({**RECORD, "ended": 0, "compile_seconds": 0.0, "versions": '{"jaxscale": "1"}'})
    _, sessions = shown_store(empty.place.path)[0]
    assert sessions.rows[0][-1] == "killed"


def test_what_ctrl_c_finds_being_written_is_finished(tmp_path, monkeypatch):
    write, main = store.ZarrStore.write, threading.main_thread().ident

    def interrupted(self, bucket, chunk, *arguments):
        for _ in range(3 if chunk == 0 else 0):  # impatiently
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.2)
        write(self, bucket, chunk, *arguments)

    plan = js.plan(GRID, max_runs_per_chunk=2)
    with monkeypatch.context() as patch:
        patch.setattr(store.ZarrStore, "write", interrupted)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C: 2 of 6 runs"):
            part = js.run(plan, store=tmp_path / "a.zarr")
    assert part.attrs["complete"] == 0
    assert int((part["status"] == 0).sum()) == 2
    assert part.identical(js.open_store(tmp_path / "a.zarr"))
    assert js.run(plan, store=tmp_path / "a.zarr").equals(js.run(plan))


def test_the_old_name_of_open_store_warns(tmp_path):
    js.run(GRID, store=tmp_path / "a.zarr")
    with pytest.warns(DeprecationWarning, match="js.open_store"):
        runs = js.open(tmp_path / "a.zarr")
    assert runs.identical(js.open_store(tmp_path / "a.zarr"))
