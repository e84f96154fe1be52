"""A folder whose every change is seen, in order, and can be made to fail.

Python's functions that change files are replaced while a `Disk` is watched: every creation, write,
truncation, renaming, removal and fsync below its folder is counted and logged, and `fail` is asked
before each.
"""

import builtins
import contextlib
import errno
import io
import os
import signal
import threading

import pytest

from jaxscale import _files as files
from jaxscale.sweep import _store as store

NEEDS_SPACE = ("create", "write", "mkdir", "link", "rename", "fsync")
NEEDS_RIGHTS = ("create", "open", "mkdir", "link", "rename", "unlink", "rmdir")
HIGHEST = 10**9  # changes: a fault that never comes


class Killed(BaseException):
    """The process ends here: nothing that it does afterwards reaches the disk."""


class Disk:
    """What happens to the files below a folder: `log`, and `fail(what, n)` before change `n`."""

    def __init__(self, folder):
        self.folder = os.path.realpath(folder)
        self.log, self.n, self.is_dead = [], 0, False
        self.fail = lambda what, n: None
        self._lock = threading.RLock()

    def note(self, *event):
        """Put an event of the test's own into the log."""
        self.log.append(event)

    @contextlib.contextmanager
    def watched(self, fail=lambda what, n: None):
        """See every change in the block, with faults."""
        self.fail, self.n, self.is_dead = fail, 0, False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "ThreadPoolExecutor", InOrder)
            patch.setattr(store, "ThreadPoolExecutor", InOrder)
            for name in ("open", "mkdir", "rename", "replace", "link", "unlink", "remove", "rmdir"):
                patch.setattr(os, name, self._patched(getattr(os, name), getattr(self, name)))
            for name in ("write", "ftruncate", "fsync"):
                patch.setattr(os, name, self._on_descriptor(getattr(os, name), name))
            for module in (io, builtins):
                patch.setattr(module, "open", self._patched(io.open, self.open_file))
            yield

    def ours(self, path, dir_fd=None):
        """Absolute path, or None if it lies elsewhere."""
        if isinstance(path, int):
            return None
        if dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        path = os.path.abspath(os.fspath(path))
        return path if f"{path}{os.sep}".startswith(self.folder + os.sep) else None

    @contextlib.contextmanager
    def change(self, what, *event):
        """Let a change fail, or log it once it is made."""
        with self._lock:
            self.n += 1
            if self.is_dead:
                raise Killed
            try:
                self.fail(what, self.n)
            except Killed:
                self.is_dead = True
                raise
            yield
            if what != "open":
                self.log.append((what, *event))

    def _patched(self, real, changing):
        def function(path, *arguments, **named):
            ours = self.ours(path, named.get("dir_fd", named.get("src_dir_fd")))
            if ours is None:
                return real(path, *arguments, **named)
            return changing(real, ours, path, *arguments, **named)

        return function

    def _on_descriptor(self, real, what):
        def function(descriptor, *arguments):
            path = self.ours(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path is None:
                return real(descriptor, *arguments)
            with self._lock:
                if self.is_dead:  # as after a kill: no error, and no effect
                    return len(arguments[0]) if what == "write" else None
                event = arguments
                if what == "write":
                    event = (os.lseek(descriptor, 0, os.SEEK_CUR), bytes(arguments[0]))
                with self.change({"ftruncate": "truncate"}.get(what, what), path, *event):
                    return real(descriptor, *arguments)

        return function

    def open(self, real, ours, path, flags, *arguments, **named):
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return real(path, flags, *arguments, **named)
        creates = flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.exists(ours))
        with self.change("create" if creates else "open", ours):
            return real(path, flags, *arguments, **named)

    def mkdir(self, real, ours, path, *arguments, **named):
        if os.path.exists(ours):
            return real(path, *arguments, **named)  # which raises
        with self.change("mkdir", ours):
            return real(path, *arguments, **named)

    def rename(self, real, ours, path, target, **named):
        with self.change("rename", ours, self.ours(target)):
            return real(path, target, **named)

    replace = rename

    def link(self, real, ours, path, target, **named):
        with self.change("link", ours, self.ours(target)):
            return real(path, target, **named)

    def unlink(self, real, ours, path, **named):
        if not os.path.lexists(ours):
            return real(path, **named)  # which raises
        with self.change("unlink", ours):
            return real(path, **named)

    remove = unlink

    def rmdir(self, real, ours, path, **named):
        with self.change("rmdir", ours):
            return real(path, **named)

    def open_file(self, real, ours, path, mode="r", buffering=-1, *arguments, **named):
        if not set(mode) & set("wxa+"):
            return real(path, mode, buffering, *arguments, **named)
        with self.change("create", ours):
            raw = _Raw(self, ours, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, *arguments, **named)


class _Raw(io.FileIO):
    """A file whose writes are seen; one that fails is written by half."""

    def __init__(self, disk, path, mode):
        super().__init__(path, mode)
        self.disk, self.path = disk, path

    def write(self, data):
        with self.disk._lock:
            if self.disk.is_dead:
                return len(data)
            try:
                with self.disk.change("write", self.path, self.tell(), bytes(data)):
                    return super().write(data)
            except (OSError, Killed):
                super().write(bytes(data)[: len(data) // 2])
                raise


class InOrder:
    """A pool that does one thing after the other: the same changes in the same order."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    map = staticmethod(map)


async def at_once(function, /, *arguments, **named):
    """`asyncio.to_thread` in the thread that asks."""
    return function(*arguments, **named)


# faults, for `Disk.watched`


def killed_at(at):
    """The process is killed at a change."""

    def fail(what, n):
        if n >= at:
            raise Killed

    return fail


def interrupted_at(at):
    """Ctrl-C comes at a change that the main thread makes, once."""
    came = []

    def fail(what, n):
        if n >= at and not came and threading.current_thread() is threading.main_thread():
            came.append(n)
            signal.raise_signal(signal.SIGINT)

    return fail


def refused(kinds, number, first, last=HIGHEST):
    """The system refuses some kinds of changes, from the first to the last."""

    def fail(what, n):
        if what in kinds and first <= n <= last:
            raise OSError(number, os.strerror(number))

    return fail


def full_from(first, last=HIGHEST):
    """The disk is full meanwhile."""
    return refused(NEEDS_SPACE, errno.ENOSPC, first, last)


def forbidden_from(first, last=HIGHEST):
    """The rights to write are gone meanwhile."""
    return refused(NEEDS_RIGHTS, errno.EACCES, first, last)
