"""Colours of figures in light and dark, and how every figure looks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from bokeh.models import CustomJSTickFormatter, HoverTool, NoOverlap
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from jaxscale.report._figures import OKABE_ITO

LABEL_WIDTH = 62  # pixels of labels beside an axis
NARROW = 340  # pixels of a figure on a telephone
GLYPH, LETTER = 40, 4.9  # pixels of the line in a legend with its margins, and of a letter
TOOLS = "pan,box_zoom,wheel_zoom,reset,save"


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours that a page is drawn in."""

    name: str
    paper: str
    ink: str
    faint: str
    curves: tuple[str, ...]

    @property
    def scale(self) -> tuple[str, ...]:
        """Colours of values: the part of a colour map that has a contrast of 3 with the paper.

        The lowest values contrast most, in light and in dark: of a loss these are the best runs.
        """
        return Cividis256[:95:-1] if self.name == "dark" else Cividis256[:162]


THEMES = {
    "light": Theme("light", "#ffffff", "#222222", "#d8d8d8", OKABE_ITO),
    "dark": Theme(
        "dark", "#15181d", "#e4e4e4", "#3a3f47",
        ("#56B4E9", "#E69F00", "#2BC79A", "#E08FBC", "#F0E442", "#7C9CF5", "#FFFFFF"),
    ),
}  # fmt: skip
SHORT = "return Number(tick.toPrecision(3)).toString()"


def new_figure(
    theme: Theme, *, x: str, y: str, log: str = "", title: str = "", height: int = 300, **more: Any
) -> Any:
    """Make a Bokeh figure in the colours of a theme, as wide as its place on the page.

    `log` names the axes that are logarithmic, as for `js.plot`.
    """
    shown: Any = figure(
        height=height, sizing_mode="stretch_width", min_width=280, tools=TOOLS, title=title,
        x_axis_type="log" if "x" in log else "linear",
        y_axis_type="log" if "y" in log else "linear",
        x_axis_label=x, y_axis_label=y, background_fill_color=theme.paper,
        border_fill_color=theme.paper, outline_line_color=None, **more,
    )  # fmt: skip
    shown.title.text_color, shown.title.text_font_size = theme.ink, "13px"
    shown.toolbar.logo, shown.toolbar.autohide = None, True
    shown.grid.grid_line_color = theme.faint
    for axis in shown.axis:
        axis.axis_label_text_color = axis.major_label_text_color = theme.ink
        axis.axis_line_color = axis.major_tick_line_color = theme.ink
        axis.minor_tick_line_color = theme.faint
        axis.axis_label_text_font_style = "normal"
        axis.major_label_policy = NoOverlap()
    return shown


def dress_legend(shown: Any, theme: Theme, labels: Sequence[str] = ()) -> None:
    """Put the legend of a figure below it, where it covers no curve; a click hides a curve.

    Labels are in as many columns as a narrow page has room for.
    """
    width = max((GLYPH + LETTER * len(label) for label in labels), default=0)
    n_columns = 4 if not width else min(4, max(1, int(NARROW / width)))
    for legend in shown.legend:
        legend.background_fill_color, legend.border_line_color = None, None
        legend.label_text_color, legend.inactive_fill_color = theme.ink, theme.faint
        legend.label_text_font_size, legend.padding, legend.spacing = "11px", 0, 8
        legend.orientation, legend.ncols, legend.click_policy = "horizontal", n_columns, "hide"
        shown.add_layout(legend, "below")


def hover(renderers: list[Any], *tips: tuple[str, str], **more: Any) -> HoverTool:
    """Make a tool that shows values under the pointer."""
    return HoverTool(renderers=renderers, tooltips=list(tips), **more)


def short_ticks() -> CustomJSTickFormatter:
    """Numbers of three digits."""
    return CustomJSTickFormatter(code=SHORT)
