"""Fewer columns for runs that see fewer coordinates, chosen while the program runs.

The padding holds the largest run of a program with a chance of 1 - 1e-8, and a typical run sees
half of these coordinates or, with fewer samples than the largest, far less. What follows the draws
costs up to their cube. A program therefore holds it at two widths and each run takes the smallest
that fits: a branch where runs take turns, as on a CPU. Elsewhere runs are batched, a branch would
compute both widths for each of them, and all take the full one.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxscale.sparse._data import Inputs
from jaxscale.sparse._padding import Padding

NARROWEST = 16  # columns from which a narrower program is worth its compilation
SHRINK = 0.55


def narrow_width(padding: Padding) -> int | None:
    """Return how many columns hold a typical run, None if the full width is as good."""
    columns = math.ceil(SHRINK * padding.seen)
    return columns if columns >= max(NARROWEST, padding.head) else None


def on_seen_columns(function: Callable[[Inputs], Any], inputs: Inputs, padding: Padding) -> Any:
    """Apply `function`, with results of one shape, at a narrow width if it holds every column seen.

    **Arguments**: `function`, of inputs on any number of columns; the training inputs; their sizes.
    """
    narrow = narrow_width(padding)
    if narrow is None:
        return function(inputs)
    fits = ~jnp.any(inputs.seen[narrow:])

    def chosen(inputs: Inputs) -> Any:
        return jax.lax.cond(fits, lambda i: function(i.leading(narrow)), function, inputs)

    return jax.lax.platform_dependent(inputs, cpu=chosen, default=function)
