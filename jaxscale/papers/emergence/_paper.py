"""The published calibrations and predictions of Nam et al. 2024, judged as their authors did.

Curves are means over runs, intervals the jackknife's over seeds. The grid holds the published
numbers: its `predict` is the authors' prediction, with nothing fitted.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxscale._status import Status
from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._claim import Claim
from jaxscale.analysis._jackknife import pseudo_values
from jaxscale.analysis._plain import plain
from jaxscale.emergence._system import ParityNetwork
from jaxscale.papers.emergence._claims import PAPER
from jaxscale.papers.emergence._scores import EMERGED, EmergenceScore, score_emergence
from jaxscale.paths import replace
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._predict import predict

if TYPE_CHECKING:
    import xarray

SETTINGS = ("_paper", "_reduced")  # how the names of presets with the authors' settings end
STARTS = ("skill_exponent", "init_scale")  # axes of the authors' job list
INITIAL_SHARE = 1 / 3.6  # the authors' initial strength, in units of the start's variance
FIXED = "before the runs at this size; trial runs were smaller"


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """The one number that the authors fit in a regime, as they print it, and how close is equal."""

    symbol: str
    printed: Callable[[np.ndarray], np.ndarray]
    margin: tuple[float, str]
    half_margin: Callable[[float], float]
    half_reason: str
    rms_margin: tuple[float, str]


A_QUARTER = (0.25, "a quarter of an e-fold, as at the quick scale")
CALIBRATED = {
    "time": Calibrated(
        symbol="$1/B^2$",
        printed=lambda value: 1 / value,
        margin=(3.0, "14 %: trial runs of other widths and batches have 20.6 to 23.1"),
        half_margin=lambda half: 0.15 * half,
        half_reason="a calibration of $22 ± 3$ moves half times by 14 %",
        rms_margin=(0.15, "as much as the margin of the calibration moves half times"),
    ),
    "data": Calibrated(
        symbol="$D_c$",
        printed=lambda value: value,
        margin=(160.0, "20 %: it is printed with one digit, and sets are 500 apart"),
        half_margin=lambda half: 0.25 * half,
        half_reason="20 % of $D_c$, and sets that are 20 % apart",
        rms_margin=A_QUARTER,
    ),
    "width": Calibrated(
        symbol="$N_c$",
        printed=lambda value: value,
        margin=(1.0, "one unit: the published number is whole"),
        half_margin=lambda half: 2.0,
        half_reason="half the units of a skill: beyond them it is the turn of the next one",
        rms_margin=A_QUARTER,
    ),
}


@dataclasses.dataclass(frozen=True)
class PaperScore:
    """Runs with the authors' settings next to the published prediction.

    - `runs`: scores of the mean curve, then of the means without each seed; what it fits and
      measures has these `1 + s` rows instead of seeds.
    - `strength`: R / S of every run, `expected`: as the authors predict it.
    - `published`: predicted half points, shape `(k,)`; `reached`: which of them the grid reaches.
    - `n_failed`: seeds with a run that ended badly; while there are any, `per_seed` is NaN.
    """

    system: ParityNetwork
    runs: EmergenceScore
    strength: "xarray.DataArray"
    expected: "xarray.DataArray"
    published: np.ndarray
    n_failed: int

    @property
    def regime(self) -> str:
        """`"time"`, `"data"` or `"width"`."""
        return self.system.described_regime.name

    @property
    def reached(self) -> np.ndarray:
        return self.published < float(self.strength[self.runs.dim][-1])

    @property
    def constant(self) -> np.ndarray:
        """The calibrated number of every row, as the authors print it."""
        return CALIBRATED[self.regime].printed(self.runs.constant)

    @property
    def printed(self) -> float:
        """The published number."""
        value = getattr(self.system, self.runs.parameter)
        return float(CALIBRATED[self.regime].printed(np.asarray(value, np.float64)))

    def rms(self, predicted: np.ndarray) -> np.ndarray:
        """Root mean square of `ln(measured / predicted)` over the later skills, of every row."""
        later = self.reached & (np.arange(len(self.published)) > 0)
        delta = np.log(self.runs.measured / predicted)[:, later]
        return np.sqrt(np.mean(delta**2, axis=1)) if later.any() else np.full(len(delta), np.nan)

    def per_seed(self, rows: np.ndarray) -> np.ndarray:
        """The jackknife's pseudo-values of the seeds, from an estimate of every row."""
        complete = np.isfinite(rows).all() and not self.n_failed
        return pseudo_values(rows) if complete else np.full(len(rows) - 1, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: numbers of the mean curve."""
        half = self.runs.measured[0]
        return {
            "calibration": plain(self.constant[0]),
            "half_point": plain(half),
            "published": plain(self.published),
            "delta": plain(np.log(half / self.published)),
            "n_failed": self.n_failed,
        }


def paper_score(grid: Grid, runs: "xarray.Dataset") -> PaperScore:
    """Score the mean curve over runs, and the means without each of them."""
    import xarray

    good = runs["status"].isin([Status.ok, Status.not_converged]).all(list(grid.axes))
    strength = runs["skill_strength"].isel(seed=np.flatnonzero(good))
    n, system = strength.sizes["seed"], grid.system
    rows = np.arange(n + 1)
    mean = strength.mean("seed")
    others = (n * mean - strength) / max(n - 1, 1)
    means = xarray.concat([mean.expand_dims(seed=[0]), others.assign_coords(seed=rows[1:])], "seed")
    status = runs["status"].isel(seed=0 * rows).assign_coords(seed=rows)
    curves = {"skill_strength": means.transpose(*strength.dims), "status": 0 * status}
    score = score_emergence(grid.replace(seeds=n + 1), xarray.Dataset(curves))
    assert isinstance(system, ParityNetwork)  # others have been refused
    with jax.enable_x64(True):
        published = np.asarray(system.described_regime.half_point(system))
    at_end = {} if score.dim == "step" else {"step": -1}
    expected = predict(grid.replace(seeds=1))["skill_strength"]
    measured, expected = (
        (x / float(system.target_scale)).isel(at_end) for x in (strength, expected)
    )
    n_failed = int(np.sum(~np.asarray(good)))
    return PaperScore(system, score, measured, expected, published, n_failed)


def paper_claims(score: PaperScore, label: str) -> list[Claim]:
    """The published number, half points and spacing; `label` begins the ids."""
    kind, regime, runs = CALIBRATED[score.regime], score.regime, score.runs
    within = np.flatnonzero(score.reached)
    claims = []

    def add(
        name: str, statement: str, margin: tuple[float, str], reached: Any = True, **values: Any
    ) -> None:
        what = (f"{label}-{name}", statement, f"{PAPER}, section 5 and its public code")
        said = {"margin": margin[0], "reason": margin[1], "out_of_range": not reached}
        claims.append(Claim.from_seeds(*what, margin_fixed=FIXED, **said, **values))

    if regime != "width":  # of narrow networks a single run may miss a skill
        last = score.strength.isel({runs.dim: -1, "skill": within})
        text = f"every skill within reach emerges with {regime}, in every run: share of skills"
        share = np.append((last > EMERGED).mean("skill"), np.zeros(score.n_failed))
        add("all", text, (0.02, "no run may miss a single skill"), predicted=1.0, values=share)
    text = f"{kind.symbol}, fitted on skill 1, is the published number"
    fitted = score.per_seed(score.constant)
    add("calibration", text, kind.margin, predicted=score.printed, values=fitted)
    for k, half in enumerate(score.published.tolist()):
        text = f"skill {k + 1} reaches half its strength where the authors predict, nothing fitted"
        margin, measured = kind.half_margin(half), score.per_seed(runs.measured[:, k])
        because = (margin, kind.half_reason)
        add(f"half-{k + 1}", text, because, score.reached[k], predicted=half, values=measured)
    if len(score.published) == 1:
        return claims
    for name, predicted, how in (
        ("published", score.published[None], "with nothing fitted"),
        ("fitted", runs.predicted, "with one number fitted on skill 1"),
    ):
        text = f"the later skills emerge where the formula says, {how}: rms $delta_k = 0$"
        rms = score.per_seed(score.rms(predicted))
        add(f"rms-{name}", text, kind.rms_margin, len(within) > 1, predicted=0.0, values=rms)
    if regime != "width":
        exponent = float(score.system.skill_exponent) + 1
        half = np.log(runs.measured[:, within])
        complete = len(within) > 1 and np.isfinite(half).all()
        slopes = np.polyfit(np.log(within + 1), half.T, 1)[0] if complete else half[:, 0] + np.nan
        text = f"the {regime} at which skill $k$ emerges grows as $k^(alpha + 1)$"
        margin = (0.1 * exponent, "a tenth of the exponent, as at the quick scale")
        add(
            "order",
            text,
            margin,
            len(within) > 1,
            predicted=exponent,
            values=score.per_seed(slopes),
        )
    return claims


def half_point_table(name: str, score: PaperScore) -> Table:
    """Half points of the mean curve, and by formula with the authors' number and a fitted one."""
    half, fitted, published = score.runs.measured[0], score.runs.predicted[0], score.published
    symbol = CALIBRATED[score.regime].symbol[1:-1]  # without the marks of a formula
    units = ".1f" if score.regime == "width" else ",.0f"
    rows = {
        "measured": (half, units),
        f"formula, {symbol} = {score.printed:.3g}": (published, units),
        "δ = ln(measured / formula)": (np.log(half / published), "+.3f"),
        f"formula, {symbol} = {score.constant[0]:.3g} from skill 1": (fitted, units),
        "δ of it": (np.log(half / fitted), "+.3f"),
    }
    return Table(
        "Half points",
        f"{name}: where the mean curve of a skill reaches half of its strength.",
        ("", *(f"skill {k + 1}" for k in range(len(half)))),
        [
            (text, *(number(float(v), form) for v in values))
            for text, (values, form) in rows.items()
        ],
    )


def start_scores(grid: Grid, runs: "xarray.Dataset") -> Iterator[tuple[str, PaperScore]]:
    """Label and score of every point of the job list, predicted from `sigma^2 / 3.6`."""
    points = itertools.product(*(grid.axes[name] for name in STARTS))
    for alpha, sigma in points:
        values = dict(zip(STARTS, (alpha, sigma), strict=True))
        system = grid.system
        for name, value in (values | {"initial_strength": INITIAL_SHARE * sigma**2}).items():
            system = replace(system, name, value)
        at = runs.sel(values, method="nearest").drop_vars(STARTS)
        yield f"{alpha:g}, {sigma:g}", paper_score(Grid(system, {}, len(grid.seeds)), at)


def start_table(scores: dict[str, PaperScore]) -> Table:
    """The calibrated number at every exponent and scale of the start."""
    rows = []
    for label, score in scores.items():
        values = score.per_seed(score.constant)
        error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
        rms = (
            score.rms(predicted)[0] for predicted in (score.published[None], score.runs.predicted)
        )
        numbers = (number(float(values.mean()), ".1f"), number(error, ".1f"))
        reached = str(int(score.reached.sum()))
        rows.append((label, *numbers, reached, *(number(float(v), ".3f") for v in rms)))
    return Table(
        "Skill exponents and scales of the start",
        "1/B² fitted on skill 1 of the mean curve, with its standard error over seeds; rms δ of "
        "the later skills within reach, with 1/B² = 22 and with the fitted one.",
        ("alpha, sigma", "1/B²", "±", "skills", "rms δ, nothing fitted", "rms δ, fitted"),
        tuple(rows),
    )
