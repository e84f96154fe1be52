"""`plot`: results of a sweep as curves with bands over seeds, and theory over them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale._status import STATUS
from jaxscale._text import choices, described, unknown
from jaxscale.analysis._allocation import OptimalAllocation
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import as_table, require_dataset
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._isoflop import IsoFlop
from jaxscale.analysis._loss_surface import LossSurface
from jaxscale.report._figures import new_figure
from jaxscale.report._fitted import fit_figure
from jaxscale.report._legend import widen
from jaxscale.report._panel import Panel

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

MAX_PANELS = 3
LOGS = ("", "x", "y", "xy")
TAKES = (
    "a Dataset or DataArray of `js.run` or `js.open_store`, or, for the fit of a Formula, a "
    "DataFrame"
)

FIGURES = {  # of what is no Dataset, by its class
    Calibration: "residuals_figure(fit), or its theory over the runs with js.plot(runs, fit)",
    IsoFlop: "isoflop_figure(isoflop)",
    LossSurface: "residuals_figure(surface.fit)",
    OptimalAllocation: "allocation_figure(allocation)",
}


@hinted
def plot(
    runs: "xarray.Dataset | xarray.DataArray | Any",
    theory: "xarray.Dataset | xarray.DataArray | Calibration | None" = None,
    *,
    observables: Sequence[str] | str | None = None,
    x: str | None = None,
    curves: str | None = None,
    log: str | None = None,
    title: str | None = None,
    axes: "matplotlib.axes.Axes | Sequence[matplotlib.axes.Axes] | None" = None,
    columns: Mapping[str, str] | None = None,
) -> "matplotlib.figure.Figure":
    """Draw simulated observables as bands over seeds, with theory dashed over them.

    A curve is the mean over seeds, its band one standard deviation. The title names every
    coordinate that is fixed: those that you selected, and dimensions that are neither on the x axis
    nor drawn as curves, which are shown at their last value; it also counts values at which nothing
    is finite (not run yet), which are not drawn, and runs that failed; where all did, a note on the
    axes says so. The legend lies where it covers no curve, else beside the axes. It says where
    theory is not calibrated, and the title which part of a system has no theory.

    **Arguments**

    - `runs`: result of `js.run` or `js.open_store`, or a selection of it; a DataArray is one
      observable. For the fit of a `Formula` a table with its columns.
    - `theory`: result of `js.predict`, or of `js.calibrate` (the fit, or its `predict()`).
    - `observables`: names to draw; by default loss, then those with theory, at most three.
    - `x`: dimension of the x axis; by default the step where several are recorded, else the longest
      numeric one.
    - `curves`: dimension that is drawn as curves, at most seven of its values; by default the
      longest remaining one that the grid swept, else the longest.
    - `log`: axes that are logarithmic, `""`, `"x"`, `"y"` or `"xy"`; by default those of positive
      values that span more than a factor 20.
    - `title`: first line of the titles; by default what the observable is.
    - `axes`: matplotlib axes to draw in, one per observable.
    - `columns`: of a table and the fit of a `Formula`: the map that the fit was given. Its figure
      takes none of the other options.

    **Returns** a matplotlib `Figure` (its `savefig` writes vector or bitmap files). Its data are
    those of `runs`: `runs.loss.mean("seed").to_dataframe().to_csv("loss.csv")` saves them.

    **Raises** `ValueError` for what it cannot draw, naming the argument.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2, 0.4]})
    >>> runs = js.run(grid)
    >>> figure = js.plot(runs.sel(skill=1), js.predict(grid), x="learning_rate", log="x")
    >>> print(figure.axes[1].get_title())
    product a_k b_k
    skill = 1, seed = 0
    """
    if isinstance(theory, Calibration):
        if isinstance(theory.theory, Formula):
            given = {"observables": observables, "x": x, "curves": curves, "log": log}
            for name, value in {**given, "title": title, "axes": axes}.items():
                if value is not None:
                    raise ValueError(f"`{name}` is of a Dataset: the figure of the fit of a "
                                     f"Formula has none, got {value!r}.")  # fmt: skip
            return fit_figure(theory, _table(runs, theory, columns), {n: n for n in theory.inputs})
        theory = theory.predict()
    if columns is not None:
        raise ValueError(f"`columns` is of a table and the fit of a Formula, got {columns!r}.")
    runs = _as_dataset("runs", runs, TAKES)
    if theory is not None:
        theory = _as_dataset("theory", theory, "a Dataset of `js.predict`, or a calibration")
    if log is not None and log not in LOGS:
        raise ValueError(f"`log` must be one of {', '.join(map(repr, LOGS))}, got {log!r}.")
    if not isinstance(title, str | None):
        raise ValueError(f"`title` must be text, got {described(title)}; write title='...'.")
    if not isinstance(observables, Iterable | None):
        got = f"got {described(observables)}; write observables=['loss']"
        raise ValueError(f"`observables` must be names, {got}.")
    floats = [str(n) for n in runs.data_vars if runs[n].dtype.kind == "f"]
    names = [observables] if isinstance(observables, str) else list(observables or [])
    if not names:  # sorting keeps the order of those that are alike
        order = sorted(floats, key=lambda n: (n != "loss", theory is None or n not in theory))
        names = order[:MAX_PANELS]
    if not names:
        raise ValueError("`runs` must hold at least one real observable to draw.")
    for name in names:
        if name not in floats:
            raise unknown("`observables`", name, floats)
        for dim in (d for d, n in runs[name].sizes.items() if n == 0):
            raise ValueError(f"`runs` must hold at least one value of `{dim}`, got none.")
    if x is not None and x == curves:
        raise ValueError(f"`curves` must be another dimension than `x`, got {x!r} for both.")
    for argument, dim in (("x", x), ("curves", curves)):
        for name in names if dim is not None else ():
            if dim not in runs[name].dims or (argument == "curves" and dim in (x, "seed")):
                dims = ", ".join(map(str, runs[name].dims))
                if argument == "curves" and dim == "seed":
                    others = [d for d in runs[name].dims if d not in (x, "seed")]
                    raise unknown("`curves`", dim, map(str, others), ": seeds are the band")
                raise ValueError(
                    f"`{argument}` must be a dimension of {name} ({dims}), got {dim!r}."
                )
    if axes is None:
        figure, grid = new_figure(len(names))
        panels = list(grid[0])
    else:
        panels = list(np.ravel(axes))  # pyright: ignore
        if len(panels) != len(names):
            raise ValueError(
                f"`axes` must be one for each of {', '.join(names)}, got {len(panels)}."
            )
        figure = panels[0].figure
    status, added = runs.get(STATUS), 0.0
    for panel, name in zip(panels, names, strict=True):
        added += Panel(runs[name], theory, x, curves, status).draw(panel, log, title)
    if axes is None:
        widen(figure, added)
    return figure


def _as_dataset(name: str, value: Any, takes: str) -> "xarray.Dataset":
    """A Dataset, of one observable for a DataArray."""
    for kind, call in FIGURES.items():
        if isinstance(value, kind):
            got = f"got one of class {kind.__name__}"
            raise ValueError(f"`{name}` must be {takes}, {got}: draw it with js.report.{call}.")
    if hasattr(value, "to_dataset"):
        value = value.to_dataset(name=value.name or "value")
    require_dataset(name, value, takes)
    return value


def _table(value: Any, fit: Calibration, columns: Mapping[str, str] | None) -> Any:
    """The table of a fit, whose columns have the names of its formula."""
    if not (hasattr(value, "to_dataframe") or hasattr(value, "columns")):
        raise ValueError(f"`runs` must be {TAKES}, got {type(value).__name__}.")
    needed = [*fit.inputs, *fit.residual, *([] if fit.each is None else [fit.each])]
    table = as_table(value, columns, needed)
    for name in needed:
        if name not in table:
            hint = choices(name, map(str, table.columns))
            raise ValueError(f"`runs` has no column {name!r}: give the fit's `columns`{hint}")
    return table
