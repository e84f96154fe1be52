"""Grid throughput of jaxscale against a plain PyTorch loop, in interleaved rounds.

`python -m benchmarks.throughput --case T1 --rounds 5 --out benchmarks/results/`
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxscale as js
from benchmarks.peers import torch_loop

PACKAGES = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "torch")
FIELDS = {"n_skills": 5, "n_bits": 32, "skill_size": 3}
LEARNING_RATES = {"sgd": 0.1, "adam": 1e-3}
FEW_INPUTS = 64
GEMM_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class Case:
    """A grid of `n_runs` seeds, and how much of it the slower peer trains in a round."""

    width: int
    batch_size: int
    n_runs: int
    n_steps: int
    torch_runs: int
    torch_steps: int


CASES = {
    "T1": Case(16, 256, n_runs=64, n_steps=2000, torch_runs=2, torch_steps=2000),
    "T2": Case(64, 256, n_runs=32, n_steps=1500, torch_runs=2, torch_steps=1500),
    "T3a": Case(64, 2000, n_runs=8, n_steps=800, torch_runs=2, torch_steps=600),
    "T3b": Case(256, 2000, n_runs=4, n_steps=500, torch_runs=1, torch_steps=500),
}


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load_average() -> list[float]:
    """Load average over 1, 5 and 15 minutes."""
    return [round(x, 2) for x in os.getloadavg()]


def gemm_peak() -> float:
    """Best of ten float32 products in NumPy, all cores, in FLOP/s."""
    a = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    best = min(seconds(lambda: a @ a) for _ in range(10))
    return 2 * GEMM_SIZE**3 / best


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def system_of(case: Case, optimizer: str, **more: Any) -> js.emergence.ParityNetwork:
    """The system of a case: by default it records only its first and last step, on few inputs."""
    return js.emergence.ParityNetwork(
        **FIELDS,
        width=case.width,
        batch_size=case.batch_size,
        n_steps=case.n_steps,
        learning_rate=LEARNING_RATES[optimizer],
        optimizer={"sgd": js.Sgd(), "adam": js.Adam()}[optimizer],
        **more,
    )


class Grid:
    """A planned grid; the first call compiles, every call returns trained results on the host."""

    def __init__(self, system: js.emergence.ParityNetwork, n_runs: int):
        self.run_steps = n_runs * system.n_steps
        self.plan = js.plan(js.Grid(system, seeds=n_runs))
        first = js.run(self.plan, progress=False)
        self.compile_seconds = float(first.attrs["compile_seconds"])
        self.device = first.attrs["device"]
        self.commit = first.attrs["git_commit"]
        start, end = (float(first["loss"].isel(step=i).mean()) for i in (0, -1))
        if (first["status"] != js.Status.ok).any() or end > 0.99 * start:
            raise RuntimeError(f"the runs did not train: loss {start} to {end}")

    def time(self) -> float:
        """Seconds of all runs."""
        return seconds(lambda: js.run(self.plan, progress=False))


def torch_rate(config: torch_loop.Config, n_runs: int, threads: int) -> float:
    """Run-steps per second of the PyTorch loop."""
    return n_runs * config.n_steps / torch_loop.train_grid(config, n_runs, threads)[0]


def peer_config(system: js.emergence.ParityNetwork, case: Case, optimizer: str):
    """The same run for the PyTorch loop, cut to the steps it trains in a round."""
    names = [f.name for f in dataclasses.fields(torch_loop.Config)]
    same = {n: getattr(system, n) for n in names if n != "optimizer"}
    plain = {n: v if isinstance(v, int) else v.item() for n, v in same.items()}
    plain |= {"optimizer": optimizer, "n_steps": case.torch_steps}
    return torch_loop.Config(**plain)


def measure(name: str, optimizer: str, n_rounds: int, console: Console) -> dict[str, Any]:
    """Compile, warm up, then time interleaved rounds of jaxscale and the PyTorch loop."""
    case, load_before = CASES[name], load_average()
    system = system_of(case, optimizer, record=[0, case.n_steps], n_evaluation=FEW_INPUTS)
    config = peer_config(system, case, optimizer)
    threads = sorted({1, n_cores()})
    console.print(f"{name} {optimizer}: compiling")
    bare, full = Grid(system, case.n_runs), Grid(system_of(case, optimizer), case.n_runs)
    peaks = [gemm_peak()]
    for t in threads:
        torch_rate(dataclasses.replace(config, n_steps=20), 1, t)
    rounds = []
    for i in range(n_rounds):
        row = {"jaxscale": bare.run_steps / bare.time()}
        row |= {f"torch_{t}": torch_rate(config, case.torch_runs, t) for t in threads}
        row["evaluated"] = full.run_steps / full.time()
        row["ratio"] = row["jaxscale"] / max(row[f"torch_{t}"] for t in threads)
        rounds.append(row)
        console.print(f"round {i + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()))
    peaks.append(gemm_peak())
    median = {k: statistics.median(row[k] for row in rounds) for k in rounds[0] if k != "ratio"}
    best_torch = max(median[f"torch_{t}"] for t in threads)
    n_inputs = FIELDS["n_skills"] + FIELDS["n_bits"]
    flops = case.batch_size * case.width * (4.0 * n_inputs + 8.0)
    return {
        "case": name,
        "optimizer": optimizer,
        "ratio": median["jaxscale"] / best_torch,
        "ratio_of_rounds": [row["ratio"] for row in rounds],
        "run_steps_per_second": median,
        "rounds": rounds,
        "compile_seconds": bare.compile_seconds,
        "run_seconds": bare.run_steps / median["jaxscale"],
        "runs_per_second": median["jaxscale"] / case.n_steps,
        "evaluation": {
            "compile_seconds": full.compile_seconds,
            "records": len(full.plan.grid.system.record_steps),
            "inputs_per_skill": full.plan.grid.system.n_evaluation,
            "extra_seconds": full.run_steps * (1 / median["evaluated"] - 1 / median["jaxscale"]),
            "ratio": median["evaluated"] / best_torch,
        },
        "flops_per_run_step": flops,
        "gflops": {k: v * flops / 1e9 for k, v in median.items() if k != "evaluated"},
        "gemm_peak_gflops": max(peaks) / 1e9,
        "gemm_peak_gflops_before_after": [p / 1e9 for p in peaks],
        "fraction_of_gemm_peak": median["jaxscale"] * flops / max(peaks),
        "grid": {**FIELDS, **dataclasses.asdict(case)},
        "torch_config": dataclasses.asdict(config),
        "plan": bare.plan.summary(),
        "peak_resident_megabytes": peak_resident_megabytes(),
        "device": bare.device,
        "dtype": system.dtype,
        "cpu": cpu_model(),
        "cores": n_cores(),
        "load_before": load_before,
        "load_after": load_average(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
        "python": platform.python_version(),
        "commit": bare.commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def peak_resident_megabytes() -> float:
    """Largest resident memory of this process so far, JAX and PyTorch together."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def show(found: dict[str, Any]) -> Table:
    """Printable table of one case."""
    table = Table(title=f"{found['case']} {found['optimizer']}", title_justify="left")
    for column in ("", "run-steps/s", "GFLOP/s", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rate in found["run_steps_per_second"].items():
        gflops, ratio = found["gflops"].get(name), ""
        if name == "jaxscale":
            low, high = min(found["ratio_of_rounds"]), max(found["ratio_of_rounds"])
            ratio = f"{found['ratio']:.1f}x (rounds {low:.1f} to {high:.1f})"
        if name == "evaluated":
            ratio = f"{found['evaluation']['ratio']:.1f}x"
        table.add_row(name, f"{rate:,.0f}", f"{gflops:.2f}" if gflops else "", ratio)
    table.caption = (
        f"{found['device']}, {found['dtype']}; load {found['load_before'][0]} to "
        f"{found['load_after'][0]}; compile {found['compile_seconds']:.1f} s, "
        f"run {found['run_seconds']:.2f} s; {found['fraction_of_gemm_peak']:.0%} of "
        f"{found['gemm_peak_gflops']:.0f} GFLOP/s"
    )
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--optimizer", choices=LEARNING_RATES, default="sgd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", n_cores())
    console = Console(width=110)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.case:
        found = measure(name, given.optimizer, given.rounds, console)
        suffix = "" if given.optimizer == "sgd" else f"_{given.optimizer}"
        path = given.out / f"{name}{suffix}.json"
        path.write_text(json.dumps(found, indent=1) + "\n")
        console.print(show(found))


if __name__ == "__main__":
    main()
