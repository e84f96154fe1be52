"""The best size at each compute by parabolas, without a form of the loss surface."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from jaxscale._arguments import hinted
from jaxscale._convert import as_real
from jaxscale._table import Column, Table
from jaxscale._text import DASH, choices, counted
from jaxscale.analysis._allocation import (
    FLOP_PER_PARAMETER_TOKEN,
    SIZES,
    OptimalAllocation,
    check_flop,
    farthest_outside,
)
from jaxscale.analysis._data import Data, as_numbers, as_table, check_columns, check_names
from jaxscale.analysis._diagnostics import as_key, check_bootstrap
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._isoflop_groups import grouped_by
from jaxscale.analysis._resamples import LOST_REFUSES
from jaxscale.analysis._scales import COMPUTE, positive_column

if TYPE_CHECKING:
    import pandas

FEWEST = 4  # runs of a parabola with residuals
MINIMA = 3  # of an interval of their exponent
SIZE, TOKENS = SIZES
LOSS = "loss"


class TooFewRuns(ValueError):
    """No group of runs has a parabola."""


@dataclasses.dataclass(frozen=True)
class IsoFlop:
    r"""Best sizes of groups of runs of one compute, and how they grow: `N* = prefactor C^a`.

    - `groups`: a DataFrame of one row per group: `flop`, C; `n_runs`; `n_parameters`, N*, with
      `n_parameters_low` and `_high`; `n_tokens`, `C / (6 N*)`; `loss` there; `width`, of its runs
      in ln N, and `offset`, of their middle from ln N*, which `isoflop_bias` takes. NaN for a
      group whose parabola has no minimum inside its runs.
    - `runs`: the runs, and `group`, the number of the group of each.
    - `parabolas`: coefficients of `loss` in ln N, the highest power first, shape `(g, 3)`.
    - `a`, `prefactor`: of the power law through the minima; NaN for under two.
    - `interval`: low and high end of `a`; NaN for under three minima.
    - `by_scatter`: whether `interval` is of the minima about their line, for want of refits.
    - `level`, `drawn`: of the intervals, and ln N* of every resample, shape `(b, g)`.
    - `n_left_out`: rows without a finite loss or size.
    """

    groups: "pandas.DataFrame"
    runs: "pandas.DataFrame"
    group: Int[np.ndarray, " n"]
    parabolas: Float[np.ndarray, "g 3"]
    a: float
    prefactor: float
    interval: tuple[float, float]
    level: float
    drawn: Float[np.ndarray, "b g"]
    flop_per_parameter_token: float = FLOP_PER_PARAMETER_TOKEN
    n_left_out: int = 0
    by_scatter: bool = False

    @property
    def n_without(self) -> int:
        """Groups without a minimum inside their runs."""
        return int(np.isnan(self.groups[SIZE].to_numpy()).sum())

    @property
    def n_runs_without(self) -> int:
        """Runs of these groups, which count nowhere else."""
        return int(self.groups["n_runs"].to_numpy()[np.isnan(self.groups[SIZE].to_numpy())].sum())

    def allocate(self, flop: Float[ArrayLike, "..."]) -> OptimalAllocation:
        """Best parameters and tokens on the power law through the minima, with intervals.

        **Arguments:** `flop`, C, positive, of any shape.

        **Returns:** an `OptimalAllocation`, without a loss.

        **Raises:** `ValueError` for operations that are not positive.
        """
        c = check_flop(flop)
        x = np.log(c)
        a, at = _lines(np.log(self.groups["flop"].to_numpy()), self.drawn)
        ends = _ends(at[:, None] + a[:, None] * x.ravel(), self.level)
        size = self.prefactor * c**self.a
        low, high = (np.exp(end).reshape(c.shape) for end in ends)
        products = c / self.flop_per_parameter_token
        best = {SIZE: np.asarray(size), TOKENS: np.asarray(products / size)}
        interval = {SIZE: (low, high), TOKENS: (products / high, products / low)}
        has_minimum = np.isfinite(self.groups[SIZE].to_numpy())
        own = self.groups["flop"].to_numpy()
        used, sizes = has_minimum[self.group], self.runs[SIZE].to_numpy(float)
        tokens = own[self.group] / self.flop_per_parameter_token / sizes
        runs = {SIZE: sizes[used], TOKENS: tokens[used], "flop": own[has_minimum]}
        exponent, *exponent_ends = (np.full(c.shape, v) for v in (self.a, *self.interval))
        return OptimalAllocation(
            c, best, interval, exponent, (exponent_ends[0], exponent_ends[1]), self.level,
            farthest_outside(runs, {**best, "flop": c}),
        )  # fmt: skip

    def table(self) -> Table:
        """Return the minima for the terminal (`rich.print`)."""
        names = ("flop", "runs", "best N", f"{self.level:.0%} interval", "best D", "loss")
        rows = []
        for row in self.groups.to_dict("records"):
            ends = f"{row['n_parameters_low']:.3g} to {row['n_parameters_high']:.3g}"
            texts = (f"{row[SIZE]:.4g}", ends, f"{row[TOKENS]:.4g}", f"{row[LOSS]:.4g}")
            rows.append((f"{row['flop']:.3g}", f"{row['n_runs']}",
                         *(DASH if "nan" in text else text for text in texts)))  # fmt: skip
        return Table("", str(self), [Column(n, number=True) for n in names], rows).filled

    def __str__(self) -> str:
        low, high = self.interval
        how = f", by the scatter of {len(self.groups) - self.n_without} minima"
        ends = f"{low:.3f} to {high:.3f}{how if self.by_scatter else ''}"
        ends = f" ({ends})" if np.isfinite(low) else ""
        runs = counted(self.n_runs_without, "run")
        groups = counted(len(self.groups), "group")
        none = f"; {self.n_without} of {groups} have no minimum ({runs})"
        blank = f"; {counted(self.n_left_out, 'row')} left out" if self.n_left_out else ""
        return (
            f"N* = {self.prefactor:.3g} C^{self.a:.3f}{ends}, by parabolas, whose bias "
            f"`isoflop_bias` gives{none if self.n_without else ''}{blank}"
        )


@hinted
def isoflop(
    data: Data,
    *,
    flop: str = COMPUTE,
    n_groups: int | None = None,
    columns: Mapping[str, str] | None = None,
    flop_per_parameter_token: float = FLOP_PER_PARAMETER_TOKEN,
    level: float = 0.95,
    bootstrap: int = 1000,
    key: int = 0,
) -> IsoFlop:
    r"""Fit a parabola to the runs of each compute; its minimum is the best size there.

    $$L \approx c_0 + c_1 \ln N + c_2 \ln^2 N, \qquad \ln N^* = -\frac{c_1}{2 c_2}, \qquad
      \ln N^* = \text{const} + a \ln C$$

    It needs no form of the loss surface, and pays with a **bias**: on a Chinchilla surface with
    alpha and beta, runs over a window of width w in ln N, centred at the minimum, shift ln N* by
    about $(\alpha - \beta) w^2 / 40$, however many they are; see `isoflop_bias`. The exponent `a`
    stays right where all windows lie alike.

    **Groups** never chain neighbours: runs whose C span more than a factor of 1.25 are cut at the
    largest gap of ln C, and so are the parts, until none spans more. Runs whose C are spread evenly
    thus fall into many groups, of which those of under four runs have no parabola.

    **Intervals** refit the parabolas to themselves plus residuals of all groups, relative to the
    loss and widened by their leverage: groups are too small to draw their own runs with
    replacement (of 6 runs it covers 85 % where 95 are said; this way 93). They know the scatter of
    the runs, not the bias. Without refits, and where a tenth of them have no minimum, there is none
    for N*, and that of `a` is Student's t of the minima about their line (`by_scatter`).

    **Arguments**

    - `data`, `columns`: a table with `n_parameters`, `loss`, and `n_tokens` or the column `flop`,
      as in `calibrate`.
    - `flop`: name of the column of C in the data; by default C is `c N D`.
    - `n_groups`: as many groups, however wide, of which ln C scatters least about their means; by
      default those above.
    - `flop_per_parameter_token`: c, positive.
    - `level`, `bootstrap`, `key`: of confidence; number of refits; of their draws.

    **Returns** an `IsoFlop`; groups of fewer than four runs or three sizes have no minimum.

    **Raises** `ValueError` for columns that are not positive, for `columns` of anything else, and
    for data without any group of four runs.

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, approach 2; the resampling of residuals
    is that of Davison and Hinkley 1997, Bootstrap Methods, section 6.3.
    """
    check_level(level)
    check_bootstrap(bootstrap)
    check_names(flop=flop)
    key = as_key(key)
    per_product = float(as_real("flop_per_parameter_token", flop_per_parameter_token, above=0))
    _check_columns(columns, flop)
    every: Any = as_numbers(as_table(data, columns, [SIZE, TOKENS, LOSS, flop]), [SIZE, LOSS])
    table = every[np.isfinite(every[LOSS]) & np.isfinite(every[SIZE])].reset_index(drop=True)
    size, loss = (positive_column(table, n, "columns") for n in (SIZE, LOSS))
    scaled = per_product / FLOP_PER_PARAMETER_TOKEN if flop not in table else 1.0
    c = positive_column(table, flop, "flop") * scaled
    group = grouped_by(np.log(c), n_groups)
    n = int(group.max(initial=-1)) + 1
    fits = [_parabola(np.log(size[group == g]), loss[group == g]) for g in range(n)]
    if not any(fit.used for fit in fits):
        way = ": `n_groups` makes them larger" if len(fits) > 1 else ""
        raise TooFewRuns(
            f"`data` must hold a group of {FEWEST} runs of one compute and three sizes or more, "
            f"got {counted(len(fits), 'group')} of {counted(len(table), 'run')} and "
            f"{counted(np.unique(size).size, 'size')}{way}."
        )
    drawn = _drawn(fits, bootstrap, key)
    at = np.asarray([np.exp(np.log(c[group == g]).mean()) for g in range(len(fits))])
    x = np.log(at)
    best = np.asarray([fit.minimum for fit in fits])
    (a,), (height,) = _lines(x, best[None])
    slopes, _ = _lines(x, np.where(np.isnan(best), np.nan, drawn))
    enough = np.isfinite(best).sum() >= MINIMA
    ends = _ends(slopes[:, None], level)[:, 0] if enough else np.full(2, np.nan)
    if by_scatter := bool(enough and np.isnan(ends).any()):
        ends = _regression_ends(x, best, level)
    groups = _rows(fits, at, per_product, _ends(drawn, level))
    return IsoFlop(
        groups, table, group, np.stack([fit.polynomial for fit in fits]), float(a),
        float(np.exp(height)), (float(ends[0]), float(ends[1])), level,
        np.where(np.isnan(best), np.nan, drawn), per_product, len(every) - len(table), by_scatter,
    )  # fmt: skip


def _check_columns(columns: Mapping[str, str] | None, flop: str) -> None:
    """Refuse a map of what is not read; that of C is an argument of its own."""
    check_columns(columns)
    read = (SIZE, TOKENS, LOSS, flop)
    for name in [n for n in columns or {} if n not in read]:
        hint = f"; flop={(columns or {})[name]!r} names the column of C." if "flop" in name else ""
        raise ValueError(f"`columns` must map {', '.join(read[:3])}, got {name!r}"
                         f"{hint or choices(name, read)}")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Parabola:
    """A parabola of the loss in ln N, centred at the middle of its runs."""

    x: Float[np.ndarray, " n"]
    middle: float
    centred: Float[np.ndarray, " 3"]
    residuals: Float[np.ndarray, " r"]  # relative to the loss, widened by their leverage

    @property
    def used(self) -> bool:
        """Whether there were enough runs."""
        return bool(np.isfinite(self.centred).all())

    @property
    def minimum(self) -> float:
        """Minimum in ln N, NaN outside of the runs."""
        at = float(vertices(self.centred)) + self.middle
        return at if self.x.min() < at < self.x.max() else np.nan

    @property
    def fitted(self) -> Float[np.ndarray, " n"]:
        """The parabola at its runs."""
        return np.polyval(self.centred, self.x - self.middle)

    @property
    def polynomial(self) -> Float[np.ndarray, " 3"]:
        """Coefficients in ln N."""
        (c2, c1, c0), m = self.centred, self.middle
        return np.asarray([c2, c1 - 2 * c2 * m, c0 - c1 * m + c2 * m**2])


def _parabola(x: Float[np.ndarray, " n"], loss: Float[np.ndarray, " n"]) -> _Parabola:
    middle = float(x.min() + x.max()) / 2
    if len(x) < FEWEST or len(np.unique(x)) < 3:
        return _Parabola(x, middle, np.full(3, np.nan), np.empty(0))
    centred = np.polyfit(x - middle, loss, 2)
    fitted = np.polyval(centred, x - middle)
    columns = np.vander(x - middle, 3)
    leverage = np.einsum("ij,ji->i", columns, np.linalg.pinv(columns))
    free = np.sqrt(np.maximum(1 - leverage, 1e-12))
    residuals = np.where(leverage < 1 - 1e-9, (loss - fitted) / fitted / free, np.nan)
    return _Parabola(x, middle, centred, residuals[np.isfinite(residuals)])


def vertices(coefficients: Float[np.ndarray, "3 *b"]) -> Float[np.ndarray, "*b"]:
    """Where parabolas are lowest; NaN where they have no minimum."""
    c2, c1, _ = coefficients
    with np.errstate(all="ignore"):
        return np.asarray(np.where(c2 > 0, -c1 / (2 * c2), np.nan))


def _drawn(fits: list[_Parabola], n: int, key: int) -> Float[np.ndarray, "b g"]:
    """Minima in ln N of parabolas that are refitted to themselves plus residuals."""
    pooled = np.concatenate([fit.residuals for fit in fits])
    pooled = pooled - pooled.mean()
    rng = np.random.default_rng(key % 2**64)  # NumPy takes no negative ones
    drawn = np.full((n, len(fits)), np.nan)
    for g, fit in enumerate(fits):
        if fit.used and n:
            noise = rng.choice(pooled, size=(len(fit.x), n))
            again = np.polyfit(fit.x - fit.middle, fit.fitted[:, None] * (1 + noise), 2)
            drawn[:, g] = vertices(again) + fit.middle
    return drawn


def _lines(
    x: Float[np.ndarray, " g"], y: Float[np.ndarray, "b g"]
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Slope and height at 0 of straight lines through the columns of `y` that have a value."""
    used = np.isfinite(y).any(axis=0)
    if used.sum() < 2:
        return np.full(len(y), np.nan), np.full(len(y), np.nan)
    x, y = x[used], y[:, used]
    slope = (y - y.mean(axis=1, keepdims=True)) @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return slope, y.mean(axis=1) - slope * x.mean()


def _regression_ends(
    x: Float[np.ndarray, " g"], y: Float[np.ndarray, " g"], level: float
) -> Float[np.ndarray, " 2"]:
    """Interval of the slope of a straight line by the residuals of the values that there are."""
    from scipy.stats import t

    used = np.isfinite(y)
    n = int(used.sum())
    (slope,), (height,) = _lines(x, y[None])
    x, residuals = x[used], (y - height - slope * x)[used]
    error = np.sqrt(np.sum(residuals**2) / (n - 2) / np.sum((x - x.mean()) ** 2))
    return slope + error * t.ppf([(1 - level) / 2, (1 + level) / 2], n - 2)


def _ends(values: Float[np.ndarray, "b *k"], level: float) -> Float[np.ndarray, "2 *k"]:
    """Percentiles; NaN where more than a tenth of the values are lost."""
    if not len(values):
        return np.full((2, *values.shape[1:]), np.nan)
    lost = np.isnan(values).mean(axis=0) > LOST_REFUSES
    ends = np.nanquantile(np.where(lost, 0.0, values), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.where(lost, np.nan, ends)


def _rows(
    fits: list[_Parabola], flop: Float[np.ndarray, " g"], per_product: float,
    ends: Float[np.ndarray, "2 g"],
) -> "pandas.DataFrame":  # fmt: skip
    import pandas

    best = np.asarray([fit.minimum for fit in fits])
    size = np.exp(best)
    low, high = (np.where(np.isnan(best), np.nan, np.exp(end)) for end in ends)
    lowest = [float(np.polyval(f.centred, f.minimum - f.middle)) for f in fits]
    return pandas.DataFrame({
        "flop": flop, "n_runs": [len(fit.x) for fit in fits],
        SIZE: size, f"{SIZE}_low": low, f"{SIZE}_high": high, TOKENS: flop / per_product / size,
        LOSS: lowest, "width": [float(np.ptp(fit.x)) for fit in fits],
        "offset": [fit.middle for fit in fits] - best,
    })  # fmt: skip
