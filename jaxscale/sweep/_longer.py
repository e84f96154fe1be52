"""Train the runs of a finished store to more steps, from the final states that it keeps."""

from typing import Any

import jax
import numpy as np

from jaxscale._records import stop_steps
from jaxscale.keys import root_key
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._plan import Plan, continued
from jaxscale.sweep._reader import StoreReader
from jaxscale.sweep._store import ZarrStore, write_header
from jaxscale.sweep._stretches import State
from jaxscale.training import AbstractTrainedSystem, cast

LENGTH = ("n_steps", "record")


def is_longer(part: Grid, grid: Grid) -> bool:
    """Whether the grids are the same but for the steps and records of their system."""
    if not all(isinstance(g.system, AbstractTrainedSystem) for g in (part, grid)):
        return False
    if not set(LENGTH).isdisjoint(grid.axes):
        return False
    tables = [g.to_dict() for g in (part, grid)]
    for table in tables:
        table["fields"] = {k: v for k, v in table["fields"].items() if k not in LENGTH}
    return tables[0] == tables[1] and grid.system.n_steps > part.system.n_steps  # pyright: ignore


def lengthen(place: AbstractPlace, stored: StoreReader, plan: Plan) -> Plan:
    """Turn the store into one for the longer runs of `plan`, all of them under way.

    Return a plan of the same chunks. `ValueError`, and no change, if a final state is missing, if
    the steps that were done depend on their number, or if a record is asked for that was not made.
    """
    if not stored.is_complete:
        raise ValueError(
            f"`store` {place} must be finished before its runs are trained longer: run its own "
            "grid first (with `keep_states`, --keep-states)."
        )
    states = stored.states
    old, new = stored.plan(plan.options), continued(plan.grid, stored.cuts, plan.options)
    layout = Layout.of(new)
    rows = stored.layout(old).rows
    for where in rows:
        before, after = (p.buckets[where[0]].traced_system for p in (old, new))
        if states.step(*where) < before.n_steps:  # pyright: ignore
            raise ValueError(
                f"`store` {place} does not keep the final state of its runs, from which they could "
                "be trained longer: that needs a plan with `keep_states` (--keep-states) from the "
                "start; choose another store."
            )
        if where[1] == 0:
            _require_same_steps(place, old.buckets[where[0]], new.buckets[where[0]])
    made = {k: v for k, v in stored.attributes.items() if k == "sessions"}
    with place.replacing() as temporary:
        write_header(temporary, layout, **made)
        results = ZarrStore(temporary, layout)
        for where in rows:
            before, after = (p.buckets[where[0]].traced_system for p in (old, new))
            if (state := states.read(*where)) is not None:
                results.write_state(*where, _with_stops(state, before, after))
    return new


def _with_stops(state: State, old: Any, new: Any) -> State:
    """The same state with room for the records of longer runs."""
    before, after = np.asarray(stop_steps(old)), np.asarray(stop_steps(new))
    rows = np.flatnonzero(after <= state.step)
    missing = np.setdiff1d(after[rows], before)
    if missing.size:
        raise ValueError(
            f"`record` asks for step {missing[0]}, at which the stored runs were not recorded (or "
            "did not look whether they converge): take the grid of `Grid.longer` (in a shell, "
            "--longer), or a larger `n_steps`."
        )
    history = {}
    for name, value in state.history.items():
        blank = np.nan if value.dtype.kind == "f" else -1
        shape = (len(value), len(after), *value.shape[2:])
        history[name] = np.full(shape, blank, value.dtype)
        history[name][:, rows] = value[:, np.searchsorted(before, after[rows])]
    return State(state.step, state.leaves, history)


def _require_same_steps(place: AbstractPlace, old: Bucket, new: Bucket) -> None:
    """Refuse a schedule that stretches with `n_steps`: other steps would have been done."""
    if _operations(old.traced_system) != _operations(new.traced_system):
        raise ValueError(
            f"`n_steps` cannot be longer than in `store` {place}: a step of this system depends on "
            "it (a schedule that stretches with the run); choose another store."
        )


def _operations(system: Any) -> str:
    """What a run does at its start, at a step, and at a record, with all numbers it contains."""
    with jax.enable_x64(system.dtype == "float64"):
        system, key = cast(system, system.dtype), root_key(0)
        state = jax.eval_shape(system.init, key)

        def all_of_them(state: Any, key: Any) -> Any:
            return system.init(key), system.step(state, key), system.observe(state)

        return jax.jit(all_of_them).lower(state, key).as_text()
