"""Extend a store to a larger grid: its results are copied, and only missing runs remain."""

import json
import shutil
from pathlib import Path

import numpy as np

from jaxscale.paths import get
from jaxscale.sweep._bucket import structures
from jaxscale.sweep._config import encode
from jaxscale.sweep._grid import Grid, label
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._plan import Plan, continued, plan_of
from jaxscale.sweep._reader import StoreReader, sibling_path
from jaxscale.sweep._store import ZarrStore, flush, store_errors, write_header

HEADER = ("jaxscale_format", "grid", "plan", "slots", "coordinates", "complete")
COMPARED = 200  # systems of the two grids, at most


def extend(path: Path, stored: StoreReader, plan: Plan) -> Plan:
    """Turn the store into one for the larger grid of `plan`, with everything done copied.

    The new store is written next to the old one, which is renamed only when the new one is complete
    and removed last; `recover` undoes the step between the two renamings.

    **Returns** a plan of the old buckets and of new ones for the runs that are missing.

    **Raises** `ValueError` if the stored grid is not a part of the new one; nothing is changed.
    """
    places = match_runs(stored.grid, plan.grid, path)
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
    extended = _joined(plan, old, missing)
    layout = Layout.of(extended)
    temporary, previous = sibling_path(path, "new"), sibling_path(path, "previous")
    with store_errors(path):
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
    return extended


def recover(path: Path) -> None:
    """Restore a store that an interrupted extension had renamed."""
    previous = sibling_path(path, "previous")
    if previous.exists():
        with store_errors(path):
            if path.exists():
                shutil.rmtree(previous)
            else:
                previous.rename(path)


def _joined(plan: Plan, old: list[tuple[np.ndarray, int, int]], missing: np.ndarray) -> Plan:
    stored = continued(plan.grid, old, plan.options)
    more = plan_of(plan.grid, missing, plan.options)
    own = stored.own_flops + more.own_flops
    return Plan(plan.grid, (*stored.buckets, *more.buckets), plan.warnings, own, plan.options)


def _copy(stored: StoreReader, old: Layout, new: ZarrStore) -> None:
    """Write every finished chunk of the old store into the new one."""
    for bucket, ids in enumerate(new.layout.run_ids[: len(old.run_ids)]):
        size = old.runs_per_chunk[bucket]
        for chunk in range(old.n_chunks(bucket)):
            first, n = old.first_row(bucket, chunk), old.rows_per_chunk(bucket)
            length = stored.shard_length
            if not np.all(stored.done[first // length : (first + n) // length]):
                continue
            of_chunk = ids[chunk * size : (chunk + 1) * size]
            values = {}
            for name in old.observables:
                rows = stored.read(name, first, first + n)[: len(of_chunk)]
                values[name] = _placed(rows, name, old, new.layout)
            new.write(bucket, chunk, of_chunk, values)


def _placed(values: np.ndarray, name: str, old: Layout, new: Layout) -> np.ndarray:
    """Values at the coordinates of the old store, put at those of the new one."""
    dims = new.observables[name].dims
    places = [np.searchsorted(new.coordinates[d], old.coordinates[d]) for d in dims]
    out = new.blank(name, len(values))
    out[np.ix_(np.arange(len(values)), *places)] = values
    return out


def match_runs(part: Grid, larger: Grid, path: Path) -> np.ndarray:
    """Run id in `larger` of every run of `part`.

    **Raises** `ValueError` if `larger` lacks one of them, or has another system or key.
    """

    def refuse(reason: str) -> ValueError:
        return ValueError(
            f"`store` {path} holds the results of another grid ({reason}); nothing was written."
        )

    if part.key != larger.key:
        raise refuse(f"its key is {part.key}, not {larger.key}")
    for name in part.axes:
        if name not in larger.axes and len(part.axes[name]) > 1:
            raise refuse(f"`{name}` is an axis of it; read it with js.open_store and Dataset.sel")
    base = part.system_at(0)  # with the axes of one value that the new grid may lack
    try:
        listed = {n: part.axes.get(n, [get(base, n)]) for n in larger.axes}
    except ValueError:
        raise refuse("its system differs") from None
    listed["seed"] = list(part.seeds)
    index = dict(zip(part.dims, np.unravel_index(np.arange(part.n_runs), part.shape), strict=True))
    indices = []
    for name, values in [*larger.axes.items(), ("seed", list(larger.seeds))]:
        index_of = {label(v): i for i, v in enumerate(values)}
        absent = [label(v) for v in listed[name] if label(v) not in index_of]
        if absent:
            raise refuse(
                f"`{name}` has the value {absent[0]} there; read it with js.open_store and "
                "Dataset.sel"
            )
        place = np.asarray([index_of[label(v)] for v in listed[name]])
        indices.append(place[index[name]] if name in index else np.full(part.n_runs, place[0]))
    places = np.asarray(np.ravel_multi_index(indices, larger.shape))
    every = np.arange(0, part.n_runs, len(part.seeds))
    for i in every[:: -(-len(every) // COMPARED)]:
        one, two = part.system_at(int(i)), larger.system_at(int(places[i]))
        if json.dumps(encode(one), sort_keys=True) != json.dumps(encode(two), sort_keys=True):
            raise refuse("its system differs")
    return places
