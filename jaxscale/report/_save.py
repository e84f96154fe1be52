"""Files of a figure: SVG, PNG, and the numbers that it shows as CSV."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxscale.report._figures import STYLE, THEORY

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

Drawn: TypeAlias = "tuple[str, np.ndarray, Any]"  # kind, (n, 2) points, what colour shows
COLUMNS = ("panel", "x_axis", "y_axis", "kind", "series", "x", "y", "value")
DPI = 160
CAP = "_cap"  # at the end of an error bar


def save(figure: "matplotlib.figure.Figure", folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as SVG and PNG, its data as CSV, and return the paths of SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_images(figure, folder / name)
    table = figure_data(figure)
    for column in ("panel", "x_axis", "y_axis", "series"):
        table[column] = table[column].map(inert)
    table.to_csv(folder / f"{name}.csv", index=False, float_format="%.9g")
    return paths


def inert(text: str) -> str:
    """A text that a spreadsheet does not take for a formula; numbers are none."""
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_images(figure: "matplotlib.figure.Figure", stem: Path) -> tuple[Path, Path]:
    """Lay a figure out once, write `stem.svg` and `stem.png`, and return their paths.

    The files are those of `savefig`, which draws and lays out everything twice for each.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    vector, bitmap = (stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png"))
    with mpl.rc_context(STYLE):
        if engine := figure.get_layout_engine():
            engine.execute(figure)
        figure.set_layout_engine("none")
        figure.set_dpi(DPI)
        FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None})
        figure.set_dpi(DPI)  # it was set to that of vectors
        FigureCanvasAgg(figure).print_png(bitmap)
    return vector, bitmap


def figure_data(figure: "matplotlib.figure.Figure") -> "pandas.DataFrame":
    """Return one row per point of everything that is drawn in data coordinates.

    The columns are `panel` (number and title), `x_axis` and `y_axis` (labels), `kind`, `series`
    (the name of the curve, which theory, bands and bars share), `x`, `y`, and `value` for what is
    shown by colour. The kinds are `line`, `theory`, `points`, `area` (outline of a band), `bar`
    (its two ends) and `map`.
    """
    import pandas

    panels: list[Any] = [p for axes in figure.axes for p in (axes, *axes.child_axes)]
    rows = []
    for i, axes in enumerate(p for p in panels if p.get_label() != "<colorbar>"):
        title = f"{i + 1} {' '.join(axes.get_title().split())}".strip()
        panel = (title, axes.get_xlabel(), axes.get_ylabel())
        names = _error_bars(axes)
        for artist in (*axes.lines, *axes.collections):
            label = names.get(artist, str(artist.get_label()))
            series = "" if label.startswith("_child") else label.removeprefix(THEORY)
            series = series.replace(r"\$", "$")
            for kind, xy, values in _points(axes, artist) if label != CAP else ():
                kind = "theory" if label.startswith(THEORY) else kind
                shown = np.full(len(xy), np.nan)
                if values is not None:
                    shown = np.ma.filled(values, np.nan).ravel()
                points = np.column_stack([xy, shown]).tolist()
                rows += [(*panel, kind, series.removeprefix("_"), *p) for p in points]
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _error_bars(axes: "matplotlib.axes.Axes") -> dict[Any, str]:
    """Labels of the points and bars of `errorbar`, which names the group of them alone."""
    from matplotlib.container import ErrorbarContainer

    names = {}
    for group in (c for c in axes.containers if isinstance(c, ErrorbarContainer)):
        points, caps, bars = group.lines
        names |= dict.fromkeys([points, *bars], str(group.get_label())) | dict.fromkeys(caps, CAP)
    return names


def _points(axes: "matplotlib.axes.Axes", artist: Any) -> Iterator[Drawn]:
    """What an artist shows; guides across a panel are not data."""
    from matplotlib.collections import LineCollection, PathCollection, QuadMesh
    from matplotlib.lines import Line2D

    if isinstance(artist, Line2D):
        if artist.get_transform() == axes.transData:
            kind = "points" if artist.get_linestyle() == "None" else "line"
            yield kind, np.asarray(artist.get_xydata(), float), None
    elif isinstance(artist, PathCollection):
        yield "points", np.asarray(artist.get_offsets(), float), artist.get_array()
    elif isinstance(artist, QuadMesh):
        corners, values = np.asarray(artist.get_coordinates(), float), artist.get_array()
        if values is not None and np.size(values) < corners[..., 0].size:  # of cells
            corners = (corners[1:, 1:] + corners[:-1, :-1]) / 2
        yield "map", corners.reshape(-1, 2), values
    else:
        kind = "bar" if isinstance(artist, LineCollection) else "area"
        for path in artist.get_paths():
            yield kind, np.asarray(path.vertices, float), None
