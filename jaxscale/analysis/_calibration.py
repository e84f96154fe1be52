"""The result of a fit: values, uncertainty, what became of every start, and its theory."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxscale._table import Column, Table
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._gridded import GridTheory
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._levenberg import STATUS_NAMES
from jaxscale.analysis._plain import plain, write_json
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
    - `huber_delta`: NaN, unless a few residuals outweigh the others (their rms exceeds three robust
      standard deviations, by the median): then two of those, a delta to try with `Huber`.
    - `converged`: whether the solver met its tolerance.
    - `condition`: condition number of the Jacobian with columns of unit length.
    - `n_points`: data points of each fit; `n_left_out`: those of failed runs, blank ones, and those
      without a residual (not positive) or a statement of the theory, of all fits.
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
    huber_delta: Any
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
        """Standard errors of the values, `|dv/dz| sqrt(Sigma_zz)`."""
        errors = {}
        for i, (name, bound) in enumerate(zip(self.free, self.bounds, strict=True)):
            with np.errstate(all="ignore"), jax.enable_x64(True):
                slope = np.asarray(bound.derivative(self.coordinates[..., i]))
            error = np.where(slope == 0, np.nan, slope) * self._error[..., i]
            errors[name] = float(error) if error.ndim == 0 else error
        return errors

    def interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        r"""Intervals from the covariance: `z ± t_{(1 + level) / 2, n - p} sqrt(Sigma_zz)`, bounded.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name, inside the bounds; equal to the value's type.

        **Raises:** `ValueError` for a level outside (0, 1).
        """
        from scipy.special import stdtrit

        check_level(level)
        freedom = np.asarray(self.n_points - len(self.free))
        half = stdtrit(freedom[..., None], (1 + level) / 2) * self._error
        return self._ends(self.coordinates - half, self.coordinates + half)

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
        return self._ends(*np.nanquantile(self.resamples, tails, axis=-2))

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
        theories: Any = [self.theory.replaced(row).predicted(**inputs) for row in rows]
        return self.theory.joined(theories, self.each, self.labels)

    def table(self) -> Table:
        """Return values with errors and 95 % intervals, for the terminal (`rich.print`)."""
        header = [Column(name) for name in (self.each, "parameter") if name]
        header += [Column(n, number=True) for n in ("value", "standard error", "95 % interval")]
        if self.resamples is not None:
            header.append(Column("95 % by bootstrap", number=True))
        rows = []
        for row in self.rows():
            ends = (f"{low:.5g} to {high:.5g}" for low, high in row["intervals"])
            numbers = (f"{row['value']:.6g}", f"{row['standard_error']:.2g}", *ends)
            label = [str(row["label"])] if self.each else []
            rows.append((*label, row["parameter"], *("–" if "nan" in n else n for n in numbers)))
        undefined = int(np.isnan([*self.standard_error.values()]).sum())
        counts = {"fits did not converge": self._n_failed, "points left out": self.n_left_out,
                  "refits lost": self.n_lost, "standard errors undefined": undefined}  # fmt: skip
        note = "; ".join([*(f"{n} {what}" for what, n in counts.items() if n), *self._hint])
        return Table("", note, header, rows)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per parameter and data set."""
        kinds = [self.interval()]
        kinds += [] if self.resamples is None else [self.bootstrap_interval()]
        values, errors, each = self.values, self.standard_error, np.atleast_1d
        return [
            {
                "label": label,
                "parameter": name,
                "value": float(each(values[name])[i]),
                "standard_error": float(each(errors[name])[i]),
                "intervals": [[float(each(end)[i]) for end in kind[name]] for kind in kinds],
            }
            for i, label in enumerate(self.labels or (None,))
            for name in self.free
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: infinities and NaN are None.

        `values` holds the fitted values by name, lists along `labels` where fits were made
        separately; `start` the values given; `theory` what was fixed.
        """
        start = zip(self.free, self.theory.start(self.free), strict=True)
        return plain({
            "values": self.values,
            "theory": self.theory.described(self.free),
            "free": self.free,
            "start": dict(start),
            "coordinates": self.coordinates,
            "each": self.each,
            "labels": self.labels,
            "parameters": self.rows(),
            "covariance_of_coordinates": self.covariance,
            "bounds": [repr(b) for b in self.bounds],
            "residual_rms": self.residual_rms,
            "huber_delta": self.huber_delta,
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
        write_json(self.to_dict(), path)

    def __str__(self) -> str:
        lines = [
            (f"{self.each} {row['label']}: " if self.each else "")
            + f"{row['parameter']} = {row['value']:.6g} ± "
            + f"{row['standard_error']:.2g}".replace("nan", "–")
            for row in self.rows()
        ]
        size, rms = np.sum(self.n_points), np.max(self.residual_rms)
        failed = self._n_failed
        end = f"{failed} fits did not converge" if failed else "converged"
        points = f"{size} points" + (f", {self.n_left_out} left out" if self.n_left_out else "")
        return "\n".join([*lines, f"{points}, rms residual {rms:.3g}, {end}", *self._hint])

    @property
    def _hint(self) -> list[str]:
        """What to do about a few residuals that outweigh the others, where there are any."""
        deltas = np.atleast_1d(self.huber_delta)
        heavy = deltas[~np.isnan(deltas)]
        if not heavy.size:
            return []
        which = f" in {heavy.size} of {deltas.size} fits" if self.each else ""
        delta = f"{np.median(heavy):.2g}"
        return [
            f"a few residuals outweigh the others{which}: look for a run that failed (each= or "
            f"--each fits runs apart), or take loss=Huber(delta={delta}), --huber {delta}"
        ]

    @property
    def _n_failed(self) -> int:
        return int(np.sum(~np.asarray(self.converged)))

    @property
    def _error(self) -> np.ndarray:
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    def _ends(self, low: np.ndarray, high: np.ndarray) -> dict[str, tuple[Any, Any]]:
        named = self._named(low), self._named(high)
        return {n: (named[0][n], named[1][n]) for n in self.free}

    def _named(self, z: np.ndarray) -> dict[str, Any]:
        with np.errstate(all="ignore"), jax.enable_x64(True):
            values = [np.asarray(b.constrain(z[..., i])) for i, b in enumerate(self.bounds)]
        return {n: float(v) if v.ndim == 0 else v for n, v in zip(self.free, values, strict=True)}
