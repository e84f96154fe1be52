"""Closed forms in powers of samples, features, time or compute, each in a limit of the model."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._gamma import log_gamma_ratio
from jaxscale._theory import is_plain, symbols
from jaxscale.sparse.theory._checks import above_one, theory_function
from jaxscale.spectra import PowerLaw, require


class AllocationLaws(eqx.Module):
    r"""Optimal sizes and loss as power laws of compute C = N D.

    **Arguments:** `n_features`, `n_samples` (with negative exponents: they grow) and `loss`.
    """

    n_features: PowerLaw
    n_samples: PowerLaw
    loss: PowerLaw


@theory_function(vectorize=False, sparsity_exponent=above_one)
def unseen_law(
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
) -> PowerLaw:
    r"""Loss against the number of samples for infinitely many features and coordinates, gamma > 1.

    $$L \simeq \frac{\Gamma(\alpha/\gamma)}{2\gamma}\,(cD)^{-\alpha/\gamma}$$

    The loss itself is above by the collision factor 1 + O(D^{-(1-1/gamma)}): 11% at D = 64 and 3%
    at D = 2048 for alpha = 1, gamma = 1.5 (`residual_loss` over `unseen_loss`).

    **Arguments:** as `unseen_loss`, with `sparsity_exponent` above 1.

    **Returns:** the law in D = number of samples.

    **Example**

    >>> law = js.sparse.theory.unseen_law(spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{law.prefactor:.3g} * D^-{law.exponent:.3g}")
    0.443 * D^-0.5
    """
    alpha, gamma, c = symbols(spectrum_exponent, sparsity_exponent, activity)
    b = alpha / gamma
    return PowerLaw(jnp.exp(gammaln(b)) / (2 * gamma) * c**-b, b)


@theory_function(vectorize=False, sparsity_exponent=above_one)
def allocation_laws(
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
) -> AllocationLaws:
    r"""Closed form of the optimal split of compute C = N D for large C.

    $$N^* = \big[\nu^*\,\Gamma(1 - 1/\gamma)\,c^{1/\gamma}\big]^{\frac{\gamma}{1+\gamma}}
      C^{\frac{1}{1+\gamma}}, \quad D^* = C/N^*, \quad
      \nu^* = \frac{N^*}{r} = 1 + \frac{1+\gamma}{\alpha}$$
    $$L^* = \frac{\Gamma(\alpha/\gamma)}{2\gamma}\,(c D^*)^{-\alpha/\gamma}\,
      \frac{\nu^*}{\nu^* - 1} \propto C^{-\frac{\alpha}{1+\gamma}}$$

    Collisions are left out: against `optimal_allocation` N* is 1% to 12% high at C = 1e4 and within
    5% at C = 1e6, L* within 3% (gamma 1.5 to 3).

    **Arguments:** as `unseen_law`.

    **Returns:** laws in C; the sizes grow, so their exponents are negative.

    **Example**

    >>> laws = js.sparse.theory.allocation_laws(spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"N ~ C^{-laws.n_features.exponent:.3f}, D ~ C^{-laws.n_samples.exponent:.3f}")
    N ~ C^0.333, D ~ C^0.667
    """
    alpha, gamma, c = symbols(spectrum_exponent, sparsity_exponent, activity)
    ratio = 1 + (1 + gamma) / alpha
    per_sample = jnp.exp(gammaln(1 - 1 / gamma)) * c ** (1 / gamma)
    n = (ratio * per_sample) ** (gamma / (1 + gamma))
    b = alpha / gamma
    height = jnp.exp(gammaln(b)) / (2 * gamma) * c**-b
    return AllocationLaws(
        PowerLaw(n, -1 / (1 + gamma)),
        PowerLaw(1 / n, -gamma / (1 + gamma)),
        PowerLaw(height * n**b * ratio / (ratio - 1), alpha / (1 + gamma)),
    )


@theory_function()
def dense_law(*, spectrum_exponent: Real[ArrayLike, "..."]) -> PowerLaw:
    r"""Loss of dense inputs against the smaller of features and samples, the other infinite.

    $$L \simeq \frac12 \Big[\frac{\pi/(1+\alpha)}{\sin(\pi/(1+\alpha))}\Big]^{1+\alpha}
      n^{-\alpha}$$

    Also the N law of sparse inputs, for 1 << N << r. The next order in 1/n is the factor
    (1 + 1/(2n))^{-(1+alpha)}, since Delta_n is a power of n + 1/2.

    **Arguments:** `spectrum_exponent`, alpha > 0, any shape.

    **Returns:** the law in n.

    **Example**

    >>> law = js.sparse.theory.dense_law(spectrum_exponent=1.0)
    >>> print(f"{law.prefactor:.3g} * n^-{law.exponent:.3g}")
    1.23 * n^-1
    """
    (alpha,) = symbols(spectrum_exponent)
    angle = jnp.pi / (1 + alpha)
    return PowerLaw((angle / jnp.sin(angle)) ** (1 + alpha) / 2, alpha)


@theory_function()
def dense_allocation_laws(*, spectrum_exponent: Real[ArrayLike, "..."]) -> AllocationLaws:
    r"""Optimal split of compute C = N D for dense inputs, on the overparameterised side.

    $$\frac{N^*}{D^*} = \nu^* = 1 + \frac2\alpha, \qquad N^* = \sqrt{\nu^* C}, \qquad
      L^* \simeq A\,D^{*-\alpha}\,\frac{\nu^*}{\nu^* - 1}$$

    with A of `dense_law`. The loss is symmetric, so exchanging N and D gives a second optimum of
    the same loss.

    **Arguments:** `spectrum_exponent`, alpha > 0, any shape.

    **Returns:** laws with exponents -1/2, -1/2 and alpha/2.

    **Reference:** derived here, from `dense_loss`.

    **Example**

    >>> laws = js.sparse.theory.dense_allocation_laws(spectrum_exponent=1.0)
    >>> print(f"N ~ C^{-laws.n_features.exponent:.3f}, D ~ C^{-laws.n_samples.exponent:.3f}")
    N ~ C^0.500, D ~ C^0.500
    """
    (alpha,) = symbols(spectrum_exponent)
    ratio = 1 + 2 / alpha
    size, half = jnp.sqrt(ratio), jnp.full_like(alpha, -0.5)
    height = dense_law(spectrum_exponent=alpha).prefactor * size**alpha * ratio / (ratio - 1)
    return AllocationLaws(
        PowerLaw(size, half), PowerLaw(1 / size, half), PowerLaw(height, alpha / 2)
    )


@theory_function()
def gd_law(*, spectrum_exponent: Real[ArrayLike, "..."]) -> PowerLaw:
    r"""Loss against time early in training; the same for sparse and for dense inputs.

    $$L \simeq \frac{\Gamma(s)}{2(1+\alpha)}\,(2\eta t)^{-s}, \qquad s = \frac{\alpha}{1+\alpha}$$

    Holds for 1 << eta t << D^{(1+alpha)/gamma}; later a plateau at the unseen variance.

    **Arguments:** `spectrum_exponent`, alpha > 0, any shape.

    **Returns:** the law in tau = learning_rate * time.

    **Example**

    >>> law = js.sparse.theory.gd_law(spectrum_exponent=1.0)
    >>> print(f"{law.prefactor:.3g} * (eta t)^-{law.exponent:.3g}")
    0.313 * (eta t)^-0.5
    """
    (alpha,) = symbols(spectrum_exponent)
    s = alpha / (1 + alpha)
    return PowerLaw(jnp.exp(gammaln(s)) / (2 * (1 + alpha)) * 2.0**-s, s)


@theory_function()
def projection_factor(
    n_features: Real[ArrayLike, "..."], moment: Real[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Factor by which finitely many features raise the instability law.

    $$\Big(\frac2N\Big)^k \frac{\Gamma(N/2 + k)}{\Gamma(N/2)} = 1 + \frac{k(k-1)}{N} + \dots$$

    The k-th moment of |F e_i|^2/N. It multiplies `instability_law`, not the probability at finite
    D, where simulated values for N = 64 are another 16% to 53% above at eta = 1.

    **Arguments:** (any shapes that broadcast)

    - `n_features`: N > 0, may be infinite.
    - `moment`: k = (gamma - 1)/(gamma - 1 - alpha) > 0.

    **Returns:** the factor, broadcast shape.

    **Reference:** derived here.

    **Example**

    >>> print(f"{js.sparse.theory.projection_factor(64, 2.0):.4g}")
    1.031
    """
    n, k = symbols(n_features, moment)
    endless = jnp.isinf(n)
    half = jnp.where(endless, 1.0, n) / 2
    return jnp.where(endless, 1.0, jnp.exp(log_gamma_ratio(half, k)))


def _check_steep(values: Mapping[str, Any]) -> None:
    alpha, gamma = values["spectrum_exponent"], values["sparsity_exponent"]
    if is_plain(alpha, gamma):
        least = 1 + np.asarray(alpha)
        what = f"above 1 + `spectrum_exponent` = {least}"
        require("sparsity_exponent", gamma, lambda v: v > least, what)


@theory_function(vectorize=False, check=_check_steep)
def instability_law(
    learning_rate: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
) -> PowerLaw:
    r"""Probability of instability against the number of samples, gamma > 1 + alpha.

    $$P \simeq \frac{cD}{\gamma-1}\,\mathbb E|z|^{2k}\,\Big(\frac{2cD}{\eta}\Big)^{-k}, \quad
      k = \frac{\gamma-1}{\gamma-1-\alpha}, \quad
      \mathbb E|z|^{2k} = \frac{2^k\,\Gamma(k + 1/2)}{\sqrt\pi}$$

    **Arguments:** (any shapes that broadcast)

    - `learning_rate`: eta > 0, below about 2.
    - `sparsity_exponent`: gamma > 1 + alpha; below there is no power law (NaN for JAX arrays).
    - `spectrum_exponent`, `activity`: as `unseen_law`.

    **Returns:** the law in D = number of samples, of exponent k - 1 = alpha/(gamma - 1 - alpha).

    **Example**

    >>> law = js.sparse.theory.instability_law(1.0, spectrum_exponent=1.0, sparsity_exponent=3.0)
    >>> print(f"{law.prefactor:.3g} * D^-{law.exponent:.3g}")
    0.375 * D^-1
    """
    rate, alpha, gamma, c = symbols(learning_rate, spectrum_exponent, sparsity_exponent, activity)
    valid = gamma > 1 + alpha
    k = (gamma - 1) / jnp.where(valid, gamma - 1 - alpha, jnp.nan)
    # one exponential: a factor alone may underflow, or a part of its slope
    height = jnp.exp(gammaln(k + 0.5) + k * jnp.log(rate / c))
    return PowerLaw(c / (gamma - 1) * height / math.sqrt(math.pi), k - 1)
