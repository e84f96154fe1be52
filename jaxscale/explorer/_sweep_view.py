"""A sweep: any dimension as x, colour, panel or slider; a map, all runs, and one run."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import CheckboxGroup, CustomJS
from jaxtyping import Bool

from jaxscale._status import Status
from jaxscale.explorer._file_buttons import file_buttons
from jaxscale.explorer._linked import Linked
from jaxscale.explorer._newest import LONG, Newest, Tried, tried
from jaxscale.explorer._page import LOGS, Page, log_option
from jaxscale.explorer._run_card import run_card
from jaxscale.explorer._sweep import ROLES, SEED, STEP, Curves, Sweep, View
from jaxscale.explorer._sweep_code import sweep_code
from jaxscale.explorer._sweep_figures import SweepFigures, has_line, logarithmic
from jaxscale.explorer._sweep_map import (
    QUANTITIES,
    Cells,
    MapFigure,
    ParallelFigure,
    kind_of,
    thinned,
)
from jaxscale.explorer._sweep_result import COMPILES, Result, ResultReader, notes
from jaxscale.explorer._sweep_state import (
    NONE,
    address_of,
    followed,
    moved,
    moved_point,
    state_of,
    window_of,
)
from jaxscale.explorer._sweep_theory import calibrated, fitted_fields
from jaxscale.report._figures import with_unit

LOOKS = 2000  # milliseconds between looks at a store that grows
REVEAL = """
const began = Date.now();
const reveal = () => {
  const card = Bokeh.index.find_one(cb_obj)?.el;
  if (!(card?.offsetHeight > 200) && Date.now() - began < 2000) return setTimeout(reveal, 50);
  const is_still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  card?.scrollIntoView({behavior: is_still ? 'auto' : 'smooth', block: 'start'});
};
setTimeout(reveal, 50);
"""


class SweepView:
    """A page that shows a sweep.

    **Arguments**

    - `page`: the open page.
    - `given`: a Dataset of runs, or the path of a store.
    """

    def __init__(self, page: Page, given: Any):
        self.page = page
        self.sweep = Sweep(given)
        # an address is refused until something better is given
        self.state, self._refused = state_of(self.sweep, page.given)
        self._result: Result | None = None
        self._kind: Any = None  # of the figures that are shown
        self._figures: SweepFigures | None = None
        self._map: MapFigure | None = None
        self._parallel: ParallelFigure | None = None
        reader = ResultReader()
        self._newest = Newest(page.document, reader.read, self._shown, page.say_error)
        self._theories = Newest(
            page.document, reader.with_theory, self._with_theory, page.say_error
        )
        self._calibration = Newest(
            page.document, tried(self._fit), self._fitted, page.say_error, LONG
        )
        self._looks = Newest(page.document, Sweep.newer, self._follow, page.say_error)
        self.curves, self.table = page.grid([]), page.text("", name="exponents")
        self.maps, self.card = page.grid([]), page.column()
        self.card.js_on_change("tags", CustomJS(code=REVEAL))
        self.note, self.code = page.text("", name="note"), page.hidden("code")
        page.show(self._controls(), self._main())
        self.refresh()
        if self.sweep.path is not None:
            page.document.add_periodic_callback(lambda: self._looks.ask(self.sweep), LOOKS)

    def refresh(self) -> None:
        """Read and draw the present state."""
        self._newest.ask((self.sweep, self.state))
        self._remember()

    def _become(self, **changed: Any) -> None:
        """Show another state."""
        self.state = dataclasses.replace(self.state, **changed)
        self.refresh()

    def _remember(self) -> None:
        self.page.remember(address_of(self.sweep, self.state))

    def _shown(self, result: Result) -> None:
        """Draw what was read."""
        page, view = self.page, result.state.view
        self._result = result
        logs = logarithmic(result.curves, log_option(result.state.log))
        every = None if result.all is None else thinned(result.all)
        lines = has_line(result.curves, logs)
        missing = "" if lines.any() else _missing(result.curves)
        unit = result.sweep.runs[view.observable].attrs.get("units", "")
        label = with_unit(view.observable, unit)
        kind = (
            label, view.x, view.color, view.panel, result.sweep.coordinates, result.curves.labels,
            result.curves.panel_labels, result.theory.values is None, logs, lines.tobytes(),
            missing, kind_of(result.map), kind_of(every),
        )  # fmt: skip
        if kind == self._kind:
            with page.held():
                self._move(result, every)
                self._tell(result, lines)
        else:
            self._kind = None
            with page.rebuilt():
                self._draw(result, every, logs, label, missing)
                self._tell(result, lines)
            self._kind = kind
        self._mark()
        if result.theory.note == COMPILES:
            self._theories.ask(result)
        elif self.state.point is not None:
            self.select(self.state.point)

    def _draw(
        self, result: Result, every: Cells | None, logs: tuple[bool, bool], label: str,
        missing: str,
    ) -> None:  # fmt: skip
        """Make figures anew."""
        page, view, linked = self.page, result.state.view, Linked(self._clicked)
        theory = result.theory.values
        self._figures = self._map = self._parallel = None
        if not missing:
            self._figures = SweepFigures(page, view, result.curves, theory, linked, logs, label)
        nothing = page.text(f"<p>{missing}</p>", name="nothing")
        self.curves.children = self._figures.layouts if self._figures else [nothing]
        if result.map is not None:
            self._map = MapFigure(page, result.sweep, result.map, linked)
        if every is not None:
            self._parallel = ParallelFigure(page, result.sweep, every, linked)
        linked.finish()
        self.maps.children = [f.layout for f in (self._map, self._parallel) if f is not None]

    def _move(self, result: Result, every: Cells | None) -> None:
        """Show other data in the figures that are there."""
        if self._figures is not None:
            self._figures.update(result.curves, result.theory.values)
        if self._map is not None and result.map is not None:
            self._map.update(result.map)
        if self._parallel is not None and every is not None:
            self._parallel.update(every)

    def _tell(self, result: Result, lines: Bool[np.ndarray, "p c"]) -> None:
        """Write tables, notes and the Python of what is shown."""
        self.table.text = result.tables
        self.note.text = notes(result, lines)
        has_theory = result.theory.values is not None
        can_fit = has_theory and fitted_fields(result.sweep, result.state.view)
        self.calibrate.disabled = not can_fit
        self.code.text = self._python()
        self._say()

    def _say(self) -> None:
        """Say what the address was refused, else what is under way."""
        if self._refused is not None:
            return self.page.say_error(self._refused)
        is_fitting = self._calibration.is_busy or self._calibration.is_waiting
        self.page.say("calibrating ..." if is_fitting else "")

    def _with_theory(self, result: Result) -> None:
        if self._result is not None and result.curves is self._result.curves:
            self._shown(result)

    def _clicked(self, point: int, places: Mapping[str, int]) -> None:
        """Show the runs of a drawn grid point, in the panel and colour that was clicked."""
        if self._result is None:
            return
        drawn, view = self._result.sweep, self.state.view
        chosen = moved_point(drawn, self.sweep, point)
        if chosen is None:
            return
        index = {getattr(self._result.state.view, role): i for role, i in places.items()}
        within = {d: i for d, i in index.items() if d and d not in (*drawn.grid.axes, SEED)}
        at = {**view.at, **moved(drawn, self.sweep, within)}
        if at != view.at:
            self._become(view=dataclasses.replace(view, at=at))
        self.select(chosen)
        self._mark()
        self.card.tags = [time.monotonic()]

    def _mark(self) -> None:
        """Mark the grid point that is shown in the map, which may be of an earlier store."""
        if self._map is not None and self._result is not None:
            self._map.choose(moved_point(self.sweep, self._result.sweep, self.state.point))

    def select(self, point: int) -> None:
        """Show the runs of a grid point."""
        n = int(np.prod(self.sweep.grid.shape[:-1]))
        if not 0 <= point < n:
            return self.page.say(f"there is no grid point {point} of {n}", is_warning=True)
        self.state = dataclasses.replace(self.state, point=point)
        self.card.children = run_card(self.page, self.sweep, self.state.view, point)
        self._say()
        self._remember()

    def _set(self, **changed: Any) -> None:
        """Show another view; two roles never have one dimension."""
        view = dataclasses.replace(self.state.view, **changed)
        view = self.sweep.settled(view, [role for role in ROLES if role in changed])
        if (view.observable, view.x) != (self.state.view.observable, self.state.view.x):
            self._refused = None
        self.state = self.state.viewed(view)
        self.page.controls.children = self._controls()
        self.refresh()

    def _slid(self, dim: str, index: int) -> None:
        view = self.state.view
        self._become(view=dataclasses.replace(view, at={**view.at, dim: index}))

    def _controls(self) -> list[Any]:
        page, state, sweep = self.page, self.state, self.sweep
        view = state.view
        dims = sweep.dims(view.observable) or ["seed"]
        optional = [("", NONE), *((d, d) for d in dims)]
        controls: list[Any] = [
            page.select("observable", sweep.observables, view.observable,
                        lambda v: self._set(observable=v)),
            page.select("x axis", dims, view.x, lambda v: self._set(x=v)),
            page.select("colour", optional, view.color, lambda v: self._set(color=v)),
            page.select("panel", optional, view.panel, lambda v: self._set(panel=v)),
            page.select("axes", list(LOGS.items()), state.log, lambda v: self._become(log=v)),
        ]  # fmt: skip
        for dim, index in sweep.indices(view).items():
            controls.append(page.index_slider(dim, sweep.labels(dim), index, self._slid))
        counts = sweep.status_counts
        codes = list(counts)
        active = [i for i, c in enumerate(codes) if view.statuses is None or c in view.statuses]
        self._boxes = boxes = CheckboxGroup(
            labels=_status_labels(sweep), active=active, name="runs that count",
            stylesheets=[page.styles],
        )  # fmt: skip
        boxes.on_change(
            "active", lambda _, old, new: self._filtered([codes[i] for i in new], codes)
        )
        controls += [page.text("<b>runs that count</b>"), boxes]
        self._window = page.typed("window of exponents", state.window_text(sweep), self._new_window)
        controls.append(self._window)
        if len(sweep.axes) > 1:
            for k, title in enumerate(("map: across", "map: up")):
                controls.append(page.select(title, sweep.axes, state.map_axes[k],
                                            lambda v, k=k: self._new_map(k, v)))  # fmt: skip
        if STEP in sweep.runs[view.observable].dims:
            controls.append(page.select("map: quantity", QUANTITIES, state.quantity,
                                        lambda v: self._become(quantity=v)))  # fmt: skip
        return controls

    def _main(self) -> list[Any]:
        page = self.page
        self.calibrate = page.button("calibrate theory")
        self.calibrate.on_click(lambda: self._calibrate())
        given = {} if self.sweep.path else {"runs": self.sweep.runs}
        copy, *files = file_buttons(page, self.code, self._python, given)
        buttons = [copy, self.calibrate, *files]
        return [self.note, self.curves, page.bar(buttons), self.code, self.table, self.maps,
                self.card]  # fmt: skip

    def _python(self) -> str:
        """Lines that draw what is shown; made here, for what a browser sends is never run."""
        result = self._result
        if result is None:
            raise ValueError("`page` must be drawn before it is saved: wait for its curves.")
        has_theory = result.theory.values is not None
        state, log = result.state, log_option(result.state.log)
        return sweep_code(result.sweep, state.view, state.fitted, has_theory, log)

    def _calibrate(self) -> None:
        self._calibration.ask((self.sweep, self.state.view))
        self.page.say("calibrating ...")

    @staticmethod
    def _fit(request: tuple[Sweep, View]) -> tuple[dict[str, float], str]:
        sweep, view = request
        return calibrated(sweep, view, sweep.curves(view))

    def _fitted(self, made: Tried) -> None:
        """Show a fit, or why there is none, unless its observable was left."""
        (_, view), fit, error = made
        if view.observable != self.state.view.observable:
            return self._say()
        if error is not None:
            return self.page.say_error(error)
        self._refused = None
        self._become(fitted=fit[0], fit_note=fit[1])

    def _filtered(self, codes: list[Status], every: list[Status]) -> None:
        statuses = None if len(codes) == len(every) else tuple(int(c) for c in codes)
        self._become(view=dataclasses.replace(self.state.view, statuses=statuses))

    def _new_window(self, text: str) -> None:
        if text == self.state.window_text(self.sweep):  # the page wrote it
            return self._say()
        try:
            window, self._refused = window_of(text), None
        except ValueError as error:
            return self.page.say_error(error)
        self._become(window=window)

    def _new_map(self, k: int, axis: str) -> None:
        self.state = self.state.with_map_axis(k, axis)
        self.page.controls.children = self._controls()
        self.refresh()

    def _follow(self, newer: Sweep | None) -> None:
        """Show new chunks of a store that grows; controls change only if they have to."""
        if newer is None:
            return
        before, state = self.sweep, followed(self.sweep, newer, self.state)
        kinds = [(s.coordinates, s.observables, [*s.status_counts]) for s in (before, newer)]
        self.sweep, self.state = newer, state
        if state.point is None:  # what the card shows is gone
            self.card.children = []
        if kinds[0] != kinds[1]:
            self.page.controls.children = self._controls()
        else:
            self._boxes.labels = _status_labels(newer)
            self._window.value = self.state.window_text(newer)
        self.refresh()


def _missing(curves: Curves) -> str:
    """Why nothing is drawn."""
    if np.isfinite(curves.values).any():
        return "Runs that count have too few values here for a line."
    return "No run that counts has a finite value here."


def _status_labels(sweep: Sweep) -> list[str]:
    """How many runs ended in which way, for the boxes that choose which of them count."""
    return [f"{c.name.replace('_', ' ')} ({n})" for c, n in sweep.status_counts.items()]
