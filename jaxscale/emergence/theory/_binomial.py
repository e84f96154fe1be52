"""Expectations over d ~ Binomial(n, p), smooth in n, p and in the thresholds.

No probability is formed as a difference of large log-gammas (that loses 1e-6 at n = 1e9).
With x = d + 1, y = n - d + 1, z = n + 1 Stirling's formula for the three gamma functions gives

    ln pmf = -ln(2 pi z p q)/2 + ln(x/(z p))/2 + ln(y/(z q))/2 - D(x, z p) - D(y, z q)
             + stirling(z) - stirling(x) - stirling(y),     D(x, m) = x ln(x/m) + m - x,

Loader's saddle-point form (C. Loader 2000, "Fast and accurate computation of binomial
probabilities") moved by one, so that it also holds at both ends d = 0, n and for real n.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._gamma import stirling
from jaxscale.spectra import gauss_legendre, hurwitz_zeta, integrate

_WINDOW = 128  # lattice points of a smooth expectation
_EDGE_WINDOW = 512  # lattice points of an expectation with an edge
_NODES = 40  # of an integral over the probability


def _deviance(x: Array, m: Array, difference: Array) -> Array:
    """D(x, m) = x ln(x/m) + m - x with `difference` = x - m to full precision.

    Of m/x, since the slope of x/m overflows for rare skills in float32.
    """
    v = difference / (x + m)
    near = jnp.abs(v) < 0.1
    v = jnp.where(near, v, 0.0)
    series = 0.0
    for j in range(8, 0, -1):
        series = (series + 1 / (2 * j + 1)) * v**2
    return jnp.where(near, difference * v + 2 * x * v * series, -x * jnp.log(m / x) - difference)


def log_pmf(d: Array, n: Array, p: Array) -> Float[Array, "..."]:
    r"""Logarithm of the binomial probability, continued to real `d` and `n`.

    $$\ln\frac{\Gamma(n+1)}{\Gamma(d+1)\Gamma(n-d+1)} + d\ln p + (n-d)\ln(1-p)$$

    For p in (0, 1]; -inf outside `-1 < d < n + 1`. Absolute error below 1e-11 for n <= 1e9 within 9
    standard deviations (tested).
    """
    inside = (d > -1) & (d < n + 1) & (p < 1)
    d_safe, p_safe = jnp.where(inside, d, 0.0), jnp.where(p < 1, p, 0.5)
    q = 1 - p_safe
    x, y, z = d_safe + 1, n - d_safe + 1, n + 1
    shift = x - z * p_safe
    counts = jnp.stack(jnp.broadcast_arrays(x, y))
    means = jnp.stack([jnp.broadcast_to(m, counts.shape[1:]) for m in (z * p_safe, z * q)])
    shifts = jnp.stack(jnp.broadcast_arrays(shift, 1 - shift))
    terms = -jnp.log(means / counts) / 2 - _deviance(counts, means, shifts) - stirling(counts)
    value = stirling(z) - jnp.log(2 * jnp.pi * z * p_safe * q) / 2 + jnp.sum(terms, axis=0)
    certain = jnp.where((p >= 1) & (d == n), 0.0, -jnp.inf)
    return jnp.where(inside, value, certain)


def _pmf(d: Array, n: Array, p: Array) -> Array:
    logarithm = log_pmf(d, n, p)
    finite = jnp.isfinite(logarithm)
    return jnp.where(finite, jnp.exp(jnp.where(finite, logarithm, 0.0)), 0.0)


def _window(n: Array, p: Array, size: int) -> tuple[Array, Array, Array]:
    """Lattice around the mean: points (..., size), stride and standard deviation (...)."""
    n, p = jax.lax.stop_gradient((n, p))
    sd = jnp.sqrt(n * p * (1 - p))
    low = jnp.maximum(0.0, jnp.floor(n * p - jnp.maximum(9 * sd, (size - 1) // 2)))
    stride = jnp.maximum(1.0, 18 * sd / (size - 1))
    return low[..., None] + stride[..., None] * jnp.arange(size, dtype=low.dtype), stride, sd


def mean_over_sets(f: Callable[[Array], Array], n: Array | float, p: Array) -> Float[Array, "..."]:
    r"""Average a smooth function of the share of a skill over data sets of n samples.

    $$E\,f(d/n), \qquad d \sim \text{Binomial}(n, p)$$

    f(p) for infinite n, of which a float is a constant of the program. 128 lattice points within
    nine standard deviations. Where the window is wider than that the lattice is thinned: for an
    analytic summand, stride times the thinned sum differs from the sum by
    exp(-2 pi^2 (sd / stride)^2), here below 1e-300, and by exp(-2 pi w / stride) if f has a pole at
    distance w from the real axis (Trefethen and Weideman 2014).
    """
    at_infinity = f(p)
    if isinstance(n, float):
        return at_infinity
    infinite = jnp.isinf(n)
    n, p = jnp.broadcast_arrays(jnp.where(infinite, 1.0, n), p)
    d, stride, _ = _window(n, p, _WINDOW)
    share = d / jnp.where(n > 0, n, 1.0)[..., None]  # of an empty set 0, whatever divides it
    mean = stride * jnp.sum(_pmf(d, n[..., None], p[..., None]) * f(share), axis=-1)
    return jnp.where(infinite, at_infinity, mean)


def deficit(n: Array, p: Array, c: Array) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Average the shortfall of a binomial count below a real threshold.

    $$s(p) = E\,(1 - d/c)_+, \qquad d \sim \text{Binomial}(n, p)$$

    and 1 minus it, without cancellation where it is near 1. For scalars n and c > 0 and any shape
    of p in (0, 1]; no count lies between 0 and 1, so that s is the same for all c <= 1.

    (c - d)_+ has second differences at the two counts around c = m + t alone, 0 < t <= 1, hence

        c s''(p) = n (n-1) [(1-t) pmf(m-1; n-2, p) + t pmf(m; n-2, p)],

    and s(p) is 1 - n p/c plus the integral of (p - x) s''(x) over x < p. For p above c/n, where
    that cancels, it is the integral of (x - p) s''(x) over x > p, in ln(1 - x), in which s'' is
    entire also for real n. Both, in units of pmf(m; n, p), are of one sign for whole n.
    """
    c = jnp.where(c > 1, c, 1.0)
    m = jnp.ceil(jax.lax.stop_gradient(c)) - 1
    t, beyond = c - m, n > m  # counts up to m are all below c, and s is linear
    rest = jnp.where(beyond, n - m, 1.0)
    most = 1 - jnp.finfo(p.dtype).eps
    mean, p = n * p / c, p - jax.lax.stop_gradient(jnp.maximum(p - most, 0.0))
    q = 1 - p
    # nine standard deviations and an exponential tail, of 1 - x/p on the left
    rate = jnp.maximum(rest - 1, 1.0)
    right = (8.7 * jnp.sqrt(m * rate / (m + rate)) + 36) / rate
    left = jnp.minimum(8.7 * jnp.sqrt(q / m) + 36 / m, 1.0)
    above = (mean > 1) & (rest >= 2)
    length = jax.lax.stop_gradient(jnp.where(above, right, left))
    unit, weights = (jnp.asarray(v, c.dtype) for v in gauss_legendre(1, _NODES))
    u, odds, over = length[..., None] * unit, (p / q)[..., None], above[..., None]
    step = jnp.where(over, u, -jnp.log1p(odds * u))  # -ln((1 - x)/q)
    rise = jnp.where(over, -jnp.expm1(-u), -odds * u)  # (x - p)/q
    growth = jnp.where(over, rise / jnp.where(over, odds, 1.0), -u)  # x/p - 1
    density = jnp.exp(m * jnp.log1p(growth) - rest * step)
    second = (1 - t) * m * growth / (1 + growth) + t * (rest - 1) * rise * jnp.exp(step)
    inner = second * density * jnp.where(over, 1.0, -odds * jnp.exp(step))
    excess = rest / c * _pmf(m, jnp.where(beyond, n, m + 1), p) * length * (inner @ weights)
    excess = jnp.where(beyond, excess, 0.0)
    return jnp.where(above, excess, 1 - mean + excess), jnp.where(above, 1 - excess, mean - excess)


def root_deficit(n: Array, p: Array, c: Array) -> Float[Array, ""]:
    r"""Average 1 minus the root of the shortfall of a binomial count below a real threshold.

    $$1 - E\sqrt{(1 - d/c)_+}, \qquad d \sim \text{Binomial}(n, p)$$

    Where it is small it is a mean of its own over the lattice, without cancellation, and without an
    edge in reach where the lattice is thinned.

    Every lattice point is used while 18 standard deviations fit into 512 of them. Beyond, the
    one-sided sum is an integral plus corrections at its edge d = c, where the summand is
    x^a g(x) with x = c - d, a = 1/2:

        sum_{j>=0} (j+t)^a g(j+t) = int_0^inf x^a g dx + sum_i zeta(-a-i, t) g^(i)(0) / i!,

    with t = c - floor(c) (generalised Euler-Maclaurin, Navot 1961; zeta is Hurwitz's). Scalars:
    p in (0, 1], c > 0.
    """
    d, stride, sd = _window(n, p, _EDGE_WINDOW)
    mean = jax.lax.stop_gradient(n * p)
    lowest = jnp.maximum(0.0, mean - 9 * sd)
    top = jax.lax.stop_gradient(c)
    start = jnp.sqrt(jnp.maximum(top - mean - 9 * sd, 0.0))
    stop = jnp.sqrt(jnp.maximum(top - lowest, 0.0))
    unit, weights = (jnp.asarray(v, c.dtype) for v in gauss_legendre(16, 12))
    w = start + (stop - start) * unit  # x = w^2 removes the root at the edge
    around = c + jnp.arange(-2.0, 3.0, dtype=c.dtype)
    mass = _pmf(jnp.concatenate([d, c - w**2, around]), n, p)
    g = mass[-5:]

    gap = (c - d) / c  # exactly 0 at d = c, where the root would magnify a rounding error
    below = gap > 0
    root = jnp.where(below, jnp.sqrt(jnp.where(below, gap, 1.0)), 0.0)
    direct = jnp.sum(root * mass[:_EDGE_WINDOW])
    reached = d / c / (1 + root)  # 1 - root
    mean_reached = stride * jnp.sum(jnp.where(below, reached, 1.0) * mass[:_EDGE_WINDOW])
    inner = 2 * w**2 * mass[_EDGE_WINDOW:-5]
    integral = (stop - start) * jnp.sum(weights * inner)
    slope = -(8 * (g[3] - g[1]) - (g[4] - g[0])) / 12
    t = c - jnp.floor(top)
    t = jnp.where(t > 0, t, 1.0)
    zeta = hurwitz_zeta(-0.5 - jnp.arange(3, dtype=c.dtype), t)
    edge = zeta[0] * g[2] + zeta[1] * slope + zeta[2] * (g[3] - 2 * g[2] + g[1]) / 2
    wide = 18 * sd > _EDGE_WINDOW - 1
    short = jnp.where(wide, (integral + edge) / jnp.sqrt(c), direct)
    return jnp.where(short < 0.5, 1 - short, mean_reached)


def at_least(n: Array, p: Array, c: Array) -> Float[Array, ""]:
    r"""Probability of at least `c` successes, `c` real, differentiable in all three.

    $$P(d \ge c) = I_p(c, n - c + 1) = \int_{-\infty}^{\ln p} c\,\text{pmf}(c; n, e^y)\,dy$$

    The regularised incomplete beta function as an integral of its density over the logarithm of
    the probability (DLMF 8.17; the library's `betainc` has no gradient in its first two arguments).
    Scalars, c > 0; 0 for `n <= c - 1`.
    """
    possible = n > c - 1
    n = jnp.where(possible, n, c)
    a, b = jax.lax.stop_gradient((c, n - c + 1))
    # the density in y has its mode at the mean, width a^-1/2 and a left tail e^(a y)
    # (a mode at y = 0 when b < 1)
    peak = jnp.log(a / (a + jnp.maximum(b - 1, 0.0)))
    width = 8.7 / jnp.sqrt(a)
    log_p = jnp.log(p)
    upper = jnp.minimum(log_p, peak + width)
    lower = jnp.minimum(jax.lax.stop_gradient(log_p), peak) - width - 38 / a
    density = integrate(lambda y: c * _pmf(c, n, jnp.exp(y)), lower, upper, 48, 12)
    return jnp.where(possible, jnp.minimum(density, 1.0), 0.0)
