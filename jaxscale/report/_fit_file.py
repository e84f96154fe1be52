"""`jaxscale fit`: a CSV file or a store, a theory by name, and what to fit, all as text."""

import dataclasses
import inspect
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxscale._files import require_file
from jaxscale._labels import match_labels
from jaxscale._text import choices, of_argument, once, unknown
from jaxscale._theories import theory_named
from jaxscale._warn import warn_user
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import as_numbers, as_table, require_columns, require_numbers
from jaxscale.analysis._form import Form
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._table_file import of_file
from jaxscale.analysis.bounds import AbstractBound, Between
from jaxscale.analysis.residuals import AbstractLoss, Huber, Log, LogMean, Scaled, Squared
from jaxscale.paths import replace
from jaxscale.report._fitted import fit_figure
from jaxscale.report._form_file import FormFile, form_named
from jaxscale.report._plot import plot
from jaxscale.sweep._config import parse_value
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._locate import is_remote
from jaxscale.sweep._open import open_store
from jaxscale.sweep._predict import closed_forms, grid_of, no_theory, theory_layout

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

RESIDUALS = {"log": Log, "scaled": Scaled}  # of tables
OF_RUNS = {**RESIDUALS, "log_mean": LogMean}
RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
CONDITION = re.compile("(.+?)(<=|>=|!=|==|[=<>])(.*)")


@dataclasses.dataclass(frozen=True)
class Request:
    """Options of the command line, as the user wrote them."""

    data: str
    theory: str | None
    form: str | None = None
    at: tuple[str, ...] = ()
    x: tuple[str, ...] = ()
    y: str | None = None
    free: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    each: str | None = None
    residual: str | None = None
    huber: float | None = None
    bootstrap: int | None = None
    resample: str | None = None
    weights: str | None = None
    key: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `calibrate`."""
        if self.residual is not None and self.residual not in OF_RUNS:
            raise unknown("`residual`", self.residual, OF_RUNS)
        return {
            "each": self.each,
            "residual": None if self.residual is None else OF_RUNS[self.residual](),
            "loss": self.loss,
            "bounds": {name: _bound(name, text) for name, text in _named("bound", self.bound)},
            "bootstrap": self.bootstrap,
            "resample": self.resample,
            "weights": self.weights,
            "key": self.key,
        }

    @property
    def loss(self) -> AbstractLoss | None:
        """Huber's loss, or squares where its delta is infinite; None by default."""
        if self.huber == np.inf:
            return Squared()
        return None if self.huber is None else Huber(delta=np.asarray(self.huber))

    @property
    def fixed(self) -> dict[str, float]:
        """Values of the parameters that are not fitted, by name."""
        return {n: _number("fix", f"{n}={text}", text) for n, text in _named("fix", self.fix)}

    @property
    def starts(self) -> dict[str, float | None]:
        """Starts of the free parameters by name, None where none is given."""
        once("free", [(text.partition("=")[0], text) for text in self.free])
        starts: dict[str, float | None] = {}
        for text in self.free:
            name, equals, value = text.partition("=")
            starts[name] = _number("free", text, value) if equals else None
        return starts


Fit: TypeAlias = "tuple[Calibration, Callable[[], matplotlib.figure.Figure]]"


def fit_file(request: Request) -> Fit:
    """Fit a theory to a file or a store.

    **Returns** the calibration, and a function that draws it.

    **Raises** `ValueError` that names an invalid option.
    """
    if not is_remote(request.data):
        require_file("data", Path(request.data), folder=True)
    if request.at:
        raise ValueError("`at` belongs to a form: add --form, for example --form chinchilla.")
    return _fit_store(request) if request.theory is None else _fit_table(request)


def fit_form(request: Request) -> FormFile:
    """Fit a form to a file.

    **Raises** `ValueError` that names an invalid option.
    """
    require_file("data", Path(request.data))
    form = form_named(str(request.form))
    if request.theory is not None:
        raise ValueError("`theory` and `form` must not both be given.")
    if request.free:
        rest = [n for n in form.parameters if n not in request.starts]
        way_out = ": leave out --free."
        if rest and set(request.starts) <= set(form.parameters):
            fixed = " ".join(f"--fix {n}=VALUE" for n in rest)
            command = f"jaxscale fit {request.data} --form {request.form} {fixed}"
            way_out = f". To fix {', '.join(rest)}: {command}"
        raise ValueError(
            f"`free` belongs to a theory: {request.form} frees what --fix does not, of "
            f"{', '.join(form.parameters)}{way_out}"
        )
    fixed = fixed_parameters(form, request)
    formula = Formula(form.function, fixed)
    inputs = _columns(formula, request.x)
    y = _result_column(request, formula.result)
    columns = inputs | ({} if y is None else {formula.result: y})
    formula.check_columns(columns)
    table = selected_rows(as_table(request.data, columns), request.where)
    return FormFile.make(form, table, request.at, fixed, [*inputs], **request.options)


def fixed_parameters(form: Form, request: Request) -> dict[str, float]:
    """Values of the parameters of a form that a request fixes.

    **Raises** `ValueError` for a name that the form does not have, or what is no number.
    """
    _require_arguments(form.function, "fix", request.fix)
    return request.fixed


def _fit_table(request: Request) -> Fit:
    function = theory_named(str(request.theory))
    _require_free(request, inspect.signature(function).parameters)
    for option, texts in (("free", request.free), ("fix", request.fix)):
        _require_arguments(function, option, texts)
    fixed = {name: parse_value(text) for name, text in _named("fix", request.fix)}
    missing = [name for name, start in request.starts.items() if start is None]
    if missing:
        raise ValueError(f"`free` must be parameter=start for a theory, got {missing[0]!r}.")
    result = _result_column(request, "loss") or "loss"
    twice = sorted(set(fixed) & set(request.starts))
    if twice:
        raise ValueError(f"`free` and `fix` must not both name {twice[0]!r}.")
    formula = Formula(function, {**fixed, **request.starts}, result)
    columns = _columns(formula, request.x)
    table = selected_rows(as_table(request.data, columns), request.where)
    mapped = {name: name for name in columns}
    fit = calibrate(formula, table, list(request.starts), columns=mapped, **request.options)
    return fit, lambda: fit_figure(fit, table, mapped)


def _require_free(request: Request, names: Iterable[str]) -> None:
    """Refuse a request that frees nothing, with what there is to fit."""
    if not request.free:
        raise ValueError(
            f"`free` must name at least one parameter, got none; there are {', '.join(names)}."
        )


def _require_arguments(function: Callable[..., Any], option: str, texts: Sequence[str]) -> None:
    """Refuse a name that is no argument of the function, with the option that has it."""
    with of_argument(option):
        Formula(function).replaced({text.partition("=")[0]: None for text in texts})


def _result_column(request: Request, result: str) -> str | None:
    """The column of the result, `--y COLUMN` or with its name, such as `--y loss=COLUMN`."""
    name, equals, column = (request.y or "").rpartition("=")
    if equals and (name != result or not column):
        raise ValueError(f"`y` must be COLUMN or {result}=COLUMN, got {request.y!r}.")
    return column or None


def _columns(formula: Formula, texts: tuple[str, ...]) -> dict[str, str]:
    """Map inputs to columns; a bare column belongs to the only input of the formula."""
    named = []
    for text in texts:
        name, equals, column = text.partition("=")
        if not equals:
            names = list(formula.inputs) or ["x"]
            if len(names) > 1:
                raise ValueError(
                    f"`x` must be argument=column for {formula.name} "
                    f"({', '.join(names)}), got {text!r}."
                )
            name, column = names[0], text
        named.append((name, column))
    return once("x", named)


def _fit_store(request: Request) -> Fit:
    if not (is_remote(request.data) or Path(request.data).is_dir()):
        raise ValueError(
            "`form` (such as --form chinchilla) or `theory` (--theory NAME) must be given for a "
            f"table: only a store has a theory of its own, and {request.data!r} is none."
        )
    if request.x or request.fix:
        raise ValueError("`x` and `fix` belong to a theory by name; a store has its own.")
    runs = open_store(request.data)
    _require_theory("data", grid_of(runs))
    _require_free(request, GridTheory(grid_of(runs)).names)
    fit, runs = fit_runs(request, grid_of(runs), runs)

    def draw() -> "matplotlib.figure.Figure":
        theory, observables = predicted_or_none(fit), None if request.y is None else [request.y]
        if theory is not None:
            drawn = theory if fit.each is None else theory.mean(fit.each)
            theory = drawn.sel({d: runs[d] for d in drawn.dims if d in runs.dims})
        return plot(runs, theory, observables=observables)

    return fit, draw


def predicted_or_none(fit: Calibration) -> Any:
    """The fitted theory of a grid; None, with a warning, where its system refuses the values."""
    try:
        return fit.predict()
    except ValueError as error:
        warn_user(f"the figure has no theory, which refuses the fitted values: {error}")
        return None


def check_request(request: Request, grid: Grid) -> None:
    """Refuse what cannot be fitted to the runs of a grid, before they are computed."""
    layout = _require_theory("calibrate", grid)
    GridTheory(grid).start(list(request.starts), "calibrate")
    _places(request, {**grid.coordinates, **layout.coordinates})


def _require_theory(option: str, grid: Grid) -> Layout:
    """The layout of what theory says of a grid; refuse a grid of which it says nothing."""
    layout = theory_layout(grid)
    if not closed_forms(layout):
        raise ValueError(f"`{option}` has nothing to fit: {no_theory(grid)}.")
    return layout


def _places(request: Request, coordinates: Mapping[Any, Any]) -> dict[str, list[int]]:
    """Indices, by dimension, of the values that `where` selects."""
    chosen: dict[str, np.ndarray] = {}
    for name, relation, value in conditions(request.where):
        if name not in coordinates:
            hint = choices(name, map(str, coordinates))
            raise ValueError(f"`where` must name a dimension, got {name!r}{hint}")
        labels = np.asarray(coordinates[name])
        if relation in ("==", "!="):
            (place,) = match_labels(labels, np.asarray([value]))
            holds = np.arange(labels.size) == place
            if place < 0:
                raise ValueError(
                    f"`where` must be a value of {name} {labels.tolist()}, got {value!r}."
                )
            holds = holds if relation == "==" else ~holds
        elif labels.dtype.kind not in "iuf":
            raise ValueError(
                f"`where` of {name} takes = and !=: its values {labels.tolist()} are no numbers."
            )
        else:
            holds = RELATIONS[relation](labels, value)
        chosen[name] = chosen.get(name, True) & holds
        if not chosen[name].any():
            raise ValueError(f"`where` must leave a value of {name} {labels.tolist()}, got none.")
    return {name: np.flatnonzero(holds).tolist() for name, holds in chosen.items()}


def fit_runs(
    request: Request, grid: Grid, runs: "xarray.Dataset"
) -> "tuple[Calibration, xarray.Dataset]":
    """Fit the theory of a grid to its runs; return the fit and the runs that it compares.

    **Raises** `ValueError` that names an invalid option.
    """
    system = grid.system
    for name, start in request.starts.items():
        with of_argument("free"):
            system = system if start is None else replace(system, name, start)
    runs = runs.isel(_places(request, {d: runs[d] for d in runs.dims}))
    grid = Grid(system, grid.axes, seeds=grid.seeds, key=grid.key)
    chosen = None if request.y is None else [request.y]
    fit = calibrate(grid, runs, list(request.starts), observables=chosen, **request.options)
    return fit, runs


def pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Split each name=value of an option; refuse a text without both."""
    for text in texts:
        if "=" not in text:
            raise ValueError(f"`{option}` must be name=value, got {text!r}.")
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _named(option: str, texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Names and values of an option that gives each name once."""
    return once(option, pairs(option, texts)).items()


def _number(option: str, text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"`{option}` must be name=number, got {text!r}.") from None


def _bound(name: str, text: str) -> AbstractBound:
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise ValueError(
            f"`bound` must be name=low:high of two numbers, got {name}={text!r}."
        ) from None
    ends = [np.asarray(low), np.asarray(high)]
    try:
        return Between(low=ends[0], high=ends[1])
    except ValueError as error:
        raise ValueError(f"`bound` of {name}, {text!r}: {error}") from None


def conditions(where: Sequence[str]) -> list[tuple[str, str, Any]]:
    """Name, relation as Python writes it, and value of each condition of `--where`."""
    parts = []
    for text in where:
        if (match := CONDITION.fullmatch(text)) is None:
            raise ValueError(
                f"`where` must be name=value, or with one of !=, <, <=, >, >=, got {text!r}."
            )
        name, relation, value = match[1].strip(), match[2], parse_value(match[3].strip())
        relation = "==" if relation == "=" else relation
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if relation not in ("==", "!=") and not is_number:
            raise ValueError(f"`where` must compare with a number, as {name}{relation}1e9, "
                             f"got {text!r}.")  # fmt: skip
        parts.append((name, relation, value))
    return parts


def selected_rows(table: Any, where: Sequence[str]) -> Any:
    """Return the rows of a table for which the conditions of `--where` hold."""
    file = of_file(table)
    for text, (name, relation, value) in zip(where, conditions(where), strict=True):
        require_columns(table, [name], "where")
        if relation not in ("==", "!="):
            require_numbers(table, [name], "where")
            table = as_numbers(table, [name])
        table = table[RELATIONS[relation](table[name], value)]
        if table.empty:
            raise ValueError(f"`where` must leave rows{file}, got {text}.")
    return table
