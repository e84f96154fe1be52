"""Measure everything and rewrite the tables: `python -m benchmarks [NAME ...]`.

Every name is one result file, measured by a pytest process of its own. `python -m benchmarks gpu`
and `ahead` are programs of their own, for an accelerator and for devices that are absent.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import ahead, gpu

FOLDER = Path(__file__).parent
BENCHES = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}


def python(*arguments: str) -> int:
    """Exit status of a process in the repository's root."""
    return subprocess.run([sys.executable, *arguments], cwd=FOLDER.parent).returncode


def main() -> None:
    """Command line."""
    for name, program in (("ahead", ahead), ("gpu", gpu)):
        if sys.argv[1:2] == [name]:
            return program.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="show that every case works")
    parser.add_argument("--out", type=Path, default=FOLDER / "results")
    given = parser.parse_args()
    unknown = set(given.name) - set(BENCHES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    given.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in given.name:
        began, new = time.perf_counter(), given.out.resolve() / f"{name}.json.new"
        options = [f"--rounds={given.rounds}", *["--tiny"] * given.tiny]
        if python("-m", "pytest", str(BENCHES[name]), f"--benchmark-json={new}", *options):
            failed.append(name)
        if new.stat().st_size:  # where everything was skipped, the results of another machine stay
            new.rename(new.with_suffix(""))
        new.unlink(missing_ok=True)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    if not given.tiny:
        python("-m", "benchmarks.table")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
