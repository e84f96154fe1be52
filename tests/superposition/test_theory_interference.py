"""False positives under trained biases: partial moments, thresholds, exponents and the window."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate

from jaxscale.superposition import theory

TAILS = [
    theory.Gaussian(),
    theory.Laplace(),
    *(theory.Pareto(float(q)) for q in (3, 4, 6, 10)),
    *(theory.Bounded(float(k)) for k in (1, 2, 4, 8)),
]

SOME = [TAILS[0], TAILS[1], TAILS[2], TAILS[-4], TAILS[-1]]  # the others differ in a number


def _name(tail):
    return f"{type(tail).__name__}-{float(tail.tail_index):.3f}"


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def _density(tail):
    if isinstance(tail, theory.Gaussian):
        return lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    if isinstance(tail, theory.Laplace):
        return lambda z: math.exp(-abs(z)) / 2
    if isinstance(tail, theory.Pareto):
        q = float(tail.index)
        return lambda z: q * z ** (-q - 1) if z >= 1 else 0.0
    k = float(tail.order)
    return lambda z: k * (1 - z) ** (k - 1) if 0 <= z <= 1 else 0.0


@pytest.mark.parametrize("tail", SOME, ids=_name)
def test_moments(tail):
    density = _density(tail)
    bounded = isinstance(tail, theory.Bounded)
    v = np.array([0.0, 0.3, 0.9] if bounded else [0.0, 0.4, 0.999, 1.7, 2.9, 3.1, 6.0])
    for power, moment in ((1, tail.first_moment(v)), (2, tail.second_moment(v))):
        for x, value in zip(v, moment, strict=True):
            end = 1.0 if bounded else math.inf
            start = max(x, 1.0) if isinstance(tail, theory.Pareto) else x
            expected = integrate.quad(
                lambda z, x=x, power=power: (z - x) ** power * density(z),
                start,
                end,
                epsabs=0,
                epsrel=1e-11,
                limit=200,
            )[0]
            np.testing.assert_allclose(value, expected, rtol=1e-9)


@pytest.mark.slow
def test_gaussian_far_out():
    tail, v = theory.Gaussian(), np.array([1.0, 2.999, 3.0, 8.0, 20.0, 37.0])
    with mpmath.workdps(40):
        for x, one, two in zip(v, tail.first_moment(v), tail.second_moment(v), strict=True):
            z = mpmath.mpf(float(x))
            above, density = mpmath.erfc(z / mpmath.sqrt(2)) / 2, mpmath.npdf(z)
            np.testing.assert_allclose(one, float(density - z * above), rtol=2e-14)
            np.testing.assert_allclose(two, float((1 + z * z) * above - z * density), rtol=5e-14)
        for x in (0.05, 1.0, 5.0, 36.0):  # tau up to 1e283
            tau = mpmath.quad(
                lambda u: 1 / (mpmath.npdf(u) - u * mpmath.erfc(u / mpmath.sqrt(2)) / 2),
                mpmath.linspace(0, x, 9) if x < 10 else [28, 31, 33, 34, 35, x],
                maxdegree=6,
            )
            np.testing.assert_allclose(tail.threshold(float(tau)), x, rtol=1e-12)
    assert tail.threshold(math.inf) == math.inf
    assert tail.threshold(0.0) == 0
    assert tail.residual(math.inf) == 0


@pytest.mark.parametrize("tail", SOME, ids=_name)
def test_threshold_solves_the_equation(tail):
    times = np.array([0.2, 1.0, 3.0, 30.0, 200.0])
    moment = jax.jit(lambda v: tail.first_moment(v))
    solution = integrate.solve_ivp(
        lambda _, v: np.asarray(moment(v)), (0, 200), [0.0], t_eval=times, rtol=1e-10, atol=1e-13
    ).y[0]
    np.testing.assert_allclose(tail.threshold(times), solution, rtol=1e-8)
    tau = jnp.asarray([0.3, 2.0, 50.0, 1e4])
    rate = jax.vmap(jax.grad(lambda x: tail.threshold(x)))(tau)
    np.testing.assert_allclose(rate, tail.first_moment(tail.threshold(tau)), rtol=1e-6)
    np.testing.assert_allclose(
        tail.residual(tau), tail.second_moment(tail.threshold(tau)), rtol=1e-6
    )


@pytest.mark.parametrize("tail", TAILS[1:], ids=_name)
def test_exponent(tail):
    tau = np.array([1e6, 1e8])
    slope = -np.diff(np.log(tail.residual(tau)))[0] / math.log(100)
    law = theory.universal_law(float(tail.tail_index))
    assert abs(slope - law) < 2e-6
    assert (abs(slope - 1) < 1e-6) == isinstance(tail, theory.Laplace)


def test_gaussian_logarithms():
    tail, tau = theory.Gaussian(), np.array([10.0, 1e2, 1e4, 1e8, 1e12])
    scale, n = 0.3, 100.0
    loss = theory.interference_loss(
        tau / 0.7, scale=scale, bias_learning_rate=0.7, n_features=n, tail=tail
    )
    constant = loss * tau * tail.threshold(tau) ** 2 / (scale**2 * n)
    np.testing.assert_allclose(constant, [0.33, 0.63, 0.80, 0.90, 0.93], atol=0.005)
    decades = -np.diff(np.log10(tail.residual(10.0 ** np.arange(6))))
    np.testing.assert_allclose(decades, [0.86, 1.223, 1.18, 1.13, 1.10], atol=0.006)
    local = -jax.grad(lambda x: jnp.log(tail.residual(jnp.exp(x))))(math.log(1e11))
    np.testing.assert_allclose(local, 1.04, atol=0.005)


def test_loss_at_the_start():
    scale = theory.interference_scale(latent_size=64, gain=1.3, energy=1.0)
    np.testing.assert_allclose(scale, 1.3 / 8, rtol=1e-14)
    options = {"scale": scale, "bias_learning_rate": 1.0, "n_features": 4096}
    loss = theory.interference_loss(np.array([0.0, math.inf]), **options)
    np.testing.assert_allclose(loss, [4096 * 1.3**2 / (4 * 64), 0.0], rtol=1e-13)
    options["n_features"] = jnp.asarray([math.inf, 5.0])  # of an array: a plain one is refused
    assert not np.any(theory.interference_loss(math.inf, **options))
    slope = jax.grad(
        lambda eta: theory.interference_loss(
            math.inf, scale=1.0, bias_learning_rate=eta, n_features=1
        )
    )(1.0)
    assert slope == 0


def test_gain():
    np.testing.assert_allclose(theory.matched_gain(64), 1 / (1 - 1.8 / 8), rtol=1e-14)
    np.testing.assert_allclose(theory.matched_gain(np.array([32, 64])), [1.4667, 1.2903], rtol=1e-4)


@pytest.mark.parametrize(
    "tail",
    [pytest.param(theory.Gaussian(), marks=pytest.mark.slow), theory.Pareto(4.0)],
    ids=_name,
)
@pytest.mark.parametrize(("a", "b"), [pytest.param(1.1, 0.0, marks=pytest.mark.slow), (2.0, 1.0)])
def test_window(tail, a, b):
    n, k, gain, eta = 4096, 64, 1.3, 0.5
    window = theory.interference_window(
        latent_size=k,
        gain=gain,
        bias_learning_rate=eta,
        n_features=n,
        frequency_exponent=a,
        importance_exponent=b,
        tail=tail,
    )
    np.testing.assert_allclose(window.opens, 10.0)
    i = np.arange(1, n + 1.0)
    p, target, scale = i**-a / math.fsum(i**-a), i**-b, gain / 8
    tau = np.geomspace(5, 1e7, 6000)  # 0.24 % apart
    false = n * scale**2 / 2 * np.asarray(tail.residual(tau))
    active = np.maximum(gain - scale * np.asarray(tail.threshold(tau)), 0)
    mean = p @ target
    signal = 0.5 * ((active - mean) ** 2 + p @ (target - mean) ** 2)
    expected = tau[np.argmax(false <= signal)]
    np.testing.assert_allclose(window.closes * eta, expected, rtol=0.01)
    at = tau[100]
    direct = np.sum(p * (max(gain - scale * float(tail.threshold(at)), 0) - target) ** 2) / 2
    np.testing.assert_allclose(signal[100], direct, rtol=1e-9)


@pytest.mark.slow
def test_empty_and_endless_windows():
    options = {
        "bias_learning_rate": 1.0,
        "frequency_exponent": 1.5,
        "importance_exponent": 1.0,
        "latent_size": 64,
    }
    empty = theory.interference_window(n_features=64, gain=1.3, **options)
    assert empty.opens == empty.closes == 5
    endless = theory.interference_window(
        n_features=4096, gain=1.3, tail=theory.Pareto(2.01), **options
    )
    assert endless.closes == math.inf
    several = theory.interference_window(
        n_features=4096, gain=np.array([1.0, 1.3]), energy=np.ones((3, 1)), **options
    )
    assert several.closes.shape == (3, 2)


def test_reduced_equation_is_the_flow_of_a_bias():
    # gradient flow of E relu(s z + beta)^2 / 2 over 20 000 fixed quantiles of the Laplace law
    q = (np.arange(20_000) + 0.5) / 20_000
    z = np.where(q < 0.5, np.log(2 * q), -np.log(2 * (1 - q)))
    s, eta = 0.4, 0.8
    times = np.array([1.0, 10.0, 40.0])
    beta = integrate.solve_ivp(
        lambda _, b: [-eta * np.mean(np.maximum(s * z + b[0], 0))],
        (0, 40),
        [0.0],
        t_eval=times,
        rtol=1e-8,
        atol=1e-10,
    ).y[0]
    loss = [0.5 * np.mean(np.maximum(s * z + b, 0) ** 2) for b in beta]
    value = theory.interference_loss(
        times, tail=theory.Laplace(), scale=s, bias_learning_rate=eta, n_features=1
    )
    np.testing.assert_allclose(value, loss, rtol=2e-2)


GOOD = {"scale": 0.1, "bias_learning_rate": 1.0, "n_features": 9}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.Pareto(2.0), "`index` must be above 2 and finite, got 2.0"),
        (lambda: theory.Bounded(0.0), "`order` must be above 0 and finite, got 0.0"),
        (lambda: theory.universal_law(0.5), "`tail_index` must be below 1/2, got 0.5"),
        (lambda: theory.matched_gain(3), "`latent_size` must be above `threshold` squared .*got 3"),
        (lambda: theory.interference_loss(-1.0, **GOOD), "`time` must be at least 0, got -1.0"),
        (
            lambda: theory.interference_loss(1.0, **{**GOOD, "bias_learning_rate": 0.0}),
            "`bias_learning_rate` must be positive and finite, got 0.0",
        ),
        (
            lambda: theory.interference_scale(latent_size=4, gain=-1.0, energy=1.0),
            "`gain` must be at least 0 and finite, got -1.0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
