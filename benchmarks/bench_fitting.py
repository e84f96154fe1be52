"""A thousand bootstrap refits of one set of emergence curves, against a loop of SciPy's solver.

`pytest benchmarks/bench_fitting.py --benchmark-json=benchmarks/results/fitting.json`
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxscale as js
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker

GOALS = {"seconds": 20.0, "ratio": 10.0}
FREE = ("time_scale", "target_scale")
N_SEEDS, SIGMA = 8, 0.2


def _curves() -> tuple[Any, Any, np.ndarray]:
    """A grid with wrong starts, noisy skill strengths over seeds, and their steps."""
    record = range(0, 2001, 50)
    truth = js.emergence.ParityNetwork(n_steps=2000, time_scale=0.05, record=record)
    exact = js.predict(js.Grid(truth))[["skill_strength"]].expand_dims(seed=np.arange(N_SEEDS))
    rng = np.random.default_rng(0)
    noisy = exact + SIGMA * rng.standard_normal(exact["skill_strength"].shape)
    start = js.replace(js.replace(truth, "time_scale", 0.1), "target_scale", 4.0)
    return js.Grid(start), noisy, np.asarray(list(record), float)


def _sigmoid(xp: Any, z: Any, steps: Any, probability: Any, system: Any) -> Any:
    """The closed form at `z`, logarithms of the free values, by NumPy or by JAX."""
    scale, target = xp.exp(z[0]), xp.exp(z[1])
    start, rate = float(system.initial_strength or system.init_scale**2), system.learning_rate
    decay = xp.exp(-2 * rate * target * scale * steps[:, None] * probability)
    return target / (1 + (target / start - 1) * decay)


def prepare(tiny: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Refits by jaxscale, and by SciPy with a residual in NumPy and in compiled JAX."""
    from scipy.optimize import least_squares

    n = 20 if tiny else 1000
    grid, data, steps = _curves()
    system = grid.system
    options = {"n_starts": 1, "bootstrap": n, "resample": "seed"}
    began = time.perf_counter()
    first = js.calibrate(grid, data, list(FREE), **options)
    compile_seconds = time.perf_counter() - began

    def ours() -> np.ndarray:
        return js.calibrate(grid, data, list(FREE), **options).resamples

    probability = np.asarray(js.emergence.theory.skill_probabilities(0.6, system.n_skills))
    curves = np.asarray(data["skill_strength"].transpose("seed", "step", "skill"))
    unit = np.sqrt(np.mean(curves**2))
    numbers = {k: float(getattr(system, k)) for k in ("learning_rate", "init_scale")}
    plain = type("Numbers", (), {**numbers, "initial_strength": None})

    def residual(z: Any, curve: Any, xp: Any = np) -> Any:
        expected = _sigmoid(xp, z, steps, probability, plain)
        return ((expected - curve) / unit).ravel()

    def loop(function: Any, slope: Any) -> np.ndarray:
        rng, best, refits = np.random.default_rng(0), first.coordinates, []
        for _ in range(n):
            curve = curves[rng.integers(N_SEEDS, size=N_SEEDS)]
            refits.append(least_squares(function, best, slope, args=(curve,), method="lm").x)
        return np.asarray(refits)

    jax.config.update("jax_enable_x64", True)
    compiled = jax.jit(lambda z, curve: residual(z, curve, jnp))
    jacobian = jax.jit(jax.jacfwd(lambda z, curve: residual(z, curve, jnp)))

    def scipy_numpy() -> np.ndarray:
        return loop(residual, "2-point")

    def scipy_jax() -> np.ndarray:
        return loop(
            lambda z, curve: np.asarray(compiled(z, curve)),
            lambda z, curve: np.asarray(jacobian(z, curve)),
        )

    calls = {"jaxscale": ours, "scipy_numpy": scipy_numpy, "scipy_jax": scipy_jax}
    facts = {
        "refits": n,
        "points": int(curves.size),
        "compile_seconds": compile_seconds,
        "spread": {name: np.std(call(), axis=0).tolist() for name, call in calls.items()},
    }
    return calls, facts


@pytest.mark.benchmark(group="refits")
def test_refits(benchmark, extra_info, rounds, tiny):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_fitting:prepare", tiny=tiny)
        names = ("jaxscale", "scipy_numpy", "scipy_jax")
        seconds = take_turns(benchmark, {n: lambda n=n: worker.time(n) for n in names}, rounds)
    extra_info |= facts | {
        "case": "emergence, 2 parameters",
        "goal_seconds": GOALS["seconds"],
        "goal": GOALS["ratio"],
        "median_seconds": medians(seconds),
        "against_numpy": ratio(seconds, "scipy_numpy", "jaxscale"),
        "against_jax": ratio(seconds, "scipy_jax", "jaxscale"),
    }
