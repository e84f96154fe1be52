"""Where results go: host memory, or a Zarr 3 store that can be continued.

On disk, variables have dimensions `(run_slot, step, ...)` and one Zarr chunk per `slots` runs. Each
bucket is padded to whole compute chunks; `run_id` tells the run of a slot (-1 for padding). A chunk
is marked in `done` after its data are written. A store is created under a temporary name and
renamed, so that a half-made one is never found.
"""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.sweep.dataset import FORMAT, Layout
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import plan as make_plan

if TYPE_CHECKING:
    import xarray


class MemoryStore:
    """Results in host memory, indexed by run."""

    def __init__(self, layout: Layout):
        self.layout = layout
        n_runs = layout.grid.n_runs
        self.values = {name: layout.blank(name, n_runs) for name in layout.observables}
        self.attributes: dict[str, Any] = {}

    def is_done(self, bucket: int, chunk: int) -> bool:
        """Nothing is done before it is written."""
        return False

    def write(self, bucket: int, chunk: int, ids: np.ndarray, values: dict[str, Any]) -> None:
        """Keep the values of one chunk; `ids` names the run of each, -1 for padding."""
        real = ids >= 0
        for name, array in self.values.items():
            if name in values:
                array[ids[real]] = self.layout.pad(bucket, name, values[name])[real]

    def finish(self, attributes: dict[str, Any]) -> None:
        """Keep the provenance."""
        self.attributes = {**attributes, "sessions": json.dumps([attributes])}

    def dataset(self) -> "xarray.Dataset":
        """Everything written so far, NaN elsewhere."""
        return self.layout.dataset(self.values, {**self.layout.attributes(), **self.attributes})


class ZarrStore:
    """Results in a Zarr 3 store."""

    def __init__(self, path: Path, layout: Layout):
        import zarr

        self.path, self.layout = path, layout
        self.root = zarr.open_group(path, mode="r+")
        self._done = np.asarray(self.root["done"][:])  # pyright: ignore

    @classmethod
    def create(cls, path: Path, layout: Layout) -> "ZarrStore":
        """Open the store at `path` to continue it, or make an empty one there.

        **Raises** `ValueError` if `path` holds something else, or results of another grid.
        """
        if path.exists():
            if _attributes(path).get("grid") != layout.attributes()["grid"]:
                raise ValueError(
                    f"`store` {path} holds the results of another grid; nothing was written."
                )
            return cls(path, layout)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_header(temporary, layout)
            temporary.rename(path)
        except OSError as error:
            raise ValueError(f"`store` {path} cannot be created ({error}).") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(path, layout)

    @property
    def runs_per_chunk(self) -> list[int]:
        """Runs per compute chunk of each bucket, as the store was cut when it was made."""
        return json.loads(str(self.root.attrs["plan"]))["runs_per_chunk"]

    def _zarr_chunks(self, bucket: int, chunk: int) -> slice:
        first = self.layout.first_slot(bucket, chunk) // self.layout.slots
        return slice(first, first + self.layout.chunks[bucket][1] // self.layout.slots)

    def is_done(self, bucket: int, chunk: int) -> bool:
        """Whether the data of a chunk are on disk."""
        return bool(np.all(self._done[self._zarr_chunks(bucket, chunk)]))

    def write(self, bucket: int, chunk: int, ids: np.ndarray, values: dict[str, Any]) -> None:
        """Write the data of one chunk, then mark it done."""
        first = self.layout.first_slot(bucket, chunk)
        here = slice(first, first + len(ids))
        for name in self.layout.observables:
            if name in values:
                padded = self.layout.pad(bucket, name, np.asarray(values[name]))
            else:
                padded = self.layout.blank(name, len(ids))
            self.root[name][here] = padded  # pyright: ignore
        marks = self._zarr_chunks(bucket, chunk)
        self.root["done"][marks] = True  # pyright: ignore
        self._done[marks] = True

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is done."""
        return bool(np.all(self._done))

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the provenance of the session that just ended, after those before it."""
        before = json.loads(str(self.root.attrs.get("sessions", "[]")))
        sessions = json.dumps([*before, attributes])
        self.root.update_attributes({**attributes, "sessions": sessions})

    def dataset(self) -> "xarray.Dataset":
        """Everything on disk, on the grid's axes."""
        return open_store(self.path)


def _attributes(path: Path) -> dict[str, Any]:
    import zarr

    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError) as error:
        raise ValueError(f"`store` {path} is not a jaxscale store ({error}).") from None
    if attributes.get("jaxscale_format") != FORMAT:
        raise ValueError(
            f"`store` {path} has format {attributes.get('jaxscale_format')}, expected {FORMAT}."
        )
    return attributes


def _write_header(path: Path, layout: Layout) -> None:
    import zarr

    root = zarr.open_group(path, mode="w-", zarr_format=3, attributes=layout.attributes())
    run_id, columns = _slot_coordinates(layout)
    for name, observable in layout.observables.items():
        shape = layout.shape(name)
        dtype = np.dtype(layout.dtypes[name])
        root.create_array(
            name,
            shape=(layout.n_slots, *shape),
            chunks=(layout.slots, *shape),
            dtype=dtype,
            fill_value=np.nan if dtype.kind == "f" else -1,
            dimension_names=("run_slot", *observable.dims),
            attributes={"units": observable.units, "long_name": observable.description},
        )
    coordinates = {"run_id": run_id, **columns}
    for name, values in coordinates.items():
        root.create_array(name, data=values, dimension_names=("run_slot",))
    for name, values in layout.coordinates.items():
        root.create_array(name, data=values, dimension_names=(name,))
    n_chunks = layout.n_slots // layout.slots
    root.create_array(
        "done", shape=(n_chunks,), chunks=(1,), dtype=bool, fill_value=False,
        dimension_names=("chunk",),
    )  # fmt: skip
    root.update_attributes({"coordinates": " ".join(coordinates), "complete": 0})


def _slot_coordinates(layout: Layout) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run of each slot, and the axis values and seed of that run."""
    plan = make_plan(layout.grid)
    run_id = np.full(layout.n_slots, -1, np.int64)
    for i, bucket in enumerate(plan.buckets):
        first = layout.first_slot(i, 0)
        run_id[first : first + len(bucket.run_ids)] = bucket.run_ids
    index = np.unravel_index(np.maximum(run_id, 0), layout.grid.shape)
    columns = {}
    for (name, values), i in zip(layout.grid.coordinates.items(), index, strict=True):
        text = values.dtype.kind == "U"  # Zarr 3 specifies strings of variable length only
        columns[name] = values[i].astype(np.dtypes.StringDType()) if text else values[i]
    return run_id, columns


def open_store(path: str | Path) -> "xarray.Dataset":
    """Open a store as a `Dataset` on the axes of the stored grid.

    **Arguments**

    - `path`: a store that `js.run` wrote, complete or not.

    **Returns** the same `Dataset` that `js.run` returns, NaN and status -1 where nothing is done.

    **Raises** `ValueError` if there is no such store.
    """
    import zarr

    attributes = _attributes(Path(path))
    grid = Grid.from_dict(json.loads(attributes["grid"]))
    layout = Layout.of(make_plan(grid))
    root = zarr.open_group(path, mode="r")
    run_id = np.asarray(root["run_id"][:])  # pyright: ignore
    marks = np.asarray(root["done"][:])  # pyright: ignore
    done = np.repeat(marks, len(run_id) // len(marks))
    real = (run_id >= 0) & done
    values = {}
    for name in layout.observables:
        if name not in root:
            raise ValueError(f"`store` {path} lacks the variable {name!r}; it was damaged.")
        stored = np.asarray(root[name][:])  # pyright: ignore
        values[name] = layout.blank(name, grid.n_runs)
        values[name][run_id[real]] = stored[real]
    attributes.pop("coordinates", None)
    return layout.dataset(values, attributes)
