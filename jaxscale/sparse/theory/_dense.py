"""Dense Gaussian inputs: the limit of gamma = 0, where features and samples are exchangeable."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._roots import root
from jaxscale._theory import symbols
from jaxscale.sparse.theory._checks import endless, theory_function
from jaxscale.sparse.theory._coordinates import Coordinates, build


@theory_function("n_coordinates", check=endless(spectrum_exponent=(0.1, 10), n=(0, 1e6)))
def dense_delta(
    n: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Variance below which n random projections do not resolve a coordinate.

    $$\sum_{i\le M} \frac{\lambda_i}{\lambda_i + \Delta_n} = n, \qquad \lambda_i = i^{-(1+\alpha)}$$

    Relative error below 1e-10 in float64.

    **Arguments:** (any shapes that broadcast)

    - `n`: features or samples, positive, may be infinite. For infinite M at most 1e6.
    - `spectrum_exponent`: alpha > 0. For infinite M in 0.1..10.
    - `n_coordinates`: M, a Python integer or `math.inf`.

    **Returns:** Delta_n, in the units of lambda; 0 for n >= M.

    **Example**

    >>> print(f"{js.sparse.theory.dense_delta(100, spectrum_exponent=1.0):.3g}")
    0.000244
    """
    m, alpha = symbols(n, spectrum_exponent)
    # probabilities do not enter: those that fall as the variances need no nodes of their own
    spectrum = build(
        alpha,
        1 + alpha,
        jnp.ones_like(alpha),
        n_coordinates=n_coordinates,
        clipped=False,
        panels=(24, 24),
    )

    def surplus(x: Array, spectrum: Coordinates, m: Array) -> tuple[Array, Array]:
        """Degrees of freedom minus n and the slope, in x = ln Delta."""
        share = spectrum.variance / (spectrum.variance + jnp.exp(x))
        return spectrum.sum(share) - m, -spectrum.sum(share * (1 - share))

    length = spectrum.sum(jnp.ones_like(spectrum.weight))
    every = jnp.isinf(m) | (m >= length)
    m = jnp.where(every, jnp.minimum(length / 2, 1.0), m)
    top = jnp.log(spectrum.sum(spectrum.variance) / m)
    depth, n_steps = (90.0, 60) if top.dtype == jnp.float64 else (60.0, 32)
    bottom = top - depth - (1 + alpha) * jnp.log1p(m)  # Delta falls as n^-(1 + alpha)
    x = root(surplus, (spectrum, m), bottom, top, n_steps, rising=False)
    return jnp.where(every, 0.0, jnp.exp(x))


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

    **Example**

    >>> print(f"{js.sparse.theory.dense_loss(100, 1000, spectrum_exponent=1.0):.3g}")
    0.0136
    """
    n, d, alpha = symbols(n_features, n_samples, spectrum_exponent)
    small, large = jnp.minimum(n, d), jnp.maximum(n, d)
    delta = dense_delta(small, spectrum_exponent=alpha, n_coordinates=n_coordinates)
    size = jnp.where(jnp.isinf(small), 1.0, small)
    ratio = jnp.where(jnp.isinf(small), 0.0, size / large)
    distance = jnp.where(ratio < 1, 1 - ratio, 1.0)
    value = size * delta / 2 / distance
    return jnp.where((ratio < 1) | (delta == 0), value, jnp.inf)
