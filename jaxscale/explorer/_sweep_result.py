"""What a sweep page reads of its runs, in threads, and the notes below its curves."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxscale._status import Status
from jaxscale.explorer._exponent_table import tables
from jaxscale.explorer._page import escaped
from jaxscale.explorer._sweep import SEED, STEP, Curves, Sweep, Window
from jaxscale.explorer._sweep_map import MOST_CELLS, MOST_READ, Cells, cells
from jaxscale.explorer._sweep_state import State
from jaxscale.explorer._sweep_theory import Theory, theory_of_view

COMPILES = "theory is being compiled"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a page shows of a sweep.

    - `window`: range in which exponents are fitted, None for none.
    - `tables`: of exponents, as HTML.
    - `map`, `all`: grid points of the map and of parallel coordinates; None if not shown.
      `why_less` says why, "" where the sweep has fewer than two axes.
    """

    sweep: Sweep
    state: State
    curves: Curves
    theory: Theory
    window: Window | None
    tables: str
    map: Cells | None
    all: Cells | None
    why_less: str


class ResultReader:
    """Reads what a page shows; theory that needs another program comes by itself, later."""

    def __init__(self) -> None:
        self._compiled: set[Any] = set()  # structures whose theory is there at once

    def read(self, request: tuple[Sweep, State]) -> Result:
        """Read what a state shows of a sweep."""
        sweep, state = request
        view = state.view
        window = state.window_in(sweep)
        curves = sweep.curves(view)
        theory = Theory(None, COMPILES)
        if _structure(state) in self._compiled:
            theory = theory_of_view(sweep, view, curves, state.fitted)
        text = tables(sweep, view, curves, theory.values, window)
        of_map, of_all, why_less = _grid_points(sweep, state, window)
        return Result(sweep, state, curves, theory, window, text, of_map, of_all, why_less)

    def with_theory(self, result: Result) -> Result:
        """Add the theory to what was read."""
        sweep, state = result.sweep, result.state
        try:
            theory = theory_of_view(sweep, state.view, result.curves, state.fitted)
            self._compiled.add(_structure(state))
        except ValueError as error:  # a note says it, and curves stay
            theory = Theory(None, str(error))
        text = tables(sweep, state.view, result.curves, theory.values, result.window)
        return dataclasses.replace(result, theory=theory, tables=text)


def _structure(state: State) -> Any:
    """What another program of the theory is needed for."""
    view = state.view
    return view.observable, view.x, view.color, view.panel, tuple(state.fitted)


def _grid_points(
    sweep: Sweep, state: State, window: Window | None
) -> tuple[Cells | None, Cells | None, str]:
    """Grid points of the map and of parallel coordinates, and why there are none or fewer."""
    view, axes = state.view, state.map_axes
    if len(axes) != 2:
        return None, None, ""
    if view.x != STEP and STEP in sweep.runs:  # the window is one of the x axis
        window = sweep.last_decade(STEP)
    why_less, of_map = [], None
    n = np.prod([len(sweep.grid.axes[a]) for a in axes])
    if n <= MOST_CELLS:
        of_map = cells(sweep, view, axes, state.quantity, window)
    else:
        why_less.append(f"no map: {n} cells, more than {MOST_CELLS}")
    of_all = of_map
    if sweep.runs[view.observable].size > MOST_READ:
        why_less.append("all runs are too many to read: only those of a map are lines")
    elif of_map is None or len(sweep.axes) > 2:
        of_all = cells(sweep, view, tuple(sweep.axes), state.quantity, window)
    return of_map, of_all, "; ".join(why_less)


def notes(result: Result, drawn: Bool[np.ndarray, "p c"]) -> str:
    """What is drawn, how many runs failed, and what theory it is, as HTML."""
    sweep, view, curves = result.sweep, result.state.view, result.curves
    lines = _notes_of_seeds(result)
    if not drawn.all():
        lines.append(f"{np.sum(~drawn)} of {drawn.size} curves are not drawn: too few "
                     "finite values of runs that count")  # fmt: skip
    for role, chosen in ((view.color, curves.colors), (view.panel, curves.panels)):
        if role and len(chosen) < sweep.runs.sizes[role]:
            lines.append(f"{len(chosen)} of {sweep.runs.sizes[role]} values of {role}")
    counts = sweep.status_counts
    ended = ", ".join(f"{n} {c.name.replace('_', ' ')}" for c, n in counts.items())
    lines.append(f"{sum(counts.values())} runs: {ended}")
    has_note = result.theory.values is not None or result.theory.note == COMPILES
    lines.append(result.theory.note if has_note else f"no theory: {result.theory.note}")
    lines += [*_place_of_map(result), result.state.fit_note, result.why_less]
    if counts.get(Status.not_run):
        lines.append("not complete: new runs appear as they end")
    return "".join(f"<p>{escaped(line)}</p>" for line in lines if line)


def _notes_of_seeds(result: Result) -> list[str]:
    """Over how many seeds curves are means."""
    view, curves = result.state.view, result.curves
    if view.x == SEED:
        return []
    n = curves.values.shape[2]
    counts = np.isfinite(curves.values).sum(axis=2)
    least = counts[np.isfinite(curves.mean)].min(initial=n)
    of = f"{n} seeds" if least == n else f"{least} to {n} seeds, by how many count"
    of = f"mean and standard deviation over {of}" if n > 1 else "one seed"
    name = result.sweep.runs[view.observable].attrs.get("long_name", view.observable)
    return [f"{name}: {of}"]


def _place_of_map(result: Result) -> list[str]:
    """At which value of the dimensions that colours and panels show a map is, none of the grid."""
    sweep, view = result.sweep, result.state.view
    dims = [d for d in (view.color, view.panel) if d and d not in (*sweep.grid.dims, STEP)]
    texts = [f"{d} = {sweep.labels(d, [sweep.at_slider(view, d)])[0]}" for d in dims]
    return [f"the map is at {', '.join(texts)}"] if texts and result.map is not None else []
