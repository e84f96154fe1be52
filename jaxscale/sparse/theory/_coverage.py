"""How much of the spectrum a data set covers: unseen variance, seen coordinates, rank."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import symbols
from jaxscale.sparse.theory._checks import endless
from jaxscale.sparse.theory._coordinates import (
    POWER_LAW,
    Coordinates,
    PowerLawFields,
    SparsityFields,
    endless_gamma,
    of_spectrum,
)


def _log_unseen(p: Array, n: Array) -> Array:
    """Logarithm of (1 - p)^n, bounded below; n may be infinite."""
    endless = jnp.isinf(n)
    largest = 1 - float(jnp.finfo(p.dtype).eps)
    value = jnp.where(endless, 1.0, n) * jnp.log1p(-jnp.minimum(p, largest))
    return jnp.where(endless | (p > largest), -jnp.inf, value)


def covered(spectrum: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Mean number of coordinates active at least once in n samples; n may be infinite."""
    return spectrum.sum(-jnp.expm1(_log_unseen(spectrum.probability, n)))


def rank(spectrum: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Mean-field rank of n inputs, see `expected_rank`; that of infinitely many is finite."""
    endless = jnp.isinf(n)
    n = jnp.where(endless, 1.0, n)
    p = spectrum.probability

    def gap(y: Array, p: Array, w: Array, n: Array) -> tuple[Array, Array]:
        term = w * p * jnp.exp(-p * n * jnp.exp(-y))
        return jnp.sum(term) - y, jnp.sum(term * p) * n * jnp.exp(-y) - 1

    live = (p, spectrum.weight, n)
    frozen = jax.lax.stop_gradient(live)
    top = jnp.clip(jnp.sum(frozen[1] * frozen[0]), 0.0, 80.0)

    def iterate(y: Array) -> Array:
        def step(_: Array, y: Array) -> Array:
            return jnp.minimum(y + gap(y, *frozen)[0], top)

        def newton(_: Array, y: Array) -> Array:
            value, slope = gap(y, *frozen)
            step = jnp.where(slope < -1e-3, -value / jnp.minimum(slope, -1e-3), value)
            return jnp.clip(y + step, 0.0, top)

        return jax.lax.fori_loop(0, 8, newton, jax.lax.fori_loop(0, 40, step, y))

    starts = jnp.stack([jnp.zeros_like(top), top])
    roots = jax.lax.stop_gradient(jax.vmap(iterate)(starts))

    def energy(y: Array) -> Array:
        value, slope = gap(y, *live)
        smooth = slope < -1e-3
        y = y - jnp.where(smooth, value / jnp.where(smooth, slope, -1.0), 0.0)  # derivatives
        q = jnp.exp(-y)
        isolated = n * (-jnp.expm1(-y) - y * q)
        return spectrum.sum(-jnp.expm1(-p * n * q)) + isolated

    # both are stationary points of the same function of q, whose minimum is the rank
    # (q = 0 where the sum of p diverges: every row is matched)
    finite = jnp.minimum(jnp.min(jax.vmap(energy)(roots)), n)
    return jnp.where(endless, jnp.sum(spectrum.weight), finite)


# exact sums: a panel is narrower than the edge of the unseen, which for gamma < 1 is far out
@of_spectrum(
    panels=(24, 48),
    check=endless(spectrum_exponent=(0.1, 10), sparsity_exponent=(0.1, 10), n_samples=(0, 1e9)),
)
def unseen_loss(
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum: Coordinates = POWER_LAW,
    **power_law: Unpack[PowerLawFields],
) -> Float[Array, "..."]:
    r"""Mean loss on the coordinates that the data never showed.

    $$\mathbb E\,\tfrac12\Lambda_U = \tfrac12\sum_{i\le M} \lambda_i (1-p_i)^D$$

    Exact; the loss at infinite N without ridge is never smaller. The sum is within 1e-10 in
    float64 and 1e-4 in float32; of infinitely many coordinates only within the limits below.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D > 0, may be infinite; real values interpolate. For infinite M at most 1e9.
    - `spectrum_exponent`: alpha > 0, lambda_i = i^-(1 + alpha). For infinite M in 0.1..10.
    - `sparsity_exponent`: gamma >= 0, p_i = min(1, c i^-gamma). For infinite M 0 or in 0.1..10.
    - `activity`: c > 0. At the kink c i^-gamma = 1 the gradient is that from below.
    - `n_coordinates`: M, a Python integer or `math.inf`.
    - `spectrum`: `Coordinates` instead of the four arguments above.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Example**

    >>> loss = js.sparse.theory.unseen_loss(1000, spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{loss:.3g}")
    0.014
    """
    (n,) = symbols(n_samples)
    unseen = jnp.exp(_log_unseen(spectrum.probability, n))
    return spectrum.sum(spectrum.variance * unseen) / 2


@of_spectrum(panels=(24, 48), check=endless(n_samples=(0, 1e9)))
def expected_seen(
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum: Coordinates = POWER_LAW,
    **power_law: Unpack[SparsityFields],
) -> Float[Array, "..."]:
    r"""Mean number of coordinates seen at least once.

    $$\mathbb E K = \sum_{i\le M} 1 - (1-p_i)^D
      \simeq \Gamma(1 - 1/\gamma)\,(cD)^{1/\gamma} \quad (\gamma > 1,\ M = \infty)$$

    Exact; the sum is within 1e-10 in float64 (1e-4 in float32, where gamma > 1.3), of infinitely
    many coordinates for D up to 1e9. Infinite for gamma <= 1 and infinite M.

    **Arguments:** as `unseen_loss`.

    **Returns:** a number of coordinates, broadcast shape.

    **Example**

    >>> print(f"{js.sparse.theory.expected_seen(1000, sparsity_exponent=2.0):.3g}")
    55.6
    """
    (n,) = symbols(n_samples)
    number = covered(spectrum, n)
    gamma = endless_gamma(power_law)
    return number if gamma is None else jnp.where(jnp.isinf(n) | (gamma <= 1), jnp.inf, number)


@of_spectrum()
def expected_rank(
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum: Coordinates = POWER_LAW,
    **power_law: Unpack[SparsityFields],
) -> Float[Array, "..."]:
    r"""Rank of the inputs, where the double-descent peak is; corrected for collisions.

    $$r = \min_q \sum_i (1 - e^{-p_i D q}) + D(1 - q + q\ln q), \qquad
      q = \exp\Big(-\sum_i p_i e^{-p_i D q}\Big)$$

    The minimum runs over the largest and the smallest root q. Mean field of the maximum matching
    of rows and coordinates: within 3% of simulated ranks for D = 64..2048 at gamma = 1.5 and for
    D = 32..256 at gamma = 1.2; equal to D for gamma <= 1 and infinite M. Of fewer than about 16
    samples it is too low, of one sample by a third at gamma = 3.

    **Arguments:** as `unseen_loss`.

    **Returns:** a number of dimensions, broadcast shape; M for infinite D.

    **Example**

    >>> print(f"{js.sparse.theory.expected_rank(1000, sparsity_exponent=2.0):.3g}")
    55.2
    """
    (n,) = symbols(n_samples)
    value = rank(spectrum, n)
    return value if endless_gamma(power_law) is None else jnp.where(jnp.isinf(n), jnp.inf, value)
