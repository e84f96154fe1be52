"""The linear bottleneck against brute-force descent, and the scales estimated without a matrix."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jaxscale.superposition import theory


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def _random(k, n, seed=0):
    w = np.random.default_rng(seed).standard_normal((k, n))
    return w / np.linalg.norm(w, axis=0)


def _tight(k, n, seed=0):
    """Unit columns and orthogonal rows, by alternating projections."""
    w = _random(k, n, seed)
    for _ in range(400):
        u, _, v = np.linalg.svd(w, full_matrices=False)
        w = u @ v * math.sqrt(n / k)
        w /= np.linalg.norm(w, axis=0)
    return w


def _problem(a, b, n, loss_weighted):
    i = np.arange(1, n + 1.0)
    p = i**-a / math.fsum(i**-a)
    ones = np.ones(n)
    return (4 / 3 * p, p, *((ones, i ** (-2 * b)) if loss_weighted else (i**-b, ones)))


def _descend(w, target, weight, sigma, eta, start, record):
    gram, moment = (w * weight) @ w.T, w @ sigma @ w.T
    drive = (w * (weight * target)) @ sigma @ w.T
    b, losses, matrices = start.copy(), [], []
    for step in range(record[-1] + 1):
        if step in record:
            gap = w.T @ b @ w - np.diag(target)
            losses.append(0.5 * np.sum(weight[:, None] * (gap @ sigma) * gap))
            matrices.append(b)
        b = b - eta * (gram @ b @ moment - drive)
    return np.array(losses), np.array(matrices)


RECORD = [0, 1, 10, 100, 1500]


@pytest.mark.parametrize(
    ("loss_weighted", "full"),
    [
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
        (True, True),
    ],
)
@pytest.mark.parametrize(
    ("embedding", "a", "b"), [(_random, 1.1, 0.0), (_tight, 1.5, 0.5), (_random, 2.0, 1.0)]
)
def test_descent_step_by_step(embedding, a, b, loss_weighted, full):
    k, n = 10, 32
    w = embedding(k, n)
    moment, p, target, weight = _problem(a, b, n, loss_weighted)
    sigma = np.diag(moment)
    if full:
        sigma = np.diag(moment - p**2) + np.outer(p, p)  # Bernoulli, u uniform on (0, 2)
    options = {
        "frequency_exponent": a,
        "importance_exponent": b,
        "loss_weighted": loss_weighted,
        "covariance": sigma if full else None,
    }
    limit = theory.max_learning_rate(w, **options)
    g, m = ((w * weight) @ w.T), w @ sigma @ w.T
    expected = 2 / (np.linalg.eigvalsh(g)[-1] * np.linalg.eigvalsh(m)[-1])
    np.testing.assert_allclose(limit, expected, rtol=1e-12)
    options["learning_rate"] = 0.8 * float(limit)
    start = 0.5 * np.random.default_rng(1).standard_normal((k, k))
    time = np.array(RECORD, float)
    for initial in (None, start):
        losses, matrices = _descend(
            w,
            target,
            weight,
            sigma,
            options["learning_rate"],
            np.zeros((k, k)) if initial is None else initial,
            RECORD,
        )
        value = theory.bottleneck_loss(time, w, initial_matrix=initial, discrete=True, **options)
        np.testing.assert_allclose(value, losses, rtol=1e-12)
        if initial is None:
            continue
        value = theory.bottleneck_matrix(time, w, initial_matrix=initial, discrete=True, **options)
        np.testing.assert_allclose(value, matrices, rtol=1e-9, atol=1e-10)
    last = np.array([1e5, 1e6, 1e8, 1e9, math.inf])
    late = theory.bottleneck_loss(last, w, discrete=True, **options)
    del options["learning_rate"]
    floor = theory.bottleneck_floor(w, **options)
    gap = w.T @ np.linalg.solve(g, (w * (weight * target)) @ sigma @ w.T) @ np.linalg.inv(m) @ w
    gap = gap - np.diag(target)
    np.testing.assert_allclose(
        floor, 0.5 * np.sum(weight[:, None] * (gap @ sigma) * gap), rtol=1e-9
    )
    np.testing.assert_allclose(late[3:], floor, rtol=1e-13)
    assert np.all(np.diff(late) <= 1e-15)


def test_flow():
    w = _random(6, 20)
    moment, _, target, _ = _problem(1.5, 0.5, 20, False)
    options = {"frequency_exponent": 1.5, "importance_exponent": 0.5, "learning_rate": 0.7}
    gram, m, drive = w @ w.T, (w * moment) @ w.T, (w * moment * target) @ w.T
    times = np.array([1.0, 10.0, 60.0])
    solution = integrate.solve_ivp(
        lambda _, b: -0.7 * (gram @ b.reshape(6, 6) @ m - drive).ravel(),
        (0, 60),
        np.zeros(36),
        t_eval=times,
        rtol=1e-11,
        atol=1e-13,
        method="DOP853",
    ).y.T.reshape(-1, 6, 6)
    np.testing.assert_allclose(theory.bottleneck_matrix(times, w, **options), solution, atol=1e-9)
    flow = theory.bottleneck_loss(times, w, **options)
    gaps = [
        theory.bottleneck_loss(times * k, w, discrete=True, **{**options, "learning_rate": 0.7 / k})
        / flow
        - 1
        for k in (100, 200)
    ]
    np.testing.assert_allclose(gaps[0] / gaps[1], 2, atol=0.05)  # first order in the step


def test_stability_limit():
    w = _random(12, 40)
    options = {"frequency_exponent": 1.5, "importance_exponent": 0.5}
    limit = theory.max_learning_rate(w, **options)
    start = theory.bottleneck_loss(0.0, w, learning_rate=1.0, **options)
    ends = [
        theory.bottleneck_loss(2e4, w, learning_rate=f * limit, discrete=True, **options)
        for f in (0.98, 1.02)
    ]
    assert ends[0] < start
    assert ends[1] > 1e100


@pytest.mark.parametrize(
    ("loss_weighted", "discrete"),
    [pytest.param(False, True, marks=pytest.mark.slow), (True, False)],
)
def test_identity_is_the_sequential_law(loss_weighted, discrete):
    for a, b in ((1.1, 0.0), (2.0, 1.0)):
        options = {
            "frequency_exponent": a,
            "importance_exponent": b,
            "learning_rate": 0.9,
            "loss_weighted": loss_weighted,
            "discrete": discrete,
        }
        time = np.array([0.0, 1.0, 10.0, 1e3, 1e4])
        expected = theory.sequential_loss(time, n_features=64, **options)
        value = theory.bottleneck_loss(time, np.eye(64), **options)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        start = 0.3 * np.eye(64)
        value = theory.bottleneck_loss(time, np.eye(64), initial_matrix=start, **options)
        expected = theory.sequential_loss(time, n_features=64, initial_strength=0.3, **options)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        turned = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0]
        del options["learning_rate"], options["discrete"]
        assert theory.bottleneck_floor(turned, **options) < 1e-28


@pytest.mark.slow
def test_empty_rows_and_more_rows_than_features():
    small = _random(5, 14)
    padded = np.concatenate([small, np.zeros((3, 14))])
    start = np.random.default_rng(1).standard_normal((8, 8))
    options = {"frequency_exponent": 1.5, "importance_exponent": 0.5, "learning_rate": 0.4}
    time = np.array([0.0, 3.0, 1e3, math.inf])
    for discrete in (True,):
        one = theory.bottleneck_loss(
            time, small, initial_matrix=start[:5, :5], discrete=discrete, **options
        )
        two = theory.bottleneck_loss(
            time, padded, initial_matrix=start, discrete=discrete, **options
        )
        np.testing.assert_allclose(two, one, rtol=1e-13)
        moved = theory.bottleneck_matrix(
            time, padded, initial_matrix=start, discrete=discrete, **options
        )
        np.testing.assert_allclose(moved[:, 5:, 5:], np.broadcast_to(start[5:, 5:], (4, 3, 3)))

    wide = _random(9, 4)  # every target can be reached
    assert theory.bottleneck_floor(wide, frequency_exponent=1.5, importance_exponent=0.5) < 1e-28


@pytest.mark.slow
def test_gradients_of_degenerate_embeddings():
    padded = np.concatenate([_random(5, 14), np.zeros((3, 14))])
    start = np.random.default_rng(1).standard_normal((8, 8))
    time = np.array([0.0, 3.0, 1e3])

    def call(x, w, start):
        return jnp.sum(
            theory.bottleneck_loss(
                time,
                w,
                frequency_exponent=x[0],
                importance_exponent=x[1],
                learning_rate=x[2],
                initial_matrix=start,
            )
        )

    x = jnp.asarray([1.5, 0.5, 0.4])
    for w, b in ((padded, start), (np.eye(4), start[:4, :4])):
        gradient = jax.jit(jax.grad(call, (0, 1, 2)))
        gradients = gradient(x, jnp.asarray(w), jnp.asarray(b))
        assert all(np.all(np.isfinite(g)) for g in gradients)
    # degenerate G: against differences along a direction
    for w in (_tight(4, 8), np.eye(4)):
        w = jnp.asarray(w)
        turn = jnp.asarray(np.random.default_rng(2).standard_normal(w.shape))
        b = jnp.asarray(start[:4, :4])
        call_jit = jax.jit(call)
        slope = (call_jit(x, w + 1e-6 * turn, b) - call_jit(x, w - 1e-6 * turn, b)) / 2e-6
        gradient = jax.jit(jax.grad(call, 1))(x, w, b)
        np.testing.assert_allclose(jnp.sum(gradient * turn), slope, rtol=1e-6)


def test_mean_floor():
    for a in (1.1, 2.0):  # columns are exchangeable: (1 - K/N) L(0) for any a, b = 0
        options = {"frequency_exponent": a, "importance_exponent": 0.0}
        floors = jax.vmap(lambda w: theory.bottleneck_floor(w, **options))(  # noqa: B023
            np.stack([_random(8, 32, seed) for seed in range(200)])
        )
        ratio = np.asarray(floors) / (2 / 3)
        z = (ratio.mean() - 0.75) / (ratio.std(ddof=1) / math.sqrt(200))
        assert abs(z) < 3.6
        assert abs(ratio.mean() - 0.75) < 0.03


@pytest.mark.parametrize("n", [60, 2000])
@pytest.mark.parametrize("a", [0.0, 1.1, 2.0])
def test_shared_progress(n, a):
    i = np.arange(1, n + 1.0)
    moment = 0.9 * 1.1 * i**-a / math.fsum(i**-a)
    fraction = np.array([[0.1], [0.5], [1.0]])
    latent = np.array([3, 50])
    value = theory.shared_progress_time(
        latent_size=latent,
        fraction=fraction,
        frequency_exponent=a,
        n_features=n,
        learning_rate=0.3,
        second_moment=1.1,
        mean_active=0.9,
    )
    assert value.shape == (3, 2)
    progress = np.sum(-np.expm1(-0.3 * moment * np.asarray(value)[..., None]), axis=-1)
    np.testing.assert_allclose(progress, fraction * latent, rtol=1e-12)


def test_shared_progress_without_end():
    options = {"frequency_exponent": 1.1, "n_features": 8, "learning_rate": 1.0}
    assert theory.shared_progress_time(latent_size=jnp.asarray(8.0), **options) == math.inf
    # quoted: tight, N = 128, K = 64, a = 1.1, 33..107 at the largest stable learning rate
    options = {"frequency_exponent": 1.1, "n_features": 128}
    eta = theory.random_max_learning_rate(latent_size=64, tight=True, **options) / 2
    value = theory.shared_progress_time(
        latent_size=64, fraction=np.array([0.5, 1.0]), learning_rate=eta, **options
    )
    np.testing.assert_allclose(value, [33, 107], rtol=0.03)


# the estimate over the mean of two exact values, bounds from measurements
@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "n", "tight", "low", "high"),
    [
        (16, 64, False, 0.75, 1.0),
        (64, 256, False, 0.93, 1.0),
        (128, 256, False, 0.93, 1.01),
        (32, 64, True, 0.9, 1.06),
        (32, 128, True, 0.9, 1.06),
    ],
)
def test_estimated_learning_rate(k, n, tight, low, high):
    for a in (1.1, 1.5, 2.0):
        for options in (
            {"frequency_exponent": a},
            {"frequency_exponent": a, "importance_exponent": 0.7, "loss_weighted": True},
        ):
            exact = [
                theory.max_learning_rate((_tight if tight else _random)(k, n, s), **options)
                for s in range(2)
            ]
            estimate = theory.random_max_learning_rate(
                latent_size=k, n_features=n, tight=tight, **options
            )
            ratio = float(estimate / np.mean(exact))
            slack = 0.1 if options.get("loss_weighted") else 0.0
            assert low < ratio < high + slack, (a, options, ratio)


GOOD = {"frequency_exponent": 1.5, "importance_exponent": 0.5, "learning_rate": 1.0}
W = _random(2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.bottleneck_loss(-1.0, W, **GOOD), "`time` must be at least 0, got -1.0"),
        (
            lambda: theory.bottleneck_loss(1.0, W, **GOOD, covariance=np.eye(3)),
            r"`covariance` must have shape \(4, 4\) .*got \(3, 3\)",
        ),
        (
            lambda: theory.bottleneck_loss(1.0, W, **GOOD, initial_matrix=np.eye(4)),
            r"`initial_matrix` must have shape \(2, 2\) .*got \(4, 4\)",
        ),
        (
            lambda: theory.bottleneck_loss(1.0, np.ones((2, 2, 4)), **GOOD),
            r"`embedding` must be a matrix \(K, N\), got shape \(2, 2, 4\)",
        ),
        (
            lambda: theory.bottleneck_loss(1.0, np.ones(4), **GOOD),
            r"`embedding` must be a matrix \(K, N\), got shape \(4,\)",
        ),
        (
            lambda: theory.bottleneck_loss(1.0, W, **{**GOOD, "learning_rate": np.ones(3)}),
            r"`learning_rate` must be a scalar, got shape \(3,\); use vmap",
        ),
        (
            lambda: theory.bottleneck_matrix(1.0, W, **{**GOOD, "learning_rate": -1.0}),
            "`learning_rate` must be positive and finite, got -1.0",
        ),
        (
            lambda: theory.bottleneck_floor(W, frequency_exponent=-1.0, importance_exponent=0.0),
            "`frequency_exponent` must be at least 0",
        ),
        (
            lambda: theory.shared_progress_time(
                latent_size=9, frequency_exponent=1.1, n_features=9, learning_rate=1.0
            ),
            "`latent_size` must be below `n_features` = 9 .*, got 9",
        ),
        (
            lambda: theory.shared_progress_time(
                latent_size=2, fraction=0.0, frequency_exponent=1.1, n_features=9, learning_rate=1.0
            ),
            "`fraction` must be positive and finite, got 0.0",
        ),
        (
            lambda: theory.random_max_learning_rate(
                latent_size=0.5, frequency_exponent=1.1, n_features=9
            ),
            "`latent_size` must be at least 1 and finite, got 0.5",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
