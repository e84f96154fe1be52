"""Table of the fitting benchmark."""

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
