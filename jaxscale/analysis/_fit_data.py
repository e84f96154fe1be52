"""What a fit is given: a theory as a function of its free values, and the data to compare."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxscale.analysis.bounds import AbstractBound


@dataclasses.dataclass(frozen=True)
class FitData:
    """Data sets `n` on the points of a theory.

    - `theory`: function of `(values, inputs)` that returns observables by name.
    - `start`: starts of the free values, shape `(p,)`.
    - `data`: by observable, shape `(n, others, theory)`: as many data as there are at each value of
      the theory, flattened; NaN is missing. All observables have the same number of others.
    - `inputs`: what theory is evaluated at, every array with the leading axis `n`, or None.
    - `groups`: by observable, the number of the group that a point is resampled with, shape
      `(others, theory)`.
    - `n_groups`: how many there are.
    - `labels`: of the data sets; empty for a single one.
    - `signed`: observables that take both signs.
    - `bounds`: of free values whose field declares an interval.
    """

    theory: Callable[..., Any]
    start: np.ndarray
    data: Mapping[str, np.ndarray]
    inputs: Any
    groups: dict[str, Any]
    n_groups: int
    labels: tuple[Any, ...]
    signed: frozenset[str]
    bounds: Mapping[str, AbstractBound]
