"""One observable as curves, dashed where theory makes no claim, with the local exponent below."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import Column, ColumnDataSource, Div, Span
from jaxtyping import Bool, Float

from jaxscale.analysis._exponents import log_slopes
from jaxscale.explorer._themes import LABEL_WIDTH, Theme, dress_legend, hover, new_figure
from jaxscale.report._figures import drawable

SAME = 1e-9  # relative change of what does not depend on x
SEEN = 1e-3  # share of its largest value at which a linear axis shows a curve
DIGITS = 9  # of an exponent, after the point
Lines = Float[np.ndarray, "k n"]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a figure shows: curves over x, their labels, and where theory makes its claim."""

    name: str
    x: Float[np.ndarray, " n"]
    lines: Lines
    claimed: Bool[np.ndarray, "k n"]
    labels: tuple[str, ...]
    has_x: bool = True  # whether the observable is one of x at all

    @property
    def is_constant(self) -> bool:
        """Whether no curve depends on x."""
        with np.errstate(invalid="ignore"):
            low, high = (f.reduce(self.lines, axis=-1) for f in (np.fmin, np.fmax))
        return not self.has_x or bool(np.all(high - low <= SAME * np.abs(high)))


class CurveFigure:
    """Curves of one observable that follow a slider.

    **Arguments**

    - `shown`: the first data, which decide how many curves there are.
    - `theme`: colours.
    - `x`, `y`: labels of the axes; `title`: a line of HTML above the figure.
    - `log`: axes that are logarithmic.
    - `why`: why parts are dashed, where theory says.
    """

    def __init__(
        self, shown: Shown, theme: Theme, *, x: str, y: str, title: Div, log: str, why: str = ""
    ):
        self.log, self._theme = log, theme
        figure = new_figure(theme, x="", y=y, log=log, min_border_left=LABEL_WIDTH)
        self.claimed, self.other, self.pinned, self.slopes, self.other_slopes = (
            ColumnDataSource(data={"xs": [], "ys": []}, name=f"{kind} {shown.name}")
            for kind in ("claimed", "not claimed", "pinned", "slopes", "slopes not claimed")
        )
        self.references = ColumnDataSource(data={"xs": [], "ys": []})
        self._slopes: tuple[float, ...] = ()
        figure.multi_line(
            "xs", "ys", source=self.pinned, line_color=theme.ink, line_alpha=0.35, line_width=1.5
        )
        grey = {"line_color": theme.ink, "line_alpha": 0.5, "line_dash": "dotted"}
        figure.multi_line("xs", "ys", source=self.references, **grey)
        many = len(shown.labels) > 1
        line: dict[str, Any] = {"line_color": "color", "line_width": 2}
        legend = {"legend_field": "label"} if many else {}
        drawn = figure.multi_line("xs", "ys", source=self.claimed, **line, **legend)
        dashed = figure.multi_line("xs", "ys", source=self.other, line_dash="dashed", **line)
        points = ((x, "$snap_x{0.[000]a}"), (shown.name, "$snap_y{0.[0000]e}"))
        figure.add_tools(hover([drawn], ("", "@label"), *points, line_policy="nearest"))
        claim = ("no claim", why or "theory has no value or makes no claim")
        figure.add_tools(hover([dashed], ("", "@label"), *points, claim, line_policy="nearest"))
        dress_legend(figure, theme, shown.labels)
        below = new_figure(
            theme, x=x, y="exponent", log="x" if "x" in log else "", height=130,
            x_range=figure.x_range, min_border_left=LABEL_WIDTH,
        )  # fmt: skip
        below.yaxis.ticker.desired_num_ticks = 4
        below.toolbar_location = None
        below.multi_line("xs", "ys", source=self.slopes, **line)
        below.multi_line("xs", "ys", source=self.other_slopes, line_dash="dashed", **line)
        self._below = below
        self.figure = figure
        self.update(shown)
        self.layout = Column(
            children=[title, figure, below], sizing_mode="stretch_width", spacing=0
        )

    def update(self, shown: Shown) -> None:
        """Show other curves."""
        self._shown = shown
        x, lines = self._drawable()
        colors = [self._theme.curves[i % len(self._theme.curves)] for i in range(len(lines))]
        more = {"color": colors, "label": list(shown.labels)}
        xs = [x] * len(lines)
        outside = np.array([_touching(~claimed) for claimed in shown.claimed])

        def show(solid: ColumnDataSource, dashed: ColumnDataSource, values: Any) -> None:
            for source, mask in ((solid, shown.claimed), (dashed, outside)):
                source.data = {"xs": xs, "ys": list(np.where(mask, values, np.nan)), **more}

        show(self.claimed, self.other, lines)
        lines = shown.lines
        if "y" not in self.log:  # the tail of a curve that has ended is not seen on a linear axis
            top = np.fmax.reduce(lines, axis=-1, keepdims=True)
            lines = np.where(lines > SEEN * top, lines, np.nan)
        show(self.slopes, self.other_slopes, log_slopes(shown.x, lines).round(DIGITS))
        self._draw_references()

    def _drawable(self) -> tuple[np.ndarray, np.ndarray]:
        """The present curves, without what a logarithmic axis cannot show."""
        shown = self._shown
        return drawable(shown.x, log="x" in self.log), drawable(shown.lines, log="y" in self.log)

    def refer(self, slopes: Sequence[float]) -> None:
        """Draw lines of these exponents through the middle of the first curve."""
        self._slopes = tuple(slopes)
        others = [r for r in self._below.center if not isinstance(r, Span)]
        self._below.center = [*others, *(self._level(slope) for slope in slopes)]
        self._draw_references()

    def _level(self, slope: float) -> Span:
        """The exponent of a reference, in the figure of exponents."""
        ink = self._theme.ink
        return Span(location=slope, dimension="width", line_color=ink, line_dash="dotted",
                    line_alpha=0.5)  # fmt: skip

    def _draw_references(self) -> None:
        x, lines = self._shown.x, self._shown.lines
        xs, ys = [], []
        good = np.flatnonzero((lines[0] > 0) & np.isfinite(lines[0]) & (x > 0))
        for slope in self._slopes if self.log == "xy" and good.size > 1 else ():
            middle, ends = good[good.size // 2], x[good[[0, -1]]]
            xs.append(ends)
            ys.append(lines[0, middle] * (ends / x[middle]) ** slope)
        self.references.data = {"xs": xs, "ys": ys}

    def pin(self, is_pinned: bool) -> None:
        """Keep a grey copy of the present curves, or remove it."""
        x, lines = self._drawable() if is_pinned else ((), ())
        self.pinned.data = {"xs": [x] * len(lines), "ys": list(lines)}


def _touching(mask: np.ndarray) -> np.ndarray:
    """A mask and its neighbours, so that dashes meet the line."""
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    return wide & mask.any()
