"""Training that is cut in time: from any step to any other, with the same results wherever."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Key

from jaxscale._records import (
    blank,
    examined,
    next_state,
    observed_of,
    results_at_records,
    stop_steps,
)
from jaxscale._status import Status
from jaxscale._system import Observables
from jaxscale.training import INIT_STREAM, STEP_STREAM, cast


class Training(eqx.Module):
    """Runs under way: what their next steps need, and what they have recorded.

    - `state`: as `system.init` and `system.step` define it.
    - `status`: `Status.ok`, or why the run went bad; records are blank from then on.
    - `start_loss`: loss at step 0.
    - `history`: observables at every stop, blank where it is not reached.
    """

    state: Any
    status: Any
    start_loss: Any
    history: Observables


def begin(system: Any, key: Key[Array, ""]) -> Training:
    """A run before its first step, nothing of it recorded."""
    system = cast(system, system.dtype)
    state = jax.tree.map(jnp.asarray, system.init(jr.fold_in(key, INIT_STREAM)))
    n_stops = len(stop_steps(system))

    history = {
        name: jnp.broadcast_to(blank(name, value.dtype), (n_stops, *value.shape))
        for name, value in jax.eval_shape(functools.partial(observed_of, system), state).items()
    }
    status = jnp.asarray(Status.ok, jnp.int32)
    return Training(state, status, jnp.asarray(jnp.inf, system.dtype), history)


def advance(
    of_each: Callable[..., Training], training: Training, stops: Any, first: Any, last: Any
) -> Training:
    """Train runs from step `first` to step `last`, recording at the stops on the way.

    The stop at `first` itself is recorded only at step 0. `of_each(function, training, *more)`
    applies a function of system, key and training to every run; they are at the same step.
    """

    def unfinished(carry: Any) -> Any:
        step, row, _ = carry
        return (step < last) | (row == 0)

    def segment(carry: Any) -> Any:
        step, row, training = carry
        end = jnp.minimum(stops[row], last)
        training = of_each(functools.partial(_stepped, step, end), training)
        at_stop = end == stops[row]
        training = jax.lax.cond(
            at_stop,
            lambda: of_each(functools.partial(_recorded, row), training),
            lambda: training,
        )
        return end, row + at_stop.astype(row.dtype), training

    stops = jnp.asarray(stops)
    row = jnp.where(first == 0, 0, jnp.sum(stops <= first)).astype(jnp.int32)
    return jax.lax.while_loop(unfinished, segment, (first, row, training))[2]


def results_of(system: Any, key: Key[Array, ""], training: Training) -> Observables:
    """Observables at `record_steps` and the status, if the run ended here."""
    return results_at_records(cast(system, system.dtype), training.status, training.history)


def _stepped(first: Any, last: Any, system: Any, key: Any, training: Training) -> Training:
    system, step_key = cast(system, system.dtype), jr.fold_in(key, STEP_STREAM)

    def one_step(t: Any, state: Any) -> Any:
        return next_state(system, state, jr.fold_in(step_key, t))

    state = jax.lax.fori_loop(first, last, one_step, training.state)
    return dataclasses.replace(training, state=state)


def _recorded(row: Any, system: Any, key: Any, training: Training) -> Training:
    system, t = cast(system, system.dtype), training
    status, start_loss, observed = examined(system, t.state, t.status, t.start_loss, row == 0)
    history = {name: h.at[row].set(observed[name]) for name, h in t.history.items()}
    return Training(t.state, status, start_loss, history)
