"""Gradients, vmap and float32 of every public function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.superposition import theory

# the compiler takes longer than the program
FAST_COMPILE = {
    "compiler_options": {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
}
W = np.random.default_rng(0).standard_normal((4, 9)) / 2
EXPONENTS = {"frequency_exponent": 1.3, "importance_exponent": 0.4}
INPUTS = {"second_moment": 1.2, "mean_active": 0.9}
RATES = {**EXPONENTS, "learning_rate": 0.6, **INPUTS}
WINDOW = {"latent_size": 64.0, "gain": 1.3, "bias_learning_rate": 0.7, **EXPONENTS, "energy": 1.1}


def _embedded(name, **options):
    def call(**x):
        scaled = {k: v for k, v in x.items() if k != "size"}
        w = jnp.asarray(W, jnp.asarray(x["size"]).dtype) * x["size"]
        value = getattr(theory, name)(embedding=w, **scaled, **options)
        return value if value.ndim == 0 else value[1, 2]

    return call


# name, function of floats only, its float arguments
CASES = {
    "loss": (
        lambda **x: theory.sequential_loss(**x, n_features=40),
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "loss_steps": (
        lambda **x: theory.sequential_loss(**x, n_features=40, discrete=True),
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "loss_weighted": (
        lambda **x: theory.sequential_loss(**x, n_features=40, loss_weighted=True),
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "strength": (
        lambda **x: theory.sequential_strength(**x, n_features=40),
        {"time": 30.0, "rank": 5.0, **RATES, "initial_strength": 0.2},
    ),
    "sgd_loss": (
        lambda **x: theory.sgd_loss(**x, n_features=40),
        {
            "time": 30.0,
            "batch_size": 6.0,
            **EXPONENTS,
            "learning_rate": 0.6,
            "second_moment": 1.2,
            "fourth_moment": 3.0,
            "initial_strength": 0.2,
        },
    ),
    "law": (lambda **x: theory.sequential_law(**x)(30.0), {**EXPONENTS, **INPUTS}),
    "asymptote": (
        lambda **x: theory.sequential_loss_asymptote(**x, n_features=40),
        {"time": 60.0, **RATES},
    ),
    "asymptote_late": (
        lambda **x: theory.sequential_loss_asymptote(**x, n_features=40),
        {"time": 900.0, **RATES},
    ),
    "local": (
        lambda **x: theory.sequential_local_exponent(**x, n_features=40),
        {"time": 60.0, **RATES},
    ),
    "local_late": (
        lambda **x: theory.sequential_local_exponent(**x, n_features=40),
        {"time": 900.0, **RATES},
    ),
    "bottleneck": (_embedded("bottleneck_loss"), {"time": 9.0, "size": 1.1, **RATES}),
    "bottleneck_steps": (
        _embedded("bottleneck_loss", discrete=True, loss_weighted=True),
        {"time": 9.0, "size": 1.1, **RATES},
    ),
    "matrix": (_embedded("bottleneck_matrix"), {"time": 9.0, "size": 1.1, **RATES}),
    "floor": (
        _embedded("bottleneck_floor", loss_weighted=True),
        {"size": 1.1, **EXPONENTS, **INPUTS},
    ),
    "rate": (
        _embedded("max_learning_rate", loss_weighted=True),
        {"size": 1.1, **EXPONENTS, **INPUTS},
    ),
    "shared": (
        lambda **x: theory.shared_progress_time(**x, n_features=40),
        {
            "latent_size": 16.0,
            "fraction": 0.7,
            "frequency_exponent": 1.3,
            "learning_rate": 0.6,
            **INPUTS,
        },
    ),
    "random_rate": (
        lambda **x: theory.random_max_learning_rate(**x, n_features=40, loss_weighted=True),
        {"latent_size": 16.0, **EXPONENTS, **INPUTS},
    ),
    "interference": (
        theory.interference_loss,
        {"time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 99.0},
    ),
    "pareto": (
        lambda index, **x: theory.interference_loss(tail=theory.Pareto(index), **x),
        {"index": 4.0, "time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 9.0},
    ),
    "bounded": (
        lambda order, **x: theory.interference_loss(tail=theory.Bounded(order), **x),
        {"order": 4.0, "time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 9.0},
    ),
    "scale": (theory.interference_scale, {"latent_size": 16.0, "gain": 1.3, "energy": 1.1}),
    "gain": (theory.matched_gain, {"latent_size": 16.0, "threshold": 1.7}),
    "universal": (theory.universal_law, {"tail_index": 0.2}),
    "window": (lambda **x: theory.interference_window(**x, n_features=4096).closes, WINDOW),
}
UNUSED = {("floor", "size")}  # the floor depends on the row space only
SLOW = {
    "bottleneck_steps",
    "loss_weighted",
    "pareto",
    "shared",
    "floor",
    "asymptote",
    "asymptote_late",
    "bottleneck",
    "local",
    "local_late",
    "matrix",
    "window",
}
TOLERANCE = {"window": 2e-2}  # piecewise linear between the points of its grid


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
        alone = call(list(map(float, x)))
    assert batch.dtype == np.float64
    np.testing.assert_allclose(batch[0], alone, rtol=1e-11)
    slope = (batch[2::2] - batch[1::2]) / (2 * step)
    scale = abs(batch[0]) / x
    tolerance = TOLERANCE.get(name, 2e-6)
    np.testing.assert_allclose(gradient / scale, slope / scale, atol=tolerance, rtol=tolerance)
    active = [(name, key) not in UNUSED for key in keys]  # every argument matters
    np.testing.assert_array_equal(np.abs(gradient / scale) > 1e-9, active)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"):
        single = call([jnp.float32(v) for v in x])
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, batch[0], rtol=1e-4)


def test_shapes_broadcast():
    options = {"importance_exponent": 0.5, "learning_rate": 0.5}
    time, a = np.ones((3, 1)), np.array([1.1, 1.5])
    loss = theory.sequential_loss(time, frequency_exponent=a, n_features=5, **options)
    assert loss.shape == (3, 2)
    assert theory.bottleneck_loss(time, W, frequency_exponent=1.1, **options).shape == (3, 1)
    assert theory.interference_loss(
        time, scale=a, bias_learning_rate=1, n_features=3, tail=theory.Pareto(np.array([3.0, 4.0]))
    ).shape == (3, 2)
