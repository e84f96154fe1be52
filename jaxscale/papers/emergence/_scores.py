"""How well one calibrated number predicts the emergence of the later skills of a network."""

import dataclasses
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import numpy as np

from jaxscale._status import Status
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._exponents import crossing
from jaxscale.analysis._plain import plain
from jaxscale.emergence._system import ParityNetwork
from jaxscale.paths import replace
from jaxscale.sweep._grid import Grid
from jaxscale.training import cast

if TYPE_CHECKING:
    import xarray

EMERGED = 0.5
AXIS = {"time": "step", "data": "data.n_samples", "width": "width"}


@dataclasses.dataclass(frozen=True)
class EmergenceScore:
    """Half points of skills `k` over seeds `s`, measured and predicted from skill 1 alone.

    - `parameter`, `constant`: what is fitted to the first skill, and its value of every seed; NaN
      of a seed that failed, or in which that skill does not emerge.
    - `strength`, `expected`: R / S over skills and `dim`; the measured one also over seeds.
    - `measured`, `predicted`: half points, shape `(s, k)`; NaN where a skill does not emerge, and
      predictions where `constant` is.
    """

    parameter: str
    constant: np.ndarray
    dim: str
    strength: "xarray.DataArray"
    expected: "xarray.DataArray"
    measured: np.ndarray
    predicted: np.ndarray

    @property
    def max_error(self) -> np.ndarray:
        """`max |R - R_pred| / S` of the mean curve, shape `(k,)`."""
        error = abs(self.strength.mean("seed") - self.expected)
        return np.asarray(error.max(self.dim))

    @property
    def delta(self) -> np.ndarray:
        """`ln(measured / predicted)` per skill, mean over seeds; NaN if one did not emerge."""
        return np.mean(np.log(self.measured / self.predicted), axis=0)

    @property
    def rms_delta(self) -> float:
        """Root mean square of `delta` over the later skills, `k >= 2`."""
        return float(np.sqrt(np.mean(self.delta[1:] ** 2)))

    @property
    def rms_delta_per_seed(self) -> np.ndarray:
        """The same for every seed alone, shape `(s,)`."""
        return np.sqrt(np.mean(np.log(self.measured / self.predicted)[:, 1:] ** 2, axis=1))

    @property
    def all_emerged(self) -> bool:
        """Whether `R / S` reached one half and stayed there, for every skill and seed."""
        return bool(np.isfinite(self.measured).all())

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "parameter": self.parameter,
            "value_per_seed": plain(self.constant),
            "half_point_per_seed": plain(self.measured),
            "delta": plain(self.delta),
            "rms_delta": plain(self.rms_delta),
            "max_error": plain(self.max_error),
            "all_emerged": self.all_emerged,
        }


def score_emergence(grid: Grid, runs: "xarray.Dataset") -> EmergenceScore:
    """Calibrate on the first skill, one parameter per seed, and score the later ones.

    `runs` are the results of a `grid` of `ParityNetwork` over nothing (time), `data.n_samples` or
    `width`. **Raises** `ValueError` for a grid of another system or with other axes.
    """
    system = grid.system
    if not isinstance(system, ParityNetwork):
        raise ValueError(f"`grid` must be of ParityNetwork, got {type(system).__name__}.")
    regime = system.described_regime
    dim = AXIS[regime.name]
    if set(grid.axes) != {dim} - {"step"}:
        raise ValueError(f"`grid` must have the axes of emergence in {regime.name}, got {grid!r}.")
    scale = float(system.target_scale)
    good = runs["status"].isin([Status.ok, Status.not_converged])
    at_end = {} if dim == "step" else {"step": -1}
    strength = (runs["skill_strength"].where(good) / scale).isel(at_end)
    # a curve that starts above one half has crossed before the first point: not a measurement
    crossed = crossing(strength, dim, EMERGED).where(strength.isel({dim: 0}) <= EMERGED)
    measured = np.asarray(crossed.transpose("seed", "skill"))

    parameter = regime.parameter
    constant, predicted = np.full(len(measured), np.nan), np.full(measured.shape, np.nan)
    expected = strength.mean("seed") * np.nan
    if (emerged := np.isfinite(measured[:, 0])).any():
        first = runs.sel(skill=[1]).isel(seed=np.flatnonzero(emerged))
        fit = calibrate(grid, first, [parameter], each="seed")
        constant[emerged] = fit.values[parameter]
        with jax.enable_x64(True):
            fitted = [replace(system, parameter, v) for v in constant[emerged]]
            half_point = eqx.filter_jit(regime.half_point)  # one program, not one per operation
            predicted[emerged] = [np.asarray(half_point(cast(s, "float64"))) for s in fitted]
        expected = (fit.predict()["skill_strength"].mean("seed") / scale).isel(at_end)
    return EmergenceScore(parameter, constant, dim, strength, expected, measured, predicted)
