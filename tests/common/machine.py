"""A machine that does to a store, in any order, all that may happen to one.

After every step no number is wrong, nothing that was finished is gone, and what was refused has
changed no byte (`stored.Watched`).
"""

import dataclasses
import re
import shutil
from pathlib import Path

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from exact import words
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stored import LENGTHS, MOST_RUNS, Watched, allowed

import jaxscale as js
from jaxscale.sweep import _bucket as bucket
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._locate import existing_place, place_of
from jaxscale.sweep._plan import Options
from jaxscale.sweep._reader import StoreReader

HEADERS = ("a.zarr/zarr.json", "*/zarr.json", "done/zarr.json")  # kinds of files
CHUNKS = ("0", "1", "done/c/*")
STRAY = b"not a part of the store"
PLACES = st.integers(1, 40) | st.integers(1, 250)
FAULTS = st.one_of(
    st.none(),
    st.tuples(st.just("stop"), st.integers(0, 6)),
    st.tuples(st.sampled_from(["kill", "ctrl-c", "full", "forbidden"]), PLACES),
    st.tuples(st.sampled_from(["kill", "ctrl-c"]), PLACES),
    st.tuples(st.sampled_from(["full", "forbidden"]), PLACES, st.integers(0, 3)),
)

PLANS = {
    "chunk": st.integers(0, 3),
    "n_devices": st.sampled_from([1, 2]),
    "are_long": st.booleans(),
}
DAMAGE = {
    "which": st.integers(0, 10**4),
    "how": st.sampled_from(["flip", "cut", "delete", "foreign", "stray"]),
    "place": st.integers(0, 10**5),
}


class AnyMachine(Watched, RuleBasedStateMachine):
    """All that is done to one store, wherever it lies."""

    n_steps = 0  # of all machines
    axes, most_longer = ("offset", "kind", "units"), len(LENGTHS) - 1
    chunks = (1, 2, 4, None)  # runs of each, at most; None times the first and cuts anew

    def __init__(self):
        RuleBasedStateMachine.__init__(self)
        Watched.__init__(self)

    def teardown(self):
        self.remove()

    @invariant()
    def counted(self):
        AnyMachine.n_steps += 1

    @rule(fault=FAULTS)
    def run(self, fault):
        self.attempt(self.sweep, fault)

    @rule(data=st.data(), last=st.booleans(), fault=FAULTS)
    def grow(self, data, last, fault):
        target = self.sweep.grown(data.draw(st.sampled_from((*self.axes, "seed"))), last)
        if len(target.runs) <= MOST_RUNS:
            self.attempt(target, fault)

    @precondition(lambda self: self.exists and self.sweep.longer < self.most_longer)
    @rule(fault=FAULTS)
    def train_longer(self, fault):
        target = dataclasses.replace(self.sweep, longer=self.sweep.longer + 1)
        store = StoreReader(existing_place(self.path))
        rows = store.layout(store.plan(Options())).rows
        finished = all(step % 2 for step in self.reached.values())
        last = self.sweep.grid.system.n_steps  # a kill may leave a state before it
        if finished and all(store.states.step(*where) == last for where in rows):
            self.attempt(target, fault)
        else:
            word = "final state" if finished else "finished"
            self.refusal(lambda: self.run_it(target), word)
            self.tally["not longer"] += 1

    @initialize(keep_states=st.booleans(), **PLANS)
    def begin(self, keep_states, **how):
        self.keep_states = keep_states
        self.plan_otherwise(**how)

    @precondition(lambda self: self.exists and not self.was_planned_otherwise)
    @rule(other=st.integers(0, 5), **PLANS)
    def change_plans(self, other, **how):
        self.keep_states ^= other == 5
        self.plan_otherwise(**how)

    def plan_otherwise(self, chunk, n_devices, are_long):
        """Cut the runs that follow into other chunks, on other devices, and in time or not."""
        self.chunk, self.was_planned_otherwise = self.chunks[chunk % len(self.chunks)], True
        self.patch.setattr(jax, "local_device_count", lambda: n_devices)
        self.patch.setattr(bucket, "LONG_SECONDS", 0.0 if are_long else 1e9)

    @precondition(lambda self: self.exists)
    @rule(what=st.sampled_from(["another key", "fewer values", "fewer steps", "locked"]))
    def be_refused(self, what):
        """Run what is refused, whatever the store holds."""
        sweep = self.sweep
        if what == "locked":
            with place_of(self.path).lock():
                if all(step % 2 for step in self.reached.values()):
                    self.check(self.run_it(sweep), sweep)
                else:
                    self.refusal(lambda: self.run_it(sweep), "is being written by process")
            return
        if what == "another key":
            other, word = dataclasses.replace(sweep, key=1), "its key is 0, not 1"
        elif what == "fewer values":
            axes = tuple((n, v[:1] if n == "offset" else v) for n, v in sweep.axes)
            other, word = dataclasses.replace(sweep, axes=axes), "`offset` has the value"
        else:
            other, word = dataclasses.replace(sweep, longer=sweep.longer - 1), "its system differs"
        if other.longer >= 0:
            self.refusal(lambda: self.run_it(other), word, "nothing was written")

    @precondition(lambda self: self.exists)
    @rule(which=st.integers(0, MOST_RUNS), is_held=st.booleans())
    def read(self, which, is_held):
        """Read what was opened a while ago, open it anew, and read the state of a run."""
        if is_held and self.held is not None:
            runs, sweep = self.held
            with allowed("was replaced since it was opened; open it again"):
                self.check(runs.copy().load(), sweep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Layout, "result_bytes", np.inf)  # they stay on disk
            self.held = js.open_store(self.path), self.sweep
        run = self.sweep.runs[which % len(self.sweep.runs)]
        offset, kind, units, seed = run
        at = {"offset": offset, "kind": kind, "units": units, "seed": seed}
        with allowed("has no state of this run"):
            step, state = js.open_state(self.path, **{n: at[n] for n in self.sweep.grid.dims})
            assert step >= self.reached[run] // 2
            own = words(self.sweep.key, seed, kind, units, LENGTHS[-1])[step]
            np.testing.assert_array_equal(np.asarray(state)[:units], own)


class Machine(AnyMachine):
    """A store on disk, whose files are altered, too."""

    @precondition(lambda self: self.exists)
    @rule(which=st.sets(st.integers(0, 2 * MOST_RUNS), min_size=1), fault=FAULTS)
    def do_again(self, which, fault):
        """Delete some marks, as errors advise, and run."""
        marks = sorted(existing_place(self.path).path.glob("done/c/*"))
        for file in {marks[i % len(marks)] for i in which} if marks else ():
            file.unlink()
        before, self.reached = self.reached, {}
        now = self.look(self.sweep)
        # without its mark a chunk counts as far as a state says that a kill had left
        assert all(now[run] <= step for run, step in before.items())
        self.reached = now
        self.attempt(self.sweep, fault)

    @precondition(lambda self: self.exists)
    @rule(kind=st.sampled_from(HEADERS), **DAMAGE)
    def damage_a_header(self, **how):
        self.damage(**how)

    @precondition(lambda self: self.exists)
    @rule(kind=st.sampled_from(CHUNKS), **DAMAGE)
    def damage_a_chunk(self, **how):
        self.damage(**how)

    @precondition(lambda self: self.exists)
    @rule(kind=st.sampled_from(["states/*", "*"]), **DAMAGE)
    def damage_a_state(self, **how):
        self.damage(**how)

    def damage(self, kind, which, how, place):
        """Alter one file; what is then read is right or refused, and what the error says helps."""
        path = existing_place(self.path).path
        files = sorted(p for p in path.rglob("*") if p.is_file())
        files = [p for p in files if p.match(kind)] or files
        file = files[which % len(files)]
        sound, backup = file.read_bytes(), self.folder / "backup"
        content = bytearray(sound)
        chunk = max(b.chunk for b in StoreReader(existing_place(path)).plan(Options()).buckets)
        shutil.copytree(path, backup)
        if how == "delete":
            file.unlink()
        elif how == "stray":
            file.with_name("7-7.npz" if "states" in str(file) else "notes.txt").write_bytes(STRAY)
        elif how == "foreign":
            file.write_bytes(STRAY)
        elif how == "cut":
            file.write_bytes(content[: place % max(len(content), 1)])
        elif content:
            content[place % len(content)] ^= 1 << place // len(content) % 8
            file.write_bytes(content)
        part, damaged = file.relative_to(path).as_posix(), _bytes(file)
        self.was_lengthened = False
        with allowed("`store`"):
            reached = self.look(self.sweep)
            lost = [run for run, step in self.reached.items() if reached[run] < step]
            assert len(lost) <= (chunk if part.startswith("done/") else 0), part
        is_mended = self.mended(part)
        self.tally[f"{how}, {'finished' if is_mended else 'refused'}"] += 1
        if is_mended:
            if damaged is not None and _bytes(file) == damaged:  # nobody read it
                file.write_bytes(sound)
            self.reached = self.look(self.sweep)
        else:
            shutil.rmtree(path)
            shutil.copytree(backup, path)
            self.keep(self.look(self.sweep))
        shutil.rmtree(backup)

    def mended(self, part):
        """Run the sweep on a damaged store, doing what it advises: whether it was finished."""
        for _ in range(1 + len(self.sweep.runs)):
            before = self.digest()
            try:
                runs = self.run_it(self.sweep)
            except ValueError as error:
                message = str(error)
            else:
                assert all(step % 2 for step in self.check(runs, self.sweep).values())
                return True
            assert "`store`" in message, (part, message)
            assert self.digest() == before, (part, message)
            advice = re.search(r"delete (/\S+)", message)
            if advice is None:
                return False
            Path(advice[1]).unlink()
        raise AssertionError(message)


def _bytes(file):
    return file.read_bytes() if file.exists() else None
