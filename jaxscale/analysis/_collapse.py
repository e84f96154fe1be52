"""Scaling collapse: power laws of a scale that make its curves one."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from jaxscale._arguments import hinted
from jaxscale._convert import as_real
from jaxscale._text import DASH, counted, unknown
from jaxscale._warn import warn_user
from jaxscale.analysis._data import refuse, require_coordinates
from jaxscale.analysis._exponents import _abscissa
from jaxscale.analysis._intervals import Interval, check_level, seed_interval
from jaxscale.analysis._jackknife import pseudo_values

if TYPE_CHECKING:
    import xarray

N_LOCATIONS = 100  # of ln x at which curves are compared
TRIALS = 81  # of the exponent of time, before the best is refined
LEAST = 0.5  # of the points of a curve that another must reach
XTOL = 1e-7  # of the exponent of time
SHAPE = 5  # degree of a polynomial that bends as a common curve may
SIGNIFICANT = 1e-3  # level of a bend
GIVEN = "deterministic"  # method of an exponent that was not fitted
ROUNDING = 1e-6  # of ln y, by which straight curves may bend


@dataclasses.dataclass(frozen=True, eq=False)
class Collapse:
    r"""Curves of several scales as one: $y(t, s) = s^a f(t\, s^{-b})$.

    - `height`, `time`: a and b.
    - `height_interval`, `time_interval`: by the jackknife over `jackknifed`; those of a given
      exponent are itself. NaN where the curves do not meet without one of these: that of the
      others would answer another question.
    - `spread`: rms distance of ln y from the common curve, where two curves or more have values:
      .01 is 1 %.
    - `score`: share of the variance of the collapsed ln y that the common curve has: 1 is a
      collapse, 0 is none.
    - `curves`: $y\, s^{-a}$, with the coordinate `scaled`, $x = t\, s^{-b}$.
    - `jackknifed`: `seed`, or the dimension of the scales.
    - `n_left_out`: runs without two points that have a logarithm.
    """

    height: float
    time: float
    height_interval: Interval
    time_interval: Interval
    spread: float
    score: float
    curves: "xarray.DataArray"
    jackknifed: str
    n_left_out: int

    def __str__(self) -> str:
        exponents = {
            "height": (self.height, self.height_interval),
            "time": (self.time, self.time_interval),
        }
        parts = [f"{name} s^{v:.4g} ({_text(end)})" for name, (v, end) in exponents.items()]
        fitted = {n: end.method for n, (_, end) in exponents.items() if end.method != GIVEN}
        names = "" if len(fitted) != 1 else f" of {next(iter(fitted))}"
        how = f"; interval{names or 's'}: jackknife over {self.jackknifed}"
        return (
            f"{', '.join(parts)}; spread of ln y {self.spread:.2g}, score {self.score:.4f}"
            + (f"{how}, {', '.join(dict.fromkeys(fitted.values()))}" if fitted else "")
            + (f"; {counted(self.n_left_out, 'run')} left out" if self.n_left_out else "")
        )


def _text(end: Interval) -> str:
    if end.method == GIVEN:
        return "given"
    return f"{end.low:.4g} to {end.high:.4g}" if np.isfinite(end.low) else DASH


@hinted
def collapse(
    curves: "xarray.DataArray",
    dim: str,
    scale: str,
    *,
    height: float | None = None,
    time: float | None = None,
    level: float = 0.95,
) -> Collapse:
    r"""Find the powers of a scale by which its curves coincide best.

    $$y(t, s) = s^a f(t\, s^{-b})$$

    With $X = \ln t - b \ln s$ and $Y = \ln y$, every curve is interpolated in straight lines at
    evenly spaced locations of X. What is made small is the mean square distance from a common curve
    of any shape, of locations that two curves or more reach,

    $$S(a, b) = \frac{\sum_X \sum_s (Y_s(X) - a \ln s - \bar F(X))^2}{\sum_X (m_X - 1)},
      \qquad \bar F(X) = \frac{1}{m_X} \sum_s (Y_s(X) - a \ln s)$$

    which is quadratic in a, so that only b is searched, between values at which at least half of
    the points of the curves lie where another curve has values: else curves that hardly meet would
    agree. A floor of y is to be subtracted first.

    Where f is itself a power law, every b collapses the curves alike: with both powers free, curves
    are refused that are straight within their scatter (an F test of the collapsed points against a
    polynomial of degree 5, at the level .001), and with `height` given those that are constant.

    **Arguments**

    - `curves`: positive values over `dim`, `scale` and perhaps `seed`, of which the mean is taken.
      Missing and non-positive values are passed over, and so is t <= 0. Runs (of one seed at one
      scale) without two points that have a logarithm are left out of the means, with a warning; a
      point that one of the others lacks has no mean.
    - `dim`, `scale`: dimensions of t and s, whose coordinates are numbers, those of s positive.
    - `height`, `time`: a and b, if they are given by a theory; by default the best ones.
    - `level`: of the jackknife intervals, over the seeds where there are two or more, else over
      the scales. Of six seeds those of 95 % cover 90 %; of fewer than five, the range is given.

    **Returns** a `Collapse`.

    **Raises** `ValueError` for another dimension, under three scales, no two curves that meet, or
    powers that the curves do not determine.

    **Reference** Bhattacharjee and Seno 2001, J. Phys. A 34, 6375 (a measure of collapse); its form
    in logarithms, quadratic in a, is derived here.

    **Example**

    >>> import xarray
    >>> t, s = np.geomspace(1, 1e4, 60), np.asarray([10.0, 30.0, 100.0])
    >>> y = s[:, None] ** -0.5 / (1 + t / s[:, None] ** 1.5)
    >>> curves = xarray.DataArray(y, {"width": s, "step": t})
    >>> one = js.analysis.collapse(curves, "step", "width")
    >>> print(f"{one.height:.2f} {one.time:.2f}")
    -0.50 1.50
    """
    check_level(level)
    height, time = (
        None if given is None else float(as_real(name, given))
        for name, given in (("height", height), ("time", time))
    )
    t, s, y = _arranged(curves, dim, scale)
    y, s, n_left_out = _with_runs(y, s, scale)
    samples = [_Curves.of(t, _mean(y), s)]
    seeded = len(y) > 1
    if seeded:
        samples += [_Curves.of(t, _mean(np.delete(y, i, 0)), s) for i in range(len(y))]
    else:
        samples += [_Curves.of(t, np.delete(y[0], i, 0), np.delete(s, i)) for i in range(len(s))]
    fits = np.asarray([sample.fitted(height, time) for sample in samples])
    a, b = (float(v) for v in fits[0])
    if np.isnan(a):
        raise ValueError(f"`curves` must meet: no power of {scale} brings two of them together.")
    degree = 1 if height is None else 0
    if time is None and not samples[0].bends(a, b, degree):
        scatter = samples[0].spread(b, a)[0] ** 0.5
        raise ValueError(
            f"`time` must be given: within their scatter, {scatter:.2g} of ln y, the curves are "
            f"{('constant', 'power laws')[degree]} in {dim}, which every power of {scale} makes "
            f"one. Take it from a theory, or take a range of {dim} in which they bend."
        )
    values = pseudo_values(fits)
    ends = [
        _interval(values[:, i], level) if v is None else seed_interval(v, level)
        for i, v in enumerate((height, time))
    ]
    squares, _, score = samples[0].spread(b, a)
    made, over = _collapsed(curves, dim, scale, a, b), "seed" if seeded else scale
    return Collapse(a, b, ends[0], ends[1], float(np.sqrt(squares)), score, made, over,
                    n_left_out)  # fmt: skip


def _interval(values: Float[np.ndarray, " n"], level: float) -> Interval:
    """Interval of pseudo-values; NaN, by the method of as many, where one of them is missing."""
    if np.isnan(values).any():
        return Interval(np.nan, np.nan, seed_interval(np.zeros(len(values)), level).method)
    return seed_interval(values, level)


def _arranged(
    curves: "xarray.DataArray", dim: str, scale: str
) -> tuple[Any, Any, Float[np.ndarray, "e s t"]]:
    """Times, scales, and curves (seed, scale, time), NaN where missing."""
    t = _abscissa(curves, dim, "curves")
    dims = [str(d) for d in curves.dims]
    if scale not in dims or scale in (dim, "seed"):
        raise unknown("`scale`", scale, [d for d in dims if d not in (dim, "seed")])
    require_coordinates("curves", curves, scale, "scale")
    if others := set(dims) - {dim, scale, "seed"}:
        raise ValueError(f"`curves` must have no dimension but {dim!r}, {scale!r} and seed, got "
                         f"{sorted(others)[0]!r}.")  # fmt: skip
    if curves[scale].dtype.kind not in "iuf":
        raise ValueError(f"`{scale}` must have coordinates that are numbers, got "
                         f"{curves[scale].dtype}.")  # fmt: skip
    s = np.asarray(curves[scale], float)
    refuse(scale, "positive and finite", s, ~(np.isfinite(s) & (s > 0)))
    y = curves if "seed" in dims else curves.expand_dims("seed")
    values = np.asarray(y.transpose("seed", scale, dim), float)[..., t > 0]
    return t[t > 0], s, np.where(np.isfinite(values), values, np.nan)


def _with_runs(
    y: Float[np.ndarray, "e s t"], s: Float[np.ndarray, " s"], scale: str
) -> tuple[Float[np.ndarray, "f r t"], Float[np.ndarray, " r"], int]:
    """Seeds and scales that have a run with two points, and how many runs have not; warn of these.

    Runs that have not are NaN.
    """
    has_two = np.sum(np.nan_to_num(y) > 0, axis=-1) > 1
    y = np.where(has_two[..., None], y, np.nan)[np.ix_(has_two.any(axis=1), has_two.any(axis=0))]
    s = s[has_two.any(axis=0)]
    if len(np.unique(s)) < 3:
        raise ValueError(
            f"`{scale}` must have three values or more with a curve, got {len(np.unique(s))}."
        )
    n_left_out = int(np.sum(~has_two))
    if n_left_out:
        warn_user(
            f"{n_left_out} of {counted(has_two.size, 'run')} without two positive values: left out",
        )
    return y, s, n_left_out


def _mean(y: Float[np.ndarray, "e s t"]) -> Float[np.ndarray, "s t"]:
    """Mean over the seeds that have a run; NaN where one of these lacks the point."""
    has_run = ~np.isnan(y).all(axis=-1, keepdims=True)
    n = np.maximum(has_run.sum(axis=0), 1)
    mean = np.where(has_run, y, 0.0).sum(axis=0) / n
    return np.where(has_run.any(axis=0), mean, np.nan)


@dataclasses.dataclass(frozen=True)
class _Curves:
    """Points (ln t, ln y) of curves that have two or more, and ln s of each."""

    points: list[tuple[np.ndarray, np.ndarray]]
    log_s: Float[np.ndarray, " c"]

    @classmethod
    def of(cls, t: np.ndarray, y: Float[np.ndarray, "s t"], s: np.ndarray) -> "_Curves":
        """Take what has a logarithm."""
        used = np.nan_to_num(y) > 0
        own = np.flatnonzero(used.sum(axis=1) > 1)
        return cls([(np.log(t[used[i]]), np.log(y[i, used[i]])) for i in own], np.log(s[own]))

    def shifted(self, b: float) -> Float[np.ndarray, "c x"] | None:
        """Return ln y at common X, NaN outside of a curve; None where curves hardly meet."""
        if len(self.points) < 2:
            return None
        x = [px - b * own for (px, _), own in zip(self.points, self.log_s, strict=True)]
        first, last = (np.asarray([px[i] for px in x]) for i in (0, -1))
        meets = [_reached(px, np.delete(first, i), np.delete(last, i)) for i, px in enumerate(x)]
        if np.mean(np.concatenate(meets)) < LEAST:
            return None
        n = N_LOCATIONS * np.ptp([first.min(), last.max()]) / np.max(last - first)
        at = np.linspace(first.min(), last.max(), min(int(n) + 1, 20 * N_LOCATIONS))
        pairs = zip(x, self.points, strict=True)
        return np.stack([np.interp(at, px, py, left=np.nan, right=np.nan) for px, (_, py) in pairs])

    def spread(self, b: float, a: float | None) -> tuple[float, float, float]:
        """Mean square distance from the common curve, the height a, and the score.

        The height is the best one if it is None. Infinite where curves hardly meet.
        """
        at = self.shifted(b)
        shared = np.zeros((1, 1), bool) if at is None else np.isfinite(at)
        shared = shared & (shared.sum(axis=0) > 1)
        df = int(shared.sum() - shared.any(axis=0).sum())
        if at is None or df < 1:
            return np.inf, np.nan, np.nan
        log_s = np.broadcast_to(self.log_s[:, None], at.shape)
        y, slope = _centred(at, shared), _centred(log_s, shared)
        if a is None:
            a = float(np.sum(slope * y) / np.sum(slope**2))
        squares = float(np.sum((y - a * slope) ** 2) / df)
        variance = float(np.var((at - a * log_s)[shared]))
        return squares, a, 1 - squares / variance if variance > 0 else np.nan

    def bends(self, a: float, b: float, degree: int) -> bool:
        """Whether the collapsed points are more than a polynomial in X of a degree: by an F test.

        It is against `SHAPE`, at the level `SIGNIFICANT`.
        """
        from scipy.special import fdtrc

        pairs = zip(self.points, self.log_s, strict=True)
        x, y = np.concatenate([[px - b * own, py - a * own] for (px, py), own in pairs], axis=1)
        x = 2 * (x - x.min()) / np.ptp(x) - 1
        powers = np.polynomial.chebyshev.chebvander(x, SHAPE)
        squares = []
        for columns in (powers[:, : degree + 1], powers):
            squares.append(np.sum((y - columns @ np.linalg.lstsq(columns, y)[0]) ** 2))
        df, more = len(x) - SHAPE - 1, SHAPE - degree
        if squares[0] <= ROUNDING**2 * len(x) or df < 1:
            return df < 1
        with np.errstate(divide="ignore"):
            ratio = (squares[0] - squares[1]) / more / (squares[1] / df)
        return bool(fdtrc(more, df, ratio) < SIGNIFICANT)

    def fitted(self, a: float | None, b: float | None) -> tuple[float, float]:
        """Best powers, of those that are None; NaN where no two curves meet."""
        if b is None:
            b = self._best_time(a)
        squares, a, _ = self.spread(b, a)
        return (a, b) if np.isfinite(squares) else (np.nan, np.nan)

    def _best_time(self, a: float | None) -> float:
        """Exponent of time of the lowest spread: the best of many, refined."""
        from scipy.optimize import minimize_scalar

        if len(self.points) < 2:
            return np.nan
        length = max(px[-1] - px[0] for px, _ in self.points)
        reach = 2 * length * (len(self.points) - 1) / np.ptp(self.log_s)
        trials = np.linspace(-reach, reach, TRIALS)
        costs = np.asarray([self.spread(float(trial), a)[0] for trial in trials])
        i = int(np.argmin(costs))
        near = (trials[max(i - 1, 0)], trials[min(i + 1, TRIALS - 1)])
        options: Any = {"bounds": near, "method": "bounded", "options": {"xatol": XTOL}}
        refined: Any = minimize_scalar(lambda trial: self.spread(float(trial), a)[0], **options)
        return float(refined.x)


def _reached(x: np.ndarray, first: np.ndarray, last: np.ndarray) -> Any:
    """Which locations lie inside any of the intervals."""
    return np.any((x[:, None] >= first) & (x[:, None] <= last), axis=1)


def _centred(
    values: Float[np.ndarray, "c x"], shared: Bool[np.ndarray, "c x"]
) -> Float[np.ndarray, "c x"]:
    """Values less their mean over curves at each location; 0 where they are not shared."""
    own = np.where(shared, values, 0.0)
    mean = own.sum(axis=0) / np.maximum(shared.sum(axis=0), 1)
    return np.where(shared, own - mean, 0.0)


def _collapsed(
    curves: "xarray.DataArray", dim: str, scale: str, a: float, b: float
) -> "xarray.DataArray":
    s = curves[scale].astype(float)
    made = curves * s**-a
    made = made.transpose(*curves.dims).assign_coords(scaled=s**-b * curves[dim])
    made.attrs = {"long_name": f"{curves.name or 'y'} {scale}^{-a:.4g}"}
    return made
