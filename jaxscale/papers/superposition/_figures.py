"""Figures of the superposition study: simulation with its spread, exact curves dashed."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale.papers._runs import Point, in_float64
from jaxscale.papers.superposition._claims import TAILS, tail_curve
from jaxscale.papers.superposition._scores import (
    Slopes,
    control_curve,
    half_times,
    law_of,
    mean_active,
    measure_slopes,
    second_moment,
    system_of,
)
from jaxscale.report._figures import (
    DASHED,
    OKABE_ITO,
    THEORY,
    band,
    dashed,
    finish,
    label_ends,
    legend,
    log_axis,
    new_figure,
)
from jaxscale.report._maps import CELLS, cells, color_bar
from jaxscale.superposition import theory
from jaxscale.sweep._predict import grid_of, predict

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

DOTTED: dict[str, Any] = {"ls": (0, (1, 1.5)), "lw": 1.2}
THIN: dict[str, Any] = {"lw": 0.7, "alpha": 0.6}
MEAN = {"simulation, mean ± s.d. over seeds": {"lw": 1.4}}
ALONE = {"exact, without superposition": DASHED}
LABELS = ("step", "loss [target²]")


def _panels(runs: "xarray.Dataset", rows: int = 1) -> Any:
    """Rows of axes, one column per frequency exponent."""
    a = np.asarray(runs["frequency_exponent"], float)
    figure, grid = new_figure(len(a), rows, size=(3.7, 3.4))
    return figure, grid[0] if rows == 1 else grid, a.tolist()


def _few(runs: "xarray.Dataset") -> list[float]:
    b = np.asarray(runs["importance_exponent"], float)
    return b[np.unique([0, b.size // 2, b.size - 1])].tolist()


def sequential_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Losses without superposition, one panel per frequency exponent."""
    figure, row, values = _panels(runs)
    expected = predict(grid_of(runs))["loss"]
    late = runs["step"].values > 0
    for axes, a in zip(row, values, strict=True):
        ends = []
        for i, b in enumerate(np.asarray(runs["importance_exponent"], float).tolist()):
            at, color = {"frequency_exponent": a, "importance_exponent": b}, OKABE_ITO[i]
            name = f"b = {b:g}"
            band(axes, runs["loss"].sel(at, drop=True)[..., late], "step", color, name)
            line = expected.sel(at, drop=True)[late]
            dashed(axes, line["step"], line, color, name)
            ends.append((float(line["step"][-1]), float(line[-1]), name, color))
        finish(axes, LABELS, f"K = N, a = {a:g}", ends)
    legend(figure, MEAN | {"exact mean of minibatch descent": DASHED})
    return figure


def interference_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Losses where interference dominates, with both controls; below, the two parts of the loss."""
    figure, rows, values = _panels(runs, 2)
    late = runs["step"].values > 0
    steps = runs["step"].values[late]
    for axes, under, a in zip(*rows, values, strict=True):
        ends, ends_under = [], []
        for i, b in enumerate(_few(runs)):
            at, color = {"frequency_exponent": a, "importance_exponent": b}, OKABE_ITO[i]
            selected, name = runs.sel(at, drop=True), f"b = {b:g}"
            parts = selected.isel(step=late)
            band(under, parts["interference_loss"], "step", color, f"{name}, interference")
            signal = parts["signal_loss"].mean("seed")
            under.plot(steps, signal, color=color, label=f"{name}, signal", **DOTTED)
            ends_under.append((float(steps[-1]), float(signal[-1]), name, color))
            band(axes, selected["loss"][..., late], "step", color, name)
            alone = control_curve(selected, at).mean("seed").values[late]
            dashed(axes, steps, alone, color, name)
            same = control_curve(selected, at, same_start=True).mean("seed").values[late]
            axes.plot(steps, same, color=color, label=f"{THEORY}{name}, same start", **DOTTED)
            ends.append((float(steps[-1]), float(alone[-1]), name, color))
        guide = np.array([5.0, 100.0])
        near = runs["loss"].sel(frequency_exponent=a).sel(step=5, method="nearest")
        height = 4.0 * float(near.mean()) * 5.0
        axes.plot(guide, height / guide, color="#888888", lw=0.9, label="1/t")
        axes.annotate("1/t", (22.0, height / 22.0), (3, 3), textcoords="offset points",
                      color="#666666", fontsize=8)  # fmt: skip
        finish(axes, LABELS, f"interference dominates, a = {a:g}", ends)
        title = f"interference (solid), signal (dotted), a = {a:g}"
        finish(under, LABELS, title, ends_under)
    same = {"the same from the run's own start (below: signal)": DOTTED}
    legend(figure, {"simulation, mean over seeds": {"lw": 1.4}} | ALONE | same)
    return figure


def small_start_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Losses from a small start at the largest bottleneck: every seed, for some get stuck."""
    figure, row, values = _panels(runs)
    k = int(runs["latent_size"][-1])
    runs = runs.sel(latent_size=k)
    late = runs["step"].values > 0
    steps = np.asarray(runs["step"], float)[late]
    for axes, a in zip(row, values, strict=True):
        ends = []
        for i, b in enumerate(np.asarray(runs["importance_exponent"], float).tolist()):
            at, color = {"frequency_exponent": a, "importance_exponent": b}, OKABE_ITO[i]
            selected, name = runs.sel(at, drop=True), f"b = {b:g}"
            curves = selected["loss"].transpose("step", "seed").values[late]
            axes.plot(steps, curves, color=color, label=f"{name}, one seed", **THIN)
            good = np.isfinite(curves).any(axis=1)
            middle = np.nanmedian(curves[good], axis=1)
            axes.plot(steps[good], middle, color=color, lw=1.8, label=name)
            alone = control_curve(selected, at).mean("seed")[late]
            dashed(axes, alone["step"], alone, color, name)
            ends.append((steps[good][-1], float(middle[-1]), name, color))
        axes.set_ylim(bottom=0.3 * float(runs["loss"].isel(step=-1).min()))
        finish(axes, LABELS, f"small start, K = {k}, a = {a:g}", ends)
    legend(figure, {"simulation, median": {"lw": 1.8}, "every seed": THIN} | ALONE)
    return figure


def tails_figure() -> "matplotlib.figure.Figure":
    """Local exponents of the reduced equation."""
    figure, grid = new_figure(1, size=(5.2, 3.8))
    axes, labels = grid[0, 0], []
    names = ("exponential", "index 3", "index 4", "index 6", "order 1", "order 4", "Gaussian")
    chosen = [(n, t) for n, t in TAILS.items() if n.endswith(names)]
    for i, (name, tail) in enumerate(chosen):
        tau, loss = tail_curve(name)
        limit = float(theory.universal_law(float(tail.tail_index)))
        local = -np.gradient(np.log(loss), np.log(tau))
        axes.plot(tau, local, color=OKABE_ITO[i], lw=1.4, label=f"{THEORY}{name}")
        axes.hlines(limit, tau[0], tau[-1], color=OKABE_ITO[i], linestyles="dashed", lw=0.8,
                    label=f"{THEORY}{name}, limit")  # fmt: skip
        labels.append((float(tau[-1]), float(local[-1]), name, OKABE_ITO[i]))
    axes.set(xlim=(0.1, 1.5 * labels[0][0]), ylim=(0, 3.3))
    log_axis(axes, "x")
    label_ends(axes, labels)
    axes.set(xlabel="bias learning rate × step", ylabel="local exponent of the loss")
    limit = {"limit 1 − 2ξ": {"ls": "dashed", "lw": 0.8}}
    legend(figure, {"reduced equation": {"lw": 1.4}} | limit)
    return figure


def map_figure(
    measured: list[Slopes],
    data: "xarray.Dataset",
    crowding: "xarray.Dataset",
    window: tuple[float, float],
) -> "matplotlib.figure.Figure":
    """Exponents over (a, b), next to their control, and over crowding and the rate of biases."""
    from matplotlib.colors import Normalize

    figure, grid = new_figure(3, size=(3.9, 3.6))
    colors = Normalize(0.0, 2.0)

    def fill(axes: Any, slopes: Any, x: Any, y: Any, labels: tuple[str, str], title: str) -> None:
        cells(axes, slopes, x, y, colors)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title, fontsize=9)

    a = np.asarray(data["frequency_exponent"], float)
    b = np.asarray(data["importance_exponent"], float)
    labels = ("frequency exponent a", "importance exponent b")
    for axes, name, title in (
        (grid[0, 0], "loss", "measured, with superposition"),
        (grid[0, 1], "control", "exact, without superposition"),
    ):
        slopes = np.reshape([np.nanmean(getattr(s, name)) for s in measured], (a.size, b.size))
        fill(axes, slopes.T, b, a, labels, title)
    rows = measure_slopes(crowding, window, "latent_size", "bias_learning_rate")
    k = np.asarray(crowding["latent_size"], float)
    rate = np.asarray(crowding["bias_learning_rate"], float)
    slopes = np.reshape([np.nanmean(s.loss) for s in rows], (k.size, rate.size))
    alone = [float(np.nanmean(s.control)) for s in rows]
    law = law_of(system_of(crowding), {})
    title = (
        f"measured, a = {law['frequency_exponent']:g}, b = {law['importance_exponent']:g} "
        f"(without: {min(alone):.2f} to {max(alone):.2f})"
    )
    labels = ("features per dimension N/K", "learning rate of the biases")
    fill(grid[0, 2], slopes[::-1].T, rate, law["n_features"] / k[::-1], labels, title)
    color_bar(
        figure, list(grid[0]), colors, "exponent −d ln L / d ln t", cmap=CELLS, extend="neither"
    )
    return figure


def control_half_times(runs: "xarray.Dataset", at: Point) -> Float[np.ndarray, " g"]:
    """Steps at which the mean strength of each group passes one half without superposition."""
    system = system_of(runs)
    firsts = np.asarray(runs["group"], int)
    ends = np.append(firsts[1:], system.n_features + 1)
    time = np.concatenate([[0.0], np.geomspace(0.1, 1e6, 1401)])
    times = []
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        strength = in_float64(
            theory.sequential_strength,
            time[:, None],
            rank=np.arange(first, end, dtype=float),
            **law_of(system, at),
            learning_rate=float(runs["step_size"].isel(step=0).mean()),
            second_moment=second_moment(system),
            mean_active=mean_active(system),
        )
        times.append(float(np.interp(0.5, strength.mean(axis=1), time)))
    return np.asarray(times)


def order_figure(runs: "xarray.Dataset") -> "matplotlib.figure.Figure":
    """Half-times of groups of features at b = 0, one panel per frequency exponent."""
    figure, row, values = _panels(runs)
    for axes, a in zip(row, values, strict=True):
        at = {"frequency_exponent": a, "importance_exponent": 0.0}
        ends = []
        for i, k in enumerate(np.asarray(runs["latent_size"])):
            selected, color = runs.sel({**at, "latent_size": k}, drop=True), OKABE_ITO[i]
            name = f"K = {int(k)}"
            times = half_times(selected)
            good = np.flatnonzero(np.isfinite(times.mean("seed", skipna=False).values))
            if good.size:
                band(axes, times.isel(group=good), "group", color, name)
            alone = control_half_times(selected, at)
            dashed(axes, selected["group"], alone, color, name)
            ends.append((float(selected["group"][-1]), float(alone[-1]), name, color))
        labels = ("first feature of the group", "step at half strength")
        finish(axes, labels, f"b = 0, a = {a:g}", ends)
    legend(figure, MEAN | ALONE)
    return figure
