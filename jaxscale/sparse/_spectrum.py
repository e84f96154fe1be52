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
from jaxtyping import Array, Bool, Float, Int

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


class AbstractCoordinates(Configurable):
    """A spectrum inside a run: a table, and beyond it, if it is long, the tail of a power law.

    `index` below counts from 1; it is a float, for the tail reaches beyond every integer type.
    """

    n_coordinates: eqx.AbstractVar[int | float]

    @abc.abstractmethod
    def variance_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        """`lambda_i` of the coordinates `index`."""

    @abc.abstractmethod
    def probability_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        """`p_i` of the coordinates `index`."""

    @abc.abstractmethod
    def tail(self, table: Float[Array, ""]) -> "PowerLawTail | None":
        """What lies beyond coordinate `table`; None of a spectrum that is tabulated in full."""


class Tabulated(AbstractCoordinates):
    """A spectrum given by arrays instead of power laws.

    **Arguments**

    - `variance`: `(d,)` variances lambda_i >= 0.
    - `probability`: `(d,)` probabilities of activity, in (0, 1], not increasing.

    **Raises** `ValueError` for arrays of different lengths or probabilities that increase.
    """

    variance: Float[Array | np.ndarray, " d"] = vector(at_least=0.0)
    probability: Float[Array | np.ndarray, " d"] = vector(above=0.0, at_most=1.0)

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

    @property
    def n_coordinates(self) -> int:  # pyright: ignore
        return len(self.variance)

    def variance_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.asarray(self.variance)[self._place(index)]

    def probability_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.asarray(self.probability)[self._place(index)]

    def _place(self, index: Float[Array, "..."]) -> Int[Array, "..."]:
        return jnp.clip(index, 1, self.n_coordinates).astype(jnp.int32) - 1

    def tail(self, table: Float[Array, ""]) -> "PowerLawTail | None":
        return None


class PowerLawCoordinates(AbstractCoordinates):
    """`lambda_i = i^-(1 + alpha)` and `p_i = min(1, c i^-gamma)`, `i = 1..M`."""

    DERIVED = True

    spectrum_exponent: Real = real(above=0.0)
    sparsity_exponent: Real = real(at_least=0.0)
    activity: Real = real(above=0.0)
    n_coordinates: int | float = static_count()

    def variance_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        return index ** -(1.0 + self.spectrum_exponent)

    def probability_at(self, index: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.minimum(1.0, self.activity * index**-self.sparsity_exponent)

    def tail(self, table: Float[Array, ""]) -> "PowerLawTail | None":
        return PowerLawTail(self, table) if self.n_coordinates > MAX_TABLE else None


class PowerLawTail(eqx.Module):
    r"""Coordinates of a power law beyond a table.

    They are drawn from the density `c x^-gamma` between half-integers, inverted in closed form, and
    thinned by the ratio of the hazard `-log(1 - p_i)` to its integral over the cell of `i`: exactly
    the hazard remains.
    """

    spectrum: PowerLawCoordinates
    table: Float[Array, ""]

    @property
    def variance(self) -> Float[Array, ""]:
        """Sum of `lambda_i`."""
        exponent = 1.0 + self.spectrum.spectrum_exponent
        return power_tail(exponent, self.table + 1.0, self.spectrum.n_coordinates)

    @property
    def _slope(self) -> Float[Array, ""]:
        """`1 - gamma`, away from 0, where the power becomes a logarithm."""
        slope = 1.0 - jnp.asarray(self.spectrum.sparsity_exponent)
        return jnp.where(jnp.abs(slope) < 1e-9, 1e-9, slope)

    @property
    def _end(self) -> Float[Array, ""]:
        """`((M + 1/2) / (table + 1/2))^(1 - gamma)`."""
        if self.spectrum.n_coordinates == math.inf:
            return jnp.zeros(())
        return ((self.spectrum.n_coordinates + 0.5) / (self.table + 0.5)) ** self._slope

    @property
    def _first(self) -> Float[Array, ""]:
        return jnp.minimum(HEAD_PROBABILITY, self.spectrum.probability_at(self.table + 1.0))

    @property
    def events(self) -> Float[Array, ""]:
        """Proposed events per sample: the integral of the density over the largest `1 - p_i`."""
        activity = self.spectrum.activity
        events = power_law_events(activity, self._slope, self.table, self._end, self._first)
        return jnp.where(self.table < self.spectrum.n_coordinates, events, 0.0)

    def draw(
        self, uniform: Float[Array, " e"], accept: Float[Array, " e"]
    ) -> tuple[Float[Array, " e"], Bool[Array, " e"]]:
        """Draw the coordinates of proposed events, and which of them occur."""
        last = float(min(self.spectrum.n_coordinates, MAX_INDEX))
        place = (self.table + 0.5) * (self._end + uniform * (1.0 - self._end)) ** (
            1.0 / self._slope
        )
        index = jnp.clip(jnp.round(place), self.table + 1.0, last)
        g, x2 = self.spectrum.sparsity_exponent, index**-2
        series = g * (g + 1) / 24 * x2 * (1 + (g + 2) * (g + 3) / 80 * x2)
        p = self.spectrum.probability_at(index)
        hazard_ratio = jnp.where(p > 0, -jnp.log1p(-p) / jnp.where(p > 0, p, 1.0), 1.0)
        chance = hazard_ratio * (1.0 - self._first) / (1.0 + series)
        return index, accept < chance
