"""Compile for devices that are absent: `python -m benchmarks ahead --target v5e,h200`.

Every program is compiled in a process of its own, which may take so much CPU time. What is counted
is written at once: memory against the plan, and kernels and HBM traffic of a step.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jaxscale as js
from benchmarks.cases import Case, system_of
from benchmarks.hlo import Program
from benchmarks.markdown import number, table
from jaxscale._targets import Target
from jaxscale.sweep._ahead import compiled_for
from jaxscale.sweep._program import compiled_bytes

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")
LIMIT = 300  # CPU seconds, which other work on the machine does not change
COLUMNS = (
    "program", "runs of a group", "planned (MB)", "compiled (MB)", "kernels", "HBM traffic (MB)",
    "of", "compile (CPU s)",
)  # fmt: skip


@functools.cache
def programs() -> dict[str, js.Grid]:
    """A grid of each kind of program, of the sizes that users sweep."""
    sparse, superposition = js.sparse, js.superposition
    few, many = 100, 1000

    def network(case: Case, **more: Any) -> js.Grid:
        axes = {"skill_exponent": [0.2 + 0.2 * i for i in range(8)]} if case.n_skills > 5 else {}
        return js.Grid(system_of(case, "adam", **more), axes, seeds=case.n_runs)

    def regression(**parts: Any) -> js.Grid:
        sizes = {"n_features": 32, "n_samples": 128}
        exponents = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
        return js.Grid(sparse.RandomFeatureRegression(**sizes, **exponents, **parts), seeds=1024)

    def student(**parts: Any) -> js.Grid:
        sizes = {"n_features": 256, "latent_size": 32, "n_steps": few, "record": [0, few]}
        system = superposition.TeacherStudent(**sizes, frequency_exponent=1.5, **parts)
        return js.Grid(system, seeds=1024)

    def multilinear(**parts: Any) -> js.Grid:
        system = js.emergence.MultilinearSkills(n_steps=many, record=[0, many], **parts)
        return js.Grid(system, {"learning_rate": np.geomspace(0.01, 0.1, 1024)})  # seeds are equal

    small = Case(64, 256, n_runs=1024, n_steps=many, goal=0)
    finite = js.emergence.FiniteSet(n_samples=1000)
    descent = sparse.GradientDescent(n_steps=many, record=[0, many])
    return {
        "run S: width 1000, batch 20,000": network(Case(1000, 20_000, 8, few, goal=0)),
        "published grid, width 300, batch 20,000": network(
            Case(300, 20_000, n_runs=3, n_steps=100_000, goal=0, n_skills=500, n_bits=100)
        ),
        "network, width 64, batch 256": network(small),
        "network, float64": network(small, dtype="float64"),
        "network on a finite set": network(small, data=finite),
        "multilinear": multilinear(),
        "multilinear on a finite set": multilinear(data=finite),
        "student, population gradient": student(gradient=superposition.Population()),
        "student, fresh batches": student(gradient=superposition.FreshBatches()),
        "linear student, float64": student(
            decoder=superposition.Linear(), gradient=superposition.Population(), dtype="float64"
        ),
        "ridge": regression(solver=sparse.Ridge()),
        "least norm": regression(solver=sparse.MinNorm()),
        "gradient descent": regression(solver=descent),
        "relu features": regression(features=sparse.Relu(), n_evaluation=1000),
    }


def compile_one(name: str, target: str) -> dict[str, Any]:
    """Compile the first program of a grid, and count."""
    grid = programs()[name]
    if reason := grid.system.unsupported(Target.named(target).platform):
        return {"refused": f"refused by the plan: {reason}"}
    bucket = js.plan(grid, target=target, max_programs=1).buckets[0]
    began = time.process_time()
    compiled = compiled_for(bucket, target)
    seconds = time.process_time() - began
    program = Program(compiled.as_text() or "")
    step = program.step()
    counted = step or program.count(program.entry)
    return {
        "runs_per_group": bucket.group,
        "groups_per_call": bucket.per_call,
        "planned_bytes": bucket.bytes_per_device,
        "compiled_bytes": compiled_bytes(compiled),
        "kernels": counted.kernels,
        "traffic_bytes": counted.bytes / bucket.group,
        "of": "run-step" if step else "run",
        "compile_seconds": seconds,
    }


def in_a_process(name: str, target: str, limit: int) -> dict[str, Any]:
    """What `compile_one` counts, or how it failed."""
    options = [f"--target={target}", f"--limit={limit}", f"--one={name}"]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.ahead", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"failed": f"not compiled in {limit} s of CPU time"}
    if ended.returncode:
        return {"failed": (ended.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(ended.stdout.splitlines()[-1])


def is_short(row: dict[str, Any]) -> bool:
    """Whether a program takes more memory than its plan says, or was not compiled."""
    return "failed" in row or row.get("compiled_bytes", 0) > row.get("planned_bytes", 0)


def measure(target: str, names: Sequence[str], limit: int, out: Path) -> dict[str, Any]:
    """Compile programs for a device one after the other; others in `out` keep their rows."""
    path = out / f"ahead_{target}.json"
    rows = json.loads(path.read_text())["programs"] if path.exists() else {}
    result: dict[str, Any] = {}
    for name in names:
        rows[name] = in_a_process(name, target, limit)
        print(f"{target}, {name}: {rows[name]}", flush=True)
        result = {
            "target": target,
            "date": time.strftime("%Y-%m-%d"),
            "versions": _versions(),
            "programs": {n: rows[n] for n in programs() if n in rows},
        }
        path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _versions() -> dict[str, str]:
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {name: installed[name] for name in PACKAGES if name in installed}


def parts(results: Path = RESULTS) -> list[str]:
    """A table for every device, and what compiled it."""
    written = []
    for path in sorted(results.glob("ahead_*.json")):
        result = json.loads(path.read_text())
        rows = [_cells(name, row) for name, row in result["programs"].items()]
        versions = ", ".join(f"{name} {v}" for name, v in result["versions"].items())
        written += [f"{result['target']}, by {versions}; {result['date']}.", table(COLUMNS, rows)]
    return written or ["Not compiled."]


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    if why := row.get("failed") or row.get("refused"):
        return [name, *[""] * (len(COLUMNS) - 2), why.replace("|", "\\|")]
    mark = "**" if is_short(row) else ""
    return [
        name,
        str(row["runs_per_group"]),
        number(row["planned_bytes"] / 1e6),
        f"{mark}{number(row['compiled_bytes'] / 1e6)}{mark}",
        str(row["kernels"]),
        number(row["traffic_bytes"] / 1e6),
        row["of"],
        f"{row['compile_seconds']:.0f}",
    ]


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks ahead", description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="v5e,h200", help="such as v5e,h200")
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds of a program")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", help="programs whose name contains it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        resource.setrlimit(resource.RLIMIT_CPU, (given.limit, given.limit + 1))
        return print(json.dumps(compile_one(given.one, given.target)))
    names = [name for name in programs() if not given.only or given.only in name]
    given.out.mkdir(parents=True, exist_ok=True)
    results = [measure(t, names, given.limit, given.out) for t in given.target.split(",")]
    short = [f"{r['target']}, {n}" for r in results for n in names if is_short(r["programs"][n])]
    sys.exit(f"compiled beyond the plan, or not at all: {'; '.join(short)}" if short else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
