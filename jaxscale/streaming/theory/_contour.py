r"""Mean losses by complex nodes that stand for a spectrum, and by Talbot's contour in time."""

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxscale._theory import compiled_quickly
from jaxscale.streaming.theory import _kappa, _sums

HALF_HEIGHT = 0.6  # of the ellipse in ln z, at most
NODES = 256  # in the upper half
# of the ellipse, at most: sums are right to `exp(-2 NODES mu)`, and on a wider one modes grow at
# rates near the limit of stability until no digit is left
LARGEST_MU = 0.1
TALBOT = 12
Law: TypeAlias = tuple[Array, ...]  # d, alpha, beta, V
# of z: sum_i c_i^2 / (lambda_i - z) - omega / z, and z sum_i lambda_i / (lambda_i - z), with omega
# twice the least loss, label noise included
Resolvent: TypeAlias = Callable[[Array], tuple[Array, Array]]


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
    w, slope = _ellipse((high + low) / 2, (high - low) / 2)
    return _weighted(jnp.exp(w), slope, law)


def _ellipse(middle: Array, half: Array) -> tuple[Array, Array]:
    """Points in the upper half of an ellipse by its foci, counterclockwise, and steps along it."""
    mu = jnp.minimum(jnp.arcsinh(HALF_HEIGHT / half), LARGEST_MU)
    angle = jnp.asarray((np.arange(NODES) + 0.5) * np.pi / NODES, middle.dtype)
    across, along = half * jnp.cosh(mu), half * jnp.sinh(mu)
    points = jax.lax.complex(middle + across * jnp.cos(angle), along * jnp.sin(angle))
    step = jax.lax.complex(-across * jnp.sin(angle), along * jnp.cos(angle)) * (np.pi / NODES)
    return points, step


def _weighted(z: Array, step: Array, law: Law) -> Nodes:
    """Nodes with the weights of both sums; `step` is `dz / z`."""
    size, alpha, beta, last = law
    inputs = _sums.inputs_of(alpha, last)
    kappa = _kappa.kappa_along(z, size, inputs)
    share = step * jnp.asarray(-1j / np.pi, step.dtype)

    s1, q = jax.vmap(lambda k: _sums.s1_and_q(k, inputs, beta))(kappa)
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


def mean_resolvent(law: Law, variance: Array) -> Resolvent:
    """In the mean over features: closed forms of the self-consistent kappa."""
    size, alpha, beta, last = law
    inputs = _sums.inputs_of(alpha, last)

    def at(z: Array) -> tuple[Array, Array]:
        kappa = _kappa.kappa_of(z, size, inputs)
        s1, q = _sums.s1_and_q(kappa, inputs, beta)
        return -(kappa * q + variance.astype(z.dtype)) / z, z * s1

    return jax.vmap(at)


def drawn_resolvent(
    eigenvalues: Float[Array, " d"], target_power: Float[Array, " d"], unreachable: Float[Array, ""]
) -> Resolvent:
    """Of given features; what no weights reach is a target along eigenvalue 0."""

    def at(z: Array) -> tuple[Array, Array]:
        x, y = jnp.real(z), jnp.imag(z)
        inverse = 1.0 / ((eigenvalues - x[:, None]) ** 2 + y[:, None] ** 2)  # 1 / |lambda - z|^2
        sums = inverse @ jnp.stack(
            [target_power, target_power * eigenvalues, eigenvalues, eigenvalues**2], axis=1
        )
        power, power_1, one, two = sums.T
        target = jax.lax.complex(power_1 - x * power, y * power)
        count = jax.lax.complex(two - x * one, y * one)
        return target - unreachable.astype(z.dtype) / z, z * count

    return at


def constant_rate_loss(
    time: Float[Array, ""], resolvent: Resolvent, eta: Array, batch: Array
) -> Float[Array, ""]:
    """Mean loss of SGD at a constant rate at a late time, by inverting its generating function."""
    angle = (2 * np.arange(TALBOT) + 1) * np.pi / (2 * TALBOT)
    cot = 1 / np.tan(0.6407 * angle)
    shape = 0.5017 * angle * cot - 0.6122 + 0.2645j * angle
    slope = 0.5017 * cot - 0.5017 * 0.6407 * angle / np.sin(0.6407 * angle) ** 2 + 0.2645j
    points = 2 * TALBOT
    kind = np.result_type(time.dtype, np.complex64)
    late, rate, inverse = (x.astype(kind) for x in (time, eta, 1.0 / batch))
    p = jnp.asarray(points * shape, kind) / late
    growth = jnp.expm1(p)
    large = 1.0 + inverse
    r = jnp.sqrt(1.0 + large * growth)
    near, far = -growth / (rate * (1.0 + r)), (1.0 + r) / (rate * large)
    x = jnp.exp(-p)

    target, count = resolvent(jnp.concatenate([near, far]))
    (target_near, target_far), (count_near, count_far) = (jnp.split(x, 2) for x in (target, count))
    forcing = (target_near - target_far) / (4.0 * rate * x * r)
    kernel = rate * inverse * (count_near - count_far) / (2.0 * x * r)
    transform = forcing / (1.0 - x * kernel)
    weight = jnp.asarray(np.exp(points * shape) * slope, kind)
    return jnp.imag(jnp.sum(weight * transform)) * 2.0 / time
