"""What `jaxscale reproduce superposition` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._intervals import mean
from jaxscale.papers._runs import study_text, with_captions
from jaxscale.papers.superposition import _claims as claims, _figures as figures, _scores as measure
from jaxscale.report._study import Conclusion, Study, statuses

if TYPE_CHECKING:
    import xarray

PRESETS = (
    "superposition_sequential",
    "superposition_bottleneck",
    "superposition_interference",
    "superposition_small",
    "superposition_crowding",
)
SEQUENTIAL_WINDOW = (10.0, 300.0)
WINDOW = (10.0, 100.0)
CAPTIONS, TEXT = study_text("superposition")
CAVEAT = CAPTIONS["caveat"]


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims and figures of results by preset name; those of the paper's scale end in `_paper`."""
    results = {name.removesuffix("_paper"): data for name, data in runs.items()}
    sequential, crowded = results["superposition_sequential"], results["superposition_interference"]
    small = results["superposition_small"]
    distance = measure.exact_bottleneck(results["superposition_bottleneck"])
    fixed = measure.measure_slopes(crowded, WINDOW)
    ruled = [_in_predicted_window(crowded, one) for one in fixed]
    opens = 5.0 / float(small["step_size"].min())  # biases share the rate of the matrix
    window = (opens, float(small["step"][-1]))
    started = measure.measure_slopes(small, window, "latent_size")
    judged = [
        *claims.sequential_claims(sequential, SEQUENTIAL_WINDOW),
        *claims.bottleneck_claims(distance),
        *claims.interference_claims(crowded, ruled, fixed),
        *claims.small_start_claims(small, started),
    ]
    if (adaptive := results.get("superposition_adam")) is not None:
        end = float(adaptive["step"][-1])
        last = measure.measure_slopes(adaptive, (end / 10, end), "latent_size")
        judged += claims.spread_claims(last, "adam", "with Adam, over the last decade,")
    judged += claims.tail_claims()

    drawings = {
        "sequential": figures.sequential_figure(sequential),
        "interference": figures.interference_figure(crowded),
        "small_start": figures.small_start_figure(small),
        "tails": figures.tails_figure(),
        "map": figures.map_figure(fixed, crowded, results["superposition_crowding"], WINDOW),
        "order": figures.order_figure(small),
    }
    drawn = with_captions(drawings, CAPTIONS, caveat=CAVEAT, first=WINDOW[0], last=WINDOW[1])
    scores: dict[str, Any] = {
        "interference": [_numbers(one, ruled[i]) for i, one in enumerate(fixed)],
        "spread": {
            "superposition": measure.spread(fixed, "loss").tolist(),
            "control": measure.spread(fixed, "control").tolist(),
        },
        "small_start": [_numbers(one, one) for one in started],
        "bottleneck_distance": float(distance.max()),
        "runs_by_status": {name: statuses(d) for name, d in runs.items()},
    }
    tables = [slope_table(crowded, fixed, ruled), small_table(small, started), order_table(small)]
    return Conclusion(judged, drawn, scores, tables)


def _in_predicted_window(runs: "xarray.Dataset", one: measure.Slopes) -> measure.Slopes:
    """The same point on the window that theory predicts; NaN where that is empty."""
    window = measure.predicted_window(runs, one.at)
    steps = np.asarray(runs["step"], float)
    if np.sum((steps >= window[0]) & (steps <= window[1])) < 3:
        none = np.full_like(one.loss, np.nan)
        return measure.Slopes(one.at, window, none, none)
    return measure.slopes_at(runs, one.at, window)


def _numbers(one: measure.Slopes, ruled: measure.Slopes) -> dict[str, Any]:
    values = {"slope": one.loss, "control": one.control, "slope_in_predicted_window": ruled.loss}
    plain = {n: [float(x) if np.isfinite(x) else None for x in v] for n, v in values.items()}
    return {**one.at, "window": one.window, "predicted_window": ruled.window, **plain}


def _mean(values: np.ndarray, form: str = ".2f") -> str:
    return number(mean(values[~np.isnan(values)]), form)  # a dash for an infinite one


def slope_table(
    runs: "xarray.Dataset", fixed: list[measure.Slopes], ruled: list[measure.Slopes]
) -> Table:
    """Exponents and accelerations where interference dominates."""
    rows = []
    for one, other in zip(fixed, ruled, strict=True):
        selected = runs.sel(one.at, drop=True)
        ends = f"{other.window[0]:.0f} to {other.window[1]:.0f}"
        rows.append(
            (
                claims.in_words(one.at),
                _mean(one.loss),
                _mean(one.control),
                f"{_mean(other.loss)} ({ends})",
                _mean(one.loss / one.control, ".1f"),
                _mean(measure.time_ratio(selected, one.at), ".2g"),
                _mean(measure.time_ratio(selected, one.at, same_start=True), ".2g"),
            )
        )
    return Table(
        "Where interference dominates",
        "Exponents on steps 10 to 100, without superposition at the same rate, and on the window "
        "predicted by formula; ratio of the exponents; how much sooner the last loss is reached "
        "than without superposition, from zero and from the run's own start (below 1: later). "
        f"{CAVEAT}",
        ("data", "exponent", "without", "predicted window", "ratio", "sooner", "same start"),
        tuple(rows),
    )


def small_table(runs: "xarray.Dataset", measured: list[measure.Slopes]) -> Table:
    """Exponents and times from a small start."""
    rows = []
    for one in measured:
        at = {n: v for n, v in one.at.items() if n != "latent_size"}
        selected = runs.sel(one.at, drop=True)
        sooner = _mean(measure.time_ratio(selected, at), ".2g")
        dead = float(selected["dead_outputs"].isel(step=-1).mean())
        slopes = (_mean(one.loss), _mean(one.control))
        k = f"{one.at['latent_size']:.0f}"
        rows.append((claims.in_words(at), k, *slopes, sooner, f"{dead:.1f}"))
    low, high = measured[0].window
    return Table(
        "From a small random start",
        f"Exponents on steps {low:.0f} to {high:.0f} (from $5/eta_bias$), without superposition, "
        "how much sooner the last loss is reached than without, and outputs dead at the end.",
        ("data", "K", "exponent", "without", "sooner", "dead"),
        tuple(rows),
    )


def order_table(runs: "xarray.Dataset") -> Table:
    """Half-times of the groups of features, with superposition and without."""
    rows = []
    k = int(runs["latent_size"][-1])
    for a in np.asarray(runs["frequency_exponent"], float).tolist():
        at = {"frequency_exponent": a, "importance_exponent": 0.0}
        selected = runs.sel({**at, "latent_size": k}, drop=True)
        times = measure.half_times(selected)
        alone = figures.control_half_times(selected, at)
        for name, values in (("with", times.mean("seed", skipna=False).values), ("without", alone)):
            rows.append((f"a = {a:g}", name, *(number(float(v), ".0f") for v in values)))
    groups = (f"{int(g)}" for g in np.asarray(runs["group"]))
    return Table(
        "Learning order",
        f"Step at which the response to the group of features that begins at the given rank passes "
        f"one half ($b = 0, K = {k}$); a dash where some seed did not pass.",
        ("data", "superposition", *groups),
        tuple(rows),
    )


STUDY = Study(
    system="superposition",
    presets={
        "quick": PRESETS,
        "paper": (*(f"{name}_paper" for name in PRESETS), "superposition_adam_paper"),
    },
    evaluate=evaluate,
    **TEXT,
)
