"""Figures of emergence: skills against time, data or width, the four laws, and the frontier."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxscale.papers.emergence._claims import LawCurve, law_frontier
from jaxscale.papers.emergence._paper import PaperScore
from jaxscale.papers.emergence._scores import EmergenceScore
from jaxscale.report import _figures as draw
from jaxscale.report._frontier import THIN, draw_curves, draw_frontier

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

X_LABEL = {"step": "training step T", "data.n_samples": "samples D", "width": "width N"}
LAW_NAME = {"T": "time", "D": "data", "N": "parameters", "C": "compute"}
LAW_LABEL = {"T": "τ = η S T", "D": "samples D", "N": "parameters N + ½", "C": "X = η S N T"}
EXPONENT_LABEL = {"T": "α/(α+1)", "D": "α/(α+1)", "N": "α", "C": "α/(α+2)"}


def emergence_figure(
    score: EmergenceScore, theory: str = "multilinear theory, fitted on skill 1"
) -> "matplotlib.figure.Figure":
    """Skill strengths against time, data or width, with the prediction dashed."""
    figure, grid = draw.new_figure(1, size=(7.2, 4.0))
    skill_curves(grid[0, 0], score.strength, score.dim, score.measured, score.expected)
    drawn = {"network, mean ± s.d. over seeds": {"lw": 1.4}}
    draw.legend(figure, drawn | {theory: draw.DASHED})
    return figure


def skill_curves(
    axes: "matplotlib.axes.Axes",
    strength: "xarray.DataArray",
    dim: str,
    measured: np.ndarray,
    expected: "xarray.DataArray | None" = None,
) -> None:
    """Draw R / S of every skill over `dim`, named at its `measured` half point."""
    for i, skill in enumerate(np.asarray(strength["skill"]).tolist()):
        color, name = draw.OKABE_ITO[i % len(draw.OKABE_ITO)], f"skill {skill}"
        draw.band(axes, strength.sel(skill=skill), dim, color, name, log=False)
        if expected is not None:
            draw.dashed(axes, expected[dim], expected.sel(skill=skill), color, name)
        emerged = measured[np.isfinite(measured[:, i]), i]
        if emerged.size:
            at = (float(emerged.mean()), 1.06)
            axes.annotate(name, at, color=color, fontsize=8, ha="center")
    if dim == "step" and np.isfinite(measured).any():
        axes.set_xlim(float(np.nanmin(measured)) / 4, 1.1 * float(strength["step"][-1]))
    draw.log_axis(axes, "x")
    axes.set(xlabel=X_LABEL[dim], ylabel="skill strength R / S", ylim=(-0.08, 1.12))


def paper_figure(score: PaperScore) -> "matplotlib.figure.Figure":
    """Skill strengths of runs with the authors' settings; dashed, what they predict."""
    drawn = dataclasses.replace(
        score.runs,
        strength=score.strength,
        expected=score.expected,
        measured=score.runs.measured[:1],
    )
    return emergence_figure(drawn, "the authors' formula and number, nothing fitted here")


def law_figure(curves: dict[str, list[LawCurve]]) -> "matplotlib.figure.Figure":
    """One panel per law: simulated losses as points, closed forms dashed."""
    figure, grid = draw.new_figure(2, 2, size=(4.4, 3.3))
    for axes, law in zip(grid.ravel(), LAW_NAME, strict=True):
        for i, one in enumerate(curves[law]):
            color, name = draw.OKABE_ITO[i], f"α = {float(one.simulated['skill_exponent']):g}"
            mean = one.simulated.mean("seed") if "seed" in one.simulated.dims else one.simulated
            x = np.asarray(mean[law], float)
            axes.plot(x, np.asarray(mean), "o", ms=3, color=color, mew=0, label=name)
            draw.dashed(axes, one.law[law], one.law, color, name, **draw.BELOW)
            axes.annotate(name, (x[-1], float(mean[-1])), (5, 0), textcoords="offset points",
                          color=color, fontsize=8, va="center")  # fmt: skip
            axes.set_xlim(0.9 * x[0], 1.9 * x[-1])
        title = f"law in {LAW_NAME[law]}: exponent −{EXPONENT_LABEL[law]}"
        draw.finish(axes, (LAW_LABEL[law], "loss [S²]"), title)
    draw.legend(figure, {"simulation": draw.POINTS, "closed form": draw.DASHED})
    return figure


def frontier_figure(
    laws: "xarray.Dataset", curves: dict[str, list[LawCurve]]
) -> "matplotlib.figure.Figure":
    """Losses against compute with their envelope, per skill exponent, and the best sizes."""
    alphas = np.asarray(laws["skill_exponent"]).tolist()
    figure, grid = draw.new_figure(2, len(alphas) // 2 + 1, size=(4.4, 3.3))
    *panels, last = grid.ravel()[: len(alphas) + 1]
    for unused in grid.ravel()[len(alphas) + 1 :]:
        unused.remove()
    ends = []
    for i, (axes, alpha) in enumerate(zip(panels, alphas, strict=True)):
        loss, frontier = law_frontier(laws.sel(skill_exponent=alpha))
        best, best_loss = (np.asarray(curves[law][i].law) for law in ("best-N", "C"))
        color, name = draw.OKABE_ITO[i], f"α = {alpha:g}"
        draw_curves(axes, loss, size="n_parameters", time="step")
        draw_frontier(axes, frontier, "loss", best_loss, color, name)
        draw_frontier(last, frontier, "n_parameters", best, color, name)
        ends.append((float(frontier.compute[-1]), float(best[-1]), name, color))
        axes.set_xlim(frontier.compute[0] / 3, frontier.compute[-1] * 3)
        low, high = np.nanmin(frontier.loss), np.nanmax(frontier.loss)
        axes.set_ylim(low * 0.8, high * 1.6)
        title = f"{name}: L* ∝ $X^{{-{alpha / (alpha + 2):.3f}}}$"
        draw.finish(axes, (LAW_LABEL["C"], "loss [S²]"), title)
    draw.finish(last, (LAW_LABEL["C"], "best parameters N*"), r"N* ∝ $X^{1/(\alpha+2)}$", ends)
    draw.legend(figure, {"each N": THIN, "best N": draw.POINTS, "closed form": draw.DASHED})
    return figure
