"""Power laws: sums, tails and zeta functions against mpmath and brute force."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxscale import spectra


@pytest.fixture
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def _exact_tail(s, first, last):
    with mpmath.workdps(40):
        if s == 1:
            return float(mpmath.harmonic(last) - mpmath.harmonic(first - 1))
        end = 0 if last == math.inf else mpmath.zeta(s, last + 1)
        return float(mpmath.zeta(s, first) - end)


@pytest.mark.parametrize(
    ("s", "q"), [(1.0001, 1.0), (1.3, 0.01), (1.6, 1.0), (2.5, 7.3), (12.0, 1.0), (1.5, 1e9)]
)
def test_hurwitz_zeta_and_gradients(x64, s, q):
    np.testing.assert_allclose(spectra.hurwitz_zeta(s, q), float(mpmath.zeta(s, q)), rtol=1e-13)
    ds, dq = jax.grad(spectra.hurwitz_zeta, argnums=(0, 1))(s, q)
    np.testing.assert_allclose(ds, float(mpmath.zeta(s, q, 1)), rtol=1e-9)
    np.testing.assert_allclose(dq, -s * float(mpmath.zeta(s + 1, q)), rtol=1e-11)


def test_hurwitz_zeta_continuation(x64):
    for s in (-0.5, -1.5):
        np.testing.assert_allclose(
            spectra.hurwitz_zeta(s, 0.3), float(mpmath.zeta(s, 0.3)), rtol=1e-10
        )


@pytest.mark.parametrize(
    ("s", "first", "last"),
    [
        (1.3, 5, 10**9),
        (1, 1, 10**6),
        (1 + 1e-9, 10, 10**5),
        (0.3, 1000, 1000),
        (0.3, 10**9, 10**9 + 1),
        (-1.5, 1, 5000),
        (2.3, 3, math.inf),
    ],
)
def test_power_tail(x64, s, first, last):
    value = spectra.power_tail(float(s), first, last)
    np.testing.assert_allclose(value, _exact_tail(s, first, last), rtol=1e-12)


def test_power_tail_traced_limits(x64):
    first, last = jnp.array([1.0, 4.0, 4.0, 2.0]), jnp.array([3.0, 3.0, math.inf, 1.0])
    value, gradient = jax.vmap(jax.value_and_grad(spectra.power_tail), (None, 0, 0))(
        1.5, first, last
    )
    expected = [_exact_tail(1.5, 1, 3), 0.0, _exact_tail(1.5, 4, math.inf), 0.0]
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-300)
    k = np.arange(1.0, 4.0)
    np.testing.assert_allclose(gradient[0], -np.sum(np.log(k) * k**-1.5), rtol=1e-12)
    np.testing.assert_allclose(gradient[2], float(mpmath.zeta(1.5, 4, 1)), rtol=1e-10)
    assert gradient[1] == gradient[3] == 0.0
    assert spectra.power_tail(jnp.float64(0.9), 1.0) == math.inf  # diverges, and says so


@pytest.mark.parametrize("s", [-0.7, 0.0, 0.5, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("n", [1, 7, 4096, 100_000])
def test_power_sum(x64, s, n):
    expected = math.fsum(np.arange(1.0, n + 1) ** -s)
    np.testing.assert_allclose(spectra.power_sum(s, n), expected, rtol=1e-13)
    assert abs(spectra.power_sum(s + 1e-3, n) / expected - 1) > 1e-5 or n == 1  # power check


def test_infinite_power_sum_and_gradient(x64):
    value, slope = jax.value_and_grad(lambda s: spectra.power_sum(s, math.inf))(1.3)
    np.testing.assert_allclose(value, float(mpmath.zeta(1.3)), rtol=1e-14)
    np.testing.assert_allclose(slope, float(mpmath.zeta(1.3, 1, 1)), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 10, 100_000])
def test_probabilities_in_both_precisions(n):
    k = np.arange(1.0, n + 1)
    expected = k**-1.6 / math.fsum(k**-1.6)
    with jax.enable_x64(True):
        double = np.asarray(spectra.power_law_probabilities(1.6, n))
        single = np.asarray(spectra.power_law_probabilities(jnp.float32(1.6), n))
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    np.testing.assert_allclose(double, expected, rtol=1e-13)
    np.testing.assert_allclose(single, k ** -float(np.float32(1.6)) * expected[0], rtol=2e-6)
    assert np.max(np.abs(double * k**0.01 - expected)) > 1e-3 or n == 1


def test_power_law_is_a_pytree(x64):
    law = spectra.PowerLaw(2.0, jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(law(4), [1.0, 0.5], rtol=1e-15)
    slope = jax.grad(lambda b: spectra.PowerLaw(2.0, b)(4.0))(0.5)
    np.testing.assert_allclose(slope, -math.log(4.0), rtol=1e-14)
    assert len(jax.tree.leaves(law)) == 2


@pytest.mark.parametrize("last", [50, 10**5, math.inf])
def test_tail_rule(x64, last):
    points, weights = spectra.tail_rule(jnp.float64(40.0), jnp.float64(last), jnp.float64(37 / 1.5))
    value = jnp.sum(weights * points**-2.5)
    np.testing.assert_allclose(value, _exact_tail(2.5, 40, last), rtol=1e-9)
    points, weights = spectra.tail_rule(jnp.float64(40.0), jnp.float64(39.0), jnp.float64(9.0))
    assert jnp.all(weights == 0)


def test_shares_of_numbers_and_of_arrays_are_the_same(x64):
    weight = np.asarray([1.0, 2.0**-1.5, 3.0**-1.5])
    for exponent in (1.5, jnp.float64(1.5)):
        shares = spectra.power_law_shares(exponent, 3)
        np.testing.assert_allclose(shares, weight / weight.sum(), rtol=1e-15)


def test_dtype_rule():
    with jax.enable_x64(True):
        a, b = spectra.as_floats(3, jnp.float32(0.5))
        assert a.dtype == b.dtype == np.float32
        assert spectra.as_floats(3)[0].dtype == np.float64
    with jax.enable_x64(False):
        assert spectra.as_floats(3, 0.5)[0].dtype == np.float32


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: spectra.power_sum(0.5, math.inf), "exponent"),
        (lambda: spectra.power_sum(2.0, 0), "n"),
        (lambda: spectra.power_law_probabilities(2.0, -3), "n"),
        (lambda: spectra.hurwitz_zeta(1.0, 2.0), "s"),
        (lambda: spectra.hurwitz_zeta(2.0, 0.0), "q"),
        (lambda: spectra.hurwitz_zeta(2.0, -1.5), "q"),
        (lambda: spectra.power_tail(2.0, 0.0), "first"),
        (lambda: spectra.power_tail(-3.0, 1, 9), "exponent"),
        (lambda: spectra.power_tail(2.0, 1, math.nan), "last"),
        (lambda: spectra.power_sum(-20.0, 5), "exponent"),
    ],
)
def test_bad_values_are_named(call, name):
    with pytest.raises(ValueError, match=rf"`{name}` must be .* got"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: spectra.power_tail("a", 1, 9),
        lambda: spectra.power_law_probabilities(np.ones(2), 2),
    ],
)
def test_what_is_no_exponent_is_named(call):
    with pytest.raises((ValueError, TypeCheckError), match="exponent"):
        call()
