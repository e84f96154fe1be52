"""Results larger than the memory: they stay on disk and are read where they are looked at."""

import pickle
import shutil
from typing import ClassVar

import jax
import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st

import jaxscale as js
from jaxscale import _devices as devices, _targets as targets
from jaxscale.sweep import _execute as execute, _reader as reader
from jaxscale.sweep._local import LocalPlace
from jaxscale.sweep._variable import StoredVariable

SYSTEM = js.emergence.MultilinearSkills(n_skills=3, n_steps=5, record=[0, 2, 5])
AXES = {"learning_rate": [0.1, 0.2, 0.3], "n_parameters": [1, 3]}
GRID = js.Grid(SYSTEM, AXES, seeds=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("larger") / "a.zarr"
    js.run(js.plan(GRID, max_runs_per_chunk=4), store=path)
    return path


@pytest.fixture(scope="module")
def loaded(path):
    return js.open_store(path)


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(reader.Layout, "result_bytes", np.inf)


@pytest.fixture
def reads(monkeypatch):
    """Name, first and last slot of everything that is read."""
    requests, read = [], reader.StoreReader.read

    def counted(self, name, first, last):
        requests.append((name, first, last))
        return read(self, name, first, last)

    monkeypatch.setattr(reader.StoreReader, "read", counted)
    return requests


def test_results_that_fit_are_loaded(path, reads):
    runs = js.open_store(path)
    assert {name for name, _, _ in reads} == set(runs.data_vars)
    reads.clear()
    runs.load()
    assert not reads


def test_nothing_is_read_before_it_is_used(path, loaded, no_memory, reads):
    runs = js.open_store(path)
    assert not reads
    assert runs.loss.shape == loaded.loss.shape
    one = runs.loss.sel(learning_rate=0.2, n_parameters=3, seed=[1, 2])
    assert not reads
    np.testing.assert_array_equal(
        one, loaded.loss.sel(learning_rate=0.2, n_parameters=3, seed=[1, 2])
    )
    slots = {slot for name, first, last in reads for slot in range(first, last)}
    assert {name for name, _, _ in reads} == {"loss"}
    assert len(slots) == 4  # the one chunk that holds these two runs


def test_everything_read_is_what_was_computed(path, loaded, no_memory, reads):
    runs = js.open_store(path)
    assert runs.identical(loaded)
    assert runs.load().identical(loaded)
    reads.clear()
    assert runs.identical(loaded)
    assert not reads


def test_assigning_changes_the_dataset_and_not_the_store(path, loaded, no_memory):
    runs = js.open_store(path)
    runs["loss"][0, 0, 0] = 7.0
    assert (runs.loss[0, 0, 0] == 7.0).all()
    assert runs.loss[1:].equals(loaded.loss[1:])
    assert js.open_store(path).identical(loaded)


def test_reading_in_small_parts_changes_nothing(path, loaded, no_memory, monkeypatch):
    monkeypatch.setattr(reader, "READ_AT_ONCE", 1)
    assert js.open_store(path).identical(loaded)


@st.composite
def outer_keys(draw, shape):
    """Per axis a number, a slice of any step, or a list with repetitions in any order."""
    key = []
    for n in shape:
        ends = st.none() | st.integers(-n - 1, n + 1)
        step = st.sampled_from([None, 1, 2, -1, -2])
        numbers = st.lists(st.integers(0, n - 1), max_size=4).map(lambda x: np.array(x, int))
        key.append(draw(st.integers(0, n - 1) | st.builds(slice, ends, ends, step) | numbers))
    return tuple(key)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_index_is_that_of_numpy(path, loaded, data):
    name = data.draw(st.sampled_from(["loss", "skill_strength", "status"]))
    stored = reader.StoreReader(LocalPlace(path))
    lazy = StoredVariable(
        stored.of_runs, reader.Layout.of(stored.plan(reader.Options()), stored.shard_length), name
    )
    key = data.draw(outer_keys(lazy.shape))
    expected = loaded[name].values
    dropped = 0
    for axis, k in enumerate(key):
        expected = expected[(slice(None),) * (axis - dropped) + (k,)]
        dropped += isinstance(k, int)
    np.testing.assert_array_equal(lazy.read(key), expected)


def test_unfinished_runs_are_missing(path, loaded, no_memory, tmp_path, reads):
    part = tmp_path / "part.zarr"
    plan = js.plan(GRID, max_runs_per_chunk=4)
    js.run(plan, store=part)
    zarr.open_group(part, mode="r+")["done"][1:3] = False
    runs = js.open_store(part)
    assert runs.attrs["complete"] == 0
    finished = (runs.status >= 0).load()
    assert int(finished.sum()) == GRID.n_runs - 8
    np.testing.assert_array_equal(runs.loss, loaded.loss.where(finished))


def test_a_run_returns_them_unread(tmp_path, no_memory, loaded, reads):
    runs = js.run(GRID, store=tmp_path / "a.zarr")
    assert [name for name, *_ in reads] == ["status"]  # of which those that failed are counted
    assert runs.equals(loaded)


def test_a_store_that_was_replaced_is_not_misread(tmp_path, no_memory):
    path = tmp_path / "a.zarr"
    runs = js.run(GRID, store=path)
    js.run(js.Grid(SYSTEM, AXES, seeds=5), store=path)
    with pytest.raises(ValueError, match=r"`store` .*was replaced since it was opened"):
        runs.loss.load()
    assert js.open_store(path).sizes["seed"] == 5


def test_a_store_that_is_continued_stays_as_it_was_opened(tmp_path, no_memory):
    path = tmp_path / "a.zarr"
    plan = js.plan(GRID, max_runs_per_chunk=4)
    complete = js.run(plan, store=path).load()
    zarr.open_group(path, mode="r+")["done"][1] = False
    early = js.open_store(path)
    js.run(plan, store=path)
    assert int(np.isnan(early.loss.isel(step=0)).sum()) == 4
    assert js.open_store(path).equals(complete)


def test_parts_are_reduced_one_by_one(path, loaded, no_memory, reads):
    pytest.importorskip("dask")
    parts = js.open_store(path).loss.chunk({"learning_rate": 1})
    mean = parts.mean("seed")
    assert not reads
    np.testing.assert_allclose(mean, loaded.loss.mean("seed"), rtol=1e-6)


def test_it_travels_to_another_process(path, tmp_path, loaded, no_memory):
    assert pickle.loads(pickle.dumps(js.open_store(path))).identical(loaded)
    returned = js.run(js.plan(GRID), store=tmp_path / "a.zarr")
    assert pickle.loads(pickle.dumps(returned)).equals(loaded)


def test_another_working_folder_changes_nothing(path, loaded, no_memory, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    runs = js.open_store(path.name)
    monkeypatch.chdir(tmp_path)
    assert runs.identical(loaded)


def test_a_store_that_was_removed_is_reported(path, tmp_path, no_memory):
    copy = shutil.copytree(path, tmp_path / "a.zarr")
    runs = js.open_store(copy)
    shutil.rmtree(copy)
    with pytest.raises(ValueError, match=r"`store` .*is no longer there"):
        runs.loss.load()


class Changing(js.emergence.MultilinearSkills):
    """A user's class that is edited between two sessions."""

    recorded: ClassVar = slice(None)

    @property
    def record_steps(self):
        return super().record_steps[self.recorded]


@pytest.mark.parametrize("recorded", [slice(1, None), slice(None, -1)])
@pytest.mark.parametrize("call", ["open", "run"])
def test_a_class_that_was_edited_is_not_misread(tmp_path, monkeypatch, recorded, call):
    grid = js.Grid(Changing(n_skills=3, n_steps=5, record=[0, 2, 5]), seeds=2)
    js.run(grid, store=tmp_path / "a.zarr")
    monkeypatch.setattr(Changing, "recorded", recorded)
    with pytest.raises(ValueError, match=r"`store` .*its class was changed"):
        js.open_store(tmp_path / "a.zarr") if call == "open" else js.run(
            grid, store=tmp_path / "a.zarr"
        )


def test_without_a_store_they_are_refused(monkeypatch):
    monkeypatch.setattr(execute, "host_memory", lambda: 1000.0)
    plan = js.plan(GRID)
    monkeypatch.setattr(execute, "make_plan", lambda _: pytest.fail("it was planned"))
    for grid in (GRID, plan):
        with pytest.raises(ValueError, match=r"`store` must be given: the results take .* GB"):
            js.run(grid)


# how much memory there is


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/job/step", "", "memory.max"),
        ("0::/job/step", "unified", "memory.max"),
        ("7:cpu:/other\n9:memory:/job/step", "memory", "memory.limit_in_bytes"),
        ("9:cpuset,memory:/job/step", "memory", "memory.limit_in_bytes"),
    ],
)
def test_every_group_above_bounds_the_memory(tmp_path, line, folder, name):
    groups, top = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text(line + "\n")
    step = top / folder / "job" / "step"
    step.mkdir(parents=True)
    (step / name).write_text("max\n" if name == "memory.max" else "9223372036854771712\n")
    (step.parent / name).write_text("1000000\n")
    assert min(devices.group_limits(groups, top)) == 1e6
    (step / name).write_text("500\n")
    assert min(devices.group_limits(groups, top)) == 500.0


def test_a_line_that_says_nothing_is_passed_over(tmp_path):
    (tmp_path / "cgroup").write_bytes(b"\ngarbage\n0::/caf\xe9\n")
    (tmp_path / "memory.max").write_text("7\n")
    assert devices.group_limits(tmp_path / "cgroup", tmp_path) == [7.0]


def test_paths_of_the_host_are_passed_over_in_a_container(tmp_path):
    groups, top = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text("0::/../../docker/abc\n")
    top.mkdir()
    (top / "memory.max").write_text("2000\n")
    (tmp_path / "memory.max").write_text("1\n")  # above the mount: nobody's limit
    assert devices.group_limits(groups, top) == [2000.0]
    assert devices.group_limits(tmp_path / "nothing", top) == []


def test_a_plan_may_take_half_of_what_the_process_may_use(monkeypatch):
    assert 1e8 < devices.host_memory() < 1e15
    monkeypatch.setattr(targets, "host_memory", lambda: 3e9)
    if jax.default_backend() == "cpu":
        assert targets.Target.of_this_process().budget == 1.5e9 / jax.local_device_count()
