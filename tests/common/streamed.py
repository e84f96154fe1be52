"""Small runs of streaming regression, and the test of a mean over seeds."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy.stats import t as student_t

import jaxscale as js

LEVEL = 1e-3
POINT = {"n_features": 32, "input_exponent": 0.8, "target_exponent": 0.9, "noise": 0.2}


def system(**fields):
    return js.streaming.StreamingRegression(
        **{**POINT, "n_steps": 300, "record": [0, 100, 300], **fields}
    )


def ran(grid, n_seeds):
    return js.run(js.Grid(grid, seeds=n_seeds), progress=False)


def z_scores(values, expected, n_comparisons):
    """Largest |z| of the mean over seeds, first axis, and the bound of Student's t."""
    n = len(values)
    z = (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(n))
    return np.max(np.abs(z)), student_t.ppf(1 - LEVEL / n_comparisons / 2, n - 1)


def start_states(one, n_seeds):
    """States before the first step, of the same draws as those of a sweep."""
    grid = js.Grid(one, seeds=n_seeds)
    keys = jnp.stack([grid.run_key(seed) for seed in range(n_seeds)])
    cast = js.training.cast(one, one.dtype)
    return jax.jit(jax.vmap(lambda k: cast.init(jr.fold_in(k, js.training.INIT_STREAM))))(keys)
