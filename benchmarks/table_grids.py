"""Tables of the grids: one function per group of benchmarks, from entries of pytest-benchmark."""

from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import digits, load, number, ratio, spread, table

MIB = 2**20
Results = Sequence[dict[str, Any]]


def throughput(results: Results) -> str:
    """T1 to T5: ratios, then rates and costs, then where the time of every miss goes."""
    columns = ("case", "width, batch, runs", "optimizer", "cores", "run-steps/s", "goal",
               "over the PyTorch loop", "over the PyTorch ensemble", "over jit(vmap)")  # fmt: skip
    ratios = table(columns, map(_ratios, results))
    columns = ("case", "optimizer", "PyTorch loop, 1 thread; all", "ensemble, 1 thread; all",
               "jit(vmap)", "GFLOP/s (of GEMM peak)", "bytes per run in flight (MiB)",
               "evaluation, ms per record and run", "compile, run (s)",
               "load before, after")  # fmt: skip
    costs = table(columns, map(_costs, results))
    missed = [f for f in results if f["against"]["torch_loop"]["ratio"] < f["grid"]["goal"]]
    return "\n\n".join([ratios, costs, *map(_miss, missed)])


def _name(result: dict[str, Any]) -> list[str]:
    grid = result["grid"]
    return [result["case"], f"{grid['width']}, {grid['batch_size']}, {grid['n_runs']}"]


def _ratios(result: dict[str, Any]) -> list[str]:
    against, goal = result["against"], result["grid"]["goal"]
    return [
        *_name(result),
        result["optimizer"],
        str(result["cores"]),
        number(result["run_steps_per_second"]["jaxscale"]),
        f"{goal:g}x",
        ratio(against["torch_loop"], goal),
        ratio(against.get("torch_ensemble")),
        ratio(against.get("jit_vmap")),
    ]


def _costs(result: dict[str, Any]) -> list[str]:
    rates, evaluation = result["run_steps_per_second"], result["evaluation"]

    def threads(peer: str) -> str:
        of_peer = [number(rate) for name, rate in rates.items() if name.startswith(peer)]
        return "; ".join(of_peer) or "not measured"

    per_run, most = result.get("compiled_bytes_per_run"), result["grid"].get("most_bytes")
    bound = (
        "" if most is None else f" of {most / MIB:.2g}{'' if per_run <= most else ', **missed**'}"
    )
    return [
        result["case"],
        result["optimizer"],
        threads("torch_loop"),
        threads("torch_ensemble"),
        threads("jit_vmap"),
        f"{result['gflops']['jaxscale']:.1f} ({result['fraction_of_gemm_peak']:.0%})",
        "not measured" if per_run is None else f"{per_run / MIB:.2g}{bound}",
        f"{1e3 * evaluation['seconds_per_record_and_run']:.2g}",
        f"{result['compile_seconds']:.1f}, {result['run_seconds']:.2f}",
        load(result["machine"]),
    ]


def _miss(result: dict[str, Any]) -> str:
    spots = result.get("hot_spots", {})
    shares = ", ".join(f"{label} {share:.0%}" for label, share in spots.items())
    return (
        f"{result['case']} {result['optimizer']} misses its {result['grid']['goal']:g}x. "
        f"Time of the compiled program: {shares or 'not profiled'}."
    )


def mixed(results: Results) -> str:
    """T6."""
    columns = ("case", "widths", "seeds, batch", "optimizer", "run-steps/s", "padded",
               "compiles", "compile (s); padded", "over one padded program (goal 3x)",
               "load before, after")  # fmt: skip
    rows = []
    for f in results:
        rates, split = f["run_steps_per_second"], f["buckets"]
        rows.append(
            [
                f["case"],
                ", ".join(map(str, f["grid"]["widths"])),
                f"{f['grid']['seeds']}, {f['grid']['batch_size']}",
                f["optimizer"],
                number(rates["buckets"]),
                number(rates["padded"]),
                str(len(split["widths"])),
                f"{split['compile_seconds']:.1f}; {f['padded']['compile_seconds']:.1f}",
                ratio(f["against"]["padded"], f["goal"]),
                load(f["machine"]),
            ]
        )
    missed = [f for f in results if f["against"]["padded"]["ratio"] < f["goal"]]
    return "\n\n".join([table(columns, rows), *map(_mixed_miss, missed)])


def _mixed_miss(result: dict[str, Any]) -> str:
    work = result["padded"]["flops"] / result["buckets"]["flops"]
    lines = [
        f"{result['case']} {result['optimizer']} misses its {result['goal']:g}x. "
        f"The padded program does {work:.2f} times the operations of the buckets; "
        "where the time of each goes:\n"
    ]
    for part, spots in result["hot_spots"].items():
        shares = ", ".join(f"{label} {share:.0%}" for label, share in list(spots.items())[:5])
        lines.append(f"- {part}: {1e3 * result['median_seconds'][part]:.0f} ms ({shares})")
    return "\n".join(lines)


def devices(results: Results) -> str:
    """Strong scaling."""
    rows = []
    for f in results:
        for setting, rate in f["run_steps_per_second"].items():
            less = f["against"].get(setting)
            rows.append([f["case"], setting, number(rate), ratio(less) if less else "",
                         f"{f['facts'][setting]['compile_seconds']:.1f}",
                         load(f["machine"])])  # fmt: skip
    columns = ("case", "setting", "run-steps/s", "all devices over this", "compile (s)",
               "load before, after")  # fmt: skip
    return table(columns, rows)


def doubling(results: Results) -> str:
    """Exponents of the cost."""
    rows = []
    for f in results:
        base = f["base"]
        sizes = {"runs": "n_runs", "width": "width", "batch": "batch_size", "steps": "n_steps"}
        for what, exponent in f["exponents"].items():
            values = ", ".join(str(base[sizes[what]] * k) for k in f["factors"])
            times = ", ".join(f"{t:.2f}" for t in f["times"][what])
            rows.append([what, values, times, f"**{exponent:.2f}**", load(f["machine"])])
    return table(("doubled", "values", "seconds", "exponent", "load before, after"), rows)


def engine(results: Results) -> str:
    """Overhead over the same training code without the engine."""
    rows = []
    for f in results:
        for peer, label in (("jit(vmap)", "jit(vmap)"), ("jit(map)", f"groups of {f['group']}")):
            over = [r - 1 for r in f["against"][peer]["rounds"]]
            middle = f["against"][peer]["ratio"] - 1
            rows.append([f["case"], label, number(f["run_steps_per_second"]["jaxscale"]),
                         number(f["run_steps_per_second"][peer]), spread(over),
                         "met" if middle <= f["goal"] else "**missed**",
                         load(f["machine"])])  # fmt: skip
    columns = ("case, one core", "written by hand", "js.run, run-steps/s", "by hand",
               "overhead (rounds)", "goal: at most 5 %", "load before, after")  # fmt: skip
    return table(columns, rows)


def stretches(results: Results) -> str:
    """What it costs to train in stretches, whose states go to disk."""
    rows = []
    for f in results:
        over = [r - 1 for r in f["stretches"]["rounds"]]
        shares = [f["overhead"][every] for every in f["goals"]]
        met = all(f["overhead"][every] <= goal for every, goal in f["goals"].items())
        rows.append([f["case"], f"{f['state_bytes'] / 1e6:.3g}", spread(over),
                     f"{1e3 * f['seconds_per_state']:.0f}",
                     *(f"{share:.1%}" for share in shares),
                     "met" if met else "**missed**", load(f["machine"])])  # fmt: skip
    columns = ("case, one core", "state (MB)", "stretches over one piece (rounds)",
               "a state on disk (ms)", "every 60 s", "every 5 s", "goals: 2 % and 5 %",
               "load before, after")  # fmt: skip
    return table(columns, rows)


def many(results: Results) -> str:
    """10,000 tiny runs."""
    lines = []
    for f in results:
        seconds, goal = f["median_seconds"], f["goal"]
        planned = "met" if seconds["plan"] < goal["plan_seconds"] else "**missed**"
        stored = "met" if f["store_share"] < goal["store"] else "**missed**"
        lines.append(
            f"A sweep of {f['runs']:,} tiny runs with {f['records']} records: planned in "
            f"{seconds['plan']:.3f} s (goal: below 1 s, {planned}); {seconds['memory']:.2f} s in "
            f"memory, {seconds['store']:.2f} s with a store, whose share is "
            f"{spread(f['store_share_of_rounds'])} (goal: below 5 %, {stored})."
        )
    return "\n\n".join(lines)


def memory(results: Results) -> str:
    """Planned and measured bytes."""
    columns = ("grid", "runs", "planned (MiB)", "measured increase (MiB)", "measured / planned",
               "allotted by XLA (MiB)", "increase with compilation (MiB)",
               "goal: 1.5x from 64 MiB on, 16 MiB below")  # fmt: skip
    keys = ("planned_bytes", "increase_bytes")
    more = ("compiled_bytes", "increase_with_compilation_bytes")
    rows = []
    for f in results:
        sizes, extra = ([f"{f[k] / MIB:,.1f}" for k in ks] for ks in (keys, more))
        rows.append([f["case"], str(f["plan"]["runs"]), *sizes, digits(f["ratio"]), *extra,
                     "met" if f["met"] else "**missed**"])  # fmt: skip
    return table(columns, rows)


def beyond(results: Results) -> str:
    """Grids that are ten times larger than the memory of a control group."""
    columns = ("ten times the memory", "GB of memory", "runs", "GB at once", "GB of results",
               "GB on disk", "increase (GB)", "seconds", "completes")  # fmt: skip
    keys = ("all_at_once_bytes", "results_bytes", "disk_bytes", "increase_bytes")
    rows = []
    for f in results:
        sizes = [f"{f[key] / 1e9:.3g}" for key in keys]
        rows.append([f["case"], f"{f['memory_bytes'] / 1e9:.3g}", f"{f['plan']['runs']:,}", *sizes,
                     f"{f['seconds']:.0f}", "yes" if f["complete"] else "**no**"])  # fmt: skip
    return table(columns, rows)
