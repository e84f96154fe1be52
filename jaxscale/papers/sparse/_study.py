"""What `jaxscale reproduce sparse` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._claim import Claim
from jaxscale.papers.sparse import (
    _claims as claims,
    _claims_descent as claims_descent,
    _figures as figures,
    _figures_map as figures_map,
)
from jaxscale.papers.sparse._scores import (
    Frontier,
    Instability,
    measure_frontier,
    measure_instability,
)
from jaxscale.report._study import Conclusion, Figure, Study, statuses
from jaxscale.sparse import theory
from jaxscale.sparse._system import RandomFeatureRegression
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import xarray

COMPUTE = np.geomspace(1e3, 1e5, 7)
RATES = np.array([0.25, 0.5, 1.0])
PRESETS = (
    "sparse_data",
    "sparse_parameters",
    "sparse_peak",
    "sparse_dense",
    "sparse_descent",
    "sparse_instability",
    "sparse_relu",
)


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims and figures of sparse regression.

    **Arguments**

    - `runs`: results by preset name; the presets of the full scale end in `_full`.

    **Returns** a `Conclusion`.
    """
    results = {name.removesuffix("_full"): data for name, data in runs.items()}
    data, dense = results["sparse_data"], results["sparse_dense"]
    judged: list[Claim] = claims.data_claims(data, dense)
    drawn = [
        Figure(
            "data",
            "Loss at infinitely many features against samples, mean and standard deviation over "
            "seeds; dashed, the closed form. Sparse activations change the exponent from alpha to "
            "alpha/gamma, for rare coordinates are never seen.",
            figures.data_figure(data, dense),
        )
    ]

    few = results["sparse_parameters"]
    judged += claims.parameter_claims(few, _system(few))
    judged += claims.peak_claims(results["sparse_peak"], dense)
    drawn.append(
        Figure(
            "double_descent",
            "Loss against features: median and middle half over seeds, for near the peak the mean "
            "is infinite. The peak of sparse inputs lies at the rank, far below the number of "
            "samples; that of dense inputs at N = D. Dashed, the deterministic equivalent.",
            figures.peak_figure(results["sparse_peak"], dense, few),
        )
    )

    frontiers: dict[tuple[float, float], Frontier] = {}
    for at in claims.points(data):
        if at["spectrum_exponent"] == 1.0:
            frontier = measure_frontier(data.sel(at, drop=True), COMPUTE)
            alpha, gamma = at["spectrum_exponent"], at["sparsity_exponent"]
            judged += claims.frontier_claims(frontier, alpha, gamma)
            frontiers[(alpha, gamma)] = frontier
    drawn.append(
        Figure(
            "frontier",
            "Compute-optimal number of features and samples, and the loss there, from the exact "
            "mean over features at each simulated data set; dashed, the closed-form laws.",
            figures.frontier_figure(frontiers),
        )
    )
    drawn.append(_map(results["sparse_peak"], few, data, frontiers))

    descent = results["sparse_descent"]
    judged += claims_descent.descent_claims(descent, _system(descent))
    drawn.append(
        Figure(
            "gradient_descent",
            "Loss over steps of gradient descent at infinitely many features; dashed, gradient "
            "flow in closed form, from which single steps differ at first. The plateau is the loss "
            "of coordinates that were never seen.",
            figures.descent_figure(descent),
        )
    )

    unstable = results["sparse_instability"]
    system = _system(unstable)
    alpha, gamma = float(system.spectrum_exponent), float(system.sparsity_exponent)  # pyright: ignore
    counts = measure_instability(unstable["largest_eigenvalue"], RATES)
    judged += claims_descent.instability_claims(counts, alpha, gamma)
    drawn.append(
        Figure(
            "instability",
            f"Share of {counts.n_runs} data sets on which gradient descent with a fixed step is "
            "unstable, with 95 % binomial intervals; dashed, the closed form.",
            figures.instability_figure(counts, alpha, gamma),
        )
    )

    relu = results["sparse_relu"]
    judged += claims.nonlinear_claims(relu)
    drawn.append(
        Figure(
            "relu",
            "Test loss of ReLU features against samples, mean and standard deviation over seeds: "
            "the gap between sparse and dense inputs stays. Dashed, the slope of linear features.",
            figures.relu_figure(relu),
        )
    )
    scores: dict[str, Any] = {
        "frontier": {
            f"{a:g}-{g:g}": {
                "compute": f.compute.tolist(),
                "n_features": f.n_features.tolist(),
                "n_samples": f.n_samples.tolist(),
                "loss": f.loss.tolist(),
            }
            for (a, g), f in frontiers.items()
        },
        "instability": {
            "learning_rate": counts.learning_rate.tolist(),
            "n_samples": counts.n_samples.tolist(),
            "runs": counts.n_runs,
            "unstable": counts.count.tolist(),
            "low": counts.low.tolist(),
            "high": counts.high.tolist(),
        },
        "runs_by_status": {name: statuses(d) for name, d in runs.items()},
    }
    return Conclusion(judged, drawn, scores, [frontier_table(frontiers), instability_table(counts)])


def _map(
    peak: "xarray.Dataset",
    few: "xarray.Dataset",
    data: "xarray.Dataset",
    frontiers: dict[tuple[float, float], Frontier],
) -> Figure:
    system = _system(peak)
    at = float(system.spectrum_exponent), float(system.sparsity_exponent)  # pyright: ignore
    return Figure(
        "map",
        "Left, the closed form as colour over features and samples (yellow: the pole at N = rank, "
        "cut off), and simulations as circles filled in the same colours: one that is not seen to "
        "be filled agrees. Circles are medians over seeds, on the right those at N = ∞; diamonds, "
        "the measured compute-optimal points, dashed their law. Right, the same simulations over "
        "the closed form, which makes no claim in the grey band.",
        figures_map.map_figure(peak, few, data, frontiers[at]),
    )


def frontier_table(frontiers: dict[tuple[float, float], Frontier]) -> Table:
    """Measured optima next to the closed-form laws."""
    rows = []
    for (alpha, gamma), frontier in frontiers.items():
        with jax.enable_x64(True):
            laws = theory.allocation_laws(spectrum_exponent=alpha, sparsity_exponent=gamma)
            expected = [np.asarray(law(frontier.compute)) for law in (laws.n_features, laws.loss)]
        for i, c in enumerate(frontier.compute):
            measured = (frontier.n_features[i], expected[0][i], frontier.loss[i], expected[1][i])
            forms = (".1f", ".1f", ".4f", ".4f")
            texts = (number(float(v), f) for v, f in zip(measured, forms, strict=True))
            rows.append((f"{alpha:g}, {gamma:g}", f"{c:.0f}", *texts))
    return Table(
        "Compute-optimal features and loss",
        "Measured from the exact mean over features at each simulated data set, and by the law.",
        ("alpha, gamma", "C = N D", "N*", "law", "L*", "law"),
        tuple(rows),
    )


def instability_table(measured: Instability) -> Table:
    """Unstable runs and their binomial intervals."""
    rows = []
    for i, rate in enumerate(measured.learning_rate):
        for j, d in enumerate(measured.n_samples):
            limits = f"{measured.low[i, j]:.2g} to {measured.high[i, j]:.2g}"
            share = measured.count[i, j] / measured.n_runs
            rows.append((f"{rate:g}, {d:g}", f"{measured.count[i, j]:.0f}", f"{share:.2g}", limits))
    return Table(
        "Unstable runs",
        f"Of {measured.n_runs} data sets at each D; the learning rates share them.",
        ("learning rate, D", "unstable", "share", "95 % binomial interval"),
        tuple(rows),
    )


def _system(runs: "xarray.Dataset") -> RandomFeatureRegression:
    system = grid_of(runs).system
    if not isinstance(system, RandomFeatureRegression):
        raise ValueError(f"`runs` must be of RandomFeatureRegression, got {type(system).__name__}.")
    return system


STUDY = Study(
    system="sparse",
    title="Asymmetric scaling laws of random-feature regression on sparse inputs",
    source="model of Sous and Winer 2026, arXiv 2605.23591; closed forms derived for jaxscale",
    presets={"quick": PRESETS, "full": tuple(f"{name}_full" for name in PRESETS)},
    evaluate=evaluate,
)
