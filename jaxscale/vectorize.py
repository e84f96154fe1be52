"""How a formula of scalars becomes a compiled function of arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def vectorized(function: Callable[..., Any], *static: str) -> Callable[..., Any]:
    """Compile a function of scalars so that its positional arguments broadcast as arrays.

    **Arguments:** `function` of scalars, and the names of its keyword arguments that are `static`.
    Other keyword arguments, such as a pytree, are passed whole to every call.

    **Returns:** a compiled function of broadcastable arrays.

    **Raises:** nothing.

    **Reference:** none.
    """

    def core(*arrays, **options):
        return jnp.vectorize(lambda *x: function(*x, **options))(*arrays)

    return jax.jit(core, static_argnames=static)
