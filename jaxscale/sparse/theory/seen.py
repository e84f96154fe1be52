"""What a data set has seen: the unseen variance, the seen coordinates, the rank of the inputs."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale.sparse.theory.checks import check, check_sparse
from jaxscale.sparse.theory.coordinates import Coordinates, build, may_clip
from jaxscale.spectra import PowerLaw, as_floats, require_count
from jaxscale.vectorize import vectorized


def _log_unseen(p: Array, n: Array) -> Array:
    """Logarithm of (1 - p)^n, bounded below; n may be infinite."""
    endless = jnp.isinf(n)
    largest = 1 - float(jnp.finfo(p.dtype).eps)
    value = jnp.where(endless, 1.0, n) * jnp.log1p(-jnp.minimum(p, largest))
    return jnp.where(endless | (p > largest), -jnp.inf, value)


def unseen(coordinates: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Half the mean variance of the coordinates never seen; scalar D.

    **Arguments:** as `unseen_loss_of`.

    **Returns:** a scalar.

    **Raises:** nothing.
    """
    missing = jnp.exp(_log_unseen(coordinates.probability, n))
    return coordinates.sum(coordinates.variance * missing) / 2


def seen(coordinates: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Mean number of coordinates seen at least once; scalar D.

    **Arguments:** as `expected_seen_of`.

    **Returns:** a scalar.

    **Raises:** nothing.
    """
    return coordinates.sum(-jnp.expm1(_log_unseen(coordinates.probability, n)))


def rank(coordinates: Coordinates, n: Float[Array, ""]) -> Float[Array, ""]:
    """Mean-field rank of the inputs; scalar D.

    **Arguments:** as `expected_rank_of`.

    **Returns:** a scalar.

    **Raises:** nothing.
    """
    endless = jnp.isinf(n)
    n = jnp.where(endless, 1.0, n)
    p = coordinates.probability

    def gap(y, p, w, n):
        term = w * p * jnp.exp(-p * n * jnp.exp(-y))
        return jnp.sum(term) - y, jnp.sum(term * p) * n * jnp.exp(-y) - 1

    def iterate(y, p, w, n, top):
        def step(_, y):
            return jnp.minimum(y + gap(y, p, w, n)[0], top)

        def newton(_, y):
            value, slope = gap(y, p, w, n)
            step = jnp.where(slope < -1e-3, -value / jnp.minimum(slope, -1e-3), value)
            return jnp.clip(y + step, 0.0, top)

        return jax.lax.fori_loop(0, 8, newton, jax.lax.fori_loop(0, 40, step, y))

    p0, w0, n0 = jax.lax.stop_gradient((p, coordinates.weight, n))
    top = jnp.clip(jnp.sum(w0 * p0), 0.0, 80.0)
    starts = jnp.stack([jnp.zeros_like(top), top])
    roots = jax.vmap(iterate, (0, None, None, None, None))(starts, p0, w0, n0, top)
    roots = jax.lax.stop_gradient(roots)

    def energy(y):
        value, slope = gap(y, p, coordinates.weight, n)
        smooth = slope < -1e-3
        y = y - jnp.where(smooth, value / jnp.where(smooth, slope, -1.0), 0.0)  # derivatives
        q = jnp.exp(-y)
        isolated = n * (-jnp.expm1(-y) - y * q)
        return coordinates.sum(-jnp.expm1(-p * n * q)) + isolated

    # both are stationary points of the same function of q, whose minimum is the rank
    # (q = 0 where the sum of p diverges: every row is matched)
    finite = jnp.minimum(jnp.min(jax.vmap(energy)(roots)), n)
    return jnp.where(endless, jnp.sum(coordinates.weight), finite)


unseen_of_jit = vectorized(lambda n, coordinates: unseen(coordinates, n))
seen_of_jit = vectorized(lambda n, coordinates: seen(coordinates, n))
rank_of_jit = vectorized(lambda n, coordinates: rank(coordinates, n))


def unseen_loss_of(
    coordinates: Coordinates, n_samples: Real[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Evaluate `unseen_loss` for a given spectrum; exact for a spectrum of weights 1.

    **Arguments:** the coordinates, and D as in `unseen_loss`.

    **Returns:** the shape of `n_samples`.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** as `unseen_loss`.

    **Example**

    >>> known = js.sparse.theory.power_law_coordinates(
    ...     spectrum_exponent=1.0, sparsity_exponent=2.0
    ... )
    >>> print(f"{js.sparse.theory.unseen_loss_of(known, 1000):.3g}")
    0.014
    """
    check(n_samples=n_samples)
    _, n = as_floats(coordinates.variance, n_samples)
    return unseen_of_jit(n, coordinates=coordinates)


def expected_seen_of(
    coordinates: Coordinates, n_samples: Real[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Evaluate `expected_seen` for a given spectrum; exact for a spectrum of weights 1.

    **Arguments:** the coordinates, and D as in `expected_seen`.

    **Returns:** the shape of `n_samples`.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** as `expected_seen`.

    **Example**

    >>> known = js.sparse.theory.power_law_coordinates(
    ...     spectrum_exponent=1.0, sparsity_exponent=2.0
    ... )
    >>> print(f"{js.sparse.theory.expected_seen_of(known, 1000):.3g}")
    55.6
    """
    check(n_samples=n_samples)
    _, n = as_floats(coordinates.variance, n_samples)
    return seen_of_jit(n, coordinates=coordinates)


def expected_rank_of(
    coordinates: Coordinates, n_samples: Real[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Evaluate `expected_rank` for a given spectrum.

    **Arguments:** the coordinates, and D as in `expected_rank`.

    **Returns:** the shape of `n_samples`.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** as `expected_rank`.

    **Example**

    >>> known = js.sparse.theory.power_law_coordinates(
    ...     spectrum_exponent=1.0, sparsity_exponent=2.0
    ... )
    >>> print(f"{js.sparse.theory.expected_rank_of(known, 1000):.3g}")
    55.2
    """
    check(n_samples=n_samples)
    _, n = as_floats(coordinates.variance, n_samples)
    return rank_of_jit(n, coordinates=coordinates)


def _unseen(n, alpha, gamma, c, n_coordinates, clipped):
    # many panels: for gamma < 1 the edge of the unseen is far out
    options = {"n_coordinates": n_coordinates, "clipped": clipped, "n_tail": 48}
    return unseen(build(alpha, gamma, c, **options), n)


def _infinite(gamma: Array, n: Array, n_coordinates: int | float) -> Array:
    """Whether infinitely many coordinates are seen."""
    return (jnp.isinf(n) | (gamma <= 1)) & (n_coordinates == math.inf)


def _seen(n, gamma, c, n_coordinates, clipped):
    alpha = jnp.ones_like(gamma)  # the variances do not enter
    value = seen(build(alpha, gamma, c, n_coordinates=n_coordinates, clipped=clipped), n)
    return jnp.where(_infinite(gamma, n, n_coordinates), jnp.inf, value)


def _rank(n, gamma, c, n_coordinates, clipped):
    alpha = jnp.ones_like(gamma)
    value = rank(build(alpha, gamma, c, n_coordinates=n_coordinates, clipped=clipped), n)
    return jnp.where(jnp.isinf(n) & _infinite(gamma, n, n_coordinates), jnp.inf, value)


_unseen_jit = vectorized(_unseen, "n_coordinates", "clipped")
_seen_jit = vectorized(_seen, "n_coordinates", "clipped")
_rank_jit = vectorized(_rank, "n_coordinates", "clipped")


def unseen_loss(
    n_samples: Real[ArrayLike, "..."],
    *,
    spectrum_exponent: Real[ArrayLike, "..."],
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Mean loss on the coordinates that the data never showed.

    $$\mathbb E\,\tfrac12\Lambda_U = \tfrac12\sum_{i\le M} \lambda_i (1-p_i)^D$$

    Exact; the loss at infinite N without ridge is never smaller. The sum is within 1e-6 in float64
    and 1e-4 in float32.

    **Arguments:** (any shapes that broadcast)

    - `n_samples`: D > 0, may be infinite; real values interpolate.
    - `spectrum_exponent`: alpha > 0, lambda_i = i^-(1 + alpha).
    - `sparsity_exponent`: gamma >= 0, p_i = min(1, c i^-gamma).
    - `activity`: c > 0. At the kink c i^-gamma = 1 the gradient is that from below.
    - `n_coordinates`: M, a Python integer or `math.inf`.

    **Returns:** loss in squared units of the target, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> found = js.sparse.theory.unseen_loss(1000, spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{found:.3g}")
    0.014
    """
    check(n_samples=n_samples, spectrum_exponent=spectrum_exponent)
    check(sparsity_exponent=sparsity_exponent, activity=activity)
    require_count("n_coordinates", n_coordinates)
    arrays = as_floats(n_samples, spectrum_exponent, sparsity_exponent, activity)
    return _unseen_jit(*arrays, n_coordinates=n_coordinates, clipped=may_clip(activity))


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

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> law = js.sparse.theory.unseen_law(spectrum_exponent=1.0, sparsity_exponent=2.0)
    >>> print(f"{law.prefactor:.3g} * D^-{law.exponent:.3g}")
    0.443 * D^-0.5
    """
    check(spectrum_exponent=spectrum_exponent, activity=activity)
    check_sparse(sparsity_exponent)
    alpha, gamma, c = as_floats(spectrum_exponent, sparsity_exponent, activity)
    b = alpha / gamma
    return PowerLaw(jnp.exp(gammaln(b)) / (2 * gamma) * c**-b, b)


def expected_seen(
    n_samples: Real[ArrayLike, "..."],
    *,
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Mean number of coordinates seen at least once.

    $$\mathbb E K = \sum_{i\le M} 1 - (1-p_i)^D
      \simeq \Gamma(1 - 1/\gamma)\,(cD)^{1/\gamma} \quad (\gamma > 1,\ M = \infty)$$

    Exact; the sum is within 1e-6 in float64 (1e-4 in float32, where gamma > 1.3). Infinite for
    gamma <= 1 and infinite M.

    **Arguments:** as `unseen_loss`.

    **Returns:** a number of coordinates, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> print(f"{js.sparse.theory.expected_seen(1000, sparsity_exponent=2.0):.3g}")
    55.6
    """
    check(n_samples=n_samples, sparsity_exponent=sparsity_exponent, activity=activity)
    require_count("n_coordinates", n_coordinates)
    arrays = as_floats(n_samples, sparsity_exponent, activity)
    return _seen_jit(*arrays, n_coordinates=n_coordinates, clipped=may_clip(activity))


def expected_rank(
    n_samples: Real[ArrayLike, "..."],
    *,
    sparsity_exponent: Real[ArrayLike, "..."],
    activity: Real[ArrayLike, "..."] = 1.0,
    n_coordinates: int | float = math.inf,
) -> Float[Array, "..."]:
    r"""Rank of the inputs, where the double-descent peak is; corrected for collisions.

    $$r = \min_q \sum_i (1 - e^{-p_i D q}) + D(1 - q + q\ln q), \qquad
      q = \exp\Big(-\sum_i p_i e^{-p_i D q}\Big)$$

    The minimum runs over the largest and the smallest root q. Mean field of the maximum matching
    of rows and coordinates: within 3% of simulated ranks for D = 64..2048 at gamma = 1.5 and for
    D = 32..256 at gamma = 1.2; equal to D for gamma <= 1 and infinite M.

    **Arguments:** as `unseen_loss`.

    **Returns:** a number of dimensions, broadcast shape; M for infinite D.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> print(f"{js.sparse.theory.expected_rank(1000, sparsity_exponent=2.0):.3g}")
    55.2
    """
    check(n_samples=n_samples, sparsity_exponent=sparsity_exponent, activity=activity)
    require_count("n_coordinates", n_coordinates)
    arrays = as_floats(n_samples, sparsity_exponent, activity)
    return _rank_jit(*arrays, n_coordinates=n_coordinates, clipped=may_clip(activity))
