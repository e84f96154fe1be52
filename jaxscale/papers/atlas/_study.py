"""What `jaxscale reproduce atlas` runs, and how the map is evaluated."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._table import Column, Table
from jaxscale._text import number
from jaxscale.analysis._claim import SEEDS_FOR_VERDICT
from jaxscale.analysis._plain import plain
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.atlas._claims import atlas_claims
from jaxscale.papers.atlas._figures import local_figure, map_figure
from jaxscale.papers.atlas._reduced import cells_of, measure_atlas
from jaxscale.papers.atlas._setups import (
    COMBINATIONS,
    DESIGNS,
    OPTIMIZERS,
    STRONGEST,
    excluded_counts,
    grids,
    setup_of,
    ways_of,
)
from jaxscale.papers.atlas._verdicts import MARKS, Cells, Kind, controls_passing
from jaxscale.papers.superposition._scores import EXPONENTS
from jaxscale.report._study import Conclusion, Figure, Study, statuses

if TYPE_CHECKING:
    import xarray

CAPTIONS, TEXT = study_text("atlas")


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims, the map, local exponents and tables of an atlas, from results by grid name."""
    atlas = measure_atlas(runs)
    cells = cells_of(atlas)
    scores = {"cells": scores_of(cells), "excluded": excluded_counts()}
    scores["runs_by_status"] = {name: statuses(data) for name, data in runs.items()}
    figures, tables = figures_of(atlas, cells), tables_of(atlas, cells)
    return Conclusion(atlas_claims(atlas), figures, scores, tables)


def figures_of(atlas: "xarray.Dataset", cells: Cells) -> list[Figure]:
    """The map, and the local exponents of the strongest lead, with their captions."""
    drawings = {"atlas_map": map_figure(atlas, cells), "atlas_local": local_figure(atlas)}
    values = {
        "multiplicity": multiplicity(atlas, cells),
        "setup": f"{STRONGEST.way.text}, {STRONGEST.text}",
        "rate": float(atlas["rate_value"].sel(setup=STRONGEST.name)[0]),
    }
    return with_captions(drawings, CAPTIONS, **values)


def multiplicity(atlas: "xarray.Dataset", cells: Cells) -> str:
    """How often was looked, how often the rule says yes of the controls, and what failed."""
    windows = sum(cell.n_windows for cell in cells.values())
    one = round(sum(cell.one * cell.n_windows for cell in cells.values() if cell.n_windows))
    passed, counted = controls_passing(atlas)
    bad = atlas["bad_runs"].values
    return (
        f"Multiplicity: {len(cells)} cells with {windows} windows that count, {one} of them about "
        f"1 for all data; without superposition {passed} of {counted} in which that learns. "
        f"Runs that ended badly: {int(bad.sum())}, in {np.sum(bad > 0)} of {bad.size} setups."
    )


def scores_of(cells: Cells) -> list[dict[str, Any]]:
    """The cells of the map as plain data."""
    return [
        plain({"setup": name, "crowding": crowding, **vars(cell), "kind": str(cell.kind)})
        for (name, crowding), cell in cells.items()
    ]


def tables_of(atlas: "xarray.Dataset", cells: Cells) -> list[Table]:
    """Cells of every way to train, natural windows of the leads, and what is left out."""
    looked = multiplicity(atlas, cells)
    ways = ways_of(atlas["setup"].values.tolist())
    tables = [cell_table(atlas, cells, way, looked) for way in ways]
    return [*tables, natural_table(atlas, cells), excluded_table()]


def cell_table(atlas: "xarray.Dataset", cells: Cells, way: str, looked: str) -> Table:
    """Verdict, exponent, spread and shares of the setups of one way to train."""
    rows = []
    for (name, crowding), cell in cells.items():
        setup, check = setup_of(name)
        if setup.optimizer != way:
            continue
        seeds = int(atlas["n_seeds"].sel(setup=name))
        middle = (cell.exponent, cell.spread, cell.alone, cell.spread_alone)
        shares = (cell.one, cell.compressed, cell.confirmed, cell.near, cell.by_clock)
        rows.append(
            (
                f"{setup.text}{f' ({check})' if check else ''}",
                f"{crowding:g}",
                f"{MARKS[cell.kind]}{'' if seeds >= SEEDS_FOR_VERDICT else '*'}",
                *(number(x, ".2f") for x in middle),
                *(number(share, ".0%") for share in shares),
                str(cell.n_windows),
            )
        )
    shown = ("exp.", "spread", "K=N", "its", "one", "less", "sure", "near", "clock", "n")
    header = ("setup", "N/K", Column(""), *shown)
    return Table(
        f"Atlas: {OPTIMIZERS[way].text}",
        "Mean exponent and spread over the data, then those of $K = N$ (its), over the n windows "
        "of a decade in which the loss falls; shares of these windows in which it is about 1 for "
        "all data (one), that or compressed (less), about 1 by its intervals over seeds, too "
        "(sure); share of the pairs $(a, b)$ within 0.25 of 1; share of windows about 1 by the sum "
        f"of the rates (clock). ● {Kind.one}, ◐ {Kind.compressed}, – {Kind.flat}, * under eight "
        f"seeds: no verdict. {looked}",
        header,
        tuple(rows),
    )


def natural_table(atlas: "xarray.Dataset", cells: Cells) -> Table:
    """Exponents from half the loss to ten floors, and times to equal loss, of the leads."""
    rows = []
    for name, crowding in cells:
        seeds = int(atlas["n_seeds"].sel(setup=name))
        at = atlas.sel(setup=name, crowding=crowding, rate=0)
        values = at["natural"].transpose(*EXPONENTS).values.ravel()
        good = values[np.isfinite(values)]
        if seeds < SEEDS_FOR_VERDICT or setup_of(name)[1] or not good.size:
            continue
        sooner = at["sooner"].values.ravel()
        sooner = sooner[np.isfinite(sooner)]
        middle = float(np.median(sooner)) if sooner.size else None
        opens, closes = float(np.nanmin(at["opens"])), float(np.nanmax(at["closes"]))
        setup = setup_of(name)[0]
        rows.append(
            (
                f"{setup.way.text}, {setup.text}",
                f"{crowding:g}",
                f"{good.mean():.2f}",
                number(float(np.ptp(good)) if good.size > 1 else None, ".2f"),
                f"{good.size}/{values.size}",
                f"{opens:.0f}..{closes:.0f}",
                number(middle, ".2g"),
            )
        )
    return Table(
        "From half of the loss to ten times its floor",
        "Setups with eight seeds, at their first rate: mean exponent and spread over the pairs "
        "$(a, b)$ that have such a window, their number, first and last step of the windows; "
        "median over the data of the time of $K = N$ over that of the run to equal loss (below 1: "
        "superposition is slower; the 500 steps of a pretrained W are not counted).",
        ("setup", "N/K", "exp.", "spread", "data", "steps", "sooner"),
        tuple(rows),
    )


def excluded_table() -> Table:
    """Combinations that are not run, and why."""
    rows = [(why, str(n)) for why, n in excluded_counts().items()]
    title = f"Left out of {len(COMBINATIONS)} combinations"
    return Table(title, "", (Column("reason"), Column("setups", number=True)), rows)


STUDY = Study(
    system="atlas",
    presets={scale: functools.partial(grids, scale) for scale in DESIGNS},
    evaluate=evaluate,
    **TEXT,
)
