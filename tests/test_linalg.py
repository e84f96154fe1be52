"""Factorisations under `vmap`, and the program that used to hang for ever."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxscale import _linalg as linalg


def _all(a, s, right):
    """Every factorisation of a tall `a`, its transpose and a positive definite `s`."""
    lower = linalg.cholesky(s)
    return {
        "qr": linalg.qr(a),
        "qr_wide": linalg.qr(a.T),
        "triangular_factor": linalg.triangular_factor(a),
        "eigh": linalg.eigh(s),
        "svd": linalg.svd(a),
        "singular_values": linalg.singular_values(a.T),
        "cholesky": lower,
        "solve_lower": linalg.solve_lower(lower, right),
        "solve_upper": linalg.solve_upper(lower.T, right),
        "cholesky_solve": linalg.cholesky_solve(lower, right),
        "indefinite": linalg.cholesky(-s),
    }


def _close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=1e-11, atol=1e-12)


def test_batched_factorisations_equal_those_of_numpy():
    rng = np.random.default_rng(0)
    a, right = rng.standard_normal((2, 3, 7, 4)), rng.standard_normal((2, 3, 4, 2))
    s = a.swapaxes(-1, -2) @ a + np.eye(4)
    with jax.enable_x64(True):
        twice = jax.jit(jax.vmap(jax.vmap(_all)))
        batch = jax.tree.map(np.asarray, twice(jnp.asarray(a), jnp.asarray(s), jnp.asarray(right)))
    for i in np.ndindex(2, 3):
        one = jax.tree.map(lambda x, i=i: x[i], batch)
        for name, matrix in (("qr", a[i]), ("qr_wide", a[i].T)):
            q, r = one[name]
            assert q.shape == (len(matrix), 4)
            _close(q @ r, matrix)
            _close(q.T @ q, np.eye(4))
            _close(np.tril(r, -1), 0.0)
        _close(np.abs(one["triangular_factor"]), np.abs(np.linalg.qr(a[i], mode="r")))
        value, vector = one["eigh"]
        _close(value, np.linalg.eigvalsh(s[i]))
        _close(vector * value @ vector.T, s[i])
        columns, singular, rows = one["svd"]
        _close(singular, np.linalg.svd(a[i], compute_uv=False))
        _close(columns * singular @ rows, a[i])
        _close(one["singular_values"], singular)
        lower = np.linalg.cholesky(s[i])
        _close(one["cholesky"], lower)
        _close(one["solve_lower"], scipy.linalg.solve_triangular(lower, right[i], lower=True))
        _close(one["solve_upper"], scipy.linalg.solve_triangular(lower.T, right[i]))
        _close(one["cholesky_solve"], np.linalg.solve(s[i], right[i]))
        assert np.isnan(one["indefinite"]).any()


def _slopes(order):
    """Derivatives of `log det(s + t)` and of the trace of its inverse, in one order."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal((3, 5, 5))
    s = a @ a.swapaxes(-1, -2) + np.eye(5)

    def both(t, s):
        shifted = s + t * jnp.eye(5)
        solved = linalg.cholesky_solve(linalg.cholesky(shifted), jnp.eye(5))
        return jnp.stack([jnp.sum(jnp.log(linalg.eigh(shifted)[0])), jnp.trace(solved)])

    with jax.enable_x64(True):
        slopes = jax.jit(lambda s: order(both, jnp.zeros(()), s))(jnp.asarray(s))
    inverse = np.linalg.inv(s)
    wanted = [np.trace(m, axis1=1, axis2=2) for m in (inverse, -inverse @ inverse)]
    _close(slopes, np.stack(wanted, axis=1))


def _push(f, t):
    return jax.jvp(f, (t,), (jnp.ones(()),))[1]


def test_a_derivative_of_a_batch():
    _slopes(lambda f, t, s: _push(lambda t: jax.vmap(lambda m: f(t, m))(s), t))


@pytest.mark.slow
def test_a_batch_of_derivatives():
    _slopes(lambda f, t, s: jax.vmap(lambda m: _push(lambda t: f(t, m), t))(s))


PROGRAM = """
import jax, jax.random as jr, numpy as np, jaxscale as js
with jax.enable_x64(True):
    system = js.sparse.RandomFeatureRegression(
        n_features=32, n_samples=256, spectrum_exponent=1.0, sparsity_exponent=2.0)
    out = jax.jit(jax.vmap(system.simulate))(jr.split(jr.key(0), 400))
    assert out["loss"].shape == (400,) and np.isfinite(out["loss"]).all()
print("done")
"""


@pytest.mark.slow
def test_a_wide_batch_of_factorisations_ends():
    """With plain `jnp.linalg` this program waits for itself for ever on two cores."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], timeout=120, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "done", ended.stderr[-2000:]


def test_a_gram_matrix_of_blocks_is_the_product():
    a = np.random.default_rng(3).standard_normal((301, 7))
    with jax.enable_x64(True):
        product = np.asarray(linalg.gram(jnp.asarray(a)))
    np.testing.assert_allclose(product, a @ a.T, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(product, product.T)


def test_a_cumulative_sum_has_no_window_on_a_tpu():
    """XLA does not finish compiling one of 1024 float64 numbers."""
    values = np.random.default_rng(4).standard_normal(300) ** 2
    with jax.enable_x64(True):
        sums = jax.jit(linalg.cumulative_sum)
        np.testing.assert_array_equal(sums(values), jax.jit(jnp.cumsum)(values))
        for platform, has_window in (("tpu", False), ("cpu", True)):
            text = jax.export.export(sums, platforms=[platform])(values).mlir_module()
            assert ("reduce_window" in text) is has_window
