"""`select`: the system and key behind one run of a result."""

import functools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Key

from jaxscale._system import AbstractSystem
from jaxscale.sweep._grid import Grid, label

if TYPE_CHECKING:
    import xarray


def grid_of(runs: "xarray.Dataset") -> Grid:
    """The grid that `runs` came from, rebuilt from its attributes.

    **Raises** `ValueError` if the attribute is missing.
    """
    if "grid" not in runs.attrs:
        raise ValueError(
            "`runs` must come from js.run or js.open_store: it has no attribute `grid`."
        )
    return _parsed(runs.attrs["grid"])


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Grid:
    """Validating every value of a large grid takes a while, and figures ask for it often."""
    return Grid.from_dict(json.loads(text))


def select(runs: "xarray.Dataset", **values: Any) -> tuple[AbstractSystem, Key[Array, ""]]:
    """System and key of one run, to simulate, train or inspect it alone.

    The system has its own sizes, not the padded ones: re-run, it equals the sweep to float error.

    **Arguments**

    - `runs`: result of `js.run` or `js.open_store`.
    - `values`: one value per dimension of the grid, `seed` included (paths with a dot as
      `**{"data.n_samples": 1000}`); a dimension with a single value, or along which `runs` is a
      selection already, may be left out.

    **Returns** `(system, key)`, for `js.train(system, key)` or `system.simulate(key)` (within
    `with jax.enable_x64(True):` for a float64 system).

    **Raises** `ValueError` naming a dimension that is missing, unknown, or lacks the value.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=2))
    >>> chosen, key = js.select(runs, learning_rate=0.2, seed=1)
    >>> float(chosen.learning_rate)
    0.2
    """
    grid = grid_of(runs)
    for name in values:
        if name not in grid.dims:
            raise ValueError(f"`{name}` is not a dimension of the grid ({', '.join(grid.dims)}).")
    index = []
    scalars = [d for d in grid.dims if d in runs.coords and runs.coords[d].ndim == 0]
    chosen = {d: runs.coords[d].item() for d in scalars}
    values = {**chosen, **values}
    for name, coordinate in grid.coordinates.items():
        if name not in values:
            if len(coordinate) > 1:
                raise ValueError(f"`{name}` must be given; it has {len(coordinate)} values.")
            index.append(0)
            continue
        index.append(_position(name, coordinate, values[name]))
    run_id = int(np.ravel_multi_index(index, grid.shape))
    return grid.system_at(run_id), grid.run_key(grid.seeds[index[-1]])


def _position(name: str, coordinate: np.ndarray, value: Any) -> int:
    if coordinate.dtype.kind in "iuf":
        try:
            match = np.isclose(coordinate, float(value), rtol=1e-9, atol=0.0)
        except (TypeError, ValueError):
            match = np.zeros(len(coordinate), bool)
    else:
        match = coordinate == str(label(value))
    if not match.any():
        raise ValueError(f"`{name}` has no value {value!r}; it has {coordinate.tolist()}.")
    return int(np.argmax(match))
