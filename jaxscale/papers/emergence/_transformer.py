"""The transformer of Nam et al. 2024 (figure 4): when its skills emerge, and no more is claimed."""

from typing import TYPE_CHECKING

import numpy as np

from jaxscale._status import Status
from jaxscale.analysis._claim import Claim
from jaxscale.analysis._exponents import crossing
from jaxscale.analysis._plain import plain
from jaxscale.emergence._transformer import ParityTransformer
from jaxscale.papers._runs import system_of, with_captions
from jaxscale.papers.emergence._claims import PAPER
from jaxscale.papers.emergence._figures import skill_curves
from jaxscale.papers.emergence._scores import EMERGED
from jaxscale.report import _figures as draw
from jaxscale.report._study import Conclusion

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

MARGIN = 0.3
REASON = "a third of alpha: exponents that ignore the frequencies, or square them, are outside"
FIXED = "before the run; trial runs had other keys, the last of them this size and 4 seeds"


def transformer_results(name: str, runs: "xarray.Dataset", captions: dict[str, str]) -> Conclusion:
    """Claim, figure and score of runs of a `ParityTransformer`, one after the other."""
    system = system_of(runs, ParityTransformer)
    strength = runs["skill_strength"].where(runs["status"] == Status.ok)
    strength = strength / float(system.target_scale)
    half = crossing(strength, "step", EMERGED).transpose("seed", "skill")
    claim = order_claim(name.replace("_", "-"), np.asarray(half), float(system.skill_exponent))
    figures = with_captions(
        {name: transformer_figure(strength, half, claim.predicted)},
        {name: captions["transformer"]},
        n_seeds=runs.sizes["seed"],
    )
    return Conclusion(
        [claim], figures, {name: {"half_point_per_seed": plain(np.asarray(half))}}, []
    )


def order_claim(name: str, half: np.ndarray, skill_exponent: float) -> Claim:
    """Exponent of half times over ranks in every seed; no estimate if a seed misses a skill."""
    rank = np.log(np.arange(1, half.shape[1] + 1))
    complete = bool(np.isfinite(half).all())
    slopes = [np.polyfit(rank, np.log(row), 1)[0] if complete else np.nan for row in half]
    return Claim.from_seeds(
        f"{name}-order",
        "the time at which skill $k$ of a transformer emerges grows as $k^(alpha + 1)$",
        f"{PAPER}, figure 4",
        predicted=skill_exponent + 1,
        values=np.asarray(slopes),
        margin=MARGIN,
        reason=REASON,
        margin_fixed=FIXED,
    )


def transformer_figure(
    strength: "xarray.DataArray", half: "xarray.DataArray", exponent: float
) -> "matplotlib.figure.Figure":
    """Skill strengths over steps; half times over ranks, dashed a power law through their mean."""
    figure, (axes,) = draw.new_figure(2, size=(4.6, 3.4))
    skill_curves(axes[0], strength, "step", np.asarray(half))
    rank = np.asarray(half["skill"], float)
    for seed in half["seed"]:
        axes[1].plot(rank, half.sel(seed=seed), "o", ms=3, mew=0, color=draw.OKABE_ITO[0])
    start = np.exp(np.mean(np.log(half) - exponent * np.log(rank)))
    law = float(start) * rank**exponent
    draw.dashed(axes[1], rank, law, draw.OKABE_ITO[0], "half times")
    draw.finish(axes[1], ("skill k", "step at which R = S / 2"))
    drawn = {"transformer": {"lw": 1.4}, "one seed": draw.POINTS}
    draw.legend(figure, drawn | {"proportional to k^(α+1)": draw.DASHED})
    return figure
