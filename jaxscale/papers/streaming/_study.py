"""What `jaxscale reproduce streaming` runs, and how the results are evaluated."""

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._claim import Claim
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.streaming import (
    _claims as claims,
    _draws as drawn,
    _figures as figures,
    _scores as measure,
)
from jaxscale.report._study import Conclusion, Study, statuses

if TYPE_CHECKING:
    import xarray

PRESETS = (
    "streaming_curves",
    "streaming_optimizers",
    "streaming_schedules",
    "streaming_stability",
    "streaming_dana",
    "streaming_gain",
)
CAPTIONS, TEXT = study_text("streaming")


class Ahead(NamedTuple):
    """What needs no results: draws of features, and claims on draws and theory."""

    draws: Future[drawn.Draws]
    frontiers: Future[measure.Frontiers]
    excess: "Future[xarray.DataArray]"
    schedules: Future[list[Claim]]
    phases: Future[list[Claim]]
    noise: Future[list[Claim]]
    momentum: Future[list[Claim]]
    batches: Future[list[Claim]]


def ahead(pool: Executor) -> Ahead:
    """Start it. What waits for another task is submitted after it: it waits for what has begun."""
    phases, momentum = pool.submit(claims.phase_claims), pool.submit(claims.momentum_claims)
    draws = drawn.start_draws(pool)
    excess = pool.submit(lambda: drawn.schedule_excess(draws.result(), ("II", "III", "IVa")))
    noise = pool.submit(lambda: claims.noise_claims(draws.result()))
    batches = pool.submit(lambda: claims.batch_claims(draws.result()))
    schedules = pool.submit(lambda: claims.schedule_claims(excess.result()))
    frontiers = pool.submit(lambda: measure.frontiers_of(draws.result()))
    return Ahead(draws, frontiers, excess, schedules, phases, noise, momentum, batches)


def evaluate(runs: "dict[str, xarray.Dataset]", begun: Ahead) -> Conclusion:
    """Claims and figures of results by preset name; those of the paper's scale end in `_paper`."""
    results = {name.removesuffix("_paper"): data for name, data in runs.items()}
    curves, optimizers, schedules, hot, dana, gain = (results[name] for name in PRESETS)
    draws, excess = begun.draws.result(), begun.excess.result()
    frontiers = begun.frontiers.result()
    judged = [
        *claims.exact_claims(curves, optimizers, schedules),
        *claims.feature_claims(draws),
        *claims.frontier_claims(frontiers),
        *begun.schedules.result(),
        *claims.stability_claims(hot),
        *claims.dana_claims(gain),
        *begun.phases.result(),
        *begun.noise.result(),
        *begun.momentum.result(),
        *begun.batches.result(),
    ]
    drawings = {
        "curves": figures.curves_figure(curves, measure.mean_curves(curves)),
        "optimizers": figures.optimizers_figure(optimizers, dana),
        "frontiers": figures.frontiers_figure(draws, frontiers),
        "phases": figures.phases_figure(frontiers),
        "batch": figures.batch_figure(draws),
        "stability": figures.stability_figure(hot),
    }
    scores: dict[str, Any] = {"runs_by_status": {name: statuses(d) for name, d in runs.items()}}
    return Conclusion(judged, with_captions(drawings, CAPTIONS), scores, [schedule_table(excess)])


def schedule_table(excess: "xarray.DataArray") -> Table:
    """Loss at the end above what no weights reach, by phase and schedule."""
    rows = [
        (phase, *(number(float(v), ".2e") for v in excess.sel(phase=phase).mean("seed")))
        for phase in excess["phase"].values.tolist()
    ]
    return Table(
        "Schedules",
        "Exact loss at the end above what no weights reach, mean over draws, without label noise.",
        ("phase", *excess["schedule"].values.tolist()),
        tuple(rows),
    )


STUDY = Study(
    system="streaming",
    presets={"quick": PRESETS, "paper": tuple(f"{name}_paper" for name in PRESETS)},
    evaluate=evaluate,
    ahead=ahead,
    **TEXT,
)
