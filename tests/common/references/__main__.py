"""`python -m references tables` computes the tables anew, `... hunt` the worst errors of the docs.

Run with `PYTHONPATH=tests/common`; a name, or a part of one, restricts both to some cases, and a
second number is the seed of the hunt.
"""

import json
import math
import sys
import time

import jax

from references import RECORD, _tables
from references._case import Case
from references._cases import CASES
from references._hunt import LONG, hunt


def _hunted(case: Case, seed: int) -> dict[str, object]:
    worst = hunt(case, seed, LONG)
    result = {
        "error": float(f"{worst.error:.1e}"),
        "at": {k: None if math.isinf(v) else float(f"{v:.4g}") for k, v in worst.at.items()},
        "relative_to": case.relative_to,
        "box": {k: a.ends for k, a in case.box.items()},
    }
    if case.slopes:
        result["slope_error"] = float(f"{worst.slope_error:.1e}")
    print(f"{case.name}: {worst.error:.1e}, slopes {worst.slope_error:.1e}", flush=True)
    return result


def _made(case: Case) -> _tables.Table:
    start = time.process_time()
    table = _tables.make(case)
    print(
        f"{case.name}: {len(table.points)} points, {time.process_time() - start:.1f} s", flush=True
    )
    return table


def main(command: str, part: str = "", seed: str = "0") -> None:
    """Run one of the two commands for the cases whose names contain `part`."""
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    chosen = {name: case for name, case in CASES.items() if part in name}
    if command == "tables":
        old = _tables.read() if _tables.FILE.exists() else {}
        for name, case in chosen.items():
            old[name] = _made(case)
            _tables.write({n: old[n] for n in CASES if n in old})
    elif command == "hunt":
        for name, case in chosen.items():
            result = _hunted(case, int(seed))
            record = json.loads(RECORD.read_text()) | {name: result}
            record = {n: record[n] for n in CASES if n in record}
            RECORD.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    else:
        raise SystemExit(f"unknown command {command!r}: tables or hunt")


main(*sys.argv[1:])
