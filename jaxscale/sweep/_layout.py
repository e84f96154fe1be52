"""Where results lie: runs, observables and coordinates of a grid, in memory and in a store."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._status import Status
from jaxscale._system import AbstractSystem, Observable, Schema, largest_divisor
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._plan import Plan

if TYPE_CHECKING:
    import xarray

FORMAT = 2
MOST_PADDING = 2.0  # rows that padding may add to a store, as a factor
ZARR_CHUNK_BYTES = 2**24  # of the largest variable


@dataclasses.dataclass(frozen=True)
class Layout:
    """Observables and coordinates of all runs of a grid, ragged groups padded to their union.

    A store keeps a *row* per run. Each compute chunk starts a new *shard* (a Zarr chunk) and is
    padded to whole ones.

    - `run_ids`: runs of each bucket, in order.
    - `runs_per_chunk`: of each bucket.
    - `summary`: numbers of the plan that a store keeps, as JSON; empty for predictions.
    - `shard_length`: rows per shard.
    """

    grid: Grid
    observables: dict[str, Observable]
    coordinates: dict[str, np.ndarray]
    positions: tuple[dict[str, np.ndarray], ...]
    dtypes: dict[str, str]
    run_ids: tuple[np.ndarray, ...]
    runs_per_chunk: tuple[int, ...]
    summary: str = ""
    shard_length: int = 1

    @classmethod
    def of(cls, plan: Plan, shard_length: int | None = None) -> "Layout":
        """Layout of the results of `plan`; by default the shards are chosen here."""
        schemas = [b.traced_system.schema for b in plan.buckets]
        observables, coordinates, positions = _union(schemas, [s.observables for s in schemas])
        observables["status"] = Observable((), "", "how the run ended")
        dtype = np.result_type(*(b.traced_system.dtype for b in plan.buckets)).name
        layout = cls(
            grid=plan.grid,
            observables=observables,
            coordinates=coordinates,
            positions=positions,
            dtypes={**dict.fromkeys(observables, dtype), "status": "int32"},
            run_ids=tuple(b.run_ids for b in plan.buckets),
            runs_per_chunk=tuple(b.chunk for b in plan.buckets),
            summary=json.dumps(plan.summary()),
        )
        length = layout._best_shard_length() if shard_length is None else shard_length
        return dataclasses.replace(layout, shard_length=length)

    @classmethod
    def of_predictions(
        cls, grid: Grid, systems: Sequence[AbstractSystem], run_ids: Sequence[np.ndarray]
    ) -> "Layout":
        """Layout of closed forms: a system and its runs for each structure of the grid."""
        schemas = [system.schema for system in systems]
        observables, coordinates, positions = _union(schemas, [s.predicted() for s in schemas])
        dtypes = dict.fromkeys(observables, "float64")
        if any(schema.solved for schema in schemas):
            observables["status"] = Observable((), "", "how the closed forms were solved")
            dtypes["status"] = "int32"
        chunks = tuple(len(ids) for ids in run_ids)
        return cls(grid, observables, coordinates, positions, dtypes, tuple(run_ids), chunks)

    def _best_shard_length(self) -> int:
        """The longest shards that are not too large and pad the store to at most twice its runs.

        Short ones cost a file each; long ones leave most of their rows empty where a bucket has
        short compute chunks, and are read in full for a single run.
        """
        largest = max(
            math.prod(self.shape(n)) * np.dtype(t).itemsize for n, t in self.dtypes.items()
        )
        most = max(1, ZARR_CHUNK_BYTES // max(largest, 1))
        sizes = [(self.n_chunks(b), size) for b, size in enumerate(self.runs_per_chunk)]
        n_runs = sum(n * size for n, size in sizes)
        even = {s: largest_divisor(s, most) for _, s in sizes}
        parts = {s: math.ceil(s / math.ceil(s / most)) for _, s in sizes}
        lengths = {e if 2 * e > parts[s] else parts[s] for s, e in even.items()}
        for length in sorted(lengths, reverse=True):
            if sum(n * math.ceil(s / length) * length for n, s in sizes) <= MOST_PADDING * n_runs:
                return length
        return 1

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one run's `name`, padded to the union of coordinates."""
        return tuple(len(self.coordinates[d]) for d in self.observables[name].dims)

    def full_shape(self, name: str) -> tuple[int, ...]:
        """Shape of `name` of all runs, on the axes of the grid."""
        return (*self.grid.shape, *self.shape(name))

    @property
    def result_bytes(self) -> int:
        """Bytes of the results of all runs."""
        return sum(
            math.prod(self.full_shape(n)) * np.dtype(t).itemsize for n, t in self.dtypes.items()
        )

    def n_chunks(self, bucket: int) -> int:
        """Calls of the program of a bucket."""
        return math.ceil(len(self.run_ids[bucket]) / self.runs_per_chunk[bucket])

    def rows_per_chunk(self, bucket: int) -> int:
        """Rows of one compute chunk of a bucket."""
        return math.ceil(self.runs_per_chunk[bucket] / self.shard_length) * self.shard_length

    def first_row(self, bucket: int, chunk: int) -> int:
        """Row of the first run of a chunk."""
        return self._rows_before(bucket) + chunk * self.rows_per_chunk(bucket)

    def _rows_before(self, bucket: int) -> int:
        return sum(self.n_chunks(b) * self.rows_per_chunk(b) for b in range(bucket))

    @property
    def n_rows(self) -> int:
        """Rows of all buckets."""
        return self._rows_before(len(self.run_ids))

    @property
    def row_ids(self) -> np.ndarray:
        """Run of every row, -1 for padding."""
        row_ids = np.full(self.n_rows, -1, np.int64)
        for bucket, (ids, size) in enumerate(zip(self.run_ids, self.runs_per_chunk, strict=True)):
            for chunk in range(self.n_chunks(bucket)):
                of_chunk = ids[chunk * size : (chunk + 1) * size]
                first = self.first_row(bucket, chunk)
                row_ids[first : first + len(of_chunk)] = of_chunk
        return row_ids

    def fill(self, name: str) -> float:
        """What stands for a value that has not been computed."""
        return np.nan if np.dtype(self.dtypes[name]).kind == "f" else -1

    def blank(self, name: str, n: int) -> np.ndarray:
        """Values of `n` runs that have not been computed."""
        return np.full((n, *self.shape(name)), self.fill(name), self.dtypes[name])

    def pad(self, bucket: int, name: str, values: np.ndarray) -> np.ndarray:
        """Values of one bucket placed on the union of coordinates."""
        dims = self.observables[name].dims
        if values.shape[1:] == self.shape(name):
            return values
        out = self.blank(name, len(values))
        positions = [self.positions[bucket][d] for d in dims]
        out[np.ix_(np.arange(len(values)), *positions)] = values
        return out

    def dataset(self, values: dict[str, Any], attributes: dict[str, Any]) -> "xarray.Dataset":
        """Dataset of values on the axes of the grid."""
        import xarray

        grid = self.grid
        variables = {}
        for name, observable in self.observables.items():
            attrs: dict[str, Any] = {
                "units": observable.units,
                "long_name": observable.description,
                "predicted": str(observable.predicted),
                "limits": observable.limits,
            }
            if name == "status":
                attrs["flag_values"] = [int(s) for s in Status]
                attrs["flag_meanings"] = " ".join(s.name for s in Status)
            variables[name] = ((*grid.dims, *observable.dims), values[name], attrs)
        axes = {**grid.coordinates, **self.coordinates}
        coordinates = {n: ((n,), c, {"long_name": in_words(n)}) for n, c in axes.items()}
        return xarray.Dataset(variables, coordinates, attributes)

    def attributes(self) -> dict[str, Any]:
        """Attributes that identify the results: the format, the grid, the plan."""
        attributes = {"jaxscale_format": FORMAT, "grid": grid_text(self.grid)}
        planned = {"plan": self.summary, "slots": self.shard_length}
        return attributes | planned if self.summary else attributes


def _union(
    schemas: Sequence[Schema], names: Sequence[Iterable[str]]
) -> tuple[dict[str, Observable], dict[str, np.ndarray], tuple[dict[str, np.ndarray], ...]]:
    """Observables of all schemas, the union of their coordinates, and their positions in it."""
    observables: dict[str, Observable] = {}
    for schema, own in zip(schemas, names, strict=True):
        for name in own:
            first = observables.setdefault(name, schema.observables[name])
            if first.dims != schema.observables[name].dims:
                raise ValueError(
                    f"`axes` must give {name!r} one set of dimensions, got {first.dims} and "
                    f"{schema.observables[name].dims}; run them as two grids."
                )
    coordinates = {}
    for dim in dict.fromkeys(d for o in observables.values() for d in o.dims):
        values = [s.coordinates[dim] for s in schemas if dim in s.coordinates]
        coordinates[dim] = np.unique(np.concatenate(values))
    positions = tuple(
        {d: np.searchsorted(c, s.coordinates[d]) for d, c in coordinates.items()
         if d in s.coordinates}
        for s in schemas
    )  # fmt: skip
    return observables, coordinates, positions


def in_words(path: str) -> str:
    """`inputs.mean_active` as a label of an axis."""
    return path.rpartition(".")[2].replace("_", " ")


def grid_text(grid: Grid) -> str:
    """The grid as a store keeps it."""
    return json.dumps(grid.to_dict())
