"""The transformer against plain NumPy, and what must not change its result."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxscale.emergence._attention import Sizes, forward, init_transformer

KINDS = {  # (blocks, tokens that are read)
    "one block, last token": (1, 1),
    "one block, every token": (1, 7),
    "two blocks, last token": (2, 1),
}


def _sizes(n_blocks=1, n_read=1, width=6, mlp_width=10, **padded):
    given = {"padded_width": width, "padded_mlp_width": mlp_width, **padded}
    return Sizes(
        jnp.int32(width), jnp.int32(mlp_width), n_tokens=7, n_read=n_read, n_heads=2,
        n_blocks=n_blocks, **given,
    )  # fmt: skip


def _bits(n):
    return np.random.default_rng(0).integers(0, 2, (n, 7)).astype(float)


def _normalised(norm, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * norm.gain + norm.shift


def _numpy_tokens(network, bits):
    """Every token of one sample after all blocks, computed one token and one head at a time."""
    one_hot = np.concatenate([np.eye(2)[bits.astype(int)], np.eye(7)], axis=1)
    x = np.maximum(one_hot @ network.embedding.weight + network.embedding.bias, 0)
    for block in network.blocks:
        z = _normalised(block.attention_norm, x)
        query, key, value = (
            z @ layer.weight + layer.bias for layer in (block.query, block.key, block.value)
        )
        attended = np.zeros_like(x)
        for head in range(2):
            units = slice(head, None, 2)
            for t in range(len(x)):
                score = key[: t + 1, units] @ query[t, units] / np.sqrt(query[t, units].size)
                weight = np.exp(score - score.max())
                attended[t, units] = weight @ value[: t + 1, units] / weight.sum()
        x = x + attended @ block.merge.weight + block.merge.bias
        hidden = _normalised(block.hidden_norm, x) @ block.hidden.weight + block.hidden.bias
        x = x + np.maximum(hidden, 0) @ block.output.weight + block.output.bias
    return _normalised(network.norm, x)


def _numpy_forward(network, bits):
    n_read = len(network.readout)
    read = np.stack([_numpy_tokens(network, row)[-n_read:] for row in bits])
    return (read * network.readout).sum((1, 2)) + network.offset


@pytest.mark.parametrize(
    "kind",
    [n if n.startswith("two") else pytest.param(n, marks=pytest.mark.slow) for n in KINDS],
)
def test_forward_and_gradient_are_those_of_plain_numpy(kind):
    """Float64: outputs to rounding, one derivative in every leaf against central differences."""
    bits, size = _bits(5), _sizes(*KINDS[kind])
    with jax.enable_x64(True):
        network = jax.jit(lambda key: init_transformer(key, size, "float64"))(jr.key(0))

        @jax.jit
        def value_and_gradient(network):
            def total(network):
                out = forward(network, jnp.asarray(bits), size.width, 2)
                return jnp.sum(out**2), out

            return jax.grad(total, has_aux=True)(network)

        gradient, out = value_and_gradient(network)
    plain, gradient = jax.tree.map(np.asarray, (network, gradient))
    np.testing.assert_allclose(out, _numpy_forward(plain, bits), rtol=1e-10)
    leaves, shape = jax.tree.flatten(plain)
    rng, step = np.random.default_rng(1), 1e-5
    for i, slope in enumerate(jax.tree.leaves(gradient)):
        along = rng.standard_normal(leaves[i].shape)
        at = []
        for sign in (1, -1):
            moved = [*leaves]
            moved[i] = leaves[i] + sign * step * along
            at.append(np.sum(_numpy_forward(jax.tree.unflatten(shape, moved), bits) ** 2))
        expected = (at[0] - at[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(slope * along), expected, rtol=1e-6, atol=1e-8)


def test_a_token_sees_no_later_one():
    """One output per token, of two blocks: later bits change nothing, an earlier one changes it."""
    size, bits = _sizes(2), _bits(1)[0]
    network = jax.jit(lambda key: init_transformer(key, size, "float32"))(jr.key(0))

    @jax.jit
    def outputs(network, bits):
        """Read at each token in turn."""
        each = jnp.eye(7, dtype=jnp.float32)[:, :, None] * network.readout[0]
        return jax.vmap(
            lambda readout: forward(
                dataclasses.replace(network, readout=readout), bits[None], size.width, 2
            )[0]
        )(each)

    before = np.asarray(outputs(network, jnp.asarray(bits, jnp.float32)))
    for t in range(7):
        changed = jnp.asarray(np.where(np.arange(7) == t, 1 - bits, bits), jnp.float32)
        after = np.asarray(outputs(network, changed))
        np.testing.assert_array_equal(after[:t], before[:t])
        assert np.all(np.abs(after[t:] - before[t:]) > 1e-5)


@pytest.mark.slow
def test_a_wider_transformer_draws_the_same_numbers_where_both_have_units():
    """Uniform within 1 over the root of the inputs; what ends a branch is halved."""
    size = _sizes(width=64, mlp_width=128, padded_width=80, padded_mlp_width=130)
    draw = jax.jit(lambda key, size: init_transformer(key, size, "float32"))
    wide, narrow = draw(jr.key(0), size), draw(jr.key(0), _sizes(width=16, mlp_width=32))
    block = wide.blocks[0]
    for layer, bound in (
        (wide.embedding, 9**-0.5),
        (block.query, 64**-0.5),
        (block.merge, 64**-0.5 / 2),
        (block.hidden, 64**-0.5),
        (block.output, 128**-0.5 / 2),
    ):
        weight = np.asarray(layer.weight)
        active = weight[weight != 0] / bound
        assert active.size in (9 * 64, 64 * 64, 64 * 128)
        assert np.abs(active).max() <= 1
        assert abs(active.mean()) < 4 / np.sqrt(3 * active.size)
        assert abs(3 * active.var() - 1) < 4 * np.sqrt(0.8 / active.size)
        assert 0 < np.abs(layer.bias).max() <= bound
    own = np.asarray(narrow.blocks[0].hidden.weight)
    np.testing.assert_allclose(own, 2 * np.asarray(block.hidden.weight)[:16, :32], rtol=1e-6)
    assert not np.any(np.asarray(block.hidden.weight)[64:])
    assert not np.any(np.asarray(block.hidden.weight)[:, 128:])
