"""Planned bytes against the measured increase in resident memory, each grid in a fresh process.

`pytest benchmarks/bench_memory.py --benchmark-json=benchmarks/results/memory.json`
"""

import contextlib
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest

import jaxscale as js
from benchmarks.confined import memory_group
from benchmarks.memory import compiled_bytes, peak_bytes, planned_bytes, reset_peak
from benchmarks.worker import Worker
from jaxscale._devices import host_memory

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
BEYOND = {  # what is ten times as large as the memory
    "runs in flight": js.emergence.ParityNetwork(
        width=16384, batch_size=16, n_steps=1, record=[1], n_evaluation=512
    ),
    "results": js.emergence.MultilinearSkills(
        n_skills=100, n_steps=500, record=range(501), data=js.emergence.FiniteSet(n_samples=1000)
    ),
}
LIMIT, TIMES = 2 * 2**30, 10


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


def prepare_beyond(name: str, bytes_in_all: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sweep into a store whose runs in flight, or results, would take so many bytes at once."""
    one = js.plan(js.Grid(BEYOND[name])).buckets[0]
    each = one.result_bytes if name == "results" else one.bytes_per_device
    plan = js.plan(js.Grid(BEYOND[name], seeds=math.ceil(bytes_in_all / each)))
    before = reset_peak()
    with tempfile.TemporaryDirectory() as folder:
        runs = js.run(plan, store=Path(folder) / "runs.zarr", progress=False)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {}, {
            "memory_seen_bytes": host_memory(),
            "all_at_once_bytes": bytes_in_all,
            "results_bytes": runs.nbytes,
            "disk_bytes": sum(path.stat().st_size for path in files),
            "increase_bytes": peak_bytes() - before,
            "plan": plan.summary(),
            "complete": bool((runs["status"] >= 0).all()),
            "last_loss": float(runs["loss"].isel(seed=-1, step=-1)),
            "device": runs.attrs["device"],
            "commit": runs.attrs["git_commit"],
            "compile_seconds": float(runs.attrs["compile_seconds"]),
        }


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("name", GRIDS)
def test_planned_memory(benchmark, extra_info, name):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_memory:prepare", name=name)
        benchmark.pedantic(worker.time, ("run",), rounds=1)
    planned, increase = facts["planned_bytes"], facts["increase_bytes"]
    met = (
        1 / FACTOR <= increase / planned <= FACTOR
        if planned >= LARGE
        else abs(increase - planned) <= MARGIN
    )
    extra_info |= facts | {"case": name, "ratio": increase / planned, "met": met}


@pytest.mark.benchmark(group="beyond memory")
@pytest.mark.parametrize("name", BEYOND)
def test_ten_times_the_memory(benchmark, extra_info, tiny, name):
    """In a control group of little memory: the kernel ends a process that takes more."""
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(memory_group(LIMIT))
        except OSError as error:
            pytest.skip(f"no control group can be made here ({error})")
        worker = stack.enter_context(Worker(group=group))
        given = {"name": name, "bytes_in_all": (0.01 if tiny else 1) * TIMES * LIMIT}
        prepare = ("benchmarks.bench_memory:prepare_beyond",)
        facts = benchmark.pedantic(worker.prepare, prepare, given, rounds=1)
    assert facts["complete"]
    extra_info |= facts | {"case": name, "memory_bytes": LIMIT}
    extra_info["seconds"] = benchmark.stats.stats.mean
