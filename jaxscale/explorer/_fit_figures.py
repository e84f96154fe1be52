"""Figures of a fit: runs with the fitted form, residuals, and parabolas of runs of one compute."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import (
    ColorBar,
    Column,
    ColumnDataSource,
    CustomJSTickFormatter,
    LogColorMapper,
    Span,
)
from bokeh.palettes import Viridis256

from jaxscale.analysis._isoflop import IsoFlop
from jaxscale.explorer._fit_groups import N_PLACES, fitted_values, groups_of
from jaxscale.explorer._page import Page, escaped
from jaxscale.explorer._themes import (
    LABEL_WIDTH,
    Theme,
    dress_legend,
    hover,
    new_figure,
    short_ticks,
)
from jaxscale.report._figures import spans_decades
from jaxscale.report._form_file import FormFile

FITTED = "fitted loss"  # what residuals are drawn against at first
NARROW = 100.0  # ratio of the ends of an axis, below which its labels are no powers of ten alone
SHORT = "return tick.toExponential().replace('+', '')"
VISIBLE = {"light": slice(0, 225), "dark": slice(60, 256)}  # shades on the paper of a theme


def titled(page: Page, title: str, figure: Any) -> Column:
    """A figure below its title, which breaks where the page is narrow."""
    text = page.text(f"<b>{escaped(title)}</b>")
    return Column(children=[text, figure], sizing_mode="stretch_width", spacing=0)


def runs_figure(page: Page, file: FormFile, names: Mapping[str, str]) -> Any:
    """Runs and the fitted form: along N at one compute, else over the first input.

    `names` are the columns of the table by the names of the form, for the axes.
    """
    if file.allocates:
        return _along_groups(page, file)
    x, y = file.inputs[0], file.formula.result
    inputs = {n: file.runs[n].to_numpy(float) for n in file.inputs}
    measured = file.runs[y].to_numpy(float)
    log = ("x" if spans_decades(inputs[x]) else "") + ("y" if np.all(measured > 0) else "")
    theme = page.theme
    figure = new_figure(
        theme, x=names.get(x, x), y=names.get(y, y), log=log, min_border_left=LABEL_WIDTH
    )
    if "x" in log:
        _shorten(figure, inputs[x])
    figure.yaxis.formatter = short_ticks()
    runs = ColumnDataSource(name="runs", data={"x": inputs[x], "y": measured})
    if len(inputs) == 1:
        space = np.geomspace if "x" in log else np.linspace
        places = space(inputs[x].min(), inputs[x].max(), N_PLACES)
        said: Any = file.fit.predict(**{x: places})
        low, high = (said[f"{y}_{end}"].to_numpy(float) for end in ("low", "high"))
        figure.varea(places, low, high, fill_color=theme.curves[1], fill_alpha=0.25)
        figure.line(places, said[y].to_numpy(float), color=theme.curves[1], line_width=2,
                    legend_label="fit and 95 % interval")  # fmt: skip
    else:
        figure.scatter(inputs[x], fitted_values(file, inputs), marker="cross", size=8,
                       color=theme.curves[1], legend_label="fit at the same inputs")  # fmt: skip
    drawn = figure.scatter("x", "y", source=runs, size=6, color=theme.curves[0], line_color=None,
                           legend_label="runs")  # fmt: skip
    figure.add_tools(hover([drawn], (x, "@x{0.[000]a}"), (y, "@y{0.[0000]}")))
    dress_legend(figure, theme)
    return titled(page, f"Runs and the fit of {file.formula.name}", figure)


def _along_groups(page: Page, file: FormFile) -> Any:
    """Loss over N, coloured by what groups of runs share, with curves of the fit."""
    groups, y = groups_of(file), file.formula.result
    theme = page.theme
    figure = new_figure(theme, x="parameters N", y=y, log="xy", min_border_left=LABEL_WIDTH)
    figure.yaxis.formatter = short_ticks()
    _shorten(figure, file.runs["n_parameters"].to_numpy(float))
    mapper = _mapper(theme, groups.at)
    color = {"field": "shared", "transform": mapper}
    curves = ColumnDataSource(
        name="fitted", data={"xs": groups.sizes, "ys": groups.losses, "shared": groups.shared}
    )
    runs = ColumnDataSource(
        name="runs",
        data={
            "x": file.runs["n_parameters"], "y": file.runs[y], "shared": groups.at,
            "tokens": file.runs["n_tokens"], "compute": file.compute,
        },
    )  # fmt: skip
    drawn = figure.scatter("x", "y", source=runs, size=6, fill_color=color, line_color=None,
                           fill_alpha=0.7)  # fmt: skip
    figure.multi_line("xs", "ys", source=curves, line_color=color, line_width=2)
    tips = (("N", "@x{0.[00]a}"), ("D", "@tokens{0.[00]a}"), ("C", "@compute{0.[00]e+0}"))
    figure.add_tools(hover([drawn], *tips, (y, "@y{0.[0000]}")))
    _add_bar(figure, theme, mapper)
    return titled(page, f"Runs, and the fit along those of about one {groups.by} (colour)", figure)


def residual_names(file: FormFile) -> list[str]:
    """What residuals can be drawn against."""
    return [FITTED, *file.inputs, *(["compute"] if file.allocates else [])]


def residuals_of_page(page: Page, file: FormFile, against: str) -> Any:
    """Residuals, measured less fitted, which should show no trend."""
    inputs = {n: file.runs[n].to_numpy(float) for n in file.inputs}
    values = {FITTED: fitted_values(file, inputs), **inputs}
    values |= {"compute": file.compute} if file.allocates else {}
    x = values[against]
    residuals = -np.asarray(file.fit.residuals, float).ravel()
    residuals = residuals[np.isfinite(residuals)]
    theme = page.theme
    log = "x" if spans_decades(x) else ""
    figure = new_figure(
        theme, x=against, y="measured less fitted", log=log, min_border_left=LABEL_WIDTH
    )
    if spans_decades(x):
        _shorten(figure, x)
    data = {"x": x, "y": residuals, "measured": file.runs[file.formula.result]}
    color: Any = theme.curves[0]
    mapper = _mapper(theme, file.compute) if file.allocates else None
    if mapper is not None:
        data["compute"] = file.compute
        color = {"field": "compute", "transform": mapper}
    source = ColumnDataSource(name="residuals", data=data)
    drawn = figure.scatter("x", "y", source=source, size=6, fill_color=color, line_color=None)
    tips = [(against, "@x{0.[0000]a}"), ("residual", "@y{0.[00000]}"),
            (file.formula.result, "@measured{0.[0000]}")]  # fmt: skip
    figure.add_tools(hover([drawn], *tips))
    figure.add_layout(Span(location=0, dimension="width", line_color=theme.ink, line_width=1))
    if mapper is not None:
        _add_bar(figure, theme, mapper)
    shades = "" if mapper is None else "; colour, C = 6 N D"
    return titled(page, f"Residuals of {_scale(file)}, against {against}{shades}", figure)


def _scale(file: FormFile) -> str:
    """The scale that residuals are on, in words."""
    result = file.formula.result
    kind = type(file.fit.residual[result]).__name__
    return f"ln {result}" if kind == "Log" else f"{result} ({kind})"


def isoflop_of_page(page: Page, file: FormFile, isoflop: IsoFlop) -> Any:
    """Runs of one compute, the parabola through them, and its minimum."""
    theme, groups = page.theme, isoflop.groups
    figure = new_figure(theme, x="parameters N", y="loss", log="x", min_border_left=LABEL_WIDTH)
    mapper = _mapper(theme, groups["flop"].to_numpy(float))
    color = {"field": "flop", "transform": mapper}
    flop = groups["flop"].to_numpy(float)
    size = isoflop.runs["n_parameters"].to_numpy(float)
    _shorten(figure, size)
    has = np.flatnonzero(np.isfinite(isoflop.parabolas).all(axis=1))
    xs = [np.geomspace(size[isoflop.group == g].min(), size[isoflop.group == g].max(), N_PLACES)
          for g in has]  # fmt: skip
    ys = [np.polyval(isoflop.parabolas[g], np.log(x)) for g, x in zip(has, xs, strict=True)]
    figure.multi_line(
        "xs", "ys", line_color=color, line_width=2,
        source=ColumnDataSource(name="parabolas", data={"xs": xs, "ys": ys, "flop": flop[has]}),
    )  # fmt: skip
    shown = np.isin(isoflop.group, has)
    runs = {"x": size[shown], "y": isoflop.runs["loss"].to_numpy(float)[shown],
            "flop": flop[isoflop.group[shown]]}  # fmt: skip
    figure.scatter("x", "y", source=ColumnDataSource(data=runs), size=4, fill_color=color,
                   line_color=None, fill_alpha=0.8)  # fmt: skip
    minima = groups.dropna(subset=["n_parameters"]).to_dict("list")
    source = ColumnDataSource(name="minima", data=minima)
    drawn = figure.scatter("n_parameters", "loss", source=source, size=11, marker="star",
                           fill_color=color, line_color=theme.ink)  # fmt: skip
    figure.add_tools(
        hover([drawn], ("C", "@flop{0.[00]e+0}"), ("N*", "@n_parameters{0.[00]a}"),
              ("95 %", "@n_parameters_low{0.[00]a} to @n_parameters_high{0.[00]a}"),
              ("loss", "@loss{0.[0000]}"))
    )  # fmt: skip
    _add_bar(figure, theme, mapper)
    without = len(groups) - len(has)
    less = f"; {without} groups of too few runs are not drawn" if without else ""
    return titled(page, f"Runs of one C (colour), their parabolas and best N (stars){less}", figure)


def _shorten(figure: Any, values: np.ndarray) -> None:
    """Short labels of a logarithmic x axis that spans few powers of ten."""
    if np.max(values) < NARROW * np.min(values):
        figure.xaxis.formatter = CustomJSTickFormatter(code=SHORT)


def _mapper(theme: Theme, values: np.ndarray) -> LogColorMapper:
    """Shades of positive numbers that can be seen on the paper of a theme."""
    low, high = float(np.min(values)), float(np.max(values))
    palette = list(Viridis256[VISIBLE[theme.name]])
    return LogColorMapper(palette=palette, low=low, high=max(high, low * 1.001))


def _add_bar(figure: Any, theme: Theme, mapper: LogColorMapper) -> None:
    """A legend of shades at the right."""
    bar = ColorBar(
        color_mapper=mapper, width=10, padding=4, background_fill_color=None,
        major_label_text_color=theme.ink, bar_line_color=None,
    )  # fmt: skip
    figure.add_layout(bar, "right")
