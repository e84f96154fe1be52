"""What the fit view is asked to fit: a form, columns of the table, rows and options."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._table import Table
from jaxscale.analysis._allocation import (
    FLOP_PER_PARAMETER_TOKEN,
    SIZES,
    OptimalAllocation,
    allocate,
)
from jaxscale.analysis._compare_forms import FormScores, compare_forms
from jaxscale.analysis._data import as_numbers, as_table
from jaxscale.analysis._form import FORMS, Form
from jaxscale.analysis._scales import COMPUTE
from jaxscale.explorer._fit_columns import guessed
from jaxscale.explorer._process_state import noted
from jaxscale.report._fit_file import Request, fixed_parameters, selected_rows
from jaxscale.report._form_file import SCALES, FormFile, form_named
from jaxscale.sweep._config import parse_value

if TYPE_CHECKING:
    import pandas

MOST_VALUES = 24  # of a column by which rows are filtered or resampled
FARTHEST, FACTOR = 1e26, 1000.0  # operations, and times the largest of the runs, of the slider
HUBERS = ("inf", "0.001", "0.01", "0.1")  # deltas that the page offers, as of `jaxscale fit`
COMPARED = ("residual", "loss", "weights")  # options of the fit that other forms take too
LARGEST = 1e40  # operations that can be typed
N_COMPUTES = 60  # of the curves of the best allocation


@dataclasses.dataclass(frozen=True)
class FitRequest:
    """A form and its columns, as the page has them.

    - `columns`: of the table, by the names of the form, and `compute` where that takes the place of
      a size: C = 6 N D.
    - `where`: `column=value` of the rows that are used, or nothing.
    - `residual`, `huber`, `weights`, `resample`, `bootstrap`: as of `jaxscale fit`, nothing for
      their defaults.
    - `fix`, `bound`: `parameter=value` and `parameter=low:high`, several with commas between.
    """

    form: str
    columns: Mapping[str, str]
    where: str = ""
    residual: str = ""
    huber: str = ""
    weights: str = ""
    resample: str = ""
    bootstrap: str = ""
    fix: str = ""
    bound: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the inputs and the result of the form."""
        own = form_named(self.form)
        return (*own.inputs, own.result)

    @property
    def derived(self) -> str:
        """The size that follows from compute and the other; nothing where both are columns."""
        lacking = [n for n in SIZES if n in self.roles and n not in self.columns]
        return lacking[0] if len(lacking) == 1 and COMPUTE in self.columns else ""

    @property
    def missing(self) -> list[str]:
        """Names of the form that have no column yet."""
        return [n for n in self.roles if n not in self.columns and n != self.derived]

    def weighted(self, columns: Sequence[str]) -> "FitRequest":
        """The same, without weights that are an input or the result, or no column."""
        is_column = self.weights in columns and self.weights not in self.columns.values()
        return self if is_column else dataclasses.replace(self, weights="")

    @property
    def of_shell(self) -> Request:
        """The same, as options of the command line."""
        return Request(
            data="", theory=None, form=self.form, residual=self.residual or None,
            huber=float(self.huber) if self.huber else None, weights=self.weights or None,
            resample=self.resample or None, fix=parts(self.fix), bound=parts(self.bound),
            bootstrap=int(self.bootstrap) if self.bootstrap else None,
        )  # fmt: skip

    def runs(self, table: "pandas.DataFrame") -> "pandas.DataFrame":
        """Rows and columns of a table that are fitted, also under the names of the form.

        **Raises** `ValueError` for columns that the table does not have, or that hold text.
        """
        if self.missing:
            names = ", ".join(self.missing)
            raise ValueError(f"`{self.form}` has no column for {names}: choose one at the left.")
        rows = selected_rows(table, [self.where] if self.where else [])
        columns = {n: self.columns[n] for n in self.roles if n in self.columns}
        rows = as_table(rows, columns)
        if self.derived:
            compute = self.columns[COMPUTE]
            (other,) = set(SIZES) - {self.derived}
            rows = as_numbers(as_table(rows, {COMPUTE: compute}), [COMPUTE, other])
            with np.errstate(all="ignore"):
                size: Any = rows[COMPUTE] / (FLOP_PER_PARAMETER_TOKEN * rows[other])
            rows = rows.assign(**{self.derived: size})
        return rows


def parts(text: str) -> tuple[str, ...]:
    """What stands between commas, without blanks."""
    return tuple(part for piece in text.split(",") if (part := "".join(piece.split())))


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fit, its parameters, its warnings, and the best allocation over compute if it has one."""

    request: FitRequest
    file: FormFile
    parameters: Table
    warnings: tuple[str, ...]
    curve: OptimalAllocation | None

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest compute that the slider reaches."""
        return ends_of(self.file.compute)

    def at(self, flop: float) -> FormFile:
        """The fit with one number of operations to allocate.

        **Raises** `ValueError` for one that is not positive.
        """
        return dataclasses.replace(self.file, flop=(flop,))

    def compared(self) -> tuple[FormScores, tuple[str, ...]]:
        """All forms of the same inputs, by the scales that `jaxscale fit` leaves out; warnings."""
        file = self.file
        own = (set(file.inputs), file.formula.result)
        forms = [f.function for f in FORMS.values() if (set(f.inputs), f.result) == own]
        by = COMPUTE if file.allocates else file.inputs[0]
        columns = {n: n for n in (*file.inputs, file.formula.result)}
        own_options = {n: o for n in COMPARED if (o := file.options.get(n)) is not None}
        with noted() as warned:
            scores = compare_forms(
                forms, file.runs, by=by, n_bins=SCALES, columns=columns, **own_options
            )
        return scores, tuple(warned)


def fitted(table: "pandas.DataFrame", request: FitRequest) -> Fitted:
    """Fit what is asked, and make ready what a slider of compute needs.

    **Raises** `ValueError` that says what is wrong with the table or the request.
    """
    form: Form = form_named(request.form)
    with noted() as warned:
        runs = request.runs(table)
        asked = request.of_shell
        fixed = fixed_parameters(form, asked)
        file = FormFile.fitted(form, runs, inputs=form.inputs, fixed=fixed, **asked.options)
        curve = None
        if file.allocates:
            curve = allocate(file.fit, np.geomspace(*ends_of(file.compute), N_COMPUTES))
            allocate(file.fit, [1e20])  # compiles what a slider asks
            _ = file.isoflop
        parameters = file.parameters_table()
    return Fitted(request, file, parameters, tuple(warned), curve)


def ends_of(compute: np.ndarray) -> tuple[float, float]:
    """Ends of the slider of compute: of the runs, to the larger of 1e26 and 1000 times theirs."""
    return float(compute.min()), float(max(FARTHEST, FACTOR * compute.max()))


def allocable(flop: float) -> float:
    """A number of operations that can be allocated; `ValueError` for what is none."""
    if not 0 < flop <= LARGEST:
        raise ValueError(f"`compute` must be positive, up to {LARGEST:g} operations, got {flop:g}.")
    return flop


def numeric_columns(table: "pandas.DataFrame") -> list[str]:
    """Columns that hold numbers, or some numbers and a text that a fit will refuse."""
    import pandas

    names = []
    for name in map(str, table.columns):
        numbers: Any = pandas.to_numeric(table[name], errors="coerce")
        if numbers.notna().mean() > 0.5 and table[name].dtype.kind not in "bmM":
            names.append(name)
    return names


def grouping_columns(table: "pandas.DataFrame") -> dict[str, list[str]]:
    """Columns with few values, each several times, and these values as `where` takes them."""
    from pandas.api.types import is_scalar

    groups = {}
    for name in (n for n in map(str, table.columns) if not set(n) & set("=!<>")):
        own: Any = table[name].dropna()
        if own.dtype == object and not own.map(is_scalar).all():  # lists, say
            continue
        values = sorted(own.unique().tolist(), key=lambda v: (str(type(v)), v))
        if 1 < len(values) <= min(MOST_VALUES, len(own) // 2):
            texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
            pairs = zip(texts, values, strict=True)
            groups[name] = [t for t, v in pairs if parse_value(t) == v]
    return {name: texts for name, texts in groups.items() if texts}


def offered_forms(columns: Sequence[str]) -> list[str]:
    """Forms for which a table has enough columns, those whose columns are guessed first."""
    enough = [n for n, f in FORMS.items() if len(columns) > len(f.inputs)]
    return sorted(enough, key=lambda n: bool(first_request(n, columns).missing))


def first_request(form: str, columns: Sequence[str]) -> FitRequest:
    """A form with the columns that their names suggest."""
    own = FORMS[form]
    roles = (own.result, *own.inputs)
    chosen = guessed(roles, columns)
    lacking = [n for n in SIZES if n in own.inputs and n not in chosen]
    if len(lacking) == 1:
        chosen |= guessed([COMPUTE], [c for c in columns if c not in chosen.values()])
    return FitRequest(form, chosen)
