"""Training by `init`, `step` and `observe`, with log-spaced records and a status code.

The steps between two records are a loop whose bounds are traced, so one program serves every
segment and nothing is stacked per step. Training always goes to `n_steps`, whatever is recorded.
Health is checked at the record times: a run whose loss or state (what of it `must_be_finite`) is no
longer finite, or whose loss exceeds a thousand times its start, records NaN from then on.

A short run is one scan over its records (`trajectory`); a long one is cut in time (`_under_way`).
"""

import abc
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Key

from jaxscale._arguments import hinted
from jaxscale._convert import require_float64, require_float_type
from jaxscale._records import examined, next_state, results_at_records, stop_steps
from jaxscale._status import Status
from jaxscale._system import AbstractSystem, Observables
from jaxscale._text import described
from jaxscale.fields import Steps, as_int
from jaxscale.keys import check_key

INIT_STREAM, STEP_STREAM = 0, 1


def log_spaced_steps(n_steps: int, n_records: int = 60) -> tuple[int, ...]:
    """Step 0 and at most `n_records` further steps, log-spaced up to `n_steps`.

    **Arguments**

    - `n_steps`: last step.
    - `n_records`: points before rounding to distinct whole steps.

    **Returns** increasing steps, the first 0 and the last `n_steps`.

    **Raises** `ValueError` unless both are whole numbers of at least 1.

    **Example**

    >>> log_spaced_steps(1000, 7)
    (0, 1, 3, 10, 32, 100, 316, 1000)
    """
    last, n = (as_int("n_steps", n_steps, at_least=1), as_int("n_records", n_records, at_least=1))
    return _log_spaced(last, n)


@functools.lru_cache(maxsize=256)  # a plan asks for those of every run
def _log_spaced(n_steps: int, n_records: int) -> tuple[int, ...]:
    if n_records == 1:
        return 0, n_steps
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

    **Raises** `ValueError` for another `dtype`, and for float64 where JAX has it disabled.
    """
    dtype = require_float_type("dtype", dtype)
    require_float64(dtype)

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

    def must_be_finite(self, state: Any) -> Any:
        """The part of a state that ends a run as `nonfinite` when it is not: by default all of it.

        An observable of its own that a state carries, such as an exact mean, is no part of it.
        """
        return state

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
        return next_state(system, state, jr.fold_in(step_key, t))

    def segment(carry: Any, bounds: Any) -> Any:
        last_good, status, start_loss = carry
        state = jax.lax.fori_loop(bounds[0], bounds[1], one_step, last_good)
        status, start_loss, observed = examined(system, state, status, start_loss, bounds[1] == 0)
        good = status == Status.ok
        state = jax.tree.map(lambda new, old: jnp.where(good, new, old), state, last_good)
        return (state, status, start_loss), observed

    state = system.init(jr.fold_in(key, INIT_STREAM))
    start = (state, jnp.asarray(Status.ok, jnp.int32), jnp.asarray(jnp.inf, system.dtype))
    (state, status, _), history = jax.lax.scan(segment, start, (starts, stops))
    return state, results_at_records(system, status, history)


@eqx.filter_jit
def _final_state(system: AbstractTrainedSystem, key: Key[Array, ""]) -> Any:
    return trajectory(system, key)[0]


@hinted
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
    if not isinstance(system, AbstractSystem):
        way = ": take one run, js.train(*js.select(js.run(grid), seed=0))"
        way = "" if isinstance(system, type) else way
        raise ValueError(f"`system` must be an AbstractSystem, got {described(system)}{way}.")
    if not isinstance(system, AbstractTrainedSystem):
        raise ValueError(
            f"`system` must be trained step by step, got {type(system).__name__}; "
            "simulate it with system.simulate(key)."
        )
    check_key(key)
    with jax.enable_x64(system.dtype == "float64"):
        return _final_state(system, key)
