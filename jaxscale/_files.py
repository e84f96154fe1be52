"""Files that are read and written: checked before anything runs, on disk before they count."""

import contextlib
import errno
import functools
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxscale._text import nearest, unknown

NO_FOLDERS = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)  # of a system: to be flushed


def require_file(what: str, path: Path, folder: bool = False) -> None:
    """Raise `ValueError` unless `path` is a file, or a folder where `folder` allows one."""
    if not path.exists():
        raise ValueError(f"`{what}` {path} does not exist{resembling(path) or '.'}")
    if path.is_dir() and not folder:
        raise ValueError(f"`{what}` must be a file, got the folder {path}.")


def resembling(path: Path) -> str:
    """Return `; did you mean ...?` of a neighbour of `path`, of the same ending where one is."""
    others = [p for p in path.parent.glob("[!.]*") if nearest(path.stem, [p.stem])]
    same = [p.name for p in others if p.suffix == path.suffix]
    endings = [p.name for p in others if not path.suffix or nearest(path.suffix, [p.suffix])]
    return nearest(path.name, same) or nearest(path.name, endings)


def require_writable(what: str, path: Path, endings: Sequence[str] = ()) -> None:
    """Raise `ValueError` unless a file can be written to `path`, whose name has an ending."""
    if endings and path.suffix not in endings:
        raise unknown(f"the ending of `{what}`", str(path), endings)
    if path.is_dir():
        raise ValueError(f"`{what}` must be a file, got the folder {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"`{what}` {path} lies in a folder that does not exist: make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"`{what}` {path} cannot be written: permission denied.")
    if not path.exists():
        try:
            with tempfile.TemporaryFile(dir=path.parent):  # none can be in /proc, say
                pass
        except OSError as error:
            raise ValueError(f"`{what}` {path} cannot be written: {error.strerror}.") from None


def require_folder(what: str, path: Path) -> None:
    """Raise `ValueError` unless the folder `path` can be made, or written to if it exists."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except OSError as error:  # a name that is too long, say
        raise ValueError(f"`{what}` {path} cannot be written: {error.strerror}.") from None
    existing = _existing(path)
    if not existing.is_dir():
        raise ValueError(f"`{what}` {path} must be a folder: {existing} is a file.")
    if not os.access(existing, os.W_OK | os.X_OK):
        denied = f"permission denied at {existing}; choose another folder."
        raise ValueError(f"`{what}` {path} cannot be written: {denied}")


def _existing(path: Path) -> Path:
    """The path, or the nearest of the folders above it that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def require_new_folder(what: str, path: Path) -> None:
    """Raise `ValueError` unless a folder `path`, which may be missing, takes files."""
    require_folder(what, path)
    existing = _existing(path)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        refused = f"no file can be made in {existing} ({error.strerror})"
        raise ValueError(
            f"`{what}` {path} cannot be written: {refused}; choose another folder."
        ) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it, whose names are on disk when it returns."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    flush(folder.parent for folder in made)


def refuse_links(what: str, path: Path, depth: int) -> None:
    """Raise `ValueError` if a folder below `path` is a link, down to a depth.

    What is written there would land elsewhere.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise ValueError(f"`{what}` {path} has a link, {entry.name}: nothing was written.")
            if depth > 1 and entry.is_dir():
                refuse_links(what, Path(entry.path), depth - 1)


def flush(paths: Iterable[Path]) -> None:
    """Fsync files and folders, so that finished chunks also survive a power failure."""

    def one(path: Path) -> None:
        folder = path.is_dir()
        try:
            file = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            if not (folder and error.errno in NO_FOLDERS):
                raise

    list(_pool(os.getpid()).map(one, paths))  # the disk takes them together


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process, by its number: a fork has none of them.

    They stay, for to start some takes longer than what is flushed on a fast disk.
    """
    return ThreadPoolExecutor()
