"""Which changes of a formula the tests notice: `python -m benchmarks.mutation MODULE ...`.

Needs cosmic-ray. Draws `--sample` mutants of every module from a seed, changes the module in a copy
of the checkout, and runs the tests that `mutation.toml` names. Writes `results/mutation.json`; a
module that is run again replaces its old row, and what was written on its survivors stays: why they
survive, beginning with "equivalent" where no test can tell them from the code. After new tests,
`--survivors` judges those alone; a module that has changed is run in full.
"""

import argparse
import difflib
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results" / "mutation.json"
TESTS: dict[str, str] = tomllib.loads((FOLDER / "mutation.toml").read_text())["tests"]
# no numbers have these operators, or every test would notice
NOT_MUTATED = re.compile(
    r"Shift|Bit|(FloorDiv|Mod)$|NoOp|Operator_Is(Not)?_(?!Is)|_(?!Is)[A-Z]\w+_Is(Not)?$"
)
COPIED = ("jaxscale", "tests", "docs", "examples", "benchmarks", "pyproject.toml", ".pytest_cache")
PRELOADED = "Module already imported so cannot be rewritten"
FORKS = multiprocessing.get_context("forkserver")  # before JAX has threads
FORKS.set_forkserver_preload(
    ["pytest", "jax.numpy", "equinox", "optax", "xarray", "zarr", "scipy.stats", "mpmath", "pandas"]
)


def mutants(module: Path, n: int, seed: int) -> list[MutationSpec]:
    """Draw at most n mutants of a module that compile (a star of a signature is no product)."""
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session.sqlite") as session:
        init([module], session, {})
        every = [item.mutations[0] for item in session.work_items]
    every = [one for one in every if not NOT_MUTATED.search(one.operator_name)]
    every.sort(key=lambda one: (one.operator_name, one.occurrence))
    random.Random(f"{seed} {module}").shuffle(every)
    return list(itertools.islice(filter(_compiles, every), n))


def _compiles(one: MutationSpec) -> bool:
    operator = get_operator(one.operator_name)(**one.operator_args)
    try:
        compile(mutate_code(one.module_path.read_text(), operator, one.occurrence), "", "exec")
    except SyntaxError:
        return False
    return True


def _pytest(arguments: list[str]) -> None:
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.dont_write_bytecode = True  # a changed file may have the size and the second of another
    sys.path.insert(0, os.getcwd())
    sys.exit(pytest.main(["-x", "-q", "-n", "0", "-W", f"ignore:{PRELOADED}", *arguments]))


def passes(tests: str, timeout: float | None = None) -> bool | None:
    """Whether tests pass in a process that has imported JAX, None if they take longer."""
    process = FORKS.Process(target=_pytest, args=(shlex.split(tests),))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode == 0


@functools.cache
def longest(tests: str) -> float:
    """Return the seconds that tests may take, several times those without a mutant.

    **Raises** `ValueError` for tests that fail without a mutant.
    """
    began = time.perf_counter()
    if not passes(tests):
        raise ValueError(f"`modules` need tests that pass unchanged, got `pytest {tests}`.")
    return 20 + 3 * (time.perf_counter() - began)


def change(one: MutationSpec) -> str:
    """Return the name of a mutant: where it is, and the lines that it changes."""
    operator = get_operator(one.operator_name)(**one.operator_args)
    old = one.module_path.read_text()
    new = mutate_code(old, operator, one.occurrence) or ""
    lines = list(difflib.unified_diff(old.split("\n"), new.split("\n"), n=0))[3:]
    return f"{one.definition_name}: " + " ".join(" ".join(line.split()) for line in lines)


def judge(
    module: str, n: int, seed: int, before: dict[str, Any], again: bool = False
) -> dict[str, Any]:
    """Run the tests of a module on a sample of its mutants; the working folder is a copy.

    `before` is the row of an earlier run; with `again`, what it killed stays killed.
    """
    tests = next(tests for pattern, tests in TESTS.items() if fnmatch(module, pattern))
    timeout, reasons = longest(tests), before.get("survivors", {})
    late = before["timed_out"] if again else 0
    row: dict[str, Any] = {"mutants": 0, "killed": 0, "timed_out": late, "survivors": {}}
    for one in mutants(Path(module), n, seed):
        operator, key = get_operator(one.operator_name)(**one.operator_args), change(one)
        outcome = False
        if key in reasons or not again:
            with use_mutation(one.module_path, operator, one.occurrence):
                outcome = passes(tests, timeout)
        row["mutants"] += 1
        row["timed_out"] += outcome is None
        row["killed"] += not outcome
        if outcome:
            row["survivors"][key] = reasons.get(key, "")
            print(f"{module}:{one.start_pos[0]} {key}", flush=True)
    return {**row, "tests": tests, "sample": n, "seed": seed, "module": digest(module)}


def digest(module: str) -> str:
    """Short hash of a module, by which a changed one is told."""
    return hashlib.sha256(Path(module).read_bytes()).hexdigest()[:16]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.mutation")
    parser.add_argument("modules", nargs="+", help="files of jaxscale")
    parser.add_argument("--sample", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors", action="store_true", help="judge those of the record again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    out = given.out.resolve()
    names = [str(Path(name).resolve().relative_to(FOLDER.parent)) for name in given.modules]
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, copy = FOLDER.parent / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, copy)
            elif source.exists():
                shutil.copy(source, copy)
        os.chdir(folder)
        for name in names:
            old = json.loads(out.read_text()) if out.exists() else {"modules": {}}
            before = old["modules"].get(name, {})
            again = given.survivors and before.get("module") == digest(name)
            n, seed = (before[k] if again else getattr(given, k) for k in ("sample", "seed"))
            old["modules"][name] = row = judge(name, n, seed, before, again)
            old["versions"] = {of: version(of) for of in ("cosmic-ray", "jax", "pytest")}
            out.write_text(json.dumps(old, indent=1, sort_keys=True) + "\n")
            print(f"{name}: {row['killed']} of {row['mutants']} killed", flush=True)


if __name__ == "__main__":
    main()
