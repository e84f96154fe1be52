"""Planned bytes against the measured increase in resident memory, each grid in a fresh process.

`pytest benchmarks/bench_memory.py --benchmark-json=benchmarks/results/memory.json`
"""

import math
from typing import Any

import pytest

import jaxscale as js
from benchmarks.machine import total_memory
from benchmarks.memory import compiled_bytes, peak_bytes, planned_bytes, reset_peak
from benchmarks.worker import Worker

MIB = 2**20
LARGE, FACTOR, MARGIN = 64 * MIB, 1.5, 16 * MIB  # from LARGE on a factor, below it a margin
SHORT = {"n_steps": 2, "record": [0, 2], "n_evaluation": 512}
GRIDS = {
    "wide network": js.Grid(
        js.emergence.ParityNetwork(width=4096, batch_size=2000, **SHORT), seeds=4
    ),
    "many records of many runs": js.Grid(
        js.emergence.MultilinearSkills(n_skills=100, n_steps=500), seeds=4000
    ),
    "large regression": js.Grid(
        js.sparse.RandomFeatureRegression(
            n_features=1000, n_samples=1500, spectrum_exponent=1.0, sparsity_exponent=0.0,
            n_coordinates=1000,
        ),
        seeds=2,
    ),
    "small network": js.Grid(
        js.emergence.ParityNetwork(width=64, batch_size=256, n_steps=20), seeds=32
    ),
}  # fmt: skip
BEYOND = js.emergence.ParityNetwork(
    width=16384, batch_size=16, n_steps=1, record=[1], n_evaluation=512
)


def _measured(plan: js.Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run twice: the increase with compilation, and without."""
    first = reset_peak()
    runs = js.run(plan, progress=False)
    with_compilation, attributes = peak_bytes() - first, runs.attrs
    complete = bool((runs["status"] >= 0).all())
    del runs
    before = reset_peak()
    again = js.run(plan, progress=False)
    increase = peak_bytes() - before
    results = again.nbytes
    return {"run": lambda: js.run(plan, progress=False)}, {
        "planned_bytes": planned_bytes(plan),
        "increase_bytes": increase,
        "increase_with_compilation_bytes": with_compilation,
        "compiled_bytes": compiled_bytes(plan) * plan.n_devices,
        "results_bytes": results,
        "plan": plan.summary(),
        "complete": complete,
        "device": attributes["device"],
        "commit": attributes["git_commit"],
        "compile_seconds": float(attributes["compile_seconds"]),
    }


def prepare(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One of the grids."""
    return _measured(js.plan(GRIDS[name]))


def prepare_beyond(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A grid whose runs would take ten times the memory if all of them were in flight."""
    limit = 2e8 if tiny else total_memory()
    n_runs = math.ceil(10 * limit / js.plan(js.Grid(BEYOND)).bytes_per_device)
    calls, facts = _measured(js.plan(js.Grid(BEYOND, seeds=n_runs)))
    return calls, facts | {"memory_bytes": limit, "all_at_once_bytes": 10 * limit}


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("name", GRIDS)
def test_planned_memory(benchmark, told, name):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_memory:prepare", name=name)
        benchmark.pedantic(worker.time, ("run",), rounds=1)
    planned, increase = facts["planned_bytes"], facts["increase_bytes"]
    met = (
        1 / FACTOR <= increase / planned <= FACTOR
        if planned >= LARGE
        else abs(increase - planned) <= MARGIN
    )
    told |= facts | {"case": name, "ratio": increase / planned, "met": met}


@pytest.mark.benchmark(group="beyond memory")
def test_ten_times_the_memory(benchmark, told, tiny):
    with Worker() as worker:
        prepare = ("benchmarks.bench_memory:prepare_beyond",)
        told |= {"case": "ten times the memory"}
        told |= benchmark.pedantic(worker.prepare, prepare, {"tiny": tiny}, rounds=1)
