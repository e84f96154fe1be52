"""What one accelerator does in a few minutes: `python -m benchmarks gpu --minutes 8 --out DIR`.

The most valuable comes first. A row is in `gpu.json` and in the tables of `gpu.md` as soon as it is
measured, so that a kill loses one row; what the clock does not allow is listed as not measured.
A section is a generator of rows. Sections that need the same environment share a process, and one
process runs at a time. `--tiny` shows on any machine that every section works.
"""

import argparse
import contextlib
import dataclasses
import inspect
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxscale as js
from benchmarks import hlo, machine, table_gpu
from benchmarks.cases import Case, system_of
from benchmarks.memory import programs_of
from jaxscale._targets import TARGETS, Target

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
DEVICE, CORES, GRAPHS = "", "on the cores of the host", "with loops in CUDA graphs"
ENVIRONMENTS = {
    DEVICE: {},
    CORES: {"JAX_PLATFORMS": "cpu"},
    GRAPHS: {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=+WHILE"},
}
SCHEDULE = (  # a process each: its environment, its sections
    (DEVICE, ("device", "grid", "run S", "groups", "agreement", "regression", "small runs")),
    (GRAPHS, ("small runs",)),
    (CORES, ("regression",)),
    (DEVICE, ("stretches", "other systems")),
    (CORES, ("other systems",)),
    (DEVICE, ("grid in TF32",)),
)
PRECISIONS = {"float32": "float32", "TF32": "tensorfloat32"}
ROUNDS = 3
RUN_S = Case(1000, 20_000, n_runs=8, n_steps=100, goal=0)
PAPER = Case(300, 20_000, n_runs=3, n_steps=200, goal=0, n_skills=500, n_bits=100)
PAPER_STEPS = 100_000
PAPER_AXES = {
    "width": sorted({round(w) for w in np.geomspace(10, 300, 20)}),
    "skill_exponent": np.linspace(0.2, 1.6, 8).tolist(),
}


def median_seconds(plan: js.Plan, **options: Any) -> Row:
    """Seconds of a plan, median of `ROUNDS` calls after one that compiles."""
    runs = js.run(plan, progress=False, **options)
    if bool((runs["status"] != js.Status.ok).any()):
        raise RuntimeError("some runs failed")
    seconds = [machine.seconds(lambda: js.run(plan, progress=False)) for _ in range(ROUNDS)]
    return {
        "runs": plan.n_runs,
        "group": max(bucket.group for bucket in plan.buckets),
        "seconds": statistics.median(seconds),
        "compile_seconds": float(runs.attrs["compile_seconds"]),
    }


def per_run_step(plan: js.Plan, case: Case, products: str) -> Row:
    """Time per run-step of networks in one program, and what it is of the device's limits."""
    row = median_seconds(plan)
    seconds = row["seconds"] / (row["runs"] * case.n_steps)
    row |= {"products": products, "us_per_run_step": 1e6 * seconds}
    step = counted_step(plan)
    if step is not None:
        n_bytes = step.bytes / row["group"]
        row |= {"kernels_per_step": step.kernels, "mb_per_run_step": n_bytes / 1e6}
    target, on_each = Target.of_this_process(), seconds * plan.n_devices
    if target.name in TARGETS:  # the vendor's figures; of TF32, half the bfloat16 of a GPU
        peak = {"float32": target.flops, "TF32": target.bfloat16_flops / 2}[products]
        width = np.mean(plan.buckets[0].columns.get("width", case.width))
        row["of_flops"] = float(case.flops * width / case.width / peak / on_each)
        if step is not None:
            row["of_bandwidth"] = n_bytes / target.bandwidth / on_each
    return row


def counted_step(plan: js.Plan) -> hlo.Count | None:
    """Kernels and traffic of a step of a group; None where a compiler's text is another."""
    with contextlib.suppress(ArithmeticError, LookupError, StopIteration, TypeError, ValueError):
        return hlo.Program(programs_of(plan)[0].text).step()


def in_cuts(plan: js.Plan, **cuts: Any) -> js.Plan:
    """The plan of one program with other chunks and groups."""
    (bucket,) = plan.buckets
    return dataclasses.replace(plan, buckets=(dataclasses.replace(bucket, **cuts),))


def cuts_of(bucket: Any) -> dict[str, Any]:
    """All of a bucket but its runs."""
    runs = ("padded_system", "run_ids", "columns", "seeds")
    names = (field.name for field in dataclasses.fields(bucket) if field.name not in runs)
    return {name: getattr(bucket, name) for name in names}


def of_device(tiny: bool) -> Iterator[Row]:
    """What the device is, and what a copy and a product reach on it."""
    device, n = jax.devices()[0], 128 if tiny else 8192
    driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError):
        driver = subprocess.run(driver, capture_output=True, text=True).stdout.split("\n")[0]
    row = {"case": device.device_kind, "devices": jax.device_count()}
    row |= {"driver": driver if isinstance(driver, str) else ""}
    x = jnp.ones((n, n), jnp.float32)

    def best(call: Callable[[Any], Any]) -> float:
        compiled = jax.jit(call)
        return min(machine.seconds(lambda: jax.block_until_ready(compiled(x))) for _ in range(9))

    row["copy_tb_per_s"] = 8 * n**2 / best(lambda x: x + 1) / 1e12
    for products, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            row[f"{products}_tflop_per_s"] = 2 * n**3 / best(lambda x: x @ x) / 1e12
    yield row


def of_grid(tiny: bool, products: str = "float32") -> Iterator[Row]:
    """The published grid: a share of its steps, in the programs and groups of all of them."""
    case = PAPER.tiny() if tiny else PAPER
    axes = {"width": [10, 20], "skill_exponent": [0.6]} if tiny else PAPER_AXES
    full = js.plan(js.Grid(system_of(case, "adam", n_steps=PAPER_STEPS), axes, seeds=case.n_runs))
    rows = []
    for bucket in full.buckets:
        widths = np.unique(bucket.columns["width"]).tolist()
        grid = js.Grid(system_of(case, "adam"), axes | {"width": widths}, seeds=case.n_runs)
        plan = js.plan(grid, max_programs=1, matmul_precision=PRECISIONS[products])
        plan = in_cuts(plan, **cuts_of(bucket))
        rows.append(
            {"case": f"width {', '.join(map(str, widths))}"} | per_run_step(plan, case, products)
        )
        yield rows[-1]
    total: Row = {key: sum(r[key] for r in rows) for key in ("runs", "seconds", "compile_seconds")}
    each = total["seconds"] / (total["runs"] * case.n_steps)
    total |= {"case": f"all {len(rows)} programs", "us_per_run_step": 1e6 * each}
    yield total | {"products": products, "minutes_in_full": each * full.n_runs * PAPER_STEPS / 60}


def of_run_s(tiny: bool) -> Iterator[Row]:
    """A wide network, with a batch that is a multiple of 1024 and one that is not."""
    batches = (20_000,) if tiny else (20_000, 20_480)
    for batch, products in itertools.product(batches, PRECISIONS):
        case = dataclasses.replace(RUN_S, batch_size=batch)
        case = dataclasses.replace(case.tiny(), width=32) if tiny else case
        plan = js.plan(
            js.Grid(system_of(case, "adam"), seeds=case.n_runs),
            matmul_precision=PRECISIONS[products],
        )
        yield {"case": f"batch {batch}"} | per_run_step(plan, case, products)


def of_groups(tiny: bool) -> Iterator[Row]:
    """Networks of the published grid in groups of 1, 8 and 24."""
    for width in (16,) if tiny else (64, 300):
        case = dataclasses.replace(PAPER, width=width, n_runs=24, n_steps=50)
        case = dataclasses.replace(case.tiny(), n_skills=5, n_runs=24) if tiny else case
        plan = js.plan(js.Grid(system_of(case, "adam"), seeds=case.n_runs))
        for group in (1, 8) if tiny else (1, 8, 24):
            plan = in_cuts(plan, chunk=24, group=group, n_devices=1)
            yield {"case": f"width {width}"} | per_run_step(plan, case, "float32")


def of_agreement(tiny: bool) -> Iterator[Row]:
    """Largest difference to float64 on the CPU after training from the same weights."""
    n_steps = 5 if tiny else 100
    network = system_of(Case(64, 256, n_runs=1, n_steps=n_steps, goal=0), "adam")
    student = js.superposition.TeacherStudent(
        n_features=256, latent_size=32, frequency_exponent=1.5, n_steps=n_steps,
        gradient=js.superposition.Population(),
    )  # fmt: skip

    def trained(system: Any, state: Any) -> Any:
        keys = jr.split(jr.key(1), n_steps)
        state = jax.lax.scan(lambda s, k: (system.step(s, k), None), state, keys)[0]
        return system.observe(state)["loss"]

    for name, system in (("network of width 64", network), ("student", student)):
        state = eqx.filter_jit(lambda system: system.init(jr.key(0)))(system)
        losses = {}
        for products, precision in PRECISIONS.items():
            with jax.default_matmul_precision(precision):
                losses[products] = float(eqx.filter_jit(trained)(system, state))
        with jax.enable_x64(True):
            wide = jax.tree.map(
                lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
                state,
            )
            exact = js.replace(system, "dtype", "float64")
            losses["float64"] = float(eqx.filter_jit(trained)(exact, wide))
            host = jax.devices("cpu")[0]
            with jax.default_device(host):
                expected = float(eqx.filter_jit(trained)(exact, jax.device_put(wide, host)))
        for products, loss in losses.items():
            yield {
                "case": f"{name}, {n_steps} steps",
                "products": products,
                "difference": abs(loss / expected - 1),
            }


def timed_grids(systems: dict[str, js.AbstractSystem], n_runs: int) -> Iterator[Row]:
    """Seconds of sweeps over seeds on the devices of this process."""
    for name, system in systems.items():
        plan = js.plan(js.Grid(system, seeds=n_runs))
        yield {"case": name, "where": where()} | median_seconds(plan)


def where() -> str:
    """The accelerator, or the cores of the host."""
    on_host = os.environ.get("JAX_PLATFORMS") == "cpu"
    return f"{machine.n_cores()} cores" if on_host else jax.devices()[0].device_kind


def of_regression(tiny: bool) -> Iterator[Row]:
    """Least norm and ridge."""
    sparse, sizes = js.sparse, ((4, 8),) if tiny else ((32, 128), (128, 128), (256, 1024))
    solvers = {"least norm": sparse.MinNorm(), "ridge": sparse.Ridge()}
    systems = {
        f"{name}, N {n_features}, D {n_samples}": sparse.RandomFeatureRegression(
            n_features=n_features, n_samples=n_samples, spectrum_exponent=1.0,
            sparsity_exponent=2.0, solver=solver,
        )
        for n_features, n_samples in sizes
        for name, solver in solvers.items()
    }  # fmt: skip
    yield from timed_grids(systems, 4 if tiny else 1024)


def of_other_systems(tiny: bool) -> Iterator[Row]:
    """Students, multilinear models and small networks."""
    n_runs, n_steps, few = (4, 10, 2) if tiny else (1024, 500, 100)
    widths = (16,) if tiny else (16, 64)
    network = {w: Case(w, 256, n_runs=n_runs, n_steps=n_steps, goal=0) for w in widths}
    gradients = {
        "student, population gradient": js.superposition.Population(),
        "student, fresh batches": js.superposition.FreshBatches(),
    }
    systems: dict[str, js.AbstractSystem] = {
        name: js.superposition.TeacherStudent(
            n_features=256, latent_size=32, frequency_exponent=1.5, gradient=gradient,
            n_steps=few, record=[0, few],
        )
        for name, gradient in gradients.items()
    }  # fmt: skip
    systems["multilinear, 100 skills"] = js.emergence.MultilinearSkills(
        n_steps=10 * n_steps, record=[0, 10 * n_steps]
    )
    systems |= {f"network of width {w}": system_of(c, "adam") for w, c in network.items()}
    yield from timed_grids(systems, n_runs)


def of_small_runs(tiny: bool) -> Iterator[Row]:
    """Small networks, whose launches take the time, with loops in CUDA graphs or without."""
    loops = "+WHILE" in os.environ.get("XLA_FLAGS", "")
    for n_runs in (1,) if tiny else (1, 256):
        case = Case(64, 256, n_runs=n_runs, n_steps=8 if tiny else 2000, goal=0)
        plan = js.plan(js.Grid(system_of(case, "adam"), seeds=n_runs))
        names = {"case": "width 64, batch 256", "loops_in_graphs": "yes" if loops else "no"}
        yield names | per_run_step(plan, case, "float32")


def of_stretches(tiny: bool) -> Iterator[Row]:
    """One long sweep whose runs are cut in time, with their states on disk."""
    if "checkpoint_seconds" not in inspect.signature(js.plan).parameters:
        return
    case = Case(64, 256, n_runs=4 if tiny else 64, n_steps=500 if tiny else 300_000, goal=0)
    grid, rows = js.Grid(system_of(case, "adam"), seeds=case.n_runs), []
    for seconds in (60.0, 0.05) if tiny else (1e6, 60.0, 5.0):
        plan = js.plan(grid, checkpoint_seconds=seconds)
        with tempfile.TemporaryDirectory() as folder:
            compiling = js.run(plan, store=Path(folder, "a.zarr"), progress=False)
            began = time.perf_counter()
            js.run(plan, store=Path(folder, "b.zarr"), progress=False)
            lasts = time.perf_counter() - began
        row = {"case": f"stretches of {seconds:g} s", "runs": case.n_runs, "seconds": lasts}
        row["compile_seconds"] = float(compiling.attrs["compile_seconds"])
        rows.append(row | {"over_the_first": lasts / (rows or [row])[0]["seconds"]})
        yield rows[-1]


SECTIONS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "device": of_device,
    "grid": of_grid,
    "run S": of_run_s,
    "groups": of_groups,
    "agreement": of_agreement,
    "regression": of_regression,
    "small runs": of_small_runs,
    "stretches": of_stretches,
    "other systems": of_other_systems,
    "grid in TF32": lambda tiny: of_grid(tiny, "TF32"),
}


def work(names: Sequence[str], tiny: bool) -> None:
    """In a process of its own: print every row, and the end of every section, as a line of JSON."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever prints must not answer
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        js.use_all_cores()
    elif jax.default_backend() == "cpu" and not tiny:
        sys.exit("JAX has no accelerator here; --tiny shows that every section works")
    for name in names:
        rows: Iterator[Row] = SECTIONS[name](tiny)
        while True:
            try:
                row = next(rows, {"finished": True})
            except Exception as error:  # of one section; the others are worth their time
                row = {"finished": True, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps({"section": name, **row}), file=answers, flush=True)
            if "finished" in row:
                break


def rows_within(
    seconds: float, environment: Mapping[str, str], names: Sequence[str], tiny: bool
) -> Iterator[Row]:
    """Rows of a process, which is killed when the time is over."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {environment.get('XLA_FLAGS', '')}"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", *names, *["--tiny"] * tiny],
        cwd=ROOT,
        env={**os.environ, **environment, "XLA_FLAGS": flags.strip()},
        stdout=subprocess.PIPE,
        text=True,
    )
    clock = threading.Timer(max(seconds, 0.0), process.kill)
    clock.start()
    with process:
        try:
            for line in process.stdout or ():
                if line.endswith("\n"):  # not cut by the kill
                    yield json.loads(line)
        finally:
            clock.cancel()
            process.kill()


def write(out: Path, report: dict[str, Any]) -> None:
    """Replace the two files of the report."""
    for name, text in (
        ("gpu.json", json.dumps(report, indent=1)),
        ("gpu.md", table_gpu.gpu(report)),
    ):
        new = out / f"{name}.new"
        new.write_text(text + "\n")
        new.replace(out / name)


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser("benchmarks gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="stop after so many")
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--tiny", action="store_true", help="show that every section works")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * given.minutes
    pending = [(place, list(names)) for place, names in SCHEDULE]
    report: Row = {"machine": machine.about(), "tiny": given.tiny, "rows": []}
    for place, names in pending:
        seconds = end - time.monotonic()
        for row in rows_within(seconds, ENVIRONMENTS[place], tuple(names), given.tiny):
            if row.pop("finished", False):
                names.remove(row["section"])
            if len(row) > 1:
                report["rows"].append(row)
            missing = [f"{name} {where}".strip() for where, rest in pending for name in rest]
            write(given.out, report | {"not_measured": missing})
        if not report["rows"]:  # no accelerator, or no time
            sys.exit("nothing was measured")
    print((given.out / "gpu.md").read_text())


if __name__ == "__main__":
    work([name for name in sys.argv[1:] if name != "--tiny"], "--tiny" in sys.argv)
