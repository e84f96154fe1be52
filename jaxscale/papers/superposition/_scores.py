"""What is measured on teacher-student runs: exponents in given windows, controls, accelerations."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Float

from jaxscale.analysis._exponents import crossing, fit_exponent
from jaxscale.analysis._jackknife import jackknife
from jaxscale.papers import _runs
from jaxscale.papers._runs import Point, in_float64, points
from jaxscale.paths import replace
from jaxscale.superposition import Bernoulli, InLoss, ScaledIdentity, TeacherStudent, theory
from jaxscale.sweep._predict import grid_of
from jaxscale.training import INIT_STREAM, cast

if TYPE_CHECKING:
    import xarray

EXPONENTS = ("frequency_exponent", "importance_exponent")
LATEST = 1e8  # steps up to which the control is followed
Seeds = Float[np.ndarray, " s"]


system_of = functools.partial(_runs.system_of, kind=TeacherStudent)


def law_of(system: TeacherStudent, at: Point) -> dict[str, Any]:
    """Arguments of the theory at a point: size and exponents, the system's where not swept."""
    exponents = {n: at.get(n, float(getattr(system, n))) for n in EXPONENTS}
    return {**exponents, "n_features": system.n_features}


def second_moment(system: TeacherStudent) -> float:
    """Mean square of an active amplitude."""
    return float(system.inputs.amplitude.moment(2))


def mean_active(system: TeacherStudent) -> float:
    """Mean number of active features."""
    return float(system.inputs.mean_active) if isinstance(system.inputs, Bernoulli) else 1.0


def slopes(curve: "xarray.DataArray", window: tuple[float, float]) -> Seeds:
    """`-d ln L / d ln t` of every seed, fitted in `window`; NaN where a run went bad."""
    return -fit_exponent(curve, "step", window).per_seed


def control(
    system: TeacherStudent,
    at: Point,
    rates: Float[np.ndarray, " s"],
    time: Float[np.ndarray, " t"],
    *,
    same_start: bool = False,
) -> Float[np.ndarray, "s t"]:
    """Exact losses without superposition at the same rates and size, in float64.

    `rates` are those of the matrices of the runs; `same_start` starts from the runs' own `gain`
    instead of zero.

    **Raises** `ValueError` for a table of probabilities.
    """
    if system.inputs.probabilities is not None:
        raise ValueError("`system` must have a frequency exponent, got a table of probabilities.")
    gain = float(system.initial.gain) if isinstance(system.initial, ScaledIdentity) else 0.0
    return in_float64(
        theory.sequential_loss,
        np.asarray(time, float),
        **law_of(system, at),
        learning_rate=rates[:, None],
        second_moment=second_moment(system),
        mean_active=mean_active(system),
        initial_strength=gain if same_start else 0.0,
        loss_weighted=isinstance(system.importance, InLoss),
        discrete=True,
    )


def rates_of(runs: "xarray.Dataset") -> Seeds:
    """Learning rate of the matrix of every seed."""
    return np.asarray(runs["step_size"].transpose("seed", "step"), float)[:, 0]


def control_curve(
    runs: "xarray.Dataset", at: Point, *, same_start: bool = False
) -> "xarray.DataArray":
    """`control` at the rate of every seed, on the steps of `runs` (at one point of the grid)."""
    steps = np.asarray(runs["step"], float)
    curves = control(system_of(runs), at, rates_of(runs), steps, same_start=same_start)
    return runs["loss"].transpose("seed", "step").copy(data=curves)


@dataclasses.dataclass(frozen=True)
class Slopes:
    """Exponents of every seed at one point, in one window.

    - `at`, `window`: the point and the steps.
    - `loss`, `control`: with superposition, and exactly without at the same rates.
    """

    at: Point
    window: tuple[float, float]
    loss: Seeds
    control: Seeds


def slopes_at(runs: "xarray.Dataset", at: Point, window: tuple[float, float]) -> Slopes:
    """Slopes with superposition and without it, at one point of the grid."""
    selected = runs.sel(at, drop=True)
    control = slopes(control_curve(selected, at), window)
    return Slopes(at, window, slopes(selected["loss"], window), control)


def measure_slopes(runs: "xarray.Dataset", window: tuple[float, float], *axes: str) -> list[Slopes]:
    """Slopes at every point of the grid over both exponents and `axes`, in one window for all."""
    return [slopes_at(runs, at, window) for at in points(runs, *EXPONENTS, *axes)]


def predicted_window(runs: "xarray.Dataset", at: Point) -> tuple[float, float]:
    """Where interference should rule, by formula: from 5/eta_bias until it meets the signal.

    First and last step, not beyond the end of training, for one-hot inputs of fixed amplitude and a
    start from a scaled identity.
    """
    system: Any = system_of(runs)
    opens, closes = in_float64(
        theory.interference_window,
        latent_size=float(system.latent_size),
        gain=float(system.initial.gain),
        bias_learning_rate=float(system.bias_learning_rate),
        energy=second_moment(system),
        **law_of(system, at),
    )
    return float(opens), min(float(closes), float(system.n_steps))


def spread(measured: "list[Slopes]", name: str) -> Seeds:
    """Largest minus smallest mean exponent over the points, as jackknife pseudo-values.

    The spread of single seeds would grow with their scatter.
    """
    import xarray

    values = xarray.DataArray([getattr(s, name) for s in measured], dims=("point", "seed"))
    return jackknife(values, lambda mean: float(mean.max() - mean.min()))


def half_times(runs: "xarray.Dataset") -> "xarray.DataArray":
    """Step at which the strength of each group of features passes one half for good."""
    return crossing(runs["feature_strength"], "step", 0.5)


def time_ratio(runs: "xarray.Dataset", at: Point, *, same_start: bool = False) -> Seeds:
    """How much sooner a run reaches its last loss than the control: `t_control / t_run`.

    One ratio per seed at one point of the grid, above 1 where superposition is faster; infinite
    where the control needs more than 1e8 steps, NaN where the run went bad. `same_start` gives the
    control the run's own start.
    """
    time = np.concatenate([[0.0], np.geomspace(0.1, LATEST, 361)])
    curves = control(system_of(runs), at, rates_of(runs), time, same_start=same_start)
    heights = -np.log(np.maximum(curves, 1e-300))  # they rise
    goals = -np.log(np.asarray(runs["loss"].transpose("seed", "step"), float)[:, -1])
    pairs = zip(goals, heights, strict=True)
    reached = np.asarray([np.interp(goal, height, time, right=np.inf) for goal, height in pairs])
    return np.where(np.isfinite(goals), reached, np.nan) / float(runs["step"][-1])


def exact_bottleneck(runs: "xarray.Dataset") -> Float[np.ndarray, "p s"]:
    """Largest relative distance of every run, by point and seed, from the exact curve of its own W.

    For linear students with a frozen W on one-hot inputs, descending on the population.
    """
    grid, steps = grid_of(runs), np.asarray(runs["step"], float)

    @eqx.filter_jit
    def embedding(system: Any, key: Any) -> Any:
        state = cast(system, system.dtype).init(jr.fold_in(key, INIT_STREAM))
        return state.student.embedding, state.task.rates["matrix"]

    rows = []
    for at in points(runs, *EXPONENTS, "latent_size"):
        system: Any = grid.system
        for name, value in at.items():
            system = replace(system, name, value)
        curves = runs["loss"].sel(at, drop=True).transpose("seed", "step")
        row = []
        for seed, curve in zip(runs["seed"].values.tolist(), curves.values, strict=True):
            with jax.enable_x64(True):
                w, rate = embedding(system, grid.run_key(seed))
                exact = theory.bottleneck_loss(
                    steps,
                    w,
                    **{n: getattr(system, n) for n in EXPONENTS},
                    learning_rate=rate,
                    second_moment=second_moment(system),
                    discrete=True,
                )
            row.append(float(np.max(np.abs(curve.astype(float) / np.asarray(exact) - 1))))
        rows.append(row)
    return np.asarray(rows)
