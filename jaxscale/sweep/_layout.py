"""Where results lie: runs, observables and coordinates of a grid, in memory and in a store."""

import dataclasses
import functools
import importlib.metadata
import json
import math
import shlex
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._status import Status
from jaxscale._system import Observable, Schema, TheoryKind, largest_divisor
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._plan import Plan, require_own_names

if TYPE_CHECKING:
    import xarray

FORMAT = 2
CHECKSUM = "checksum"  # of the attributes of a store that say what its numbers are
CHECKED = ("jaxscale_format", "grid", "plan", "slots", "sessions")
MOST_PADDING = 2.0  # rows that padding may add to a store, as a factor
ZARR_CHUNK_BYTES = 2**24  # of the largest variable


@dataclasses.dataclass(frozen=True)
class Layout:
    """Observables and coordinates of all runs of a grid, ragged groups padded to their union.

    A store keeps a *row* per run. Each compute chunk starts a new *shard* (a Zarr chunk) and is
    padded to whole ones.
    """

    grid: Grid
    buckets: tuple[Bucket, ...]  # the runs, in the order of their rows
    observables: dict[str, Observable]
    coordinates: dict[str, np.ndarray]
    positions: tuple[dict[str, np.ndarray], ...]  # of each bucket's coordinates in the union
    dtypes: dict[str, str]
    summary: str = ""  # numbers of the plan that a store keeps, as JSON; empty for predictions
    shard_length: int = 1  # rows per shard

    @classmethod
    def of(cls, plan: Plan, shard_length: int | None = None) -> "Layout":
        """Layout of the results of `plan`; None chooses the length of shards."""
        schemas = _schemas(plan.buckets)
        observables, coordinates, positions = _union(schemas, [s.observables for s in schemas])
        observables["status"] = Observable((), "", "how the run ended")
        dtype = np.result_type(*(b.padded_system.dtype for b in plan.buckets)).name
        dtypes = {**dict.fromkeys(observables, dtype), "status": "int32"}
        summary = json.dumps(plan.summary())
        layout = cls(plan.grid, plan.buckets, observables, coordinates, positions, dtypes, summary)
        if shard_length is None:
            return layout._with_best_shards()
        return dataclasses.replace(layout, shard_length=shard_length)

    @classmethod
    def of_predictions(cls, grid: Grid, buckets: Sequence[Bucket]) -> "Layout":
        """Layout of closed forms, with a bucket for each structure of the grid."""
        schemas = _schemas(buckets)
        predicted = [s.predicted() for s in schemas]
        require_own_names(grid, schemas, predicted)
        observables, coordinates, positions = _union(schemas, predicted)
        dtypes = dict.fromkeys(observables, "float64")
        if any(schema.solved for schema in schemas):
            observables["status"] = Observable((), "", "how the closed forms were solved")
            dtypes["status"] = "int32"
        return cls(grid, tuple(buckets), observables, coordinates, positions, dtypes)

    def _with_best_shards(self) -> "Layout":
        """The longest shards that are not too large and pad the store to at most twice its runs.

        Short ones cost a file each; long ones leave most of their rows empty where a bucket has
        short compute chunks, and are read in full for a single run.
        """
        largest = max(self._run_bytes(name) for name in self.observables)
        most = max(1, ZARR_CHUNK_BYTES // max(largest, 1))
        lengths = set()
        for chunk in {bucket.chunk for bucket in self.buckets}:
            even, part = largest_divisor(chunk, most), math.ceil(chunk / math.ceil(chunk / most))
            lengths.add(even if 2 * even > part else part)
        for length in sorted(lengths, reverse=True):
            longer = dataclasses.replace(self, shard_length=length)
            if longer.n_rows <= MOST_PADDING * self.n_rows:
                return longer
        return self

    def _run_bytes(self, name: str) -> int:
        return math.prod(self.shape(name)) * np.dtype(self.dtypes[name]).itemsize

    @property
    def result_bytes(self) -> int:
        """Bytes of the results of all runs."""
        return self.grid.n_runs * sum(self._run_bytes(name) for name in self.observables)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one run's `name`, padded to the union of coordinates."""
        return tuple(len(self.coordinates[d]) for d in self.observables[name].dims)

    def full_shape(self, name: str) -> tuple[int, ...]:
        """Shape of `name` of all runs, on the axes of the grid."""
        return (*self.grid.shape, *self.shape(name))

    @functools.cached_property
    def rows(self) -> dict[tuple[int, int], slice]:
        """Rows of every compute chunk, by bucket and chunk, padding included."""
        rows, first = {}, 0
        for i, bucket in enumerate(self.buckets):
            n = math.ceil(bucket.chunk / self.shard_length) * self.shard_length
            for chunk in range(bucket.n_chunks):
                rows[i, chunk] = slice(first, first + n)
                first += n
        return rows

    def shards(self, bucket: int, chunk: int) -> slice:
        """Shards of one compute chunk."""
        rows = self.rows[bucket, chunk]
        return slice(rows.start // self.shard_length, rows.stop // self.shard_length)

    @property
    def n_rows(self) -> int:
        """Rows of all chunks."""
        return max(rows.stop for rows in self.rows.values())

    @property
    def row_ids(self) -> np.ndarray:
        """Run of every row, -1 for padding."""
        row_ids = np.full(self.n_rows, -1, np.int64)
        for (bucket, chunk), rows in self.rows.items():
            ids = self.buckets[bucket].ids_of(chunk)
            row_ids[rows.start : rows.start + len(ids)] = ids
        return row_ids

    def fill(self, name: str) -> float:
        """What stands for a value that has not been computed."""
        return np.nan if np.dtype(self.dtypes[name]).kind == "f" else -1

    def blank(self, name: str, n: int) -> np.ndarray:
        """Values of `n` runs that have not been computed."""
        return np.full((n, *self.shape(name)), self.fill(name), self.dtypes[name])

    def place(
        self, name: str, values: np.ndarray, positions: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Values of some runs, put at these positions in the union of coordinates."""
        if values.shape[1:] == self.shape(name):
            return values
        out = self.blank(name, len(values))
        places = [positions[d] for d in self.observables[name].dims]
        out[np.ix_(np.arange(len(values)), *places)] = values
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
                "no_theory": observable.no_theory,
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


def _schemas(buckets: Sequence[Bucket]) -> list[Schema]:
    """Schemas of the systems of buckets, unless their coordinates are out of order.

    The union of several is sorted, and has every value once.
    """
    schemas = []
    for system in (bucket.padded_system for bucket in buckets):
        schemas.append(system.schema)
        for dim, values in schemas[-1].coordinates.items():
            labels = np.asarray(values)
            wrong = np.flatnonzero(~(labels[1:] > labels[:-1]))
            if wrong.size:
                before, after = labels[wrong[0] : wrong[0] + 2].tolist()
                raise ValueError(
                    f"`schema` of {type(system).__name__} must give the coordinates of {dim!r} in "
                    f"increasing order, each once, got {after!r} after {before!r}: sort them, and "
                    "the observables along them."
                )
    return schemas


def _union(
    schemas: Sequence[Schema], names: Sequence[Iterable[str]]
) -> tuple[dict[str, Observable], dict[str, np.ndarray], tuple[dict[str, np.ndarray], ...]]:
    """Observables of all schemas, the union of their coordinates, and their positions in it."""
    observables: dict[str, Observable] = {}
    for name in dict.fromkeys(name for own in names for name in own):
        each = [s.observables[name] for s, own in zip(schemas, names, strict=True) if name in own]
        first, *others = dict.fromkeys(o.dims for o in each)
        if others:
            raise ValueError(
                f"`axes` must give {name!r} one set of dimensions, got {first} and {others[0]}; "
                "run them as two grids."
            )
        with_theory = [o for o in each if o.predicted is not TheoryKind.none]
        texts = {
            field: "; ".join(dict.fromkeys(getattr(o, field) for o in each if getattr(o, field)))
            for field in ("limits", "no_theory")
        }
        observables[name] = dataclasses.replace([*with_theory, *each][0], **texts)
    coordinates = {}
    for dim in dict.fromkeys(d for o in observables.values() for d in o.dims):
        values = [s.coordinates[dim] for s in schemas if dim in s.coordinates]
        coordinates[dim] = np.unique(np.concatenate(values))
    positions = tuple(positions_in(coordinates, schema.coordinates) for schema in schemas)
    return observables, coordinates, positions


def positions_in(
    union: Mapping[str, np.ndarray], coordinates: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Positions of `coordinates` in their sorted union, by dimension."""
    return {d: np.searchsorted(c, coordinates[d]) for d, c in union.items() if d in coordinates}


def in_words(path: str) -> str:
    """`inputs.mean_active` as a label of an axis."""
    return path.rpartition(".")[2].replace("_", " ")


def checksum(attributes: Mapping[str, Any]) -> int:
    """CRC-32 of what a store says of itself: JSON that was altered may still be JSON."""
    return zlib.crc32(json.dumps([attributes.get(name) for name in CHECKED]).encode())


def grid_text(grid: Grid) -> str:
    """The grid as a store keeps it."""
    return json.dumps(grid.to_dict())


def provenance(
    plan: Plan,
    device: str,
    wall_seconds: float,
    compile_seconds: float,
    *,
    complete: bool,
    ended: bool,
) -> dict[str, Any]:
    """How results were made: versions, device, precision, seconds, commit.

    A session that has not `ended` runs, or was killed.
    """
    return {
        "versions": json.dumps(_versions()),
        "device": device,
        "dtype": plan.grid.system.dtype,
        "matmul_precision": plan.options.matmul_precision,
        "wall_seconds": round(wall_seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "complete": int(complete),
        "ended": int(ended),
        "git_commit": _git_commit(),
        **_command(),
    }


def _command() -> dict[str, str]:
    """The command of the shell that runs; nothing in Python."""
    path = Path((sys.argv or [""])[0])
    is_ours = path.stem == "jaxscale" or path.parts[-2:] == ("jaxscale", "__main__.py")
    return {"command": shlex.join(["jaxscale", *sys.argv[1:]])} if is_ours else {}


@functools.cache  # of what was imported; reading them takes longer than a small sweep
def _versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    packages = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "xarray", "zarr")
    return {package: importlib.metadata.version(package) for package in packages}


@functools.cache
def _git_commit() -> str:
    """Commit of the checkout that jaxscale runs from, empty for an installed package."""
    folder = Path(__file__).parent
    if not (folder.parent.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
