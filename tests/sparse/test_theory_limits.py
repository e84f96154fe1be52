"""Infinite sizes have finite gradients; what is out of range is refused by name."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.sparse import theory


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_infinite_sizes_have_finite_gradients(ridge):
    def call(n, d, rest):
        return theory.loss(n, d, spectrum_exponent=rest[0], sparsity_exponent=rest[1], ridge=ridge)

    sizes = np.array([(n, d) for n in (9.0, 400.0, math.inf) for d in (300.0, math.inf)])
    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(jax.value_and_grad(call, (0, 1, 2)), (0, 0, None)))
        value, gradients = both(*sizes.T, jnp.array([1.0, 2.0]))
        assert all(np.all(np.isfinite(g)) for g in gradients)
        assert np.all(gradients[0][4:] == 0)
        assert np.all(gradients[1][1::2] == 0)
        plain = [call(float(n), float(d), [1.0, 2.0]) for n, d in sizes]
        np.testing.assert_allclose(value, plain, rtol=1e-7, atol=1e-14)


SPARSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.unseen_loss(0.0, **SPARSE), "`n_samples` must be positive, got 0.0"),
        (
            lambda: theory.loss(-1.0, 3.0, **SPARSE),
            "`n_features` must be positive, got -1.0",
        ),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, ridge=-0.1), "`ridge` must be at least 0"),
        (
            lambda: theory.loss(1.0, 3.0, spectrum_exponent=-1.0, sparsity_exponent=2.0),
            "`spectrum_exponent` must be positive",
        ),
        (
            lambda: theory.loss(1.0, 3.0, spectrum_exponent=1.0, sparsity_exponent=-2.0),
            "`sparsity_exponent` must be at least 0",
        ),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, activity=0.0), "`activity` must be positive"),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, n_coordinates=2.5), "`n_coordinates` must be"),
        (
            lambda: theory.unseen_loss(9.0, spectrum_exponent=0.05, sparsity_exponent=2.0),
            "`spectrum_exponent` must be from 0.1 to 10 unless `n_coordinates` is finite, got 0.05",
        ),
        (
            lambda: theory.gd_loss(
                1.0, 3.0, learning_rate=1.0, spectrum_exponent=1.0, sparsity_exponent=0.05
            ),
            "`sparsity_exponent` must be from 0.1 to 10 unless",
        ),
        (
            lambda: theory.expected_seen(2e9, sparsity_exponent=2.0),
            "`n_samples` must be from 0 to 1e.09 unless",
        ),
        (lambda: theory.dense_delta(2e6, spectrum_exponent=1.0), "`n` must be from 0 to 1e.06"),
        (
            lambda: theory.unseen_law(spectrum_exponent=1.0, sparsity_exponent=1.0),
            "`sparsity_exponent` must be above 1",
        ),
        (
            lambda: theory.gd_loss(-1.0, 3.0, learning_rate=1.0, **SPARSE),
            "`time` must be at least 0",
        ),
        (
            lambda: theory.gd_loss(1.0, 3.0, learning_rate=0.0, **SPARSE),
            "`learning_rate` must be positive",
        ),
        (lambda: theory.optimal_allocation(0.0, **SPARSE), "`compute` must be positive"),
        (
            lambda: theory.conditional_loss(np.ones((2, 2)), 0.0, np.ones(2)),
            "`n_features` must be positive",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
