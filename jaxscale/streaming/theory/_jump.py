r"""Powers of the step of SGD from its eigenvectors, with derivatives where eigenvalues coincide.

With S = diag(d) - rho lambda lambda^T, f(s) what a mode of rate s keeps and phi = (1 - f) / s,

$$2 L(t) = \omega + \lambda^T f(S) m + \rho\,\omega\,\lambda^T \phi(S) \lambda$$

Derivatives take f and phi of S by divided differences (Daleckii and Krein 1965), never those of
eigenvectors, so degenerate spectra are as good as any other.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._linalg import eigh


def twice_loss(
    time: Float[Array, " t"],
    eigenvalues: Float[Array, " d"],
    target_power: Float[Array, " d"],
    unreachable: Float[Array, ""],
    learning_rate: Float[Array, ""],
    batch_size: Float[Array, ""],
    *,
    discrete: bool,
) -> Float[Array, " t"]:
    """`2 L` at any times; a mode of eigenvalue 0 adds its power to the unreachable part."""
    is_mode = eigenvalues > 0
    lam = jnp.where(is_mode, eigenvalues, 1.0)
    x = learning_rate * lam
    rate = x * (2 - x * (1 + 1 / batch_size)) if discrete else 2 * x
    rate = jnp.where(is_mode, rate, 1.0)
    moment = jnp.where(is_mode, target_power / lam, 0.0)
    omega = unreachable + jnp.sum(jnp.where(is_mode, 0.0, target_power))
    rho = learning_rate**2 / batch_size
    longest = float(jnp.finfo(time.dtype).max) ** 0.45
    t = jnp.where(time < longest, time, longest)
    return _jump(t, rate, jnp.where(is_mode, lam, 0.0), moment, rho, omega, discrete)


def _eigen(rate: Array, lam: Array, rho: Array) -> tuple[Array, Array]:
    return eigh(jnp.diag(rate) - rho * jnp.multiply.outer(lam, lam))


def _log_kept(s: Array, discrete: bool) -> Array:
    """Logarithm of what is left of a mode after a unit of time; the step has no eigenvalue < 0."""
    if not discrete:
        return -s
    tiny = float(jnp.finfo(s.dtype).tiny)
    fast = s > 0.5
    slow = jnp.log1p(-jnp.where(fast, 0.0, s))
    return jnp.where(fast, jnp.log(jnp.maximum(1 - s, tiny)), slow)


def _phi(t: Array, s: Array, log_kept: Array) -> Array:
    zero = s == 0
    return jnp.where(zero, t, -jnp.expm1(t * log_kept) / jnp.where(zero, 1.0, s))


def _sum(weight: Array, value: Array) -> Array:
    """Weighted sum, in which what has no weight may be infinite."""
    return jnp.sum(weight * jnp.where(weight == 0, 0.0, value))


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def _jump(
    t: Array, rate: Array, lam: Array, moment: Array, rho: Array, omega: Array, discrete: bool
) -> Array:
    s, v = _eigen(rate, lam, rho)
    log_kept = _log_kept(s, discrete)
    u, w = lam @ v, moment @ v

    def at(t: Array) -> Array:
        kept, phi = jnp.exp(t * log_kept), _phi(t, s, log_kept)
        return omega + _sum(u * w, kept) + _sum(rho * omega * u**2, phi)

    return jax.vmap(at)(t)


@_jump.defjvp
def _(discrete, primals, tangents):
    t, rate, lam, moment, rho, omega = primals
    s, v = _eigen(rate, lam, rho)
    log_kept = _log_kept(s, discrete)
    u, w = lam @ v, moment @ v

    def gradient(t: Array) -> tuple[Array, ...]:
        """Value and derivatives in every argument, at one time."""
        kept, phi = jnp.exp(t * log_kept), _phi(t, s, log_kept)
        change_f, change_phi = _differences(t, s, log_kept, phi, discrete)
        pairs = change_f * jnp.multiply.outer(u, w)
        pairs = (pairs + pairs.T) / 2 + rho * omega * change_phi * jnp.multiply.outer(u, u)
        pairs_u, by_phi = pairs @ u, jnp.sum(u**2 * phi)
        value = omega + _sum(u * w, kept) + _sum(rho * omega * u**2, phi)
        slope = log_kept * kept
        slope_phi = jnp.where(s == 0, 1.0, -slope / jnp.where(s == 0, 1.0, s))
        by_time = jnp.sum(u * w * slope) + rho * omega * jnp.sum(u**2 * slope_phi)
        by_rate = jnp.sum((v @ pairs) * v, axis=1)
        by_lam = v @ (kept * w + 2 * rho * omega * phi * u - 2 * rho * pairs_u)
        by_rho = omega * by_phi - u @ pairs_u
        return value, by_time, by_rate, by_lam, v @ (kept * u), by_rho, 1 + rho * by_phi

    value, by_time, by_rate, by_lam, by_moment, by_rho, by_omega = jax.lax.map(gradient, t)
    dt, drate, dlam, dmoment, drho, domega = tangents
    vectors = by_rate @ drate + by_lam @ dlam + by_moment @ dmoment
    return value, by_time * dt + vectors + by_rho * drho + by_omega * domega


def _differences(
    t: Array, s: Array, log_kept: Array, phi: Array, discrete: bool
) -> tuple[Array, Array]:
    """Divided differences of f and phi at all pairs of rates, derivatives on the diagonal."""
    one, two = s[:, None], s[None]
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)
    log_low = jnp.maximum(log_kept[:, None], log_kept[None])
    gap = high - low
    equal = gap == 0
    kept = jnp.exp(t * log_low)
    if discrete:
        share = gap / jnp.exp(log_low)
        near = share < 0.5
        apart = jnp.minimum(log_kept[:, None], log_kept[None]) - log_low
        apart = jnp.where(near, jnp.log1p(-jnp.where(near, share, 0.0)), apart)
        derivative = -t * kept / jnp.exp(log_low)
    else:
        apart, derivative = -gap, -t * kept
    change_f = jnp.where(equal, derivative, kept * jnp.expm1(t * apart) / jnp.where(equal, 1, gap))
    # phi[a, b] = -f[a, b, 0]: over the larger of |a| and |b|, or by its series where both are small
    wide = jnp.abs(high) >= jnp.abs(low)
    larger = jnp.where(wide, high, low)
    phi_of_smaller = jnp.where(wide == (two >= one), phi[:, None], phi[None])
    small = jnp.abs(t * larger) < float(jnp.finfo(s.dtype).eps) ** 0.25
    series = _series(jnp.where(small, t, 0.0), one, two, discrete)
    change_phi = -(change_f + phi_of_smaller) / jnp.where(small, 1.0, larger)
    return change_f, jnp.where(small, series, change_phi)


def _series(t: Array, a: Array, b: Array, discrete: bool) -> Array:
    """`phi[a, b]` to third order in rates times t."""
    t1, t2, t3 = (t - i if discrete else t for i in (1, 2, 3))
    inner = (a + b) / 3 - t3 * (a**2 + a * b + b**2) / 12
    return -t * t1 / 2 * (1 - t2 * inner)
