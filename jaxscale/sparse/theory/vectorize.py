"""How a formula of scalars becomes a compiled function of arrays; checks that files share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxscale.spectra import require


def vectorized(function: Callable[..., Any], *static: str) -> Callable[..., Any]:
    """Compile a function of scalars so that its positional arguments broadcast as arrays.

    **Arguments:** `function` of scalars, and the names of its keyword arguments that are `static`.
    The keyword argument `coordinates`, a pytree, is passed whole to every call.

    **Returns:** a compiled function of broadcastable arrays.

    **Raises:** nothing.

    **Reference:** none.
    """

    def core(*arrays, **options):
        return jnp.vectorize(lambda *x: function(*x, **options))(*arrays)

    return jax.jit(core, static_argnames=static)


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
