"""Extend a store to a larger grid: its results are copied, and only missing runs remain."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale.paths import get
from jaxscale.sweep._axes import label
from jaxscale.sweep._bucket import recut, structures
from jaxscale.sweep._compute import describe_devices
from jaxscale.sweep._differences import (
    LONGER,
    READ,
    asks_for_more_steps,
    axis_differences,
    first_differences,
    in_words,
    system_differences,
)
from jaxscale.sweep._grid import Grid, positions
from jaxscale.sweep._layout import Layout, positions_in
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._plan import Plan, continued, plan_of
from jaxscale.sweep._reader import StoreReader
from jaxscale.sweep._store import ZarrStore, write_header

HEADER = ("jaxscale_format", "grid", "plan", "slots", "coordinates", "complete")
COMPARED = 200  # systems of the two grids, at most
SHORTEST_SECONDS = 1.0  # that say how long runs take, and not what a session takes to begin


def extend(place: AbstractPlace, stored: StoreReader, plan: Plan) -> Plan:
    """Turn the store into one for the larger grid of `plan`, with everything done copied.

    Return a plan of the old buckets and of new ones for the runs that are missing, whose chunks are
    shorter than planned if the old runs took longer. Unless the stored grid is a part of the new
    one, raise `ValueError` and change nothing.
    """
    try:
        ids_in_larger = match_runs(stored.grid, plan.grid, place)
    except ValueError as error:
        raise ValueError(f"{error} Choose another store (`store`, --store).") from None
    old_plan = stored.plan(plan.options)
    old_layout = stored.layout(old_plan)
    stored.check(old_layout)
    cuts = [(ids_in_larger[ids], c, g, stretched) for ids, c, g, stretched in stored.cuts]
    for ids, *_ in cuts:
        if len(structures(plan.grid, ids)) > 1:
            raise ValueError(
                f"`store` {place} has runs in one program that need several in the new grid (an "
                "axis of numbers became one of objects); nothing was written, use a new store."
            )
    missing = np.setdiff1d(np.arange(plan.grid.n_runs), ids_in_larger)
    old, more = continued(plan.grid, cuts, plan.options), plan_of(plan.grid, missing, plan.options)
    ratio, most = _ratio(stored, old_plan, old_layout), plan.options.max_runs_per_chunk
    new = more.buckets if ratio <= 1.0 else tuple(recut(b, ratio, most) for b in more.buckets)
    buckets, own_flops = (*old.buckets, *new), old.own_flops + more.own_flops
    extended = Plan(plan.grid, buckets, plan.warnings, own_flops, plan.options)
    layout = Layout.of(extended)
    made = {k: v for k, v in stored.attributes.items() if k not in HEADER}
    with place.replacing() as temporary:
        write_header(temporary, layout, **made)
        _copy(stored, old_layout, ZarrStore(temporary, layout))
    return extended


def _done(stored: StoreReader, layout: Layout) -> Iterator[tuple[tuple[int, int], int]]:
    """Finished chunks of a store, and their runs."""
    for where in layout.rows:
        if np.all(stored.done[layout.shards(*where)]):
            yield where, len(layout.buckets[where[0]].ids_of(where[1]))


def _ratio(stored: StoreReader, plan: Plan, layout: Layout) -> float:
    """Measured over estimated time of the finished chunks; 0 unless these devices timed them.

    It is too low where an executor computed several at once, and chunks are never made longer.
    """
    seconds, devices = 0.0, {describe_devices(b.n_devices) for b in plan.buckets}
    for session in json.loads(stored.attributes.get("sessions", "[]")):
        if session.get("device") not in devices:
            return 0.0
        seconds += max(0.0, session["wall_seconds"] - session["compile_seconds"])
    each = [b.seconds / b.n_runs for b in plan.buckets]
    estimated = sum(n_runs * each[bucket] for (bucket, _), n_runs in _done(stored, layout))
    for (bucket, _), state in stored.under_way(layout).items():
        system: Any = plan.buckets[bucket].padded_system
        estimated += plan.buckets[bucket].chunk * each[bucket] * state.step / system.n_steps
    return seconds / estimated if estimated and seconds >= SHORTEST_SECONDS else 0.0


def _copy(stored: StoreReader, old: Layout, new: ZarrStore) -> None:
    """Write every finished chunk of the old store into the new one, and every state."""
    moved, states = positions_in(new.layout.coordinates, old.coordinates), stored.states
    for where, n_runs in _done(stored, old):
        rows, values = old.rows[where], {}
        for name in old.observables:
            own = stored.read(name, rows.start, rows.stop)[:n_runs]
            values[name] = new.layout.place(name, own, moved)
        new.write(*where, values, states.read(*where))
    for where in states.among(old.rows):
        if not new.is_done(*where) and (state := states.read(*where)) is not None:
            new.write_state(*where, state)


def match_runs(part: Grid, larger: Grid, place: AbstractPlace | Path) -> np.ndarray:
    """Run id in `larger` of every run of `part`; refuse another system or key, or missing runs."""

    def refuse(reason: str) -> ValueError:
        return ValueError(
            f"`store` {place} holds the results of another grid ({reason}); nothing was written."
        )

    said = [] if part.key == larger.key else [f"its key is {part.key}, not {larger.key}"]
    if axes := axis_differences(part, larger):
        raise refuse(in_words([*said, *axes, *first_differences(part, larger)], READ))
    base = part.system_at(0)  # with the axes of one value that the new grid may lack
    listed = {n: part.axes.get(n, [get(base, n)]) for n in larger.axes}
    listed["seed"] = list(part.seeds)
    index, indices = positions(part, np.arange(part.n_runs)), []
    for name, values in {**larger.axes, "seed": larger.seeds}.items():
        index_of = {label(v): i for i, v in enumerate(values)}
        at = np.asarray([index_of[label(v)] for v in listed[name]])
        indices.append(at[index[name]] if name in index else np.full(part.n_runs, at[0]))
    ids = np.asarray(np.ravel_multi_index(indices, larger.shape))
    every = np.arange(0, part.n_runs, len(part.seeds))
    for i in every[:: -(-len(every) // COMPARED)]:
        stored, given = part.system_at(int(i)), larger.system_at(int(ids[i]))
        texts = system_differences(stored, given)
        if said or texts:
            hint = LONGER if not said and asks_for_more_steps(stored, given) else ""
            raise refuse(in_words([*said, *texts], hint))
    return ids
