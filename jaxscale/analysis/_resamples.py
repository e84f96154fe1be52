"""Fits of resamples as intervals: what was resampled, whether it suffices, and percentiles."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._intervals import check_level, expanded_t

N_RESAMPLES = 200
POINTS = "points"  # what is resampled where there are no groups
FEW_GROUPS = 5  # things that are resampled: seeds, runs, sizes
FEW_TAILS = 10  # of which tails of Student's t lie beyond all resamples
BEYOND = 2  # refits that a tail needs
POINTS_PER_PARAMETER = 4  # of data sets whose points are resampled
LOST_WARNS, LOST_REFUSES = 0.02, 0.1  # shares of lost refits


@dataclasses.dataclass(frozen=True)
class Resamples:
    """Fits of data sets whose points, or groups of points, were drawn with replacement.

    - `z`: coordinates, shape `(..., b, p)`, NaN where a refit was lost: it did not converge, or had
      no more points than parameters.
    - `of`: what was drawn: `points`, or the name of a dimension or column.
    - `n_groups`: how many of them there are, shape `(...)`.
    - `shares`: of the blocks, shape `(..., k)`. They are of equal length and follow one another
      along b: fits of the same resamples in different ways. An interval holds what each of them
      says whose share is larger than a tail; the first has the share 1.
    - `withheld`: why a data set has no interval, in words that follow "for", shape `(...)`; empty
      where it has one.
    - `groups`: number of the group of every residual, shape `(..., o, t)`; None of single points.
    - `n_spent`: degrees of freedom by which a resample scatters less than a new data set: 1, as the
      mean of its points; where points are resampled for a form that has its own parameters in parts
      of the range of an input (a break), as many as there are parameters.
    """

    z: Float[np.ndarray, "*n b p"]
    of: str
    n_groups: Any
    shares: Any = (1.0,)
    withheld: Any = ""
    groups: Any = None
    n_spent: int = 1

    @property
    def n_blocks(self) -> int:
        """How many fits there are of each resample."""
        return np.shape(self.shares)[-1]

    @property
    def n(self) -> int:
        """Number of resamples of each data set."""
        return self.z.shape[-2] // self.n_blocks

    @property
    def first(self) -> Float[np.ndarray, "*n b p"]:
        """Coordinates of the first block."""
        return self.z[..., : self.n, :]

    @property
    def n_lost(self) -> int:
        """Refits that were lost, of all data sets."""
        return int(self._lost.sum())

    @property
    def _lost(self) -> np.ndarray:
        return np.asarray(np.isnan(self.z).any(axis=-1))

    @property
    def widening(self) -> np.ndarray:
        """Standard deviation of a new data set's fits over that of the refits, shape `(...)`."""
        n = np.asarray(self.n_groups, float)
        with np.errstate(all="ignore"):  # too few for an interval
            return np.asarray(np.sqrt(n / (n - self.n_spent)))

    @property
    def spread(self) -> float:
        """Largest standard deviation of a coordinate."""
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all lost
            return float(np.nanmax(np.nanstd(self.z, axis=-2)))

    @property
    def needed(self) -> int:
        """How many points or groups an interval needs."""
        return POINTS_PER_PARAMETER * self.z.shape[-1] if self.of == POINTS else FEW_GROUPS

    @property
    def usable(self) -> np.ndarray:
        """Whether a data set has an interval, shape `(...)`."""
        return self._given(LOST_REFUSES)

    def _given(self, max_lost: float) -> np.ndarray:
        """Whether a data set has an interval at up to this share of lost refits."""
        return np.asarray((self.reasons == "") & (self._lost.mean(axis=-1) <= max_lost))

    @property
    def reasons(self) -> np.ndarray:
        """Why a data set has no interval, one reason each, shape `(...)`; empty where it has one.

        How many refits may be lost is another question, which `ends` is asked.
        """
        n = int(np.min(self.n_groups))
        few = (
            f"{what_of(self.of, n)} {'is' if n == 1 else 'are'} too few to be resampled; take "
            f"{self.needed} or more"
        )
        return np.where(self.n_groups < self.needed, few, self.withheld)

    @property
    def text(self) -> str:
        """What was resampled, and what was lost, in words."""
        groups = np.unique(self.n_groups)
        size = int(groups[0]) if groups.size == 1 else f"{groups[0]:d} to {groups[-1]:d}"
        lost = f", {self.n_lost} of {self._lost.size} refits lost" if self.n_lost else ""
        return f"{self.n} resamples of {what_of(self.of, size)}{lost}"

    def of_set(self, i: int) -> "Resamples":
        """Those of the data set number `i`."""
        if self.z.ndim < 3:
            return self
        of_all: dict[str, Any] = {"n_groups": self.n_groups, "withheld": self.reasons}
        of_all["shares"] = np.broadcast_to(self.shares, (len(self.z), self.n_blocks))
        if self.groups is not None:
            of_all["groups"] = self.groups
        return dataclasses.replace(self, z=self.z[i], **{n: x[i] for n, x in of_all.items()})

    def warn(self) -> None:
        """Warn of lost refits, and of intervals that are not given, each for one reason."""
        reasons = self.reasons
        of = counted(reasons.size, "fit")
        for reason in filter(None, np.unique(reasons).tolist()):
            warn_user(f"{np.sum(reasons == reason)} of {of}: no interval, for {reason}")
        share = np.where(reasons == "", self._lost.mean(axis=-1), 0.0)
        if np.max(share) > LOST_WARNS:
            refused = int(np.sum(share > LOST_REFUSES))
            end = f"; no interval for {refused} of {of}, see `max_lost`" if refused else ""
            warn_user(
                f"{self.n_lost} of {self._lost.size} refits were lost, so that intervals are too "
                f"narrow{end}: look for parameters that the data do not constrain"
            )

    def ends(
        self, values: Float[np.ndarray, "..."], level: float, max_lost: float = LOST_REFUSES
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Percentile interval of what follows from every resample.

        The tails are those of Student's t: percentiles $\Phi(\pm t)$ with
        $t = t_{(1 + \text{level}) / 2,\, n - k} \sqrt{n / (n - k)}$ of the refits of n points or
        groups, for plain percentiles are too narrow where these are few; k is `n_spent`. Below 10
        groups, and where fewer than 2 refits lie so far out, plain percentiles are stretched around
        the median by $t / z_{(1 + \text{level}) / 2}$ (derived here; of the mean of 5 normal
        numbers 95 % intervals hold 94.9 %, with tails of t 90.3 %), so what is positive is given as
        its logarithm.

        Where a floor may be 0, refits without it count if its share of the refits at 0 is larger
        than a tail, (1 - level) / 2: only then does the tail of the others end at 0.

        **Arguments**

        - `values`: of every refit in the order of `z`, NaN where it was lost.
        - `level`: of confidence.
        - `max_lost`: largest share of lost refits with an interval.

        **Returns** low and high end; NaN for data sets with too few groups or too many lost refits.

        **Raises** `ValueError` for a level outside (0, 1).

        **Reference** Hesterberg 2015, The American Statistician 69, 371.
        """
        from scipy.special import ndtr, ndtri

        check_level(level)
        n, sets = np.asarray(self.n_groups, float), np.shape(self._lost)[:-1]
        shares = np.broadcast_to(self.shares, (*sets, self.n_blocks))
        shape = np.shape(values)[len(sets) + 1 :]
        low, high = (np.full((*sets, *shape), math.nan) for _ in "lh")
        for i in map(tuple, np.argwhere(self._given(max_lost))):
            t = expanded_t(float(n[i]), level, self.n_spent)
            z = ndtri((1 + level) / 2)
            stretched = n[i] < FEW_TAILS or ndtr(-t) * self.n < BEYOND
            tail = ndtr(-z if stretched else -t)
            blocks = np.asarray(values[i]).reshape(self.n_blocks, self.n, *shape)
            with np.errstate(invalid="ignore"):
                tails = [tail, 0.5, 1 - tail]
                ends = [_quantiles(b, tails) for b in blocks[shares[i] > (1 - level) / 2]]
                ends = [_stretched(e, t / z) for e in ends] if stretched else ends
                low[i] = np.min([e[0] for e in ends], axis=0)
                high[i] = np.max([e[-1] for e in ends], axis=0)
        return low, high


def _quantiles(values: Float[np.ndarray, "n *v"], shares: Sequence[float]) -> np.ndarray:
    """Quantiles of the values that are there; NaN, without a warning, where there are none.

    Threads call it, and all of them would share a filter of warnings.
    """
    out, some = np.full((len(shares), *values.shape[1:]), np.nan), ~np.isnan(values).all(axis=0)
    out[:, some] = np.nanquantile(values[:, some], shares, axis=0, method="inverted_cdf")
    return out


def what_of(of: str, n: int | str) -> str:
    """Return `1 point`, `5 values of seed`: what is resampled, in words."""
    noun, rest = ("point", "") if of == POINTS else ("value", f" of {of}")
    return f"{n} {noun}{'' if n == 1 else 's'}{rest}"


def _stretched(ends: Float[np.ndarray, "3 *v"], by: float) -> Float[np.ndarray, "3 *v"]:
    """Low end, middle and high end with both ends further from the middle."""
    middle = ends[1]
    return np.where(np.isfinite(middle), middle + by * (ends - middle), ends)
