"""How to split compute between features and samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale import _theory as rules
from jaxscale._theory import symbols
from jaxscale.spectra import power_tail
from jaxscale.streaming.theory._checks import check_allocation, over_features
from jaxscale.streaming.theory._contour import constant_rate_loss, mean_resolvent
from jaxscale.streaming.theory._equivalent import limit_rate_of_mean

LEAST_STEPS = 100  # of a split: scaling laws are about late training
POINTS = 11  # of each search
SEARCHES = 3


class Allocation(NamedTuple):
    """The best split of `C = d B t`: size, steps and the loss that it reaches."""

    n_features: Float[Array, "..."]
    n_steps: Float[Array, "..."]
    loss: Float[Array, "..."]


@over_features(check=check_allocation, batch_size=rules.positive)
def optimal_allocation(
    compute: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    target_exponent: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."] | None = None,
    batch_size: Real[ArrayLike, "..."] = 1.0,
    noise: Real[ArrayLike, "..."] = 0.0,
    coordinates_per_feature: Real[ArrayLike, "..."] = np.inf,
) -> Allocation:
    r"""Find the number of features that has the lowest loss at fixed compute.

    $$L^*(C) = \min_d L(t = C / (d B), d)$$

    **Arguments:**

    - `compute`: C, features times samples; at least 1000 batches.
    - `input_exponent`, `target_exponent`, `batch_size`, `noise`: as in `loss`.
    - `learning_rate`: eta of every size; by default `B / (sum_j j^-2alpha + B + 1)`, about half of
      the stable limit of many features (.85 of it at 2, and above that of one, at alpha = .8),
      which falls with the size where 2 alpha < 1. Sizes at which the rate is not stable are left
      out.
    - `coordinates_per_feature`: V / d; finite for 2 alpha <= 1.

    **Returns:** `Allocation(n_features, n_steps, loss)`, real numbers, each of the shape of all
    arguments broadcast; NaN where no size is stable. At least 100 steps are taken: an `n_steps` of
    100 says that this bound decides, and that fewer steps of more features may be better.
    Derivatives pass through the loss (the optimum moves it in second order) and not through the
    optimum.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    ```python
    with jax.enable_x64(True):
        best = js.streaming.theory.optimal_allocation(
            1e9, input_exponent=0.8, target_exponent=0.3
        )
    print(f"{float(best.n_features):.0f} features, loss {float(best.loss):.2e}")
    ```
    """
    c, a, b, batch, sigma, per = symbols(
        compute, input_exponent, target_exponent, batch_size, noise, coordinates_per_feature
    )

    def rate_of(size: Array) -> Array:
        if learning_rate is not None:
            return jnp.asarray(learning_rate)
        return batch / (power_tail(2 * a, jnp.ones_like(a), per * size) + batch + 1)

    def loss_of(size: Array) -> Array:
        law = (size, a, b, per * size)
        return constant_rate_loss(
            c / (size * batch), mean_resolvent(law, sigma**2), rate_of(size), batch
        )

    def log_of_stable(log_size: Array) -> Array:
        size = jnp.exp(log_size)
        loss, eta = loss_of(size), rate_of(size)
        stable = eta < limit_rate_of_mean(size, a, per * size, batch, jnp.zeros_like(size))
        return jnp.where(stable, jnp.log(jnp.where(stable, loss, 1.0)), jnp.nan)

    def search(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        """The points next to the best, and the lowest of the parabola; NaN where none is stable."""
        low, high = ends
        points = low + (high - low) * jnp.linspace(0.0, 1.0, POINTS, dtype=c.dtype)
        values = jax.lax.stop_gradient(jax.vmap(log_of_stable)(points))
        best = jnp.clip(jnp.nanargmin(values), 1, POINTS - 2)
        left, middle, right = values[best - 1], values[best], values[best + 1]
        bend = left - 2 * middle + right
        shift = jnp.where(bend > 0, (left - right) / (2 * jnp.where(bend > 0, bend, 1.0)), 0.0)
        low, high = points[best - 1], points[best + 1]
        lowest = points[best] + jnp.clip(shift, -1, 1) * (high - low) / 2
        return (low, high), jnp.where(jnp.isnan(middle), jnp.nan, lowest)

    end = jax.lax.stop_gradient(jnp.log(c / (LEAST_STEPS * batch)))
    _, lowest = jax.lax.scan(search, (jnp.zeros_like(end), end), None, length=SEARCHES)
    size = jnp.exp(jax.lax.stop_gradient(lowest[-1]))
    n_steps = jnp.maximum(c / (size * batch), float(LEAST_STEPS))  # not below it by rounding
    return Allocation(size, n_steps, loss_of(size))
