"""Variances of normal noise, and of its two levels, with their intervals."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Variance:
    """A variance with the ends of its interval, and its root; NaN where it is not known."""

    variance: Any
    low: Any
    high: Any

    @property
    def deviation(self) -> Any:
        """Standard deviation."""
        return np.sqrt(self.variance)

    @property
    def deviation_interval(self) -> tuple[Any, Any]:
        """Interval of the standard deviation."""
        return np.sqrt(self.low), np.sqrt(self.high)


UNKNOWN = Variance(np.nan, np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class MeanSquare:
    """A mean square that is a multiple of a chi-square variable, and its degrees of freedom.

    `size` is the number of evaluations that a run counts for.
    """

    value: Float[np.ndarray, "*b"]
    freedom: int
    size: float = 1.0

    def interval(self, level: float) -> Variance:
        """The exact interval of what the mean square estimates."""
        if not self.freedom:
            return UNKNOWN
        low, high = 1 - self.shrink(level), 1 + self.stretch(level)
        return Variance(self.value, low * self.value, high * self.value)

    def shrink(self, level: float) -> float:
        """By what share the lower end of the interval lies below the mean square."""
        from scipy.special import chdtri

        return 1 - self.freedom / float(chdtri(self.freedom, (1 - level) / 2))

    def stretch(self, level: float) -> float:
        """By what share the upper end lies above it."""
        from scipy.special import chdtri

        return self.freedom / float(chdtri(self.freedom, (1 + level) / 2)) - 1

    def difference(self, other: "MeanSquare", level: float) -> Variance:
        r"""Excess over another mean square, by `size`, with a modified large-sample interval.

        Its ends are not negative. The lower one is 0 just where the F test does not tell the two
        apart.

        **Reference** Ting et al. 1990, J. Statist. Comput. Simul. 35, 135.
        """
        from scipy.special import fdtri

        if not (self.freedom and other.freedom):
            return UNKNOWN
        ms, of = self.value, other.value
        upper, lower = (
            float(fdtri(self.freedom, other.freedom, tail))
            for tail in ((1 + level) / 2, (1 - level) / 2)
        )
        g, h = self.shrink(level), other.stretch(level)
        both = ((upper - 1) ** 2 - (g * upper) ** 2 - h**2) / upper
        below = (g * ms) ** 2 + (h * of) ** 2 + both * ms * of
        g, h = other.shrink(level), self.stretch(level)
        both = ((1 - lower) ** 2 - (h * lower) ** 2 - g**2) / lower
        above = (h * ms) ** 2 + (g * of) ** 2 + both * ms * of
        roots = (0.0, -np.sqrt(np.maximum(below, 0)), np.sqrt(np.maximum(above, 0)))
        return Variance(*(np.maximum(ms - of + root, 0) / self.size for root in roots))


def total(between: MeanSquare, within: MeanSquare, level: float) -> Variance:
    """Variance of one evaluation of a new run, with its interval.

    **Reference** Graybill and Wang 1980, J. Am. Statist. Assoc. 75, 869.
    """
    if not between.freedom:
        return UNKNOWN
    if not within.freedom:  # one evaluation each
        return between.interval(level)
    parts = (between, between.value / between.size), (within, (1 - 1 / between.size) * within.value)
    middle = sum(share for _, share in parts)
    low = middle - np.sqrt(sum((own.shrink(level) * share) ** 2 for own, share in parts))
    high = middle + np.sqrt(sum((own.stretch(level) * share) ** 2 for own, share in parts))
    return Variance(middle, low, high)


def within_groups(values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"]) -> MeanSquare:
    """Mean square of the distances from the means of the groups."""
    means, _ = _means(values, group)
    freedom = values.shape[-1] - means.shape[-1]
    squares = np.sum((values - means[..., group]) ** 2, axis=-1)
    return MeanSquare(np.asarray(squares / max(freedom, 1)), freedom)


def between_groups(
    values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"], place: Int[np.ndarray, " n"]
) -> MeanSquare:
    """Mean square of the distances of the groups' means from the plain mean of their place."""
    means, counts = _means(values, group)
    of_group = place[np.unique(group, return_index=True)[1]]
    own = within_groups(means, of_group)
    inverse, n_groups = _means(1 / counts, of_group)
    size = own.freedom / np.sum((n_groups - 1) * inverse) if own.freedom else 1.0
    return MeanSquare(np.asarray(size * own.value), own.freedom, float(size))


def _means(
    values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "*b g"], Float[np.ndarray, " g"]]:
    """Means of the groups, and how many values each has."""
    counts = np.bincount(group)
    order = np.argsort(group, kind="stable")
    sums = np.add.reduceat(values[..., order], np.cumsum(counts) - counts, axis=-1)
    return sums / counts, counts.astype(float)
