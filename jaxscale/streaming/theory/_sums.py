r"""Sums over the coordinates of power-law inputs, to rounding, at a cost that no size changes.

$$S_r(\kappa) = \sum_{j \le V} (1 + \kappa j^{2\alpha})^{-r}, \qquad
  Q(\kappa) = \sum_{j \le V} \frac{j^{-2\beta}}{1 + \kappa j^{2\alpha}}$$

for real or complex kappa: term by term up to j = 100; beyond, the Euler-Maclaurin formula, its
integral by Gauss panels in ln j up to |kappa| j^2alpha = 100 and by the geometric series beyond.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

DIRECT = 100
PANELS, NODES = 48, 16
LARGE = 100.0  # |kappa| j^2alpha from which the series is summed
TERMS = 8  # of the series, an even number: the next is below rounding
Number = Float[Array, ""] | Complex[Array, ""]


@functools.cache
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the panels on 0..1."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    at = (np.arange(PANELS)[:, None] + (x + 1) / 2) / PANELS
    return at.ravel(), np.broadcast_to(w / 2 / PANELS, at.shape).ravel()


def _tail(
    orders: tuple[int, ...], kappa: Number, p: Array, s: Array, last: Array, start: Array
) -> Float[Array, " r"] | Complex[Array, " r"]:
    """Integrals of `j^-s (1 + kappa j^p)^-r` from `start` to `last` by the series."""
    k, r = np.arange(TERMS), np.asarray(orders)[:, None]
    ratios = -(r + k[:-1]) / (k[:-1] + 1.0)
    factors = np.cumprod(np.concatenate([np.ones_like(ratios[:, :1]), ratios], axis=1), axis=1)
    gap = s + p * jnp.asarray(r + k, p.dtype) - 1.0
    end = jnp.where(jnp.isinf(last), start, last)
    y = gap * jnp.log(end / start)
    small = jnp.abs(y) < 1e-3
    safe = jnp.where(small, 1.0, y)
    share = jnp.where(small, 1.0 - y / 2 + y**2 / 6 - y**3 / 24, -jnp.expm1(-safe) / safe)
    endless = 1.0 / jnp.where(jnp.isinf(last), gap, 1.0)
    widths = jnp.where(jnp.isinf(last), endless, jnp.log(end / start) * share)
    integrals = start**-gap * widths
    inverse = 1.0 / kappa
    half = _powers(inverse, tuple(range(TERMS // 2)))
    powers = jnp.concatenate([half, inverse ** (TERMS // 2) * half])
    terms = (jnp.asarray(factors, p.dtype) * integrals).astype(kappa.dtype) * powers
    return jnp.sum(terms, axis=1) * _powers(inverse, orders)


def _ends(
    orders: tuple[int, ...], kappa: Number, p: Array, s: Array, j: Float[Array, " e"]
) -> Float[Array, "r e"] | Complex[Array, "r e"]:
    """`f / 2 + f' / 12 - f''' / 720` of `f = j^-s (1 + kappa j^p)^-r`: what an end adds."""
    x = kappa * (j**p).astype(kappa.dtype)
    p, s, j = (y.astype(kappa.dtype) for y in (p, s, j))
    rest = 1.0 / (1.0 + x)
    u = x * rest
    pr = p * jnp.asarray(np.asarray(orders)[:, None], p.dtype) * u
    a, b = s + pr, p * pr * rest
    third = -(a**3) + 3.0 * a * b - p * b * (rest - u) - 3.0 * a**2 + 3.0 * b - 2.0 * a
    return j**-s * _powers(rest, orders) * (0.5 - a / (12.0 * j) - third / (720.0 * j**3))


def _powers(base: Array, orders: tuple[int, ...]) -> Array:
    """`base^r` along a first axis."""
    return jnp.stack([base**r for r in orders])


@functools.partial(jax.jit, static_argnums=0)  # traced once, wherever it is called
def sums(
    orders: tuple[int, ...], kappa: Number, alpha: Array, last: Array, power: Array | None = None
) -> tuple[Number, ...]:
    """`sum_j j^-power (1 + kappa j^2alpha)^-r` for every r of `orders`."""
    p, dtype = 2.0 * alpha, alpha.dtype
    s = jnp.zeros_like(alpha) if power is None else power
    first = jnp.asarray(float(DIRECT), dtype)
    end = jnp.maximum(last, first)
    top = jnp.where(jnp.isinf(end), jnp.finfo(dtype).max, end)
    turn = (jnp.log(LARGE) - jnp.log(jnp.abs(kappa))) / p
    log_turn = jnp.clip(turn, jnp.log(first), jnp.log(top))
    at, weight = (jnp.asarray(x, dtype) for x in _gauss())
    span = log_turn - jnp.log(first)
    inside = jnp.log(first) + span * at
    j = jnp.arange(1, DIRECT + 1).astype(dtype)
    log_j = jnp.concatenate([jnp.log(j), inside])
    counted = jnp.where(j <= last, 1.0, jnp.zeros_like(j))
    beyond = jnp.where(last > first, 1.0, jnp.zeros_like(first))
    weights = jnp.concatenate([counted, beyond * span * weight * jnp.exp(inside)])
    weights = (weights * jnp.exp(-s * log_j)).astype(kappa.dtype)
    share = 1.0 / (1.0 + kappa * jnp.exp(p * log_j).astype(kappa.dtype))
    finite = jnp.where(jnp.isinf(end), first, end)
    has_tail = turn < jnp.log(top)  # else the panels reach the last coordinate
    large = jnp.where(has_tail, kappa, jnp.ones_like(kappa))
    tail = _tail(orders, large, p, s, end, jnp.exp(log_turn))
    at_first, at_end = _ends(orders, kappa, p, s, jnp.stack([first, finite])).T
    at_end = jnp.where(jnp.isinf(end), jnp.zeros_like(at_end), at_end)
    rest = jnp.where(has_tail, tail, jnp.zeros_like(tail)) - at_first + at_end
    direct = jnp.sum(weights * _powers(share, orders), axis=1)
    return tuple(direct + beyond.astype(kappa.dtype) * rest)


def s1(kappa: Number, alpha: Array, last: Array) -> Number:
    """`S_1`."""
    return sums((1,), kappa, alpha, last)[0]


def q(kappa: Number, alpha: Array, beta: Array, last: Array) -> Number:
    """`Q`."""
    return sums((1,), kappa, alpha, last, 2.0 * beta)[0]
