"""The transformer: causal pre-norm blocks on tokens of one bit, with masked widths.

A token is `relu(bit embedding + position embedding + bias)`; a block adds attention, then two
layers with a ReLU, each of a layer-normalised input; the output is a linear map of the normalised
tokens that are read. Weights and biases start as PyTorch's `Linear` and `LayerNorm` do, and those
that end a branch of a block are divided by `2 n_blocks^(1/2)`. Units beyond a width start at
exactly zero and stay there.

A token of the first block has two values at each position. What this block computes of single
tokens and of pairs (queries, keys, values, scores) is therefore a table that samples share. And in
the last block only the tokens that are read have queries.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale.keys import words

BITS = 2  # values of a token
EPSILON = 1e-5  # of a layer norm, as PyTorch's
BRANCHES = 4.0  # weights and biases that write to the tokens, of a block


class Linear(eqx.Module):
    """`x @ weight + bias`."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]

    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        return x @ self.weight + self.bias


class Norm(eqx.Module):
    """Layer norm over the first `width` units."""

    gain: Float[Array, " d"]
    shift: Float[Array, " d"]

    def __call__(self, x: Float[Array, "*b d"], width: Float[Array, ""]) -> Float[Array, "*b d"]:
        active = jnp.arange(x.shape[-1], dtype=x.dtype) < width
        mean = jnp.sum(jnp.where(active, x, jnp.zeros_like(x)), -1, keepdims=True) / width
        centred = jnp.where(active, x - mean, jnp.zeros_like(x))
        variance = jnp.sum(centred**2, -1, keepdims=True) / width
        return centred * jax.lax.rsqrt(variance + EPSILON) * self.gain + self.shift


class Block(eqx.Module):
    """Attention and two layers; unit `u` of queries, keys and values is of head `u % n_heads`."""

    attention_norm: Norm
    query: Linear
    key: Linear
    value: Linear
    merge: Linear
    hidden_norm: Norm
    hidden: Linear
    output: Linear


class Transformer(eqx.Module):
    """Parameters; the first rows of `embedding` are of the bits, the others of the positions."""

    embedding: Linear
    blocks: tuple[Block, ...]
    norm: Norm
    readout: Float[Array, "q d"]
    offset: Float[Array, ""]


class Sizes(eqx.Module):
    """What a transformer is made of: sizes that are traced, and the lengths of its arrays."""

    width: Int[Array, ""]
    mlp_width: Int[Array, ""]
    padded_width: int = eqx.field(static=True)
    padded_mlp_width: int = eqx.field(static=True)
    n_tokens: int = eqx.field(static=True)
    n_read: int = eqx.field(static=True)
    n_heads: int = eqx.field(static=True)
    n_blocks: int = eqx.field(static=True)


def init_transformer(key: Key[Array, ""], sizes: Sizes, dtype: str) -> Transformer:
    """Draw a transformer; a weight is keyed by its units, so a wider one draws the same numbers."""
    width, padded = sizes.width, sizes.padded_width

    def uniform(stream: int, fan_in: Array, rows: Bool[Array, " i"], columns: Bool[Array, " o"]):
        """Weights and biases between -1 and 1 over the root of `fan_in`."""
        n_rows, n_columns = rows.shape[0], columns.shape[0]
        drawn = words(jr.fold_in(key, stream), jnp.arange(n_columns, dtype=jnp.int32), n_rows + 1)
        unit = ((drawn >> jnp.uint32(9)).astype(dtype) + 0.5) * jnp.asarray(2.0**-22, dtype) - 1
        bound = jax.lax.rsqrt(fan_in.astype(dtype))
        active = jnp.concatenate([jnp.ones(1, bool), rows])[:, None] & columns
        drawn = jnp.where(active, bound * unit, jnp.zeros((), dtype))
        return Linear(drawn[1:], drawn[0])

    def norm() -> Norm:
        return Norm(units.astype(dtype), jnp.zeros(padded, dtype))

    units = jnp.arange(padded, dtype=jnp.int32) < width
    hidden_units = jnp.arange(sizes.padded_mlp_width, dtype=jnp.int32) < sizes.mlp_width
    branch = jnp.asarray((BRANCHES * sizes.n_blocks) ** -0.5, dtype)
    values = jnp.ones(BITS + sizes.n_tokens, bool)
    embedding = uniform(0, jnp.asarray(len(values)), values, units)
    blocks = []
    for i in range(sizes.n_blocks):
        query, key_, value, merge = (uniform(6 * i + j, width, units, units) for j in range(2, 6))
        hidden = uniform(6 * i + 6, width, units, hidden_units)
        output = uniform(6 * i + 7, sizes.mlp_width, hidden_units, units)
        merge, output = jax.tree.map(lambda x: branch * x, (merge, output))
        blocks.append(Block(norm(), query, key_, value, merge, norm(), hidden, output))
    read = jnp.ones(sizes.n_read, bool)
    readout = uniform(1, sizes.n_read * width, read, units)
    return Transformer(embedding, tuple(blocks), norm(), readout.weight, readout.bias[0])


def forward(
    network: Transformer, bits: Float[Array, "b t"], width: Int[Array, ""], n_heads: int
) -> Float[Array, " b"]:
    """Outputs for tokens of the values 0 and 1, read at the last tokens."""
    n_read, n_tokens = network.readout.shape[0], bits.shape[1]
    size = width.astype(bits.dtype)
    first, *others = network.blocks
    n_queries = n_tokens if others else n_read
    tokens = _first_attention(first, _embedded(network.embedding), bits, size, n_heads, n_queries)
    tokens = _two_layers(first, tokens, size)
    for i, block in enumerate(others, 2):
        n_queries = n_tokens if i < len(network.blocks) else n_read
        tokens = _two_layers(block, _attention(block, tokens, size, n_heads, n_queries), size)
    read = network.norm(tokens, size).reshape(len(bits), -1)
    return read @ network.readout.ravel() + network.offset


def _embedded(embedding: Linear) -> Float[Array, "t 2 d"]:
    """Tokens of both values at every position."""
    bit, position = embedding.weight[:BITS], embedding.weight[BITS:]
    return jax.nn.relu(bit + position[:, None, :] + embedding.bias)


def _weights(scores: Float[Array, "h q t b"]) -> Float[Array, "h q t b"]:
    """Softmax over the tokens that are not later; the last `q` tokens are the queries.

    Samples come last: on a CPU a sum over tokens is then one of vectors.
    """
    n_queries, n_tokens = scores.shape[1:3]
    own = jnp.arange(n_tokens - n_queries, n_tokens)
    later = (jnp.arange(n_tokens) > own[:, None])[:, :, None]
    return jax.nn.softmax(jnp.where(later, jnp.asarray(-jnp.inf, scores.dtype), scores), axis=2)


def _by_head(x: Float[Array, "*b d"], n_heads: int) -> Float[Array, "*b j h"]:
    return x.reshape(*x.shape[:-1], -1, n_heads)


def _first_attention(
    block: Block,
    table: Float[Array, "t 2 d"],
    bits: Float[Array, "b t"],
    width: Float[Array, ""],
    n_heads: int,
    n_queries: int,
) -> Float[Array, "b q d"]:
    """The last tokens with what they attend to, from a table of both values of every token."""
    inputs = block.attention_norm(table, width)
    query = _by_head(block.query(inputs[-n_queries:]), n_heads)
    key, value = (_by_head(layer(inputs), n_heads) for layer in (block.key, block.value))
    scores = jnp.einsum("qajh,tbjh->abhqt", query, key) * jnp.sqrt(n_heads / width)
    is_one = bits.T > 0  # (t, b)
    zero, one = (jnp.where(is_one, s[1][..., None], s[0][..., None]) for s in scores)
    weights = _weights(jnp.where(is_one[-n_queries:, None], one, zero))
    # values are merged before they are weighed: one product of all heads
    merged = jnp.einsum("tbjh,jhd->bhtd", value, _merge_by_head(block.merge, n_heads))
    of_ones = jnp.where(is_one, weights, jnp.zeros_like(weights))
    by_value = jnp.stack([weights - of_ones, of_ones])
    attended = jnp.einsum("ahqtb,ahtd->bqd", by_value, merged)
    own = bits[:, -n_queries:, None] > 0
    return (
        jnp.where(own, table[-n_queries:, 1], table[-n_queries:, 0]) + attended + block.merge.bias
    )


def _merge_by_head(merge: Linear, n_heads: int) -> Float[Array, "j h d"]:
    return merge.weight.reshape(-1, n_heads, merge.weight.shape[-1])


def _attention(
    block: Block,
    tokens: Float[Array, "b t d"],
    width: Float[Array, ""],
    n_heads: int,
    n_queries: int,
) -> Float[Array, "b q d"]:
    """The last `n_queries` tokens with what they attend to."""
    inputs = block.attention_norm(tokens, width)
    query = _by_head(block.query(inputs[:, -n_queries:]), n_heads)
    key, value = (_by_head(layer(inputs), n_heads) for layer in (block.key, block.value))
    scores = jnp.einsum("bqjh,btjh->hqtb", query, key) * jnp.sqrt(n_heads / width)
    attended = jnp.einsum("hqtb,btjh->bqjh", _weights(scores), value)
    return tokens[:, -n_queries:] + block.merge(attended.reshape(*attended.shape[:2], -1))


def _two_layers(
    block: Block, tokens: Float[Array, "b q d"], width: Float[Array, ""]
) -> Float[Array, "b q d"]:
    return tokens + block.output(jax.nn.relu(block.hidden(block.hidden_norm(tokens, width))))
