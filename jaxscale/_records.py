"""What a trained run records, and whether it is healthy."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxscale._status import DIVERGED, Status
from jaxscale._system import Observables
from jaxscale._text import WIDTH, described


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


def next_state(system: Any, state: Any, key: Any) -> Any:
    """State after one more step; `ValueError` unless its leaves are like those before."""
    after = system.step(state, key)
    if change := _change(state, after):
        name = type(system).__name__
        raise ValueError(f"`step` of {name} must return a state like that of `init`: {change}.")
    return after


def _change(before: Any, after: Any) -> str:
    """What of a state has another type or shape than before; "" if nothing has."""
    leaves, tree = jax.tree.flatten_with_path(before)
    new_leaves, new_tree = jax.tree.flatten(after)
    if tree != new_tree:
        return f"{_form(before)} became {_form(after)}"
    for (path, was), now in zip(leaves, new_leaves, strict=True):
        weak = jax.typeof(was).weak_type and jnp.shape(was) == jnp.shape(now)  # JAX promotes it
        if not weak and _form(was) != _form(now):
            where = f"leaf {jax.tree_util.keystr(path)} " if path else ""
            return f"{where}{_form(was)} became {_form(now)}"
    return ""


def _form(tree: Any) -> str:
    """Type and shape of a leaf, `float32[2]`; a tree in a few words."""
    if eqx.is_array_like(tree):
        return f"{jax.typeof(tree).dtype}{list(jnp.shape(tree))}".replace(" ", "")
    text = eqx.tree_pformat(tree, width=10**6)
    return text if len(text) <= WIDTH else f"a {type(tree).__name__}"


def observed_of(system: Any, state: Any) -> Observables:
    """What `observe` returns, as arrays; `ValueError` unless it is numbers with a scalar loss."""
    observed, name = system.observe(state), type(system).__name__
    if not isinstance(observed, Mapping) or "loss" not in observed:
        what = ", ".join(observed) if isinstance(observed, Mapping) else described(observed)
        raise ValueError(
            f"`observe` of {name} must return 'loss', which says whether a run is healthy; it "
            f"returns {what}."
        )
    arrays = {}
    for key, value in observed.items():
        if not eqx.is_array_like(value):
            raise ValueError(
                f"`observe` of {name} must return numbers, got {described(value)} for {key!r}."
            )
        plain = isinstance(value, int | float)
        arrays[key] = jnp.asarray(value, system.dtype if plain else None)
    if shape := arrays["loss"].shape:
        raise ValueError(
            f"`observe` of {name} must return a scalar 'loss', got shape {shape}: return its mean, "
            "and the rest under a name of its own."
        )
    return arrays


def examined(
    system: Any, state: Any, status: Any, start_loss: Any, at_start: Any
) -> tuple[Any, Any, Observables]:
    """Status, loss at the start, and observables (blank from the first bad record on)."""
    observed = observed_of(system, state)
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
