"""One GPU: results against the CPU, T9, fractions of the limits, TF32, and the cores beside it.

`python -m benchmarks gpu`, with one process per accelerator. Skipped where JAX has no GPU.
"""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxscale as js
from benchmarks.cases import Case, check_trained, system_of
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker

# vendor figures, dense: FLOP/s in float32 and in TF32, bytes/s
LIMITS = {"H200": (67e12, 495e12, 4.8e12), "H100": (67e12, 495e12, 3.35e12),
          "A100": (19.5e12, 156e12, 2.0e12)}  # fmt: skip
PRECISIONS = {"float32": "float32", "TF32": "tensorfloat32"}
TOLERANCES = {"float32": 2e-4, "TF32": 2e-2}  # of the largest value, after `CHECKED` steps
CHECKED = 100
PASSES = 7  # over the activations, in a step that XLA does not fuse further
RUN_S = Case(1000, 20_000, n_runs=8, n_steps=100, goal=250e-6)  # goal: seconds per run-step
PAPER_STEPS, PAPER_MINUTES = 100_000, 40
PAPER = Case(300, 20_000, n_runs=3, n_steps=200, goal=0, n_skills=500, n_bits=100)
PAPER_AXES = {
    "width": sorted({round(w) for w in np.geomspace(10, 300, 20)}),
    "skill_exponent": np.linspace(0.2, 1.6, 8).tolist(),
}


def describe_device() -> tuple[dict[str, Any], dict[str, Any]]:
    """The GPU of this process, if any."""
    device = jax.devices()[0]
    return {}, {"platform": device.platform, "kind": device.device_kind}


def prepare_check() -> tuple[dict[str, Any], dict[str, Any]]:
    """Largest difference to the CPU at every precision, as a fraction of the largest value."""
    system = system_of(Case(64, 256, n_runs=1, n_steps=CHECKED, goal=0), "adam")
    key, differences = jax.random.key(0), {}
    with jax.default_device(jax.devices("cpu")[0]):
        expected = eqx.filter_jit(lambda k: system.simulate(k))(key)["skill_loss"]
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            actual = np.asarray(eqx.filter_jit(lambda k: system.simulate(k))(key)["skill_loss"])
        differences[name] = float(np.abs(actual - expected).max() / np.abs(expected).max())
    simulate = eqx.filter_jit(lambda k: system.simulate(k))
    return {"run": lambda: jax.block_until_ready(simulate(key))}, {"differences": differences}


def bucket_by_bucket(case: Case) -> list[js.Grid]:
    """The published grid, cut to few steps but into the programs that its 100,000 steps get."""
    full = js.Grid(system_of(case, "adam", n_steps=PAPER_STEPS), PAPER_AXES, seeds=case.n_runs)
    widths = [np.unique(bucket.columns["width"]).tolist() for bucket in js.plan(full).buckets]
    system = system_of(case, "adam")
    return [js.Grid(system, PAPER_AXES | {"width": w}, seeds=case.n_runs) for w in widths]


def prepare(what: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run S, or the published grid of 480 runs, with float32 and with TF32 products."""
    case = {"run S": RUN_S, "P-scaling-17": PAPER}[what]
    case = case.tiny() if tiny else case
    grids = (
        [js.Grid(system_of(case, "adam"), seeds=case.n_runs)]
        if what == "run S"
        else bucket_by_bucket(case)
    )
    calls, facts, runs = {}, {}, None
    for name, precision in PRECISIONS.items():
        plans = [js.plan(grid, max_programs=1, matmul_precision=precision) for grid in grids]
        compiling = 0.0
        for plan in plans:
            runs = js.run(plan, progress=False)
            check_trained(runs)
            compiling += float(runs.attrs["compile_seconds"])
        calls[name] = lambda plans=plans: [js.run(plan, progress=False) for plan in plans]
        facts[name] = {"compile_seconds": compiling, "plans": [plan.summary() for plan in plans]}
    widths = [w for grid in grids for w in grid.axes.get("width", [case.width])]
    n_runs = sum(grid.n_runs for grid in grids)
    return calls, facts | {
        "run_steps": n_runs * case.n_steps,
        "full_run_steps": n_runs * PAPER_STEPS,
        "flops_per_run_step": case.flops * float(np.mean(widths)) / case.width,
        "bytes_per_run_step": 4.0 * PASSES * case.batch_size * float(np.mean(widths)),
        "device": runs.attrs["device"],
        "commit": runs.attrs["git_commit"],
    }


def other_grids(tiny: bool) -> dict[str, js.Grid]:
    """Grids of the other systems and of small networks, as a user would run them."""
    sparse, superposition = js.sparse, js.superposition
    n, n_steps, few = (4, 10, 2) if tiny else (1024, 500, 100)

    def regression(n_features: int, n_samples: int, solver: Any) -> Any:
        return sparse.RandomFeatureRegression(
            n_features=n_features, n_samples=n_samples, spectrum_exponent=1.0,
            sparsity_exponent=2.0, solver=solver,
        )  # fmt: skip

    def student(gradient: Any) -> Any:
        return superposition.TeacherStudent(
            n_features=256, latent_size=32, frequency_exponent=1.5, gradient=gradient,
            n_steps=few, record=[0, few],
        )  # fmt: skip

    def network(width: int) -> Any:
        return system_of(Case(width, 256, n_runs=n, n_steps=n_steps, goal=0), "adam")

    systems = {
        "least norm, N 32, D 128": regression(32, 128, sparse.MinNorm()),
        "least norm, N 128, D 128": regression(128, 128, sparse.MinNorm()),
        "ridge, N 32, D 128": regression(32, 128, sparse.Ridge()),
        "ridge, N 128, D 128": regression(128, 128, sparse.Ridge()),
        "student, population gradient": student(superposition.Population()),
        "student, fresh batches": student(superposition.FreshBatches()),
        "multilinear, 100 skills": js.emergence.MultilinearSkills(
            n_steps=10 * n_steps, record=[0, 10 * n_steps]
        ),
        "network of width 16": network(16),
        "network of width 64": network(64),
    }
    return {name: js.Grid(system, seeds=n) for name, system in systems.items()}


def prepare_others(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every other grid, compiled and run once, on the devices of this process."""
    calls, facts = {}, {}
    for name, grid in other_grids(tiny).items():
        plan = js.plan(grid)
        runs = js.run(plan, progress=False)
        calls[name] = lambda plan=plan: js.run(plan, progress=False)
        facts[name] = {
            "runs": grid.n_runs,
            "compile_seconds": float(runs.attrs["compile_seconds"]),
            "device": runs.attrs["device"],
        }
    return calls, facts


@pytest.fixture
def gpu():
    with Worker(platform=None) as worker:
        device = worker.prepare("benchmarks.bench_gpu:describe_device")
        if device["platform"] != "gpu":
            pytest.skip(f"no GPU: JAX runs on {device['kind']}")
        yield worker, device["kind"]


@pytest.mark.benchmark(group="gpu")
def test_equals_the_cpu(benchmark, extra_info, gpu):
    worker, kind = gpu
    facts = worker.prepare("benchmarks.bench_gpu:prepare_check")
    benchmark.pedantic(worker.time, ("run",), rounds=1)
    extra_info |= facts | {"case": "correctness", "kind": kind, "tolerances": TOLERANCES}
    assert all(facts["differences"][n] < t for n, t in TOLERANCES.items())


@pytest.mark.benchmark(group="gpu")
def test_other_grids_against_the_cores_beside_it(benchmark, extra_info, gpu, rounds, tiny):
    worker, kind = gpu
    facts = {"gpu": worker.prepare("benchmarks.bench_gpu:prepare_others", tiny=tiny)}
    with Worker() as cores:
        facts["cpu"] = cores.prepare("benchmarks.bench_gpu:prepare_others", tiny=tiny)
        calls = {
            f"{name}: {side}": lambda name=name, timed=timed: timed(name)
            for name in facts["gpu"]
            for side, timed in (("gpu", worker.time), ("cpu", cores.time))
        }
        seconds = take_turns(benchmark, calls, rounds)
    extra_info |= {"case": "other grids", "kind": kind, "grids": facts, "seconds": medians(seconds)}
    extra_info["times_the_cores"] = {
        name: ratio(seconds, f"{name}: cpu", f"{name}: gpu")["ratio"] for name in facts["gpu"]
    }


@pytest.mark.benchmark(group="gpu")
@pytest.mark.parametrize("what", ["run S", "P-scaling-17"])
def test_t9(benchmark, extra_info, gpu, rounds, tiny, what):
    worker, kind = gpu
    facts = worker.prepare("benchmarks.bench_gpu:prepare", what=what, tiny=tiny)
    seconds = take_turns(benchmark, {n: lambda n=n: worker.time(n) for n in PRECISIONS}, rounds)
    extra_info |= facts | t9(what, kind, facts, seconds)


def t9(what: str, kind: str, facts: dict[str, Any], seconds: Any) -> dict[str, Any]:
    """Time per run-step and of the full grid, and fractions of the limits of this device."""
    each = {n: s / facts["run_steps"] for n, s in medians(seconds).items()}
    derived = {
        "case": f"T9 {what}",
        "kind": kind,
        "seconds": seconds,
        "seconds_per_run_step": each,
        "minutes_of_full_grid": {n: s * facts["full_run_steps"] / 60 for n, s in each.items()},
        "goal": {"seconds_per_run_step": RUN_S.goal, "minutes": PAPER_MINUTES},
    }
    if len(each) > 1:
        derived["tf32_speedup"] = ratio(seconds, "float32", "TF32")
    limits = next((v for name, v in LIMITS.items() if name in kind), None)
    if limits:
        flops, bandwidth = dict(zip(PRECISIONS, limits, strict=False)), limits[-1]
        derived["fraction_of_flops"] = {
            n: facts["flops_per_run_step"] / s / flops[n] for n, s in each.items()
        }
        derived["fraction_of_bandwidth"] = {
            n: facts["bytes_per_run_step"] / s / bandwidth for n, s in each.items()
        }
    return derived
