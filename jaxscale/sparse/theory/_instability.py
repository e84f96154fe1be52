"""How often full-batch gradient descent is unstable: one rare, large input is enough."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc, gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import is_plain, symbols
from jaxscale.sparse.theory._checks import theory_function
from jaxscale.sparse.theory._coordinates import POWER_LAW, Coordinates, of_spectrum
from jaxscale.spectra import PowerLaw, require


@of_spectrum()
def instability_probability(
    n_samples: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."] | None = None,
    sparsity_exponent: Real[ArrayLike, "..."] | None = None,
    activity: Real[ArrayLike, "..."] = 1.0,
    n_coordinates: int | float = math.inf,
    spectrum: Coordinates = POWER_LAW,
) -> Float[Array, "..."]:
    r"""Probability over data sets that eta lambda_max of the kernel exceeds 2, infinite N.

    $$P = 1 - (1 - P_{bulk})\,e^{-R}, \qquad
      R = D\sum_{i\ge2} p_i\,\operatorname{erfc}\sqrt{\frac{D}{\eta\sigma_i^2}}, \qquad
      P_{bulk} = P\big(\chi^2_{D p_1} > 2D/(\eta\sigma_1^2)\big)$$

    R counts spikes sigma_i^2 z^2/D > 2/eta of single active coordinates; P_bulk is the first
    coordinate alone, a rigorous lower bound for c >= 1 (for c < 1 its number of active rows is
    replaced by the mean). Asymptotic, eta below about 2 and D above 50. Simulated counts over
    predicted: 1.16 +- .04 at (alpha, gamma) = (1, 3), 1.06 +- .02 at (0.5, 2.5), 1.04 +- .02 at
    (0.5, 3), eta 0.25 to 1; for gamma < 1 + alpha up to 1.3 times P_bulk. The gradient in D is that
    of the incomplete gamma function in both arguments.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D > 0, may be infinite.
    - `learning_rate`: eta > 0, per step.
    - `spectrum_exponent`, `sparsity_exponent`, `activity`, `n_coordinates`, `spectrum`: as
      `unseen_loss`. M below (2cD/eta)^{1/(gamma-1-alpha)} cuts the spikes off; the first entry of
      a spectrum is the bulk.

    **Returns:** a probability, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> chance = js.sparse.theory.instability_probability(
    ...     1e3, 2.0, spectrum_exponent=1.0, sparsity_exponent=2.0
    ... )
    >>> print(f"{chance:.3g}")
    0.494
    """
    n, rate = symbols(n_samples, learning_rate)
    endless = jnp.isinf(n)
    n = jnp.where(endless, 1.0, n)
    p, amplitude = spectrum.probability, spectrum.amplitude
    tiny = float(jnp.finfo(p.dtype).tiny) ** 0.75
    height = jnp.maximum(n / (rate * amplitude), tiny)
    spikes = spectrum.weight * n * p * jax.lax.erfc(jnp.sqrt(height))
    rate_of_spikes = jnp.sum(spikes[1:])
    bulk = gammaincc(n * p[0] / 2, n / (rate * amplitude[0]))
    bulk = jnp.minimum(bulk, 1 - float(jnp.finfo(p.dtype).eps))
    value = -jnp.expm1(jnp.log1p(-bulk) - rate_of_spikes)
    # infinite data: the largest eigenvalue is the largest variance
    limit = jnp.where(rate * spectrum.variance[0] > 2, 1.0, 0.0)
    return jnp.where(endless, limit, value)


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

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here.

    **Example**

    >>> print(f"{js.sparse.theory.projection_factor(64, 2.0):.4g}")
    1.031
    """
    n, k = symbols(n_features, moment)
    endless = jnp.isinf(n)
    half = jnp.where(endless, 1.0, n) / 2
    value = jnp.exp(gammaln(half + k) - gammaln(half) - k * jnp.log(half))
    return jnp.where(endless, 1.0, value)


def _check_steep(values: Mapping[str, Any]) -> None:
    """Check gamma > 1 + alpha."""
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
    - `spectrum_exponent`: alpha > 0.
    - `sparsity_exponent`: gamma > 1 + alpha; below there is no power law (NaN for JAX arrays).
    - `activity`: c > 0.

    **Returns:** the law in D = number of samples, of exponent k - 1 = alpha/(gamma - 1 - alpha).

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> law = js.sparse.theory.instability_law(1.0, spectrum_exponent=1.0, sparsity_exponent=3.0)
    >>> print(f"{law.prefactor:.3g} * D^-{law.exponent:.3g}")
    0.375 * D^-1
    """
    rate, alpha, gamma, c = symbols(learning_rate, spectrum_exponent, sparsity_exponent, activity)
    valid = gamma > 1 + alpha
    k = (gamma - 1) / jnp.where(valid, gamma - 1 - alpha, jnp.nan)
    moment = jnp.exp(gammaln(k + 0.5) + k * math.log(2)) / math.sqrt(math.pi)
    return PowerLaw(c / (gamma - 1) * moment * (2 * c / rate) ** -k, k - 1)
