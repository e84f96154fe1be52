r"""Exponents of the atlas's runs, on windows that formulas give, with jackknife values over seeds.

An exponent is `-d ln L / d ln t` by least squares on the records of a window, of the mean loss over
seeds; its uncertainty comes from the means over all seeds but one. Windows are

- every decade of t, sliding by half a decade: [1, 10], [3, 32], [10, 100], ... up to the last step;
- `[t_half, t_floor]` of every curve, from the first record at which the loss is at most half of its
  start to the last before it is below ten times its floor. No formula gives the floor of a student
  with a bottleneck: it is the lowest mean loss that the setup reaches at the same data and K, at
  any of its rates. Longer runs would end the window later, never sooner.

The clock is the number of steps, or the sum of the learning rates of the steps before; windows of
the latter are the decades that slide back from its end.
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import stdtrit

from jaxscale.analysis._jackknife import pseudo_values
from jaxscale.papers._runs import system_of
from jaxscale.papers.atlas._setups import Setup
from jaxscale.papers.superposition._scores import EXPONENTS, control_curve
from jaxscale.superposition import TeacherStudent

if TYPE_CHECKING:
    import xarray

FLOORS = 10.0  # how far above its floor the loss leaves the natural window
LEAST_POINTS = 3
DATA = ("crowding", "rate", *EXPONENTS)

Window = tuple[float, float]
Curves = Float[np.ndarray, "*p t"]


def decades(n_steps: int) -> list[tuple[int, int]]:
    """Windows of one decade that slide by half a decade, up to the last step."""
    ends = [round(10 ** (k / 2)) for k in range(2 * len(str(n_steps)) + 1)]
    return [(low, high) for low, high in zip(ends, ends[2:], strict=False) if high <= n_steps]


def clock_windows(clock: Float[np.ndarray, " t"], n: int) -> list[Bool[np.ndarray, " t"]]:
    """Points of the last `n` decades of a clock that slide by half of one, the earliest first.

    Ends give way by 6 % for rounded steps: where the clock is the step, these are `decades`.
    """
    ends = [clock[-1] * 10.0 ** (-k / 2) for k in range(n)]
    return [(clock >= 0.094 * end) & (clock <= 1.06 * end) for end in reversed(ends)]


def exponents(
    curves: Curves, time: Float[np.ndarray, " t"], inside: Any
) -> Float[np.ndarray, "*p"]:
    r"""`-d ln L / d ln t` of curves by least squares on the points `inside` a window.

    $$\theta = -\frac{\sum_j (x_j - \bar x)\, \ln L_j}{\sum_j (x_j - \bar x)^2}, \qquad x = \ln t$$

    **Arguments**

    - `curves`: losses, any shape and time.
    - `time`: of the points, positive inside the window.
    - `inside`: shape (t,), which points count.

    **Returns** an exponent per curve; NaN under 3 points, and where a loss is missing or not
    positive.
    """
    if np.sum(inside) < LEAST_POINTS:
        return np.full(curves.shape[:-1], np.nan)
    x = np.log(time[inside])
    x = x - x.mean()
    y = curves[..., inside]
    return -(np.log(np.where(y > 0, y, np.nan)) @ x) / (x @ x)


def replicates(losses: Float[np.ndarray, "*p s t"]) -> Float[np.ndarray, "r *p t"]:
    """Mean over all seeds, then over all but each one; a single seed has no others."""
    n = losses.shape[-2]
    total = losses.sum(axis=-2)
    means = [total / n]
    if n > 1:
        means += [(total - losses[..., i, :]) / (n - 1) for i in range(n)]
    return np.stack(means)


def student_interval(
    values: Float[np.ndarray, "s *p"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*p"], Float[np.ndarray, "*p"]]:
    """Mean over seeds and half the width of its Student-t interval, of two seeds, too.

    Seeds without a value are omitted; under two the interval is infinite.
    """
    n = np.isfinite(values).sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(n > 0, np.nansum(values, axis=0) / n, np.nan)
        variance = np.nansum((values - mean) ** 2, axis=0) / (n - 1)
        half = stdtrit(np.maximum(n - 1, 1), (1 + level) / 2) * np.sqrt(variance / n)
    return mean, np.where(n > 1, half, np.where(n > 0, np.inf, np.nan))


def natural_window(
    curve: Float[np.ndarray, " t"], time: Float[np.ndarray, " t"], floor: float
) -> Window:
    """First time at which the loss is at most half its start, last before ten times its floor.

    NaN where the loss never halves, or is below ten floors by then.
    """
    below_half = np.flatnonzero(curve <= curve[0] / 2)
    near_floor = np.flatnonzero(curve < FLOORS * floor)
    if not below_half.size:
        return np.nan, np.nan
    last = near_floor[0] - 1 if near_floor.size else len(time) - 1
    if last <= below_half[0]:
        return np.nan, np.nan
    return float(time[below_half[0]]), float(time[last])


def time_to(level: float, curve: Float[np.ndarray, " t"], time: Float[np.ndarray, " t"]) -> float:
    """First time at which a curve is at most `level`, between records by power laws."""
    below = np.flatnonzero(curve <= level)
    if not below.size:
        return np.nan
    i = below[0]
    if i < 2:  # step 0 has no logarithm
        return float(time[i])
    y, x = np.log(curve[[i, i - 1]]), np.log(time[[i, i - 1]])
    return float(np.exp(np.interp(np.log(level), y, x)))


def time_to_equal_loss(curve: Curves, control: Curves, time: Float[np.ndarray, " t"]) -> float:
    """Time of the control over that of the run, to the higher of their two last losses.

    NaN where one of them has not fallen by then.
    """
    level = float(max(curve[-1], control[-1]))
    if not level < min(curve[0], control[0]):
        return np.nan
    return time_to(level, control, time) / time_to(level, curve, time)


def mean_control(setup: Setup, runs: "xarray.Dataset", trained: "xarray.Dataset | None") -> Any:
    """Losses without superposition on the records of `runs`, without seeds.

    The exact ones at the rates of the runs for SGD, else those of `trained`, the grid of the
    control, at the same rates.
    """
    path = setup.way.path
    if trained is not None:
        loss = trained["loss"].astype(float).mean("seed", skipna=False)
        return loss.sel({path: runs[path]}).expand_dims(latent_size=runs["latent_size"])
    stacked = runs[["loss", "step_size"]].stack(point=("latent_size", path, *EXPONENTS))
    curves = stacked["loss"].astype(float).isel(seed=0, drop=True).transpose("point", "step")
    values = []
    for i in range(stacked.sizes["point"]):
        one = stacked.isel(point=i)
        at = {name: float(one[name]) for name in EXPONENTS}
        one = one.drop_vars(["point", "latent_size", path, *EXPONENTS])
        one.attrs = runs.attrs
        values.append(control_curve(one, at).mean("seed").values)
    return curves.copy(data=np.stack(values)).unstack("point")


def measure(setup: Setup, runs: "xarray.Dataset", control: Any) -> "xarray.Dataset":
    """Measure one grid of the atlas.

    **Arguments**

    - `setup`: what was run.
    - `runs`: its results, over a, b, K, rate and seed.
    - `control`: from `mean_control`; None where there is none.

    **Returns** a Dataset over N/K (`crowding`), `rate` (0 the first), a, b and `window`: the
    exponent, by the clock of summed rates, of the control, and on the natural window; per seed the
    jackknife values of the `mean` over the data, of the mean `distance` from 1 and of the `spread`
    (largest minus smallest); `sooner`, the time of the control over that of the run to equal loss;
    the mean loss and that of the control; `was_run`, 1 at what this grid has.
    """
    import xarray

    order = ("latent_size", setup.way.path, *EXPONENTS)
    loss = runs["loss"].transpose(*order, "seed", "step").astype(float)
    means = replicates(loss.values)
    steps, system = np.asarray(runs["step"], float), system_of(runs, TeacherStudent)
    with jax.enable_x64(True):
        effective = system.schedule.effective_steps(system.record_steps, system.n_steps)
    clock = np.asarray(effective, float)
    alone = np.full(means.shape[1:], np.nan)
    if control is not None:
        alone[:] = control.transpose(*order, "step").values
    windows = decades(system.n_steps)
    masks = [(steps >= low) & (steps <= high) for low, high in windows]
    of_clock = clock_windows(clock, len(windows))
    measured = _on_windows(means, steps, masks)
    flat = zip(means[0].reshape(-1, steps.size), alone.reshape(-1, steps.size), strict=True)
    sooner = [time_to_equal_loss(run, other, steps) for run, other in flat]
    of_all = ("seed", "crowding", "rate", "window")
    of_data = measured.reshape(*measured.shape[:3], -1, len(windows))
    data: dict[str, Any] = {
        "exponent": ((*DATA, "window"), pseudo_values(measured).mean(axis=0)),
        "clock_exponent": ((*DATA, "window"), _on_windows(means[0], clock, of_clock)),
        "control_exponent": ((*DATA, "window"), _on_windows(alone, steps, masks)),
        "mean": (of_all, pseudo_values(of_data.mean(axis=3))),
        "distance": (of_all, pseudo_values(np.abs(of_data - 1).mean(axis=3))),
        "spread": (of_all, pseudo_values(np.ptp(of_data, axis=3))),
        **{name: (DATA, values) for name, values in _natural(means, steps).items()},
        "sooner": (DATA, np.reshape(sooner, alone.shape[:-1])),
        "loss": ((*DATA, "step"), means[0]),
        "loss_alone": ((*DATA, "step"), alone),
        "was_run": (DATA[:2], np.ones(means.shape[1:3])),
        "rate_value": ("rate", np.asarray(runs[setup.way.path], float)),
        "n_seeds": runs.sizes["seed"],
        "n_features": system.n_features,
        "bad_runs": int((runs["status"] != 0).sum()),
    }
    coordinates = {
        "crowding": system.n_features / np.asarray(runs["latent_size"], float),
        "rate": np.arange(means.shape[2]),
        "window": [f"{low}-{high}" for low, high in windows],
        "step": steps,
        "seed": np.arange(data["mean"][1].shape[0]),
        **{name: np.asarray(runs[name], float) for name in EXPONENTS},
    }
    return xarray.Dataset(data, coordinates).sortby("crowding")


def _on_windows(curves: Curves, time: Float[np.ndarray, " t"], masks: Any) -> np.ndarray:
    """Exponents of curves on every window, which is the last axis."""
    return np.stack([exponents(curves, time, mask) for mask in masks], axis=-1)


def _natural(means: Curves, steps: Float[np.ndarray, " t"]) -> dict[str, np.ndarray]:
    """Exponents on `[t_half, t_floor]` of every curve, and the windows."""
    shape = means.shape[1:-1]
    lowest = np.fmin.reduce(np.fmin.reduce(means[0], axis=-1), axis=1)  # of all rates
    floors = np.broadcast_to(lowest[:, None], shape)
    out = {name: np.full(shape, np.nan) for name in ("natural", "opens", "closes")}
    for at in np.ndindex(shape):
        low, high = natural_window(means[(0, *at)], steps, float(floors[at]))
        inside = (steps >= low) & (steps <= high)
        out["natural"][at] = pseudo_values(
            exponents(means[(slice(None), *at)], steps, inside)
        ).mean()
        out["opens"][at], out["closes"][at] = low, high
    return out
