"""Nonlinear features: the loss on a test set against NumPy on the same draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from jaxscale.paths import set_leaf
from jaxscale.sparse._data import draw_inputs
from jaxscale.sparse._features import gaussian_projection
from jaxscale.sparse._system import DATA_STREAM, FEATURE_STREAM
from jaxscale.training import cast

N_TEST = 700  # one block of 512 and a part of another
CASES = [(5, 30), (24, 11), (24, 30)]  # N, D
RECORD = [0, 3, 40]


class Sigmoid(eqx.Module):
    """A user's activation: not zero at zero."""

    gain: float

    def __call__(self, h):
        return jax.nn.sigmoid(self.gain * h)


SYSTEMS = {
    "relu": (js.sparse.Relu(), js.sparse.MinNorm(), lambda h: np.maximum(h, 0)),
    "tanh": (js.sparse.Tanh(scale=0.3), js.sparse.Ridge(strength=0.01), lambda h: np.tanh(0.3 * h)),
    "module": (
        Sigmoid(2.0),
        js.sparse.GradientDescent(learning_rate=0.2, n_steps=40, record=RECORD),
        lambda h: 1 / (1 + np.exp(-2 * h)),
    ),
}


def _system(features, solver):
    return js.sparse.RandomFeatureRegression(
        n_features=24, n_samples=30, n_coordinates=25, spectrum_exponent=1.0,
        sparsity_exponent=1.3, features=features, solver=solver, n_evaluation=N_TEST,
    )  # fmt: skip


def _draws(system, key):
    plain, sizes = cast(system, "float64"), system.padding
    rows = jnp.asarray(system.n_samples) + N_TEST
    inputs = draw_inputs(jr.fold_in(key, DATA_STREAM), plain.coordinates, rows, sizes)
    n = jnp.asarray(system.n_features)
    n_rows = system.padded("n_features")
    return inputs, gaussian_projection(jr.fold_in(key, FEATURE_STREAM), inputs, n, n_rows)


def _one(n, d, key):
    outputs = {}
    for name, (features, solver, _) in SYSTEMS.items():
        system = set_leaf(set_leaf(_system(features, solver), "n_features", n), "n_samples", d)
        outputs[name] = system.simulate(key)
    return outputs, _draws(system, key)


def _weights(name, phi, targets, d):
    """One matrix of weights per record."""
    if name == "relu":
        return [np.linalg.pinv(phi, rcond=1e-12) @ targets]
    n = phi.shape[1]
    if name == "tanh":
        return [np.linalg.solve(phi.T @ phi / d + 0.01 * np.eye(n), phi.T @ targets / d)]
    theta, weights = np.zeros((n, targets.shape[1])), []
    for step in range(41):
        if step in RECORD:
            weights.append(theta)
        theta = theta + 0.2 / d * phi.T @ (targets - phi @ theta)
    return weights


@pytest.mark.slow
def test_losses_equal_those_of_numpy_on_the_same_draws():
    with jax.enable_x64(True):
        n, d = (jnp.asarray(v, jnp.int32) for v in zip(*CASES, strict=True))
        program = jax.jit(jax.vmap(_one, (0, 0, None)))
        outputs, (inputs, projection) = jax.tree.map(np.asarray, program(n, d, jr.key(0)))
    lost = []
    for i, (n, d) in enumerate(CASES):
        values, f = inputs.values[i], projection[i][:n]
        test, train = values[:N_TEST], values[N_TEST : N_TEST + d]
        drawn = np.any(train != 0, axis=0)
        lost.append(int(np.sum(inputs.seen[i] & ~drawn)))
        total = np.sum(np.arange(1.0, 26) ** -2.0)
        unseen = total - np.sum(np.where(drawn, inputs.variance[i], 0.0))
        for name, (_, _, activation) in SYSTEMS.items():
            phi, phi_test = (activation(x @ f.T) / np.sqrt(n) for x in (train, test))
            losses = [
                0.5 * (unseen + np.mean(np.sum((test[:, drawn] - phi_test @ theta) ** 2, axis=1)))
                for theta in _weights(name, phi, train[:, drawn], d)
            ]
            out = jax.tree.map(lambda x, i=i: x[i], outputs[name])
            wanted = losses if name == "module" else losses[0]
            np.testing.assert_allclose(out["loss"], wanted, rtol=1e-9)
            assert out["n_seen"] == drawn.sum()
            np.testing.assert_allclose(out["unseen_loss"], unseen / 2, rtol=1e-10)
            if name == "relu":
                assert out["rank"] == np.linalg.matrix_rank(phi)
            if name == "tanh":
                np.testing.assert_allclose(out["condition"], 1 + np.sum(phi**2) / d / 0.01)
            if name == "module":
                largest = np.linalg.norm(phi, 2) ** 2 / d
                np.testing.assert_allclose(out["largest_eigenvalue"], largest, rtol=1e-10)
    assert min(lost) > 0  # coordinates that only the test set shows are in its features


@pytest.mark.parametrize("block", [1, 512, 513])
def test_any_number_of_test_inputs_is_counted_once(block):
    """A block has 512 rows; the rest of the last one must not count."""
    from jaxscale.sparse._losses import sampled_loss
    from jaxscale.sparse._solvers import Fit

    rng = np.random.default_rng(0)
    test, f, theta = (rng.standard_normal(s) for s in ((block, 3), (4, 3), (4, 3)))
    with jax.enable_x64(True):
        system = _system(js.sparse.Relu(), js.sparse.MinNorm())
        inputs = eqx.filter_eval_shape(lambda: _draws(system, jr.key(0))[0])
        inputs = eqx.tree_at(lambda x: x.unseen_variance, inputs, jnp.asarray(0.25))
        fit = Fit(None, jnp.asarray(theta)[None], {}, jnp.asarray(True))
        features = js.sparse.Elementwise(Sigmoid(1.0))

        def design(x):
            return features.design(x, jnp.asarray(f), jnp.asarray(4, jnp.int32))

        losses = sampled_loss(fit, inputs, jnp.asarray(test), design, jnp.eye(3))
    phi = 1 / (1 + np.exp(-test @ f.T)) / 2
    wanted = 0.5 * (0.25 + np.mean(np.sum((test - phi @ theta) ** 2, axis=1)))
    np.testing.assert_allclose(losses, [wanted], rtol=1e-12)


@pytest.mark.slow
def test_relu_features_move_the_threshold_towards_the_samples():
    """Section 9: the rank is about `D (1 - prod_{i >= 2} (1 - p_i)) + 2` (measured within 7 %)."""
    system = js.sparse.RandomFeatureRegression(
        n_features=400, n_samples=128, n_coordinates=1000, spectrum_exponent=1.0,
        sparsity_exponent=2.0, features=js.sparse.Relu(), n_evaluation=10,
    )  # fmt: skip
    rank = js.run(js.Grid(system, seeds=6), progress=False)["rank"].values
    share = 1 - np.prod(1 - np.arange(2.0, 1001) ** -2.0)
    print(f"rank {rank.mean():.1f}, formula {128 * share + 2:.1f}")
    assert abs(rank.mean() / (128 * share + 2) - 1) < 0.07


class Matrix(eqx.Module):
    """No activation: it changes the shape."""

    def __call__(self, h):
        return h @ h.T


NO_ACTIVATIONS = {
    "a function": jnp.sin,
    "a number": 3,
    "a class": Sigmoid,
    "a constructor of its own": eqx.nn.PReLU(),
    "a field that is a function": eqx.nn.Lambda(jax.nn.gelu),
    "a field that is an array": Sigmoid(np.ones(3)),
    "another shape": Matrix(),
}


@pytest.mark.parametrize("module", NO_ACTIVATIONS.values(), ids=NO_ACTIVATIONS)
def test_an_activation_is_elementwise_and_built_from_numbers(module):
    with pytest.raises(ValueError, match=r"`module` must (be|map) .* got"):
        js.sparse.Elementwise(module)


def test_a_store_writes_an_activation_and_reads_it(tmp_path):
    system = _system(js.sparse.Elementwise(Sigmoid(1.0)), js.sparse.MinNorm())
    grid = js.Grid(system, axes={"features.module.gain": [1.0, 3.0]}, seeds=2)
    runs = js.run(grid, store=tmp_path / "runs.zarr", progress=False)
    read = js.open_store(tmp_path / "runs.zarr")
    np.testing.assert_array_equal(read.loss, runs.loss)
    assert len(np.unique(read.loss)) == 4
    chosen, _ = js.select(read, seed=1, **{"features.module.gain": 3.0})
    assert float(chosen.features.module.gain) == 3.0
    more = js.run(grid.replace(seeds=3), store=tmp_path / "runs.zarr", progress=False)
    np.testing.assert_array_equal(more.loss.isel(seed=[0, 1]), runs.loss)
