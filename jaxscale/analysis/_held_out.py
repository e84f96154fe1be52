"""How well a form predicts runs that its fit has not had: other scales, and larger ones."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._allocation import SIZES
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._data import Data, as_numbers, as_table, check_names
from jaxscale.analysis._diagnostics import MEDIAN, check_count
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._grouped import Grouped, columns_of, lacking, with_groups
from jaxscale.analysis._held_out_runs import FOLD, SCALE, HeldOut, free_name
from jaxscale.analysis._intervals import check_level, decades_outside
from jaxscale.analysis._prediction import predicted
from jaxscale.analysis._scales import positive_column, scales

if TYPE_CHECKING:
    import pandas

ALL = -1  # number of the fit to all runs
FIRST = 3  # scales, that the first fit of `rolled_out` has


class TooFewScales(ValueError):
    """There is nothing to roll out."""


def held_out(
    theory: Formula | Grouped | Callable[..., Any],
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

    - `theory`: a form of `js.forms`, one that is `grouped`, or a `Formula`. Every fit needs runs of
      every group, at no fewer inputs than the group has parameters of its own.
    - `data`, `columns`: as in `calibrate`.
    - `by`: the column whose values are the scales, positive; `"compute"` is 6 `n_parameters`
      `n_tokens` where there is no such column.
    - `n_bins`: as many bins with about as many runs each are the scales; by default every value.
    - `level`: of the interval of a new run.
    - `options`: other arguments of `calibrate`, such as `bootstrap`: 0 takes intervals from the
      covariance, which a Huber loss of few runs does not have, and a third of the time.

    **Returns** a `HeldOut`, whose rms is infinite if one prediction is undefined. With few runs
    intervals hold too few: those of the covariance 91 % where 95 are said, of 25 runs and five
    parameters.

    **Raises** `ValueError` for scales that leave no more runs than parameters, or too few of a
    group, and as `calibrate`.

    **Reference** Stone 1974, J. R. Statist. Soc. B 36, 111, with groups of runs.

    >>> import pandas
    >>> runs = pandas.DataFrame({"x": [1.0, 2.0, 4.0, 8.0, 16.0]})
    >>> runs["loss"] = 1 + runs["x"] ** -0.5
    >>> f"{js.analysis.held_out(js.forms.power_law, runs, 'x', bootstrap=0).rms:.3f}"
    '0.000'
    """
    runs = _Runs.of(theory, data, by, columns, "by", options)
    scale = scales(runs.at, n_bins, "by")
    tested = scale == np.arange(scale.max() + 1)[:, None]
    for own in tested:
        if few := runs.lacking(~own):
            middle = np.exp(np.log(runs.at[own]).mean())
            raise ValueError(
                f"`by` must leave every group enough runs: without {by} = {middle:.3g} those of "
                f"{few[0]} are at fewer inputs than it has parameters of its own; take `n_bins`, "
                "share more parameters, or leave the group out."
            )
    return runs.predicted(scale, ~tested, tested, level, options)


def rolled_out(
    theory: Formula | Grouped | Callable[..., Any],
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
    runs = _Runs.of(theory, data, along, columns, "along", options)
    scale = scales(runs.at, n_bins, "along")
    n_free = len(options.get("free") or runs.formula.unset)
    below = [scale <= k for k in range(scale.max())]
    few = [runs.lacking(own) for own in below]
    enough = [runs.n_locations(own) > n_free and not few[k] for k, own in enumerate(below)]
    last = [k for k, ok in enumerate(enough) if ok and k + 1 >= FIRST]
    if not last:
        each = f", and enough of {few[-1][0]}" if few and few[-1] else ""
        raise TooFewScales(
            f"`along` must have more than {FIRST} scales, of which the lower ones hold runs at "
            f"more than {n_free} different inputs{each}, got {scale.max() + 1} scales of "
            f"{len(runs.table)} runs."
        )
    limit = np.asarray(last)[:, None]
    tested = (scale > limit) & (scale <= limit + ahead)
    return runs.predicted(scale, scale <= limit, tested, level, options)


def columns_named(options: Mapping[str, Any]) -> list[str]:
    """Columns that options of `calibrate` name; refuse what is no name."""
    given = {n: v for n in ("weights", "resample") if (v := options.get(n)) is not None}
    check_names(**given)
    return [*given.values()]


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Complete runs: the formula, their table and inputs, and the values of `by`."""

    formula: Formula
    table: "pandas.DataFrame"
    inputs: list[str]
    by: str
    at: Float[np.ndarray, " n"]
    n_left_out: int

    @classmethod
    def of(
        cls,
        theory: Any,
        data: Data,
        by: str,
        columns: Mapping[str, str] | None,
        argument: str,
        options: Mapping[str, Any],
    ) -> "_Runs":
        """Take the complete rows of positive results; the scales are the argument `argument`."""
        check_names(**{argument: by})
        others = [by, *SIZES, *columns_named(options)]
        needed = [*columns_of(theory), *(columns or {}), *others]
        every: Any = as_table(data, columns, needed)
        formula = with_groups(theory, every)
        inputs = formula.columns(dict(columns or {}), every)
        numbers = [n for n in inputs if n not in formula.labels]
        every = as_numbers(every, [formula.result, *numbers])
        table = every.dropna(subset=[formula.result, *inputs])
        table = table[np.isfinite(table[numbers]).all(axis=1)]
        table = table[_positive(table[formula.result], formula.result)].reset_index(drop=True)
        at = positive_column(table, by, argument)
        return cls(with_groups(theory, table), table, inputs, by, at, len(every) - len(table))

    @functools.cached_property
    def coded(self) -> dict[str, Float[np.ndarray, " n"]]:
        """Inputs by name, of labels their numbers."""
        coded = self.formula.coded({n: self.table[n] for n in self.inputs})
        return {n: np.asarray(x, float) for n, x in coded.items()}

    def n_locations(self, used: Bool[np.ndarray, " n"]) -> int:
        """Different inputs of the used runs."""
        return len(np.unique(np.stack([x[used] for x in self.coded.values()], axis=1), axis=0))

    def lacking(self, used: Bool[np.ndarray, " n"]) -> list[str]:
        """Groups of which the used runs are too few."""
        return lacking(self.formula, {n: x[used] for n, x in self.coded.items()})

    def predicted(
        self,
        scale: Int[np.ndarray, " n"],
        fitted: Bool[np.ndarray, "k n"],
        tested: Bool[np.ndarray, "k n"],
        level: float,
        options: dict[str, Any],
    ) -> HeldOut:
        """Fit all runs and those of every fold as data sets of one program; predict the others."""
        import pandas

        check_level(level)
        if "each" in options:
            raise ValueError("`each` must not be given: the folds are what is fitted separately.")
        formula, table = self.formula, self.table
        fold = free_name(FOLD, [*table.columns, *formula.unset])
        folds = [table.assign(**{fold: ALL})]
        folds += [table[own].assign(**{fold: k}) for k, own in enumerate(fitted)]
        stacked = pandas.concat(folds, ignore_index=True)
        columns = {n: n for n in (*self.inputs, formula.result)}
        with warnings.catch_warnings():  # scores are of errors of ln, whatever means are
            warnings.filterwarnings("ignore", f"residuals of .*{MEDIAN}")
            fit = calibrate(formula, stacked, columns=columns, each=fold, **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # counted below
            # every run by every fit: one shape, one program
            places = {n: table[n].to_numpy() for n in self.inputs}
            new = predicted(fit, formula, places, level)
        names = (formula.result, "new_low", "new_high")
        result, low, high = (new[n].to_numpy(float).reshape(-1, len(table)) for n in names)
        measured = table[formula.result].to_numpy(float)
        with np.errstate(all="ignore"):
            errors = np.log(result / measured)
        inside = np.where(np.isnan(low + high), np.nan, (low <= measured) & (measured <= high))
        has_interval = np.isfinite(low + high).any(axis=1, keepdims=True)
        inside = np.where(has_interval & ~np.isfinite(errors), 0.0, inside)
        rows = []
        for k, own in enumerate(tested):
            first, last = (float(f(self.at[fitted[k]])) for f in (np.min, np.max))
            rows.append(pandas.DataFrame({
                SCALE: scale, FOLD: k, "predicted": result[k + 1], "low": low[k + 1],
                "high": high[k + 1], "error": errors[k + 1], "inside": inside[k + 1],
                "decades": decades_outside(self.at, first, last), "fitted_to": last,
            })[own])  # fmt: skip
        data: Any = table if self.by in table else table.assign(**{self.by: self.at})
        data = pandas.concat([data[own] for own in tested], ignore_index=True)
        predictions = pandas.concat(rows, ignore_index=True)
        made = HeldOut(predictions, data, self.by, errors[0], fit, level, self.n_left_out)
        if made.n_undefined:
            warn_user(
                f"{made.n_undefined} of {len(predictions)} predictions of {formula.name} are not "
                "positive numbers, so that its rms is infinite: leave runs out for which the form "
                "is not meant, or confine its parameters by `bounds`",
            )  # fmt: skip
        return made


def _positive(values: Any, name: str) -> Bool[np.ndarray, " n"]:
    """Which values have a logarithm; warn of others."""
    measured = np.asarray(values, float)
    positive = np.isfinite(measured) & (measured > 0)
    if n := int(np.sum(~positive)):
        warn_user(
            f"{counted(n, 'row')} with {name} that is not positive (or infinite): left out",
        )
    return positive
