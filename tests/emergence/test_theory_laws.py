"""Losses and scaling laws against brute-force sums; every quoted constant."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jaxscale.emergence import theory

ALPHA = np.array([0.3, 0.6, 0.9])
M = 99.0


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def _residual(u):
    return (1 + np.exp(np.minimum(2 * u, 600.0)) / M) ** -2.0


def _probabilities(alpha, n):
    k = np.arange(1, n + 1.0)
    p = k ** -(alpha + 1)
    return k, p / math.fsum(p)


@pytest.mark.parametrize("alpha", [pytest.param(0.3, marks=pytest.mark.slow), 0.9])
def test_loss_online_many_skills(alpha):
    k, p = _probabilities(alpha, 100_000)
    tau, n = np.meshgrid([0.0, 1.0, 1e3, 1e6, math.inf], [0.0, 5.0, 3000.5, 50_000.0, math.inf])
    value = theory.loss(tau, math.inf, n, skill_exponent=alpha, n_skills=100_000)
    for t, m, v in zip(tau.flat, n.flat, value.flatten(), strict=True):
        learned = np.clip(m - (k - 1), 0, 1)
        expected = 0.5 * math.fsum(p * (1 - learned * (1 - _residual(min(t, 1e30) * p))))
        np.testing.assert_allclose(v, expected, rtol=1e-11, atol=1e-15)
    wrong = theory.loss(1e3, math.inf, 5.0, skill_exponent=alpha + 1e-3, n_skills=100_000)
    assert abs(wrong / value[1, 2] - 1) > 1e-5


def test_loss_scales_with_the_target():
    options = {"skill_exponent": 0.6, "n_skills": 9}
    one = theory.loss(20.0, 30.0, 5.0, initial_strength=0.01, **options)
    five = theory.loss(
        2.0, 30.0, 5.0, initial_strength=0.05, target_scale=5.0, learning_rate=2.0, **options
    )
    np.testing.assert_allclose(five, 25 * one, rtol=1e-13)  # eta S T and r/S are the same


@pytest.mark.parametrize("alpha", [pytest.param(0.3, marks=pytest.mark.slow), 0.9])
def test_loss_finite_data(alpha):
    cases = [(7, 3.0), (100, 20.0), (3000, 1e3), (100_000, 100.0), (3000, math.inf)]
    _, p = _probabilities(alpha, 60)
    data, time = np.array(cases).T
    value = theory.loss(time, data, math.inf, skill_exponent=alpha, n_skills=60)
    for (d, t), v in zip(cases, value, strict=True):
        counts = np.arange(0, min(d, 60_000) + 1)
        mean = 0.0
        for one in p:
            mass = stats.binom.pmf(counts, d, one)
            residual = _residual(t * counts / d) if t < math.inf else 0.99**2 * (counts == 0)
            mean += one * np.sum(mass * residual) / np.sum(mass)
        np.testing.assert_allclose(v, mean / 2, rtol=1e-9)
    # untrained, whatever the data
    np.testing.assert_allclose(
        theory.loss(jnp.array([5.0, 0.0]), jnp.array([0.0, 9.0]), math.inf, skill_exponent=alpha),
        0.99**2 / 2,
        rtol=1e-12,
    )


@pytest.mark.parametrize("alpha", [pytest.param(0.3, marks=pytest.mark.slow), 0.9])
def test_loss_infinite_time_is_the_unseen_mass(alpha):
    n = 200_000
    _, p = _probabilities(alpha, n)
    data = np.array([10.0, 1e4, 1e6])
    value = theory.loss(math.inf, data, math.inf, skill_exponent=alpha, n_skills=n)
    expected = [0.99**2 / 2 * math.fsum(p * np.exp(d * np.log1p(-p))) for d in data]
    np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_prefactors():
    def law(name, **options):
        return getattr(theory, name)(skill_exponent=ALPHA, **options)

    quoted = {
        "time_law": [0.64532, 0.60006, 0.53034],
        "parameter_law": [0.42388, 0.36458, 0.31751],
        "compute_law": [0.56467, 0.53202, 0.48357],
    }
    exponents = {
        "time_law": ALPHA / (ALPHA + 1),
        "parameter_law": ALPHA,
        "compute_law": ALPHA / (ALPHA + 2),
    }
    for name, expected in quoted.items():
        np.testing.assert_allclose(law(name).prefactor, expected, atol=6e-6)
        np.testing.assert_allclose(law(name).exponent, exponents[name], rtol=1e-14)
    unseen = law("data_law", initial_strength=1e-9).prefactor
    np.testing.assert_allclose(unseen, [0.52939, 0.44186, 0.36653], atol=6e-6)
    np.testing.assert_allclose(law("data_law").prefactor, 0.99**2 * unseen, rtol=1e-7)
    assert np.all(np.abs(law("time_law", initial_strength=0.02).prefactor - 0.6) > 1e-3)


def test_time_prefactor_integral():
    for alpha in ALPHA:
        s = alpha / (alpha + 1)
        moment = integrate.quad(
            lambda w, s=s: _residual(w ** (1 / s)) / s,
            0,
            15**s,
            points=[(math.log(M) / 2) ** s],
            epsabs=1e-13,
            epsrel=1e-12,
        )[0]
        norm = _norm(alpha)
        expected = 0.5 * norm ** (1 / (alpha + 1)) / (alpha + 1) * moment
        value = theory.time_law(skill_exponent=alpha).prefactor
        np.testing.assert_allclose(value, expected, rtol=1e-10)


def _norm(alpha):
    return 1 / special.zeta(alpha + 1)


# columns: largest relative error allowed for each exponent, rounded up from measurements
@pytest.mark.parametrize(
    ("tau", "bounds"), [(10.0, [0.013, 0.0013, 0.031]), (100.0, [9e-5] * 3), (1e3, [1e-12] * 3)]
)
def test_time_law(tau, bounds):
    exact = theory.loss(tau, math.inf, math.inf, skill_exponent=ALPHA)
    error = np.abs(theory.time_law(skill_exponent=ALPHA)(tau) / exact - 1)
    assert np.all(error < bounds)
    if tau < 1e3:
        assert np.all(error > 1e-7)  # the law is asymptotic, the sum is not
    off = theory.time_law(skill_exponent=ALPHA + 0.01)(tau)
    assert np.all((np.abs(off / exact - 1) > bounds) | (tau == 10.0))


def test_time_loss_for_finitely_many_skills():
    tau = np.array([[100.0], [300.0], [1000.0]])
    exact = theory.loss(tau, math.inf, math.inf, skill_exponent=ALPHA, n_skills=1000)
    form = theory.time_loss(tau, skill_exponent=ALPHA, n_skills=1000)
    plain = theory.time_law(skill_exponent=ALPHA)(tau)
    assert np.max(np.abs(form / exact - 1)) < 2e-4
    excess = np.asarray(plain / exact - 1)
    assert np.all(excess > [0.2, 0.04, 0.009])
    assert np.all(excess < [0.56, 0.15, 0.035])


@pytest.mark.parametrize(
    ("d", "bounds"), [(10.0, [0.014, 0.03, 0.036]), (100.0, [0.0015, 0.0027, 0.0036])]
)
def test_data_law(d, bounds):
    exact = theory.loss(math.inf, d, math.inf, skill_exponent=ALPHA)
    error = np.abs(theory.data_law(skill_exponent=ALPHA)(d) / exact - 1)
    assert np.all(error < bounds)
    assert np.all(error > np.array(bounds) / 2)


@pytest.mark.parametrize("shots", [pytest.param(1.0, marks=pytest.mark.slow), 10.0, 100.0])
def test_data_law_with_several_shots(shots):
    n = 1e5
    law = theory.data_law(skill_exponent=0.6, shots=shots, learner="minimum_norm")
    exact = theory.data_loss(n, skill_exponent=0.6, shots=shots)
    np.testing.assert_allclose(law(n), exact, rtol=4e-6)
    assert abs(law(n * 1.0001) / exact - 1) > 2e-5
    # all or nothing: skills up to 3e4, the rest of the sum unseen
    k, p = _probabilities(0.6, 300_000)
    p = p * math.fsum(k**-1.6) * _norm(0.6)
    unlearned = 0.99**2 / 2 * (math.fsum(p * stats.binom.cdf(shots - 1, n, p)) + 1 - math.fsum(p))
    law = theory.data_law(skill_exponent=0.6, shots=shots)
    np.testing.assert_allclose(law(n), unlearned, rtol=4e-6)


def test_data_loss_is_the_projection_deficit():
    n = 10**6
    for shots in (30.5, 2000.0):
        p = theory.skill_probabilities(0.5, 600)
        learned = theory.data_emergence(1e6, p, shots)
        value = theory.data_loss(1e6, skill_exponent=0.5, n_skills=600, shots=shots)
        np.testing.assert_allclose(value, jnp.sum(p * (1 - learned)) / 2, rtol=1e-9)
        below = stats.binom.cdf(math.floor(shots), n, p)
        mean = n * p / shots * stats.binom.cdf(math.floor(shots) - 1, n - 1, p)
        np.testing.assert_allclose(value, np.sum(p * (below - mean)) / 2, rtol=1e-11)
        few = theory.data_loss(2.5, skill_exponent=0.5, n_skills=600, shots=shots)
        np.testing.assert_allclose(few, (1 - 2.5 / shots * np.sum(p**2)) / 2, rtol=1e-13)


@pytest.mark.slow
def test_slopes_of_losses_in_float32_are_finite():
    """The tail has skills of probability 1e-22, whose square is no number of float32."""
    functions = (
        lambda n, alpha, shots: theory.data_loss(n, skill_exponent=alpha, shots=shots),
        lambda n, alpha, rate: theory.loss(1e3, n, 9.0, skill_exponent=alpha, learning_rate=rate),
    )
    for function in functions:
        slopes = jax.jit(jax.grad(function, (0, 1, 2)))
        point = (252.0, 2.7, 52.0)
        expected = slopes(*map(jnp.float64, point))
        with jax.enable_x64(False):
            slopes = jax.jit(jax.grad(function, (0, 1, 2)))(*map(jnp.float32, point))
        np.testing.assert_allclose(slopes, expected, rtol=1e-4)


def test_parameter_law_and_width():
    exact = theory.loss(math.inf, math.inf, 10.0, skill_exponent=ALPHA)
    np.testing.assert_allclose(theory.width_loss(10.0, skill_exponent=ALPHA), exact, rtol=1e-12)
    _, p = _probabilities(0.6, 200)
    full = theory.width_loss(13, skill_exponent=0.6, n_skills=200, units_per_skill=4)
    np.testing.assert_allclose(full, 0.5 * (0.75 * p[3] + np.sum(p[4:])), rtol=1e-12)
    assert theory.width_loss(math.inf, skill_exponent=0.6) == 0
    error = np.abs(theory.parameter_law(skill_exponent=ALPHA)(10.0) / exact - 1)
    assert np.all(error < [0.0155, 0.0305, 0.0465])
    assert np.all(error > [0.014, 0.029, 0.045])
    shifted = np.abs(theory.parameter_loss(10.0, skill_exponent=ALPHA) / exact - 1)
    assert np.all(shifted < [1.6e-4, 3.7e-4, 6.6e-4])
    # N/n_s = gamma: factor 1 - gamma^alpha
    part = theory.parameter_loss(2000.0, skill_exponent=ALPHA, n_skills=10_000)
    law = theory.parameter_law(skill_exponent=ALPHA, n_skills=10_000)
    np.testing.assert_allclose(part, law(2000.0) * (1 - 0.2**ALPHA), rtol=1e-3)
    exact = theory.loss(math.inf, math.inf, 2000.0, skill_exponent=ALPHA, n_skills=10_000)
    np.testing.assert_allclose(part, exact, rtol=1e-7)
    assert theory.parameter_loss(math.inf, skill_exponent=0.6, n_skills=9) == 0


def test_time_parameter_loss():
    tau = 1e4
    for least, bounds in ((0.1, [0.0014, 0.0095, 0.036]), (0.4, [0.009] * 3)):
        for ratio in (least, 1.0, 4.0):
            n = np.round(ratio * tau ** (1 / (ALPHA + 1)))
            exact = theory.loss(tau, math.inf, n, skill_exponent=ALPHA)
            form = theory.time_parameter_loss(tau, n, skill_exponent=ALPHA)
            assert np.all(np.abs(form / exact - 1) < bounds)
    pure = theory.time_parameter_loss(tau, math.inf, skill_exponent=ALPHA)
    np.testing.assert_allclose(pure, theory.time_law(skill_exponent=ALPHA)(tau), rtol=1e-12)
    still = theory.time_parameter_loss(math.inf, 1e3, skill_exponent=ALPHA)
    np.testing.assert_allclose(still, theory.parameter_law(skill_exponent=ALPHA)(1e3), rtol=1e-12)
    np.testing.assert_array_equal(
        theory.time_parameter_loss(math.inf, math.inf, skill_exponent=ALPHA), 0.0
    )


def test_data_parameter_loss():
    n = np.array([100.0, 1000.0, 1e5])
    exact = theory.loss(math.inf, 1e4, n, skill_exponent=0.6)
    form = theory.data_parameter_loss(1e4, n, skill_exponent=0.6)
    np.testing.assert_allclose(form, exact, rtol=4e-3)
    pure = theory.data_parameter_loss(1e4, math.inf, skill_exponent=ALPHA)
    np.testing.assert_allclose(pure, theory.data_law(skill_exponent=ALPHA)(1e4), rtol=1e-11)
    still = theory.data_parameter_loss(math.inf, 1e3, skill_exponent=ALPHA)
    np.testing.assert_allclose(still, theory.parameter_law(skill_exponent=ALPHA)(1e3), rtol=1e-12)


@pytest.mark.slow
def test_optimal_allocation_constants():
    best = theory.optimal_allocation(1e6, skill_exponent=ALPHA)
    np.testing.assert_allclose(best.n_parameters, [174.7, 120.5, 81.5], atol=0.05)
    np.testing.assert_allclose(best.n_parameters * best.time, 1e6, rtol=1e-13)
    size = best.n_parameters / best.time ** (1 / (ALPHA + 1))
    np.testing.assert_allclose(size, [0.2248, 0.4282, 0.5741], atol=6e-5)
    np.testing.assert_allclose(best.loss, theory.compute_law(skill_exponent=ALPHA)(1e6), rtol=1e-13)
    # it is the minimum of the joint form, to second order on both sides
    for factor in (0.9, 1.1):
        n = factor * best.n_parameters
        other = theory.time_parameter_loss(1e6 / n, n, skill_exponent=ALPHA)
        assert np.all(other > best.loss * (1 + 1e-5))
    loss = theory.time_parameter_loss(best.time, best.n_parameters, skill_exponent=ALPHA)
    np.testing.assert_allclose(loss, best.loss, rtol=1e-12)
    slope = jax.vmap(
        jax.grad(
            lambda x, a: theory.time_parameter_loss(1e6 / jnp.exp(x), jnp.exp(x), skill_exponent=a)
        )
    )(jnp.log(best.n_parameters), jnp.asarray(ALPHA))
    assert np.max(np.abs(slope / best.loss)) < 1e-9
    closed = theory.limiting_allocation(1e6, skill_exponent=ALPHA)
    excess = closed.loss / best.loss - 1
    np.testing.assert_allclose(excess, [0.0003, 0.0048, 0.011], rtol=0.12)
    low = (closed.n_parameters / best.n_parameters) ** ((ALPHA + 2) / (ALPHA + 1)) - 1
    assert np.all(low > -0.185)
    assert np.all(low < -0.155)


@pytest.mark.parametrize(
    ("x", "bounds", "brute"),
    [
        (1e2, [0.022, 0.038, 0.054], None),
        (1e4, [0.0028, 0.0058, 0.0093], None),
        (1e6, [0.0004, 0.001, 0.002], [174, 120, 81]),
    ],
)
def test_compute_law_against_brute_force(x, bounds, brute):
    n = np.arange(1.0, 301.0)[:, None]
    exact = np.asarray(theory.loss(x / n, math.inf, n, skill_exponent=ALPHA))
    law = theory.compute_law(skill_exponent=ALPHA)(x)
    error = np.abs(law / exact.min(axis=0) - 1)
    assert np.all(error < bounds)
    assert np.all(error > np.array(bounds) / 3)
    if brute is not None:
        np.testing.assert_array_equal(exact.argmin(axis=0) + 1, brute)
