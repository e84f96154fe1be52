"""States of unfinished runs in a store: one file or object per chunk, replaced at once.

A file of NumPy's (a zip archive, whose checksums are compared when it is read) takes one write, one
fsync and one rename; a Zarr group of the same arrays takes a file for each.
"""

import abc
import contextlib
import io
import re
import zipfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from jaxscale._files import flush
from jaxscale.sweep._stretches import State

Where: TypeAlias = tuple[int, int]  # bucket and chunk
NAMES, STEP = "names", "step"  # first: what a damaged directory of the archive lacks is noticed
FOLDER = "done/states"  # in an array's folder: next to zarr.json, Zarr would warn of it


class AbstractStates(abc.ABC):
    """States of chunks in a store."""

    @abc.abstractmethod
    def name(self, bucket: int, chunk: int) -> str:
        """Where the user finds the state of a chunk, and may delete it."""

    @abc.abstractmethod
    def names(self) -> Iterable[str]:
        """Names of all files, without their folder."""

    @abc.abstractmethod
    def write(self, bucket: int, chunk: int, state: State) -> None:
        """Replace the state of a chunk: whoever reads meets the old one or the new one."""

    @abc.abstractmethod
    def opened(
        self, bucket: int, chunk: int
    ) -> contextlib.AbstractContextManager[io.BufferedIOBase]:
        """The file of a chunk, to be read; `FileNotFoundError` if there is none."""

    @abc.abstractmethod
    def remove(self, bucket: int, chunk: int) -> None:
        """Delete the state of a chunk, if there is one."""

    def __iter__(self) -> Iterator[Where]:
        """Chunks with a state, by bucket and chunk."""
        for name in sorted(self.names()):
            if match := re.fullmatch(r"(\d+)-(\d+)\.npz", name):
                yield int(match[1]), int(match[2])

    def among(self, chunks: Container[Where]) -> list[Where]:
        """Those of `chunks` with a state; a file may also have the name of a chunk that is none."""
        return [where for where in self if where in chunks]

    def read(self, bucket: int, chunk: int) -> State | None:
        """State of a chunk, None if there is none."""
        with self._arrays(bucket, chunk) as arrays:
            if arrays is None:
                return None
            leaves, history = _named("leaf ", arrays), _named("history ", arrays)
            return State(int(arrays[STEP]), leaves, history)

    def look(self, bucket: int, chunk: int) -> State | None:
        """State of a chunk without its leaves, None if there is none."""
        with self._arrays(bucket, chunk) as arrays:
            return arrays and State(int(arrays[STEP]), {}, _named("history ", arrays))

    def step(self, bucket: int, chunk: int) -> int:
        """Steps that the runs of a chunk have done."""
        with self._arrays(bucket, chunk) as arrays:
            return 0 if arrays is None else int(arrays[STEP])

    @contextlib.contextmanager
    def _arrays(self, bucket: int, chunk: int) -> Iterator[Any]:
        """Arrays of a file, None if there is none; `ValueError` if it was damaged."""
        try:
            with self.opened(bucket, chunk) as file, np.load(file, allow_pickle=False) as arrays:
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
                f"`store` has a damaged state {self.name(bucket, chunk)} ({error}); delete it to "
                "train its runs from the start."
            ) from None


class States(AbstractStates):
    """Files with the states of chunks in a store on disk."""

    def __init__(self, store: Path):
        self.folder = store / FOLDER

    def file(self, bucket: int, chunk: int) -> Path:
        """Where the state of a chunk is."""
        return self.folder / f"{bucket}-{chunk}.npz"

    def name(self, bucket: int, chunk: int) -> str:
        return str(self.file(bucket, chunk))

    def names(self) -> Iterable[str]:
        return (f.name for f in self.folder.glob("*.npz")) if self.folder.is_dir() else ()

    def write(self, bucket: int, chunk: int, state: State) -> None:
        file = self.file(bucket, chunk)
        temporary = file.with_suffix(".new")
        if not self.folder.is_dir():
            self.folder.mkdir()
            flush([self.folder.parent])
        with temporary.open("wb") as opened:
            save(opened, state)
        flush([temporary])
        temporary.replace(file)
        flush([self.folder])

    def opened(self, bucket: int, chunk: int) -> io.BufferedIOBase:
        return self.file(bucket, chunk).open("rb")

    def remove(self, bucket: int, chunk: int) -> None:
        self.file(bucket, chunk).unlink(missing_ok=True)


def save(file: io.BufferedIOBase, state: State) -> None:
    """Write a state as an archive of NumPy's."""
    arrays = {f"leaf {path}": leaf for path, leaf in state.leaves.items()}
    arrays |= {f"history {name}": value for name, value in state.history.items()}
    own = {NAMES: np.asarray(list(arrays)), STEP: np.asarray(state.step)}
    np.savez(file, **own, **arrays)  # pyright: ignore


def _named(prefix: str, arrays: Any) -> dict[str, np.ndarray]:
    """Arrays whose names begin so, by the rest of their names."""
    names = [name for name in arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays[name] for name in names}
