"""T8: the exact curve of a bottleneck against descent, and the speed of a minibatch student.

`pytest benchmarks/bench_superposition.py --benchmark-json=benchmarks/results/superposition.json`
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker
from jaxscale.keys import root_key
from jaxscale.training import INIT_STREAM

GOALS = {"exact": 60.0, "distance": 1e-12, "gemm": 0.6}
GEMM_SIZE = 1024
REPEATS = 20  # of the exact curve within a round: one takes milliseconds


def prepare_exact(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run of population descent in float64, and its exact curve at the same 60 times."""
    s = js.superposition
    system = s.TeacherStudent(
        n_features=256, latent_size=64, frequency_exponent=1.5, decoder=s.Linear(),
        initial=s.Zeros(), gradient=s.Population(), n_steps=200 if tiny else 10_000,
        dtype="float64",
    )  # fmt: skip
    jax.config.update("jax_enable_x64", True)
    key, steps = root_key(0), np.asarray(system.record_steps, float)
    state = eqx.filter_jit(system.init)(jr.fold_in(key, INIT_STREAM))
    w, rate = state.student.embedding, state.task.rates["matrix"]
    numbers = {"frequency_exponent": 1.5, "importance_exponent": 0.0}
    descend = jax.jit(lambda k: system.simulate(k)["loss"]).lower(key).compile()

    def exact() -> np.ndarray:
        loss = s.theory.bottleneck_loss(steps, w, learning_rate=rate, discrete=True, **numbers)
        return np.asarray(loss)

    curve, run = exact(), np.asarray(descend(key))
    facts = {"steps": system.n_steps, "distance": float(np.max(np.abs(curve / run - 1)))}
    repeated = lambda: [exact() for _ in range(REPEATS)]  # noqa: E731
    return {"descent": lambda: np.asarray(descend(key)), "exact": repeated}, facts


def prepare_student(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Steps of a minibatch ReLU student, and a square matrix product on the same core."""
    s = js.superposition
    n, k, batch, steps = 512, 256, 128, 20 if tiny else 300
    system = s.TeacherStudent(
        n_features=n, latent_size=k, frequency_exponent=1.1, inputs=s.Bernoulli(),
        gradient=s.FreshBatches(batch_size=batch), learning_rate=0.05, n_steps=steps,
        record=[0, steps],
    )  # fmt: skip
    key = root_key(0)
    start = eqx.filter_jit(system.init)(key)

    def train(state: Any, key: Any) -> Any:
        def step(t: Any, state: Any) -> Any:
            return system.step(state, jr.fold_in(key, t))

        return jax.lax.fori_loop(0, steps, step, state).trained

    program = eqx.filter_jit(train).lower(start, key).compile()
    # W^T and B forward; the gradients of the latent vector and of B: products actually computed
    flops = steps * batch * (4.0 * n * k + 4.0 * k * k)
    square = jr.normal(key, (GEMM_SIZE, GEMM_SIZE))
    product = jax.jit(jnp.matmul).lower(square, square).compile()
    repeats = max(1, round(flops / (2.0 * GEMM_SIZE**3)))

    def gemm() -> None:
        for _ in range(repeats):
            product(square, square).block_until_ready()

    facts = {"flops": flops, "gemm_flops": repeats * 2.0 * GEMM_SIZE**3, "steps": steps}
    return {"student": lambda: jax.block_until_ready(program(start, key)), "gemm": gemm}, facts


@pytest.mark.benchmark(group="exact curve")
def test_exact_curve(benchmark, extra_info, rounds, tiny):
    with Worker(cores=1) as worker:
        facts = worker.prepare("benchmarks.bench_superposition:prepare_exact", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in ("exact", "descent")}
        seconds = take_turns(benchmark, calls, rounds)
    seconds = [row | {"exact": row["exact"] / REPEATS} for row in seconds]
    extra_info |= facts | {
        "case": "T8",
        "goal": GOALS["exact"],
        "goal_distance": GOALS["distance"],
        "median_seconds": medians(seconds),
        "against": ratio(seconds, "descent", "exact"),
    }


@pytest.mark.benchmark(group="student")
def test_student(benchmark, extra_info, rounds, tiny):
    with Worker(cores=1) as worker:
        facts = worker.prepare("benchmarks.bench_superposition:prepare_student", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in ("student", "gemm")}
        seconds = take_turns(benchmark, calls, rounds)
    shares = [
        {"share": facts["flops"] / row["student"] / (facts["gemm_flops"] / row["gemm"])}
        for row in seconds
    ]
    extra_info |= facts | {
        "case": "student",
        "goal": GOALS["gemm"],
        "median_seconds": medians(seconds),
        "share_of_gemm_peak": medians(shares)["share"],
        "share_of_rounds": [row["share"] for row in shares],
    }
