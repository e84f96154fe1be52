"""Tables of fits: how long refits take, and how often intervals hold the truth."""

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table

Results = list[dict[str, Any]]


def refits(results: Results) -> str:
    """Bootstrap refits against loops of SciPy's solver."""
    ours = ("case", "points", "refits", "jaxscale (s)", "first call (s)")
    columns = (*ours, "SciPy, NumPy residual (s)", "SciPy, compiled residual and slope (s)", "goal")
    rows = []
    for f in results:
        spent, cells = f["median_seconds"], []
        for name, peer in (("against_numpy", "scipy_numpy"), ("against_jax", "scipy_jax")):
            rounds = f[name]["rounds"]
            span = f"{min(rounds):.0f} to {max(rounds):.0f}"
            cells.append(f"{spent[peer]:.2f}, **{f[name]['ratio']:.0f}x** ({span})")
        met = spent["jaxscale"] <= f["goal_seconds"] and f["against_numpy"]["ratio"] >= f["goal"]
        goal = f"{f['goal_seconds']:.0f} s and {f['goal']:.0f}x"
        rows.append([f["case"], f"{f['points']:,}", f"{f['refits']:,}", f"{spent['jaxscale']:.2f}",
                     f"{f['compile_seconds']:.1f}", *cells,
                     f"{goal}, {'met' if met else '**missed**'}"])  # fmt: skip
    return table(columns, rows)


def coverage(results: Path) -> str:
    """Share of data sets whose 95 % interval holds the truth, by case and quantity."""
    path = results / "coverage.json"
    if not path.exists():
        return "Not measured."
    measured = json.loads(path.read_text())
    rows = []
    for case, one in measured["cases"].items():
        shares = ", ".join(_share(name, v, one["sets"]) for name, v in one["intervals"].items())
        rows.append([case, f"{one['sets']:,}", shares])
    facts = measured["machine"]
    end = f"jax {facts['versions']['jax']}, Python {facts['python']}; {facts['date']}."
    return (
        table(("data", "data sets", "95 % intervals that hold the truth, %"), rows) + f"\n\n{end}"
    )


def _share(name: str, counted: dict[str, Any], n_sets: int) -> str:
    covered = "none" if counted["covered"] is None else f"{100 * counted['covered']:.1f}"
    given = "" if counted["given"] == n_sets else f" (of {counted['given']})"
    return f"{name} {covered}{given}"
