"""Training against closed forms and against plain NumPy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from checks import largest_z

import jaxscale as js
from jaxscale.keys import root_key
from jaxscale.training import INIT_STREAM, STEP_STREAM

S = js.superposition
N, K = 12, 5
MATRIX = np.random.default_rng(0).standard_normal((K, N)) / np.sqrt(K)
SYMMETRIC = S.Bernoulli(amplitude=S.Uniform(low=-1.0, high=1.0))
EXACT = dict(frequency_exponent=1.2, importance_exponent=0.7, n_features=N, dtype="float64",
             decoder=S.Linear(), gradient=S.Population(), n_steps=200)  # fmt: skip
STUDENTS = {
    "given": dict(embedding=S.Given(matrix=MATRIX), initial=S.Zeros()),
    "weighted": dict(embedding=S.Given(matrix=MATRIX), initial=S.Zeros(), importance=S.InLoss()),
    "scaled, mean over outputs": dict(
        embedding=S.Given(matrix=MATRIX),
        initial=S.ScaledIdentity(gain=0.8),
        learning_rate=0.4,
        reduction=S.MeanOverOutputs(factor=2.0),
    ),
    "dependent": dict(
        embedding=S.Given(matrix=MATRIX), inputs=S.Bernoulli(mean_active=1.5), initial=S.Zeros()
    ),
    "flat": dict(embedding=S.Identity(), initial=S.Zeros(), inputs=S.Bernoulli()),
    "flat weighted": dict(
        embedding=S.Identity(), initial=S.ScaledIdentity(gain=0.3), importance=S.InLoss()
    ),
    "symmetric": dict(embedding=S.Identity(), initial=S.Zeros(), inputs=SYMMETRIC),
}


def few(cases, *names):
    """All cases; those that are not named are slow."""
    return [n if n in names else pytest.param(n, marks=pytest.mark.slow) for n in cases]


@eqx.filter_jit
def compiled(system, key):
    return system.simulate(key)


@eqx.filter_jit
def initial(system, key):
    return system.init(jr.fold_in(key, INIT_STREAM))


@eqx.filter_jit
def one_step(system, key):
    """The first step: students before and after it, and its samples."""
    start = initial(system, key)
    step_key = jr.fold_in(jr.fold_in(key, STEP_STREAM), 0)
    samples = system.inputs.draw(step_key, jnp.arange(8), start.task.source, "float64")
    return start.student, system.step(start, step_key).student, samples.dense(N)


def simulate(system, seed=0):
    with jax.enable_x64(system.dtype == "float64"):
        outputs = compiled(system, root_key(seed))
        return {k: np.asarray(v) for k, v in outputs.items()}


@pytest.mark.parametrize("name", few(STUDENTS, "given", "scaled, mean over outputs", "symmetric"))
def test_population_descent_is_predicted_exactly(name):
    system = S.TeacherStudent(**EXACT, **STUDENTS[name])
    outputs = simulate(system)
    with jax.enable_x64(True):
        expected = eqx.filter_jit(system.predict)()
    assert set(expected) == set(system.schema.predicted())
    assert outputs["status"] == js.Status.ok
    assert outputs["loss"][-1] < 0.5 * outputs["loss"][0]
    for observable, value in expected.items():
        scale = np.abs(outputs[observable])
        floor = 1e-10 * outputs["loss"][0] if observable.endswith("loss") else 1e-10
        if observable == "loss":
            floor = 0.0
        error = np.abs(np.asarray(value) - outputs[observable])
        assert np.all(error <= 1e-10 * scale + floor), (observable, error.max())


def test_a_bottleneck_of_every_seed_follows_the_theory():
    system = S.TeacherStudent(**EXACT, latent_size=K, embedding=S.RandomUnit(), initial=S.Zeros())
    with jax.enable_x64(True):
        for seed in range(2):
            state = initial(system, root_key(seed))
            expected = S.theory.bottleneck_loss(
                np.asarray(system.record_steps, float),
                state.student.embedding,
                frequency_exponent=1.2,
                importance_exponent=0.7,
                learning_rate=state.task.rates["matrix"],
                discrete=True,
            )
            loss = simulate(system, seed)["loss"]
            np.testing.assert_allclose(loss, expected, rtol=1e-10)


@pytest.fixture(scope="module")
def minibatch():
    system = S.TeacherStudent(
        n_features=16, frequency_exponent=1.3, importance_exponent=0.5, embedding=S.Identity(),
        decoder=S.Linear(), initial=S.RandomNormal(scale=0.5), n_steps=40, learning_rate=1.0,
        gradient=S.FreshBatches(batch_size=4), record=[0, 3, 10, 40], dtype="float64",
    )  # fmt: skip
    grid = js.Grid(system, {}, seeds=64)
    return js.run(grid, progress=False), js.predict(grid), system


def test_minibatches_have_the_predicted_mean(minibatch):
    runs, theory, _ = minibatch
    names = ["loss", "signal_loss", "interference_loss", "feature_strength"]
    count = sum(theory[n].size for n in names)
    limit = largest_z(64, count)
    for name in names:
        z = (runs[name].mean("seed") - theory[name]) / (runs[name].std("seed", ddof=1) / 8.0)
        assert np.nanmax(np.abs(z)) <= limit, (name, float(np.abs(z).max()))


def test_without_the_noise_of_batches_the_mean_would_be_wrong(minibatch):
    runs, _, system = minibatch
    full = js.predict(js.Grid(js.replace(system, "gradient", S.Population()), {}))
    z = (runs["loss"].mean("seed") - full["loss"]) / (runs["loss"].std("seed", ddof=1) / 8.0)
    assert float(np.abs(z).max()) > largest_z(64, 4)


RELU = dict(n_features=N, latent_size=K, frequency_exponent=1.2, importance_exponent=0.4,
            inputs=S.Bernoulli(mean_active=1.4), initial=S.RandomNormal(scale=1.0),
            gradient=S.FreshBatches(batch_size=8), learning_rate=0.3, bias_rate_factor=7 / 3,
            dtype="float64", n_steps=4)  # fmt: skip


MEAN, OWN = S.MeanOverOutputs(factor=3.0), {"embedding_learning_rate": 0.1}
DECAY = js.AdamW(weight_decay=0.2, eps=0.03)
WARM_UP = js.WarmUp(n_warm_up=4)  # the first step is of a quarter of the rate
STEPS = {  # every embedding with both importances, and what changes a step
    "frozen": dict(embedding=S.RandomUnit()),
    "frozen, mean, weighted": dict(
        embedding=S.RandomUnit(), reduction=MEAN, importance=S.InLoss()
    ),
    "joint": dict(embedding=S.Joint(), **OWN, reduction=MEAN),
    "joint, a rate of the biases": dict(
        embedding=S.Joint(), **OWN, reduction=MEAN, bias_rate_factor=None, bias_learning_rate=0.7
    ),
    "joint, AdamW, weighted": dict(
        embedding=S.Joint(), **OWN, optimizer=DECAY, importance=S.InLoss()
    ),
    "tied, AdamW": dict(
        embedding=S.Tied(), **OWN, optimizer=DECAY, reduction=MEAN, schedule=WARM_UP,
        decoder=S.Relu(bias_scale=1.0),
    ),
    "tied, weighted": dict(embedding=S.Tied(), **OWN, importance=S.InLoss()),
    "untied, from V = 0": dict(
        embedding=S.Untied(), **OWN, initial=S.Zeros(), decoder=S.Relu(bias_scale=1.0)
    ),
    "untied, AdamW, weighted": dict(
        embedding=S.Untied(), **OWN, optimizer=DECAY, importance=S.InLoss(), reduction=MEAN
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", few(STEPS, "frozen, mean, weighted", "tied, AdamW", "untied, from V = 0")
)
def test_a_step_descends_with_a_rate_per_group(name):
    system = S.TeacherStudent(**RELU | STEPS[name])
    with jax.enable_x64(True):
        student, end, x = one_step(system, root_key(3))
        w, bias, x = (np.asarray(value) for value in (student.embedding, student.bias, x))
        after = np.asarray(end.embedding)
    b = np.eye(K) if student.matrix is None else np.asarray(student.matrix)
    v = b.T @ w if student.readout is None else np.asarray(student.readout).T
    rank = np.arange(1.0, N + 1)
    in_loss = isinstance(system.importance, S.InLoss)
    target = np.ones(N) if in_loss else rank**-0.4
    weight = rank**-0.8 if in_loss else np.ones(N)
    z = x @ w.T @ v + bias
    scale = 2 * 3.0 / N if system.reduction == MEAN else 1.0
    error = scale * weight * (np.maximum(z, 0) - target * x) * (z > 0) / 8

    def moved(param, gradient, rate):
        rate = rate / 4 if system.schedule == WARM_UP else rate
        if system.optimizer != DECAY:
            return param - rate * gradient
        decay = 0.2 * param if param.ndim == 2 else 0.0
        return param - rate * (gradient / (np.abs(gradient) + 0.03) + decay)

    def agree(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)

    agree(end.bias, moved(bias, error.sum(0), 0.7))
    if student.matrix is not None:
        agree(end.matrix, moved(b, (error @ w.T).T @ (x @ w.T), 0.3))
    if student.readout is not None:
        agree(np.asarray(end.readout).T, moved(v, w @ x.T @ error, 0.3))
        agree(after, moved(w, v @ error.T @ x, 0.1))
    elif system.embedding.trains:
        agree(after, moved(w, b @ w @ x.T @ error + b.T @ w @ error.T @ x, 0.1))
    else:
        np.testing.assert_array_equal(after, w)


@pytest.mark.slow
def test_the_population_gradient_of_relu_is_the_mean_over_batches():
    """On one-hot inputs; the mean of 4096 samples is within five standard errors everywhere."""
    common = dict(RELU, inputs=S.OneHot(), dtype="float64")
    system = S.TeacherStudent(**{**common, "gradient": S.Population()})

    def gradients(key, batch_key):
        state, batch = system.init(key), S.FreshBatches(batch_size=64)
        keys = jax.vmap(lambda i: jr.fold_in(batch_key, i))(jnp.arange(64))
        drawn = jax.vmap(lambda k: batch(state.trained, state.task, system.problem, k))
        return system.gradient(state.trained, state.task, system.problem, key), drawn(keys)

    with jax.enable_x64(True):
        exact, drawn = jax.jit(gradients)(root_key(0), root_key(1))
    for name, value in exact.items():
        samples = np.asarray(drawn[name])
        mean, error = samples.mean(0), samples.std(0, ddof=1) / 8.0
        z = np.abs(mean - np.asarray(value)) / np.where(error > 0, error, 1.0)
        limit = largest_z(64, sum(v.size for v in exact.values()))
        assert z.max() <= limit, (name, z.max())


@pytest.mark.slow
@pytest.mark.parametrize("embedding", [S.Joint(), S.Untied()], ids=repr)
def test_micro_batches_and_padding_change_nothing_but_rounding(embedding):
    optimizer = js.AdamW(weight_decay=0.5, row_length=1.0, eps=1e-3)
    system = S.TeacherStudent(
        **{**RELU, "n_steps": 30, "learning_rate": 0.01}, embedding=embedding, optimizer=optimizer
    )
    padded = dataclasses.replace(
        system,
        gradient=S.FreshBatches(batch_size=8, micro_batch=2),
        lengths=(("latent_size", K + 3), ("active", system.padded("active") + 4)),
    )
    one, other = simulate(system), simulate(padded)
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_training_is_differentiable():
    """Both modes through three steps, with respect to a rate and the inputs, are the slope."""
    changes = {"inputs": S.Bernoulli(mean_active=1.4), "decoder": S.Relu(bias_scale=1.0)}
    system = S.TeacherStudent(**RELU | changes, embedding=S.Untied())

    def trained(rate, high):
        amplitude = dataclasses.replace(system.inputs.amplitude, high=high)
        inputs = dataclasses.replace(system.inputs, amplitude=amplitude)
        traced = dataclasses.replace(system, inputs=inputs, learning_rate=rate)
        keys = jr.split(root_key(4), 3)
        start = traced.init(root_key(3))
        state, _ = jax.lax.scan(lambda state, key: (traced.step(state, key), None), start, keys)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(state.trained))

    @jax.jit
    def both(rate, high):
        forward = [jax.jvp(trained, (rate, high), d)[1] for d in ((1.0, 0.0), (0.0, 1.0))]
        return jax.value_and_grad(trained, argnums=(0, 1))(rate, high), forward

    with jax.enable_x64(True):
        (_, backward), forward = both(0.1, 2.0)
        for i, step in enumerate(1e-5 * np.eye(2)):
            above, below = (both(0.1 + s * step[0], 2.0 + s * step[1])[0][0] for s in (1.0, -1.0))
            slope = float(above - below) / 2e-5
            assert float(forward[i]) == pytest.approx(slope, rel=1e-6)
            assert float(backward[i]) == pytest.approx(slope, rel=1e-6)


def test_a_rate_of_the_mean_over_outputs_is_announced_as_that_of_the_sum():
    limit = S.TeacherStudent(**EXACT, latent_size=K).estimated_limit()
    for reduction, factor in ((S.SumOverOutputs(), 1.0), (S.MeanOverOutputs(), N / 2)):
        for rate, n in ((0.99 * limit * factor, 0), (1.01 * limit * factor, 1)):
            system = S.TeacherStudent(
                **EXACT, latent_size=K, reduction=reduction, learning_rate=rate
            )
            assert len(system.warnings()) == n


@pytest.mark.slow
def test_a_rate_above_the_limit_diverges_alone_and_is_announced():
    system = S.TeacherStudent(
        **{**EXACT, "n_steps": 400}, latent_size=K, initial=S.Zeros(), learning_rate=0.1
    )
    with jax.enable_x64(True):
        w = initial(system, jr.fold_in(root_key(0), 0)).student.embedding
        limit = float(S.theory.max_learning_rate(w, frequency_exponent=1.2))
    assert not js.plan(js.Grid(system)).warnings
    rates = [0.5 * limit, 0.98 * limit, 1.1 * limit]
    grid = js.Grid(system, {"learning_rate": rates})
    assert any("stability limit" in text for text in js.plan(grid).warnings)
    with pytest.warns(UserWarning, match=r"1 of 3 runs ended badly \(1 diverged"):
        runs = js.run(grid, progress=False)
    assert runs["status"].values.ravel().tolist() == [0, 0, js.Status.diverged]
    assert np.isnan(runs["loss"].values[-1, 0, -1])
    calm = js.run(js.Grid(system, {"learning_rate": [*rates[:2], 0.9 * limit]}), progress=False)
    np.testing.assert_array_equal(runs["loss"].values[:2], calm["loss"].values[:2])
