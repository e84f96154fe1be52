"""Figures: theory over simulated bands, colour-blind safe, axes with units, direct labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._text import printable

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.lines
    import xarray

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
End = tuple[float, float, str, str]  # of a curve: x, y, text and colour
MAX_CURVES = 7
THEORY = "_theory: "  # begins the label of a curve of theory
FEW = 12  # up to so many simulated points are marked one by one
DARK = 0.55  # lightness of theory, of that of the simulation
LARGEST = 1e100  # value that an axis takes
LINE_HEIGHT = 0.06  # of a label, in heights of a panel
DASHED: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.6}
BELOW: dict[str, Any] = {"zorder": 1.5}
POINTS: dict[str, Any] = {"marker": "o", "ms": 4, "ls": ""}
SMALL_POINTS: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3.5, "mew": 0, "alpha": 0.8}
GREY: dict[str, Any] = {"color": "#444444", "lw": 1.0}  # of what belongs to no curve
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


def band(
    axes: "matplotlib.axes.Axes",
    curve: "xarray.DataArray",
    dim: str,
    color: str,
    name: str,
    *,
    log: bool = True,
) -> None:
    """Draw the mean over seeds with a band of one standard deviation, or the line of one seed.

    On a logarithmic y axis (`log`) the band ends at the smallest seed, so that it never reaches
    zero. `name` is the label of the line.
    """
    x = places(curve[dim])
    line: dict[str, Any] = {"color": color, "lw": 1.4, "label": name}
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
    low, high = mean - spread, mean + spread
    if log:
        low = np.maximum(low, np.nanmin(values[:, good], axis=0))
    axes.plot(x[good], mean, **line)
    if x.size == 1:
        axes.vlines(x[good], low, high, color=color, lw=1.0, label=f"_{name}")
        return
    axes.fill_between(x[good], low, high, color=color, alpha=0.2, lw=0, label=f"_{name}")


def dashed(
    axes: "matplotlib.axes.Axes", x: Any, y: Any, color: str, name: str, **style: Any
) -> "matplotlib.lines.Line2D":
    """Draw theory over the simulation of this colour and name: dashed, darker, with a light edge.

    A single point is a bar. `**BELOW` draws it under a simulation that is points, which it would
    hide. The label begins with `THEORY`, which tables of the data read and legends leave out.
    """
    from matplotlib.patheffects import Normal, Stroke

    edge = [Stroke(linewidth=3.4, foreground="white", alpha=0.9), Normal()]
    style = DASHED | {"zorder": 2.5, "path_effects": edge} | style
    style |= {"marker": "_" if np.size(x) == 1 else None, "ms": 14}
    return axes.plot(x, y, color=darker(color), label=THEORY + name, **style)[0]


def darker(color: str) -> str:
    """Return the colour of theory for that of a simulation."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = to_rgb(color)
    return to_hex((DARK * red, DARK * green, DARK * blue))


def places(coordinate: "xarray.DataArray") -> np.ndarray:
    """Positions of the values of a dimension on the x axis: objects lie at 0, 1, ..."""
    numeric = coordinate.dtype.kind in "iuf"
    return np.asarray(coordinate, float) if numeric else np.arange(float(coordinate.size))


def spans_decades(values: np.ndarray) -> bool:
    """Whether values are positive and cover more than a factor 20, which asks for a log axis."""
    return bool(values.size and values.min() > 0 and values.max() > 20 * values.min())


def log_axis(axes: "matplotlib.axes.Axes", which: str) -> None:
    """Make the `x` or `y` axis logarithmic, with plain ticks where it covers under two decades."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

    if not np.isfinite(axes.dataLim.minposx if which == "x" else axes.dataLim.minposy):
        return  # nothing that it could show
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if not (0 < low < high) or high > 100 * low:
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


def drawable(values: Any, *, log: bool = False) -> np.ndarray:
    """Values with NaN for what an axis, or one that is logarithmic, cannot show."""
    values = np.asarray(values, float)
    with np.errstate(invalid="ignore"):
        good = (np.abs(values) < LARGEST) & ((values > 0) | (not log))
    return np.where(good, values, np.nan)


def spread_evenly(n: int, most: int) -> np.ndarray:
    """Indices of all of `n` things, or of `most` that are spread evenly, both ends included."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)


def with_unit(name: str, unit: str) -> str:
    """Label of an axis."""
    return f"{name} [{unit}]" if unit not in ("", "1") else name


def not_drawn(parts: Sequence[str]) -> str:
    """Return the line of a title that names what is drawn in part or not at all, if anything is."""
    return f"\nnot drawn in full: {', '.join(parts)}" if parts else ""


def literal(text: Any) -> str:
    """Text of the data, in which no dollar sign begins a formula."""
    return printable(str(text)).replace("$", r"\$")


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
        if not column:
            continue
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
