"""The decorator of the theory functions of this package: what their arguments must be."""

import numpy as np

from jaxscale._theory import (
    TheoryFunction,
    not_negative,
    not_negative_or_infinite,
    number,
    positive,
    positive_or_infinite,
)
from jaxscale.spectra import require_count

above_one = number(lambda v: (v > 1) & (v < np.inf), "above 1 and finite")

theory_function = TheoryFunction(
    {
        "activity": positive,
        "compute": positive,
        "learning_rate": positive,
        "moment": positive,
        "n": positive_or_infinite,
        "n_coordinates": require_count,
        "n_features": positive_or_infinite,
        "n_samples": positive_or_infinite,
        "ridge": not_negative,
        "sparsity_exponent": not_negative,
        "spectrum_exponent": positive,
        "time": not_negative_or_infinite,
    },
    reference="derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).",
)
