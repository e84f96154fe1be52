"""Groups of runs of about one compute."""

import numpy as np
from jaxtyping import Float, Int

from jaxscale.analysis._diagnostics import check_count
from jaxscale.analysis._scales import EQUAL, separated

WIDEST = float(np.log(1.25))  # group, from its lowest to its highest ln C


def grouped_by(x: Float[np.ndarray, " n"], n_groups: int | None) -> Int[np.ndarray, " n"]:
    """Number the groups of runs by ln C, from the lowest: `n_groups`, or none over `WIDEST`.

    **Raises** `ValueError` for more groups than computes.
    """
    order = np.argsort(x, kind="stable")
    if n_groups is None:
        first = _cut(x[order])
    else:
        check_count("n_groups", n_groups, 1)
        n_computes = int(separated(x, EQUAL).max(initial=-1)) + 1
        if n_groups > n_computes:
            raise ValueError(f"`n_groups` must not exceed the {n_computes} different computes, got "
                             f"{n_groups}.")  # fmt: skip
        first = _least_scattered(x[order], n_groups)
    number = np.empty(len(x), int)
    number[order] = np.searchsorted(np.sort(first), np.arange(len(x)), side="right") - 1
    return number


def _cut(x: Float[np.ndarray, " n"]) -> list[int]:
    """First places of groups of increasing x: what is too wide is cut at its largest gap."""
    first, wide = [0], [(0, len(x))]
    while wide:
        low, high = wide.pop()
        if high - low > 1 and x[high - 1] - x[low] > WIDEST + EQUAL:
            cut = low + 1 + int(np.argmax(np.diff(x[low:high])))
            first.append(cut)
            wide += [(low, cut), (cut, high)]
    return first


def _least_scattered(x: Float[np.ndarray, " n"], n_groups: int) -> list[int]:
    """First places of groups of increasing x with the least sum of squares about their means.

    By dynamic programming: of the first j places, the last group begins at the best i.

    **Reference** Fisher 1958, J. Am. Statist. Assoc. 53, 789.
    """
    n, x = len(x), x - x.mean() if len(x) else x
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (x, x**2))
    least = np.concatenate([[0.0], np.full(n, np.inf)])
    begins = np.zeros((n_groups, n + 1), int)
    for k in range(n_groups):
        before, least = least, np.full(n + 1, np.inf)
        for j in range(1, n + 1):
            i = np.arange(j)
            scatter = squares[j] - squares[i] - (sums[j] - sums[i]) ** 2 / (j - i)
            total = before[:j] + scatter
            begins[k, j] = np.argmin(total)
            least[j] = total[begins[k, j]]
    first: list[int] = []
    end = n
    for k in reversed(range(n_groups)):
        end = int(begins[k, end])
        first.append(end)
    return first
