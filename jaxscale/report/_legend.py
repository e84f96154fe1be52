"""A legend where it covers no curve: inside the axes if there is room, else beside them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import matplotlib.artist
    import matplotlib.axes
    import matplotlib.figure

SIZE = 7  # of the letters, in points; lengths below are in letters
LETTER, LINE, ENTRY, HANDLE, FRAME = 0.62, 1.25, 0.5, 2.8, 0.8  # width, heights, what surrounds
PAD = 0.5  # from the edge of the axes
PLACES = np.linspace(0, 1, 1001)  # at which curves are looked at, besides their own
LOCATIONS = {  # horizontal and vertical place, 0 to 1; the first that is free is taken
    "upper right": (1.0, 1.0),
    "upper left": (0.0, 1.0),
    "lower left": (0.0, 0.0),
    "lower right": (1.0, 0.0),
    "center right": (1.0, 0.5),
    "center left": (0.0, 0.5),
    "upper center": (0.5, 1.0),
    "lower center": (0.5, 0.0),
}
Extent = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]


def add_legend(
    axes: "matplotlib.axes.Axes", handles: "Sequence[matplotlib.artist.Artist]", title: str
) -> float:
    """Add a legend; return by how many inches it lies beside the axes, 0 inside.

    The limits and scales of the axes must be final. Without a layout engine, which makes room
    beside the axes, it stays inside.
    """
    if not handles:
        return 0.0
    labels = [str(handle.get_label()) for handle in handles]
    lines = [line for text in (title, *labels) if text for line in text.split("\n")]
    width = SIZE * (LETTER * max(map(len, lines)) + HANDLE + FRAME)
    height = SIZE * (LINE * len(lines) + ENTRY * len(labels) + FRAME)
    options: dict[str, Any] = {
        "handles": handles,
        "fontsize": SIZE,
        "title": title,
        "title_fontsize": SIZE,
    }
    free = next(_free(axes, width, height), None)
    if free is None and axes.get_figure().get_layout_engine() is not None:  # pyright: ignore
        axes.legend(**options | {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)})
        return width / 72
    axes.legend(**options | {"loc": free or "best"})
    return 0.0


def widen(figure: "matplotlib.figure.Figure", inches: float) -> None:
    """Give legends beside the axes a width of their own."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + inches, height)


def _free(axes: "matplotlib.axes.Axes", width: float, height: float) -> Iterator[str]:
    """Locations at which a legend of this size, in points, covers nothing."""
    figure = axes.get_figure()
    scale = 72 / figure.dpi  # pyright: ignore
    total = np.asarray([axes.bbox.width, axes.bbox.height]) * scale
    size, pad = np.asarray([width, height]) / total, PAD * SIZE / total
    if np.any(size + 2 * pad > 1):
        return
    curves = [*_extents(axes)]
    for name, place in LOCATIONS.items():
        low = pad + np.asarray(place) * (1 - size - 2 * pad)
        if not any(_crosses(curve, low, low + size) for curve in curves):
            yield name


def _crosses(curve: Extent, low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"]) -> bool:
    """Whether a curve crosses the rectangle between two corners."""
    at = np.concatenate([PLACES, curve[0]])
    at = at[(at >= low[0]) & (at <= high[0])]
    bottom, top = (np.interp(at, curve[0], y, left=np.nan, right=np.nan) for y in curve[1:])
    return bool(np.any((bottom <= high[1]) & (top >= low[1])))


def _extents(axes: "matplotlib.axes.Axes") -> Iterator[Extent]:
    """Lines, points and bands as x, lowest and highest y, in fractions of the axes."""
    axes.get_xlim()  # limits are computed at the first access
    axes.get_ylim()
    paths: list[tuple[Any, Any]] = [(line, line.get_xydata()) for line in axes.lines]
    paths += [(one, path.vertices) for one in axes.collections for path in one.get_paths()]
    for artist, path in paths:
        place = artist.get_transform() + axes.transAxes.inverted()
        with np.errstate(all="ignore"):  # zeros on a logarithmic axis
            points = np.asarray(place.transform(np.asarray(path, float)), float)
        points = points[np.isfinite(points).all(axis=1)]
        if points.size:
            along, y = points[np.argsort(points[:, 0])].T
            x, first = np.unique(along, return_index=True)
            yield x, np.minimum.reduceat(y, first), np.maximum.reduceat(y, first)
