"""All grid points at once: a map over two axes, and parallel coordinates over all."""

import dataclasses
from typing import Any

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper, LogColorMapper
from jaxtyping import Float, Int

from jaxscale._status import STATUS
from jaxscale.analysis._data import without_failed
from jaxscale.explorer._linked import Linked
from jaxscale.explorer._page import Page
from jaxscale.explorer._sweep import SEED, STEP, Sweep, View, Window, inside_of, over_seeds
from jaxscale.explorer._themes import new_figure
from jaxscale.report._figures import spans_decades, spread_evenly

MOST_CELLS = 10_000
MOST_LINES = 400
MOST_TICKS = 7
MARGIN = 0.16  # beside parallel coordinates, of their width: half a label on a narrow page
MOST_READ = 5e7  # values of all chunks that parallel coordinates may read
QUANTITIES = ("final value", "exponent")


@dataclasses.dataclass(frozen=True)
class Cells:
    """Values of grid points: `index` of each along every axis, and its number, `points`."""

    dims: tuple[str, ...]
    index: Int[np.ndarray, "n d"]
    points: Int[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    quantity: str


def cells(
    sweep: Sweep, view: View, dims: tuple[str, ...], quantity: str, window: Window | None
) -> Cells:
    """Read a quantity at all values of `dims`, the other axes at their sliders.

    The final value is the mean over seeds at the last step of each run, of those that did not fail;
    the exponent is the slope of ln mean on ln step within the window, by least squares.
    """
    grid = sweep.grid
    fixed = {d: sweep.at_slider(view, d) for d in grid.axes if d not in dims}
    array = sweep.runs[view.observable]
    others: dict[str, Any] = {str(d): sweep.at_slider(view, str(d)) for d in array.dims
              if d not in (*grid.dims, STEP)}  # fmt: skip
    has_steps, is_slope = STEP in array.dims, STEP in array.dims and quantity == "exponent"
    if is_slope:
        steps = np.asarray(sweep.runs[STEP], float)
        inside = np.flatnonzero(inside_of(steps, window))
        others[STEP] = slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0)
    elif has_steps and not _ends_vary(sweep):
        others[STEP] = array.sizes[STEP] - 1
    runs = sweep.runs[[view.observable, STATUS]].isel({**fixed, **others}).compute()
    array = runs[view.observable] if is_slope else without_failed(runs, view.observable)
    order = [*dims, SEED, *([STEP] if STEP in array.dims else [])]
    values = np.asarray(array.transpose(*order), float)
    if STEP in array.dims and not is_slope:
        last = sweep.last_steps(dims, fixed)[..., None, None]
        values = np.take_along_axis(values, last, axis=-1)[..., 0]
    codes = np.asarray(runs[STATUS].transpose(*dims, SEED))
    keep = sweep.counted(view, codes)
    values = np.where(keep.reshape(keep.shape + (1,) * (values.ndim - keep.ndim)), values, np.nan)
    mean = over_seeds(np.nanmean, values, axis=len(dims))
    if is_slope:
        mean = _slope(np.asarray(array[STEP], float), mean)
    shape = tuple(len(grid.axes[d]) for d in dims)
    index = np.indices(shape).reshape(len(dims), -1).T
    along = [index[:, dims.index(d)] if d in dims else fixed[d] for d in grid.dims[:-1]]
    points = np.zeros(len(index), int)
    if along:
        points = np.ravel_multi_index(np.broadcast_arrays(*along), grid.shape[:-1])
    return Cells(dims, index, points, mean.ravel(), quantity if is_slope else QUANTITIES[0])


def _ends_vary(sweep: Sweep) -> bool:
    """Whether runs may end at different steps: where structures differ, they may."""
    return bool(sweep.grid.structural_axes)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope of ln y on ln x by least squares, NaN where a value is missing."""
    if x.size < 2:
        return np.full(y.shape[:-1], np.nan)
    with np.errstate(all="ignore"):
        log_x, log_y = np.log(x), np.log(np.where(y > 0, y, np.nan))
    centred = log_x - log_x.mean()
    return (log_y * centred).sum(-1) / (centred**2).sum()


class MapFigure:
    """A quantity over two axes."""

    def __init__(self, page: Page, sweep: Sweep, shown: Cells, linked: Linked):
        first, second = shown.dims
        figure = new_figure(page.theme, x=first, y=second, height=340)
        self.layout, self._mapper, self._shown = figure, _mapper(shown, page), shown
        self._source = ColumnDataSource(name="map", data={
            "x": shown.index[:, 0], "y": shown.index[:, 1], "value": shown.values,
            "point": shown.points,
            "first": np.asarray(sweep.labels(first))[shown.index[:, 0]],
            "second": np.asarray(sweep.labels(second))[shown.index[:, 1]],
        })  # fmt: skip
        drawn = figure.rect(
            "x", "y", width=1, height=1, source=self._source, line_color=None,
            fill_color={"field": "value", "transform": self._mapper},
        )  # fmt: skip
        tips = [(first, "@first"), (second, "@second"), (shown.quantity, "@value{0.[0000]e}")]
        linked.add(figure, drawn, tips, line_color=page.theme.ink, line_width=3)
        self._chosen = ColumnDataSource(name="chosen cell", data={"x": [], "y": []})
        for color, width in ((page.theme.paper, 7), (page.theme.ink, 3)):
            figure.rect("x", "y", width=0.96, height=0.96, source=self._chosen, fill_color=None,
                        line_color=color, line_width=width)  # fmt: skip
        for axis, dim in ((figure.xaxis, first), (figure.yaxis, second)):
            labels = sweep.labels(dim)
            n = len(labels)
            places = spread_evenly(n, MOST_TICKS)
            axis.ticker = places.tolist()
            axis.major_label_overrides = {int(p): labels[p] for p in places}
        figure.grid.visible = False
        bar = ColorBar(
            color_mapper=self._mapper, background_fill_color=None, width=10,
            major_label_text_color=page.theme.ink, title_text_color=page.theme.ink,
        )  # fmt: skip
        figure.add_layout(bar, "right")

    def update(self, shown: Cells) -> None:
        """Show other values of the same cells."""
        self._mapper.low, self._mapper.high = _ends(shown)
        changed = {"value": shown.values, "point": shown.points}
        data: Any = self._source.data
        self._source.data = {**data, **changed}
        self._shown = shown

    def choose(self, point: int | None) -> None:
        """Mark the cell of a grid point, if it has one."""
        rows = self._shown.index[self._shown.points == point]
        self._chosen.data = {"x": rows[:, 0], "y": rows[:, 1]}


class ParallelFigure:
    """Every grid point as a line across its coordinates and its value."""

    def __init__(self, page: Page, sweep: Sweep, shown: Cells, linked: Linked):
        names = [*shown.dims, shown.quantity]
        edge = MARGIN * len(shown.dims)
        figure = new_figure(
            page.theme, x="", y="", height=300, y_range=(-0.12, 1.12),
            x_range=(-edge, len(shown.dims) + edge),
        )  # fmt: skip
        self.layout, self._sweep, self._mapper = figure, sweep, _mapper(shown, page)
        self._source = ColumnDataSource(name="parallel", data=self._lines(shown))
        drawn = figure.multi_line(
            "xs", "ys", source=self._source, line_width=1.5, line_alpha=0.9,
            line_color={"field": "value", "transform": self._mapper},
        )  # fmt: skip
        tips = [("", "@label"), (shown.quantity, "@value{0.[0000]e}")]
        linked.add(figure, drawn, tips, line_width=5, line_alpha=1.0)
        self._ends = ColumnDataSource(data=self._labels(shown))
        text: dict[str, Any] = {
            "source": self._ends, "text_align": "center", "text_font_size": "11px",
            "text_color": page.theme.ink,
        }  # fmt: skip
        figure.text("x", 0, text="first", text_baseline="top", y_offset=4, **text)
        figure.text("x", 1, text="last", text_baseline="bottom", y_offset=-4, **text)
        place = np.arange(len(names))
        figure.segment(place, 0, place, 1, line_color=page.theme.ink)
        figure.xaxis.ticker = place.tolist()
        figure.xaxis.major_label_overrides = dict(enumerate(names))
        figure.yaxis.visible, figure.grid.visible = False, False

    def _lines(self, shown: Cells) -> dict[str, Any]:
        values = shown.values
        with np.errstate(all="ignore"):
            scaled = np.log(values) if _is_log(shown) else values
        good = scaled[np.isfinite(scaled)]
        low, high = (good.min(), good.max()) if good.size else (0.0, 1.0)
        sizes = [max(1, len(self._sweep.grid.axes[d]) - 1) for d in shown.dims]
        across = np.column_stack([shown.index / sizes, (scaled - low) / (high - low or 1.0)])
        labels = [", ".join(f"{d} {t}" for d, t in zip(shown.dims, texts, strict=True))
                  for texts in _texts(self._sweep, shown)]  # fmt: skip
        place = np.arange(across.shape[1])
        return {"xs": [place] * len(across), "ys": list(across), "value": values,
                "point": shown.points, "label": labels}  # fmt: skip

    def _labels(self, shown: Cells) -> dict[str, Any]:
        ends = [(self._sweep.labels(d)[0], self._sweep.labels(d)[-1]) for d in shown.dims]
        good = shown.values[np.isfinite(shown.values)]
        ends.append((f"{good.min():.3g}", f"{good.max():.3g}") if good.size else ("", ""))
        first, last = zip(*ends, strict=True)
        return {"x": np.arange(len(ends)), "first": list(first), "last": list(last)}

    def update(self, shown: Cells) -> None:
        """Show other values of the same points."""
        self._mapper.low, self._mapper.high = _ends(shown)
        self._source.data = self._lines(shown)
        self._ends.data = self._labels(shown)


def _texts(sweep: Sweep, shown: Cells) -> list[tuple[str, ...]]:
    labels = [sweep.labels(d) for d in shown.dims]
    return [tuple(text[i] for text, i in zip(labels, row, strict=True)) for row in shown.index]


def thinned(shown: Cells) -> Cells:
    """At most `MOST_LINES` of the points, spread evenly."""
    n = len(shown.points)
    keep = spread_evenly(n, MOST_LINES)
    return dataclasses.replace(
        shown, index=shown.index[keep], points=shown.points[keep], values=shown.values[keep]
    )


def kind_of(shown: Cells | None) -> Any:
    """What two sets of cells must share for a figure to serve both."""
    if shown is None:
        return None
    return shown.dims, shown.quantity, len(shown.points), _is_log(shown)


def _is_log(shown: Cells) -> bool:
    return spans_decades(shown.values[np.isfinite(shown.values)])


def _ends(shown: Cells) -> tuple[float, float]:
    good = shown.values[np.isfinite(shown.values)]
    return (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)


def _mapper(shown: Cells, page: Page) -> Any:
    kind, (low, high) = LogColorMapper if _is_log(shown) else LinearColorMapper, _ends(shown)
    return kind(palette=list(page.theme.scale), low=low, high=high, nan_color=page.theme.faint)
