"""The decorator of the theory functions of this package: what their arguments must be."""

from typing import Any

import numpy as np

from jaxscale._theory import (
    TheoryFunction,
    finite_count,
    not_negative,
    not_negative_or_infinite,
    number,
    positive,
    positive_or_infinite,
)
from jaxscale.superposition.theory._tails import AbstractTail

_at_least_one = number(lambda v: (v >= 1) & (v < np.inf), "at least 1 and finite")


def _check_tail(name: str, value: Any) -> None:
    if not isinstance(value, AbstractTail):
        raise ValueError(f"`{name}` must be a tail such as Gaussian(), got {value!r}.")


theory_function = TheoryFunction(
    {
        "batch_size": positive_or_infinite,
        "bias_learning_rate": positive,
        "energy": not_negative,
        "fourth_moment": positive,
        "fraction": positive,
        "frequency_exponent": not_negative,
        "gain": not_negative,
        "importance_exponent": not_negative,
        "initial_strength": number(np.isfinite, "finite"),
        "latent_size": _at_least_one,
        "learning_rate": positive,
        "mean_active": positive,
        "n_features": finite_count,
        "rank": _at_least_one,
        "scale": not_negative,
        "second_moment": positive,
        "tail": _check_tail,
        "threshold": positive,
        "time": not_negative_or_infinite,
    },
    reference="derived here.",
)
