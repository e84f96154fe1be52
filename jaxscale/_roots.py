"""Roots of monotone functions of a scalar inside a compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def bisect(
    below: Callable[[Float[Array, ""]], Bool[Array, ""]], low: Array, high: Array, n_steps: int
) -> Float[Array, ""]:
    """Halve `n_steps` times an interval around the root; no derivative passes through.

    `below` is true of a scalar below the root. Returns the middle of the last interval.
    """

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        is_below = below(middle)
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    low, high = jax.lax.stop_gradient((low, high))
    low, high = jax.lax.fori_loop(0, n_steps, halve, (low, high))
    return jax.lax.stop_gradient((low + high) / 2)


def root(
    function: Callable[..., tuple[Float[Array, ""], Float[Array, ""]]],
    arguments: Any,
    low: Array,
    high: Array,
    n_steps: int,
    *,
    rising: bool,
) -> Float[Array, ""]:
    """Solve a monotone equation by bisection; two Newton steps carry derivatives to second order.

    `function` maps a scalar and the `arguments`, a tuple of pytrees, to its value, which rises or
    falls through the root, and to its slope. Returns the root, differentiable in `arguments`.
    """
    frozen = jax.lax.stop_gradient(arguments)

    def below(x: Array) -> Array:
        value, _ = function(x, *frozen)
        return value < 0 if rising else value > 0

    def newton(x: Array, _: None) -> tuple[Array, None]:
        value, slope = function(x, *arguments)
        return x - value / slope, None

    return jax.lax.scan(newton, bisect(below, low, high, n_steps), None, length=2)[0]
