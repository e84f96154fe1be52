"""Runs that were predicted by fits without them: their errors, and how many intervals hold."""

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._table import Column, Table
from jaxscale._text import counted, number
from jaxscale.analysis._calibration import Calibration

if TYPE_CHECKING:
    import pandas

FOLD, SCALE = "fold", "scale"


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Runs that were predicted by fits without them.

    - `predictions`: a DataFrame of one row per prediction: `scale` (its number, from 0), `fold`
      (the number of the fit), `predicted`, `low` and `high` (the interval of a new run), `error`
      (`ln predicted - ln measured`), `inside` (1 where the interval holds the run, NaN without
      one), `decades`, by which the run lies outside of the fitted range of `by`, and `fitted_to`,
      the end of that range.
    - `data`: what the data say of these runs, row by row.
    - `by`: the column of the scales.
    - `in_sample`: errors of the fit to all runs, shape `(n,)`.
    - `fit`: the fits, one per fold; -1 has all runs.
    - `level`: of the intervals.
    - `n_left_out`: rows of the data without a positive result, or without an input.

    A prediction that is not a positive number is undefined, and as wrong as one can be: `rms` is
    infinite, `bias` NaN, and the run lies outside of its interval. `n_undefined` counts them.
    """

    predictions: "pandas.DataFrame"
    data: "pandas.DataFrame"
    by: str
    in_sample: Float[np.ndarray, " n"]
    fit: Calibration
    level: float
    n_left_out: int

    @property
    def runs(self) -> "pandas.DataFrame":
        """`data` with `predictions`, whose columns end in `_` where the data have their names."""
        import pandas

        names = {n: free_name(n, self.data.columns) for n in self.predictions}
        return pandas.concat([self.data, self.predictions.rename(columns=names)], axis=1)

    @property
    def n_undefined(self) -> int:
        """Predictions that are not positive numbers."""
        return n_undefined(self._errors)

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return rms(self._errors)

    @property
    def bias(self) -> float:
        """Mean of the errors: positive where the fits predict too much."""
        return _bias(self._errors)

    @property
    def coverage(self) -> float:
        """Share of the runs inside their intervals, of those that have one; NaN where none has."""
        return _share(self.predictions["inside"])

    @property
    def _errors(self) -> Float[np.ndarray, " n"]:
        return np.asarray(self.predictions["error"], float)

    @property
    def scales(self) -> "pandas.DataFrame":
        """One row per fit and scale: its middle, decades outside, runs, rms, bias and coverage.

        The middle has the name of `by`, with `_` where another column has it.
        """
        import pandas

        groups = self.predictions.assign(at=self.data[self.by].astype(float)).groupby([FOLD, SCALE])
        own: Any
        rows = []
        for (fold, _), own in groups:  # pyright: ignore[reportGeneralTypeIssues]
            named = {n: np.asarray(own[n], float) for n in own}
            error = named["error"]
            scores = {
                "fitted_to": named["fitted_to"][0], "decades": np.median(named["decades"]),
                "n_runs": len(error), "rms": rms(error), "bias": _bias(error),
                "coverage": _share(named["inside"]), "n_undefined": n_undefined(error),
            }  # fmt: skip
            middle = np.exp(np.log(named["at"]).mean())
            rows.append({FOLD: fold, free_name(self.by, [FOLD, *scores]): middle, **scores})
        return pandas.DataFrame(rows)

    def table(self) -> Table:
        """Return the scores of every scale, for the terminal (`rich.print`)."""
        names = ("decades outside", "runs", "rms of ln error", "bias", "coverage")
        header = [Column(n, number=True) for n in (self.by, "fitted up to", *names)]
        rows = []
        for _, middle, end, decades, n, error, bias, share, _ in self.scales.to_numpy().tolist():
            errors = (number(value, ".3g") for value in (error, bias))
            rows.append((f"{middle:.3g}", f"{end:.3g}", f"{decades:.2g}", f"{n:.0f}", *errors,
                         number(share, ".0%")))  # fmt: skip
        return Table("", str(self), header, rows).filled

    def __str__(self) -> str:
        errors = (number(e, ".3g") for e in (self.rms, rms(self.in_sample)))
        undefined, blank = self.n_undefined, self.n_left_out
        inside = f"{number(self.coverage, '.0%')} inside the {self.level:.0%} interval of a new run"
        inside = "no interval of a new run" if np.isnan(self.coverage) else inside
        return (
            f"{counted(len(self.predictions), 'run')} that the fit has not had: rms of ln error "
            f"{next(errors)} (in sample {next(errors)}), bias {number(self.bias, '.2g')}, "
            + inside
            + (f"; {counted(undefined, 'prediction')} undefined" if undefined else "")
            + (f"; {counted(blank, 'row')} left out" if blank else "")
        )


def free_name(name: str, taken: Collection[Any]) -> str:
    """Return a name that is not taken: `name`, or with as many `_` behind it as it needs."""
    while name in taken:
        name += "_"
    return name


def rms(errors: Float[np.ndarray, " n"]) -> float:
    """Root mean square; infinite where an error is undefined."""
    return float("inf") if n_undefined(errors) else float(np.sqrt(np.mean(np.square(errors))))


def n_undefined(errors: Float[np.ndarray, " n"]) -> int:
    """Errors that are not finite."""
    return int(np.sum(~np.isfinite(errors)))


def _share(inside: Any) -> float:
    """Mean of what is not NaN; NaN where nothing is."""
    given = np.asarray(inside, float)
    given = given[~np.isnan(given)]
    return float(given.mean()) if given.size else float("nan")


def _bias(errors: Float[np.ndarray, " n"]) -> float:
    return float("nan") if n_undefined(errors) else float(np.mean(errors))
