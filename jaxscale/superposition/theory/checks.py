"""Checks of arguments that the public functions of the theory share."""

import jax
import numpy as np

from jaxscale.spectra import require, require_count

_AT_LEAST_ZERO = ("importance_exponent", "frequency_exponent", "gain", "energy", "scale")


def check(**values: object) -> None:
    r"""Check the arguments that several public functions share.

    $$a, b, t \ge 0, \qquad \eta, E, E u^2, B > 0, \qquad N, K \ge 1$$

    **Arguments:** the caller's arguments by name.

    **Returns:** nothing.

    **Raises:** `ValueError` naming the first bad argument and the value seen.

    **Reference:** none.
    """
    for name, value in values.items():
        if name == "time":
            require(name, value, lambda v: v >= 0, "at least 0")
        elif name == "initial_strength":
            require(name, value, np.isfinite, "finite")
        elif name in _AT_LEAST_ZERO:
            require(name, value, lambda v: (v >= 0) & (v < np.inf), "at least 0 and finite")
        elif name in ("latent_size", "rank"):
            require(name, value, lambda v: (v >= 1) & (v < np.inf), "at least 1 and finite")
        elif name == "batch_size":
            require(name, value, lambda v: v > 0, "positive")
        else:
            require(name, value, lambda v: (v > 0) & (v < np.inf), "positive and finite")


def check_features(n_features: int) -> None:
    """Check a static, finite number of features.

    **Arguments:** the caller's `n_features`, a Python integer.

    **Returns:** nothing.

    **Raises:** `ValueError` naming it and the value seen.

    **Reference:** none.
    """
    require_count("n_features", n_features)
    require("n_features", n_features, np.isfinite, "finite")


def check_decay(frequency_exponent: object, importance_exponent: object) -> None:
    r"""Check that the loss of infinitely many features exists and decays as a power.

    $$a > 0, \qquad a + 2 b > 1$$

    **Arguments:** the caller's exponents.

    **Returns:** nothing.

    **Raises:** `ValueError` naming the bad argument and the value seen.

    **Reference:** none.
    """
    check(frequency_exponent=frequency_exponent, importance_exponent=importance_exponent)
    require("frequency_exponent", frequency_exponent, lambda v: v > 0, "positive")
    if isinstance(frequency_exponent, jax.Array) or isinstance(importance_exponent, jax.Array):
        return
    if not np.all(np.asarray(frequency_exponent) + 2 * np.asarray(importance_exponent) > 1):
        raise ValueError(
            "`frequency_exponent` + 2 `importance_exponent` must be above 1, got "
            f"{frequency_exponent} and {importance_exponent}."
        )
