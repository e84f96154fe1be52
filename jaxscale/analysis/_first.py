"""Which run was first: curves ranked by when they pass a level."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale.analysis._exponents import _abscissa, crossing
from jaxscale.analysis._intervals import Number

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True, eq=False)
class First:
    """The first of several curves to pass a level.

    - `label`: its coordinates by dimension, such as `{"width": 64}`; empty where none did.
    - `time`: when it did; NaN where none did.
    - `times`: of every curve, without the dimension of time; NaN where it did not.
    - `ranks`: 1 for the first; curves that are as fast share the lower rank; NaN as in `times`.
    - `falls`: whether a curve passes the level on its way down.
    """

    label: dict[str, Any]
    time: float
    times: "xarray.DataArray"
    ranks: "xarray.DataArray"
    falls: bool


@hinted
def first_to(curves: "xarray.DataArray", dim: str, level: Number) -> First:
    r"""Return which curve was the first to pass a level for good, when, and the ranks of all.

    The time of each is that of `crossing`: linear between points, after the last point on the near
    side of the level. Curves fall if most of them end below where they begin, as losses do; then
    they pass from above. A curve that is past the level at every point has the first time. The
    mean over a dimension, such as the seeds, is yours to take: before, of the curves, or after, of
    `times`.

    **Arguments**

    - `curves`: a DataArray over `dim` and other dimensions, whose labels say which curve it is.
    - `dim`: time, or what stands for it, such as operations.
    - `level`: what is to be passed.

    **Returns** a `First`.

    **Raises** `ValueError` as `crossing`, and for curves without another dimension.

    **Example**

    >>> import xarray
    >>> time = np.asarray([0.0, 1.0, 2.0, 3.0])
    >>> losses = np.exp(-np.outer([0.5, 1.0, 0.1], time))
    >>> curves = xarray.DataArray(losses, {"width": [8, 16, 32], "time": time})
    >>> first = js.analysis.first_to(curves, "time", 0.3)
    >>> first.label, round(first.time, 2), first.ranks.values
    ({'width': 16}, 1.29, array([ 2.,  1., nan]))
    """
    _abscissa(curves, dim, "curves")  # refuses what is no set of curves
    curves = curves.astype(float)  # of counts and truth values, which have no negative
    upward = crossing(curves, dim, level)
    if not upward.dims:
        raise ValueError(f"`curves` must have a dimension besides {dim!r}: one curve is the first.")
    falls = _falls(curves, dim)
    times = crossing(-curves, dim, -level) if falls else upward
    times = times.rename(dim)
    times.attrs = {"long_name": f"{dim} at which {curves.name or 'y'} passes {level:g}"}
    values = np.asarray(times, float)
    ranks = times.copy(data=_ranks(values)).rename("rank")
    ranks.attrs = {"long_name": f"rank in passing {level:g}"}
    if np.isnan(values).all():
        return First({}, np.nan, times, ranks, falls)
    position = np.unravel_index(np.nanargmin(values), values.shape)
    label: dict[str, Any] = {}
    for name, i in zip(times.dims, position, strict=True):
        own = np.asarray(times[name])[i] if name in times.coords else i
        label[str(name)] = own.item() if isinstance(own, np.generic) else own
    return First(label, float(values[position]), times, ranks, falls)


def _falls(curves: "xarray.DataArray", dim: str) -> bool:
    """Whether most curves end below where they begin, of their points that are not missing."""
    y = np.asarray(curves.transpose(..., dim), float)
    rows = (row[np.isfinite(row)] for row in y.reshape(-1, y.shape[-1]))
    signs = [np.sign(row[-1] - row[0]) for row in rows if row.size]
    return bool(np.sum(signs) < 0)


def _ranks(times: np.ndarray) -> np.ndarray:
    """Ranks from 1 of what is not NaN; equal ones share the lowest."""
    used = np.isfinite(times)
    own = np.sort(times[used])
    return np.where(used, 1.0 + np.searchsorted(own, np.where(used, times, 0.0)), np.nan)
