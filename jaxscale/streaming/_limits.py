"""The learning rate above which the mean loss diverges, for linear optimizers.

Of given features, and of typical ones: in the mean over features.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._roots import bisect
from jaxscale.spectra import power_sum
from jaxscale.streaming import theory
from jaxscale.streaming._optimizers import (
    ExponentialAverage,
    LinearStep,
    Nesterov,
    PolyakAverage,
    ScheduleFree,
)
from jaxscale.streaming.theory import _kappa, _sums

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


class _Gains(NamedTuple):
    """`p_i / (1 - p_i) = x noise(x) / room(x)` of a mode with `x = eta lambda_i`: coefficients."""

    noise: tuple[float, float]
    room: tuple[float, float, float]


def _gains(optimizer: AbstractOptimizer, batch: float) -> _Gains:
    """Those of SGD, heavy ball and Nesterov; the room is concave."""
    if not isinstance(optimizer, Nesterov):
        mu = float(momentum_of(optimizer))
        noise = ((1 + mu) / batch, 0.0)
        return _Gains(noise, (2 * (1 - mu**2), mu - 1 - noise[0], 0.0))
    mu = float(optimizer.momentum)
    noise = ((1 + mu) / batch, mu * (1 + 2 * mu) / batch)
    linear = 2 * mu * (1 + mu) - (1 - mu) * (1 + 2 * mu) - noise[0]
    return _Gains(noise, (2 * (1 - mu**2), linear, -mu * (1 + 2 * mu) - noise[1]))


def exceeded_limit(
    rate: float,
    optimizer: AbstractOptimizer,
    n_features: int,
    alpha: float,
    last: float,
    batch: int,
) -> float | None:
    """The limit of typical features if the rate is above it; nothing compiles far below it.

    Eigenvalues and their upper edge are at most `(1 + (trace / d)^(1/2))^2`.
    """
    noise, room = gains = _gains(optimizer, batch)
    trace = float(power_sum(2.0 * alpha, last))
    x = rate * (1 + np.sqrt(trace / n_features)) ** 2
    least = min(room[0], room[0] + room[1] * x + room[2] * x**2)
    if rate * trace * (noise[0] + noise[1] * x) < least:
        return None
    with jax.enable_x64(True):
        size, batch_size = float(n_features), float(batch)
        if room[2]:
            limit = _nesterov_limit(*(jnp.asarray(v) for v in (*gains, size, alpha, last)))
        else:
            limit = theory.mean_max_learning_rate(
                size,
                input_exponent=alpha,
                n_coordinates=last,
                batch_size=batch_size,
                momentum=momentum_of(optimizer),
            )
        typical = float(limit)
    return typical if rate > typical else None


@jax.jit
def _nesterov_limit(noise: Array, room: Array, size: Array, alpha: Array, last: Array) -> Array:
    r"""Rate at which `N` of Nesterov is 1 in the mean over features, or that of the upper edge.

    $$N = \sum_\pm A_\pm T\Big(\frac{x_\pm}{\eta}\Big), \qquad
      A_\pm = -\frac{n(x_\pm)}{r'(x_\pm)}, \qquad
      T(z) = \sum_i \frac{\lambda_i}{z - \lambda_i} = -S_1(\kappa(z))$$

    with the roots `x_- < 0 < x_+` of the room r: the partial fractions of `x n(x) / r(x)`.
    """
    c0, c1, c2 = room
    half = jnp.sqrt(c1**2 - 4 * c0 * c2)
    roots = (-c1 - half) / (2 * c2), (-c1 + half) / (2 * c2)
    above, below = (-(noise[0] + noise[1] * x) / (c1 + 2 * c2 * x) for x in roots)
    inputs = _sums.inputs_of(alpha, last)

    def rate_at(log_excess: Array) -> tuple[Array, Array]:
        kappa = -1 - jnp.exp(log_excess)
        return roots[0] / _kappa.z_of(kappa, size, inputs), _sums.s1(kappa, inputs)

    def unstable(log_excess: Array) -> Array:
        rate, own = rate_at(log_excess)
        z = jax.lax.complex(roots[1] / rate, jnp.zeros_like(rate))
        return (
            -above * own - below * jnp.real(_sums.s1(_kappa.kappa_of(z, size, inputs), inputs)) > 1
        )

    edge = jnp.log(-1 - _kappa.kappa_edge(size, inputs, jnp.asarray(True)))
    return rate_at(bisect(unstable, edge, jnp.maximum(edge, 0.0) + 60.0, 60))[0]
