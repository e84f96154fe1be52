"""Simulated streaming regression: its law, its features, and what theory says of its runs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError
from scipy.special import ndtri
from streamed import run_seeds, small_system, start_states

import jaxscale as js
from jaxscale.keys import words
from jaxscale.streaming._features import draw_features
from jaxscale.streaming._limits import exceeded_limit, limit_rate
from jaxscale.streaming._optimizers import linear_form
from jaxscale.streaming._predictions import jumps
from jaxscale.streaming._spaces import MANY, _normals, draw_samples, order_of_draws
from jaxscale.streaming.theory import _moments

S = js.streaming

draw = jax.jit(draw_features, static_argnames=("padded", "n_coordinates"))
samples_of = jax.jit(draw_samples, static_argnames=("n_samples", "width", "dtype"))


def drawn(d, v=None, alpha=0.8, beta=0.3, noise=0.2, padded=None, dtype="float64"):
    numbers = (jnp.asarray(x, dtype) for x in (alpha, beta, noise))
    return draw(jr.key(3), jnp.asarray(d, jnp.int32), padded or d, v, *numbers)


@jax.jit
def modes_of_features(features):
    return features.modes()


@pytest.mark.parametrize("v", [None, 40], ids=["infinitely many coordinates", "40"])
def test_modes_are_those_of_the_covariance(x64, v):
    features = drawn(10, v)
    g, t = np.asarray(features.matrix), np.asarray(features.target)
    tail = features.tail
    assert (tail is None) == (v is not None)
    tau, beyond = (0.0, 0.0) if tail is None else (float(tail.variance), float(tail.target))
    values, vectors = np.linalg.eigh(g.T @ g + tau * np.eye(10))
    along = (vectors.T @ (g.T @ t)) / np.sqrt(values)
    modes = modes_of_features(features)
    np.testing.assert_allclose(modes.eigenvalues, values[::-1], rtol=1e-12)
    np.testing.assert_allclose(modes.target_power, along[::-1] ** 2, rtol=1e-9)
    power = float(t @ t) + beyond
    np.testing.assert_allclose(modes.out_of_reach, power - np.sum(along**2), rtol=1e-10)
    np.testing.assert_allclose(modes.unreachable - modes.out_of_reach, 0.04, rtol=1e-12)


def test_single_precision_keeps_the_least_loss(x64):
    rounded = drawn(64, alpha=1.2, beta=0.8, dtype="float32")
    again = modes_of_features(rounded)
    same = modes_of_features(js.training.cast(rounded, "float64"))
    assert again.out_of_reach.dtype == jnp.float32
    np.testing.assert_allclose(again.out_of_reach, same.out_of_reach, rtol=1e-3)


@pytest.mark.parametrize("v", [None, 40], ids=["infinitely many coordinates", "40"])
def test_targets_together_have_the_modes_of_each(x64, v):
    together = modes_of_features(drawn(10, v, beta=[0.3, 1.1]))
    for i, beta in enumerate([0.3, 1.1]):
        own = modes_of_features(drawn(10, v, beta=beta))
        np.testing.assert_allclose(together.eigenvalues, own.eigenvalues, rtol=1e-13)
        np.testing.assert_allclose(together.target[i], own.target, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(together.out_of_reach[i], own.out_of_reach, rtol=1e-11)


def test_padding_changes_no_draw(x64):
    own, padded = drawn(10), drawn(10, padded=16)
    np.testing.assert_array_equal(padded.matrix[:40, :10], own.matrix)
    assert not np.any(padded.matrix[40:])
    assert not np.any(padded.matrix[:, 10:])
    own, padded = modes_of_features(own), modes_of_features(padded)
    np.testing.assert_allclose(padded.eigenvalues[:10], own.eigenvalues, rtol=1e-12)
    np.testing.assert_allclose(padded.target_power[:10], own.target_power, rtol=1e-9)
    np.testing.assert_allclose(padded.out_of_reach, own.out_of_reach, rtol=1e-12)
    assert np.all(np.asarray(padded.eigenvalues[10:]) == 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_is_the_same_in_any_batch(x64, dtype):
    few, many = (samples_of(jr.key(1), n, 5, jnp.dtype(dtype)) for n in (3, MANY))
    wide = samples_of(jr.key(1), 3, 9, jnp.dtype(dtype))
    for i in (0, 1):
        np.testing.assert_array_equal(few[i], many[i][:3])
    narrow, wide_order = (np.argsort(order_of_draws(n)) for n in (5, 9))
    np.testing.assert_array_equal(few[0][:, narrow], wide[0][:, wide_order[:5]])
    np.testing.assert_array_equal(few[1], wide[1])
    if dtype == "float32":  # entry i of a sample is its word i + 1
        unit = ((np.asarray(words(jr.key(1), jnp.arange(3), 6)) >> 9) + 0.5) * 2.0**-23
        drawn = np.column_stack([few[1], few[0][:, narrow]])
        np.testing.assert_allclose(drawn, ndtri(unit).T, rtol=1e-6)
        tails = np.array([0, 1, 2**10, 2**16, 2**31, 2**32 - 2**16, 2**32 - 1], np.uint32)
        exact = ndtri(((tails >> 9) + 0.5) * 2.0**-23)
        np.testing.assert_allclose(_normals(jnp.asarray(tails)), exact, rtol=1e-6)


@pytest.mark.parametrize("v", [np.inf, 40], ids=["infinitely many coordinates", "40"])
def test_only_infinitely_many_coordinates_have_a_rest(v):
    one = small_system(space=S.Coordinates(), n_features=8, n_coordinates=v, learning_rate=0.1)
    state = start_states(one, 1)
    assert (state.problem.features.tail is None) == (v == 40)
    assert one.space.n_draws(8, 40, v == np.inf) == (50 if v == np.inf else 41)
    assert start_states(small_system(learning_rate=0.1), 1).problem.features is None


def test_modes_are_those_of_the_run():
    one = small_system(learning_rate=0.14)
    keys = jnp.stack([js.Grid(one, seeds=2).run_key(seed) for seed in range(2)])
    together = jax.vmap(lambda key: S.modes_of(one, key))(keys)
    started, order = (
        start_states(one, 2).modes,
        np.argsort(order_of_draws(one.padded("n_features"))),
    )
    ordered = started.eigenvalues[:, order], started.target[:, order]
    started = eqx.tree_at(lambda modes: (modes.eigenvalues, modes.target), started, ordered)
    for modes in (together, started):
        first = jax.tree.map(lambda leaf: leaf[1], modes)
        alone = S.modes_of(one, keys[1])
        np.testing.assert_allclose(first.eigenvalues, alone.eigenvalues, rtol=1e-5)
        np.testing.assert_allclose(first.target_power, alone.target_power, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(first.unreachable, alone.unreachable, rtol=1e-5)
    with pytest.raises(ValueError, match="`key`"):
        S.modes_of(one, jr.key(0, impl="rbg"))
    words = r"`key` must be a single key, got shape \(2,\): use jax.vmap|Key\["
    with pytest.raises((ValueError, TypeCheckError), match=words):
        S.modes_of(one, keys)


@pytest.mark.parametrize("space", [S.Eigenbasis(), S.Coordinates()], ids=["modes", "coordinates"])
def test_sizes_in_one_program_change_nothing_but_rounding(space):
    one = small_system(space=space, n_steps=50, record=[0, 50])
    grid = js.Grid(one, axes={"n_features": [8, 24]}, seeds=3)
    together = js.run(js.plan(grid, max_programs=1), progress=False)
    alone = run_seeds(js.replace(one, "n_features", 8), 3)
    for name in together.data_vars:
        both = together[name].sel(n_features=8).values, alone[name].values
        np.testing.assert_allclose(*both, rtol=2e-4, err_msg=name)


def test_the_rate_is_a_share_of_the_limit_of_the_features():
    state = start_states(small_system(batch_size=3), 4)
    limit = jax.vmap(lambda v: S.theory.max_learning_rate(v, batch_size=3.0))(
        state.modes.eigenvalues
    )
    np.testing.assert_allclose(state.rate, 0.25 * limit, rtol=1e-5)
    assert np.unique(np.asarray(state.rate)).size == 4


@pytest.mark.parametrize("batch", [1, 16])
def test_at_the_limit_of_nesterov_its_step_has_radius_one(x64, batch):
    lam, optimizer = np.append(np.arange(1.0, 9.0) ** -1.6, 0.0), S.Nesterov(momentum=0.8)
    rate = limit_rate(optimizer, jnp.asarray(lam), batch)
    modes = _moments.drawn_modes(jnp.asarray(lam[:8]), jnp.ones(8))
    step = optimizer.linear_step(rate, jnp.asarray(0))

    def advance(power):
        moments = _moments.Moments(tuple(power.reshape(3, 8)), (jnp.zeros(8),) * 3)
        given = {"batch_size": jnp.asarray(float(batch)), "unreachable": jnp.asarray(0.0)}
        return jnp.concatenate(_moments.advance(moments, modes, step, **given).power)

    matrix = np.asarray(jax.jit(jax.jacobian(advance))(jnp.ones(24)))
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(matrix)).max(), 1.0, rtol=1e-12)


def test_every_linear_optimizer_but_dana_has_a_rate_of_its_own():
    def rates(optimizer):
        return np.asarray(start_states(small_system(optimizer=optimizer), 3).rate)

    plain = rates(js.Sgd())
    for optimizer in (S.PolyakAverage(), S.ScheduleFree()):
        np.testing.assert_allclose(rates(optimizer), plain, rtol=1e-6)
    assert np.all(rates(S.Nesterov(momentum=0.9)) < 0.3 * plain)
    results = run_seeds(small_system(optimizer=S.Nesterov(), n_steps=100, record=[0, 100]), 4)
    assert np.all(results["loss"][:, 1] < results["loss"][:, 0])
    predicted = js.predict(js.Grid(small_system(optimizer=S.Nesterov())))
    assert list(predicted.data_vars) == ["limit_loss"]


def test_optimizers_without_theory_take_coordinates():
    fields = {"space": S.Coordinates(), "learning_rate": 0.01, "n_features": 8, "batch_size": 4}
    results = run_seeds(
        small_system(optimizer=js.Adam(), n_steps=100, record=[0, 100], **fields), 4
    )
    assert "expected_loss" not in results
    assert np.all(results["status"] == 0)
    assert np.all(results["loss"][:, 1] < results["loss"][:, 0])


def steps_of(optimizer, n=12):
    """Weights at which gradients are taken, along a given path of gradients."""
    weights = jnp.ones(3)
    state, path = optimizer.init(weights), []
    for gradient in jnp.asarray(np.random.default_rng(0).standard_normal((n, 3)), jnp.float32):
        weights, state = optimizer.update(
            weights, gradient, state, jnp.asarray(0.2), jnp.asarray(0.5)
        )
        path.append(np.asarray(weights))
    return np.stack(path)


@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        (linear_form(js.Sgd()), optax.sgd(0.1)),
        (linear_form(js.Sgd(momentum=0.9)), optax.sgd(0.1, momentum=0.9)),
        (S.Nesterov(momentum=0.8), optax.sgd(0.1, momentum=0.8, nesterov=True)),
        (S.ScheduleFree(b=0.9), optax.contrib.schedule_free(optax.sgd(0.1), 0.1, 0.9)),
    ],
    ids=["sgd", "heavy ball", "nesterov", "schedule-free"],
)
def test_linear_steps_are_those_of_optax(optimizer, reference):
    weights = jnp.ones(3)
    state, path = reference.init(weights), []
    for gradient in jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), jnp.float32):
        with jax.numpy_dtype_promotion("standard"):
            update, state = reference.update(jnp.asarray(gradient), state, weights)
        weights = weights + update
        path.append(np.asarray(weights))
    np.testing.assert_allclose(steps_of(optimizer), np.stack(path), rtol=2e-5, atol=1e-6)


def test_dana_is_its_equation():
    path, y, theta = [], np.zeros(3), np.ones(3)
    gradients = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    for t, g in enumerate(gradients):
        y = (1 - 8 / (8 + t)) * y + g
        theta = theta - 0.1 * (g + 0.5 * (1 + t) ** -0.625 * y)
        path.append(theta)
    np.testing.assert_allclose(steps_of(S.Dana(decay=0.625)), np.stack(path), rtol=1e-5)


@pytest.mark.parametrize("optimizer", [S.PolyakAverage(), S.ExponentialAverage(weight=0.2)])
def test_averages_are_those_of_the_path(optimizer):
    path = steps_of(linear_form(js.Sgd()))
    weights = jnp.ones(3)
    state = optimizer.init(weights)
    average = np.ones(3)
    for i, g in enumerate(np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)):
        weights, state = optimizer.update(
            weights, jnp.asarray(g), state, jnp.asarray(0.2), jnp.asarray(0.5)
        )
        average = 0.8 * average + 0.2 * path[i]
    expected = path.mean(0) if isinstance(optimizer, S.PolyakAverage) else average
    np.testing.assert_allclose(optimizer.evaluated(state), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input_exponent": 0.5}, r"`input_exponent` must be above 1/2 .* `n_coordinates`"),
        ({"target_exponent": -0.3}, "`target_exponent` must be above .* no variance"),
        ({"optimizer": js.Adam(), "learning_rate": 0.1}, r"space=Coordinates\(\)"),
        ({"optimizer": S.Dana(decay=0.6)}, "`learning_rate` must be given"),
        ({"n_coordinates": 16}, "`n_features` must be below n_coordinates = 16, got 32"),
        ({"noise": -1.0}, "`noise`"),
        ({"optimizer": S.Dana}, "`optimizer`"),
    ],
)
def test_bad_input_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        small_system(**fields)


def test_long_runs_at_a_constant_rate_are_predicted_by_jumps(x64, monkeypatch):
    fields = {"learning_rate": 0.14, "n_steps": 2000, "record": [0, 50, 100, 700, 2000]}
    one = js.training.cast(small_system(**fields), "float64")
    stepped = eqx.filter_jit(lambda system: system.predict())(one)["loss"]
    monkeypatch.setattr("jaxscale.streaming._predictions.LONG", 1999)
    assert jumps(one)
    assert not jumps(js.replace(one, "schedule", js.LinearDecay()))
    assert not jumps(js.replace(one, "optimizer", js.Sgd(momentum=0.5)))
    jumped = eqx.filter_jit(lambda system: system.predict())(one)["loss"]
    assert np.any(jumped != stepped)
    np.testing.assert_allclose(jumped, stepped, rtol=1e-10)


@pytest.mark.parametrize(
    ("optimizer", "limit"),
    [(js.Sgd(), 0.52), (js.Sgd(momentum=0.9), 0.066), (S.Nesterov(), 0.091), (S.ScheduleFree(), 0)],
    ids=["sgd", "heavy ball", "nesterov", "schedule-free has none"],
)
def test_a_rate_beyond_the_limit_is_announced(optimizer, limit):
    def warned(rate):
        return small_system(optimizer=optimizer, learning_rate=rate).warnings()

    assert not warned(limit / 2 or 0.1)
    expected = f"learning_rate 0.6 exceeds the stability limit of typical features, about {limit}"
    assert warned(0.6) == ([expected] if limit else [])


def test_the_limit_of_nesterov_is_that_of_its_impulse_response():
    """Noise of drawn features, step by step, leaves one unit of loss of one; above it, more."""
    d, v, alpha, mu = 128, 512, 0.4, 0.9
    limit = exceeded_limit(1.0, S.Nesterov(momentum=mu), d, alpha, float(v), 1)
    scale = np.arange(1.0, v + 1)[:, None] ** -alpha

    def norm(rate, rng):
        x = rate * np.linalg.svd(scale * rng.standard_normal((v, d)) / d**0.5)[1] ** 2
        weight, memory, total = -x * (1 + mu), np.ones(d), np.zeros(d)  # after a unit gradient
        for _ in range(3000):
            total += weight**2
            memory = mu * memory + weight
            weight = weight - x * (weight + mu * memory)
        return np.sum(total / (1 - total))

    ratios = {f: np.mean([norm(f * limit, np.random.default_rng(s)) for s in range(3)])
              for f in (1.0, 1.1)}  # fmt: skip
    assert ratios[1.0] == pytest.approx(1.0, abs=0.05)
    assert ratios[1.1] > 1.08


def test_a_mean_that_overflows_ends_no_run():
    fields = {"n_features": 16, "target_exponent": 1.2, "noise": 0.0, "learning_rate": 0.55}
    results = run_seeds(small_system(**fields), 4)
    overflown = np.isinf(results["expected_loss"].values)
    assert overflown.any()
    assert np.isfinite(results["loss"].values[overflown]).all()
    assert not (results["status"] == js.Status.nonfinite).any()
