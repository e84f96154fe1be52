"""Virtual CPU devices: how a grid uses every core of one machine."""

import contextlib
import functools
import os
from pathlib import Path

import jax

from jaxscale._arguments import hinted
from jaxscale.fields import as_int

MAX_DEVICES = 1024


@hinted
def use_all_cores(n_devices: int | None = None) -> int:
    """Let JAX show one CPU device per core, over which `js.run` spreads a grid.

    XLA alone keeps about one core busy with small networks. Call this before anything starts JAX
    (before the first array); it is the setting `jax_num_cpu_devices`, and accelerators stay as they
    are.

    **Arguments**

    - `n_devices`: number of CPU devices; by default the cores that this process may use.

    **Returns** the number of CPU devices.

    **Raises** `ValueError` for a number out of range, or if JAX has started with another one.
    """
    wanted = n_cores() if n_devices is None else as_int("n_devices", n_devices)
    if not 1 <= wanted <= MAX_DEVICES:
        raise ValueError(f"`n_devices` must be from 1 to {MAX_DEVICES}, got {n_devices}.")
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices are looked at below
        jax.config.update("jax_num_cpu_devices", wanted)
    try:
        n_started = len(jax.local_devices(backend="cpu"))
    except RuntimeError as error:
        raise ValueError(f"`n_devices` {wanted}: JAX has no CPU here ({error}).") from None
    if n_started != wanted:
        raise ValueError(
            f"`n_devices` cannot become {wanted}: JAX has started with {n_started} CPU devices. "
            "Call use_all_cores() before anything uses JAX (makes an array, asks for devices)."
        )
    return n_started


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # many files are read
def host_memory() -> float:
    """Bytes that this process may use: the machine's, or fewer in a container or cluster job."""
    try:
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        host = 8e9
    return min([float(host), *group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def group_limits(groups: Path, mounted: Path) -> list[float]:
    """Memory limits in bytes of the control groups that hold this process, and of those above them.

    `groups` has a line `number:controllers:path` for each hierarchy, version 2 one without
    controllers; `mounted` is the folder of the hierarchies. In a container the paths may be those
    of the host: missing folders are skipped, and the top folder is the container's own group.
    """
    places = []
    with contextlib.suppress(OSError):
        for line in os.fsdecode(groups.read_bytes()).splitlines():
            fields = line.split(":", 2)
            if len(fields) < 3:
                continue
            _, controllers, path = fields
            if not controllers:
                places += [(mounted, "memory.max", path), (mounted / "unified", "memory.max", path)]
            elif "memory" in controllers.split(","):
                places.append((mounted / "memory", "memory.limit_in_bytes", path))
    limits = []
    for top, name, path in places:
        own = top.joinpath(*(part for part in Path(path).parts if part not in ("/", "..")))
        for folder in (own, *own.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
                limits.append(float((folder / name).read_text()))
            if folder == top:
                break
    return limits
