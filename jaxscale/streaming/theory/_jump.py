r"""Powers of the step of SGD from its eigenvectors, with derivatives where eigenvalues coincide.

With S = diag(d) - rho lambda lambda^T, f(s) what a mode of rate s keeps and phi = (1 - f) / s,

$$2 L(t) = \omega + \lambda^T f(S) \Lambda^{-1} c^2 + \rho\,\omega\,\lambda^T \phi(S) \lambda$$

Derivatives take f and phi of S by divided differences (Daleckii and Krein 1965), never those of
eigenvectors, so degenerate spectra are as good as any other. They are those of R = Lambda S /
Lambda, where lambda^T f(S) / Lambda is 1^T f(R): its change has no part that is divided by lambda.
"""

import functools
from typing import NamedTuple

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
    omega = unreachable + jnp.sum(jnp.where(is_mode, 0.0, target_power))
    rho = learning_rate**2 / batch_size
    longest = float(jnp.finfo(time.dtype).max) ** 0.45
    t = jnp.where(time < longest, time, longest)
    power = jnp.where(is_mode, target_power, 0.0)
    return _jump(t, rate, jnp.where(is_mode, lam, 0.0), power, rho, omega, discrete)


class _Basis(NamedTuple):
    """Rates `s` and eigenvectors `v` of S, and lambda, `c^2 / lambda` and `1 / lambda` in them."""

    s: Float[Array, " d"]
    v: Float[Array, "d d"]
    u: Float[Array, " d"]
    w: Float[Array, " d"]
    inverse: Float[Array, " d"]  # 1 / lambda_i, 0 for padding


def _basis(rate: Array, lam: Array, power: Array, rho: Array) -> _Basis:
    """Factorize S; small parts of eigenvectors come from `(d_i - s_j) v_ij = rho lam_i u_j`.

    LAPACK is right to rounding errors of the largest rate, these and the rates to their own.
    """
    s, v = eigh(jnp.diag(rate) - rho * jnp.multiply.outer(lam, lam))
    gap, size = rate[:, None] - s, jnp.abs(v)
    distant = jnp.abs(gap) > jnp.maximum(rate[:, None], jnp.abs(s)) / 2
    small = distant & (size < 1e-3 * jnp.max(size, axis=0))
    ratio = jnp.where(small, rho * lam[:, None] / jnp.where(small, gap, 1.0), 0.0)
    v = jnp.where(small, 0.0, v)
    u = (lam @ v) / (1 - lam @ ratio)
    v = v + ratio * u
    s = (rate @ v**2 - rho * u**2) / jnp.sum(v**2, axis=0)
    inverse = jnp.where(lam > 0, 1 / jnp.where(lam > 0, lam, 1.0), 0.0)
    return _Basis(s, v, u, (power * inverse) @ v, inverse)


def _log_decay(s: Array, discrete: bool) -> Array:
    """Logarithm of what is left of a mode after a unit of time; the step has no eigenvalue < 0."""
    if not discrete:
        return -s
    tiny = float(jnp.finfo(s.dtype).tiny)
    fast = s > 0.5
    slow = jnp.log1p(-jnp.where(fast, 0.0, s))
    return jnp.where(fast, jnp.log(jnp.maximum(1 - s, tiny)), slow)


def _phi(t: Array, s: Array, log_decay: Array) -> Array:
    zero = s == 0
    return jnp.where(zero, t, -jnp.expm1(t * log_decay) / jnp.where(zero, 1.0, s))


def _terms(weight: Array, value: Array) -> Array:
    """Terms of a weighted sum, in which what has no weight may be infinite."""
    return weight * jnp.where(weight == 0, 0.0, value)


def _total(omega: Array, *terms: Array) -> Array:
    """`2 L`, which diverges with any of its terms, whatever the sign of that term."""
    every = jnp.concatenate([omega[None], *terms])
    overflows = jnp.isinf(every).any() & ~jnp.isnan(every).any()
    return jnp.where(overflows, jnp.inf, omega + sum(jnp.sum(one) for one in terms))


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def _jump(
    t: Array, rate: Array, lam: Array, power: Array, rho: Array, omega: Array, discrete: bool
) -> Array:
    s, _, u, w, _ = _basis(rate, lam, power, rho)
    log_decay = _log_decay(s, discrete)

    def at(t: Array) -> Array:
        decay, phi = jnp.exp(t * log_decay), _phi(t, s, log_decay)
        return _total(omega, _terms(u * w, decay), _terms(rho * omega * u**2, phi))

    return jax.vmap(at)(t)


@_jump.defjvp
def _(discrete, primals, tangents):
    t, rate, lam, power, rho, omega = primals
    s, v, u, w, inverse = _basis(rate, lam, power, rho)
    log_decay = _log_decay(s, discrete)

    def gradient(t: Array) -> tuple[Array, ...]:
        """Value and derivatives in every argument, at one time."""
        decay, phi = jnp.exp(t * log_decay), _phi(t, s, log_decay)
        change_f, change_phi = _differences(t, s, log_decay, phi, discrete)
        pairs = change_f * jnp.multiply.outer(u, w)
        pairs = pairs + rho * omega * change_phi * jnp.multiply.outer(u, u)
        pairs_u, by_phi = pairs @ u, jnp.sum(u**2 * phi)
        value = _total(omega, _terms(u * w, decay), _terms(rho * omega * u**2, phi))
        slope = log_decay * decay
        slope_phi = jnp.where(s == 0, 1.0, -slope / jnp.where(s == 0, 1.0, s))
        by_time = jnp.sum(u * w * slope) + rho * omega * jnp.sum(u**2 * slope_phi)
        by_rate = jnp.sum((v @ pairs) * v, axis=1)
        by_lam = 2 * rho * v @ (omega * phi * u - pairs_u)
        by_power = inverse * (v @ (decay * u))
        by_rho = omega * by_phi - u @ pairs_u
        return value, by_time, by_rate, by_lam, by_power, by_rho, 1 + rho * by_phi

    value, by_time, by_rate, by_lam, by_power, by_rho, by_omega = jax.lax.map(gradient, t)
    dt, drate, dlam, dpower, drho, domega = tangents
    vectors = by_rate @ drate + by_lam @ dlam + by_power @ dpower
    return value, by_time * dt + vectors + by_rho * drho + by_omega * domega


def _differences(
    t: Array, s: Array, log_decay: Array, phi: Array, discrete: bool
) -> tuple[Array, Array]:
    """Divided differences of f and phi at all pairs of rates, derivatives on the diagonal."""
    one, two = s[:, None], s[None]
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)
    log_low = jnp.maximum(log_decay[:, None], log_decay[None])
    gap = high - low
    equal = gap == 0
    decay = jnp.exp(t * log_low)
    if discrete:
        share = gap / jnp.exp(log_low)
        near = share < 0.5
        apart = jnp.minimum(log_decay[:, None], log_decay[None]) - log_low
        apart = jnp.where(near, jnp.log1p(-jnp.where(near, share, 0.0)), apart)
        derivative = -t * decay / jnp.exp(log_low)
    else:
        apart, derivative = -gap, -t * decay
    change_f = jnp.where(equal, derivative, decay * jnp.expm1(t * apart) / jnp.where(equal, 1, gap))
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
