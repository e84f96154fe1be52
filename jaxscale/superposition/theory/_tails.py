"""Laws of the interference at an inactive output, and the threshold that a bias reaches on them.

The threshold solves dv/dtau = E relu(z - v), v(0) = 0, for z of unit scale. How late it grows
depends only on the tail of z, through its extreme-value index xi.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale.spectra import as_floats, require


def _checked(name: str, value: ArrayLike, least: float) -> Array:
    require(name, value, lambda v: (v > least) & (v < np.inf), f"above {least:g} and finite")
    return as_floats(value)[0]


class AbstractTail(eqx.Module):
    """Law of the interference z at an inactive output, in units of its scale.

    **Arguments:** none.

    **Returns:** a pytree; its methods take arrays of any shape.

    **Reference:** derived here.
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

    @abc.abstractmethod
    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2 at the threshold of tau, also where 1 - v would be rounded."""


class Laplace(AbstractTail):
    r"""Two-sided exponential interference of unit scale (variance 2).

    $$P(z > x) = \tfrac12 e^{-x}, \quad E\,\mathrm{relu}(z - v) = \tfrac12 e^{-v}, \quad
      E\,\mathrm{relu}(z - v)^2 = e^{-v}, \quad v = \ln(1 + \tau/2)$$

    **Arguments:** none.

    **Returns:** a tail with index 0.

    **Reference:** derived here.

    **Example**

    >>> print(f"{js.superposition.theory.Laplace().second_moment(1.0):.4f}")
    0.3679
    """

    @property
    def tail_index(self) -> Float[Array, "..."]:
        """Index 0: the Gumbel class."""
        return jnp.zeros(())

    def first_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)."""
        return self.second_moment(v) / 2

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2."""
        return jnp.exp(-as_floats(v)[0])

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Solution of dv/dtau = E relu(z - v), v(0) = 0."""
        return jnp.log1p(as_floats(tau)[0] / 2)

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2 at the threshold of tau."""
        return 1 / (1 + as_floats(tau)[0] / 2)


class Pareto(AbstractTail):
    r"""Interference with a power-law tail.

    $$P(z > x) = x^{-q},\ x \ge 1; \qquad E\,\mathrm{relu}(z - v) = \frac{v^{1-q}}{q - 1}, \quad
      E\,\mathrm{relu}(z - v)^2 = \frac{2 v^{2-q}}{(q-1)(q-2)} \quad (v \ge 1)$$

    For v < 1 every z is above: the first moment is m - v with m = q/(q-1). The threshold is
    m (1 - e^{-tau}) up to v = 1 at tau_1 = ln q and then
    [1 + q (tau - tau_1)/(q - 1)]^{1/q}.

    **Arguments:** `index`, q > 2, scalar or array.

    **Returns:** a tail with index 1/q.

    **Raises:** `ValueError` for a plain index of 2 or below.

    **Reference:** derived here.

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
        """E relu(z - v)."""
        x, q = as_floats(v, self.index)
        far = jnp.maximum(x, 1.0) ** (1 - q) / (q - 1)
        return jnp.where(x < 1, q / (q - 1) - jnp.minimum(x, 1.0), far)

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2."""
        x, q = as_floats(v, self.index)
        low = jnp.minimum(x, 1.0)
        near = q / (q - 2) - 2 * low * q / (q - 1) + low**2
        far = 2 * jnp.maximum(x, 1.0) ** (2 - q) / ((q - 1) * (q - 2))
        return jnp.where(x < 1, near, far)

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Solution of dv/dtau = E relu(z - v), v(0) = 0."""
        t, q = as_floats(tau, self.index)
        turn = jnp.log(q)
        early = -q / (q - 1) * jnp.expm1(-t)
        late = jnp.maximum(1 + q * (t - turn) / (q - 1), 1.0) ** (1 / q)
        return jnp.where(t < turn, early, late)

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2 at the threshold of tau."""
        return self.second_moment(self.threshold(tau))


class Bounded(AbstractTail):
    r"""Interference that ends at z = 1, such as a few overlaps of bounded amplitude.

    $$P(z > x) = (1 - x)^k,\ 0 \le x \le 1; \qquad
      E\,\mathrm{relu}(z - v) = \frac{(1-v)^{k+1}}{k+1}, \quad
      E\,\mathrm{relu}(z - v)^2 = \frac{2 (1-v)^{k+2}}{(k+1)(k+2)}$$

    The threshold is 1 - [1 + k tau/(k + 1)]^{-1/k}.

    **Arguments:** `order`, k > 0, scalar or array.

    **Returns:** a tail with index -1/k.

    **Raises:** `ValueError` for a plain order of 0 or below.

    **Reference:** derived here.

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
        """E relu(z - v)."""
        x, k = as_floats(v, self.order)
        return jnp.maximum(1 - x, 0.0) ** (k + 1) / (k + 1)

    def second_moment(self, v: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2."""
        x, k = as_floats(v, self.order)
        return 2 * jnp.maximum(1 - x, 0.0) ** (k + 2) / ((k + 1) * (k + 2))

    def threshold(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Solution of dv/dtau = E relu(z - v), v(0) = 0."""
        t, k = as_floats(tau, self.order)
        return -jnp.expm1(-jnp.log1p(k * t / (k + 1)) / k)

    def residual(self, tau: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """E relu(z - v)^2 at the threshold of tau."""
        t, k = as_floats(tau, self.order)
        power = jnp.exp(-jnp.log1p(k * t / (k + 1)) * (1 + 2 / k))
        return 2 * power / ((k + 1) * (k + 2))
