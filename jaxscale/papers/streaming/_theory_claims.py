"""Claims on theory alone, each with its margin: what no simulation reaches."""

import numpy as np

from jaxscale.analysis._claim import Claim
from jaxscale.papers._runs import BEFORE
from jaxscale.papers.streaming import _theory_scores as measure
from jaxscale.papers.streaming._claims import DERIVED, PHASES_PAPER
from jaxscale.streaming import theory

SLOW = ("IVb",)  # phases whose exponents no compute that is computed reaches


def _exact(name: str, statement: str, source: str, predicted: float, value: float,
           margin: float, reason: str, *, out_of_range: bool = False) -> Claim:  # fmt: skip
    """Claim on a number without scatter."""
    return Claim(
        id=name,
        statement=statement,
        source=source,
        predicted=predicted,
        measured=value,
        interval=(value, value),
        margin=margin,
        reason=reason,
        n_seeds=None,
        out_of_range=out_of_range,
        margin_fixed=BEFORE,
    )


def phase_claims() -> list[Claim]:
    """Exponents of the seven phases against slopes of the equivalent at large compute."""
    judged = []
    for phase, slopes in measure.measured_exponents().items():
        alpha, beta = measure.PHASES[phase]
        best = theory.optimal_exponents(input_exponent=alpha, target_exponent=beta)
        for i, words in enumerate(("best number of features grows", "lowest loss falls")):
            sign = "" if i == 0 else "-"
            judged.append(
                _exact(
                    f"phase-{phase}-{best._fields[i]}",
                    f"in phase {phase} the {words} as $C^{sign}{float(best[i]):.3f}$ "
                    f"($alpha = {alpha:g}, beta = {beta:g}$, $C = 10^12$ to $10^14$)",
                    PHASES_PAPER,
                    float(best[i]),
                    slopes[i],
                    0.01,
                    "a tenth of the distance between neighbouring phases",
                    out_of_range=phase in SLOW,
                )
            )
    return judged


def noise_claims() -> list[Claim]:
    """Noise dominates in III and not in II: what doubling the batch does at one rate."""
    return [
        _exact(
            f"noise-{phase}",
            f"in phase {phase} noise {words}: twice the batch, loss above the limit "
            "($d = 10^5, t = 1000$, ratio)",
            DERIVED,
            predicted,
            measure.noise_ratio(phase, 1e5, 1000.0),
            margin,
            "a pure noise term halves, a pure bias stays",
        )
        for phase, words, predicted, margin in (
            ("III", "dominates", 0.5, 0.1),
            ("II", "does not dominate", 1.0, 0.15),
        )
    ]


def momentum_claims() -> list[Claim]:
    """A fixed momentum changes no exponent."""
    margins = {"Ia": 0.1, "II": 0.1, "III": 0.05}
    return [
        _exact(
            f"momentum-{phase}",
            f"heavy ball at $eta (1 - mu)$ is SGD at $eta$ after 4,000 steps in phase {phase} "
            "($mu = 0.9, d = 1000$, ratio of losses)",
            DERIVED,
            1.0,
            ratio,
            margins[phase],
            "its noise is a few per cent smaller",
        )
        for phase, ratio in measure.momentum_ratios().items()
    ]


def batch_claims() -> list[Claim]:
    """The largest stable rate stays near the lower end of its bracket, at any batch."""
    judged = []
    for alpha in (0.8, 1.2):
        limit, low, _ = measure.batch_limits(alpha)
        ratio = float(np.max(limit / low))
        judged.append(
            _exact(
                f"batch-{alpha:g}",
                f"the largest stable rate is $2 B / (tr + (B + 1) lambda)$ up to the critical "
                f"batch {measure.critical_batch(alpha):.1f} and beyond (largest ratio over "
                f"batches 1 to 256, $alpha = {alpha:g}$)",
                DERIVED,
                1.0,
                ratio,
                0.2,
                "how far the rule of thumb, a rigorous lower bound, may be off",
            )
        )
    return judged
