"""Single skills in time, data and width against brute force."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special, stats

from jaxscale.emergence import DataLimited, theory
from jaxscale.emergence.theory._binomial import log_pmf


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def test_skill_probabilities():
    p = theory.skill_probabilities(0.6, 50)
    k = np.arange(1, 51.0)
    np.testing.assert_allclose(p, k**-1.6 / np.sum(k**-1.6), rtol=1e-13)


def test_strength_solves_the_gradient_flow():
    """dR/dt = 2 eta P R (S - R), from a = b at the start, R = a b."""
    rate, scale, start, p = 0.3, 5.0, 0.02, 0.4
    options = {"learning_rate": rate, "target_scale": scale, "initial_strength": start}
    t = jnp.linspace(0.0, 6.0, 25)
    strength = jax.vmap(lambda t: theory.skill_strength(t, p, **options))
    rise = jax.vmap(jax.grad(lambda t: theory.skill_strength(t, p, **options)))(t)
    r = strength(t)
    np.testing.assert_allclose(rise, 2 * rate * p * r * (scale - r), rtol=1e-11)
    np.testing.assert_allclose(r[0], start, rtol=1e-13)
    assert np.max(np.abs(rise / (rate * p * r * (scale - r)) - 1)) > 0.5  # the factor 2 shows
    assert theory.skill_strength(math.inf, p, **options) == scale


def test_discrete_gradient_descent_converges_to_the_flow():
    p, scale, start = 0.5, 1.0, 0.01
    errors = []
    for rate in (2e-2, 1e-2):
        a = b = math.sqrt(start)
        worst = 0.0
        steps = int(20 / rate)
        times = jnp.arange(1.0, steps + 1)
        exact = np.asarray(theory.skill_strength(times, p, learning_rate=rate))
        for i in range(steps):
            push = rate * p * (scale - a * b)
            a, b = a + push * b, b + push * a
            worst = max(worst, abs(a * b - exact[i]))
        errors.append(worst)
    assert errors[0] < 1e-2
    assert 1.8 < errors[0] / errors[1] < 2.2  # first order in the step


def test_emergence_time_inverts_strength():
    p = theory.skill_probabilities(0.6, 5)
    for fraction in (0.05, 0.5, 0.9):
        t = theory.emergence_time(p, learning_rate=0.1, target_scale=5.0, fraction=fraction)
        r = theory.skill_strength(t, p, learning_rate=0.1, target_scale=5.0)
        np.testing.assert_allclose(r, 5.0 * fraction, rtol=1e-12)
    half = theory.emergence_time(p)
    np.testing.assert_allclose(half, math.log(99) / (2 * p), rtol=1e-14)
    np.testing.assert_allclose(half / half[0], np.arange(1, 6.0) ** 1.6, rtol=1e-13)
    assert np.max(np.abs(half / half[0] - np.arange(1, 6.0) ** 1.5)) > 0.1


@pytest.mark.parametrize(
    ("n", "p", "d"),
    [
        (0.0, 0.3, 0.0),
        (10.0, 0.3, 10.0),
        (1e3, 0.01, 3.0),
        (1e9, 0.25, 2.5e8 + 3e4),
        (1e9, 1e-7, 60.0),
        (50.0, 0.97, 44.0),
    ],
)
def test_binomial_probability(n, p, d):
    with mpmath.workdps(50):
        logs = [mpmath.loggamma(v + 1) for v in (n, d, n - d)]
        expected = logs[0] - logs[1] - logs[2] + d * mpmath.log(mpmath.mpf(p))
        expected = float(expected + (n - d) * mpmath.log(1 - mpmath.mpf(p)))
    np.testing.assert_allclose(log_pmf(*map(jnp.float64, (d, n, p))), expected, atol=1e-12)


def _brute_force(n, p, shots, learner):
    sd = math.sqrt(n * p + 9)
    d = np.arange(max(0, int(n * p - 12 * sd) - 60), min(n, int(n * p + 12 * sd) + 60) + 1)
    mass = stats.binom.pmf(d, n, p)
    gap = np.clip(1 - d / shots, 0, 1)
    if learner == "threshold":
        return special.betainc(shots, n - shots + 1, p) if n >= shots else 0.0
    if learner == "expected_count":
        return 1 - math.sqrt(max(1 - n * p / shots, 0))
    value = 1 - gap if learner == "minimum_norm" else 1 - np.sqrt(gap)
    return np.sum(mass * value) / np.sum(mass)


_CASES = [
    (n, p, float(c))
    for n in (0, 1, 40, 3000, 100_000, 1_000_000)
    for p in (0.9, 0.05, 1e-3)
    for c in {1, 10, max(1, round(n * p)), max(1, round(0.98 * n * p))}
]


@pytest.mark.parametrize(
    ("learner", "tolerance"),
    [("minimum_norm", 1e-12), ("paper", 1e-10), ("expected_count", 1e-7), ("threshold", 1e-10)],
)
def test_data_emergence(learner, tolerance):
    n, p, c = (np.array(column, dtype=float) for column in zip(*_CASES, strict=True))
    value = theory.data_emergence(n, p, c, learner=learner)
    expected = np.array([_brute_force(*case, learner) for case in _CASES])
    assert np.max(np.abs(value - expected)) < tolerance
    wrong = theory.data_emergence(n, p, 1.02 * c, learner=learner)
    assert np.max(np.abs(wrong - expected)) > 1e-3  # power check


def test_data_emergence_real_shots():
    for learner in ("minimum_norm", "paper"):
        value = theory.data_emergence(300, 0.1, 33.7, learner=learner)
        np.testing.assert_allclose(value, _brute_force(300, 0.1, 33.7, learner), rtol=1e-12)
    for n in (999, 1000, 1001):
        value = theory.data_emergence(n, 0.9999, 999.5)
        expected = _brute_force(n, 0.9999, 999.5, "minimum_norm")
        np.testing.assert_allclose(value, expected, rtol=1e-11)
    np.testing.assert_allclose(theory.data_emergence(2.5, 0.3, 10.0), 0.075, rtol=1e-14)


def test_data_emergence_limits():
    for learner in ("minimum_norm", "paper", "threshold"):
        assert theory.data_emergence(math.inf, 0.1, 7.0, learner=learner) == 1
        one_shot = theory.data_emergence(30, 0.1, 1.0, learner=learner)
        np.testing.assert_allclose(one_shot, 1 - 0.9**30, rtol=1e-11)
        certain = theory.data_emergence(jnp.array([3.0, 9.0]), 1.0, 9.0, learner=learner)
        expected = {"minimum_norm": 1 / 3, "paper": 1 - math.sqrt(2 / 3), "threshold": 0.0}
        np.testing.assert_allclose(certain, [expected[learner], 1.0], atol=1e-12)


@pytest.mark.slow
def test_less_than_one_shot_is_one():
    for shots in (0.3, 1.0):
        value, slope = jax.value_and_grad(theory.data_emergence, 2)(30.0, 0.1, shots)
        np.testing.assert_allclose(value, 1 - 0.9**30, rtol=1e-13)
        assert slope == 0


def test_width_emergence():
    value = theory.width_emergence(jnp.array([0.0, 3.0, 7.0, math.inf]), 4, 4.0)
    expected = [[0, 0, 0, 0], [0.75, 0, 0, 0], [1, 0.75, 0, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(theory.width_emergence(2.5, 4), [1, 1, 0.5, 0])
    # the staircase of the paper: q = floor((N - 1)/N_c) + 1, rem = N - (q - 1) N_c
    for width in range(1, 17):
        q = (width - 1) // 4 + 1
        rem = width - (q - 1) * 4
        staircase = [1.0] * (q - 1) + [rem / 4] + [0.0] * (4 - q)
        np.testing.assert_array_equal(theory.width_emergence(width, 4, 4), staircase)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: theory.skill_probabilities(-0.1, 5), "skill_exponent"),
        (lambda: theory.skill_probabilities(0.5, 0), "n_skills"),
        (lambda: theory.skill_strength(-1.0, 0.5), "time"),
        (lambda: theory.skill_strength(1.0, 1.5), "probability"),
        (lambda: theory.skill_strength(1.0, 0.5, learning_rate=0.0), "learning_rate"),
        (lambda: theory.skill_strength(1.0, 0.5, initial_strength=2.0), "initial_strength"),
        (lambda: theory.emergence_time(0.5, fraction=1.0), "fraction"),
        (lambda: theory.data_emergence(10, 0.5, -1.0), "shots"),
        (lambda: theory.data_emergence(-10, 0.5, 1.0), "n_samples"),
        (lambda: theory.width_emergence(-1, 3), "width"),
        (lambda: theory.width_emergence(1, 3, 0), "units_per_skill"),
        (lambda: theory.loss(1.0, 1.0, -1.0, skill_exponent=0.5), "n_parameters"),
        (lambda: theory.loss(1.0, 1.0, 1.0, skill_exponent=0.5, n_skills=2.5), "n_skills"),
        (lambda: theory.data_law(skill_exponent=0.5, shots=0), "shots"),
        (lambda: theory.optimal_allocation(0.0, skill_exponent=0.5), "compute"),
        (lambda: theory.time_loss(0.0, skill_exponent=0.5), "time"),
        (lambda: theory.time_law(skill_exponent=0.5, target_scale=math.nan), "target_scale"),
    ],
)
def test_bad_values_are_named(call, name):
    with pytest.raises(ValueError, match=rf"`{name}` must be .* got"):
        call()


def test_the_old_name_of_minimum_norm_is_deprecated():
    with pytest.warns(DeprecationWarning, match="minimum_norm"):
        old = theory.data_emergence(30, 0.1, 3.0, learner="projection")
    assert old == theory.data_emergence(30, 0.1, 3.0)
    assert DataLimited(learner="projection").learner == "minimum_norm"  # as in stores


@pytest.mark.parametrize("shots", [1.0, 1.5, 3.0, 11.0, 40.5])
def test_shares_of_a_near_certain_skill_stay_between_0_and_1_at_real_sizes(x64, shots):
    """With fewer whole samples than shots all count, so that the share is D p / D_c."""
    n, last = np.linspace(0.0, 2 * shots + 2, 200), np.ceil(shots) - 1
    few = n <= last
    for p in (0.9, 0.9999, 1.0):
        share = np.asarray(
            theory.data_emergence(n, probability=p, shots=shots, learner="minimum_norm")
        )
        assert (share >= 0).all()
        assert (share <= 1).all()
        assert (np.diff(share) > -1e-5).all()
        np.testing.assert_allclose(share[few], n[few] * p / max(shots, 1.0), rtol=1e-14)
