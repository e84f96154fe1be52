"""The deterministic equivalent against an independent evaluation, its limits and its tables."""

import math

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy import optimize

from jaxscale._status import Status
from jaxscale.sparse import theory


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


I = np.arange(1, 301.0)  # noqa: E741
LAM, P = I**-1.6, np.minimum(1, 1.4 * I**-1.8)


def _own():
    return theory.Coordinates(LAM, P, np.ones_like(P))


def _moments(s, n):
    """q1 and q2 of every coordinate by the trapezoidal rule in ln u."""
    x = np.arange(-40, 4.5, 0.1)
    u = np.exp(x)[:, None]
    m = (1 - P + P / np.sqrt(1 + 2 * u / s * LAM / P / n)) ** n
    weight = 0.1 * u * np.exp(-u)
    return np.sum(weight * m, axis=0), np.sum(weight * u * m, axis=0)


def _root(f):
    return math.exp(optimize.brentq(f, -25, 6, xtol=1e-13))


def _reference(n_features, n_samples, ridge):
    """Section 6 of the derivation as written, term by term."""

    def df(s):
        return np.sum(1 - _moments(s, n_samples)[0])

    n, d = n_features, n_samples
    if ridge:

        def delta(s):
            return (1 - df(s) / d) * s

        def potential(s):
            return np.sum(LAM * _moments(s, d)[0]) / delta(s)

        def gap(x):
            s = math.exp(x)
            if df(s) >= min(n, d) * (1 - 1e-9):
                return 1.0
            return ridge - delta(s) * (1 - df(s) / n)

        s = _root(gap)
        h = 1e-4 * s
        slope = delta(s + h) - delta(s - h)
        dg, ddf = ((f(s + h) - f(s - h)) / slope for f in (potential, df))
        return n * delta(s) ** 2 * -dg / (n - df(s) - delta(s) * ddf) / 2
    r = float(theory.expected_rank(d, spectrum=_own()))
    s = _root(lambda x: df(math.exp(x)) - min(n, r))
    q1, q2 = _moments(s, d)
    if n > r:
        return np.sum(LAM * q1) / 2 * n / (n - r)
    g2 = np.sum(1 - 2 * q1 + q2) / n
    value = np.sum(LAM * q2) / (1 - g2) / 2 + n / (d - n) * np.sum(LAM * q1) / 2
    r0 = min(np.sum(1 - (1 - P) ** d), d)
    return value * (1 - n / r0) / (1 - n / r)


def test_against_an_independent_evaluation():
    sizes = [(n, d) for n in (4.0, 12.0, 90.0) for d in (60.0, 500.0)]
    points = [(*size, ridge) for size in sizes for ridge in (0.0, 1e-3)]
    n, d, ridge = np.array(points).T
    value = theory.deterministic_equivalent(n, d, ridge=ridge, spectrum=_own())
    assert np.all(value.status == Status.ok)
    expected = [_reference(*point) for point in points]
    np.testing.assert_allclose(value.loss, expected, rtol=2e-6)
    assert abs(value.loss[0] / expected[1] - 1) > 1e-4


@pytest.mark.slow
def test_infinite_data_is_the_dense_formula():
    n = np.array([5.0, 50.0, 1e3, 2e4])
    for alpha in (0.4, 1.0):
        options = {"spectrum_exponent": alpha}
        value = theory.loss(n, math.inf, sparsity_exponent=2.0, **options)
        np.testing.assert_allclose(value, n * theory.dense_delta(n, **options) / 2, rtol=1e-9)


@pytest.mark.slow
def test_dense_inputs():
    n, d = np.array([64.0, 128.0]), np.array([128.0, 64.0])
    sparse = theory.loss(n, d, spectrum_exponent=1.0, sparsity_exponent=0.0)
    dense = theory.dense_loss(n, d, spectrum_exponent=1.0)
    np.testing.assert_allclose(sparse, dense, rtol=0.01)  # 0.4% to 0.8%: chi-square at finite D
    large = theory.loss(640.0, 1280.0, spectrum_exponent=1.0, sparsity_exponent=0.0)
    exact = theory.dense_loss(640.0, 1280.0, spectrum_exponent=1.0)
    assert abs(large / exact - 1) < 0.2 * abs(sparse[0] / dense[0] - 1)


@pytest.mark.slow
def test_kernel_ridge_regression():
    for ridge in (1e-3, 0.1, 30.0):
        value = theory.deterministic_equivalent(math.inf, math.inf, ridge=ridge, spectrum=_own())
        np.testing.assert_allclose(value.delta, ridge, rtol=1e-9)
        np.testing.assert_allclose(
            value.loss, np.sum(LAM * (ridge / (LAM + ridge)) ** 2) / 2, rtol=1e-7
        )
    perfect = theory.deterministic_equivalent(math.inf, math.inf, spectrum=_own())
    assert perfect.loss == 0
    assert perfect.status == Status.ok
    assert perfect.rank == LAM.size
    everything = theory.loss(4.0, 9.0, spectrum_exponent=1.0, sparsity_exponent=2.0, ridge=1e9)
    np.testing.assert_allclose(everything, np.pi**2 / 12, rtol=1e-5)


@pytest.mark.slow
def test_ridge_tends_to_ridgeless_below_the_peak():
    options = {"spectrum_exponent": 0.5, "sparsity_exponent": 1.2}
    none, small = theory.loss(64.0, 300.0, ridge=np.array([0.0, 1e-12]), **options)
    np.testing.assert_allclose(none / small - 1, 0.007, atol=0.0005)  # the rank factor
    options["sparsity_exponent"] = 2.0
    none, small = theory.loss(5.0, 4096.0, ridge=np.array([0.0, 1e-13]), **options)
    np.testing.assert_allclose(none, small, rtol=2e-4)


@pytest.mark.slow
def test_peak():
    options = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
    rank = float(theory.expected_rank(1024.0, sparsity_exponent=2.0))
    np.testing.assert_allclose(rank, 55.8, atol=0.05)
    n = rank * (1 + np.array([-1e-1, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 1e-1]))
    value = np.asarray(theory.loss(n, 1024.0, **options))
    assert np.all(value > 0.1)
    assert np.all(np.diff(value[:3]) > 0)
    assert np.all(np.diff(value[4:]) < 0)
    assert value[3] > 1e10
    assert np.argmax(value) == 3


@pytest.mark.slow
def test_more_data_is_better_and_the_plane_is_continuous():
    d = np.geomspace(300.0, 1e6, 60)
    for n in (8.0, 4000.0, math.inf):
        value = np.asarray(theory.loss(n, d, spectrum_exponent=1.0, sparsity_exponent=2.0))
        assert np.all(np.diff(value) < 0)
        assert np.max(np.abs(np.diff(np.log(value), 2))) < 0.02


@pytest.mark.slow
def test_larger_features_never_hurt_with_ridge():
    n = np.geomspace(2.0, 1e5, 60)
    value = theory.loss(n, 512.0, spectrum_exponent=0.5, sparsity_exponent=1.5, ridge=0.05)
    assert np.all(np.diff(value) < 0)


@pytest.mark.slow
def test_status_is_never_silent():
    bad = theory.deterministic_equivalent(
        np.array([5.0, 50.0]),
        100.0,
        spectrum_exponent=1.0,
        sparsity_exponent=2.0,
        ridge=jax.numpy.asarray(-1.0),
    )
    np.testing.assert_array_equal(bad.status, Status.not_converged)
    assert np.all(np.isnan(bad.loss))
    plain = theory.Coordinates(np.ones(2), np.ones(2), np.ones(2))
    broken = eqx.tree_at(lambda s: s.variance, plain, jax.numpy.array([1.0, math.nan]))
    assert theory.deterministic_equivalent(1.0, 9.0, spectrum=broken).status == Status.not_converged


@pytest.mark.slow
def test_exponent_in_features_of_the_equivalent():
    """Slopes of the equivalent on the windows of the document, from this evaluation."""
    for alpha, gamma, d, low, high, slope, limit in [
        (0.5, 1.5, 8192.0, 8, 128, 0.4285, 0.471),
        (0.5, 2.0, 65536.0, 4, 64, 0.4112, 0.444),
        (1.0, 1.5, 8192.0, 8, 128, 0.9162, 0.961),
        (1.0, 2.0, 65536.0, 4, 64, 0.9052, 0.924),
    ]:
        n = 2.0 ** np.arange(math.log2(low), math.log2(high) + 1)
        options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
        for samples, expected in ((d, slope), (math.inf, limit)):
            value = np.log(theory.loss(n, samples, **options))
            np.testing.assert_allclose(-np.polyfit(np.log(n), value, 1)[0], expected, atol=6e-4)
