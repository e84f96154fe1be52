"""`plot`: results of a sweep as curves with bands over seeds, and theory over them."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import OPEN
from jaxscale.analysis._formula import Formula
from jaxscale.report._figures import (
    DASHED,
    MAX_CURVES,
    OKABE_ITO,
    band,
    dashed,
    log_axis,
    new_figure,
    places,
    spans_decades,
    theory_line,
)
from jaxscale.report._fitted import fit_figure
from jaxscale.sweep._grid import match_labels

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

MAX_PANELS = 3
UNBROKEN = "\u00a0"  # a space at which no line ends
TITLE_WIDTH = 56  # characters
LOGS = ("", "x", "y", "xy")
TAKES = (
    "`runs` must be a Dataset or DataArray of `js.run` or `js.open_store`, or, for the fit of a "
    "Formula, a DataFrame"
)


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
) -> "matplotlib.figure.Figure":
    """Draw simulated observables as bands over seeds, with theory dashed over them.

    A curve is the mean over seeds, its band one standard deviation. The title names every
    coordinate that is fixed: those that you selected, and dimensions that are neither on the x axis
    nor drawn as curves, which are shown at their last value. The legend says where theory is not
    calibrated, and the title which part of a system has no theory.

    **Arguments**

    - `runs`: result of `js.run` or `js.open_store`, or a selection of it; a DataArray is one
      observable. For the fit of a `Formula` a table with its columns.
    - `theory`: result of `js.predict`, or of `js.calibrate` (the fit, or its `predict()`).
    - `observables`: names to draw; by default those with theory first, at most three.
    - `x`: dimension of the x axis; by default the step where several are recorded, else the longest
      numeric one.
    - `curves`: dimension that is drawn as curves, at most seven of its values; by default the
      longest remaining one.
    - `log`: axes that are logarithmic, `""`, `"x"`, `"y"` or `"xy"`; by default those of positive
      values that span more than a factor 20.
    - `title`: first line of the titles; by default what the observable is.
    - `axes`: matplotlib axes to draw in, one per observable.

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
            return fit_figure(theory, _table(runs))
        theory = theory.predict()
    runs = _dataset(runs, TAKES)
    if theory is not None:
        theory = _dataset(theory, "`theory` must be a Dataset of `js.predict`, or a calibration")
    if log is not None and log not in LOGS:
        raise ValueError(f"`log` must be one of {', '.join(map(repr, LOGS))}, got {log!r}.")
    floats = [str(n) for n in runs.data_vars if runs[n].dtype.kind == "f"]
    names = [observables] if isinstance(observables, str) else list(observables or [])
    if not names:
        shared = [n for n in floats if theory is not None and n in theory]
        names = [*shared, *(n for n in floats if n not in shared)][:MAX_PANELS]
    if not names:
        raise ValueError("`runs` must hold at least one real observable to draw.")
    for name in names:
        if name not in floats:
            raise ValueError(f"`observables` must be in {floats}, got {name!r}.")
    for argument, dim in (("x", x), ("curves", curves)):
        for name in names if dim is not None else ():
            if dim not in runs[name].dims or (argument == "curves" and dim in (x, "seed")):
                dims = ", ".join(map(str, runs[name].dims))
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
    for panel, name in zip(panels, names, strict=True):
        _Panel(runs[name], theory, x, curves).draw(panel, log, title)
    return figure


def _dataset(value: Any, takes: str) -> "xarray.Dataset":
    if hasattr(value, "to_dataset"):  # a DataArray
        value = value.to_dataset(name=value.name or "value")
    if not hasattr(value, "data_vars"):
        named = isinstance(value, str) or hasattr(value, "__fspath__")
        what = f"{value!r}; open a store with {OPEN}" if named else type(value).__name__
        raise ValueError(f"{takes}, got {what}.")
    return value


def _table(value: Any) -> Any:
    if hasattr(value, "to_dataframe"):
        value = value.to_dataframe().reset_index()
    if not hasattr(value, "columns"):
        raise ValueError(f"{TAKES}, got {type(value).__name__}.")
    return value


class _Panel:
    """One observable on one pair of axes."""

    def __init__(self, data: Any, theory: Any, x: str | None, curves: str | None):
        self.data = data if data.dims else data.expand_dims("seed")
        self.given = theory is not None
        self.theory = theory[data.name] if self.given and data.name in theory else None
        self.why = "" if not self.given else theory.attrs.get("no_theory", "")
        self.x = x or _main_dim(self.data, curves)
        rest = [str(d) for d in self.data.dims if d not in (self.x, "seed")]
        longest = max(rest, key=lambda d: self.data.sizes[d], default=None)
        self.curves = curves or longest
        if self.curves is not None and self.data.sizes[self.curves] == 1 and curves is None:
            self.curves = None
        self.last = [d for d in rest if d != self.curves]
        self.shown = self.data.isel({d: -1 for d in self.last})

    def draw(self, axes: "matplotlib.axes.Axes", log: str | None, title: str | None) -> None:
        """Draw curves, theory, axes, title and legend."""
        data, x, dim = self.shown, self.x, self.curves
        n = 1 if dim is None else data.sizes[dim]
        chosen = np.unique(np.linspace(0, n - 1, min(n, MAX_CURVES)).round().astype(int))
        labels = [""] if dim is None else [f"{dim} {text}" for text in _short(data[dim], chosen)]
        has_theory = False
        for i, (place, label) in enumerate(zip(chosen.tolist(), labels, strict=True)):
            one = data if dim is None else data.isel({dim: place})
            color = OKABE_ITO[i % len(OKABE_ITO)]
            band(axes, one, x, color, label or ("simulation" if self.given else None))
            has_theory |= self._draw_theory(axes, one, color)
        if data[x].dtype.kind not in "iuf":
            axes.set_xticks(places(data[x]), [str(v) for v in data[x].values])
        at = places(data[x])
        positive = at[at > 0]
        if "x" in log if log is not None else positive.size > 2 and spans_decades(positive):
            log_axis(axes, "x")
            data = data.isel({x: at > 0})
        values = np.asarray(data)[np.isfinite(np.asarray(data))]
        if "y" in log if log is not None else spans_decades(values):
            _end_near(axes, values[values > 0])
            log_axis(axes, "y")
        unit = data.attrs.get("units", "")
        axes.set_xlabel(x)
        axes.set_ylabel(f"{data.name} [{unit}]" if unit not in ("", "1") else str(data.name))
        first = data.attrs.get("long_name", "") if title is None else title
        lines = [*first.split("\n"), *self._fixed(), self._without(has_theory)]
        wrapped = "\n".join(s for t in lines for s in textwrap.wrap(t, TITLE_WIDTH))
        axes.set_title(wrapped.replace(UNBROKEN, " "), fontsize=9)
        self._legend(axes, len(chosen), n, has_theory)

    def _draw_theory(self, axes: "matplotlib.axes.Axes", one: Any, color: str) -> bool:
        """Draw the closed form of one curve; return whether theory has it."""
        theory = self.theory
        if theory is None:
            return False
        for d in [d for d in theory.dims if d != self.x and d != "seed"]:
            if d not in one.coords:
                raise ValueError(
                    f"`theory` of {one.name} has a dimension {d!r} that runs lack: select a value."
                )
            (place,) = match_labels(np.asarray(theory[d]), np.atleast_1d(np.asarray(one[d])))
            if place < 0:
                return False
            theory = theory.isel({d: int(place)})
        if "seed" in theory.dims and self.x != "seed":
            theory = theory.mean("seed")
        if self.x in theory.dims:
            theory_line(axes, theory, self.x, color)
        else:
            ends = places(one[self.x])[[0, -1]]
            dashed(axes, ends, np.full(2, float(theory)), color)
        return True

    def _fixed(self) -> list[str]:
        """The coordinates at which the panel is drawn."""
        at = {str(d): c for d, c in self.data.coords.items() if not c.dims}
        texts = [f"{d} = {_short(c, [0])[0]}" for d, c in at.items() if c.dtype.kind != "M"]
        for d in ("seed", *self.last):
            if d in self.data.coords and d in self.data.dims and d != self.x:
                size, value = self.data.sizes[d], _short(self.data[d], [-1])[0]
                if d != "seed" or size == 1:
                    texts.append(f"{d} = {value}" + (f" (last of {size})" if size > 1 else ""))
        return [", ".join(text.replace(" ", UNBROKEN) for text in texts)]

    def _without(self, has_theory: bool) -> str:
        """Why theory does not show this observable, where it was given."""
        if not self.given or has_theory:
            return ""
        if self.theory is not None:
            return "no curve of `theory` has the coordinates of the runs"
        reason = self.data.attrs.get("no_theory")
        return self.why or reason or "no closed form of it in `theory`"

    def _legend(self, axes: "matplotlib.axes.Axes", n_drawn: int, n: int, theory: bool) -> None:
        """Name the curves, what is drawn of them, and the state of the theory."""
        from matplotlib.lines import Line2D

        notes = [f"{n_drawn} of {n} values of {self.curves}"] if n > n_drawn else []
        n_seeds = self.data.sizes.get("seed", 1)
        if n_seeds > 1 and self.x != "seed":
            notes.append(f"mean ± s.d. of {n_seeds} seeds")
        handles = axes.get_legend_handles_labels()[0]
        if theory:
            label = _label(self.theory, self.data)
            handles.append(Line2D([], [], color="#222222", label=label, **DASHED))
        if handles:
            axes.legend(handles=handles, fontsize=7, title="\n".join(notes), title_fontsize=7)


def _label(theory: Any, runs: Any) -> str:
    """What the legend says of theory: whether it is calibrated, and where it differs from runs."""
    fields = theory.attrs.get("uncalibrated", "")
    label = f"theory, uncalibrated\n(js.calibrate fits {fields})" if fields else "theory"
    texts = []
    for dim, value in theory.coords.items():
        if not value.dims and dim in runs.coords:
            own, at = (np.atleast_1d(np.asarray(v)) for v in (runs[dim], value))
            place = match_labels(own, at)[0] if own.size == 1 else -1
            texts += [f"{dim} = {_short(value, [0])[0]}"] if place < 0 else []
    return label + (f" at {', '.join(texts)}" if texts else "")


def _end_near(axes: "matplotlib.axes.Axes", simulated: np.ndarray) -> None:
    """Let a logarithmic axis end one decade below simulated values, however low theory goes."""
    axes.set_yscale("log")
    if simulated.size:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, float(simulated.min()) / 10), high)


def _main_dim(array: "xarray.DataArray", curves: str | None) -> str:
    """Dimension of the x axis: the step where it has values, else the longest numeric one."""
    if array.sizes.get("step", 0) > 2 and curves != "step":
        return "step"
    dims = [d for d in array.dims if d != curves] or list(array.dims)
    numeric = [d for d in dims if d not in ("seed", "skill") and array[d].dtype.kind in "iuf"]
    rest = [d for d in dims if d != "seed"]
    return str(max(numeric or rest or dims, key=lambda d: array.sizes[d]))


def _short(coordinate: Any, chosen: Sequence[int] | np.ndarray) -> list[str]:
    """Texts of some values of a coordinate, of as few digits as distinguish them, at least 3."""
    values = np.atleast_1d(np.asarray(coordinate))[list(chosen)]
    if values.dtype.kind != "f":
        return [str(v) for v in values.tolist()]
    for digits in range(3, 17):
        texts = [f"{v:.{digits}g}" for v in values.tolist()]
        if len(set(texts)) == len(np.unique(values)):
            break
    return texts
