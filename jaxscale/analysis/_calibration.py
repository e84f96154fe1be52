"""The result of a fit: values, uncertainty, what became of every start, and its theory."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxscale._table import Column, Table
from jaxscale.analysis._exponents import check_level
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._least_squares import STATUS_NAMES
from jaxscale.analysis._plain import plain
from jaxscale.analysis.bounds import AbstractBound


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
    - `residual_rms`: root mean square residual, on the residual's scale.
    - `converged`: whether the solver met its tolerance.
    - `condition`: condition number of the Jacobian with columns of unit length.
    - `n_points`: data points of each fit; `n_left_out`: those without a residual (not positive) or
      without a statement of the theory, of all fits.
    - `starts`: what became of every start.
    - `resamples`: coordinates of the bootstrap, shape `(b, p)`, NaN where a refit did not converge
      or had no more points than parameters; or None. `n_lost` counts those.
    - `each`: dimension that was fitted separately, with its `labels`.
    """

    theory: GridTheory | Formula
    free: tuple[str, ...]
    bounds: tuple[AbstractBound, ...]
    coordinates: np.ndarray
    covariance: np.ndarray
    residual_rms: Any
    converged: Any
    condition: Any
    n_points: Any
    n_left_out: int
    starts: Start
    resamples: np.ndarray | None
    each: str | None
    labels: tuple[Any, ...]

    @property
    def values(self) -> dict[str, Any]:
        """Fitted values: floats, or arrays over `each`."""
        return self._named(self.coordinates)

    @property
    def standard_error(self) -> dict[str, Any]:
        r"""Standard errors of the values, `|dv/dz| sqrt(Sigma_zz)`."""
        error, found = self._error, {}
        for i, (name, bound) in enumerate(zip(self.free, self.bounds, strict=True)):
            z = self.coordinates[..., i]
            with jax.enable_x64(True):
                slope = np.asarray(jax.vmap(jax.grad(bound.constrain))(jnp.asarray(z.ravel())))
            slope = slope.reshape(z.shape)
            value = np.where(slope == 0, np.nan, slope) * error[..., i]
            found[name] = float(value) if value.ndim == 0 else value
        return found

    def interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        r"""Intervals from the covariance: `z ± t_{(1 + level) / 2, n - p} sqrt(Sigma_zz)`, bounded.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name, inside the bounds; equal to the value's type.

        **Raises:** `ValueError` for a level outside (0, 1).
        """
        from scipy.stats import t

        check_level(level)
        freedom = np.asarray(self.n_points - len(self.free))
        half = t.ppf((1 + level) / 2, freedom[..., None]) * self._error
        low, high = self._named(self.coordinates - half), self._named(self.coordinates + half)
        return {n: (low[n], high[n]) for n in self.free}

    def bootstrap_interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        """Percentiles of the resamples.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name.

        **Raises:** `ValueError` for a fit without resamples, or a level outside (0, 1).
        """
        check_level(level)
        if self.resamples is None:
            raise ValueError("`bootstrap` must be given to `calibrate` for its intervals, got 0.")
        tails = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.nanquantile(self.resamples, tails, axis=-2)
        low, high = self._named(low), self._named(high)
        return {n: (low[n], high[n]) for n in self.free}

    @property
    def bootstrap(self) -> dict[str, np.ndarray]:
        """Refitted values by name, shape `(b,)`.

        **Raises:** `ValueError` for a fit without resamples.
        """
        if self.resamples is None:
            raise ValueError("`bootstrap` must be given to `calibrate`, got 0.")
        return self._named(self.resamples)

    def has_covariance(self, i: int = 0) -> bool:
        """Whether the fit number `i` of `each` has a finite covariance to draw from."""
        p = len(self.free)
        return bool(np.isfinite(self.covariance.reshape(-1, p, p)[i]).all())

    def draws(self, n: int, i: int = 0, *, seed: int = 0) -> list[dict[str, float]]:
        """Values drawn from the normal law of the coordinates, of the fit number `i` of `each`.

        **Arguments:** how many, which fit, and a seed.

        **Returns:** values by name, inside the bounds.

        **Raises:** `ValueError` for a fit whose covariance is not finite.
        """
        z = np.atleast_2d(self.coordinates)[i]
        covariance = self.covariance.reshape(-1, len(z), len(z))[i]
        if not self.has_covariance(i):
            raise ValueError(f"`fit` must have a finite covariance, got {covariance.tolist()}.")
        drawn = np.random.default_rng(seed).multivariate_normal(z, covariance, size=n)
        named = self._named(drawn)
        return [{name: float(named[name][k]) for name in self.free} for k in range(n)]

    @property
    def n_lost(self) -> int:
        """Refits of the bootstrap that did not converge."""
        return 0 if self.resamples is None else int(np.isnan(self.resamples[..., 0]).sum())

    def fitted(self) -> GridTheory | Formula:
        """The theory at the fitted values.

        **Raises:** `ValueError` where there is one per value of `each`.
        """
        if self.each is not None:
            raise ValueError(f"`each` = {self.each!r} has one theory per value; see `predict`.")
        return self.theory.replaced(self.values)

    def predict(self, **inputs: Any) -> Any:
        """Theory at the fitted values.

        **Arguments:** for a formula, its inputs as arrays; for a grid none.

        **Returns:** a Dataset for a grid, a DataFrame for a formula; with a leading dimension or a
        column `each` where fits were made separately.
        """
        if self.each is None:
            return self.theory.replaced(self.values).predicted(**inputs)
        values = self.values
        rows = ({n: values[n][i] for n in self.free} for i in range(len(self.labels)))
        found: Any = [self.theory.replaced(row).predicted(**inputs) for row in rows]
        return self.theory.joined(found, self.each, self.labels)

    def table(self) -> Table:
        """Return values with errors and 95 % intervals, for the terminal (`rich.print`)."""
        header = [Column(name) for name in (self.each, "parameter") if name]
        header += [Column(n, number=True) for n in ("value", "standard error", "95 % interval")]
        if self.resamples is not None:
            header.append(Column("95 % by bootstrap", number=True))
        rows = [
            (
                *([str(row["label"])] if self.each else []),
                row["parameter"],
                f"{row['value']:.6g}",
                f"{row['standard_error']:.2g}",
                *(f"{low:.5g} to {high:.5g}" for low, high in row["intervals"]),
            )
            for row in self.rows()
        ]
        told = [f"{np.size(self.converged) - np.sum(self.converged)} fits did not converge"]
        told = told if not np.all(self.converged) else []
        told += [f"{self.n_left_out} points left out"] if self.n_left_out else []
        told += [f"{self.n_lost} refits lost"] if self.n_lost else []
        return Table("", "; ".join(told), header, rows)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per parameter and data set."""
        kinds = [self.interval()]
        if self.resamples is not None:
            kinds.append(self.bootstrap_interval())
        values, errors, found = self.values, self.standard_error, []
        for i, label in enumerate(self.labels or (None,)):
            for name in self.free:
                value, error = np.atleast_1d(values[name])[i], np.atleast_1d(errors[name])[i]
                ends = [[float(np.atleast_1d(end)[i]) for end in kind[name]] for kind in kinds]
                found.append(
                    {"label": label, "parameter": name, "value": float(value),
                     "standard_error": float(error), "intervals": ends}
                )  # fmt: skip
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: infinities and NaN are None."""
        return plain({
            "theory": self.theory.described(),
            "free": self.free,
            "coordinates": self.coordinates,
            "each": self.each,
            "parameters": self.rows(),
            "covariance_of_coordinates": self.covariance,
            "bounds": [repr(b) for b in self.bounds],
            "residual_rms": self.residual_rms,
            "converged": self.converged,
            "condition": self.condition,
            "n_points": self.n_points,
            "n_left_out": self.n_left_out,
            "starts": {"status": self.starts.status, "cost": self.starts.cost},
            "n_lost": self.n_lost,
            "n_resamples": 0 if self.resamples is None else self.resamples.shape[-2],
        })  # fmt: skip

    def to_json(self, path: Path | str) -> None:
        """Write `to_dict` to a file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def __str__(self) -> str:
        rows = self.rows()
        lines = [f"{r['parameter']} = {r['value']:.6g} ± {r['standard_error']:.2g}" for r in rows]
        size, rms = np.sum(self.n_points), np.max(self.residual_rms)
        ended = np.size(self.converged) - int(np.sum(self.converged))
        told = "converged" if not ended else f"{ended} fits did not converge"
        return "\n".join([*lines, f"{size} points, rms residual {rms:.3g}, {told}"])

    @property
    def _error(self) -> np.ndarray:
        """Standard errors of the coordinates."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    def _named(self, z: np.ndarray) -> dict[str, Any]:
        with jax.enable_x64(True):
            found = [
                np.asarray(b.constrain(jnp.asarray(z[..., i]))) for i, b in enumerate(self.bounds)
            ]
        return {n: float(v) if v.ndim == 0 else v for n, v in zip(self.free, found, strict=True)}
