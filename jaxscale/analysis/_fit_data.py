"""What a fit is given: a theory as a function of its free values, and data on the theory's axes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._labels import match_labels
from jaxscale._status import STATUS, Status
from jaxscale._text import choices, counted
from jaxscale._warn import warn_user
from jaxscale.analysis._data import of_failed, without_failed
from jaxscale.analysis.bounds import AbstractBound

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class FitData:
    """Data sets `n` on the points of a theory.

    - `theory`: function of `(values, inputs)` that returns observables by name.
    - `start`: starts of the free values, shape `(p,)`.
    - `data`: by observable, shape `(n, others, theory)`: as many data as there are at each value of
      the theory, flattened; NaN is missing. All observables have the same number of others.
    - `inputs`: what theory is evaluated at, every array with the leading axis `n`, or None.
    - `groups`: number of the group that a point is resampled with, shape `(n, others, theory)`, the
      observables one after the other by name; `n_groups`: how many there are in a data set at most.
    - `labels`: of the data sets; empty for a single one.
    - `signed`: observables that take both signs.
    - `bounds`: of free values whose field declares an interval.
    - `n_left_out`: values of failed runs, blank ones, and those below the rounding of their type.
    - `weights`: of the points of the only observable, shape `(n, others, theory)`, in their ratios.
    """

    theory: Callable[..., Any]
    start: np.ndarray
    data: Mapping[str, np.ndarray]
    inputs: Any
    groups: np.ndarray
    n_groups: int
    labels: tuple[Any, ...]
    signed: frozenset[str]
    bounds: Mapping[str, AbstractBound]
    n_left_out: int
    weights: np.ndarray | None = None


def aligned(
    runs: "xarray.Dataset", names: dict[str, Any], each: str | None, signed: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, ...], dict[str, list[str]], int]:
    """Data as (each, others, theory), theory's index of each, labels, axes, n_left_out."""
    if STATUS in runs and (n := int((runs[STATUS] == Status.not_run).sum())) == runs[STATUS].size:
        raise ValueError(
            f"`data`: {n} of {counted(n, 'run')} have not run: continue the sweep by the call or "
            "command that began it."
        )
    data, index, order, n_left_out = {}, {}, {}, 0
    labels: tuple[Any, ...] = ()
    for name, coordinates in names.items():
        if name not in runs:
            continue
        array = without_failed(runs, name)
        for dim in coordinates:
            if dim not in array.dims:
                if dim not in array.coords:
                    raise ValueError(f"`data` must keep the dimension {dim!r} of {name!r}.")
                array = array.expand_dims(dim)
        if each is not None and each not in array.dims:
            hint = choices(each, map(str, array.dims))
            raise ValueError(f"`each` must be a dimension of `data`, got {each!r}{hint}")
        if each is not None and each in coordinates:
            raise ValueError(f"`each` must not be a dimension of the theory, got {each!r}.")
        others = [str(d) for d in array.dims if d not in coordinates and d != each]
        order[name] = [*others, *coordinates]
        values = np.asarray(array.transpose(*([each] if each else []), *order[name]), np.float64)
        data[name] = _resolved(name, array, values if each else values[None], name in signed)
        index[name] = np.ix_(
            *(_positions(d, c, np.asarray(array[d])) for d, c in coordinates.items())
        )
        labels = tuple(np.asarray(array[each]).tolist()) if each else ()
        given = of_failed(runs, name) | array.notnull()  # those of failed runs recorded or not
        n_left_out += int(given.sum() - (~np.isnan(data[name])).sum())
    if not data:
        raise ValueError(f"`data` must hold one of {', '.join(names)}, got {list(runs)}.")
    return data, index, labels, order, n_left_out


def _resolved(name: str, array: Any, values: np.ndarray, signed: bool) -> np.ndarray:
    """Values without those that the rounding of their own type decides."""
    if signed or array.dtype not in (np.float16, np.float32) or not np.isfinite(values).any():
        return values
    smallest = np.finfo(array.dtype).eps * np.max(
        np.abs(values), where=np.isfinite(values), initial=0
    )
    rounded = (np.abs(values) < smallest) & (values != 0)
    if rounded.any():
        warn_user(
            f"{int(rounded.sum())} values of {name} lie below the rounding of {array.dtype}: "
            "left out"
        )
    return np.where(rounded, np.nan, values)


def rows_of(
    arrays: dict[str, np.ndarray], n_axes: dict[str, int], blank: float
) -> dict[str, np.ndarray]:
    """Arrays `(n, others, theory axes)` as `(n, o, t)`, with as many others for all, some blank."""
    flat = {}
    for name, array in arrays.items():
        shape = array.shape[array.ndim - n_axes[name] :]
        flat[name] = array.reshape(len(array), -1, math.prod(shape))
    most = max(a.shape[1] for a in flat.values())
    short = {n: ((0, 0), (0, most - a.shape[1]), (0, 0)) for n, a in flat.items()}
    return {n: np.pad(a, short[n], constant_values=blank) for n, a in flat.items()}


def _positions(dim: str, coordinates: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    position = match_labels(coordinates, wanted)
    for missing in wanted[position < 0].tolist():
        raise ValueError(f"`data` has {dim} = {missing!r}, which the grid does not have.")
    return position


def groups_of(
    data: dict[str, np.ndarray], order: dict[str, list[str]], resample: str | None
) -> tuple[dict[str, np.ndarray], int]:
    """Number what is resampled together: single points, or the slices along a dimension."""
    if resample is None:
        sizes = [math.prod(v.shape[1:]) for v in data.values()]
        first = np.cumsum([0, *sizes])
        shapes = zip(data.items(), first[:-1], sizes, strict=True)
        groups = {n: (a + np.arange(s)).reshape(v.shape[1:]) for (n, v), a, s in shapes}
        return groups, int(first[-1])
    groups = {}
    for name, dims in order.items():
        if resample not in dims:
            hint = choices(resample, dims)
            raise ValueError(f"`resample` must be a dimension of the data, got {resample!r}{hint}")
        shape = [1] * len(dims)
        shape[dims.index(resample)] = data[name].shape[1 + dims.index(resample)]
        groups[name] = np.broadcast_to(np.arange(max(shape)).reshape(shape), data[name].shape[1:])
    return groups, max(int(g.max()) + 1 for g in groups.values())
