"""Training by `init`, `step` and `observe`, with log-spaced records and a status code.

The steps between two records are a loop whose bounds are traced, so one program serves every
segment and nothing is stacked per step. Training always goes to `n_steps`, whatever is recorded.
Health is checked at the record times: a run whose state or loss is no longer finite, or whose loss
exceeds a thousand times its start, records NaN from then on.

A short run is one scan over its records (`trajectory`). A long one is cut in time: `advance` takes
a group of runs from any step to any other, and gives the same results wherever it is cut.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Key, Num

from jaxscale._status import DIVERGED, Status
from jaxscale._system import AbstractSystem, Observables
from jaxscale.fields import Steps
from jaxscale.keys import check_key

INIT_STREAM, STEP_STREAM = 0, 1


def log_spaced_steps(n_steps: int, n_records: int = 60) -> tuple[int, ...]:
    """Step 0 and at most `n_records` further steps, log-spaced up to `n_steps`.

    **Arguments**

    - `n_steps`: last step.
    - `n_records`: points before rounding to distinct whole steps.

    **Returns** increasing steps, the first 0 and the last `n_steps`.

    **Raises** `ValueError` unless both are at least 1.

    **Example**

    >>> log_spaced_steps(1000, 7)
    (0, 1, 3, 10, 32, 100, 316, 1000)
    """
    for name, value in (("n_steps", n_steps), ("n_records", n_records)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    points = np.rint(np.geomspace(1, n_steps, n_records)).astype(int)
    return (0, *(int(p) for p in np.unique(np.append(points, n_steps))))


def check_record(record: Steps | None, n_steps: int) -> None:
    """Refuse record steps beyond the end of training."""
    if record is not None and record[-1] > n_steps:
        raise ValueError(
            f"`record` must end by `n_steps` = {n_steps}, got step {record[-1]}: give `record`, "
            f"too, such as [0, {n_steps}]."
        )


def cast(module: Any, dtype: str) -> Any:
    """Cast float leaves to `dtype` and integer leaves to int32, so that no user flag decides.

    **Arguments**

    - `module`: a system or one of its parts.
    - `dtype`: float32 or float64.

    **Returns** the same module with JAX arrays for leaves.

    **Raises** `ValueError` for float64 where JAX has it disabled.
    """
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore
        raise ValueError("`dtype` float64 needs `with jax.enable_x64(True):` around a bare call.")

    def leaf(x: Any) -> Any:
        kind = jnp.result_type(x)
        is_float = jnp.issubdtype(kind, jnp.floating)
        if not is_float and not jnp.issubdtype(kind, jnp.integer):
            return x
        target = dtype if is_float else "int32"
        if isinstance(x, np.ndarray | np.generic):
            # A NumPy array that is traced into a loop is remembered by its identity, with the dtype
            # of that trace: meeting it again under the other x64 flag crashes (jax 0.10 to 0.12).
            # Leaves live as long as their system, so each cast makes arrays of its own.
            return jnp.asarray(np.array(x, dtype=target))
        return jnp.asarray(x).astype(target)

    return jax.tree.map(leaf, module)


class AbstractTrainedSystem(AbstractSystem):
    """A system that trains step by step: `simulate` runs `init`, `step` and `observe`."""

    n_steps: eqx.AbstractVar[int]  # pyright: ignore
    record: eqx.AbstractVar[Any]  # pyright: ignore

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Any:
        """State before the first step."""

    @abc.abstractmethod
    def step(self, state: Any, key: Key[Array, ""]) -> Any:
        """State after one more step; `key` belongs to this step of this run."""

    @abc.abstractmethod
    def observe(self, state: Any) -> Observables:
        """Observables of a state; must contain the scalar `loss`."""

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Increasing steps at which `converged` looks, recorded or not; the last is `n_steps`."""
        return (self.n_steps,)

    def converged(self, history: Observables) -> Bool[Array, ""]:
        """Whether the tolerance that the system names was met; `history` is at `checkpoints`."""
        return jnp.asarray(True)

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps at which observables are recorded: `record`, or 0 and log-spaced to the end."""
        return log_spaced_steps(self.n_steps) if self.record is None else self.record

    def __check_init__(self):
        check_record(self.record, self.n_steps)

    def simulate(self, key: Key[Array, ""]) -> Observables:
        """Train from `key`, recording the observables at `record_steps`."""
        return trajectory(self, key)[1]


def _all_finite(tree: Any) -> Bool[Array, ""]:
    floats = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))


def _mask(value: Num[Array, "..."], good: Bool[Array, ""]) -> Num[Array, "..."]:
    blank = jnp.nan if jnp.issubdtype(value.dtype, jnp.floating) else -1
    return jnp.where(good, value, jnp.asarray(blank, value.dtype))


def stop_steps(system: AbstractTrainedSystem) -> tuple[int, ...]:
    """Steps at which a run is observed: 0, its records, and its checkpoints up to the last."""
    return tuple(sorted({0, *system.record_steps, *system.checkpoints}))


def _examined(
    system: AbstractTrainedSystem, state: Any, status: Any, start_loss: Any, at_start: Any
) -> tuple[Any, Any, Observables]:
    """Status, loss at the start, and observables (blank from the first bad record on)."""
    observed = system.observe(state)
    loss = observed["loss"]
    start_loss = jnp.where(at_start, loss, start_loss)
    over = (loss > DIVERGED * start_loss) & (start_loss > 0)
    health = jnp.where(over, Status.diverged, Status.ok)
    health = jnp.where(_all_finite((state, loss)), health, Status.nonfinite)
    status = jnp.where(status == Status.ok, health, status).astype(jnp.int32)
    good = status == Status.ok
    return status, start_loss, {name: _mask(value, good) for name, value in observed.items()}


def _results(system: AbstractTrainedSystem, status: Any, history: Observables) -> Observables:
    """Observables at `record_steps`, of all that were made at the stops, and the final status."""
    stops = stop_steps(system)

    def at(steps: tuple[int, ...]) -> Observables:
        rows = np.searchsorted(stops, steps)
        return {name: value[rows] for name, value in history.items()}

    late = (status == Status.ok) & ~system.converged(at(system.checkpoints))
    status = jnp.where(late, jnp.asarray(Status.not_converged, jnp.int32), status)
    return {**at(system.record_steps), "status": status}


def trajectory(system: AbstractTrainedSystem, key: Key[Array, ""]) -> tuple[Any, Observables]:
    """Train one run and record it.

    **Arguments**

    - `system`: the system.
    - `key`: typed threefry key of the run.

    **Returns** the final state (the last good one, if the run went bad) and the observables, each
    with a leading axis over `system.record_steps`, together with the scalar `status`.

    **Raises** `ValueError` for a key of another kind.
    """
    check_key(key)
    system = cast(system, system.dtype)
    stops = jnp.asarray(stop_steps(system), dtype=jnp.int32)
    starts = jnp.concatenate([stops[:1], stops[:-1]])
    step_key = jr.fold_in(key, STEP_STREAM)

    def one_step(t: Any, state: Any) -> Any:
        return system.step(state, jr.fold_in(step_key, t))

    def segment(carry: Any, bounds: Any) -> Any:
        last_good, status, start_loss = carry
        state = jax.lax.fori_loop(bounds[0], bounds[1], one_step, last_good)
        status, start_loss, observed = _examined(system, state, status, start_loss, bounds[1] == 0)
        good = status == Status.ok
        state = jax.tree.map(lambda new, old: jnp.where(good, new, old), state, last_good)
        return (state, status, start_loss), observed

    state = system.init(jr.fold_in(key, INIT_STREAM))
    start = (state, jnp.asarray(Status.ok, jnp.int32), jnp.asarray(jnp.inf, system.dtype))
    (state, status, _), history = jax.lax.scan(segment, start, (starts, stops))
    return state, _results(system, status, history)


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


def begin(system: AbstractTrainedSystem, key: Key[Array, ""]) -> Training:
    """A run before its first step, nothing of it recorded."""
    system = cast(system, system.dtype)
    state = system.init(jr.fold_in(key, INIT_STREAM))
    n_stops = len(stop_steps(system))

    def blank(observed: Any) -> Any:
        value = jnp.nan if jnp.issubdtype(observed.dtype, jnp.floating) else -1
        return jnp.full((n_stops, *observed.shape), value, observed.dtype)

    history = jax.tree.map(blank, jax.eval_shape(system.observe, state))
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
        training = of_each(lambda *run: _stepped(*run, step, end), training)
        at_stop = end == stops[row]
        training = jax.lax.cond(
            at_stop,
            lambda: of_each(lambda *run: _recorded(*run, row), training),
            lambda: training,
        )
        return end, row + at_stop.astype(row.dtype), training

    stops = jnp.asarray(stops)
    row = jnp.where(first == 0, 0, jnp.sum(stops <= first)).astype(jnp.int32)
    return jax.lax.while_loop(unfinished, segment, (first, row, training))[2]


def results_of(
    system: AbstractTrainedSystem, key: Key[Array, ""], training: Training
) -> Observables:
    """Observables at `record_steps` and the status, if the run ended here."""
    return _results(cast(system, system.dtype), training.status, training.history)


def _stepped(system: Any, key: Any, training: Training, first: Any, last: Any) -> Training:
    system, step_key = cast(system, system.dtype), jr.fold_in(key, STEP_STREAM)

    def one_step(t: Any, state: Any) -> Any:
        return system.step(state, jr.fold_in(step_key, t))

    state = jax.lax.fori_loop(first, last, one_step, training.state)
    return dataclasses.replace(training, state=state)


def _recorded(system: Any, key: Any, training: Training, row: Any) -> Training:
    system, t = cast(system, system.dtype), training
    status, start_loss, observed = _examined(system, t.state, t.status, t.start_loss, row == 0)
    history = {name: h.at[row].set(observed[name]) for name, h in t.history.items()}
    return Training(t.state, status, start_loss, history)


@eqx.filter_jit
def _final_state(system: AbstractTrainedSystem, key: Key[Array, ""]) -> Any:
    return trajectory(system, key)[0]


def train(system: AbstractSystem, key: Key[Array, ""]) -> Any:
    """Train one run and return its final state, trained weights included.

    It equals a run of a sweep bit for bit, or to rounding that may grow, as `js.select` says.

    **Arguments**

    - `system`: an `AbstractTrainedSystem`.
    - `key`: typed key of the run, for instance from `js.select`.

    **Returns** the state that `system.init` and `system.step` define.

    **Raises** `ValueError` for a system that is solved rather than trained.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> state = js.train(system, jax.random.key(0))
    >>> print(np.asarray(state.a * state.b).round(3))  # the skill strengths
    [0.119 0.024 0.016]
    """
    if not isinstance(system, AbstractTrainedSystem):
        raise ValueError(
            f"`system` must be trained step by step, got {type(system).__name__}; "
            "simulate it with system.simulate(key)."
        )
    with jax.enable_x64(system.dtype == "float64"):
        return _final_state(system, key)
