"""Exponential relaxation of one mode, by gradient flow or by discrete steps."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def _log_step(rate: Array) -> Array:
    """Logarithm of |1 - rate|, without cancellation at 0 and at 2; the rate is not 1."""
    return jnp.log1p(-jnp.where(rate < 1, rate, 2 - rate))


def decay(
    rate: Float[Array, "*#s"], time: Float[Array, "*#s"], *, discrete: bool
) -> Float[Array, "*s"]:
    r"""Remaining deviation of a mode, in units of its start.

    $$q = e^{-r t} \quad\text{or}\quad q = (1 - r)^t$$

    For steps beyond r = 1 the size is |1 - r|^t for every real t and the sign that of the nearest
    integer. Derivatives are finite at r = 0, r = 1 and t infinite.

    **Arguments:** the rate per unit of time, at least 0; the time, may be infinite; `discrete`
    for steps instead of flow.

    **Returns:** the broadcast shape.
    """
    endless = jnp.isinf(time)
    t = jnp.where(endless, 0.0, time)
    if not discrete:
        return jnp.where(endless & (rate > 0), 0.0, jnp.exp(-rate * t))
    done = rate == 1
    r = jnp.where(done, 0.5, rate)
    odd = jnp.mod(jnp.round(t), 2.0) == 1
    size = jnp.exp(t * _log_step(r))
    value = jnp.where((r > 1) & odd, -size, size)
    value = jnp.where(done, jnp.where(t == 0, 1.0, 0.0), value)
    value = jnp.where(endless & (rate > 2), jnp.inf, value)
    return jnp.where(endless & (rate > 0) & (rate < 2), 0.0, value)


def decay_slope(
    one: Float[Array, "*#s"],
    other: Float[Array, "*#s"],
    time: Float[Array, "*#s"],
    *,
    discrete: bool,
) -> Float[Array, "*s"]:
    r"""Divided difference of `decay` in the rate; the derivative where the two rates agree.

    $$\frac{q(r) - q(r')}{r - r'}$$

    No cancellation for close rates: with r < r', the factor q(r) is split off and the rest is
    `expm1`.

    **Arguments:** two rates, at least 0; the time; `discrete` as in `decay`.

    **Returns:** the broadcast shape.

    **Reference:** the first divided difference of the Daleckii-Krein theorem.
    """
    low, high = jnp.minimum(one, other), jnp.maximum(one, other)
    gap = high - low
    t = jnp.where(jnp.isinf(time), 0.0, time)
    if not discrete:
        z = t * gap
        small = z < 1e-8
        shrink = jnp.where(small, 1 - z / 2, -jnp.expm1(-z) / jnp.where(small, 1.0, z))
        return -t * jnp.exp(-t * low) * shrink
    base = 1 - low
    flat = base == 0
    ratio = gap / jnp.where(flat, 1.0, base)
    close = (jnp.abs(ratio) < 0.5) & ~flat
    same = gap == 0
    width = jnp.where(same, 1.0, gap)
    change = jnp.expm1(t * jnp.log1p(-jnp.where(close, ratio, 0.0))) / width
    change = jnp.where(same, -t / jnp.where(flat, 1.0, base), change)
    slow = decay(low, t, discrete=True)
    direct = (decay(high, t, discrete=True) - slow) / width
    return jnp.where(close, slow * change, jnp.where(same, 0.0, direct))
