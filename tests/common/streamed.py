"""Small systems of streaming regression, their runs and their states."""

import jax
import jax.numpy as jnp
import jax.random as jr

import jaxscale as js

POINT = {"n_features": 32, "input_exponent": 0.8, "target_exponent": 0.9, "noise": 0.2}


def small_system(**fields):
    return js.streaming.StreamingRegression(
        **{**POINT, "n_steps": 300, "record": [0, 100, 300], **fields}
    )


def run_seeds(system, n_seeds):
    return js.run(js.Grid(system, seeds=n_seeds), progress=False)


def start_states(one, n_seeds):
    """States before the first step, of the same draws as those of a sweep."""
    grid = js.Grid(one, seeds=n_seeds)
    keys = jnp.stack([grid.run_key(seed) for seed in range(n_seeds)])
    cast = js.training.cast(one, one.dtype)
    return jax.jit(jax.vmap(lambda k: cast.init(jr.fold_in(k, js.training.INIT_STREAM))))(keys)
