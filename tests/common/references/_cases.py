"""All cases by name."""

from references import (
    bottleneck,
    emergence,
    emergence_laws,
    forms,
    sparse,
    sparse_inputs,
    spectra,
    streaming,
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
    streaming,
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
    "streaming.mean_optimizer_loss": "the recursion of optimizer_loss on spectrum_nodes",
    "streaming.spectrum_nodes": "nodes; the sums over them are exact to rounding",
    "streaming.optimal_allocation": "a search for the minimum of loss",
    "streaming.phase": "a name",
    "streaming.sign_sgd_loss": "a recursion; compared with dense second moments to 1e-12",
    "superposition.interference_window": "a crossing located on a grid of times, to 0.1%",
}
