"""Streaming regression: a grid against loops over runs, and theory against integration in time.

`pytest benchmarks/bench_streaming.py --benchmark-json=benchmarks/results/streaming.json`
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import ttest_ind

import jaxscale as js
from benchmarks import machine
from benchmarks.peers import streaming as peers
from benchmarks.rounds import medians, ratio, take_turns
from benchmarks.worker import Worker
from jaxscale._linalg import one_blas_thread
from jaxscale.fields import dtype_field, record_field, static_int
from jaxscale.keys import root_key
from jaxscale.streaming._spaces import draw_samples

st = js.streaming
D, V, STEPS = 128, 512, 10_000
POINT = {"input_exponent": 0.8, "target_exponent": 0.3, "noise": 0.1, "learning_rate": 0.14}
AXES = {
    "input_exponent": [0.7, 0.8, 0.9, 1.0, 1.2],
    "target_exponent": [0.2, 0.3, 0.6, 0.9, 1.2],
    "learning_rate": [0.05, 0.08, 0.11, 0.14],
    "noise": [0.0, 0.1],
}  # 200 points
GOAL = 30.0  # over the loop in coordinates
LOOPS = {"coordinates": peers.in_coordinates, "modes": peers.in_modes, "jax": peers.jax_loop}
SECONDS = 0.5  # that one call of a loop takes
COMPARED, LEVEL = 24, 1e-3
TOLERANCE = 1e-6  # of theory against integration

Calls = dict[str, Callable[[], Any]]


class Draws(js.AbstractTrainedSystem):
    """The normal numbers of `StreamingRegression`, added up: what no simulation can go below."""

    n_features: int = static_int(D)
    n_steps: int = static_int(STEPS)
    record: Any = record_field()
    dtype: str = dtype_field("float32")

    @property
    def schema(self) -> js.Schema:
        """The mean square of the sums, as the loss."""
        steps = np.asarray(self.record_steps)
        return js.Schema({"loss": js.Observable(("step",), "1", "")}, {"step": steps}, "draws")

    def init(self, key: Any) -> Any:
        """Nothing drawn."""
        return jnp.zeros(self.n_features), jnp.zeros(())

    def step(self, state: Any, key: Any) -> Any:
        """One more sample."""
        inputs, label = draw_samples(key, 1, self.n_features, jnp.dtype(self.dtype))
        return state[0] + inputs[0], state[1] + label[0]

    def observe(self, state: Any) -> Any:
        """Mean square."""
        return {"loss": jnp.mean(state[0] ** 2) + state[1] ** 2}

    def predict(self) -> Any:
        """Nothing."""
        return {}

    def work(self) -> Any:
        """That of the regression: its groups."""
        return system(self.n_steps).work()


def system(n_steps: int, **fields: Any) -> Any:
    """The regression that is measured."""
    record = [0, *(n for n in (100, 1000) if n < n_steps), n_steps]
    given = {"n_features": D, "n_coordinates": V, "n_steps": n_steps, "record": record}
    return st.StreamingRegression(**{**given, **POINT, **fields})


class Sweep:
    """A planned grid that is compiled and checked when made, and runs when called."""

    def __init__(self, grid: js.Grid):
        self.plan = js.plan(grid)
        began = time.perf_counter()
        runs = self()
        self.first_seconds = time.perf_counter() - began
        self.compile_seconds = float(runs.attrs["compile_seconds"])
        self.facts = {k: runs.attrs[k] for k in ("device", "git_commit")}
        self.n_runs = self.plan.n_runs

    def __call__(self) -> Any:
        """Run every run once."""
        runs = js.run(self.plan, progress=False)
        if int((runs["status"] != js.Status.ok).sum()):
            raise RuntimeError("some runs did not end well")
        return runs


def grid_of(n_steps: int, n_seeds: int, **more: Any) -> js.Grid:
    """The grid over exponents, rates, noise and seeds."""
    return js.Grid(system(n_steps), axes={**AXES, **more}, seeds=n_seeds)


def check_same(runs: Any, losses: np.ndarray) -> list[float]:
    """P-values of the means of logarithms of two samples of runs, by record."""
    ours = np.log(runs["loss"].transpose("seed", "step").values[:, 1:])
    p = np.asarray(ttest_ind(ours, np.log(losses[:, 1:]), equal_var=False)[1])
    if np.min(p) < LEVEL / (p.size * len(LOOPS)):
        raise RuntimeError(f"the loop has another mean loss: p = {p}")
    return p.tolist()


def on_one_thread(loop: Callable[..., Any], point: peers.Point, seeds: range) -> np.ndarray:
    """A loop without threads of BLAS, which wait for each other where matrices are small."""
    with one_blas_thread():
        return loop(point, seeds)


def prepare_loops(tiny: bool) -> tuple[Calls, dict[str, Any]]:
    """A grid of runs, its normal numbers alone, and loops over runs of one of its points."""
    n_steps, n_seeds = (100, 1) if tiny else (STEPS, 2)
    one = system(n_steps)
    sweep = Sweep(grid_of(n_steps, n_seeds))
    draws = Sweep(js.Grid(Draws(n_steps=n_steps, record=(0, n_steps)), seeds=sweep.n_runs))
    calls: Calls = {"jaxscale": sweep, "draws": draws}
    run_steps = dict.fromkeys(calls, sweep.n_runs * n_steps)
    compared = js.run(js.Grid(one, seeds=4 * COMPARED), progress=False)
    point = peers.Point(D, V, *POINT.values(), record=one.record_steps)  # pyright: ignore
    p_values, compile_seconds = {}, {"jaxscale": sweep.compile_seconds}
    for name, function in LOOPS.items():
        loop = functools.partial(on_one_thread, function)
        first = machine.seconds(functools.partial(loop, point, range(1)))
        began = time.perf_counter()
        p_values[name] = check_same(compared, loop(point, range(COMPARED)))
        each = (time.perf_counter() - began) / COMPARED
        compile_seconds |= {name: first - each} if name == "jax" else {}
        n = 1 if tiny else max(1, round(SECONDS / each))
        calls[name], run_steps[name] = functools.partial(loop, point, range(n)), n * n_steps
    sizes = grid_of(n_steps, 1, n_features=[64, D])
    return calls, {
        **sweep.facts,
        "run_steps": run_steps,
        "n_runs": sweep.n_runs,
        "n_steps": n_steps,
        "compile_seconds": compile_seconds,
        "p_values": p_values,
        "plan": sweep.plan.summary(),
        "programs_of_all_axes": len(js.plan(sizes, max_programs=1).buckets),
    }


def prepare_many(tiny: bool) -> tuple[Calls, dict[str, Any]]:
    """Ten thousand runs, once, between calls of a twentieth of their normal numbers."""
    n_steps, n_seeds, share = (100, 1, 1) if tiny else (STEPS, 50, 20)
    plan = js.plan(grid_of(n_steps, n_seeds))
    draws = Sweep(js.Grid(Draws(n_steps=n_steps, record=(0, n_steps)), seeds=plan.n_runs // share))
    before, began = machine.seconds(draws), time.perf_counter()
    runs = js.run(plan, progress=False)
    seconds = time.perf_counter() - began
    limit = share * (before + machine.seconds(draws)) / 2
    ratios = runs["loss"] / runs["expected_loss"]
    return {}, {
        "n_runs": plan.n_runs,
        "n_steps": n_steps,
        "seconds": seconds,
        "compile_seconds": float(runs.attrs["compile_seconds"]),
        "limit_seconds": limit,
        "mean_over_exact": [float(x) for x in ratios.isel(step=-1).mean("seed").quantile([0, 1])],
        "failed": int((runs["status"] != js.Status.ok).sum()),
        "plan": plan.summary(),
    }


def integrated(method: str, times: np.ndarray, modes: Any, eta: float) -> np.ndarray:
    """Mean loss of small steps of one run by integrating its moments, at batch 1.

    Powers `p_i = lambda_i E u_i^2` decay by `2 eta lambda_i` and gain `(eta lambda_i)^2 2 L`.
    """
    lam, power, omega = modes
    gain = (eta * lam) ** 2

    def slope(_: float, p: np.ndarray) -> np.ndarray:
        return gain * (omega + p.sum()) - 2 * eta * lam * p

    jacobian = gain[:, None] - np.diag(2 * eta * lam)
    given = {"LSODA": {"jac": lambda _, p: jacobian}, "BDF": {"jac": jacobian}}.get(method, {})
    options = {"t_eval": times, "rtol": 1e-9, "atol": 1e-14, **given}
    solved = solve_ivp(slope, (0.0, times[-1]), power, method=method, **options)
    return (omega + solved.y.sum(0)) / 2


def prepare_theory(tiny: bool) -> tuple[Calls, dict[str, Any]]:
    """Mean curves of many runs by theory, and of a few by integration, in float64."""
    jax.config.update("jax_enable_x64", True)
    n = 4 if tiny else 64
    keys, eta = jr.split(root_key(0), n), POINT["learning_rate"]
    one = system(STEPS, dtype="float64")

    def modes_of(key: Any) -> tuple[Any, ...]:
        drawn = st.modes_of(one, key)
        return drawn.eigenvalues, drawn.target_power, drawn.unreachable

    modes = jax.jit(jax.vmap(modes_of))(keys)
    times = np.geomspace(1.0, STEPS, 60)

    def curve(eigenvalues: Any, power: Any, unreachable: Any) -> Any:
        return st.theory.sgd_loss(
            times, eigenvalues, power, unreachable=unreachable, learning_rate=eta, discrete=False
        )

    began = time.perf_counter()
    theory = jax.jit(jax.vmap(curve)).lower(*modes).compile()
    compile_seconds = time.perf_counter() - began
    exact = np.asarray(theory(*modes))
    calls: Calls = {"jaxscale": lambda: jax.block_until_ready(theory(*modes))}
    distance, few = {}, [tuple(np.asarray(m[i]) for m in modes) for i in range(2)]
    for method in ("LSODA", "BDF", "RK45"):

        def call(method: str = method) -> list[np.ndarray]:
            return [integrated(method, times, one, eta) for one in few]

        distance[method] = float(np.max(np.abs(np.asarray(call()) / exact[:2] - 1)))
        calls[method] = call
    if max(distance.values()) > TOLERANCE:
        raise RuntimeError(f"integration and theory differ: {distance}")
    facts = {"n_runs": {"jaxscale": n, **dict.fromkeys(distance, 2)}, "distance": distance}
    return calls, facts | {"compile_seconds": compile_seconds, "n_times": times.size}


@pytest.mark.benchmark(group="streaming")
def test_loops(benchmark, extra_info, rounds, tiny):
    with Worker() as worker:
        facts = worker.prepare("benchmarks.bench_streaming:prepare_loops", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in facts["run_steps"]}
        seconds = take_turns(benchmark, calls, rounds)
    rates = [{n: facts["run_steps"][n] / s for n, s in row.items()} for row in seconds]
    extra_info |= facts | {
        "goal": GOAL,
        "run_steps_per_second": medians(rates),
        "against": {n: ratio(rates, "jaxscale", n) for n in (*LOOPS, "draws")},
    }
    assert facts["programs_of_all_axes"] == 1


@pytest.mark.benchmark(group="streaming, many")
def test_ten_thousand(benchmark, extra_info, tiny):
    with Worker() as worker:
        prepare = functools.partial(worker.prepare, "benchmarks.bench_streaming:prepare_many")
        facts = benchmark.pedantic(prepare, kwargs={"tiny": tiny}, rounds=1)
    extra_info |= facts
    assert facts["failed"] == 0


@pytest.mark.benchmark(group="streaming, theory")
def test_theory(benchmark, extra_info, rounds, tiny):
    with Worker(cores=1) as worker:
        facts = worker.prepare("benchmarks.bench_streaming:prepare_theory", tiny=tiny)
        calls = {n: lambda n=n: worker.time(n) for n in facts["n_runs"]}
        seconds = take_turns(benchmark, calls, rounds)
    each = [{n: s / facts["n_runs"][n] for n, s in row.items()} for row in seconds]
    extra_info |= facts | {
        "seconds_per_run": medians(each),
        "against": {n: ratio(each, n, "jaxscale") for n in facts["distance"]},
    }
