"""Exact losses: sums over all skills, finite or infinite in number."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import symbols
from jaxscale.emergence.theory._binomial import deficit, mean_over_sets
from jaxscale.emergence.theory._checks import infinite_data, theory_function
from jaxscale.emergence.theory._quadrature import LONG_TIME, odds, residual
from jaxscale.spectra import power_sum, power_tail, tail_rule

_N_DIRECT = 1024  # skills added one by one in `loss`
_N_DIRECT_SHOTS = 512  # the same in `data_loss`


def _span(alpha: Array, front: Array) -> Array:
    """Range of ln k from P_k at `front` times the learning threshold to where P_k^2 is nil."""
    return jnp.log(front) / (1 + alpha) + 37 / (1 + 2 * alpha)


@theory_function("n_skills", plain=infinite_data)
def loss(
    time: Real[ArrayLike, "..."],
    n_samples: Real[ArrayLike, "..."],
    n_parameters: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Float[Array, "..."]:
    r"""Exact mean loss of the multilinear model at any time, data size and number of parameters.

    $$L = \frac{S^2}{2}\Big[\sum_{k\le N} P_k\, E F(\eta S T d_k/D)
      + \sum_{N<k\le n_s} P_k\Big], \quad d_k \sim \text{Binomial}(D, P_k), \quad
      F(u) = (1 + e^{2u}/M)^{-2}$$

    The mean is over data sets of D samples; skills N + 1, N + 2, ... have no parameter, R_k = 0.
    Between integers, N gives skill floor(N) + 1 a fraction of its gain (piecewise linear), and D
    interpolates through gamma functions. Relative error in float64 below 1e-10 for D up to 60 and
    of infinite data, down to losses of 1e-16 S^2 (the accuracy tables of the documentation); up to
    D = 1e6 compared with sums in float64 only. In float32 below 1e-4.

    **Arguments:** (any shapes that broadcast; each of the first three may be infinite)

    - `time`: T >= 0, training steps.
    - `n_samples`: D >= 0.
    - `n_parameters`: N >= 0, number of skills the model can hold.
    - `skill_exponent`: alpha > 0.
    - `n_skills`: n_s, a Python integer or `math.inf`.
    - `learning_rate`: eta, per step.
    - `target_scale`: S, units of the target.
    - `initial_strength`: r = R_k(0), units of the target, 0 < r < S.

    **Returns:** loss in squared units of the target, with the factor 1/2; broadcast shape.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 12; the mean over data sets derived here.

    **Example**

    >>> value = js.emergence.theory.loss(1e3, np.inf, 10, skill_exponent=0.6, learning_rate=0.1)
    >>> print(f"{value:.3g}")
    0.11
    """
    t, d, n, alpha, rate, scale, strength = symbols(
        time, n_samples, n_parameters, skill_exponent, learning_rate, target_scale, initial_strength
    )
    log_m = odds(scale, strength)
    start = ((scale - strength) / scale) ** 2  # F(0): a skill never trained
    norm = 1 / power_sum(alpha + 1, n_skills)
    tau = rate * scale * jnp.minimum(t, LONG_TIME)

    def probability(k: Array) -> Array:
        return norm * k ** -(alpha + 1)

    def mean_residual(p: Array) -> Array:
        return mean_over_sets(lambda share: residual(tau * share, log_m), d, p)

    n_direct = int(min(n_skills, _N_DIRECT))
    k = jnp.arange(1, n_direct + 1, dtype=t.dtype)
    fitted = jnp.clip(n - (k - 1), 0.0, 1.0)
    if n_skills == n_direct:
        p = probability(k)
        return scale**2 / 2 * jnp.sum(p * (1 - fitted + fitted * mean_residual(p)))

    # skills n_direct < k <= last are fitted, skill last + 1 in part, the others not at all
    n = jnp.minimum(n, float(n_skills))
    endless = jnp.isinf(n)
    n = jnp.where(endless, 0.0, n)
    floor = jnp.floor(jax.lax.stop_gradient(n))
    last = jnp.where(endless, jnp.inf, jnp.maximum(floor, n_direct))
    part = jnp.where(endless | (n <= n_direct), 0.0, n - floor)
    # up to `learned_to` a skill is learned to 1e-30: P_k D and P_k tau both exceed `front`
    front = 80 + jnp.abs(log_m) / 2
    both_infinite = jnp.isinf(d) & jnp.isinf(t)
    slowest = jnp.where(both_infinite, 1.0, jnp.minimum(d, tau))
    reach = jnp.maximum(norm * slowest / front, 1e-30)
    learned_to = jax.lax.stop_gradient(jnp.floor(reach ** (1 / (alpha + 1))))
    learned_to = jnp.clip(learned_to, n_direct, last)
    # beyond, up to a last skill in reach sum P E F; otherwise sum P F(0) less the gain
    # P (F(0) - E F), which decays as P^2
    span = _span(alpha, front)
    points, weights = tail_rule(learned_to + 1, last, span)
    in_reach = last <= (learned_to + 1) * jnp.exp(span)
    edge = jnp.where(endless, 1.0, last + 1)

    p = probability(jnp.concatenate([k, points, edge[None]]))
    residuals = mean_residual(p)  # one call: it is by far the largest piece of the program
    direct, tail = slice(0, n_direct), slice(n_direct, -1)
    total = jnp.sum(p[direct] * (1 - fitted + fitted * residuals[direct]))
    untrained = start * norm * power_tail(alpha + 1, learned_to + 1, last)
    trained = jnp.sum(weights * p[tail] * (residuals[tail] - jnp.where(in_reach, 0.0, start)))
    tail_loss = trained + jnp.where(in_reach, 0.0, untrained)
    unfitted = norm * power_tail(alpha + 1, last + 2, float(n_skills))
    partly = jnp.where(last < n_skills, p[-1] * (1 - part + part * residuals[-1]), 0.0)
    total = total + jnp.where(both_infinite, 0.0, tail_loss) + unfitted + partly
    return scale**2 / 2 * total


@theory_function("n_skills")
def data_loss(
    n_samples: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    shots: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
) -> Float[Array, "..."]:
    r"""Mean loss of the minimum-norm learner that needs several samples per skill.

    $$L = \frac{S^2}{2}\sum_{k\le n_s} P_k\, E(1 - d_k/D_c)_+, \qquad
      d_k \sim \text{Binomial}(D, P_k)$$

    Time and parameters are infinite and the initial strength tends to 0, so skills never seen
    cost S^2/2 in full. Relative error in float64 below 1e-10 for D up to 60 (the accuracy tables of
    the documentation), at D = 1e6 within 1e-11 of a sum of incomplete beta functions (tested).

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D >= 0, may be infinite; real values interpolate.
    - `shots`: D_c >= 1, samples needed to learn one skill.
    - `skill_exponent`, `n_skills`, `target_scale`: as in `loss`.

    **Returns:** loss in squared units of the target, with the factor 1/2; broadcast shape.

    **Reference:** derived here: given d_k isotropic samples in the D_c directions of a skill, the
    part of the target outside their span is (1 - d_k/D_c)_+ on average.
    """
    d, c, alpha, scale = symbols(n_samples, shots, skill_exponent, target_scale)
    norm = 1 / power_sum(alpha + 1, n_skills)
    infinite_d = jnp.isinf(d)
    d_safe = jnp.where(infinite_d, 1.0, d)

    def probability(k: Array) -> Array:
        return norm * k ** -(alpha + 1)

    n_direct = int(min(n_skills, _N_DIRECT_SHOTS))
    k = jnp.arange(1, n_direct + 1, dtype=d.dtype)
    if n_skills == n_direct:
        total = jnp.sum(probability(k) * deficit(d_safe, probability(k), c)[0])
    else:
        last = jnp.asarray(float(n_skills), d.dtype)
        front = c + 12 * jnp.sqrt(c) + 80  # P_k D above which a skill is learned
        learned_to = (norm * jnp.maximum(d_safe, 1.0) / front) ** (1 / (alpha + 1))
        learned_to = jnp.clip(jnp.floor(jax.lax.stop_gradient(learned_to)), n_direct, last)
        span = _span(alpha, front)
        points, weights = tail_rule(learned_to + 1, last, span, 48)
        in_reach = last <= (learned_to + 1) * jnp.exp(span)
        p = probability(jnp.concatenate([k, points]))
        shortfalls, _ = deficit(d_safe, p, c)
        total = jnp.sum(p[:n_direct] * shortfalls[:n_direct])
        unlearned = jnp.where(in_reach, 0.0, norm * power_tail(alpha + 1, learned_to + 1, last))
        learned = shortfalls[n_direct:] - jnp.where(in_reach, 0.0, 1.0)
        total = total + unlearned + jnp.sum(weights * p[n_direct:] * learned)
    return jnp.where(infinite_d, 0.0, scale**2 / 2 * total)


@theory_function("n_skills")
def width_loss(
    width: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    n_skills: int | float = math.inf,
    units_per_skill: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
) -> Float[Array, "..."]:
    r"""Loss of a trained network of finite width; the last skill may be learned in part.

    $$L = \frac{S^2}{2}\sum_{k\le n_s} P_k\,[1 - \text{clip}(N/N_c - (k-1), 0, 1)]$$

    The skill in part costs (S^2/2)(1 - rem/N_c), not (S - R_k)^2/2: the error has a component
    off the skill. Exact; relative error below 1e-12 in float64.

    **Arguments:** (any shapes that broadcast)

    - `width`: N >= 0, number of units, may be infinite.
    - `units_per_skill`: N_c > 0; 1 gives the plain law in the number of parameters.
    - `skill_exponent`, `n_skills`, `target_scale`: as in `loss`.

    **Returns:** loss in squared units of the target, with the factor 1/2; broadcast shape.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 12 at infinite time and data; the loss of
    the partial skill derived here.

    **Example**

    >>> print(f"{js.emergence.theory.width_loss(10, skill_exponent=0.6):.3g}")
    0.0889
    """
    n, alpha, per_skill, scale = symbols(width, skill_exponent, units_per_skill, target_scale)
    full = jnp.isinf(n)
    learned = jnp.where(full, 0.0, n) / per_skill
    floor = jnp.floor(jax.lax.stop_gradient(learned))
    unlearned = power_tail(alpha + 1, floor + 2, float(n_skills))
    partly = (1 - (learned - floor)) * (floor + 1) ** -(alpha + 1)
    total = jnp.where(full | (floor >= n_skills), 0.0, unlearned + partly)
    return scale**2 / 2 * total / power_sum(alpha + 1, n_skills)
