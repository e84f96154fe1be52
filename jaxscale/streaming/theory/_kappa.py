r"""The self-consistent equation of random features, which is explicit in kappa.

$$z = -\kappa\,(1 - S_1(\kappa) / d), \qquad
  \sum_i \frac{\lambda_i}{\lambda_i - z} = S_1(\kappa), \qquad
  \sum_i \frac{c_i^2}{\lambda_i - z} - \frac{|t_\perp|^2}{z} = -\frac{\kappa Q(\kappa)}{z}$$

kappa(z) is followed by Newton's method along the ray from |z| = 8, where it is -z: from elsewhere
it may land on another branch. Derivatives pass through the last two steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxscale._roots import root
from jaxscale.streaming.theory import _sums

FAR = 8.0
STAGES, NEWTON = 14, 2
HALVINGS = 70


def _newton(n: int, kappa: Array, z: Array, size: Array, alpha: Array, last: Array) -> Array:
    """`n` Newton steps on `kappa (1 - S_1 / d) + z = 0`."""

    def step(kappa: Array, _: None) -> tuple[Array, None]:
        one, two = _sums.sums((1, 2), kappa, alpha, last)
        d = size.astype(kappa.dtype)
        return kappa - (kappa * (1.0 - one / d) + z) / (1.0 - two / d), None

    return jax.lax.scan(step, kappa, None, length=n)[0]


def kappa_of(z: Complex[Array, ""], size: Array, alpha: Array, last: Array) -> Complex[Array, ""]:
    """Kappa at a complex z off the spectrum."""
    fixed = jax.lax.stop_gradient((z, size, alpha, last))
    distance = jnp.abs(fixed[0])
    direction = fixed[0] / distance.astype(z.dtype)
    far = jnp.maximum(distance, FAR)

    def stage(kappa: Array, share: Array) -> tuple[Array, None]:
        point = direction * (far * (distance / far) ** share).astype(z.dtype)
        return _newton(NEWTON, kappa, point, *fixed[1:]), None

    shares = jnp.append(jnp.linspace(0.0, 1.0, STAGES + 1), 1.0).astype(alpha.dtype)
    kappa, _ = jax.lax.scan(stage, -direction * far.astype(z.dtype), shares)
    return _newton(2, jax.lax.stop_gradient(kappa), z, size, alpha, last)


def kappa_along(
    path: Complex[Array, " n"], size: Array, alpha: Array, last: Array
) -> Complex[Array, " n"]:
    """Kappa at points of a path that begins beyond the spectrum, each from the one before."""
    fixed = jax.lax.stop_gradient((size, alpha, last))

    def along(kappa: Array, z: Array) -> tuple[Array, Array]:
        kappa = _newton(3 * NEWTON, kappa, z, *fixed)
        return kappa, kappa

    points = jax.lax.stop_gradient(path)
    _, kappa = jax.lax.scan(along, kappa_of(points[0], *fixed), points)
    kappa = jax.lax.stop_gradient(kappa)
    return jax.vmap(lambda k, z: _newton(2, k, z, size, alpha, last))(kappa, path)


def log_root(function: Any, arguments: Any, low: Any, high: Any) -> Array:
    """Root in `ln kappa` of a function that falls with it."""
    dtype = arguments[0].dtype
    ends = [jnp.asarray(e).astype(dtype) for e in (low, high)]
    return root(function, arguments, ends[0], ends[1], HALVINGS, rising=False)


def log_kappa_floor(size: Array, alpha: Array, last: Array) -> Float[Array, ""]:
    """`ln kappa_0` with `S_1(kappa_0) = d`: where z is 0."""

    def function(log: Array, size: Array, alpha: Array, last: Array) -> tuple[Array, Array]:
        one, two = _sums.sums((1, 2), jnp.exp(log), alpha, last)
        return jnp.log(one / size), -(one - two) / one

    rough = -2.0 * jax.lax.stop_gradient(alpha) * jnp.log(jax.lax.stop_gradient(size))
    return log_root(function, (size, alpha, last), rough - 40.0, rough + 40.0)


def log_kappa_lowest(size: Array, alpha: Array, last: Array) -> Float[Array, ""]:
    """`ln kappa` with `S_2(kappa) = d` above 0: at the lower edge of the spectrum."""
    top = log_kappa_floor(size, alpha, last)

    def function(log: Array, size: Array, alpha: Array, last: Array) -> tuple[Array, Array]:
        kappa = jnp.exp(log)
        two, three = _sums.sums((2, 3), kappa, alpha, last)
        return jnp.log(two / size), -2.0 * (two - three) / two

    return log_root(function, (size, alpha, last), top - 40.0, top)


def log_kappa_highest(size: Array, alpha: Array, last: Array) -> Float[Array, ""]:
    """`ln(-kappa - 1)` with `S_2(kappa) = d` below -1: at the upper edge of the spectrum."""

    def function(log: Array, size: Array, alpha: Array, last: Array) -> tuple[Array, Array]:
        excess = jnp.exp(log)
        kappa = -1.0 - excess
        two, three = _sums.sums((2, 3), kappa, alpha, last)
        by_kappa = -2.0 * (two - three) / kappa
        return jnp.log(two / size), -excess * by_kappa / two

    return log_root(function, (size, alpha, last), -30.0, 10.0)


def z_of(kappa: Array, size: Array, alpha: Array, last: Array) -> Array:
    """Z at kappa."""
    return -kappa * (1.0 - _sums.s1(kappa, alpha, last) / size)
