"""A table of runs: a form fitted to it, what it says of compute, and whether it holds."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale._table import Table
from jaxscale._warn import collected
from jaxscale.analysis._allocation import OptimalAllocation
from jaxscale.analysis._data import as_table
from jaxscale.explorer._allocation_figure import AllocationFigure
from jaxscale.explorer._file_buttons import file_buttons
from jaxscale.explorer._fit_code import fit_code
from jaxscale.explorer._fit_controls import TITLES, FitControls
from jaxscale.explorer._fit_figures import (
    FITTED,
    isoflop_of_page,
    residual_names,
    residuals_of_page,
    runs_figure,
)
from jaxscale.explorer._fit_request import (
    FitRequest,
    Fitted,
    allocable,
    fitted,
    grouping_columns,
    numeric_columns,
    offered_forms,
)
from jaxscale.explorer._fit_state import restored, state_of
from jaxscale.explorer._knobs import Knob, number_of
from jaxscale.explorer._newest import LONG, THREADS, Newest, Tried, tried
from jaxscale.explorer._page import Page, escaped
from jaxscale.explorer._process_state import CHANGED
from jaxscale.explorer._table_html import table_html
from jaxscale.report._form_file import FormFile

RESTS = 250  # milliseconds after which a slider rests
COMPUTE_TITLE = "compute C = 6 N D, operations"
SHARE = 0.1  # of the decades of the slider, above the runs, at which it starts


class FitView:
    """A page that fits a table of runs.

    **Arguments**

    - `page`: the open page.
    - `given`: a DataFrame, or the path of a table.

    **Raises** `ValueError` for what is no table with two columns of numbers.
    """

    def __init__(self, page: Page, given: Any):
        self.page = page
        self.path = str(given) if isinstance(given, str | Path) else None
        with collected() as self._reading:
            self.table = as_table(as_table(given).rename(columns=str))
        self.columns = numeric_columns(self.table)
        self.forms = offered_forms(self.columns)
        if self.table.empty:
            raise ValueError("`data` must have a row for each run, got none.")
        if not self.forms:
            raise ValueError(
                f"`data` must have two columns of numbers or more, got {len(self.columns)} of "
                f"{self.table.shape[1]} columns: a form fits one to others."
            )
        self.request = restored(page.given, self.forms, self.columns)
        self.compute = page.given.get("compute", "")
        self.against = page.given.get("against", FITTED)
        self.fitted: Fitted | None = None
        self._figure: AllocationFigure | None = None
        self._rests: Any = None
        self._fits = Newest(
            page.document, tried(lambda request: fitted(self.table, request)), self._shown,
            self._failed, LONG,
        )  # fmt: skip
        self._allocations = self._of_fit(self._allocated, self._show_allocation, THREADS)
        self._held_out = self._of_fit(self._without_scales, self._show_scores, LONG)
        self._compared = self._of_fit(self._all_forms, self._show_scores, LONG)
        self.results, self.residuals = page.column(), page.column()
        self.code = page.hidden("code")
        names = ("parameters", "warnings", "best", "exponents", "held out", "forms")
        self.texts = {name: page.text("", name=name) for name in names}
        self._residuals_against = page.select(
            "residuals against", [self.against], self.against, self._new_against
        )
        self._slider: tuple[tuple[float, float], Any] | None = None  # its ends, its layout
        self._controls = FitControls(
            page, self.columns, self.forms, grouping_columns(self.table), self._set
        )
        scores = [self.texts["held out"], self.texts["forms"]]
        page.show(self._controls.widgets(self.request), [self.results, *scores, self.code])
        self.refresh()

    def _of_fit(
        self,
        compute: Callable[..., Any],
        show: Callable[..., None],
        threads: ThreadPoolExecutor,
    ) -> Newest:
        """Work on the fit that is first in a request, shown or refused while that fit is shown."""

        def done(made: Tried) -> None:
            (result, *_), shown, error = made
            if result is not self.fitted:
                return None
            return show(*shown) if error is None else self.page.say_error(error)

        work = tried(lambda request: compute(*request))
        return Newest(self.page.document, work, done, self.page.say_error, threads)

    def refresh(self) -> None:
        """Fit what is asked."""
        self._remember()
        if self.request.missing:
            names = ", ".join(TITLES.get(n, n) for n in self.request.missing)
            self._clear()
            return self.page.say(f"choose the column of {names}, or another form", is_warning=True)
        self.page.say(f"fitting {self.request.form} to {len(self.table):,} rows ...")
        self._fits.ask(self.request)

    def _clear(self) -> None:
        self.fitted = self._figure = None
        self.results.children = []
        self._forget_scores()

    def _forget_scores(self) -> None:
        self.texts["held out"].text = self.texts["forms"].text = ""

    def _failed(self, error: Exception) -> None:
        """Say what a fit refuses; numbers of the fit before it would be misleading."""
        self._clear()
        self.page.say_error(error)

    def _shown(self, made: Tried) -> None:
        """Draw a fit, or say why there is none, unless its request was left."""
        request, result, error = made
        if request is not self.request:
            return
        if error is not None:
            return self._failed(error)
        with self.page.rebuilt():
            self._draw(result)

    def _draw(self, result: Fitted) -> None:
        page, file = self.page, result.file
        self.fitted = result
        self._figure = None
        self._forget_scores()
        self._draw_residuals(file)
        figures = [runs_figure(page, file, result.request.columns), self._residuals(file)]
        self.texts["parameters"].text = table_html(result.parameters)
        tops: list[Any] = [self.texts["parameters"]]
        said = ""
        if result.curve is not None:
            self._figure = AllocationFigure(page, file, result.curve)
            figures.insert(1, self._figure.layout)
            tops.append(self._allocation(result))
        if file.allocates and file.isoflop is not None:
            figures.insert(2, isoflop_of_page(page, file, file.isoflop))
            said = f"<p>{escaped(file.two_exponents(file.isoflop))}</p>"
        self.texts["exponents"].text = said
        warned = (*self._reading, *result.warnings)
        notes = [f'<p class="warn">{escaped(text)}</p>' for text in warned]
        self.texts["warnings"].text = "".join(notes)
        self.results.children = [
            self.texts["warnings"], page.grid(tops), self.texts["exponents"], page.grid(figures),
            page.bar(self._buttons()),
        ]  # fmt: skip
        page.say("")
        if result.curve is not None:
            self._mark(*self._allocated(result, self._chosen(result)))
        self._write_code()
        self._remember()

    def _allocation(self, result: Fitted) -> Any:
        """Slider of compute, and what is best there."""
        if self._slider is None or self._slider[0] != result.ends:
            knob, value = Knob("compute", *result.ends, is_log=True), self._chosen(result)
            layout = self.page.slider(knob, value, self.moved, title=COMPUTE_TITLE, check=allocable)
            self._slider = result.ends, layout
        column = self.page.column()
        column.children = [self._slider[1], self.texts["best"]]
        return column

    def _residuals(self, file: FormFile) -> Any:
        self._residuals_against.options = [*residual_names(file)]
        self._residuals_against.value = self.against
        column = self.page.column()
        column.children = [self.residuals, self._residuals_against]
        return column

    def _draw_residuals(self, file: FormFile) -> None:
        self.against = self.against if self.against in residual_names(file) else FITTED
        self.residuals.children = [residuals_of_page(self.page, file, self.against)]

    def _chosen(self, result: Fitted) -> float:
        """Operations of the address, else some above the runs."""
        high = result.ends[1]
        try:
            return allocable(number_of("compute", self.compute))
        except ValueError as error:
            if self.compute:
                self.page.say_error(error)
        largest = float(result.file.compute.max())
        return float(f"{largest * (high / largest) ** SHARE:.2g}")

    def moved(self, flop: float) -> None:
        """Follow the slider of compute."""
        self.compute = repr(flop)
        self.page.say("")
        self._allocations.ask((self.fitted, flop))
        if self._rests is not None:
            self.page.document.remove_timeout_callback(self._rests)
        self._rests = self.page.document.add_timeout_callback(self._at_rest, RESTS)

    def _at_rest(self) -> None:
        self._rests = None
        self._remember()
        self._write_code()

    @staticmethod
    def _allocated(result: Fitted, flop: float) -> tuple[OptimalAllocation, str]:
        """The best allocation of a number of operations, and its table."""
        file = result.at(flop)
        return file.allocated, table_html(file.allocation_table())

    def _show_allocation(self, best: OptimalAllocation, table: str) -> None:
        with self.page.held():
            self._mark(best, table)

    def _mark(self, best: OptimalAllocation, table: str) -> None:
        """Mark an allocation in the figure, and write it below the slider."""
        if self.fitted is None or self._figure is None:
            return
        self._figure.mark(best)
        y = self.fitted.file.formula.result
        low, high = (float(end.ravel()[0]) for end in best.interval[y])
        ends = f" ({low:.4g} to {high:.4g})" if np.isfinite(low + high) else ""
        far = float(best.decades_outside.ravel()[0])
        where = f"{far:.1f} decades outside of the runs" if far > 0 else "inside of the runs"
        line = f"{y} {float(best.best[y].ravel()[0]):.4g}{ends}, {where}"
        self.texts["best"].text = f"<p><b>{escaped(line)}</b></p>{table}"

    @staticmethod
    def _without_scales(result: Fitted) -> tuple[str, str]:
        with CHANGED:
            tables = result.file.with_held_out().held_out_tables()
        return "held out", "".join(map(table_html, tables))

    @staticmethod
    def _all_forms(result: Fitted) -> tuple[str, str]:
        try:
            scores, warned = result.compared()
        except ValueError as error:
            return "forms", table_html(Table("Forms", f"no scores: {error}", [], []))
        table = scores.table()
        options = result.request.of_shell
        aside = ["all parameters free, in their own bounds"] if options.fix or options.bound else []
        note = "; ".join([table.note.rstrip("."), *aside, *warned])
        made = dataclasses.replace(table, title="Forms, the best first", note=note)
        return "forms", table_html(made)

    def _show_scores(self, name: str, text: str) -> None:
        self.texts[name].text = text
        self.page.say("")

    def _new_against(self, name: str) -> None:
        if self.fitted is not None and name != self.against:
            self.against = name
            self._draw_residuals(self.fitted.file)
            self._remember()

    def _set(self, request: FitRequest) -> None:
        """Fit something else; the controls follow."""
        self.request = request
        self.page.controls.children = self._controls.widgets(request)
        self.refresh()

    def _buttons(self) -> list[Any]:
        page = self.page
        given = {} if self.path is not None else {"runs": self.table}
        buttons = file_buttons(page, self.code, self._python, given)
        leave = page.button("leave each scale out")
        leave.on_click(lambda: self._ask(self._held_out, "fitting without each scale ..."))
        compare = page.button("compare forms")
        compare.on_click(lambda: self._ask(self._compared, "fitting all forms of these inputs ..."))
        return [*buttons, leave, compare]

    def _ask(self, work: Newest, message: str) -> None:
        self.page.say(message)
        work.ask((self.fitted,))

    def _python(self) -> str:
        """Lines that fit and draw this; made here, for what a browser sends is never run."""
        result = self.fitted
        if result is None:
            raise ValueError("`page` must show a fit before it is saved: choose the columns.")
        has_curve = result.curve is not None
        compute = self._chosen(result) if has_curve else None
        ends = result.ends if has_curve else None
        return fit_code(result.request, self.path, compute=compute, ends=ends)

    def _write_code(self) -> None:
        if self.fitted is not None:
            self.code.text = self._python()

    def _remember(self) -> None:
        against = self.against if self.against != FITTED else ""
        state = state_of(self.request, self.columns)
        self.page.remember({**state, "against": against, "compute": self.compute})
