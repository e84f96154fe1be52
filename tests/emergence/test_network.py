"""`ParityNetwork` against a NumPy twin, and what must not change its result."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from jaxscale.emergence import (
    Covariance,
    FiniteSet,
    ParityNetwork,
    RandomSkills,
    _data as data,
    _student as student,
)
from jaxscale.keys import words

SMALL = {
    "n_skills": 3, "n_bits": 9, "skill_size": 3, "width": 6, "batch_size": 16, "n_steps": 8,
    "n_evaluation": 64, "init_scale": 0.5, "record": [0, 8], "learning_rate": 0.05,
    "target_scale": 2.0,
}  # fmt: skip


@eqx.filter_jit
def _init(system):
    return system.init(jr.key(0))


@eqx.filter_jit
def _observe(system, state):
    return system.observe(state)


def _decoded(system, state, key, n_samples):
    """The first samples that a key draws."""
    drawn = words(key, jnp.arange(n_samples), 1 + data.n_bit_words(system.n_bits))
    task = state.task
    return data.decode(drawn, task.frequencies.survival, task.masks, system.n_bits, "float32")


def _numpy_step(system, state, key):
    """One step of plain NumPy SGD on the same samples."""
    batch = jax.jit(lambda s, k: _decoded(system, s, k, system.batch_size))(state, key)
    one_hot = np.eye(system.n_skills)[np.asarray(batch.skill)]
    x = np.concatenate([one_hot, np.asarray(batch.inputs)[:, -system.n_bits :]], axis=1)
    net = jax.tree.map(lambda a: np.asarray(a, np.float64), state.network)
    pre = x @ net.weight + net.bias
    hidden = np.maximum(pre, 0)
    error = hidden @ net.readout + net.offset - float(system.target_scale) * np.asarray(batch.sign)
    back = (error[:, None] * net.readout) * (pre > 0) / len(error)
    rate = float(system.learning_rate)
    return (
        net.weight - rate * x.T @ back,
        net.bias - rate * back.sum(0),
        net.readout - rate * hidden.T @ error / len(error),
        net.offset - rate * error.mean(),
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch": 4}, {"n_skills": 20, "n_bits": 40, "skills": RandomSkills()}],
    ids=["one-hot", "micro-batch", "gather"],
)
def test_a_step_is_gradient_descent_on_half_the_mean_square(changes):
    system = js.training.cast(ParityNetwork(**{**SMALL, **changes}), "float32")
    state, key = _init(system), jr.key(9)
    after = jax.jit(lambda state, key: system.step(state, key))(state, key).network
    for actual, expected in zip(
        jax.tree.leaves(after), _numpy_step(system, state, key), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)


def test_observables_against_brute_force():
    system = js.training.cast(ParityNetwork(**SMALL), "float32")
    state = _init(system)
    observed = _observe(system, state)
    centred = _observe(js.replace(system, "strength", Covariance()), state)
    np.testing.assert_array_equal(centred["skill_loss"], observed["skill_loss"])
    net = jax.tree.map(lambda a: np.asarray(a, np.float64), state.network)

    @jax.jit
    def draw(key):
        return data.bits_of_words(words(key, jnp.arange(64), 1), 9, "float32")

    bits = np.asarray(draw(state.task.evaluation_key))
    probability = np.arange(1.0, 4) ** -1.6
    probability /= probability.sum()
    loss = 0.0
    for k in range(3):
        x = np.concatenate([np.tile(np.eye(3)[k], (64, 1)), bits], axis=1)
        f = np.maximum(x @ net.weight + net.bias, 0) @ net.readout + net.offset
        g = (-1.0) ** bits[:, 3 * k : 3 * k + 3].sum(axis=1)
        skill_loss = 0.5 * np.mean((2.0 * g - f) ** 2)
        np.testing.assert_allclose(observed["skill_strength"][k], np.mean(g * f), atol=2e-6)
        covariance = np.mean(g * (f - np.mean(f)))
        np.testing.assert_allclose(centred["skill_strength"][k], covariance, atol=2e-6)
        assert abs(covariance - np.mean(g * f)) > 1e-4  # the mean shows
        np.testing.assert_allclose(observed["skill_loss"][k], skill_loss, rtol=1e-5)
        loss += probability[k] * skill_loss
    np.testing.assert_allclose(observed["loss"], loss, rtol=1e-5)


def test_an_odd_evaluation_size_counts_every_input_once():
    state = _init(js.training.cast(ParityNetwork(**SMALL), "float32"))
    losses = {}
    for n in (700, 512, 188):
        system = js.training.cast(ParityNetwork(**{**SMALL, "n_evaluation": n}), "float32")
        losses[n] = np.asarray(_observe(system, state)["skill_loss"])

    @jax.jit
    def rest(state):
        drawn = words(state.task.evaluation_key, jnp.arange(512, 700), 1)
        weight, scale = jnp.ones(188, jnp.float32), jnp.asarray(2.0, jnp.float32)
        return student.evaluate(
            state.network, drawn, weight, state.task.masks, scale, 9, system.strength
        )

    sums = rest(state)
    np.testing.assert_allclose(700 * losses[700], 512 * losses[512] + sums[1], rtol=1e-5)
    assert not np.allclose(losses[700], losses[188], rtol=1e-3)


def test_skills_evaluated_at_once_are_those_one_by_one(monkeypatch):
    """As on an accelerator: as many skills at once as a batch holds, and a rest."""
    system = js.training.cast(ParityNetwork(**{**SMALL, "batch_size": 130}), "float32")
    state = _init(system)
    alone = _observe(system, state)

    def as_elsewhere(*args, cpu, default):
        return default(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", as_elsewhere)
    text = str(jax.make_jaxpr(system.observe)(state))
    assert "f32[2,64,6]" in text  # (skills, inputs, units)
    for name, value in jax.jit(lambda s: system.observe(s))(state).items():
        np.testing.assert_allclose(value, alone[name], rtol=1e-6, atol=1e-7)


def test_padding_and_micro_batches_change_nothing_but_rounding():
    """Below half the stability limit, 500 steps: equal to 1e-5 of the observable's maximum."""
    system = ParityNetwork(**{**SMALL, "n_steps": 500, "record": [0, 100, 500], "width": 5})
    alone = eqx.filter_jit(system.simulate)(jr.key(4))
    for changed in (
        system.padded_for({"width": [32]}),
        dataclasses.replace(system, micro_batch=2),
    ):
        other = eqx.filter_jit(changed.simulate)(jr.key(4))
        for name, value in alone.items():
            scale = np.abs(np.asarray(value)).max()
            np.testing.assert_allclose(other[name], value, atol=1e-5 * max(scale, 1), rtol=0)
    wide = js.train(system.padded_for({"width": [32]}), jr.key(4))
    assert not np.any(np.asarray(wide.network.readout)[5:])
    assert not np.any(np.asarray(wide.network.weight)[:, 5:])


def test_the_gather_branch_equals_the_one_hot_branch(monkeypatch):
    system = js.training.cast(ParityNetwork(**SMALL), "float32")
    state = _init(system)
    skill = np.asarray([0, 2, 1, 1], np.int32)
    inputs = np.concatenate([np.eye(3)[skill], np.ones((4, 9))], axis=1, dtype=np.float32)

    def forward(inputs):
        return jax.jit(lambda *x: student.forward(*x, 3))(state.network, skill, inputs)

    one_hot = forward(inputs)
    monkeypatch.setattr(student, "NARROW", 0)
    wide = forward(inputs)
    np.testing.assert_allclose(wide, one_hot, rtol=1e-5)
    for few in (0, 1, 2):
        monkeypatch.setattr(student, "n_control_bits", lambda n_skills, few=few: few)
        gathered = forward(inputs[:, [*range(few), *range(3, 12)]])
        np.testing.assert_allclose(gathered, one_hot, rtol=1e-5)


@pytest.mark.slow  # four transformations of each
@pytest.mark.parametrize("n_skills", [3, 20])
@pytest.mark.parametrize("width", [6, 40])
def test_derivatives_of_the_error_are_those_of_the_plain_formula(n_skills, width):
    """Forward and reverse mode, and one after the other, in float64."""
    fields = {**SMALL, "n_skills": n_skills, "n_bits": 40, "skills": RandomSkills()}
    with jax.enable_x64(True):
        system = js.training.cast(
            ParityNetwork(**{**fields, "width": width, "dtype": "float64"}), "float64"
        )
        state = _init(system)
        drawn = words(jr.key(1), jnp.arange(12), 1 + data.n_bit_words(40))
        batch = data.decode(drawn, state.task.frequencies.survival, state.task.masks, 40, "float64")
        x = jnp.concatenate(
            [jax.nn.one_hot(batch.skill, n_skills, dtype=jnp.float64), batch.inputs[:, -40:]],
            axis=1,
        )

        def ours(net):
            return jnp.sum(student.half_squared_error(net, batch, jnp.asarray(2.0), n_skills))

        def plain(net):
            out = jax.nn.relu(x @ net.weight + net.bias) @ net.readout + net.offset
            return jnp.sum((out - 2.0 * batch.sign) ** 2) / 2

        net = state.network
        along = jax.tree.map(
            lambda a: jnp.cos(jnp.arange(a.size, dtype=jnp.float64)).reshape(a.shape), net
        )
        for derivative in (
            lambda f: lambda net, _: f(net),
            lambda f: lambda net, _: jax.grad(f)(net),
            lambda f: lambda net, along: jax.jvp(f, (net,), (along,)),
            lambda f: lambda net, along: jax.jvp(jax.grad(f), (net,), (along,)),
        ):
            actual, expected = (
                jax.tree.leaves(jax.jit(derivative(f))(net, along)) for f in (ours, plain)
            )
            for a, b in zip(actual, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_the_initial_weights_are_normal_and_keyed_by_unit():
    system = js.training.cast(ParityNetwork(width=400, init_scale=0.01), "float32")
    network = _init(system).network
    for leaf in (network.weight, network.bias, network.readout):
        values = np.asarray(leaf).ravel() / 0.01
        assert abs(values.mean()) < 4 / np.sqrt(values.size)
        assert abs(values.var() - 1) < 4 * np.sqrt(2 / values.size)
    narrow = js.training.cast(ParityNetwork(width=100, init_scale=0.01), "float32")
    np.testing.assert_array_equal(_init(narrow).network.readout, network.readout[:100])


@pytest.mark.slow
def test_a_finite_set_is_learned_by_heart_and_told_apart_from_the_population():
    system = ParityNetwork(
        n_skills=2, n_bits=12, skill_size=3, width=64, data=FiniteSet(n_samples=40), batch_size=40,
        n_steps=4000, learning_rate=0.2, init_scale=0.3, target_scale=1.0, n_evaluation=256,
        record=[0, 1000, 3000, 4000],
    )  # fmt: skip
    out = eqx.filter_jit(system.simulate)(jr.key(0))
    assert int(out["status"]) == js.Status.ok
    assert float(out["train_loss"][-1]) < 0.01
    assert float(out["loss"][-1]) > 0.2
    for record in ([0, 90, 120], [120], [0, 10]):  # what is recorded does not matter
        hasty = js.replace(js.replace(system, "record", record), "n_steps", 120)
        assert int(eqx.filter_jit(hasty.simulate)(jr.key(0))["status"]) == js.Status.not_converged


def test_the_train_loss_is_the_mean_over_the_set():
    system = js.training.cast(ParityNetwork(**SMALL, data=FiniteSet(n_samples=1500)), "float32")
    state = _init(system)

    @jax.jit
    def errors(state):
        batch = _decoded(system, state, state.task.set_key, 1500)
        scale = jnp.asarray(2.0, jnp.float32)
        return student.half_squared_error(state.network, batch, scale, 3)

    error = errors(state)
    np.testing.assert_allclose(_observe(system, state)["train_loss"], np.mean(error), rtol=1e-5)


@pytest.mark.slow
def test_one_trace_for_a_grid_of_widths_rates_exponents_and_seeds():
    system = ParityNetwork(n_steps=500, batch_size=64, n_evaluation=256, record=[0, 500], width=8)
    axes = {
        "width": [4, 8, 16],
        "learning_rate": [0.02, 0.05, 0.1],
        "skill_exponent": [0.3, 0.6, 0.9],
    }
    plan = js.plan(js.Grid(system, axes=axes, seeds=4))
    traces = []
    original = ParityNetwork.init

    def counted(self, key):
        traces.append(self)
        return original(self, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParityNetwork, "init", counted)
        runs = js.run(plan, progress=False)
    assert (plan.n_runs, plan.n_programs, len(traces)) == (108, 1, 1)
    assert np.all(runs["status"] == js.Status.ok)
    for width, rate, alpha, seed in [(4, 0.05, 0.6, 3), (8, 0.02, 0.9, 0), (16, 0.1, 0.3, 2)]:
        at = {"width": width, "learning_rate": rate, "skill_exponent": alpha, "seed": seed}
        chosen, key = js.select(runs, **at)
        assert chosen.padded("width") == width
        alone = eqx.filter_jit(chosen.simulate)(key)
        for name in ("loss", "skill_strength", "skill_loss"):
            swept = runs[name].sel(at).values
            scale = np.abs(runs[name].values).max()
            np.testing.assert_allclose(alone[name], swept, atol=1e-5 * scale, rtol=0)


def test_predict_says_what_it_describes():
    predicted = eqx.filter_jit(lambda system: system.predict())
    time = ParityNetwork()
    assert time.schema.regime == "time"
    assert time.schema.observables["skill_strength"].predicted == "calibrated"
    assert time.schema.observables["loss"].predicted == "none"
    assert set(predicted(time)) == {"skill_strength"}
    few = ParityNetwork(data=FiniteSet(n_samples=100), shots=10.0, record=[0, 12000])
    assert few.schema.regime == "data"
    strength = np.asarray(predicted(few)["skill_strength"])
    assert np.all(np.isnan(strength[0]))
    assert np.all(np.diff(strength[1]) < 0)
    narrow = ParityNetwork(regime=js.emergence.WidthLimited(), width=4, units_per_skill=3.0)
    np.testing.assert_allclose(
        predicted(narrow)["skill_strength"][-1], 5 * np.array([1, 1 / 3, 0, 0, 0]), rtol=1e-6
    )
    assert not ParityNetwork(regime=js.emergence.DataLimited()).predict()  # its data are Online()
