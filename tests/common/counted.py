"""A system that tells of every run of it, in whichever process: what was computed, and how often.

Environment: `COUNTED_LOG` (file, a line per run), `COUNTED_SLEEP` (seconds a run takes longer),
`COUNTED_DIE` (`N:FILE`: once, when N lines are in the log, the process kills itself).
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills


class Counted(MultilinearSkills):
    """`MultilinearSkills` whose runs leave a line in a log."""

    def simulate(self, key):
        jax.debug.callback(_log_run, jr.key_data(key), self.learning_rate)
        return super().simulate(key)


class Drawn(Counted):
    """A `Counted` whose results are drawn, not trained: of its program little is to be compiled."""

    def simulate(self, key):
        jax.debug.callback(_log_run, jr.key_data(key), self.learning_rate)
        results = {"status": jnp.asarray(js.Status.ok, jnp.int32)}
        for name in self.schema.observables:
            uniform = jr.uniform(key, self.schema.shape(name), self.dtype)
            results[name] = self.learning_rate + uniform
        return results


SYSTEM = Counted(n_skills=5, n_steps=50, data=FiniteSet(n_samples=30))
DRAWN = Drawn(n_skills=5, n_steps=50, data=FiniteSet(n_samples=30))


def _log_run(key_data, learning_rate):
    time.sleep(float(os.environ.get("COUNTED_SLEEP", "0")))
    log = os.environ.get("COUNTED_LOG")
    if log is None:
        return
    line = f"{key_data[0]} {key_data[1]} {float(learning_rate):.6g}\n"
    with open(log, "ab", buffering=0) as file:
        file.write(line.encode())
    if "COUNTED_DIE" in os.environ:
        n, _, mark = os.environ["COUNTED_DIE"].partition(":")
        if len(Path(log).read_bytes().splitlines()) >= int(n):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)


def n_logged(log):
    """Number of lines in the log, which is read often."""
    return Path(log).read_bytes().count(b"\n") if Path(log).exists() else 0


def logged_runs(log, grid):
    """`(learning_rate, seed)` of every run in the log, in order and with repetitions."""
    seeds = {tuple(int(w) for w in jr.key_data(grid.run_key(s))): s for s in grid.seeds}
    runs = []
    for line in Path(log).read_text().splitlines() if Path(log).exists() else ():
        one, two, rate = line.split()
        runs.append((float(rate), seeds[int(one), int(two)]))
    return runs


def runs_of(grid):
    """`(learning_rate, seed)` of every run of a grid whose only axis is the learning rate."""
    rates = grid.axes.get("learning_rate", [grid.system.learning_rate])
    return [(float(f"{float(r):.6g}"), s) for r in rates for s in grid.seeds]


def runs_done(runs):
    """`(learning_rate, seed)` of every run of a result that is finished."""
    status = runs["status"].transpose("learning_rate", "seed").values
    rates, seeds = runs["learning_rate"].values, runs["seed"].values
    return {
        (float(f"{float(r):.6g}"), int(s))
        for i, r in enumerate(rates)
        for j, s in enumerate(seeds)
        if status[i, j] >= 0
    }
