"""From flat runs to named axes: the layout of results, and where they came from."""

import dataclasses
import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxscale.status import Status
from jaxscale.sweep.grid import Grid
from jaxscale.sweep.plan import Plan
from jaxscale.system import Observable

if TYPE_CHECKING:
    import xarray

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Layout:
    """Observables and coordinates of all runs of a grid, ragged groups padded to their union.

    - `chunks`: for each bucket, the number of its chunks and the slots of one.
    - `slots`: runs per Zarr chunk; a compute chunk is a whole number of them.
    """

    grid: Grid
    plan_summary: dict[str, Any]
    observables: dict[str, Observable]
    coordinates: dict[str, np.ndarray]
    positions: tuple[dict[str, np.ndarray], ...]
    dtypes: dict[str, str]
    chunks: tuple[tuple[int, int], ...]
    slots: int

    @classmethod
    def of(cls, plan: Plan, predicted: bool = False) -> "Layout":
        """Layout of the results of `plan`."""
        schemas = [b.template.schema for b in plan.buckets]
        observables: dict[str, Observable] = {}
        for schema in schemas:
            names = schema.predicted() if predicted else list(schema.observables)
            observables |= {name: schema.observables[name] for name in names}
        used = dict.fromkeys(d for o in observables.values() for d in o.dims)
        found = {d: [s.coordinates[d] for s in schemas if d in s.coordinates] for d in used}
        coordinates = {d: np.unique(np.concatenate(values)) for d, values in found.items()}
        positions = tuple(
            {d: np.searchsorted(c, s.coordinates[d]) for d, c in coordinates.items()
             if d in s.coordinates}
            for s in schemas
        )  # fmt: skip
        dtypes = {n: "float64" if predicted else plan.grid.system.dtype for n in observables}
        if not predicted or any(schema.solved for schema in schemas):
            ended = "how the closed forms were solved" if predicted else "how the run ended"
            observables["status"] = Observable((), "", ended)
            dtypes["status"] = "int32"
        chunks = tuple((b.n_chunks, b.chunk) for b in plan.buckets)
        if predicted:
            chunks = tuple((1, len(b.run_ids)) for b in plan.buckets)
        return cls(
            grid=plan.grid,
            plan_summary=plan.summary(),
            observables=observables,
            coordinates=coordinates,
            positions=positions,
            dtypes=dtypes,
            chunks=chunks,
            slots=min(c for _, c in chunks),
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one run's `name`, padded to the union of coordinates."""
        return tuple(len(self.coordinates[d]) for d in self.observables[name].dims)

    def first_slot(self, bucket: int, chunk: int) -> int:
        """Slot of the first run of a chunk."""
        before = sum(n * size for n, size in self.chunks[:bucket])
        return before + chunk * self.chunks[bucket][1]

    @property
    def n_slots(self) -> int:
        """Slots of all buckets."""
        return sum(n * size for n, size in self.chunks)

    def blank(self, name: str, n: int) -> np.ndarray:
        """Values of `n` runs that have not been computed."""
        dtype = np.dtype(self.dtypes[name])
        fill = np.nan if dtype.kind == "f" else -1
        return np.full((n, *self.shape(name)), fill, dtype)

    def pad(self, bucket: int, name: str, values: np.ndarray) -> np.ndarray:
        """Values of one bucket placed on the union of coordinates."""
        dims = self.observables[name].dims
        if values.shape[1:] == self.shape(name):
            return values
        out = self.blank(name, len(values))
        positions = [self.positions[bucket][d] for d in dims]
        out[np.ix_(np.arange(len(values)), *positions)] = values
        return out

    def dataset(
        self, values: dict[str, np.ndarray], attributes: dict[str, Any]
    ) -> "xarray.Dataset":
        """Dataset of values whose first axis is the flat run index."""
        import xarray

        grid = self.grid
        variables = {}
        for name, observable in self.observables.items():
            data = values[name].reshape(*grid.shape, *self.shape(name))
            attrs: dict[str, Any] = {
                "units": observable.units,
                "long_name": observable.description,
                "predicted": str(observable.predicted),
                "limits": observable.limits,
            }
            if name == "status":
                attrs["flag_values"] = [int(s) for s in Status]
                attrs["flag_meanings"] = " ".join(s.name for s in Status)
            variables[name] = ((*grid.dims, *observable.dims), data, attrs)
        coordinates = {**grid.coordinates, **self.coordinates}
        return xarray.Dataset(variables, coordinates, attributes)

    def attributes(self) -> dict[str, Any]:
        """Attributes that identify the results: the grid, the plan, the format."""
        return {
            "jaxscale_format": FORMAT,
            "grid": json.dumps(self.grid.to_dict()),
            "plan": json.dumps(self.plan_summary),
        }


def provenance(
    plan: Plan, wall_seconds: float, compile_seconds: float, complete: bool
) -> dict[str, Any]:
    """How results were made: versions, device, precision, seconds, commit."""
    packages = ("jaxscale", "jax", "jaxlib", "equinox", "optax", "numpy", "xarray", "zarr")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    device = jax.devices()[0]
    return {
        "versions": json.dumps(versions),
        "device": f"{plan.n_devices} x {device.device_kind} ({device.platform})",
        "dtype": plan.grid.system.dtype,
        "matmul_precision": str(jax.config.jax_default_matmul_precision),  # pyright: ignore
        "wall_seconds": round(wall_seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "complete": int(complete),
        "git_commit": _git_commit(),
    }


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
