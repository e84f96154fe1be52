"""Learning-rate schedules: objects that multiply the learning rate, written without Python `if`."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxscale.fields import Configurable, Integer, Real, count, is_traced, part, real

Length = int | Int[Array, ""]


class AbstractSchedule(Configurable):
    """A factor on the learning rate, as a function of the step."""

    @abc.abstractmethod
    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """Factor at `step` (0 for the first step) of a run of `n_steps`."""

    def effective_steps(self, steps: tuple[int, ...], n_steps: int) -> Float[Array, " t"]:
        """Sum of the factor over the steps before each of `steps`: the time that theory sees.

        **Arguments**

        - `steps`: from 0 to `n_steps`.
        - `n_steps`: length of the run.

        **Returns** the sums, in steps at a factor of one; one for each of `steps`.

        **Raises** `ValueError` for a step that is none of the run.
        """
        outside = [step for step in steps if not 0 <= step <= n_steps]
        if outside:
            raise ValueError(f"`steps` must lie in 0 .. {n_steps}, got {outside[0]}.")
        factor = self.factor(jnp.arange(n_steps), n_steps)
        return jnp.cumulative_sum(factor, include_initial=True)[np.asarray(steps, int)]

    def steps_to_reach(self, effective: Float[Array, " k"], n_steps: int) -> Float[Array, " k"]:
        """Steps whose factors sum to `effective`, beyond `n_steps` at the last factor.

        **Arguments**

        - `effective`: sums of factors, in steps at a factor of one.
        - `n_steps`: length of the run.

        **Returns** the steps, of the shape of `effective`; infinity beyond a run whose last factor
        is zero, for they are never reached.
        """
        factor = self.factor(jnp.arange(n_steps), n_steps).astype(effective.dtype)
        total = jnp.cumulative_sum(factor, include_initial=True)
        inside = jnp.interp(effective, total, jnp.arange(n_steps + 1, dtype=factor.dtype))
        beyond = effective > total[-1]
        rate = jnp.where(beyond, factor[-1], 1.0)  # of zero even the branch not taken has no slope
        return jnp.where(beyond, n_steps + (effective - total[-1]) / rate, inside)


class Constant(AbstractSchedule):
    """The learning rate as it is."""

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """One at every step."""
        return jnp.ones(jnp.shape(step), jnp.result_type(float))


class StepDecay(AbstractSchedule):
    """Multiply by `ratio` after every `every` steps."""

    ratio: Real = real(0.5, above=0.0)
    every: Integer = count(1000)

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """`ratio ** (step // every)`."""
        ratio = jnp.asarray(self.ratio)
        step = jnp.asarray(step)
        every = jnp.asarray(self.every).astype(step.dtype)
        return ratio ** (step // every).astype(ratio.dtype)


class TwoDrops(AbstractSchedule):
    """One, then `first_ratio` from `first_at * n_steps` on, then `last_ratio` from `last_at` on.

    A share of the steps is rounded to a whole step (half a step to an even one), from which on the
    ratio holds.
    """

    first_at: Real = real(0.7, at_least=0.0, at_most=1.0)
    first_ratio: Real = real(0.3, above=0.0)
    last_at: Real = real(0.85, at_least=0.0, at_most=1.0)
    last_ratio: Real = real(0.1, above=0.0)

    def __check_init__(self):
        both = (self.first_at, self.last_at)
        if not is_traced(*both) and both[0] > both[1]:
            raise ValueError(
                f"`first_at` must be at most `last_at`, {both[1]:g}, got {both[0]:g}: else the "
                "first drop would never come."
            )

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """One before `round(first_at * n_steps)`, `last_ratio` from `round(last_at * n_steps)`."""
        first, last = jnp.asarray(self.first_ratio), jnp.asarray(self.last_ratio)
        length = jnp.asarray(n_steps).astype(first.dtype)
        first_step, last_step = (_rounded(at, length) for at in (self.first_at, self.last_at))
        step = jnp.asarray(step).astype(first.dtype)
        early = jnp.where(step < first_step, jnp.ones_like(first), first)
        return jnp.where(step < last_step, early, last)


def _rounded(share: Real, length: Float[Array, ""]) -> Float[Array, ""]:
    """The step at a share of the length, rounded with the digits of float32.

    With more of them theory, in float64, would round some shares to the step before that of runs.
    """

    def single(x: Array) -> Array:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=23)

    return jnp.round(single(single(jnp.asarray(share)) * single(length)))


def _progress(step: Int[ArrayLike, "*n"], n_steps: Length, dtype: Any) -> Float[Array, "*n"]:
    """Share of the steps that are done, 1 also after the last."""
    return jnp.minimum(jnp.asarray(step).astype(dtype) / jnp.asarray(n_steps).astype(dtype), 1.0)


class Cosine(AbstractSchedule):
    """Half a cosine from one down to `final_ratio`.

    **Example**

    >>> print(np.asarray(js.Cosine().factor(jax.numpy.asarray([0, 50, 100]), 100)).round(2))
    [1.  0.5 0. ]
    """

    final_ratio: Real = real(0.0, at_least=0.0)

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """`final + (1 - final) (1 + cos(pi step / n_steps)) / 2`."""
        final = jnp.asarray(self.final_ratio)
        progress = _progress(step, n_steps, final.dtype)
        return final + (1.0 - final) * (1.0 + jnp.cos(jnp.pi * progress)) / 2.0


class LinearDecay(AbstractSchedule):
    """A straight line from one down to `final_ratio`.

    **Example**

    >>> print(np.asarray(js.LinearDecay().factor(jax.numpy.asarray([0, 25, 100]), 100)))
    [1.   0.75 0.  ]
    """

    final_ratio: Real = real(0.0, at_least=0.0)

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """`1 - (1 - final) step / n_steps`."""
        final = jnp.asarray(self.final_ratio)
        return 1.0 - (1.0 - final) * _progress(step, n_steps, final.dtype)


class WarmUp(AbstractSchedule):
    """Rise linearly to one over `n_warm_up` steps, then follow the schedule `then`.

    The rise begins at `1 / n_warm_up` and reaches one at step `n_warm_up - 1`, where `then` begins;
    the other `n_steps - n_warm_up` steps are the length that `then` sees. A run that is not longer
    than the rise never gets to `then`.

    **Example**

    >>> schedule = js.WarmUp(n_warm_up=4, then=js.Cosine(final_ratio=0.05))
    >>> print(np.asarray(schedule.factor(jax.numpy.asarray([0, 1, 3, 8, 13]), 14)).round(3))
    [0.25  0.5   1.    0.525 0.05 ]
    """

    n_warm_up: Integer = count(100)
    then: AbstractSchedule = part(AbstractSchedule, Constant())

    def __check_init__(self):
        if isinstance(self.then, WarmUp):
            raise ValueError(
                f"`then` must be no second warm-up, got {self.then!r}: give one of n_warm_up steps."
            )

    def factor(self, step: Int[ArrayLike, "*n"], n_steps: Length) -> Float[Array, "*n"]:
        """`min(1, (step + 1) / n_warm_up)` times the factor of `then`."""
        step = jnp.asarray(step)
        length = jnp.asarray(self.n_warm_up).astype(step.dtype)
        after = self.then.factor(
            jnp.maximum(step + 1 - length, 0), jnp.maximum(n_steps - length, 1)
        )
        return jnp.minimum((step + 1).astype(after.dtype) / length.astype(after.dtype), 1.0) * after
