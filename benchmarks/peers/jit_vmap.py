"""Multitask sparse parity as one writes it in JAX by hand: `jit(vmap(train))`, and nothing else.

No padding, no chunks, no gradient slices, one device. Every step draws packed threefry words; the
number of steps is traced, so that one program serves every length.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from benchmarks.peers.config import Config

WORD = 32
FEW_SKILLS = 16
Params = dict[str, jax.Array]


def init(config: Config, key: Any) -> Params:
    """Every parameter from N(0, init_scale^2)."""
    k, n, w = config.n_skills, config.n_bits, config.width
    shapes = {"control": (k, w), "bits": (n, w), "bias": (w,), "readout": (w,), "offset": ()}
    keys = dict(zip(shapes, jr.split(key, len(shapes)), strict=True))
    return {name: config.init_scale * jr.normal(keys[name], s) for name, s in shapes.items()}


def skill_bits(config: Config, key: Any) -> jax.Array:
    """Bits that every skill reads, shape `(n_skills, skill_size)`."""
    if config.random_skills:
        shuffled = jax.vmap(lambda k: jr.permutation(k, config.n_bits))
        return shuffled(jr.split(key, config.n_skills))[:, : config.skill_size]
    return jnp.arange(config.n_skills * config.skill_size).reshape(config.n_skills, -1)


def draw_batch(config: Config, read: jax.Array, key: Any) -> tuple[jax.Array, ...]:
    """Skills, bits and targets of a fresh batch."""
    few, b = config.n_skills <= FEW_SKILLS, config.batch_size
    weight = np.arange(1.0, config.n_skills + 1) ** -(config.skill_exponent + 1)
    cumulative = jnp.asarray((np.cumsum(weight) / weight.sum())[:-1], jnp.float32)
    skill_key, bit_key = jr.split(key)
    method = "compare_all" if few else "scan"
    skill = jnp.searchsorted(cumulative, jr.uniform(skill_key, (b,)), side="right", method=method)
    packed = jr.bits(bit_key, (b, math.ceil(config.n_bits / WORD)), jnp.uint32)
    shift = jnp.arange(WORD, dtype=jnp.uint32)
    bits = ((packed[:, :, None] >> shift) & jnp.uint32(1)).reshape(b, -1)[:, : config.n_bits]
    odd = jnp.take_along_axis(bits, read[skill], 1).sum(1, dtype=jnp.uint32) & jnp.uint32(1)
    target = config.target_scale * (1 - 2 * odd.astype(jnp.float32))
    return skill, bits.astype(jnp.float32), target


def loss(params: Params, skill: jax.Array, bits: jax.Array, target: jax.Array) -> jax.Array:
    """Half of the mean square error."""
    n_skills = params["control"].shape[0]
    if n_skills <= FEW_SKILLS:
        inputs = jnp.concatenate([jax.nn.one_hot(skill, n_skills), bits], 1)
        hidden = inputs @ jnp.concatenate([params["control"], params["bits"]])
    else:
        hidden = params["control"][skill] + bits @ params["bits"]
    output = jax.nn.relu(hidden + params["bias"]) @ params["readout"] + params["offset"]
    return 0.5 * jnp.mean((output - target) ** 2)


def make_grid(config: Config) -> Callable[[Any, Any], tuple[Params, jax.Array]]:
    """`jit(vmap(train))`: from a key per run and the number of steps to weights and a last loss."""
    transform = {"sgd": optax.sgd, "adam": optax.adam}[config.optimizer](config.learning_rate)

    def train(key: Any, n_steps: Any) -> tuple[Params, jax.Array]:
        init_key, skill_key, data_key = jr.split(key, 3)
        read, params = skill_bits(config, skill_key), init(config, init_key)

        def step(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            batch = draw_batch(config, read, jr.fold_in(data_key, i))
            with jax.numpy_dtype_promotion("standard"):
                updates, state = transform.update(jax.grad(loss)(params, *batch), state, params)
            return optax.apply_updates(params, updates), state

        params, _ = jax.lax.fori_loop(0, n_steps, step, (params, transform.init(params)))
        return params, loss(params, *draw_batch(config, read, jr.fold_in(data_key, n_steps)))

    return jax.jit(jax.vmap(train, in_axes=(0, None)))
