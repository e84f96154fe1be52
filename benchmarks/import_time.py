"""Seconds that `import jaxscale` adds to `import jax, equinox`, in fresh processes.

`python -m benchmarks.import_time --rounds 7 --out benchmarks/results/`
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
WITHOUT, WITH = "jax, equinox", "jax, equinox, jaxscale"


def import_seconds(modules: str) -> float:
    """Seconds of one import statement in a fresh interpreter, its start-up excluded."""
    command = [sys.executable, "-c", TIMED.format(modules)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    import_seconds(WITH)  # writes the bytecode and fills the file cache
    load_before = os.getloadavg()[0]
    rounds = [(import_seconds(WITHOUT), import_seconds(WITH)) for _ in range(given.rounds)]
    without, complete = (statistics.median(column) for column in zip(*rounds, strict=True))
    result = {
        "without_seconds": without,
        "with_seconds": complete,
        "added_seconds": statistics.median(b - a for a, b in rounds),
        "rounds": rounds,
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "import_time.json").write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"jax, equinox {without:.2f} s; with jaxscale {complete:.2f} s; "
        f"added {result['added_seconds']:.2f} s"
    )


if __name__ == "__main__":
    main()
