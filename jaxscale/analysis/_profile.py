"""Intervals of one parameter with all others fitted again: they need not be symmetric."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxscale._arguments import hinted
from jaxscale._convert import require_instance
from jaxscale._linalg import one_blas_thread
from jaxscale._text import unknown
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._compared import scaled_data
from jaxscale.analysis._data import Data, check_names
from jaxscale.analysis._expansion import Expansion, FitProblem
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._levenberg import FAILED, QuadraticModel, levenberg_marquardt
from jaxscale.analysis.bounds import NotNegative
from jaxscale.analysis.residuals import _NORMAL_SCATTER, Huber

FIRST_STEP = 0.1  # of a coordinate without a standard error
DOUBLINGS = 14  # of the step from the optimum; beyond them the interval is open
HALVINGS = 40  # at most, of the step in which the objective passes its limit
CLOSE = 1e-6  # of the root of the rise
SAME = 1e-6  # of the objective, by which data are recognised
Rise = Callable[[Any, Any], Any]


@hinted
def profile(
    fit: Calibration,
    data: Data,
    name: str,
    level: float = 0.95,
    *,
    columns: Mapping[str, str] | None = None,
    weights: str | None = None,
) -> tuple[Any, Any]:
    r"""Profile interval of a parameter: where the objective, all others refitted, stays low.

    $$S(\theta) - S(\hat\theta) \le
      t^2_{(1 + \text{level}) / 2,\, n - p}\, s^2, \qquad
      S(\theta) = \min_{\text{others}} 2 \sum_i w_i \rho(r_i)$$

    with $s^2 = S(\hat\theta) / (n - p)$ of squares, and
    $s^2 = \frac{\sum \psi^2 / (n - p)}{\sum \psi' / n}$ of a Huber loss. That of a theory that is
    linear in its parameters is the interval of the covariance; another may be wider on one side,
    and knows of a floor that may be 0, where the covariance knows a slope alone. Like the
    covariance it takes points for independent. The program is that of the fit.

    **Arguments**

    - `fit`: of a formula or a form, with squared or Huber losses.
    - `data`, `columns`, `weights`: what it was fitted to.
    - `name`: of a free parameter.
    - `level`: of confidence.

    **Returns** low and high end: floats, or arrays over `each`. An end that the data do not limit
    is that of the parameter's bound: 0 of a floor that the data may lack, infinity.

    **Raises** `ValueError` for a Huber loss whose delta lies below the scatter of the residuals:
    there the rise counts few points, and has no known law. Also for another name or level, data
    that were not fitted, and the fit of a grid.

    **Reference** Bates and Watts 1988, Nonlinear Regression Analysis, section 6.1; Hampel et al.
    1986, Robust Statistics, section 7.2 (of a Huber loss).
    """
    check_level(level)
    require_instance("fit", fit, Calibration, "js.calibrate")
    check_names(**({} if weights is None else {"weights": weights}))
    if name not in fit.free:
        raise unknown("`name`", name, fit.free)
    _check_loss(fit)
    i = fit.free.index(name)
    with jax.enable_x64(True), one_blas_thread():
        expand = _expansion(fit, data, columns, weights)
        low, high = (np.asarray(fit.bounds[i].constrain(z)) for z in _ends(fit, expand, i, level))
    return (low, high) if fit.each else (float(low[0]), float(high[0]))


def _check_loss(fit: Calibration) -> None:
    """Refuse a Huber loss below the scatter."""
    residuals = np.abs(np.asarray(fit.residuals)).reshape(len(fit.labels) or 1, -1)
    scatter = _NORMAL_SCATTER * np.nanmedian(residuals, axis=1)
    if not isinstance(fit.loss, Huber):
        return
    delta = np.broadcast_to(fit.loss.delta, scatter.shape)
    for i in np.flatnonzero(delta < scatter).tolist():
        raise ValueError(
            f"`fit` has a Huber loss with delta = {delta[i]:.2g}, below the scatter of its "
            f"residuals, {scatter[i]:.2g}: the rise of such an objective counts few points; "
            "fit with Squared() or a larger delta, or take `fit.interval()` of a bootstrap."
        )


def _expansion(
    fit: Calibration, data: Data, columns: Mapping[str, str] | None, weights: str | None
) -> Expansion:
    """The objective of the fit, of the same program.

    **Raises** `ValueError` where it is not that of these data.
    """
    formula = fit.theory
    if not isinstance(formula, Formula):
        raise ValueError("`fit` must be of a Formula or a form, got the fit of a grid.")
    _, own = formula.observe(data, fit.free, columns, None, fit.each, None, weights)
    points, units, _ = scaled_data(own, fit.residual)
    if points.target.shape[-1] != np.shape(fit.residuals)[-1]:
        raise ValueError("`data` must be what was fitted, got another number of points.")
    used = ~np.isnan(np.asarray(fit.residuals).reshape(points.weight.shape))
    points = points.weighted(np.where(used, points.weight, 0.0))
    problem = FitProblem(own.theory, fit.bounds, dict(fit.residual), units, fit.loss)
    expand = Expansion(problem, points, 2 * len(points.target))
    z = np.atleast_2d(fit.coordinates)
    cost = expand.lanes(np.arange(len(z)))(_finite(z, fit), np.arange(len(z))).cost
    objective = np.atleast_1d(fit.objective)
    if not np.allclose(cost, objective, rtol=SAME, atol=1e-20):
        raise ValueError(
            f"`data` must be what was fitted: its objective was {objective[0]:.6g}, with these "
            f"data it is {cost[0]:.6g} (`columns` and `weights` as in the fit)."
        )
    return expand


def _finite(z: Float[np.ndarray, "n p"], fit: Calibration) -> Float[np.ndarray, "n p"]:
    """Coordinates with floors of 0 at the smallest floor that counts."""
    z = z.copy()
    for i, bound in enumerate(fit.bounds):
        if isinstance(bound, NotNegative):
            z[:, i] = np.maximum(z[:, i], np.log(float(bound.zero)) - 1.0)
    return z


def _ends(
    fit: Calibration, expand: Expansion, i: int, level: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Coordinates where the rise of the objective reaches its limit; infinite where it does not."""
    from scipy.special import stdtrit

    z = _finite(np.atleast_2d(fit.coordinates), fit)
    n, p = z.shape
    optimum, n_points = expand.lanes(np.arange(n))(z, np.arange(n)), np.atleast_1d(fit.n_points)
    df = np.maximum(n_points - p, 1)
    scale = optimum.influence_squares / df / (optimum.second_derivatives / n_points)
    limit = stdtrit(df, (1 + level) / 2)
    lanes, side = np.tile(np.arange(n), 2), np.repeat([-1.0, 1.0], n)
    error = np.sqrt(fit.covariance.reshape(n, p, p)[:, i, i])
    step = np.where(np.isfinite(error), error * limit, FIRST_STEP)[lanes]
    others, lowest = np.delete(z, i, axis=1)[lanes], optimum.cost
    follow = _refitted(expand, i, lanes)

    def rise(at: Float[np.ndarray, " l"], own: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """Root of the rise over `s`, less its limit, of lanes `own`; other parameters follow."""
        others[own], cost = follow(at, others[own], own)
        above = np.maximum(cost - lowest[lanes[own]], 0.0)
        return np.sqrt(2 * above / scale[lanes[own]]) - limit[lanes[own]]

    ends = _crossings(rise, z[lanes, i], side * step, -limit[lanes], _stops(fit, i, side))
    return ends[:n], ends[n:]


def _stops(fit: Calibration, i: int, side: np.ndarray) -> Float[np.ndarray, " l"]:
    """Coordinates beyond which nothing changes: below the smallest floor that counts."""
    bound = fit.bounds[i]
    smallest = np.log(float(bound.zero)) if isinstance(bound, NotNegative) else -np.inf
    return np.where(side < 0, smallest, np.inf)


def _refitted(expand: Expansion, i: int, lanes: Int[np.ndarray, " l"]) -> Any:
    """Function that minimises over all coordinates but `i`, of some lanes, from their others."""

    def follow(at: np.ndarray, others: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, Any]:
        full = expand.lanes(lanes[own])

        def reduced(z: np.ndarray, of: np.ndarray) -> QuadraticModel:
            model = full(np.insert(z, i, at[of], axis=1), of)
            square = (np.delete(np.delete(m, i, 1), i, 2) for m in (model.curvature, model.jtj))
            curvature, jtj = square
            gradient = np.delete(model.gradient, i, 1)
            return model._replace(gradient=gradient, curvature=curvature, jtj=jtj)

        if not others.shape[1]:
            return others, full(at[:, None], np.arange(len(at))).cost
        z, model, status = levenberg_marquardt(reduced, others)
        return z, np.where(status == FAILED, np.inf, model.cost)

    return follow


def _crossings(
    rise: Rise,
    start: Float[np.ndarray, " l"],
    step: Float[np.ndarray, " l"],
    first: Float[np.ndarray, " l"],
    stop: Float[np.ndarray, " l"],
) -> Float[np.ndarray, " l"]:
    """Where `rise`, `first` at `start`, passes zero on the way out; infinite where it does not.

    Steps double until it does, or reach `stop`. Then the method of Illinois: a secant, whose end
    counts half where it stays twice.
    """
    inner, f_inner = start.copy(), first.copy()
    outer, f_outer = np.sign(step) * np.inf, np.full(len(start), np.nan)
    waiting = np.arange(len(start))
    for k in range(DOUBLINGS):
        at = start[waiting] + step[waiting] * 2.0**k
        past = (at - stop[waiting]) * np.sign(step[waiting]) >= 0
        at = np.where(past, stop[waiting], at)
        f = rise(at, waiting)
        crossed = f >= 0
        outer[waiting[crossed]], f_outer[waiting[crossed]] = at[crossed], f[crossed]
        inner[waiting[~crossed]], f_inner[waiting[~crossed]] = at[~crossed], f[~crossed]
        waiting = waiting[~crossed & ~past]
        if not waiting.size:
            break
    end, last = outer.copy(), np.zeros(len(start))
    own = np.flatnonzero(np.isfinite(outer))
    for _ in range(HALVINGS):
        a, b, fa, fb = inner[own], outer[own], f_inner[own], f_outer[own]
        with np.errstate(all="ignore"):
            at = np.where(np.isfinite(fb), b - fb * (b - a) / (fb - fa), (a + b) / 2)
        f = rise(at, own)
        sign = np.where(f < 0, -1.0, 1.0)
        half = np.where(sign == last[own], 0.5, 1.0)
        inner[own], f_inner[own] = np.where(f < 0, [at, f], [a, fa * half])
        outer[own], f_outer[own] = np.where(f < 0, [b, fb * half], [at, f])
        end[own], last[own] = at, sign
        own = own[np.abs(f) > CLOSE]
        if not own.size:
            break
    return end
