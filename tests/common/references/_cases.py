"""All cases by name."""

from references import (
    bottleneck,
    emergence,
    emergence_laws,
    forms,
    sparse,
    sparse_inputs,
    spectra,
    superposition,
    tails,
)
from references._case import Case

_MODULES = (
    spectra,
    emergence,
    emergence_laws,
    sparse,
    sparse_inputs,
    superposition,
    bottleneck,
    tails,
    forms,
)
CASES: dict[str, Case] = {case.name: case for module in _MODULES for case in module.CASES}

# theory functions without a case, and why
NO_CASE = {
    "sparse.deterministic_equivalent": "a fixed point solved to 1e-6 from a trapezoidal table",
    "sparse.loss": "as deterministic_equivalent",
    "sparse.residual_loss": "as deterministic_equivalent",
    "sparse.optimal_allocation": "a search for the minimum of loss, to 1e-5 in N",
    "sparse.power_law_coordinates": "nodes; the sums over them have cases",
    "streaming.critical_batch_size": "a ratio of a zeta function and of an edge of the spectrum",
    "streaming.kernel_norm": "a sum of d fractions; the radius at its root is 1 to 1e-12",
    "streaming.limit_loss": "a root of sums that are compared term by term to 1e-13",
    "streaming.loss": "a contour; compared to 3e-11 with the recursion on other nodes",
    "streaming.loss_law": "leading terms; compared with loss",
    "streaming.max_learning_rate": "a root of kernel_norm",
    "streaming.mean_max_learning_rate": "a root; the norm at it is 1 to 1e-9",
    "streaming.modes": "nodes; the sums over them are exact to rounding",
    "streaming.optimal_exponents": "rational functions of two exponents, compared with loss",
    "streaming.phase": "a name",
    "streaming.spectrum_edges": "roots of sums that are compared term by term to 1e-13",
    "streaming.noise_floor": "a quotient of kernel_norm; compared with the recursion to 1e-10",
    "streaming.optimal_allocation": "a search for the minimum of loss",
    "streaming.optimizer_loss": "a recursion; compared with dense fourth moments to 1e-12",
    "streaming.sgd_loss": "compared with the recursion to 1e-12",
    "superposition.interference_window": "a crossing located on a grid of times, to 0.1%",
}
