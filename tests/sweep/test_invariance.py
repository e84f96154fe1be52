"""The same numbers however a grid is cut: buckets, chunks, micro-batches, devices, memory."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from checks import assert_close, compilations

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills
from jaxscale.sweep import _bucket as bucket, _divide as divide
from jaxscale.sweep._cache import PROGRAMS

SMALL = MultilinearSkills(n_skills=5, n_steps=50, data=FiniteSet(n_samples=30))
SIZES = {"n_parameters": [2, 3, 4, 5]}
# Measured: at 0.1 the loss still falls smoothly; at 0.2 it oscillates, and rounding grows to 5e-3.
SETUP = """
from jaxscale.emergence import FiniteSet, ParityNetwork
network = ParityNetwork(
    n_skills=3, n_bits=9, skill_size=2, batch_size=64, n_steps=500, width=24, n_evaluation=256,
    target_scale=1.0, init_scale=0.3,
)
grid = js.Grid(network, {"width": [4, 8, 16, 24], "learning_rate": [0.03, 0.05]}, seeds=3)
"""
NETWORKS = {"js": js}
exec(SETUP, NETWORKS)
NETWORK, WIDTHS = NETWORKS["network"], NETWORKS["grid"]
DEVICES = f"""
import sys
import jax
import numpy as np
import jaxscale as js
js.use_all_cores(int(sys.argv[1]))
{SETUP}
assert jax.local_device_count() == int(sys.argv[1])
plan = js.plan(grid, max_runs_per_chunk=8)
np.savez(sys.argv[2], **{{k: v.values for k, v in js.run(plan).items()}})
"""


@pytest.fixture(scope="module")
def reference():
    """The network's grid in one program and one chunk."""
    plan = js.plan(WIDTHS, max_programs=1)
    assert plan.n_programs == 1
    runs = js.run(plan)
    assert (runs["status"] == js.Status.ok).all()
    return runs


@pytest.mark.slow
def test_learning_happened(reference):
    """Or nothing below would be tested: the losses fall, and differ by width, rate and seed."""
    loss = reference["loss"]
    assert float((loss.isel(step=-1) / loss.isel(step=0)).mean()) < 0.8
    assert float(loss.isel(step=-1).std("seed").min()) > 1e-4 * float(loss.max())


@pytest.mark.slow
def test_networks_do_not_feel_their_bucket(reference, monkeypatch):
    """In two programs, which pad to other widths."""
    monkeypatch.setattr(divide, "COMPILE_SECONDS", 0.0)  # or one program were the quickest
    plan = js.plan(WIDTHS, max_programs=2)
    assert len({int(np.max(b.padded_system.width)) for b in plan.buckets}) == plan.n_programs == 2
    assert_close(js.run(plan), reference)


@pytest.mark.slow
@pytest.mark.parametrize("cap", [1, 5])
def test_networks_do_not_feel_their_chunk(reference, cap):
    plan = js.plan(WIDTHS, max_runs_per_chunk=cap, max_programs=1)
    assert all(b.chunk <= max(cap, 1) for b in plan.buckets)
    assert_close(js.run(plan), reference)


@pytest.mark.slow
def test_networks_do_not_feel_their_micro_batch(reference):
    system = js.replace(NETWORK, "micro_batch", 16)
    assert system.micro_batch == 16
    runs = js.run(js.plan(js.Grid(system, WIDTHS.axes, seeds=3), max_programs=1))
    assert_close(runs, reference)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [1, 4])
def test_networks_do_not_feel_their_devices(reference, tmp_path, n_devices):
    path = tmp_path / "runs.npz"
    command = [sys.executable, "-c", DEVICES, str(n_devices), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_close(np.load(path), reference)


@pytest.fixture(scope="module")
def small():
    return js.run(js.Grid(SMALL, SIZES, seeds=3))


@pytest.mark.parametrize("cap", [1, 5])
def test_chunks_change_no_number(small, cap):
    plan = js.plan(js.Grid(SMALL, SIZES, seeds=3), max_runs_per_chunk=cap)
    assert all(b.chunk <= cap for b in plan.buckets)
    assert_close(js.run(plan), small)


def test_it_compiles_what_was_planned(small):
    """Exactly one program per bucket, and none the second time (helpers were compiled before)."""
    grid = js.Grid(js.replace(SMALL, "n_steps", 51), {"n_skills": [4, 5]}, seeds=3)
    plan = js.plan(grid)
    assert plan.n_programs == 2
    PROGRAMS.clear()
    with compilations() as compiled:
        first = js.run(plan)
    assert len(compiled) == len(PROGRAMS.values()) == plan.n_programs
    with compilations() as compiled:
        second = js.run(plan)
    assert not compiled
    assert second.equals(first)


@pytest.mark.parametrize("bound", [0, -1])
@pytest.mark.parametrize("name", ["max_programs", "max_runs_per_chunk", "memory"])
def test_bad_bounds_are_refused(name, bound):
    with pytest.raises(ValueError, match=f"`{name}`"):
        js.plan(js.Grid(SMALL, SIZES), **{name: bound})


def test_what_cannot_be_met_is_refused():
    grid = js.Grid(SMALL, {"n_skills": [3, 4, 5]})
    with pytest.raises(ValueError, match="`max_programs` must be at least 3"):
        js.plan(grid, max_programs=2)
    with pytest.raises(ValueError, match="`memory`"):
        js.plan(grid, memory=10)


@pytest.mark.slow
@pytest.mark.parametrize("system", [SMALL, NETWORK], ids=["multilinear", "network"])
def test_ten_times_the_memory(system):
    """A grid that would take ten times the memory at once is cut until it fits."""
    axes = {"learning_rate": [0.02, 0.03, 0.05]}
    grid = js.Grid(js.replace(system, "record", range(0, system.n_steps + 1)), axes, seeds=40)
    one = js.plan(js.Grid(grid.system), max_runs_per_chunk=1).bytes_per_device
    memory = grid.n_runs * one / 10  # a tenth of what all runs take in flight
    plan = js.plan(grid, memory=memory)
    assert plan.bytes_per_device <= memory
    assert all(b.n_devices * b.group < grid.n_runs for b in plan.buckets)
    runs = js.run(plan)
    assert runs.attrs["complete"] == 1
    assert (runs["status"] == js.Status.ok).all()
    some = {"learning_rate": [0.05], "seed": [0, 17, 39]}
    alone = js.run(js.Grid(grid.system, {"learning_rate": [0.05]}, seeds=some["seed"]))
    assert_close(runs.sel(some), alone)


@pytest.mark.slow
def test_slices_of_the_planner_change_no_number(reference, monkeypatch):
    """The planner's own slices of a batch: forced by pretending that the cache is tiny."""
    monkeypatch.setattr(bucket, "CPU_SLICE_ABOVE_BYTES", 3000)
    monkeypatch.setattr(bucket, "CPU_SLICE_BYTES", 2000)
    plan = js.plan(WIDTHS, max_programs=1)
    assert plan.buckets[0].traced_system.micro_batch == 16
    assert_close(js.run(plan), reference)


def test_two_devices_are_used():
    assert jax.local_device_count() == 2
    assert js.plan(js.Grid(SMALL, seeds=4)).buckets[0].n_devices == 2
