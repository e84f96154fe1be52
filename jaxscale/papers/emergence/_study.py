"""What `jaxscale reproduce emergence` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.emergence._claims import emergence_claims, law_claims, law_curves
from jaxscale.papers.emergence._figures import emergence_figure, frontier_figure, law_figure
from jaxscale.papers.emergence._scores import AXIS, EmergenceScore, score_emergence
from jaxscale.report._study import Conclusion, Figure, Study
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import xarray

CAPTIONS, TEXT = study_text("emergence")
LAW_PRESETS = ("emergence_laws", "emergence_law_parameters", "emergence_law_data")


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims, figures and scores of emergence and of the four laws, from results by preset name."""
    claims, figures, scores, tables = [], [], {}, []
    for name, data in runs.items():
        if name in LAW_PRESETS:
            continue
        grid = grid_of(data)
        regime = grid.system.schema.regime
        score = score_emergence(grid, data)
        claims += emergence_claims(score, float(grid.system.skill_exponent), regime)  # pyright: ignore
        caption = CAPTIONS["emergence"].format(
            regime=regime,
            n_seeds=data.sizes["seed"],
            parameter=score.calibration.free[0],
            rms_delta=score.rms_delta,
        )
        figures.append(Figure(f"emergence_{regime}", caption, emergence_figure(score)))
        scores[name] = score.to_dict()
        tables.append(score_table(name, score))
    if all(name in runs for name in LAW_PRESETS):
        laws = [runs[name] for name in LAW_PRESETS]
        curves = law_curves(*laws)
        claims += law_claims(curves)
        drawings = {
            "emergence_laws": law_figure(curves),
            "emergence_frontier": frontier_figure(laws[0], curves),
        }
        figures += with_captions(drawings, CAPTIONS)
    return Conclusion(claims, figures, scores, tables)


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
        "full": (*(f"emergence_{regime}_full" for regime in AXIS), *LAW_PRESETS),
    },
    evaluate=evaluate,
    **TEXT,
)
