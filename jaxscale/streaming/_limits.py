"""The learning rate above which the mean loss of given features diverges, for linear optimizers."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._roots import bisect
from jaxscale.streaming import theory
from jaxscale.streaming._optimizers import (
    ExponentialAverage,
    LinearStep,
    Nesterov,
    PolyakAverage,
    ScheduleFree,
)

LIMIT_SHARE = 0.25  # of the stability limit: beyond .3 single runs say little of their mean


def momentum_of(optimizer: AbstractOptimizer) -> Any:
    """Momentum that sets the stability limit, 0 for plain steps."""
    momentum = optimizer.momentum if isinstance(optimizer, Sgd) else None
    return 0.0 if momentum is None else momentum


def follows_sgd(optimizer: AbstractOptimizer) -> bool:
    """Whether the limit is that of SGD or heavy ball.

    Averages follow plain SGD, and so does the first step of schedule-free SGD; its later ones stand
    rates up to `1 / (1 - b)` times as large, after a loss that first grows.
    """
    return isinstance(optimizer, Sgd | PolyakAverage | ExponentialAverage | ScheduleFree)


def has_limit(optimizer: AbstractOptimizer) -> bool:
    """Whether there is a limit: the steps of `Dana` change for ever, so that none decides."""
    return follows_sgd(optimizer) or isinstance(optimizer, Nesterov)


def limit_rate(
    optimizer: AbstractOptimizer, eigenvalues: Float[Array, " d"], batch_size: int
) -> Float[Array, ""]:
    """Rate at which the spectral radius of a step of the second moments is 1."""
    if not isinstance(optimizer, Nesterov):
        given = {"batch_size": batch_size, "momentum": momentum_of(optimizer)}
        return theory.max_learning_rate(eigenvalues, **given)
    batch = jnp.asarray(batch_size, eigenvalues.dtype)
    first = jnp.zeros((), jnp.int32)

    def stable(rate: Array) -> Array:
        return _norm(optimizer.linear_step(rate, first), eigenvalues, batch) < 1

    high = jnp.sqrt(batch / jnp.sum(eigenvalues**2))  # the newest gradient alone has norm 1
    return bisect(stable, jnp.zeros_like(high), high, jnp.finfo(high.dtype).nmant + 4)


def _norm(step: LinearStep, lam: Float[Array, " d"], batch: Array) -> Float[Array, ""]:
    r"""Loss that the noise of one unit of loss leaves, of a constant step with two numbers.

    $$N = \sum_i \frac{p_i}{1 - p_i}, \qquad
      p_i = \frac{\lambda_i^2}{B} \sum_t (h^T X_i^t q)^2, \qquad X_i = P + \lambda_i q h^T$$

    The sum is that of the impulse response of `(b_1 z + b_0) / (z^2 + a_1 z + a_2)`.
    """
    (p00, p01), (p10, p11) = step.carry
    trace, det = p00 + p11, p00 * p11 - p01 * p10
    b1 = step.read @ step.push
    b0 = step.read @ step.carry @ step.push - trace * b1
    a1, a2 = -(trace + lam * b1), det - lam * b0
    low, high = 1 + det - trace - lam * (b0 + b1), 1 + a2 - a1  # at z = 1 and at z = -1
    noise = lam**2 / batch * ((b1**2 + b0**2) * (1 + a2) - 2 * a1 * b1 * b0)
    room = (1 - a2) * low * high - noise
    stable = (a2 < 1) & (low > 0) & (high > 0) & (room > 0)
    share = jnp.where(lam > 0, noise / jnp.where(stable, room, 1.0), 0.0)
    return jnp.where(jnp.all(stable | (lam == 0)), jnp.sum(share), jnp.inf)
