r"""The self-consistent equation of random features, which is explicit in kappa.

$$z = -\kappa\,(1 - S_1(\kappa) / d), \qquad
  \sum_i \frac{\lambda_i}{\lambda_i - z} = S_1(\kappa), \qquad
  \sum_i \frac{c_i^2}{\lambda_i - z} - \frac{|t_\perp|^2}{z} = -\frac{\kappa Q(\kappa)}{z}$$

kappa(z) is followed by Newton's method along the ray from |z| = 8, where it is -z: from elsewhere
it may land on another branch. On the way, sums over fewer panels are enough. Derivatives pass
through the last two steps.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxscale._roots import root
from jaxscale.streaming.theory import _sums
from jaxscale.streaming.theory._sums import Inputs

FAR = 8.0
STAGES, NEWTON = 14, 2
FEW = 12  # panels on the way
HALVINGS = 70
FARTHEST = 1e12  # of S_1 on the way to its pole at -1


def _newton(
    n: int, kappa: Array, z: Array, size: Array, inputs: Inputs, panels: int = _sums.PANELS
) -> Array:
    """`n` Newton steps on `kappa (1 - S_1 / d) + z = 0`, whose derivatives sum once more."""

    @jax.checkpoint  # the terms of all steps would be most of a gradient's memory
    def step(kappa: Array, _: None) -> tuple[Array, None]:
        one, two = _sums.sums((1, 2), kappa, inputs, panels=panels)
        d = size.astype(kappa.dtype)
        return kappa - (kappa * (1.0 - one / d) + z) / (1.0 - two / d), None

    return jax.lax.scan(step, kappa, None, length=n)[0]


def _ray(z: Complex[Array, ""]) -> Complex[Array, " n"]:
    """Points on the way to z from |z| = 8, or from z itself if it is beyond."""
    distance = jnp.abs(z)
    far = jnp.maximum(distance, FAR)
    shares = jnp.append(jnp.linspace(0.0, 1.0, STAGES + 1), 1.0).astype(distance.dtype)
    return z * ((far / distance) ** (1.0 - shares)).astype(z.dtype)


def _follow(n: int, path: Complex[Array, " p"], size: Array, inputs: Inputs) -> Array:
    """Roughly kappa at points of a path from far out, each from the one before; no derivatives."""
    path, size, inputs = jax.lax.stop_gradient((path, size, inputs))

    def at(kappa: Array, z: Array) -> tuple[Array, Array]:
        kappa = _newton(n, kappa, z, size, inputs, FEW)
        return kappa, kappa

    return jax.lax.stop_gradient(jax.lax.scan(at, -path[0], path)[1])


def kappa_of(z: Complex[Array, ""], size: Array, inputs: Inputs) -> Complex[Array, ""]:
    """Kappa at a complex z off the spectrum."""
    return _at_last(_follow(NEWTON, _ray(z), size, inputs)[-1], z, size, inputs)


def kappa_along(path: Complex[Array, " n"], size: Array, inputs: Inputs) -> Complex[Array, " n"]:
    """Kappa at points of a path that begins beyond the spectrum, each from the one before."""
    points = jnp.concatenate([_ray(path[0]), path])
    kappa = _follow(3 * NEWTON, points, size, inputs)[-path.shape[0] :]
    return jax.vmap(lambda k, z: _at_last(k, z, size, inputs))(kappa, path)


def _at_last(kappa: Array, z: Array, size: Array, inputs: Inputs) -> Array:
    """Kappa from the rough one of `_follow`, with derivatives: the last steps make them right."""
    return _newton(NEWTON + 1, kappa, z, size, inputs)


def _crossing(order: Array, goal: Array, inputs: Inputs, negative: Array, bracket: Array) -> Array:
    """Kappa where `|S_1|` or `|S_2|` is a goal: `e^x` with x in a bracket, or `-1 - e^x`."""
    side = jnp.where(negative, -1.0, 1.0).astype(goal.dtype)

    def kappa_at(x: Array) -> Array:
        return jnp.minimum(side, 0.0) + side * jnp.exp(x)

    def function(x: Array, goal: Array, inputs: Inputs) -> tuple[Array, Array]:
        kappa = kappa_at(x)
        one, two, three = _sums.sums((1, 2, 3), kappa, inputs)
        value, more = jnp.where(order == 1, jnp.stack([one, two]), jnp.stack([two, three]))
        slope = -order.astype(x.dtype) * (value - more) * side * jnp.exp(x) / (kappa * value)
        return jnp.log(jnp.abs(value) / goal), slope

    return kappa_at(root(function, (goal, inputs), bracket[0], bracket[1], HALVINGS, rising=False))


def _bracket(size: Array, inputs: Inputs, negative: Array) -> Array:
    """Ends of `ln kappa`, about `-2 alpha ln d` or below if V is near d; or of `ln(-kappa - 1)`."""
    power, size = jax.lax.stop_gradient((inputs.power, size))
    middle = jnp.where(negative, 0.0, -power * jnp.log(size) - 10.0)
    return middle + jnp.asarray([-60.0, 60.0], power.dtype)


def kappa_floor(size: Array, inputs: Inputs) -> Float[Array, ""]:
    """`kappa_0` with `S_1(kappa_0) = d`: where z is 0."""
    positive = jnp.asarray(False)
    return _crossing(jnp.asarray(1), size, inputs, positive, _bracket(size, inputs, positive))


def kappa_edge(size: Array, inputs: Inputs, upper: Bool[Array, ""]) -> Float[Array, ""]:
    """Kappa with `S_2(kappa) = d` below -1, at the upper edge of the spectrum, or above 0."""
    return _crossing(jnp.asarray(2), size, inputs, upper, _bracket(size, inputs, upper))


def kappa_beyond(size: Array, goal: Array, inputs: Inputs) -> Float[Array, ""]:
    """Kappa with `S_1(kappa) = -goal`, below -1, or that of the upper edge if it is lower."""
    negative = jnp.asarray(True)
    goals = jnp.stack([jnp.minimum(goal, FARTHEST), size])  # nearer to -1 it is never the lower
    at = jax.vmap(_crossing, in_axes=(0, 0, None, None, None))
    return jnp.min(
        at(jnp.asarray([1, 2]), goals, inputs, negative, _bracket(size, inputs, negative))
    )


def z_of(kappa: Array, size: Array, inputs: Inputs) -> Array:
    """Z at kappa."""
    return -kappa * (1.0 - _sums.s1(kappa, inputs) / size)
