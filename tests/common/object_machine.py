"""The machine on objects: requests fail, processes are killed between them, and others take over.

A full disk is here a server that cuts connections, at times when it has done what was asked.
"""

import asyncio
import contextlib
import errno
import functools
import hashlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import hypothesis.strategies as st
import obstore
import pytest
from disk import HIGHEST, InOrder, Killed, interrupted_at, killed_at
from hypothesis.stateful import rule
from machine import PLACES, AnyMachine
from stored import MOST_RUNS

from jaxscale.sweep import (
    _object_files as object_files,
    _object_lock as object_lock,
    _store as store,
)
from jaxscale.sweep._locate import place_of

NUMBERS = itertools.count()  # of stores
POOL = ThreadPoolExecutor()  # not Zarr's of one thread: another session writes within a write
TAKEN = ("was taken over by", "was replaced", "is written by another process")


class Bucket:
    """What is written to objects and deleted: `fail(what, n)` is called before change `n`."""

    @contextlib.contextmanager
    def watched(self, fail=lambda what, n: None):
        """See every change in the block, with faults."""
        self.fail, self.n, self.is_dead, self.lock = fail, 0, False, threading.Lock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "ThreadPoolExecutor", InOrder)
            patch.setattr(object_files, "PATIENCE", 0.0)
            for name in ("put", "delete"):
                patch.setattr(obstore, name, self._patched(name))
                patch.setattr(obstore, f"{name}_async", self._awaited(name))
            yield

    def _patched(self, what):
        real = getattr(obstore, what)

        def function(bucket, keys, *arguments, **named):
            for key in [keys] if isinstance(keys, str) else keys:
                is_lost = self._changes(what)
                answer = real(bucket, key, *arguments, **named)
                if is_lost:
                    raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            return answer

        return function

    def _awaited(self, what):
        function = self._patched(what)

        async def awaited(*arguments, **named):
            call = functools.partial(function, *arguments, **named)
            return await asyncio.get_running_loop().run_in_executor(POOL, call)

        return awaited

    def _changes(self, what):
        """Whether the answer to a change will be lost."""
        with self.lock:
            self.n += 1
            n = self.n
        if self.is_dead:
            raise Killed
        try:
            return self.fail(what, n)
        except Killed:
            self.is_dead = True
            raise


def cut_from(first, last=HIGHEST):
    """Connections are cut meanwhile, before or after what was asked is done."""

    def fail(what, n):
        if first <= n <= last and n % 2:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return first <= n <= last

    return fail


def forbidden_from(first, last=HIGHEST):
    """The rights to write and to delete are gone meanwhile."""

    def fail(what, n):
        if first <= n <= last:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    return fail


class ObjectMachine(AnyMachine):
    """A store of objects."""

    faults = MappingProxyType(
        {"kill": killed_at, "ctrl-c": interrupted_at, "full": cut_from, "forbidden": forbidden_from}
    )
    causes = MappingProxyType({"full": "Connection reset", "forbidden": "Permission denied"})

    def __init__(self):
        super().__init__()
        self.path, self.disk = f"memory://machine-{next(NUMBERS)}/a.zarr", Bucket()

    def remove(self):
        super().remove()
        place = place_of(self.path)
        place.objects.remove(place.objects.keys(place.prefix.partition("/")[0]))

    def has_store(self):
        return place_of(self.path).identity() is not None

    def digest(self):
        """The current generation: a session that is refused has named itself in the root."""
        current = place_of(self.path).current()
        read = {key: current.objects.read(key)[0] for key in current.objects.keys(current._base)}
        return {key: hashlib.sha256(data).hexdigest() for key, data in read.items()}

    @rule(data=st.data(), last=st.booleans(), grows=st.booleans(), at=PLACES)
    def be_taken_over(self, data, last, grows, at):
        """Suspend a session at a change, let another finish its work, and wake it up."""
        target, came, clocks = self.sweep, [], object_lock._clocks
        if grows:
            target = self.sweep.grown(data.draw(st.sampled_from((*self.axes, "seed"))), last)
        if len(target.runs) > MOST_RUNS:
            return

        def suspended(what, n):
            if n == at:
                with pytest.MonkeyPatch.context() as another:
                    another.setattr(object_lock, "_is_dead", lambda owner: True)
                    self.run_it(target)
                came.append(n)
                patch.setattr(object_lock, "_clocks", lambda: [c + 1000.0 for c in clocks()])

        runs, message = None, ""
        with pytest.MonkeyPatch.context() as patch, self.disk.watched(suspended):
            try:
                runs = self.run_it(target)
            except ValueError as error:
                message = str(error)
        if runs is None:
            assert came, message
            assert "`store` memory://machine-" in message
            assert any(text in message for text in TAKEN), message
        self.tally["taken over" if came else "complete"] += 1
        self.was_lengthened = self.was_planned_otherwise = False
        self.keep(self.look(self.sweep, target))
        assert all(step % 2 for step in self.reached.values())
        assert self.sweep == target
        if runs is not None:
            self.check(runs, target)
