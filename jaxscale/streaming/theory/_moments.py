r"""Exact second moments of the memory of a linear optimizer, one step at a time.

The memory of a mode is a vector `s` of k numbers (`LinearStep`: `s' = P s + q g`, gradient at
`h.s`, loss at `o.s`). Its power `M_i = lambda_i E s s^T` obeys

$$M_i' = X_i M_i X_i^T + q q^T \tfrac{\lambda_i^2}{B} (h^T M_i h + G), \qquad
  X_i = P + \lambda_i q h^T, \qquad
  G = \omega + \sum_j h^T M_j h, \qquad 2 L = \omega + \sum_i o^T M_i o$$

for Gaussian features, whatever the batch. A step adds an increment and keeps what the addition
loses: slow modes move by less than a rounding error per step.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxscale.streaming._optimizers import AbstractLinearOptimizer, LinearStep

Number = Float[Array, " n"] | Complex[Array, " n"]


class WeightedModes(eqx.Module):
    """Where the recursion runs, and what its sums are: `sum_i` is `Re sum_i weights_i`.

    - `eigenvalues`: lambda_i, of the drawn features or complex nodes of a contour.
    - `power`: lambda_i E u_i^2 at the start, for the errors u_i of the weights.
    - `weights`: of every mode in the sums over modes.
    - `driven`: 1 where the noise of the loss G drives a mode, 0 where it does not.
    """

    eigenvalues: Number
    power: Number
    weights: Number
    driven: Number


def drawn_modes(eigenvalues: Float[Array, " d"], target_power: Float[Array, " d"]) -> WeightedModes:
    """The modes of given features; zeros of both change nothing."""
    one = jnp.ones_like(eigenvalues)
    return WeightedModes(eigenvalues, target_power, one, one)


def contour_modes(
    nodes: Complex[Array, " n"],
    target_weights: Complex[Array, " n"],
    noise_weights: Complex[Array, " n"],
) -> WeightedModes:
    """Two tracks on nodes z_k: a target of power 1 without noise, and noise without a target.

    `sum_i c_i^2 f(lambda_i) = Re sum_k target_weights_k f(z_k)` and
    `sum_i f(lambda_i) = Re sum_k noise_weights_k f(z_k)`.
    """
    one, zero = jnp.ones_like(nodes), jnp.zeros_like(nodes)
    return WeightedModes(
        jnp.concatenate([nodes, nodes]),
        jnp.concatenate([one, zero]),
        jnp.concatenate([target_weights, noise_weights]),
        jnp.concatenate([zero, one]),
    )


class Moments(eqx.Module):
    """`M_i` of every mode, last axis, and what additions have lost of it so far."""

    power: Float[Array, "k k n"] | Complex[Array, "k k n"]
    lost: Float[Array, "k k n"] | Complex[Array, "k k n"]


def start(modes: WeightedModes, optimizer: AbstractLinearOptimizer) -> Moments:
    """Every slot that holds weights starts at the same error, momenta at 0."""
    slots = jnp.asarray(optimizer.weights, modes.power.dtype)
    power = _outer(slots, slots) * modes.power
    return Moments(power, jnp.zeros_like(power))


def advance(
    moments: Moments,
    modes: WeightedModes,
    step: LinearStep,
    *,
    batch_size: Float[Array, ""],
    unreachable: Float[Array, ""],
) -> Moments:
    """Moments after one more step, whose gradient is the mean of `batch_size` new samples."""
    old, dtype = moments.power, moments.power.dtype
    carry, push, read = (x.astype(dtype) for x in (step.carry, step.push, step.read))
    lam = modes.eigenvalues
    change = (carry - jnp.eye(push.size, dtype=dtype))[:, :, None] + _outer(push, read) * lam
    first = _product(change, old)
    own = _quadratic(old, read)
    driving = (unreachable + _total(own, modes)).astype(dtype) * modes.driven
    noise = lam**2 * (own + driving) / batch_size.astype(dtype)
    second = _product(first, jnp.swapaxes(change, 0, 1)) / 2
    half = first + second  # exactly symmetric with its transpose: what is not would grow
    gain = half + jnp.swapaxes(half, 0, 1) + _outer(push, push) * noise - moments.lost
    new = old + gain
    return Moments(new, (new - old) - gain)


def loss_of(
    moments: Moments,
    modes: WeightedModes,
    optimizer: AbstractLinearOptimizer,
    unreachable: Float[Array, ""],
) -> Float[Array, ""]:
    """Mean loss at the weights that the optimizer returns."""
    read = jnp.asarray(optimizer.loss_at, moments.power.dtype)
    return (unreachable + _total(_quadratic(moments.power, read), modes)) / 2


def _outer(a: Array, b: Array) -> Array:
    """`a b^T` for every mode."""
    return jnp.multiply.outer(a, b)[:, :, None]


def _product(a: Array, b: Array) -> Array:
    """Matrix products of all modes: they are tiny, and sums of broadcasts are one loop."""
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def _quadratic(power: Array, read: Array) -> Array:
    """`h^T M_i h`."""
    return jnp.sum(_outer(read, read) * power, axis=(0, 1))


def _total(values: Array, modes: WeightedModes) -> Array:
    return jnp.sum(jnp.real(modes.weights * values))


@jax.custom_jvp
def _or_infinite(loss: Array, defined: Array) -> Array:
    """The loss, infinite where a defined one has overflowed: then differences of moments are NaN.

    Derivatives are those of the loss, NaN where it has overflowed.
    """
    return jnp.where(defined & ~jnp.isfinite(loss), jnp.inf, loss)


@_or_infinite.defjvp
def _(primals, tangents):
    return _or_infinite(*primals), tangents[0]


def losses(
    modes: WeightedModes,
    optimizer: AbstractLinearOptimizer,
    rates: Float[Array, " t"],
    *,
    batch_size: Float[Array, ""],
    unreachable: Float[Array, ""],
) -> Float[Array, " t+1"]:
    """Mean loss before the first step and after each, at the learning rate of every step.

    From the step on at which it overflows it is infinite; an input that is NaN makes it NaN.
    Derivatives remember about `2 sqrt(t)` states, not t.
    """
    n = rates.size
    length = max(1, round(n**0.5))
    n_blocks = -(-n // length)
    steps = jnp.minimum(jnp.arange(n_blocks * length), max(n - 1, 0))

    def one(moments: Moments, at: Any) -> tuple[Moments, Array]:
        step, rate = at
        moments = advance(
            moments,
            modes,
            optimizer.linear_step(rate, step),
            batch_size=batch_size,
            unreachable=unreachable,
        )
        return moments, loss_of(moments, modes, optimizer, unreachable)

    @jax.checkpoint
    def block(moments: Moments, at: Any) -> tuple[Moments, Array]:
        return jax.lax.scan(one, moments, at)

    begun = start(modes, optimizer)
    at = jax.tree.map(lambda x: x.reshape(n_blocks, length), (steps, rates[steps]))
    _, after = jax.lax.scan(block, begun, at)
    before = loss_of(begun, modes, optimizer, unreachable)
    curve = jnp.concatenate([before[None], after.ravel()[:n]])
    given = jax.tree.leaves((modes, optimizer, rates, batch_size, unreachable))
    return _or_infinite(curve, ~jnp.array([jnp.isnan(x).any() for x in given]).any())
