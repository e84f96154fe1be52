"""Rewrite the tables of README.md from the JSON files: `python -m benchmarks.table`."""

import json
from pathlib import Path
from typing import Any

from benchmarks import (
    ahead,
    table_explorer,
    table_fitting,
    table_gpu,
    table_grids,
    table_streaming,
    table_superposition,
)
from benchmarks.table_regression import regression_parts

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
GROUPS = {  # group of pytest-benchmark: heading, table
    "throughput": ("Throughput (T1 to T5)", table_grids.throughput),
    "mixed": ("Mixed widths (T6)", table_grids.mixed),
    "devices": ("Strong scaling", table_grids.devices),
    "doubling": ("Cost as a size doubles", table_grids.doubling),
    "engine": ("Overhead of the engine", table_grids.engine),
    "stretches": ("Overhead of stretches and their states", table_grids.stretches),
    "many": ("Many tiny runs", table_grids.many),
    "exact curve": ("Exact curve of a bottleneck (T8)", table_superposition.exact),
    "student": ("Minibatch ReLU student", table_superposition.student),
    "streaming": ("Streaming regression against loops", table_streaming.loops),
    "streaming, many": ("Streaming regression: ten thousand runs", table_streaming.many),
    "streaming, theory": ("Streaming regression: theory in time", table_streaming.theory),
    "refits": ("Bootstrap refits of theory", table_fitting.refits),
    "memory": ("Memory", table_grids.memory),
    "beyond memory": ("Larger than memory", table_grids.beyond),
}


def entries(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Facts of every benchmark by its group.

    **Raises** `ValueError` for results of `--tiny`, which measure nothing.
    """
    measured: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
    for path in sorted(results.glob("*.json")):
        for entry in json.loads(path.read_text()).get("benchmarks", []):
            if entry["extra_info"]["tiny"]:
                raise ValueError(f"`results` holds {path.name}, which was made with --tiny.")
            measured[entry["group"]].append(entry["extra_info"])
    return measured


def machines(measured: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One line for every machine that measured."""
    facts = [f["machine"] for group in measured.values() for f in group]
    lines = (
        f"{m['cores']} cores of {m['cpu']}; {_packages(m['versions'])}, Python {m['python']}; "
        f"{m['date']}."
        for m in facts
    )
    return list(dict.fromkeys(lines))


def _packages(versions: dict[str, str]) -> str:
    """Those that matter most, if they are installed."""
    return ", ".join(f"{name} {versions[name]}" for name in ("jax", "torch") if name in versions)


def block(results: Path = FOLDER / "results") -> str:
    """The generated part of the README."""
    measured, parts = entries(results), []
    for group, (heading, shown) in GROUPS.items():
        parts += [f"### {heading}", shown(measured[group]) if measured[group] else "Not measured."]
    parts += machines(measured)
    parts += ["### Intervals of fits", table_fitting.coverage(results)]
    parts += ["### Regression solvers, measured", *regression_parts(results)]
    parts += ["### One GPU, measured", table_gpu.stored(results)]
    parts += ["### Compiled for absent devices", *ahead.parts(results)]
    parts += ["### The explorer, in a browser", table_explorer.stored(results)]
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
    path = FOLDER / "README.md"
    path.write_text(rewrite(path.read_text(), block()))


if __name__ == "__main__":
    main()
