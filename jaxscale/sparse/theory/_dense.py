"""Dense Gaussian inputs: the limit of gamma = 0, where features and samples play one part."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._roots import root
from jaxscale._theory import symbols
from jaxscale.sparse.theory._checks import theory_function
from jaxscale.sparse.theory._coordinates import Coordinates, build
from jaxscale.spectra import PowerLaw


def delta_of(coordinates: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Solve `dense_delta` for a given spectrum and a scalar; 0 where n reaches its length.

    **Arguments:** the coordinates (probabilities are not used) and n, at least 1 or infinite.

    **Returns:** a scalar, with derivatives to second order.
    """

    def surplus(x: Array, coordinates: Coordinates, n: Array) -> tuple[Array, Array]:
        """Degrees of freedom minus n and the slope, in x = ln Delta."""
        share = coordinates.variance / (coordinates.variance + jnp.exp(x))
        return coordinates.sum(share) - n, -coordinates.sum(share * (1 - share))

    length = coordinates.sum(jnp.ones_like(coordinates.weight))
    every = jnp.isinf(n) | (n >= length)
    n = jnp.where(every, length / 2, n)
    top = jnp.log(coordinates.sum(coordinates.variance) / n)
    depth, n_steps = (90.0, 60) if top.dtype == jnp.float64 else (60.0, 32)
    x = root(surplus, (coordinates, n), top - depth, top, n_steps, rising=False)
    return jnp.where(every, 0.0, jnp.exp(x))


def _dense(alpha: Array, n_coordinates: int | float) -> Coordinates:
    zero, one = jnp.zeros_like(alpha), jnp.ones_like(alpha)
    return build(alpha, zero, one, n_coordinates=n_coordinates, clipped=False)


@theory_function("n_coordinates")
def dense_delta(
    n: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Variance below which n random projections do not resolve a coordinate.

    $$\sum_{i\le M} \frac{\lambda_i}{\lambda_i + \Delta_n} = n, \qquad \lambda_i = i^{-(1+\alpha)}$$

    Relative error below 1e-8 in float64 for n up to 1e6 (tested).

    **Arguments:** (any shapes that broadcast)

    - `n`: features or samples, positive, may be infinite.
    - `spectrum_exponent`: alpha > 0.
    - `n_coordinates`: M, a Python integer or `math.inf`.

    **Returns:** Delta_n, in the units of lambda; 0 for n >= M.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> print(f"{js.sparse.theory.dense_delta(100, spectrum_exponent=1.0):.3g}")
    0.000244
    """
    m, alpha = symbols(n, spectrum_exponent)
    return delta_of(_dense(alpha, n_coordinates), m)


@theory_function("n_coordinates")
def dense_loss(
    n_features: Real[ArrayLike, "..."],
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Loss of ridgeless regression on dense inputs, symmetric in features and samples.

    $$L = \tfrac12\,m \Delta_m \frac{m'}{m' - m}, \qquad m = \min(N, D),\ m' = \max(N, D)$$

    Asymptotic: simulated means are above by 0.1% to 0.5% for m = 64 far from the peak, 4% at
    m = 16, 2% at m'/m = 2 and 5% to 7% at m'/m = 1.25, where (m' - 1)/(m' - m - 1) is the exact
    factor for a fixed subspace.

    **Arguments:** (any shapes that broadcast)

    - `n_features`: N > 0, may be infinite.
    - `n_samples`: D > 0, may be infinite.
    - `spectrum_exponent`: alpha > 0.
    - `n_coordinates`: M, a Python integer or `math.inf`.

    **Returns:** loss in squared units of the target, broadcast shape; infinite at N = D.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> print(f"{js.sparse.theory.dense_loss(100, 1000, spectrum_exponent=1.0):.3g}")
    0.0136
    """
    n, d, alpha = symbols(n_features, n_samples, spectrum_exponent)
    small, large = jnp.minimum(n, d), jnp.maximum(n, d)
    delta = delta_of(_dense(alpha, n_coordinates), small)
    size = jnp.where(jnp.isinf(small), 1.0, small)
    ratio = jnp.where(jnp.isinf(small), 0.0, size / large)
    distance = jnp.where(ratio < 1, 1 - ratio, 1.0)
    value = size * delta / 2 / distance
    return jnp.where((ratio < 1) | (delta == 0), value, jnp.inf)


def _prefactor(alpha: Array) -> Array:
    angle = jnp.pi / (1 + alpha)
    return (angle / jnp.sin(angle)) ** (1 + alpha) / 2


@theory_function()
def dense_law(*, spectrum_exponent: Real[ArrayLike, "..."]) -> PowerLaw:
    r"""Loss of dense inputs against the smaller of features and samples, the other infinite.

    $$L \simeq \frac12 \Big[\frac{\pi/(1+\alpha)}{\sin(\pi/(1+\alpha))}\Big]^{1+\alpha}
      n^{-\alpha}$$

    Also the N law of sparse inputs, for 1 << N << r. The next order in 1/n is the factor
    (1 + 1/(2n))^{-(1+alpha)}, since Delta_n is a power of n + 1/2.

    **Arguments:**

    - `spectrum_exponent`: alpha > 0, any shape.

    **Returns:** the law in n.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> law = js.sparse.theory.dense_law(spectrum_exponent=1.0)
    >>> print(f"{law.prefactor:.3g} * n^-{law.exponent:.3g}")
    1.23 * n^-1
    """
    (alpha,) = symbols(spectrum_exponent)
    return PowerLaw(_prefactor(alpha), alpha)


class AllocationLaws(eqx.Module):
    r"""Optimal sizes and loss as power laws of compute C = N D.

    **Arguments:** `n_features`, `n_samples` (with negative exponents: they grow) and `loss`.

    **Returns:** a pytree of three laws.

    **Reference:** see `allocation_laws` and `dense_allocation_laws`.
    """

    n_features: PowerLaw
    n_samples: PowerLaw
    loss: PowerLaw


@theory_function()
def dense_allocation_laws(*, spectrum_exponent: Real[ArrayLike, "..."]) -> AllocationLaws:
    r"""Optimal split of compute C = N D for dense inputs, on the overparameterised side.

    $$\frac{N^*}{D^*} = \nu^* = 1 + \frac2\alpha, \qquad N^* = \sqrt{\nu^* C}, \qquad
      L^* \simeq A\,D^{*-\alpha}\,\frac{\nu^*}{\nu^* - 1}$$

    with A of `dense_law`. The loss is symmetric, so exchanging N and D gives a second optimum of
    the same loss.

    **Arguments:**

    - `spectrum_exponent`: alpha > 0, any shape.

    **Returns:** laws with exponents -1/2, -1/2 and alpha/2.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, from `dense_loss`.

    **Example**

    >>> laws = js.sparse.theory.dense_allocation_laws(spectrum_exponent=1.0)
    >>> print(f"N ~ C^{-laws.n_features.exponent:.3f}, D ~ C^{-laws.n_samples.exponent:.3f}")
    N ~ C^0.500, D ~ C^0.500
    """
    (alpha,) = symbols(spectrum_exponent)
    ratio = 1 + 2 / alpha
    size, half = jnp.sqrt(ratio), jnp.full_like(alpha, -0.5)
    height = _prefactor(alpha) * size**alpha * ratio / (ratio - 1)
    return AllocationLaws(
        PowerLaw(size, half),
        PowerLaw(1 / size, half),
        PowerLaw(height, alpha / 2),
    )
