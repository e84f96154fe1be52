"""What the engine costs beyond the compiled program, and what 10,000 tiny runs cost beyond running.

`pytest benchmarks/bench_overhead.py --benchmark-json=benchmarks/results/overhead.json`
"""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxscale as js
from benchmarks.cases import Sweep, case_of, check_trained, system_of
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker
from jaxscale.sweep import _bucket
from jaxscale.sweep._states import States

GOALS = {"engine": 0.05, "plan_seconds": 1.0, "store": 0.05}
STRETCH_GOALS = {60.0: 0.02, 5.0: 0.05}  # seconds between states, and the share of time they cost
OFTEN = 0.5  # seconds between states, so that a call of seconds writes several
STEPS_OF = {"T2": 4, "T3b": 3, "T4": 4}  # times the steps of the case: a call takes seconds
TINY_SYSTEM = {"n_skills": 3, "n_bits": 9, "width": 4, "batch_size": 16, "n_evaluation": 64}


def prepare_engine(name: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """`js.run`, and `jit(vmap(simulate))` of the same system and keys without it."""
    case = case_of(name, tiny)
    system = system_of(case, "sgd")
    sweep = Sweep(system, case.n_runs)
    grid, group = sweep.plan.grid, sweep.plan.buckets[0].group
    keys = jax.vmap(grid.run_key)(np.asarray(grid.seeds, np.uint32))
    hand = {
        "jit(vmap)": jax.vmap(system.simulate),
        "jit(map)": lambda keys: jax.lax.map(system.simulate, keys, batch_size=group),
    }
    programs = {n: jax.jit(f).lower(keys).compile() for n, f in hand.items()}
    ours = sweep()["loss"].values
    for loss in (program(keys)["loss"] for program in programs.values()):
        # the same runs: their ends part by what rounding grows to at this learning rate
        np.testing.assert_allclose(loss[:, 0], ours[:, 0], rtol=1e-5)
        np.testing.assert_allclose(loss, ours, rtol=0, atol=5e-2 * np.abs(ours).max())
    calls = {n: lambda p=p: jax.tree.map(np.asarray, p(keys)) for n, p in programs.items()}
    facts = {"group": group, "run_steps": sweep.run_steps, "commit": sweep.commit}
    return {"jaxscale": sweep, **calls}, facts | {"device": sweep.device, "calls": list(calls)}


@pytest.mark.benchmark(group="engine")
@pytest.mark.parametrize("name", ["T1", "T3b"])
def test_engine(benchmark, extra_info, rounds, tiny, name):
    with Worker(cores=1) as worker:
        target = "benchmarks.bench_overhead:prepare_engine"
        facts = worker.prepare(target, name=name, tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in ("jaxscale", *facts["calls"])}
        seconds = take_turns(benchmark, calls, rounds)
    rates = {n: facts["run_steps"] / s for n, s in medians(seconds).items()}
    extra_info |= facts | {
        "case": name,
        "goal": GOALS["engine"],
        "seconds": seconds,
        "run_steps_per_second": rates,
        "against": {n: ratio(seconds, "jaxscale", n) for n in facts["calls"]},
    }


def prepare_stretches(name: str, tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs with a store in one piece, in stretches without a state on disk, and with many."""
    case = case_of(name, tiny)
    long = dataclasses.replace(case, n_steps=case.n_steps * (1 if tiny else STEPS_OF[name]))
    system = system_of(long, "adam")
    grid = js.Grid(system, seeds=case.n_runs)
    _bucket.LONG_SECONDS = 0.0
    plans = {"stretches": js.plan(grid, checkpoint_seconds=3600.0)}
    plans["states"] = js.plan(grid, checkpoint_seconds=OFTEN)
    (bucket,) = plans["stretches"].buckets
    one_piece = dataclasses.replace(bucket, stretched=False)  # in the same groups and chunks
    plans["one piece"] = dataclasses.replace(plans["stretches"], buckets=(one_piece,))
    written: list[int] = []
    write = States.write

    def counted(states: Any, bucket: int, chunk: int, state: Any) -> None:
        written.append(sum(leaf.nbytes for leaf in state.leaves.values()))
        write(states, bucket, chunk, state)

    States.write = counted

    def call(plan: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            js.run(plan, store=Path(folder) / "runs.zarr", progress=False)

    for plan in plans.values():
        call(plan)  # compiles
    written.clear()
    call(plans["states"])
    facts = {
        "states_per_call": len(written),
        "state_bytes": max(written, default=0),
        "plans": {what: plan.summary()["buckets"] for what, plan in plans.items()},
    }
    return {what: functools.partial(call, plan) for what, plan in plans.items()}, facts


@pytest.mark.benchmark(group="stretches")
@pytest.mark.parametrize("name", ["T2", "T3b", "T4"])
def test_stretches(benchmark, extra_info, rounds, tiny, name):
    with Worker(cores=1) as worker:
        target = "benchmarks.bench_overhead:prepare_stretches"
        facts = worker.prepare(target, name=name, tiny=tiny)
        names = ("one piece", "stretches", "states")
        calls = {n: lambda n=n: worker.time(n) for n in names}
        seconds = take_turns(benchmark, calls, rounds)
    middle = medians(seconds)
    a_state = (middle["states"] - middle["stretches"]) / max(facts["states_per_call"], 1)
    in_stretches = ratio(seconds, "stretches", "one piece")
    shares = {every: in_stretches["ratio"] - 1 + a_state / every for every in STRETCH_GOALS}
    extra_info |= facts | {
        "case": name,
        "seconds": seconds,
        "stretches": in_stretches,
        "seconds_per_state": a_state,
        "overhead": {str(every): share for every, share in shares.items()},
        "goals": {str(every): goal for every, goal in STRETCH_GOALS.items()},
    }


def prepare_many(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A grid of 10,000 runs with default records, kept in memory or written to a store."""
    side, n_steps = (10, 20) if tiny else (100, 300)
    system = js.emergence.ParityNetwork(n_steps=n_steps, **TINY_SYSTEM)
    grid = js.Grid(system, {"learning_rate": js.geomspace(0.01, 0.1, side)}, seeds=side)
    plan = js.plan(grid)
    runs = js.run(plan, progress=False)
    check_trained(runs)

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            js.run(plan, store=Path(folder) / "runs.zarr", progress=False)

    facts = {"runs": grid.n_runs, "records": len(system.record_steps), "plan": plan.summary()}
    calls = {"store": stored, "memory": lambda: js.run(plan, progress=False)}
    return calls | {"plan": lambda: js.plan(grid)}, facts | {
        "device": runs.attrs["device"],
        "commit": runs.attrs["git_commit"],
        "run_steps": grid.n_runs * n_steps,
    }


@pytest.mark.benchmark(group="many")
def test_many_tiny_runs(benchmark, extra_info, rounds, tiny):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_overhead:prepare_many", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in ("store", "memory", "plan")}
        seconds = take_turns(benchmark, calls, rounds)
    shares = [{"share": 1 - row["memory"] / row["store"]} for row in seconds]
    extra_info |= facts | {
        "goal": GOALS,
        "seconds": seconds,
        "median_seconds": medians(seconds),
        "store_share": medians(shares)["share"],
        "store_share_of_rounds": [row["share"] for row in shares],
    }
