"""Tables of the regression solvers."""

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table

REGRESSION = ("ridge", "minnorm", "plane", "dense")
SOLVER_COLUMNS = (
    "solver",
    "N, D, batch",
    "jaxscale, us per problem",
    "other",
    "other, us per problem",
    "ratio (rounds)",
    "compile (s)",
    "load before, after",
)
PLANE_COLUMNS = (
    "plane",
    "N x D x seeds",
    "compile, run (s)",
    "runs/s",
    "of GEMM peak (padded)",
    "load before, after",
)


def solver_rows(result: dict[str, Any]) -> list[list[str]]:
    """Cells of the solvers of one case: jaxscale as a sweep runs it, then every peer."""
    table = []
    for case in result["rows"]:
        sizes = f"{case['n_features']}, {case['n_samples']}, {case['problems']}"
        for peer, ratio in case["ratio"].items():
            rounds, per_problem = case["ratio_of_rounds"][peer], 1e3 / case["problems"]
            table.append(
                [
                    f"{result['case']} {case.get('teacher', '')}".rstrip(),
                    sizes,
                    f"{case['milliseconds']['jaxscale'] * per_problem:,.0f}",
                    peer,
                    f"{case['milliseconds'][peer] * per_problem:,.0f}",
                    f"**{ratio:.2f}x** ({min(rounds):.2f} to {max(rounds):.2f})",
                    f"{case['compile_seconds']:.1f}",
                    f"{result['load_before'][0]:.1f}, {result['load_after'][0]:.1f}",
                ]
            )
    return table


def plane_row(result: dict[str, Any]) -> list[str]:
    """Cells of one plane."""
    points = result["points_per_axis"]
    return [
        result["case"],
        f"{points} x {points} x {result['seeds']}",
        f"{result['compile_seconds']:.1f}, {result['seconds']:.1f}",
        f"{result['runs_per_second']:,.0f}",
        f"{result['fraction_of_gemm_peak']:.1%} ({result['padded_fraction_of_gemm_peak']:.1%})",
        f"{result['load_before'][0]:.1f}, {result['load_after'][0]:.1f}",
    ]


def regression_parts(results: Path) -> list[str]:
    """Tables of the regression solvers, for the cases that were measured."""
    files = [results / f"regression_{name}.json" for name in REGRESSION]
    measured = [json.loads(path.read_text()) for path in files if path.exists()]
    solvers = [line for f in measured if "rows" in f for line in solver_rows(f)]
    planes = [plane_row(f) for f in measured if "rows" not in f]
    parts = [table(SOLVER_COLUMNS, solvers)] if solvers else []
    parts += [table(PLANE_COLUMNS, planes)] if planes else []
    devices = dict.fromkeys(
        f"{f['cores']} core{'s' if f['cores'] > 1 else ''} of {f['cpu']}, float64; jax "
        f"{f['versions']['jax']}, NumPy {f['versions']['numpy']}, SciPy {f['versions']['scipy']}, "
        f"scikit-learn {f['versions']['scikit-learn']}, Python {f['python']}; {f['date']}."
        for f in measured
    )
    return [*parts, *devices]
