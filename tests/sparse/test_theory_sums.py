"""Spectra, unseen variance, rank and dense limits against brute-force sums."""

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


def _infinite_sum(h, n_direct=50_000):
    """Sum of h(ln i): direct, then the midpoint rule's integral in ln i on fine panels."""
    x, w = np.polynomial.legendre.leggauss(20)
    edges = math.log(n_direct + 0.5) + np.concatenate(
        [np.linspace(0, 25, 251), np.linspace(25, 300, 400)[1:]]
    )
    half = np.diff(edges)[:, None] / 2
    points = (edges[:-1, None] + half * (1 + x)).ravel()
    far = np.sum((half * w).ravel() * np.exp(points) * h(points))
    return math.fsum(h(np.log(np.arange(1, n_direct + 1.0)))) + far


@pytest.mark.parametrize(
    "activity",
    [1.0, pytest.param(0.5, marks=pytest.mark.slow), pytest.param(4.0, marks=pytest.mark.slow)],
)
def test_infinite_sums(activity):
    cases = [(a, g, d) for a in (0.2, 1.0, 3.0) for g in (0.3, 1.2, 4.0) for d in (10.0, 1e6)]
    alpha, gamma, samples = np.array(cases).T
    options = {"sparsity_exponent": gamma, "activity": activity}
    unseen = theory.unseen_loss(samples, spectrum_exponent=alpha, **options)
    n_seen = theory.expected_seen(samples, **options)
    for (a, g, d), u, k in zip(cases, unseen, n_seen, strict=True):

        def missing(x, g=g, d=d):
            return d * np.log1p(-np.minimum(activity * np.exp(-g * x), 1 - 1e-16))

        expected = _infinite_sum(lambda x, a=a, m=missing: np.exp(m(x) - (1 + a) * x)) / 2
        if expected > 1e-30:
            np.testing.assert_allclose(u, expected, rtol=1e-6)
        if g > 1:
            expected = _infinite_sum(lambda x, m=missing: -np.expm1(m(x)))
            np.testing.assert_allclose(k, expected, rtol=1e-6)
        else:
            assert math.isinf(k)


@pytest.mark.slow
@pytest.mark.parametrize("n_coordinates", [50, 3000])
def test_finite_spectrum_is_summed_in_full(n_coordinates):
    i = np.arange(1, n_coordinates + 1.0)
    p = np.minimum(1, 1.7 * i**-1.3)
    options = {"sparsity_exponent": 1.3, "activity": 1.7, "n_coordinates": n_coordinates}
    value = theory.unseen_loss(700.0, spectrum_exponent=0.4, **options)
    expected = np.sum(i**-1.4 * (1 - p) ** 700) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    own = theory.Coordinates(i**-1.4, p, np.ones_like(p))  # the user's spectrum
    np.testing.assert_allclose(theory.unseen_loss(700.0, spectrum=own), expected, rtol=1e-12)
    np.testing.assert_allclose(
        theory.expected_seen(700.0, spectrum=own), np.sum(1 - (1 - p) ** 700)
    )
    for one, other in [
        (theory.expected_rank(700.0, spectrum=own), theory.expected_rank(700.0, **options)),
        (
            theory.residual_loss(700.0, spectrum=own),
            theory.residual_loss(700.0, spectrum_exponent=0.4, **options),
        ),
    ]:
        np.testing.assert_allclose(one, other, rtol=1e-7)


def test_rank_reproduces_the_mean_field_numbers():
    samples = np.array([64.0, 256.0, 1024.0, 2048.0])
    rank = theory.expected_rank(samples, sparsity_exponent=1.5)
    np.testing.assert_allclose(rank, [36.0, 97.4, 255.6, 411.3], atol=0.06)
    n_seen = theory.expected_seen(1024.0, sparsity_exponent=np.array([1.5, 2.0, 3.0]))
    np.testing.assert_allclose(n_seen, [271.7, 56.2, 13.2], atol=0.06)


@pytest.mark.slow
def test_rank_of_truncated_and_dense_spectra():
    truncated = theory.expected_rank(
        np.array([32.0, 64.0, 128.0, 256.0]), sparsity_exponent=1.2, n_coordinates=4000
    )
    np.testing.assert_allclose(truncated, [31.6, 62.3, 118.9, 220.0], atol=0.06)
    # never above samples or coordinates; equal to the samples where p_i has no finite sum
    few = theory.expected_rank(100.0, sparsity_exponent=np.array([0.0, 0.7, 1.0]))
    np.testing.assert_allclose(few, 100.0, rtol=1e-6)
    dense = theory.expected_rank(np.array([30.0, 400.0]), sparsity_exponent=0.0, n_coordinates=100)
    np.testing.assert_allclose(dense, [30.0, 100.0], rtol=1e-6)
    assert theory.expected_rank(math.inf, sparsity_exponent=1.5, n_coordinates=100) == 100


def test_rank_of_single_spikes_in_closed_form():
    """One coordinate: q = exp(-p e^{-pDq}) and r, by plain iteration."""
    p, n, q = 0.05, 40.0, 1.0
    for _ in range(200):
        q = math.exp(-p * math.exp(-p * n * q))
    expected = 1 - math.exp(-p * n * q) + n * (1 - q + q * math.log(q))
    own = theory.Coordinates(np.ones(1), np.full(1, p), np.ones(1))
    np.testing.assert_allclose(theory.expected_rank(n, spectrum=own), expected, rtol=1e-12)


@pytest.mark.slow
def test_collision_factor():
    samples = np.array([64.0, 256.0, 1024.0, 2048.0])
    options = {"spectrum_exponent": 1.0, "sparsity_exponent": 1.5}
    factor = theory.residual_loss(samples, **options) / theory.unseen_loss(samples, **options)
    # the document's 1.110, 1.060, 1.034, 1.026 come from coarser sums
    np.testing.assert_allclose(factor, [1.10862, 1.05926, 1.03398, 1.02605], atol=1e-5)


def test_unseen_law():
    for alpha, gamma, c in [(0.5, 1.5, 1.0), (1.0, 2.0, 0.5), (1.0, 3.0, 4.0)]:
        options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma, "activity": c}
        law = theory.unseen_law(**options)
        np.testing.assert_allclose(law(1e9), theory.unseen_loss(1e9, **options), rtol=2e-5)
        np.testing.assert_allclose(law.exponent, alpha / gamma)
    assert abs(law(1e9) / theory.unseen_loss(1e9, **{**options, "activity": 4.1}) - 1) > 1e-3


@pytest.mark.parametrize(
    "alpha",
    [0.3, 1.0, 2.5],
)
@pytest.mark.slow
def test_dense(alpha):
    i = np.arange(1, 4_000.0)
    delta = float(theory.dense_delta(30.0, spectrum_exponent=alpha, n_coordinates=3999))
    np.testing.assert_allclose(np.sum(i ** -(1 + alpha) / (i ** -(1 + alpha) + delta)), 30.0)
    delta = float(theory.dense_delta(30.0, spectrum_exponent=alpha))
    share = _infinite_sum(lambda x: 1 / (1 + delta * np.exp(np.minimum((1 + alpha) * x, 700))))
    np.testing.assert_allclose(share, 30.0, rtol=1e-9)
    loss = theory.dense_loss(np.array([1e4, math.inf]), math.inf, spectrum_exponent=alpha)
    law = theory.dense_law(spectrum_exponent=alpha)
    np.testing.assert_allclose(loss[0], law(1e4) * (1 + 0.5e-4) ** -(1 + alpha), rtol=1e-7)
    assert loss[1] == 0
    pair = theory.dense_loss(np.array([50.0, 80.0, 60.0]), np.array([80.0, 50.0, 60.0]),
                             spectrum_exponent=alpha)  # fmt: skip
    assert pair[0] == pair[1]
    assert math.isinf(pair[2])
    one = theory.dense_loss(50.0, math.inf, spectrum_exponent=alpha)
    np.testing.assert_allclose(pair[0], one * 80 / 30, rtol=1e-13)


def test_dense_prefactor():
    np.testing.assert_allclose(
        theory.dense_law(spectrum_exponent=1.0).prefactor, np.pi**2 / 8, rtol=1e-14
    )
    np.testing.assert_allclose(
        theory.unseen_law(spectrum_exponent=1.0, sparsity_exponent=2.0).prefactor,
        special.gamma(0.5) / 4,
        rtol=1e-14,
    )


@pytest.mark.slow
def test_shapes_broadcast_and_types():
    wide = theory.unseen_loss(np.ones((2, 1)), spectrum_exponent=np.ones(3), sparsity_exponent=2.0)
    assert wide.shape == (2, 3)
    assert theory.expected_rank(jnp.float32(30.0), sparsity_exponent=2.0).dtype == jnp.float32
    coordinates = theory.power_law_coordinates(spectrum_exponent=1.0, sparsity_exponent=2.0)
    assert coordinates.weight.size < 250


def test_infinitely_many_coordinates_are_seen_at_the_border():
    value = theory.expected_seen(jnp.asarray([10.0, 1e4]), sparsity_exponent=1.0)
    np.testing.assert_array_equal(value, math.inf)
