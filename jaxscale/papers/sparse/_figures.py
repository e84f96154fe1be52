"""Figures of the sparse-regression study: simulation with its spread, closed forms dashed."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxscale.analysis._frontier import Frontier
from jaxscale.papers.sparse._claims import plane, points
from jaxscale.papers.sparse._scores import Instability
from jaxscale.report._figures import (
    DASHED,
    OKABE_ITO,
    POINTS,
    band,
    label_ends,
    legend,
    logs,
    new_figure,
)
from jaxscale.report._frontier import draw_frontier
from jaxscale.sparse import theory
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

MEAN = {"simulation, mean ± s.d. over seeds": {"marker": "o", "ms": 3, "lw": 1.4}}
MEDIAN = {"simulation, median and middle half of seeds": {"marker": "o", "ms": 3, "lw": 1.4}}
SIMULATED = {"simulation": POINTS}
CLOSED = {"closed form": DASHED}


def data_figure(data: "xarray.Dataset", dense: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Loss at infinitely many features against samples, one panel per spectrum exponent."""
    d = np.asarray(data["n_samples"], float)
    alphas = np.asarray(data["spectrum_exponent"])
    figure, grid = new_figure(len(alphas))
    for axes, alpha in zip(grid[0], alphas, strict=True):
        ends = []
        for i, gamma in enumerate(np.asarray(data["sparsity_exponent"])):
            at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
            color = OKABE_ITO[i]
            band(axes, data["residual_loss"].sel(at, drop=True), "n_samples", color)
            line = plane(np.inf, d, **at)
            axes.plot(d, line, color=color, **DASHED)
            ends.append((d[-1], line[-1], f"γ = {gamma:g}: −{alpha / gamma:.2f}", color))
        if alpha == float(grid_of(dense).system.spectrum_exponent):  # pyright: ignore
            color = OKABE_ITO[6]
            curve = dense["residual_loss"].isel(n_features=0, drop=True)
            band(axes, curve, "n_samples", color)
            last = float(curve.mean("seed")[-1])
            ends.append((float(curve["n_samples"][-1]), last, f"dense: −{alpha:g}", color))
        logs(axes)
        label_ends(axes, ends)
        axes.set_xlabel("samples D")
        axes.set_ylabel("loss at N = ∞ [target²]")
        axes.set_title(f"spectrum exponent α = {alpha:g}", fontsize=9)
    legend(figure, MEAN | CLOSED)
    return figure


def peak_figure(
    peak: "xarray.Dataset", dense: "xarray.Dataset", few: "xarray.Dataset"
) -> "matplotlib.figure.Figure":
    """Double descent, sparse next to dense, and the parameter exponent below the peak."""
    figure, grid = new_figure(3, size=(3.9, 3.4))
    dense = dense.isel(n_samples=-1)
    d = int(dense["n_samples"])
    rank = float(peak["rank"].max("n_features").mean())
    n_sparse = int(grid_of(peak).system.n_samples)  # pyright: ignore
    panels = [
        (peak, rank, f"sparse: D = {n_sparse}, rank r ≈ {rank:.0f}", OKABE_ITO[0]),
        (dense, d, f"dense: D = r = {d}", OKABE_ITO[6]),
    ]
    for axes, (runs, threshold, title, color) in zip(grid[0], panels, strict=False):
        low, middle, high = runs["loss"].quantile([0.25, 0.5, 0.75], dim="seed")
        x = np.asarray(runs["n_features"], float)
        axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
        axes.plot(x, middle, color=color, lw=1.4, marker="o", ms=3)
        axes.axvline(threshold, color="#888888", lw=0.8)
        axes.annotate("N = r", (threshold, 1.0), (4, -1), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, color="#555", va="top")  # fmt: skip
        fine = np.geomspace(x[0], x[-1], 64)
        fine = fine[np.abs(np.log(fine / threshold)) > 0.08]
        if runs is peak:
            sparse: Any = grid_of(peak).system
            alpha, gamma = float(sparse.spectrum_exponent), float(sparse.sparsity_exponent)
            at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
            expected = plane(fine, float(n_sparse), **at)
        else:
            expected = _dense(runs, fine, d)
        for part in (fine < threshold, fine > threshold):
            axes.plot(fine[part], expected[part], color=color, **DASHED)
        logs(axes)
        axes.set_xlabel("features N")
        axes.set_ylabel("loss [target²]")
        axes.set_title(title, fontsize=9)
    axes = grid[0, 2]
    system: Any = grid_of(few).system
    x, gamma = np.asarray(few["n_features"], float), float(system.sparsity_exponent)
    ends = []
    for i, at in enumerate(points(few)):
        color = OKABE_ITO[i]
        band(axes, few["loss"].sel(at, drop=True), "n_features", color)
        line = plane(x, float(system.n_samples), sparsity_exponent=gamma, **at)
        axes.plot(x, line, color=color, **DASHED)
        ends.append((x[-1], line[-1], f"α = {at['spectrum_exponent']:g}", color))
    logs(axes)
    label_ends(axes, ends)
    axes.set_xlabel("features N")
    axes.set_ylabel("loss [target²]")
    axes.set_title(f"below the peak, D = {int(system.n_samples)}: mean ± s.d.", fontsize=9)
    legend(figure, MEDIAN | CLOSED)
    return figure


def frontier_figure(
    frontiers: dict[tuple[float, float], Frontier],
) -> "matplotlib.figure.Figure":
    """Best features, samples and loss against compute, with intervals over seeds."""
    figure, grid = new_figure(3, size=(3.6, 3.3))
    panels = {
        "n_features": "best features N*",
        "n_samples": "best samples D*",
        "loss": "best loss [target²]",
    }
    for axes, (quantity, title) in zip(grid[0], panels.items(), strict=True):
        ends = []
        for i, ((alpha, gamma), frontier) in enumerate(frontiers.items()):
            color = OKABE_ITO[i]
            with jax.enable_x64(True):
                laws = theory.allocation_laws(spectrum_exponent=alpha, sparsity_exponent=gamma)
                law = np.asarray(getattr(laws, quantity)(frontier.compute))
            draw_frontier(axes, frontier, quantity, law, color)
            ends.append((frontier.compute[-1], law[-1], f"γ = {gamma:g}", color))
        logs(axes)
        label_ends(axes, ends)
        axes.set_xlabel("compute C = N D")
        axes.set_ylabel(title)
    legend(figure, SIMULATED | CLOSED)
    return figure


def descent_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Loss over steps of gradient descent."""
    figure, grid = new_figure(1, size=(4.9, 3.6))
    axes, ends = grid[0, 0], []
    later = runs.sel(step=slice(1, None))
    system: Any = grid_of(runs).system
    steps = np.asarray(later["step"], float)
    fields = {
        "learning_rate": float(system.solver.learning_rate),
        "sparsity_exponent": float(system.sparsity_exponent),
    }
    for i, at in enumerate(points(runs)):
        color = OKABE_ITO[i]
        band(axes, later["loss"].sel(at, drop=True), "step", color)
        with jax.enable_x64(True):
            line = np.asarray(theory.gd_loss(steps, float(system.n_samples), **fields, **at))
        axes.plot(steps, line, color=color, **DASHED)
        ends.append((steps[-1], line[-1], f"α = {at['spectrum_exponent']:g}", color))
    logs(axes)
    label_ends(axes, ends)
    axes.set_xlabel("step t")
    axes.set_ylabel("loss [target²]")
    legend(figure, {"simulation, mean ± s.d.": {"lw": 1.4}, "gradient flow": DASHED})
    return figure


def instability_figure(
    measured: Instability, alpha: float, gamma: float
) -> "matplotlib.figure.Figure":
    """Probability of instability against samples, one curve per learning rate."""
    figure, grid = new_figure(1, size=(4.9, 3.6))
    axes, ends = grid[0, 0], []
    d = measured.n_samples
    with jax.enable_x64(True):
        expected = np.asarray(
            theory.instability_probability(
                d[None, :],
                measured.learning_rate[:, None],
                spectrum_exponent=alpha,
                sparsity_exponent=gamma,
            )
        )
    for i, rate in enumerate(measured.learning_rate):
        color = OKABE_ITO[i]
        share = measured.count[i] / measured.n_runs
        spread = [share - measured.low[i], measured.high[i] - share]
        axes.errorbar(d, share, spread, fmt="o", ms=4, color=color, capsize=2, lw=1.2)
        axes.plot(d, expected[i], color=color, **DASHED)
        ends.append((d[-1], share[-1], f"η = {rate:g}", color))
    logs(axes)
    label_ends(axes, ends)
    axes.set_xlabel("samples D")
    axes.set_ylabel(r"probability that η λ$_\mathrm{max}$ > 2")
    axes.set_title(f"α = {alpha:g}, γ = {gamma:g}", fontsize=9)
    legend(figure, {"simulation, 95 % interval": POINTS} | CLOSED)
    return figure


def relu_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Loss of nonlinear features against samples."""
    figure, grid = new_figure(1, size=(4.9, 3.4))
    axes, ends = grid[0, 0], []
    for i, at in enumerate(points(runs)):
        gamma = at["sparsity_exponent"]
        color = OKABE_ITO[6] if gamma == 0 else OKABE_ITO[i]
        curve = runs["loss"].sel(at, drop=True)
        band(axes, curve, "n_samples", color)
        d, mean = np.asarray(curve["n_samples"], float), curve.mean("seed").values
        if gamma > 0:
            axes.plot(d, mean[0] * (d / d[0]) ** (-1 / gamma), color=color, **DASHED)
        ends.append((d[-1], mean[-1], f"γ = {gamma:g}" if gamma > 0 else "dense", color))
    logs(axes)
    label_ends(axes, ends)
    axes.set_xlabel("samples D")
    axes.set_ylabel("test loss [target²]")
    legend(figure, MEAN | {"slope −α/γ": DASHED})
    return figure


def _dense(runs: "xarray.Dataset", n: np.ndarray, d: int) -> np.ndarray:
    """The dense closed form at real-valued `n` for the system of `runs`."""
    system: Any = grid_of(runs).system
    with jax.enable_x64(True):
        return np.asarray(
            theory.dense_loss(
                n,
                float(d),
                spectrum_exponent=float(system.spectrum_exponent),
                n_coordinates=system.n_coordinates,
            )
        )
