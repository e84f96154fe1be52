"""What every study reads off results, evaluates next to them, and says about them."""

import itertools
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.report._study import Figure
from jaxscale.sweep._predict import grid_of

if TYPE_CHECKING:
    import matplotlib.figure
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


def study_text(paper: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Captions of the figures of a study; and its title, source, summary and symbols."""
    text = tomllib.loads((Path(__file__).parent / paper / "study.toml").read_text("utf-8"))
    return text.pop("captions"), text


def with_captions(
    drawings: "Mapping[str, matplotlib.figure.Figure]", captions: dict[str, str], **values: Any
) -> list[Figure]:
    """Figures by name, each under its caption, filled with `values`."""
    return [Figure(n, captions[n].format(**values), d) for n, d in drawings.items()]
