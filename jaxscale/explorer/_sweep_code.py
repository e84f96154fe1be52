"""The Python that draws what the sweep view shows, and that gets one of its runs again."""

from collections.abc import Mapping
from typing import Any

from jaxscale.explorer._python import imports_of, python_of
from jaxscale.explorer._sweep import MAX_PANELS, Sweep, View
from jaxscale.report._figures import MAX_CURVES

GIVEN = "runs = ...  # the Dataset that js.explore was given"


def opened(sweep: Sweep) -> str:
    """The line that makes `runs`."""
    return GIVEN if sweep.path is None else f"runs = js.open_store({sweep.path!r})"


def sweep_code(
    sweep: Sweep, view: View, fitted: Mapping[str, float], has_theory: bool, log: str | None
) -> str:
    """Lines that draw the curves, with theory over them."""
    values = [v for axis in sweep.grid.axes.values() for v in axis]
    lines = [*imports_of(sweep.grid.system, *values), "", opened(sweep)]
    index: dict[str, Any] = {d: i for d, i in sweep.selection(view).items()}
    chosen = f"[[{view.observable!r}, 'status']]"
    own: dict[str, Any] = {d: i for d, i in index.items() if d in sweep.given_dims}
    if view.color and sweep.runs.sizes[view.color] > MAX_CURVES:  # those that the page shows
        own[view.color] = sweep.shown(view, view.color, MAX_CURVES).tolist()
    lines.append(f"shown = runs{chosen}.isel({own!r})" if own else f"shown = runs{chosen}")
    if view.statuses is not None:
        name, codes = view.observable, list(view.statuses)
        lines.append(f"counted = shown[{name!r}].where(shown.status.isin({codes!r}))")
        lines.append(f"shown = shown.assign({{{name!r}: counted}})")
    theory = ""
    if has_theory:
        grid = sweep.grid
        axes = {}
        for path, values in grid.axes.items():
            axes[path] = [values[index[path]]] if path in index else list(values)
        system = python_of(grid.system)
        for path, value in fitted.items():
            system = f"js.replace({system}, {path!r}, {value!r})"
        lines.append(f"system = {system}")
        listed = ", ".join(f"{p!r}: {python_of(v)}" for p, v in axes.items())
        lines.append(f"theory = js.predict(js.Grid(system, axes={{{listed}}}))")
        others = {d: i for d, i in index.items() if d not in grid.axes}
        if others:  # of observables, whose coordinates are those of all runs
            lines += [
                f"index = {{d: i for d, i in {others!r}.items() if d in theory.dims}}",
                "theory = theory.reindex({d: runs[d] for d in index}).isel(index)",
            ]
        theory = ", theory"
    options = f"observables={view.observable!r}, x={view.x!r}"
    options += f", curves={view.color!r}" if view.color else ""
    options += f", log={log!r}" if log is not None else ""
    if view.panel:
        panels = sweep.shown(view, view.panel, MAX_PANELS).tolist()
        each = f"shown.isel({view.panel}=i)" if view.panel.isidentifier() else (
            f"shown.isel({{{view.panel!r}: i}})")  # fmt: skip
        lines += [
            "from matplotlib.figure import Figure",
            f"figure = Figure(figsize=({4.6 * len(panels):g}, 3.4), layout='constrained')",
            f"axes = figure.subplots(1, {len(panels)}, squeeze=False)[0]",
            f"for i, ax in zip({panels!r}, axes, strict=True):",
            f"    js.plot({each}{theory}, {options}, axes=ax)",
        ]
    else:
        lines.append(f"figure = js.plot(shown{theory}, {options})")
    return "\n".join(lines)


def run_code(sweep: Sweep, values: Mapping[str, Any], seed: int, is_trained: bool) -> str:
    """Lines that select a run of the sweep, and train it again."""
    given = {**values, "seed": seed}
    plain = all(name.isidentifier() for name in given)
    text = ", ".join(f"{n}={v!r}" for n, v in given.items()) if plain else f"**{given!r}"
    again = "state = js.train(system, key)  # system.simulate(key) returns its observables"
    imports = imports_of(sweep.grid.system)
    if not is_trained:
        imports = ["import jax", *imports]
        again = "with jax.enable_x64(True): result = system.simulate(key)"
    return "\n".join([*imports, opened(sweep), f"system, key = js.select(runs, {text})", again])
