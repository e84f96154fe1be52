"""Sparse-regression solvers of jaxscale against NumPy, SciPy and scikit-learn, interleaved rounds.

`python -m benchmarks.regression --case ridge minnorm plane dense --rounds 5`

Each case runs in a process of its own: `ridge` and `minnorm` on one core, the planes on all.
"""

import argparse
import concurrent.futures
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import jaxscale as js
from benchmarks.machine import cpu_model, load_average, n_cores, seconds
from benchmarks.peers import least_squares
from jaxscale import _linalg as linalg
from jaxscale.sparse._data import Inputs, draw_inputs
from jaxscale.sparse._losses import linear_loss, residual_loss
from jaxscale.sparse._narrow_columns import narrow_width, on_seen_columns
from jaxscale.sparse._padding import Padding
from jaxscale.sparse._solvers import AbstractSolver, Problem
from jaxscale.sparse._system import DATA_STREAM, FEATURE_STREAM, TEACHER_STREAM

PACKAGES = ("jaxscale", "jax", "jaxlib", "equinox", "numpy", "scipy", "scikit-learn")
GEMM_SIZE = 1024
STRENGTH = 1e-3
RIDGE_SIZES = ((32, 128, 64), (128, 64, 64), (256, 1024, 8))  # N, D, batch
MINNORM_SIZES = ((32, 128, 64), (128, 64, 64), (128, 128, 64))
TEACHERS = {"sampled": js.sparse.Sampled(), "averaged": js.sparse.Averaged()}
SPARSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
DENSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 0.0, "n_coordinates": 256}
SIDE = 256  # largest N and D of a plane
PLANES = {"plane": (SPARSE, 64, 16), "dense": (DENSE, 16, 4)}  # fields, points per axis, seeds
WARM_UP = 0.05  # shortest time a round spends on one peer


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, repeated within the round until they are no flicker."""
    n, spent = 0, 0.0
    while spent < WARM_UP:
        spent += seconds(call)
        n += 1
    return spent / n


def interleaved(
    calls: Mapping[str, Callable[[], Any]], n_rounds: int, reference: str = "jaxscale"
) -> dict[str, Any]:
    """Milliseconds and ratios to `reference` of calls that take turns, medians over rounds."""
    with threadpool_limits(1):
        for call in calls.values():
            call()
        turns = [calls.items()] * n_rounds
        rounds = [{name: 1e3 * timed(call) for name, call in turn} for turn in turns]
    ratios = {n: [r[n] / r[reference] for r in rounds] for n in calls if n != reference}
    return {
        "milliseconds": {n: statistics.median(r[n] for r in rounds) for n in calls},
        "best_milliseconds": {n: min(r[n] for r in rounds) for n in calls},
        "ratio": {n: statistics.median(r) for n, r in ratios.items()},
        "ratio_of_rounds": ratios,
        "rounds": rounds,
    }


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[], Any], float]:
    """A call that waits for its results, and the seconds of its compilation."""
    began = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(program(*arguments)), time.perf_counter() - began


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` over a leading axis as a sweep walks over groups of one run."""
    return lambda *arguments: jax.lax.map(lambda one: function(*one), arguments)


def weights(
    solver: AbstractSolver, phi: Any, targets: Any, n_columns: Any = None, rank: Any = None
) -> tuple[Any, Any]:
    """`theta` (N x t) of the last record and the diagnostics."""
    n = jnp.asarray(phi.shape[1] if n_columns is None else n_columns, jnp.int32)
    fit = solver.solve(Problem(phi, targets, jnp.asarray(float(phi.shape[0])), n, rank))
    theta = fit.coefficients[-1]
    return theta if fit.basis is None else fit.basis @ theta, fit.diagnostics


def weights_of_inputs(
    solver: AbstractSolver, inputs: Inputs, projection: Any, directions: Any, sizes: Padding
) -> tuple[Any, Any]:
    """`theta` of the regression on `F x`, from the inputs, on the columns that a sweep takes."""
    full, one_each = sizes.seen, directions.shape[1] == sizes.seen

    def solved(inputs: Inputs) -> tuple[Any, Any]:
        k = inputs.seen.shape[0]
        rows = solver.rows(inputs.values)
        w = directions[:k, :k] if one_each else directions[:k]
        phi, targets = rows.values @ projection[:, :k].T, rows.values @ w
        theta, diagnostics = weights(solver, phi, targets, rank=rows.rank)
        return jnp.pad(theta, ((0, 0), (0, full - k if one_each else 0))), diagnostics

    return on_seen_columns(solved, inputs, sizes)


def largest_difference(actual: Any, expected: Sequence[np.ndarray]) -> float:
    """Largest error of a solution, relative to its largest entry."""
    pairs = zip(np.asarray(actual), expected, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def dense_problems(n: int, d: int, n_problems: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Linear Gaussian features of Gaussian inputs with variances `i^-2`, and one teacher."""
    rng = np.random.default_rng(0)
    scale, problems = np.arange(1.0, SIDE + 1) ** -1.0, []
    for _ in range(n_problems):
        x = rng.standard_normal((d, SIDE)) * scale
        phi = x @ rng.standard_normal((SIDE, n)) / np.sqrt(n)
        problems.append((phi, x.sum(axis=1, keepdims=True)))
    return problems


def ridge(n_rounds: int) -> dict[str, Any]:
    """`Ridge` on given designs; NumPy solves the plain least squares of the same design."""
    rows = []
    for n, d, n_problems in RIDGE_SIZES:
        problems = dense_problems(n, d, n_problems)
        phi, y = (jnp.stack([jnp.asarray(p[i]) for p in problems]) for i in (0, 1))
        solver = js.sparse.Ridge(strength=STRENGTH)

        def solve(phi: Any, y: Any, solver: AbstractSolver = solver) -> Any:
            return weights(solver, phi, y)

        walked, compile_seconds = compiled(one_by_one(solve), phi, y)
        batched, _ = compiled(jax.vmap(solve), phi, y)
        expected = least_squares.gram_cholesky(problems, STRENGTH)
        difference = largest_difference(walked()[0], expected)
        calls = {
            "jaxscale": walked,
            "jaxscale, batched": batched,
            "NumPy lstsq": lambda p=problems: least_squares.lstsq(p),
            "SciPy Gram-Cholesky": lambda p=problems: least_squares.gram_cholesky(p, STRENGTH),
            "scikit-learn Ridge": lambda p=problems: least_squares.sklearn_ridge(p, STRENGTH),
        }
        rows.append(
            {"n_features": n, "n_samples": d, "problems": n_problems, "targets": 1}
            | {"compile_seconds": compile_seconds, "largest_difference": difference}
            | {"condition": float(np.median([np.linalg.cond(p) for p, _ in problems]))}
            | interleaved(calls, n_rounds)
        )
    return {"rows": rows, "strength": STRENGTH}


def draw(system: js.sparse.RandomFeatureRegression, n_runs: int) -> tuple[Inputs, Any, Any]:
    """Inputs, projections and teacher directions of runs."""
    n_features, n_samples = jnp.asarray(system.n_features), jnp.asarray(system.n_samples)

    def one(key: Any) -> tuple[Inputs, Any, Any]:
        x = draw_inputs(jr.fold_in(key, DATA_STREAM), system.coordinates, n_samples, system.padding)
        f_key, teacher_key = (jr.fold_in(key, s) for s in (FEATURE_STREAM, TEACHER_STREAM))
        f = system.features.projection(f_key, x, n_features, system.padded("n_features"))
        return x, f, system.teacher.directions(teacher_key, x)

    return jax.jit(jax.vmap(one))(jr.split(jr.key(0), n_runs))


def pieces(system: Any, x: Any, f: Any, w: Any) -> dict[str, float]:
    """Milliseconds per run of the parts of a solution, each walked over alone."""
    solver, n_runs = system.solver, len(x)
    rows = jax.jit(jax.vmap(solver.rows))(x)
    design, targets = rows.values @ f.mT, rows.values @ w
    small = min(design.shape[1:])
    tall = x if x.shape[1] >= x.shape[2] else x.mT
    square = jnp.broadcast_to(jnp.eye(small), (n_runs, small, small))
    parts = {
        "Gram matrix": (lambda a: a.T @ a, tall),
        "eigh of it": (linalg.eigh, tall.mT @ tall),
        "rows, all of it": (solver.rows, x),
        "design and targets": (lambda r, f, w: (r @ f.T, r @ w), rows.values, f, w),
        "QR of the transposed design": (linalg.qr, design.mT),
        "QR of the design": (linalg.qr, design),
        "triangular solve": (linalg.solve_lower, square, targets[:, :small]),
        "Q times solution": (lambda q, y: q.T @ y, design[:, :small], targets[:, :small]),
        "singular values": (linalg.singular_values, design),
    }
    times = {}
    for name, (function, *arguments) in parts.items():
        call, _ = compiled(one_by_one(function), *arguments)
        with threadpool_limits(1):
            call()
            times[name] = 1e3 * min(timed(call) for _ in range(3)) / n_runs
    return times


def minnorm(n_rounds: int) -> dict[str, Any]:
    """`MinNorm` from inputs and projection to weights against lstsq of the finished design."""
    rows = []
    for n, d, n_runs in MINNORM_SIZES:
        for teacher in TEACHERS:
            system = js.sparse.RandomFeatureRegression(
                n_features=n, n_samples=d, teacher=TEACHERS[teacher], **SPARSE
            )
            drawn, f, w = draw(system, n_runs)

            def solve(x: Inputs, f: Any, w: Any, system: Any = system) -> Any:
                return weights_of_inputs(system.solver, x, f, w, system.padding)

            walked, compile_seconds = compiled(one_by_one(solve), drawn, f, w)
            batched, _ = compiled(jax.vmap(solve), drawn, f, w)
            x, real = drawn.values, np.asarray(drawn.seen)
            inputs, projections = np.asarray(x), np.asarray(f)
            targets = [
                np.asarray(a @ b)[:, r if teacher == "averaged" else slice(None)]
                for a, b, r in zip(x, w, real, strict=True)
            ]
            designs = [a @ b.T for a, b in zip(inputs, projections, strict=True)]
            problems = list(zip(designs, targets, strict=True))
            expected = least_squares.lstsq(problems)
            actual = [
                np.asarray(t)[:, r if teacher == "averaged" else slice(None)]
                for t, r in zip(walked()[0], real, strict=True)
            ]
            errors = [largest_difference([a], [b]) for a, b in zip(actual, expected, strict=True)]
            calls = {
                "jaxscale": walked,
                "jaxscale, batched": batched,
                "NumPy lstsq": lambda p=problems: least_squares.lstsq(p),
                "NumPy lstsq and design": lambda x=inputs, f=projections, y=targets: (
                    least_squares.lstsq_of_inputs(x, f, y)
                ),
            }
            plan = js.plan(js.Grid(system, seeds=n_runs))
            rows.append(
                {"n_features": n, "n_samples": d, "problems": n_runs, "teacher": teacher}
                | {"columns": [int(k) for k in np.percentile(real.sum(1), (0, 50, 100))]}
                | {"padded_columns": x.shape[2], "narrow_columns": narrow_width(system.padding)}
                | {"group_of_plan": plan.buckets[0].group}
                | {"compile_seconds": compile_seconds, "largest_difference": max(errors)}
                | interleaved(calls, n_rounds)
                | {"pieces_milliseconds": pieces(system, x, f, w)}
            )
    return {"rows": rows, **SPARSE}


def gemm_peak() -> float:
    """Best of ten float64 products in NumPy, all cores, in FLOP/s."""
    a = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE))
    return 2 * GEMM_SIZE**3 / min(seconds(lambda: a @ a) for _ in range(10))


def pieces_of_run(system: js.sparse.RandomFeatureRegression, n_runs: int = 32) -> dict[str, float]:
    """Milliseconds per run of its steps on one device, at the sizes of the padding."""
    drawn, f, w = draw(system, n_runs)
    x = drawn.values
    sizes, solver = system.padding, system.solver
    n_samples, n_features = jnp.asarray(system.n_samples), jnp.asarray(system.n_features)
    keys = jr.split(jr.key(0), n_runs)

    def data(key: Any) -> Any:
        return draw_inputs(key, system.coordinates, n_samples, sizes).without(0)

    inputs = jax.jit(jax.vmap(data))(keys)
    rows = jax.jit(jax.vmap(solver.rows))(x)

    def projection(key: Any, inputs: Any) -> Any:
        return system.features.projection(key, inputs, n_features, system.padded("n_features"))

    def solve(rows: Any, f: Any, w: Any) -> Any:
        d = n_samples.astype(f.dtype)
        design, targets = rows.values @ f.T, rows.values @ w
        return solver.solve(Problem(design, targets, d, n_features, rows.rank))

    def loss(fit: Any, inputs: Any, f: Any, w: Any) -> Any:
        return linear_loss(fit, inputs, f, w, system.features.leak(n_features))

    fit = jax.jit(one_by_one(solve))(rows, f, w)
    parts = {
        "inputs": (data, keys),
        "projection": (projection, keys, inputs),
        "rows": (solver.rows, x),
        "residual loss": (residual_loss, inputs, rows),
        "design and solution": (solve, rows, f, w),
        "loss": (loss, fit, inputs, f, w),
    }
    times = {}
    for name, (function, *arguments) in parts.items():
        call, _ = compiled(one_by_one(function), *arguments)
        with threadpool_limits(1):
            call()
            times[name] = 1e3 * min(timed(call) for _ in range(3)) / n_runs
    return times


def plane(name: str, n_rounds: int) -> dict[str, Any]:
    """All runs of an (N, D) plane through `js.run`."""
    fields, n_points, n_seeds = PLANES[name]
    values = [SIDE * (i + 1) // n_points for i in range(n_points)]
    system = js.sparse.RandomFeatureRegression(n_features=SIDE, n_samples=SIDE, **fields)
    grid = js.Grid(system, {"n_features": values, "n_samples": values}, seeds=n_seeds)
    planned, peaks, rounds = js.plan(grid), [gemm_peak()], []
    first = js.run(planned, progress=False)
    for _ in range(n_rounds):
        rounds.append(seconds(lambda: js.run(planned, progress=False)))
    peaks.append(gemm_peak())
    one = {"n_features": SIDE, "n_samples": SIDE}
    own = sum(
        js.sparse.RandomFeatureRegression(**(one | {"n_features": n, "n_samples": d}), **fields)
        .work()
        .flops
        for n in values
        for d in values
    )
    taken, useful = statistics.median(rounds), n_seeds * own
    status = np.asarray(first["status"]).ravel()
    return {
        "runs": planned.n_runs,
        "points_per_axis": n_points,
        "seeds": n_seeds,
        "largest_size": SIDE,
        "fields": {k: float(v) for k, v in fields.items()},
        "padded_columns": [b.traced_system.padding.seen for b in planned.buckets],
        "status_counts": {s.name: int((status == s).sum()) for s in js.Status},
        "seconds": taken,
        "seconds_of_rounds": rounds,
        "compile_seconds": float(first.attrs["compile_seconds"]),
        "runs_per_second": planned.n_runs / taken,
        "flops_of_own_sizes": useful,
        "flops_of_padded_sizes": planned.flops,
        "gemm_peak_gflops": max(peaks) / 1e9,
        "gemm_peak_gflops_before_after": [p / 1e9 for p in peaks],
        "fraction_of_gemm_peak": useful / taken / max(peaks),
        "padded_fraction_of_gemm_peak": planned.flops / taken / max(peaks),
        "pieces_milliseconds": pieces_of_run(planned.buckets[0].traced_system),
        "plan": planned.summary(),
        "devices": planned.n_devices,
    }


CASES: dict[str, Callable[[int], dict[str, Any]]] = {
    "ridge": ridge,
    "minnorm": minnorm,
    "plane": lambda n_rounds: plane("plane", n_rounds),
    "dense": lambda n_rounds: plane("dense", n_rounds),
}


def measure(name: str, n_rounds: int) -> dict[str, Any]:
    """One case in a fresh process, on one core unless it is a plane."""
    on_all = name in PLANES
    if not on_all and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cores = n_cores()
    jax.config.update("jax_num_cpu_devices", cores)
    load_before = load_average()
    with jax.enable_x64(True):
        result = CASES[name](n_rounds)
    return {
        "case": name,
        **result,
        "dtype": "float64",
        "device": jax.devices()[0].device_kind,
        "cpu": cpu_model(),
        "cores": cores,
        "load_before": load_before,
        "load_after": load_average(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def show(result: dict[str, Any]) -> Table:
    """Printable table of one case."""
    table = Table(title=result["case"], title_justify="left")
    if "rows" not in result:
        for name in ("runs", "compile_seconds", "seconds", "runs_per_second"):
            table.add_column(name.replace("_", " "), justify="right")
        table.add_column("of GEMM peak (padded)", justify="right")
        share = f"{result['fraction_of_gemm_peak']:.1%}"
        share += f" ({result['padded_fraction_of_gemm_peak']:.1%})"
        numbers = (result[n] for n in ("compile_seconds", "seconds", "runs_per_second"))
        table.add_row(str(result["runs"]), *(f"{x:,.1f}" for x in numbers), share)
        return table
    for column in ("N, D, batch", "", "ms per problem", "ratio (rounds)"):
        table.add_column(column)
    for row in result["rows"]:
        sizes = f"{row['n_features']}, {row['n_samples']}, {row['problems']}"
        sizes += f" {row['teacher']}" if "teacher" in row else ""
        for name, time_of_batch in row["milliseconds"].items():
            ratio = ""
            if name in row["ratio"]:
                low, high = (f(row["ratio_of_rounds"][name]) for f in (min, max))
                ratio = f"{row['ratio'][name]:.2f}x ({low:.2f} to {high:.2f})"
            table.add_row(sizes, name, f"{time_of_batch / row['problems']:.4f}", ratio)
    table.caption = (
        f"{result['device']}; load {result['load_before'][0]} to {result['load_after'][0]}"
    )
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    console, spawn = Console(width=110), multiprocessing.get_context("spawn")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.case:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as alone:
            result = alone.submit(measure, name, given.rounds).result()
        path = given.out / f"regression_{name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        console.print(show(result))


if __name__ == "__main__":
    main()
