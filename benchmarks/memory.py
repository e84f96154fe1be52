"""Bytes: those a plan foresees, those XLA allots, and the resident memory of this process."""

import ctypes
import gc
import resource
import sys
from pathlib import Path
from typing import Any

import jaxscale as js
from jaxscale.sweep._cache import PROGRAMS

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def planned_bytes(plan: js.Plan) -> float:
    """Memory of the host: the largest chunk on all CPU devices, and the results."""
    return plan.host_bytes


def compiled_bytes(plan: js.Plan) -> float:
    """Temporaries, results and arguments on one device, of the largest program that has run."""
    return max(program.bytes for program in programs_of(plan))


def programs_of(plan: js.Plan) -> list[Any]:
    """Compiled programs of a plan that has just run."""
    return PROGRAMS.values()[-plan.n_programs :]


def _kilobytes(name: str) -> int:
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith(name))
    return int(line.split()[1])


def peak_bytes() -> int:
    """Largest resident memory since the start, or since `reset_peak`."""
    if STATUS.exists():
        return 1024 * _kilobytes("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def reset_peak() -> int:
    """Give freed memory back, forget the peak, and return the resident bytes.

    **Raises** `OSError` where the system keeps the peak: only Linux lets it go.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")
    return 1024 * _kilobytes("VmRSS")
