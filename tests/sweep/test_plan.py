"""Plans: groups, chunks, no compilation, and programs that are kept."""

import dataclasses
import itertools
import pickle

import jax
import numpy as np
import pytest
from checks import compilations
from systems import ONLINE as SMALL, regression

import jaxscale as js
from jaxscale._targets import Target
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online, ParityNetwork
from jaxscale.sweep import _bucket as bucket, _executor
from jaxscale.sweep._bucket import GPU_WORKING_BYTES, devices_for
from jaxscale.sweep._cache import PROGRAMS
from jaxscale.sweep._compute import Task
from jaxscale.sweep._divide import allocate_buckets, cells, cheapest
from jaxscale.sweep._timings import products_ratio

STREAMING = js.streaming.StreamingRegression(n_features=4, learning_rate=0.1, n_steps=20)


def test_the_counter_counts():
    with compilations() as compiled, compilations(traces=True) as traced:
        triple = jax.jit(lambda x: x * 3)
        jax.eval_shape(triple, np.float32(2.0))
        assert (len(compiled), len(traced)) == (0, 1)
        triple(np.float32(2.0))
    assert len(compiled) == 1
    assert len(traced) > 1


def test_planning_compiles_nothing():
    axes = {"learning_rate": [0.1, 0.2], "n_skills": [3, 4]}
    products_ratio()  # printing times the cores once per process, by a small program
    with compilations() as compiled:
        plan = js.plan(js.Grid(SMALL, axes, seeds=4))
        text = str(plan)
    assert not compiled
    assert plan.n_programs == 2
    assert "16 runs, 2 programs, 2 devices" in text
    assert plan.seconds > 0
    assert plan.flops > 0


def test_the_old_name_of_n_programs_warns():
    with pytest.warns(DeprecationWarning, match="use `Plan.n_programs`"):
        assert js.plan(js.Grid(SMALL)).n_compiles == 1


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
    assert plan.n_programs == len(plan.buckets) == 6
    ids = np.concatenate([b.run_ids for b in plan.buckets])
    assert sorted(ids.tolist()) == list(range(plan.n_runs))


def test_sizes_are_padded_to_the_largest():
    network = ParityNetwork(n_skills=2, n_bits=6, skill_size=2, width=3, n_steps=5)
    plan = js.plan(js.Grid(network, {"width": [4, 16, 8]}))
    assert plan.n_programs == 1
    assert plan.buckets[0].traced_system.padded("width") == 16


@pytest.mark.parametrize("cap", [None, 1, 2, 3, 6, 7, 100])
def test_chunks_fit_devices_and_groups(cap):
    axes = {"n_skills": [2, 2000, 30_000], "data": [Online(), FiniteSet(n_samples=10)]}
    plan = js.plan(js.Grid(SMALL, axes, seeds=13), max_runs_per_chunk=cap)
    for b in plan.buckets:
        assert b.chunk % (b.group * b.n_devices) == 0
        assert b.n_chunks * b.chunk >= len(b.run_ids)
        if cap is not None:
            assert b.chunk <= cap


@pytest.mark.parametrize("bound", [1, 3, 7, 13, 15, 20])
def test_groups_never_carry_a_chunk_beyond_its_bound(bound):
    network = ParityNetwork(width=64, batch_size=128, n_steps=20)
    grid = js.Grid(network, seeds=64)
    by_count = js.plan(grid, max_runs_per_chunk=bound)
    assert by_count.buckets[0].chunk <= bound
    one = js.plan(grid, max_runs_per_chunk=1).bytes_per_device
    assert js.plan(grid, memory=(bound + 0.1) * one).bytes_per_device <= (bound + 0.1) * one


@pytest.mark.parametrize("seeds", [64, 10_000])
def test_a_chunk_of_an_accelerator_holds_a_group_however_long_it_takes(seeds):
    network = ParityNetwork(width=64, batch_size=512, n_steps=100_000)
    grid = js.Grid(network, seeds=seeds)
    on_host = js.plan(grid).buckets[0]
    planned = js.plan(grid, target="2xh200")
    (on_accelerator,) = planned.buckets
    full = bucket.cached_group(network, planned.target)
    assert on_host.group < 64 < full
    per_device = -(-seeds // on_accelerator.n_devices)
    assert on_accelerator.group >= min(full // 2, per_device)
    assert on_accelerator.chunk >= on_accelerator.group * on_accelerator.n_devices
    tight = js.plan(grid, memory=0.1 * planned.bytes_per_device, target="2xh200")
    assert tight.bytes_per_device <= 0.1 * planned.bytes_per_device
    assert js.plan(grid, max_runs_per_chunk=8, target="2xh200").buckets[0].chunk <= 8


def test_systems_with_branches_are_walked_over_on_a_cpu():
    model = js.sparse.RandomFeatureRegression(
        n_features=8, n_samples=16, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    assert js.plan(js.Grid(model, seeds=64)).buckets[0].group == 1


def test_a_chunk_is_shared_by_as_many_devices_as_divide_it():
    assert devices_for(12, 4, 2) == (2, 3)
    assert devices_for(12, 6, 5) == (4, 3)
    assert devices_for(7, 4, 2) == (1, 1)
    assert devices_for(1, 4, 8) == (1, 1)


def padded_work(sizes, masks):
    return sum(int(mask.sum()) * float(sizes[mask].max()) for mask in masks)


def test_sizes_are_split_where_it_saves_most():
    sizes = np.asarray([1.0, 2.0, 4.0, 8.0, 16.0, 100.0])
    divisions = cheapest(cells([sizes]), lambda m: int(m.sum()) * float(sizes[m].max()), 6)
    assert [len(masks) for _, masks in divisions] == [1, 2, 3, 4, 5, 6]
    for n, (work, masks) in enumerate(divisions, start=1):
        assert np.sum(masks, axis=0).tolist() == [1] * 6  # every run in one bucket
        assert work == padded_work(sizes, masks)
        ways = [  # contiguous divisions of six sizes, the cheapest by trial
            np.split(np.arange(6), cut) for cut in itertools.combinations(range(1, 6), n - 1)
        ]
        assert work == min(sum(len(w) * sizes[w].max() for w in way) for way in ways)


def test_boxes_of_two_axes_are_cut_along_either():
    one, two = (x.ravel() for x in np.meshgrid([1.0, 100.0], [1.0, 2.0, 50.0], indexing="ij"))

    def cost(mask):
        return int(mask.sum()) * float(one[mask].max() * two[mask].max())

    divisions = cheapest(cells([one, two]), cost, 3)
    assert [c for c, _ in divisions] == [6 * 5000, 4 * 200 + 2 * 5000, 3 * 50 + 2 * 200 + 5000]


def test_extra_programs_go_where_they_save_most():
    assert allocate_buckets([[10.0, 9.0, 8.0], [100.0, 50.0, 49.5]], 3) == [3, 2]
    assert allocate_buckets([[10.0, 11.0], [5.0]], 4) == [1, 1]
    assert allocate_buckets([[10.0, 10.0, 4.0]], 3) == [3]  # the first cut alone saves nothing
    assert allocate_buckets([[10.0, 10.0, 4.0]], 1) == [1]


NETWORK = ParityNetwork(n_skills=5, n_bits=32, batch_size=256, n_steps=20_000, width=16)
WIDTHS = js.Grid(NETWORK, {"width": [16, 32, 64, 128, 256]}, seeds=8)


@pytest.mark.parametrize("other", [{}, {"n_samples": [16, 64]}], ids=["alone", "beside-another"])
def test_an_axis_of_one_size_is_that_size(other):
    model = js.sparse.RandomFeatureRegression(
        n_features=64, n_samples=32, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    plan = js.plan(js.Grid(model, {"n_features": [5], **other}), max_programs=1)
    own = js.plan(js.Grid(js.replace(model, "n_features", 5), other), max_programs=1)
    assert plan.flops == own.flops
    assert plan.padding_waste == own.padding_waste
    assert (plan.padding_waste > 0) == bool(other)


def test_long_sweeps_of_mixed_sizes_are_bucketed():
    plans = {most: js.plan(WIDTHS, max_programs=most) for most in (1, 2, 4)}
    assert [p.n_programs for p in plans.values()] == [1, 2, 4]
    waste = [p.padding_waste for p in plans.values()]
    assert waste[0] == pytest.approx(5 * 256 / (16 + 32 + 64 + 128 + 256) - 1, rel=0.05)
    assert waste[0] > waste[1] > waste[2]
    for plan in plans.values():
        ids = np.concatenate([b.run_ids for b in plan.buckets])
        assert sorted(ids.tolist()) == list(range(40))
        assert f"{plan.padding_waste:.0%} more work by padding" in str(plan)
        for b in plan.buckets:
            assert b.traced_system.padded("width") == b.columns["width"].max()
    assert js.plan(WIDTHS).n_programs == 4
    short = js.Grid(js.replace(NETWORK, "n_steps", 20), WIDTHS.axes, seeds=8)
    assert js.plan(short).n_programs == 1  # a program takes longer to compile than it saves


def test_static_axes_bound_the_programs_from_below():
    grid = js.Grid(SMALL, {"n_skills": [3, 4, 5]})
    assert js.plan(grid, max_programs=3).n_programs == 3
    with pytest.raises(ValueError, match=r"`max_programs` must be at least 3.*got 2"):
        js.plan(grid, max_programs=2)


def test_memory_bounds_the_runs_of_a_call():
    network = js.replace(js.replace(NETWORK, "width", 64), "n_steps", 2000)
    grid = js.Grid(network, seeds=64)
    free = js.plan(grid)
    tight = js.plan(grid, memory=free.bytes_per_device / 3)
    assert tight.bytes_per_device <= free.bytes_per_device / 3
    assert tight.buckets[0].group < free.buckets[0].group
    with pytest.raises(
        ValueError, match=r"`memory` must be at least .* bytes .*, got 1000 \(0.001 MB"
    ):
        js.plan(grid, memory=1e3)


def test_a_run_beyond_the_memory_is_warned_of():
    with compilations() as compiled:
        plan = js.plan(js.Grid(js.replace(NETWORK, "width", 10**9)))
        assert "warning: one run needs about" in str(plan)
    assert not compiled
    assert not js.plan(js.Grid(NETWORK)).warnings


def test_the_second_run_of_a_plan_compiles_nothing():
    plan = js.plan(js.Grid(SMALL, {"n_skills": [3, 5]}, seeds=3))
    first = js.run(plan)
    with compilations() as compiled:
        second = js.run(pickle.loads(pickle.dumps(plan)))
    assert not compiled
    assert second.equals(first)


def test_warnings_name_the_unstable_rate():
    plan = js.plan(js.Grid(SMALL, {"learning_rate": [0.1, 500.0]}))
    assert any("500" in w for w in plan.warnings)
    assert "warning:" in str(plan)
    assert not js.plan(js.Grid(SMALL)).warnings


@pytest.mark.parametrize("name", ["max_runs_per_chunk", "max_programs", "memory"])
@pytest.mark.parametrize("bad", [0, -1])
def test_bad_bounds(name, bad):
    with pytest.raises(ValueError, match=rf"`{name}` must be .*got"):
        js.plan(js.Grid(SMALL), **{name: bad})


def test_the_old_name_of_max_programs_is_deprecated():
    with pytest.warns(DeprecationWarning, match="use `max_programs`"):
        plan = js.plan(WIDTHS, max_compiles=2)
    assert plan.n_programs == 2
    with pytest.raises(ValueError, match="old name of `max_programs`"):
        js.plan(WIDTHS, max_compiles=2, max_programs=2)


def test_unknown_precision():
    with pytest.raises(ValueError, match=r"`matmul_precision` must be one of float32.*got 'best'"):
        js.plan(js.Grid(SMALL), matmul_precision="best")


@pytest.mark.slow  # compiles five programs
@pytest.mark.parametrize(
    "system",
    [
        js.replace(js.replace(NETWORK, "width", 1024), "n_steps", 2),
        ParityNetwork(width=256, batch_size=2000, n_steps=2, optimizer=js.Adam()),
        MultilinearSkills(n_skills=100_000, n_steps=5, record=[0, 5]),
        js.sparse.RandomFeatureRegression(
            n_features=256, n_samples=512, n_coordinates=256,
            spectrum_exponent=1.0, sparsity_exponent=0.0,
        ),
        js.sparse.RandomFeatureRegression(
            n_features=200, n_samples=2000, spectrum_exponent=1.0, sparsity_exponent=1.5
        ),
    ],
    ids=["wide", "adam", "many skills", "dense", "sparse"],
)  # fmt: skip
def test_planned_bytes_are_those_of_the_program(system):
    plan = js.plan(js.Grid(system, seeds=2))
    js.run(plan)
    program = PROGRAMS.values()[-1]
    assert 1 / 1.6 < program.bytes / plan.bytes_per_device < 1.6


def test_the_host_holds_results_and_the_last_chunk():
    plan = js.plan(js.Grid(SMALL, seeds=100), max_runs_per_chunk=10)
    per_run = 4 * len(SMALL.record_steps) * (1 + 5) + 4 * len(SMALL.record_steps) * 5
    (bucket,) = plan.buckets
    assert bucket.result_bytes == per_run
    on_devices = plan.n_devices * plan.bytes_per_device
    assert plan.host_bytes == pytest.approx(110 * per_run + on_devices)


def test_long_runs_on_an_accelerator_fill_their_groups():
    """A group is as large as its memory and working set allow, however long a run takes."""
    network = ParityNetwork(
        width=64, batch_size=20_000, n_bits=100, skills=js.emergence.RandomSkills()
    )
    groups = {}
    for n_steps in (40, 100_000):
        grid = js.Grid(js.replace(network, "n_steps", n_steps), seeds=1000)
        (bucket,) = js.plan(grid, target="h200").buckets
        groups[n_steps] = bucket.group
        assert bucket.chunk >= bucket.group
    working = 4 * network.work().working_floats * groups[100_000]
    assert groups[40] == groups[100_000]
    assert 0.5 * GPU_WORKING_BYTES <= working <= GPU_WORKING_BYTES


def test_draws_doubles_and_factorisations_take_time_on_a_cpu(monkeypatch):
    def seconds(system):
        return bucket.run_seconds(system, 1, Target.named("cpu"))

    double = js.replace(SMALL, "dtype", "float64")
    assert seconds(double) == pytest.approx(seconds(SMALL) + SMALL.work().flops / bucket.CPU_FLOPS)
    costly = {"CPU_DRAW_SECONDS": NETWORK, "CPU_SOLVER_SECONDS": regression()}
    for name, system in costly.items():
        before = seconds(system)
        monkeypatch.setattr(bucket, name, 0.0)
        assert seconds(system) < before


def test_a_step_of_one_kernel_is_started_in_a_tenth_of_the_time():
    system = MultilinearSkills(n_skills=10)
    causes = bucket.seconds_by_cause(system, 1, Target.named("cpu"))
    other = bucket.seconds_by_cause(
        js.replace(NETWORK, "n_steps", system.n_steps), 1, Target.named("cpu")
    )
    assert causes["launches"] == pytest.approx(0.1 * other["launches"])
    assert causes["launches"] > causes["flops"]


def test_brief_sweeps_of_systems_that_allow_it_are_compiled_quickly(monkeypatch):
    def planned(system, target=None):
        (bucket,) = js.plan(js.Grid(system, seeds=4), target=target).buckets
        return bucket

    assert planned(STREAMING).quick
    assert not planned(STREAMING, target="h200").quick
    assert not planned(SMALL).quick  # of exponentials
    monkeypatch.setattr(bucket, "QUICK_SECONDS", 0.99 * planned(STREAMING).seconds)
    assert not planned(STREAMING).quick


def test_a_chunk_is_compiled_as_its_sweep_in_workers_too(monkeypatch):
    monkeypatch.setattr(_executor, "compute", lambda task: task.bucket)
    plan = js.plan(js.Grid(STREAMING, seeds=6), max_runs_per_chunk=2)
    (sweep,) = plan.buckets
    assert sweep.n_chunks > 1
    for quick in (True, False):
        chosen = dataclasses.replace(sweep, quick=quick)
        assert bucket.recut(chosen, 1e6, None).quick == quick
        chunk = chosen.only(0)
        task = Task(chunk, np.zeros(2, np.uint32), plan.options)
        assert _executor.compute_anywhere(task).quick == chunk.quick == quick


def test_a_prime_number_of_runs_is_padded_rather_than_cut_into_single_runs():
    two_devices = (4000, 2 * 2003)
    groups = [js.plan(js.Grid(STREAMING, seeds=n)).buckets[0].group for n in two_devices]
    assert groups[1] >= groups[0] // 2 > 50


def test_the_history_of_a_run_counts_where_runs_are_kept_under_way():
    grid = js.Grid(MultilinearSkills(n_skills=50, n_steps=200), seeds=8)
    one = js.plan(grid.replace(seeds=1), keep_states=True).bytes_per_device
    for n_runs in (1.0, 1.6, 2.0, 2.2, 3.9):
        plan = js.plan(grid, keep_states=True, memory=n_runs * one)
        assert max(b.bytes_per_device for b in plan.buckets) <= n_runs * one
    with pytest.raises(ValueError, match="`memory` must be at least"):
        js.plan(grid, keep_states=True, memory=0.9 * one)


def test_a_plan_says_what_ends_the_stretches_of_long_runs():
    system = ParityNetwork(n_steps=10**6, width=256, batch_size=512)
    text = " ".join(str(js.plan(js.Grid(system, seeds=2), checkpoint_seconds=40)).split())
    assert "; long runs in " in text
    assert ", which end with their chunk or after 40 s" in text
