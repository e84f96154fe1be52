"""Stores that earlier versions wrote open, continue and extend.

`tests/data/stores_89889ed.zip` holds two stores of one grid, written at commit 89889ed: one that is
complete, and one that Ctrl-C ended after the first of its two chunks.
"""

import zipfile
from pathlib import Path

import pytest
from checks import assert_close

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills
from jaxscale.report._stored import shown_store

CLOSE = {"rtol": 2e-6, "atol": 1e-7}
STORES = Path(__file__).parent.parent / "data" / "stores_89889ed.zip"
SYSTEM = MultilinearSkills(n_skills=3, n_steps=8, record=[0, 4, 8], data=FiniteSet(n_samples=12))
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=2)
LARGER = js.Grid(SYSTEM, {"learning_rate": [0.05, 0.1, 0.2]}, seeds=3)


@pytest.fixture
def folder(tmp_path):
    with zipfile.ZipFile(STORES) as file:
        file.extractall(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def fresh():
    return js.run(LARGER)


def test_they_open(folder, fresh):
    part = fresh.sel(learning_rate=[0.1, 0.2], seed=[0, 1])
    assert_close(js.open_store(folder / "complete.zarr"), part, **CLOSE)
    opened = js.open_store(folder / "interrupted.zarr")
    assert opened.attrs["complete"] == 0
    assert (opened["status"].sel(learning_rate=0.2) == js.Status.not_run).all()
    assert_close(opened.sel(learning_rate=[0.1]), part.sel(learning_rate=[0.1]), **CLOSE)


def test_they_are_shown(folder):
    grid, _, rest, _ = map(str, shown_store(folder)[0])
    assert "4 ok. Complete." in grid
    assert "2 runs remain, about" in rest


@pytest.mark.parametrize("name", ["complete.zarr", "interrupted.zarr"])
def test_they_continue_and_extend(folder, fresh, name):
    before = js.open_store(folder / name)
    done = js.run(GRID, store=folder / name)
    assert done.attrs["complete"] == 1
    assert_close(done, fresh.sel(learning_rate=[0.1, 0.2], seed=[0, 1]), **CLOSE)
    extended = js.run(LARGER, store=folder / name)
    assert_close(extended, fresh, **CLOSE)
    stored = extended.sel(learning_rate=before["learning_rate"], seed=before["seed"])
    written = before["status"] != js.Status.not_run
    assert stored["loss"].where(written).equals(before["loss"].where(written))
