"""States of unfinished runs on disk: one file per chunk, replaced at once.

A file of NumPy's (a zip archive, whose checksums are compared when it is read) takes one write, one
fsync and one rename; a Zarr group of the same arrays takes a file for each.
"""

import contextlib
import re
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from jaxscale._files import flush
from jaxscale.sweep._stretches import State

Where: TypeAlias = tuple[int, int]  # bucket and chunk
NAMES, STEP = "names", "step"  # first: what a damaged directory of the archive lacks is noticed
FOLDER = "done/states"  # in an array's folder: next to zarr.json, Zarr would warn of it


class States:
    """Files with the states of chunks in a store."""

    def __init__(self, store: Path):
        self.folder = store / FOLDER

    def file(self, bucket: int, chunk: int) -> Path:
        """Where the state of a chunk is."""
        return self.folder / f"{bucket}-{chunk}.npz"

    def __contains__(self, where: Where) -> bool:
        return self.file(*where).exists()

    def __iter__(self) -> Iterator[Where]:
        """Chunks with a state, by bucket and chunk."""
        for file in sorted(self.folder.glob("*.npz")) if self.folder.is_dir() else ():
            if match := re.fullmatch(r"(\d+)-(\d+)\.npz", file.name):
                yield int(match[1]), int(match[2])

    def among(self, chunks: Container[Where]) -> list[Where]:
        """Those of `chunks` with a state; a file may also have the name of a chunk that is none."""
        return [where for where in self if where in chunks]

    def write(self, bucket: int, chunk: int, state: State) -> None:
        """Replace the state of a chunk: whoever reads meets the old one or the new one."""
        file = self.file(bucket, chunk)
        temporary = file.with_suffix(".new")
        if not self.folder.is_dir():
            self.folder.mkdir()
            flush([self.folder.parent])
        arrays = {f"leaf {path}": leaf for path, leaf in state.leaves.items()}
        arrays |= {f"history {name}": value for name, value in state.history.items()}
        own = {NAMES: np.asarray(list(arrays)), STEP: np.asarray(state.step)}
        with temporary.open("wb") as opened:
            np.savez(opened, **own, **arrays)  # pyright: ignore
        flush([temporary])
        temporary.replace(file)
        flush([self.folder])

    def read(self, bucket: int, chunk: int) -> State | None:
        """State of a chunk, None if there is none."""
        with self._opened(bucket, chunk) as arrays:
            if arrays is None:
                return None
            leaves, history = _named("leaf ", arrays), _named("history ", arrays)
            return State(int(arrays[STEP]), leaves, history)

    def look(self, bucket: int, chunk: int) -> State | None:
        """State of a chunk without its leaves, None if there is none."""
        with self._opened(bucket, chunk) as arrays:
            return arrays and State(int(arrays[STEP]), {}, _named("history ", arrays))

    def step(self, bucket: int, chunk: int) -> int:
        """Steps that the runs of a chunk have done."""
        with self._opened(bucket, chunk) as arrays:
            return 0 if arrays is None else int(arrays[STEP])

    @contextlib.contextmanager
    def _opened(self, bucket: int, chunk: int) -> Iterator[Any]:
        """Arrays of a file, None if there is none; `ValueError` if it was damaged."""
        file = self.file(bucket, chunk)
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                if any(part.compress_type != zipfile.ZIP_STORED for part in arrays.zip.infolist()):
                    raise ValueError("its parts are compressed, which no state's are")
                if NAMES in arrays and set(arrays[NAMES]) != {*arrays.files} - {NAMES, STEP}:
                    raise ValueError("arrays are missing")
                yield arrays
        except FileNotFoundError:
            yield None
        except MemoryError:
            raise
        except Exception as error:  # an altered archive may ask for anything, such as a password
            raise ValueError(
                f"`store` has a damaged state {file} ({error}); delete it to train its runs from "
                "the start."
            ) from None

    def remove(self, bucket: int, chunk: int) -> None:
        """Delete the state of a chunk, if there is one."""
        self.file(bucket, chunk).unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Delete what a writer that was killed had begun."""
        for file in self.folder.glob("*.new") if self.folder.is_dir() else ():
            file.unlink(missing_ok=True)


def _named(prefix: str, arrays: Any) -> dict[str, np.ndarray]:
    """Arrays whose names begin so, by the rest of their names."""
    names = [name for name in arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays[name] for name in names}
