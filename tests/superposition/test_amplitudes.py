"""Exact means over amplitudes against quadrature, and draws against their moments."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad

from jaxscale.keys import root_key, words
from jaxscale.superposition._outputs import Fixed, Uniform

NUMBER = st.floats(-2, 2, allow_subnormal=False).map(lambda x: round(x, 3))


@eqx.filter_jit
def positive_means(amplitude, slope, bias, target):
    return (
        amplitude.positive_square(slope, bias),
        amplitude.positive_error(slope, bias, target),
        amplitude.positive_product(slope, bias),
    )


@settings(deadline=None, max_examples=60)
@given(slope=NUMBER, bias=NUMBER, target=NUMBER, low=st.sampled_from([0.0, -1.0, 0.5]))
def test_means_of_a_uniform_amplitude(slope, bias, target, low):
    with jax.enable_x64(True):
        amplitude = Uniform(low=low, high=1.5)
        m, b, a = (jnp.asarray([float(v)]) for v in (slope, bias, target))
        actual = positive_means(amplitude, m, b, a)

    def output(u):
        return max(slope * u + bias, 0.0)

    kink = [] if slope == 0 else [u for u in (-bias / slope,) if low < u < 1.5]
    for value, f in zip(
        actual,
        (
            lambda u: output(u) ** 2,
            lambda u: (output(u) - target * u) ** 2,
            lambda u: u * output(u),
        ),
        strict=True,
    ):
        expected = quad(f, low, 1.5, points=kink or None, epsabs=1e-13)[0] / (1.5 - low)
        np.testing.assert_allclose(value[0], expected, rtol=1e-10, atol=1e-12)


def test_small_errors_keep_their_relative_precision():
    """A learned output misses by 1e-4 of its target: float32 must not round it to nothing."""
    amplitude = Uniform(low=0.0, high=2.0)
    one = jnp.ones((1,), jnp.float32)
    actual = amplitude.positive_error(one * (1 + 2**-13), 0 * one, one)
    np.testing.assert_allclose(actual, 2.0**-26 * 4 / 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("amplitude", "largest"), [(Uniform(low=-0.5, high=2.0), 2.0), (Fixed(value=0.7), 0.7)]
)
def test_moments_and_draws_agree(amplitude, largest):
    word = words(root_key(0), jnp.arange(200_000), 1)[0]
    drawn = np.asarray(amplitude.of_words(word, "float32"), float)
    for order in (1, 2, 4):
        expected = float(amplitude.moment(order))
        spread = np.std(drawn**order) / np.sqrt(len(drawn))
        assert abs(np.mean(drawn**order) - expected) <= 4 * spread + 1e-6
    assert drawn.max() <= largest
    assert np.all(np.asarray(amplitude.of_words(word, "float32") != 0))


def test_bad_amplitudes_are_named():
    with pytest.raises(ValueError, match=r"`high` must be greater than low = 1\.0, got 0\.5"):
        Uniform(low=1.0, high=0.5)
    with pytest.raises(ValueError, match="`value` must be greater than 0"):
        Fixed(value=0.0)
