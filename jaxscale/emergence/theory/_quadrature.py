"""The residual of one skill and the one-dimensional integral of the asymptotic laws.

Arguments broadcast and are dimensionless, those of the integral are scalars; `log_m` is ln M.
Formulas are from Nam et al. 2024, arXiv 2404.17563, or derived here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale.spectra import integrate, power_sum

# Stands for an infinite training time: eta S T P is then above any threshold that matters, yet
# every product stays finite, so gradients are exact zeros instead of inf * 0.
LONG_TIME = 1e30


def odds(target_scale: Array, initial_strength: Array) -> Float[Array, "..."]:
    r"""Logarithm of the initial odds, $\ln M = \ln(S/r - 1)$, for 0 < r < S (eq. 10)."""
    return jnp.log(target_scale - initial_strength) - jnp.log(initial_strength)


def residual(u: Array, log_m: Array) -> Float[Array, "..."]:
    r"""Squared distance of one skill from its target, in units of its final value (eq. 10-12).

    $$F(u) = (1 - R/S)^2 = (1 + e^{2u}/M)^{-2}, \qquad u = \eta S T P_k$$
    """
    return jax.nn.sigmoid(log_m - 2 * u) ** 2


def front(u: Array, log_m: Array) -> Float[Array, "..."]:
    r"""Speed at which the residual falls, a bump at u = ln(M)/2.

    $$-F'(u) = 4 p^2 (1 - p), \qquad p = \text{expit}(\ln M - 2u)$$
    """
    return 4 * jax.nn.sigmoid(log_m - 2 * u) ** 2 * jax.nn.sigmoid(2 * u - log_m)


def front_end(log_m: Array) -> Float[Array, ""]:
    r"""Return the u above which a skill is learned to 1e-20, from F(u) < M^2 e^{-4u}."""
    return jnp.maximum(log_m, 0.0) / 2 + 12.0


def scales(alpha: Array, n_skills: int | float) -> tuple[Array, Array, Array]:
    r"""Constants A, s and b, shared by every law, each in the shape of `alpha`.

    $$A = 1/\sum_{k\le n_s} k^{-(\alpha+1)}, \quad s = \frac{\alpha}{\alpha+1}, \quad
      b = \frac{A^{1/(\alpha+1)}}{\alpha}$$

    With v = P(x) = A x^{-(alpha+1)} the sum over skills becomes the integral of
    P dx = s b v^{s-1} dv, which is where b comes from (the paper's appendix on the scaling laws).
    """
    norm = 1 / power_sum(alpha + 1, n_skills)
    return norm, alpha / (alpha + 1), norm ** (1 / (alpha + 1)) / alpha


def residual_moment(lower: Array, s: Array, log_m: Array) -> Float[Array, ""]:
    r"""Upper incomplete moment of the learning front, for s in (0, 1).

    $$Q_F(l) = \int_l^\infty u^{s}\,(-F'(u))\,du, \qquad
      \int_l^\infty u^{s-1}F\,du = \frac{Q_F(l) - l^s F(l)}{s}$$

    The second form, by parts, is how every integral of the laws is evaluated: the singularity
    u^(s-1) is gone, and -F' is `front`. Logarithmic panels below u = 1, where u^s is not smooth,
    and even panels above: relative error below 1e-10 in float64 (tested at ln M = 4.6).
    """
    tiny, end = jnp.exp(-37.0 / (1 + s)), front_end(log_m)  # u^(1+s) < 1e-16 below
    start = jnp.log(jnp.clip(lower, tiny, 1.0))
    below = integrate(
        lambda y: jnp.exp((1 + s) * y) * front(jnp.exp(y), log_m), start, jnp.zeros_like(start), 40
    )
    return below + integrate(lambda u: u**s * front(u, log_m), jnp.clip(lower, 1.0, end), end, 40)
