"""What quick compilation saves and costs: every program of the quick presets, compiled both ways.

`python -m benchmarks.quick_code --out benchmarks/results/`

`build` is the CPU time of tracing and compiling a program, `run` the time of all its runs on all
devices: that of its first chunk, the fastest of three where it is short, times the chunks. Programs
of runs that are trained in stretches are left out.
"""

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxscale as js
from benchmarks.fit_time import facts
from jaxscale._linalg import one_blas_thread
from jaxscale.keys import root_key
from jaxscale.papers import STUDIES
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._program import Program

TURNS = 3
SHORT = 1.0  # seconds of a chunk that is run several times


def timed(bucket: Bucket, quick: bool) -> dict[str, float]:
    """CPU seconds of building the program, and seconds of its runs."""
    bucket = dataclasses.replace(bucket, quick=quick)
    began = time.process_time()
    program = Program(bucket)
    build = time.process_time() - began
    chunk, root = bucket.only(0), np.asarray(jax.random.key_data(root_key(0)))

    def run() -> float:
        began = time.perf_counter()
        program.simulate(
            chunk, root, {}, math.inf,
            run_seconds=math.nan, advanced=lambda *_: None, clock=time.perf_counter,
        )  # fmt: skip
        return time.perf_counter() - began

    first = run()
    fastest = min([first, *(run() for _ in range(TURNS - 1))]) if first < SHORT else first
    return {"build": round(build, 2), "run": round(fastest * bucket.n_chunks, 3)}


def measured(name: str, grid: js.Grid) -> list[dict[str, Any]]:
    """Both kinds of every program of a grid, in turns."""
    rows = []
    for bucket in js.plan(grid).buckets:
        if bucket.stretched:
            continue
        with jax.enable_x64(bucket.padded_system.dtype == "float64"):
            full, quick = timed(bucket, False), timed(bucket, True)
        row = {"grid": name, "runs": bucket.n_runs, "estimate": round(bucket.seconds, 2)}
        rows.append(row | {"allowed": bucket.traced_system.work().quick, "quick": bucket.quick})
        rows[-1] |= {"full_code": full, "quick_code": quick}
        print(f"{name}: estimate {row['estimate']:.2f} s; build {full['build']:.2f} -> "
              f"{quick['build']:.2f} s of CPU time; run {full['run']:.2f} -> {quick['run']:.2f} s",
              flush=True)  # fmt: skip
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with one_blas_thread():
        for study in STUDIES.values():
            for name, grid in study.grids("quick").items():
                rows += measured(name, grid)
    path = given.out / "quick_code.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    now = facts()
    path.parent.mkdir(parents=True, exist_ok=True)
    by_version = before | {f"jax {now['versions']['jax']}": {"facts": now, "programs": rows}}
    path.write_text(json.dumps(by_version, indent=1) + "\n")


if __name__ == "__main__":
    main()
