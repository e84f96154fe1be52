"""What `jaxscale reproduce sparse` runs, and how the results are evaluated."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._claim import Claim
from jaxscale.analysis._frontier import Frontier
from jaxscale.papers._runs import points, study_text, system_of, with_captions
from jaxscale.papers.sparse import (
    _claims as claims,
    _claims_allocation as claims_allocation,
    _claims_descent as claims_descent,
    _claims_relu as claims_relu,
    _figures as figures,
    _figures_map as figures_map,
)
from jaxscale.papers.sparse._scores import (
    STRENGTH,
    Instability,
    measure_frontier,
    measure_instability,
    measure_plane,
)
from jaxscale.papers.sparse._theory import EXPONENTS, best, exponents_of
from jaxscale.report._study import Conclusion, Study, statuses
from jaxscale.sparse._system import RandomFeatureRegression

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
    "sparse_relu_parameters",
    "sparse_relu_plane",
    "sparse_plane",
)
RIDGELESS = 1e-8  # strength of a ridge that hardly is one
CAPTIONS, TEXT = study_text("sparse")
Frontiers: TypeAlias = dict[tuple[float, float], Frontier]


def evaluate(runs: "dict[str, xarray.Dataset]") -> Conclusion:
    """Claims and figures of results by preset name; those of the paper's scale end in `_paper`."""
    results = {name.removesuffix("_paper"): data for name, data in runs.items()}
    data, few, peak, dense, descent, unstable, relu, *rest = (results[name] for name in PRESETS)
    relu_few, relu_plane, plane = rest
    frontiers: Frontiers = {}
    for at in points(data, *EXPONENTS):
        alpha, gamma = at["spectrum_exponent"], at["sparsity_exponent"]
        if alpha == 1.0:
            frontiers[alpha, gamma] = measure_frontier(data.sel(at, drop=True), COMPUTE)
    alpha, gamma = exponents_of(system_of(unstable, RandomFeatureRegression)).values()
    counts = measure_instability(unstable["largest_eigenvalue"], RATES)
    planes, relu_planes = _planes(plane), _planes(relu_plane)
    evaluated = [
        *claims.data_claims(data, dense),
        *claims.parameter_claims(few, system_of(few, RandomFeatureRegression)),
        *claims.peak_claims(peak, dense),
        *(c for at, f in frontiers.items() for c in claims_allocation.frontier_claims(f, *at)),
        *(c for at, f in planes.items() for c in claims_allocation.plane_claims(f, *at)),
        *claims_descent.descent_claims(descent, system_of(descent, RandomFeatureRegression)),
        *claims_descent.instability_claims(counts, alpha, gamma),
        *claims_relu.nonlinear_claims(relu),
        *claims_relu.relu_parameter_claims(relu_few),
        *_relu_claims(relu_plane, relu_planes),
    ]
    own = exponents_of(system_of(peak, RandomFeatureRegression))
    frontier = frontiers[own["spectrum_exponent"], own["sparsity_exponent"]]
    drawings = {
        "data": figures.data_figure(data, dense),
        "double_descent": figures.peak_figure(peak, dense, few),
        "frontier": figures.frontier_figure(frontiers),
        "map": figures_map.map_figure(peak, few, data, frontier),
        "gradient_descent": figures.descent_figure(descent),
        "instability": figures.instability_figure(counts, alpha, gamma),
        "relu": figures.relu_figure(relu, relu_few, relu_planes, planes),
    }
    quantities = ("compute", "n_features", "n_samples", "loss")
    measured = {"frontier": frontiers, "plane": planes, "relu_plane": relu_planes}
    scores: dict[str, Any] = {
        kind: {
            f"{a:g}-{g:g}": {name: getattr(f, name).tolist() for name in quantities}
            for (a, g), f in of_kind.items()
        }
        for kind, of_kind in measured.items()
    }
    scores |= {
        "instability": {
            "learning_rate": counts.learning_rate.tolist(),
            "n_samples": counts.n_samples.tolist(),
            "runs": counts.n_runs.tolist(),
            "unstable": counts.count.tolist(),
            "low": counts.low.tolist(),
            "high": counts.high.tolist(),
        },
        "runs_by_status": {name: statuses(d) for name, d in runs.items()},
    }
    tables = [frontier_table(frontiers), instability_table(counts)]
    drawn = with_captions(drawings, CAPTIONS, n_runs=counts.runs)
    return Conclusion(evaluated, drawn, scores, tables)


def _planes(runs: "xarray.Dataset") -> Frontiers:
    """Frontiers of simulated losses, by the exponents of the inputs."""
    alpha = exponents_of(system_of(runs, RandomFeatureRegression))["spectrum_exponent"]
    gammas = np.asarray(runs["sparsity_exponent"], float).tolist()
    losses = (runs["loss"].sel(sparsity_exponent=g, drop=True) for g in gammas)
    return {(alpha, g): measure_plane(loss) for g, loss in zip(gammas, losses, strict=True)}


def _relu_claims(runs: "xarray.Dataset", planes: Frontiers) -> list[Claim]:
    """Claims of ReLU features, also with hardly a ridge where that was run."""
    of_plane = claims_allocation.relu_plane_claims
    if STRENGTH not in runs.dims:
        strength = system_of(runs, RandomFeatureRegression).solver.strength  # pyright: ignore
        return [c for at, f in planes.items() for c in of_plane(f, *at, f"a ridge of {strength:g}")]
    ridge, least = f"a ridge of only {RIDGELESS:g}", _planes(runs.sel({STRENGTH: RIDGELESS}))
    return [
        *(c for at, f in planes.items() for c in of_plane(f, *at, "the best ridge")),
        *(c for at, f in least.items() for c in of_plane(f, *at, ridge, "relu-ridgeless")),
    ]


def frontier_table(frontiers: Frontiers) -> Table:
    """Measured optima next to the closed-form laws."""
    rows = []
    for (alpha, gamma), frontier in frontiers.items():
        at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
        expected = [best(quantity, frontier.compute, **at) for quantity in ("n_features", "loss")]
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
            share = measured.count[i, j] / measured.n_runs[j]
            rows.append((f"{rate:g}, {d:g}", f"{measured.count[i, j]:.0f}", f"{share:.2g}", limits))
    return Table(
        "Unstable runs",
        f"Of {measured.runs} data sets at each D; the learning rates share them.",
        ("learning rate, D", "unstable", "share", "95 % binomial interval"),
        tuple(rows),
    )


STUDY = Study(
    system="sparse",
    presets={"quick": PRESETS, "paper": tuple(f"{name}_paper" for name in PRESETS)},
    evaluate=evaluate,
    **TEXT,
)
