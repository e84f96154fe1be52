"""What a page shows: the system, sweep or table that a name stands for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxscale._files import require_file, resembling
from jaxscale._registry import class_named, shipped_classes
from jaxscale._system import AbstractSystem
from jaxscale._text import choices
from jaxscale.analysis._table_file import OPENERS
from jaxscale.sweep._config import preset_names, read_toml
from jaxscale.sweep._grid import Grid, grid_of_file
from jaxscale.sweep._locate import existing_place, is_remote

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")


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


def stores_in(folder: Path) -> list[str]:
    """Stores in a folder, by name."""
    return sorted(str(path.parent) for path in folder.glob("[!.]*/run_id"))


def tables_in(folder: Path) -> list[str]:
    """Tables in a folder, by name."""
    return sorted(str(path) for path in folder.glob("[!.]*") if _is_table(path) and path.is_file())


def _is_table(path: Path) -> bool:
    """Whether a name is that of a table, which may be packed."""
    name = path.name.lower()
    return name.removesuffix(next(filter(name.endswith, OPENERS), "")).endswith(TABLES)


def _named(name: str) -> Source:
    path = Path(name).expanduser()
    if is_remote(name) or path.suffix == ".zarr" or _has_header(path):
        existing_place(name)
        return Source("sweep", path.name, name)
    if stores_in(path):
        return Source("start", path.name, path)
    if _is_table(path) and not path.is_dir():
        require_file("source", path)
        return Source("fit", path.name, str(path))
    return _of_theory(name) or _of_path(path)


def _has_header(path: Path) -> bool:
    """Whether a folder is a store."""
    place = existing_place(path) if path.is_dir() else None
    return place is not None and place.has_header()


def _of_theory(name: str) -> Source | None:
    """The system, preset or sweep file of a name."""
    for written, make in example_systems().items():
        if name in (written, written.rpartition(".")[2]):
            return Source("theory", written.rpartition(".")[2], make())
    if name in preset_names() or (Path(name).suffix == ".toml" and not Path(name).is_dir()):
        return Source("theory", name, grid_of_file(name, read_toml(name)).system)
    return None


def _of_path(path: Path) -> Source:
    """What a file or folder holds whose name says nothing."""
    if path.is_file():
        return Source("fit", path.name, str(path))
    if path.is_dir():
        if tables_in(path):
            return Source("start", path.name, path)
        raise ValueError(f"`source` {path} holds no store and no table: give a folder with one.")
    if hint := resembling(path):
        raise ValueError(f"`source` {path} does not exist{hint}")
    hint = choices(str(path), [*preset_names(), *example_systems()])
    raise ValueError(f"`source` {str(path)!r} is no store, table, preset or system{hint}")


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
