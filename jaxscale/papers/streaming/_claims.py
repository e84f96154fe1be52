"""Claims on streaming regression: of simulations, of draws, of theory; their texts are in TOML."""

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._status import Status
from jaxscale.analysis._claim import Claim
from jaxscale.papers._runs import BEFORE, Point, in_float64, points
from jaxscale.papers.streaming import _draws as drawn, _scores as measure
from jaxscale.papers.streaming._draws import DRAWS, GROUPS, LARGEST, PHASES, Draws
from jaxscale.papers.streaming._scores import EXPONENTS, Frontiers
from jaxscale.streaming import theory

if TYPE_CHECKING:
    import xarray

TEXTS = tomllib.loads(Path(__file__).with_name("claims.toml").read_text("utf-8"))
# relative scatter of exact curves over W, times the root of d, of an independent reference
SCATTER = {"Ia": 1.4, "II": 2.2, "III": 1.7, "IVa": 1.3}
SLOW = ("IVb",)  # phases whose exponents no compute that is computed reaches
DECAYS = {"III": "helps", "IVa": "helps", "II": "hurts"}
# at 100,000 features and twice the batch; at 512 and two or four times the batch
NOISES = {
    "III": ("dominates", (0.5, 0.1), (0.82, 0.75)),
    "II": ("does not dominate", (1.0, 0.15), (0.91, 0.87)),
}


def _claim(
    kind: str,
    name: str,
    values: Any,
    predicted: float | None = None,
    margin: float | None = None,
    *,
    out_of_range: bool = False,
    **words: Any,
) -> Claim:
    """Claim on one number per seed or group of draws, or on a number without scatter."""
    text = TEXTS[kind]
    if words.get("phase"):
        words["data"] = in_words(drawn.exponents(words["phase"]))
    return Claim.from_seeds(
        f"{kind.partition('_')[0]}-{name}",
        text["statement"].format(**words),
        TEXTS["sources"][text.get("source", "derived")],
        predicted=text["predicted"] if predicted is None else predicted,
        values=values,
        margin=text["margin"] if margin is None else margin,
        reason=text["reason"],
        out_of_range=out_of_range,
        margin_fixed=text.get("margin_fixed", BEFORE),
    )


def in_words(at: Point) -> str:
    """`alpha = 0.8, beta = 1.2`, a formula."""
    return f"alpha = {at['input_exponent']:g}, beta = {at['target_exponent']:g}"


def exact_claims(
    curves: "xarray.Dataset", optimizers: "xarray.Dataset", schedules: "xarray.Dataset"
) -> list[Claim]:
    """Runs against the exact curves of their features, whatever data, optimizer and schedule."""

    def claim(name: str, run: str, runs: "xarray.Dataset", at: str = "") -> Claim:
        return _claim("exact", name, measure.ratio_to_exact(runs), run=run, at=at)

    d = measure.system_of(curves).n_features
    judged = [
        claim(
            "-".join(f"{at[n]:g}" for n in EXPONENTS),
            "SGD",
            measure.at_point(curves, at),
            f", ${in_words(at)}, d = {d}$",
        )
        for at in points(curves, *EXPONENTS)
    ]
    for name in optimizers["optimizer"].values.tolist():
        short = "-".join(re.findall(r"[a-z0-9]+", name.lower()))
        judged.append(claim(short, name, optimizers.sel(optimizer=name, drop=True)))
    at = {n: float(getattr(measure.system_of(schedules), n)) for n in EXPONENTS}
    text = "SGD with warm-up and linear decay"
    return [*judged, claim("schedule", text, schedules, f", ${in_words(at)}$")]


def feature_claims(draws: Draws) -> list[Claim]:
    """Means over features against the equivalent, and how single features scatter around them.

    At 512 features 2/d is below the standard error of any number of draws that can be afforded.
    """
    judged = []
    for phase, scatter in SCATTER.items():
        for size in drawn.COMPARED:
            n = DRAWS[size]
            ratio = measure.ratio_to_equivalent(draws, phase, size)
            margin = 2.0 / size + 2.0 * scatter / np.sqrt(size * n)
            at = {"phase": phase, "size": size, "draws": n}
            judged.append(_claim("equivalent", f"{phase}-{size}", ratio, margin=margin, **at))
        slope = measure.scatter_slope(draws, phase)
        low, high = measure.SCATTERED
        judged.append(_claim("scatter", phase, slope, phase=phase, low=low, high=high))
    return judged


def frontier_claims(frontiers: Frontiers) -> list[Claim]:
    """Slopes of the frontier of exact losses against those of the equivalent."""
    return [
        _claim(
            "frontier",
            f"{name}-{phase}",
            measured.exponent[name].per_seed,
            expected.exponent[name].value,
            phase=phase,
            quantity=words,
            low=measured.compute[0],
            high=measured.compute[-1],
            groups=GROUPS,
        )
        for phase, (measured, expected) in frontiers.items()
        for name, words in (("loss", "lowest loss"), ("n_features", "best size"))
    ]


def schedule_claims(excess: "xarray.DataArray") -> list[Claim]:
    """Decay of the learning rate helps where noise limits the loss and hurts where bias does."""
    judged = []
    for phase, word in DECAYS.items():
        predicted = measure.decay_ratio(phase)
        constant, linear, _ = excess.sel(phase=phase)
        ratio = measure.ratio_of_means(linear, constant)
        judged.append(_claim("decay", phase, ratio, predicted, phase=phase, word=word))
    return judged


def stability_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Medians of single runs against their mean, near the limit of stability and far from it."""
    judged = []
    system = measure.system_of(runs)
    at = {"input_exponent": float(system.input_exponent)}
    limit = in_float64(
        theory.mean_max_learning_rate, float(system.n_features), batch_size=measure.BATCHES, **at
    )[0]
    rates = np.asarray(runs["learning_rate"], float)
    for share, predicted, word in ((0.1, 1.0, "at"), (0.7, 0.78, "below 0.9 of")):
        chosen = float(rates[np.argmin(np.abs(rates - share * limit))])
        ratio = measure.median_ratio(runs.sel(learning_rate=chosen, drop=True))
        text = {"word": word, "share": float(chosen / limit)}
        judged.append(_claim("median", f"{share:g}", ratio, predicted, **text))
    return judged


def dana_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Share of diverged runs by the rate at which the gain of DANA falls."""
    system, judged = measure.system_of(runs), []
    threshold = 1.0 / (2.0 * float(system.input_exponent))
    for decay in np.asarray(runs["optimizer.decay"], float).tolist():
        bad = np.asarray(runs["status"].sel({"optimizer.decay": decay}) != Status.ok, float)
        stable = decay >= threshold - 1e-9
        text = {
            "decay": decay,
            "steps": system.n_steps,
            "size": system.n_features,
            "word": "is stable" if stable else "diverges",
            "threshold": threshold,
            "more": TEXTS["dana"]["slow"] if decay == 0.4 else "",
        }
        judged.append(_claim("dana", f"{decay:.2g}", bad, 0.0 if stable else 1.0, **text))
    return judged


def phase_claims() -> list[Claim]:
    """Exponents of the seven phases against slopes of the equivalent at large compute."""
    judged = []
    for phase, slopes in measure.measured_exponents().items():
        best = theory.optimal_exponents(**drawn.exponents(phase))
        for i, words in enumerate(("best number of features grows", "lowest loss falls")):
            exponent = float(best[i])
            text = {"phase": phase, "quantity": words, "exponent": -exponent if i else exponent}
            name, slow = f"{phase}-{best._fields[i]}", phase in SLOW
            judged.append(_claim("phase", name, slopes[i], exponent, out_of_range=slow, **text))
    return judged


def noise_claims(draws: Draws) -> list[Claim]:
    """Noise dominates in III and not in II: what a larger batch does at one rate."""
    judged = []
    for phase, (word, large, ratios) in NOISES.items():
        text = {"phase": phase, "word": word, "draws": DRAWS[LARGEST]}
        judged.append(_claim("noise", phase, measure.noise_ratio(phase, 1e5), *large, **text))
        one, *more = drawn.batch_excess(draws, phase)
        for excess, ratio in zip(more, ratios, strict=True):
            name, batch = f"{phase}-512-{float(excess.batch_size):g}", float(excess.batch_size)
            values = measure.ratio_of_means(excess, one)
            judged.append(_claim("noise_512", name, values, ratio, batch=batch, **text))
    return judged


def momentum_claims() -> list[Claim]:
    """A fixed momentum changes no exponent."""
    return [
        _claim("momentum", phase, measure.momentum_ratio(phase), margin=margin, phase=phase)
        for phase, margin in (("Ia", 0.1), ("II", 0.1), ("III", 0.05))
    ]


def batch_claims(draws: Draws) -> list[Claim]:
    """The largest stable rate is inside its bracket at any batch, and near the lower end."""
    judged = []
    for phase in ("III", "II"):
        alpha = PHASES[phase][0]
        limit, low, high = measure.rate_limits(draws, phase)
        expected, at_edge, _ = measure.mean_rate_limits(phase)
        inside = (limit >= low * (1 - 1e-9)) & (limit <= high * (1 + 1e-9))
        ratio, name = (limit / low).max(axis=1), f"{alpha:g}"
        critical, at_edge = measure.critical_batch(alpha), np.max(expected / at_edge)
        text = {"alpha": alpha, "critical": critical, "at_edge": at_edge, "draws": limit.shape[0]}
        judged += [
            _claim("batch", name, ratio, **text),
            _claim("bracket", name, inside.mean(axis=1), alpha=alpha),
        ]
    return judged
