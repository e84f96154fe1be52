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
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxscale._linalg import eigh, full_svd, qr

_CHUNK = 2**22  # numbers in memory at once
OfTime = Callable[[Array], Array]


def decay(
    rate: Float[Array, "*#s"], time: Float[Array, "*#s"], *, discrete: bool
) -> Float[Array, "*s"]:
    r"""Remaining deviation of a mode, in units of its start.

    $$q = e^{-r t} \quad\text{or}\quad q = (1 - r)^t$$

    with r >= 0 and a time that may be infinite. For steps beyond r = 1 the size is |1 - r|^t for
    every real t and the sign that of the nearest integer. Derivatives are finite at r = 0, at r = 1
    and at t infinite.
    """
    endless = jnp.isinf(time)
    t = jnp.where(endless, 0.0, time)
    if not discrete:
        return jnp.where(endless & (rate > 0), 0.0, jnp.exp(-rate * t))
    done = rate == 1
    r = jnp.where(done, 0.5, rate)
    odd = jnp.mod(jnp.round(t), 2.0) == 1
    size = jnp.exp(t * jnp.log1p(-jnp.where(r < 1, r, 2 - r)))  # no cancellation at r = 0 and 2
    value = jnp.where((r > 1) & odd, -size, size)
    value = jnp.where(done, jnp.where(t == 0, 1.0, 0.0), value)
    value = jnp.where(endless & (rate > 2), jnp.inf, value)
    return jnp.where(endless & (rate > 0) & (rate < 2), 0.0, value)


def progress(
    rate: Float[Array, "*#s"], time: Float[Array, "*#s"], *, discrete: bool
) -> Float[Array, "*s"]:
    """One minus `decay`, without cancellation at early times."""
    endless = jnp.isinf(time)
    slow = ~endless & (rate < 0.5) if discrete else ~endless
    r, t = jnp.where(slow, rate, 0.0), jnp.where(slow, time, 0.0)
    early = -jnp.expm1(jnp.log1p(-r) * t if discrete else -r * t)
    return jnp.where(slow, early, 1 - decay(rate, time, discrete=discrete))


def decay_slope(
    one: Float[Array, "*#s"], two: Float[Array, "*#s"], time: Float[Array, "*#s"], *, discrete: bool
) -> Float[Array, "*s"]:
    r"""Divided difference of `decay` in the rate; the derivative where the two rates agree.

    $$\frac{q(r) - q(r')}{r - r'}$$

    The first divided difference of the Daleckii-Krein theorem. No cancellation for close rates:
    with r < r', the factor q(r) is split off and the rest is `expm1`.
    """
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)
    gap = high - low
    t = jnp.where(jnp.isinf(time), 0.0, time)
    if not discrete:
        z = t * gap
        small = z < 1e-8
        shrink = jnp.where(small, 1 - z / 2, -jnp.expm1(-z) / jnp.where(small, 1.0, z))
        return -t * jnp.exp(-t * low) * shrink
    base = 1 - low
    flat = base == 0
    ratio = gap / jnp.where(flat, 1.0, base)
    close = (jnp.abs(ratio) < 0.5) & ~flat
    same = gap == 0
    width = jnp.where(same, 1.0, gap)
    change = jnp.expm1(t * jnp.log1p(-jnp.where(close, ratio, 0.0))) / width
    change = jnp.where(same, -t / jnp.where(flat, 1.0, base), change)
    slow = decay(low, t, discrete=True)
    direct = (decay(high, t, discrete=True) - slow) / width
    return jnp.where(close, slow * change, jnp.where(same, 0.0, direct))


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
    """The decoupled problem."""

    row_basis: Float[Array, "k k"]  # U
    column_basis: Float[Array, "k k"]  # V
    gram: Float[Array, "k k"]  # U^T G U
    moment: Float[Array, "k k"]  # V^T M V
    live: Bool[Array, "k k"]  # modes with a nonzero rate
    target: Float[Array, "k k"]  # limit of U^T B V on them, 0 elsewhere
    floor: Float[Array, ""]  # loss there

    def gap(self, initial: ArrayLike | None) -> Float[Array, "k k"]:
        """Deviation of U^T B(0) V from its limit, 0 for modes that do not move."""
        return jnp.where(self.live, self.rotated(initial) - self.target, 0.0)

    def rotated(self, initial: ArrayLike | None) -> Float[Array, "k k"]:
        """Write B(0) in the two bases; None stands for zeros."""
        if initial is None:
            return jnp.zeros_like(self.target)
        return self.row_basis.T @ initial @ self.column_basis

    def excess(self, eta: Array, initial: ArrayLike | None, discrete: bool) -> OfTime:
        """Loss above the floor, as a function of one time."""
        gap = self.gap(initial)
        return lambda t: excess(t, eta, self.gram, self.moment, gap, discrete)

    def matrix(self, eta: Array, initial: ArrayLike | None, discrete: bool) -> OfTime:
        """B as a function of one time."""
        gap, start = self.gap(initial), self.rotated(initial)
        rest = jnp.where(self.live, self.target, start)
        rate = eta * jnp.diagonal(self.gram)[:, None] * jnp.diagonal(self.moment)

        def at(t: Array) -> Array:
            deviation = remaining(t, eta, self.gram, self.moment, gap, discrete)
            # early, the sum of both cancels: it has the derivatives alone
            early = stop_gradient(start - gap * progress(rate, t, discrete=discrete))
            return self.row_basis @ (early + _tangent(rest + deviation)) @ self.column_basis.T

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
    r"""Decouple the gradient flow of W^T B W x, given W, A, Omega, and Sigma or its diagonal.

    $$\dot B = -\eta(G B M - C), \quad G = W\Omega W^T,\ M = W\Sigma W^T,\ C = W\Omega A\Sigma W^T$$
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
    eta: Float[Array, ""],
    gram: Float[Array, "k k"],
    moment: Float[Array, "k k"],
    gap: Float[Array, "k k"],
    discrete: bool,
) -> Float[Array, "k k"]:
    """Deviation from `gap` at t = 0, in the bases U and V; both matrices are diagonal in value.

    The derivative is that of a matrix function (Daleckii-Krein), exact to first order.
    """
    rate = eta * jnp.diagonal(gram)[:, None] * jnp.diagonal(moment)
    return gap * decay(rate, time, discrete=discrete)


@remaining.defjvp
def _remaining_jvp(discrete, primals, tangents):
    time, eta, gram, moment, gap = primals
    time_t, eta_t, gram_t, moment_t, gap_t = tangents
    g, m = jnp.diagonal(gram), jnp.diagonal(moment)

    def with_fixed_matrices(time, eta, gap):
        return gap * decay(eta * g[:, None] * m, time, discrete=discrete)

    value, change = jax.jvp(with_fixed_matrices, (time, eta, gap), (time_t, eta_t, gap_t))
    rates = eta * g[:, None] * m
    change = change + eta * _turn(rates, gap, g, moment_t, time, discrete)
    change = change + eta * _turn(rates.T, gap.T, m, gram_t, time, discrete).T
    return value, change


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def excess(
    time: Float[Array, ""],
    eta: Float[Array, ""],
    gram: Float[Array, "k k"],
    moment: Float[Array, "k k"],
    gap: Float[Array, "k k"],
    discrete: bool,
) -> Float[Array, ""]:
    r"""Loss above the floor at one time, with derivatives that are exact to first order.

    $$\tfrac12 \sum_{ij} g_i m_j (\tilde B_{ij}(t) - \tilde B^\infty_{ij})^2$$
    """
    deviation = remaining(time, eta, gram, moment, gap, discrete)
    return 0.5 * jnp.sum(jnp.diagonal(gram)[:, None] * jnp.diagonal(moment) * deviation**2)


@excess.defjvp
def _excess_jvp(discrete, primals, tangents):
    deviation, deviation_t = _remaining_jvp(discrete, primals, tangents)
    g, m = jnp.diagonal(primals[2]), jnp.diagonal(primals[3])
    half = tangents[2] @ (deviation * m) + (g[:, None] * deviation) @ tangents[3]
    weight = g[:, None] * m
    slope = jnp.sum(weight * deviation * deviation_t + 0.5 * deviation * half)
    return 0.5 * jnp.sum(weight * deviation**2), slope


def over_times(function: OfTime, time: Float[Array, "*s"], size: int) -> Array:
    """Map a function of one time over an array of times, a bounded number at once."""
    flat = time.ravel()
    batch = max(1, min(flat.size, _CHUNK // (8 * size)))
    values = jax.lax.map(function, flat, batch_size=batch)
    return values.reshape(time.shape + values.shape[1:])
