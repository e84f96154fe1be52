"""Infinite arguments have values and gradients, and shapes broadcast."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.emergence import theory

DYNAMICS = {"learning_rate": 0.7, "target_scale": 1.5, "initial_strength": 0.03}


@pytest.mark.slow
def test_infinite_arguments_have_finite_gradients():
    sizes = np.array(
        [(t, d, n) for t in (30.0, math.inf) for d in (50.0, math.inf) for n in (7.0, math.inf)]
    )

    def call(size, rest):
        names = ("skill_exponent", *DYNAMICS)
        options = dict(zip(names, rest, strict=True))
        return theory.loss(*size, **options)

    with jax.enable_x64(True):
        rest = jnp.asarray([0.6, 0.7, 1.5, 0.03])
        both = jax.vmap(jax.value_and_grad(call, (0, 1)), (0, None))
        both = jax.jit(both)  # heavy enough to be worth optimising
        value, gradients = both(jnp.asarray(sizes), rest)
        for size, v in zip(sizes, value, strict=True):  # plain numbers, as a user writes them
            np.testing.assert_allclose(call(map(float, size), rest), v, rtol=1e-11, atol=1e-14)
    value = np.asarray(value).reshape(2, 2, 2)
    assert all(np.all(np.isfinite(np.asarray(g))) for g in gradients)
    assert np.all(np.diff(value, axis=0) < 0)  # more of anything is better
    assert np.all(np.diff(value, axis=1) < 0)
    assert np.all(np.diff(value, axis=2) < 0)
    assert value[-1, -1, -1] == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: theory.skill_strength(x, 0.3),
        lambda x: theory.data_emergence(x, 0.3, 2.5),
        lambda x: theory.data_emergence(x, 0.3, 2.5, learner="threshold"),
        lambda x: theory.time_parameter_loss(x, 9.0, skill_exponent=0.6),
        lambda x: theory.time_parameter_loss(9.0, x, skill_exponent=0.6),
        lambda x: theory.data_parameter_loss(x, 9.0, skill_exponent=0.6),
        lambda x: theory.parameter_loss(x, skill_exponent=0.6),
        lambda x: theory.width_loss(x, skill_exponent=0.6),
    ],
)
def test_traced_infinity(function):
    with jax.enable_x64(True):
        value, slope = jax.jit(jax.value_and_grad(function))(math.inf)
        np.testing.assert_allclose(value, function(math.inf), rtol=1e-12)
        assert jnp.isfinite(value)
        assert slope == 0


def test_shapes_broadcast():
    time = np.array([[1.0], [10.0]])
    assert theory.loss(time, math.inf, np.arange(3), skill_exponent=0.6, n_skills=4).shape == (2, 3)
    assert theory.optimal_allocation(np.ones(3), skill_exponent=0.6).loss.shape == (3,)
    assert theory.time_law(skill_exponent=np.ones((2, 1)))(1.0).shape == (2, 1)
    assert theory.width_emergence(np.ones(2), 5).shape == (2, 5)
