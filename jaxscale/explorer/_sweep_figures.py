"""Curves of a sweep with bands over seeds, and theory dashed over them: a figure per panel."""

from typing import Any

import numpy as np
from bokeh.models import Column, ColumnDataSource
from jaxtyping import Float

from jaxscale.explorer._linked import Linked
from jaxscale.explorer._page import Page, escaped
from jaxscale.explorer._sweep import Curves, View
from jaxscale.explorer._themes import dress_legend, new_figure
from jaxscale.report._figures import FEW, darker, spans_decades

THEORY_INK = {"light": darker, "dark": lambda color: color}


def curve_figures(
    page: Page,
    view: View,
    curves: Curves,
    theory: Float[np.ndarray, "p c x"] | None,
    linked: Linked,
    log: str | None,
    label: str,
) -> list[Any]:
    """Draw a figure for each panel.

    **Arguments**

    - `theory`: closed form of every curve, None where there is none.
    - `linked`: what hover and clicks act on.
    - `log`: axes that are logarithmic; None for those of positive values that span decades.
    - `label`: of the y axis.
    """
    x, means = curves.x, curves.mean
    positive = x[x > 0]
    log_x = "x" in log if log is not None else positive.size > 2 and spans_decades(positive)
    inside = means[..., x > 0] if log_x else means
    values = inside[np.isfinite(inside)]
    log_y = "y" in log if log is not None else spans_decades(values)
    if not values.size:
        return [page.text("<p>No run that counts has a finite value here.</p>", name="nothing")]
    shared: dict[str, Any] = {}
    figures = []
    for i, title in enumerate(curves.panel_labels):
        figure = new_figure(
            page.theme, x=view.x, y=label, log=("x" if log_x else "") + ("y" if log_y else ""),
            height=340, **shared,
        )  # fmt: skip
        _draw(figure, page, view, curves, theory, i, linked, (log_x, log_y))
        shared = {"x_range": figure.x_range, "y_range": figure.y_range}
        heading = f"<b>{escaped(view.panel)} {escaped(title)}</b>" if view.panel else ""
        children = [page.text(heading), figure] if heading else [figure]
        figures.append(Column(children=children, sizing_mode="stretch_width", spacing=0))
    return figures


def _draw(
    figure: Any,
    page: Page,
    view: View,
    curves: Curves,
    theory: Float[np.ndarray, "p c x"] | None,
    i: int,
    linked: Linked,
    log: tuple[bool, bool],
) -> None:
    """Draw bands, means, points and theory of one panel."""
    theme, x = page.theme, _axis(curves.x, log[0])
    mean, spread, least = curves.mean[i], curves.spread[i], curves.least[i]
    low, high = mean - spread, mean + spread
    if log[1]:
        low = np.maximum(low, least)
    colors = [theme.curves[k % len(theme.curves)] for k in range(len(mean))]
    names = [f"{view.color} {text}" if view.color else "simulation" for text in curves.labels]
    along = bool(np.all(curves.points[i] == curves.points[i][:, :1]))
    rows = curves.points[i][:, 0] if along else np.full(len(mean), -1)
    good = [np.isfinite(m) & np.isfinite(x) & ((m > 0) | (not log[1])) for m in mean]
    bands = ColumnDataSource(data={
        "xs": [np.r_[x[g], x[g][::-1]] for g in good],
        "ys": [np.r_[lo[g], hi[g][::-1]] for lo, hi, g in zip(low, high, good, strict=True)],
        "color": colors,
    })  # fmt: skip
    if curves.values.shape[2] > 1:
        figure.patches("xs", "ys", source=bands, fill_color="color", fill_alpha=0.2,
                       line_color=None)  # fmt: skip
    lines = ColumnDataSource(
        name=f"curves {i}",
        data={
            "xs": [x[g] for g in good],
            "ys": [m[g] for m, g in zip(mean, good, strict=True)],
            "color": colors, "label": names, "point": rows,
        },
    )  # fmt: skip
    drawn = figure.multi_line("xs", "ys", source=lines, line_color="color", line_width=2,
                              legend_field="label")  # fmt: skip
    tips = [("", "@label"), (view.x, "$snap_x{0.[000]a}"), (view.observable, "$snap_y{0.[0000]e}")]
    if along:
        linked.add(figure, drawn, tips, line_width=5)
    else:
        _points(figure, view, curves, i, colors, names, linked, log)
    if theory is not None:
        ink = THEORY_INK[theme.name]
        formulas = ColumnDataSource(name=f"theory {i}", data={
            "xs": [x] * len(mean), "ys": [_axis(t, log[1]) for t in theory[i]],
            "color": [ink(c) for c in colors],
        })  # fmt: skip
        figure.multi_line("xs", "ys", source=formulas, line_color="color", line_dash="dashed",
                          line_width=2, legend_label="theory")  # fmt: skip
    if curves.ticks:
        figure.xaxis.ticker = list(range(len(curves.ticks)))
        figure.xaxis.major_label_overrides = dict(enumerate(curves.ticks))
    dress_legend(figure, theme)


def _points(
    figure: Any, view: View, curves: Curves, i: int, colors: list[str], names: list[str],
    linked: Linked, log: tuple[bool, bool],
) -> None:  # fmt: skip
    """Mark every grid point, which hover and clicks act on."""
    mean = _axis(curves.mean[i], log[1])
    n = curves.x.size
    source = ColumnDataSource(name=f"points {i}", data={
        "x": np.tile(_axis(curves.x, log[0]), len(mean)), "y": mean.ravel(),
        "color": np.repeat(colors, n), "label": np.repeat(names, n),
        "point": curves.points[i].ravel(),
    })  # fmt: skip
    size = 7 if n <= FEW else 5
    drawn = figure.scatter("x", "y", source=source, size=size, fill_color="color",
                           line_color=None)  # fmt: skip
    tips = [("", "@label"), (view.x, "@x"), (view.observable, "@y{0.[0000]e}")]
    linked.add(figure, drawn, tips, size=14)


def _axis(values: Any, is_log: bool) -> np.ndarray:
    values = np.asarray(values, float)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & ((values > 0) | (not is_log)), values, np.nan)
