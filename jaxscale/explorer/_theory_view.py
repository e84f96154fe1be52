"""The theory of one system: every number on a slider, every closed form as a curve."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import Toggle

from jaxscale._system import AbstractSystem
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._curve_figure import CurveFigure, Shown
from jaxscale.explorer._curves import curves_of, kind_of, log_axes, theory_table, why_no_theory
from jaxscale.explorer._file_buttons import file_buttons
from jaxscale.explorer._knobs import Knob, choices_in, number_of, shapes_in
from jaxscale.explorer._newest import Newest
from jaxscale.explorer._page import LOGS, Page, asked_log, escaped, html_table, log_option
from jaxscale.explorer._python import local_names
from jaxscale.explorer._theory_code import POINTS, theory_code
from jaxscale.explorer._theory_request import Request, compiled, evaluated, request_of
from jaxscale.explorer._theory_state import ChosenSystem
from jaxscale.paths import get
from jaxscale.report._figures import with_unit

RESTS = 250  # milliseconds after which a slider rests
NO_SLOPES = "none"  # of reference slopes in an address


class TheoryView:
    """A page that shows the theory of `system`.

    **Arguments**

    - `page`: the open page.
    - `system`: where the sliders start, before what the address says.
    """

    def __init__(self, page: Page, system: AbstractSystem):
        self.page, self._start = page, system
        self.figures: dict[str, CurveFigure] = {}
        self.knobs: dict[str, Knob] = {}
        self.forms: ClosedForms | None = None
        self._fine: ClosedForms | None = None
        self._own: dict[str, Any] = {}  # what the Python of the page uses and does not make
        self._constants = page.text("", name="constants")
        self._rests: Any = None
        self._refused: Exception | None = None  # to be said once the page is drawn
        self._drawn: dict[str, str] = {}  # address of what was drawn last
        self.x = ""
        self.slopes, self._references = "-1", [-1.0]
        slopes = page.given.get("slopes", self.slopes)
        self._take_slopes("" if slopes == NO_SLOPES else slopes)
        self._builder = Newest(page.document, compiled, self._built, self._failed)
        self._newest = Newest(page.document, evaluated, self._shown, page.say_error)
        self._open(page.given)

    def _open(self, given: Mapping[str, str]) -> None:
        """Draw what an address says."""
        self.chosen = ChosenSystem(self._start)
        self._asked_x, self.log = given.get("x", ""), asked_log(given)
        for error in self.chosen.restore(given):
            self._refuse(error)
        self._rebuild()

    @property
    def system(self) -> AbstractSystem:
        """The system that is shown."""
        return self.chosen.system

    def _refuse(self, error: ValueError) -> None:
        """Say what is wrong; of an address also once its page is drawn."""
        self.page.say_error(error)
        if self.forms is None:
            self._refused = error

    def _try(self, path: str, text: str) -> bool:
        """Set a field to what was chosen or typed; show why it cannot be."""
        try:
            dropped = self.chosen.set(path, text)
        except ValueError as error:
            self._refuse(error)
            return False
        for error in dropped:
            self.page.say_error(error)
            self._refused = error
        return True

    def _rebuild(self) -> None:
        """Compile the present structure in a thread, then draw it anew."""
        self._goes_back = False
        self.page.say("compiling the closed forms ...")
        if not self.page.main.children:
            self.page.show([], [])
        self._builder.ask((self.chosen.base, self.system, self._asked_x))

    def _built(self, result: Any) -> None:
        """Draw controls and figures of a structure that was compiled."""
        if self._builder.is_waiting:
            return  # of a structure that was left meanwhile
        system, forms, self.knobs, self.options, self.x, first = result
        self._asked_x = self._asked_x or self.x
        self.forms = forms
        self._fine = ClosedForms(forms.system, self.x, POINTS) if self.x in self.knobs else None
        with self.page.rebuilt():
            self._draw(first)
            self.page.show(self._controls(), self._main())
            self._remember()
            self.page.say(self._without_theory())
            if self._refused is not None:
                self.page.say_error(self._refused)
                self._refused = None
        if system is not self.system and not self._builder.is_waiting:  # moved meanwhile
            self._newest.ask(request_of(self.system, forms, self.knobs, self.x))
        if self._fine is not None:
            self._when_at_rest()

    def _failed(self, error: Exception) -> None:
        """Go back to what was drawn last, at first to the system of no address, and say why."""
        if self._builder.is_waiting:
            return  # of a structure that was left meanwhile
        if self._goes_back:  # to what fails, too
            return self.page.say_error(error)
        self._open(self._drawn)
        self._refused, self._goes_back = error, True

    def _draw(self, result: tuple[Request, Any]) -> None:
        """Make the figures anew."""
        schema = self.system.schema
        self.figures = {}
        curves = self._curves(result)
        self._list_constants([shown for shown in curves if shown.is_constant])
        for shown in (shown for shown in curves if not shown.is_constant):
            observable = schema.observables[shown.name]
            kind = kind_of(self.system, shown.name, self.x)
            title = f"<b>{escaped(observable.description)}</b> ({kind})"
            self.figures[shown.name] = CurveFigure(
                shown, self.page.theme, x=self.x, y=with_unit(shown.name, observable.units),
                title=self.page.text(title),
                log=self._logs(shown), why=observable.limits,
            )  # fmt: skip
        self._refer()

    def _list_constants(self, curves: list[Shown]) -> None:
        """List what does not depend on the x axis."""
        rows = [
            f"<tr><td>{escaped(f'{shown.name} {label}'.strip())}</td>"
            f"<td class=n>{'no value' if np.isnan(line[-1]) else f'{line[-1]:.5g}'}</td>"
            f"<td>{escaped(self.system.schema.observables[shown.name].description)}</td></tr>"
            for shown in curves
            for label, line in zip(shown.labels, shown.lines, strict=True)
        ]
        self._constants.text = html_table(f"Independent of {self.x}", rows) if rows else ""

    def _logs(self, shown: Shown) -> str:
        """Axes that are logarithmic: what was chosen, else those that span decades."""
        log = log_option(self.log)
        return log_axes(shown) if log is None else log

    def _curves(self, result: tuple[Request, Any]) -> list[Shown]:
        """Curves of every observable over the chosen axis."""
        request, (values, claims) = result
        at = request.at if self.x in self.knobs else None
        return curves_of(self.system, self.x, at, values, claims)

    def _shown(self, result: tuple[Request, Any]) -> None:
        """Move the curves to new values."""
        if self._builder.is_busy or result[0].forms not in (self.forms, self._fine):
            return  # of a structure that was left meanwhile
        curves = self._curves(result)
        with self.page.held():
            for shown in (shown for shown in curves if shown.name in self.figures):
                self.figures[shown.name].update(shown)
            self._list_constants([shown for shown in curves if shown.name not in self.figures])

    def moved(self, path: str, value: float) -> bool:
        """Follow a slider; whether its field takes the value."""
        if not self._try(path, repr(value)):
            return False
        if self.forms is not None and not self._builder.is_busy:
            self.page.say("")
            self._newest.ask(request_of(self.system, self.forms, self.knobs, self.x))
            self._when_at_rest()
        return True  # what is being compiled is drawn with the newest values

    def _when_at_rest(self) -> None:
        """Once nothing moves: fill in the curves, and write the state into the address."""
        if self._rests is not None:
            self.page.document.remove_timeout_callback(self._rests)
        self._rests = self.page.document.add_timeout_callback(self._at_rest, RESTS)

    def _at_rest(self) -> None:
        self._rests = None
        if self._builder.is_busy:
            return
        self._remember()
        self.code.text = self._python()
        if self._fine is not None:
            self._newest.ask(request_of(self.system, self._fine, self.knobs, self.x))

    def _python(self) -> str:
        """Lines that draw what is shown; made here, for what a browser sends is never run."""
        log, slopes = log_option(self.log), self._references
        self._own.update(local_names(self.system))
        return theory_code(self.system, self.x, self.knobs.get(self.x), log, slopes)

    def _restructured(self, path: str, text: str) -> bool:
        is_taken = self._try(path, text)
        if is_taken:
            self._rebuild()
        return is_taken

    def _new_axis(self, x: str) -> None:
        self._asked_x = x
        self._rebuild()

    def _new_log(self, log: str) -> None:
        self.log = log
        self._rebuild()

    def _new_slopes(self, text: str) -> bool:
        if not self._take_slopes(text):
            return False
        if not self._builder.is_busy:
            self.page.say(self._without_theory())
            self._refer()
            self.code.text = self._python()
            self._remember()
        return True

    def _take_slopes(self, text: str) -> bool:
        """Keep exponents of the dotted lines, or say why the text says none."""
        try:
            self._references = [number_of("slopes", s) for s in text.split(",") if s.strip()]
        except ValueError as error:
            self._refuse(error)
            return False
        self.slopes = text
        return True

    def _refer(self) -> None:
        for figure in self.figures.values():
            figure.refer(self._references)

    def _remember(self) -> None:
        state = {"x": self._asked_x, "log": self.log if self.log != "auto" else ""}
        state["slopes"] = "" if self.slopes == "-1" else self.slopes.strip() or NO_SLOPES
        self._drawn = state | self.chosen.address()
        self.page.remember(self._drawn)

    def _controls(self) -> list[Any]:
        page = self.page
        axis = page.select("x axis", self.options or [""], self.x, self._new_axis)
        log = page.select("axes", list(LOGS.items()), self.log, self._new_log)
        sliders = [
            page.slider(knob, float(get(self.system, path)), functools.partial(self.moved, path))
            for path, knob in self.knobs.items()
            if path != self.x
        ]
        choices = [
            page.select(c.path, c.options, c.value, functools.partial(self._restructured, c.path))
            for c in choices_in(self.system, self.chosen.start)
        ]
        shapes = [
            page.typed(s.path, str(s.value), functools.partial(self._restructured, s.path))
            for s in shapes_in(self.system)
        ]
        slopes = page.typed("reference slopes", self.slopes, self._new_slopes)
        return [axis, log, *sliders, slopes, *choices, *shapes]

    def _main(self) -> list[Any]:
        page = self.page
        self.code = page.hidden("code", self._python())
        return [
            page.grid([figure.layout for figure in self.figures.values()]),
            page.bar(self._buttons()),
            self._constants,
            self.code,
            page.text(theory_table(self.system)),
        ]

    def _buttons(self) -> list[Any]:
        page = self.page
        pin = Toggle(label="pin curves", stylesheets=[page.styles], name="pin curves")
        pin.on_change("active", lambda _, old, new: self._pin(new))
        copy, *files = file_buttons(page, self.code, self._python, self._own)
        return [copy, pin, *files]

    def _pin(self, is_pinned: bool) -> None:
        for figure in self.figures.values():
            figure.pin(is_pinned)

    def _without_theory(self) -> str:
        if not self.system.schema.predicted():
            return why_no_theory(self.system)
        return "" if self._asked_x == self.x else (
            f"no curve can be drawn over {self._asked_x} now: the x axis is {self.x} meanwhile"
        )  # fmt: skip
