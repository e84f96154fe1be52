"""Claims on simulated streaming regression, each with its margin."""

import re
from typing import TYPE_CHECKING

import numpy as np

from jaxscale._status import Status
from jaxscale.analysis._claim import Claim
from jaxscale.analysis._frontier import Frontier
from jaxscale.papers._runs import BEFORE, Point, in_float64, points
from jaxscale.papers.streaming import _scores as measure
from jaxscale.papers.streaming._scores import EXPONENTS
from jaxscale.streaming import theory

if TYPE_CHECKING:
    import xarray

DERIVED = "derived here, for the model of Paquette, Paquette, Xiao and Pennington, arXiv 2405.15074"
PHASES_PAPER = "Paquette, Paquette, Xiao and Pennington 2024, arXiv 2405.15074"
DANA_PAPER = "Ferbach et al. 2025, arXiv 2505.16098"
SINGLE_RUNS = 0.05
SCATTER = 2.2  # largest relative scatter of exact curves over W, times the root of d


def name_of(at: Point) -> str:
    """`0.8-1.2` of both exponents."""
    return "-".join(f"{at[n]:g}" for n in EXPONENTS)


def in_words(at: Point) -> str:
    """`alpha = 0.8, beta = 1.2`, a formula."""
    return f"alpha = {at['input_exponent']:g}, beta = {at['target_exponent']:g}"


def _exact_claim(name: str, statement: str, runs: "xarray.Dataset", reason: str) -> Claim:
    """Claim that runs have their exact curves for mean."""
    return Claim.from_seeds(
        f"exact-{name}",
        statement,
        DERIVED,
        predicted=1.0,
        values=measure.ratio_to_exact(runs),
        margin=SINGLE_RUNS,
        reason=reason,
        margin_fixed=BEFORE,
    )


def curve_claims(runs: "xarray.Dataset", expected: "xarray.DataArray") -> list[Claim]:
    """Runs against the exact curves of their features, and these against the mean over features."""
    judged = []
    size = int(runs["n_features"].max())
    n_seeds = runs.sizes["seed"]
    spread = 2.0 * SCATTER / np.sqrt(size * n_seeds)
    for at in points(runs, *EXPONENTS):
        one = measure.at_point(runs, at).sel(n_features=size, drop=True)
        curve = expected.sel(at, drop=True).sel(n_features=size, drop=True)
        judged += [
            _exact_claim(
                name_of(at),
                f"the mean loss of SGD is the exact curve of its features from step 100 on "
                f"(ratio, ${in_words(at)}, d = {size}$)",
                one,
                "what 64 seeds resolve; a curve without the noise term is 13 % off",
            ),
            Claim.from_seeds(
                f"equivalent-{name_of(at)}",
                f"the mean over features is the deterministic equivalent from step 100 on "
                f"(ratio, ${in_words(at)}, d = {size}$)",
                DERIVED,
                predicted=1.0,
                values=measure.ratio_to_equivalent(one, curve),
                margin=2.0 / size + spread,
                reason="2/d, the known bias, and two standard errors of the scatter over features",
                margin_fixed=BEFORE,
            ),
        ]
    return judged


def optimizer_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Every linear optimizer against its exact curves."""
    return [
        _exact_claim(
            "-".join(re.findall(r"[a-z0-9]+", name.lower())),
            f"the mean loss of {name} is its exact curve from step 100 on (ratio)",
            runs.sel(optimizer=name, drop=True),
            "as for SGD",
        )
        for name in runs["optimizer"].values.tolist()
    ]


def schedule_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Decay of the learning rate helps where noise limits the loss and hurts where bias does."""
    constant, linear, warm = runs["schedule"].values.tolist()
    judged = []
    for at, predicted, word in (
        ({"input_exponent": 0.8, "target_exponent": 1.2}, 0.5, "helps in phase III"),
        ({"input_exponent": 1.2, "target_exponent": 0.8}, 1.5, "hurts in phase II"),
    ):
        excess = measure.excess(measure.at_point(runs, at))
        ratio = excess.sel(schedule=linear) / excess.sel(schedule=constant)
        judged.append(
            Claim.from_seeds(
                f"decay-{name_of(at)}",
                f"decay of the learning rate {word}: loss above that of no weights' reach, with "
                f"over without (${in_words(at)}$, no label noise)",
                DERIVED,
                predicted=predicted,
                values=np.asarray(ratio),
                margin=0.5,
                reason="the claim is on which side of 1 the ratio lies",
                margin_fixed=BEFORE,
            )
        )
    at = {"input_exponent": 0.8, "target_exponent": 1.2}
    one = measure.at_point(runs, at).sel(schedule=warm, drop=True)
    judged.append(
        _exact_claim(
            "schedule",
            f"with warm-up and linear decay the mean loss of SGD is the exact curve from step 100 "
            f"on (ratio, ${in_words(at)}$)",
            one,
            "as at a constant rate",
        )
    )
    return judged


def size_claims(
    runs: "xarray.Dataset",
    frontiers: dict[tuple[float, float], tuple[Frontier, Frontier]],
) -> list[Claim]:
    """Scatter over features, and slopes of the frontier against those of the equivalent."""
    at = {"input_exponent": 1.2, "target_exponent": 0.8}
    judged = [
        Claim.from_seeds(
            "scatter",
            f"runs differ by their features as $d^-0.5$ (exponent of the relative scatter, "
            f"${in_words(at)}$)",
            DERIVED,
            predicted=-0.5,
            values=measure.scatter_slope(measure.at_point(runs, at)),
            margin=0.1,
            reason="a fifth of the exponent",
            margin_fixed=BEFORE,
        )
    ]
    for pair, (measured, expected) in frontiers.items():
        at = dict(zip(EXPONENTS, pair, strict=True))
        low, high = measured.compute[0], measured.compute[-1]
        for quantity, words in (("loss", "lowest loss"), ("n_features", "best size")):
            judged.append(
                Claim.from_seeds(
                    f"frontier-{quantity}-{name_of(at)}",
                    f"the {words} at fixed compute has the exponent of the equivalent on "
                    f"$C = {low:.0e}$ to {high:.0e} (${in_words(at)}$)",
                    DERIVED,
                    predicted=expected.exponent[quantity].value,
                    values=measured.exponent[quantity].per_seed,
                    margin=0.03,
                    reason="small against the distance of neighbouring phases",
                    margin_fixed=BEFORE,
                )
            )
    return judged


def stability_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Medians of single runs against their mean, near the limit of stability and far from it."""
    judged = []
    system = measure.system_of(runs)
    limit = float(
        in_float64(
            theory.mean_max_learning_rate,
            float(system.n_features),
            input_exponent=float(system.input_exponent),
        )
    )
    for rate, predicted, margin in ((0.1, 1.0, 0.1), (0.7, 0.5, 0.4)):
        rates = np.asarray(runs["learning_rate"], float)
        chosen = float(rates[np.argmin(np.abs(rates - rate * limit))])
        judged.append(
            Claim.from_seeds(
                f"median-{rate:g}",
                f"the median run ends {'at' if rate < 0.5 else 'below 0.9 of'} its mean at "
                f"${chosen / limit:.2f}$ of the largest rate at which the mean is finite",
                DERIVED,
                predicted=predicted,
                values=measure.median_ratio(runs.sel(learning_rate=chosen, drop=True)),
                margin=margin,
                reason="above 0.9 or below it",
                margin_fixed=BEFORE,
            )
        )
    return judged


def dana_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Share of diverged runs by the rate at which the gain of DANA falls."""
    alpha = float(measure.system_of(runs).input_exponent)
    judged = []
    for decay in np.asarray(runs["optimizer.decay"], float).tolist():
        bad = np.asarray(runs["status"].sel({"optimizer.decay": decay}) != Status.ok, float)
        stable = decay >= 1.0 / (2.0 * alpha) - 1e-9
        judged.append(
            Claim.from_seeds(
                f"dana-{decay:.2g}",
                f"DANA with a gain that falls as $t^-{decay:.2g}$ "
                f"{'is stable' if stable else 'diverges'} (share of runs that diverge in 10,000 "
                f"steps with 256 features; "
                f"$1/(2 alpha) = {1 / (2 * alpha):.2g}$)",
                DANA_PAPER,
                predicted=0.0 if stable else 1.0,
                values=bad,
                margin=0.1,
                reason="all runs or none",
                margin_fixed=BEFORE,
            )
        )
    return judged
