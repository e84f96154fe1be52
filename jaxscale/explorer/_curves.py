"""Closed forms as the curves of figures, and what theory says of them."""

from collections.abc import Mapping

import numpy as np

from jaxscale._system import AbstractSystem, TheoryKind
from jaxscale.explorer._curve_figure import Shown
from jaxscale.explorer._knobs import Knob
from jaxscale.explorer._page import escaped, html_table
from jaxscale.report._figures import MAX_CURVES, spans_decades
from jaxscale.sweep._predict import uncalibrated

VARIES = 1.5  # factor of positive values over a logarithmic x that also are logarithmic
Arrays = Mapping[str, np.ndarray]


def x_options(system: AbstractSystem, knobs: Mapping[str, Knob]) -> list[str]:
    """Dimensions and fields that can be the x axis, the most usual first."""
    schema = system.schema
    predicted = {d for name in schema.predicted() for d in schema.observables[name].dims}
    dims = [d for d, c in schema.coordinates.items() if len(c) > 2 and c.dtype.kind in "iuf"]
    sizes = [path for path, knob in knobs.items() if knob.is_integer]
    others = [path for path in knobs if path not in sizes]
    return [*(d for d in dims if d == "step" and d in predicted), *sizes, *others]


def curves_of(
    system: AbstractSystem, x: str, at: np.ndarray | None, values: Arrays, claims: Arrays
) -> list[Shown]:
    """Curves of every observable over `x`, for the results of `ClosedForms.with_claims`.

    **Arguments**

    - `x`: a dimension, or the field along which they were evaluated.
    - `at`: its values, for a field.
    """
    schema, curves = system.schema, []
    for name in (name for name in schema.observables if name in values):
        value = values[name]
        dims = list(schema.observables[name].dims)
        claimed = np.logical_and(claims.get(name, True), np.isfinite(value))
        if at is not None:
            along, first = np.unique(np.asarray(at), return_index=True)
            value, claimed = value[first], claimed[first]
            dims = [x, *dims]
        elif x in dims:
            along = np.asarray(schema.coordinates[x], float)
        elif x in schema.coordinates:  # of which it does not depend
            along = np.asarray(schema.coordinates[x], float)
            value, claimed = (np.stack([v] * along.size, -1) for v in (value, claimed))
            dims = [*dims, x]
        else:
            continue
        for dim in [d for d in dims if d == "step" and d != x]:
            axis = dims.index(dim)
            value, claimed = value.take(-1, axis), claimed.take(-1, axis)
            dims.remove(dim)
        axis = dims.index(x)
        value = np.moveaxis(value, axis, -1).reshape(-1, along.size)
        claimed = np.moveaxis(claimed, axis, -1).reshape(-1, along.size)
        dims.remove(x)
        has_x = at is not None or x in schema.observables[name].dims
        few = few_of(len(value))
        labels = [""]
        if dims:
            coordinate = schema.coordinates[dims[0]]
            labels = [f"{dims[0]} {coordinate[i]}" for i in few] if len(dims) == 1 else [
                str(i) for i in few]  # fmt: skip
        curves.append(Shown(name, along, value[few], claimed[few], tuple(labels), has_x))
    return curves


def few_of(n: int) -> np.ndarray:
    """Indices of the curves that are drawn of `n`: the first are close, as skills are."""
    return np.unique(np.geomspace(1, n, MAX_CURVES).round().astype(int)) - 1


def picked(system: AbstractSystem, x: str) -> dict[str, list[int]]:
    """Indices that are drawn of a dimension with more, of curves over `x`."""
    schema = system.schema
    dims = [set(schema.observables[name].dims) - {x, "step"} for name in schema.predicted()]
    single = {dim for own in dims if len(own) == 1 for dim in own}
    sizes = {dim: len(schema.coordinates[dim]) for dim in sorted(single)}
    return {dim: few_of(n).tolist() for dim, n in sizes.items() if n > MAX_CURVES}


def why_no_theory(system: AbstractSystem) -> str:
    """Why a system predicts nothing."""
    reasons = {o.no_theory for o in system.schema.observables.values() if o.no_theory}
    return "; ".join(sorted(reasons)) or "no observable has a closed form"


def log_axes(shown: Shown) -> str:
    """Axes that are logarithmic: those that span decades."""
    x, y = shown.x[shown.x > 0], shown.lines[np.isfinite(shown.lines)]
    log_x = spans_decades(x)
    log_y = bool(y.size and y.min() > 0 and y.max() > (VARIES if log_x else 20) * y.min())
    return ("x" if log_x else "") + ("y" if log_y else "")


def kind_of(system: AbstractSystem, name: str, x: str) -> str:
    """What kind of theory a curve is, which fields it lacks, and the step it is at."""
    observable = system.schema.observables[name]
    fields = uncalibrated(system, name)
    kind = f"uncalibrated: {', '.join(fields)}" if fields else str(observable.predicted)
    if x in observable.dims or "step" not in observable.dims:
        return kind
    return f"{kind}, step {system.schema.coordinates['step'][-1]}"


def theory_table(system: AbstractSystem) -> str:
    """What theory says of each observable, and what it does not say, as a table of HTML."""
    rows = []
    for name, o in system.schema.observables.items():
        says = str(o.predicted) if o.predicted is not TheoryKind.none else "none"
        limits = o.limits or o.no_theory
        fields = ", ".join(f for f in o.fitted)
        limits += f"; calibrated by {fields}" if fields else ""
        row = (name, o.description, says, limits, ", ".join(o.functions))
        rows.append("".join(f"<td>{escaped(cell)}</td>" for cell in row))
    head = ("observable", "what", "theory", "limits", "function")
    return html_table("What theory says", [f"<tr>{row}</tr>" for row in rows], head)
