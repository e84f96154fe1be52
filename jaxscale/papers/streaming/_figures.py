"""Figures of the streaming study: simulation with its spread, closed forms dashed."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.papers._runs import points
from jaxscale.papers.streaming import _scores as measure
from jaxscale.papers.streaming._draws import PHASES, Draws
from jaxscale.papers.streaming._scores import BATCHES, Frontiers
from jaxscale.report import _figures as draw
from jaxscale.report._frontier import THIN, draw_curves, draw_frontier
from jaxscale.report._maps import CELLS, color_bar

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

MEAN = {"simulation, mean ± s.d. over draws": {"lw": 1.4}}
EXACT = {"exact mean over the data": draw.DASHED}
EQUIVALENT = {"deterministic equivalent": draw.DASHED}
LABELS = ("step", "loss [target²]")


def curves_figure(
    runs: "xarray.Dataset", expected: "xarray.DataArray"
) -> "matplotlib.figure.Figure":
    """Losses of runs and the mean over features, per input exponent."""
    size = int(measure.system_of(runs).n_features)
    alphas = np.asarray(runs["input_exponent"], float).tolist()
    figure, grid = draw.new_figure(len(alphas), size=(4.4, 3.4))
    first = runs["step"].values > 0
    for axes, alpha in zip(grid[0], alphas, strict=True):
        ends = []
        for i, beta in enumerate(np.asarray(runs["target_exponent"], float).tolist()):
            at = {"input_exponent": alpha, "target_exponent": beta}
            color, name = draw.OKABE_ITO[i], f"β = {beta:g}"
            draw.band(axes, runs["loss"].sel(at, drop=True)[..., first], "step", color, name)
            line = expected.sel(at, drop=True)
            draw.dashed(axes, line["step"], line, color, name)
            ends.append((float(line["step"][-1]), float(line[-1]), name, color))
        draw.finish(axes, LABELS, f"α = {alpha:g}, d = {size}", ends)
    draw.legend(figure, MEAN | EQUIVALENT)
    return figure


def optimizers_figure(runs: "xarray.Dataset", dana: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Optimizers at one learning rate, and DANA against SGD where the bias limits the loss."""
    figure, grid = draw.new_figure(2, size=(5.0, 3.8))
    for axes, data, title in (
        (grid[0, 0], runs, "at one learning rate, phase III with label noise"),
        (grid[0, 1], dana, "DANA in phase II"),
    ):
        ends = []
        late = data["step"].values > 0
        for i, name in enumerate(data["optimizer"].values.tolist()):
            one, color = data.sel(optimizer=name, drop=True), draw.OKABE_ITO[i]
            draw.band(axes, one["loss"][..., late], "step", color, name)
            line = one["expected_loss"].mean("seed")[late]
            draw.dashed(axes, line["step"], line, color, name)
            short = re.sub(r", delta=[^)]*|\(\)", "", name)
            short = re.sub(r"\d+\.\d{4,}", lambda digits: f"{float(digits[0]):.2g}", short)
            ends.append((float(line["step"][-1]), float(line[-1]), short, color))
        draw.finish(axes, LABELS, title, ends)
    draw.legend(figure, MEAN | EXACT)
    return figure


def frontiers_figure(draws: Draws, frontiers: Frontiers) -> "matplotlib.figure.Figure":
    """Exact losses of every size against compute, their envelope, and the best sizes."""
    figure, grid = draw.new_figure(2, 2, size=(4.4, 3.2))
    *panels, last = grid.ravel()
    ends = []
    for i, (axes, (phase, (measured, expected))) in enumerate(
        zip(panels, frontiers.items(), strict=True)
    ):
        color, name = draw.OKABE_ITO[i], f"phase {phase}"
        loss = draws.loss.sel(phase=phase, drop=True)
        draw_curves(axes, loss, size="n_features", time="step")
        draw_frontier(axes, measured, "loss", expected.loss, color, name)
        best = expected.best["n_features"]
        draw_frontier(last, measured, "n_features", best, color, name)
        ends.append((max(high for _, high in measure.WINDOWS.values()), best[-1], name, color))
        axes.set_xlim(measured.compute[0] / 3, measured.compute[-1] * 3)
        axes.set_ylim(0.7 * np.nanmin(measured.loss), 2.0 * np.nanmax(measured.loss))
        draw.finish(axes, ("compute d t", "loss [target²]"), name)
    draw.finish(last, ("compute d t", "best number of features"), "best sizes", ends)
    kinds = {"each size": THIN, "best": draw.POINTS} | EQUIVALENT
    draw.legend(figure, kinds)
    return figure


def phases_figure(frontiers: Frontiers) -> "matplotlib.figure.Figure":
    """Map of the exponent of the lowest loss over both exponents, with measured points."""
    from matplotlib.colors import Normalize

    figure, grid = draw.new_figure(1, size=(5.6, 4.4))
    axes = grid[0, 0]
    alpha, beta = np.linspace(0.02, 1.6, 159), np.linspace(0.0, 1.6, 161)
    slopes, names = measure.phase_map(alpha, beta)
    colors = Normalize(0.0, 1.0)
    axes.pcolormesh(alpha, beta, slopes.T, norm=colors, cmap=CELLS, rasterized=True,
                    shading="nearest", label="law")  # fmt: skip
    for phase in dict.fromkeys(names.ravel().tolist()):
        inside = np.argwhere(names == phase)
        i, j = inside[np.argmin(np.sum((inside - inside.mean(axis=0)) ** 2, axis=1))]
        axes.text(alpha[i], beta[j], phase, ha="center", va="center", fontsize=9)
    for phase, (measured, _) in frontiers.items():
        (a, b), value = PHASES[phase], -measured.exponent["loss"].value
        axes.plot([a], [b], "o", ms=7, mfc="white", mec="black", label="draws")
        axes.annotate(f"{value:.2f}", (a, b), (7, -11), textcoords="offset points", fontsize=8)
    axes.set(xlabel="input exponent α", ylabel="target exponent β")
    label = r"exponent b of $L^* \propto C^{-b}$"
    color_bar(figure, [axes], colors, label, cmap=CELLS, extend="neither")
    return figure


def batch_figure(draws: Draws) -> "matplotlib.figure.Figure":
    """Largest stable learning rate against the batch, within the brackets of the draws."""
    figure, grid = draw.new_figure(1, size=(5.8, 3.6))
    axes, ends = grid[0, 0], []
    for i, phase in enumerate(("III", "II")):
        mean, low, high = (x.mean(axis=0) for x in measure.rate_limits(draws, phase))
        alpha, expected = PHASES[phase][0], measure.mean_rate_limits(phase)[0]
        color, name = draw.OKABE_ITO[i], f"α = {alpha:g}"
        axes.fill_between(BATCHES, low, high, color=color, alpha=0.15, lw=0, label=name)
        axes.plot(BATCHES, mean, "o", ms=4, color=color, label=name)
        draw.dashed(axes, BATCHES, expected, color, name)
        critical = measure.critical_batch(alpha)
        axes.axvline(critical, color=color, lw=0.8, ls=":", label=f"{name}, critical batch")
        ends.append((BATCHES[-1], float(expected[-1]), name, color))
    draw.finish(axes, ("batch size", "largest stable learning rate"), "", ends)
    kinds: dict[str, dict[str, Any]] = {"exact, mean over draws": draw.POINTS}
    draw.legend(figure, kinds | EQUIVALENT | {"critical batch": {"lw": 0.8, "ls": ":"}})
    return figure


def stability_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Median and mean of runs over their exact mean, by learning rate."""
    figure, grid = draw.new_figure(1, size=(5.0, 3.6))
    axes, ends = grid[0, 0], []
    ratio = measure.late(measure.ratio_of_runs(runs))
    for i, at in enumerate(points(runs, "learning_rate")):
        color, name = draw.OKABE_ITO[i], f"η = {at['learning_rate']:.3g}"
        one = ratio.sel(at, drop=True)
        axes.plot(one["step"], one.median("seed"), color=color, lw=1.4, label=name)
        axes.plot(one["step"], one.mean("seed"), color=color, lw=0.8, ls=":", label=f"{name}, mean")
        ends.append((float(one["step"][-1]), float(one.median("seed")[-1]), name, color))
    draw.finish(axes, ("step", "loss over its exact mean"), "", ends)
    draw.legend(figure, {"median of runs": {"lw": 1.4}, "their mean": {"lw": 0.8, "ls": ":"}})
    return figure
