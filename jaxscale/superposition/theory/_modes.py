"""The linear student in the bases where its modes decouple, with derivatives in every argument.

With X = W Omega^{1/2} = U gamma Y^T and Z = W Sigma^{1/2} = V sigma T^T (singular values) the modes
of B are U_i V_j with rate eta gamma_i^2 sigma_j^2. Working with singular values keeps what
eigenvalues of W Sigma W^T lose: a mode with sigma_j^2 = 1e-8 sigma_1^2 is known to 1e-12, not 1e-8.

The bases are constants for differentiation. Tangents enter through U^T G U and V^T M V, whose
off-diagonal parts are 0 but whose derivatives are not, and the rules below carry these to first
order by divided differences; nothing is divided by a difference of eigenvalues, so degenerate
spectra (orthonormal, tight) are as good as any other.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float

from jaxscale._linalg import eigh, full_svd, qr
from jaxscale.superposition.theory._relaxation import decay, decay_slope

_CHUNK = 2**22  # numbers in memory at once


def _tangent(x: Array) -> Array:
    """Zero, with the derivative of x."""
    return x - stop_gradient(x)


def _row_basis(x: Float[Array, "k n"]) -> tuple[Array, Array, Array]:
    """Full left basis, singular values padded to k, and right vectors (0 where padded)."""
    k, n = x.shape
    q, r = qr(x.T)
    u, s, zt = full_svd(r.T)
    pad = max(0, k - n)
    return u, jnp.pad(s, (0, pad)), jnp.pad(q @ zt.T, ((0, 0), (0, pad)))


class Modes(eqx.Module):
    """The decoupled problem.

    **Arguments:** `row_basis`, `column_basis`, U and V; `gram`, U^T G U; `moment`, V^T M V; `live`,
    modes with a nonzero rate; `target`, the limit of U^T B V on them, 0 elsewhere; `floor`, the
    loss there.
    """

    row_basis: Float[Array, "k k"]
    column_basis: Float[Array, "k k"]
    gram: Float[Array, "k k"]
    moment: Float[Array, "k k"]
    live: Bool[Array, "k k"]
    target: Float[Array, "k k"]
    floor: Float[Array, ""]

    def gap(self, initial: Float[Array, "k k"] | None) -> Float[Array, "k k"]:
        """Deviation of U^T B(0) V from its limit, 0 for modes that do not move."""
        return jnp.where(self.live, self.rotated(initial) - self.target, 0.0)

    def rotated(self, initial: Float[Array, "k k"] | None) -> Float[Array, "k k"]:
        """Write B(0) in the two bases; None stands for zeros."""
        if initial is None:
            return jnp.zeros_like(self.target)
        return self.row_basis.T @ initial @ self.column_basis

    def matrix(
        self, learning_rate: Array, initial: Float[Array, "k k"] | None, discrete: bool
    ) -> Callable[[Array], Array]:
        """B as a function of one time."""
        gap = self.gap(initial)
        rest = jnp.where(self.live, self.target, self.rotated(initial))

        def at(t: Array) -> Array:
            deviation = remaining(t, learning_rate, self.gram, self.moment, gap, discrete)
            return self.row_basis @ (rest + deviation) @ self.column_basis.T

        return at

    @property
    def max_learning_rate(self) -> Float[Array, ""]:
        """Learning rate at which steps become unstable: |1 - eta g m| < 1 for every mode."""
        return 2 / (self.gram[0, 0] * self.moment[0, 0])


def _floor(weight: Array, factor: Array, target: Array, y: Array, t: Array, z: Array) -> Array:
    """Squared distance of Omega^{1/2} A F from its projection, by rows to bound the memory."""
    root = jnp.sqrt(weight) * target
    diagonal = factor.ndim == 1
    n = root.shape[0]
    inner = y @ t

    def row(i: Array) -> Array:
        goal = jnp.zeros_like(root).at[i].set(factor[i]) if diagonal else factor[i]
        return jnp.sum((root[i] * goal - z @ inner[i]) ** 2)

    rows = jax.lax.map(row, jnp.arange(n), batch_size=min(n, max(1, _CHUNK // n)))
    return 0.5 * jnp.sum(rows)


def modes(
    embedding: Float[Array, "k n"],
    target: Float[Array, " n"],
    weight: Float[Array, " n"],
    covariance: Float[Array, " n"] | Float[Array, "n n"],
) -> Modes:
    r"""Decouple the gradient flow of the linear student W^T B W x.

    $$\dot B = -\eta(G B M - C), \quad G = W\Omega W^T,\ M = W\Sigma W^T,\ C = W\Omega A\Sigma W^T$$

    **Arguments:** W; A; Omega; Sigma or its diagonal.

    **Returns:** see `Modes`.

    **Reference:** derived here.
    """
    w, diagonal = embedding, covariance.ndim == 1
    gram = (w * weight) @ w.T
    if diagonal:
        side = w * covariance
        variance, frozen = covariance, stop_gradient(covariance)
        factor = jnp.sqrt(frozen)
        scaled = stop_gradient(w) * factor
    else:
        side = w @ covariance
        variance, frozen = jnp.diagonal(covariance), stop_gradient(covariance)
        values, vectors = eigh((frozen + frozen.T) / 2)
        factor = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
        scaled = stop_gradient(w) @ factor
    moment = side @ w.T
    drive = (w * (weight * target)) @ side.T

    u, g, y = _row_basis(stop_gradient(w * jnp.sqrt(weight)))
    v, s, z = _row_basis(scaled)
    small = max(w.shape) * float(jnp.finfo(w.dtype).eps)
    live = (g > small * g[0])[:, None] & (s > small * s[0])
    root = stop_gradient(jnp.sqrt(weight) * target)
    shared = (y.T * root) @ (factor[:, None] * z if diagonal else factor @ z)
    shared = jnp.where(live, shared, 0.0)
    speed = jnp.where(live, g[:, None] * s, 1.0)
    limit = shared / speed

    gram_t, moment_t = _tangent(u.T @ gram @ u), _tangent(v.T @ moment @ v)
    drive_t = _tangent(u.T @ drive @ v)
    push = drive_t - gram_t @ (limit * s**2) - (g[:, None] ** 2 * limit) @ moment_t
    aim = limit + jnp.where(live, push / speed**2, 0.0)
    # the floor is stationary in B, so B is a constant there
    power = 0.5 * jnp.sum(weight * target**2 * variance)
    floor = _floor(stop_gradient(weight), factor, stop_gradient(target), y, shared, z)
    floor = floor + _tangent(power) - jnp.sum(limit * drive_t)
    floor = floor + 0.5 * jnp.sum(limit * (gram_t @ (limit * s**2)))
    floor = floor + 0.5 * jnp.sum(limit * ((g[:, None] ** 2 * limit) @ moment_t))
    return Modes(u, v, jnp.diag(g**2) + gram_t, jnp.diag(s**2) + moment_t, live, aim, floor)


def _turn(rates: Array, gap: Array, g: Array, tangent: Array, time: Array, discrete: bool) -> Array:
    """Change of the decayed gap when the second matrix changes by `tangent`."""

    def row(inputs: tuple[Array, Array, Array]) -> Array:
        rate, deviation, scale = inputs
        slope = decay_slope(rate[:, None], rate, time, discrete=discrete)
        return scale * (deviation @ (tangent * slope))

    k = gap.shape[0]
    return jax.lax.map(row, (rates, gap, g), batch_size=min(k, max(1, _CHUNK // k**2)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def remaining(
    time: Float[Array, ""],
    learning_rate: Float[Array, ""],
    gram: Float[Array, "k k"],
    moment: Float[Array, "k k"],
    gap: Float[Array, "k k"],
    discrete: bool,
) -> Float[Array, "k k"]:
    """Deviation from the limit at one time; both matrices must be diagonal in value.

    **Arguments:** t; eta; U^T G U; V^T M V; the deviation at t = 0; steps or flow.

    **Returns:** the deviation, in the bases U and V. Derivatives are exact to first order.

    **Reference:** the derivative is that of a matrix function (Daleckii-Krein).
    """
    rate = learning_rate * jnp.diagonal(gram)[:, None] * jnp.diagonal(moment)
    return gap * decay(rate, time, discrete=discrete)


@remaining.defjvp
def _remaining_jvp(discrete, primals, tangents):
    time, eta, gram, moment, gap = primals
    time_t, eta_t, gram_t, moment_t, gap_t = tangents
    g, m = jnp.diagonal(gram), jnp.diagonal(moment)

    def fixed(time, eta, gap):
        return gap * decay(eta * g[:, None] * m, time, discrete=discrete)

    value, change = jax.jvp(fixed, (time, eta, gap), (time_t, eta_t, gap_t))
    rates = eta * g[:, None] * m
    change = change + eta * _turn(rates, gap, g, moment_t, time, discrete)
    change = change + eta * _turn(rates.T, gap.T, m, gram_t, time, discrete).T
    return value, change


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def excess(
    time: Float[Array, ""],
    learning_rate: Float[Array, ""],
    gram: Float[Array, "k k"],
    moment: Float[Array, "k k"],
    gap: Float[Array, "k k"],
    discrete: bool,
) -> Float[Array, ""]:
    r"""Loss above the floor at one time.

    $$\tfrac12 \sum_{ij} g_i m_j (\tilde B_{ij}(t) - \tilde B^\infty_{ij})^2$$

    **Arguments:** as `remaining`.

    **Returns:** a scalar. Derivatives are exact to first order.

    **Reference:** derived here.
    """
    deviation = remaining(time, learning_rate, gram, moment, gap, discrete)
    return 0.5 * jnp.sum(jnp.diagonal(gram)[:, None] * jnp.diagonal(moment) * deviation**2)


@excess.defjvp
def _excess_jvp(discrete, primals, tangents):
    deviation, deviation_t = _remaining_jvp(discrete, primals, tangents)
    g, m = jnp.diagonal(primals[2]), jnp.diagonal(primals[3])
    half = tangents[2] @ (deviation * m) + (g[:, None] * deviation) @ tangents[3]
    weight = g[:, None] * m
    slope = jnp.sum(weight * deviation * deviation_t + 0.5 * deviation * half)
    return 0.5 * jnp.sum(weight * deviation**2), slope


def over_times(function: Callable[[Array], Array], time: Float[Array, "*s"], size: int) -> Array:
    """Map a function of one time over an array of times, a bounded number at once."""
    flat = time.ravel()
    batch = max(1, min(flat.size, _CHUNK // (8 * size)))
    values = jax.lax.map(function, flat, batch_size=batch)
    return values.reshape(time.shape + values.shape[1:])
