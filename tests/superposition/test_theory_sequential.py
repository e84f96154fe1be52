"""One latent dimension per feature: exact losses against brute force, laws against the sums."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import largest_z

from jaxscale.superposition import theory

EXPONENTS = [(a, b) for a in (1.1, 1.5, 2.0) for b in (0.0, 0.5, 1.0)]


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def _features(a, b, n, loss_weighted=False):
    i = np.arange(1, n + 1.0)
    p = i**-a / math.fsum(i**-a)
    if loss_weighted:
        return p, np.ones(n), i ** (-2 * b)
    return p, i**-b, np.ones(n)


@pytest.mark.parametrize("loss_weighted", [False, True])
@pytest.mark.parametrize(("a", "b"), [(1.1, 0.0), (1.5, 0.5), (2.0, 1.0)])
def test_descent_step_by_step(a, b, loss_weighted):
    p, target, weight = _features(a, b, 50, loss_weighted)
    moment = 0.7 * 1.2 * p
    options = {
        "frequency_exponent": a,
        "importance_exponent": b,
        "n_features": 50,
        "learning_rate": 1.7 / moment[0],  # some modes alternate
        "second_moment": 1.2,
        "mean_active": 0.7,
        "initial_strength": 0.3,
        "loss_weighted": loss_weighted,
    }
    eta, gap = 1.7 / moment[0], 0.3 - target
    record, losses, strengths = [0, 1, 2, 7, 100, 3001], [], []
    for step in range(record[-1] + 1):
        if step in record:
            losses.append(0.5 * math.fsum(weight * moment * gap**2))
            strengths.append(1 + gap / target)
        gap = gap - eta * weight * moment * gap
    time = np.array(record, float)
    value = theory.sequential_loss(time, discrete=True, **options)
    np.testing.assert_allclose(value, losses, rtol=1e-11)
    rank = np.arange(1, 51)
    value = theory.sequential_strength(time[:, None], rank=rank, discrete=True, **options)
    np.testing.assert_allclose(value, strengths, rtol=1e-10, atol=1e-13)
    # the flow is the limit of small steps: the error is of first order
    options["learning_rate"] = 0.2
    flow = theory.sequential_loss(40.0, **options)
    error = [
        theory.sequential_loss(40.0 * k, discrete=True, **{**options, "learning_rate": 0.2 / k})
        / flow
        - 1
        for k in (100, 200)
    ]
    assert 1.9 < error[0] / error[1] < 2.1


def test_stability_limit():
    options = {"frequency_exponent": 1.5, "importance_exponent": 0.5, "n_features": 30}
    p, _, _ = _features(1.5, 0.5, 30)
    limit = 2 / (4 / 3 * p[0])
    start = theory.sequential_loss(0.0, learning_rate=1.0, **options)
    for factor, stable in ((0.98, True), (1.02, False)):
        end = theory.sequential_loss(3e4, learning_rate=factor * limit, discrete=True, **options)
        assert (end < 0.05 * start) == stable
        assert (end > 1e100) != stable
    assert theory.sequential_loss(math.inf, learning_rate=1.0, **options) == 0
    assert theory.sequential_loss(math.inf, learning_rate=1.0, discrete=True, **options) == 0
    exact = theory.sequential_strength(  # eta lambda_1 = 1: learned in one step
        np.array([0.0, 1.0, math.inf]), rank=1, learning_rate=limit / 2, discrete=True, **options
    )
    np.testing.assert_allclose(exact, [0, 1, 1], atol=1e-15)


def test_sgd_mean_against_simulation():
    n, batch, steps, seeds, replicas = 12, 4, 30, 48, 256
    p, target, _ = _features(1.5, 0.5, n)
    eta, start, record = 0.6, 0.1, [1, 5, 15, 30]
    rng = np.random.default_rng(0)
    strength = np.full((seeds * replicas, n), start)
    simulated = []
    for step in range(steps + 1):
        if step in record:
            loss = 0.5 * np.sum(4 / 3 * p * (strength - target) ** 2, axis=1)
            simulated.append(loss.reshape(seeds, replicas).mean(axis=1))
        which = np.searchsorted(np.cumsum(p), rng.random((seeds * replicas, batch)))
        square = (2 * rng.random((seeds * replicas, batch))) ** 2
        z = np.zeros_like(strength)
        np.add.at(z, (np.arange(seeds * replicas)[:, None], np.minimum(which, n - 1)), square)
        strength = strength - eta * z / batch * (strength - target)
    simulated = np.array(simulated)
    mean, error = simulated.mean(axis=1), simulated.std(axis=1, ddof=1) / math.sqrt(seeds)
    options = {
        "batch_size": batch,
        "frequency_exponent": 1.5,
        "importance_exponent": 0.5,
        "n_features": n,
        "learning_rate": eta,
        "initial_strength": start,
    }
    time = np.array(record, float)
    bound = largest_z(seeds, len(record))
    assert np.max(np.abs(mean - theory.sgd_loss(time, **options)) / error) < bound
    # power: without the fluctuation of the amplitudes, and without any noise
    no_fourth = theory.sgd_loss(time, fourth_moment=16 / 9, **options)
    assert np.max(np.abs(mean - no_fourth) / error) > bound
    population = theory.sgd_loss(time, **{**options, "batch_size": math.inf})
    assert np.max(np.abs(mean - population) / error) > bound
    del options["batch_size"]
    np.testing.assert_allclose(
        population, theory.sequential_loss(time, discrete=True, **options), rtol=1e-12
    )


@pytest.mark.parametrize(("a", "b"), EXPONENTS)
def test_asymptote(a, b):
    n = 1024
    options = {
        "frequency_exponent": a,
        "importance_exponent": b,
        "n_features": n,
        "learning_rate": 0.3,
        "mean_active": 0.8,
    }
    p, _, _ = _features(a, b, n)
    c = 0.8 * 4 / 3 * p[0]
    tau = np.array([10.0, 100.0, 300.0, 1000.0, 3000.0])
    time = tau / (0.6 * c)
    exact = theory.sequential_loss(time, **options)
    error = np.abs(theory.sequential_loss_asymptote(time, **options) / exact - 1)
    assert error[0] < 5e-3
    assert np.all(error[1:] < 2e-5)
    assert np.all(error > 1e-13)
    law = theory.sequential_law(
        frequency_exponent=a, importance_exponent=b, n_features=n, mean_active=0.8
    )
    quoted = {(1.1, 0.0): 3.82, (1.5, 0.0): 0.194, (2.0, 0.0): 0.0111, (1.5, 0.5): 0.0031}
    if (a, b) in quoted:
        np.testing.assert_allclose(law(100.0) / exact[1] - 1, quoted[a, b], rtol=0.02)
    np.testing.assert_allclose(law.exponent, (a + 2 * b - 1) / a, rtol=1e-14)
    # many features: the law itself
    many = {**options, "n_features": 30_000}
    if (a, b) in ((1.5, 0.5), (2.0, 0.5), (2.0, 1.0)):
        share, _, _ = _features(a, b, 30_000)
        exact = theory.sequential_loss(1e3 / (0.6 * 0.8 * 4 / 3 * share[0]), **many)
        law = theory.sequential_law(
            frequency_exponent=a, importance_exponent=b, n_features=30_000, mean_active=0.8
        )
        np.testing.assert_allclose(law(1e3), exact, rtol=2e-4)
    # local exponent, up to and beyond the cutoff: a difference of the exact loss
    ends = [theory.sequential_loss(time * f, **options) for f in (0.999, 1.001)]
    slope = -np.log(ends[1] / ends[0]) / math.log(1.001 / 0.999)
    local = theory.sequential_local_exponent(time, **options)
    np.testing.assert_allclose(local[1:], slope[1:], rtol=3e-3)


def test_weighted_law():
    options = {
        "frequency_exponent": 1.4,
        "importance_exponent": 0.3,
        "loss_weighted": True,
        "n_features": 3000,
    }
    time = 2000.0
    exact = theory.sequential_loss(time, learning_rate=1.0, **options)
    near = theory.sequential_loss_asymptote(time, learning_rate=1.0, **options)
    np.testing.assert_allclose(near, exact, rtol=1e-6)
    law = theory.sequential_law(**options)
    np.testing.assert_allclose(law.exponent, 0.5)
    p, _, _ = _features(1.4, 0.3, 3000)
    np.testing.assert_allclose(law(2 * 4 / 3 * p[0] * time), exact, rtol=0.02)
    np.testing.assert_allclose(
        theory.sequential_local_exponent(time, learning_rate=1.0, **options), 0.5, atol=0.02
    )


def test_infinitely_many_features():
    law = theory.sequential_law(frequency_exponent=2.0, importance_exponent=0.5)
    np.testing.assert_allclose(law.prefactor, 4 / 3 * 6 / math.pi**2 / 4, rtol=1e-12)
    np.testing.assert_allclose(law.exponent, 1.0)


def test_local_exponent_of_a_finite_spectrum():
    # quoted: N = 1000, b = 0, tau from 10 to N^a/30
    for a, first, last in ((1.1, 0.26, 0.38), (1.2, 0.28, 0.42), (1.5, 0.36, 0.51)):
        p, _, _ = _features(a, 0.0, 1000)
        tau = np.array([10.0, 1000**a / 30])
        local = theory.sequential_local_exponent(
            tau / (2 * 4 / 3 * p[0]),
            frequency_exponent=a,
            importance_exponent=0.0,
            n_features=1000,
            learning_rate=1.0,
        )
        np.testing.assert_allclose(local, [first, last], atol=0.012)
    x = theory.sequential_local_exponent(
        1e9, frequency_exponent=1.5, importance_exponent=0.0, n_features=10, learning_rate=1.0
    )
    assert jnp.isfinite(x)
    assert x > 1e6


GOOD = {"frequency_exponent": 1.5, "importance_exponent": 0.5, "n_features": 9, "learning_rate": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.sequential_loss(-1.0, **GOOD), "`time` must be at least 0, got -1.0"),
        (
            lambda: theory.sequential_loss(1.0, **{**GOOD, "learning_rate": 0.0}),
            "`learning_rate` must be positive and finite, got 0.0",
        ),
        (
            lambda: theory.sequential_loss(1.0, **{**GOOD, "n_features": 0}),
            "`n_features` must be a finite integer of at least 1, got 0",
        ),
        (
            lambda: theory.sequential_loss(1.0, **{**GOOD, "frequency_exponent": -1.0}),
            "`frequency_exponent` must be at least 0 and finite, got -1.0",
        ),
        (
            lambda: theory.sequential_loss(1.0, **GOOD, second_moment=math.inf),
            "`second_moment` must be positive and finite, got inf",
        ),
        (
            lambda: theory.sequential_loss(1.0, **GOOD, initial_strength=math.nan),
            "`initial_strength` must be finite, got nan",
        ),
        (
            lambda: theory.sequential_strength(1.0, rank=0, **GOOD),
            "`rank` must be at least 1 and finite, got 0",
        ),
        (
            lambda: theory.sgd_loss(1.0, batch_size=0, **GOOD),
            "`batch_size` must be positive, got 0",
        ),
        (
            lambda: theory.sequential_law(frequency_exponent=0.5, importance_exponent=0.1),
            "must be above 1, got 0.5 and 0.1",
        ),
        (
            lambda: theory.sequential_local_exponent(1.0, **{**GOOD, "frequency_exponent": 0.0}),
            "`frequency_exponent` must be positive, got 0.0",
        ),
        (
            lambda: theory.sequential_loss_asymptote(
                1.0, **{**GOOD, "frequency_exponent": 0.5, "importance_exponent": 0.1}
            ),
            "must be at least 1, got 0.5 and 0.1",
        ),
        (
            lambda: theory.sequential_law(frequency_exponent=0.9, importance_exponent=0.5),
            "`frequency_exponent` must be above 1, got 0.9",
        ),
        (
            lambda: theory.sequential_loss_asymptote(1.0, **{**GOOD, "importance_exponent": -0.1}),
            "`importance_exponent` must be at least 0 and finite, got -0.1",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_shapes_broadcast():
    options = {"importance_exponent": 0.5, "learning_rate": 0.5}
    time, a = np.ones((3, 1)), np.array([1.1, 1.5])
    loss = theory.sequential_loss(time, frequency_exponent=a, n_features=5, **options)
    assert loss.shape == (3, 2)
    w = np.ones((4, 9)) / 2
    assert theory.bottleneck_loss(time, w, frequency_exponent=1.1, **options).shape == (3, 1)
    assert theory.interference_loss(
        time, scale=a, bias_learning_rate=1, n_features=3, tail=theory.Pareto(np.array([3.0, 4.0]))
    ).shape == (3, 2)
