"""The Python that makes the fit that a page shows, and a figure and a table of it."""

from jaxscale.analysis._allocation import FLOP_PER_PARAMETER_TOKEN, SIZES
from jaxscale.analysis._scales import COMPUTE
from jaxscale.explorer._fit_request import N_COMPUTES, FitRequest
from jaxscale.report._fit_file import RESIDUALS, conditions

GIVEN = "runs = ...  # the table that js.explore was given"


def fit_code(
    request: FitRequest,
    path: str | None,
    *,
    compute: float | None = None,
    ends: tuple[float, float] | None = None,
) -> str:
    """Lines that fit a table and leave `fit`, `figure` and `table`.

    **Arguments**

    - `path`: of the table; None for one that was given as a DataFrame.
    - `compute`, `ends`: operations to allocate, and those between which they are drawn, of a form
      that allocates.
    """
    rows = _rows(request)
    source = GIVEN if path is None else f"runs = {path!r}"
    if rows and path is not None:
        source = f"runs = js.analysis.read_table({path!r})"
    first = "import pandas" if ends is None else "import numpy as np"
    lines = [first, "", "import jaxscale as js", "", source, *rows]
    fixed = request.of_shell.fixed
    form = f"js.forms.{request.form}"
    theory = f"js.Formula({form}, {fixed!r})" if fixed else form
    lines.append(f"fit = js.calibrate({theory}, runs{_options(request)})")
    if ends is None:
        lines.append("table = pandas.DataFrame(fit.rows())")
        lines.append("figure = js.report.residuals_figure(fit)")
    else:
        low, high = ends
        flop = f"np.geomspace({low!r}, {high!r}, {N_COMPUTES})"
        flop = flop if compute is None else f"np.union1d({flop}, {compute!r})"
        lines += [
            f"best = js.analysis.allocate(fit, {flop})",
            "table = best.table()",
            "figure = js.report.allocation_figure(best)",
        ]
    return "\n".join(lines)


def _rows(request: FitRequest) -> list[str]:
    """Lines that select rows, and make a column that follows from compute."""
    lines = []
    for name, relation, value in conditions([request.where] if request.where else []):
        lines.append(f"runs = runs[runs[{name!r}] {relation} {value!r}]")
    if request.derived:
        (other,) = set(SIZES) - {request.derived}
        size = f"runs[{request.columns[COMPUTE]!r}] / ({FLOP_PER_PARAMETER_TOKEN:g} * "
        size += f"runs[{request.columns[other]!r}])"
        lines.append(f"runs = runs.assign({request.derived}={size})")
    return lines


def _options(request: FitRequest) -> str:
    columns = {n: request.columns[n] for n in request.roles if n in request.columns}
    columns = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    given = {"columns": repr(columns)} if columns else {}
    if request.residual:
        given["residual"] = f"js.residuals.{RESIDUALS[request.residual].__name__}()"
    if request.huber:
        loss = "Squared()" if request.huber == "inf" else f"Huber(delta={float(request.huber)!r})"
        given["loss"] = f"js.residuals.{loss}"
    given |= {"weights": repr(request.weights)} if request.weights else {}
    if request.bound:
        own = (f"{n!r}: js.bounds.Between(low={float(b.low)!r}, high={float(b.high)!r})"
               for n, b in request.of_shell.options["bounds"].items())  # fmt: skip
        given["bounds"] = f"{{{', '.join(own)}}}"
    given |= {"bootstrap": int(request.bootstrap)} if request.bootstrap else {}
    given |= {"resample": repr(request.resample)} if request.resample else {}
    return "".join(f", {name}={value}" for name, value in given.items())
