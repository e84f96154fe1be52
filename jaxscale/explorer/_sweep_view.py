"""A sweep: any dimension as x, colour, panel or slider; a map, all runs, and one run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import CheckboxGroup, CustomJS

from jaxscale._status import Status
from jaxscale.explorer._exponent_table import exponent_table, lowest
from jaxscale.explorer._export import EXPORTS, export
from jaxscale.explorer._linked import Linked
from jaxscale.explorer._newest import Newest
from jaxscale.explorer._page import COPY, Page, escaped
from jaxscale.explorer._run_card import run_card
from jaxscale.explorer._sweep import Curves, Sweep, View
from jaxscale.explorer._sweep_code import sweep_code
from jaxscale.explorer._sweep_figures import SweepFigures, logarithmic
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
from jaxscale.explorer._sweep_theory import (
    Theory,
    calibrated,
    fitted_fields,
    theory_of_view,
)

NONE = "none"
COMPILES = "theory is being compiled"
ROLES = ("x", "color", "panel")
AT, FIT = "at.", "fit."  # begin indices of sliders and calibrated fields in an address
LOOKS = 2000  # milliseconds between looks at a store that grows
LOGS = (("auto", "automatic"), ("", "linear"), ("x", "x logarithmic"), ("y", "y logarithmic"),
        ("xy", "both logarithmic"))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Result:
    """What a page shows of a view."""

    view: View
    curves: Curves
    theory: Theory
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
        self.fitted = {n.removeprefix(FIT): float(t) for n, t in page.given.items()
                       if n.startswith(FIT)}  # fmt: skip
        self.fit_note = "calibrated before" if self.fitted else ""
        self.view = self._restored(page.given)
        self.log = page.given.get("log", "auto")
        self.quantity = page.given.get("quantity", QUANTITIES[0])
        self.window = self._window(page.given.get("window", ""))
        self.point = int(page.given["point"]) if page.given.get("point", "").isdigit() else None
        self.map_axes = self._map_axes(page.given)
        self._newest = Newest(page.document, self._read, self._shown, page.say_error)
        self._compiled: set[Any] = set()  # structures whose theory is there at once
        self._theories = Newest(page.document, self._predict, self._with_theory, page.say_error)
        self._calibration = Newest(page.document, self._fit, self._fitted, page.say_error)
        self._exports = Newest(
            page.document, lambda asked: export(*asked), lambda file: page.download(*file),
            page.say_error,
        )  # fmt: skip
        self.curves, self.table = page.grid([]), page.text("", name="exponents")
        self.maps, self.card = page.grid([]), page.column()
        self.note, self.code = page.text("", name="note"), page.text("", visible=False, name="code")
        page.show(self._controls(), self._main())
        self.refresh()
        if self.sweep.is_growing:
            page.document.add_periodic_callback(self._look, LOOKS)

    def _restored(self, given: Mapping[str, str]) -> View:
        """The view that an address says, where it fits the sweep."""
        view, sweep = self.sweep.default_view(), self.sweep
        if given.get("observable") in sweep.observables:
            view = dataclasses.replace(view, observable=given["observable"])
        dims = sweep.dims(view.observable)
        for role in ROLES:
            asked = given.get(role)
            if asked in dims or (asked == NONE and role != "x"):
                view = dataclasses.replace(view, **{role: "" if asked == NONE else asked})
        at = {n.removeprefix(AT): int(t) for n, t in given.items()
              if n.startswith(AT) and t.isdigit()}  # fmt: skip
        statuses = given.get("status", "")
        codes = tuple(int(c) for c in statuses.split(",") if c.isdigit())
        return dataclasses.replace(view, at=at, statuses=codes if statuses else None)

    def _window(self, text: str) -> tuple[float, float]:
        """Where exponents are fitted: as given, else the last decade of the x axis."""
        parts = text.split(",")
        try:
            return float(parts[0]), float(parts[1])
        except (ValueError, IndexError):
            x = self.sweep.runs[self.view.x]
            values = np.asarray(x, float) if x.dtype.kind in "iuf" else np.ones(1)
            last = float(values.max())
            return max(last / 10, float(values[values > 0].min(initial=last))), last

    def _map_axes(self, given: Mapping[str, str]) -> tuple[str, ...]:
        axes = self.sweep.axes
        asked = tuple(a for a in given.get("map", "").split(",") if a in axes)
        return asked if len(set(asked)) == 2 else tuple(axes[:2])

    def refresh(self) -> None:
        """Read and draw the present view."""
        self._newest.ask((self.view, self.map_axes, self.quantity, self.window, dict(self.fitted)))
        self._remember()

    def _read(self, request: Any) -> Result:
        """Read what a view shows, in a thread."""
        view, axes, quantity, window, fitted = request
        sweep = self.sweep
        curves = sweep.curves(view)
        key = (view.observable, view.x, view.color, view.panel, tuple(fitted))
        is_compiled = key in self._compiled
        theory = (
            theory_of_view(sweep, view, curves, fitted) if is_compiled else Theory(None, COMPILES)
        )
        notes, shown_map, every = [], None, None
        if len(axes) == 2:
            n = np.prod([len(sweep.grid.axes[a]) for a in axes])
            if n <= MOST_CELLS:
                shown_map = cells(sweep, view, axes, quantity, window)
            else:
                notes.append(f"no map: {n} cells, more than {MOST_CELLS}")
        if len(sweep.axes) > 1:
            dims = tuple(sweep.axes)
            if sweep.runs[view.observable].size > MOST_READ:
                dims = axes
                notes.append("all runs are too many to read: only those of the map are lines")
            every = cells(sweep, view, dims, quantity, window) if dims else None
        return Result(view, curves, theory, shown_map, every, "; ".join(notes))

    def _predict(self, request: tuple[Result, dict[str, float]]) -> Result:
        """Add the theory to what is shown already, in a thread."""
        result, fitted = request
        view = result.view
        theory = theory_of_view(self.sweep, view, result.curves, fitted)
        self._compiled.add((view.observable, view.x, view.color, view.panel, tuple(fitted)))
        return dataclasses.replace(result, theory=theory)

    def _shown(self, result: Result) -> None:
        """Draw what was read."""
        page, view = self.page, result.view
        self._result = result
        log = None if self.log == "auto" else self.log
        logs = logarithmic(result.curves, log)
        every = None if result.all is None or not result.all.dims else thinned(result.all)
        drawable = bool(np.isfinite(result.curves.mean).any())
        kind = (
            view.observable, view.x, view.color, view.panel, result.curves.labels,
            result.curves.panel_labels, result.theory.values is None, logs, drawable,
            kind_of(result.map), kind_of(every),
        )  # fmt: skip
        with page.at_once():
            if kind == self._kind:
                self._move(result, every)
            else:
                self._kind = kind
                self._draw(result, every, logs, drawable)
            self._tell(result, log)
        if self.point is not None and result.theory.note != COMPILES:
            self.select(self.point)
        if result.theory.note == COMPILES:
            self._theories.ask((result, dict(self.fitted)))

    def _draw(
        self, result: Result, every: Cells | None, logs: tuple[bool, bool], drawable: bool
    ) -> None:
        """Make figures anew."""
        page, view, linked = self.page, result.view, Linked(self.select)
        unit = self.sweep.runs[view.observable].attrs.get("units", "")
        label = f"{view.observable} [{unit}]" if unit not in ("", "1") else view.observable
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

    def _tell(self, result: Result, log: str | None) -> None:
        """Write tables, notes and the Python of what is shown."""
        page, view = self.page, result.view
        self.table.text = self._tables(result)
        self.note.text = self._notes(result)
        has_theory = result.theory.values is not None
        self.calibrate.disabled = not (has_theory and fitted_fields(self.sweep, view))
        self.code.text = sweep_code(self.sweep, view, self.fitted, has_theory, log)
        page.say("")

    def _with_theory(self, result: Result) -> None:
        if self._result is not None and result.curves is self._result.curves:
            self._shown(result)

    def _tables(self, result: Result) -> str:
        parts = []
        if result.view.x in self.sweep.grid.axes:
            parts.append(lowest(result.view, result.curves, self.sweep))
        parts.append(exponent_table(result.view, result.curves, result.theory.values, self.window))
        return "".join(parts)

    def _notes(self, result: Result) -> str:
        """What is drawn, how many runs failed, and what theory it is."""
        view, lines = result.view, []
        observable = self.sweep.runs[view.observable]
        n = result.curves.values.shape[2]
        if view.x != "seed":
            lines.append(f"{observable.attrs.get('long_name', view.observable)}: "
                         f"mean and standard deviation over {n} seeds")  # fmt: skip
        colors, panels = result.curves.colors, result.curves.panels
        for role, chosen in ((view.color, colors), (view.panel, panels)):
            if role and len(chosen) < self.sweep.runs.sizes[role]:
                lines.append(f"{len(chosen)} of {self.sweep.runs.sizes[role]} values of {role}")
        counts = self.sweep.status_counts()
        ended = ", ".join(f"{n} {c.name.replace('_', ' ')}" for c, n in counts.items())
        lines.append(f"{sum(counts.values())} runs: {ended}")
        has_note = result.theory.values is not None or result.theory.note == COMPILES
        lines.append(result.theory.note if has_note else f"no theory: {result.theory.note}")
        lines += [self.fit_note] if self.fit_note else []
        lines += [result.note] if result.note else []
        if counts.get(Status.not_run):
            lines.append("not complete: new runs appear as they end")
        return "".join(f"<p>{escaped(line)}</p>" for line in lines)

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
        taken = [changed[role] for role in ROLES if changed.get(role)]
        for role in (r for r in ROLES if r not in changed and getattr(view, r) in taken):
            free = [d for d in self.sweep.dims(view.observable) if d not in taken]
            other = next(iter(free), "") if role == "x" else ""
            view = dataclasses.replace(view, **{role: other})
        dims = self.sweep.dims(view.observable)
        if view.x not in dims:
            view = dataclasses.replace(view, x=next(iter(dims), "seed"))
        for role in ("color", "panel"):
            if getattr(view, role) not in (*dims, ""):
                view = dataclasses.replace(view, **{role: ""})
        if view.x != self.view.x:
            self.view = view
            self.window = self._window("")
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
            page.select("axes", LOGS, self.log, self._new_log),
        ]  # fmt: skip
        for dim, index in sweep.indices(view).items():
            controls.append(page.index_slider(dim, sweep.labels(dim), index, self._slid))
        counts = sweep.status_counts()
        codes = list(counts)
        labels = [f"{c.name.replace('_', ' ')} ({n})" for c, n in counts.items()]
        active = [i for i, c in enumerate(codes) if view.statuses is None or c in view.statuses]
        boxes = CheckboxGroup(
            labels=labels, active=active, name="runs that count", stylesheets=[page.styles]
        )
        boxes.on_change(
            "active", lambda _, old, new: self._filtered([codes[i] for i in new], codes)
        )
        controls += [page.text("<b>runs that count</b>"), boxes]
        low, high = self.window
        window = page.typed("window of exponents", f"{low:g}, {high:g}", self._new_window)
        controls.append(window)
        if len(sweep.axes) > 1:
            for k, title in enumerate(("map: across", "map: up")):
                controls.append(page.select(title, sweep.axes, self.map_axes[k],
                                            lambda v, k=k: self._new_map(k, v)))  # fmt: skip
        controls.append(page.select("map: quantity", QUANTITIES, self.quantity, self._new_quantity))
        return controls

    def _main(self) -> list[Any]:
        page = self.page
        copy = page.button("copy as Python")
        copy.js_on_click(CustomJS(args={"text_of": self.code}, code=COPY))
        self.calibrate = page.button("calibrate theory")
        self.calibrate.on_click(lambda: self._calibrate())
        buttons = [copy, self.calibrate]
        for kind in EXPORTS:
            button = page.button(kind.upper())
            button.on_click(lambda k=kind: self._exports.ask((k, self.code.text, self._names())))
            buttons.append(button)
        return [self.note, self.curves, page.bar(buttons), self.code, self.table, self.maps,
                self.card]  # fmt: skip

    def _names(self) -> dict[str, Any]:
        return {} if self.sweep.path else {"runs": self.sweep.runs}

    def _calibrate(self) -> None:
        self.page.say("calibrating ...")
        self._calibration.ask(self.view)

    def _fit(self, view: View) -> tuple[dict[str, float], str]:
        return calibrated(self.sweep, view, self.sweep.curves(view))

    def _fitted(self, result: tuple[dict[str, float], str]) -> None:
        self.fitted, self.fit_note = result
        self.refresh()

    def _filtered(self, codes: list[Status], every: list[Status]) -> None:
        statuses = None if len(codes) == len(every) else tuple(int(c) for c in codes)
        self.view = dataclasses.replace(self.view, statuses=statuses)
        self.refresh()

    def _new_log(self, log: str) -> None:
        self.log = log
        self.refresh()

    def _new_window(self, text: str) -> None:
        self.window = self._window(text)
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

    def _look(self) -> None:
        """Show new chunks of a store that grows."""
        try:
            if self.sweep.changed():
                self.page.controls.children = self._controls()
                self.refresh()
        except ValueError as error:
            self.page.say_error(error)

    def _remember(self) -> None:
        view = self.view
        state = {"observable": view.observable, "x": view.x, "color": view.color or NONE}
        state |= {"panel": view.panel, "log": "" if self.log == "auto" else self.log or "linear"}
        state |= {AT + d: str(i) for d, i in view.at.items() if d in self.sweep.sliders(view)}
        state["status"] = (
            "" if view.statuses is None else ",".join(map(str, view.statuses)) or "none"
        )
        state["window"] = ",".join(f"{w:.6g}" for w in self.window)
        state["map"] = ",".join(self.map_axes) if len(self.map_axes) == 2 else ""
        state["quantity"] = self.quantity if self.quantity != QUANTITIES[0] else ""
        state["point"] = "" if self.point is None else str(self.point)
        state |= {FIT + path: repr(value) for path, value in self.fitted.items()}
        self.page.remember(state)
