"""The loss of language models over parameters and tokens: a fit of the Chinchilla form."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from jaxscale._arguments import hinted
from jaxscale._text import unknown
from jaxscale.analysis._allocation import SIZES, OptimalAllocation, allocate
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import Data, as_numbers, as_table, check_names, refuse
from jaxscale.analysis._levenberg import CONVERGED
from jaxscale.analysis._plain import plain, write_json
from jaxscale.analysis._resamples import N_RESAMPLES
from jaxscale.analysis.forms import chinchilla
from jaxscale.analysis.residuals import Huber

COLUMNS = (*SIZES, "loss")
REFERENCES = ("hoffmann2022", "besiroglu2024")


@dataclasses.dataclass(frozen=True)
class LossSurface:
    """A fitted Chinchilla form.

    - `fit`: the `Calibration` of the form, with all that it says.
    - `n_left_out`: runs without a finite loss, or without a size.
    """

    fit: Calibration
    n_left_out: int = 0

    @property
    def values(self) -> dict[str, float]:
        """`E`, `A`, `B`, `alpha`, `beta` by name."""
        return {**self.fit.values}

    @property
    def bootstrap(self) -> dict[str, np.ndarray]:
        """Refitted values by name, shape `(b,)`; NaN where a refit was lost.

        **Raises:** `ValueError` for a fit without resamples.
        """
        return self.fit.bootstrap

    @property
    def objective(self) -> float:
        """Sum of the losses of the residuals at the optimum."""
        return float(self.fit.objective)

    @property
    def rms(self) -> float:
        """Root mean square error of ln loss."""
        return float(self.fit.residual_rms)

    @property
    def n_runs(self) -> int:
        """Runs that were fitted."""
        return int(self.fit.n_points)

    @property
    def converged(self) -> bool:
        """Whether the solver met its tolerance."""
        return bool(self.fit.converged)

    @property
    def condition(self) -> float:
        """Condition number of the Jacobian with columns of unit length."""
        return float(self.fit.condition)

    @property
    def n_starts(self) -> int:
        """Starts that were followed."""
        return self.fit.starts.code.size

    @property
    def n_converged_starts(self) -> int:
        """Those that met the tolerance of the solver."""
        return int(np.sum(self.fit.starts.code == CONVERGED))

    @property
    def allocation(self) -> dict[str, float]:
        r"""Exponents of the best size and tokens, `N ~ C^a`, `D ~ C^b`, for `C = 6 N D`.

        $$a = \frac{\beta}{\alpha + \beta}, \qquad b = \frac{\alpha}{\alpha + \beta}$$
        """
        return {n: float(v) for n, v in _exponents(self.values).items()}

    def interval(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Intervals of the parameters and of the allocation exponents.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name; `a` and `b` are the exponents of `allocation`.

        **Raises:** `ValueError` for a level outside (0, 1) or a fit without a bootstrap.
        """
        drawn = self.fit.refits
        resamples = self.fit.drawn
        assert resamples is not None  # or there were no refits
        ends = {n: resamples.ends(v, level) for n, v in _exponents(drawn).items()}
        more = {n: (float(low), float(high)) for n, (low, high) in ends.items()}
        return {**self.fit.interval(level), **more}

    def loss(
        self, n_parameters: Float[ArrayLike, "..."], n_tokens: Float[ArrayLike, "..."]
    ) -> Float[np.ndarray, "..."]:
        """The fitted loss, in float64; `fit.predict` has its intervals, too."""
        n, d = np.asarray(n_parameters, float), np.asarray(n_tokens, float)
        with jax.enable_x64(True):
            return np.asarray(chinchilla(n, d, **self.values))

    def optimal_allocation(
        self, flop: Float[ArrayLike, "..."] | Sequence[float]
    ) -> dict[str, np.ndarray]:
        r"""Best parameters, tokens and loss for a number of operations `C = 6 N D`.

        $$\min_{N} L\Bigl(N, \frac{C}{6 N}\Bigr)$$

        **Arguments:** `flop`, positive.

        **Returns:** `n_parameters`, `n_tokens` and `loss` by name, of the shape of `flop`.

        **Raises:** `ValueError` for operations that are not positive.

        **Reference:** Hoffmann et al. 2022, equation 4.
        """
        return self._allocated(flop).best

    def allocation_interval(
        self, flop: Float[ArrayLike, "..."] | Sequence[float], level: float = 0.95
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Intervals of `optimal_allocation`: every resample has an optimum of its own.

        **Arguments:** `flop`, positive; `level`, of confidence.

        **Returns:** low and high end of `n_parameters`, `n_tokens` and `loss`, of the shape of
        `flop`.

        **Raises:** `ValueError` for operations that are not positive, a level outside (0, 1), or a
        fit without a bootstrap.
        """
        _ = self.bootstrap  # raises without one
        return self._allocated(flop, level).interval

    def _allocated(self, flop: Any, level: float = 0.95) -> OptimalAllocation:
        return allocate(self.fit, flop, level=level)

    def to_dict(self, flop: ArrayLike | Sequence[float] = ()) -> dict[str, Any]:
        """Plain data for JSON, with the best allocation for each of `flop`."""
        resampled = self.fit.drawn is not None
        return plain({
            **self.fit.to_dict(),
            "values": self.values, "allocation": self.allocation,
            "interval_95": self.interval() if resampled else None,
            "rms": self.rms, "n_runs": self.n_runs, "n_left_out": self.n_left_out,
            "optimal_allocation": [self._plain(float(c)) for c in np.ravel(flop)],
        })  # fmt: skip

    def to_json(self, path: Path | str, flop: ArrayLike | Sequence[float] = ()) -> None:
        """Write `to_dict` to a file."""
        write_json(self.to_dict(flop), path)

    def _plain(self, flop: float) -> dict[str, Any]:
        made = self._allocated(flop)
        ends = None if self.fit.drawn is None else made.interval
        beyond = float(made.decades_outside)
        return {"flop": flop, **made.best, "interval_95": ends, "decades_outside": beyond}

    def __str__(self) -> str:
        shown = {n: f"{n} = {v:.5g}" for n, v in {**self.values, **self.allocation}.items()}
        if self.fit.drawn is not None:
            ends = self.interval().items()
            shown = {n: f"{shown[n]}  ({low:.4g} to {high:.4g})" for n, (low, high) in ends}
        return "\n".join([*shown.values(), f"intervals: {self.fit.method}"])


@hinted
def fit_loss_surface(
    n_parameters: Float[ArrayLike, " n"] | Data,
    n_tokens: Float[ArrayLike, " n"] | None = None,
    loss: Float[ArrayLike, " n"] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    delta: float | None = None,
    bootstrap: int = N_RESAMPLES,
    resample: str | None = None,
    key: int = 0,
) -> LossSurface:
    r"""Fit `L(N, D) = E + A N^-alpha + B D^-beta` to training runs, robustly, with intervals.

    It is `calibrate(js.forms.chinchilla, data)` with the allocation of compute, and gives the same
    numbers.

    **Arguments**

    - `n_parameters`, `n_tokens`, `loss`: one value per run, positive; or a DataFrame or the path of
      a file alone, with columns of these names. Runs with a NaN, or whose loss is infinite (they
      diverged), are left out and counted.
    - `columns`: names of the columns of such a table by ours, as
      `{"n_parameters": "N", "n_tokens": "D"}`.
    - `delta`: errors of ln loss beyond it count by their size, not by their square; by default
      1.345 times their scatter. Published fits have 1e-3, which counts most by their size.
    - `bootstrap`: number of resamples; 40 or more.
    - `resample`: column whose values are resampled instead of single runs.
    - `key`: of the resamples.

    **Returns** a `LossSurface`.

    **Raises** `ValueError` for values that are not positive or all equal, unequal lengths, under
    6 runs, or `resample` without resamples.

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, approach 3; Besiroglu, Erdil, Barnett and
    You 2024, arXiv 2404.10102.
    """
    check_names(**({} if resample is None else {"resample": resample}))
    if n_tokens is None and loss is None:
        needed = [*COLUMNS, *([] if resample is None else [resample])]
        table = as_numbers(as_table(n_parameters, columns, needed), COLUMNS)
    elif columns is not None:
        raise ValueError("`columns` belongs to a table: give a DataFrame or the path of a file.")
    else:
        table = _joined(n_parameters, n_tokens, loss)
    if resample is not None and resample not in table:
        raise unknown("`resample`", resample, map(str, table.columns))
    used, n_left_out = _usable(table)
    robust = None if delta is None else Huber(delta=np.asarray(delta))
    options: Any = {"loss": robust, "bootstrap": bootstrap, "key": key}
    return LossSurface(calibrate(chinchilla, used, resample=resample, **options), n_left_out)


def _exponents(values: Mapping[str, Any]) -> dict[str, Any]:
    total = values["alpha"] + values["beta"]
    return {"a": values["beta"] / total, "b": values["alpha"] / total}


def _joined(*columns: Any) -> Any:
    """A table of vectors; refuse what is none, and unequal lengths."""
    import pandas

    given = {name: np.asarray(column) for name, column in zip(COLUMNS, columns, strict=True)}
    for name, values in given.items():
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            kind = f"{values.dtype} of shape {values.shape}"
            raise ValueError(f"`{name}` must be a vector of numbers, got {kind}.")
    sizes = [len(values) for values in given.values()]
    if len(set(sizes)) > 1:
        raise ValueError(
            "`n_parameters`, `n_tokens` and `loss` must have a value for each run, as many as one "
            f"another, got {', '.join(map(str, sizes))}."
        )
    return pandas.DataFrame(given)


def _usable(table: Any) -> tuple[Any, int]:
    """Runs with parameters, tokens and a finite loss, and how many have not."""
    n, d, loss = arrays = [table[name].to_numpy(float) for name in COLUMNS]
    used = ~np.isnan(n + d) & np.isfinite(loss)
    if used.sum() < 6:
        raise ValueError(f"`loss` must be finite for at least 6 runs, got {used.sum()}.")
    for name, array in zip(COLUMNS, arrays, strict=True):
        refuse(name, "positive and finite", table[name], used & ~(np.isfinite(array) & (array > 0)))
        if np.ptp(array[used]) == 0:
            value = array[used][0]
            raise ValueError(
                f"`{name}` must have several values, got {value:g} for every run: such runs hold "
                "no information on the exponents."
            )
    return table[used].assign(**{n: a[used] for n, a in zip(COLUMNS, arrays, strict=True)}), int(
        np.sum(~used)
    )
