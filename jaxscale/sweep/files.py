"""The files of a store: where they lie, and reading what may be damaged."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale.sweep.dataset import FORMAT


def store_path(store: str | Path) -> Path:
    """Where a store lies: a link to a store is that store, `~` is the home folder.

    **Raises** `ValueError` for what is no path.
    """
    if "://" in str(store) or not str(store):
        raise ValueError(f"`store` must be the path of a folder on a file system, got {store!r}.")
    try:
        return Path(store).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"`store` {store!r} is no path ({error}).") from None


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
    except Exception as error:  # a header may hold anything
        there = os.path.isfile(path / "zarr.json")
        what = "cannot be read at its zarr.json" if there else "is not a jaxscale store"
        raise ValueError(f"`store` {path} {what} ({error}).") from None
    found = attributes.get("jaxscale_format")
    if found is None:
        raise ValueError(f"`store` {path} is not a jaxscale store; nothing was written.")
    if found != FORMAT:
        raise ValueError(f"`store` {path} has format {found}, expected {FORMAT}.")
    return attributes


def chunk_files(path: Path, name: str, n_axes: int, chunks: Iterable[int]) -> Iterator[Path]:
    """Files of Zarr chunks of a variable, which are cut along their first axis only."""
    for i in chunks:
        yield path.joinpath(name, "c", str(i), *["0"] * (n_axes - 1))


def open_array(path: Path, root: Any, name: str) -> Any:
    """An array of a store.

    **Raises** `ValueError` if it is missing or its header cannot be read.
    """
    try:
        found = root[name] if name in root else None
    except Exception as error:  # a header may hold anything
        raise unreadable(path, name, error) from None
    if found is None:
        raise ValueError(
            f"`store` {path} lacks {name!r}; it was damaged, its class was changed, or it is a "
            "Dataset that xarray wrote: open that with xarray.open_zarr."
        )
    return found


def unreadable(path: Path, name: str, error: Exception) -> ValueError:
    """The error for an array that cannot be read."""
    damaged = "" if isinstance(error, OSError) else "; it was damaged"  # else it may be sound
    return ValueError(f"`store` {path} cannot be read at {name!r} ({error}){damaged}.")


def read_marks(path: Path, array: Any) -> np.ndarray:
    """What is done; a mark that cannot be decoded marks nothing, for computing anew is safe.

    **Raises** `ValueError` if the file system refuses: then a mark may be sound.
    """

    def read(which: Any) -> Any:
        try:
            return array[which]
        except OSError as error:
            raise unreadable(path, "done", error) from None
        except MemoryError:
            raise
        except Exception:  # each codec has errors of its own
            return None

    found = read(slice(None))
    return np.array([bool(read(i)) for i in range(array.size)]) if found is None else found


def read_sessions(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Provenance of every session that wrote to a store."""
    return json.loads(str(attributes.get("sessions", "[]")))
