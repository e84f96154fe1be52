"""The decorator of the theory functions of this package: what their arguments must be."""

from typing import Any

import numpy as np

from jaxscale import _theory as rules
from jaxscale.superposition.theory._tails import AbstractTail

_at_least_one = rules.number(lambda v: (v >= 1) & (v < np.inf), "at least 1 and finite")


def _check_tail(name: str, value: Any) -> None:
    if not isinstance(value, AbstractTail):
        raise ValueError(f"`{name}` must be a tail such as Gaussian(), got {value!r}.")


theory_function = rules.TheoryFunction(
    {
        "batch_size": rules.positive_or_infinite,
        "bias_learning_rate": rules.positive,
        "energy": rules.not_negative,
        "fourth_moment": rules.positive,
        "fraction": rules.positive,
        "frequency_exponent": rules.not_negative,
        "gain": rules.not_negative,
        "importance_exponent": rules.not_negative,
        "initial_strength": rules.number(np.isfinite, "finite"),
        "latent_size": _at_least_one,
        "learning_rate": rules.positive,
        "mean_active": rules.positive,
        "n_features": rules.finite_count,
        "rank": _at_least_one,
        "scale": rules.not_negative,
        "second_moment": rules.positive,
        "tail": _check_tail,
        "threshold": rules.positive,
        "time": rules.not_negative_or_infinite,
    },
    reference="derived here.",
)
