"""The compute-optimal frontier: the lowest loss at a fixed product of size and time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from jaxscale._arguments import hinted
from jaxscale._deprecated import warn_deprecated
from jaxscale.analysis._data import refuse, require_array
from jaxscale.analysis._exponents import Exponent, summarise
from jaxscale.analysis._intervals import Method, seed_interval
from jaxscale.analysis._jackknife import jackknife

if TYPE_CHECKING:
    import xarray

REFERENCES = ("hoffmann2022",)
BEYOND_LAST = 1e-9  # in ln T, by which a time may lie beyond the last record
DEPRECATED = ("size", "time")  # names of the quantities before they were those of the dimensions


class _ByQuantity(dict[str, Any]):
    """Values by quantity: the loss, the dimension of size and that of time, in this order."""

    def __missing__(self, name: str) -> Any:
        """Accept the deprecated names "size" and "time"."""
        if name not in DEPRECATED:
            raise KeyError(name)
        dim = list(self)[1 + DEPRECATED.index(name)]
        warn_deprecated(f"Frontier[...][{name!r}]", repr(dim))
        return self[dim]


@dataclasses.dataclass(frozen=True, eq=False)
class Frontier:
    r"""Lowest loss at each compute, where it is, how all three grow, and intervals over seeds.

    $$L^*(C) = \min_N L(N, C/N), \qquad N^*(C), \qquad T^* = C / N^*$$

    - `compute`: C, shape (c,).
    - `loss`: of the mean over seeds, shape (c,); NaN where there is no optimum.
    - `best`: N* and T* by the names of their dimensions, shape (c,) each. They are attributes too:
      `frontier.n_parameters` is `frontier.best["n_parameters"]`.
    - `interval`: for "loss" and both dimensions the low and the high ends, shape (2, c).
    - `exponent`: for each of them the `Exponent` in C, `prefactor * C^value`, fitted to all of
      `compute`; its `per_seed` are jackknife pseudo-values.
    - `level`, `method`, `n_seeds`: of every interval; None seeds for a curve without a seed axis.
      Under two seeds there is no interval: its ends are NaN, those of the exponents too.
    """

    compute: Float[np.ndarray, " c"]
    loss: Float[np.ndarray, " c"]
    best: dict[str, Float[np.ndarray, " c"]]
    interval: dict[str, Float[np.ndarray, "2 c"]]
    exponent: dict[str, Exponent]
    level: float
    method: Method
    n_seeds: int | None

    @property
    def names(self) -> tuple[str, str]:
        """The dimensions of size and time."""
        size, time = self.best
        return size, time

    def __getattr__(self, name: str) -> np.ndarray:
        best = vars(self).get("best", {})
        if name in best:
            return best[name]
        if name in DEPRECATED and best:
            dim = self.names[DEPRECATED.index(name)]
            warn_deprecated(f"Frontier.{name}", f"Frontier.{dim}")
            return best[dim]
        raise AttributeError(f"`Frontier` has no attribute {name!r}.")

    @classmethod
    def of(
        cls,
        values: "xarray.DataArray",
        optimum: "Callable[[xarray.DataArray], Float[np.ndarray, '2 c']]",
        compute: Float[np.ndarray, " c"],
        *,
        size: str,
        time: str,
        level: float = 0.95,
    ) -> "Frontier":
        r"""Make a frontier from an optimum that is a function of the mean over seeds.

        $$v_i = n\,\hat\theta(\bar y) - (n - 1)\,\hat\theta(\bar y_{-i}), \qquad
          \hat\theta = (\ln L^*, \ln N^*)$$

        The intervals are those of `seed_interval` on these pseudo-values, of which every exponent
        is a linear function. One seed is its own pseudo-value, and has no interval.

        **Arguments**

        - `values`: what was measured, over any dimensions, with or without seeds.
        - `optimum`: maps the mean over seeds to (ln L*, ln N*), shape (2, c), NaN for no optimum.
        - `compute`: C, shape (c,), positive, at least two different values.
        - `size`, `time`: names of the two dimensions.
        - `level`: confidence level.

        **Returns** a `Frontier`.

        **Raises** `ValueError` for a bad `compute` or `level`.

        **Reference** Tukey 1958, Ann. Math. Statist. 29, 614.
        """
        require_array("values", values)
        c = _compute(compute)
        seeded = "seed" in values.dims
        of_mean = np.asarray(optimum(values.mean("seed") if seeded else values), np.float64)
        pseudo = of_mean[None]
        if seeded and values.sizes["seed"] > 1:
            pseudo = jackknife(values, optimum)
            # an optimum that depends on one seed has no interval, not that of the other seeds
            pseudo = np.where(np.isnan(pseudo).any(axis=0), np.nan, pseudo)
        log_c, (log_loss, log_size) = np.log(c), np.moveaxis(pseudo, 1, 0)
        logs = {"loss": log_loss, size: log_size, time: log_c - log_size}
        interval = _ByQuantity()
        for name, log in logs.items():
            ends = [seed_interval(v if seeded else v[0], level) for v in log.T]
            limits = np.exp([[e.low for e in ends], [e.high for e in ends]])
            interval[name] = limits if len(pseudo) > 1 else np.full_like(limits, np.nan)
        loss, best = np.exp(of_mean)
        return cls(
            compute=c,
            loss=loss,
            best={size: best, time: c / best},
            interval=interval,
            exponent=_ByQuantity({k: _exponent(log_c, v, level, seeded) for k, v in logs.items()}),
            level=level,
            method=seed_interval(np.zeros(len(pseudo)) if seeded else 0.0, level).method,
            n_seeds=values.sizes["seed"] if seeded else None,
        )


@hinted
def frontier(
    loss: "xarray.DataArray",
    compute: Real[ArrayLike, " c"] | Sequence[float],
    *,
    size: str,
    time: str,
    level: float = 0.95,
    neighbours: int = 1,
) -> Frontier:
    r"""Find the compute-optimal frontier of losses over a grid of sizes and times.

    $$L^*(C) = \min_N L(N, C/N)$$

    of the mean over seeds. The curve of each size is interpolated by monotone cubics in ln L and
    ln T; around the lowest size a parabola in ln N is fitted, whose vertex is the optimum. What is
    minimised may be a simulation or `js.predict(grid).loss`. For another cost, C = f(N) T, give the
    sizes the coordinates f(N).

    Accuracy without noise, on L = E + N^-0.6 + 3 T^-0.4 with sizes a factor q apart, for E = 0.05
    (largest error over two decades of C; second order in ln q for N*, about third for L*; nearly
    constant in C, so the exponents are better than 0.001 below q = 2):

    | q | 1.25 | 1.41 | 2 | 4 |
    |---|---|---|---|---|
    | ln N* | 0.002 | 0.004 | 0.016 | 0.07 |
    | ln L* | 3e-5 | 1.2e-4 | 1.2e-3 | 0.009 |

    Records of T a factor 2 apart add 0.0015 and 6e-5, a factor 4 apart 0.014 and 6e-4. N* is 5 %
    high at q = 1.41, 2 % at 1.19, where the loss has a pole on one side, as in sparse regression.

    With noise N* is only as certain as the parabola is deep: it should be deeper at its ends than
    the standard error of ln L. With 5 % per seed, 8 seeds and q = 1.41 and `neighbours=2`
    nine sets in ten have an interval of the exponent of N*, and it covers in 94 % of them; with 1
    one set in three has.

    **Arguments**

    - `loss`: positive losses over `size`, `time` and optionally `seed`. Values that are not finite
      are missing, and a point that one seed lacks is missing for all. Time 0 is omitted.
    - `compute`: C, shape (c,), positive, at least two different values; the window of the
      exponents.
    - `size`, `time`: the two dimensions, such as `n_parameters` and `step`.
    - `level`: confidence level of the intervals.
    - `neighbours`: sizes on each side of the lowest that the parabola is fitted to.

    **Returns** a `Frontier`. An optimum is NaN where one of the sizes of its parabola does not
    exist, does not reach that compute or is missing, or where the parabola has no minimum among
    them (for intervals: also without any one seed). An exponent is NaN if any of its optima is, and
    so is every interval of losses of fewer than two seeds.

    **Raises** `ValueError` for other dimensions, coordinates that are not increasing and positive,
    too few of them, a loss or compute that is not positive, or `level` outside (0, 1).

    **Reference** envelope: Hoffmann et al. 2022, arXiv 2203.15556, section 3.1; parabola: 3.2.
    Accuracy and coverage are measured by the tests.
    """
    if neighbours < 1:
        raise ValueError(f"`neighbours` must be at least 1, got {neighbours!r}.")
    c = _compute(compute)
    loss = _checked(loss, size, time, 2 * neighbours + 1)
    log_n, log_t = (np.log(np.asarray(loss[d], np.float64)) for d in (size, time))
    at = np.log(c) - log_n[:, None]

    def heights(mean: "xarray.DataArray") -> Float[np.ndarray, "n c"]:
        rows = np.log(np.asarray(mean.transpose(size, time), np.float64))
        return np.stack([_along(log_t, row, a) for row, a in zip(rows, at, strict=True)])

    everything = heights(loss.mean("seed") if "seed" in loss.dims else loss)
    lowest = np.where(np.isnan(everything), np.inf, everything).argmin(axis=0).tolist()

    def optimum(mean: "xarray.DataArray") -> Float[np.ndarray, "2 c"]:
        # the same sizes with and without any one seed: a vertex that is smooth in the losses
        vertices = [
            _vertex(log_n, y, j, neighbours) for y, j in zip(heights(mean).T, lowest, strict=True)
        ]
        return np.asarray(vertices).T

    return Frontier.of(loss, optimum, c, size=size, time=time, level=level)


def _vertex(x: np.ndarray, y: np.ndarray, j: int, reach: int) -> tuple[float, float]:
    """Lowest value, and where it is, of the parabola through `reach` points on each side of j."""
    low, high = j - reach, j + reach + 1
    if low < 0 or high > len(x) or np.isnan(y[low:high]).any():
        return np.nan, np.nan
    near = x[low:high] - x[j]
    a, b, d = np.polyfit(near, y[low:high], 2)
    if a <= 0 or not near[0] <= -b / (2 * a) <= near[-1]:
        return np.nan, np.nan
    return float(d - b**2 / (4 * a)), float(x[j] - b / (2 * a))


def _along(log_t: np.ndarray, row: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of one curve at the logarithmic times `at`; NaN beyond it and next to a gap in it."""
    from scipy.interpolate import PchipInterpolator

    present = ~np.isnan(row)
    if present.sum() < 2:
        return np.full(at.shape, np.nan)
    for end in (log_t[0], log_t[-1]):
        at = np.where(np.abs(at - end) < BEYOND_LAST, end, at)
    values = PchipInterpolator(log_t[present], row[present], extrapolate=False)(at)
    below = np.clip(np.searchsorted(log_t, at, side="right") - 1, 0, len(log_t) - 2)
    return np.where(present[below] & present[below + 1], values, np.nan)


def _exponent(log_c: np.ndarray, log_y: np.ndarray, level: float, seeded: bool) -> Exponent:
    """Least-squares slope in `log_c` of each row of `log_y`, one row per seed."""
    slopes, intercepts = np.polyfit(log_c, log_y.T, 1)
    exponent = summarise(
        slopes, np.exp(intercepts), np.zeros_like(slopes), seeded=seeded, level=level,
        window=(float(np.exp(log_c.min())), float(np.exp(log_c.max()))), n_points=len(log_c),
        law="prefactor * compute^value",
    )  # fmt: skip
    return exponent if len(slopes) > 1 else dataclasses.replace(exponent, interval=(np.nan, np.nan))


def _compute(compute: object) -> Float[np.ndarray, " c"]:
    c = np.asarray(compute, np.float64)
    if c.ndim != 1:
        example = f"[{c:g}]" if c.ndim == 0 else "[1e3, 1e4]"
        raise ValueError(
            f"`compute` must be a sequence of computes, such as {example}, got shape {c.shape}."
        )
    refuse("compute", "positive and finite", c, ~((c > 0) & (c < np.inf)))
    if len(np.unique(c)) < 2:
        raise ValueError(f"`compute` must have at least 2 different values, got {c[:1].tolist()}.")
    return c


def _checked(loss: "xarray.DataArray", size: str, time: str, sizes: int) -> "xarray.DataArray":
    """`loss` at positive times, NaN where it is missing for any seed."""
    require_array("loss", loss)
    if size == time or not {size, time} <= set(loss.dims) <= {size, time, "seed"}:
        raise ValueError(
            f"`loss` must have the dimensions {size!r}, {time!r} and perhaps seed, got {loss.dims}."
        )
    for name, dim in (("size", size), ("time", time)):
        if dim not in loss.coords or loss[dim].dtype.kind not in "iuf":
            raise ValueError(f"`{name}` must be a dimension with numbers, got {dim!r}.")
        x = np.asarray(loss[dim], np.float64)
        rising = np.diff(x, prepend=0.0 if name == "size" else -1.0) > 0
        good = rising & (x >= 0) & np.isfinite(x)
        refuse(dim, "positive and increasing", x, ~good)
    loss = loss.astype(np.float64).isel({time: np.asarray(loss[time]) > 0})
    for dim, least in ((size, sizes), (time, 2)):
        if loss.sizes[dim] < least:
            raise ValueError(
                f"`{dim}` must have at least {least} positive values, got {loss.sizes[dim]}."
            )
    finite = abs(loss) < np.inf
    if bool((loss.where(finite, 1.0) <= 0).any()):
        raise ValueError(f"`loss` must be positive, got {float(loss.where(finite).min())}.")
    return loss.where(finite.all("seed") if "seed" in loss.dims else finite)
