"""Closed forms of sparse regression in float64, at the exponents of systems and results."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxscale.papers._runs import in_float64
from jaxscale.sparse import theory
from jaxscale.sparse._system import RandomFeatureRegression

AT_ONCE = 64  # points of one call of the closed form
EXPONENTS = ("spectrum_exponent", "sparsity_exponent")


def plane(n_features: Any, n_samples: Any, **keywords: Any) -> Float[np.ndarray, " n"]:
    """Evaluate `theory.loss` in float64, `AT_ONCE` points a time, all through one program."""
    sizes = np.broadcast_arrays(np.asarray(n_features, float), np.asarray(n_samples, float))
    count = sizes[0].size
    padded = (np.pad(size, (0, -count % AT_ONCE), mode="edge") for size in sizes)
    parts = zip(*(size.reshape(-1, AT_ONCE) for size in padded), strict=True)
    return np.concatenate([in_float64(theory.loss, *part, **keywords) for part in parts])[:count]


def laws_at(**exponents: float) -> theory.AllocationLaws:
    """Optimal sizes and loss as laws of compute, in float64."""
    with jax.enable_x64(True):
        return theory.allocation_laws(**exponents)


def best(quantity: str, compute: Any, **exponents: float) -> Float[np.ndarray, " c"]:
    """Evaluate the closed-form law of an optimal size, or of its loss, in compute."""
    return in_float64(getattr(laws_at(**exponents), quantity), compute)


def slope(x: Any, y: Any) -> float:
    """Least-squares slope of ln y on ln x."""
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.asarray(y, float)), 1)[0])


def exponents_of(system: RandomFeatureRegression) -> dict[str, float]:
    """Exponents of a power-law system."""
    return {name: float(getattr(system, name)) for name in EXPONENTS}
