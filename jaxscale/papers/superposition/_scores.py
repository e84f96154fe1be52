"""What is measured on teacher-student runs: exponents in given windows, controls, accelerations."""

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Float

from jaxscale.analysis._exponents import crossing, fit_exponent
from jaxscale.analysis._jackknife import jackknife
from jaxscale.paths import replace
from jaxscale.superposition import theory
from jaxscale.superposition._data import Bernoulli
from jaxscale.superposition._importance import InLoss
from jaxscale.superposition._student import ScaledIdentity
from jaxscale.superposition._system import TeacherStudent
from jaxscale.sweep._predict import grid_of
from jaxscale.training import INIT_STREAM, cast

if TYPE_CHECKING:
    import xarray

EXPONENTS = ("frequency_exponent", "importance_exponent")
LATEST = 1e8  # steps up to which the control is followed
Seeds = Float[np.ndarray, " s"]
Point = dict[str, float]


def system_of(runs: "xarray.Dataset") -> TeacherStudent:
    """The system that was run.

    **Raises** `ValueError` for runs of another system.
    """
    system = grid_of(runs).system
    if not isinstance(system, TeacherStudent):
        raise ValueError(f"`runs` must be of TeacherStudent, got {type(system).__name__}.")
    return system


def points(runs: "xarray.Dataset", *more: str) -> list[Point]:
    """Every combination of the exponents, and of `more` axes, that `runs` cover."""
    names = [n for n in (*EXPONENTS, *more) if n in runs.dims]
    grid = np.meshgrid(*(np.asarray(runs[n]) for n in names), indexing="ij")
    rows = zip(*map(np.ravel, grid), strict=True)
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


def exponents_at(system: TeacherStudent, at: Point) -> dict[str, Any]:
    """Both exponents of a point, those that are not swept from the system."""
    return {n: at.get(n, float(getattr(system, n))) for n in EXPONENTS}


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

    **Arguments**

    - `system`, `at`: the runs to compare with, and their exponents.
    - `rates`: learning rates of their matrices, `step_size`.
    - `time`: steps.
    - `same_start`: start from the runs' own `gain` instead of zero.

    **Returns** losses, summed over outputs.

    **Raises** `ValueError` for a table of probabilities.
    """
    inputs = system.inputs
    if inputs.probabilities is not None:
        raise ValueError("`system` must have a frequency exponent, got a table of probabilities.")
    active = float(inputs.mean_active) if isinstance(inputs, Bernoulli) else 1.0
    gain = float(system.initial.gain) if isinstance(system.initial, ScaledIdentity) else 0.0
    with jax.enable_x64(True):
        curve = theory.sequential_loss(
            np.asarray(time, float),
            **exponents_at(system, at),
            n_features=system.n_features,
            learning_rate=rates[:, None],
            second_moment=float(inputs.amplitude.moment(2)),
            mean_active=active,
            initial_strength=gain if same_start else 0.0,
            loss_weighted=isinstance(system.importance, InLoss),
            discrete=True,
        )
        return np.asarray(curve)


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


def measure_slopes(runs: "xarray.Dataset", window: tuple[float, float], *axes: str) -> list[Slopes]:
    """Slopes with superposition and without it, at every point of the grid.

    **Arguments**

    - `runs`: `loss` and `step_size` over both exponents, `seed` and `axes`.
    - `window`: first and last step, given by a formula or beforehand.
    - `axes`: names of further dimensions.

    **Returns** one `Slopes` per point.

    **Raises** `ValueError` for a window with fewer than two records.
    """
    measured = []
    for at in points(runs, *axes):
        selected = runs.sel(at, drop=True)
        control = control_curve(selected, at)
        measured.append(
            Slopes(at, window, slopes(selected["loss"], window), slopes(control, window))
        )
    return measured


def predicted_window(runs: "xarray.Dataset", at: Point) -> tuple[float, float]:
    """Where interference should rule, by formula: from 5/eta_bias until it meets the signal.

    **Arguments**

    - `runs`: of one-hot inputs of fixed amplitude, from a scaled identity.
    - `at`: both exponents.

    **Returns** first and last step, not beyond the end of training.
    """
    system: Any = system_of(runs)
    with jax.enable_x64(True):
        limits = theory.interference_window(
            latent_size=float(system.latent_size),
            gain=float(system.initial.gain),
            bias_learning_rate=float(system.bias_learning_rate),
            n_features=system.n_features,
            energy=float(system.inputs.amplitude.moment(2)),
            **exponents_at(system, at),
        )
    return float(limits.opens), min(float(limits.closes), float(system.n_steps))


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

    **Arguments**

    - `runs`: at one point of the grid.
    - `at`: its exponents.
    - `same_start`: give the control the run's own start.

    **Returns** one ratio per seed, above 1 where superposition is faster; infinite where the
    control needs more than 1e8 steps, NaN where the run went bad.
    """
    last = float(runs["step"][-1])
    time = np.concatenate([[0.0], np.geomspace(0.1, LATEST, 361)])
    curves = control(system_of(runs), at, rates_of(runs), time, same_start=same_start)
    goals = np.asarray(runs["loss"].transpose("seed", "step"), float)[:, -1]
    return np.asarray([_reached(time, c, g) for c, g in zip(curves, goals, strict=True)]) / last


def _reached(time: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """When a falling curve reaches `goal`: logarithmic interpolation, 0 if it starts below."""
    if not np.isfinite(goal):
        return np.nan
    if curve[-1] > goal:
        return np.inf
    i = int(np.argmax(curve <= goal))
    if i == 0:
        return 0.0
    upper, lower = np.log(curve[i - 1]), np.log(max(curve[i], 1e-300))
    part = (upper - np.log(goal)) / (upper - lower)
    return float(time[i - 1] + part * (time[i] - time[i - 1]))


def exact_bottleneck(runs: "xarray.Dataset") -> Float[np.ndarray, "p s"]:
    """Largest relative distance of every run from the exact curve of its own embedding.

    **Arguments**

    - `runs`: linear students with a frozen W on one-hot inputs, descending on the population.

    **Returns** one number per point and seed.
    """
    grid, steps = grid_of(runs), np.asarray(runs["step"], float)

    @eqx.filter_jit
    def embedding(system: Any, key: Any) -> Any:
        state = cast(system, system.dtype).init(jr.fold_in(key, INIT_STREAM))
        return state.student.embedding, state.task.rates["matrix"]

    rows = []
    for at in points(runs, "latent_size"):
        system: Any = grid.system
        for name, value in at.items():
            system = replace(system, name, value)
        selected = runs["loss"].sel(at, drop=True)
        row = []
        for seed in np.asarray(runs["seed"]).tolist():
            with jax.enable_x64(True):
                w, rate = embedding(system, grid.run_key(seed))
                exact = theory.bottleneck_loss(
                    steps,
                    w,
                    frequency_exponent=float(system.frequency_exponent),
                    importance_exponent=float(system.importance_exponent),
                    learning_rate=rate,
                    second_moment=float(system.inputs.amplitude.moment(2)),
                    discrete=True,
                )
            simulated = np.asarray(selected.sel(seed=seed).transpose("step"), float)
            row.append(float(np.max(np.abs(simulated / np.asarray(exact) - 1))))
        rows.append(row)
    return np.asarray(rows)
