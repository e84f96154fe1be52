"""The decorator of the theory functions of this package: what their arguments must be."""

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
