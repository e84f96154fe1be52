"""Reading a store: what it holds, how it was cut, and whether it is whole."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.devices import host_memory
from jaxscale.sweep.dataset import Layout, grid_text
from jaxscale.sweep.files import (
    beside,
    chunk_files,
    open_array,
    read_attributes,
    read_marks,
    store_path,
    unreadable,
)
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Options, Plan, continued

if TYPE_CHECKING:
    import xarray

READ_AT_ONCE = 2**27  # bytes
LOADED_SHARE = 0.25  # of the host's memory that results may take, else they stay on disk


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a store from another one at the same path: its header of runs is written once."""
    try:
        found = (path / "run_id" / "zarr.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class StoredPlan:
    """How the store at `path` was cut, and what of it is done; `grid` saves parsing the same."""

    def __init__(self, path: Path, grid: Grid | None = None):
        import zarr

        self.path, self.attributes = path, read_attributes(path)
        try:
            text = self.attributes["grid"]
            if grid is None or text != grid_text(grid):
                grid = Grid.from_dict(json.loads(text))
            self.grid = grid
            self.slots = int(self.attributes["slots"])
            self._buckets = json.loads(self.attributes["plan"])["buckets"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"`store` {path} does not tell its grid ({error}); it was damaged, or made with "
                "classes that are not imported here."
            ) from None
        self._root: Any = zarr.open_group(path, mode="r")
        self._arrays: dict[str, Any] = {}
        self._identity = _identity(path)
        self.run_id, self.done = self._whole("run_id"), read_marks(path, self._array("done"))
        slots = np.flatnonzero(self.run_id >= 0)
        if not np.array_equal(np.sort(self.run_id[slots]), np.arange(self.grid.n_runs)):
            raise ValueError(f"`store` {path} does not name its runs in 'run_id'; it was damaged.")
        self._slot_of = slots[np.argsort(self.run_id[slots])]

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = open_array(self.path, self._root, name)
        return self._arrays[name]

    def _whole(self, name: str) -> np.ndarray:
        array = self._array(name)
        try:
            return np.asarray(array[:])
        except Exception as error:  # each codec has errors of its own
            raise unreadable(self.path, name, error) from None

    def layout(self, plan: Plan) -> Layout:
        """How the results of a plan of this store lie in it.

        **Raises** `ValueError` if the plan's systems make something else than the store holds: a
        class of the user's changed since.
        """
        layout = Layout.of(plan, slots=self.slots)
        for name in layout.observables:
            array, dtype = self._array(name), np.dtype(layout.dtypes[name])
            found, made = (array.shape, array.dtype), ((layout.n_slots, *layout.shape(name)), dtype)
            if found != made:
                raise self._changed(name, f"is {found}, not {made}")
        for name, values in layout.coordinates.items():
            if not np.array_equal(self._whole(name), values):
                raise self._changed(name, "has other values")
        return layout

    def _changed(self, name: str, how: str) -> ValueError:
        return ValueError(
            f"`store` {self.path} holds something else than its system makes here: {name!r} {how}; "
            "it was damaged, or its class was changed."
        )

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is done."""
        return bool(np.all(self.done))

    @property
    def cuts(self) -> list[tuple[np.ndarray, int, int]]:
        """Runs, runs per chunk and runs per group of every bucket."""
        found, first = [], 0
        for bucket in self._buckets:
            chunk = bucket["runs_per_chunk"]
            last = first + bucket["chunks"] * -(-chunk // self.slots) * self.slots
            ids = self.run_id[first:last]
            found.append((ids[ids >= 0], chunk, bucket["runs_per_group"]))
            first = last
        return found

    def plan(self, options: Options | None = None) -> Plan:
        """The stored plan on the devices that are here."""
        return continued(self.grid, self.cuts, Options() if options is None else options)

    def read(self, name: str, first: int, last: int) -> np.ndarray:
        """Values of some slots of a variable.

        **Raises** `ValueError` if a finished chunk is missing or cannot be decoded; it tells how
        to have that chunk computed anew.
        """
        array = self._array(name)
        chunks = range(first // self.slots, last // self.slots)
        for i, file in zip(chunks, chunk_files(self.path, name, array.ndim, chunks), strict=True):
            if self.done[i] and not file.is_file():
                raise ValueError(f"`store` {self.path} lacks {file}; {self._advice(i)}.")
        try:
            return np.asarray(array[first:last])
        except MemoryError:
            raise
        except Exception as error:  # each codec has errors of its own
            if len(chunks) > 1:  # which one it is
                for i in chunks:
                    self.read(name, i * self.slots, (i + 1) * self.slots)
            one = len(chunks) == 1 and not isinstance(error, OSError)  # else it may be sound
            advice = f"; {self._advice(chunks[0])}" if one else ""
            raise ValueError(
                f"`store` {self.path} cannot be read at {name!r} ({error}){advice}."
            ) from None

    def _advice(self, chunk: int) -> str:
        mark = next(chunk_files(self.path, "done", 1, [chunk]))
        return f"it was damaged; delete {mark} to have what it marks computed anew"

    def of_runs(self, name: str, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Finished values of some runs: positions in `ids`, and their values, a part at a time.

        **Raises** `ValueError` if the store was replaced since it was opened.
        """
        self._check_same()
        slot = self._slot_of[ids]
        order = np.argsort(slot, kind="stable")
        ordered = slot[order]
        marks = np.unique(ordered // self.slots)
        for first, last in self._spans(name, marks[self.done[marks]]):
            here = order[np.searchsorted(ordered, first) : np.searchsorted(ordered, last)]
            yield here, self.read(name, first, last)[slot[here] - first]
        self._check_same()

    def _check_same(self) -> None:
        """A store that was extended has its runs in other slots."""
        found = _identity(self.path)
        if found != self._identity:
            became = "is no longer there" if found is None else "was replaced since it was opened"
            raise ValueError(f"`store` {self.path} {became}; open it again.")

    def _spans(self, name: str, marks: np.ndarray) -> Iterator[tuple[int, int]]:
        """First and last slot of neighbouring Zarr chunks, as many as are read at once."""
        array = self._array(name)
        size = self.slots * math.prod(array.shape[1:]) * array.dtype.itemsize
        most = max(1, READ_AT_ONCE // max(size, 1))
        for near in np.split(marks, np.flatnonzero(np.diff(marks) > 1) + 1):
            for begin in range(0, len(near), most):
                part = near[begin : begin + most]
                yield int(part[0]) * self.slots, (int(part[-1]) + 1) * self.slots

    def check(self, layout: Layout) -> None:
        """Read everything that is done once.

        **Raises** `ValueError` if something of it is damaged.
        """
        for name in layout.observables:
            for first, last in self._spans(name, np.flatnonzero(self.done)):
                self.read(name, first, last)

    def dataset(self, layout: Layout | None = None) -> "xarray.Dataset":
        """Everything that is done, on the grid's axes; `complete` follows from what is.

        Results that would take much of the memory stay on disk and are read when they are used.
        """
        from jaxscale.sweep.variable import lazy_values

        layout = self.layout(self.plan()) if layout is None else layout
        told = {k: v for k, v in self.attributes.items() if k != "coordinates"}
        values = {name: lazy_values(self.of_runs, layout, name) for name in layout.observables}
        found = layout.dataset(values, {**told, "complete": int(self.is_complete)})
        return found.load() if layout.result_bytes <= LOADED_SHARE * host_memory() else found


def open_store(path: str | Path) -> "xarray.Dataset":
    """Open a store as a `Dataset` on the axes of the stored grid.

    **Arguments**

    - `path`: a store that `js.run` wrote, complete or not.

    **Returns** the same `Dataset` that `js.run` returns, NaN and status -1 where nothing is done.

    **Raises** `ValueError` if there is no such store, or it was damaged.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> runs = js.run(js.Grid(system, seeds=2), store="runs.zarr")
    >>> js.open("runs.zarr").equals(runs)
    True
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"`path` must be the path of a store, got {path!r}.")
    path = store_path(path)
    previous = beside(path, "previous")
    # between two renamings of an extension that was killed, the old store is the store
    stored = StoredPlan(path if path.exists() or not previous.exists() else previous)
    return stored.dataset()
