"""Where a fitted parameter may lie: maps between an interval and the whole real line.

Solvers move freely on the real line; a parameter is a function of its coordinate there, so that no
step leaves the interval and intervals of confidence respect it.
"""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale.fields import Configurable, Real, real

EDGE = 15.0  # logit
ZERO = 80.0  # of minus the logarithm of what counts as zero
DECADES = 4.0 * 2.302585092994046  # how far starts are scattered, in logarithms


class AbstractBound(Configurable):
    """An interval of the real line, mapped one to one to all of it."""

    @abc.abstractmethod
    def coordinate(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Real coordinate of a value inside the interval."""

    @abc.abstractmethod
    def value(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value at a real coordinate, increasing in it."""

    @abc.abstractmethod
    def contains(self, value: float) -> bool:
        """Whether `value` lies inside."""

    def at_edge(self, coordinate: float) -> bool:
        """Whether the value at a coordinate is an end of the interval to rounding."""
        return False

    @abc.abstractmethod
    def reach(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """How far from `coordinate` starts are scattered."""


class Unbounded(AbstractBound):
    """Any real number; starts are scattered over ten times its size."""

    def coordinate(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """The value itself."""
        return value

    def value(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """The coordinate itself."""
        return coordinate

    def contains(self, value: float) -> bool:
        """Always."""
        return True

    def reach(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """Ten times the coordinate, and at least ten."""
        return 10 * jnp.maximum(jnp.abs(coordinate), 1)


class Positive(AbstractBound):
    """Greater than zero, fitted in its logarithm; starts are scattered over eight decades."""

    def coordinate(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """`ln v`."""
        return jnp.log(value)

    def value(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """`exp z`."""
        return jnp.exp(coordinate)

    def contains(self, value: float) -> bool:
        """Whether `v > 0`."""
        return value > 0

    def at_edge(self, coordinate: float) -> bool:
        """Below 1e-35."""
        return coordinate < -ZERO

    def reach(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """Four decades."""
        return jnp.full_like(coordinate, DECADES)


class Between(AbstractBound):
    """Strictly between `low` and `high`, fitted in its logit."""

    low: Real = real()
    high: Real = real()

    def __check_init__(self):
        if not float(self.low) < float(self.high):
            raise ValueError(
                f"`high` must be greater than low = {float(self.low):g}, got {float(self.high):g}."
            )

    def coordinate(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """`ln((v - low) / (high - v))`."""
        return jnp.log(value - self.low) - jnp.log(self.high - value)

    def value(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """`low + (high - low) / (1 + exp(-z))`."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return low + (high - low) * jax.nn.sigmoid(coordinate)

    def contains(self, value: float) -> bool:
        """Whether `low < v < high`."""
        return float(self.low) < value < float(self.high)

    def at_edge(self, coordinate: float) -> bool:
        """Within 3e-7 of the interval's length from an end."""
        return abs(coordinate) > EDGE

    def reach(self, coordinate: Float[Array, "..."]) -> Float[Array, "..."]:
        """To within 1 % of either end from the middle."""
        return jnp.full_like(coordinate, 4.6) + jnp.abs(coordinate)


def default_bound(value: float) -> AbstractBound:
    """`Positive` for a positive start, else `Unbounded`."""
    return Positive() if value > 0 else Unbounded()
