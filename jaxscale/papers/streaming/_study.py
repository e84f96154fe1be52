"""What `jaxscale reproduce streaming` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.streaming import (
    _claims as claims,
    _figures as figures,
    _scores as measure,
    _theory_claims as laws,
)
from jaxscale.report._study import Conclusion, Study, statuses
from jaxscale.sweep._predict import grid_of, predict

if TYPE_CHECKING:
    import xarray

PRESETS = (
    "streaming_curves",
    "streaming_optimizers",
    "streaming_schedules",
    "streaming_sizes",
    "streaming_stability",
    "streaming_dana",
    "streaming_gain",
)
WINDOWS = {(0.8, 0.3): (1e4, 5e4), (1.2, 0.8): (1e4, 1e5)}
CAPTIONS, TEXT = study_text("streaming")


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims and figures of results by preset name; those of the paper's scale end in `_paper`."""
    results = {name.removesuffix("_paper"): data for name, data in runs.items()}
    curves, sizes = results["streaming_curves"], results["streaming_sizes"]
    expected = predict(grid_of(curves))["loss"]
    frontiers = _frontiers(sizes)
    judged = [
        *claims.curve_claims(curves, expected),
        *claims.optimizer_claims(results["streaming_optimizers"]),
        *claims.schedule_claims(results["streaming_schedules"]),
        *claims.size_claims(sizes, frontiers),
        *claims.stability_claims(results["streaming_stability"]),
        *claims.dana_claims(results["streaming_gain"]),
        *laws.phase_claims(),
        *laws.noise_claims(),
        *laws.momentum_claims(),
        *laws.batch_claims(),
    ]
    drawings = {
        "curves": figures.curves_figure(curves, expected),
        "optimizers": figures.optimizers_figure(
            results["streaming_optimizers"], results["streaming_dana"]
        ),
        "frontiers": figures.frontiers_figure(sizes, frontiers),
        "phases": figures.phases_figure(frontiers),
        "batch": figures.batch_figure(),
        "stability": figures.stability_figure(results["streaming_stability"]),
    }
    scores: dict[str, Any] = {"runs_by_status": {name: statuses(d) for name, d in runs.items()}}
    tables = [schedule_table(results["streaming_schedules"])]
    return Conclusion(judged, with_captions(drawings, CAPTIONS), scores, tables)


def _frontiers(runs: "xarray.Dataset") -> figures.Frontiers:
    """Frontier of the exact curves of every draw, and of the equivalent, on one window each."""
    expected = predict(grid_of(runs))["loss"]
    frontiers = {}
    for pair, window in WINDOWS.items():
        at = dict(zip(measure.EXPONENTS, pair, strict=True))
        compute = np.geomspace(*window, 7)
        drawn = measure.at_point(runs, at)["expected_loss"]
        frontiers[pair] = (
            measure.frontier_of(drawn, compute),
            measure.frontier_of(expected.sel(at, drop=True), compute),
        )
    return frontiers


def schedule_table(runs: "xarray.Dataset") -> Table:
    """Loss at the end above what no weights reach, by schedule."""
    excess = measure.excess(runs)
    rows = []
    for at in measure.points(runs, *measure.EXPONENTS):
        values = excess.sel(at, drop=True).mean("seed")
        shown = (number(float(v), ".2e") for v in values)
        rows.append((claims.in_words(at), *shown))
    names = (str(name).partition("(")[0] for name in runs["schedule"].values)
    return Table(
        "Schedules",
        "Exact loss at the end above what no weights reach, mean over draws, without label noise.",
        ("data", *names),
        tuple(rows),
    )


STUDY = Study(
    system="streaming",
    presets={"quick": PRESETS, "paper": tuple(f"{name}_paper" for name in PRESETS)},
    evaluate=evaluate,
    **TEXT,
)
