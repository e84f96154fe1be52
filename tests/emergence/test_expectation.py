"""The mean of one skill over data sets against the sum over the binomial distribution."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from jaxscale.emergence import theory


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _brute_force(time: float, n: int, p: float, rate: float, scale: float, strength: float):
    d = np.arange(n + 1)
    weight = binom.pmf(d, n, p)
    r = scale / (1 + (scale / strength - 1) * np.exp(-2 * rate * scale * time * d / n))
    return float(weight @ r), float(weight @ (0.5 * (scale - r) ** 2))


def test_against_the_sum():
    options = {"learning_rate": 0.3, "target_scale": 2.0, "initial_strength": 0.05}
    grid = np.meshgrid([0.0, 5.0, 200.0], [1, 7, 100, 3000, 40000], [1e-4, 0.03, 0.4, 0.999])
    time, n, p = (x.ravel() for x in grid)
    result = theory.expected_skill(time, n, p, **options)
    rows = zip(time, n.astype(int), p, strict=True)
    exact = np.asarray([_brute_force(*row, *options.values()) for row in rows])
    np.testing.assert_allclose(result.strength, exact[:, 0], rtol=1e-10)
    np.testing.assert_allclose(result.loss, exact[:, 1], rtol=1e-9, atol=1e-18)


@pytest.mark.slow
def test_infinite_data_is_the_flow():
    time = np.linspace(0, 100, 7)
    flow = theory.skill_strength(time, 0.2)
    for samples in (math.inf, jnp.asarray(math.inf)):
        result = theory.expected_skill(time, samples, 0.2)
        np.testing.assert_allclose(result.strength, flow, rtol=1e-14)
    close = theory.expected_skill(time, 1e12, 0.2)
    np.testing.assert_allclose(close.strength, flow, rtol=1e-6)


@pytest.mark.slow
def test_the_sum_over_skills_is_the_loss():
    p = theory.skill_probabilities(0.6, 30)
    result = theory.expected_skill(40.0, 200.0, p)
    exact = theory.loss(40.0, 200.0, math.inf, skill_exponent=0.6, n_skills=30)
    assert float(p @ result.loss) == pytest.approx(float(exact), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("which", range(4))
def test_gradient_against_finite_differences(which):
    start = [30.0, 50.0, 0.1, 0.2]

    def value(x):
        time, n, p, rate = (x if i == which else v for i, v in enumerate(start))
        return theory.expected_skill(time, n, p, learning_rate=rate).strength

    h = 1e-5 * start[which]
    slope = (value(start[which] + h) - value(start[which] - h)) / (2 * h)
    gradient = jax.grad(value)(jnp.asarray(start[which]))
    assert float(gradient) == pytest.approx(float(slope), rel=1e-6)
    assert float(slope) != 0


def test_bad_input():
    with pytest.raises(ValueError, match="`time`"):
        theory.expected_skill(-1.0, 10, 0.5)
