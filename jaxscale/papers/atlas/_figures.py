"""Figures of the atlas: the map of setups and crowdings, local exponents of a lead over time."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.analysis._claim import SEEDS_FOR_VERDICT
from jaxscale.papers.atlas._measures import exponents
from jaxscale.papers.atlas._setups import OPTIMIZERS, SETUPS, STRONGEST, setup_of, ways_of
from jaxscale.papers.atlas._verdicts import MARKS, NEAR, Cell, Cells, Kind
from jaxscale.papers.superposition._scores import EXPONENTS
from jaxscale.report import _figures as draw
from jaxscale.report._maps import CELLS, color_bar

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import xarray

HALF_DECADE = 10**0.25  # a local exponent is fitted from t / this to t * this


def map_figure(atlas: "xarray.Dataset", cells: Cells) -> "matplotlib.figure.Figure":
    """Every setup at every crowding: colour, mark and number, one panel per way to train."""
    from matplotlib.colors import Normalize

    colors = Normalize(0.0, 2.0)
    run = set(atlas["setup"].values.tolist())
    names = [setup.name for setup in SETUPS if setup.name in run]
    groups = {o: [n for n in names if setup_of(n)[0].optimizer == o] for o in ways_of(names)}
    height = 0.9 + 0.27 * max(map(len, groups.values()))
    figure, grid = draw.new_figure(len(groups), size=(4.8, max(height, 2.2)))
    crowdings = sorted({c for name, c in cells if name in names})
    for axes, (way, rows) in zip(grid[0], groups.items(), strict=True):
        shown = [[cells.get((name, c)) for c in crowdings] for name in rows[::-1]]
        _fill(axes, shown, colors)
        seeds = atlas["n_seeds"].sel(setup=rows[::-1]).values.tolist()
        texts = [setup_of(name)[0].text for name in rows[::-1]]
        named = [
            t + ("" if s >= SEEDS_FOR_VERDICT else "*") for t, s in zip(texts, seeds, strict=True)
        ]
        axes.set_yticks(range(len(rows)), named, fontsize=7)
        axes.set_xticks(range(len(crowdings)), [f"{c:g}" for c in crowdings])
        axes.set(xlabel="features per dimension N/K")
        axes.set_title(OPTIMIZERS[way].text, fontsize=9)
    color_bar(figure, list(grid[0]), colors, "mean exponent", cmap=CELLS, extend="both")
    return figure


def _fill(axes: "matplotlib.axes.Axes", shown: "list[list[Cell | None]]", colors: Any) -> None:
    """Coloured cells, each with its mark and the share of its windows in which it holds."""
    values = np.asarray([[np.nan if c is None else c.exponent for c in row] for row in shown])
    edges = (np.arange(n + 1) - 0.5 for n in values.shape[::-1])
    axes.pcolormesh(*edges, values, norm=colors, cmap=CELLS, edgecolors="white", linewidth=1.5)
    for i, row in enumerate(shown):
        for j, cell in enumerate(row):
            if cell is None:
                continue
            share = cell.compressed if cell.kind == Kind.compressed else cell.one
            text = f"{MARKS[cell.kind]} {share:.0%}" if cell.n_windows else MARKS[Kind.flat]
            place = float(colors(cell.exponent)) if cell.n_windows else 0.5
            color = "white" if abs(place - 0.5) > 0.3 else "black"
            axes.text(j, i, text.strip(), ha="center", va="center", fontsize=7, color=color)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def local_exponents(curves: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Records with half a decade of records around them, and exponents of curves there."""
    low, high = steps[1] * HALF_DECADE, steps[-1] / HALF_DECADE
    places = steps[(steps >= low) & (steps <= high)]
    around = [(steps >= t / HALF_DECADE) & (steps <= t * HALF_DECADE) & (steps > 0) for t in places]
    return places, np.stack([exponents(curves, steps, mask) for mask in around], axis=-1)


def local_figure(
    atlas: "xarray.Dataset", name: str = STRONGEST.name, rate: int = 0
) -> "matplotlib.figure.Figure":
    """Local exponents over time of a setup for all data, by crowding, and of its control."""
    one = atlas.sel(setup=name, rate=rate, drop=True)
    steps = np.asarray(one["step"], float)
    run = one["crowding"].values[one["was_run"].values == 1]
    panels = [(f"N/K = {c:g}", one["loss"].sel(crowding=c)) for c in run]
    alone = one["loss_alone"].sel(crowding=run[0])
    if bool(np.isfinite(alone).any()):  # else it has not been run
        panels.append(("K = N, trained in the same way", alone))
    figure, grid = draw.new_figure(len(panels), size=(3.4, 3.2))
    a, b = (np.asarray(one[axis], float).tolist() for axis in EXPONENTS)
    styles = ("solid", (0, (4, 2)), (0, (1, 1.5)))
    for axes, (title, loss) in zip(grid[0], panels, strict=True):
        curves = loss.transpose(*EXPONENTS, "step").values
        places, local = local_exponents(curves, steps)
        axes.axhspan(1 - NEAR, 1 + NEAR, color="#dddddd", lw=0, zorder=0, label="_1 ± 0.25")
        for i, j in np.ndindex(local.shape[:2]):
            axes.plot(places, local[i, j], color=draw.OKABE_ITO[i], ls=styles[j], lw=1.3,
                      label=f"a = {a[i]:g}, b = {b[j]:g}")  # fmt: skip
        axes.set(ylim=(-0.25, 3.0), xlabel="step", ylabel="local exponent of the loss")
        draw.log_axis(axes, "x")
        axes.set_title(title, fontsize=9)
    lines = {f"a = {v:g}": {"color": draw.OKABE_ITO[i]} for i, v in enumerate(a)}
    draw.legend(figure, lines | {f"b = {v:g}": {"ls": styles[j]} for j, v in enumerate(b)})
    return figure
