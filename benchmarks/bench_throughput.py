"""T1 to T5: run-steps per second of a grid of seeds, against the same runs written by hand.

`pytest benchmarks/bench_throughput.py --benchmark-json=benchmarks/results/throughput.json`
"""

from typing import Any

import pytest

from benchmarks.cases import CASES, LEARNING_RATES
from benchmarks.rounds import Rows, medians, ratio, take_turns
from benchmarks.worker import Worker

SECONDS = 0.4  # that one call of a peer takes
PEERS = ("torch_loop", "torch_ensemble", "jit_vmap")


@pytest.mark.benchmark(group="throughput")
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
@pytest.mark.parametrize("name", CASES)
def test_throughput(benchmark, extra_info, rounds, tiny, name, optimizer):
    case = {"name": name, "optimizer": optimizer, "tiny": tiny}
    with Worker(cores=CASES[name].cores) as worker:
        facts = worker.prepare(
            "benchmarks.throughput:prepare", **case, least=0.02 if tiny else SECONDS
        )
        calls = {n: lambda n=n: worker.time(n) for n in facts["run_steps"]}
        extra_info |= facts | summary(facts, take_turns(benchmark, calls, rounds))
        if extra_info["against"]["torch_loop"]["ratio"] < extra_info["grid"]["goal"]:
            extra_info["hot_spots"] = worker.prepare("benchmarks.hot_spots:prepare", **case)


def summary(facts: dict[str, Any], seconds: Rows) -> dict[str, Any]:
    """Rates, ratios to the best setting of every peer, FLOP/s and the cost of evaluation."""
    run_steps, flops = facts["run_steps"], facts["flops_per_run_step"]
    rates = [{n: run_steps[n] / s for n, s in row.items()} for row in seconds]
    rate, n_runs = medians(rates), facts["grid"]["n_runs"]
    best = {p: max((n for n in rate if n.startswith(p)), key=rate.__getitem__) for p in PEERS}
    extra = run_steps["jaxscale"] * (1 / rate["evaluated"] - 1 / rate["jaxscale"])
    return {
        "seconds": seconds,
        "run_steps_per_second": rate,
        "against": {p: ratio(rates, "jaxscale", name) for p, name in best.items()},
        "gflops": {n: r * flops / 1e9 for n, r in rate.items() if n != "evaluated"},
        "fraction_of_gemm_peak": rate["jaxscale"] * flops / facts["gemm_peak"],
        "run_seconds": run_steps["jaxscale"] / rate["jaxscale"],
        "evaluation": {
            **facts["evaluation"],
            "seconds_per_record_and_run": extra / (facts["evaluation"]["records"] * n_runs),
        },
    }
