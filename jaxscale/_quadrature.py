"""Quadrature of smooth functions, and of distant sums of them."""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.cache
def gauss_legendre(n_panels: int, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Composite Gauss-Legendre rule on the unit interval: `n_panels` of `n_nodes` nodes each.

    **Returns:** points and weights, float64 NumPy arrays of shape `(n_panels * n_nodes,)`.
    """
    x, w = np.polynomial.legendre.leggauss(n_nodes)
    points = (np.arange(n_panels)[:, None] + (x + 1) / 2) / n_panels
    weights = np.broadcast_to(w / (2 * n_panels), points.shape)
    return points.ravel(), weights.ravel()


def integrate(
    f: Callable[[Array], Array], lower: Array, upper: Array, n_panels: int, n_nodes: int = 12
) -> Float[Array, ""]:
    """Integrate a smooth function between two traced scalars by composite Gauss-Legendre.

    **Arguments:** `f` maps `(m,)` points to values; scalar limits `lower` and `upper`; the rule.

    **Returns:** a scalar.
    """
    points, weights = gauss_legendre(n_panels, n_nodes)
    x = lower + (upper - lower) * jnp.asarray(points, lower.dtype)
    return (upper - lower) * jnp.sum(jnp.asarray(weights, lower.dtype) * f(x))


# -B_2j(1/2) / (2j)! h^(2j - 1), j = 1..4, at a half-integer, from the eight integers around it
OFFSETS = np.array([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5])
_TARGETS = (0, 1 / 24, 0, -7 / 5760, 0, 31 / 967680, 0, -127 / 154828800)
ENDS = np.linalg.solve([OFFSETS**k / math.factorial(k) for k in range(8)], np.array(_TARGETS))


def tail_rule(
    first: Array, last: Array, span: Array, n_panels: int = 96, n_nodes: int = 12
) -> tuple[Array, Array]:
    r"""Points and weights that sum a smooth function over a distant, possibly infinite range.

    $$\sum_{k=a}^{b} h(k) = \int_{a-1/2}^{b+1/2} h\,dx
      - \Big[\tfrac{1}{24}h' - \tfrac{7}{5760}h^{(3)} + \dots\Big]_{a-1/2}^{b+1/2}
      \approx \sum_i w_i h(x_i)$$

    The integral runs over `ln x`; the derivatives, up to the seventh, come from eight values around
    each end, which leaves an error of about `1e-5 h^(9)`.

    **Arguments:**

    - `first`: first index, scalar, at least 5.
    - `last`: last index, scalar, may be infinite; the weights are 0 when `last < first`.
    - `span`: length in `ln x` after which `x h(x)` is negligible.
    - `n_panels`, `n_nodes`: the composite Gauss-Legendre rule.

    **Returns:** points and weights, `(n_panels * n_nodes + 16,)` each.

    **Reference:** midpoint Euler-Maclaurin formula (DLMF 2.10).
    """
    empty = (last < first) | jnp.isinf(first)
    first = jnp.where(empty, 10.0, first)
    cut = empty | jnp.isinf(last) | (last > first * jnp.exp(span))
    start, end = first - 0.5, jnp.where(cut, first, last) + 0.5
    low = jnp.log(start)
    high = jnp.where(cut, low + span, jnp.log(end))
    unit, weights = (jnp.asarray(v, first.dtype) for v in gauss_legendre(n_panels, n_nodes))
    x = jnp.exp(low + (high - low) * unit)
    offsets, ends = (jnp.asarray(v, first.dtype) for v in (OFFSETS, ENDS))
    points = jnp.concatenate([x, start + offsets, end + offsets])
    weights = jnp.concatenate([(high - low) * weights * x, ends, jnp.where(cut, 0.0, -ends)])
    return points, jnp.where(empty, 0.0, weights)
