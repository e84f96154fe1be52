"""A sweep: any dimension as x, colour, panel or slider; a map, all runs, and one run."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import CheckboxGroup, CustomJS
from jaxtyping import Bool

from jaxscale._status import Status
from jaxscale.explorer._exponent_table import tables
from jaxscale.explorer._file_buttons import file_buttons
from jaxscale.explorer._linked import Linked
from jaxscale.explorer._newest import LONG, Newest
from jaxscale.explorer._page import LOGS, Page, escaped, log_option
from jaxscale.explorer._run_card import run_card
from jaxscale.explorer._sweep import ROLES, SEED, STEP, Curves, Sweep, View, Window
from jaxscale.explorer._sweep_code import sweep_code
from jaxscale.explorer._sweep_figures import SweepFigures, has_line, logarithmic
from jaxscale.explorer._sweep_map import (
    MOST_CELLS,
    MOST_READ,
    QUANTITIES,
    Cells,
    MapFigure,
    ParallelFigure,
    cells,
    kind_of,
    thinned,
)
from jaxscale.explorer._sweep_state import (
    AT,
    FIT,
    NONE,
    fitted_of,
    map_axes_of,
    moved,
    moved_point,
    view_of,
    window_of,
)
from jaxscale.explorer._sweep_theory import (
    Theory,
    calibrated,
    fitted_fields,
    theory_of_view,
)
from jaxscale.report._figures import with_unit

COMPILES = "theory is being compiled"
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


@dataclasses.dataclass(frozen=True)
class Result:
    """What a page shows of a view."""

    sweep: Sweep
    view: View
    curves: Curves
    theory: Theory
    window: Window | None
    tables: str
    map: Cells | None
    all: Cells | None
    note: str


class SweepView:
    """A page that shows a sweep.

    **Arguments**

    - `page`: the open page.
    - `given`: a Dataset of runs, or the path of a store.
    """

    def __init__(self, page: Page, given: Any):
        self.page = page
        self.sweep = Sweep(given)
        self._result: Result | None = None
        self._kind: Any = None  # of the figures that are shown
        self._figures: SweepFigures | None = None
        self._map: MapFigure | None = None
        self._parallel: ParallelFigure | None = None
        self.view = view_of(self.sweep, page.given)
        self._refused: ValueError | None = None  # of the address, until something better is given
        self.window: Window | None = None  # as it was typed
        self.fitted: dict[str, float] = {}
        try:
            if "window" in page.given:
                self.window = window_of(page.given["window"])
            self.fitted = fitted_of(self.sweep, self.view, page.given)
        except ValueError as error:
            self._refused = error
        self.fit_note = "calibrated before this page was opened" if self.fitted else ""
        self.log = page.asked_log()
        asked = page.given.get("quantity")
        self.quantity = asked if asked in QUANTITIES else QUANTITIES[0]
        point = page.given.get("point", "")
        self.point = int(point) if point.isdecimal() else None
        self.map_axes = map_axes_of(self.sweep, page.given.get("map", ""))
        self._newest = Newest(page.document, self._read, self._shown, page.say_error)
        self._compiled: set[Any] = set()  # structures whose theory is there at once
        self._theories = Newest(page.document, self._predict, self._with_theory, page.say_error)
        self._calibration = Newest(page.document, self._fit, self._fitted, page.say_error, LONG)
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
        """Read and draw the present view."""
        window = self._window()
        self._newest.ask(
            (self.sweep, self.view, self.map_axes, self.quantity, window, dict(self.fitted))
        )
        self._remember()

    def _window(self) -> Window | None:
        """The range in which exponents are fitted: as typed, else the last decade."""
        return self.window or self.sweep.last_decade(self.view.x)

    def _read(self, request: Any) -> Result:
        """Read what a view shows, in a thread."""
        sweep, view, axes, quantity, window, fitted = request
        curves = sweep.curves(view)
        key = (view.observable, view.x, view.color, view.panel, tuple(fitted))
        is_compiled = key in self._compiled
        theory = (
            theory_of_view(sweep, view, curves, fitted) if is_compiled else Theory(None, COMPILES)
        )
        notes, shown_map, every = [], None, None
        of_step = window
        if view.x != STEP and STEP in sweep.runs:  # the window is one of the x axis
            of_step = sweep.last_decade(STEP)
        if len(axes) == 2:
            n = np.prod([len(sweep.grid.axes[a]) for a in axes])
            if n <= MOST_CELLS:
                shown_map = cells(sweep, view, axes, quantity, of_step)
            else:
                notes.append(f"no map: {n} cells, more than {MOST_CELLS}")
            if sweep.runs[view.observable].size > MOST_READ:
                every = shown_map
                notes.append("all runs are too many to read: only those of a map are lines")
            elif shown_map is not None and len(sweep.axes) == 2:
                every = shown_map
            else:
                every = cells(sweep, view, tuple(sweep.axes), quantity, of_step)
        text = tables(sweep, view, curves, theory.values, window)
        note = "; ".join(notes)
        return Result(sweep, view, curves, theory, window, text, shown_map, every, note)

    def _predict(self, request: tuple[Result, dict[str, float]]) -> Result:
        """Add the theory to what is shown already, in a thread."""
        result, fitted = request
        view = result.view
        try:
            theory = theory_of_view(result.sweep, view, result.curves, fitted)
            self._compiled.add((view.observable, view.x, view.color, view.panel, tuple(fitted)))
        except ValueError as error:  # a note says it, and curves stay
            theory = Theory(None, str(error))
        text = tables(result.sweep, view, result.curves, theory.values, result.window)
        return dataclasses.replace(result, theory=theory, tables=text)

    def _shown(self, result: Result) -> None:
        """Draw what was read."""
        page, view = self.page, result.view
        self._result = result
        log = log_option(self.log)
        logs = logarithmic(result.curves, log)
        every = None if result.all is None else thinned(result.all)
        lines = has_line(result.curves, logs)
        drawable = bool(lines.any())
        kind = (
            view.observable, view.x, view.color, view.panel, result.curves.labels,
            result.curves.panel_labels, result.theory.values is None, logs, lines.tobytes(),
            kind_of(result.map), kind_of(every),
        )  # fmt: skip
        if kind == self._kind:
            with page.held():
                self._move(result, every)
                self._tell(result, lines)
        else:
            self._kind = None
            with page.rebuilt():
                self._draw(result, every, logs, drawable)
                self._tell(result, lines)
            self._kind = kind
        self._mark()
        if self.point is not None and result.theory.note != COMPILES:
            self.select(self.point)
        if result.theory.note == COMPILES:
            self._theories.ask((result, dict(self.fitted)))

    def _draw(
        self, result: Result, every: Cells | None, logs: tuple[bool, bool], drawable: bool
    ) -> None:
        """Make figures anew."""
        page, view, linked = self.page, result.view, Linked(self._clicked)
        unit = self.sweep.runs[view.observable].attrs.get("units", "")
        label = with_unit(view.observable, unit)
        theory = result.theory.values
        self._figures = self._map = self._parallel = None
        if drawable:
            self._figures = SweepFigures(page, view, result.curves, theory, linked, logs, label)
        nothing = page.text("<p>No run that counts has a finite value here.</p>", name="nothing")
        self.curves.children = self._figures.layouts if self._figures else [nothing]
        if result.map is not None:
            self._map = MapFigure(page, self.sweep, result.map, linked)
        if every is not None:
            self._parallel = ParallelFigure(page, self.sweep, every, linked)
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
        page, view = self.page, result.view
        self.table.text = result.tables
        self.note.text = self._notes(result, lines)
        has_theory = result.theory.values is not None
        self.calibrate.disabled = not (has_theory and fitted_fields(self.sweep, view))
        self.code.text = self._python()
        page.say("")
        if self._refused is not None:
            page.say_error(self._refused)

    def _with_theory(self, result: Result) -> None:
        if self._result is not None and result.curves is self._result.curves:
            self._shown(result)

    def _notes(self, result: Result, drawn: Bool[np.ndarray, "p c"]) -> str:
        """What is drawn, how many runs failed, and what theory it is."""
        view, lines = result.view, []
        observable = self.sweep.runs[view.observable]
        n = result.curves.values.shape[2]
        if view.x != SEED:
            counts = np.isfinite(result.curves.values).sum(axis=2)
            least = counts[np.isfinite(result.curves.mean)].min(initial=n)
            of = f"{n} seeds" if least == n else f"{least} to {n} seeds, by how many count"
            of = f"mean and standard deviation over {of}" if n > 1 else "one seed"
            lines.append(f"{observable.attrs.get('long_name', view.observable)}: {of}")
        if not drawn.all():
            lines.append(f"{np.sum(~drawn)} of {drawn.size} curves are not drawn: too few "
                         "finite values of runs that count")  # fmt: skip
        colors, panels = result.curves.colors, result.curves.panels
        for role, chosen in ((view.color, colors), (view.panel, panels)):
            if role and len(chosen) < self.sweep.runs.sizes[role]:
                lines.append(f"{len(chosen)} of {self.sweep.runs.sizes[role]} values of {role}")
        counts = self.sweep.status_counts
        ended = ", ".join(f"{n} {c.name.replace('_', ' ')}" for c, n in counts.items())
        lines.append(f"{sum(counts.values())} runs: {ended}")
        has_note = result.theory.values is not None or result.theory.note == COMPILES
        lines.append(result.theory.note if has_note else f"no theory: {result.theory.note}")
        lines += _place_of_map(result)
        lines += [self.fit_note] if self.fit_note else []
        lines += [result.note] if result.note else []
        if counts.get(Status.not_run):
            lines.append("not complete: new runs appear as they end")
        return "".join(f"<p>{escaped(line)}</p>" for line in lines)

    def _clicked(self, point: int, places: Mapping[str, int]) -> None:
        """Show the runs of a grid point, in the panel and colour that was clicked."""
        index = {getattr(self.view, role): i for role, i in places.items()}
        within = {d: i for d, i in index.items() if d and d not in (*self.sweep.grid.axes, SEED)}
        at = {**self.view.at, **within}
        if at != self.view.at:
            self.view = dataclasses.replace(self.view, at=at)
            self.refresh()
        self.select(point)
        self._mark()
        self.card.tags = [time.monotonic()]

    def _mark(self) -> None:
        """Mark the grid point that is shown in the map."""
        if self._map is not None:
            self._map.choose(self.point)

    def select(self, point: int) -> None:
        """Show the runs of a grid point."""
        n = int(np.prod(self.sweep.grid.shape[:-1]))
        if not 0 <= point < n:
            return self.page.say(f"there is no grid point {point} of {n}", is_warning=True)
        self.point = point
        self.card.children = run_card(self.page, self.sweep, self.view, point)
        self._remember()

    def _set(self, **changed: Any) -> None:
        """Show another view; two roles never have one dimension."""
        view = dataclasses.replace(self.view, **changed)
        view = self.sweep.settled(view, [role for role in ROLES if role in changed])
        if view.x != self.view.x:
            self.window = None
        if view.observable != self.view.observable:
            self.fitted, self.fit_note = {}, ""
        self.view = view
        self.page.controls.children = self._controls()
        self.refresh()

    def _slid(self, dim: str, index: int) -> None:
        self.view = dataclasses.replace(self.view, at={**self.view.at, dim: index})
        self.refresh()

    def _controls(self) -> list[Any]:
        page, view, sweep = self.page, self.view, self.sweep
        dims = sweep.dims(view.observable) or ["seed"]
        optional = [("", NONE), *((d, d) for d in dims)]
        controls: list[Any] = [
            page.select("observable", sweep.observables, view.observable,
                        lambda v: self._set(observable=v)),
            page.select("x axis", dims, view.x, lambda v: self._set(x=v)),
            page.select("colour", optional, view.color, lambda v: self._set(color=v)),
            page.select("panel", optional, view.panel, lambda v: self._set(panel=v)),
            page.select("axes", list(LOGS.items()), self.log, self._new_log),
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
        ends = ", ".join(f"{end:g}" for end in self._window() or ())
        window = page.typed("window of exponents", ends, self._new_window)
        controls.append(window)
        if len(sweep.axes) > 1:
            for k, title in enumerate(("map: across", "map: up")):
                controls.append(page.select(title, sweep.axes, self.map_axes[k],
                                            lambda v, k=k: self._new_map(k, v)))  # fmt: skip
        if STEP in sweep.runs[view.observable].dims:
            quantity = page.select("map: quantity", QUANTITIES, self.quantity, self._new_quantity)
            controls.append(quantity)
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
        log = log_option(self.log)
        return sweep_code(result.sweep, result.view, self.fitted, has_theory, log)

    def _calibrate(self) -> None:
        self.page.say("calibrating ...")
        self._calibration.ask((self.sweep, self.view))

    @staticmethod
    def _fit(request: tuple[Sweep, View]) -> tuple[str, dict[str, float], str]:
        sweep, view = request
        return view.observable, *calibrated(sweep, view, sweep.curves(view))

    def _fitted(self, result: tuple[str, dict[str, float], str]) -> None:
        observable, fitted, note = result
        if observable == self.view.observable:
            self.fitted, self.fit_note, self._refused = fitted, note, None
            self.refresh()

    def _filtered(self, codes: list[Status], every: list[Status]) -> None:
        statuses = None if len(codes) == len(every) else tuple(int(c) for c in codes)
        self.view = dataclasses.replace(self.view, statuses=statuses)
        self.refresh()

    def _new_log(self, log: str) -> None:
        self.log = log
        self.refresh()

    def _new_window(self, text: str) -> None:
        try:
            self.window, self._refused = window_of(text), None
        except ValueError as error:
            return self.page.say_error(error)
        self.refresh()

    def _new_map(self, k: int, axis: str) -> None:
        other = self.map_axes[1 - k]
        if other == axis:
            other = self.map_axes[k]
        self.map_axes = (axis, other) if k == 0 else (other, axis)
        self.page.controls.children = self._controls()
        self.refresh()

    def _new_quantity(self, quantity: str) -> None:
        self.quantity = quantity
        self.refresh()

    def _follow(self, newer: Sweep | None) -> None:
        """Show new chunks of a store that grows; controls change only if they have to."""
        if newer is None:
            return
        before, self.sweep = self.sweep, newer
        self.point = moved_point(before, newer, self.point)
        self.map_axes = map_axes_of(newer, ",".join(self.map_axes))
        at = moved(before, newer, self.view.at)
        view = newer.settled(dataclasses.replace(self.view, at=at))
        same = before.runs.sizes == newer.runs.sizes
        if not same or before.status_counts.keys() != newer.status_counts.keys():
            self.view = view
            self.page.controls.children = self._controls()
        else:
            self._boxes.labels = _status_labels(newer)
        self.refresh()

    def _remember(self) -> None:
        view = self.view
        state = {"observable": view.observable, "x": view.x, "color": view.color or NONE}
        state |= {"panel": view.panel, "log": "" if self.log == "auto" else self.log}
        dims = self.sweep.dims(view.observable)
        state |= {AT + d: str(i) for d, i in view.at.items() if d in dims}
        state["status"] = "" if view.statuses is None else ",".join(map(str, view.statuses)) or NONE
        state["window"] = ",".join(f"{w:.6g}" for w in self.window or ())
        state["map"] = ",".join(self.map_axes) if len(self.map_axes) == 2 else ""
        state["quantity"] = self.quantity if self.quantity != QUANTITIES[0] else ""
        state["point"] = "" if self.point is None else str(self.point)
        state |= {FIT + path: repr(value) for path, value in self.fitted.items()}
        self.page.remember(state)


def _status_labels(sweep: Sweep) -> list[str]:
    """How many runs ended in which way, for the boxes that choose which of them count."""
    return [f"{c.name.replace('_', ' ')} ({n})" for c, n in sweep.status_counts.items()]


def _place_of_map(result: Result) -> list[str]:
    """At which value of the dimensions that colours and panels show a map is, none of the grid."""
    sweep, view = result.sweep, result.view
    dims = [d for d in (view.color, view.panel) if d and d not in (*sweep.grid.dims, STEP)]
    texts = [f"{d} = {sweep.labels(d, [sweep.at_slider(view, d)])[0]}" for d in dims]
    return [f"the map is at {', '.join(texts)}"] if texts and result.map is not None else []
