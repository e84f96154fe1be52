"""Asymptotic losses beyond one power law: two bottlenecks at once, finitely many skills."""

import math

import jax.numpy as jnp
from jax.scipy.special import gammaincc, gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import positive_or_infinite, symbols
from jaxscale.emergence.theory._checks import theory_function
from jaxscale.emergence.theory._quadrature import LONG_TIME, odds, residual, residual_moment, scales


def _cutoff(norm: Array, alpha: Array, n_skills: int | float) -> Array:
    """(A/alpha) (n_s + 1/2)^-alpha: the skills an infinite law counts beyond the last one."""
    if n_skills == math.inf:
        return jnp.zeros_like(alpha)
    return norm / alpha * (n_skills + 0.5) ** -alpha


def _last_probability(
    n: Array, norm: Array, alpha: Array, n_skills: int | float
) -> tuple[Array, Array]:
    """P at the last fitted skill, 0 for infinitely many; and whether every skill is fitted."""
    every = jnp.isinf(n) | (n >= n_skills)
    edge = jnp.where(every, 1.0, n)
    return jnp.where(every, 0.0, norm * edge ** -(alpha + 1)), every


def _power(p: Array, exponent: Array) -> Array:
    zero = p == 0
    return jnp.where(zero, 0.0, jnp.where(zero, 1.0, p) ** exponent)


@theory_function("n_skills", time=positive_or_infinite, n_parameters=positive_or_infinite)
def time_parameter_loss(
    time: Real[ArrayLike, "..."],
    n_parameters: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Float[Array, "..."]:
    r"""Asymptotic loss in time and number of parameters, with infinite data.

    $$L \simeq \frac{S^2}{2}\Big[\frac{A^{1/(\alpha+1)}}{\alpha+1}\,\tau^{-s}
      \int_{\tau P_N}^\infty u^{s-1}F\,du + \frac{A}{\alpha}N^{-\alpha}\Big], \quad
      P_N = A N^{-(\alpha+1)}, \quad \tau = \eta S T$$

    minus (S^2/2)(A/alpha)(n_s + 1/2)^{-alpha} for finitely many skills. Against the exact sum at
    tau = 1e4: 4% for N >= 0.1 tau^{1/(alpha+1)}, 0.9% for N >= 0.4 tau^{1/(alpha+1)}.

    **Arguments:** (any shapes that broadcast)

    - `time`: T > 0, may be infinite.
    - `n_parameters`: N > 0, may be infinite; N >= n_s is the same as infinite.
    - `skill_exponent` and the others: as in `loss`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Reference:** derived here, from Nam et al. 2024, arXiv 2404.17563, eq. 12.

    **Example**

    >>> print(f"{js.emergence.theory.time_parameter_loss(1e3, 100, skill_exponent=0.6):.3g}")
    0.0455
    """
    t, n, alpha, rate, scale, strength = symbols(
        time, n_parameters, skill_exponent, learning_rate, target_scale, initial_strength
    )
    norm, s, b = scales(alpha, n_skills)
    log_m = odds(scale, strength)
    tau = rate * scale * jnp.minimum(t, LONG_TIME)
    last, every = _last_probability(n, norm, alpha, n_skills)
    u = tau * last
    front = jnp.where(jnp.isinf(t), 0.0, tau**-s * residual_moment(u, s, log_m))
    total = b * (front + _power(last, s) * (1 - residual(u, log_m)))
    # skills beyond n_s: counted by the integral at R = r when all are fitted, else at R = 0
    start = jnp.where(jnp.isinf(t), 0.0, ((scale - strength) / scale) ** 2)
    total = total - jnp.where(every, start, 1.0) * _cutoff(norm, alpha, n_skills)
    return scale**2 / 2 * total


def time_loss(
    time: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Float[Array, "..."]:
    r"""Asymptotic loss in time for finitely many skills; the time law when they are infinite.

    $$L \simeq \mathcal A_T(A_{n_s})\,\tau^{-s}
      - \frac{(S-r)^2}{2}\,\frac{A}{\alpha}\,(n_s + \tfrac12)^{-\alpha}$$

    Holds while the last skill is still unlearned, 2 tau P_{n_s} < 0.1: then within 0.02% of the
    exact sum (tau 100 to 1000, n_s = 1000), where the plain law is up to 55% high for small alpha.

    **Arguments:** (any shapes that broadcast)

    - `time`: T > 0.
    - `skill_exponent` and the others: as in `loss`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here: midpoint Euler-Maclaurin of eq. 12 of Nam et al. 2024,
    arXiv 2404.17563, with F = F(0) beyond the last skill.

    **Example**

    >>> print(f"{js.emergence.theory.time_loss(1e3, skill_exponent=0.6, n_skills=1000):.3g}")
    0.0396
    """
    return time_parameter_loss(
        time,
        math.inf,
        skill_exponent=skill_exponent,
        n_skills=n_skills,
        learning_rate=learning_rate,
        target_scale=target_scale,
        initial_strength=initial_strength,
    )


@theory_function("n_skills")
def parameter_loss(
    n_parameters: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    target_scale: Real[ArrayLike, "..."] = 1.0,
) -> Float[Array, "..."]:
    r"""Asymptotic loss in the number of parameters, midpoint form, finitely many skills allowed.

    $$L \simeq \frac{S^2 A}{2\alpha}
      \big[(N + \tfrac12)^{-\alpha} - (n_s + \tfrac12)^{-\alpha}\big]$$

    For N = gamma n_s the bracket tends to N^{-alpha}(1 - gamma^alpha). Within 0.07% of the exact
    sum at N = 10 and better beyond.

    **Arguments:** (any shapes that broadcast)

    - `n_parameters`: N >= 0, may be infinite; N/N_c for N_c units per skill.
    - `skill_exponent`, `n_skills`, `target_scale`: as in `loss`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 12; the shift by 1/2 derived here.

    **Example**

    >>> print(f"{js.emergence.theory.parameter_loss(100, skill_exponent=0.6):.3g}")
    0.0229
    """
    n, alpha, scale = symbols(n_parameters, skill_exponent, target_scale)
    norm, _, _ = scales(alpha, n_skills)
    every = jnp.isinf(n) | (n >= n_skills)
    unfitted = jnp.where(every, 0.0, n)
    edge = unfitted + 0.5
    total = norm / alpha * edge**-alpha
    if n_skills != math.inf:  # less those beyond the last: 1 - ((N + 1/2) / (n_s + 1/2))^alpha
        total = total * -jnp.expm1(-alpha * jnp.log1p((n_skills - unfitted) / edge))
    return scale**2 / 2 * jnp.where(every, 0.0, total)


@theory_function(n_samples=positive_or_infinite, n_parameters=positive_or_infinite)
def data_parameter_loss(
    n_samples: Real[ArrayLike, "..."],
    n_parameters: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Float[Array, "..."]:
    r"""Asymptotic loss in data and number of parameters, infinite time and skills, one-shot.

    $$L \simeq \frac{S^2}{2}\Big[(1 - r/S)^2\,\frac{A^{1/(\alpha+1)}}{\alpha+1}
      D^{-s}\,\Gamma(s, D P_N) + \frac{A}{\alpha} N^{-\alpha}\Big], \quad
      P_N = A N^{-(\alpha+1)}$$

    Skills that have a parameter but no sample stay at R = r, hence the factor on the first term.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D > 0, may be infinite.
    - `n_parameters`: N > 0, may be infinite.
    - `skill_exponent`, `target_scale`, `initial_strength`: as in `loss`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Reference:** derived here, from Nam et al. 2024, arXiv 2404.17563, eq. 12.

    **Example**

    >>> print(f"{js.emergence.theory.data_parameter_loss(1e4, 100, skill_exponent=0.6):.3g}")
    0.0232
    """
    d, n, alpha, scale, strength = symbols(
        n_samples, n_parameters, skill_exponent, target_scale, initial_strength
    )
    norm, s, b = scales(alpha, math.inf)
    last, _ = _last_probability(n, norm, alpha, math.inf)
    endless = jnp.isinf(d)
    samples = jnp.where(endless, 1.0, d)
    x = samples * last
    gamma = jnp.exp(gammaln(s + 1)) * gammaincc(s + 1, x)  # s Gamma(s, x) + x^s e^-x
    unseen = samples**-s * gamma - _power(last, s) * jnp.exp(-x)
    unseen = jnp.where(endless, 0.0, ((scale - strength) / scale) ** 2 * unseen)
    return scale**2 / 2 * b * (unseen + _power(last, s))
