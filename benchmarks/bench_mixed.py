"""T6: a grid over widths in the buckets of the default plan, against one padded program.

`pytest benchmarks/bench_mixed.py --benchmark-json=benchmarks/results/mixed.json`
"""

from collections.abc import Sequence
from typing import Any

import pytest

import jaxscale as js
from benchmarks.cases import LEARNING_RATES, Case, check_trained, system_of
from benchmarks.hot_spots import STEPS, of_plan
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker

WIDTHS, SEEDS = (16, 32, 64, 128, 256), 16
LONG = 100_000  # steps of the grid that is planned
LARGEST = Case(max(WIDTHS), 256, n_runs=SEEDS, n_steps=200, goal=3)


def prepare(optimizer: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The buckets that the default plan makes of a long grid, and one bucket; both compiled.

    A grid short enough to be timed would be kept together, because compiling takes longer.
    """
    case = LARGEST.tiny() if tiny else LARGEST

    def grid(widths: Sequence[int], **more: Any) -> js.Grid:
        return js.Grid(system_of(case, optimizer, **more), {"width": list(widths)}, seeds=SEEDS)

    long = js.plan(grid(WIDTHS, n_steps=LONG, record=[0, LONG]))
    split = [sorted({int(w) for w in bucket.columns["width"]}) for bucket in long.buckets]
    calls, facts, spots = {}, {}, {}
    for name, buckets in {"buckets": split, "padded": [list(WIDTHS)]}.items():
        plans = [js.plan(grid(widths), max_programs=1) for widths in buckets]
        runs = [js.run(plan, progress=False) for plan in plans]
        for result in runs:
            check_trained(result)
        calls[name] = lambda plans=plans: [js.run(plan, progress=False) for plan in plans]
        seconds = sum(float(result.attrs["compile_seconds"]) for result in runs)
        flops = sum(plan.flops for plan in plans)
        facts[name] = {"widths": buckets, "compile_seconds": seconds, "flops": flops}
        for widths, plan in zip(buckets, plans, strict=True):
            part = f"widths {', '.join(map(str, widths))}"
            calls[part] = lambda plan=plan: js.run(plan, progress=False)
            short = js.plan(grid(widths, n_steps=STEPS, record=[0, STEPS]), max_programs=1)
            spots[part] = of_plan(short)
    return calls, facts | {
        "run_steps": len(WIDTHS) * SEEDS * case.n_steps,
        "hot_spots": spots,
        "device": runs[0].attrs["device"],
        "commit": runs[0].attrs["git_commit"],
    }


@pytest.mark.benchmark(group="mixed")
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_mixed_widths(benchmark, extra_info, rounds, tiny, optimizer):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_mixed:prepare", optimizer=optimizer, tiny=tiny)
        names = ("buckets", "padded", *facts["hot_spots"])
        calls = {n: lambda n=n: worker.time(n) for n in names}
        seconds = take_turns(benchmark, calls, rounds)
    median = medians(seconds)
    rate = {n: facts["run_steps"] / median[n] for n in ("buckets", "padded")}
    extra_info |= facts | {
        "case": "T6",
        "optimizer": optimizer,
        "grid": {"widths": WIDTHS, "seeds": SEEDS, "batch_size": LARGEST.batch_size},
        "goal": LARGEST.goal,
        "seconds": seconds,
        "median_seconds": median,
        "run_steps_per_second": rate,
        "against": {"padded": ratio(seconds, "padded", "buckets")},
    }
