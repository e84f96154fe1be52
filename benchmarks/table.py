"""Rewrite the table of README.md from the JSON files: `python -m benchmarks.table`."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
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


def block(results: Path = HERE / "results") -> str:
    """The generated part of the README."""
    files = sorted(results.glob("T*.json"))
    found = [json.loads(path.read_text()) for path in files]
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *map(row, found)]
    parts = ["\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    for device in dict.fromkeys(
        f"{f['cores']} cores of {f['cpu']}; jax {f['versions']['jax']}, torch "
        f"{f['versions']['torch']}, Python {f['python']}; {f['date']}."
        for f in found
    ):
        parts.append(device)
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
