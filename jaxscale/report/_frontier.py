"""Figures of compute-optimal frontiers: curves of single sizes, the optimum, its closed form."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxscale.analysis._frontier import Frontier
from jaxscale.report._figures import BELOW, dashed

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray

THIN = {"color": "#999999", "lw": 0.7}


def draw_curves(
    axes: "matplotlib.axes.Axes", loss: "xarray.DataArray", *, size: str, time: str
) -> None:
    """Draw the mean loss of every size against compute C = N T as a thin curve.

    `size` and `time` name dimensions of the positive losses; times of 0 are omitted.
    """
    mean = loss.mean("seed") if "seed" in loss.dims else loss
    mean = mean.isel({time: np.asarray(mean[time]) > 0}).transpose(size, time)
    times = np.asarray(mean[time], float)
    for n, curve in zip(np.asarray(mean[size], float), np.asarray(mean), strict=True):
        axes.plot(n * times, curve, **THIN, label=f"{size} = {n:g}")


def draw_frontier(
    axes: "matplotlib.axes.Axes",
    frontier: Frontier,
    quantity: str,
    law: Float[np.ndarray, " c"],
    color: str,
    name: str,
) -> None:
    """Draw one quantity of a frontier against compute: points, intervals, closed form dashed.

    The quantity is "loss", or the dimension of size or time; `law` is its closed form at
    `frontier.compute`. Points without an optimum are omitted.
    """
    if frontier.n_seeds is not None:
        axes.vlines(frontier.compute, *frontier.interval[quantity], color=color, lw=1.2, label=name)
    axes.plot(frontier.compute, getattr(frontier, quantity), "o", ms=4, color=color, label=name)
    dashed(axes, frontier.compute, law, color, name, **BELOW)
