"""Reading a store: what it holds, how it was cut, and whether it is whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.sweep.dataset import FORMAT, Layout, grid_text
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Options, Plan, continued

if TYPE_CHECKING:
    import xarray

READ_AT_ONCE = 256  # Zarr chunks


def beside(path: Path, role: str) -> Path:
    """Hidden name next to a store."""
    return path.with_name(f".{path.name}.{role}")


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a store.

    **Raises** `ValueError` if there is no store of this format.
    """
    import zarr

    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"`store` {path} is not a jaxscale store ({error}).") from None
    found = attributes.get("jaxscale_format")
    if found is None:
        raise ValueError(f"`store` {path} is not a jaxscale store; nothing was written.")
    if found != FORMAT:
        raise ValueError(f"`store` {path} has format {found}, expected {FORMAT}.")
    return attributes


def read_sessions(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Provenance of every session that wrote to a store."""
    return json.loads(str(attributes.get("sessions", "[]")))


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
        self.run_id, self.done = self._slice("run_id"), self._slice("done")
        runs = np.sort(self.run_id[self.run_id >= 0])
        if not np.array_equal(runs, np.arange(self.grid.n_runs)):
            raise ValueError(f"`store` {path} does not name its runs in 'run_id'; it was damaged.")

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            if name not in self._root:
                raise ValueError(f"`store` {self.path} lacks {name!r}; it was damaged.")
            self._arrays[name] = self._root[name]
        return self._arrays[name]

    def _slice(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        try:
            return np.asarray(self._array(name)[first:last])
        except Exception as error:  # each codec has errors of its own
            raise ValueError(
                f"`store` {self.path} cannot be read at {name!r} ({error}); it was damaged."
            ) from None

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

        **Raises** `ValueError` if a finished chunk is missing or cannot be decoded.
        """
        array = self._array(name)
        for i in range(first // self.slots, last // self.slots):
            file = self.path.joinpath(name, "c", str(i), *["0"] * (array.ndim - 1))
            if self.done[i] and not file.is_file():
                raise ValueError(f"`store` {self.path} lacks {file}; it was damaged.")
        return self._slice(name, first, last)

    def values(self, name: str, blank: np.ndarray) -> np.ndarray:
        """Values of a variable by run: those of finished chunks put into `blank`."""
        for first, last in self._spans():
            ids = self.run_id[first:last]
            blank[ids[ids >= 0]] = self.read(name, first, last)[ids >= 0]
        return blank

    def _spans(self) -> Iterator[tuple[int, int]]:
        """First and last slot of neighbouring finished chunks, as many as are read at once."""
        edges = np.flatnonzero(np.diff(self.done.astype(int), prepend=0, append=0))
        for begin, end in edges.reshape(-1, 2).tolist():
            for mark in range(begin, end, READ_AT_ONCE):
                yield mark * self.slots, min(mark + READ_AT_ONCE, end) * self.slots

    def check(self, layout: Layout) -> None:
        """Read everything that is done once.

        **Raises** `ValueError` if something of it is damaged.
        """
        for name in layout.observables:
            for first, last in self._spans():
                self.read(name, first, last)

    def dataset(self) -> "xarray.Dataset":
        """Everything that is done, on the grid's axes; `complete` follows from what is."""
        layout = Layout.of(self.plan())
        blanks = {name: layout.blank(name, self.grid.n_runs) for name in layout.observables}
        values = {name: self.values(name, blank) for name, blank in blanks.items()}
        told = {k: v for k, v in self.attributes.items() if k != "coordinates"}
        return layout.dataset(values, {**told, "complete": int(self.is_complete)})


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
    path, previous = Path(path), beside(Path(path), "previous")
    # between two renamings of an extension that was killed, the old store is the store
    stored = StoredPlan(path if path.exists() or not previous.exists() else previous)
    return stored.dataset()
