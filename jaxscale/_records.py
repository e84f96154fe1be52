"""What a trained run records, and whether it is healthy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxscale._status import DIVERGED, Status
from jaxscale._system import Observables


def _all_finite(tree: Any) -> Bool[Array, ""]:
    floats = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))


def blank(name: str, dtype: Any) -> Array:
    """What stands where nothing was observed: NaN, or of whole numbers -1, the largest unsigned."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return jnp.asarray(jnp.nan, dtype)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"`observe` must return numbers, got {name!r} of type {dtype}.")
    return jnp.asarray(-1, jnp.int32).astype(dtype)


def stop_steps(system: Any) -> tuple[int, ...]:
    """Steps at which a run is observed: 0, its records, and its checkpoints up to the last."""
    return tuple(sorted({0, *system.record_steps, *system.checkpoints, system.n_steps}))


def examined(
    system: Any, state: Any, status: Any, start_loss: Any, at_start: Any
) -> tuple[Any, Any, Observables]:
    """Status, loss at the start, and observables (blank from the first bad record on)."""
    observed = system.observe(state)
    if "loss" not in observed:
        raise ValueError(
            f"`observe` of {type(system).__name__} must return 'loss', which says whether a run is "
            f"healthy; it returns {', '.join(observed)}."
        )
    loss = observed["loss"]
    start_loss = jnp.where(at_start, loss, start_loss)
    over = (loss > DIVERGED * start_loss) & (start_loss > 0)
    health = jnp.where(over, Status.diverged, Status.ok)
    health = jnp.where(_all_finite((system.must_be_finite(state), loss)), health, Status.nonfinite)
    status = jnp.where(status == Status.ok, health, status).astype(jnp.int32)
    good = status == Status.ok
    return (
        status,
        start_loss,
        {
            name: jnp.where(good, value, blank(name, value.dtype))
            for name, value in observed.items()
        },
    )


def results_at_records(system: Any, status: Any, history: Observables) -> Observables:
    """Observables at `record_steps`, of all that were made at the stops, and the final status."""
    stops = stop_steps(system)

    def at(steps: tuple[int, ...]) -> Observables:
        rows = np.searchsorted(stops, steps)
        return {name: value[rows] for name, value in history.items()}

    late = (status == Status.ok) & ~system.converged(at(system.checkpoints))
    status = jnp.where(late, jnp.asarray(Status.not_converged, jnp.int32), status)
    return {**at(system.record_steps), "status": status}
