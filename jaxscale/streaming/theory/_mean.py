"""Mean loss over the data and the random features of optimizers at any schedule."""

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale import _theory as rules
from jaxscale._optimizers import AbstractOptimizer
from jaxscale._schedules import AbstractSchedule
from jaxscale._theory import symbols
from jaxscale.streaming._optimizers import AbstractLinearOptimizer, Dana, linear_form
from jaxscale.streaming.theory._checks import check_equivalent, check_scalars, over_features
from jaxscale.streaming.theory._contour import Nodes, limit_of, nodes_of
from jaxscale.streaming.theory._equivalent import mean_losses
from jaxscale.streaming.theory._sgd import CONSTANT, at_steps, check_length, check_run, length_of


def _check(values: Mapping[str, Any]) -> None:
    check_equivalent(values)
    check_run(values)
    if isinstance(values["optimizer"], Dana):
        raise ValueError(
            "`optimizer` Dana has no mean over features: what oscillates without damping grows at "
            "complex nodes. `optimizer_loss` is exact for given features."
        )
    check_scalars(values, values.keys() - {"time", "optimizer", "schedule"})


@over_features(
    "n_steps",
    vectorize=False,
    in_parts=True,
    trees=("optimizer", "schedule"),
    plain=length_of,
    check=_check,
    n_steps=check_length,
    batch_size=rules.positive,
)
def mean_optimizer_loss(
    time: Real[ArrayLike, "..."],
    n_features: Real[ArrayLike, ""],
    *,
    input_exponent: Real[ArrayLike, ""],
    target_exponent: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    optimizer: AbstractOptimizer,
    batch_size: Real[ArrayLike, ""] = 1.0,
    noise: Real[ArrayLike, ""] = 0.0,
    n_coordinates: Real[ArrayLike, ""] = np.inf,
    schedule: AbstractSchedule = CONSTANT,
    n_steps: int | None = None,
) -> Float[Array, "..."]:
    r"""Mean loss over data and random features of any linear optimizer and schedule, step by step.

    The recursion of `optimizer_loss` on the complex nodes z_k of `spectrum_nodes`, where
    $\sum_i f(\lambda_i) = \mathrm{Re} \sum_k v_k f(z_k)$: once from the target without noise, once
    from the noise. The cost is that of all steps, whatever the number of features; `loss` needs no
    steps at a constant rate.

    **Arguments:** scalars, but for the time; a grid of them by `vmap`

    - `time`: whole steps, any shape.
    - `n_features`, `input_exponent`, `target_exponent`, `learning_rate`, `batch_size`, `noise`,
      `n_coordinates`: as in `loss`.
    - `optimizer`, `schedule`, `n_steps`: as in `optimizer_loss`, but for `Dana`.

    **Returns:** half the mean squared error, label noise included, the shape of `time`; NaN from
    the step on at which it is below the least loss or 1,000 times its start (above the limit of
    stability rare draws carry the mean), and for traced times beyond the run. Above .95 of the
    largest rate at large batches it loses digits from about step 80 on (1 % at .96), and is wrong
    or NaN from .97 on; `loss` is right there. The mean over draws of the features is within about
    1/d, as far as that of `loss` is.

    **Raises:** `ValueError` for a plain number out of range, an array where a scalar is due, an
    optimizer without a linear step or `Dana`, or without float64.

    **Example**

    ```python
    with jax.enable_x64(True):
        at = dict(input_exponent=0.8, target_exponent=0.3, learning_rate=0.014)
        momentum = js.Sgd(momentum=0.9)
        time = np.asarray([100, 1000])
        loss = js.streaming.theory.mean_optimizer_loss(time, 1e6, optimizer=momentum, **at)
    ```
    """
    t, size, alpha, beta, eta, batch, sigma, last = symbols(
        time, n_features, input_exponent, target_exponent, learning_rate, batch_size, noise,
        n_coordinates,
    )  # fmt: skip
    law, linear = (size, alpha, beta, last), linear_form(optimizer)
    assert linear is not None
    assert n_steps is not None
    given = (t, nodes_of(law), limit_of(law), eta, batch, sigma)
    return _at_times(*given, linear, schedule, n_steps)


@functools.partial(rules.compiled_quickly, static_argnames="n_steps")
def _at_times(
    t: Array, nodes: Nodes, limit: Array, eta: Array, batch: Array, sigma: Array,
    linear: AbstractLinearOptimizer, schedule: AbstractSchedule, n_steps: int,
) -> Array:  # fmt: skip
    """Mean losses after some of the steps of a schedule."""
    rates = eta * schedule.factor(jnp.arange(n_steps), n_steps).astype(eta.dtype)
    return at_steps(mean_losses(nodes, linear, rates, batch, limit + sigma**2), t)
