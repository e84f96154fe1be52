"""What is measured on theory alone: exponents of phases, noise, momentum, critical batches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxscale._optimizers import Sgd
from jaxscale.papers._runs import in_float64
from jaxscale.spectra import power_sum
from jaxscale.streaming import StreamingRegression, theory
from jaxscale.streaming._features import COORDINATES_PER_FEATURE
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._predict import predict

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
SIZE = 512.0  # of the critical batch
USUAL_RATE = 0.14  # of the simulations


def measured_exponents() -> dict[str, tuple[float, float]]:
    """Slopes of d* and of 1 / L* over the two decades of `LARGE_COMPUTE`, by phase."""
    alpha, beta = np.array(list(PHASES.values())).T
    per = np.where(2 * alpha > 1, np.inf, COORDINATES_PER_FEATURE)
    with jax.enable_x64(True):
        best = theory.optimal_allocation(
            np.array(LARGE_COMPUTE)[:, None],
            input_exponent=alpha,
            target_exponent=beta,
            coordinates_per_feature=per,
        )
        size, loss = np.asarray(best.n_features), np.asarray(best.loss)
    decades = np.log(LARGE_COMPUTE[1] / LARGE_COMPUTE[0])
    slopes = np.log([size[1] / size[0], loss[0] / loss[1]]) / decades
    return {name: (float(a), float(b)) for name, a, b in zip(PHASES, *slopes, strict=True)}


def noise_ratio(phase: str, size: float, time: float) -> float:
    """Loss above the limit at batch 2 over that at batch 1, at one rate."""
    alpha, beta = PHASES[phase]
    at = {"input_exponent": alpha, "target_exponent": beta}
    losses = in_float64(
        theory.loss, time, size, batch_size=np.array([1.0, 2.0]), learning_rate=USUAL_RATE, **at
    )
    excess = losses - in_float64(theory.limit_loss, size, **at)
    return float(excess[1] / excess[0])


def momentum_ratios(momentum: float = 0.9) -> dict[str, float]:
    """Heavy ball at `eta (1 - mu)` over SGD at eta, after 4,000 steps with 1,000 features."""
    pairs = {name: PHASES[name] for name in ("Ia", "II", "III")}
    exponents = {
        name: sorted({pair[i] for pair in pairs.values()})
        for i, name in enumerate(("input_exponent", "target_exponent"))
    }
    last = []
    for optimizer, factor in ((Sgd(), 1.0), (Sgd(momentum=momentum), 1.0 - momentum)):
        system = StreamingRegression(
            n_features=1000,
            learning_rate=factor * USUAL_RATE,
            optimizer=optimizer,
            n_steps=4000,
            record=[4000],
        )
        last.append(predict(Grid(system, axes=exponents))["loss"].isel(step=0))
    ratio = last[1] / last[0]
    at = ("input_exponent", "target_exponent")
    return {
        name: float(ratio.sel(dict(zip(at, pair, strict=True)))) for name, pair in pairs.items()
    }


def critical_batch(alpha: float) -> float:
    """Batch at which the two bounds of the largest stable rate cross."""
    return float(in_float64(theory.critical_batch_size, SIZE, input_exponent=alpha))


def batch_limits(alpha: float) -> tuple[Any, Any, Any]:
    """Largest stable rate by batch, and both ends of the bracket of a spectrum with these edges."""
    at = {"input_exponent": alpha}
    batch = np.array(BATCHES)
    limit = in_float64(theory.mean_max_learning_rate, SIZE, batch_size=batch, **at)
    top = float(in_float64(lambda: theory.spectrum_edges(SIZE, **at).high))
    trace = float(power_sum(2.0 * alpha, np.inf))
    low = 2 * batch / (trace + (batch + 1) * top)
    return limit, low, np.minimum(2 * batch / trace, 2 * batch / ((batch + 2) * top))


def phase_map(
    alpha: Float[np.ndarray, " a"], beta: Float[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, "a b"], np.ndarray]:
    """Exponent of the lowest loss at every pair of exponents, NaN without a limit, and phases."""
    names = np.array([[theory.phase(a, b) for b in beta.tolist()] for a in alpha.tolist()])
    best = theory.optimal_exponents(
        input_exponent=jnp.asarray(alpha)[:, None], target_exponent=jnp.asarray(beta)[None, :]
    )
    return np.asarray(best.loss), names
