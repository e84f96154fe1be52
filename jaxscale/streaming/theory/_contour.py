r"""Means over features by complex nodes around the spectrum, and by Talbot's contour in time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxscale._theory import compiled_quickly
from jaxscale.streaming.theory import _kappa, _sums

HALF_HEIGHT = 0.6  # of the ellipse in ln z
NODES = 256  # in the upper half
TALBOT = 12
Law = tuple[Array, ...]  # d, alpha, beta, V


class Nodes(eqx.Module):
    r"""Complex nodes z_k that stand for the eigenvalues of random features in the mean.

    $$\sum_i c_i^2 f(\lambda_i) = \mathrm{Re} \sum_k w_k f(z_k), \qquad
      \sum_i f(\lambda_i) = \mathrm{Re} \sum_k v_k f(z_k)$$

    for analytic f.

    - `nodes`: z_k.
    - `target_weights`: w_k.
    - `noise_weights`: v_k.
    """

    nodes: Complex[Array, " n"]
    target_weights: Complex[Array, " n"]
    noise_weights: Complex[Array, " n"]


@compiled_quickly
def nodes_of(law: Law) -> Nodes:
    """Nodes on an ellipse in ln z around the spectrum, for any time."""
    low, high = jax.lax.stop_gradient(jnp.log(edges_of(law[0], law[1], law[3])))
    w, slope = _ellipse((high + low) / 2, (high - low) / 2, HALF_HEIGHT, NODES)
    return _weighted(jnp.exp(w), slope, law)


def _ellipse(middle: Array, half: Array, height: float, n: int) -> tuple[Array, Array]:
    """Points in the upper half of an ellipse by its foci, counterclockwise, and steps along it."""
    mu = jnp.arcsinh(height / half)
    angle = jnp.asarray((np.arange(n) + 0.5) * np.pi / n, middle.dtype)
    across, along = half * jnp.cosh(mu), half * jnp.sinh(mu)
    points = jax.lax.complex(middle + across * jnp.cos(angle), along * jnp.sin(angle))
    step = jax.lax.complex(-across * jnp.sin(angle), along * jnp.cos(angle)) * (np.pi / n)
    return points, step


def _weighted(z: Array, step: Array, law: Law) -> Nodes:
    """Nodes with the weights of both sums; `step` is `dz / z`."""
    size, alpha, beta, last = law
    inputs = _sums.inputs_of(alpha, last)
    kappa = _kappa.kappa_along(z, size, inputs)
    share = step * jnp.asarray(-1j / np.pi, step.dtype)

    q, s1 = jax.vmap(lambda k: (_sums.q(k, inputs, beta), _sums.s1(k, inputs)))(kappa)
    return Nodes(z, share * kappa * q, -share * s1)


def edges_of(size: Array, alpha: Array, last: Array) -> Float[Array, "2"]:
    """Lower and upper edge of the spectrum."""
    inputs = _sums.inputs_of(alpha, last)
    upper = jnp.asarray([False, True])
    return jax.vmap(lambda u: _kappa.z_of(_kappa.kappa_edge(size, inputs, u), size, inputs))(upper)


@compiled_quickly
def limit_of(law: Law) -> Float[Array, ""]:
    """`|t_perp|^2` in the mean, twice the least loss."""
    size, alpha, beta, last = law
    inputs = _sums.inputs_of(alpha, last)
    kappa = _kappa.kappa_floor(size, inputs)
    return kappa * _sums.q(kappa, inputs, beta)


def constant_rate_loss(
    time: Float[Array, ""], law: Law, eta: Array, batch: Array, variance: Array
) -> Float[Array, ""]:
    """Mean loss of SGD at a constant rate at a late time, by inverting its generating function."""
    size, alpha, beta, last = law
    angle = (2 * np.arange(TALBOT) + 1) * np.pi / (2 * TALBOT)
    cot = 1 / np.tan(0.6407 * angle)
    shape = 0.5017 * angle * cot - 0.6122 + 0.2645j * angle
    slope = 0.5017 * cot - 0.5017 * 0.6407 * angle / np.sin(0.6407 * angle) ** 2 + 0.2645j
    points = 2 * TALBOT
    kind = np.result_type(alpha.dtype, np.complex64)
    late, rate, inverse = (x.astype(kind) for x in (time, eta, 1.0 / batch))
    p = jnp.asarray(points * shape, kind) / late
    growth = jnp.expm1(p)
    large = 1.0 + inverse
    r = jnp.sqrt(1.0 + large * growth)
    near, far = -growth / (rate * (1.0 + r)), (1.0 + r) / (rate * large)
    x = jnp.exp(-p)

    inputs = _sums.inputs_of(alpha, last)

    def at(z: Array) -> tuple[Array, Array]:
        kappa = _kappa.kappa_of(z, size, inputs)
        return -kappa * _sums.q(kappa, inputs, beta) / z, z * _sums.s1(kappa, inputs)

    target, count = jax.vmap(at)(jnp.concatenate([near, far]))
    (target_near, target_far), (count_near, count_far) = (jnp.split(x, 2) for x in (target, count))
    noise = (variance / 2).astype(kind) / -jnp.expm1(-p)
    forcing = (target_near - target_far) / (4.0 * rate * x * r) + noise
    kernel = rate * inverse * (count_near - count_far) / (2.0 * x * r)
    transform = forcing / (1.0 - x * kernel)
    weight = jnp.asarray(np.exp(points * shape) * slope, kind)
    return jnp.imag(jnp.sum(weight * transform)) * 2.0 / time
