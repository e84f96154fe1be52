"""What a setup is said to do at one crowding: rules that were fixed before the map was run.

A window counts where the loss falls: the mean exponent over the data is at least `FALLS`; below
that a loss takes more than ten decades of steps for one of its own. A window in which a run has no
loss counts, too, as one that fails. In one window the exponent is

- *about 1 for all data*: its mean over the data within `NEAR` of 1, largest minus smallest below
  `SPREAD`;
- *compressed*: the spread below that of K = N on the same window, both as it is and over the mean
  (else a student that hardly learns would be compressed); where K = N has not begun to learn, as
  with Adam in the first hundreds of steps, nothing is compressed against it;
- neither.

At one crowding, over all windows that count, at all rates, a setup is about 1 where that holds for
at least half of the windows (`MOST`), two of which, at one rate, have no step in common: it then
lasts for two decades. It is compressed where one of the two holds for half, else "no"; under two
windows that count it does not learn in time. Exponents of a decade that pass through 1 fail: a
curve whose exponent rises from 0 to 2 is near 1 in one window of four. A window is *confirmed*
where the 95 % Student-t intervals over seeds lie inside the same bounds.

That failed runs count, and that two decades are needed, was added once one setup of the map, tied W
with Adam, had been looked at (its verdict was "no" before), and before any other.
"""

import dataclasses
import enum
import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from jaxscale.papers.atlas._measures import student_interval
from jaxscale.papers.superposition._scores import EXPONENTS

if TYPE_CHECKING:
    import xarray

FALLS, NEAR, SPREAD, MOST = 0.1, 0.25, 0.3, 0.5
LEAST_WINDOWS = 2


class Kind(enum.StrEnum):
    """What the exponents of a setup do at one crowding."""

    one = "about 1 for all data"
    compressed = "compressed"
    no = "no"
    flat = "does not learn in time"


MARKS = {Kind.one: "●", Kind.compressed: "◐", Kind.no: "", Kind.flat: "–"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A setup at one crowding.

    - `n_windows`, `n_bad`: windows that count, over all rates; those of them without an exponent.
    - `one`, `compressed`, `confirmed`, `near`: shares of these in which the exponent is about 1 for
      all data, that or compressed, about 1 by its intervals, too; and of the pairs (a, b) in them
      whose exponent is within `NEAR` of 1.
    - `by_clock`: share of the windows that count by the sum of the rates in place of the steps in
      which the exponent by that clock is about 1 for all data.
    - `exponent`, `spread`, `alone`, `spread_alone`: means over the windows that count, of the mean
      exponent over the data and of its spread, and those of K = N.
    """

    kind: Kind
    n_windows: int
    n_bad: int
    one: float
    compressed: float
    confirmed: float
    near: float
    by_clock: float
    exponent: float
    spread: float
    alone: float
    spread_alone: float


Cells: TypeAlias = dict[tuple[str, float], Cell]  # by setup and crowding


def falls(mean: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Whether windows of these mean exponents count."""
    return mean >= FALLS


def is_one(
    mean: Float[np.ndarray, "..."], spread: Float[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Whether exponents of this mean and spread over the data are about 1 for all of them."""
    return (np.abs(mean - 1) <= NEAR) & (spread < SPREAD)


def is_compressed(
    mean: Float[np.ndarray, "..."],
    spread: Float[np.ndarray, "..."],
    mean_alone: Float[np.ndarray, "..."],
    spread_alone: Float[np.ndarray, "..."],
) -> Bool[np.ndarray, "..."]:
    """Whether the spread is below that of K = N, as it is and over the mean."""
    return (spread < spread_alone) & (spread * mean_alone < spread_alone * mean)


def lasts(one: Bool[np.ndarray, "r w"]) -> bool:
    """Whether two windows of one rate with no step in common are about 1: they slide by half."""
    early = np.logical_or.accumulate(one, axis=1)
    return bool((one[:, 2:] & early[:, :-2]).any())


def judge(windows: "xarray.Dataset") -> Cell:
    """Judge a setup at one crowding.

    **Arguments**

    - `windows`: of `measure`, at one crowding: dimensions rate, window, a, b and seed.

    **Returns** a `Cell`.
    """
    mean, spread = over_data(windows["exponent"])
    mean_alone, spread_alone = over_data(windows["control_exponent"])
    bad = (windows["was_run"].values == 1)[:, None] & np.isnan(mean)
    counts, one = falls(mean) | bad, is_one(mean, spread)
    compressed = is_compressed(mean, spread, mean_alone, spread_alone)
    by_clock = over_data(windows["clock_exponent"])
    near = (abs(windows["exponent"] - 1) <= NEAR).mean(EXPONENTS).transpose("rate", "window")
    n = int(counts.sum())

    def over(values: np.ndarray, counts: np.ndarray = counts) -> float:
        return float(values[counts].mean()) if counts.any() else float("nan")

    shares = over(one), over(one | compressed), over(one & _inside(windows)), over(near.values)
    kind = Kind.no
    if n < LEAST_WINDOWS:
        kind = Kind.flat
    elif shares[0] >= MOST and lasts(one):
        kind = Kind.one
    elif shares[1] >= MOST:
        kind = Kind.compressed
    clock = over(is_one(*by_clock), falls(by_clock[0]))
    good = counts & ~bad
    middle = (over(values, good) for values in (mean, spread, mean_alone, spread_alone))
    return Cell(kind, n, int(bad.sum()), *shares, clock, *middle)


def over_data(exponents: "xarray.DataArray") -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread over the data, by rate and window."""
    each = exponents.transpose("rate", "window", *EXPONENTS).values
    each = each.reshape(*each.shape[:2], -1)
    return each.mean(axis=-1), np.ptp(each, axis=-1)


def _inside(windows: "xarray.Dataset") -> np.ndarray:
    """Whether the intervals over seeds lie within the bounds of "about 1"."""
    order = ("seed", "rate", "window")
    mean, half = student_interval(windows["mean"].transpose(*order).values)
    spread, wide = student_interval(windows["spread"].transpose(*order).values)
    with np.errstate(invalid="ignore"):
        return (np.abs(mean - 1) + half <= NEAR) & (spread + wide < SPREAD)


def controls_passing(atlas: "xarray.Dataset") -> tuple[int, int]:
    """Windows of the controls in which they are about 1 for all data, and those in which they fall.

    What this rule makes of exponents that are not compressed: how often it says yes in error. A
    control that serves several setups or crowdings counts once.
    """
    distinct = {}
    for at in itertools.product(atlas["setup"].values, atlas["crowding"].values):
        each = atlas["control_exponent"].sel(setup=at[0], crowding=at[1])
        distinct[each.transpose("rate", "window", *EXPONENTS).values.tobytes()] = over_data(each)
    passed = sum(int((is_one(*both) & falls(both[0])).sum()) for both in distinct.values())
    return passed, sum(int(falls(mean).sum()) for mean, _ in distinct.values())
