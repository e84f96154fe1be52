import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from jaxscale.sparse._data import Inputs
from jaxscale.sparse._narrow_columns import narrow_width, on_seen_columns
from jaxscale.sparse._padding import Padding
from jaxscale.sparse._solvers import MinNorm


def _inputs(n_rows: int, columns: int, n_seen: int) -> Inputs:
    real = jnp.arange(columns) < n_seen
    values = jnp.where(real, jr.normal(jr.key(0), (n_rows, columns), jnp.float64), 0.0)
    ids = jnp.arange(columns, dtype=jnp.int32)
    variance = jnp.where(real, 1.0, 0.0)
    return Inputs(values, values != 0, variance, real, ids, jnp.zeros(()), jnp.asarray(True))


def _padding(n_seen: int, head: int = 0) -> Padding:
    return Padding(64, n_seen, head, 4 * n_seen, n_seen)


def test_narrow_width_leaves_out_what_gains_nothing():
    assert narrow_width(_padding(40)) == 22
    assert narrow_width(_padding(29)) == 16
    assert narrow_width(_padding(27)) is None  # too narrow to be worth a program
    assert narrow_width(_padding(40, head=22)) == 22
    assert narrow_width(_padding(40, head=40)) is None  # dense data are always seen whole


@pytest.mark.parametrize("n_seen", [0, 21, 22, 23, 40])
def test_the_narrow_program_takes_what_fits(n_seen: int):
    with jax.enable_x64(True):
        inputs = _inputs(8, 40, n_seen)

        def function(inputs: Inputs):
            return jnp.sum(inputs.values**2), jnp.asarray(inputs.seen.shape[0])

        chosen = eqx.filter_jit(on_seen_columns)(function, inputs, _padding(40))
        cpu = jax.default_backend() == "cpu"
        assert int(chosen[1]) == (22 if n_seen <= 22 and cpu else 40)
        np.testing.assert_allclose(chosen[0], jnp.sum(inputs.values**2), rtol=1e-14)


@pytest.mark.parametrize("case", ["independent", "dependent", "hole", "nearly dependent"])
def test_rows_of_tall_inputs_carry_their_products(case: str):
    """Whether the Cholesky factor is good enough or the eigenvectors are needed."""
    with jax.enable_x64(True):
        x = np.array(_inputs(30, 8, 6).values)
        x[:, 1] *= 1e-6
        if case == "dependent":
            x[:, 3] = -2.0 * x[:, 0]
        if case == "nearly dependent":
            x[:, 3] = x[:, 0] + 1e-3 * x[:, 3]
        if case == "hole":
            x[:, 2] = 0.0
        rows = eqx.filter_jit(MinNorm().rows)(jnp.asarray(x))
        rank = np.linalg.matrix_rank(x)
        assert rank == {"dependent": 5, "hole": 5}.get(case, 6)
        assert rows.rank is not None
        assert int(rows.rank) == rank
        values = np.asarray(rows.values)
        assert not values[rank:].any()
        scale = np.where(x.any(0), np.linalg.norm(x, axis=0), 1.0)
        np.testing.assert_allclose(
            (values.T @ values) / np.outer(scale, scale),
            (x.T @ x) / np.outer(scale, scale),
            atol=1e-12,
        )


@pytest.mark.slow  # compiles a program of two widths and one of a single width
def test_a_run_is_that_of_the_full_width():
    system = js.sparse.RandomFeatureRegression(
        n_features=24, n_samples=64, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    narrow = narrow_width(system.padding)
    assert narrow is not None
    with jax.enable_x64(True):
        keys = jr.split(jr.key(0), 64)
        walked = eqx.filter_jit(lambda k: jax.lax.map(system.simulate, k))(keys)
        dense = dataclasses.replace(system, lengths=(("seen", 27),))
        assert narrow_width(dense.padding) is None
        alone = eqx.filter_jit(lambda k: jax.lax.map(dense.simulate, k))(keys)
    fits = np.asarray(alone["status"]) == js.Status.ok
    assert np.sum(fits) > 48
    assert np.sum(np.asarray(walked["n_seen"]) <= narrow) > 32
    for name, value in walked.items():
        actual, expected = np.asarray(value)[fits], np.asarray(alone[name])[fits]
        np.testing.assert_allclose(actual, expected, rtol=1e-9, err_msg=name)
