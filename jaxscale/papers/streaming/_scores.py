"""What is measured on streaming regression: ratios to exact curves, frontiers, scatter over W."""

import functools
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxscale.analysis._frontier import Frontier, frontier
from jaxscale.analysis._jackknife import jackknife
from jaxscale.papers import _runs
from jaxscale.papers._runs import Point, points as points
from jaxscale.streaming import StreamingRegression

if TYPE_CHECKING:
    import xarray

EXPONENTS: tuple[str, ...] = ("input_exponent", "target_exponent")
EARLY = 100  # steps before which the loss of single runs is too skewed to compare means
GROUPS = 16  # of seeds, whose medians are compared
Seeds = Float[np.ndarray, " s"]

system_of = functools.partial(_runs.system_of, kind=StreamingRegression)


def late(curve: "xarray.DataArray") -> "xarray.DataArray":
    """The records from step `EARLY` on."""
    return curve.sel(step=slice(EARLY, None))


def ratio_to_exact(runs: "xarray.Dataset") -> Seeds:
    """Loss of every seed over the exact mean for its own features, mean over late records."""
    return np.asarray(late(runs["loss"] / runs["expected_loss"]).mean("step"))


def ratio_to_equivalent(runs: "xarray.Dataset", expected: "xarray.DataArray") -> Seeds:
    """Exact curve of every seed over the mean over features in closed form."""
    return np.asarray(late(runs["expected_loss"] / expected).mean("step"))


def excess(runs: "xarray.Dataset") -> "xarray.DataArray":
    """Exact loss at the end above what no weights can reach."""
    system = system_of(runs)
    rest = runs["limit_loss"] + 0.5 * float(system.noise) ** 2
    return (runs["expected_loss"] - rest).isel(step=-1)


def scatter_slope(runs: "xarray.Dataset") -> Seeds:
    """Pseudo-values of the exponent in d of the relative scatter of exact curves over W."""
    import xarray

    last = runs["expected_loss"].isel(step=-1)
    logs = last.copy(data=np.log(last.values))
    moments = xarray.concat([logs, logs**2], dim="moment").transpose("moment", "n_features", "seed")
    size = np.log(np.asarray(runs["n_features"], float))

    def slope(mean: "xarray.DataArray") -> float:
        first, second = np.asarray(mean)
        return float(np.polyfit(size, 0.5 * np.log(second - first**2), 1)[0])

    return jackknife(moments, slope)


def frontier_of(loss: "xarray.DataArray", compute: Float[np.ndarray, " c"]) -> Frontier:
    """Lowest loss at fixed `C = d t`, of the mean over seeds."""
    return frontier(loss, compute, size="n_features", time="step", neighbours=2)


def median_ratio(runs: "xarray.Dataset") -> Seeds:
    """Median over seeds of the loss over its exact mean at the end, by groups of seeds."""
    last = (runs["loss"] / runs["expected_loss"]).isel(step=-1)
    values = np.asarray(last.transpose("seed"), float)
    return np.asarray([np.nanmedian(group) for group in np.array_split(values, GROUPS)])


def at_point(runs: "xarray.Dataset", at: Point) -> "xarray.Dataset":
    """Results at one point of the grid."""
    return runs.sel({n: v for n, v in at.items() if n in runs.dims}, drop=True)
