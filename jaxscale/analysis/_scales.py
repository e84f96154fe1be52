"""Scales of runs: groups of runs of about the same size or compute."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from jaxscale._text import unknown
from jaxscale.analysis._allocation import FLOP_PER_PARAMETER_TOKEN, SIZES
from jaxscale.analysis._data import refuse, require_numbers
from jaxscale.analysis._diagnostics import check_count

if TYPE_CHECKING:
    import pandas

COMPUTE = "compute"
EQUAL = 1e-6  # in the logarithm: values that differ by rounding
MOST = 40  # scales that are not bins


def positive_column(table: "pandas.DataFrame", name: str, argument: str) -> Float[np.ndarray, " n"]:
    """A column of positive numbers; `compute` is 6 N D where there is no such column.

    **Raises** `ValueError` for a column that is not there, or has other values.
    """
    if name not in table and name == COMPUTE and all(size in table for size in SIZES):
        sizes = (positive_column(table, size, size) for size in SIZES)
        return FLOP_PER_PARAMETER_TOKEN * np.prod([*sizes], axis=0)
    if name not in table:
        raise unknown(f"`{argument}`", name, [*map(str, table.columns), COMPUTE])
    require_numbers(table, [name])
    values = table[name].to_numpy(float)
    refuse(name, "positive and finite", values, ~(np.isfinite(values) & (values > 0)))
    return values


def scales(
    values: Float[np.ndarray, " n"], n_bins: int | None, argument: str
) -> Int[np.ndarray, " n"]:
    """Number the scales of runs in increasing order: distinct values, or quantile bins.

    **Raises** `ValueError` for too many distinct values, or fewer than two scales.
    """
    if n_bins is not None:
        check_count("n_bins", n_bins, 2)
        edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
        number = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
    else:
        number = separated(np.log(values), EQUAL)
    n = int(number.max(initial=-1)) + 1
    if n > MOST and n_bins is None:
        raise ValueError(f"`{argument}` has {n} different values: group them, such as n_bins=8.")
    if n < 2:
        raise ValueError(f"`{argument}` must have two scales or more, got {n}.")
    return number


def separated(x: Float[np.ndarray, " n"], gap: float) -> Int[np.ndarray, " n"]:
    """Number the clusters of points on a line between which there is nothing over `gap`."""
    order: Any = np.argsort(x, kind="stable")
    number = np.empty(len(x), int)
    number[order] = np.cumsum(np.diff(x[order], prepend=x[order[:1]]) > gap)
    return number
