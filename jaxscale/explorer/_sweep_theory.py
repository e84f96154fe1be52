"""Theory of what a sweep shows: predicted at the shown points alone, calibrated if asked."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem, Observable, TheoryKind
from jaxscale.analysis._calibrate import calibrate
from jaxscale.explorer._process_state import noted
from jaxscale.explorer._sweep import SEED, Curves, Sweep, View, one_of_each
from jaxscale.paths import get, replace
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._predict import no_theory, predict, uncalibrated


@dataclasses.dataclass(frozen=True)
class Theory:
    """Closed form of what is shown; `note` says what it is or why there is none."""

    values: Float[np.ndarray, "p c x"] | None
    note: str


def shown_grid(sweep: Sweep, view: View, curves: Curves, system: AbstractSystem) -> Grid:
    """The part of the grid that is shown, at its first seed."""
    grid, index = sweep.grid, sweep.selection(view)
    axes = {}
    for path, values in grid.axes.items():
        chosen = {view.panel: curves.panels, view.color: curves.colors}.get(path)
        if path == view.x:
            chosen = sweep.ordered(path)
        axes[path] = [values[i] for i in ([index.get(path, 0)] if chosen is None else chosen)]
    return Grid(system, axes, seeds=grid.seeds[:1], key=grid.key)


def theory_of_view(sweep: Sweep, view: View, curves: Curves, fitted: Mapping[str, float]) -> Theory:
    """Predict what is shown; `fitted` are calibrated fields of the system."""
    system = sweep.grid.system
    for path, value in fitted.items():
        system = replace(system, path, value)
    grid = shown_grid(sweep, view, curves, system)
    every = _described(grid, view.observable)
    observable = next((o for o in every if o.predicted is not TheoryKind.none), None)
    if observable is None:
        reasons = dict.fromkeys(o.no_theory for o in every if o.no_theory)
        return Theory(None, "; ".join(reasons) or no_theory(grid))
    if view.x == SEED:
        return Theory(None, "theory does not know the seed")
    predicted = predict(grid)
    if view.observable not in predicted:
        return Theory(None, no_theory(grid))
    values = predicted[view.observable]
    for dim in [d for d in values.dims if d not in grid.axes]:
        values = values.reindex({dim: sweep.runs[dim]})
    roles = ((view.panel, curves.panels), (view.color, curves.colors),
             (view.x, sweep.ordered(view.x)))  # fmt: skip
    for dim, chosen in roles:
        if dim and dim in values.dims and dim not in grid.axes:
            values = values.isel({dim: chosen})
    index = {d: i for d, i in sweep.selection(view).items() if d in values.dims}
    values = values.isel({d: 0 if d in grid.axes else i for d, i in index.items()})
    roles = [d for d in (view.panel, view.color, view.x) if d]
    values = values.expand_dims([d for d in roles if d not in values.dims]).transpose(*roles)
    out = np.asarray(values, float).reshape(
        *(values.sizes[d] if d else 1 for d in (view.panel, view.color)), -1
    )
    fields = [f for f in uncalibrated(grid.system, view.observable) if f not in sweep.grid.axes]
    note = str(observable.predicted)
    if fields:
        note = f"theory is not calibrated: {', '.join(fields)}"
    elif observable.fitted:
        note = "calibrated: " + ", ".join(
            f"{path} = {float(get(system, path)):.4g}" for path in observable.fitted
        )
    shape = (len(curves.panels), len(curves.colors), curves.x.size)
    return Theory(np.broadcast_to(out, shape), f"theory: {note}; {observable.limits}".rstrip("; "))


def fitted_fields(sweep: Sweep, view: View) -> list[str]:
    """Fields that calibrate the theory of the observable that is shown."""
    every = (schema.observables.get(view.observable) for schema in sweep.schemas)
    fields = dict.fromkeys(f for observable in every if observable for f in observable.fitted)
    return [path for path in fields if path not in sweep.grid.axes]


def _described(grid: Grid, name: str) -> list[Observable]:
    """What the systems of a grid say of an observable, one of every structure."""
    one = one_of_each(grid)
    every = (one.system_at(i).schema.observables.get(name) for i in range(one.n_runs))
    return [observable for observable in every if observable is not None]


def calibrated(sweep: Sweep, view: View, curves: Curves) -> tuple[dict[str, float], str]:
    """Fit the calibrated fields to the runs that are shown; values, and a line with intervals."""
    grid = shown_grid(sweep, view, curves, sweep.grid.system)
    chosen = {
        d: list(i) for d, i in ((view.panel, curves.panels), (view.color, curves.colors)) if d
    }
    if view.x in sweep.grid.axes:
        chosen[view.x] = list(sweep.ordered(view.x))
    index = {d: [i] for d, i in sweep.selection(view).items() if d in sweep.grid.axes}
    runs = sweep.runs.isel({**index, **chosen})
    others = {d: i for d, i in sweep.selection(view).items() if d not in sweep.grid.axes}
    runs = runs.isel({d: [i] for d, i in others.items() if d in runs.dims})
    if view.statuses is not None:  # runs that were filtered out have no values
        counted = runs[STATUS].isin(list(view.statuses))
        runs = runs.assign({view.observable: runs[view.observable].where(counted)})
    with noted() as warned:
        fit = calibrate(grid, runs, fitted_fields(sweep, view), observables=[view.observable])
    ends = fit.interval()
    texts = [
        f"{name} = {float(value):.4g} ({float(ends[name][0]):.4g} to {float(ends[name][1]):.4g})"
        for name, value in fit.values.items()
    ]
    where = ", ".join(f"{d} = {sweep.labels(d)[i]}" for d, i in sweep.indices(view).items())
    line = f"calibrated: {', '.join(texts)}, 95 % by {fit.method}"
    line += f", on the runs at {where}" if where else ""
    line += f" ({'; '.join(warned)})" if warned else ""
    return {name: float(value) for name, value in fit.values.items()}, line
