"""Compare the packages of this environment with the resolved versions of constraints.txt.

- `python .ci/versions.py`: print what differs.
- `python .ci/versions.py changed`: the same, and exit with 3 if nothing does.
- `python .ci/versions.py blame CACHE`: repeat the tests that failed (by pytest's CACHE folder) with
  one package after another at its resolved version, and name those that explain the failure.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
TESTS_AGAIN = 10  # at most


def normal(name: str) -> str:
    """Return the name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolved() -> dict[str, str]:
    """Return the versions of constraints.txt for this interpreter."""
    lines = (line.partition("#")[0].strip() for line in CONSTRAINTS.read_text().splitlines())
    required = [Requirement(line) for line in lines if line]
    return {
        normal(r.name): next(iter(r.specifier)).version
        for r in required if r.marker is None or r.marker.evaluate()
    }  # fmt: skip


def installed() -> dict[str, str]:
    """Return the versions of this environment, without jaxscale and the installers."""
    versions = {normal(d.name): d.version for d in importlib.metadata.distributions()}
    return {n: v for n, v in versions.items() if n not in ("jaxscale", "pip", "setuptools")}


def changed() -> dict[str, tuple[str, str | None]]:
    """Return the installed and the resolved version (None: not resolved) where they differ."""
    pinned = resolved()
    return {n: (v, pinned.get(n)) for n, v in sorted(installed().items()) if v != pinned.get(n)}


def print_changed() -> None:
    """Print the versions that differ from the resolved ones."""
    different = changed()
    print(f"{len(different)} of {len(installed())} packages differ from constraints.txt")
    for name, (version, pinned) in different.items():
        print(f"  {name:24} {version:14} resolved: {pinned or 'not at all'}")


def install(versions: dict[str, str], *options: str) -> bool:
    """Install these versions, and return whether that was possible."""
    uv = os.environ.get("UV")
    pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    python = ["--python", sys.executable] if uv else []
    wanted = [f"{n}=={v}" for n, v in versions.items()]
    return not subprocess.call([*pip, "install", "-q", *python, *options, *wanted])


def passes(tests: list[str]) -> bool:
    """Run tests, or only the import if there are none."""
    pytest = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    command = pytest if tests else ["-c", "import jaxscale"]
    return not subprocess.run([sys.executable, *command], capture_output=True).returncode


def blame(cache: Path) -> None:
    """Name the packages whose resolved version makes the failed tests pass."""
    file = cache / "v" / "cache" / "lastfailed"
    tests = list(json.loads(file.read_text()))[:TESTS_AGAIN] if file.exists() else []
    print_changed()
    before, guilty = installed(), []
    direct = {normal(Requirement(r).name) for r in importlib.metadata.requires("jaxscale") or ()}
    for name, (version, pinned) in sorted(changed().items(), key=lambda c: c[0] not in direct):
        if pinned is None or not install({name: pinned}):
            continue
        if passes(tests):
            guilty.append(f"{name} {version}")
            failed = " ".join(tests) or "import jaxscale"
            print(f"{name} {version} fails what {name} {pinned} passes: {failed}", flush=True)
        install(before, "--no-deps")
    if not guilty:
        print("no single package explains the failure")


if __name__ == "__main__":
    if sys.argv[1:2] == ["blame"]:
        blame(Path(sys.argv[2]))
    else:
        print_changed()
        if sys.argv[1:] == ["changed"]:
            sys.exit(0 if changed() else 3)  # a crash is 1
