"""One writer per store: a lock that dies with its owner."""

import contextlib
import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """Hold the right to write the store at `path`; nobody waits for it.

    The lock is the operating system's, on the file `.NAME.lock` beside the store: a process that is
    killed, or whose machine goes down, leaves nothing to clean up. Its empty file stays on purpose:
    one that is unlinked while another process opens it may be locked twice, once under each inode,
    and over NFS that cannot be detected. `.NAME.lock.json` tells who holds it, for the refusal.

    Some cluster file systems have no locks (Lustre without `-o flock`, NFS without a lock daemon).
    Refusing them would leave those machines without any store, so there the existence of a file is
    the lock. What a dead process of this host left is removed; whether one on another host lives
    nobody can know, so it is refused, and the message tells which file to delete.

    **Arguments**

    - `path`: the store, which need not exist; missing folders above it are made.

    **Raises** `ValueError` naming the owner if another process or thread writes the store, or if
    the folder cannot be written to.
    """
    target = path.resolve()  # two spellings of one store are one lock
    beside = target.with_name(f".{target.name}.lock")
    told = beside.with_name(f"{beside.name}.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock, soft = _acquire(beside)
    except OSError as error:
        raise ValueError(f"`store` {path} cannot be locked for writing ({error}).") from None
    if not lock.is_locked:
        owner, advice = _owner(told), _advice(lock, soft)
        raise ValueError(f"`store` {path} is being written by {owner}; {advice}.")
    try:
        _tell(told)
        yield
    finally:
        with contextlib.suppress(OSError):  # a lock is released whatever became of its folder
            told.unlink(missing_ok=True)
        lock.release()


def _acquire(file: Path) -> tuple[BaseFileLock, bool]:
    """Lock of `file`, held unless somebody else holds it, and whether its existence is the lock."""
    lock = FileLock(file, thread_local=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock's own change to a SoftFileLock
        try:
            _try(lock)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            # under a name of its own: the file that could not be locked would look like a held lock
            lock = SoftFileLock(file.with_name(f"{file.name}.soft"), thread_local=False)
            _try(lock)
    return lock, isinstance(lock, SoftFileLock)


def _try(lock: BaseFileLock) -> None:
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)


def _tell(file: Path) -> None:
    """Write who holds the lock, whole or not at all; a full disk costs only the name."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    temporary = file.with_name(f"{file.name}.new")  # the lock is held: nobody else writes it
    try:
        temporary.write_text(json.dumps(owner))
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _owner(file: Path) -> str:
    """Who holds the lock, as far as known: it may have been taken this very moment."""
    try:
        owner: dict[str, Any] = json.loads(file.read_text())
        seconds = max(0, round(time.time() - owner["since"]))
        return f"process {owner['pid']} on {owner['host']} for {seconds} s"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _advice(lock: BaseFileLock, soft: bool) -> str:
    if soft:
        return f"wait for it, or delete {lock.lock_file} if that process has died"
    return "wait for it or end it, or choose another store"
