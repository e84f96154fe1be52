"""The theory of signSGD: against dense second moments, and against runs."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js

sign_sgd_loss = js.streaming.theory.sign_sgd_loss
TIMES = np.array([0, 1, 10, 100])


def test_modes_are_dense_second_moments(x64):
    """E v v^T of the errors v with the whole matrix of drifts, in no eigenbasis."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((12, 5))
    k, target, omega, eta = mix.T @ mix / 12, rng.standard_normal(5), 0.3, 0.02
    scale = np.diag(k) ** -0.5
    drift, noise = scale[:, None] * k, 2 / np.pi * np.arcsin(scale[:, None] * k * scale)
    np.fill_diagonal(noise, 1.0)
    error = -np.linalg.solve(k, target)
    moments, curve = np.outer(error, error), []
    for _ in range(TIMES[-1] + 1):
        twice = omega + np.trace(k @ moments)
        curve.append(twice / 2)
        change = 2 * eta / np.pi / np.sqrt(twice) * drift @ moments
        moments = moments - change - change.T + eta**2 * noise
    loss = sign_sgd_loss(TIMES, k, target, unreachable=omega, learning_rate=eta)
    np.testing.assert_allclose(loss, np.array(curve)[TIMES], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "noise", "low", "high"),
    [(0.3, 0.1, -0.014, 0.014), (0.8, 0.5, -0.06, 0.01), (1.2, 0.1, -0.35, 0.01)],
)
def test_runs_are_as_far_off_as_documented(alpha, noise, low, high):
    """Mean over 64 runs, relative to the curves of their features, within two standard errors."""
    one = js.streaming.StreamingRegression(
        n_features=64, input_exponent=alpha, target_exponent=0.9, noise=noise, n_coordinates=256,
        learning_rate=0.003, optimizer=js.streaming.SignSgd(), space=js.streaming.Coordinates(),
        n_steps=1000, record=[0, 30, 100, 300, 1000],
    )  # fmt: skip
    grid = js.Grid(one, seeds=64)
    losses = js.run(grid, progress=False)["loss"].values
    cast = js.training.cast(one, one.dtype)

    def exact(key):
        state = cast.init(jr.fold_in(key, js.training.INIT_STREAM))
        g, target = state.problem.features.matrix, state.problem.features.target
        return sign_sgd_loss(
            jnp.asarray(one.record_steps), g.T @ g, g.T @ target, n_steps=1000,
            unreachable=state.modes.unreachable, learning_rate=0.003,
        )  # fmt: skip

    keys = jnp.stack([grid.run_key(seed) for seed in range(64)])
    ratio = losses / np.asarray(jax.jit(jax.vmap(exact))(keys))
    distance, error = ratio.mean(0) - 1, ratio.std(0, ddof=1) / 8
    print(f"{alpha}: {distance.round(4)}, errors {error.round(4)}")
    assert np.all((distance > low - 2 * error) & (distance < high + 2 * error))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"covariance": np.ones((3, 2))}, r"shapes \(d, d\) and \(d,\), got \(3, 2\) and \(3,\)"),
        ({"time": 1.5}, "`time` must be whole steps"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
    ],
)
def test_bad_input(changed, words):
    good = {"time": 3, "covariance": np.eye(3), "target_covariance": np.ones(3)}
    with pytest.raises(ValueError, match=words):
        sign_sgd_loss(**{**good, "unreachable": 0.1, "learning_rate": 0.1, **changed})
