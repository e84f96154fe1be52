"""What a sweep page shows, as its address says it, and as it moves to a store that has grown."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxscale._labels import match_labels
from jaxscale.explorer._knobs import number_of
from jaxscale.explorer._page import asked_log
from jaxscale.explorer._sweep import ROLES, Sweep, View, Window
from jaxscale.explorer._sweep_map import QUANTITIES
from jaxscale.explorer._sweep_theory import fitted_fields
from jaxscale.paths import replace

NONE = "none"
MOST_DIGITS = 18  # of an integer of 64 bits
AT, FIT = "at.", "fit."  # begin indices of sliders and calibrated fields in an address


@dataclasses.dataclass(frozen=True)
class State:
    """What a page is to show of a sweep.

    - `view`: the curves.
    - `window`: range in which exponents are fitted, as it was typed; None for the last decade.
    - `fitted`: calibrated fields of the system; `fit_note`: a line about their fit.
    - `log`: which axes are logarithmic, one of `LOGS`.
    - `map_axes`: axes of the map; `quantity`: what it shows.
    - `point`: number of the grid point whose runs are shown.
    """

    view: View
    window: Window | None = None
    fitted: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fit_note: str = ""
    log: str = "auto"
    map_axes: tuple[str, ...] = ()
    quantity: str = QUANTITIES[0]
    point: int | None = None

    def window_in(self, sweep: Sweep) -> Window | None:
        """The range in which exponents are fitted: as typed, else the last decade."""
        return self.window or sweep.last_decade(self.view.x)

    def window_text(self, sweep: Sweep) -> str:
        """The same range for a field: numbers that were typed keep all their digits."""
        text = exact_text if self.window else "{:g}".format
        return ", ".join(map(text, self.window_in(sweep) or ()))

    def viewed(self, view: View) -> "State":
        """Another view, without the window of another x axis and the fit of another observable."""
        window = self.window if view.x == self.view.x else None
        state = dataclasses.replace(self, view=view, window=window)
        if view.observable == self.view.observable:
            return state
        return dataclasses.replace(state, fitted={}, fit_note="")

    def with_map_axis(self, k: int, axis: str) -> "State":
        """Another axis of the map, across for 0 and up for 1; it swaps with the other."""
        other = self.map_axes[1 - k]
        if other == axis:
            other = self.map_axes[k]
        return dataclasses.replace(self, map_axes=(axis, other) if k == 0 else (other, axis))


def state_of(sweep: Sweep, given: Mapping[str, str]) -> tuple[State, ValueError | None]:
    """What an address says, where it fits the sweep, and why a number of it is refused."""
    quantity, point = given.get("quantity", ""), given.get("point", "")
    view = _view_of(sweep, given)
    state = State(
        view,
        log=asked_log(given),
        map_axes=_map_axes_of(sweep, given.get("map", "")),
        quantity=quantity if quantity in QUANTITIES else QUANTITIES[0],
        point=_index(point),
    )
    try:
        if "window" in given:
            state = dataclasses.replace(state, window=window_of(given["window"]))
        fitted = _fitted_of(sweep, view, given)
        note = "calibrated before this page was opened" if fitted else ""
        return dataclasses.replace(state, fitted=fitted, fit_note=note), None
    except ValueError as error:
        return state, error


def address_of(sweep: Sweep, state: State) -> dict[str, str]:
    """What `state_of` makes a state of; of most fields, the usual value is empty."""
    view = state.view
    dims = sweep.dims(view.observable)
    statuses = "" if view.statuses is None else ",".join(map(str, view.statuses)) or NONE
    return {
        "observable": view.observable, "x": view.x, "color": view.color or NONE,
        "panel": view.panel, "log": "" if state.log == "auto" else state.log,
        **{AT + d: str(i) for d, i in view.at.items() if d in dims},
        "status": statuses,
        "window": ",".join(map(exact_text, state.window or ())),
        "map": ",".join(state.map_axes) if len(state.map_axes) == 2 else "",
        "quantity": state.quantity if state.quantity != QUANTITIES[0] else "",
        "point": "" if state.point is None else str(state.point),
        **{FIT + path: repr(value) for path, value in state.fitted.items()},
    }  # fmt: skip


def followed(before: Sweep, newer: Sweep, state: State) -> State:
    """The same state of a store that has grown; the first one of a store that was replaced."""
    is_same_kind = type(before.grid.system) is type(newer.grid.system)
    if not is_same_kind or state.view.observable not in newer.observables:
        return state_of(newer, {})[0]
    view = dataclasses.replace(state.view, at=moved(before, newer, state.view.at))
    return dataclasses.replace(
        state.viewed(newer.settled(view)), point=moved_point(before, newer, state.point),
        map_axes=_map_axes_of(newer, ",".join(state.map_axes)),
    )  # fmt: skip


def _view_of(sweep: Sweep, given: Mapping[str, str]) -> View:
    """The view that an address says, where it fits the sweep."""
    view = sweep.default_view()
    if given.get("observable") in sweep.observables:
        view = dataclasses.replace(view, observable=given["observable"])
    for role in ROLES:
        asked = given.get(role, getattr(view, role))
        view = dataclasses.replace(view, **{role: "" if asked == NONE else asked})
    view = sweep.settled(view)
    at = {n.removeprefix(AT): i for n, t in given.items()
          if n.startswith(AT) and (i := _index(t)) is not None}  # fmt: skip
    statuses = given.get("status", "")
    codes = tuple(c for c in map(_index, statuses.split(",")) if c is not None)
    is_said = bool(codes) or statuses == NONE
    return dataclasses.replace(view, at=at, statuses=codes if is_said else None)


def _index(text: str) -> int | None:
    """The index, the number or the code of an address; None for what is none."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def window_of(text: str) -> Window:
    """The range in which exponents are fitted, as it was typed."""
    parts = text.split(",")
    low, high = (number_of("window", part) for part in (*parts, "nan")[:2])
    if len(parts) != 2 or not 0 < low < high < math.inf:
        raise ValueError(f"`window` must be two numbers 0 < low < high, got {text!r}.")
    return low, high


def exact_text(value: float) -> str:
    """A text that gives the same number again, a short one where it does."""
    short = f"{value:.6g}"
    return short if float(short) == value else repr(value)


def _fitted_of(sweep: Sweep, view: View, given: Mapping[str, str]) -> dict[str, float]:
    """Calibrated fields of an address; `ValueError` for a value that its field refuses."""
    paths = [p for p in fitted_fields(sweep, view) if FIT + p in given]
    fitted = {path: number_of(FIT + path, given[FIT + path]) for path in paths}
    for path, value in fitted.items():
        replace(sweep.grid.system, path, value)
    return fitted


def _map_axes_of(sweep: Sweep, asked: str) -> tuple[str, ...]:
    """Axes of the map: two that were asked for, else the first ones."""
    chosen = tuple(a for a in asked.split(",") if a in sweep.axes)
    return chosen if len(set(chosen)) == len(chosen) == 2 else tuple(sweep.axes[:2])


def moved(before: Sweep, newer: Sweep, index: Mapping[str, int]) -> dict[str, int]:
    """Indices, in a store that has grown, of the coordinates at `index` before."""
    if before is newer:
        return dict(index)
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
