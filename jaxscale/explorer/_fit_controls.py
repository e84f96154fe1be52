"""Widgets that say what is fitted: the form, its columns, rows and options."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxscale.analysis._allocation import SIZES
from jaxscale.analysis._form import FORMS
from jaxscale.analysis._scales import COMPUTE
from jaxscale.explorer._fit_request import HUBERS, FitRequest, first_request, parts
from jaxscale.explorer._page import Page
from jaxscale.report._fit_file import RESIDUALS
from jaxscale.report._form_file import form_named

NONE = "none"
LOSSES = [("", "as of the form"), *((n, f"Huber, {n}" if n != "inf" else "squared errors")
                                    for n in HUBERS)]  # fmt: skip
REFITS = [("", "automatic"), ("0", NONE), *((n, n) for n in ("100", "200", "1000"))]
TITLES = {"n_parameters": "parameters N", "n_tokens": "tokens D", COMPUTE: "compute C"}
INSTEAD = {"n_parameters": "C / (6 D)", "n_tokens": "C / (6 N)"}


@dataclasses.dataclass(frozen=True)
class FitControls:
    """Selects of a page that ask for another fit.

    - `columns`: of the table that hold numbers; `forms`: that they suffice for.
    - `groups`: columns of few values, with these, by which rows are chosen or resampled.
    - `changed`: called with what is asked.
    """

    page: Page
    columns: Sequence[str]
    forms: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    changed: Callable[[FitRequest], None]

    def widgets(self, request: FitRequest) -> list[Any]:
        """The selects, as a request has them."""

        def change(field: str, value: str) -> None:
            self.changed(dataclasses.replace(request, **{field: value}))

        def select(title: str, options: Any, value: str, field: str) -> Any:
            return self.page.select(title, options, value, functools.partial(change, field))

        controls = [
            self.page.select("form", self.forms, request.form, lambda v: self._form(request, v)),
            *(self._column(request, role) for role in self._roles(request)),
        ]
        if self.groups:
            controls += self._rows(request)
        residuals = [("", "automatic (log)"), *((n, n) for n in RESIDUALS)]
        controls.append(select("residual", residuals, request.residual, "residual"))
        controls.append(select("loss of the fit", LOSSES, request.huber, "huber"))
        unused = [n for n in self.columns if n not in request.columns.values()]
        if unused:
            weights = [("", "equal"), *((n, n) for n in unused)]
            controls.append(select("weights", weights, request.weights, "weights"))
        if self.groups:
            resampled = [("", "single runs"), *((n, n) for n in self.groups)]
            controls.append(select("resampled together", resampled, request.resample, "resample"))
        controls.append(select("refits", REFITS, request.bootstrap, "bootstrap"))
        parameters = form_named(request.form).parameters
        for title, field in (("fixed", "fix"), ("bounds", "bound")):
            text = getattr(request, field)
            widget = self.page.typed(title, text, functools.partial(change, field))
            example = "0" if field == "fix" else "0:3"
            widget.placeholder = f"{next(iter(parameters))}={example}, ..."
            controls.append(widget)
        return controls

    @staticmethod
    def _roles(request: FitRequest) -> list[str]:
        """Inputs and result of the form, and compute where it takes the place of a size."""
        roles = [*request.roles]
        lacks_size = any(n in roles and n not in request.columns for n in SIZES)
        return [*roles, COMPUTE] if lacks_size else roles

    def _column(self, request: FitRequest, role: str) -> Any:
        empty = INSTEAD[role] if role and role == request.derived else NONE
        options = [("", empty), *((c, c) for c in self.columns)]

        def chosen(column: str) -> None:
            columns = {**request.columns, role: column}
            used = {n: c for n, c in columns.items() if c}
            self.changed(dataclasses.replace(request, columns=used).weighted(self.columns))

        title = TITLES.get(role, role)
        return self.page.select(title, options, request.columns.get(role, ""), chosen)

    def _rows(self, request: FitRequest) -> list[Any]:
        """Which rows are used."""
        name, _, value = request.where.partition("=")

        def where(name: str, value: str) -> None:
            text = f"{name}={value}" if name else ""
            self.changed(dataclasses.replace(request, where=text))

        names = [("", "all rows"), *((n, n) for n in self.groups)]
        first = {n: values[0] for n, values in self.groups.items()}
        rows = self.page.select("rows where", names, name, lambda n: where(n, first.get(n, "")))
        if not name:
            return [rows]
        values = self.groups.get(name, [value])
        return [rows, self.page.select(f"{name} is", values, value, lambda v: where(name, v))]

    def _form(self, request: FitRequest, form: str) -> None:
        """Take another form, with the columns that were chosen where it has the same inputs."""
        usual = first_request(form, self.columns)
        own = {n: c for n, c in request.columns.items() if n in usual.roles}
        free = {n: c for n, c in usual.columns.items() if c not in own.values()}
        names = FORMS[form].parameters
        texts = {
            field: ", ".join(t for t in parts(getattr(request, field)) if t.split("=")[0] in names)
            for field in ("fix", "bound")
        }
        made = dataclasses.replace(request, form=form, columns={**free, **own}, **texts)
        self.changed(made.weighted(self.columns))
