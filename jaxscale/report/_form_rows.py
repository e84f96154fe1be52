"""Rows of a table that a form is fitted to, and how many are left out for what reason."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import as_numbers
from jaxscale.analysis.residuals import Log

if TYPE_CHECKING:
    import pandas


def complete_rows(
    table: "pandas.DataFrame", numbers: Sequence[str], aside: Sequence[str | None]
) -> "tuple[pandas.DataFrame, Bool[np.ndarray, ' n'], Counter[str]]":
    """Numbers of a table, which rows are complete, and how many are not by reason.

    **Arguments:** columns that must be finite, and others that must not be blank.

    **Raises** `ValueError` for a column that is not there, or that holds anything but numbers.
    """
    table = as_numbers(table, numbers)
    used, omitted = np.ones(len(table), bool), Counter[str]()
    for name in (*numbers, *(n for n in aside if n is not None and n in table)):
        own: Any = table[name]
        good = np.isfinite(own) if name in numbers else own.notna()
        what = "blank or infinite" if name in numbers else "blank"
        omitted[f"{name} {what}"] = int(np.sum(used & ~good))
        used &= np.asarray(good)
    return table, used, +omitted


def fitted_rows(
    fit: Calibration, table: "pandas.DataFrame"
) -> "tuple[pandas.DataFrame, Counter[str]]":
    """The complete rows that a fit to them has, and how many it left out by reason."""
    points = np.isfinite(fit.residuals).reshape(len(fit.labels) or 1, -1)
    sets = np.zeros(len(table), int)
    if fit.each is not None:
        sets = np.unique(np.asarray(table[fit.each]), return_inverse=True)[1]
    used = np.empty(len(table), bool)
    for i, own in enumerate(points):
        used[sets == i] = own[: np.sum(sets == i)]
    (result,) = fit.residual
    measured = table[result].to_numpy(float)
    low = ~used & (measured <= 0) & isinstance(fit.residual[result], Log)
    reasons = {f"{result} not positive": low, "without a statement of the form": ~used & ~low}
    rest: Any = table[used]
    return rest, +Counter({why: int(rows.sum()) for why, rows in reasons.items()})
