"""Rewrite the tables of README.md from the JSON files: `python -m benchmarks.table`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
REGRESSION = ("ridge", "minnorm", "plane", "dense")
COLUMNS = (
    "case",
    "width, batch, runs",
    "optimizer",
    "jaxscale run-steps/s",
    "PyTorch, 1 thread",
    "PyTorch, all cores",
    "ratio (rounds)",
    "ratio with evaluation",
    "GFLOP/s (of GEMM peak)",
    "compile, run (s)",
    "load before, after",
)
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


def row(found: dict[str, Any]) -> list[str]:
    """Cells of one case."""
    grid, rate = found["grid"], found["run_steps_per_second"]
    rounds, most = found["ratio_of_rounds"], f"torch_{found['cores']}"
    return [
        found["case"],
        f"{grid['width']}, {grid['batch_size']}, {grid['n_runs']}",
        found["optimizer"],
        f"{rate['jaxscale']:,.0f}",
        f"{rate['torch_1']:,.0f}",
        f"{rate[most]:,.0f}",
        f"**{found['ratio']:.1f}x** ({min(rounds):.1f} to {max(rounds):.1f})",
        f"{found['evaluation']['ratio']:.1f}x",
        f"{found['gflops']['jaxscale']:.1f} ({found['fraction_of_gemm_peak']:.0%})",
        f"{found['compile_seconds']:.1f}, {found['run_seconds']:.2f}",
        f"{found['load_before'][0]:.1f}, {found['load_after'][0]:.1f}",
    ]


def lines_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def solver_rows(found: dict[str, Any]) -> list[list[str]]:
    """Cells of the solvers of one case: jaxscale as a sweep runs it, then every peer."""
    table = []
    for case in found["rows"]:
        sizes = f"{case['n_features']}, {case['n_samples']}, {case['problems']}"
        for peer, ratio in case["ratio"].items():
            rounds, per_problem = case["ratio_of_rounds"][peer], 1e3 / case["problems"]
            table.append(
                [
                    f"{found['case']} {case.get('teacher', '')}".rstrip(),
                    sizes,
                    f"{case['milliseconds']['jaxscale'] * per_problem:,.0f}",
                    peer,
                    f"{case['milliseconds'][peer] * per_problem:,.0f}",
                    f"**{ratio:.2f}x** ({min(rounds):.2f} to {max(rounds):.2f})",
                    f"{case['compile_seconds']:.1f}",
                    f"{found['load_before'][0]:.1f}, {found['load_after'][0]:.1f}",
                ]
            )
    return table


def plane_row(found: dict[str, Any]) -> list[str]:
    """Cells of one plane."""
    points = found["points_per_axis"]
    return [
        found["case"],
        f"{points} x {points} x {found['seeds']}",
        f"{found['compile_seconds']:.1f}, {found['seconds']:.1f}",
        f"{found['runs_per_second']:,.0f}",
        f"{found['fraction_of_gemm_peak']:.1%} ({found['padded_fraction_of_gemm_peak']:.1%})",
        f"{found['load_before'][0]:.1f}, {found['load_after'][0]:.1f}",
    ]


def regression_parts(results: Path) -> list[str]:
    """Tables of the regression solvers, for the cases that were measured."""
    files = [results / f"regression_{name}.json" for name in REGRESSION]
    found = [json.loads(path.read_text()) for path in files if path.exists()]
    solvers = [line for f in found if "rows" in f for line in solver_rows(f)]
    planes = [plane_row(f) for f in found if "rows" not in f]
    parts = [lines_of(SOLVER_COLUMNS, solvers)] if solvers else []
    parts += [lines_of(PLANE_COLUMNS, planes)] if planes else []
    devices = dict.fromkeys(
        f"{f['cores']} core{'s' if f['cores'] > 1 else ''} of {f['cpu']}, float64; jax "
        f"{f['versions']['jax']}, NumPy {f['versions']['numpy']}, SciPy {f['versions']['scipy']}, "
        f"scikit-learn {f['versions']['scikit-learn']}, Python {f['python']}; {f['date']}."
        for f in found
    )
    return [*parts, *devices]


def block(results: Path = HERE / "results") -> str:
    """The generated part of the README."""
    files = sorted(results.glob("T*.json"))
    found = [json.loads(path.read_text()) for path in files]
    parts = [lines_of(COLUMNS, map(row, found))]
    for device in dict.fromkeys(
        f"{f['cores']} cores of {f['cpu']}; jax {f['versions']['jax']}, torch "
        f"{f['versions']['torch']}, Python {f['python']}; {f['date']}."
        for f in found
    ):
        parts.append(device)
    parts += regression_parts(results)
    path = results / "import_time.json"
    if path.exists():
        imported = json.loads(path.read_text())
        parts.append(
            f"`import jaxscale` adds {imported['added_seconds']:.2f} s to the "
            f"{imported['without_seconds']:.2f} s of `import jax, equinox` (median of "
            f"{len(imported['rounds'])} fresh processes, load {imported['load_before']:.1f})."
        )
    return "\n\n".join(parts)


def rewrite(text: str, generated: str) -> str:
    """The README with everything between the two markers replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def main() -> None:
    """Rewrite the README in place."""
    path = HERE / "README.md"
    path.write_text(rewrite(path.read_text(), block()))


if __name__ == "__main__":
    main()
