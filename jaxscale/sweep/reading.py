"""Reading a store: what it holds, how it was cut, and whether it is whole."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.sweep.dataset import FORMAT, Layout
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Options, Plan, continued

if TYPE_CHECKING:
    import xarray


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
    """How the store at `path` was cut, and what of it is done."""

    def __init__(self, path: Path):
        import zarr

        self.path, self.attributes = path, read_attributes(path)
        try:
            self.grid = Grid.from_dict(json.loads(self.attributes["grid"]))
            self.slots = int(self.attributes["slots"])
            self._buckets = json.loads(self.attributes["plan"])["buckets"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"`store` {path} does not tell its grid ({error}); it was damaged, or made with "
                "classes that are not imported here."
            ) from None
        self._root: Any = zarr.open_group(path, mode="r")
        self.run_id = np.asarray(self._array("run_id")[:])
        self.done = np.asarray(self._array("done")[:])

    def _array(self, name: str) -> Any:
        if name not in self._root:
            raise ValueError(f"`store` {self.path} lacks the variable {name!r}; it was damaged.")
        return self._root[name]

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
        try:
            return np.asarray(array[first:last])
        except Exception as error:  # each codec has errors of its own
            raise ValueError(
                f"`store` {self.path} cannot be read at {name!r} ({error}); it was damaged."
            ) from None

    def values(self, name: str, blank: np.ndarray) -> np.ndarray:
        """Values of a variable by run: those of finished chunks put into `blank`."""
        for mark in np.flatnonzero(self.done):
            first, last = int(mark) * self.slots, (int(mark) + 1) * self.slots
            ids = self.run_id[first:last]
            blank[ids[ids >= 0]] = self.read(name, first, last)[ids >= 0]
        return blank

    def check(self, layout: Layout) -> None:
        """Read everything that is done once.

        **Raises** `ValueError` if something of it is damaged.
        """
        for name in layout.observables:
            for mark in np.flatnonzero(self.done):
                self.read(name, int(mark) * self.slots, (int(mark) + 1) * self.slots)


def open_store(path: str | Path) -> "xarray.Dataset":
    """Open a store as a `Dataset` on the axes of the stored grid.

    **Arguments**

    - `path`: a store that `js.run` wrote, complete or not.

    **Returns** the same `Dataset` that `js.run` returns, NaN and status -1 where nothing is done.

    **Raises** `ValueError` if there is no such store, or it was damaged.
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"`path` must be the path of a store, got {path!r}.")
    stored = StoredPlan(Path(path))
    layout = Layout.of(stored.plan())
    blanks = {name: layout.blank(name, stored.grid.n_runs) for name in layout.observables}
    values = {name: stored.values(name, blank) for name, blank in blanks.items()}
    stored.attributes.pop("coordinates", None)
    return layout.dataset(values, stored.attributes)
