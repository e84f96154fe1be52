"""One writer per store."""

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
MOMENT = 0.01  # seconds, longer than `is_locked` of another process holds a lock
OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """Hold the right to write the store at `path`, which need not exist; raise if it is taken.

    The lock is the operating system's, on `.NAME.lock` next to the store, and ends with its
    process. The file says who holds it, and stays as an empty file: one that is removed while
    another process opens it could be locked twice.

    Some cluster file systems have no locks (Lustre without `-o flock`, NFS without a lock daemon),
    nor has Python on Windows. There the lock is the existence of `.NAME.lock.soft`. A process that
    is killed leaves it behind, and as nobody can tell from another machine or container whether
    that process still writes, the file is respected and the message says to delete it.

    **Raises** `ValueError` naming the owner if another process or thread writes the store, or if
    the folder cannot be written to.
    """
    target = path.resolve()  # two spellings of one store are one lock
    file = _lock_file(target)
    way_out = "wait for it or end it, or choose another store"
    with contextlib.ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = stack.enter_context(_locked(file))
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                file = _soft(file)
                way_out = f"wait for it, or delete {file} if that process has ended"
                descriptor = stack.enter_context(_created(file))
        except BlockingIOError:
            message = f"`store` {path} is being written by {_owner(file)}; {way_out}."
            raise ValueError(message) from None
        except OSError as error:
            where = f"({error.strerror} in the folder {target.parent})"
            message = f"`store` {path} cannot be written {where}: choose another folder."
            raise ValueError(message) from None
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        with contextlib.suppress(OSError):  # a full disk costs only the name
            os.write(descriptor, json.dumps(owner).encode())
        yield


def is_locked(path: Path) -> bool:
    """Whether the store at `path` is being written at the moment."""
    file = _lock_file(path.resolve())
    try:
        with file.open("rb") as opened:
            if opened.read(1) and sys.platform != "win32":  # an empty one is nobody's
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            return True
    return _soft(file).exists()


def _lock_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _soft(file: Path) -> Path:
    return file.with_name(f"{file.name}.soft")


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[int]:
    """Descriptor of `file` under the operating system's lock; `BlockingIOError` if it is taken."""
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "no flock on Windows")
    descriptor = os.open(file, OPEN, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(MOMENT)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.ftruncate(descriptor, 0)  # what a killed owner wrote
            yield descriptor
        finally:
            os.ftruncate(descriptor, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child has the descriptor, too
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _created(file: Path) -> Iterator[int]:
    """Descriptor of `file`, whose existence is the lock; `BlockingIOError` if it is taken."""
    try:
        descriptor = os.open(file, OPEN | os.O_EXCL, 0o666)
    except FileExistsError:
        raise BlockingIOError from None
    mine = os.fstat(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # the folder may be gone
            if os.path.samestat(mine, file.stat()):  # else deleted by hand and taken by another
                file.unlink()


def _owner(file: Path) -> str:
    """Name the owner; it may have taken the lock this very moment, and not yet written its name."""
    try:
        owner = json.loads(file.read_text())
        seconds = max(0, round(time.time() - owner["since"]))
        return f"process {owner['pid']} on {owner['host']} for {seconds} s"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
