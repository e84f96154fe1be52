"""Laws of the interference at an inactive output, and the threshold that a bias reaches on them.

The threshold solves dv/dtau = E relu(z - v), v(0) = 0, for z of unit scale. How late it grows
depends only on the tail of z, through its extreme-value index xi.
"""

import abc
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale.spectra import as_floats, gauss_legendre, require

_N_LEVELS = 48  # of the continued fraction
_PANEL = 0.125  # width of the panels of the quadrature
_NODES = 12


def _checked(name: str, value: ArrayLike, least: float) -> Array:
    require(name, value, lambda v: (v > least) & (v < np.inf), f"above {least:g} and finite")
    return as_floats(value)[0]


class AbstractTail(eqx.Module):
    """Law of the interference z at an inactive output, in units of its scale; derived here.

    A pytree whose methods take arrays of any shape.
    """

    @property
    @abc.abstractmethod
    def tail_index(self) -> Float[Array, "..."]:
        """Extreme-value index xi: 0 for exponential, 1/q for power, -1/k for bounded tails."""

    @abc.abstractmethod
    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v), for v >= 0."""

    @abc.abstractmethod
    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2, for v >= 0."""

    @abc.abstractmethod
    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Solution v of dv/dtau = E relu(z - v), v(0) = 0, at tau >= 0."""

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2 at the threshold v of tau; of a law of its own where v would round."""
        return self.second_moment(self.threshold(tau))


class Laplace(AbstractTail):
    r"""Two-sided exponential interference of unit scale (variance 2).

    $$P(z > x) = \tfrac12 e^{-x}, \quad E\,\mathrm{relu}(z - v) = \tfrac12 e^{-v}, \quad
      E\,\mathrm{relu}(z - v)^2 = e^{-v}, \quad v = \ln(1 + \tau/2)$$

    **Example**

    >>> print(f"{js.superposition.theory.Laplace().second_moment(1.0):.4f}")
    0.3679
    """

    @property
    def tail_index(self) -> Float[Array, "..."]:
        """Index 0: the Gumbel class."""
        return jnp.zeros(())

    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return self.second_moment(v) / 2

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.exp(-as_floats(v)[0])

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.log1p(as_floats(tau)[0] / 2)

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return 1 / (1 + as_floats(tau)[0] / 2)


class Pareto(AbstractTail):
    r"""Interference with a power-law tail.

    $$P(z > x) = x^{-q},\ x \ge 1; \qquad E\,\mathrm{relu}(z - v) = \frac{v^{1-q}}{q - 1}, \quad
      E\,\mathrm{relu}(z - v)^2 = \frac{2 v^{2-q}}{(q-1)(q-2)} \quad (v \ge 1)$$

    For v < 1 every z is above: the first moment is m - v with m = q/(q-1). The threshold is
    m (1 - e^{-tau}) up to v = 1 at tau_1 = ln q, then [1 + q (tau - tau_1)/(q - 1)]^{1/q}.

    **Arguments:** `index`, q > 2, scalar or array.

    **Raises:** `ValueError` for a plain index of 2 or below.

    **Example**

    >>> print(js.superposition.theory.Pareto(index=4.0).tail_index)
    0.25
    """

    index: Float[Array, "..."] = eqx.field(converter=lambda x: _checked("index", x, 2.0))

    @property
    def tail_index(self) -> Float[Array, "..."]:
        """Index 1/q: the Frechet class."""
        return 1 / self.index

    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        x, q = as_floats(v, self.index)
        far = jnp.maximum(x, 1.0) ** (1 - q) / (q - 1)
        return jnp.where(x < 1, q / (q - 1) - jnp.minimum(x, 1.0), far)

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        x, q = as_floats(v, self.index)
        low = jnp.minimum(x, 1.0)
        near = q / (q - 2) - 2 * low * q / (q - 1) + low**2
        far = 2 * jnp.maximum(x, 1.0) ** (2 - q) / ((q - 1) * (q - 2))
        return jnp.where(x < 1, near, far)

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        t, q = as_floats(tau, self.index)
        turn = jnp.log(q)
        early = -q / (q - 1) * jnp.expm1(-t)
        late = jnp.maximum(1 + q * (t - turn) / (q - 1), 1.0) ** (1 / q)
        return jnp.where(t < turn, early, late)


class Bounded(AbstractTail):
    r"""Interference that ends at z = 1, such as a few overlaps of bounded amplitude.

    $$P(z > x) = (1 - x)^k,\ 0 \le x \le 1; \qquad
      E\,\mathrm{relu}(z - v) = \frac{(1-v)^{k+1}}{k+1}, \quad
      E\,\mathrm{relu}(z - v)^2 = \frac{2 (1-v)^{k+2}}{(k+1)(k+2)}$$

    The threshold is 1 - [1 + k tau/(k + 1)]^{-1/k}.

    **Arguments:** `order`, k > 0, scalar or array.

    **Raises:** `ValueError` for a plain order of 0 or below.

    **Example**

    >>> print(js.superposition.theory.Bounded(order=1.0).tail_index)
    -1.0
    """

    order: Float[Array, "..."] = eqx.field(converter=lambda x: _checked("order", x, 0.0))

    @property
    def tail_index(self) -> Float[Array, "..."]:
        """Index -1/k: the Weibull class."""
        return -1 / self.order

    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        x, k = as_floats(v, self.order)
        return jnp.maximum(1 - x, 0.0) ** (k + 1) / (k + 1)

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        x, k = as_floats(v, self.order)
        return 2 * jnp.maximum(1 - x, 0.0) ** (k + 2) / ((k + 1) * (k + 2))

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        t, k = as_floats(tau, self.order)
        return -jnp.expm1(-jnp.log1p(k * t / (k + 1)) / k)

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        t, k = as_floats(tau, self.order)
        power = jnp.exp(-jnp.log1p(k * t / (k + 1)) * (1 + 2 / k))
        return 2 * power / ((k + 1) * (k + 2))


def _ratios(v):
    """1/r_n for n = 0, 1, 2, r_n = I_n/I_{n-1}, I_n = E relu(z - v)^n / n!, I_{-1} = phi; v >= 3.

    From I_{n-1} = v I_n + (n + 1) I_{n+1}, run downwards: every term is positive. NumPy or JAX.
    """
    level, levels = v, []
    for n in range(_N_LEVELS, -1, -1):
        level = v + (n + 1) / level
        if n < 3:
            levels.append(level)
    return levels[::-1]


def _density(v: Array) -> Array:
    return jnp.exp(-(v**2) / 2) / math.sqrt(2 * math.pi)


def _above(v: Array) -> Array:
    return jax.lax.erfc(v / math.sqrt(2)) / 2


@jax.custom_jvp
def _gaussian_first(v: Array) -> Array:
    far = v >= 3
    first, second, _ = _ratios(jnp.where(far, v, 3.0))
    near = jnp.where(far, 0.0, v)
    return jnp.where(far, _density(v) / (first * second), _density(near) - near * _above(near))


_gaussian_first.defjvps(lambda tangent, _, v: -_above(v) * tangent)


@jax.custom_jvp
def _gaussian_second(v: Array) -> Array:
    far = v >= 3
    first, second, third = _ratios(jnp.where(far, v, 3.0))
    near = jnp.where(far, 0.0, v)
    close = (1 + near**2) * _above(near) - near * _density(near)
    return jnp.where(far, 2 * _density(v) / (first * second * third), close)


_gaussian_second.defjvps(lambda tangent, _, v: -2 * _gaussian_first(v) * tangent)


@functools.cache
def _gaussian_clock(last: float) -> np.ndarray:
    """Tau at the thresholds 0, _PANEL, ..., last: the integral of 1 / E relu(z - v)."""
    points, weights = gauss_legendre(1, _NODES)
    v = np.arange(0.0, last, _PANEL)[:, None] + _PANEL * points
    density = np.exp(-(v**2) / 2) / math.sqrt(2 * math.pi)
    far = v >= 3
    first, second, _ = _ratios(np.where(far, v, 3.0))
    above = np.vectorize(math.erfc)(v / math.sqrt(2)) / 2
    moment = np.where(far, density / (first * second), density - v * above)
    panels = _PANEL * np.sum(weights / moment, axis=1)
    return np.concatenate([[0.0], np.cumsum(panels)])


@jax.custom_jvp
def _gaussian_threshold(tau: Array) -> Array:
    clock = _gaussian_clock(37.5 if tau.dtype == jnp.float64 else 12.5)
    clock = jnp.asarray(clock, tau.dtype)
    points, weights = (jnp.asarray(x, tau.dtype) for x in gauss_legendre(1, _NODES))
    target = jnp.minimum(tau, clock[-1])
    panel = jnp.clip(jnp.searchsorted(clock, target, side="right") - 1, 0, clock.size - 2)
    start, passed = _PANEL * panel.astype(tau.dtype), clock[panel]

    def newton(_, width):  # the integral is convex: from the right end, monotone
        inner = start[..., None] + width[..., None] * points
        time = width * jnp.sum(weights / _gaussian_first(inner), axis=-1)
        width = width - (passed + time - target) * _gaussian_first(start + width)
        return jnp.clip(width, 0.0, _PANEL)

    width = jax.lax.fori_loop(0, 12, newton, jnp.full_like(start, _PANEL))
    value = jnp.where(tau == 0, 0.0, start + width)
    return jnp.where(jnp.isinf(tau), jnp.inf, value)


@_gaussian_threshold.defjvp
def _threshold_jvp(primals, tangents):
    v = _gaussian_threshold(*primals)
    return v, _gaussian_first(v) * tangents[0]


_first_jit, _second_jit, _threshold_jit = map(
    jax.jit, (_gaussian_first, _gaussian_second, _gaussian_threshold)
)


class Gaussian(AbstractTail):
    r"""Normal interference of unit variance, the limit of many random overlaps.

    $$E\,\mathrm{relu}(z - v) = \phi(v) - v Q(v), \qquad
      E\,\mathrm{relu}(z - v)^2 = (1 + v^2) Q(v) - v\phi(v)$$

    Without cancellation at large v. The threshold inverts a quadrature, with relative error below
    1e-10 in float64 (tested against SciPy) up to tau = 1e300 (float32: 1e-4 up to 1e35); beyond,
    it stays at v = 37.5 (12.5).

    **Example**

    >>> print(f"{js.superposition.theory.Gaussian().second_moment(1.0):.4f}")
    0.0753
    """

    @property
    def tail_index(self) -> Float[Array, "..."]:
        """Index 0: the Gumbel class."""
        return jnp.zeros(())

    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _first_jit(*as_floats(v))

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _second_jit(*as_floats(v))

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _threshold_jit(*as_floats(tau))
