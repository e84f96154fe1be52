"""Tables of the benchmarks of streaming regression."""

from typing import Any

from benchmarks.markdown import load, number, ratio, table

Results = list[dict[str, Any]]
LOOPS = {
    "coordinates": "NumPy, as the model is written",
    "modes": "NumPy, in the modes, blocks of normal numbers",
    "jax": "JAX, a jitted run",
}


def loops(results: Results) -> str:
    """Run-steps per second of a grid, and of loops over runs."""
    columns = ("loop over runs", "run-steps/s", "grid over it (rounds)")
    parts = []
    for f in results:
        rates = f["run_steps_per_second"]
        goals = {"coordinates": f["goal"]}
        rows = [
            [text, number(rates[name]), ratio(f["against"][name], goals.get(name))]
            for name, text in LOOPS.items()
        ]
        share = 1 / f["against"]["draws"]["ratio"]
        rows.append(["normal numbers alone", number(rates["draws"]), f"{1 / share:.0%} of them"])
        rows.append([f"**the grid, {f['n_runs']} runs**", f"**{number(rates['jaxscale'])}**", ""])
        parts += [table(columns, rows), f"Load {load(f['machine'])}; goal {f['goal']:.0f}x."]
    return "\n\n".join(parts)


def many(results: Results) -> str:
    """Ten thousand runs."""
    columns = ("runs, steps", "seconds", "compile", "normal numbers alone", "share", "load")
    rows = [
        [
            f"{f['n_runs']:,} of {f['n_steps']:,}",
            f"**{f['seconds']:.1f}**",
            f"{f['compile_seconds']:.1f}",
            f"{f['limit_seconds']:.1f}",
            f"{f['limit_seconds'] / (f['seconds'] - f['compile_seconds']):.0%}",
            load(f["machine"]),
        ]
        for f in results
    ]
    return table(columns, rows)


def theory(results: Results) -> str:
    """Mean curves by theory and by integration."""
    columns = ("integration", "ms per run", "over theory (rounds)", "largest difference")
    parts = []
    for f in results:
        each = f["seconds_per_run"]
        rows = [
            [method, f"{1e3 * each[method]:.0f}", ratio(f["against"][method]), f"{distance:.0e}"]
            for method, distance in f["distance"].items()
        ]
        rows.append(["**theory**", f"**{1e3 * each['jaxscale']:.2f}**", "", ""])
        parts.append(table(columns, rows))
    return "\n\n".join(parts)
