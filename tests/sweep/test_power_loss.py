"""Power failures: what was not flushed is lost, torn, or there; what counts as done is there.

Every change that a sweep makes on the disk is logged. After any of them the power may fail: the
folders that a disk may then hold are written out, opened, and finished.
"""

import asyncio
import contextlib
import itertools
import shutil

import numpy as np
import pytest
from disk import Disk, InOrder, at_once
from exact import Exact, expected
from power import Power

import jaxscale as js
from jaxscale import _files as files
from jaxscale.sweep import (
    _bucket as bucket,
    _execute as execute,
    _store as store,
    _stretches as stretches,
)
from jaxscale.sweep._layout import grid_text
from jaxscale.sweep._store import ZarrStore

STORE = "a.zarr"
GRID = js.Grid(Exact(), {"offset": [1.0, 1.5]}, seeds=2)
LARGER = GRID.replace(axes={"offset": [1.5, 2.0, 1.0]})
SHARES = [(1, 0), (0, 1), (1, 1), (0.5, 0.5), (0.5, 0.5)]  # of names and of data that survive


@pytest.fixture(autouse=True)
def small_programs(monkeypatch):
    """One program for chunks of any length; a step per call; no thread more than needed."""
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    for module in (files, store):
        monkeypatch.setattr(module, "ThreadPoolExecutor", InOrder)
    monkeypatch.setattr(bucket, "CALL_BYTES", 1)
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(execute, "RECORD_SECONDS", 1e6)


def planned(grid, **how):
    return js.plan(grid, max_runs_per_chunk=1, checkpoint_seconds=1e-9, **how)


def label(grid, ids):
    """Offset and seed of runs of a grid."""
    index = np.unravel_index(ids, grid.shape)
    return [(float(grid.axes["offset"][i]), grid.seeds[j]) for i, j in zip(*index, strict=True)]


@contextlib.contextmanager
def logged(disk, monkeypatch):
    """Log all changes, and the step that runs have reached whenever the store has said so."""
    write, write_state = ZarrStore.write, ZarrStore.write_state

    def note(store, bucket, chunk, step):
        grid = store.layout.grid
        if store.place.path.name == STORE:  # and not one that is to replace it
            disk.note("reached", step, label(grid, store.layout.buckets[bucket].ids_of(chunk)))

    def writes(store, bucket, chunk, *arguments):
        write(store, bucket, chunk, *arguments)
        note(store, bucket, chunk, store.layout.grid.system.n_steps)

    def writes_state(store, bucket, chunk, state):
        write_state(store, bucket, chunk, state)
        note(store, bucket, chunk, state.step)

    with monkeypatch.context() as patch, disk.watched():
        patch.setattr(ZarrStore, "write", writes)
        patch.setattr(ZarrStore, "write_state", writes_state)
        yield


def reached(path, grids):
    """Steps that the runs of a store have recorded, all of whose numbers are right."""
    runs = js.open_store(path)
    texts = [grid_text(grid) for grid in grids]
    grid = grids[texts.index(runs.attrs["grid"])]
    loss, value = expected(grid)
    done = (runs["status"] >= 0).values
    for name, right in (("loss", loss), ("value", value)):
        given = runs[name].values
        blank = np.isnan(given)
        np.testing.assert_array_equal(given[~blank], right[~blank])
        assert not (blank & ~np.isnan(right))[done].any()
    steps = np.asarray(grid.system.record_steps)
    recorded = ~np.isnan(runs["loss"].values.reshape(grid.n_runs, -1))
    last = [int(steps[row].max(initial=-1)) for row in recorded]
    return dict(zip(label(grid, np.arange(grid.n_runs)), last, strict=True))


def scenario(name):
    """Plan of the store to begin with, if there is one, and of the sweep whose power fails."""
    states = {"keep_states": True}
    return {
        "new": lambda: (None, planned(GRID)),
        "extended": lambda: (planned(GRID), planned(LARGER)),
        "stretches": lambda: (None, planned(GRID, **states)),
        "longer": lambda: (planned(GRID, **states), planned(GRID.longer(6), **states)),
    }[name]()


def check(folder, plan, grids, acknowledged):
    """A store after a power failure: nothing wrong, nothing lost, and it can be finished."""
    path = folder / "deep" / STORE
    if path.exists() or path.with_name(f".{STORE}.previous").exists():
        steps = reached(path, grids)
        for run, step in acknowledged.items():
            assert steps[run] >= step, (run, step)
    else:
        assert not acknowledged
    js.run(plan, store=path, progress=False)
    assert set(reached(path, [plan.grid]).values()) == {plan.grid.system.n_steps}


def fail_everywhere(name, folder, monkeypatch, every):
    """Check what is left if the power fails before a change, in one way or another; count them."""
    first, plan = scenario(name)
    grids, disk = [p.grid for p in (plan, first) if p is not None], Disk(folder / "disk")
    (folder / "disk").mkdir()
    path, acknowledged = folder / "disk" / "deep" / STORE, {}
    if first is not None:
        js.run(first, store=path, progress=False)
        acknowledged = reached(path, [first.grid])
    power = Power(folder / "disk")
    with logged(disk, monkeypatch):
        js.run(plan, store=path, progress=False)
    rng, ways = np.random.default_rng(0), itertools.cycle(SHARES)
    for i, event in enumerate([*disk.log, None]):
        for _ in range(i % every == 0 if event else len(SHARES)):
            power.write(folder / "after", *next(ways), rng)
            check(folder / "after", plan, grids, acknowledged)
            shutil.rmtree(folder / "after")
        if event is not None and event[0] == "reached":
            acknowledged |= dict.fromkeys(event[2], event[1])
        elif event is not None:
            power.apply(*event)
    return len(disk.log) // every


def test_a_power_failure_takes_nothing_that_was_said_to_be_there(tmp_path, monkeypatch):
    assert fail_everywhere("longer", tmp_path, monkeypatch, 60) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new", "extended", "stretches", "longer"])
def test_a_power_failure_at_many_changes(name, tmp_path, monkeypatch):
    assert fail_everywhere(name, tmp_path, monkeypatch, 13) > 18
