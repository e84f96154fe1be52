"""Where a fitted parameter may lie: maps between an interval and the real line.

Solvers move freely on the real line; a parameter is a function of its coordinate there, so that no
step leaves the interval and intervals of confidence respect it. Every map takes JAX arrays, which
it can be traced and differentiated with, and NumPy arrays, for which nothing compiles.
"""

import abc
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._deprecated import warn_deprecated
from jaxscale.fields import Configurable, Real, real

_Values: TypeAlias = Array | np.ndarray | np.floating
_AT_BOUND = 15.0  # logit
_ZERO = 80.0  # of minus the logarithm of what counts as zero
_ZERO_SHARE, _SMALL_SHARE = 1e-6, 0.3  # of a scale: what counts as zero, and as small
_DECADES = 4.0 * 2.302585092994046  # how far starts are scattered, in logarithms


def _deprecated_name(old: str, new: str) -> Callable[[Any, Any], Any]:
    """Keep a method under its old name for one release, with a `DeprecationWarning`."""

    def method(self: Any, argument: Any) -> Any:
        warn_deprecated(old, new)
        return getattr(self, new)(argument)

    method.__doc__ = f"Deprecated: `{new}`."
    return method


def _library(value: _Values) -> ModuleType:
    """`jax.numpy` for JAX arrays and tracers, else NumPy."""
    return jnp if isinstance(value, jax.Array) else np


def _derivative(function: Callable[..., Any], at: _Values) -> Array:
    """Derivative of a function of single numbers, at each of an array."""
    return jax.jvp(function, (jnp.asarray(at),), (jnp.ones_like(at),))[1]


class AbstractBound(Configurable):
    """An interval of the real line, mapped one to one to all of it.

    Methods get arrays, of NumPy in a fit, and act on every number alone.
    """

    coordinate = _deprecated_name("coordinate", "unconstrain")
    value = _deprecated_name("value", "constrain")
    reach = _deprecated_name("reach", "search_radius")

    @abc.abstractmethod
    def unconstrain(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Map a value inside the interval to its real coordinate."""

    @abc.abstractmethod
    def constrain(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Map a real coordinate to its value, increasing in it."""

    def derivative(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Differentiate the value by its coordinate."""
        return _derivative(self.constrain, coordinate)

    @abc.abstractmethod
    def contains(self, value: float) -> bool:
        """Whether `value` lies inside."""

    def at_bound(self, coordinate: float) -> bool:
        """Whether the value at a coordinate is an end of the interval up to rounding."""
        return False

    @abc.abstractmethod
    def search_radius(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Return how far from `coordinate` starts are scattered."""


class Unbounded(AbstractBound):
    """Any real number; starts are scattered over ten times its size."""

    def unconstrain(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The value itself."""
        return value

    def constrain(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The coordinate itself."""
        return coordinate

    def derivative(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """One everywhere."""
        return 0 * coordinate + 1.0

    def contains(self, value: float) -> bool:
        """Always true."""
        return True

    def search_radius(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Ten times the coordinate, and at least ten."""
        return 10 * _library(coordinate).maximum(abs(coordinate), 1)


class Positive(AbstractBound):
    """Greater than zero, fitted in its logarithm; starts are scattered over eight decades."""

    def unconstrain(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`ln v`."""
        return _library(value).log(value)

    def constrain(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`exp z`."""
        return _library(coordinate).exp(coordinate)

    def derivative(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`exp z`, too."""
        return _library(coordinate).exp(coordinate)

    def contains(self, value: float) -> bool:
        """Whether `v > 0`."""
        return value > 0

    def at_bound(self, coordinate: float) -> bool:
        """Below 1e-35."""
        return coordinate < -_ZERO

    def search_radius(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Four decades."""
        return 0 * coordinate + _DECADES


class NotNegative(Positive):
    """At least zero, fitted in its logarithm: what lies below `zero` is 0.

    Fits start from `small` or more, for far below it a logarithm hardly changes the theory.
    """

    zero: Real = real(above=0)

    @classmethod
    def of_scale(cls, scale: float) -> "NotNegative":
        """The bound of what is compared with `scale`, a millionth of which counts as zero."""
        return cls(zero=_ZERO_SHARE * scale)

    @property
    def small(self) -> float:
        """0.3 of the scale of which `zero` is a millionth."""
        return _SMALL_SHARE / _ZERO_SHARE * float(self.zero)

    def unconstrain(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`ln v`, of `zero` at least."""
        xp = _library(value)
        return xp.log(xp.maximum(value, self.zero))

    def contains(self, value: float) -> bool:
        """Whether `v >= 0`."""
        return value >= 0

    def at_bound(self, coordinate: float) -> bool:
        """Below `zero`."""
        return bool(coordinate < np.log(self.zero))


class Between(AbstractBound):
    """Strictly between `low` and `high`, fitted in its logit."""

    low: Real = real()
    high: Real = real()

    def __check_init__(self):
        if not float(self.low) < float(self.high):
            raise ValueError(
                f"`high` must be greater than low = {float(self.low):g}, got {float(self.high):g}."
            )

    def unconstrain(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`ln((v - low) / (high - v))`."""
        log = _library(value).log
        return log(value - self.low) - log(self.high - value)

    def constrain(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`low + (high - low) / (1 + exp(-z))`."""
        xp = _library(coordinate)
        share = xp.exp(-xp.logaddexp(0.0, -coordinate))
        return self.low + (self.high - self.low) * share

    def derivative(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`(high - low) / ((1 + exp(-z)) (1 + exp(z)))`."""
        xp = _library(coordinate)
        logs = xp.logaddexp(0.0, -coordinate) + xp.logaddexp(0.0, coordinate)
        return (self.high - self.low) * xp.exp(-logs)

    def contains(self, value: float) -> bool:
        """Whether `low < v < high`."""
        return float(self.low) < value < float(self.high)

    def at_bound(self, coordinate: float) -> bool:
        """Within 3e-7 of the interval's length from an end."""
        return abs(coordinate) > _AT_BOUND

    def search_radius(self, coordinate: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """To within 1 % of either end from the middle."""
        return abs(coordinate) + 4.6


def default_bound(value: float) -> AbstractBound:
    """Return `Positive` for a positive start, else `Unbounded`."""
    return Positive() if value > 0 else Unbounded()
