"""Coordinates of the inputs: how often each one is active, and how much variance it carries.

Coordinate `i` is active with probability `p_i` and has variance `lambda_i`. The first coordinates
are a table; what lies beyond it follows a power law whose sums and draws are in closed form, so
that infinitely many coordinates cost as much as a few.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxscale.fields import Configurable, Real, is_traced, real, static_count, vector
from jaxscale.spectra import power_tail

MIN_TABLE = 1024  # coordinates that are always tabulated
MAX_TABLE = 8192  # spectra up to this length are tabulated in full
MAX_INDEX = 1e150  # keeps the powers of a coordinate within float64
HEAD_PROBABILITY = 0.5  # coordinates more often active than this are drawn row by row


def power_law_events(activity: Any, slope: Any, table: Any, end: Any, first: Any) -> Any:
    """`int_{table + 1/2}^{M + 1/2} c x^-gamma dx / (1 - first)`, for numbers or tracers.

    `slope` is `1 - gamma`, `end` is `((M + 1/2) / (table + 1/2))^slope`.
    """
    return activity * (table + 0.5) ** slope * (end - 1.0) / slope / (1.0 - first)


class Tabulated(Configurable):
    """A spectrum given by arrays instead of power laws.

    **Arguments**

    - `variance`: `(n,)` variances lambda_i >= 0.
    - `probability`: `(n,)` probabilities of activity, in (0, 1], not increasing.

    **Raises** `ValueError` for arrays of different lengths or probabilities that increase.
    """

    variance: Float[Array | np.ndarray, " n"] = vector(at_least=0.0)
    probability: Float[Array | np.ndarray, " n"] = vector(above=0.0, at_most=1.0)

    def __check_init__(self):
        if len(self.variance) != len(self.probability):
            raise ValueError(
                f"`probability` must have the length of variance = {len(self.variance)}, "
                f"got {len(self.probability)}."
            )
        if not is_traced(self.probability) and np.any(np.diff(self.probability) > 0):
            at = int(np.argmax(np.diff(self.probability) > 0))
            raise ValueError(
                "`probability` must not increase (sort the coordinates by it), got "
                f"{float(self.probability[at])} before {float(self.probability[at + 1])}."
            )


class AbstractCoordinates(Configurable):
    """A spectrum inside a run: a table, and a power-law tail beyond it.

    `index` below counts from 1; it is a float, for the tail reaches beyond every integer type.
    `table` is the last tabulated coordinate.
    """

    n_coordinates: eqx.AbstractVar[int | float]

    @property
    def is_tabulated(self) -> bool:
        """Whether the spectrum is short enough to be tabulated in full."""
        return self.n_coordinates <= MAX_TABLE

    @abc.abstractmethod
    def variance(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """`lambda_i` of the coordinates `index`."""

    @abc.abstractmethod
    def probability(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """`p_i` of the coordinates `index`."""

    @abc.abstractmethod
    def tail_variance(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """Sum of `lambda_i` beyond the table."""

    @abc.abstractmethod
    def tail_events(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """Proposed events per sample beyond the table, at least those that occur."""

    @abc.abstractmethod
    def tail_draw(
        self, table: Float[Array, ""], uniform: Float[Array, " n"], accept: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
        """Coordinates of proposed events beyond the table, and which of them occur."""


class TabulatedCoordinates(AbstractCoordinates):
    """Coordinates of a `Tabulated` spectrum; nothing lies beyond the table."""

    spectrum: Tabulated
    activity: Real = real(above=0.0)

    @property
    def n_coordinates(self) -> int:  # pyright: ignore
        """Length of the table."""
        return len(self.spectrum.variance)

    @property
    def is_tabulated(self) -> bool:
        """The table is all there is."""
        return True

    def _at(self, values: Float[Array | np.ndarray, " m"], index: Array) -> Float[Array, " n"]:
        place = jnp.clip(index, 1, len(values)).astype(jnp.int32) - 1
        return jnp.asarray(values)[place]

    def variance(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """Table entry."""
        return self._at(self.spectrum.variance, index)

    def probability(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """Table entry times the activity, at most 1."""
        return jnp.minimum(1.0, self.activity * self._at(self.spectrum.probability, index))

    def tail_variance(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """Zero."""
        return jnp.zeros(())

    def tail_events(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """Zero."""
        return jnp.zeros(())

    def tail_draw(
        self, table: Float[Array, ""], uniform: Float[Array, " n"], accept: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
        """Nothing occurs."""
        return jnp.full_like(uniform, jnp.inf), jnp.zeros(uniform.shape, bool)


class PowerLawCoordinates(AbstractCoordinates):
    r"""`lambda_i = i^-(1 + alpha)` and `p_i = min(1, c i^-gamma)`, `i = 1..M`.

    The tail is drawn from the density `c x^-gamma` between half-integers, inverted in closed form,
    and thinned by the ratio of the hazard `-log(1 - p_i)` to its integral over the cell of `i`:
    exactly the hazard remains.
    """

    spectrum_exponent: Real = real(above=0.0)
    sparsity_exponent: Real = real(at_least=0.0)
    activity: Real = real(above=0.0)
    n_coordinates: int | float = static_count()

    def variance(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """`i^-(1 + alpha)`."""
        return index ** -(1.0 + self.spectrum_exponent)

    def probability(self, index: Float[Array, " n"]) -> Float[Array, " n"]:
        """`min(1, c i^-gamma)`."""
        return jnp.minimum(1.0, self.activity * index**-self.sparsity_exponent)

    def tail_variance(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """`sum_{i > table} i^-(1 + alpha)`."""
        return power_tail(1.0 + self.spectrum_exponent, table + 1.0, self.n_coordinates)

    def _slope(self) -> Float[Array, ""]:
        """`1 - gamma`, away from 0, where the power becomes a logarithm."""
        slope = 1.0 - jnp.asarray(self.sparsity_exponent)
        return jnp.where(jnp.abs(slope) < 1e-9, 1e-9, slope)

    def _end(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """`((M + 1/2) / (table + 1/2))^(1 - gamma)`."""
        if self.n_coordinates == math.inf:
            return jnp.zeros(())
        return ((self.n_coordinates + 0.5) / (table + 0.5)) ** self._slope()

    def _first(self, table: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.minimum(
            HEAD_PROBABILITY, self.activity * (table + 1.0) ** -self.sparsity_exponent
        )

    def tail_events(self, table: Float[Array, ""]) -> Float[Array, ""]:
        """Integral of the density over the tail, divided by `1 - p` of its first coordinate."""
        end, first = self._end(table), self._first(table)
        events = power_law_events(self.activity, self._slope(), table, end, first)
        return jnp.where(table < self.n_coordinates, events, 0.0)

    def tail_draw(
        self, table: Float[Array, ""], uniform: Float[Array, " n"], accept: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
        """Inverse of the tail's integral, rounded to a coordinate, then thinned."""
        end = self._end(table)
        place = (table + 0.5) * (end + uniform * (1.0 - end)) ** (1.0 / self._slope())
        index = jnp.clip(jnp.round(place), table + 1.0, float(min(self.n_coordinates, MAX_INDEX)))
        g, x2 = self.sparsity_exponent, index**-2
        series = g * (g + 1) / 24 * x2 * (1 + (g + 2) * (g + 3) / 80 * x2)
        p = self.probability(index)
        hazard_ratio = jnp.where(p > 0, -jnp.log1p(-p) / jnp.where(p > 0, p, 1.0), 1.0)
        chance = hazard_ratio * (1.0 - self._first(table)) / (1.0 + series)
        return index, accept < chance
