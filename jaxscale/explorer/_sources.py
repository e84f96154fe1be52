"""What a page shows: the system, sweep or table that a name stands for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxscale._files import require_file, resembling
from jaxscale._registry import class_named, shipped_classes
from jaxscale._system import AbstractSystem
from jaxscale._text import choices
from jaxscale.sweep._config import preset_names, read_toml
from jaxscale.sweep._grid import Grid, grid_of_file
from jaxscale.sweep._locate import existing_place, is_remote

TABLES = (".csv", ".jsonl", ".json", ".tsv", ".txt")


@dataclasses.dataclass(frozen=True)
class Source:
    """What is explored: `kind` is `theory`, `sweep`, `fit`, or `start`, a list of what there is."""

    kind: str
    name: str
    thing: Any


def source_of(given: Any) -> Source:
    """The source of an argument of `js.explore`, or of a name in the shell.

    **Raises** `ValueError` for what cannot be explored, naming what can.
    """
    if given is None:
        return Source("start", "jaxscale", Path())
    if isinstance(given, AbstractSystem):
        return Source("theory", type(given).__name__, given)
    if isinstance(given, Grid):
        return Source("theory", type(given.system).__name__, given.system)
    if hasattr(given, "data_vars"):
        return Source("sweep", given.attrs.get("name", "runs"), given)
    if hasattr(given, "columns"):
        return Source("fit", "table", given)
    if isinstance(given, str | Path):
        return _named(str(given))
    raise ValueError(
        f"`runs_or_grid` must be a Grid, a system, a Dataset of js.run or js.open_store, a table, "
        f"or the name of a store, preset, system or table, got {type(given).__name__}."
    )


def _named(name: str) -> Source:
    if is_remote(name) or Path(name).expanduser().is_dir() or Path(name).suffix == ".zarr":
        place = existing_place(name)
        if Path(name).is_dir() and not place.has_header() and any(Path(name).glob("[!.]*/run_id")):
            return Source("start", Path(name).name, Path(name))
        return Source("sweep", Path(name).name, name)
    if Path(name).suffix in TABLES:
        require_file("source", Path(name))
        return Source("fit", Path(name).name, name)
    systems = example_systems()
    for written, make in systems.items():
        if name in (written, written.rpartition(".")[2]):
            return Source("theory", written.rpartition(".")[2], make())
    names = [*preset_names(), *systems]
    if name not in names and Path(name).suffix != ".toml":
        if hint := resembling(Path(name)):
            raise ValueError(f"`source` {name} does not exist{hint}")
        raise ValueError(
            f"`source` {name!r} is no store, table, preset or system{choices(name, names)}"
        )
    return Source("theory", name, grid_of_file(name, read_toml(name)).system)


def example_systems() -> dict[str, Callable[[], AbstractSystem]]:
    """Systems by their written names, each with the values where its sliders start."""
    classes = {n: c for n, c in shipped_classes().items() if issubclass(c, AbstractSystem)}
    return {name: lambda n=name: _example(n) for name in classes}


EXAMPLES = {  # of systems that need values; theirs have theory
    "sparse.RandomFeatureRegression": {
        "n_features": 100, "n_samples": 1000, "spectrum_exponent": 1.0, "sparsity_exponent": 2.0,
    },
    "superposition.TeacherStudent": {
        "n_features": 128, "frequency_exponent": 1.5, "n_steps": 10_000,
        "embedding": "superposition.Identity", "decoder": "superposition.Linear",
    },
    "streaming.StreamingRegression": {"n_features": 256, "n_steps": 100_000},
}  # fmt: skip


def _example(name: str) -> AbstractSystem:
    cls: Any = class_named(name)
    given = {}
    for field, value in EXAMPLES.get(name, {}).items():
        part: Any = class_named(value) if isinstance(value, str) else None
        given[field] = value if part is None else part()
    return cls(**given)
