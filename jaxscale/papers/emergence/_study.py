"""What `jaxscale reproduce emergence` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.papers.emergence._claims import emergence_claims, law_claims, law_curves
from jaxscale.papers.emergence._figures import emergence_figure, frontier_figure, law_figure
from jaxscale.papers.emergence._scores import AXIS, EmergenceScore, score_emergence
from jaxscale.report._study import Conclusion, Figure, Study
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import xarray

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
        caption = (
            f"Skills of a two-layer network emerge one after the other with {regime}: mean and "
            f"standard deviation over {data.sizes['seed']} seeds; dashed, the closed form with "
            f"{score.calibration.free[0]} fitted on skill 1 alone. Later skills are predictions: "
            f"rms $δ$ = {score.rms_delta:.3f}."
        )
        figures.append(Figure(f"emergence_{regime}", caption, emergence_figure(score)))
        scores[name] = score.to_dict()
        tables.append(score_table(name, score))
    if all(name in runs for name in LAW_PRESETS):
        laws = [runs[name] for name in LAW_PRESETS]
        claims += law_claims(*laws)
        caption = (
            "The four scaling laws of the multilinear model: simulated loss (points; for data the "
            "mean over sets) plus the known loss of the skills beyond the 1000 simulated ones, and "
            "the closed-form law with its prefactor (dashed). Nothing is fitted."
        )
        figures.append(Figure("emergence_laws", caption, law_figure(law_curves(*laws))))
        caption = (
            "The compute-optimal frontier: losses of models of $N$ parameters against "
            "$X = η S N T$ (thin), the best of them at each $X$ (points) and its closed form "
            "(dashed); last, the best $N$. The law holds for $N + ½$, so that small $N*$ lie below "
            "it. Nothing is fitted."
        )
        figures.append(Figure("emergence_frontier", caption, frontier_figure(laws[0])))
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


SUMMARY = (
    "Many skills, each a parity of bits of its own, occur in the data with probabilities that "
    "fall as a power law of their rank; a two-layer network with a small start learns them one "
    "after the other. In the multilinear model the network is replaced by one product of two "
    "numbers for each skill, which is solved exactly; its loss is taken over steps, parameters, "
    "samples and compute. Theory is fitted to the network by one number, on skill 1 alone, and to "
    "the multilinear model not at all."
)
SYMBOLS = {
    "k": "rank of a skill, 1 for the most frequent",
    "alpha": "exponent of the skills: $P_k$ falls as $k^-(alpha + 1)$",
    "P_k": "probability that skill $k$ occurs in the data",
    "S": "target scale, the strength that every skill must reach",
    "R_k": "strength of skill $k$ that the model has learned",
    "delta_k": "ln(measured / predicted) half point of skill $k$",
    "eta": "learning rate",
    "T": "steps; in the time law, $tau$",
    "tau": "$eta S T$, steps in units of the dynamics",
    "N": "parameters: skills that the multilinear model has",
    "D": "samples",
    "C": "compute $N T$; in the figures $X = eta S N T$",
    "L": "loss",
}

STUDY = Study(
    system="emergence",
    title="Emergence and scaling laws of multitask sparse parity",
    source="Nam, Fonseca, Lee, Mingard and Louis 2024, arXiv 2404.17563",
    presets={
        "quick": ("emergence_time", *LAW_PRESETS),
        "full": (*(f"emergence_{regime}_full" for regime in AXIS), *LAW_PRESETS),
    },
    evaluate=evaluate,
    summary=SUMMARY,
    symbols=SYMBOLS,
)
