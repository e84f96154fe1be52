"""Stores in folders of a file system."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxscale._files import flush, make_folder, refuse_links, require_folder
from jaxscale.sweep._lock import is_locked, store_lock
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._states import FOLDER, States
from jaxscale.sweep._store import is_free, recover, replacing, store_errors


class LocalPlace(AbstractPlace):
    """A folder, by its absolute path."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def states(self) -> States:
        return States(self.path)

    def current(self) -> "LocalPlace":
        return self

    def identity(self) -> tuple[int, int] | None:
        """The header of the runs, which is written once."""
        try:
            header = (self.path / "run_id" / "zarr.json").stat()
        except OSError:
            return None
        return header.st_ino, header.st_mtime_ns

    def open_group(self, mode: Any, **header: Any) -> Any:
        import zarr

        if mode == "r+":
            refuse_links("store", self.path, 2)  # of the arrays and their chunks
        return zarr.open_group(self.path, mode=mode, zarr_format=3, **header)

    def has_header(self) -> bool:
        return (self.path / "zarr.json").is_file()

    def read_header(self) -> bytes:
        return (self.path / "zarr.json").read_bytes()

    def write_header(self, text: str) -> None:
        """Without its header a store is lost; Zarr replaces files without fsync."""
        temporary = self.path / "done" / "header.new"  # next to zarr.json, Zarr would warn of it
        try:
            temporary.write_text(text)
            flush([temporary])
            temporary.replace(self.path / "zarr.json")
            flush([self.path])
        finally:
            temporary.unlink(missing_ok=True)

    def _chunk(self, name: str, n_axes: int, chunk: int) -> Path:
        return self.path.joinpath(name, "c", str(chunk), *["0"] * (n_axes - 1))

    def chunk_name(self, name: str, n_axes: int, chunk: int) -> str:
        return str(self._chunk(name, n_axes, chunk))

    def missing(self, name: str, n_axes: int, chunks: Iterable[int]) -> Iterator[int]:
        return (i for i in chunks if not self._chunk(name, n_axes, i).is_file())

    def flush(self, n_axes: Mapping[str, int], chunks: Sequence[int]) -> None:
        """Fsync the files of the chunks, and the folders that hold their names."""
        paths: set[Path] = set()
        for name, n in n_axes.items():
            for file in (self._chunk(name, n, i) for i in chunks):
                paths |= {p for p in (file, *file.parents) if p.is_relative_to(self.path / name)}
        flush(paths)

    def remove_unfinished(self) -> None:
        for begun in ("*/c/**/*.partial", f"{FOLDER}/*.new"):  # of Zarr, of states
            for file in self.path.glob(begun):
                file.unlink(missing_ok=True)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        return store_errors(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with self.errors():
            require_folder("store", self.path)
            make_folder(self.path.parent)
        with store_lock(self.path):
            yield

    def is_locked(self) -> bool:
        return is_locked(self.path)

    def recover(self) -> None:
        recover(self.path)

    def is_free(self) -> bool:
        return is_free(self.path)

    @contextlib.contextmanager
    def replacing(self) -> Iterator["LocalPlace"]:
        with replacing(self.path) as temporary:
            yield LocalPlace(temporary)
