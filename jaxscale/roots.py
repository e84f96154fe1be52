"""Roots of monotone functions inside a compiled program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def bisect(
    below: Callable[[Float[Array, ""]], Bool[Array, ""]], low: Array, high: Array, n_steps: int
) -> Float[Array, ""]:
    """Root of a function known by `below`, true on the left of the root.

    **Arguments:** `below`, of a scalar; the ends, scalars around the root; the number of halvings.

    **Returns:** the middle of the last interval, a scalar.

    **Raises:** nothing.

    **Reference:** none.
    """

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        left = below(middle)
        return jnp.where(left, middle, low), jnp.where(left, high, middle)

    low, high = jax.lax.fori_loop(0, n_steps, halve, (low, high))
    return (low + high) / 2
