"""The record of mutants: each survivor has its reason, each module its tests."""

import json
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
RECORD = json.loads((REPOSITORY / "benchmarks" / "results" / "mutation.json").read_text())
TESTS = tomllib.loads((REPOSITORY / "benchmarks" / "mutation.toml").read_text())["tests"]


def test_survivors_are_explained():
    for module, row in RECORD["modules"].items():
        assert (REPOSITORY / module).exists(), module
        assert row["mutants"] - row["killed"] == len(row["survivors"]), module
        assert all(row["survivors"].values()), module


@pytest.mark.parametrize("pattern", TESTS)
def test_every_module_has_tests(pattern):
    modules = [str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "jaxscale").rglob("*.py")]
    assert any(fnmatch(module, pattern) for module in modules)
    paths = [word for word in shlex.split(TESTS[pattern]) if word.startswith("tests/")]
    assert paths
    assert all((REPOSITORY / path).exists() for path in paths)
