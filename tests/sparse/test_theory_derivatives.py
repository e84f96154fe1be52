"""Gradients, vmap, float32 and input checks of every public function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.sparse import theory

# the compiler takes longer than the program
FAST_COMPILE = {
    "compiler_options": {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
}
SPECTRUM = {"spectrum_exponent": 0.8, "sparsity_exponent": 2.1, "activity": 0.9}
SPARSITY = {"sparsity_exponent": 2.1, "activity": 0.9}

# name, function of floats only, its float arguments, tolerance of float32
CASES = {
    "unseen_loss": (theory.unseen_loss, {"n_samples": 700.0, **SPECTRUM}),
    "unseen_law": (lambda **x: theory.unseen_law(**x)(30.0), SPECTRUM),
    "expected_seen": (theory.expected_seen, {"n_samples": 700.0, **SPARSITY}),
    "expected_rank": (theory.expected_rank, {"n_samples": 700.0, **SPARSITY}),
    "dense_delta": (theory.dense_delta, {"n": 30.0, "spectrum_exponent": 0.8}),
    "dense_loss": (
        theory.dense_loss,
        {"n_features": 30.0, "n_samples": 70.0, "spectrum_exponent": 0.8},
    ),
    "loss_below": (theory.loss, {"n_features": 12.0, "n_samples": 700.0, **SPECTRUM}),
    "loss_above": (theory.loss, {"n_features": 90.0, "n_samples": 700.0, **SPECTRUM}),
    "loss_ridge": (
        theory.loss,
        {"n_features": 90.0, "n_samples": 700.0, **SPECTRUM, "ridge": 3e-3},
    ),
    "gd_loss": (
        theory.gd_loss,
        {"time": 300.0, "n_samples": 700.0, "learning_rate": 0.4, **SPECTRUM},
    ),
    "instability": (
        theory.instability_probability,
        {
            "n_samples": 60.0,
            "learning_rate": 0.9,
            "spectrum_exponent": 0.8,
            "sparsity_exponent": 2.5,
            "activity": 0.9,
        },
    ),
    "instability_law": (
        lambda **x: theory.instability_law(**x)(30.0),
        {"learning_rate": 0.9, "spectrum_exponent": 0.8, "sparsity_exponent": 2.5, "activity": 0.9},
    ),
    "allocation_laws": (lambda **x: theory.allocation_laws(**x).n_features(1e5), SPECTRUM),
    "allocation_n": (
        lambda **x: theory.optimal_allocation(**x).n_features,
        {"compute": 1e5, **SPECTRUM},
    ),
    "allocation_loss": (
        lambda **x: theory.optimal_allocation(**x).loss,
        {"compute": 1e5, **SPECTRUM},
    ),
}
SLOW = {
    "allocation_n",
    "allocation_loss",
    "loss_below",
    "loss_above",
    "loss_ridge",
    "unseen_loss",
    "expected_seen",
    "dense_delta",
    "instability",
    "expected_rank",
    "dense_loss",
}  # seconds of compilation each


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_gradient_vmap_and_float32(name):
    function, point = CASES[name]
    keys = list(point)

    def call(x):
        return function(**dict(zip(keys, x, strict=True)))

    x = np.array(list(point.values()))
    step = (2e-3 if name == "allocation_n" else 1e-4) * x
    stencil = np.stack([x] + [x + i * np.diag(step)[j] for j in range(x.size) for i in (-1, 1)])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        double = jnp.asarray(stencil)
        batch = jax.jit(jax.vmap(lambda row: call(list(row))), **FAST_COMPILE)(double)
        gradient = jax.jit(jax.grad(lambda row: call(list(row))), **FAST_COMPILE)(double[0])
        batch, gradient = np.asarray(batch), np.asarray(gradient)
    assert batch.dtype == np.float64
    slope = (batch[2::2] - batch[1::2]) / (2 * step)
    scale = abs(batch[0]) / x
    tolerance = 3e-4 if name == "allocation_n" else 1e-5
    np.testing.assert_allclose(gradient / scale, slope / scale, atol=tolerance, rtol=tolerance)
    assert np.all(np.abs(gradient / scale) > 1e-5)  # every argument matters
    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"):
        single = call([jnp.float32(v) for v in x])
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, batch[0], rtol=0.02 if name == "allocation_n" else 2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_infinite_sizes_have_finite_gradients(ridge):
    def call(n, d, rest):
        return theory.loss(n, d, spectrum_exponent=rest[0], sparsity_exponent=rest[1], ridge=ridge)

    sizes = np.array([(n, d) for n in (9.0, 400.0, math.inf) for d in (300.0, math.inf)])
    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(jax.value_and_grad(call, (0, 1, 2)), (0, 0, None)))
        value, gradients = both(*sizes.T, jnp.array([1.0, 2.0]))
        assert all(np.all(np.isfinite(g)) for g in gradients)
        assert np.all(gradients[0][4:] == 0)
        assert np.all(gradients[1][1::2] == 0)
        plain = [call(float(n), float(d), [1.0, 2.0]) for n, d in sizes]
        np.testing.assert_allclose(value, plain, rtol=1e-7, atol=1e-14)


SPARSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.unseen_loss(0.0, **SPARSE), "`n_samples` must be positive, got 0.0"),
        (
            lambda: theory.loss(-1.0, 3.0, **SPARSE),
            "`n_features` must be positive, got -1.0",
        ),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, ridge=-0.1), "`ridge` must be at least 0"),
        (
            lambda: theory.loss(1.0, 3.0, spectrum_exponent=-1.0, sparsity_exponent=2.0),
            "`spectrum_exponent` must be positive",
        ),
        (
            lambda: theory.loss(1.0, 3.0, spectrum_exponent=1.0, sparsity_exponent=-2.0),
            "`sparsity_exponent` must be at least 0",
        ),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, activity=0.0), "`activity` must be positive"),
        (lambda: theory.loss(1.0, 3.0, **SPARSE, n_coordinates=2.5), "`n_coordinates` must be"),
        (
            lambda: theory.unseen_law(spectrum_exponent=1.0, sparsity_exponent=1.0),
            "`sparsity_exponent` must be above 1",
        ),
        (
            lambda: theory.gd_loss(-1.0, 3.0, learning_rate=1.0, **SPARSE),
            "`time` must be at least 0",
        ),
        (
            lambda: theory.gd_loss(1.0, 3.0, learning_rate=0.0, **SPARSE),
            "`learning_rate` must be positive",
        ),
        (lambda: theory.optimal_allocation(0.0, **SPARSE), "`compute` must be positive"),
        (
            lambda: theory.conditional_loss(np.ones((2, 2)), 0.0, np.ones(2)),
            "`n_features` must be positive",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
