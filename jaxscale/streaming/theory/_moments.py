r"""Exact second moments of the memory of a linear optimizer, one step at a time.

The memory of a mode is a vector `s` of k numbers (`LinearStep`: `s' = P s + q g`, gradient at
`h.s`, loss at `o.s`). Its power `M_i = lambda_i E s s^T` obeys

$$M_i' = X_i M_i X_i^T + q q^T \tfrac{\lambda_i^2}{B} (h^T M_i h + G), \qquad
  X_i = P + \lambda_i q h^T, \qquad
  G = \omega + \sum_j h^T M_j h, \qquad 2 L = \omega + \sum_i o^T M_i o$$

for Gaussian features, whatever the batch. A step adds an increment and keeps what the addition
loses: slow modes move by less than a rounding error per step.
"""

import itertools
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
    """Entries of `M_i`, the upper triangle by rows, and what additions have lost of them so far.

    Entries are arrays of their own over modes, as one loop of a batch of runs needs them: it takes
    twenty times as long over the last axis of one array of matrices.
    """

    power: tuple[Number, ...]
    lost: tuple[Number, ...]


def start(modes: WeightedModes, optimizer: AbstractLinearOptimizer) -> Moments:
    """Every slot that holds weights starts at the same error, momenta at 0."""
    slots = optimizer.weights
    power = tuple(slots[i] * slots[j] * modes.power for i, j in _upper(len(slots)))
    return Moments(power, tuple(jnp.zeros_like(entry) for entry in power))


def advance(
    moments: Moments,
    modes: WeightedModes,
    step: LinearStep,
    *,
    batch_size: Float[Array, ""],
    unreachable: Float[Array, ""],
) -> Moments:
    """Moments after one more step, whose gradient is the mean of `batch_size` new samples."""
    lam, dtype = modes.eigenvalues, modes.power.dtype
    carry, push, read = (x.astype(dtype) for x in (step.carry, step.push, step.read))
    old, every = _matrix(moments.power, push.size), range(push.size)
    change = [[carry[i, j] - float(i == j) + push[i] * read[j] * lam for j in every] for i in every]
    first = [[sum(change[i][n] * old[n][j] for n in every) for j in every] for i in every]
    own = _quadratic(moments.power, read)
    driving = (unreachable + _total(own, modes)).astype(dtype) * modes.driven
    noise = lam**2 * (own + driving) / batch_size.astype(dtype)
    power, lost = [], []
    for (i, j), before in zip(_upper(push.size), moments.lost, strict=True):
        second = sum(first[i][n] * change[j][n] for n in every)
        gain = first[i][j] + first[j][i] + second + push[i] * push[j] * noise - before
        power.append(old[i][j] + gain)
        lost.append((power[-1] - old[i][j]) - gain)
    return Moments(tuple(power), tuple(lost))


def loss_of(
    moments: Moments,
    modes: WeightedModes,
    optimizer: AbstractLinearOptimizer,
    unreachable: Float[Array, ""],
) -> Float[Array, ""]:
    """Mean loss at the weights that the optimizer returns."""
    read = jnp.asarray(optimizer.loss_at, modes.power.dtype)
    return (unreachable + _total(_quadratic(moments.power, read), modes)) / 2


def _upper(k: int) -> list[tuple[int, int]]:
    """Rows and columns of the upper triangle of a k x k matrix."""
    return list(itertools.combinations_with_replacement(range(k), 2))


def _matrix(entries: tuple[Number, ...], k: int) -> list[list[Any]]:
    """Rows of a symmetric matrix by its upper triangle."""
    of = dict(zip(_upper(k), entries, strict=True))
    return [[of[min(i, j), max(i, j)] for j in range(k)] for i in range(k)]


def _quadratic(power: tuple[Number, ...], read: Array) -> Any:
    """`h^T M_i h`."""
    terms = zip(_upper(read.size), power, strict=True)
    return sum((1 + (i != j)) * read[i] * read[j] * entry for (i, j), entry in terms)


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
