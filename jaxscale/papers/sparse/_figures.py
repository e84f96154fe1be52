"""Figures of the sparse-regression study: simulation with its spread, closed forms dashed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._frontier import Frontier
from jaxscale.papers._runs import in_float64, points
from jaxscale.papers.sparse._scores import Instability, tuned
from jaxscale.papers.sparse._theory import EXPONENTS, best, exponents_of, plane
from jaxscale.report import _figures as draw
from jaxscale.report._frontier import draw_frontier
from jaxscale.sparse import theory
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

MEAN = {"simulation, mean ± s.d. over seeds": {"marker": "o", "ms": 3, "lw": 1.4}}
MEDIAN = {"simulation, median and middle half of seeds": {"marker": "o", "ms": 3, "lw": 1.4}}
SIMULATED = {"simulation": draw.POINTS}
CLOSED = {"closed form": draw.DASHED}
LOSS = "loss [target²]"


def data_figure(data: "xarray.Dataset", dense: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Loss at infinitely many features against samples, one panel per spectrum exponent."""
    d = np.asarray(data["n_samples"], float)
    alphas = np.asarray(data["spectrum_exponent"])
    figure, grid = draw.new_figure(len(alphas))
    for axes, alpha in zip(grid[0], alphas, strict=True):
        ends = []
        for i, gamma in enumerate(np.asarray(data["sparsity_exponent"])):
            at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
            color, name = draw.OKABE_ITO[i], f"γ = {gamma:g}"
            draw.band(axes, data["residual_loss"].sel(at, drop=True), "n_samples", color, name)
            line = plane(np.inf, d, **at)
            draw.dashed(axes, d, line, color, name)
            ends.append((d[-1], line[-1], f"{name}: −{alpha / gamma:.2f}", color))
        if alpha == float(grid_of(dense).system.spectrum_exponent):  # pyright: ignore
            color = draw.OKABE_ITO[6]
            curve = dense["residual_loss"].isel(n_features=0, drop=True)
            draw.band(axes, curve, "n_samples", color, "dense")
            last = float(curve.mean("seed")[-1])
            ends.append((float(curve["n_samples"][-1]), last, f"dense: −{alpha:g}", color))
        labels = ("samples D", "loss at N = ∞ [target²]")
        draw.finish(axes, labels, f"spectrum exponent α = {alpha:g}", ends)
    draw.legend(figure, MEAN | CLOSED)
    return figure


def peak_figure(
    peak: "xarray.Dataset", dense: "xarray.Dataset", few: "xarray.Dataset"
) -> "matplotlib.figure.Figure":
    """Double descent, sparse next to dense, and the parameter exponent below the peak."""
    figure, grid = draw.new_figure(3, size=(3.9, 3.4))
    dense = dense.isel(n_samples=-1)
    d = int(dense["n_samples"])
    rank = float(peak["rank"].max("n_features").mean())
    sparse: Any = grid_of(peak).system
    n_sparse = int(sparse.n_samples)
    panels = [
        (peak, "sparse", rank, f"D = {n_sparse}, rank r ≈ {rank:.0f}", draw.OKABE_ITO[0]),
        (dense, "dense", d, f"D = r = {d}", draw.OKABE_ITO[6]),
    ]
    for axes, (runs, name, threshold, title, color) in zip(grid[0], panels, strict=False):
        low, middle, high = runs["loss"].quantile([0.25, 0.5, 0.75], dim="seed")
        x = np.asarray(runs["n_features"], float)
        axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0, label=f"_{name}")
        axes.plot(x, middle, color=color, lw=1.4, marker="o", ms=3, label=name)
        axes.axvline(threshold, color="#888888", lw=0.8)
        axes.annotate("N = r", (threshold, 1.0), (4, -1), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, color="#555", va="top")  # fmt: skip
        fine = np.geomspace(x[0], x[-1], 64)
        fine = fine[np.abs(np.log(fine / threshold)) > 0.08]
        if runs is peak:
            expected = plane(fine, float(n_sparse), **exponents_of(sparse))
        else:
            gaussian: Any = grid_of(runs).system
            alpha, length = float(gaussian.spectrum_exponent), gaussian.n_coordinates
            keywords = {"spectrum_exponent": alpha, "n_coordinates": length}
            expected = in_float64(theory.dense_loss, fine, float(d), **keywords)
        for part in (fine < threshold, fine > threshold):
            draw.dashed(axes, fine[part], expected[part], color, name)
        draw.finish(axes, ("features N", LOSS), f"{name}: {title}")
    axes = grid[0, 2]
    system: Any = grid_of(few).system
    x, own = np.asarray(few["n_features"], float), exponents_of(system)
    ends = []
    for i, at in enumerate(points(few, *EXPONENTS)):
        color, name = draw.OKABE_ITO[i], f"α = {at['spectrum_exponent']:g}"
        draw.band(axes, few["loss"].sel(at, drop=True), "n_features", color, name)
        line = plane(x, float(system.n_samples), **(own | at))
        draw.dashed(axes, x, line, color, name)
        ends.append((x[-1], line[-1], name, color))
    title = f"below the peak, D = {int(system.n_samples)}: mean ± s.d."
    draw.finish(axes, ("features N", LOSS), title, ends)
    draw.legend(figure, MEDIAN | CLOSED)
    return figure


def frontier_figure(frontiers: dict[tuple[float, float], Frontier]) -> "matplotlib.figure.Figure":
    """Best features, samples and loss against compute, with intervals over seeds."""
    figure, grid = draw.new_figure(3, size=(3.6, 3.3))
    panels = {
        "n_features": "best features N*",
        "n_samples": "best samples D*",
        "loss": "best loss [target²]",
    }
    for axes, (quantity, label) in zip(grid[0], panels.items(), strict=True):
        ends = []
        for i, ((alpha, gamma), frontier) in enumerate(frontiers.items()):
            color, name = draw.OKABE_ITO[i], f"γ = {gamma:g}"
            exponents = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
            law = best(quantity, frontier.compute, **exponents)
            draw_frontier(axes, frontier, quantity, law, color, name)
            ends.append((frontier.compute[-1], law[-1], name, color))
        draw.finish(axes, ("compute C = N D", label), ends=ends)
    draw.legend(figure, SIMULATED | CLOSED)
    return figure


def descent_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Loss over steps of gradient descent."""
    figure, grid = draw.new_figure(1, size=(4.9, 3.6))
    axes, ends = grid[0, 0], []
    later = runs.sel(step=slice(1, None))
    system: Any = grid_of(runs).system
    steps = np.asarray(later["step"], float)
    d, rate = float(system.n_samples), float(system.solver.learning_rate)
    for i, at in enumerate(points(runs, *EXPONENTS)):
        color, name = draw.OKABE_ITO[i], f"α = {at['spectrum_exponent']:g}"
        draw.band(axes, later["loss"].sel(at, drop=True), "step", color, name)
        exponents = exponents_of(system) | at
        line = in_float64(theory.gd_loss, steps, d, learning_rate=rate, **exponents)
        draw.dashed(axes, steps, line, color, name)
        ends.append((steps[-1], line[-1], name, color))
    draw.finish(axes, ("step t", LOSS), ends=ends)
    draw.legend(figure, {"simulation, mean ± s.d.": {"lw": 1.4}, "gradient flow": draw.DASHED})
    return figure


def instability_figure(
    measured: Instability, alpha: float, gamma: float
) -> "matplotlib.figure.Figure":
    """Probability of instability against samples, one curve per learning rate."""
    figure, grid = draw.new_figure(1, size=(4.9, 3.6))
    axes, ends = grid[0, 0], []
    d, rates = measured.n_samples, measured.learning_rate
    at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
    expected = in_float64(theory.instability_probability, d[None, :], rates[:, None], **at)
    for i, rate in enumerate(rates):
        color, name = draw.OKABE_ITO[i], f"η = {rate:g}"
        share = measured.count[i] / measured.n_runs
        spread = [share - measured.low[i], measured.high[i] - share]
        axes.errorbar(d, share, spread, fmt="o", ms=4, color=color, capsize=2, lw=1.2, label=name)
        draw.dashed(axes, d, expected[i], color, name, **draw.BELOW)
        ends.append((d[-1], share[-1], name, color))
    labels = ("samples D", r"probability that η λ$_\mathrm{max}$ > 2")
    draw.finish(axes, labels, f"α = {alpha:g}, γ = {gamma:g}", ends)
    draw.legend(figure, {"simulation, 95 % interval": draw.POINTS} | CLOSED)
    return figure


def relu_figure(
    data: "xarray.Dataset",
    few: "xarray.Dataset",
    relu: dict[tuple[float, float], Frontier],
    linear: dict[tuple[float, float], Frontier],
) -> "matplotlib.figure.Figure":
    """Loss of ReLU features against samples and against features, and their best split.

    `data` and `few` are results of `sparse_relu` and `sparse_relu_parameters`; `relu` and `linear`
    are frontiers by the exponents of the inputs.
    """
    figure, grid = draw.new_figure(3, size=(3.7, 3.3))
    for axes, runs, dim in ((grid[0, 0], data, "n_samples"), (grid[0, 1], few, "n_features")):
        ends = []
        for i, gamma in enumerate(np.asarray(runs["sparsity_exponent"])):
            color, name = (
                (draw.OKABE_ITO[i], f"γ = {gamma:g}") if gamma > 0 else (draw.OKABE_ITO[6], "dense")
            )
            curve = tuned(runs["loss"].sel(sparsity_exponent=gamma, drop=True))
            draw.band(axes, curve, dim, color, name)
            x, mean = np.asarray(curve[dim], float), curve.mean("seed").values
            if gamma > 0 and dim == "n_samples":
                draw.dashed(axes, x, mean[0] * (x / x[0]) ** (-1 / gamma), color, name)
            ends.append((x[-1], mean[-1], name, color))
        label = "samples D" if dim == "n_samples" else "features N"
        draw.finish(axes, (label, "test loss [target²]"), ends=ends)
    axes, ends = grid[0, 2], []
    for i, ((alpha, gamma), frontier) in enumerate(relu.items()):
        exponents = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
        law = best("n_samples", frontier.compute, **exponents)
        color, name = draw.OKABE_ITO[i], f"γ = {gamma:g}"
        draw_frontier(axes, frontier, "n_samples", law, color, name)
        other = linear[alpha, gamma]
        axes.plot(other.compute, other.n_samples, "o", ms=4, mfc="none", color=color,
                  label=f"{name}, linear")  # fmt: skip
        ends.append((frontier.compute[-1], law[-1], name, color))
    draw.finish(axes, ("compute C = N D", "best samples D*"), ends=ends)
    hollow = {"linear features": {"marker": "o", "ls": "", "mfc": "none"}}
    draw.legend(figure, MEAN | {"laws of linear features": draw.DASHED} | hollow)
    return figure
