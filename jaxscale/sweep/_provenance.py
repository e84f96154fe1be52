"""Where results come from: versions, device, precision, seconds, commit."""

import functools
import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any

from jaxscale.sweep._plan import Plan


def provenance(
    plan: Plan, device: str, wall_seconds: float, compile_seconds: float, complete: bool
) -> dict[str, Any]:
    """How results were made: versions, device, precision, seconds, commit."""
    return {
        "versions": json.dumps(_versions()),
        "device": device,
        "dtype": plan.grid.system.dtype,
        "matmul_precision": plan.options.matmul_precision,
        "wall_seconds": round(wall_seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "complete": int(complete),
        "git_commit": _git_commit(),
    }


@functools.cache  # of what was imported; reading them takes longer than a small sweep
def _versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    packages = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "xarray", "zarr")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


@functools.cache
def _git_commit() -> str:
    """Commit of the checkout that jaxscale runs from, empty for an installed package."""
    folder = Path(__file__).parent
    if not (folder.parent.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
