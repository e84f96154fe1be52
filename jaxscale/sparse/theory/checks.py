"""Checks of arguments that the public functions of the theory share."""

import numpy as np

from jaxscale.spectra import require


def check(**values: object) -> None:
    r"""Check the arguments that several public functions share.

    $$N, D, \alpha, c, \eta, C > 0, \qquad \gamma, t, \text{ridge} \ge 0$$

    **Arguments:** the caller's arguments by name.

    **Returns:** nothing.

    **Raises:** `ValueError` naming the first bad argument and the value seen.

    **Reference:** none.
    """
    for name, value in values.items():
        if name in ("n_features", "n_samples"):
            require(name, value, lambda v: v > 0, "positive")
        elif name == "time":
            require(name, value, lambda v: v >= 0, "at least 0")
        elif name in ("sparsity_exponent", "ridge"):
            require(name, value, lambda v: (v >= 0) & (v < np.inf), "at least 0 and finite")
        else:
            require(name, value, lambda v: (v > 0) & (v < np.inf), "positive and finite")


def check_sparse(value: object) -> None:
    """Check a sparsity exponent above 1, where the number of seen coordinates is finite.

    **Arguments:** `value`, the caller's `sparsity_exponent`.

    **Raises:** `ValueError` naming it and the value seen.
    """
    require("sparsity_exponent", value, lambda v: (v > 1) & (v < np.inf), "above 1 and finite")
