"""The student: a two-layer ReLU network on control bits and skill bits, with masked width.

`f(k, x) = sum_u v_u relu(W_ku + sum_j U_ju x_j + c_u) + d`, every parameter drawn N(0, sigma^2).
Units beyond the width start at exactly zero; their gradient is zero, so they stay there.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxscale.emergence._data import Samples, bits_of_words, n_control_bits, parity_sign
from jaxscale.emergence._strength import AbstractStrength, Sums
from jaxscale.keys import normals_by_row

HIDDEN_STREAM, OUTPUT_STREAM = 0, 1
NARROW = 32


class Network(eqx.Module):
    """Parameters of the two-layer network; the first rows of `weight` belong to the skills."""

    weight: Float[Array, "f w"]
    bias: Float[Array, " w"]
    readout: Float[Array, " w"]
    offset: Float[Array, ""]


def init_network(
    key: Key[Array, ""],
    width: Int[Array, ""],
    scale: Float[Array, ""],
    *,
    n_inputs: int,
    padded_width: int,
    dtype: str,
) -> Network:
    """Draw a network; unit `u` is keyed by its index, so a wider one contains the narrower."""
    units = jnp.arange(padded_width, dtype=jnp.int32)
    draws = normals_by_row(jr.fold_in(key, HIDDEN_STREAM), units, n_inputs + 2, dtype)
    rows = jnp.where((units < width)[:, None], scale * draws, jnp.zeros((), dtype)).T
    offset = scale * jr.normal(jr.fold_in(key, OUTPUT_STREAM), (), dtype=dtype)
    return Network(rows[:n_inputs], rows[-2], rows[-1], offset)


@jax.custom_jvp
def _product(weight: Float[Array, "f w"], inputs: Float[Array, "b f"]) -> Float[Array, "b w"]:
    """`inputs @ weight`, whose gradient in the weight is taken from transposed inputs.

    `inputs^T g` is up to 1.25 times as fast on a CPU if the inputs lie in memory feature by
    feature; the barrier makes XLA put them there.
    """
    return inputs @ weight


def _tangent(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (weight, inputs), (weight_dot, inputs_dot) = primals, tangents
    out = inputs @ weight
    moved = jnp.zeros_like(out)
    if not isinstance(weight_dot, SymbolicZero):
        features = jax.lax.optimization_barrier(inputs.T)
        moved = jnp.einsum("fb,fw->bw", features, weight_dot)
    if not isinstance(inputs_dot, SymbolicZero):
        moved = moved + inputs_dot @ weight
    return out, moved


_product.defjvp(_tangent, symbolic_zeros=True)


def forward(
    network: Network, skill: Int[Array, " b"], inputs: Float[Array, "b f"], n_skills: int
) -> Float[Array, " b"]:
    """Network outputs of a batch of `data.Samples`.

    The control bits among the inputs enter by one product with the skill bits; the rows of the
    other skills are gathered. The first skills are the frequent ones: gathered, their gradients
    would be added one by one (1.6 times the time of a whole step of 500 skills on an H200; the
    first 4 and the first 16 are equally fast there, and a CPU prefers 4). The biases ride on the
    rows of the skills, of which each sample has one. Narrow networks are computed unit by unit
    (twice as fast at 16 units on a CPU).
    """
    control = network.weight[:n_skills] + network.bias
    n_control = n_control_bits(n_skills)
    weight = jnp.concatenate([control[:n_control], network.weight[n_skills:]])
    if n_skills > n_control:
        rare = jnp.where(skill < n_control, n_skills, skill)  # out of bounds: a row of zeros
        rows = control.at[rare].get(mode="fill", fill_value=0)
        hidden = rows + _product(weight, inputs)
    elif network.readout.shape[0] <= NARROW:
        features = jax.lax.optimization_barrier(inputs.T)
        return network.readout @ jax.nn.relu(weight.T @ features) + network.offset
    else:
        hidden = _product(weight, inputs)
    return jax.nn.relu(hidden) @ network.readout + network.offset


def half_squared_error(
    network: Network, samples: Samples, target_scale: Float[Array, ""], n_skills: int
) -> Float[Array, " b"]:
    """`(f - S g)^2 / 2` of every sample."""
    # without the barrier XLA computes the parity again for every hidden unit
    target = jax.lax.optimization_barrier(target_scale * samples.sign)
    return 0.5 * (forward(network, samples.skill, samples.inputs, n_skills) - target) ** 2


def evaluate(
    network: Network,
    packed: UInt32[Array, "n e"],
    counted: Float[Array, " e"],
    masks: UInt32[Array, "k n"],
    target_scale: Float[Array, ""],
    n_bits: int,
    strength: AbstractStrength,
    at_once: int = 1,
) -> tuple[Sums, Float[Array, " k"]]:
    """Sums over evaluation inputs for the strength and of `(S g_k - f)^2 / 2`, for every skill.

    Every skill sees the same inputs: their bits are `packed`; `counted` is 1, and 0 for padding.
    On a CPU skills go one by one, so that their activations stay in its cache; elsewhere `at_once`
    of them, for the sake of fewer launches.
    """
    n_skills, dtype = masks.shape[0], network.weight.dtype.name
    bits = bits_of_words(packed, n_bits, dtype)
    shared = bits @ network.weight[n_skills:] + network.bias

    def skill(row: tuple[Float[Array, " w"], UInt32[Array, " n"]]) -> tuple[Sums, Array]:
        control, mask = row
        output = jax.nn.relu(shared + control) @ network.readout + network.offset
        sign = parity_sign(packed, mask[None, :], dtype)
        error = 0.5 * (target_scale * sign - output) ** 2
        return strength.sums(counted, sign, output), jnp.sum(counted * error)

    one_by_one = functools.partial(jax.lax.map, skill)
    batched = functools.partial(one_by_one, batch_size=at_once)
    rows = (network.weight[:n_skills], masks)
    return jax.lax.platform_dependent(rows, cpu=one_by_one, default=batched)
