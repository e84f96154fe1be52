"""Edges that values elsewhere do not show: cut-offs, ends of time, derivatives through a root."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxscale.sparse import theory


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


I = np.arange(1, 6.0)  # noqa: E741
FEW = theory.Coordinates(I**-1.6, np.minimum(1, 0.5 * I**-1.2), np.ones(5))


@pytest.mark.parametrize(("third", "expected"), [(5e-11, 2), (2e-10, 3)])
def test_rows_are_independent_above_4e_11_of_the_largest(third, expected):
    """Whatever the second singular value, here a hundredth of the first."""
    x = np.array([[1.0, 1.0, 1.0], [0.0, 1e-2, 0.0], [0.0, 0.0, third]])
    residual, rank = theory.row_space_residual(x, np.ones(3))
    assert rank == expected
    np.testing.assert_allclose(residual, 3 - expected, atol=1e-9)


N = np.float64(12.0)


def test_descent_ends_at_the_unseen_loss_with_its_slope():
    def descent(n):
        times = np.asarray([1e200, math.inf])
        return theory.gd_loss(times, n, learning_rate=0.3, spectrum=FEW)

    ended = jax.jvp(descent, (N,), (N,))
    unseen = jax.jvp(lambda n: theory.unseen_loss(n, spectrum=FEW), (N,), (N,))
    np.testing.assert_allclose(ended, np.asarray(unseen)[:, None] * [1, 1], rtol=1e-12)


def test_curvature_of_the_rank_follows_its_fixed_point():
    """The rank is stationary there, so only second derivatives know how the point moves."""

    def rank(n):
        return theory.expected_rank(n, spectrum=FEW)

    def slope(n):
        return jax.jvp(rank, (n,), (np.float64(1.0),))[1]

    curvature = jax.jvp(slope, (N,), (np.float64(1.0),))[1]
    np.testing.assert_allclose(curvature, (slope(N + 0.01) - slope(N - 0.01)) / 0.02, rtol=1e-5)


def test_sums_behind_a_kink_far_out_are_a_beta_function():
    """Coordinates before c^(1/gamma) are always seen; behind, 1 - p rises as a power."""
    alpha, gamma, activity = 0.5, 2.0, np.array([1e20, 1e40])
    unseen = theory.unseen_loss(
        10.0, spectrum_exponent=alpha, sparsity_exponent=gamma, activity=activity
    )
    share = special.beta(alpha / gamma, 11) / (2 * gamma)
    np.testing.assert_allclose(unseen, activity ** (-alpha / gamma) * share, rtol=1e-12)
    many, gamma = 1e9, 1.2  # seen as far out as 1e9 samples reach
    n_covered = theory.expected_seen(many, sparsity_exponent=gamma, activity=activity)
    expected = (activity * many) ** (1 / gamma) * special.gamma(1 - 1 / gamma)
    np.testing.assert_allclose(n_covered, expected, rtol=1e-9)


def test_the_last_of_many_coordinates_is_counted():
    n_covered = theory.expected_seen(3.0, sparsity_exponent=0.0, activity=0.5, n_coordinates=10**8)
    np.testing.assert_allclose(n_covered, 0.875e8, rtol=1e-12)


def test_the_dense_limit_falls_by_its_implicit_slope():
    """d ln Delta / dn = -1 / sum of share (1 - share)."""

    def log_delta(n):
        return jnp.log(theory.dense_delta(n, spectrum_exponent=0.7, n_coordinates=40))

    value, slope = jax.jvp(log_delta, (N,), (np.float64(1.0),))
    variance = np.arange(1, 41.0) ** -1.7
    share = variance / (variance + np.exp(value))
    np.testing.assert_allclose([np.sum(share), slope], [N, -1 / np.sum(share * (1 - share))])


@pytest.mark.parametrize("bad", [1.0, np.ones((2, 2)), np.ones(0)])
@pytest.mark.parametrize("i", [0, 1, 2])
def test_a_spectrum_is_of_vectors(bad, i):
    fields = [np.ones(2)] * 3
    fields[i] = bad
    name = ("variance", "probability", "weight")[i]
    with pytest.raises(ValueError, match=f"`{name}` must be a non-empty vector, got shape"):
        theory.Coordinates(*fields)
