"""The machine that measured: cores, processor, load, peak of a matrix product, versions."""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale._devices import n_cores

PACKAGES = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "torch")
GEMM_SIZE = 1024


def cpu_model() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load_average() -> list[float]:
    """Load average over 1, 5 and 15 minutes."""
    return [round(x, 2) for x in os.getloadavg()]


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def gemm_peak() -> float:
    """Best of ten float32 products in NumPy, all cores of this process, in FLOP/s."""
    a = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    best = min(seconds(lambda: a @ a) for _ in range(10))
    return 2 * GEMM_SIZE**3 / best


def total_memory() -> int:
    """Bytes of physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str]:
    """Versions of the packages that matter, of those that are installed."""
    installed = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def about() -> dict[str, Any]:
    """What every result says about where it was measured."""
    return {
        "cpu": cpu_model(),
        "cores": n_cores(),
        "memory_gigabytes": round(total_memory() / 1e9, 1),
        "load": load_average(),
        "versions": versions(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
