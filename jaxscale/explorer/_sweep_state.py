"""What a sweep view takes from its address, and how its state moves to a store that has grown."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxscale._labels import match_labels
from jaxscale.explorer._knobs import number_of
from jaxscale.explorer._sweep import ROLES, Sweep, View, Window
from jaxscale.explorer._sweep_theory import fitted_fields
from jaxscale.paths import replace

NONE = "none"
AT, FIT = "at.", "fit."  # begin indices of sliders and calibrated fields in an address


def view_of(sweep: Sweep, given: Mapping[str, str]) -> View:
    """The view that an address says, where it fits the sweep."""
    view = sweep.default_view()
    if given.get("observable") in sweep.observables:
        view = dataclasses.replace(view, observable=given["observable"])
    for role in ROLES:
        asked = given.get(role, getattr(view, role))
        view = dataclasses.replace(view, **{role: "" if asked == NONE else asked})
    view = sweep.settled(view)
    at = {n.removeprefix(AT): int(t) for n, t in given.items()
          if n.startswith(AT) and t.isdecimal()}  # fmt: skip
    statuses = given.get("status", "")
    codes = tuple(int(c) for c in statuses.split(",") if c.isdecimal())
    is_said = bool(codes) or statuses == NONE
    return dataclasses.replace(view, at=at, statuses=codes if is_said else None)


def window_of(text: str) -> Window:
    """The range in which exponents are fitted, as it was typed."""
    parts = text.split(",")
    low, high = (number_of("window", part) for part in (*parts, "nan")[:2])
    if len(parts) != 2 or not 0 < low < high < math.inf:
        raise ValueError(f"`window` must be two numbers 0 < low < high, got {text!r}.")
    return low, high


def fitted_of(sweep: Sweep, view: View, given: Mapping[str, str]) -> dict[str, float]:
    """Calibrated fields of an address; `ValueError` for a value that its field refuses."""
    paths = [p for p in fitted_fields(sweep, view) if FIT + p in given]
    fitted = {path: number_of(FIT + path, given[FIT + path]) for path in paths}
    for path, value in fitted.items():
        replace(sweep.grid.system, path, value)
    return fitted


def map_axes_of(sweep: Sweep, asked: str) -> tuple[str, ...]:
    """Axes of the map: two that were asked for, else the first ones."""
    chosen = tuple(a for a in asked.split(",") if a in sweep.axes)
    return chosen if len(set(chosen)) == len(chosen) == 2 else tuple(sweep.axes[:2])


def moved(before: Sweep, newer: Sweep, index: Mapping[str, int]) -> dict[str, int]:
    """Indices, in a store that has grown, of the coordinates at `index` before."""
    out = {}
    for dim in [d for d in index if d in before.runs.dims and d in newer.runs.dims]:
        own = np.asarray(before.runs[dim])
        value = own[min(index[dim], own.size - 1)][None]
        (place,) = match_labels(np.asarray(newer.runs[dim]), value)
        if place >= 0:
            out[dim] = int(place)
    return out


def moved_point(before: Sweep, newer: Sweep, point: int | None) -> int | None:
    """Number of the grid point that has the coordinates of `point` before."""
    if point is None or point >= np.prod(before.grid.shape[:-1]):
        return None
    index = moved(before, newer, before.point_index(point))
    dims = newer.grid.dims[:-1]
    if set(index) != set(dims):
        return None
    return int(np.ravel_multi_index([index[d] for d in dims], newer.grid.shape[:-1])) if dims else 0
