"""Figures of compute-optimal sizes: isoFLOP curves with their minima, and what grows from them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale._convert import require_instance
from jaxscale.analysis._allocation import SIZES, OptimalAllocation
from jaxscale.analysis._isoflop import IsoFlop
from jaxscale.report._figures import (
    BELOW,
    GREY,
    MAX_CURVES,
    OKABE_ITO,
    SMALL_POINTS,
    dashed,
    drawable,
    finish,
    label_ends,
    log_axis,
    new_figure,
    spread_evenly,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

N_LOCATIONS = 100  # of a parabola
BEST: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "mfc": "white"}
LABELS = ("C, operations", "parameters N, tokens D")


@hinted
def isoflop_figure(isoflop: IsoFlop) -> "matplotlib.figure.Figure":
    """Draw isoFLOP curves with parabolas and minima, and the best N and D over C with bands.

    **Arguments:** what `js.analysis.isoflop` returns.

    **Returns:** a figure with two panels; groups without a minimum have none, and those without a
    parabola have points alone. At most seven are named by their C.

    **Raises** `ValueError` for anything else.
    """
    require_instance("isoflop", isoflop, IsoFlop, "js.analysis.isoflop")
    figure, grid = new_figure(2)
    _curves(grid[0, 0], isoflop)
    flop = np.asarray(isoflop.groups["flop"], float)
    locations = np.geomspace(flop.min(), flop.max(), N_LOCATIONS)
    allocation = isoflop.allocate(locations)
    _allocated(grid[0, 1], allocation)
    for name, color in zip(SIZES, OKABE_ITO, strict=False):
        minima: Any = isoflop.groups[name]
        grid[0, 1].plot(flop, drawable(minima, log=True), color=color, **BEST)
    grid[0, 1].set_xlim(flop.min() / 1.3, flop.max() * 1.3)  # one minimum spans nothing
    finish(grid[0, 1], LABELS, f"minima, and N ∝ C^{isoflop.a:.3f}", _ends(allocation))
    return figure


@hinted
def allocation_figure(allocation: OptimalAllocation) -> "matplotlib.figure.Figure":
    """Draw the best parameters and tokens over the compute, with bands.

    **Arguments:** what `js.analysis.allocate` or `IsoFlop.allocate` returns, of several numbers of
    operations.

    **Returns:** a figure with one panel; compute outside of the runs is marked by a line.

    **Raises** `ValueError` for anything else.
    """
    require_instance("allocation", allocation, OptimalAllocation, "js.analysis.allocate")
    figure, grid = new_figure(1)
    axes = grid[0, 0]
    _allocated(axes, allocation)
    band = np.isfinite(allocation.interval[SIZES[0]][0]).any()
    title = f"best N and D{f', {allocation.level:.0%} bands' if band else ''}"
    for edge in (edges := _edges(allocation)):
        axes.axvline(edge, **{**GREY, "lw": 0.8, "ls": ":"})
    title += "; dotted, the end of the runs" if edges else ""
    finish(axes, LABELS, title, _ends(allocation))
    return figure


def _edges(allocation: OptimalAllocation) -> list[float]:
    """Computes inside of the runs next to those outside."""
    c, order = allocation.flop.ravel(), np.argsort(allocation.flop.ravel())
    outside = allocation.decades_outside.ravel()[order] > 0
    change = np.flatnonzero(outside[1:] != outside[:-1])
    return [float(c[order][k + outside[k]]) for k in change]


def _curves(axes: "matplotlib.axes.Axes", isoflop: IsoFlop) -> None:
    """Runs of every group, the parabola through them, and its minimum."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    n_groups = len(isoflop.groups)
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, n_groups))
    colors = [to_hex(shade) for shade in shades]
    ends = []
    for g, row in enumerate(isoflop.groups.to_dict("records")):
        own = isoflop.runs[isoflop.group == g]
        size = np.asarray(own["n_parameters"], float)
        axes.plot(size, own["loss"], color=colors[g], **SMALL_POINTS)
        x = np.linspace(np.log(size.min()), np.log(size.max()), N_LOCATIONS)
        y = np.polyval(isoflop.parabolas[g], x)
        axes.plot(np.exp(x), y, color=colors[g], lw=1.2)
        axes.plot([row["n_parameters"]], [row["loss"]], color=colors[g], **BEST)
        if np.isfinite(y[-1]):
            ends.append((float(size.max()), float(y[-1]), f"{row['flop']:.2g}", colors[g]))
    named = spread_evenly(len(ends), MAX_CURVES)
    log_axis(axes, "x")
    axes.set_xlabel("parameters N")
    axes.set_ylabel("loss")
    without = f"; {isoflop.n_without} without a minimum" if isoflop.n_without else ""
    axes.set_title(f"runs of one C and their parabolas{without}", fontsize=9)
    label_ends(axes, [ends[i] for i in named])


def _allocated(axes: "matplotlib.axes.Axes", allocation: OptimalAllocation) -> None:
    """Lines of the best N and D with their bands."""
    order = np.argsort(allocation.flop.ravel())
    c = allocation.flop.ravel()[order]
    for name, color in zip(SIZES, OKABE_ITO, strict=False):
        best = drawable(allocation.best[name], log=True).ravel()[order]
        dashed(axes, c, best, color, name, **BELOW)
        low, high = (drawable(e, log=True).ravel()[order] for e in allocation.interval[name])
        axes.fill_between(c, low, high, color=color, alpha=0.2, lw=0)


def _ends(allocation: OptimalAllocation) -> list[tuple[float, float, str, str]]:
    """Names at the largest compute."""
    last = int(np.argmax(allocation.flop.ravel()))
    at = float(allocation.flop.ravel()[last])
    texts = zip(SIZES, ("best N", "best D"), OKABE_ITO, strict=False)
    values = [(float(allocation.best[n].ravel()[last]), text, color) for n, text, color in texts]
    return [(at, *value) for value in values if np.isfinite(value[0])]
