"""The decorator of the theory functions of this package: what their arguments must be."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale import _theory as rules
from jaxscale.spectra import require_count

above_one = rules.number(lambda v: (v > 1) & (v < np.inf), "above 1 and finite")

theory_function = rules.TheoryFunction(
    {
        "activity": rules.positive,
        "compute": rules.positive,
        "learning_rate": rules.positive,
        "moment": rules.positive,
        "n": rules.positive_or_infinite,
        "n_coordinates": require_count,
        "n_features": rules.positive_or_infinite,
        "n_samples": rules.positive_or_infinite,
        "ridge": rules.not_negative,
        "sparsity_exponent": rules.not_negative,
        "spectrum_exponent": rules.positive,
        "time": rules.not_negative_or_infinite,
    },
    reference="derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).",
)


def endless(**limits: tuple[float, float]) -> rules.Check:
    """Check that a sum over infinitely many coordinates is resolved, to 1e-10 in float64.

    `limits` are those of arguments of a power law; 0 and infinity lie within, too.
    """

    def check(values: Mapping[str, Any]) -> None:
        if values["n_coordinates"] != math.inf or values.get("spectrum") is not None:
            return
        for name, (low, high) in limits.items():
            rule = rules.number(
                lambda v, low=low, high=high: (v == 0) | (v == np.inf) | (v >= low) & (v <= high),
                f"from {low:g} to {high:g} unless `n_coordinates` is finite",
            )
            rule(name, values[name])

    return check
