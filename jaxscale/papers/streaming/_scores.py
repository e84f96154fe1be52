"""What is measured on streaming regression: in simulations, in draws, and on theory alone."""

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import Sgd
from jaxscale._schedules import LinearDecay
from jaxscale._status import Status
from jaxscale.analysis._frontier import Frontier, frontier
from jaxscale.analysis._jackknife import jackknife
from jaxscale.papers import _runs
from jaxscale.papers._runs import Point, in_float64
from jaxscale.papers.streaming._draws import (
    ALL_TIMES,
    DECAY_SHARE,
    DECAY_STEPS,
    DECAYED,
    LARGEST,
    MOMENTUM_STEPS,
    NOISE_STEPS,
    PHASES,
    WINDOWS,
    Draws,
    coordinates,
    equivalent,
    exponents,
    mean_curve,
    rate,
)
from jaxscale.spectra import power_sum
from jaxscale.streaming import StreamingRegression, theory

if TYPE_CHECKING:
    import xarray

EXPONENTS: tuple[str, ...] = ("input_exponent", "target_exponent")
CURVE = ("n_features", "learning_rate", "batch_size", "noise", "n_coordinates", *EXPONENTS)
EARLY, LAST = 100, 10_000  # steps between which losses are compared; earlier ones are too skewed
MEDIAN_GROUPS = 16  # of seeds, whose medians are compared
LARGE_COMPUTE = (1e12, 1e14)
SCATTERED = (32, 256)  # features between which the scatter is measured: more have few draws
Seeds = Float[np.ndarray, " s"]
BATCHES = 2.0 ** np.arange(9)
RateLimits: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # rate, ends of its bracket
Frontiers: TypeAlias = dict[str, tuple[Frontier, Frontier]]

system_of = functools.partial(_runs.system_of, kind=StreamingRegression)


def late(curve: "xarray.DataArray") -> "xarray.DataArray":
    """The records from step `EARLY` on."""
    return curve.sel(step=slice(EARLY, None))


def ratio_to_exact(runs: "xarray.Dataset") -> Seeds:
    """Loss of every seed over the exact mean for its own features, mean over late records.

    NaN where one of them is missing: of a run that diverged, those before would be too low.
    """
    return np.asarray(late(runs["loss"] / runs["expected_loss"]).mean("step", skipna=False))


def ratio_of_runs(runs: "xarray.Dataset") -> "xarray.DataArray":
    """Loss of every run over its exact mean; infinite after the end of one that diverged."""
    ratio = runs["loss"] / runs["expected_loss"]
    diverged = runs["status"].isin([Status.diverged, Status.nonfinite])
    return ratio.where(ratio.notnull() | ~diverged, np.inf)


def median_ratio(runs: "xarray.Dataset") -> Seeds:
    """Median over seeds of the loss over its exact mean at the end, by groups of seeds."""
    last = ratio_of_runs(runs).isel(step=-1)
    values = np.asarray(last.transpose("seed"), float)
    return np.asarray([np.nanmedian(group) for group in np.array_split(values, MEDIAN_GROUPS)])


def mean_curves(runs: "xarray.Dataset") -> "xarray.DataArray":
    """Mean over features of runs by plain SGD, at as many recorded steps as all other curves."""
    import xarray

    recorded = runs["step"].values[runs["step"].values > 0]
    steps = recorded[np.linspace(0, len(recorded) - 1, ALL_TIMES.size).round().astype(int)]
    system, axes = system_of(runs), [name for name in EXPONENTS if name in runs.dims]
    fixed = {name: getattr(system, name) for name in CURVE}
    values = [mean_curve(steps, **(fixed | at)) for at in _runs.points(runs, *axes)]
    coords = {name: runs[name].values for name in axes} | {"step": steps}
    table = np.reshape(values, [len(c) for c in coords.values()])
    return xarray.DataArray(table, dims=tuple(coords), coords=coords)


def at_point(runs: "xarray.Dataset", at: Point) -> "xarray.Dataset":
    """Results at one point of the grid."""
    return runs.sel({n: v for n, v in at.items() if n in runs.dims}, drop=True)


def ratio_to_equivalent(draws: Draws, phase: str, size: int) -> Seeds:
    """Exact losses over the mean over features in closed form, mean over late times."""
    at = {"phase": phase, "n_features": size}
    ratio = draws.loss.sel(at) / draws.expected.sel(at)
    return np.asarray(ratio.sel(step=slice(EARLY, LAST)).mean("step"))


def scatter_slope(draws: Draws, phase: str) -> Seeds:
    """Pseudo-values of the exponent in d of the relative scatter of the last loss over W."""
    moments = draws.rest.sel(phase=phase, n_features=slice(*SCATTERED))
    log_size = np.log(np.asarray(moments["n_features"], float))

    def slope(mean: "xarray.DataArray") -> float:
        first, second = np.asarray(mean.transpose("moment", "n_features"))
        return float(np.polyfit(log_size, 0.5 * np.log(second / first**2 - 1), 1)[0])

    return jackknife(moments, slope)


def ratio_of_means(values: "xarray.DataArray", over: "xarray.DataArray") -> Seeds:
    """Pseudo-values of the mean over draws of one loss over that of another."""
    import xarray

    both = xarray.concat([values, over], dim="part", coords="minimal", compat="override")
    return jackknife(both, lambda mean: float(mean[0] / mean[1]))


def frontiers_of(draws: Draws) -> Frontiers:
    """Frontier of the exact losses of draws, and of the equivalent, on one window each."""

    def of(loss: "xarray.DataArray", phase: str) -> Frontier:
        compute = np.geomspace(*WINDOWS[phase], 9)
        return frontier(loss.sel(phase=phase, drop=True), compute, size="n_features", time="step")

    return {phase: (of(draws.loss, phase), of(draws.expected, phase)) for phase in WINDOWS}


def measured_exponents() -> dict[str, tuple[float, float]]:
    """Slopes of d* and of 1 / L* over the two decades of `LARGE_COMPUTE`, by phase."""
    alpha, beta = np.array(list(PHASES.values())).T
    with jax.enable_x64(True):
        best = theory.optimal_allocation(
            np.array(LARGE_COMPUTE)[:, None],
            input_exponent=alpha,
            target_exponent=beta,
            coordinates_per_feature=np.array([coordinates(phase, 1.0) for phase in PHASES]),
        )
        size, loss = np.asarray(best.n_features), np.asarray(best.loss)
    decades = np.log(LARGE_COMPUTE[1] / LARGE_COMPUTE[0])
    slopes = np.log([size[1] / size[0], loss[0] / loss[1]]) / decades
    return {name: (float(a), float(b)) for name, a, b in zip(PHASES, *slopes, strict=True)}


def noise_ratio(phase: str, size: float) -> float:
    """Loss above the limit at batch 2 over that at batch 1, at one rate."""
    limit = in_float64(theory.limit_loss, size, **exponents(phase))
    one, two = (equivalent(phase, size, batch_size=b)[NOISE_STEPS] - limit for b in (1.0, 2.0))
    return float(two / one)


def momentum_ratio(phase: str, momentum: float = 0.9) -> float:
    """Heavy ball at `eta (1 - mu)` over SGD at eta, with 1,000 features."""
    eta, time = rate(phase, 1000), MOMENTUM_STEPS
    slow = {"learning_rate": (1.0 - momentum) * eta, "optimizer": Sgd(momentum=momentum)}
    loss = in_float64(theory.mean_optimizer_loss, time, 1000.0, **slow, **exponents(phase))
    return float(loss / equivalent(phase, 1000, eta)[time])


def decay_ratio(phase: str) -> float:
    """Excess of the equivalent after linear decay over that at a constant rate."""
    at = exponents(phase) | {"n_coordinates": coordinates(phase, DECAYED)}
    chosen = DECAY_SHARE * mean_rate_limits(phase, DECAYED)[0][0]
    least = in_float64(theory.limit_loss, float(DECAYED), **at)
    how = {"learning_rate": chosen, "optimizer": Sgd(), "schedule": LinearDecay()}
    linear = in_float64(theory.mean_optimizer_loss, DECAY_STEPS, float(DECAYED), **at, **how)
    constant = equivalent(phase, DECAYED, chosen)[DECAY_STEPS]
    return float((linear - least) / (constant - least))


def critical_batch(alpha: float) -> float:
    """Batch at which the two bounds of the largest stable rate of the largest size cross."""
    return float(in_float64(theory.critical_batch_size, LARGEST, input_exponent=alpha))


def rate_limits(draws: Draws, phase: str) -> RateLimits:
    """Largest stable rates of every draw of the largest size, (n, b), and their brackets."""
    values = np.asarray(draws.modes[phase, LARGEST].eigenvalues, float)

    def of(values: Array) -> Array:
        return jax.vmap(lambda b: theory.max_learning_rate(values, batch_size=b))(BATCHES)

    limit = in_float64(lambda: jax.vmap(of)(jnp.asarray(values)))
    return limit, *_bracket(values.max(axis=1)[:, None], values.sum(axis=1)[:, None])


def mean_rate_limits(phase: str, size: int = LARGEST) -> RateLimits:
    """The same of the equivalent, with the upper edge for the largest eigenvalue."""
    at = {"input_exponent": PHASES[phase][0], "n_coordinates": coordinates(phase, size)}
    trace = power_sum(2.0 * at["input_exponent"], at["n_coordinates"])
    limit = in_float64(theory.mean_max_learning_rate, float(size), batch_size=BATCHES, **at)
    high = in_float64(lambda: theory.spectrum_edges(float(size), **at).high)
    return limit, *_bracket(high, trace)


def _bracket(top: Any, trace: Any) -> tuple[Any, Any]:
    room = 2 * BATCHES
    return room / (trace + (BATCHES + 1) * top), np.minimum(
        room / trace, room / ((BATCHES + 2) * top)
    )


def phase_map(
    alpha: Float[np.ndarray, " a"], beta: Float[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, "a b"], np.ndarray]:
    """Exponent of the lowest loss at every pair of exponents, NaN without a limit, and phases."""
    names = np.array([[theory.phase(a, b) for b in beta.tolist()] for a in alpha.tolist()])
    best = theory.optimal_exponents(
        input_exponent=jnp.asarray(alpha)[:, None], target_exponent=jnp.asarray(beta)[None, :]
    )
    return np.asarray(best.loss), names
