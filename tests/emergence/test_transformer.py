"""`ParityTransformer`: a step, its observables, and what must not change them."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from jaxscale.emergence import EveryToken, FiniteSet, ParityTransformer, _data as data
from jaxscale.keys import words

SMALL = {
    "n_skills": 3, "n_bits": 6, "skill_size": 2, "n_heads": 2, "width": 4, "mlp_width": 6,
    "batch_size": 16, "n_steps": 60, "n_evaluation": 64, "record": [0, 20, 60],
    "learning_rate": 0.05, "target_scale": 2.0,
}  # fmt: skip


SYSTEM = ParityTransformer(**SMALL)


@pytest.mark.slow
def test_padding_and_micro_batches_change_nothing_but_rounding():
    changed = SYSTEM.padded_for({"width": [10], "mlp_width": [9]})
    assert (changed.padded("width"), changed.padded("mlp_width")) == (10, 9)
    changed = dataclasses.replace(changed, micro_batch=4)
    expected = eqx.filter_jit(SYSTEM.simulate)(jr.key(4))
    state, actual = eqx.filter_jit(js.training.trajectory)(changed, jr.key(4))
    for name, value in expected.items():
        scale = np.abs(np.asarray(value)).max()
        np.testing.assert_allclose(actual[name], value, atol=1e-5 * max(scale, 1), rtol=0)
    block = state.network.blocks[0]
    for layer in (block.query, block.value, block.merge, block.output):
        assert not np.any(np.asarray(layer.weight)[:, 4:])
        assert not np.any(np.asarray(layer.bias)[4:])
    assert not np.any(np.asarray(block.output.weight)[6:])
    assert not np.any(np.asarray(state.network.norm.gain)[4:])


@pytest.mark.slow
def test_the_loss_is_that_of_the_outputs_on_the_evaluation_set():
    system = js.training.cast(SYSTEM, "float32")

    @eqx.filter_jit
    def observed(system, key):
        state = system.init(key)
        bits = data.bits_of_words(words(state.task.evaluation_key, jnp.arange(64), 1), 6, "float32")
        one_hot = jnp.eye(3, dtype=jnp.float32)
        outputs = [
            system._outputs(state.network, jnp.broadcast_to(row, (64, 3)), bits) for row in one_hot
        ]
        return system.observe(state), bits, jnp.stack(outputs)

    actual, bits, outputs = observed(system, jr.key(0))
    probability = np.arange(1.0, 4) ** -1.9
    sign = (-1.0) ** np.asarray(bits).reshape(64, 3, 2).sum(-1).T
    np.testing.assert_allclose(actual["skill_strength"], (sign * outputs).mean(1), atol=2e-6)
    skill_loss = ((2 * sign - outputs) ** 2).mean(1) / 2
    np.testing.assert_allclose(actual["skill_loss"], skill_loss, rtol=1e-5)
    loss = (probability * skill_loss).sum() / probability.sum()
    np.testing.assert_allclose(actual["loss"], loss, rtol=1e-5)


def test_what_is_refused_and_what_theory_says():
    with pytest.raises(ValueError, match=r"`width` must be a multiple of n_heads = 4, got 30"):
        ParityTransformer(width=30)
    with pytest.raises(ValueError, match="`n_bits` must be at least"):
        ParityTransformer(n_skills=9)
    with pytest.raises(ValueError, match="`micro_batch` must divide"):
        ParityTransformer(micro_batch=100)
    system = ParityTransformer()
    assert system.predict() == {}
    assert system.schema.predicted() == []
    assert "k^(alpha + 1)" in system.schema.observables["skill_strength"].no_theory
    with pytest.raises(ValueError, match="nothing to fit: ParityTransformer: no closed form"):
        js.calibrate(js.Grid(system), None, ["time_scale"])
    assert "train_loss" in ParityTransformer(data=FiniteSet(n_samples=9)).schema.observables


def test_the_planner_knows_the_price_of_the_tokens_that_are_read():
    last = ParityTransformer(n_bits=32, width=512, mlp_width=2048, batch_size=5000)
    every = js.replace(last, "readout", EveryToken())
    assert 30 < every.work().flops / last.work().flops < 40
    cut = every.with_micro_batch(1e7)
    assert 0 < cut.work().working_floats <= 1e7
    assert cut.batch_size % cut.micro_batch == 0
