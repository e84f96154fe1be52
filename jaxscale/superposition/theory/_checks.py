"""The decorator of the theory functions of this package: what their arguments must be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale._theory import (
    TheoryFunction,
    finite_count,
    is_plain,
    not_negative,
    not_negative_or_infinite,
    number,
    positive,
    positive_or_infinite,
)
from jaxscale.spectra import require
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
    }
)


def check_decay(values: Mapping[str, Any]) -> None:
    r"""Check that the loss of infinitely many features exists and decays: a > 0, a + 2 b > 1."""
    a, b = values["frequency_exponent"], values["importance_exponent"]
    require("frequency_exponent", a, lambda v: v > 0, "positive")
    if is_plain(a, b) and not np.all(np.asarray(a) + 2 * np.asarray(b) > 1):
        raise ValueError(
            f"`frequency_exponent` + 2 `importance_exponent` must be above 1, got {a} and {b}."
        )
