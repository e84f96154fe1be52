"""One GPU: results against the CPU, T9, fractions of the limits, and TF32 on and off.

`pytest benchmarks/bench_gpu.py --benchmark-json=benchmarks/results/gpu.json`

Skipped where JAX has no GPU.
"""

from typing import Any

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
PAPER = Case(300, 20_000, n_runs=3, n_steps=40, goal=0, n_skills=500, n_bits=100)
PAPER_AXES = {
    "width": sorted({round(w) for w in np.geomspace(10, 300, 20)}),
    "skill_exponent": np.linspace(0.2, 1.6, 8).tolist(),
}


def found() -> tuple[dict[str, Any], dict[str, Any]]:
    """The GPU of this process, if any."""
    device = jax.devices()[0]
    return {}, {"platform": device.platform, "kind": device.device_kind}


def prepare_check() -> tuple[dict[str, Any], dict[str, Any]]:
    """Largest difference to the CPU at every precision, as a fraction of the largest value."""
    system = system_of(Case(64, 256, n_runs=1, n_steps=CHECKED, goal=0), "adam")
    key, differences = jax.random.key(0), {}
    with jax.default_device(jax.devices("cpu")[0]):
        there = jax.jit(system.simulate)(key)["skill_loss"]
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            here = np.asarray(jax.jit(lambda k: system.simulate(k))(key)["skill_loss"])
        differences[name] = float(np.abs(here - there).max() / np.abs(there).max())
    return {"run": lambda: jax.block_until_ready(jax.jit(system.simulate)(key))}, {
        "differences": differences
    }


def prepare(what: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run S, or the published grid of 480 runs, with float32 and with TF32 products."""
    case = {"run S": RUN_S, "P-scaling-17": PAPER}[what]
    case, axes = (case.tiny() if tiny else case), (PAPER_AXES if what != "run S" else {})
    grid = js.Grid(system_of(case, "adam"), axes, seeds=case.n_runs)
    calls, facts = {}, {}
    for name, precision in PRECISIONS.items():
        plan = js.plan(grid, matmul_precision=precision)
        runs = js.run(plan, progress=False)
        check_trained(runs)
        calls[name] = lambda plan=plan: js.run(plan, progress=False)
        facts[name] = {"compile_seconds": float(runs.attrs["compile_seconds"])}
    widths = axes.get("width", [case.width])
    return calls, facts | {
        "run_steps": grid.n_runs * case.n_steps,
        "full_run_steps": grid.n_runs * PAPER_STEPS,
        "flops_per_run_step": case.flops * float(np.mean(widths)) / case.width,
        "bytes_per_run_step": 4.0 * PASSES * case.batch_size * float(np.mean(widths)),
        "plan": plan.summary(),
        "device": runs.attrs["device"],
        "commit": runs.attrs["git_commit"],
    }


@pytest.fixture
def gpu():
    with Worker(platform=None) as worker:
        device = worker.prepare("benchmarks.bench_gpu:found")
        if device["platform"] != "gpu":
            pytest.skip(f"no GPU: JAX runs on {device['kind']}")
        yield worker, device["kind"]


@pytest.mark.benchmark(group="gpu")
def test_equals_the_cpu(benchmark, told, gpu):
    worker, kind = gpu
    facts = worker.prepare("benchmarks.bench_gpu:prepare_check")
    benchmark.pedantic(worker.time, ("run",), rounds=1)
    told |= facts | {"case": "correctness", "kind": kind, "tolerances": TOLERANCES}
    assert all(facts["differences"][n] < t for n, t in TOLERANCES.items())


@pytest.mark.benchmark(group="gpu")
@pytest.mark.parametrize("what", ["run S", "P-scaling-17"])
def test_t9(benchmark, told, gpu, rounds, tiny, what):
    worker, kind = gpu
    facts = worker.prepare("benchmarks.bench_gpu:prepare", what=what, tiny=tiny)
    seconds = take_turns(benchmark, {n: lambda n=n: worker.time(n) for n in PRECISIONS}, rounds)
    each = {n: s / facts["run_steps"] for n, s in medians(seconds).items()}
    limits = next((v for name, v in LIMITS.items() if name in kind), None)
    told |= facts | {
        "case": f"T9 {what}",
        "kind": kind,
        "seconds": seconds,
        "seconds_per_run_step": each,
        "minutes_of_full_grid": {n: s * facts["full_run_steps"] / 60 for n, s in each.items()},
        "tf32_speedup": ratio(seconds, "float32", "TF32"),
        "goal": {"seconds_per_run_step": RUN_S.goal, "minutes": PAPER_MINUTES},
    }
    if limits:
        flops, bandwidth = dict(zip(PRECISIONS, limits, strict=False)), limits[-1]
        told["fraction_of_flops"] = {
            n: facts["flops_per_run_step"] / s / flops[n] for n, s in each.items()
        }
        told["fraction_of_bandwidth"] = {
            n: facts["bytes_per_run_step"] / s / bandwidth for n, s in each.items()
        }
