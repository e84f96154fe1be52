"""`open_store`: what a store holds; `open_state`: parameters of one of its runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale.sweep._locate import existing_place
from jaxscale.sweep._plan import Options
from jaxscale.sweep._predict import run_at
from jaxscale.sweep._reader import StoreReader

if TYPE_CHECKING:
    import xarray


@hinted
def open_store(path: str | Path) -> "xarray.Dataset":
    """Open a store as a `Dataset` on the axes of the stored grid.

    **Arguments**

    - `path`: a store that `js.run` wrote, complete or not; a path, or a URL as `js.run` takes it.

    **Returns** the same `Dataset` that `js.run` returns, NaN and status -1 where nothing is done.

    **Raises** `ValueError` if there is no such store, or it was damaged.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, seeds=2), store="runs.zarr")
    >>> js.open_store("runs.zarr").equals(runs)
    True
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"`path` must be the path of a store, got {path!r}.")
    return StoreReader(existing_place(path)).dataset()


def open_state(path: str | Path, **values: Any) -> tuple[int, Any]:
    """Read how far a run of a store is, and its training state: parameters, optimizer, keys.

    A store has the states of long runs that are not done, and final ones if its plan has
    `keep_states`.

    **Arguments**

    - `path`: a store that `js.run` wrote.
    - `values`: one value per dimension of its grid, as for `js.select`.

    **Returns** steps that the run has done, and the state that its system's `init` and `step`
    define, with arrays at the padded lengths of the sweep (see `padded`). The state of a run that
    went bad is what it went to, such as NaN.

    **Raises** `ValueError` if there is no such store or run, or no state of it.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2]})
    >>> runs = js.run(js.plan(grid, keep_states=True), store="states.zarr")
    >>> step, state = js.open_state("states.zarr", learning_rate=0.2)
    >>> print(step, np.asarray(state.a * state.b).round(3))  # the skill strengths
    20 [0.643 0.053 0.024]
    """
    stored = StoreReader(existing_place(path))
    run, states = run_at(stored.grid, values), stored.states
    plan = stored.plan(Options())
    layout = stored.layout(plan)
    for i, bucket in enumerate(plan.buckets):
        for place in np.flatnonzero(bucket.run_ids == run):
            chunk, row = divmod(int(place), bucket.chunk)
            state = states.read(i, chunk) if bucket.stretched else None
            system: Any = bucket.padded_system
            # a kill may leave one of a run that is done, which the next writer removes
            is_done = np.all(stored.done[layout.shards(i, chunk)])
            if state is not None and (state.step == system.n_steps or not is_done):
                return state.step, state.of_run(system, row)
    raise ValueError(
        f"`path` {stored.place} has no state of this run: only long runs that are not done have "
        "one, and those of a plan with `keep_states`; js.train(*js.select(...)) trains it anew."
    )
