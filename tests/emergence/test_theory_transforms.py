"""Gradients, vmap, dtypes and infinities of every public function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.emergence import theory

# the compiler takes longer than the program
FAST_COMPILE = {
    "compiler_options": {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
}
DYNAMICS = {"learning_rate": 0.7, "target_scale": 1.5, "initial_strength": 0.03}
START = {"target_scale": 1.5, "initial_strength": 0.03}
EXPONENT = {"skill_exponent": 0.6}

# name, function of floats only, its float arguments
CASES = {
    "probabilities": (
        lambda skill_exponent: theory.skill_probabilities(skill_exponent, 6)[3],
        EXPONENT,
    ),
    "strength": (theory.skill_strength, {"time": 9.0, "probability": 0.3, **DYNAMICS}),
    "emergence_time": (theory.emergence_time, {"probability": 0.3, **DYNAMICS, "fraction": 0.4}),
    "minimum_norm": (
        lambda **x: theory.data_emergence(**x, learner="minimum_norm"),
        {"n_samples": 80_000.3, "probability": 0.1, "shots": 7990.4},
    ),
    "paper": (
        lambda **x: theory.data_emergence(**x, learner="paper"),
        {"n_samples": 80.3, "probability": 0.1, "shots": 9.4},
    ),
    "threshold": (
        lambda **x: theory.data_emergence(**x, learner="threshold"),
        {"n_samples": 80.3, "probability": 0.1, "shots": 9.4},
    ),
    "width": (
        lambda **x: theory.width_emergence(n_skills=4, **x)[1],
        {"width": 5.5, "units_per_skill": 3.7},
    ),
    "loss": (
        theory.loss,
        {"time": 2e4, "n_samples": 4000.3, "n_parameters": 2000.4, **EXPONENT, **DYNAMICS},
    ),
    "data_loss": (
        lambda **x: theory.data_loss(**x, n_skills=12),
        {"n_samples": 200.3, **EXPONENT, "shots": 9.4, "target_scale": 1.5},
    ),
    "width_loss": (
        theory.width_loss,
        {"width": 9.5, **EXPONENT, "units_per_skill": 2.7, "target_scale": 1.5},
    ),
    "time_law": (lambda **x: theory.time_law(**x)(30.0), {**EXPONENT, **START}),
    "data_law": (lambda **x: theory.data_law(**x)(30.0), {**EXPONENT, **START, "shots": 4.0}),
    "minimum_norm_law": (
        lambda **x: theory.data_law(**x, learner="minimum_norm")(30.0),
        {**EXPONENT, **START, "shots": 4.0},
    ),
    "parameter_law": (lambda **x: theory.parameter_law(**x)(30.0), {**EXPONENT, **START}),
    "compute_law": (lambda **x: theory.compute_law(**x)(30.0), {**EXPONENT, **START}),
    "time_parameter": (
        lambda **x: theory.time_parameter_loss(**x, n_skills=90),
        {"time": 50.0, "n_parameters": 9.3, **EXPONENT, **DYNAMICS},
    ),
    "time_loss": (
        lambda **x: theory.time_loss(**x, n_skills=90),
        {"time": 50.0, **EXPONENT, **DYNAMICS},
    ),
    "parameter_loss": (
        lambda **x: theory.parameter_loss(**x, n_skills=90),
        {"n_parameters": 9.3, **EXPONENT, "target_scale": 1.5},
    ),
    "data_parameter": (
        theory.data_parameter_loss,
        {"n_samples": 50.0, "n_parameters": 9.3, **EXPONENT, **START},
    ),
    "allocation": (
        lambda **x: theory.optimal_allocation(**x).n_parameters,
        {"compute": 1e4, **EXPONENT, **DYNAMICS},
    ),
    "limiting_allocation": (
        lambda **x: theory.limiting_allocation(**x).loss,
        {"compute": 1e4, **EXPONENT, **DYNAMICS},
    ),
}


SLOW = {  # seconds of compilation; the others share their expectations
    "loss", "data_loss", "compute_law", "minimum_norm", "paper", "allocation", "time_parameter",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_gradient_vmap_and_float32(name):
    function, point = CASES[name]
    keys = list(point)

    def call(x):
        return function(**dict(zip(keys, x, strict=True)))

    x = np.array(list(point.values()))
    step = 2e-5 * x
    stencil = np.stack([x] + [x + i * np.diag(step)[j] for j in range(x.size) for i in (-1, 1)])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        double = jnp.asarray(stencil)
        batch = jax.jit(jax.vmap(lambda row: call(list(row))), **FAST_COMPILE)(double)
        gradient = jax.jit(jax.grad(lambda row: call(list(row))), **FAST_COMPILE)(double[0])
        batch, gradient = np.asarray(batch), np.asarray(gradient)
        loop = [call(list(map(float, row))) for row in stencil[:2]]
    assert batch.dtype == np.float64
    np.testing.assert_allclose(batch[:2], loop, rtol=1e-12)
    slope = (batch[2::2] - batch[1::2]) / (2 * step)
    scale = abs(batch[0]) / x
    np.testing.assert_allclose(gradient / scale, slope / scale, atol=2e-6, rtol=2e-6)
    # every argument matters, except the two that a docstring calls unused
    unused = {"parameter_law", "minimum_norm_law"}
    active = [k != "initial_strength" or name not in unused for k in keys]
    np.testing.assert_array_equal(np.abs(gradient / scale) > 1e-7, active)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"):
        single = call([jnp.float32(v) for v in x])
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, batch[0], rtol=1e-4)


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
        value, slope = jax.jit(jax.value_and_grad(function), **FAST_COMPILE)(math.inf)
        np.testing.assert_allclose(value, function(math.inf), rtol=1e-12)
        assert jnp.isfinite(value)
        assert slope == 0


def test_shapes_broadcast():
    time = np.array([[1.0], [10.0]])
    assert theory.loss(time, math.inf, np.arange(3), skill_exponent=0.6, n_skills=4).shape == (2, 3)
    assert theory.optimal_allocation(np.ones(3), skill_exponent=0.6).loss.shape == (3,)
    assert theory.time_law(skill_exponent=np.ones((2, 1)))(1.0).shape == (2, 1)
    assert theory.width_emergence(np.ones(2), 5).shape == (2, 5)
