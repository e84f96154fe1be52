"""Strong scaling over devices, and how the cost grows as runs, width, batch and steps double.

`pytest benchmarks/bench_scaling.py --benchmark-json=benchmarks/results/scaling.json`
"""

import dataclasses
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from benchmarks.cases import Case, Sweep, case_of, system_of
from benchmarks.machine import n_cores
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker

BASE = Case(64, 256, n_runs=16, n_steps=400, goal=0)
DOUBLED = {"runs": "n_runs", "width": "width", "batch": "batch_size", "steps": "n_steps"}
FACTORS = (1, 2, 4)


def prepare_devices(name: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """One case on the devices of this worker."""
    case = case_of(name, tiny)
    sweep = Sweep(system_of(case, "sgd"), case.n_runs)
    facts = {"compile_seconds": sweep.compile_seconds, "run_steps": sweep.run_steps}
    return {"train": sweep}, facts | {"commit": sweep.commit, "device": sweep.device}


def prepare_doubled(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The base case, and each of its sizes doubled and doubled again."""
    calls, base = {}, BASE.tiny() if tiny else BASE
    for what, field in DOUBLED.items():
        for factor in FACTORS[1:]:
            larger = dataclasses.replace(base, **{field: factor * getattr(base, field)})
            calls[f"{what} {factor}"] = Sweep(system_of(larger, "sgd"), larger.n_runs)
    calls["base"] = Sweep(system_of(base, "sgd"), base.n_runs)
    facts = {"commit": calls["base"].commit, "device": calls["base"].device}
    return calls, facts | {"base": dataclasses.asdict(base), "calls": ["base", *list(calls)[:-1]]}


@pytest.mark.benchmark(group="devices")
@pytest.mark.parametrize("name", ["T2", "T3b"])
def test_devices(benchmark, extra_info, rounds, tiny, name):
    cores = n_cores()
    if cores < 2:
        pytest.skip("there is one core")
    settings = {
        f"{cores} devices, {cores} cores": (cores, cores),
        f"1 device, {cores} cores": (cores, 1),
        "1 device, 1 core": (1, 1),
    }
    with ExitStack() as stack:
        workers = {s: stack.enter_context(Worker(*given)) for s, given in settings.items()}
        target = "benchmarks.bench_scaling:prepare_devices"
        facts = {s: w.prepare(target, name=name, tiny=tiny) for s, w in workers.items()}
        calls = {s: lambda w=w: w.time("train") for s, w in workers.items()}
        seconds = take_turns(benchmark, calls, rounds)
    all_devices, *fewer = settings
    rates = {s: facts[s]["run_steps"] / t for s, t in medians(seconds).items()}
    extra_info |= {
        "case": name,
        "facts": facts,
        "seconds": seconds,
        "run_steps_per_second": rates,
        "against": {s: ratio(seconds, s, all_devices) for s in fewer},
    }


@pytest.mark.benchmark(group="doubling")
def test_doubling(benchmark, extra_info, rounds, tiny):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_scaling:prepare_doubled", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in facts["calls"]}
        seconds = take_turns(benchmark, calls, rounds)
    median = medians(seconds)
    times = {q: [median["base"], *(median[f"{q} {f}"] for f in FACTORS[1:])] for q in DOUBLED}
    slopes = {q: float(np.polyfit(np.log(FACTORS), np.log(t), 1)[0]) for q, t in times.items()}
    extra_info |= facts | {
        "factors": FACTORS,
        "seconds": seconds,
        "times": times,
        "exponents": slopes,
    }
