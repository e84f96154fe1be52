"""The four scaling laws of a single bottleneck: time, data, parameters, compute."""

import math
from typing import Literal

import jax.numpy as jnp
from jaxtyping import ArrayLike, Real

from jaxscale._gamma import log_gamma_ratio
from jaxscale._theory import symbols
from jaxscale.emergence.theory._allocation import optimum
from jaxscale.emergence.theory._checks import theory_function
from jaxscale.emergence.theory._quadrature import odds, residual_moment, scales
from jaxscale.spectra import PowerLaw


@theory_function("n_skills", vectorize=False)
def time_law(
    *,
    skill_exponent: Real[ArrayLike, "..."],
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
    n_skills: int | float = math.inf,
) -> PowerLaw:
    r"""Loss against training time, with infinite data, parameters and skills.

    $$L \simeq \mathcal A_T \tau^{-\alpha/(\alpha+1)}, \quad \tau = \eta S T, \quad
      \mathcal A_T = \frac{S^2}{2}\,\frac{A^{1/(\alpha+1)}}{\alpha+1}
      \int_0^\infty u^{s-1}F(u)\,du, \quad s = \frac{\alpha}{\alpha+1}$$

    Against the exact sum (S = 1, r = 0.01, alpha 0.3 to 0.9): 3% at tau = 10, 8e-5 at 100, 1e-12 at
    1000. A finite number of skills breaks the law early when alpha is small: use `time_loss`.

    **Arguments:** (any shapes that broadcast)

    - `skill_exponent`: alpha > 0.
    - `target_scale`: S, units of the target.
    - `initial_strength`: r = R_k(0), 0 < r < S.
    - `n_skills`: enters A only (the law itself is that of infinitely many skills).

    **Returns:** the law in tau = learning_rate * target_scale * time.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, section on the time law; the prefactor (exact
    integral instead of its leading term in ln M) derived here.

    **Example**

    >>> law = js.emergence.theory.time_law(skill_exponent=0.6)
    >>> print(f"{law.prefactor:.3g} * tau^-{law.exponent:.3g}")
    0.6 * tau^-0.375
    """
    alpha, scale, strength = symbols(skill_exponent, target_scale, initial_strength)
    _, s, b = scales(alpha, n_skills)
    moment = jnp.vectorize(residual_moment)(jnp.zeros_like(s), s, odds(scale, strength))
    return PowerLaw(scale**2 / 2 * b * moment, s)


@theory_function("learner", "n_skills", vectorize=False)
def data_law(
    *,
    skill_exponent: Real[ArrayLike, "..."],
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
    shots: Real[ArrayLike, "..."] = 1.0,
    learner: Literal["threshold", "minimum_norm"] = "threshold",
    n_skills: int | float = math.inf,
) -> PowerLaw:
    r"""Mean loss against the size of the data set, with infinite time, parameters and skills.

    $$L \simeq \mathcal A_D D^{-\alpha/(\alpha+1)}, \quad
      \mathcal A_D = \frac{S^2}{2}\,\frac{A^{1/(\alpha+1)}}{\alpha+1}\,G$$

    $$G_{threshold} = (1 - r/S)^2\,\frac{\Gamma(s+n)}{s\,\Gamma(n)}, \quad
      G_{min\,norm} = \frac{\Gamma(s+n)}{\Gamma(n)}
      \Big[\frac1s - \frac{n-1}{n(s+1)}\Big], \quad n = D_c$$

    `threshold`: a skill is learned in full from D_c samples on and otherwise stays at R = r, which
    is why its unlearned skills cost (S - r)^2/2. D_c = 1 is the multilinear model:
    G = (1 - r/S)^2 Gamma(s). `minimum_norm`: the loss falls as 1 - d/D_c; this learner is the limit
    r -> 0, so `initial_strength` does not enter. Against the exact sum at D_c = 1: 4% at D = 10,
    0.4% at 100, then in proportion to 1/D.

    **Arguments:** (any shapes that broadcast)

    - `skill_exponent`, `target_scale`, `initial_strength`, `n_skills`: as in `time_law`.
    - `shots`: D_c, samples needed to learn one skill.
    - `learner`: "threshold" or "minimum_norm".

    **Returns:** the law in D = number of samples.

    **Raises:** `ValueError` for a plain number out of range or an unknown learner.

    **Reference:** Nam et al. 2024, arXiv 2404.17563, section on the data law; the forms for
    D_c > 1 derived here: with d Poisson of mean Lambda = D P_k, the integrals over Lambda of
    Lambda^{s-1} P(d < n) and of Lambda^{s-1} E(1 - d/n)_+.

    **Example**

    >>> law = js.emergence.theory.data_law(skill_exponent=0.6)
    >>> print(f"{law.prefactor:.3g} * D^-{law.exponent:.3g}")
    0.433 * D^-0.375
    """
    alpha, scale, strength, n = symbols(skill_exponent, target_scale, initial_strength, shots)
    _, s, b = scales(alpha, n_skills)
    growth = n**s * jnp.exp(log_gamma_ratio(n, s))
    if learner == "threshold":
        factor = ((scale - strength) / scale) ** 2
    else:
        factor = 1 - s * (n - 1) / (n * (s + 1))
    return PowerLaw(scale**2 / 2 * b * growth * factor, s)


@theory_function("n_skills", vectorize=False)
def parameter_law(
    *,
    skill_exponent: Real[ArrayLike, "..."],
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
    n_skills: int | float = math.inf,
) -> PowerLaw:
    r"""Loss against the number of parameters, with infinite time, data and skills.

    $$L \simeq \mathcal A_N N^{-\alpha}, \qquad \mathcal A_N = \frac{S^2 A}{2\alpha}$$

    Skills without a parameter have R = 0, not r, so `initial_strength` does not enter (it is
    accepted because the four laws share their arguments). Against the exact sum (alpha 0.3 to
    0.9): 5% at N = 10, then in proportion to 1/N; `parameter_loss` shifts N by 1/2 and is 70 times
    closer.

    **Arguments:** as `time_law`; `initial_strength` is checked only.

    **Returns:** the law in N = number of parameters (N/N_c for N_c units per skill).

    **Reference:** Nam et al. 2024, arXiv 2404.17563, section on the parameter law; the prefactor
    with A = 1/zeta(alpha + 1) (the paper's plots use S^2/2) derived here.

    **Example**

    >>> law = js.emergence.theory.parameter_law(skill_exponent=0.6)
    >>> print(f"{law.prefactor:.3g} * N^-{law.exponent:.3g}")
    0.365 * N^-0.6
    """
    alpha, scale = symbols(skill_exponent, target_scale)
    norm, _, _ = scales(alpha, n_skills)
    return PowerLaw(scale**2 * norm / (2 * alpha), alpha)


@theory_function("n_skills", vectorize=False)
def compute_law(
    *,
    skill_exponent: Real[ArrayLike, "..."],
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
    n_skills: int | float = math.inf,
) -> PowerLaw:
    r"""Smallest loss against compute, parameters and time traded off, with infinite data.

    $$L^* \simeq \mathcal A_C X^{-\alpha/(\alpha+2)}, \quad X = \eta S\,N T, \quad
      \mathcal A_C = \min_\lambda \mathcal A(\lambda)\,\lambda^{\alpha/(\alpha+2)}$$

    A(lambda) is the prefactor of `time_parameter_loss` at N = lambda tau^{1/(alpha+1)}. Against
    the exact sum minimised over integer N (alpha 0.3 to 0.9): 5% at X = 1e2, 1% at 1e4, 0.2% at
    1e6.

    **Arguments:** as `time_law`.

    **Returns:** the law in X = learning_rate * target_scale * N * T.

    **Reference:** exponent: Nam et al. 2024, arXiv 2404.17563, section on the compute law;
    prefactor derived here, see `optimal_allocation`.

    **Example**

    >>> law = js.emergence.theory.compute_law(skill_exponent=0.6)
    >>> print(f"{law.prefactor:.3g} * X^-{law.exponent:.3g}")
    0.532 * X^-0.231
    """
    alpha, scale, strength = symbols(skill_exponent, target_scale, initial_strength)
    norm, s, b = scales(alpha, n_skills)
    _, height = jnp.vectorize(optimum)(alpha, odds(scale, strength), norm, s, b)
    return PowerLaw(scale**2 / 2 * height, alpha / (alpha + 2))
