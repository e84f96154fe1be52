"""Curves of a sweep with bands over seeds, and theory dashed over them: a figure per panel."""

from typing import Any

import numpy as np
from bokeh.models import Column, ColumnDataSource
from jaxtyping import Bool, Float

from jaxscale.explorer._linked import PLACES, Linked
from jaxscale.explorer._page import Page, escaped
from jaxscale.explorer._sweep import Curves, View
from jaxscale.explorer._themes import dress_legend, new_figure
from jaxscale.report._figures import FEW, darker, drawable, spans_decades
from jaxscale.report._panel import short_texts

THEORY_INK = {"light": darker, "dark": lambda color: color}
Closed = Float[np.ndarray, "p c x"] | None


def logarithmic(curves: Curves, log: str | None) -> tuple[bool, bool]:
    """Whether x and y are logarithmic: as asked, else where positive values span decades."""
    x, means = curves.x, curves.mean
    positive = x[x > 0]
    log_x = "x" in log if log is not None else positive.size > 2 and spans_decades(positive)
    log_x = log_x and not curves.ticks  # places of names are no numbers
    inside = means[..., x > 0] if log_x else means
    inside = inside[has_line(curves, (log_x, False))]
    values = inside[np.isfinite(inside)]
    return log_x, "y" in log if log is not None else spans_decades(values)


def has_line(curves: Curves, log: tuple[bool, bool]) -> Bool[np.ndarray, "p c"]:
    """Which curves can be drawn: a line has two finite values, an axis of the grid has points."""
    x, mean = drawable(curves.x, log=log[0]), drawable(curves.mean, log=log[1])
    n_finite = (np.isfinite(x) & np.isfinite(mean)).sum(axis=-1)
    return n_finite >= (2 if _is_one(curves) else 1)


class SweepFigures:
    """Figures of the panels of a view; a view that differs in its data alone moves the curves.

    **Arguments**

    - `theory`: closed form of every curve, None where there is none.
    - `linked`: what hover and clicks act on.
    - `log`: whether x and y are logarithmic.
    - `label`: of the y axis.
    """

    def __init__(
        self,
        page: Page,
        view: View,
        curves: Curves,
        theory: Closed,
        linked: Linked,
        log: tuple[bool, bool],
        label: str,
    ):
        self._page, self._view, self._log = page, view, log
        self._sources: list[dict[str, ColumnDataSource]] = []
        self.layouts: list[Any] = []
        shared: dict[str, Any] = {}
        shown = has_line(curves, log)
        for i, title in enumerate(curves.panel_labels):
            figure = new_figure(
                page.theme, x=view.x, y=label, log="x" * log[0] + "y" * log[1], height=340, **shared
            )
            data = self._data(curves, theory, i, shown[i])
            sources = {n: ColumnDataSource(name=f"{n} {i}", data=d) for n, d in data.items()}
            self._sources.append(sources)
            self._draw(figure, curves, sources, linked)
            shared = {"x_range": figure.x_range, "y_range": figure.y_range}
            heading = f"<b>{escaped(view.panel)} {escaped(title)}</b>" if view.panel else ""
            children = [page.text(heading), figure] if heading else [figure]
            self.layouts.append(Column(children=children, sizing_mode="stretch_width", spacing=0))

    def update(self, curves: Curves, theory: Closed) -> None:
        """Show other data of the same view."""
        shown = has_line(curves, self._log)
        for i, sources in enumerate(self._sources):
            for name, data in self._data(curves, theory, i, shown[i]).items():
                sources[name].data = data

    def _data(
        self, curves: Curves, theory: Closed, i: int, is_drawn: Bool[np.ndarray, " c"]
    ) -> dict[str, dict[str, Any]]:
        """Columns of bands, curves, points and theory of one panel."""
        theme, view, (log_x, log_y) = self._page.theme, self._view, self._log
        x, mean = drawable(curves.x, log=log_x), curves.mean[i]
        low, high = mean - curves.spread[i], mean + curves.spread[i]
        if log_y:
            low = np.maximum(low, curves.least[i])
        colors = [theme.curves[k % len(theme.curves)] for k in range(len(mean))]
        names = [f"{view.color} {text}" if view.color else "simulation" for text in curves.labels]
        good = [np.isfinite(m) & np.isfinite(x) & ((m > 0) | (not log_y)) for m in mean]
        rows = curves.points[i][:, 0] if _is_one(curves) else np.full(len(mean), -1)
        shown = np.flatnonzero(is_drawn)
        data = {
            "bands": {
                "xs": [np.r_[x[good[k]], x[good[k]][::-1]] for k in shown],
                "ys": [np.r_[low[k][good[k]], high[k][good[k]][::-1]] for k in shown],
                "color": [colors[k] for k in shown],
            },
            "curves": {
                "xs": [x[good[k]] for k in shown],
                "ys": [mean[k][good[k]] for k in shown],
                "color": [colors[k] for k in shown],
                "label": [names[k] for k in shown],
                "point": rows[shown],
                PLACES["panel"]: np.full(shown.size, curves.panels[i]),
                PLACES["color"]: curves.colors[shown],
            },
        }
        if not _is_one(curves):
            data["points"] = {
                "x": np.tile(x, len(mean)),
                "y": drawable(mean, log=log_y).ravel(),
                "color": np.repeat(colors, x.size),
                "label": np.repeat(names, x.size),
                "point": curves.points[i].ravel(),
                PLACES["panel"]: np.full(mean.size, curves.panels[i]),
                PLACES["color"]: np.repeat(curves.colors, x.size),
            }
        if theory is not None:
            ink = THEORY_INK[theme.name]
            data["theory"] = {
                "xs": [x] * len(mean),
                "ys": [drawable(t, log=log_y) for t in theory[i]],
                "color": [ink(c) for c in colors],
            }
        return data

    def _draw(
        self, figure: Any, curves: Curves, sources: dict[str, ColumnDataSource], linked: Linked
    ) -> None:
        """Draw one panel."""
        view, x = self._view, self._view.x
        if curves.values.shape[2] > 1:
            figure.patches(
                "xs", "ys", source=sources["bands"], fill_color="color", fill_alpha=0.2,
                line_color=None,
            )  # fmt: skip
        line: dict[str, Any] = {"line_color": "color", "line_width": 2}
        drawn = figure.multi_line(
            "xs", "ys", source=sources["curves"], legend_field="label", **line
        )
        tips = [("", "@label"), (x, "$snap_x{0.[000]a}"), (view.observable, "$snap_y{0.[0000]e}")]
        if _is_one(curves):
            linked.add(figure, drawn, tips, line_width=5)
        else:
            size = 7 if curves.x.size <= FEW else 5
            marks = figure.scatter(
                "x", "y", source=sources["points"], size=size, fill_color="color", line_color=None
            )
            tips = [("", "@label"), (x, "@x"), (view.observable, "@y{0.[0000]e}")]
            linked.add(figure, marks, tips, size=14)
        if "theory" in sources:
            figure.multi_line(
                "xs", "ys", source=sources["theory"], line_dash="dashed", legend_label="theory",
                **line,
            )  # fmt: skip
        if curves.ticks:
            figure.xaxis.ticker = list(range(len(curves.ticks)))
            figure.xaxis.major_label_overrides = dict(enumerate(curves.ticks))
        elif not _is_one(curves) and curves.x.size <= FEW:
            is_integer = np.all((curves.x % 1 == 0) & (np.abs(curves.x) < 1e6))
            values = curves.x.astype(int) if is_integer else curves.x
            figure.xaxis.ticker = curves.x.tolist()
            texts = short_texts(values, range(values.size))
            figure.xaxis.major_label_overrides = dict(zip(curves.x.tolist(), texts, strict=True))
        names: Any = [*sources["curves"].data["label"], "theory"]
        dress_legend(figure, self._page.theme, names)


def _is_one(curves: Curves) -> bool:
    """Whether a curve belongs to one grid point: x is no axis of the grid."""
    return bool(np.all(curves.points == curves.points[..., :1]))
