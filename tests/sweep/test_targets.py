"""Plans for devices that are not there: rows of the table, groups, time and its bounds."""

import dataclasses

import jax
import numpy as np
import pytest
from checks import compilations
from systems import ONLINE, SYSTEMS

import jaxscale as js
from jaxscale import _targets as targets
from jaxscale._targets import TARGETS, Target
from jaxscale.emergence import FiniteSet, ParityNetwork, RandomSkills
from jaxscale.sweep import _bucket as bucket
from jaxscale.sweep._bucket import GPU_WORKING_BYTES, cached_group, resident_bytes
from jaxscale.sweep._config import read_toml
from jaxscale.sweep._grid import grid_of_file

# the published sweep: 480 runs of 100,000 steps
PUBLISHED = js.Grid(
    ParityNetwork(
        n_skills=500, n_bits=100, skills=RandomSkills(), batch_size=20_000,
        n_steps=100_000, optimizer=js.Adam(), record=[0, 100_000], n_evaluation=64,
    ),
    {
        "width": sorted({round(w) for w in np.geomspace(10, 300, 20)}),
        "skill_exponent": np.linspace(0.2, 1.6, 8).tolist(),
    },
    seeds=3,
)  # fmt: skip
MEASURED_SECONDS = 66e-6 * 480 * 100_000  # on an H200: benchmarks/README.md, T9


@pytest.fixture(scope="module")
def published():
    with compilations() as compiled:
        plan = js.plan(PUBLISHED, target="h200")
    assert not compiled
    return plan


def test_the_published_grid_fills_the_groups_of_an_h200(published):
    assert published.n_runs == 480
    for b in published.buckets:
        in_memory = published.target.budget // (resident_bytes(b.traced_system) + b.result_bytes)
        allowed = min(cached_group(b.traced_system, b.target), in_memory)
        assert b.n_runs <= allowed  # all runs of a program fit
        assert (b.group, b.chunk, b.n_devices) == (b.n_runs, b.n_runs, 1)
        assert b.group_seconds > bucket.CHUNK_SECONDS
        assert 4 * b.group * b.traced_system.work().working_floats <= GPU_WORKING_BYTES


def test_the_published_grid_takes_as_long_as_an_h200_took(published):
    """53 minutes were measured; 12 is what its bytes take at the bandwidth of the vendor."""
    assert published.seconds == pytest.approx(MEASURED_SECONDS, rel=0.1)
    assert published.least_seconds["bytes"] == pytest.approx(12.4 * 60, rel=0.05)
    assert published.buckets[-1].bound == "flops"  # of products outside the tensor cores
    text = " ".join(str(published).split())
    assert "480 runs, 12 programs, 1 device (h200)" in text
    assert "and 12 min by bytes, at 4.8 TB/s" in text


@pytest.mark.parametrize(
    ("fields", "group", "measured"),
    [
        ({"width": 1000, "batch_size": 20_000}, 8, 212e-6),
        ({"width": 64, "batch_size": 256}, 1, 41e-6),
        ({"width": 256, "batch_size": 2000}, 32, 7.3e-6),
        ({"width": 64, "batch_size": 256}, 1024, 0.25e-6),
    ],
)
def test_steps_take_what_they_took_on_an_h200(fields, group, measured):
    network = ParityNetwork(n_bits=32, n_steps=1000, record=[1000], **fields)
    seconds = bucket.run_seconds(network, group, Target.named("h200")) / 1000
    assert 1 / 1.5 < seconds / measured < 1.5


@pytest.mark.parametrize(
    ("fields", "megabytes"),
    [
        ({"width": 1000, "batch_size": 20_000}, (418, 506)),
        ({"width": 300, "batch_size": 20_000, "n_skills": 500, "n_bits": 100}, (173, 173)),
        ({"width": 64, "batch_size": 256}, (0.58, 0.58)),
        ({"width": 16, "batch_size": 256}, (0.24, 0.24)),
    ],
)
def test_traffic_is_that_of_compiled_programs(fields, megabytes):
    """Counted in programs for an H200, in groups of eight and of two where there are two."""
    given = {"n_bits": 32, "n_steps": 1, "skills": RandomSkills(), **fields}
    moved = 4e-6 * (ParityNetwork(**given).work().traffic_floats or 0.0)
    assert 0.8 * megabytes[0] < moved < 1.2 * megabytes[1]


@pytest.mark.parametrize(
    ("width", "batch_size", "megabytes"), [(16, 64, 14.7), (64, 256, 28.7), (64, 512, 28.7)]
)
def test_a_finite_set_is_planned_above_its_compiled_memory(width, batch_size, megabytes):
    """Counted in programs for an H200 in groups of 64: the loss on the set takes the most."""
    data = FiniteSet(n_samples=300)
    network = ParityNetwork(
        n_bits=32, width=width, batch_size=batch_size, data=data, n_steps=100, record=[0, 100]
    )
    (only,) = js.plan(js.Grid(network, seeds=64), target="h200").buckets
    assert only.group == 64
    assert megabytes <= 1e-6 * only.bytes_per_device < 1.6 * megabytes


@pytest.mark.parametrize(
    ("target", "n_skills", "record", "group", "megabytes"),
    [("h200", 1000, [0, 5000, 10_000], 1152, 140.5), ("v5e", 100, [0, 1000], 4096, 454.0)],
)
def test_counting_a_finite_set_is_planned_above_its_compiled_memory(
    target, n_skills, record, group, megabytes
):
    """Counted in compiled programs: 2.1 blocks of samples of each run on an H200, 6.7 on a v5e."""
    data = FiniteSet(n_samples=300)
    model = js.emergence.MultilinearSkills(
        n_skills=n_skills, n_steps=record[-1], record=record, data=data
    )
    (only,) = js.plan(js.Grid(model, seeds=group), target=target).buckets
    assert only.group == group
    assert megabytes <= 1e-6 * only.bytes_per_device < 2.0 * megabytes


@pytest.mark.parametrize(
    ("fields", "seeds", "megabytes"),
    [
        ({"n_features": 256, "latent_size": 32}, 1024, 518.2),
        ({"n_features": 256, "latent_size": 32}, 640, 325.0),
        ({"n_features": 32, "latent_size": 8, "batch_size": 64}, 1024, 42.9),
        ({"width": 16, "batch_size": 256}, 1024, 46.0),
        ({"width": 5, "batch_size": 20_000}, 1, 1.6),
    ],
)
def test_narrow_arrays_on_a_tpu_are_planned_above_their_compiled_memory(fields, seeds, megabytes):
    """Counted in programs for a v5e, which pads the last axis of an array to 128."""
    given = {"n_steps": 100, "record": [0, 100], **fields}
    if "width" in fields:
        system = ParityNetwork(n_bits=32, n_evaluation=64, skills=RandomSkills(), **given)
    else:
        gradient = js.superposition.FreshBatches(batch_size=given.pop("batch_size", 128))
        system = js.superposition.TeacherStudent(frequency_exponent=1.5, gradient=gradient, **given)
    (only,) = js.plan(js.Grid(system, seeds=seeds), target="v5e").buckets
    assert only.group == seeds
    assert megabytes <= 1e-6 * only.bytes_per_device


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_planned_for_every_target(name):
    work = SYSTEMS[name].work()
    assert (work.traffic_floats or 0.0) > 0
    for target in ("h200",) if SYSTEMS[name].unsupported("tpu") else ("h200", "v5e"):
        plan = js.plan(js.Grid(SYSTEMS[name], seeds=3), target=target)
        assert (plan.n_runs, plan.n_devices, plan.target.name) == (3, 1, target)
        assert plan.buckets[0].bound in ("flops", "bytes", "launches")
        assert max(plan.least_seconds.values()) < plan.seconds


def test_several_devices_share_the_runs():
    one, eight = (js.plan(js.Grid(ONLINE, seeds=64), target=t) for t in ("h200", "8xh200"))
    assert (one.n_devices, eight.n_devices) == (1, 8)
    assert eight.buckets[0].group == 8
    assert eight.target == dataclasses.replace(one.target, n_devices=8)


@pytest.mark.parametrize(
    ("given", "words"),
    [("h20", "did you mean `h200`"), ("0xh200", "`target` must be one of cpu, h100")],
)
def test_unknown_targets_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        js.plan(js.Grid(ONLINE), target=given)


def test_a_plan_for_other_devices_is_not_run(tmp_path):
    for target in ("v5e", f"{jax.local_device_count() + 1}xcpu"):
        plan = js.plan(js.Grid(ONLINE), target=target)
        with pytest.raises(ValueError, match=rf"`plan` is for 1?\d x {target[-3:]}.*without `tar"):
            js.run(plan, store=tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())
    assert js.plan(js.Grid(ONLINE), target="cpu").target.is_local


@dataclasses.dataclass(frozen=True)
class Device:
    """What JAX says of an accelerator."""

    platform: str
    device_kind: str
    limit: float | None

    def memory_stats(self):
        return self.limit and {"bytes_limit": self.limit}


@pytest.mark.parametrize(
    ("platform", "kind", "limit", "name", "row"),
    [
        ("gpu", "NVIDIA H200", 112.6e9, "h200", "h200"),
        ("gpu", "NVIDIA H100 80GB HBM3", 60e9, "h100", "h100"),
        ("gpu", "NVIDIA A100-SXM4-40GB", 30e9, "a100", "a100"),
        ("gpu", "NVIDIA L4", 17e9, "NVIDIA L4", "a100"),
        ("tpu", "TPU v5 lite", None, "v5e", "v5e"),
        ("tpu", "TPU v5", 1e11, "v5p", "v5p"),
        ("tpu", "TPU v6 lite", 3e10, "v6e", "v6e"),
        ("tpu", "TPU v4", 3e10, "TPU v4", "v5e"),
    ],
)
def test_local_accelerators_are_rows_with_their_own_memory(
    monkeypatch, platform, kind, limit, name, row
):
    monkeypatch.setattr(jax, "local_devices", lambda **_: [Device(platform, kind, limit)] * 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    local = Target.of_this_process()
    assert (local.name, local.n_devices, local.bandwidth) == (name, 2, TARGETS[row].bandwidth)
    assert local.budget == 0.8 * (limit or TARGETS[row].memory)
    assert local.is_local
    assert not dataclasses.replace(local, n_devices=3).is_local


# runs per chunk, per group, and groups per call of each bucket, on two CPU devices with 64 GB
CPU_PLANS = {
    "emergence_law_data": [(1152, 16, 5)],
    "emergence_time_paper": [(2, 1, 1)],  # trained in stretches
    "sparse_peak_paper": [(2304, 1, 4096), (640, 1, 1024)],
    "superposition_interference": [(48, 1, 64)],
    "superposition_small": [(48, 6, 8)],
}


@pytest.mark.parametrize("name", CPU_PLANS)
def test_plans_of_a_cpu_are_the_recorded_ones(monkeypatch, name):
    for module in (targets, bucket):
        monkeypatch.setattr(module, "host_memory", lambda: 64e9)
    plan = js.plan(grid_of_file(name, read_toml(name)), target="2xcpu")
    assert [(b.chunk, b.group, b.per_call) for b in plan.buckets][:2] == CPU_PLANS[name]


def test_what_a_platform_cannot_compile_is_refused():
    sparse = js.sparse.RandomFeatureRegression(
        n_features=8, n_samples=16, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    grid = js.Grid(sparse, {"n_samples": [16, 32]})
    for target in ("v5e", "4xv5p"):
        with pytest.raises(ValueError, match=r"`target` .*v5.* cannot run RandomFeature"):
            js.plan(grid, target=target)
    assert js.plan(grid, target="h200").n_runs == 2
