"""What a fit compares: data on the scale of their residuals, and bounds of its parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxscale._text import choices, counted
from jaxscale._warn import warn_user
from jaxscale.analysis._diagnostics import SCALED
from jaxscale.analysis._expansion import DataSets, Expansion
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._form import Parameter
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._information import warn_zero_inputs
from jaxscale.analysis.bounds import AbstractBound, NotNegative, default_bound
from jaxscale.analysis.residuals import (
    AbstractLoss,
    AbstractResidual,
    Log,
    LogMean,
    Scaled,
    Squared,
)


def only_observable(data: Mapping[str, np.ndarray]) -> np.ndarray:
    (values,) = data.values()
    return values


def residuals_of(
    data: FitData, residual: AbstractResidual | None, loss: AbstractLoss
) -> dict[str, Any]:
    if residual is not None and not isinstance(residual, AbstractResidual):
        raise ValueError(f"`residual` must be Log(), LogMean() or Scaled(), got {residual!r}.")
    if isinstance(residual, LogMean) and type(loss) is not Squared:
        raise ValueError(
            f"`loss` must be Squared() with LogMean(), got {loss!r}: a loss that counts outliers "
            "less follows the median of the runs, not their mean."
        )
    if isinstance(residual, LogMean) and max(v.shape[1] for v in data.data.values()) < 2:
        raise ValueError(
            "`residual` LogMean() takes the mean over seeds, and there is one value at each point: "
            "give the runs of a grid, with a dimension seed, without `each`, or take another."
        )
    by_sign = {n: Scaled() if n in data.signed else Log() for n in data.data}
    return by_sign if residual is None else dict.fromkeys(data.data, residual)


def bounds_of(
    free: Sequence[str],
    data: FitData,
    parameters: Sequence[Parameter],
    bounds: Mapping[str, AbstractBound],
    unset: Sequence[str],
) -> tuple[AbstractBound, ...]:
    """What confines each parameter: user, form or system, else the sign of its start.

    Parameters of a form that are `unset` have no start of the user's.
    """
    for name, bound in bounds.items():
        if name not in free:
            hint = choices(name, free)
            raise ValueError(f"`bounds` must be of free parameters, got {name!r}{hint}")
        if not isinstance(bound, AbstractBound):
            raise ValueError(f"`bounds` of {name} must be a bound, got {bound!r}.")
    start = dict(zip(free, data.start.tolist(), strict=True))
    limits = {name: default_bound(value) for name, value in start.items()} | {**data.bounds}
    for name, parameter in zip(free, parameters, strict=False):
        limits[name] = parameter.bound
        if parameter.floor:
            values = only_observable(data.data)
            lowest = np.min(values, where=values > 0, initial=np.inf)
            if not np.isfinite(lowest):
                results = ", ".join(data.data)
                raise ValueError(
                    f"`data` has no positive value of {results}, which lies above a floor {name} "
                    f"of at least 0: check its sign, or fix {name}."
                )
            limits[name] = NotNegative.of_scale(lowest)
    limits |= bounds
    for name, value in start.items():
        if name not in unset and not limits[name].contains(value):
            raise ValueError(f"`{name}` must start inside {limits[name]!r}, got {value:g}.")
    return tuple(limits[name] for name in free)


def scaled_data(
    data: FitData, kinds: Mapping[str, AbstractResidual]
) -> tuple[DataSets, dict[str, Any], int]:
    """Put data on the scale of their residuals; return also their units and how many have none.

    Units are those of each data set, by observable, so that no data set is fitted otherwise beside
    others than alone.
    """
    target, weight, units, n_left_out = [], [], {}, data.n_left_out
    for name, values in sorted(data.data.items()):
        usable = kinds[name].usable(values)
        missing = int(np.sum(~np.isnan(values) & ~usable))
        if missing and usable.any():
            warn_user(
                f"{counted(missing, 'value')} of {name} without a logarithm, "
                f"not positive or infinite: left out; {SCALED} compares what is finite"
            )
        n_left_out += missing
        own = [kinds[name].unit(v[u]) for v, u in zip(values, usable, strict=True)]
        units[name] = np.asarray(own)
        scaled = kinds[name].target(np.where(usable, values, np.nan))
        target.append(np.where(usable, scaled, 0.0) / units[name][:, None, None])
        weight.append(usable.astype(float))
    target, weight = np.concatenate(target, axis=-1), np.concatenate(weight, axis=-1)
    if n_left_out and not weight.any():
        blank = data.n_left_out
        reasons = {
            "blank, of runs that failed or have not run, or below rounding": blank,
            f"not positive (or infinite); {SCALED} takes both signs": n_left_out - blank,
        }
        listed = " and ".join(f"{n} are {why}" for why, n in reasons.items() if n)
        raise ValueError(f"`data` has no value of {', '.join(sorted(data.data))} to fit: {listed}.")
    if data.weights is not None:
        weight = weight * np.nan_to_num(data.weights)
    points = DataSets(data.inputs, target, weight, data.groups, data.n_groups)
    return points.weighted(weight), units, n_left_out


def stated_points(
    expand: Expansion, z: np.ndarray, source: Formula | GridTheory
) -> tuple[DataSets, int, int]:
    """Drop points at which theory makes no statement at the start; warn of those of a formula.

    NaN is no statement, nor is infinity where an input is zero, such as step 0 of a power law. That
    of a form is none anywhere, for its starts are no one's choice, and a formula whose derivative
    is not finite cannot be fitted there. Another theory that is zero, negative or infinite states
    something that has no residual: a bad start, which is refused. Returns the data sets, how many
    values theory states, and how many points were dropped.
    """
    theory, scaled, steep = expand.theory_at(z)
    before = expand.data.weight
    labels = source.labels if isinstance(source, Formula) else {}
    inputs = {n: x for n, x in (expand.data.inputs or {}).items() if n not in labels}
    at_zero = warn_zero_inputs(inputs, theory, before)
    stated = ~np.isnan(theory) & ~at_zero
    if isinstance(source, Formula):
        finite = np.isfinite(theory)
        stated &= finite & ~steep if source.form else ~(finite & steep)
        _warn_silent(expand.data, ~stated & ~at_zero, source)
    weight = np.where(stated[:, None], before, 0.0)
    bad = (weight > 0) & ~np.isfinite(scaled)[:, None]
    if bad.any():
        raise ValueError(
            f"`theory` is zero, negative or infinite at {int(bad.sum())} points for the values it "
            f"starts from{_first(expand.data, bad, source)}: start elsewhere, or "
            f"compare as it is with {SCALED}."
        )
    n_dropped = int(np.sum((before > 0) & (weight == 0)))
    return expand.data.weighted(weight), int(stated.sum()), n_dropped


def _warn_silent(data: DataSets, silent: Bool[np.ndarray, "n t"], formula: Formula) -> None:
    """Warn of data at which a formula, or a derivative of it, is not a number or infinite."""
    dropped = (data.weight > 0) & silent[:, None]
    counts = dropped.sum(axis=(1, 2))
    if counts.any():
        n_sets, most = len(counts), counted(int(counts.max()), "row")
        where = f" in {np.sum(counts > 0)} of {n_sets} fits, or fewer," if n_sets > 1 else ""
        warn_user(
            f"{most}{where} where {formula.name} or its derivative is not a finite number"
            f"{_first(data, dropped, formula)}: left out"
        )


def _first(data: DataSets, where: Bool[np.ndarray, "n o t"], source: Formula | GridTheory) -> str:
    """The inputs of the first of some points, in words; nothing for a theory without inputs."""
    if not isinstance(source, Formula) or not data.inputs:
        return ""
    i, _, k = np.argwhere(where)[0]
    named = {name: np.asarray(x)[i, k] for name, x in data.inputs.items()}
    texts = [
        f"{n} = {source.labels[n][int(v)]!r}" if n in source.labels else f"{n} = {v:g}"
        for n, v in named.items()
    ]
    return f", the first at {', '.join(texts)}"
