"""Plans: groups, chunks, no compilation, and programs that are kept."""

import contextlib

import jax
import numpy as np
import pytest

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online, ParityNetwork
from jaxscale.sweep.plan import with_chunks

SMALL = MultilinearSkills(n_skills=5, n_steps=20)


@contextlib.contextmanager
def compilations():
    seen = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_counter_counts():
    with compilations() as seen:
        jax.jit(lambda x: x * 3)(np.float32(2.0))
    assert seen


def test_planning_compiles_nothing():
    axes = {"learning_rate": [0.1, 0.2], "n_skills": [3, 4]}
    with compilations() as seen:
        plan = js.plan(js.Grid(SMALL, axes, seeds=4))
        text = str(plan)
    assert not seen
    assert not plan.programs
    assert plan.n_compiles == 2
    assert "16 runs, 2 compiles, 2 devices" in text
    assert plan.seconds > 0
    assert plan.flops > 0


def test_planning_builds_no_system_per_run(monkeypatch):
    built = []
    check = MultilinearSkills.__check_init__
    grid = js.Grid(SMALL, {"learning_rate": np.linspace(0.1, 0.9, 50)}, seeds=200)
    monkeypatch.setattr(
        MultilinearSkills, "__check_init__", lambda self: built.append(1) or check(self)
    )
    plan = js.plan(grid)
    assert plan.n_runs == 10_000
    assert 0 < len(built) <= 60


def test_one_program_per_group():
    axes = {"data": [Online(), FiniteSet(n_samples=10)], "n_steps": [5, 10, 20]}
    plan = js.plan(js.Grid(SMALL, {**axes, "learning_rate": [0.1, 0.2]}, seeds=3))
    assert plan.n_compiles == len(plan.buckets) == 6
    ids = np.concatenate([b.run_ids for b in plan.buckets])
    assert sorted(ids.tolist()) == list(range(plan.n_runs))


def test_sizes_are_padded_to_the_largest():
    network = ParityNetwork(n_skills=2, n_bits=6, skill_size=2, width=3, n_steps=5)
    plan = js.plan(js.Grid(network, {"width": [4, 16, 8]}))
    assert plan.n_compiles == 1
    assert plan.buckets[0].template.max_width == 16


@pytest.mark.parametrize("cap", [None, 1, 2, 3, 6, 7, 100])
def test_chunks_fit_devices_groups_and_each_other(cap):
    axes = {"n_skills": [2, 2000, 30_000], "data": [Online(), FiniteSet(n_samples=10)]}
    plan = js.plan(js.Grid(SMALL, axes, seeds=13), max_runs_per_chunk=cap)
    unit = min(b.chunk for b in plan.buckets)
    for bucket in plan.buckets:
        assert bucket.chunk % unit == 0
        assert bucket.chunk % (bucket.group * plan.n_devices) == 0
        assert bucket.n_chunks * bucket.chunk >= len(bucket.run_ids)
        if cap is not None:
            assert bucket.chunk <= max(cap, plan.n_devices)


def test_chunks_of_unequal_buckets_are_whole_groups():
    plan = js.plan(js.Grid(SMALL, {"n_skills": [3, 5]}, seeds=64))
    for lengths in ([6, 16], [2, 64], [64, 10]):
        cut = with_chunks(plan, lengths)
        assert [b.chunk for b in cut.buckets] == lengths
        assert all(b.chunk % (b.group * 2) == 0 for b in cut.buckets)
    with pytest.raises(ValueError, match=r"\[3, 4\].*2 devices"):
        with_chunks(plan, [3, 4])


def test_the_second_run_of_a_plan_compiles_nothing():
    plan = js.plan(js.Grid(SMALL, {"n_skills": [3, 5]}, seeds=3))
    first = js.run(plan)
    assert len(plan.programs) == 2
    with compilations() as seen:
        second = js.run(plan)
    assert not seen
    assert second.equals(first)


def test_warnings_name_the_unstable_rate():
    plan = js.plan(js.Grid(SMALL, {"learning_rate": [0.1, 500.0]}))
    assert any("500" in w for w in plan.warnings)
    assert "warning:" in str(plan)
    assert not js.plan(js.Grid(SMALL)).warnings


@pytest.mark.parametrize("bad", [0, -1])
def test_bad_bounds(bad):
    with pytest.raises(ValueError, match="max_runs_per_chunk"):
        js.plan(js.Grid(SMALL), max_runs_per_chunk=bad)
