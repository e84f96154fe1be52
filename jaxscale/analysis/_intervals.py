"""Intervals over seeds, each from one estimate per seed."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Float

from jaxscale._arguments import hinted
from jaxscale._convert import as_real

Method: TypeAlias = Literal["student-t", "bootstrap", "range", "deterministic", "residuals"]
Number: TypeAlias = float | int

ROUNDING = 1e-9  # in decades, of an end
SEEDS_FOR_STUDENT, SEEDS_FOR_BOOTSTRAP, N_RESAMPLES = 5, 30, 2000


@dataclasses.dataclass(frozen=True)
class Interval:
    """Ends of an interval, and the method that gives them."""

    low: float
    high: float
    method: Method


@hinted
def seed_interval(values: ArrayLike | Sequence[float], level: float = 0.95) -> Interval:
    r"""Interval of the mean over seeds of one estimate per seed.

    $$\bar v \pm t_{(1 + \text{level}) / 2,\, n - 1} \, s / \sqrt{n}$$

    from 5 seeds on; the bootstrap of the mean (2000 resamples, fixed generator) from 30 seeds on,
    between its percentiles $\Phi(\pm t \sqrt{n / (n - 1)})$, for plain percentiles are too narrow;
    the range of the values under 5 seeds, and wherever one of them is infinite, which carries no
    level.

    **Arguments**

    - `values`: shape (s,), NaN omitted; or a number without a seed axis, whose interval is itself.
    - `level`: confidence level.

    **Returns** an `Interval`; its ends are NaN where there is no value.

    **Raises** `ValueError` for a `level` outside (0, 1) or `values` of more than one axis.

    **Reference** Hesterberg 2015, The American Statistician 69, 371.

    **Example**

    >>> ends = js.analysis.seed_interval([0.9, 1.0, 1.1, 1.0, 1.0])
    >>> print(f"{ends.low:.3f} to {ends.high:.3f} ({ends.method})")
    0.912 to 1.088 (student-t)
    """
    from scipy.special import ndtr

    check_level(level)
    array = np.asarray(values, np.float64)
    if array.ndim > 1:
        raise ValueError(f"`values` must be a number or one axis, got shape {array.shape}.")
    if array.ndim == 0:
        return Interval(float(array), float(array), "deterministic")
    array = array[~np.isnan(array)]
    n = len(array)
    if n < SEEDS_FOR_STUDENT or np.isinf(array).any():
        ends = (float(array.min()), float(array.max())) if n else (np.nan, np.nan)
        return Interval(*ends, "range")
    if n < SEEDS_FOR_BOOTSTRAP:
        return student(array, level)
    drawn = np.random.default_rng(0).integers(n, size=(N_RESAMPLES, n))
    t = expanded_t(n, level)
    low, high = np.quantile(array[drawn].mean(axis=1), [ndtr(-t), ndtr(t)])
    return Interval(float(low), float(high), "bootstrap")


def student(values: Float[np.ndarray, " n"], level: float) -> Interval:
    """Interval of the mean of two finite values or more, by Student's t."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * standard_error(values))
    return Interval(mean(values) - half, mean(values) + half, "student-t")


def expanded_t(n: float, level: float, n_spent: int = 1) -> float:
    """Student's t of n values, larger by as much as resamples of them scatter too little."""
    from scipy.special import stdtrit

    return float(stdtrit(n - n_spent, (1 + level) / 2) * np.sqrt(n / (n - n_spent)))


def standard_error(values: Float[np.ndarray, " n"]) -> float:
    """Of the mean; NaN for fewer than two values."""
    n = len(values)
    return float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1), with a `ValueError`."""
    if not 0 < as_real("level", level) < 1:
        raise ValueError(f"`level` must lie between 0 and 1, got {level!r}.")


def decades_outside(
    x: Float[np.ndarray, "*n"], low: ArrayLike, high: ArrayLike
) -> Float[np.ndarray, "*n"]:
    """How far x lies outside of low to high, in decades.

    It is 0 inside, up to rounding, and where x is not positive.
    """
    with np.errstate(all="ignore"):
        distance = np.log10(np.maximum(low / x, x / high))
    return np.where((x > 0) & (distance > ROUNDING), distance, 0.0)


def mean(values: np.ndarray) -> float:
    """Mean of a vector, NaN of an empty one."""
    return float(values.mean()) if len(values) else np.nan
