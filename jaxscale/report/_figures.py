"""Figures: theory over simulated bands, colour-blind safe, axes with units, direct labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._data import require_dataset
from jaxscale.sweep._grid import match_labels

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
End = tuple[float, float, str, str]  # of a curve: x, y, text and colour
MAX_CURVES = 7
FEW = 12  # up to so many simulated points are marked one by one
LINE_HEIGHT = 0.06  # of a label, in heights of a panel
DASHED: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.6}
POINTS: dict[str, Any] = {"marker": "o", "ms": 4, "ls": ""}
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "jaxscale",
}


def new_figure(
    columns: int, rows: int = 1, size: tuple[float, float] = (4.6, 3.4)
) -> "tuple[matplotlib.figure.Figure, np.ndarray]":
    """Make a figure with `rows x columns` axes in the house style, outside any GUI state."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)  # pyright: ignore
    return figure, axes


def save(figure: "matplotlib.figure.Figure", folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as SVG and PNG, and return both paths."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    vector, bitmap = folder / f"{name}.svg", folder / f"{name}.png"
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for both
        figure.savefig(vector, metadata={"Date": None}, dpi=160)
        figure.savefig(bitmap, dpi=160)
    return vector, bitmap


def band(
    axes: "matplotlib.axes.Axes",
    curve: "xarray.DataArray",
    dim: str,
    color: str,
    label: str | None = None,
) -> None:
    """Draw the mean over seeds with a band of one standard deviation, or the line of one seed."""
    x = _places(curve[dim])
    line: dict[str, Any] = {"color": color, "lw": 1.4, "label": label}
    if dim == "seed":
        axes.plot(x, np.asarray(curve), **line, ls="", marker="o")
        return
    line |= {"marker": "o" if x.size <= FEW else None, "ms": 3}
    if "seed" not in curve.dims:
        axes.plot(x, np.asarray(curve), **line)
        return
    values = np.asarray(curve.transpose("seed", dim))
    good = np.isfinite(values).any(axis=0)
    mean, spread = np.nanmean(values[:, good], axis=0), np.nanstd(values[:, good], axis=0)
    axes.plot(x[good], mean, **line)
    if x.size == 1:
        axes.vlines(x[good], mean - spread, mean + spread, color=color, lw=1.0)
        return
    axes.fill_between(x[good], mean - spread, mean + spread, color=color, alpha=0.2, lw=0)


def theory_line(
    axes: "matplotlib.axes.Axes", curve: "xarray.DataArray", dim: str, color: str
) -> None:
    """Draw a closed-form curve: dashed, over the simulation, in the same colour."""
    y = np.asarray(curve)
    x = _places(curve[dim])
    marker = "_" if x.size == 1 else None
    axes.plot(x, y, color=color, marker=marker, ms=14, **DASHED)


def _places(coordinate: "xarray.DataArray") -> np.ndarray:
    """Positions of the values of a dimension on the x axis: objects lie at 0, 1, ..."""
    numeric = coordinate.dtype.kind in "iuf"
    return np.asarray(coordinate, float) if numeric else np.arange(float(coordinate.size))


def spans_decades(values: np.ndarray) -> bool:
    """Whether values are positive and cover more than a factor 20, which asks for a log axis."""
    return bool(values.size and values.min() > 0 and values.max() > 20 * values.min())


def log_axis(axes: "matplotlib.axes.Axes", which: str) -> None:
    """Make the `x` or `y` axis logarithmic, with plain ticks where it covers under two decades."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if not (0 < low < high) or high / low > 100:
        return
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    inside = np.empty(0)
    for steps in ([1, 2, 5], [1, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]):
        ticks = np.outer(decades, steps).ravel()
        inside = ticks[(ticks >= low) & (ticks <= high)]
        if inside.size > 2:
            break
    axis.set_major_locator(FixedLocator(inside.tolist()))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def logs(axes: "matplotlib.axes.Axes") -> None:
    """Make both axes logarithmic."""
    log_axis(axes, "x")
    log_axis(axes, "y")


def label_ends(axes: "matplotlib.axes.Axes", ends: Sequence[End]) -> None:
    """Write texts to the right of points, as near to them as possible without overlap.

    Texts at one x share a column. The limits and scales of the axes must be final.
    """
    from scipy.optimize import isotonic_regression

    axes.get_ylim()  # limits are computed at the first access
    place = axes.transData + axes.transAxes.inverted()
    for x in dict.fromkeys(end[0] for end in ends):
        column = [(float(place.transform(end[:2])[1]), *end[2:]) for end in ends if end[0] == x]
        column = sorted(end for end in column if np.isfinite(end[0]))
        steps = LINE_HEIGHT * np.arange(len(column))
        heights = isotonic_regression(np.array([c[0] for c in column]) - steps).x + steps
        for height, (_, text, color) in zip(heights, column, strict=True):
            axes.annotate(text, (x, height), (6, 0), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color=color, fontsize=8, va="center",
                          annotation_clip=False)  # fmt: skip


def finish(
    axes: "matplotlib.axes.Axes", labels: tuple[str, str], title: str = "", ends: Sequence[End] = ()
) -> None:
    """Make both axes logarithmic; write their labels, a title, and names at the ends of curves."""
    logs(axes)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(title, fontsize=9)
    label_ends(axes, ends)


def legend(figure: "matplotlib.figure.Figure", lines: Mapping[str, dict[str, Any]]) -> None:
    """Explain above all panels the kinds of lines, by text and by how each line is drawn."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=t, **{"color": "#444444", **k}) for t, k in lines.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=8,
                  frameon=False, handlelength=2.6)  # fmt: skip


def _main_dim(array: "xarray.DataArray") -> str:
    """Dimension of the x axis: the step where it has values, else the longest numeric one."""
    if array.sizes.get("step", 0) > 2:
        return "step"
    numeric = [d for d in array.dims if d not in ("seed", "skill") and array[d].dtype.kind in "iuf"]
    rest = [d for d in array.dims if d != "seed"]
    return str(max(numeric or rest or list(array.dims), key=lambda d: array.sizes[d]))


def _curves(array: "xarray.DataArray", x: str) -> list[tuple[str, dict[str, Any]]]:
    """Selections of the dimension that is drawn as several curves; others at their last value."""
    rest = [str(d) for d in array.dims if d not in (x, "seed")]
    if not rest:
        return [("", {})]
    drawn = max(rest, key=lambda d: array.sizes[d])
    fixed = {d: array.sizes[d] - 1 for d in rest if d != drawn}
    n = array.sizes[drawn]
    places = np.unique(np.linspace(0, n - 1, min(n, MAX_CURVES)).round().astype(int))
    return [(f"{drawn} {array[drawn].values[i]}", {**fixed, drawn: int(i)}) for i in places]


def plot(
    runs: "xarray.Dataset",
    theory: "xarray.Dataset | None" = None,
    *,
    observables: list[str] | None = None,
) -> "matplotlib.figure.Figure":
    """Draw simulated observables as bands over seeds, with theory dashed over them.

    The x axis is the step where several are recorded, else the longest numeric axis; the longest
    remaining dimension becomes at most seven curves, any other is shown at its last value.

    **Arguments**

    - `runs`: result of `js.run` or `js.open_store`.
    - `theory`: result of `js.predict` or of a calibration, or None.
    - `observables`: names to draw; by default those with theory first, at most three.

    **Returns** a matplotlib `Figure` (its `savefig` writes vector or bitmap files).

    **Raises** `ValueError` for what is no Dataset, or an observable that `runs` does not have.
    """
    require_dataset("runs", runs)
    if theory is not None:
        require_dataset("theory", theory)
    floats = [str(n) for n in runs.data_vars if runs[n].dtype.kind == "f"]
    shared = [n for n in floats if theory is not None and n in theory]
    names = observables or [*shared, *(n for n in floats if n not in shared)][:3]
    if not names:
        raise ValueError("`runs` must hold at least one real observable to draw.")
    for name in names:
        if name not in floats:
            raise ValueError(f"`observables` must be in {floats}, got {name!r}.")
    figure, grid = new_figure(len(names))
    for axes, name in zip(grid[0], names, strict=True):
        _panel(axes, runs[name], None if theory is None or name not in theory else theory[name])
    return figure


def _panel(
    axes: "matplotlib.axes.Axes", data: "xarray.DataArray", theory: "xarray.DataArray | None"
) -> None:
    data = data if data.dims else data.drop_vars("seed", errors="ignore").expand_dims("seed")
    x = _main_dim(data)
    for i, (label, chosen) in enumerate(_curves(data, x)):
        color = OKABE_ITO[i % len(OKABE_ITO)]
        band(axes, data.isel(chosen), x, color, label or None)
        if theory is not None:
            labels = {d: np.asarray(data[d][[v]]) for d, v in chosen.items() if d in theory.dims}
            at = {d: match_labels(np.asarray(theory[d]), v) for d, v in labels.items()}
            if any(place < 0 for place in at.values()):
                continue
            expected = theory.isel({d: int(place[0]) for d, place in at.items()})
            extra = [d for d in expected.dims if d != x]
            expected = expected.mean(extra) if extra else expected
            if x in expected.dims:
                theory_line(axes, expected, x, color)
            else:
                axes.axhline(float(expected), color=color, **DASHED)
    if data[x].dtype.kind not in "iuf":
        axes.set_xticks(_places(data[x]), [str(v) for v in data[x].values])
    places = _places(data[x])
    positive = places[places > 0]
    if positive.size > 2 and spans_decades(positive):
        log_axis(axes, "x")
    if spans_decades(np.asarray(data)[np.isfinite(np.asarray(data))]):
        log_axis(axes, "y")
    unit = data.attrs.get("units", "")
    axes.set_xlabel(x)
    axes.set_ylabel(f"{data.name} [{unit}]" if unit else str(data.name))
    axes.set_title(data.attrs.get("long_name", ""), fontsize=9)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=7, title=None if theory is None else "dashed: theory")
