"""How well a form predicts runs that its fit has not had: other scales, and larger ones."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxscale._table import Column, Table
from jaxscale._text import counted, number
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import Data, as_table
from jaxscale.analysis._diagnostics import check_count
from jaxscale.analysis._formula import Formula, formula_of
from jaxscale.analysis._intervals import check_level, decades_outside
from jaxscale.analysis._scales import positive_column, scales

if TYPE_CHECKING:
    import pandas

FOLD, ALL = "fold", -1  # the fit number -1 has all runs
FIRST = 3  # scales, that the first fit of `rolled_out` has


class TooFewScales(ValueError):
    """There is nothing to roll out."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Runs that were predicted by fits without them.

    - `runs`: a DataFrame of one row per prediction: what the data say of the run, `scale` (its
      number, from 0), `fold` (the number of the fit), `predicted`, `low` and `high` (the interval
      of a new run), `error` (`ln predicted - ln measured`), `inside` (1 where the interval holds
      the run, NaN without one), `decades`, by which the run lies outside of the fitted range of
      `by`, and `fitted_to`, the end of that range.
    - `by`: the column of the scales.
    - `in_sample`: errors of the fit to all runs, shape `(n,)`.
    - `fit`: the fits, for each `fold`; -1 has all runs.
    - `level`: of the intervals.
    """

    runs: "pandas.DataFrame"
    by: str
    in_sample: Float[np.ndarray, " n"]
    fit: Calibration
    level: float

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return _rms(self.runs["error"])

    @property
    def bias(self) -> float:
        """Mean of the errors: positive where the fits predict too much."""
        return float(np.nanmean(self.runs["error"]))

    @property
    def coverage(self) -> float:
        """Share of the runs inside their intervals, of those that have one; NaN where none has."""
        return _coverage(self.runs)

    @property
    def scales(self) -> "pandas.DataFrame":
        """One row per fit and scale: its middle, decades outside, runs, rms, bias and coverage."""
        import pandas

        rows, groups = [], self.runs.groupby([FOLD, "scale"])
        own: Any
        for (fold, _), own in groups:  # pyright: ignore[reportGeneralTypeIssues]
            middle = float(np.exp(np.log(own[self.by]).mean()))
            rows.append({
                FOLD: fold, self.by: middle, "fitted_to": float(own["fitted_to"].iloc[0]),
                "decades": float(own["decades"].median()), "n_runs": len(own),
                "rms": _rms(own["error"]), "bias": float(own["error"].mean()),
                "coverage": _coverage(own),
            })  # fmt: skip
        return pandas.DataFrame(rows)

    def table(self) -> Table:
        """Return the scores of every scale, for the terminal (`rich.print`)."""
        names = ("decades outside", "runs", "rms of ln error", "bias", "coverage")
        header = [Column(n, number=True) for n in (self.by, "fitted to", *names)]
        rows = []
        for row in self.scales.to_dict("records"):
            errors = (number(row[n], ".3g") for n in ("rms", "bias"))
            rows.append((f"{row[self.by]:.3g}", f"{row['fitted_to']:.3g}", f"{row['decades']:.2g}",
                         f"{row['n_runs']}", *errors, number(row["coverage"], ".0%")))  # fmt: skip
        return Table("", str(self), header, rows)

    def __str__(self) -> str:
        covered = number(self.coverage, ".0%")
        return (
            f"{counted(len(self.runs), 'run')} that the fit has not had: rms of ln error "
            f"{self.rms:.3g} (in sample {_rms(self.in_sample):.3g}), bias {self.bias:.2g}, "
            f"{covered} inside the {self.level:.0%} interval of a new run"
        )


def held_out(
    theory: Formula | Callable[..., Any],
    data: Data,
    by: str = "n_parameters",
    *,
    n_bins: int | None = None,
    columns: Mapping[str, str] | None = None,
    level: float = 0.95,
    **options: Any,
) -> HeldOut:
    r"""Leave one scale out: every scale is predicted by a fit to all others.

    $$e_i = \ln y_{\hat\theta_{-k}}(x_i) - \ln y_i, \qquad i \in \text{scale } k$$

    The first and the last scale are extrapolated, the others interpolated. All fits are lanes of
    one, so that they share one program.

    **Arguments**

    - `theory`: a form of `js.forms`, or a `Formula`.
    - `data`, `columns`: as in `calibrate`.
    - `by`: the column whose values are the scales, positive; `"compute"` is 6 `n_parameters`
      `n_tokens` where there is no such column.
    - `n_bins`: as many bins with about as many runs each are the scales; by default every value.
    - `level`: of the interval of a new run.
    - `options`: other arguments of `calibrate`, such as `bootstrap`: 0 takes intervals from the
      covariance, which a Huber loss of few runs does not have, and a third of the time.

    **Returns** a `HeldOut`. With few runs intervals hold too few: those of the covariance 91 %
    where 95 are said, of 25 runs and five parameters.

    **Raises** `ValueError` for scales that leave no more runs than parameters, and as `calibrate`.

    **Reference** Stone 1974, J. R. Statist. Soc. B 36, 111, with groups of runs.

    >>> import pandas
    >>> runs = pandas.DataFrame({"x": [1.0, 2.0, 4.0, 8.0, 16.0]})
    >>> runs["loss"] = 1 + runs["x"] ** -0.5
    >>> f"{js.analysis.held_out(js.forms.power_law, runs, 'x', bootstrap=0).rms:.3f}"
    '0.000'
    """
    formula, table, values = _prepared(theory, data, by, columns, "by")
    scale = scales(values, n_bins, "by")
    tested = scale == np.arange(scale.max() + 1)[:, None]
    return _predicted(formula, table, by, columns, values, scale, ~tested, tested, level, options)


def rolled_out(
    theory: Formula | Callable[..., Any],
    data: Data,
    along: str = "n_parameters",
    *,
    ahead: int = 1,
    n_bins: int | None = None,
    columns: Mapping[str, str] | None = None,
    level: float = 0.95,
    **options: Any,
) -> HeldOut:
    r"""Roll out: fit the runs up to every scale, predict the next ones above.

    It asks what an extrapolation is asked. The first fit has three scales, and runs at more
    inputs than it has parameters. `HeldOut.scales` has the errors by the distance in decades.

    **Arguments**

    - `along`: the column whose values are the scales, as `by` of `held_out`.
    - `ahead`: how many scales above are predicted.
    - Others as in `held_out`.

    **Returns** a `HeldOut`; the fits overlap, and so do not err independently.

    **Raises** `ValueError` for too few scales, and as `calibrate`.

    **Reference** Tashman 2000, Int. J. Forecasting 16, 437 (rolling origin), with scales for time.
    """
    check_count("ahead", ahead, 1)
    formula, table, values = _prepared(theory, data, along, columns, "along")
    scale = scales(values, n_bins, "along")
    n_free = len(options.get("free") or formula.unset)
    inputs = table[formula.columns(dict(columns or {}), table)].to_numpy(float)
    n_places = [len(np.unique(inputs[scale <= k], axis=0)) for k in range(scale.max())]
    last = [k for k, n in enumerate(n_places) if k + 1 >= FIRST and n > n_free]
    if not last:
        raise TooFewScales(
            f"`along` must have more than {FIRST} scales, of which the lower ones hold runs at "
            f"more than {n_free} different inputs, got {scale.max() + 1} scales of "
            f"{len(table)} runs."
        )
    limit = np.asarray(last)[:, None]
    tested = (scale > limit) & (scale <= limit + ahead)
    return _predicted(
        formula, table, along, columns, values, scale, scale <= limit, tested, level, options
    )


def _prepared(
    theory: Any, data: Data, by: str, columns: Mapping[str, str] | None, argument: str
) -> tuple[Formula, "pandas.DataFrame", Float[np.ndarray, " n"]]:
    """The formula, its complete rows of positive results, and the column of the scales."""
    formula = formula_of(theory)
    table: Any = as_table(data, columns)
    inputs = formula.columns(dict(columns or {}), table)
    table = table.dropna(subset=[formula.result, *inputs])
    measured = table[formula.result].to_numpy(float)
    table = table[np.isfinite(measured) & (measured > 0)].reset_index(drop=True)
    return formula, table, positive_column(table, by, argument)


def _predicted(
    formula: Formula,
    table: "pandas.DataFrame",
    by: str,
    columns: Mapping[str, str] | None,
    values: Float[np.ndarray, " n"],
    scale: Int[np.ndarray, " n"],
    fitted: Bool[np.ndarray, "k n"],
    tested: Bool[np.ndarray, "k n"],
    level: float,
    options: dict[str, Any],
) -> HeldOut:
    """Fit all runs and those of every fold as data sets of one program, and predict the others."""
    import pandas

    check_level(level)
    inputs = formula.columns(dict(columns or {}), table)
    folds = [table.assign(**{FOLD: ALL})]
    folds += [table[own].assign(**{FOLD: k}) for k, own in enumerate(fitted)]
    stacked = pandas.concat(folds, ignore_index=True)
    fit = calibrate(
        formula, stacked, columns=formula.columns_of(columns or {}), each=FOLD, **options
    )
    at = {name: table[name].to_numpy(float) for name in inputs}
    new = fit.predict(level=level, **at)  # every run by every fit: one shape, one program
    names = (formula.result, "new_low", "new_high")
    result, low, high = (new[n].to_numpy(float).reshape(-1, len(table)) for n in names)
    measured = table[formula.result].to_numpy(float)
    with np.errstate(all="ignore"):
        errors = np.log(result / measured)
    inside = np.where(np.isnan(low + high), np.nan, (low <= measured) & (measured <= high))
    rows = []
    for k, own in enumerate(tested):
        first, last = (float(f(values[fitted[k]])) for f in (np.min, np.max))
        every = {
            by: values, "scale": scale, "decades": decades_outside(values, first, last),
            "predicted": result[k + 1], "low": low[k + 1], "high": high[k + 1],
            "error": errors[k + 1], "inside": inside[k + 1],
        }  # fmt: skip
        named: Any = {name: column[own] for name, column in every.items()}
        rows.append(table[own].assign(**named, **{FOLD: k, "fitted_to": last}))
    return HeldOut(pandas.concat(rows, ignore_index=True), by, errors[0], fit, level)


def _rms(errors: Any) -> float:
    return float(np.sqrt(np.nanmean(np.square(errors))))


def _coverage(runs: Any) -> float:
    return float(runs["inside"].mean())
