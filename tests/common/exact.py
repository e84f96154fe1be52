"""A trained system whose results NumPy computes to the last bit: integers, one rounding at the end.

What a run records therefore depends on nothing but the run: not on the program, the padding, the
chunk, the number of devices, or where it was cut.
"""

import functools

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxscale as js
from jaxscale.fields import Integer, Real, Steps, dtype_field, real, record_field, size, static_int
from jaxscale.keys import root_key
from jaxscale.training import INIT_STREAM

MULTIPLIER, INCREMENT = 1664525, 1013904223  # of the generator of Numerical Recipes
SPREAD = 2654435761  # between the units of a run
FRACTION = 2.0**-23
SECONDS = 0.1  # that the planner expects of a run: it takes microseconds, and is cut anew


class Exact(js.AbstractTrainedSystem):
    """Congruential generators, one per unit, which start at the key of the run."""

    offset: Real = real(1.0, at_least=1.0)  # the loss is at least 1: no run diverges
    units: Integer = size(2)
    kind: int = static_int(1)  # another one needs another program
    n_steps: int = static_int(4)
    record: Steps | None = record_field()
    dtype: str = dtype_field("float32")

    def init(self, key):
        unit = jnp.arange(self.padded("units"), dtype=jnp.uint32)
        return jr.key_data(key)[0] + unit * jnp.uint32(SPREAD) + jnp.uint32(self.kind)

    def step(self, state, key):
        return state * jnp.uint32(MULTIPLIER) + jnp.uint32(INCREMENT)

    def observe(self, state):
        value = self.offset + (state >> 9).astype(self.dtype) * jnp.asarray(FRACTION, self.dtype)
        inside = jnp.arange(self.padded("units")) < self.units
        return {"loss": value[0], "value": jnp.where(inside, value, jnp.nan)}

    @property
    def schema(self):
        return js.Schema(
            {
                "loss": js.Observable(("step",), "1", "value of the first unit"),
                "value": js.Observable(("step", "unit"), "1", "value of a unit"),
            },
            {"step": np.asarray(self.record_steps), "unit": np.arange(self.padded("units"))},
        )

    def predict(self):
        return {}

    def work(self):
        n = self.padded("units")
        return js.Work(SECONDS * 45e9, n, n, self.n_steps, kernels=0.0)


@functools.cache
def _start(key, seed):
    key = jr.fold_in(jr.fold_in(root_key(key), seed), INIT_STREAM)
    return int(jr.key_data(key)[0])


@functools.cache
def words(key, seed, kind, units, n_steps):
    """Words of every unit after every step from 0 on, by NumPy."""
    words = np.empty((n_steps + 1, units), np.uint32)
    first = np.uint32(_start(key, seed)) + np.uint32(kind)
    words[0] = first + np.arange(units, dtype=np.uint32) * np.uint32(SPREAD)
    for step in range(n_steps):
        words[step + 1] = words[step] * np.uint32(MULTIPLIER) + np.uint32(INCREMENT)
    return words


def values(key, seed, *, offset, units, kind, n_steps):
    """What a run observes after every step, shaped (steps, units)."""
    fractions = (words(key, seed, kind, units, n_steps) >> 9).astype(np.float32)
    return np.float32(offset) + fractions * np.float32(FRACTION)


def expected(grid):
    """`loss` and `value` of every run of a grid, as `js.run` orders them, NaN beyond its units."""
    base = grid.system
    axes = {
        name: grid.axes.get(name, [getattr(base, name)]) for name in ("offset", "units", "kind")
    }
    widest = max(int(n) for n in axes["units"])
    out = np.full((*grid.shape, len(base.record_steps), widest), np.nan, np.float32)
    for place in np.ndindex(grid.shape):
        at = dict(zip(grid.dims, place, strict=True))
        run = {name: column[at.get(name, 0)] for name, column in axes.items()}
        units, seed = int(run["units"]), grid.seeds[at["seed"]]
        own = values(
            grid.key, seed, offset=run["offset"], units=units, kind=int(run["kind"]),
            n_steps=base.n_steps,
        )  # fmt: skip
        out[place][:, :units] = own[list(base.record_steps)]
    return out[..., 0], out
