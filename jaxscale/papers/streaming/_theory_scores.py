"""What is measured on theory alone: exponents of phases, noise, momentum, and the critical batch."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxscale.papers._runs import in_float64
from jaxscale.spectra import power_sum
from jaxscale.streaming import theory

PHASES: dict[str, tuple[float, float]] = {
    "Ia": (0.8, 0.3),
    "Ib": (0.4, 0.3),
    "Ic": (0.2, 0.8),
    "II": (1.2, 0.8),
    "III": (0.8, 1.2),
    "IVa": (0.4, 0.9),
    "IVb": (0.27, 0.9),
}
LARGE_COMPUTE = (1e12, 1e14)
BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
COORDINATES_PER_FEATURE = 4


def rate_at(alpha: float) -> float:
    """A rate that is stable at any size: `1 / (zeta(2 alpha) + 2)`."""
    return float(1.0 / (power_sum(2.0 * alpha, np.inf) + 2.0))


def measured_exponents(phase: str) -> tuple[float, float]:
    """Slopes of d* and of 1 / L* over the two decades of `LARGE_COMPUTE`, by the equivalent."""
    alpha, beta = PHASES[phase]
    with_tail = 2.0 * alpha > 1.0
    settings: dict[str, Any] = {"input_exponent": alpha, "target_exponent": beta}
    if with_tail:
        settings["learning_rate"] = rate_at(alpha)
    else:
        settings["coordinates_per_feature"] = COORDINATES_PER_FEATURE
    best = [
        in_float64(lambda c: tuple(theory.optimal_allocation(c, **settings)), c)
        for c in LARGE_COMPUTE
    ]
    (low_size, low_loss), (high_size, high_loss) = ((b[0], b[-1]) for b in best)
    decades = np.log(LARGE_COMPUTE[1] / LARGE_COMPUTE[0])
    return (
        float(np.log(high_size / low_size) / decades),
        -float(np.log(high_loss / low_loss) / decades),
    )


def phase_map(
    alpha: Float[np.ndarray, " a"], beta: Float[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, "a b"], np.ndarray]:
    """Exponent of the lowest loss at every pair of exponents, NaN without a limit, and phases."""
    names = np.array([[theory.phase(a, b) for b in beta.tolist()] for a in alpha.tolist()])
    exponents = in_float64(
        lambda a, b: theory.optimal_exponents(input_exponent=a, target_exponent=b).loss,
        alpha[:, None],
        beta[None, :],
    )
    return np.where(names == "no limit", np.nan, exponents), names
