"""Mean loss over the data, given the features: of SGD at any time, of optimizers step by step."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._optimizers import AbstractOptimizer
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._theory import symbols
from jaxscale.fields import is_traced
from jaxscale.streaming._optimizers import linear_form
from jaxscale.streaming.theory._checks import check_modes, theory_function
from jaxscale.streaming.theory._jump import twice_loss
from jaxscale.streaming.theory._moments import drawn_modes, losses

CONSTANT = Constant()


@theory_function("discrete", vectorize=False, check=check_modes)
def sgd_loss(
    time: Real[ArrayLike, "..."],
    eigenvalues: Real[ArrayLike, " d"],
    target_power: Real[ArrayLike, " d"],
    *,
    unreachable: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    batch_size: Real[ArrayLike, ""] = 1.0,
    discrete: bool = True,
) -> Float[Array, "..."]:
    r"""Mean loss of one-pass SGD over its samples, at any times.

    $$2 L(t) = \omega + \lambda^T T^t m(0)
        + \tfrac{\eta^2}{B}\,\omega\,\lambda^T \sum_{s < t} T^s \lambda, \qquad
      T = \mathrm{diag}(A) + \tfrac{\eta^2}{B} \lambda\lambda^T, \qquad
      A_i = (1 - \eta\lambda_i)^2 + (\eta\lambda_i)^2 / B, \qquad m_i(0) = c_i^2/\lambda_i$$

    Exact for Gaussian features, any batch and rate, stable or not. One factorization of a d x d
    matrix serves all times. With `discrete=False` the loss of the limit of small steps,
    A^t -> exp(-2 eta lambda t). Against the recursion: 1e-12 in float64, up to .99 of the largest
    rate and 1e4 steps; in float32 2e-6 up to 3e5 steps for few eigenvalues at small rates (tested),
    but 1e-4 with 64 over five decades or 512 over four, and 2e-3 with 512 over seven. First
    derivatives are exact for every argument, also where eigenvalues coincide, at d^3 per time.

    **Arguments:** scalars, but for the first three; a grid of them by `vmap`

    - `time`: t >= 0 in steps, any shape, may be infinite.
    - `eigenvalues`: lambda_i, the eigenvalues of E phi phi^T, `(d,)`.
    - `target_power`: c_i^2, the power of the target along each mode, `(d,)`. Zeros in both pad.
    - `unreachable`: omega, twice the smallest loss of any weights, label noise included.
    - `learning_rate`: eta.
    - `batch_size`: B, may be infinite; the gradient is the mean over the batch.
    - `discrete`: steps, not the limit of small ones.

    **Returns:** half the mean squared error, label noise included, the shape of `time`; infinite
    where it overflows, as it does in time above the largest stable rate. There it has no derivative
    (NaN).

    **Raises:** `ValueError` for a plain number out of range, or an array where a scalar is due.

    **Example**

    >>> eigenvalues, target_power = np.arange(1, 33) ** -1.6, np.arange(1, 33) ** -3.4
    >>> at = dict(unreachable=0.01, learning_rate=0.3, batch_size=2)
    >>> time = np.asarray([0, 10, 100])
    >>> loss = js.streaming.theory.sgd_loss(time, eigenvalues, target_power, **at)
    >>> print(np.asarray(loss).round(4))
    [0.5743 0.0328 0.0069]
    """
    t, lam, power, *numbers = symbols(
        time, eigenvalues, target_power, unreachable, learning_rate, batch_size
    )
    double = twice_loss(jnp.ravel(t), lam, power, *numbers, discrete=discrete)
    return jnp.reshape(double, jnp.shape(t)) / 2


def _check_optimizer(values: Mapping[str, Any]) -> None:
    check_modes(values)
    check_run(values)


def check_run(values: Mapping[str, Any]) -> None:
    """Check that the optimizer has a linear step, and that times are steps of the run."""
    optimizer = values["optimizer"]
    if not isinstance(optimizer, AbstractOptimizer) or linear_form(optimizer) is None:
        raise ValueError(
            f"`optimizer` must have a step that is linear in the gradient, got {optimizer!r}: "
            "simulate others."
        )
    if not isinstance(values["schedule"], AbstractSchedule):
        raise ValueError(f"`schedule` must be a schedule, got {values['schedule']!r}.")
    check_times(values)


def check_times(values: Mapping[str, Any]) -> None:
    """Check that times are steps of the run."""
    time, n_steps = values["time"], values["n_steps"]
    if is_traced(time):
        if n_steps is None:
            raise ValueError("`n_steps` must be given where `time` is traced, got None.")
        return
    time = np.asarray(time, float)
    if not (np.isfinite(time) & (time == np.round(time)) & (time >= 0)).all():
        raise ValueError(f"`time` must be whole steps from 0 on, got {values['time']}.")
    if n_steps is not None and time.size and time.max() > n_steps:
        raise ValueError(f"`time` must be at most `n_steps` = {n_steps}, got {values['time']}.")


def at_steps(curve: Float[Array, " n"], time: Float[Array, "..."]) -> Float[Array, "..."]:
    """Entries of a curve at whole steps, NaN before and beyond it."""
    steps = jnp.round(time).astype(int)
    return curve.at[steps].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def length_of(values: Mapping[str, Any]) -> dict[str, int]:
    """`n_steps`, by default the last of `time`."""
    n_steps = values["n_steps"]
    if n_steps is None:
        n_steps = np.max(np.asarray(values["time"], float), initial=0.0)
    return {"n_steps": int(n_steps)}


def check_length(name: str, value: Any) -> None:
    """Rule for `n_steps`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0 or None, got {value!r}.")


@theory_function(
    "n_steps",
    vectorize=False,
    trees=("optimizer", "schedule"),
    plain=length_of,
    check=_check_optimizer,
    n_steps=check_length,
)
def optimizer_loss(
    time: Real[ArrayLike, "..."],
    eigenvalues: Real[ArrayLike, " d"],
    target_power: Real[ArrayLike, " d"],
    *,
    unreachable: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    optimizer: AbstractOptimizer,
    batch_size: Real[ArrayLike, ""] = 1.0,
    schedule: AbstractSchedule = CONSTANT,
    n_steps: int | None = None,
) -> Float[Array, "..."]:
    r"""Mean loss over the samples of any optimizer that is linear in the gradient, step by step.

    $$M_i' = X_i M_i X_i^T + q q^T n_i, \quad X_i = P + \lambda_i q h^T, \quad
      n_i = \tfrac1B\Big[\lambda_i^2\,h^T M_i h
        + \lambda_i\Big(\omega + \sum_j \lambda_j\,h^T M_j h\Big)\Big], \quad
      2 L = \omega + \sum_i \lambda_i\,o^T M_i o$$

    with M_i the second moments of the memory of mode i, whose step is s' = P s + q g with the
    gradient at h.s and the loss at o.s. Exact for Gaussian features. The cost is that of all
    steps, O(d) each. Sums are compensated: 2e-6 in float32 after 3e5 steps, but 2e-5 for averages
    with weights 1/t. Derivatives pass through optimizer and schedule, too.

    **Arguments:** as `sgd_loss`, but for

    - `time`: whole steps, any shape.
    - `optimizer`: `Sgd`, heavy ball (`Sgd(momentum)`), `Nesterov`, `PolyakAverage`,
      `ExponentialAverage`, `ScheduleFree` or `Dana`.
    - `schedule`: what multiplies the learning rate.
    - `n_steps`: length of the run, which the schedule sees; the last of `time` if None.

    **Returns:** half the mean squared error, label noise included, the shape of `time`; infinite
    from the step on at which it overflows, with derivatives as `sgd_loss`; NaN for traced times
    beyond the run.

    **Raises:** as `sgd_loss`, and for an optimizer without a linear step.

    **Example**

    >>> eigenvalues, target_power = np.arange(1, 33) ** -1.6, np.arange(1, 33) ** -3.4
    >>> at = dict(unreachable=0.01, learning_rate=0.03, optimizer=js.Sgd(momentum=0.9))
    >>> time = np.asarray([0, 10, 100])
    >>> loss = js.streaming.theory.optimizer_loss(time, eigenvalues, target_power, **at)
    >>> print(np.asarray(loss).round(4))
    [0.5743 0.1253 0.0122]
    """
    t, lam, power, omega, eta, batch = symbols(
        time, eigenvalues, target_power, unreachable, learning_rate, batch_size
    )
    linear = linear_form(optimizer)
    assert linear is not None
    assert n_steps is not None
    factor = schedule.factor(jnp.arange(n_steps), n_steps)
    curve = losses(
        drawn_modes(lam, power),
        linear,
        eta * factor.astype(eta.dtype),
        batch_size=batch,
        unreachable=omega,
    )
    return at_steps(curve, t)
