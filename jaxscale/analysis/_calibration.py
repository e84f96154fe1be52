"""The result of a fit: values, uncertainty, what became of every start, and its theory."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxscale._deprecated import warn_deprecated
from jaxscale._table import Table
from jaxscale.analysis._fit_text import fit_data, fit_table, fit_text
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._grid_prediction import predicted_grid
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._levenberg import STATUS_NAMES
from jaxscale.analysis._plain import write_json
from jaxscale.analysis._prediction import predicted
from jaxscale.analysis._resamples import LOST_REFUSES, Resamples
from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual


@dataclasses.dataclass(frozen=True)
class Start:
    """What became of the starts `s`, the given values first.

    - `coordinates`: where each fit ended, shape `(..., s, p)`.
    - `cost`: its sum of losses, shape `(..., s)`.
    - `code`: its status, shape `(..., s)`; `status` names them.
    """

    coordinates: np.ndarray
    cost: np.ndarray
    code: np.ndarray

    @property
    def status(self) -> np.ndarray:
        """`converged`, `not converged`, `not finite` or `stuck`, of every start."""
        return np.asarray(STATUS_NAMES)[self.code]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Fitted parameters with their uncertainty; every array has the leading axis of `each`.

    - `free`: names of the fitted parameters, `bounds` what they are confined to.
    - `coordinates`, `covariance`: of the real coordinates behind the bounds (logarithms of positive
      parameters), shapes `(p,)` and `(p, p)`.
    - `residual_rms`: root mean square residual, on the residual's scale; with weights w that have
      a mean of one, the root of the mean of `w r^2`.
    - `huber_delta`: NaN, unless a few residuals outweigh the others (their rms exceeds three robust
      standard deviations, by the median): then two of those, a delta to try with `Huber`.
    - `converged`: whether the solver met its tolerance.
    - `condition`: condition number of the Jacobian with columns of unit length.
    - `n_points`: data points of each fit; `n_left_out`: those of failed runs, blank ones, and those
      without a residual (not positive) or a statement of the theory, of all fits.
    - `residuals`: theory less data on the residual's scale, shape `(others, theory)`, NaN where
      there are no data; `residual`, `units`: that scale, by observable,
      and what it is divided by, for every fit of `each`.
    - `loss`, `objective`: what was made small, and its sum at the optimum.
    - `starts`: what became of every start.
    - `drawn`: refits of resamples, or None.
    - `each`: dimension that was fitted separately, with its `labels`.
    - `inputs`: those of a formula by name, shape `(theory,)`.
    """

    theory: GridTheory | Formula
    free: tuple[str, ...]
    bounds: tuple[AbstractBound, ...]
    coordinates: np.ndarray
    covariance: np.ndarray
    residuals: np.ndarray
    residual: Mapping[str, AbstractResidual]
    units: Mapping[str, Any]
    loss: AbstractLoss
    objective: Any
    residual_rms: Any
    huber_delta: Any
    converged: Any
    condition: Any
    n_points: Any
    n_left_out: int
    starts: Start
    drawn: Resamples | None
    each: str | None
    labels: tuple[Any, ...]
    inputs: dict[str, np.ndarray]

    @property
    def values(self) -> dict[str, Any]:
        """Fitted values: floats, or arrays over `each`."""
        return self._named(self.coordinates)

    @property
    def standard_error(self) -> dict[str, Any]:
        """Standard errors: of the refits where there are any, else `|dv/dz| sqrt(Sigma_zz)`.

        Those of refits are their standard deviation times `drawn.widening`, which of n points or
        groups is `sqrt(n / (n - 1))`, of a form with a break `sqrt(n / (n - p))`.
        """
        if self.drawn is not None:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # all refits were lost
                spread = {n: np.nanstd(v, axis=-1, ddof=1) for n, v in self.bootstrap.items()}
            usable = self.drawn.usable  # refits that are all alike say nothing of the error
            with np.errstate(invalid="ignore"):  # of one group it is infinite, and nothing scatters
                return {
                    name: _plain(np.where(usable & (v > 0), self.drawn.widening * v, np.nan))
                    for name, v in spread.items()
                }
        errors = {}
        for i, (name, bound) in enumerate(zip(self.free, self.bounds, strict=True)):
            with np.errstate(all="ignore"), jax.enable_x64(True):
                slope = np.asarray(bound.derivative(self.coordinates[..., i]))
                errors[name] = _plain(np.where(slope == 0, np.nan, slope) * self._error[..., i])
        return errors

    @property
    def method(self) -> str:
        """What the intervals come from, in words."""
        if self.drawn is None:
            return "covariance, which takes all points for independent"
        return f"percentiles of {self.drawn.text}"

    def interval(
        self, level: float = 0.95, *, max_lost: float = LOST_REFUSES
    ) -> dict[str, tuple[Any, Any]]:
        r"""Intervals of the values: of the refits where there are any, else of the covariance.

        The latter are `z ± t_{(1 + level) / 2, n - p} sqrt(Sigma_zz)`, bounded.

        **Arguments:** `level`, of confidence; `max_lost`, the largest share of lost refits with
        which there is an interval.

        **Returns:** low and high end by name, inside the bounds; NaN where too few things were
        resampled or too many refits were lost; `method` says what they come from.

        **Raises:** `ValueError` for a level outside (0, 1).
        """
        if self.drawn is None:
            return self.covariance_interval(level)
        z = np.moveaxis(self.drawn.z, -1, 0)
        ends = zip(*(self.drawn.ends(x, level, max_lost) for x in z), strict=True)
        low, high = (self._named(np.stack(end, axis=-1)) for end in ends)
        return {n: (low[n], high[n]) for n in self.free}

    def covariance_interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        r"""Intervals from the covariance: `z ± t_{(1 + level) / 2, n - p} sqrt(Sigma_zz)`, bounded.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name, inside the bounds.

        **Raises:** `ValueError` for a level outside (0, 1).
        """
        from scipy.special import stdtrit

        check_level(level)
        df = np.asarray(self.n_points - len(self.free))
        half = stdtrit(df[..., None], (1 + level) / 2) * self._error
        with np.errstate(invalid="ignore"):
            low, high = self.coordinates - half, self.coordinates + half
        named = self._named(low), self._named(high)
        return {n: (named[0][n], named[1][n]) for n in self.free}

    def bootstrap_interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        """Intervals of the refits; deprecated: `interval`."""
        warn_deprecated("bootstrap_interval", "interval")
        self._require_refits()
        return self.interval(level)

    @property
    def resamples(self) -> np.ndarray | None:
        """Coordinates of the refits, shape `(b, p)`, NaN where one was lost; or None."""
        return None if self.drawn is None else self.drawn.first

    @property
    def bootstrap(self) -> dict[str, np.ndarray]:
        """Refitted values by name, shape `(b,)`.

        **Raises:** `ValueError` for a fit without resamples.
        """
        return self._named(self._require_refits().first)

    @property
    def refits(self) -> dict[str, np.ndarray]:
        """Values of all blocks of refits by name, those without a floor too: for `drawn.ends`.

        **Raises:** `ValueError` for a fit without resamples.
        """
        return self._named(self._require_refits().z)

    def _require_refits(self) -> Resamples:
        if self.drawn is None:
            raise ValueError("`bootstrap` must be at least 2 where the fit is made, got 0.")
        return self.drawn

    def has_covariance(self, i: int = 0) -> bool:
        """Whether the fit number `i` of `each` has a finite covariance to draw from."""
        p = len(self.free)
        return bool(np.isfinite(self.covariance.reshape(-1, p, p)[i]).all())

    def draws(self, n: int, i: int = 0, *, seed: int = 0) -> list[dict[str, float]]:
        """Values drawn from Student's law of the coordinates, of the fit number `i` of `each`.

        It has n - p degrees of freedom, as `covariance_interval`.

        **Arguments:** how many, which fit, and a seed.

        **Returns:** values by name, inside the bounds.

        **Raises:** `ValueError` for a fit whose covariance is not finite.
        """
        z = np.atleast_2d(self.coordinates)[i]
        covariance = self.covariance.reshape(-1, len(z), len(z))[i]
        if not self.has_covariance(i):
            raise ValueError(f"`fit` must have a finite covariance, got {covariance.tolist()}.")
        rng = np.random.default_rng(seed)  # of nearly singular ones rounding decides the validity
        drawn = rng.multivariate_normal(np.zeros_like(z), covariance, size=n, check_valid="ignore")
        df = int(np.atleast_1d(self.n_points)[i]) - len(z)
        drawn = z + drawn * np.sqrt(df / rng.chisquare(df, size=(n, 1)))
        named = self._named(drawn)
        return [{name: float(named[name][k]) for name in self.free} for k in range(n)]

    @property
    def n_lost(self) -> int:
        """Refits that did not converge."""
        return 0 if self.drawn is None else self.drawn.n_lost

    def fitted(self) -> GridTheory | Formula:
        """The theory at the fitted values.

        **Raises:** `ValueError` where there is one per value of `each`.
        """
        if self.each is not None:
            raise ValueError(f"`each` = {self.each!r} has one theory per value; see `predict`.")
        return self.theory.replaced(self.values)

    def predict(self, *, level: float = 0.95, **inputs: Any) -> Any:
        r"""Theory at the fitted values, with intervals.

        Of a formula `y(x)` the table has columns `y`; `y_low` and `y_high`, the interval of y;
        `new_low` and `new_high`, that of a new measurement, which has the scatter of the residuals
        on top; and `decades_outside`, the largest distance of an input from those that were fitted,
        in decades. No interval knows whether the formula holds out there. Of a grid the Dataset has
        every observable with a closed form, and of those that were fitted also the interval, such
        as `loss_low` and `loss_high`; NaN where the fit has none.

        **Arguments:** `level`, of confidence; for a formula, its inputs as arrays, for a grid none.

        **Returns:** a Dataset for a grid, a DataFrame for a formula; with a leading dimension or a
        column `each` where fits were made separately.

        **Raises:** `ValueError` for a level outside (0, 1), and inputs that a form does not take.
        """
        if isinstance(self.theory, Formula):
            self.theory.check_inputs(inputs)
            return predicted(self, self.theory, inputs, level)
        if inputs:
            raise ValueError(f"`{min(inputs)}` is an input, of which the fit of a grid has none.")
        return predicted_grid(self, self.theory, level)

    def table(self) -> Table:
        """Return values with errors and 95 % intervals, for the terminal (`rich.print`)."""
        return fit_table(self)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per parameter and data set."""
        values, errors, ends, each = (
            self.values,
            self.standard_error,
            self.interval(),
            np.atleast_1d,
        )
        return [
            {
                "label": label,
                "parameter": name,
                "value": float(each(values[name])[i]),
                "standard_error": float(each(errors[name])[i]),
                "interval": [float(each(end)[i]) for end in ends[name]],
            }
            for i, label in enumerate(self.labels or (None,))
            for name in self.free
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: infinities and NaN are None.

        `values` holds the fitted values by name, lists along `labels` where fits were made
        separately; `start` the values given, None where a form started by itself; `theory` what
        was fixed.
        """
        return fit_data(self)

    def to_json(self, path: Path | str) -> None:
        """Write `to_dict` to a file."""
        write_json(self.to_dict(), path)

    def __str__(self) -> str:
        return fit_text(self)

    @property
    def _error(self) -> np.ndarray:
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    def _named(self, z: np.ndarray) -> dict[str, Any]:
        with np.errstate(all="ignore"), jax.enable_x64(True):
            values = [np.asarray(b.constrain(z[..., i])) for i, b in enumerate(self.bounds)]
        return {n: _plain(v) for n, v in zip(self.free, values, strict=True)}


def _plain(value: Any) -> Any:
    """A number, or an array over `each`."""
    return float(value) if np.ndim(value) == 0 else value
