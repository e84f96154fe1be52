"""The best parameters and tokens over compute, and those of the compute of a slider."""

import numpy as np
from bokeh.models import ColumnDataSource, Span

from jaxscale.analysis._allocation import SIZES, OptimalAllocation
from jaxscale.explorer._fit_figures import titled
from jaxscale.explorer._page import Page
from jaxscale.explorer._themes import LABEL_WIDTH, dress_legend, hover, new_figure
from jaxscale.report._form_file import FormFile

TEXTS = dict(zip(SIZES, ("best N", "best D"), strict=True))


class AllocationFigure:
    """Curves over compute with bands, runs, minima of parabolas, and one marked compute.

    - `layout`: the figure with its title.
    - `chosen`: data source of what is best at the marked compute.
    """

    def __init__(self, page: Page, file: FormFile, curve: OptimalAllocation):
        theme = page.theme
        figure = new_figure(theme, x="C = 6 N D, operations", y="parameters N, tokens D", log="xy",
                            min_border_left=LABEL_WIDTH)  # fmt: skip
        for i, name in enumerate(SIZES):
            color = theme.curves[i]
            low, high = curve.interval[name]
            figure.varea(curve.flop, low, high, fill_color=color, fill_alpha=0.2)
            label = {"legend_label": TEXTS[name]}
            figure.scatter(file.compute, file.runs[name], size=3, color=color, alpha=0.4)
            figure.line(curve.flop, curve.best[name], color=color, line_width=2, **label)
            if file.isoflop is not None:
                groups = file.isoflop.groups
                figure.scatter(groups["flop"], groups[name], marker="star", size=9,
                               fill_color=color, line_color=theme.ink,
                               legend_label="best of parabolas")  # fmt: skip
        largest = Span(location=float(file.compute.max()), dimension="height",
                       line_color=theme.ink, line_dash="dotted", line_alpha=0.6)  # fmt: skip
        self._mark = Span(dimension="height", line_color=theme.ink, line_width=1)
        figure.add_layout(largest)
        figure.add_layout(self._mark)
        self.chosen = ColumnDataSource(name="allocation", data={"flop": [], "best": [], "name": []})
        drawn = figure.scatter("flop", "best", source=self.chosen, size=10, fill_color=theme.paper,
                               line_color=theme.ink, line_width=2)  # fmt: skip
        figure.add_tools(
            hover([drawn], ("", "@name"), ("value", "@best{0.[00]e+0}"), ("C", "@flop{0.[00]e+0}"))
        )
        dress_legend(figure, theme)
        title = "Best N and D over compute, 95 % bands; dotted, the largest of the runs"
        self.layout = titled(page, title, figure)

    def mark(self, best: OptimalAllocation) -> None:
        """Show what is best at one number of operations."""
        flop = float(best.flop.ravel()[0])
        self._mark.location = flop
        values = [float(best.best[name].ravel()[0]) for name in SIZES]
        self.chosen.data = {"flop": np.full(2, flop), "best": values, "name": [*TEXTS.values()]}
