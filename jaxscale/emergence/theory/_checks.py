"""The decorator of the theory functions of this package: what their arguments must be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale import _theory as rules
from jaxscale.spectra import require, require_count


def _check_start(values: Mapping[str, Any]) -> None:
    scale, strength = values.get("target_scale"), values.get("initial_strength")
    if scale is not None and strength is not None and rules.is_plain(scale, strength):
        bound = np.asarray(scale)
        what = f"below `target_scale` = {scale}"
        require("initial_strength", strength, lambda v: v < bound, what)


theory_function = rules.TheoryFunction(
    {
        "compute": rules.positive,
        "fraction": rules.number(lambda v: (v > 0) & (v < 1), "in (0, 1)"),
        "initial_strength": rules.positive,
        "learning_rate": rules.positive,
        "n_parameters": rules.not_negative_or_infinite,
        "n_samples": rules.not_negative_or_infinite,
        "n_skills": require_count,
        "probability": rules.number(lambda v: (v > 0) & (v <= 1), "in (0, 1]"),
        "shots": rules.positive,
        "skill_exponent": rules.positive,
        "target_scale": rules.positive,
        "time": rules.not_negative_or_infinite,
        "units_per_skill": rules.positive_or_infinite,
        "width": rules.not_negative_or_infinite,
    },
    _check_start,
)


def infinite_data(values: Mapping[str, Any]) -> dict[str, float]:
    """Make infinite data a constant, which spares the program its sums over data sets."""
    n_samples = values["n_samples"]
    infinite = rules.is_plain(n_samples) and np.ndim(n_samples) == 0 and np.isinf(n_samples)
    return {"n_samples": np.inf} if infinite else {}
