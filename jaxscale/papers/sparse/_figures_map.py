"""The map of sparse regression: closed form over features and samples, every simulation on it."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale.analysis._frontier import Frontier
from jaxscale.papers._runs import in_float64
from jaxscale.papers.sparse._theory import best, exponents_of, plane
from jaxscale.report._figures import DASHED, OKABE_ITO, THEORY, finish, new_figure
from jaxscale.report._maps import color_bar, dots, log_colors, surface
from jaxscale.sparse import theory
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

UNCLAIMED = (0.85, 1.2)  # N / rank between which the closed form makes no claim
WHITE: dict[str, Any] = {"color": "white", "ls": (0, (4, 2)), "lw": 1.6}


@dataclasses.dataclass(frozen=True)
class _Simulated:
    """Lower quartile, median and upper quartile of the loss over seeds, and where."""

    n_features: Float[np.ndarray, " p"]
    n_samples: Float[np.ndarray, " p"]
    quartiles: Float[np.ndarray, "3 p"]


def map_figure(
    peak: "xarray.Dataset", few: "xarray.Dataset", data: "xarray.Dataset", frontier: Frontier
) -> "matplotlib.figure.Figure":
    """Loss on the plane of features and samples; next to it, simulation over closed form.

    `peak`, `few` and `data` are results of `sparse_peak`, `sparse_parameters` and `sparse_data`;
    `frontier` holds the optima at the exponents of `peak`.
    """
    system: Any = grid_of(peak).system
    at = exponents_of(system)
    alpha, gamma = at.values()
    data = data.sel(at, drop=True)
    parts = [_simulated(peak, "loss"), _simulated(few.sel(spectrum_exponent=alpha), "loss")]
    finite = _Simulated(
        np.concatenate([part.n_features for part in parts]),
        np.concatenate([part.n_samples for part in parts]),
        np.concatenate([part.quartiles for part in parts], axis=1),
    )
    endless = _simulated(data, "residual_loss")
    medians = np.concatenate([finite.quartiles[1], endless.quartiles[1]])
    colors = log_colors(0.8 * float(medians.min()), 1.5 * float(medians.max()))

    figure, grid = new_figure(2, size=(5.2, 4.2))
    axes, ratio = grid[0]
    samples = (0.8 * float(endless.n_samples[0]), 1.4 * float(finite.n_samples.max()))
    most = max(float(finite.n_features.max()), float(np.nanmax(frontier.n_features)))
    _plane(axes, (0.8 * float(finite.n_features.min()), 1.3 * most), samples, at, colors)
    dots(axes, finite.n_features, finite.n_samples, finite.quartiles[1], colors)
    law = best("n_features", frontier.compute, **at)
    name = "compute-optimal"
    axes.plot(law, frontier.compute / law, **WHITE, label=THEORY + name)
    axes.plot(frontier.n_features, frontier.n_samples, "D", ms=4, color="white", mec="black",
              label=name)  # fmt: skip
    axes.annotate(name, (law[-1], frontier.compute[-1] / law[-1]), (-8, 6),
                  textcoords="offset points", fontsize=8, color="white", ha="right")  # fmt: skip
    axes.set_title(f"loss at α = {alpha:g}, γ = {gamma:g}", fontsize=9)
    _strip(axes, endless, at, colors)
    color_bar(figure, [axes], colors, "loss [target²]")
    _ratio(ratio, finite, at)
    return figure


def _simulated(runs: "xarray.Dataset", name: str) -> _Simulated:
    """Quartiles along the swept size; the other size is that of the system."""
    system: Any = grid_of(runs).system
    dim = "n_features" if "n_features" in runs.dims else "n_samples"
    quartiles = np.asarray(runs[name].quantile([0.25, 0.5, 0.75], "seed").transpose(..., dim))
    swept = np.asarray(runs[dim], float)
    fixed = np.full(swept.size, float(system.n_samples) if dim == "n_features" else np.inf)
    sizes = (swept, fixed) if dim == "n_features" else (fixed, swept)
    return _Simulated(*sizes, quartiles)


def _rank(n_samples: Any, at: dict[str, float]) -> Float[np.ndarray, " d"]:
    gamma = at["sparsity_exponent"]
    return in_float64(theory.expected_rank, n_samples, sparsity_exponent=gamma)


def _plane(
    axes: "matplotlib.axes.Axes",
    features: tuple[float, float],
    samples: tuple[float, float],
    at: dict[str, float],
    colors: Any,
) -> None:
    """The closed form, on columns of constant N / rank so that the pole at one is not jagged."""
    d = np.geomspace(*samples, 20)
    rank = _rank(d, at)
    below, above = np.log(rank[-1] / features[0]), np.log(features[1] / rank[0])
    columns = [-np.geomspace(below, 0.02, 20), np.geomspace(0.02, above, 24)]
    n = rank[:, None] * np.exp(np.concatenate(columns))
    wide = np.broadcast_to(d[:, None], n.shape)
    surface(axes, n, wide, plane(n.ravel(), wide.ravel(), **at).reshape(n.shape), colors)
    axes.plot(rank, d, color="black", lw=1.6, label=f"{THEORY}N = rank")
    axes.annotate("N = rank", (rank[12], d[12]), (-6, 4), textcoords="offset points", fontsize=8,
                  ha="right")  # fmt: skip
    axes.set(xlim=features, ylim=samples)
    finish(axes, ("features N", "samples D"))


def _strip(
    axes: "matplotlib.axes.Axes", simulated: _Simulated, at: dict[str, float], colors: Any
) -> None:
    """Infinitely many features, as a strip next to the plane."""
    strip = axes.inset_axes((1.03, 0.0, 0.07, 1.0))
    d = np.geomspace(*axes.get_ylim(), 40)
    values = np.repeat(plane(np.inf, d, **at)[:, None], 2, axis=1)
    x, y = np.meshgrid([1.0, 2.0], d)
    surface(strip, x, y, values, colors)
    d = simulated.n_samples
    dots(strip, np.full(d.size, 2**0.5), d, simulated.quartiles[1], colors)
    strip.set_ylim(axes.get_ylim())
    strip.set_xscale("linear")
    strip.set_xticks([1.5], ["∞"])
    strip.set_yticks([], [], minor=False)
    strip.tick_params(which="both", length=0, labelleft=False)


def _ratio(axes: "matplotlib.axes.Axes", finite: _Simulated, at: dict[str, float]) -> None:
    """Simulated loss over closed form against N / rank: theory is one."""
    axes.axvspan(*UNCLAIMED, color="#eeeeee", lw=0)
    axes.axhline(1.0, color="#444444", **DASHED)
    expected = plane(finite.n_features, finite.n_samples, **at)
    place = finite.n_features / _rank(finite.n_samples, at)
    for d, color, marker in zip(np.unique(finite.n_samples), OKABE_ITO, "os", strict=False):
        one = finite.n_samples == d
        low, middle, high = finite.quartiles[:, one] / expected[one]
        axes.errorbar(place[one], middle, [middle - low, high - middle], fmt=marker, ms=4,
                      color=color, lw=1.0, label=f"D = {d:g}")  # fmt: skip
    labels = ("features / rank of the inputs", "simulated loss / closed form")
    finish(axes, labels, "median and middle half of seeds")
    axes.legend(fontsize=8, frameon=False)
