"""The loss anywhere in the plane of features and samples: a deterministic equivalent."""

import math
from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from jaxscale._status import Status
from jaxscale._theory import symbols
from jaxscale.sparse.theory._coordinates import (
    POWER_LAW,
    Coordinates,
    PowerLawFields,
    endless_gamma,
    lists_power_law,
    of_spectrum,
)
from jaxscale.sparse.theory._coverage import covered, rank
from jaxscale.sparse.theory._transform import Moments, solve


class Equivalent(eqx.Module):
    r"""The deterministic equivalent of a random-feature regression.

    **Arguments:**

    - `loss`: mean population loss, squared units of the target; NaN where `status` is not ok.
    - `rank`: r, the mean-field rank of the inputs; the ridgeless peak is at N = r.
    - `delta`: Delta, the variance below which a coordinate is not learned.
    - `degrees_of_freedom`: df, the effective number of fitted coordinates.
    - `status`: codes of `js.Status`: `ok`, or `not_converged` where the fixed point
      was not reached (to 1e-6 in float64, 5e-3 in float32).
    """

    loss: Float[Array, "..."]
    rank: Float[Array, "..."]
    delta: Float[Array, "..."]
    degrees_of_freedom: Float[Array, "..."]
    status: Int[Array, "..."]


def _equation(x: Array, moments: Moments, arguments: tuple[Array, ...]):
    """Fixed point in x = ln(Delta/tau): (sign, Newton value, Newton slope); see `solve`."""
    target, ridge, per_feature, per_sample = arguments
    ridged = ridge > 0
    tiny = float(jnp.finfo(x.dtype).tiny) ** 0.5
    tau = 1 - moments.freedom * per_sample
    free = 1 - moments.freedom * per_feature
    excess = jnp.exp(x) * jnp.maximum(tau, 0.0) * jnp.maximum(free, 0.0)
    sign = jnp.where(ridged, ridge - excess, moments.freedom - target)
    tau = jnp.where(ridged, jnp.maximum(tau, tiny), 1.0)
    free = jnp.where(ridged, jnp.maximum(free, tiny), 1.0)
    value = jnp.log(jnp.where(ridged, ridge, 1.0)) - x - jnp.log(tau) - jnp.log(free)
    slope = -1 - moments.slope * (per_sample / tau + per_feature / free)
    # with ridge in units of ln Delta: 1 - df/N may be small and noisy
    value = jnp.where(ridged, -value / slope, (moments.freedom - target) / target)
    return sign, value, jnp.where(ridged, -1.0, -moments.slope / target)


def evaluate(
    spectrum: Coordinates, n_features: Array, n_samples: Array, ridge: Array
) -> Equivalent:
    """Evaluate `deterministic_equivalent` for scalars of one dtype; the rank is finite."""
    ridged = ridge > 0
    perfect = jnp.isinf(n_features) & jnp.isinf(n_samples) & ~ridged
    n = jnp.where(perfect, 1.0, n_features)
    per_feature, per_sample = 1 / n, 1 / n_samples
    r = rank(spectrum, n_samples)
    under = n < r
    target = jnp.where(under, n, r)  # the number of constraints that are met
    total = spectrum.sum(spectrum.variance)
    size = jnp.minimum(n, n_samples)
    size = jnp.where(jnp.isinf(size), 1.0, size)
    bound = jnp.where(ridged, jnp.maximum(2 * total / size, 4 * ridge), total / target)
    bound = jnp.where(jnp.isinf(n_features) & jnp.isinf(n_samples), 4 * ridge + 1.0, bound)
    arguments = (target, ridge, per_feature, per_sample)
    x, moments, error = solve(spectrum, n_samples, jnp.log(bound), _equation, arguments)

    df = moments.freedom
    tau = 1 - df * per_sample
    # df = D, so tau = 0, where every sample is interpolated: only beyond the peak, not used there
    safe_tau = jnp.where(tau > 0, tau, 1.0)
    stretch = 1 + per_sample * moments.slope / safe_tau  # d ln Delta / dx
    noise = per_sample * moments.slope * moments.first / safe_tau
    remaining = jnp.where(ridged, 1 - df * per_feature, 0.0)
    response = stretch * remaining + moments.slope * per_feature
    below = (moments.second + noise) / jnp.where(ridged | under, response, 1.0)
    covered_rank = jnp.minimum(covered(spectrum, n_samples), n_samples)
    beyond_pole = jnp.where(under, 1.0, 1 - r * per_feature)
    short = jnp.where(under, n, 0.0)  # N, which may be infinite elsewhere
    distance = jnp.where(under, 1 - short / r, 1.0)
    pole = jnp.where(ridged, 1.0, (1 - short / covered_rank) / distance)
    above = moments.first / jnp.where(beyond_pole > 0, beyond_pole, 1.0)
    above = jnp.where(beyond_pole > 0, above, jnp.inf)
    value = jnp.where(ridged | under, below * pole, above) / 2

    tolerance = 1e-6 if x.dtype == jnp.float64 else 5e-3
    fine = perfect | ((jnp.abs(error) < tolerance) & (ridge >= 0) & (n_features > 0))
    codes = jnp.asarray([Status.not_converged, Status.ok], jnp.int32)
    status = codes[fine.astype(jnp.int32)]
    value = jnp.where(perfect, 0.0, value)
    delta = jnp.where(perfect, 0.0, jnp.maximum(tau, 0.0) * jnp.exp(x))
    freedom = jnp.where(perfect, r, df)
    return Equivalent(jnp.where(fine, value, jnp.nan), r, delta, freedom, status)


@of_spectrum()
def deterministic_equivalent(
    n_features: Real[ArrayLike, "..."],
    n_samples: Real[ArrayLike, "..."],
    *,
    ridge: Real[ArrayLike, "..."] = 0.0,
    spectrum: Coordinates = POWER_LAW,
    **power_law: Unpack[PowerLawFields],
) -> Equivalent:
    r"""Solve the deterministic equivalent of random-feature regression on sparse inputs.

    With q_1, q_2 the integrals of e^-u m_i(u/s) and u e^-u m_i(u/s), m_i the Laplace transform of
    the empirical variance, df(s) = sum(1 - q_1), tau = 1 - df/D:

    $$N < r:\quad df(s) = N, \qquad L = \frac{1 - N/r_0}{1 - N/r}\;\frac12
      \Big[\frac{N\sum\lambda q_2}{\sum(q_1 - q_2)} + \frac{N}{D - N}\sum\lambda q_1\Big],
      \quad r_0 = \min(\mathbb E K, D)$$
    $$N > r:\quad df(s) = r, \qquad L = \frac12 \frac{N}{N - r}\sum\lambda q_1$$
    $$\text{ridge}:\quad \tau s\,(1 - df/N) = \text{ridge}, \quad \Delta = \tau s, \qquad
      L = \frac12\,\frac{-N \Delta^2\,\partial_\Delta(\sum\lambda q_1/\Delta)}
      {N - df - \Delta\,\partial_\Delta df}$$

    The features are phi = F x / sqrt(N), the ridge objective (1/2D)|Phi theta - y|^2 + (ridge/2)
    |theta|^2 with these, so that rho of unnormalised features is N ridge and infinite N is kernel
    ridge regression: Delta = ridge where D is infinite too. A ridge of exactly 0 selects the
    ridgeless branches; the ridge branch tends to them, but for the rank factor when N < r < E K
    (0.7% at alpha = 0.5, gamma = 1.2, N = 64, D = 300) and for collisions when N > r.

    Asymptotic. Against simulated means without ridge: within 6% for 10 < N < 0.55 r or N > 1.7 r
    where r > 50 (8% low at N = 6); medians within 5% to 20% for 0.7 < N/r < 1.4; no claim for
    0.85 < N/r < 1.2 (the mean over the inputs is infinite); 5% to 20% for N/r < 1.5 where r is
    about 20. With ridge: 7%, 28% next to the peak.

    **Arguments:** (any shapes that broadcast)

    - `n_features`: N > 0, may be infinite, real values interpolate.
    - `n_samples`: D > 0, may be infinite, real values interpolate.
    - `spectrum`, or the fields of a power law: as `unseen_loss`.
    - `ridge`: at least 0, in units of the variance of the normalised kernel.

    **Returns:** an `Equivalent` in the broadcast shape. At N = r without ridge the loss is
    infinite.

    **Example**

    >>> at = dict(spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> result = js.sparse.theory.deterministic_equivalent(64, 1000, **at)
    >>> print(f"loss {result.loss:.3g} at rank {result.rank:.3g}")
    loss 0.102 at rank 55.2
    """
    n, d, rho = symbols(n_features, n_samples, ridge)
    result = evaluate(spectrum, n, d, rho)
    if endless_gamma(power_law) is None:
        return result
    endless = jnp.where(jnp.isinf(d), jnp.inf, result.rank)
    return eqx.tree_at(lambda r: r.rank, result, endless)


@lists_power_law
def loss(
    n_features: Real[ArrayLike, "..."],
    n_samples: Real[ArrayLike, "..."],
    *,
    ridge: Real[ArrayLike, "..."] = 0.0,
    spectrum: Coordinates | None = POWER_LAW,
    **power_law: Unpack[PowerLawFields],
) -> Float[Array, "..."]:
    """Mean population loss in features and samples: `deterministic_equivalent(...).loss`.

    **Arguments:** as `deterministic_equivalent`.

    **Returns:** loss in squared units of the target, broadcast shape; NaN where the fixed point
    did not converge.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** as `deterministic_equivalent`.

    **Example**

    >>> loss = js.sparse.theory.loss(64, 1000, spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{loss:.3g}")
    0.102
    """
    options: Any = {"ridge": ridge, "spectrum": spectrum, **power_law}
    return deterministic_equivalent(n_features, n_samples, **options).loss


@lists_power_law
def residual_loss(
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum: Coordinates | None = POWER_LAW,
    **power_law: Unpack[PowerLawFields],
) -> Float[Array, "..."]:
    r"""Mean loss of infinitely many features without ridge, with collisions.

    $$\mathbb E\,\tfrac12 \operatorname{tr}\Lambda P_\perp(X) \approx
      \tfrac12\sum\lambda_i\,q_{1i}(\Delta_r), \qquad df(\Delta_r) = r$$

    At least `unseen_loss`; two coordinates seen in one common row only cannot be resolved.
    Within 4% of simulated means (gamma = 1.5, D = 64..2048); of fewer than about 16 samples it is
    too high, by up to a half at D = 1 and 2.

    **Arguments:** as `unseen_loss`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> loss = js.sparse.theory.residual_loss(1000, spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{loss:.3g}")
    0.0141
    """
    return loss(math.inf, n_samples, spectrum=spectrum, **power_law)
