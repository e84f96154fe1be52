"""Mean over data and features of optimizers and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxscale as js

S, T = js.streaming, js.streaming.theory
AT = {"input_exponent": 0.8, "target_exponent": 0.9, "noise": 0.2, "batch_size": 2.0}
TIMES = np.array([0, 50, 100, 400])
WARM = js.WarmUp(n_warm_up=30, then=js.LinearDecay(final_ratio=0.1))


def test_it_is_the_loss_of_sgd(x64):
    at = {**AT, "learning_rate": 0.14}
    steps = T.mean_optimizer_loss(TIMES, 64.0, optimizer=js.Sgd(), **at)
    np.testing.assert_allclose(steps, T.loss(TIMES, 64.0, **at), rtol=1e-9)


@pytest.mark.parametrize("optimizer", [js.Sgd(momentum=0.9), S.ScheduleFree()])
def test_it_is_what_is_predicted(x64, optimizer):
    fields = {**AT, "learning_rate": 0.02, "optimizer": optimizer, "schedule": WARM}
    one = S.StreamingRegression(
        **{**fields, "batch_size": 2}, n_features=64, n_steps=400, record=TIMES.tolist()
    )
    predicted = js.predict(js.Grid(one))["loss"].values.ravel()
    np.testing.assert_allclose(T.mean_optimizer_loss(TIMES, 64.0, **fields), predicted, rtol=1e-12)
    early = T.mean_optimizer_loss(TIMES[:3], 64.0, n_steps=400, **fields)
    np.testing.assert_allclose(early, predicted[:3], rtol=1e-12)


def test_a_momentum_has_a_slope(x64):
    def last(momentum):
        at = {**AT, "learning_rate": 0.02, "optimizer": js.Sgd(momentum=momentum)}
        return T.mean_optimizer_loss(100, 64.0, **at)

    slope, step = jax.grad(last)(jnp.asarray(0.5)), 1e-5
    expected = (last(0.5 + step) - last(0.5 - step)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": S.Dana(decay=0.6)}, "`optimizer` Dana"),
        ({"optimizer": js.Adam()}, "`optimizer` must have a step that is linear"),
        ({"learning_rate": np.ones(2)}, "`learning_rate` must be a scalar"),
        ({"time": 0.5}, "`time` must be whole steps"),
        ({"n_features": 0.0}, "`n_features`"),
    ],
)
def test_bad_input_is_refused(x64, given, words):
    at = {"time": TIMES, "n_features": 64.0, "optimizer": js.Sgd(), "learning_rate": 0.1, **AT}
    with pytest.raises(ValueError, match=words):
        T.mean_optimizer_loss(**{**at, **given})
