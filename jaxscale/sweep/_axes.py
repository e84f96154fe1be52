"""Axes of a grid: their values as the system takes them, their labels, and the seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import numpy as np

from jaxscale._arguments import hinted
from jaxscale._factories import PlainNumber, plain_axis_error
from jaxscale._system import AbstractSystem
from jaxscale.fields import as_int, as_real
from jaxscale.paths import get, replace, replace_together
from jaxscale.sweep._config import encode, require_values

MOST_RUNS = 100_000_000
MOST_LISTED = 20  # values of an axis in a message
Values: TypeAlias = Sequence[Any] | np.ndarray


@hinted
def geomspace(low: float, high: float, n: int) -> list[float]:
    """`n` geometrically spaced values from `low` to `high`, both included.

    **Arguments**

    - `low`, `high`: first and last value, positive.
    - `n`: number of values.

    **Returns** a list of floats, for an axis of a `Grid`.

    **Raises** `ValueError` unless both ends are positive and `n` is at least 1.

    **Example**

    >>> js.geomspace(1, 100, 3)
    [1.0, 10.0, 100.0]
    """
    ends = as_real("low", low, above=0), as_real("high", high, above=0)
    return [float(v) for v in np.geomspace(*ends, as_int("n", n, at_least=1))]


def is_leaf(value: Any) -> bool:
    """Whether a field value is traced inside the program (a column), not a structure."""
    return eqx.is_array_like(value) and np.ndim(value) == 0 and not isinstance(value, bool | int)


def label(value: Any) -> str | float:
    """Coordinate of an axis value: a number, or the compact text of an object."""
    if isinstance(value, eqx.Module):
        table = encode(value)
        inner = ", ".join(f"{k}={v}" for k, v in table.items() if k != "type")
        return f"{table['type'].rpartition('.')[2]}({inner})"
    plain = encode(value)
    return plain if isinstance(plain, int | float | str) else str(plain)


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if np.ndim(seeds) == 0:
        n_seeds = as_int("seeds", seeds)
        if n_seeds > MOST_RUNS:
            raise ValueError(f"`seeds` must be at most 1e8, got {seeds!r}.")
        numbers = tuple(range(n_seeds))
    else:
        numbers = tuple(as_int("seeds", s) for s in seeds)  # pyright: ignore
    if not numbers:
        raise ValueError(f"`seeds` must be at least one seed, got {seeds!r}.")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"`seeds` must be distinct, got {seeds!r}.")
    if min(numbers) < 0 or max(numbers) >= 2**32:
        raise ValueError(f"`seeds` must lie in 0 .. 2**32 - 1, got {seeds!r}.")
    return numbers


def at_first_values(system: AbstractSystem, axes: Mapping[str, Values]) -> AbstractSystem:
    """The system of a run, in which every value of an axis is valid if all combinations are."""
    for path, values in axes.items():
        require_values(path, values)
    return replace_together(system, {p: v for p, vs in axes.items() for v in list(vs)[:1]})


def axis_of(system: AbstractSystem, path: str, values: Values) -> list[Any]:
    require_values(path, values)
    try:
        converted = [get(replace(system, path, value), path) for value in values]
    except ValueError as error:
        raise ValueError(f"{error}{_rounded(path, values, str(error))}") from None
    if any(isinstance(value, PlainNumber) for value in converted):
        raise plain_axis_error(path, get(system, path.rpartition(".hyperparameters.")[0]).factory)
    if not converted:
        raise ValueError(f"axis `{path}` must have at least one value, got {values!r}.")
    if len({label(v) for v in converted}) < len(converted):
        raise ValueError(f"axis `{path}` must have distinct values, got {values!r}.")
    return converted


def _rounded(path: str, values: Values, refused: str) -> str:
    """The end of an error of numbers that are not whole: the distinct whole ones next to them."""
    array = np.asarray(list(values)) if "must be a whole number" in refused else np.zeros(0)
    numbers = array.astype(float) if array.dtype.kind in "iuf" else np.zeros(0)
    if not 0 < numbers.size <= MOST_LISTED or not np.isfinite(numbers).all():
        return ""
    listed = ",".join(dict.fromkeys(f"{v:.0f}" for v in numbers))
    return f" Rounded: {path}=[{listed}] (in a shell, --axis {path}={listed})."
