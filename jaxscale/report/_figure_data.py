"""The numbers that a figure shows, as a table: a CSV file beside every figure of a report."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

Drawn: TypeAlias = "tuple[str, str, np.ndarray]"  # kind, series, (n, 3) points
COLUMNS = ("panel", "x_axis", "y_axis", "kind", "series", "x", "y", "value")


def figure_data(figure: "matplotlib.figure.Figure") -> "pandas.DataFrame":
    """Return one row per point of everything that is drawn in data coordinates.

    The columns are `panel` (number and title), `x_axis` and `y_axis` (labels), `kind`, `series`
    (its label, else its colour), `x`, `y`, and `value` for what is shown by colour. The kinds are
    `line`, `dashed` (theory), `points`, `area` (outline of a band), `bar` (its two ends) and `map`.
    """
    import pandas

    panels: list[Any] = [p for axes in figure.axes for p in (axes, *axes.child_axes)]
    rows = []
    for i, axes in enumerate(p for p in panels if p.get_label() != "<colorbar>"):
        title = f"{i + 1} {' '.join(axes.get_title().split())}".strip()
        panel = (title, axes.get_xlabel(), axes.get_ylabel())
        for kind, series, points in [*_lines(axes), *_collections(axes)]:
            rows += [(*panel, kind, series, *point) for point in points.tolist()]
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _lines(axes: "matplotlib.axes.Axes") -> Iterator[Drawn]:
    """Lines and points; guides across a panel are not data."""
    from matplotlib.colors import to_hex

    for line in axes.lines:
        if line.get_transform() == axes.transData:
            kind = {"--": "dashed", "None": "points"}.get(str(line.get_linestyle()), "line")
            label, color = str(line.get_label()), to_hex(line.get_color())  # pyright: ignore
            xy = np.asarray(line.get_xydata(), float)
            yield kind, color if label.startswith("_") else label, _with(xy, None)


def _collections(axes: "matplotlib.axes.Axes") -> Iterator[Drawn]:
    """Bands, bars, coloured points and maps."""
    from matplotlib.collections import LineCollection, PathCollection, QuadMesh
    from matplotlib.colors import to_hex

    for artist in axes.collections:
        values: Any = artist.get_array()
        colors: list[Any] = [*artist.get_edgecolor(), *artist.get_facecolor()]
        name = to_hex(colors[0]) if colors and values is None else ""
        if isinstance(artist, PathCollection):
            yield "points", name, _with(np.asarray(artist.get_offsets(), float), values)
        elif isinstance(artist, QuadMesh):
            corners = np.asarray(artist.get_coordinates(), float)
            if values is not None and values.size < corners[..., 0].size:  # of cells
                corners = (corners[1:, 1:] + corners[:-1, :-1]) / 2
            yield "map", name, _with(corners.reshape(-1, 2), values)
        else:
            kind = "bar" if isinstance(artist, LineCollection) else "area"
            for path in artist.get_paths():
                yield kind, name, _with(np.asarray(path.vertices, float), None)


def _with(xy: np.ndarray, values: Any) -> np.ndarray:
    """Points with a third column of values, NaN where nothing is shown by colour."""
    third = np.full(len(xy), np.nan) if values is None else np.ma.filled(values, np.nan).ravel()
    return np.column_stack([xy, third])
