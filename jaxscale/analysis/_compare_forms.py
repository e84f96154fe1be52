"""Which form predicts best: several forms, compared by runs that their fits have not had."""

import contextlib
import dataclasses
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._table import Column, Table
from jaxscale._text import DASH, counted, number
from jaxscale.analysis._allocation import SIZES
from jaxscale.analysis._data import Data, as_numbers, as_table, check_columns, check_names
from jaxscale.analysis._formula import Formula, formula_of
from jaxscale.analysis._grouped import Grouped, columns_of, with_groups
from jaxscale.analysis._held_out import TooFewScales, columns_named, held_out, rolled_out
from jaxscale.analysis._held_out_runs import HeldOut, rms

if TYPE_CHECKING:
    import pandas

NO_BAND = "no standard error"  # of the warning of fits whose intervals nothing reads


@dataclasses.dataclass(frozen=True)
class FormScores:
    """Forms, the best prediction of runs that were held out first.

    - `scores`: a DataFrame of one row per form: `form`; `n_free`, its parameters; `in_sample`,
      `held_out` and `rolled_out`, rms of the errors of ln; `worse` and `worse_error`, by how much
      `held_out` exceeds that of the first form, and the standard error of this difference; `aic`,
      less that of the form where it is lowest; `n_undefined`, held-out predictions that are not
      positive numbers. One of them makes the rms infinite, so that the form comes last.
    - `held_out`, `rolled_out`: the predictions behind them, by the name of the form. Where there
      are too few scales to roll out there are none, and NaN in `scores`.
    - `n_left_out`: rows of the data that one of the forms cannot use.
    """

    scores: "pandas.DataFrame"
    held_out: Mapping[str, HeldOut]
    rolled_out: Mapping[str, HeldOut]
    n_left_out: int

    def table(self) -> Table:
        """Return the scores for the terminal (`rich.print`)."""
        names = ("parameters", "rms in sample", "held out", "worse by", "rolled out", "AIC")
        header = [Column("form"), *(Column(n, number=True) for n in names)]
        rows = []
        for i, row in enumerate(self.scores.to_dict("records")):
            errors = [number(row[n], ".3g") for n in ("in_sample", "held_out", "rolled_out")]
            worse, error = (number(row[n], ".2g") for n in ("worse", "worse_error"))
            worse = f"{worse} ± {error}" if i else DASH
            rows.append((row["form"], str(row["n_free"]), *errors[:2], worse, errors[2],
                         number(row["aic"], "+.1f")))  # fmt: skip
        first = next(iter(self.held_out.values()))
        undefined = [
            f"{row['form']} comes last, for {counted(row['n_undefined'], 'prediction')} of it "
            f"{'is' if row['n_undefined'] == 1 else 'are'} undefined"
            for row in self.scores.to_dict("records") if row["n_undefined"]
        ]  # fmt: skip
        note = "; ".join([
            f"{counted(len(first.in_sample), 'run')}, {counted(len(first.scales), 'scale')} of "
            f"{first.by}",
            *([f"{counted(self.n_left_out, 'row')} left out"] if self.n_left_out else []),
            *undefined,
            "errors of ln. AIC is in sample and takes runs for independent.",
        ])  # fmt: skip
        return Table("", note, header, rows)

    def __str__(self) -> str:
        return str(self.table())


def compare_forms(
    forms: Mapping[str, Any] | Sequence[Formula | Grouped | Callable[..., Any]],
    data: Data,
    *,
    by: str = "n_parameters",
    along: str | None = None,
    n_bins: int | None = None,
    columns: Mapping[str, str] | None = None,
    **options: Any,
) -> FormScores:
    r"""Compare forms by how well they predict runs that their fits have not had.

    Every form is fitted as it is always fitted, to the same runs. The difference of two forms is
    taken run by run, and its standard error over scales, whose runs share a fit: with
    $d_k$ the sum of the differences of squared errors over scale k of K, and n runs,

    $$\text{mse}_f - \text{mse}_g = \frac1n \sum_k d_k, \qquad
      s^2 = \frac{K}{K - 1} \frac{1}{n^2} \sum_k (d_k - n_k \bar d)^2$$

    divided by the sum of both rms for the difference of these. Under five scales it says little.

    AIC is `n ln(sum e^2 / n) + 2 (p + 1)`. It is no judge here: it counts runs as independent and
    their errors as normal, is of the runs that were fitted, and does not ask how far a form
    carries. Forms that are not fitted by squares are not at its minimum.

    **Arguments**

    - `forms`: forms of `js.forms`, also `grouped`, or formulas, or these by names of your own.
    - `data`, `by`, `n_bins`, `columns`: as in `held_out`.
    - `along`: of `rolled_out`; by default `by`.
    - `options`: other arguments of `calibrate` for every fit. Without `bootstrap` there is none.

    **Returns** `FormScores`, the lowest held-out rms first.

    **Raises** `ValueError` for no form, one name twice, and as `held_out`.

    **Reference** Stone 1977, J. R. Statist. Soc. B 39, 44 (cross-validation and AIC); derived here
    for scales.
    """
    named = _named(forms)
    check_columns(columns)
    check_names(by=by, along=along or by)
    others = [by, along or by, *SIZES, *columns_named(options)]
    read = [c for f in named.values() for c in columns_of(f)]
    every: Any = as_table(data, columns, [*read, *(columns or {}), *others])
    formulas = {n: with_groups(f, every) for n, f in named.items()}
    mapped = {n: f.columns_of(columns or {}) for n, f in formulas.items()}
    inputs = {n: f.columns(mapped[n], every) for n, f in formulas.items()}
    numbers = [c for n, f in formulas.items() for c in inputs[n] if c not in f.labels]
    needed = [c for n, f in formulas.items() for c in (*inputs[n], f.result)]
    every = as_numbers(every, numbers)
    table = every.dropna(subset=list(dict.fromkeys(needed)))
    table = table[np.isfinite(table[numbers]).all(axis=1)]
    options = {"bootstrap": 0, "n_bins": n_bins, **options}
    scored, rolled = {}, {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{NO_BAND}")
        for name, form in named.items():
            own = {**options, "columns": mapped[name]}
            scored[name] = held_out(form, table, by, **own)
            with contextlib.suppress(TooFewScales):
                rolled[name] = rolled_out(form, table, along or by, **own)
    best = min(scored, key=lambda n: scored[n].rms)
    rows = [_row(n, own, scored[best], rolled.get(n)) for n, own in scored.items()]
    n_left_out = len(every) - len(table) + scored[best].n_left_out
    return _sorted(rows, scored, rolled, n_left_out)


def _named(forms: Any) -> dict[str, Any]:
    """Forms by name."""
    if not isinstance(forms, Mapping | list | tuple):
        raise ValueError(
            f"`forms` must be a list of forms, or forms by name, got {reprlib.repr(forms)}: "
            "compare_forms([js.forms.chinchilla, js.forms.kaplan], data)."
        )
    if not isinstance(forms, Mapping):
        names = [_name(f) for f in forms]
        if twice := [n for n in names if names.count(n) > 1]:
            raise ValueError(f"`forms` has {twice[0]!r} twice: name them, {{'first': ...}}.")
        forms = dict(zip(names, forms, strict=True))
    if not forms:
        raise ValueError("`forms` must hold a form, got none.")
    return dict(forms)


def _name(form: Any) -> str:
    if isinstance(form, Grouped):
        return f"{_name(form.form)} by {form.by}"
    return formula_of(form).name


def _row(name: str, own: HeldOut, best: HeldOut, rolled: HeldOut | None) -> dict[str, Any]:
    n, p = len(own.in_sample), len(own.fit.free)
    in_sample = rms(own.in_sample)
    difference, error = _difference(own, best)
    with np.errstate(divide="ignore"):
        aic = 2 * n * np.log(in_sample) + 2 * (p + 1)
    return {
        "form": name, "n_free": p, "in_sample": in_sample, "held_out": own.rms,
        "worse": difference, "worse_error": error,
        "rolled_out": np.nan if rolled is None else rolled.rms, "aic": aic,
        "n_undefined": own.n_undefined,
    }  # fmt: skip


def _difference(own: HeldOut, best: HeldOut) -> tuple[float, float]:
    """Difference of two rms, and its standard error over scales, NaN where one is infinite."""
    if own is best:
        return 0.0, 0.0
    if not np.isfinite(own.rms):
        return own.rms, np.nan
    squares: Float[np.ndarray, "2 n"] = np.square([h.predictions["error"] for h in (own, best)])
    scale = own.predictions["scale"].to_numpy()
    each = squares[0] - squares[1]
    count, total = np.bincount(scale), np.bincount(scale, each)
    n, k = len(each), len(count)
    spread = np.sum((total - count * each.mean()) ** 2) * k / (k - 1) / n**2
    both = own.rms + best.rms
    with np.errstate(all="ignore"):
        return own.rms - best.rms, float(np.sqrt(spread) / both)


def _sorted(
    rows: list[dict[str, Any]],
    scored: Mapping[str, HeldOut],
    rolled: Mapping[str, HeldOut],
    n_left_out: int,
) -> FormScores:
    import pandas

    frame = pandas.DataFrame(rows).sort_values("held_out", kind="stable", ignore_index=True)
    lowest = frame["aic"].min()
    frame["aic"] -= lowest if np.isfinite(lowest) else 0.0
    order = frame["form"].tolist()
    ranked = {n: scored[n] for n in order}
    return FormScores(frame, ranked, {n: rolled[n] for n in order if n in rolled}, n_left_out)
