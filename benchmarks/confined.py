"""A control group with little memory: the kernel ends whatever takes more."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """Folder of a new control group that may hold `limit` bytes, page cache included.

    A process enters it by writing its number to `cgroup.procs`.

    **Raises** `OSError` where this user may make no groups.
    """
    old = MOUNTED / "memory"
    name = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    group = (old if old.is_dir() else MOUNTED) / f"jaxscale-{os.getpid()}"
    group.mkdir()
    try:
        (group / name).write_text(str(limit))
        with contextlib.suppress(OSError):  # no swap either, where there is any
            swap = "memory.memsw.limit_in_bytes" if old.is_dir() else "memory.swap.max"
            (group / swap).write_text(str(limit if old.is_dir() else 0))
        yield group
    finally:
        with contextlib.suppress(OSError):  # a process that was not ended yet keeps its group
            group.rmdir()
