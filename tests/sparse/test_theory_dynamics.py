"""Gradient descent, instability, given inputs and the compute-optimal split."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxscale.sparse import theory


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def test_gd_loss_term_by_term():
    i = np.arange(1, 51.0)
    lam, p = i**-1.7, 0.8 * i**-1.2
    t = np.array([0.0, 3.0, 1e3, 1e9, math.inf])
    options = {"spectrum_exponent": 0.7, "sparsity_exponent": 1.2, "activity": 0.8}
    value = theory.gd_loss(t, 40.0, learning_rate=0.3, n_coordinates=50, **options)
    for time, v in zip(t, value, strict=True):
        shrink = 1 / np.sqrt(1 + 4 * 0.3 * time * lam / p / 40)
        np.testing.assert_allclose(v, np.sum(lam * (1 - p + p * shrink) ** 40) / 2, rtol=1e-12)
    unseen = theory.unseen_loss(40.0, n_coordinates=50, **options)
    np.testing.assert_allclose(value[-1], unseen, rtol=1e-9)
    endless = theory.gd_loss(20.0, math.inf, learning_rate=0.3, n_coordinates=50, **options)
    np.testing.assert_allclose(endless, np.sum(lam * np.exp(-2 * 6 * lam)) / 2, rtol=1e-12)


def test_gd_law():
    for alpha in (0.5, 1.0):
        options = {"spectrum_exponent": alpha, "sparsity_exponent": 2.0}
        value = theory.gd_loss(3e3, np.inf, learning_rate=1.0, **options)
        np.testing.assert_allclose(value, theory.gd_law(spectrum_exponent=alpha)(3e3), rtol=1e-6)


def test_instability_predictions():
    samples, trials = np.array([50.0, 100.0, 200.0, 400.0]), np.array([4e4, 6e4, 6e4, 3e4])
    options = {"spectrum_exponent": 1.0, "sparsity_exponent": 3.0}
    eta = np.array([[1.0], [0.5]])
    counts = trials * theory.instability_probability(samples, eta, **options, n_coordinates=20_000)
    np.testing.assert_allclose(counts, [[300, 225, 112, 28], [75, 56, 28, 7]], atol=0.6)
    expected = []
    for d in samples:  # term by term
        i = np.arange(2, 20_001.0)
        spikes = d * np.sum(i**-3 * special.erfc(np.sqrt(d / i)))
        expected.append(-np.expm1(stats.chi2.logcdf(2 * d, d) - spikes))
    np.testing.assert_allclose(counts[0] / trials, expected, rtol=1e-7)


def test_instability_law():
    law = theory.instability_law(0.7, spectrum_exponent=0.5, sparsity_exponent=3.0)
    value = theory.instability_probability(1e7, 0.7, spectrum_exponent=0.5, sparsity_exponent=3.0)
    np.testing.assert_allclose(law(1e7), value, rtol=1e-3)
    np.testing.assert_allclose(law.exponent, 1 / 3)
    exact = theory.instability_law(1.0, spectrum_exponent=1.0, sparsity_exponent=3.0)
    # k = 2: E z^4 = 3, D/2 * 3 / (4 D^2)
    np.testing.assert_allclose(exact(50.0), 3 / 8 / 50, rtol=1e-12)
    factor = theory.projection_factor(np.array([4.0, math.inf]), 2.0)
    np.testing.assert_allclose(factor, [1.5, 1.0], rtol=1e-12)  # 1 + 2/N
    with pytest.raises(ValueError, match=r"`sparsity_exponent` must be above 1 \+ `spectrum"):
        theory.instability_law(1.0, spectrum_exponent=1.0, sparsity_exponent=2.0)


@pytest.mark.slow
def test_bulk_instability():
    value = theory.instability_probability(
        np.array([10.0, 20.0, 40.0]), 1.4, spectrum_exponent=1.0, sparsity_exponent=0.0
    )
    np.testing.assert_allclose(value, [0.160, 0.0965, 0.0385], atol=6e-4)


def _inputs(seed, n_samples, n_coordinates, gamma):
    rng = np.random.default_rng(seed)
    i = np.arange(1, n_coordinates + 1.0)
    active = rng.random((n_samples, n_coordinates)) < i**-gamma
    return active * rng.standard_normal((n_samples, n_coordinates)) * i ** ((gamma - 2) / 2)


def test_row_space_residual():
    x = _inputs(0, 60, 80, 1.5)
    lam = np.arange(1, 81.0) ** -2.0
    residual, rank = theory.row_space_residual(x, lam, unseen_variance=0.3)
    projector = np.linalg.pinv(x, rcond=1e-10) @ x
    assert rank == round(np.trace(projector))
    assert rank < min(60, np.sum(np.any(x != 0, axis=0)))  # with collisions
    np.testing.assert_allclose(residual, 0.3 + lam @ (1 - np.diag(projector)), rtol=1e-11)
    full, _ = theory.row_space_residual(x[:, :3], lam[:3])
    assert abs(full) < 1e-14  # every coordinate is resolved


def test_conditional_loss_is_the_mean_over_features():
    x = _inputs(1, 12, 20, 1.5)
    lam = np.arange(1, 21.0) ** -2.0
    rank = int(theory.row_space_residual(x, lam)[1])
    n = rank + 12
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(600):
        f = rng.standard_normal((n, 20))
        p = f.T @ np.linalg.pinv(x @ f.T, rcond=1e-10) @ x
        losses.append(np.sum(lam[:, None] * (np.eye(20) - p) ** 2) / 2)
    z = (np.mean(losses) - theory.conditional_loss(x, float(n), lam)) / stats.sem(losses)
    assert abs(z) < 3.3
    sizes = np.array([rank - 0.5, rank, rank + 1.0, rank + 2.0, math.inf])
    value = theory.conditional_loss(x, sizes, lam)
    np.testing.assert_array_equal(np.isnan(value), [True, False, False, False, False])
    np.testing.assert_array_equal(np.isinf(value), [False, True, True, False, False])
    np.testing.assert_allclose(value[3] / value[4], rank + 1)


@pytest.mark.slow
def test_allocation():
    cases = [(1.0, 2.0), (0.5, 2.0), (1.0, 1.5), (1.0, 3.0)]
    alpha, gamma = np.array(cases).T
    compute = np.array([[1e4], [1e5]])
    options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
    best = theory.optimal_allocation(compute, **options)
    np.testing.assert_allclose(best.n_features[0], [77, 110.6, 137.2, 40.3], atol=0.06)
    np.testing.assert_allclose(best.n_features[1], [168.8, 243.9, 359.3, 73.1], atol=0.06)
    np.testing.assert_allclose(best.loss[1], [0.024505, 0.23678, 0.015679, 0.050226], rtol=3e-5)
    np.testing.assert_allclose(best.n_features * best.n_samples, compute * np.ones(4), rtol=1e-12)
    laws = theory.allocation_laws(**options)
    np.testing.assert_allclose(laws.n_features(1e4), [79.5, 115.5, 152.5, 42.0], atol=0.06)
    np.testing.assert_allclose(laws.loss(1e4), [0.0527, 0.347, 0.0389, 0.0900], rtol=2e-3)
    np.testing.assert_allclose(laws.n_features(7.0) * laws.n_samples(7.0), 7.0, rtol=1e-12)
    # a minimum: N moved by 3% either way is worse
    for factor in (0.97, 1.03):
        n, d = best.n_features[0] * factor, best.n_samples[0] / factor
        assert np.all(theory.loss(n, d, **options) > best.loss[0])


def test_dense_allocation():
    laws = theory.dense_allocation_laws(spectrum_exponent=1.0)
    compute = 1e8
    n = laws.n_features(compute) * np.geomspace(0.5, 2.0, 41)
    value = theory.dense_loss(n, compute / n, spectrum_exponent=1.0)
    assert np.argmin(value) == 20
    np.testing.assert_allclose(value[20], laws.loss(compute), rtol=1e-3)
    np.testing.assert_allclose(laws.n_features(7.0) * laws.n_samples(7.0), 7.0, rtol=1e-6)


@pytest.mark.slow
def test_infinite_data_is_unstable_above_two():
    value = jnp.stack(
        [
            theory.instability_probability(
                math.inf, eta, spectrum_exponent=1.0, sparsity_exponent=2.0
            )
            for eta in (1.9, 2.1)
        ]
    )
    np.testing.assert_array_equal(value, [0.0, 1.0])
