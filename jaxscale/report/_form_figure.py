"""The figure of a form that allocates compute: loss and allocation over it, and residuals."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._text import counted
from jaxscale.analysis._allocation import OptimalAllocation
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._formula import Formula
from jaxscale.report._figures import (
    BELOW,
    GREY,
    OKABE_ITO,
    SMALL_POINTS,
    darker,
    dashed,
    drawable,
    label_ends,
    logs,
    new_figure,
    not_drawn,
)

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

TITLES = (
    "runs; dashed, at the best N and D, 95 % band",
    "runs; dashed, the best, 95 % band",
    "",
)


def form_figure(
    fit: Calibration,
    runs: "pandas.DataFrame",
    compute: Float[np.ndarray, " n"],
    allocation: OptimalAllocation,
) -> "matplotlib.figure.Figure":
    """Draw loss and allocation over compute, with 95 % bands, and measured over fitted loss.

    Titles say which curves are infinite or undefined somewhere, and are not drawn there.

    **Arguments:** a fit, the runs that it has with their compute, and the best allocation at places
    of compute in increasing order.
    """
    formula = fit.theory
    assert isinstance(formula, Formula)
    blue, orange = OKABE_ITO[:2]
    figure, grid = new_figure(3)
    y, places = formula.result, allocation.flop
    ends: list[Any] = []
    hidden: tuple[list[str], ...] = ([], [], [])
    for name, i, text, color in (
        (y, 0, "", blue), ("n_parameters", 1, "best N", blue), ("n_tokens", 1, "best D", orange)
    ):  # fmt: skip
        axes, curve = grid[0, i], drawable(allocation.best[name], log=True)
        ends += [(float(places[-1]), float(curve[-1]), text, darker(color))] if i else []
        axes.plot(compute, runs[name], color=color, label=name, **SMALL_POINTS)
        dashed(axes, places, curve, color, name, **BELOW)
        band = [drawable(end, log=True) for end in allocation.interval[name]]
        if not np.isnan(band).all():
            axes.fill_between(places, *band, color=color, alpha=0.2, lw=0)
        for what, values in ((text or name, [curve]), (f"band of {text or name}", band)):
            hidden[i].extend([what] if np.isnan(values).any() else [])
    ratio = _ratio(fit, formula, runs)
    hidden[2].extend([counted(n, "run")] if (n := int(np.isnan(ratio).sum())) else [])
    grid[0, 2].plot(compute, ratio, color=blue, **SMALL_POINTS)
    grid[0, 2].axhline(1.0, **GREY)
    logs(grid[0, 0])
    logs(grid[0, 1])
    grid[0, 2].set_xscale("linear" if np.isnan(ratio).all() else "log")
    label_ends(grid[0, 1], ends)
    labels = (y, "parameters N, tokens D", f"measured {y} / fitted")
    for axes, label, title, out in zip(grid[0], labels, TITLES, hidden, strict=True):
        axes.set_xlabel("C = 6 N D, operations")
        axes.set_ylabel(label)
        axes.set_title(f"{title}{not_drawn(out)}".strip(), fontsize=9)
    return figure


def _ratio(fit: Calibration, formula: Formula, runs: "pandas.DataFrame") -> Float[np.ndarray, " n"]:
    """Measured over fitted results, NaN where they cannot be drawn."""
    inputs = {n: runs[n].to_numpy(float) for n in fit.inputs}
    with np.errstate(all="ignore"):
        fitted = formula.replaced(fit.values).predicted(**inputs)[formula.result]
        return drawable(runs[formula.result].to_numpy(float) / fitted.to_numpy(float))
