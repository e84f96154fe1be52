"""The decorator of the theory functions of this package: what their arguments must be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale import _theory as rules

theory_function = rules.TheoryFunction(
    {
        "batch_size": rules.positive_or_infinite,
        "eigenvalues": rules.not_negative,
        "learning_rate": rules.positive,
        "momentum": rules.number(lambda v: (v >= 0) & (v < 1), "at least 0 and below 1"),
        "target_power": rules.not_negative,
        "time": rules.not_negative_or_infinite,
        "unreachable": rules.not_negative,
    },
    reference="derived here, for the model of arXiv 2405.15074 (Paquette et al.).",
)


def check_modes(values: Mapping[str, Any]) -> None:
    """Check that modes are vectors of one length, and that only the time may be an array, too."""
    shape = np.shape(values["eigenvalues"])
    if len(shape) != 1:
        raise ValueError(f"`eigenvalues` must be a vector (d,), got shape {shape}; use vmap.")
    if "target_power" in values and np.shape(values["target_power"]) != shape:
        raise ValueError(
            f"`target_power` must have the shape {shape} of `eigenvalues`, "
            f"got {np.shape(values['target_power'])}."
        )
    for name in ("unreachable", "learning_rate", "batch_size", "momentum"):
        if np.shape(values.get(name, 0.0)):
            raise ValueError(
                f"`{name}` must be a scalar, got shape {np.shape(values[name])}; use vmap."
            )
