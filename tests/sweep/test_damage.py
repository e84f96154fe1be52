"""Damage that the state machine met: every byte of a store that may be altered is noticed."""

import json
import shutil

import numpy as np
import pytest
from checks import count_chunks, files_under
from disk import Disk, forbidden_from
from exact import Exact, expected
from stored import allowed

import jaxscale as js
from jaxscale.sweep import _stretches as stretches
from jaxscale.sweep._states import States
from jaxscale.sweep._stretches import State

GRID = js.Grid(Exact(), {"offset": [1.0, 1.5]})


def planned():
    return js.plan(GRID, max_runs_per_chunk=1, checkpoint_seconds=1e-9, keep_states=True)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A store of two runs, each a chunk: one is done, one has done a step."""
    path = tmp_path_factory.mktemp("begun") / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "CALL_SECONDS", 0.0)  # a step per call
        count_chunks(patch, stop_after=Exact().n_steps + 1)
        with pytest.warns(UserWarning, match="1 of 2 runs are done, 1 are under way"):
            js.run(planned(), store=path, progress=False)
    return path


@pytest.fixture
def path(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "a.zarr")


def run(path):
    return js.run(planned(), store=path, progress=False)


def assert_refused(path, match, calls):
    before = files_under(path)
    for call in calls:
        with pytest.raises(ValueError, match=f"`store` .*{match}"):
            call(path)
    assert files_under(path) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.5", b"1.7"),  # a value of an axis: the numbers would be those of another run
        (b"stretched", b"strotched"),
        (b"runs_per_group", b"runs_per_grouq"),
        (b"matmul_precision", b"matmul_precisinn"),
        (b"wall_seconds", b"wall{seconds"),
    ],
)
def test_an_altered_header_is_damage(path, old, new):
    header = path / "zarr.json"
    content = header.read_bytes()
    assert old in content
    header.write_bytes(content.replace(old, new))
    assert_refused(path, r"zarr\.json \(its checksum differs\)", [js.open_store, run])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("done", "shape", 0),
        ("done", "shape", 3),
        ("done", "chunk_shape", 9),
        ("run_id", "shape", 3),
    ],
)
def test_marks_of_another_shape_are_damage(path, name, old, new):
    header = path / name / "zarr.json"
    content = json.loads(header.read_text())
    place = content if old == "shape" else content["chunk_grid"]["configuration"]
    place[old] = [new]
    header.write_text(json.dumps(content))
    assert_refused(path, "'done'; it was damaged", [js.open_store, run])


def test_chunks_of_another_shape_are_damage(path):
    header = path / "loss" / "zarr.json"
    content = json.loads(header.read_text())
    content["chunk_grid"]["configuration"]["chunk_shape"] = [2, 5]
    header.write_text(json.dumps(content))
    assert_refused(path, "it was damaged, or its class was changed", [js.open_store, run])


def test_no_byte_of_a_state_is_altered_unnoticed(tmp_path):
    (tmp_path / "done").mkdir()
    states, rng = States(tmp_path), np.random.default_rng(0)
    leaves = {"word": np.arange(6, dtype=np.uint32).reshape(2, 3), "key": np.ones(2, np.uint32)}
    state = State(3, leaves, {"loss": np.linspace(0.0, 1.0, 8)})
    states.write(0, 0, state)
    file, refused = states.file(0, 0), 0
    sound = file.read_bytes()
    for i in range(len(sound)):
        content = bytearray(sound)
        content[i] ^= 1 << int(rng.integers(8))
        file.write_bytes(content)
        refused += 1
        with allowed("`store` has a damaged state"):
            read = states.read(0, 0)
            refused -= 1
            assert read is not None
            assert read.step == 3  # what was altered is a date, or the like
            for given, right in ((read.leaves, leaves), (read.history, state.history)):
                assert set(given) == set(right)
                for name in right:
                    np.testing.assert_array_equal(given[name], right[name])
    assert refused > len(sound) / 2


def test_a_damaged_state_is_refused_before_anything_changes(path):
    file = path / "done" / "states" / "0-1.npz"
    content = bytearray(file.read_bytes())
    content[content.index(b"leaf .start_loss") + 200] ^= 1
    file.write_bytes(content)
    file.with_name("0-0.new").write_bytes(b"a writer that was killed")
    assert_refused(path, "a damaged state .*0-1.npz .*; delete it to train its runs", [run])
    file.unlink()
    np.testing.assert_array_equal(run(path)["loss"], expected(GRID)[0])


def test_a_state_of_no_chunk_is_passed_over(path):
    shutil.copy(path / "done" / "states" / "0-1.npz", path / "done" / "states" / "7-7.npz")
    assert js.open_store(path).attrs["complete"] == 0
    np.testing.assert_array_equal(run(path)["loss"], expected(GRID)[0])


def test_remains_that_cannot_be_removed_are_named(path):
    """Else Zarr says that the store which is to replace the old one exists already."""
    shutil.copytree(path, path.with_name(".a.zarr.new"))
    before, larger = files_under(path), GRID.replace(seeds=2)
    with (
        Disk(path.parent).watched(forbidden_from(1)),
        pytest.raises(ValueError, match=r"`store` .*a.zarr cannot be written .*Permission denied"),
    ):
        js.run(larger, store=path)
    assert files_under(path) == before
    assert js.run(larger, store=path, progress=False).attrs["complete"] == 1
