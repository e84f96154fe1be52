"""What a worker prepares for one of the cases T1 to T5: jaxscale, and the same runs elsewhere."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.random as jr
import numpy as np

from benchmarks.cases import Case, Sweep, case_of, config_of, system_of
from benchmarks.machine import cpu_model, gemm_peak, load_average, n_cores, seconds
from benchmarks.memory import compiled_bytes
from benchmarks.peers import jit_vmap, torch_ensemble, torch_loop

__all__ = ["cpu_model", "load_average", "n_cores", "prepare", "seconds"]
TRIED = 0.05  # seconds of the trial from which the length of a call is chosen

Calls = dict[str, Callable[[], Any]]


def long_enough(train: Callable[[int], Any], least: float) -> int:
    """Steps after which `train` has taken about `least` seconds."""
    n_steps = 1
    train(n_steps)  # the first call is slower
    while (spent := seconds(functools.partial(train, n_steps))) < min(TRIED, least):
        n_steps *= 4
    return max(2, math.ceil(n_steps * least / spent))


def peers(case: Case, optimizer: str, least: float) -> tuple[Calls, dict[str, int], dict[str, Any]]:
    """Calls of every peer, the run-steps of each, and facts."""
    config = config_of(system_of(case, optimizer), optimizer)
    calls, run_steps = {}, {}

    def add(name: str, train: Callable[[int], Any], n_runs: int) -> None:
        n_steps = long_enough(train, least)
        calls[name], run_steps[name] = (lambda: train(n_steps)), n_runs * n_steps

    for threads in sorted({1, n_cores()}):
        for peer, n_runs in ((torch_loop, 1), (torch_ensemble, case.n_runs)):

            def train(n_steps: int, peer: Any = peer, n: int = n_runs, t: int = threads) -> None:
                peer.train_grid(dataclasses.replace(config, n_steps=n_steps), n, t)

            add(f"{peer.__name__.rpartition('.')[2]}_{threads}", train, n_runs)

    keys, few = jr.split(jr.key(0), case.n_runs), np.int32(1)
    lowered = jit_vmap.make_grid(config).lower(keys, few)
    began = time.perf_counter()
    program = lowered.compile()
    compile_seconds = time.perf_counter() - began
    add("jit_vmap", lambda n: jax.block_until_ready(program(keys, np.int32(n))), case.n_runs)
    temporary = program.memory_analysis().temp_size_in_bytes
    facts = {"compile_seconds": compile_seconds, "temporary_bytes_per_run": temporary / case.n_runs}
    return calls, run_steps, {"jit_vmap": facts, "config": dataclasses.asdict(config)}


def prepare(name: str, optimizer: str, tiny: bool, least: float) -> tuple[Calls, dict[str, Any]]:
    """Compile and warm up everything.

    **Arguments**

    - `name`, `optimizer`: the case.
    - `tiny`: show that it works, measure nothing.
    - `least`: seconds that one call of a peer should take.

    **Returns** calls by name, and facts: run-steps of every call, compile seconds, bytes.
    """
    case = case_of(name, tiny)
    bare = Sweep(system_of(case, optimizer), case.n_runs)
    records = np.unique(np.linspace(0, case.n_steps, case.n_records).astype(int))
    evaluated = Sweep(
        system_of(case, optimizer, record=records.tolist(), n_evaluation=case.n_inputs), case.n_runs
    )
    calls, run_steps, facts = peers(case, optimizer, least)
    plan = bare.plan
    return {"jaxscale": bare, "evaluated": evaluated, **calls}, facts | {
        "case": name,
        "optimizer": optimizer,
        "grid": dataclasses.asdict(case),
        "run_steps": {"jaxscale": bare.run_steps, "evaluated": evaluated.run_steps, **run_steps},
        "flops_per_run_step": case.flops,
        "gemm_peak": gemm_peak(),
        "evaluation": {"records": len(records), "inputs_per_skill": case.n_inputs},
        "compile_seconds": bare.compile_seconds,
        "compiled_bytes_per_run": compiled_bytes(plan) / plan.buckets[0].group,
        "plan": plan.summary(),
        "device": bare.device,
        "dtype": plan.grid.system.dtype,
        "cores": n_cores(),
        "commit": bare.commit,
    }
