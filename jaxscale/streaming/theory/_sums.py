r"""Sums over the coordinates of power-law inputs, at a cost that no size changes.

$$S_r(\kappa) = \sum_{j \le V} (1 + \kappa j^{2\alpha})^{-r}, \qquad
  Q(\kappa) = \sum_{j \le V} \frac{j^{-2\beta}}{1 + \kappa j^{2\alpha}}$$

for real or complex kappa: term by term up to j = 112; beyond, the Euler-Maclaurin formula, its
integral by Gauss panels in ln j up to |kappa| j^2alpha = 100 and by the geometric series beyond.
Panels hold for |kappa| above 1e-50, and off the negative axis if kappa is complex. They are right
to rounding for alpha up to 4; where |kappa| 112^2alpha is about 1, the formula leaves 1e-11 at
alpha = 6 and 3e-9 at 15.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxscale._quadrature import gauss_legendre

PANELS, NODES = 48, 16
ROWS = 7
DIRECT = ROWS * NODES  # terms that are summed, in rows as long as those of panels
LARGE = 100.0  # |kappa| j^2alpha from which the series is summed
TERMS = 8  # of the series: the next is below rounding
J = np.arange(1.0, DIRECT + 1)
Number = Float[Array, ""] | Complex[Array, ""]


class Inputs(eqx.Module):
    """Coordinates of power-law inputs: what does not change with kappa.

    - `power`: 2 alpha.
    - `log_last`: ln V, not below that of the last term; of infinitely many the largest number.
    - `endless`, `beyond`: whether there are infinitely many, and any beyond the terms.
    - `counted`: 1 for terms up to V, 0 for others; the part of the last one where V is not whole.
    - `ends`: where the integral begins and ends, twice the beginning if it does not end.
    - `raised`: `j^2alpha` of terms and `ends`.
    """

    power: Float[Array, ""]
    log_last: Float[Array, ""]
    endless: Bool[Array, ""]
    beyond: Bool[Array, ""]
    counted: Float[Array, " j"]
    ends: Float[Array, "2"]
    raised: Float[Array, " k"]


@jax.jit
def inputs_of(alpha: Array, last: Array) -> Inputs:
    """Coordinates with an exponent, up to V."""
    p, dtype, first = 2.0 * alpha, alpha.dtype, float(DIRECT)
    last = jnp.asarray(last, dtype)
    endless, end = jnp.isinf(last), jnp.maximum(last, first)
    top = jnp.where(endless, jnp.finfo(dtype).max, end)
    ends = jnp.stack([jnp.asarray(first, dtype), jnp.where(endless, first, end)])
    logs = jnp.concatenate([jnp.asarray(np.log(J), dtype), jnp.log(ends)])
    counted = jnp.clip(last - jnp.asarray(J - 1.0, dtype), 0.0, 1.0)
    return Inputs(p, jnp.log(top), endless, last >= first, counted, ends, jnp.exp(p * logs))


def _added(
    orders: tuple[int, ...], kappa: Number, x: Float[Array, "i k"], weight: Float[Array, "i #k"]
) -> list[Array]:
    """`sum_i weight_ik (1 + kappa x_ik)^-r`, real and imaginary parts by themselves for speed."""

    def total(values: Array) -> Array:
        return jnp.sum(weight * values, axis=0)

    if not jnp.iscomplexobj(kappa):
        share = 1.0 / (1.0 + kappa * x)
        return [total(share**r) for r in orders]
    real, imag = 1.0 + jnp.real(kappa) * x, jnp.imag(kappa) * x
    scale = 1.0 / (real**2 + imag**2)
    real, imag = real * scale, -imag * scale
    powers = [(real, imag)]
    for _ in range(1, max(orders)):
        a, b = powers[-1]
        powers.append((a * real - b * imag, a * imag + b * real))
    return [jax.lax.complex(*map(total, powers[r - 1])) for r in orders]


def _tail(
    orders: tuple[int, ...], inverse: Number, s: Array, log_start: Array, inputs: Inputs
) -> Float[Array, " r"] | Complex[Array, " r"]:
    """Integrals of `j^-s (1 + kappa j^p)^-r` from a start on, by powers of `1 / kappa`."""
    n = np.arange(1, max(orders) + TERMS)
    factors = np.zeros((len(orders), n.size))
    for row, r in zip(factors, orders, strict=True):
        k = np.arange(TERMS)
        row[r - 1 + k] = np.cumprod(np.append(1.0, -(r + k[:-1]) / (k[:-1] + 1.0)))
    gap = s + inputs.power * jnp.asarray(n, s.dtype) - 1.0
    width = inputs.log_last - log_start
    y = gap * width
    small = inputs.endless | (jnp.abs(y) < 1e-3)
    safe = jnp.where(small, 1.0, y)
    share = jnp.where(small, 1.0 - y / 2 + y**2 / 6 - y**3 / 24, -jnp.expm1(-safe) / safe)
    widths = jnp.where(inputs.endless, 1.0 / jnp.where(inputs.endless, gap, 1.0), width * share)
    terms = (jnp.asarray(factors, s.dtype) * widths).astype(inverse.dtype)
    total = jnp.zeros(len(orders), inverse.dtype)
    for column in reversed(range(n.size)):
        total = (total + terms[:, column]) * inverse
    return jnp.exp((1.0 - s) * log_start).astype(inverse.dtype) * total


def _ends(
    orders: tuple[int, ...], kappa: Number, s: Array, inputs: Inputs
) -> Float[Array, " r"] | Complex[Array, " r"]:
    """`f / 2 + f' / 12 - f''' / 720` at the end less that at the beginning."""
    given = (inputs.power, s, inputs.ends, inputs.ends**-s, inputs.raised[DIRECT:])
    p, s, j, weight, raised = (x.astype(kappa.dtype) for x in given)
    x = kappa * raised
    rest = 1.0 / (1.0 + x)
    u = x * rest
    pr = p * jnp.asarray(np.asarray(orders)[:, None], p.dtype) * u
    a, b = s + pr, p * pr * rest
    third = -(a**3) + 3.0 * a * b - p * b * (rest - u) - 3.0 * a**2 + 3.0 * b - 2.0 * a
    powers = jnp.stack([rest**r for r in orders])
    at = weight * powers * (0.5 - a / (12.0 * j) - third / (720.0 * j**3))
    return jnp.where(inputs.endless, jnp.zeros_like(at[:, 1]), at[:, 1]) - at[:, 0]


@functools.partial(jax.jit, static_argnames=("orders", "panels"))  # traced once
def sums(
    orders: tuple[int, ...],
    kappa: Number,
    inputs: Inputs,
    power: Array | None = None,
    panels: int = PANELS,
) -> tuple[Number, ...]:
    """`sum_j j^-power (1 + kappa j^2alpha)^-r` for every r of `orders`."""
    p, kind = inputs.power, kappa.dtype
    s, dtype = jnp.zeros_like(p) if power is None else power, p.dtype
    turn = (math.log(LARGE) - jnp.log(jnp.abs(kappa))) / p
    log_turn = jnp.clip(turn, math.log(DIRECT), inputs.log_last)
    has_tail = turn < inputs.log_last  # else the panels reach the last coordinate
    beyond = inputs.beyond.astype(dtype)

    terms, log_j = inputs.counted, jnp.asarray(np.log(J), dtype)
    if power is not None:
        terms = terms * jnp.exp(-s * log_j)
    raised = inputs.raised[:DIRECT]
    added = _added(orders, kappa, raised.reshape(ROWS, -1), terms.reshape(ROWS, -1))

    # powers of j in panels are those of edges times those of nodes; dj = j dln j
    step, (node, weight) = (log_turn - math.log(DIRECT)) / panels, gauss_legendre(1, NODES)
    edges = math.log(DIRECT) + step * jnp.arange(panels, dtype=dtype)
    logs = jnp.concatenate([edges, step * jnp.asarray(node, dtype)])
    x, factor = jnp.exp(jnp.stack([p, 1.0 - s])[:, None] * logs)
    within = _added(orders, kappa, x[:panels, None] * x[panels:], factor[:panels, None])
    widths = (beyond * step * factor[panels:] * jnp.asarray(weight, dtype)).astype(kind)

    start = jnp.exp(p * jnp.where(has_tail, log_turn, 0.0))
    large = jnp.where(has_tail, kappa * start.astype(kind), LARGE * jnp.ones_like(kappa))
    tail = _tail(orders, 1.0 / large, s, log_turn, inputs)
    rest = jnp.where(has_tail, tail, jnp.zeros_like(tail)) + _ends(orders, kappa, s, inputs)
    parts = zip(added, within, beyond.astype(kind) * rest, strict=True)
    return tuple(jnp.sum(one + widths * two) + three for one, two, three in parts)


def s1(kappa: Number, inputs: Inputs) -> Number:
    """`S_1`."""
    return sums((1,), kappa, inputs)[0]


def q(kappa: Number, inputs: Inputs, beta: Array) -> Number:
    """`Q`."""
    return sums((1,), kappa, inputs, 2.0 * beta)[0]


def s1_and_q(kappa: Number, inputs: Inputs, beta: Array) -> tuple[Number, Number]:
    """Both by the same operations: half as many are compiled."""
    powers = jnp.stack([jnp.zeros_like(beta), 2.0 * beta])
    both = jax.vmap(lambda power: sums((1,), kappa, inputs, power)[0])(powers)
    return both[0], both[1]
