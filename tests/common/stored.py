"""A store that a test does things to, and what must be true of it whatever was done.

What it compares with is `exact.expected`: the value of every run, computed alone.
"""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import os
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path
from types import MappingProxyType

import exact
import numpy as np
import pytest
import zarr
from checks import files_under
from disk import (
    HIGHEST,
    Disk,
    Killed,
    at_once,
    forbidden_from,
    full_from,
    interrupted_at,
    killed_at,
)
from exact import Exact, expected
from server import when

import jaxscale as js
from jaxscale.sweep import (
    _bucket as bucket,
    _cache as cache,
    _execute as execute,
    _stretches as stretches,
)
from jaxscale.sweep._layout import grid_text

MOST_RUNS = 24
LENGTHS = (4, 6, 9)
POOLS = {"offset": (1.0, 1.5, 2.0, 3.25, 1.125), "kind": (1, 2), "units": (2, 1)}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A grid of `Exact`: its axes and their values, seeds, and how often it was lengthened."""

    axes: tuple = (("offset", (1.0, 1.5)),)
    seeds: int = 1
    longer: int = 0
    key: int = 0

    @functools.cached_property
    def grid(self):
        grid = js.Grid(Exact(n_steps=LENGTHS[0]), dict(self.axes), self.seeds, self.key)
        for n_steps in LENGTHS[1 : self.longer + 1]:
            grid = grid.longer(n_steps)
        return grid

    @functools.cached_property
    def text(self):
        return grid_text(self.grid)

    @functools.cached_property
    def expected(self):
        return dict(zip(("loss", "value"), expected(self.grid), strict=True))

    @functools.cached_property
    def runs(self):
        """Axis values and seed of every run, in order."""
        axes = [*self.axes, ("seed", range(self.seeds))]
        base = {"offset": 1.0, "kind": 1, "units": 2}
        return [
            tuple((base | {n: v[i] for (n, v), i in zip(axes, at, strict=True)}).values())
            for at in np.ndindex(*(len(v) for _, v in axes))
        ]

    def grown(self, name, last):
        """The same with one more seed, or one more value of an axis, at its end or its start."""
        if name == "seed":
            return dataclasses.replace(self, seeds=self.seeds + 1)
        axes = dict(self.axes)
        values = axes.get(name, POOLS[name][:1])
        more = [v for v in POOLS[name] if v not in values][:1]
        axes[name] = (*values, *more) if last else (*more, *values)
        return dataclasses.replace(self, axes=tuple(axes.items()))


class Watched:
    """A store, the runs that it has finished, and how far the others are."""

    tally = collections.Counter()  # what came of the calls, of all stores
    faults = MappingProxyType(
        {
            "kill": killed_at,
            "ctrl-c": interrupted_at,
            "full": full_from,
            "forbidden": forbidden_from,
        }
    )
    causes = MappingProxyType({"full": "No space left on device", "forbidden": "Permission denied"})

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="store-"))
        # one write at a time: else it depends on threads which of them a fault meets
        self.in_order = zarr.config.set({"async.concurrency": 1})
        self.path, self.disk = self.folder / "a.zarr", Disk(self.folder)
        self.sweep, self.exists = Sweep(), False
        self.reached = {}  # step that every run has recorded
        self.chunk, self.keep_states, self.held = 1, False, None
        self.was_lengthened = self.was_planned_otherwise = False
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(asyncio, "to_thread", at_once)
        self.patch.setattr(exact, "SECONDS", 1.0)  # of a run, before one is timed
        self.patch.setattr(bucket, "CALL_BYTES", 1)  # one program for chunks of any length
        self.patch.setattr(stretches, "CALL_SECONDS", 0.0)  # a step per call
        self.patch.setattr(execute, "RECORD_SECONDS", 1e6)  # no thread that records
        self.patch.setattr(execute.Session, "chunks", self._chunks(execute.Session.chunks))
        self.patch.setattr(cache.PROGRAMS, "_most", 500)
        self.computed, self.stop_after = [], HIGHEST

    def remove(self):
        """Leave nothing behind."""
        self.patch.undo()
        self.in_order.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def _chunks(self, real):
        """Answers of a session; Ctrl-C comes after some of them, and what is computed is noted."""

        def chunks(session, progress):
            for n, (where, answer) in enumerate(real(session, progress)):
                if n == self.stop_after:
                    raise KeyboardInterrupt
                if answer.values:
                    self.computed.append(session.plan.buckets[where[0]].ids_of(where[1]))
                yield where, answer

        return chunks

    # what is checked

    def look(self, *sweeps):
        """Open the store, which holds one of these; update what it has reached, and return that."""
        if not self.has_store():
            assert not self.exists, "the store is gone"
            return {}
        runs = js.open_store(self.path)
        texts = [sweep.text for sweep in sweeps]
        assert runs.attrs["grid"] in texts
        self.sweep, self.exists = sweeps[texts.index(runs.attrs["grid"])], True
        return self.check(runs, self.sweep)

    def check(self, runs, sweep):
        """Compare every number of a result; return the step that every run has recorded."""
        done = (runs["status"] >= 0).values
        for name, right in sweep.expected.items():
            given = runs[name].values
            blank = np.isnan(given)
            np.testing.assert_array_equal(given[~blank], right[~blank], err_msg=name)
            assert not (blank & ~np.isnan(right))[done].any(), name
        assert runs.attrs["complete"] == int(done.all())
        steps = np.asarray(sweep.grid.system.record_steps)
        recorded = ~np.isnan(runs["loss"].values.reshape(len(sweep.runs), -1))
        last = [int(steps[row].max(initial=-1)) for row in recorded]
        last = [2 * s + d for s, d in zip(last, done.ravel(), strict=True)]
        return dict(zip(sweep.runs, last, strict=True))

    def keep(self, reached):
        """Take what a store has reached now: no run less than before, unless it is longer now."""
        for run, before in self.reached.items():
            now = reached[run]
            trained_on = self.was_lengthened and now % 2 == 0 and now >= before - 1
            assert now >= before or trained_on, run
        self.reached = reached

    def has_store(self):
        return self.path.exists() or self.path.with_name(".a.zarr.previous").exists()

    def digest(self):
        """All bytes of the store, wherever an interrupted extension has put it."""
        previous = self.path.with_name(".a.zarr.previous")
        return files_under(self.path if self.path.exists() else previous)

    def refusal(self, call, *words):
        """What a call says that must be refused, and may change nothing."""
        before = self.digest()
        with pytest.raises(ValueError, match="`store`") as caught:
            call()
        message = str(caught.value)
        assert "a.zarr" in message
        assert all(word in message for word in words), message
        assert self.digest() == before, message
        return message

    # what is done

    def plan(self, sweep):
        return js.plan(
            sweep.grid, max_runs_per_chunk=self.chunk, keep_states=self.keep_states,
            checkpoint_seconds=1e-9,
        )  # fmt: skip

    def run_it(self, sweep):
        with warnings.catch_warnings():
            for text in ("stopped by Ctrl-C", "`keep_states` comes too late"):
                warnings.filterwarnings("ignore", text)
            return js.run(self.plan(sweep), store=self.path, progress=False)

    def attempt(self, target, fault):
        """Run a sweep on the store, and look at what is there afterwards."""
        name, *numbers = fault or ("none",)
        fail = self.faults.get(name)
        if len(numbers) == 2:
            numbers[1] += numbers[0]
        self.stop_after = numbers[0] if name == "stop" else HIGHEST
        self.computed, runs, message = [], None, None
        self.was_planned_otherwise = False
        with self.disk.watched(fail(*numbers) if fail else lambda what, n: None):
            try:
                runs = self.run_it(target)
            except (Killed, KeyboardInterrupt):
                assert name in ("kill", "ctrl-c")
                self.tally[name] += 1
            except ValueError as error:
                self.tally[name] += 1
                message = str(error)
        self.stop_after = HIGHEST
        if message is not None:
            words = ("`store`", "a.zarr", self.causes.get(name, "no fault"))
            assert all(word in message for word in words), message
        before, chunks = self.sweep, [[target.runs[i] for i in ids] for ids in self.computed]
        computed = [run for chunk in chunks for run in chunk]
        self.was_lengthened = target.longer > before.longer
        self.tally["longer"] += self.was_lengthened
        assert len(computed) == len(set(computed)), "computed twice"
        if not self.was_lengthened:
            for chunk in chunks:  # a mark of it may be missing, and others not
                assert not all(self.reached.get(run, 0) % 2 for run in chunk), "computed anew"
        reached = self.look(before, target)
        self.keep(reached)
        if runs is not None:
            self.tally["complete" if runs.attrs["complete"] else "stop"] += 1
            assert self.sweep == target
            assert self.check(runs, target) == reached
        if fault is None:
            assert all(step % 2 for step in reached.values())

    def kill_a_process(self, server, rng):
        """Run a larger sweep, or the same, in a process of its own, which is killed after a while.

        With it, what happens is not the same the next time.
        """
        larger, outcome = self.sweep.grown("seed", True), self.folder / "outcome"
        target = larger if len(larger.runs) <= MOST_RUNS else self.sweep
        request = {"grid": target.grid.to_dict(), "chunk": 1, "environment": {}}
        pid = server.start(store=str(self.path), outcome=str(outcome), **request)
        when(outcome.exists, alive=Path(f"/proc/{pid}").exists)
        time.sleep(rng.uniform(0.0, 1.0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = server.wait()
        assert code in (0, -signal.SIGKILL), outcome.read_text()
        outcome.unlink(missing_ok=True)
        self.was_lengthened = False
        self.keep(self.look(self.sweep, target))
        return code != 0


@contextlib.contextmanager
def allowed(text):
    """A `ValueError` may end the block, if it says this."""
    message = text
    try:
        yield
    except ValueError as error:
        message = str(error)
    assert text in message, message
