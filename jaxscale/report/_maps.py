"""Maps: a closed form as colour over a plane with simulated points on it; numbers in cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxscale.report._figures import logs

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure

SURFACE = "viridis"  # perceptually uniform, also for colour-blind readers
CELLS = "PuOr"  # ends that colour-blind readers can distinguish, neutral in the middle


def log_colors(low: float, high: float) -> "matplotlib.colors.LogNorm":
    """Make a logarithmic colour scale between two positive values."""
    from matplotlib.colors import LogNorm

    return LogNorm(low, high)


def surface(
    axes: "matplotlib.axes.Axes",
    x: Float[np.ndarray, "r c"],
    y: Float[np.ndarray, "r c"],
    values: Float[np.ndarray, "r c"],
    colors: "matplotlib.colors.LogNorm",
) -> None:
    """Draw a closed form as colour over a plane, both axes logarithmic.

    Rows and columns of `x` and `y` need not be straight; values that are not finite have the last
    colour of the scale, which `dots` and `color_bar` share.
    """
    shown = np.clip(np.nan_to_num(values, nan=np.inf), colors.vmin, colors.vmax)
    axes.pcolormesh(x, y, shown, norm=colors, cmap=SURFACE, shading="gouraud", rasterized=True,
                    label="closed form")  # fmt: skip
    logs(axes)


def dots(
    axes: "matplotlib.axes.Axes",
    x: Float[np.ndarray, " p"],
    y: Float[np.ndarray, " p"],
    values: Float[np.ndarray, " p"],
    colors: "matplotlib.colors.LogNorm",
) -> None:
    """Draw simulated values as circles filled in the colours of the closed form.

    A circle that differs from its background is a simulation that disagrees.
    """
    axes.scatter(x, y, 46, values, norm=colors, cmap=SURFACE, edgecolors="white", linewidths=0.9,
                 zorder=3, label="simulation")  # fmt: skip


def color_bar(
    figure: "matplotlib.figure.Figure",
    axes: "Sequence[matplotlib.axes.Axes]",
    colors: "matplotlib.colors.Normalize",
    text: str,
    *,
    cmap: str = SURFACE,
    extend: str = "max",
) -> None:
    """Draw the colour scale at the side of panels, with its label."""
    from matplotlib.cm import ScalarMappable

    mappable = ScalarMappable(norm=colors, cmap=cmap)
    bar = figure.colorbar(mappable, ax=list(axes), extend=extend, aspect=26, pad=0.02)
    bar.set_label(text)
    bar.outline.set_visible(False)  # pyright: ignore


def cells(
    axes: "matplotlib.axes.Axes",
    values: Float[np.ndarray, "r c"],
    rows: Float[np.ndarray, " r"],
    columns: Float[np.ndarray, " c"],
    colors: "matplotlib.colors.Normalize",
) -> None:
    """Draw numbers in coloured cells, rows from below; NaN is an empty cell.

    `rows` and `columns` are tick labels; the middle of the linear scale is neutral.
    """
    edges = (np.arange(n + 1) - 0.5 for n in (columns.size, rows.size))
    axes.pcolormesh(*edges, values, norm=colors, cmap=CELLS, edgecolors="white", linewidth=1.5)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if np.isfinite(value):
                color = "white" if abs(float(colors(value)) - 0.5) > 0.3 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(columns.size), [f"{c:.3g}" for c in columns])
    axes.set_yticks(range(rows.size), [f"{r:.3g}" for r in rows])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
