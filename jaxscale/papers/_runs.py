"""What every study reads off results, and evaluates next to them."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import xarray

S = TypeVar("S", bound=AbstractSystem)
Point = dict[str, float]
BEFORE = "before the runs"  # when a margin was fixed


def system_of(runs: "xarray.Dataset", kind: type[S]) -> S:
    """Return the system that was run; `ValueError` for one of another kind."""
    system = grid_of(runs).system
    if not isinstance(system, kind):
        raise ValueError(f"`runs` must be of {kind.__name__}, got {type(system).__name__}.")
    return system


def points(runs: "xarray.Dataset", *names: str) -> list[Point]:
    """Every combination of the values of those `names` that are axes of `runs`."""
    axes = {n: np.asarray(runs[n], float).tolist() for n in names if n in runs.dims}
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def in_float64(function: Callable[..., Any], *args: Any, **keywords: Any) -> np.ndarray:
    """Evaluate a theory function in float64."""
    with jax.enable_x64(True):
        return np.asarray(function(*args, **keywords))
