"""The Laplace transform of a coordinate's empirical variance, and integrals over it.

    m_i(s) = E exp(-s z_i) = [1 - p_i + p_i (1 + 2 s sigma_i^2 / D)^(-1/2)]^D

is the transform of z_i = (sigma_i^2/D) sum over the rows where i is active of a squared normal.
Every quantity of the deterministic equivalent is an integral over u of e^-u times a sum over
coordinates of m_i(u / Delta), so the sums are tabulated once, on a grid of s, and the fixed point
is then solved with the table: the trapezoidal rule in ln s converges for any shift of the grid.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._roots import bisect
from jaxscale.sparse.theory._coordinates import Coordinates

_N_FINE = 128
_N_COARSE = 112


def log_transform(
    coordinates: Coordinates, s: Float[Array, "*s"], n: Float[Array, ""]
) -> Float[Array, "*s k"]:
    r"""Logarithm of the Laplace transform of the empirical variance of every coordinate.

    $$\ln m_i(s) = D \ln\big[1 - p_i + p_i (1 + 2 s \sigma_i^2/D)^{-1/2}\big],
      \qquad \sigma_i^2 = \lambda_i/p_i$$

    and -s lambda_i for infinite D; one value per s >= 0 and entry. No cancellation for small p_i or
    small s.
    """
    endless = jnp.isinf(n)
    n = jnp.where(endless, 1.0, n)
    s = s[..., None]
    shrink = jnp.expm1(-0.5 * jnp.log1p(2 * s * (coordinates.amplitude / n)))
    # bounded away from -1 where p = 1 and s is large: the transform is 0 there
    limit = 2 * float(jnp.finfo(s.dtype).eps) - 1
    finite = n * jnp.log1p(jnp.maximum(coordinates.probability * shrink, limit))
    return jnp.where(endless, -s * coordinates.variance, finite)


class Profile(eqx.Module):
    """Sums of 1 - m_i and of lambda_i m_i, tabulated on an equidistant grid of ln s."""

    log_s: Float[Array, " j"]
    covered: Float[Array, " j"]
    remaining: Float[Array, " j"]

    def moments(self, log_delta: Float[Array, ""]) -> "Moments":
        r"""Integrate the table at one Delta.

        $$q_{1i} = \int_0^\infty e^{-u} m_i(u/\Delta)\,du, \qquad
          q_{2i} = \int_0^\infty u\,e^{-u} m_i(u/\Delta)\,du$$

        The sum to s = 0 below the grid is geometric, since the integrands start as powers of s.
        """
        log_u = self.log_s + log_delta
        u = jnp.exp(log_u)
        step = self.log_s[1] - self.log_s[0]
        decay = jnp.exp(-u) * u
        # what lies below the grid: sum over k >= 1 of e^{-a k step}, for a start as s^a
        low = jnp.zeros_like(u).at[0].set(1.0)
        once = decay * (1 + low / jnp.expm1(step))
        twice = decay * u * (1 + low / jnp.expm1(2 * step))
        freedom = jnp.sum(decay * (1 + low / jnp.expm1(2 * step)) * self.covered) / jnp.sum(once)
        cubic = decay * u * (1 + low / jnp.expm1(3 * step))
        slope = jnp.sum(cubic * self.covered) / jnp.sum(twice) - freedom
        first = jnp.sum(once * self.remaining) / jnp.sum(once)
        second = jnp.sum(twice * self.remaining) / jnp.sum(twice)
        return Moments(freedom, slope, first, second)


class Moments(eqx.Module):
    """Sums at one Delta, with q1 and q2 of `Profile.moments`.

    `freedom`, sum of 1 - q1; `slope`, sum of q1 - q2, which is minus the derivative of `freedom` in
    ln Delta; `first`, sum of lambda q1; `second`, sum of lambda q2.
    """

    freedom: Float[Array, ""]
    slope: Float[Array, ""]
    first: Float[Array, ""]
    second: Float[Array, ""]


def _table(coordinates: Coordinates, n: Array, low: Array, high: Array, n_points: int) -> Profile:
    log_s = low + (high - low) * jnp.arange(n_points, dtype=low.dtype) / (n_points - 1)
    exponent = log_transform(coordinates, jnp.exp(log_s), n)
    covered = coordinates.sum(-jnp.expm1(exponent))
    remaining = coordinates.sum(coordinates.variance * jnp.exp(exponent))
    return Profile(log_s, covered, remaining)


def solve(
    coordinates: Coordinates,
    n: Float[Array, ""],
    highest: Float[Array, ""],
    equation: Callable[..., tuple[Array, Array, Array]],
    arguments: tuple[Array, ...],
) -> tuple[Float[Array, ""], Moments, Float[Array, ""]]:
    r"""Solve a fixed-point equation for Delta and return the moments there.

    Twice bisection in ln Delta: with a coarse table over the full range, then with a fine table
    around the result. Two Newton steps outside of `stop_gradient` carry the derivatives (exact to
    second order).

    `highest` is an upper bound of ln Delta; `equation` maps (ln Delta, moments, arguments) to (a
    value that is positive below the root, one to be brought to 0 by Newton, its derivative in
    ln Delta). Returns ln Delta, the moments there and the remaining value.
    """
    frozen, frozen_n, top, constants = jax.lax.stop_gradient((coordinates, n, highest, arguments))
    double = top.dtype == jnp.float64
    depth, edge, tail = (80.0, 11.5, 4.0) if double else (45.0, 9.0, 3.2)
    bottom = top - depth
    start = -jnp.maximum(jnp.log(jnp.max(frozen.variance)), top) - edge

    coarse = _table(frozen, frozen_n, start, tail - bottom, _N_COARSE)

    def below(profile: Profile) -> Callable[[Array], Array]:
        return lambda x: equation(x, profile.moments(x), constants)[0] > 0

    guess = bisect(below(coarse), bottom, top, 24)
    start = -jnp.maximum(jnp.log(jnp.max(frozen.variance)), guess) - edge
    grid = (start, tail + 1.0 - guess)
    fine = _table(coordinates, n, *grid, _N_FINE)
    frozen_fine = jax.lax.stop_gradient(fine)
    x = bisect(below(frozen_fine), guess - 1.0, guess + 1.0, 44 if double else 20)
    for _ in range(2):
        _, value, slope = equation(x, fine.moments(x), arguments)
        flat = jnp.abs(slope) < 1e-30
        x = x - jnp.where(flat, 0.0, value / jnp.where(flat, 1.0, slope))
    moments = fine.moments(x)
    return x, moments, equation(x, moments, arguments)[1]
