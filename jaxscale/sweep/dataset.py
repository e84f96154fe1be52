"""From flat runs to named axes: the layout of results, and where they came from."""

import dataclasses
import functools
import importlib.metadata
import json
import math
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale.status import Status
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Plan
from jaxscale.system import Observable, largest_divisor

if TYPE_CHECKING:
    import xarray

FORMAT = 2
WIDEST = 2.0  # slots that padding may add to a store, as a factor
ZARR_CHUNK_BYTES = 2**24  # of the largest variable


@dataclasses.dataclass(frozen=True)
class Layout:
    """Observables and coordinates of all runs of a grid, ragged groups padded to their union.

    - `run_ids`: runs of each bucket, in order.
    - `runs_per_chunk`: of each bucket.
    - `slots`: runs per Zarr chunk; a compute chunk is padded to a whole number of them.
    """

    plan: Plan
    observables: dict[str, Observable]
    coordinates: dict[str, np.ndarray]
    positions: tuple[dict[str, np.ndarray], ...]
    dtypes: dict[str, str]
    run_ids: tuple[np.ndarray, ...]
    runs_per_chunk: tuple[int, ...]
    slots: int

    @classmethod
    def of(cls, plan: Plan, predicted: bool = False, slots: int | None = None) -> "Layout":
        """Layout of the results of `plan`, or of its theory; `slots` are those of a store."""
        schemas = [b.traced_system.schema for b in plan.buckets]
        observables: dict[str, Observable] = {}
        for schema in schemas:
            names = schema.predicted() if predicted else list(schema.observables)
            for name in names:
                found = observables.setdefault(name, schema.observables[name])
                if found.dims != schema.observables[name].dims:
                    raise ValueError(
                        f"`axes` must give {name!r} one set of dimensions, got {found.dims} and "
                        f"{schema.observables[name].dims}; run them as two grids."
                    )
        used = dict.fromkeys(d for o in observables.values() for d in o.dims)
        found = {d: [s.coordinates[d] for s in schemas if d in s.coordinates] for d in used}
        coordinates = {d: np.unique(np.concatenate(values)) for d, values in found.items()}
        positions = tuple(
            {d: np.searchsorted(c, s.coordinates[d]) for d, c in coordinates.items()
             if d in s.coordinates}
            for s in schemas
        )  # fmt: skip
        dtype = np.result_type(*(b.traced_system.dtype for b in plan.buckets)).name
        dtypes = {n: "float64" if predicted else dtype for n in observables}
        if not predicted or any(schema.solved for schema in schemas):
            ended = "how the closed forms were solved" if predicted else "how the run ended"
            observables["status"] = Observable((), "", ended)
            dtypes["status"] = "int32"
        found = cls(
            plan=plan,
            observables=observables,
            coordinates=coordinates,
            positions=positions,
            dtypes=dtypes,
            run_ids=tuple(b.run_ids for b in plan.buckets),
            runs_per_chunk=tuple(b.chunk for b in plan.buckets),
            slots=1 if slots is None else slots,
        )
        return found if slots else found._cut()

    @property
    def grid(self) -> Grid:
        """The grid of the plan."""
        return self.plan.grid

    def _cut(self) -> "Layout":
        """With the longest Zarr chunks that are not too large and pad the store to at most twice.

        Short ones cost a file each; long ones leave most of their slots empty where a bucket has
        short compute chunks, and are read whole for a single run.
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
        for slots in sorted(lengths, reverse=True):
            if sum(n * math.ceil(s / slots) * slots for n, s in sizes) <= WIDEST * n_runs:
                return dataclasses.replace(self, slots=slots)
        return self

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

    def slots_per_chunk(self, bucket: int) -> int:
        """Slots of one compute chunk of a bucket."""
        return math.ceil(self.runs_per_chunk[bucket] / self.slots) * self.slots

    def first_slot(self, bucket: int, chunk: int) -> int:
        """Slot of the first run of a chunk."""
        return self._slots_before(bucket) + chunk * self.slots_per_chunk(bucket)

    def _slots_before(self, bucket: int) -> int:
        return sum(self.n_chunks(b) * self.slots_per_chunk(b) for b in range(bucket))

    @property
    def n_slots(self) -> int:
        """Slots of all buckets."""
        return self._slots_before(len(self.run_ids))

    @property
    def slot_ids(self) -> np.ndarray:
        """Run of every slot, -1 for padding."""
        found = np.full(self.n_slots, -1, np.int64)
        for bucket, (ids, size) in enumerate(zip(self.run_ids, self.runs_per_chunk, strict=True)):
            for chunk in range(self.n_chunks(bucket)):
                here = ids[chunk * size : (chunk + 1) * size]
                first = self.first_slot(bucket, chunk)
                found[first : first + len(here)] = here
        return found

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
        """Attributes that identify the results: the grid, the plan, the format."""
        return {
            "jaxscale_format": FORMAT,
            "grid": grid_text(self.grid),
            "plan": json.dumps(self.plan.summary()),
            "slots": self.slots,
        }


def in_words(path: str) -> str:
    """`inputs.mean_active` as a label of an axis."""
    return path.rpartition(".")[2].replace("_", " ")


def grid_text(grid: Grid) -> str:
    """The grid as a store keeps it."""
    return json.dumps(grid.to_dict())


def provenance(
    plan: Plan, device: str, wall_seconds: float, compile_seconds: float, complete: bool
) -> dict[str, Any]:
    """How results were made: versions, device, precision, seconds, commit."""
    return {
        "versions": json.dumps(_versions()),
        "device": device,
        "dtype": plan.grid.system.dtype,
        "matmul_precision": plan.options.matmul_precision,
        "wall_seconds": round(wall_seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "complete": int(complete),
        "git_commit": _git_commit(),
    }


@functools.cache  # of what was imported; reading them takes longer than a small sweep
def _versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    packages = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "xarray", "zarr")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


@functools.cache
def _git_commit() -> str:
    """Commit of the checkout that jaxscale runs from, empty for an installed package."""
    here = Path(__file__).parent
    if not (here.parent.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
