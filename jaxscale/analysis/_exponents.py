"""Exponents of measured curves: local slopes, windowed fits, crossings.

Every fit is made once per seed, and its interval comes from the spread of those estimates; that of
a single curve comes from its residuals. A window comes from the caller, never from the curve: where
it looks straight is a choice, too.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float

from jaxscale._arguments import hinted
from jaxscale._convert import as_real
from jaxscale._warn import warn_user
from jaxscale.analysis._data import refuse, require_array, require_coordinates
from jaxscale.analysis._information import is_constant
from jaxscale.analysis._intervals import Method, Number, mean, seed_interval

if TYPE_CHECKING:
    import xarray

Window: TypeAlias = tuple[Number, Number]
Estimator: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[float, float, float, float]]

FLOOR_STARTS = (0.99, 0.9, 0.5, 0.1, 1e-3)  # of the smallest value of the curve


@dataclasses.dataclass(frozen=True, eq=False)
class Exponent:
    """A fitted exponent with its interval over seeds, and everything that the fit was given.

    - `value`: mean of `per_seed`; `law` says which power of x it is.
    - `prefactor`, `floor`: geometric mean and mean over seeds; a pure power law has floor 0.
    - `interval`: low and high end at `level`, by `method`; `residuals` is that of a single curve,
      whose points count as independent: too narrow for points of one run. `range`, of 2 to 4 seeds,
      is the least and the greatest of their estimates, and has no level.
    - `window`, `n_points`: the range of x that was fitted, both ends included, and its points.
    - `n_seeds`: seeds with an estimate; None for a curve without a seed axis.
    - `per_seed`: shape (s,), NaN for a seed whose curve is incomplete or whose fit failed.
    """

    value: float
    prefactor: float
    interval: tuple[float, float]
    level: float
    window: tuple[float, float]
    n_points: int
    n_seeds: int | None
    per_seed: Float[np.ndarray, " s"]
    method: Method
    law: str
    floor: float = 0.0


@hinted
def local_exponent(curve: "xarray.DataArray", dim: str) -> "xarray.DataArray":
    r"""Local slope of a curve in logarithmic axes.

    $$\text{slope}(x) = \frac{d \ln y}{d \ln x}$$

    by central differences on the irregular grid ln x, one-sided of three points at both ends.

    **Arguments**

    - `curve`, `dim`: any dimensions, and that of x, with increasing coordinates.

    **Returns** slopes of the shape of `curve`; NaN at x <= 0 (such as step 0), and where y or
    another of its points is missing or not positive.

    **Raises** `ValueError` for an unknown `dim` or fewer than 2 positive coordinates.

    **Example**

    >>> import xarray
    >>> time = np.asarray([1.0, 2.0, 4.0, 8.0])
    >>> curve = xarray.DataArray(3 * time**-0.5, {"time": time}, "time")
    >>> js.analysis.local_exponent(curve, "time").values.round(3)
    array([-0.5, -0.5, -0.5, -0.5])
    """
    x = _abscissa(curve, dim)
    positive = x > 0
    if positive.sum() < 2:
        raise ValueError(f"`{dim}` must have at least 2 positive coordinates, got {x.tolist()}.")
    axis = curve.get_axis_num(dim)
    slopes = np.moveaxis(log_slopes(x, np.moveaxis(np.asarray(curve, float), axis, -1)), -1, axis)
    out = curve.copy(data=slopes)
    out.attrs = {"units": "", "long_name": f"d ln {curve.name or 'y'} / d ln {dim}"}
    return out


def log_slopes(x: Float[np.ndarray, " n"], y: Float[np.ndarray, "... n"]) -> np.ndarray:
    """Local slopes d ln y / d ln x of curves along their last axis, as `local_exponent`."""
    slopes, positive = np.full(y.shape, np.nan), x > 0
    if positive.sum() > 1:
        y = y[..., positive]
        log_y = np.log(np.where(np.isfinite(y) & (y > 0), y, np.nan))
        order = 2 if positive.sum() > 2 else 1
        slope = np.gradient(log_y, np.log(x[positive]), axis=-1, edge_order=order)
        slopes[..., positive] = np.where(np.isnan(log_y), np.nan, slope)
    return slopes


@hinted
def fit_exponent(
    curve: "xarray.DataArray", dim: str, window: Window, *, level: float = 0.95
) -> Exponent:
    r"""Power law fitted inside a window, one fit per seed.

    $$y = \text{prefactor} \cdot x^{\text{value}}$$

    by least squares of ln y on ln x, so a decaying curve has a negative value. A mean of slopes
    over seeds belongs to typical curves, not to the mean curve. The interval of a curve without
    seeds, or of one, is `value ± t s / sqrt(sum (ln x - mean)^2)` from its residuals, n - 2 degrees
    of freedom.

    **Arguments**

    - `curve`: a DataArray of shape (dim,) or (dim, seed); a point that every seed lacks (NaN or
      infinite) is not part of it.
    - `dim`: the dimension of x.
    - `window`, `level`: first and last x, both included; confidence level of the interval.

    **Returns** an `Exponent`.

    **Raises** `ValueError` for a `curve` that is no DataArray, a bad `window`, under 2 points or a
    value <= 0 in it, other axes.

    **Example**

    >>> import xarray
    >>> time = np.asarray([1.0, 2.0, 4.0, 8.0])
    >>> curve = xarray.DataArray(3 * time**-0.5, {"time": time}, "time")
    >>> fit = js.analysis.fit_exponent(curve, "time", (1, 8))
    >>> print(f"{fit.prefactor:.3f} * time^{fit.value:.3f}")
    3.000 * time^-0.500
    """
    return _fit(curve, dim, window, level, _power_law, 2, 2, "prefactor * x^value")


@hinted
def fit_saturating(
    curve: "xarray.DataArray", dim: str, window: Window, *, level: float = 0.95
) -> Exponent:
    r"""Power law above a floor, fitted inside a window, one fit per seed.

    $$y = \text{floor} + \text{prefactor} \cdot x^{-\text{value}}$$

    by least squares in ln y, where floor = e^u >= 0, from several starts. The sign is opposite to
    that of `fit_exponent`: a decaying curve has a positive value. A curve that rises to a limit is
    not of this law.

    **Arguments**

    - `curve`, `dim`, `window`, `level`: as for `fit_exponent`.

    **Returns** an `Exponent` with its `floor`.

    **Raises** `ValueError` as `fit_exponent` does, and for fewer than 4 points.

    **Example**

    >>> import xarray
    >>> time = np.asarray([1.0, 2.0, 4.0, 8.0])
    >>> curve = xarray.DataArray(3 * time**-0.5, {"time": time}, "time")
    >>> fit = js.analysis.fit_saturating(curve + 1, "time", (1, 8))
    >>> print(f"{fit.floor:.3f} + {fit.prefactor:.3f} * time^-{fit.value:.3f}")
    1.000 + 3.000 * time^-0.500
    """
    return _fit(curve, dim, window, level, _saturating, 4, 3, "floor + prefactor * x^-value")


@hinted
def crossing(curve: "xarray.DataArray", dim: str, level: Number) -> "xarray.DataArray":
    r"""Where a curve exceeds a level for good.

    $$x^* = x_i + (x_{i+1} - x_i) \, \frac{\text{level} - y_i}{y_{i+1} - y_i}$$

    where i is the last point with y_i <= level. Missing points are passed over, so mask failed
    runs first: what is missing at their end looks like a shorter record.

    **Arguments**

    - `curve`, `dim`, `level`: any dimensions, that of x, and the level.

    **Returns** x* without `dim`: NaN where the last point is not above `level`, the first
    coordinate where every point is.

    **Raises** `ValueError` for an unknown `dim` or a `level` that is not finite.

    **Example**

    >>> import xarray
    >>> time = np.asarray([1.0, 2.0, 4.0, 8.0])
    >>> curve = xarray.DataArray(1 - 1 / time, {"time": time}, "time")
    >>> float(js.analysis.crossing(curve, "time", 0.625))
    3.0
    """
    level = float(as_real("level", level))
    x = _abscissa(curve, dim)
    y = np.asarray(curve.transpose(..., dim), np.float64)
    crossings = np.apply_along_axis(lambda row: _crossing(x, row, level), -1, y)
    out = curve.isel({dim: 0}, drop=True).copy(data=crossings)
    out.attrs = {"long_name": f"{dim} where {curve.name or 'y'} exceeds {level:g}"}
    return out


def _crossing(x: np.ndarray, y: np.ndarray, level: Number) -> float:
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(y) == 0 or y[-1] <= level:
        return np.nan
    below = np.flatnonzero(y <= level)
    if len(below) == 0:
        return float(x[0])
    i = below[-1]
    return float(x[i] + (x[i + 1] - x[i]) * (level - y[i]) / (y[i + 1] - y[i]))


def _abscissa(curve: "xarray.DataArray", dim: str, argument: str = "curve") -> np.ndarray:
    """Coordinates of `dim`, increasing numbers; the curve is the `argument` of that name."""
    require_array(argument, curve, f": xarray.DataArray(y, {{{dim!r}: x}}, {dim!r}) makes one.")
    if curve.dtype.kind not in "iufb":
        raise ValueError(f"`{argument}` must hold real numbers, got {curve.dtype}.")
    require_coordinates(argument, curve, dim)
    x = np.asarray(curve[dim])
    if x.dtype.kind not in "iuf":
        raise ValueError(f"`{dim}` must have coordinates that are numbers, got {x.dtype}.")
    x = x.astype(np.float64)
    good = np.isfinite(x) & (np.diff(x, prepend=-np.inf) > 0)
    refuse(f"{dim}", f"increasing (as {argument}.sortby({dim!r}) makes it)", x, ~good)
    return x


def _fit(
    curve: "xarray.DataArray",
    dim: str,
    window: Window,
    level: float,
    fit: Estimator,
    n: int,
    n_free: int,
    law: str,
) -> Exponent:
    """Fit every seed of `curve` in at least `n` points of `window`."""
    x = _abscissa(curve, dim)
    try:
        low, high = (float(end) for end in window)
    except (TypeError, ValueError):
        low = high = np.nan
    if not 0 < low < high < np.inf:
        raise ValueError(f"`window` must be two finite numbers 0 < low < high, got {window!r}.")
    if set(curve.dims) - {dim, "seed"} or dim == "seed":
        raise ValueError(f"`curve` must have dimensions {dim!r} and seed, got {curve.dims}.")
    y = np.asarray(curve.transpose(..., dim), np.float64).reshape(-1, len(x))
    y = np.where(np.isfinite(y), y, np.nan)
    inside = (x >= low) & (x <= high) & ~np.isnan(y).all(axis=0)
    x, y = x[inside], y[:, inside]
    if len(x) < n:
        raise ValueError(f"`window` must hold at least {n} points, got {len(x)}: {window}.")
    if np.any(y <= 0):
        raise ValueError(f"`curve` must be positive in the window, got {np.nanmin(y)}.")
    n_constant = sum(map(is_constant, y))
    if n_constant and fit is _saturating:  # a power law of exponent 0 needs no floor
        which = f" of {n_constant} of {len(y)} seeds" if len(y) > 1 else ""
        warn_user(
            f"the curve{which} is constant in the window {window}: it holds no information on an "
            "exponent above a floor"
        )
    fits = [fit(x, row) if np.isfinite(row).all() else (np.nan,) * 4 for row in y]
    floors, prefactors, values, errors = np.asarray(fits, np.float64).T
    seeded = "seed" in curve.dims
    exponent = summarise(
        values, prefactors, floors, seeded=seeded, level=level,
        window=(low, high), n_points=len(x), law=law,
    )  # fmt: skip
    if seeded and exponent.n_seeds != 1:
        return exponent
    from scipy.special import stdtrit

    error = errors[np.isfinite(values).argmax()]
    half = float(stdtrit(len(x) - n_free, (1 + level) / 2) * error)
    ends = (exponent.value - half, exponent.value + half)
    return dataclasses.replace(exponent, interval=ends, method="residuals")


def summarise(
    per_seed: Float[np.ndarray, " s"],
    prefactors: Float[np.ndarray, " s"],
    floors: Float[np.ndarray, " s"],
    *,
    seeded: bool,
    level: float,
    **facts: Any,
) -> Exponent:
    """Summarise estimates, one per seed (or one without a seed axis); NaN is no estimate."""
    used = np.isfinite(per_seed)
    ends = seed_interval(per_seed if seeded else per_seed[0], level)
    return Exponent(
        value=mean(per_seed[used]),
        prefactor=float(np.exp(mean(np.log(prefactors[used])))),
        floor=mean(floors[used]),
        interval=(ends.low, ends.high),
        method=ends.method,
        level=level,
        n_seeds=int(used.sum()) if seeded else None,
        per_seed=per_seed,
        **facts,
    )


def _power_law(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Floor 0, prefactor, slope and its standard error, which two points do not have."""
    log_x, log_y = np.log(x), np.log(y)
    slope, intercept = np.polyfit(log_x, log_y, 1)
    squares = np.sum((log_y - slope * log_x - intercept) ** 2)
    variance = squares / (len(x) - 2) if len(x) > 2 else np.nan
    error = np.sqrt(variance / np.sum((log_x - log_x.mean()) ** 2))
    return 0.0, float(np.exp(intercept)), float(slope), float(error)


def _saturating(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Floor, prefactor, exponent and its error; NaN for a constant or without convergence."""
    from scipy.optimize import least_squares

    if is_constant(y):
        return np.nan, np.nan, np.nan, np.nan
    log_x, log_y = np.log(x), np.log(y)
    centre = log_x.mean()
    centred = log_x - centre

    def residual(p: np.ndarray) -> np.ndarray:
        return np.logaddexp(p[0], p[1] - p[2] * centred) - log_y

    def jacobian(p: np.ndarray) -> np.ndarray:
        share = np.exp(p[1] - p[2] * centred - residual(p) - log_y)
        return np.stack([1 - share, share, -share * centred], axis=1)

    options: dict[str, Any] = {k: 1e-15 for k in ("ftol", "xtol", "gtol")}
    options |= {"jac": jacobian, "x_scale": "jac", "max_nfev": 2000}
    fits = []
    for fraction in FLOOR_STARTS:
        floor = fraction * y.min()
        _, prefactor, slope, _ = _power_law(x, y - floor)
        start = [np.log(floor), np.log(prefactor) + slope * centre, -slope]
        fits.append(least_squares(residual, start, **options))
    best = min(fits, key=lambda f: f.cost)
    if not best.success:
        return np.nan, np.nan, np.nan, np.nan
    floor, height, exponent = best.x
    inverse = np.linalg.pinv(best.jac.T @ best.jac)  # a floor of zero has no effect, so no error
    error = np.sqrt(2 * best.cost / (len(x) - 3) * inverse[2, 2])
    return np.exp(floor), np.exp(height + exponent * centre), float(exponent), float(error)
