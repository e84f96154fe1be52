"""The points of one observable in a comparison: differences, errors and z-scores."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxscale._labels import match_labels

if TYPE_CHECKING:
    import xarray

FEW_VALUES = 5  # that an error lists
ULPS = 8  # units in the last place within which seeds count as equal


@dataclasses.dataclass(frozen=True)
class ComparedPoints:
    """Everything about the points of one observable but the threshold, which all points share."""

    name: str
    predicted: str
    mean: "xarray.DataArray"
    theory: Float[np.ndarray, "..."]
    n: Int[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]
    z: Float[np.ndarray, "..."]
    deterministic: Bool[np.ndarray, "..."]
    unresolved: Bool[np.ndarray, "..."]


def resolve(
    runs: Any, theory: Any, allowance: Any, resolution: float, least: int
) -> ComparedPoints:
    """Points of one observable; `resolution` is a fraction of max |theory|.

    Points with fewer than `least` seeds have no z-score.
    """
    name = str(runs.name)
    if extra := [d for d in theory.dims if d not in runs.dims or d == "seed"]:
        hint = ": compare(runs, theory), are they swapped?" if "seed" in extra else "."
        raise ValueError(f"`theory` of {name} must have the dimensions of runs, got {extra}{hint}")
    _check_labels(name, runs, theory)
    used = runs.astype(np.float64).where(np.isfinite(runs))
    used = (used if "seed" in used.dims else used.expand_dims("seed")).transpose("seed", ...)
    mean = used.mean("seed")
    bound = _relabelled(_allowance(name, allowance, theory), mean)
    bound = bound.reindex_like(mean, fill_value=0.0)
    bound = bound.broadcast_like(mean).transpose(*mean.dims)
    predicted = _relabelled(theory.where(np.isfinite(theory)), mean)
    if apart := [d for d in predicted.dims if not predicted.sizes[d]]:
        raise ValueError(f"`theory` of {name} must share values of {apart[0]} with runs, got none.")
    predicted = predicted.reindex_like(mean).broadcast_like(mean).transpose(*mean.dims)
    n = np.asarray(used.notnull().sum("seed"))
    spread = np.asarray(used.max("seed") - used.min("seed"))
    precision = np.finfo(runs.dtype).eps if runs.dtype.kind == "f" else 0.0
    values, difference = np.asarray(predicted, np.float64), np.asarray(mean - predicted)
    size = np.abs(values)
    largest = np.max(size, where=~np.isnan(size), initial=0.0)
    sizeable = size > precision * largest
    excess = np.sign(difference) * np.maximum(np.abs(difference) - np.asarray(bound), 0.0)
    random = (n >= 2) & (spread > ULPS * precision * np.asarray(abs(used).max("seed")))
    unresolved = random & (np.maximum(spread, np.abs(excess)) < resolution * largest)
    standard_error = np.asarray(used.std("seed")) / np.sqrt(np.maximum(n - 1, 1))
    return ComparedPoints(
        name=name,
        predicted=str(runs.attrs.get("predicted", theory.attrs.get("predicted", ""))),
        mean=mean,
        theory=values,
        n=n,
        error=np.divide(abs(difference), size, out=np.full(n.shape, np.nan), where=sizeable),
        z=np.divide(
            excess,
            standard_error,
            out=np.full(n.shape, np.nan),
            where=random & ~unresolved & (n >= least),
        ),
        deterministic=np.asarray((n >= 2) & ~random & np.isfinite(difference)),
        unresolved=np.asarray(unresolved),
    )


def _check_labels(name: str, runs: Any, theory: Any) -> None:
    """Refuse theory at a single value that runs do not have alone, and lengths without labels."""
    for at in (str(c) for c in theory.coords if c in runs.coords and not theory[c].dims):
        given, own = np.atleast_1d(runs[at]), np.atleast_1d(theory[at])
        unset = all(x.dtype.kind == "f" and np.isnan(x).all() for x in (given, own))
        if not unset and not np.all(match_labels(own, given) == 0):
            shown = ", ".join(map(str, given[:FEW_VALUES])) + ", ..." * (given.size > FEW_VALUES)
            raise ValueError(
                f"`theory` of {name} is at {at} = {own[0]} alone, runs are at {shown}: give it the "
                "values of runs, or runs.sel(...) at its own."
            )
    for dim in (d for d in theory.dims if not (d in runs.indexes and d in theory.indexes)):
        if theory.sizes[dim] != runs.sizes[dim]:
            raise ValueError(
                f"`theory` of {name} must have {runs.sizes[dim]} values of {dim} as runs, or both "
                f"its coordinate, got {theory.sizes[dim]}."
            )


def _relabelled(theory: Any, runs: Any) -> Any:
    """Give theory the labels of runs, where the two differ by rounding; others are dropped."""
    for dim in [d for d in theory.dims if d in theory.indexes and d in runs.indexes]:
        position = match_labels(np.asarray(theory[dim]), np.asarray(runs[dim]))
        theory = theory.isel({dim: position[position >= 0]})
        theory = theory.assign_coords({dim: runs[dim][position >= 0]})
    return theory


def _allowance(name: str, bound: Any, theory: Any) -> Any:
    import xarray

    if not isinstance(bound, xarray.DataArray):
        try:
            values = np.broadcast_to(np.asarray(bound, np.float64), theory.shape)
        except (TypeError, ValueError):
            problem = f"must broadcast to {theory.shape}, got {bound!r}."
            raise ValueError(f"`allowance` of {name} {problem}") from None
        bound = theory.copy(data=values)
    values = np.asarray(bound, np.float64)
    if not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(f"`allowance` of {name} must be finite and at least 0, got {values}.")
    return bound
