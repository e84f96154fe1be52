"""A store of part of a grid becomes a store of the whole: only what is missing will run."""

import json
import shutil
from pathlib import Path

import numpy as np

from jaxscale.paths import get
from jaxscale.sweep.bucket import structures
from jaxscale.sweep.config import encode
from jaxscale.sweep.dataset import Layout
from jaxscale.sweep.files import beside
from jaxscale.sweep.grid import Grid, label
from jaxscale.sweep.plan import Plan, continued, plan_of
from jaxscale.sweep.reading import StoredPlan
from jaxscale.sweep.store import ZarrStore, flush, told, write_header

HEADER = ("jaxscale_format", "grid", "plan", "slots", "coordinates", "complete")
COMPARED = 200  # systems of the two grids, at most


def extend(path: Path, stored: StoredPlan, plan: Plan) -> Plan:
    """Turn the store into one for the larger grid of `plan`, with everything done copied.

    The new store is written beside the old one, which is renamed away only when that is whole, and
    removed last; `recover` undoes the step between two renamings.

    **Returns** a plan of the old buckets and of new ones for the runs that are missing.

    **Raises** `ValueError` if the stored grid is not a part of the new one; nothing is changed.
    """
    places = runs_in(stored.grid, plan.grid, path)
    old_layout = stored.layout(stored.plan(plan.options))
    stored.check(old_layout)
    old = [(places[ids], chunk, group) for ids, chunk, group in stored.cuts]
    for ids, _, _ in old:
        if len(structures(plan.grid, ids)) > 1:
            raise ValueError(
                f"`store` {path} has runs in one program that need several in the new grid (an "
                "axis of numbers became one of objects); nothing was written, use a new store."
            )
    missing = np.setdiff1d(np.arange(plan.grid.n_runs), places)
    whole = _joined(plan, old, missing)
    layout = Layout.of(whole)
    temporary, previous = beside(path, "new"), beside(path, "previous")
    with told(path):
        shutil.rmtree(temporary, ignore_errors=True)
        made = {k: v for k, v in stored.attributes.items() if k not in HEADER}
        write_header(temporary, layout, **made)
        _copy(stored, old_layout, ZarrStore(temporary, layout))
        flush([temporary, *temporary.rglob("*")])
        path.rename(previous)
        try:
            temporary.rename(path)
        except BaseException:
            previous.rename(path)
            raise
        flush([path.parent])
        shutil.rmtree(previous, ignore_errors=True)
    return whole


def recover(path: Path) -> None:
    """Put a store back that was renamed away by an extension which did not come to its end."""
    previous = beside(path, "previous")
    if previous.exists():
        with told(path):
            if path.exists():
                shutil.rmtree(previous)
            else:
                previous.rename(path)


def _joined(plan: Plan, old: list[tuple[np.ndarray, int, int]], missing: np.ndarray) -> Plan:
    kept = continued(plan.grid, old, plan.options)
    more = plan_of(plan.grid, missing, plan.options)
    own = kept.own_flops + more.own_flops
    return Plan(plan.grid, (*kept.buckets, *more.buckets), plan.warnings, own, plan.options)


def _copy(stored: StoredPlan, old: Layout, new: ZarrStore) -> None:
    """Write every finished chunk of the old store into the new one."""
    for bucket, ids in enumerate(new.layout.run_ids[: len(old.run_ids)]):
        size = old.runs_per_chunk[bucket]
        for chunk in range(old.n_chunks(bucket)):
            first, n = old.first_slot(bucket, chunk), old.slots_per_chunk(bucket)
            if not np.all(stored.done[first // stored.slots : (first + n) // stored.slots]):
                continue
            here = ids[chunk * size : (chunk + 1) * size]
            values = {}
            for name in old.observables:
                slots = stored.read(name, first, first + n)[: len(here)]
                values[name] = _placed(slots, name, old, new.layout)
            new.write(bucket, chunk, here, values)


def _placed(values: np.ndarray, name: str, old: Layout, new: Layout) -> np.ndarray:
    """Values at the coordinates of the old store, put at those of the new one."""
    dims = new.observables[name].dims
    places = [np.searchsorted(new.coordinates[d], old.coordinates[d]) for d in dims]
    out = new.blank(name, len(values))
    out[np.ix_(np.arange(len(values)), *places)] = values
    return out


def runs_in(part: Grid, whole: Grid, path: Path) -> np.ndarray:
    """Run id in `whole` of every run of `part`.

    **Raises** `ValueError` if there is one that `whole` lacks, or another system or key.
    """

    def refuse(reason: str) -> ValueError:
        return ValueError(
            f"`store` {path} holds the results of another grid ({reason}); nothing was written."
        )

    if part.key != whole.key:
        raise refuse(f"its key is {part.key}, not {whole.key}")
    for name in part.axes:
        if name not in whole.axes and len(part.axes[name]) > 1:
            raise refuse(f"`{name}` is an axis of it; read it with js.open and Dataset.sel")
    base = part.system_at(0)  # with the axes of one value that the new grid may lack
    try:
        listed = {n: part.axes.get(n, [get(base, n)]) for n in whole.axes}
    except ValueError:
        raise refuse("its system differs") from None
    listed["seed"] = list(part.seeds)
    index = dict(zip(part.dims, np.unravel_index(np.arange(part.n_runs), part.shape), strict=True))
    found = []
    for name, values in [*whole.axes.items(), ("seed", list(whole.seeds))]:
        known = {label(v): i for i, v in enumerate(values)}
        absent = [label(v) for v in listed[name] if label(v) not in known]
        if absent:
            raise refuse(
                f"`{name}` has the value {absent[0]} there; read it with js.open and Dataset.sel"
            )
        place = np.asarray([known[label(v)] for v in listed[name]])
        found.append(place[index[name]] if name in index else np.full(part.n_runs, place[0]))
    places = np.asarray(np.ravel_multi_index(found, whole.shape))
    every = np.arange(0, part.n_runs, len(part.seeds))
    for i in every[:: -(-len(every) // COMPARED)]:
        one, two = part.system_at(int(i)), whole.system_at(int(places[i]))
        if json.dumps(encode(one), sort_keys=True) != json.dumps(encode(two), sort_keys=True):
            raise refuse("its system differs")
    return places
