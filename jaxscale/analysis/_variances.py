"""Variances of normal noise, and of its two levels, with their intervals."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxscale._deprecated import deprecated_property


@dataclasses.dataclass(frozen=True)
class Variance:
    """A variance with the ends of its interval, and its root; NaN where it is not known."""

    variance: Any
    low: Any
    high: Any

    @property
    def standard_deviation(self) -> Any:
        """Standard deviation."""
        return np.sqrt(self.variance)

    @property
    def standard_deviation_interval(self) -> tuple[Any, Any]:
        """Interval of the standard deviation."""
        return np.sqrt(self.low), np.sqrt(self.high)

    deviation = deprecated_property("deviation", "standard_deviation")
    deviation_interval = deprecated_property("deviation_interval", "standard_deviation_interval")


UNKNOWN = Variance(np.nan, np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class MeanSquare:
    """A mean square that is a multiple of a chi-square variable, and its degrees of freedom.

    `n_evaluations` is the number of evaluations that a run counts for.
    """

    value: Float[np.ndarray, "*b"]
    df: int
    n_evaluations: float = 1.0

    def interval(self, level: float) -> Variance:
        """The exact interval of what the mean square estimates."""
        if not self.df:
            return UNKNOWN
        low, high = 1 - self.shrink(level), 1 + self.stretch(level)
        return Variance(self.value, low * self.value, high * self.value)

    def shrink(self, level: float) -> float:
        """By what share the lower end of the interval lies below the mean square."""
        from scipy.special import chdtri

        return 1 - self.df / float(chdtri(self.df, (1 - level) / 2))

    def stretch(self, level: float) -> float:
        """By what share the upper end lies above it."""
        from scipy.special import chdtri

        return self.df / float(chdtri(self.df, (1 + level) / 2)) - 1

    def difference(self, other: "MeanSquare", level: float) -> Variance:
        r"""Excess over another mean square, for each of `n_evaluations`, with its interval.

        It is a modified large-sample interval, whose ends are not negative. The lower
        one is 0 just where the F test does not tell the two apart.

        **Reference** Ting et al. 1990, J. Statist. Comput. Simul. 35, 135.
        """
        from scipy.special import fdtri

        if not (self.df and other.df):
            return UNKNOWN
        ms, of = self.value, other.value
        upper, lower = (
            float(fdtri(self.df, other.df, tail)) for tail in ((1 + level) / 2, (1 - level) / 2)
        )
        g, h = self.shrink(level), other.stretch(level)
        both = ((upper - 1) ** 2 - (g * upper) ** 2 - h**2) / upper
        below = (g * ms) ** 2 + (h * of) ** 2 + both * ms * of
        g, h = other.shrink(level), self.stretch(level)
        both = ((1 - lower) ** 2 - (h * lower) ** 2 - g**2) / lower
        above = (h * ms) ** 2 + (g * of) ** 2 + both * ms * of
        roots = (0.0, -np.sqrt(np.maximum(below, 0)), np.sqrt(np.maximum(above, 0)))
        return Variance(*(np.maximum(ms - of + root, 0) / self.n_evaluations for root in roots))


def total(between: MeanSquare, within: MeanSquare, level: float) -> Variance:
    """Variance of one evaluation of a new run, with its interval.

    **Reference** Graybill and Wang 1980, J. Am. Statist. Assoc. 75, 869.
    """
    if not between.df:
        return UNKNOWN
    if not within.df:  # one evaluation each
        return between.interval(level)
    share = 1 / between.n_evaluations
    parts = (between, share * between.value), (within, (1 - share) * within.value)
    middle = sum(share for _, share in parts)
    low = middle - np.sqrt(sum((own.shrink(level) * share) ** 2 for own, share in parts))
    high = middle + np.sqrt(sum((own.stretch(level) * share) ** 2 for own, share in parts))
    return Variance(middle, low, high)


def within_groups(values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"]) -> MeanSquare:
    """Mean square of the distances from the means of the groups."""
    means, _ = _means(values, group)
    df = values.shape[-1] - means.shape[-1]
    squares = np.sum((values - means[..., group]) ** 2, axis=-1)
    return MeanSquare(np.asarray(squares / max(df, 1)), df)


def between_groups(
    values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"], location: Int[np.ndarray, " n"]
) -> MeanSquare:
    """Mean square of the distances of the groups' means from the plain mean of their location."""
    means, counts = _means(values, group)
    of_group = location[np.unique(group, return_index=True)[1]]
    own = within_groups(means, of_group)
    inverse, n_groups = _means(1 / counts, of_group)
    n = own.df / np.sum((n_groups - 1) * inverse) if own.df else 1.0
    return MeanSquare(np.asarray(n * own.value), own.df, float(n))


def _means(
    values: Float[np.ndarray, "*b n"], group: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "*b g"], Float[np.ndarray, " g"]]:
    """Means of the groups, and how many values each has."""
    counts = np.bincount(group)
    order = np.argsort(group, kind="stable")
    sums = np.add.reduceat(values[..., order], np.cumsum(counts) - counts, axis=-1)
    return sums / counts, counts.astype(float)
