"""Emergence of single skills with time, data and width."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._deprecated import warn_deprecated
from jaxscale._theory import check_choices, finite_count, symbols
from jaxscale.emergence.theory._binomial import at_least, deficit, mean_over_sets, root_deficit
from jaxscale.emergence.theory._checks import infinite_data, theory_function
from jaxscale.emergence.theory._quadrature import LONG_TIME, odds, residual
from jaxscale.spectra import power_law_probabilities

Learner = Literal["minimum_norm", "paper", "expected_count", "threshold"]


@theory_function("n_skills", vectorize=False, n_skills=finite_count)
def skill_probabilities(
    skill_exponent: Real[ArrayLike, ""], n_skills: int
) -> Float[Array, " n_skills"]:
    r"""Frequency of each skill in the data.

    $$P_k = k^{-(\alpha+1)} / \sum_{j\le n_s} j^{-(\alpha+1)}, \quad k = 1..n_s$$

    **Arguments:**

    - `skill_exponent`: alpha > 0, scalar, dimensionless.
    - `n_skills`: number of skills, a Python integer.

    **Returns:** `(n_skills,)` probabilities, largest first.

    **Raises:** `ValueError` for a bad exponent or number of skills.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 1.

    **Example**

    >>> print(np.asarray(js.emergence.theory.skill_probabilities(0.6, 4)).round(3))
    [0.621 0.205 0.107 0.068]
    """
    (alpha,) = symbols(skill_exponent)
    return power_law_probabilities(alpha + 1, n_skills)


@theory_function()
def skill_strength(
    time: Real[ArrayLike, "..."],
    probability: Real[ArrayLike, "..."],
    *,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Float[Array, "..."]:
    r"""Strength of a skill under gradient flow of the multilinear model; not divided by S.

    $$R_k(T) = \frac{S}{1 + M e^{-2\eta S P_k T}}, \qquad M = S/r - 1$$

    Exact for fresh data. For a finite data set replace the probability by the empirical frequency.

    **Arguments:** (any shapes that broadcast)

    - `time`: T >= 0, training steps, may be infinite.
    - `probability`: P_k in (0, 1].
    - `learning_rate`: eta, per step, for the mean loss (1/2)E(f - f*)^2.
    - `target_scale`: S, units of the target.
    - `initial_strength`: r = R_k(0), units of the target, 0 < r < S.

    **Returns:** R_k in units of the target, broadcast shape.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 10.

    **Example**

    >>> time = np.asarray([0.0, 50.0, 100.0])
    >>> strength = js.emergence.theory.skill_strength(time, 0.5, learning_rate=0.1)
    >>> print(np.asarray(strength).round(3))
    [0.01  0.6   0.996]
    """
    t, p, rate, scale, strength = symbols(
        time, probability, learning_rate, target_scale, initial_strength
    )
    u = rate * scale * jnp.minimum(t, LONG_TIME) * p
    return scale * jax.nn.sigmoid(2 * u - odds(scale, strength))


class SkillMoments(eqx.Module):
    """Mean strength `E R_k` and mean conditional loss `E (S - R_k)^2 / 2` of one skill."""

    strength: Float[Array, "..."]
    loss: Float[Array, "..."]


@theory_function(plain=infinite_data)
def expected_skill(
    time: Real[ArrayLike, "..."],
    n_samples: Real[ArrayLike, "..."],
    probability: Real[ArrayLike, "..."],
    *,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> SkillMoments:
    r"""Strength and loss of a skill under gradient flow, averaged over data sets of D samples.

    $$E R_k = E\frac{S}{1 + M e^{-2\eta S T d/D}}, \qquad
      E L_k = \tfrac12 E (S - R_k)^2, \qquad d \sim \text{Binomial}(D, P_k)$$

    Relative error below 1e-10 in float64 for D up to 1e9.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D >= 0, may be infinite (then d/D is P_k).
    - `time`, `probability`, `learning_rate`, `target_scale`, `initial_strength`: as in
      `skill_strength`.

    **Returns:** `SkillMoments`, each of broadcast shape, in the target's units.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 10; the mean over data sets derived here.
    """
    t, d, p, rate, scale, strength = symbols(
        time, n_samples, probability, learning_rate, target_scale, initial_strength
    )
    tau, log_m = rate * scale * jnp.minimum(t, LONG_TIME), odds(scale, strength)
    learned = mean_over_sets(lambda share: jax.nn.sigmoid(2 * (tau * share) - log_m), d, p)
    loss = mean_over_sets(lambda share: residual(tau * share, log_m) / 2, d, p)
    return SkillMoments(scale * learned, scale**2 * loss)


@theory_function()
def emergence_time(
    probability: Real[ArrayLike, "..."],
    *,
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
    fraction: Real[ArrayLike, "..."] = 0.5,
) -> Float[Array, "..."]:
    r"""Time at which a skill reaches a given fraction of its final strength.

    $$T_k(\epsilon) = \frac{\ln M + \ln(\epsilon/(1-\epsilon))}{2\eta S P_k}$$

    **Arguments:** (any shapes that broadcast)

    - `probability`: P_k in (0, 1].
    - `learning_rate`, `target_scale`, `initial_strength`: as in `skill_strength`.
    - `fraction`: epsilon = R_k/S in (0, 1); negative times come out below r/S.

    **Returns:** T_k in training steps, broadcast shape.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 10 solved for T.

    **Example**

    >>> times = js.emergence.theory.emergence_time(np.asarray([0.5, 0.1]), learning_rate=0.1)
    >>> print(np.asarray(times).round(1))
    [ 46.  229.8]
    """
    p, rate, scale, strength, part = symbols(
        probability, learning_rate, target_scale, initial_strength, fraction
    )
    return (odds(scale, strength) + jnp.log(part) - jnp.log1p(-part)) / (2 * rate * scale * p)


def _check_learner(name: str, value: Any) -> None:
    if value == "projection":
        warn_deprecated('learner="projection"', 'learner="minimum_norm"')
    else:
        check_choices(name, value, get_args(Learner))


def _current_name(values: Mapping[str, Any]) -> dict[str, str]:
    return {"learner": "minimum_norm"} if values["learner"] == "projection" else {}


@theory_function("learner", learner=_check_learner, plain=_current_name)
def data_emergence(
    n_samples: Real[ArrayLike, "..."],
    probability: Real[ArrayLike, "..."],
    shots: Real[ArrayLike, "..."] = 1.0,
    *,
    learner: Learner = "minimum_norm",
) -> Float[Array, "..."]:
    r"""Average strength of a skill after long training on a finite data set, in units of S.

    $$E\,R_k/S = E\,\phi(d), \qquad d \sim \text{Binomial}(D, P_k)$$

    with phi(d) = min(d/D_c, 1) for `minimum_norm` (the correlation of a minimum-norm learner
    with D_c equivalent directions per skill), 1 - sqrt((1 - d/D_c)_+) for `paper` (R defined
    through the loss by L = (S - R)^2/2, which leaves out the off-skill part of the error) and
    1[d >= D_c] for `threshold` (all or nothing). `expected_count` is phi of `paper` at the mean
    count D P_k, what the authors' figures show; it is steeper, with half points D_c (3/4) / P_k.
    Training time is infinite and the initial strength tends to 0.

    Relative error in float64 below 1e-10 for D up to 1e9 (tested). `shots` may be real: the first
    two formulas are used as they stand, `threshold` interpolates by the incomplete beta function
    I_P(D_c, D - D_c + 1). At an integer `shots` the `paper` curve has an infinite slope on the
    right; the gradient returned there is the finite one from below.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D >= 0, size of the data set, may be infinite; real values interpolate.
    - `probability`: P_k in (0, 1].
    - `shots`: D_c > 0, samples needed to learn one skill.
    - `learner`: "minimum_norm", "paper", "expected_count" or "threshold" ("projection", the old
      name of "minimum_norm", is deprecated).

    **Returns:** E R_k/S in [0, 1], broadcast shape.

    **Raises:** `ValueError` for a plain number out of range or an unknown learner.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, eq. 17 (`paper`, `expected_count`); Michaud
    et al. 2023, arXiv 2303.13506 (`threshold`); `minimum_norm` derived here: the minimum-norm
    interpolant of d samples is the projection on d of D_c isotropic directions, so E R_k/S = d/D_c.

    **Example**

    >>> strength = js.emergence.theory.data_emergence(np.asarray([1, 10, 100]), 0.1)
    >>> print(np.asarray(strength).round(3))
    [0.1   0.651 1.   ]
    """
    n, p, c = symbols(n_samples, probability, shots)
    infinite = jnp.isinf(n)
    n = jnp.where(infinite, 1.0, n)
    if learner == "minimum_norm":
        _, value = deficit(n, p, c)
    elif learner == "threshold":
        value = at_least(n, p, c)
    elif learner == "expected_count":
        share = n * p / c
        gap = 1 - share
        root = jnp.where(gap > 0, jnp.sqrt(jnp.where(gap > 0, gap, 1.0)), 0.0)
        value = jnp.where(gap > 0, share / (1 + root), 1.0)
    else:
        value = root_deficit(n, p, c)
    return jnp.where(infinite, 1.0, value)


@theory_function("n_skills", vectorize=False, n_skills=finite_count)
def width_emergence(
    width: Real[ArrayLike, "..."], n_skills: int, units_per_skill: Real[ArrayLike, "..."] = 1.0
) -> Float[Array, "... n_skills"]:
    r"""Strength of every skill in a trained network of finite width, in units of S.

    $$R_k/S = \text{clip}(N/N_c - (k - 1),\ 0,\ 1)$$

    Skills are learned in order of frequency and each takes N_c units; time and data are infinite.

    **Arguments:**

    - `width`: N >= 0, number of units, may be infinite, any shape.
    - `n_skills`: number of skills, a Python integer.
    - `units_per_skill`: N_c > 0, broadcastable with `width`.

    **Returns:** `(..., n_skills)`, R_k/S for k = 1..n_skills.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, section on the extended model with N_c units.

    **Example**

    >>> print(js.emergence.theory.width_emergence(2.5, 4))
    [1.  1.  0.5 0. ]
    """
    n, per_skill = jnp.broadcast_arrays(*symbols(width, units_per_skill))
    finite = jnp.isfinite(n)
    full = jnp.where(finite, jnp.where(finite, n, 0.0) / per_skill, n_skills)
    rank = jnp.arange(n_skills, dtype=n.dtype)
    return jnp.clip(full[..., None] - rank, 0.0, 1.0)
