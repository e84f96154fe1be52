"""What `jaxscale reproduce emergence` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._plain import plain
from jaxscale.emergence._transformer import ParityTransformer
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.emergence import _paper as paper
from jaxscale.papers.emergence._claims import emergence_claims, law_claims, law_curves
from jaxscale.papers.emergence._figures import (
    emergence_figure,
    frontier_figure,
    law_figure,
    paper_figure,
)
from jaxscale.papers.emergence._scores import EmergenceScore, score_emergence
from jaxscale.papers.emergence._transformer import transformer_results
from jaxscale.report._study import Conclusion, Figure, Study
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import xarray

CAPTIONS, TEXT = study_text("emergence")
PAPER_RUNS = ("time", "one_skill", "starts", "data", "width")
LAW_PRESETS = ("emergence_laws", "emergence_law_parameters", "emergence_law_data")


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims, figures and scores of emergence and of the four laws, from results by preset name."""
    parts = []
    for name, data in runs.items():
        if isinstance(grid_of(data).system, ParityTransformer):
            parts.append(transformer_results(name, data, CAPTIONS))
        elif name.endswith(paper.SETTINGS):
            parts.append(_as_published(name, data))
        elif name not in LAW_PRESETS:
            parts.append(_calibrated(name, data))
    if all(name in runs for name in LAW_PRESETS):
        laws = [runs[name] for name in LAW_PRESETS]
        curves = law_curves(*laws)
        drawings = {
            "emergence_laws": law_figure(curves),
            "emergence_frontier": frontier_figure(laws[0], curves),
        }
        parts.append(Conclusion(law_claims(curves), with_captions(drawings, CAPTIONS), {}, []))
    return Conclusion(
        [claim for part in parts for claim in part.claims],
        [figure for part in parts for figure in part.figures],
        {name: score for part in parts for name, score in part.scores.items()},
        [table for part in parts for table in part.tables],
    )


def _calibrated(name: str, data: "xarray.Dataset") -> Conclusion:
    grid = grid_of(data)
    regime = grid.system.schema.regime
    score = score_emergence(grid, data)
    caption = CAPTIONS["emergence"].format(
        regime=regime,
        n_seeds=data.sizes["seed"],
        parameter=score.parameter,
        rms_delta=number(score.rms_delta, ".3f"),
    )
    claims = emergence_claims(score, float(grid.system.skill_exponent), regime)  # pyright: ignore
    figure = Figure(f"emergence_{regime}", caption, emergence_figure(score))
    return Conclusion(claims, [figure], {name: score.to_dict()}, [score_table(name, score)])


def _as_published(name: str, data: "xarray.Dataset") -> Conclusion:
    """Runs with the authors' settings, by their conventions, against their predictions."""
    grid = grid_of(data)
    label = name.replace("_", "-")
    if set(grid.axes) == set(paper.STARTS):
        scores = dict(paper.start_scores(grid, data))
        values = {at: plain(one.constant) for at, one in scores.items()}
        return Conclusion([], [], {name: values}, [paper.start_table(scores)])
    score = paper.paper_score(grid, data)
    caption = CAPTIONS["paper"].format(regime=score.regime, n_seeds=data.sizes["seed"])
    figure = Figure(name, caption, paper_figure(score))
    claims, tables = paper.paper_claims(score, label), [paper.half_point_table(name, score)]
    return Conclusion(claims, [figure], {name: score.to_dict()}, tables)


def score_table(name: str, score: EmergenceScore) -> Table:
    """How well the later skills of one preset are predicted from the first."""
    answer = "yes" if score.all_emerged else "no"
    note = (
        f"{name}: rms over the later skills of $δ$ averaged over seeds: "
        f"{number(score.rms_delta, '.3f')} (the claim takes the rms within each seed, which adds "
        f"the scatter between seeds); every skill emerged in every seed: {answer}."
    )
    return Table(
        "Emergence of the later skills, predicted from the first",
        note,
        ("", *(f"skill {k + 1}" for k in range(len(score.delta)))),
        (
            ("δ = ln(measured / predicted half point)", *(number(d, "+.3f") for d in score.delta)),
            ("max |ΔR/S| of the mean curve", *(number(e, ".3f") for e in score.max_error)),
        ),
    )


STUDY = Study(
    system="emergence",
    presets={
        "quick": ("emergence_time", *LAW_PRESETS),
        "paper": (
            *LAW_PRESETS,
            "emergence_transformer",
            *(f"emergence_{name}_paper" for name in PAPER_RUNS),
        ),
    },
    evaluate=evaluate,
    **TEXT,
)
