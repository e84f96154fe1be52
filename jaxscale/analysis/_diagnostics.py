"""Refusals and warnings of fits: too few points, parameters without effect, bounds, failures."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxscale._convert import as_int
from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._least_squares import INSIDE, FitResult
from jaxscale.analysis._levenberg import CONVERGED, STATUS_NAMES
from jaxscale.analysis.bounds import AbstractBound, NotNegative, Positive
from jaxscale.analysis.residuals import _NORMAL_SCATTER

KEYS = 2**53  # whole numbers that a float distinguishes
FEW_RESAMPLES = 40  # below it an end of a 95 % percentile interval is the extreme resample
WIDE_SPREAD = 0.3  # of logarithms, whose mean is then biased by .05 or more
SMALL_SPREAD = 0.1
FEW_RUNS = 4  # whose median distance says little
MEAN = "residual=LogMean() (in a shell, fit --residual log_mean)"
SCALED = "residual=Scaled() (in a shell, fit --residual scaled)"
MEANS = (
    "residual=Scaled() and bootstrap=200 (in a shell, --residual scaled --bootstrap 200)",
    "residual=Scaled(), loss=Squared() and bootstrap=200 (in a shell, --residual scaled --huber "
    "inf --bootstrap 200)",
)  # of squares and of Huber's loss; where errors grow with size, a covariance is too narrow
SQUARES = "loss=Squared() and bootstrap=200 (in a shell, --huber inf --bootstrap 200)"
MANY_BEYOND = 0.2  # as a share of residuals beyond the delta; twice the scale leaves .05
MEDIAN = "median"  # a word of that warning alone
ROUNDING = 1e-6  # of residuals
HEAVY, FEWEST = 3.0, 10  # rms over robust scale, and residuals for it to mean something
UNDETERMINED = 10.0  # standard error of a logarithm: the value may have any size
MAX_CONDITION = 1e3  # of the scaled Jacobian; beyond it parameters are not constrained separately


def check_count(name: str, value: int, least: int) -> None:
    """Refuse what is not a whole number of at least `least`, with a `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")


def check_bootstrap(bootstrap: int) -> None:
    """Refuse a number of resamples that is none, with a `ValueError`; warn of too few."""
    check_count("bootstrap", bootstrap, 0)
    if 0 < bootstrap < FEW_RESAMPLES:
        warn_user(
            f"{bootstrap} resamples are too few for a 95 % interval: take at least "
            f"{FEW_RESAMPLES}, better 200"
        )


def as_key(key: int) -> int:
    """Convert the key of resamples to an int; refuse what a float does not hold exactly."""
    return as_int("key", key, above=-KEYS, below=KEYS)


def check_result(
    result: FitResult,
    free: Sequence[str],
    start: np.ndarray,
    n_stated: int,
    labels: Sequence[Any],
) -> None:
    """Refuse fits with too few points, and parameters without effect, with a `ValueError`."""
    fewest = int(np.argmin(result.n_points))
    if result.n_points[fewest] <= len(free):
        why = "" if n_stated else ": theory makes no statement there at the start values"
        where = f" for {labels[fewest]!r}" if len(labels) else ""
        raise ValueError(
            f"`data` must hold more points with a theory than {len(free)} free parameters, "
            f"got {int(result.n_points[fewest])}{where}{why}."
        )
    for i in np.flatnonzero((result.blind & ~result.ended).any(axis=0)).tolist():
        # a parameter without any effect never leaves its start
        if result.blind[:, i].all() and np.all(result.start_z[:, 0, i] == start[i]):
            raise ValueError(f"`free` names {free[i]!r}, which does not change what is compared.")
        warn_user(
            f"{free[i]} has no effect at the optimum of {int(result.blind[:, i].sum())} of "
            f"{len(result.blind)} fits: another start or bound may find a better one"
        )


def poorly_constrained(result: FitResult) -> bool:
    """Whether a parameter of a fit has no effect, or cannot be told from the others."""
    return bool(result.blind.any() or not np.all(result.condition <= MAX_CONDITION))


def warn_spread(values: Mapping[str, np.ndarray], is_apart: bool = False) -> bool:
    """Warn of logarithms that spread widely over the runs of one point: their mean is biased.

    The bias of all points together is half their mean variance, here from the robust scale at each
    point, for single failed runs are no spread. It counts from a spread of 0.3 on, and from 0.1 on
    where there are so many runs that a point is biased by its standard error.

    **Arguments:** data of shape `(n, runs, theory)` by name; whether every run is fitted apart.

    **Returns:** whether it warned.
    """
    warned = False
    for name, array in values.items():
        positive = (array > 0) & (array < np.inf)
        logs = np.where(positive, np.log(np.where(positive, array, 1.0)), np.nan)
        logs = np.moveaxis(logs, 1, -1).reshape(-1, array.shape[1])  # a row for each point
        logs = logs[np.isfinite(logs).sum(axis=1) > 1]
        if not len(logs):
            continue
        number, scale = np.isfinite(logs).sum(axis=1), _scale_over_runs(logs)
        spread, n_runs = float(np.sqrt(np.mean(scale**2))), float(np.median(number))
        if spread > min(WIDE_SPREAD, max(SMALL_SPREAD, 2 / n_runs**0.5)):
            warned = True
            warn_user(
                f"{name} spreads by {spread:.2g} in the logarithm over seeds, and a fit of "
                f"logarithms is biased low by about half the variance, {spread**2 / 2:.2g}, where "
                f"theory is a mean over seeds: take {'no `each`, and ' if is_apart else ''}{MEAN}"
            )
    return warned


def _scale_over_runs(logs: Float[np.ndarray, "k o"]) -> Float[np.ndarray, " k"]:
    """Robust scale of each row, of few runs their standard deviation, 0 of one."""
    number = np.isfinite(logs).sum(axis=1)
    alone = number[:, None] < 2
    logs = np.where(alone, 0.0, logs)
    few = np.nanstd(logs, axis=1, ddof=1) if logs.shape[1] > 1 else np.zeros(len(logs))
    return np.where(number > FEW_RUNS, _robust_scale(logs)[1], few)


def half_variance(residuals: Float[np.ndarray, "n o t"]) -> Float[np.ndarray, "n t"]:
    """By how much the mean logarithm over runs lies below the logarithm of their mean.

    As of normal logarithms, from their robust scale: a few failed runs count as no spread.
    """
    rows = np.moveaxis(residuals, 1, -1)
    scale = _scale_over_runs(rows.reshape(-1, residuals.shape[1]))
    return scale.reshape(rows.shape[:-1]) ** 2 / 2


def warn_bias(change: Mapping[str, float], error: Mapping[str, float]) -> bool:
    """Warn of parameters that a fit of logarithms moves by more than their standard error.

    The spread over runs may be wide at few points, and these alone may determine a parameter.

    **Arguments:** by name, how far the optimum would move without the bias, and its error.

    **Returns:** whether it warned.
    """
    biased = {n: x for n, x in change.items() if abs(x) > error[n]}
    if biased:
        said = ", ".join(f"{n} by about {-x:.2g}" for n, x in biased.items())
        most = max(abs(x) / error[n] for n, x in biased.items())
        warn_user(
            f"a fit of logarithms moves {said}, up to {most:.2g} standard errors, where "
            f"theory is a mean over seeds that spread: take {MEAN}"
        )
    return bool(biased)


def huber_delta(residuals: np.ndarray) -> np.ndarray:
    """Suggest a Huber delta where a few residuals outweigh the others; NaN where none do.

    They do where the rms exceeds three times the robust scale s = 1.483 median |r - median r|, with
    ten residuals or more; delta is 2 s. Normal residuals do by chance in 0.8 % of fits with 10
    points, in 0.01 % with 20; those of Student's t with 3 degrees of freedom in 1 to 5 %.

    **Arguments:** `residuals` of squared losses, shape `(n, o, t)`, NaN where there are none.

    **Returns:** one delta per data set, shape `(n,)`.
    """
    flat, scale = _robust_scale(residuals)
    rms = np.sqrt(np.nanmean(flat**2, axis=1))
    enough = np.isfinite(flat).sum(axis=1) >= FEWEST
    heavy = enough & (rms > np.maximum(HEAVY * scale, ROUNDING))
    return np.where(heavy, np.maximum(2 * scale, ROUNDING), np.nan)


def _robust_scale(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of each data set, shape `(n, o t)`, and 1.483 median |r - median r| of them."""
    flat = np.where(np.isfinite(residuals), residuals, np.nan).reshape(len(residuals), -1)
    spread = np.abs(flat - np.nanmedian(flat, axis=1, keepdims=True))
    return flat, _NORMAL_SCATTER * np.nanmedian(spread, axis=1)


def warn_logarithms(name: str, residuals: np.ndarray, squared: bool) -> None:
    """Warn of a formula fitted to logarithms that scatter so much that mean and median differ.

    **Arguments:** `residuals` of the observable `name`, shape `(n, o, t)`; whether their squares
    were summed: a Huber loss has the same bias on any scale.
    """
    _warn_median(name, residuals, "a fit of logarithms", MEANS[not squared])


def warn_huber(name: str, residuals: np.ndarray, target: np.ndarray, delta: np.ndarray) -> None:
    """Warn of a Huber loss whose delta lies within such scatter: it follows the median, too.

    **Arguments:** as of `warn_logarithms`, with residuals of `Scaled()`; `target`: the data in
    their units; `delta`: one, or one for each of the n data sets.
    """
    is_usable = np.isfinite(residuals)
    is_beyond = is_usable & (np.abs(residuals) > np.reshape(delta, (-1, 1, 1)))
    beyond = is_beyond.sum(axis=(1, 2)) / np.maximum(is_usable.sum(axis=(1, 2)), 1)
    is_positive = ~np.any(is_usable & (np.minimum(target, target + residuals) <= 0), axis=(1, 2))
    with np.errstate(all="ignore"):
        logs = np.log1p(residuals / target)
    logs[(beyond < MANY_BEYOND) | ~is_positive] = np.nan
    _warn_median(name, logs, "a Huber loss of a delta within it", SQUARES)


def _warn_median(name: str, residuals: np.ndarray, of: str, advice: str) -> None:
    """Say what a fit follows where residuals of logarithms spread widely, shape `(n, o, t)`."""
    residuals = residuals[np.isfinite(residuals).any(axis=(1, 2))]
    if not len(residuals):
        return
    flat, scale = _robust_scale(residuals)
    enough = np.isfinite(flat).sum(axis=1) >= FEWEST
    enough &= np.isnan(huber_delta(residuals))  # no failed run has dragged the fit away
    if (widest := float(np.max(scale[enough], initial=0.0))) > WIDE_SPREAD:
        warn_user(
            f"residuals of {name} spread by {widest:.2g} in the logarithm, and {of} follows the "
            f"{MEDIAN} of such scatter, which lies below the mean by about half the variance, "
            f"{widest**2 / 2:.2g}: factors become lower, exponents do not. If it is noise about a "
            f"mean, take {advice}"
        )


def warn_of(
    result: FitResult,
    free: Sequence[str],
    bounds: tuple[AbstractBound, ...],
    labels: Sequence[Any],
    resampled: bool,
) -> None:
    """Warn of failed fits, of parameters at a bound, and of those that the data do not separate."""
    ended = result.ended
    failed = np.flatnonzero(result.status != CONVERGED).tolist()
    if failed:
        which = f" ({', '.join(str(labels[i]) for i in failed[:5])})" if len(labels) else ""
        names = ", ".join(sorted({STATUS_NAMES[result.status[i]] for i in failed}))
        warn_user(
            f"{len(failed)} of {len(result.status)} fits{which} did not converge: {names}; "
            "their values are where the solver stopped"
        )
    if result.few_inside.any() and not resampled:
        most = int(result.n_points[result.few_inside].max())
        why, larger = f"fewer than {INSIDE} residuals per parameter lie inside its delta", ""
        if most < INSIDE * len(free):  # whatever delta is
            why = f"it needs {INSIDE} points per parameter, and there are {most} for {len(free)}"
        else:
            larger = "a larger delta (in a shell, --huber), or "
        warn_user(
            f"{result.few_inside.sum()} of {len(ended)} fits have no standard error by the "
            f"covariance of a Huber loss: {why}; take {larger}intervals by bootstrap=200 (in a "
            "shell, --bootstrap 200)"
        )
    for i in np.flatnonzero(ended.any(axis=0)).tolist():
        if isinstance(bounds[i], NotNegative):
            warn_user(
                f"{free[i]} is 0 in {counted(int(ended[:, i].sum()), 'fit')} of {len(ended)}: the "
                "data show none; its interval begins at 0"
            )
            continue
        warn_user(
            f"{free[i]} lies at an end of {bounds[i]!r} in {ended[:, i].sum()} of {len(ended)} "
            "fits: the optimum lies at the bound, so its standard error is undefined"
        )
    undefined = ~np.isfinite(result.condition)
    condition = np.where(undefined, 1.0, result.condition)
    worst = int(np.argmax(condition))
    if condition[worst] > MAX_CONDITION:
        shares = zip(free, result.weakest[worst], strict=True)
        involved = " and ".join(name for name, share in shares if abs(share) > 0.3)
        warn_user(
            f"the data do not constrain {involved} separately (condition number "
            f"{condition[worst]:.2g} of the scaled Jacobian): fix one of them"
        )


def undetermined(fit: Any) -> list[str]:
    """What data say nothing of: positive parameters whose logarithm has an error of `UNDETERMINED`.

    One without any effect, at a bound, or with too few or too many lost refits has no standard
    error, and a warning of its own. Where a few residuals outweigh the others, errors are theirs.
    """
    if fit.drawn is None:
        errors = np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
    else:
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all lost
            errors = np.nanstd(fit.drawn.first, axis=-2, ddof=1)
        errors = np.where(fit.drawn.usable[..., None], errors, np.nan)
    is_loose = np.isfinite(errors) & (errors > UNDETERMINED)
    is_loose &= np.isnan(fit.huber_delta)[..., None]
    values, spread, said = fit.values, fit.standard_error, []
    for i, (name, bound) in enumerate(zip(fit.free, fit.bounds, strict=True)):
        loose = np.atleast_1d(is_loose[..., i])
        if type(bound) is not Positive or not loose.any():
            continue
        first = int(np.argmax(loose))
        value, error = (np.atleast_1d(x[name])[first] for x in (values, spread))
        where = f" in {loose.sum()} of {loose.size} fits" if fit.each else ""
        said.append(f"{name} ({value:.3g} ± {error:.2g}){where}")
    return said


def warn_undetermined(fit: Any) -> None:
    """Warn of parameters of which data say nothing, although the solver converged."""
    if loose := undetermined(fit):
        warn_user(
            f"the data do not constrain {', '.join(loose)}: fix what they do not, or give data "
            "that depend on it"
        )
