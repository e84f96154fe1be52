"""Where results go: host memory, or a Zarr 3 store that can be continued.

On disk, variables have dimensions `(run_slot, step, ...)`: a row per run, and one Zarr chunk per
shard of rows. Each compute chunk is padded to whole shards; `run_id` is the run of a row (-1 for
padding). A chunk is marked in `done` after its data are flushed. A store is made at another place
that then becomes its own, so that no other process sees a half-made one; in a folder, by renaming.
"""

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._files import flush
from jaxscale.sweep._grid import positions
from jaxscale.sweep._layout import CHECKSUM, Layout, checksum, in_words
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._reader import StoreReader, open_array, read_marks
from jaxscale.sweep._states import Where
from jaxscale.sweep._stretches import State

if TYPE_CHECKING:
    import xarray

NO_RUN = -2
BEGUN, REMOVED = "new", "removed"  # roles of stores that are being written, or deleted


class MemoryStore:
    """Results in host memory, indexed by run."""

    def __init__(self, layout: Layout):
        self.layout = layout
        n_runs = layout.grid.n_runs
        self.values = {name: layout.blank(name, n_runs) for name in layout.observables}
        self.attributes: dict[str, Any] = {}

    def is_done(self, bucket: int, chunk: int) -> bool:
        """Nothing is done before it is written."""
        return False

    def steps(self) -> dict[Where, int]:
        """No run is under way before it begins."""
        return {}

    def state(self, bucket: int, chunk: int) -> None:
        """No run is under way before it begins."""

    def write_state(self, bucket: int, chunk: int, state: State) -> None:
        """Take what the runs of a chunk have recorded so far."""
        self.write(bucket, chunk, state.values(self.layout.buckets[bucket].padded_system))

    def write(
        self, bucket: int, chunk: int, values: dict[str, Any], state: State | None = None
    ) -> None:
        """Take the values of one chunk, those of padding last."""
        layout = self.layout
        ids = layout.buckets[bucket].ids_of(chunk)
        for name in self.values.keys() & values.keys():
            placed = layout.place(name, values[name], layout.positions[bucket])
            self.values[name][ids] = placed[: len(ids)]

    def relaid(self, layout: Layout) -> "MemoryStore":
        """These results for chunks that are cut otherwise."""
        self.layout = layout
        return self

    def record(self, provenance: dict[str, Any]) -> None:
        """Take the provenance of this session."""
        self.attributes = {**provenance, "sessions": json.dumps([provenance])}

    def dataset(self) -> "xarray.Dataset":
        """Everything written so far, NaN elsewhere."""
        values = {n: v.reshape(self.layout.full_shape(n)) for n, v in self.values.items()}
        return self.layout.dataset(values, {**self.layout.attributes(), **self.attributes})


class ZarrStore:
    """Results in a Zarr 3 store that exists, laid out as `layout` says."""

    def __init__(self, place: AbstractPlace, layout: Layout):
        import zarr

        self.place, self.layout = place, layout
        with zarr.config.set({"array.write_empty_chunks": True}), place.errors():
            self._current = place.current()
            self.root: Any = self._current.open_group("r+")
            names = [*layout.observables, "done"]
            self._arrays = {name: open_array(place, self.root, name) for name in names}
            self._done = read_marks(place, self._arrays["done"])
            self._header = json.loads(self._current.read_header())
            self._sessions = json.loads(self._header["attributes"].get("sessions", "[]"))
            self._states = self._current.states
            self._remove_stale()

    def is_done(self, bucket: int, chunk: int) -> bool:
        """Whether the data of a chunk are on disk."""
        return bool(np.all(self._done[self.layout.shards(bucket, chunk)]))

    def _remove_stale(self) -> None:
        """Delete what a writer that was killed had begun, and states that results have replaced."""
        stale = []
        for where in self._states.among(self.layout.rows):
            system: Any = self.layout.buckets[where[0]].padded_system
            if self.is_done(*where) and self._states.step(*where) < system.n_steps:
                stale.append(where)
        self._current.remove_unfinished()  # now: a damaged state is refused before anything changes
        for where in stale:
            self._states.remove(*where)

    def steps(self) -> dict[Where, int]:
        """Steps that unfinished chunks have done, where their runs are under way."""
        begun = self._states.among(self.layout.rows)
        return {where: self._states.step(*where) for where in begun if not self.is_done(*where)}

    def state(self, bucket: int, chunk: int) -> State | None:
        """State of the runs of a chunk, if they are under way."""
        return self._states.read(bucket, chunk) if self._has_states(bucket) else None

    def _has_states(self, bucket: int) -> bool:
        """Whether runs of a bucket can have states: asking a server takes a request."""
        return self.layout.buckets[bucket].stretched

    def write_state(self, bucket: int, chunk: int, state: State) -> None:
        """Write how far the runs of a chunk are, in place of what was written before."""
        with self.place.errors():
            self._states.write(bucket, chunk, state)

    def write(
        self, bucket: int, chunk: int, values: dict[str, Any], state: State | None = None
    ) -> None:
        """Write the data of one chunk, then mark it done; keep its final `state`, or none."""
        layout, shards = self.layout, self.layout.shards(bucket, chunk)
        rows = layout.rows[bucket, chunk]

        def put(name: str) -> None:
            array = layout.blank(name, 0)
            if name in values:
                own = np.asarray(values[name])
                array = layout.place(name, own, layout.positions[bucket])
            missing = rows.stop - rows.start - len(array)
            if missing:  # else they are written without a copy
                array = np.concatenate([array, layout.blank(name, missing)])
            self._arrays[name][rows] = array

        with self.place.errors():
            with ThreadPoolExecutor() as pool:  # compressing releases the interpreter
                list(pool.map(put, layout.observables))
            self._flush(layout.observables, shards)
            if state is not None:
                self._states.write(bucket, chunk, state)
            self._arrays["done"][shards] = True
            self._flush(["done"], shards)  # before the state goes: a power failure takes one
            if state is None and self._has_states(bucket):
                self._states.remove(bucket, chunk)
        self._done[shards] = True

    def _flush(self, names: Iterable[str], shards: slice) -> None:
        """Return when what was written of some variables survives a power failure."""
        n_axes = {name: self._arrays[name].ndim for name in names}
        self._current.flush(n_axes, range(shards.start, shards.stop))

    def relaid(self, layout: Layout) -> "ZarrStore":
        """The store anew, of which nothing is done yet, for chunks that are cut otherwise."""
        sessions = {"sessions": json.dumps(self._sessions)} if self._sessions else {}
        with self.place.replacing() as temporary:
            write_header(temporary, layout, **sessions)
        return ZarrStore(self.place, layout)

    def record(self, provenance: dict[str, Any]) -> None:
        """Write the provenance of this session, as it is so far, after those before it."""
        attributes = self._header["attributes"]
        attributes |= {**provenance, "sessions": json.dumps([*self._sessions, provenance])}
        attributes[CHECKSUM] = checksum(attributes)
        with self.place.errors():
            self._current.write_header(json.dumps(self._header, indent=2))

    def dataset(self) -> "xarray.Dataset":
        """Everything in the store, on the grid's axes."""
        return StoreReader(self.place, self.layout.grid).dataset(self.layout)


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Raise errors of the file system as a `ValueError` that names the store."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"`store` {path} cannot be written ({error}); what was finished is kept, and the same "
            "call continues it."
        ) from None


def is_vacant(path: Path) -> bool:
    """Whether nothing is at `path`, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def sibling_path(path: Path, role: str) -> Path:
    """Hidden name next to a store."""
    return path.with_name(f".{path.name}.{role}")


def _new_sibling(path: Path, role: str) -> Path:
    """Hidden name next to a store, used once: Zarr's threads may still write what failed there."""
    return sibling_path(path, f"{role}-{secrets.token_hex(4)}")


def _remove(path: Path, previous: Path) -> None:
    """Delete what a store has replaced; what is left of it by a kill is not taken for a store."""
    with contextlib.suppress(OSError):  # the next session does it
        removed = previous.rename(_new_sibling(path, REMOVED))
        flush([path.parent])
        shutil.rmtree(removed, ignore_errors=True)


def is_free(path: Path) -> bool:
    """Whether a store can be made at `path`: nothing is there, or an empty folder.

    The working directory is refused, for it would be replaced.
    """
    with store_errors(path):
        free = is_vacant(path)
    if free and path.exists() and path.samefile(Path()):
        raise ValueError(f"`store` must not be the working directory, got {path}.")
    return free


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path; the store that is written there becomes that of `path` at the end.

    What was at `path` is renamed only when the new store is complete and removed last; `recover`
    undoes the step between the two renamings.
    """
    temporary, previous = _new_sibling(path, BEGUN), sibling_path(path, "previous")
    with store_errors(path):
        try:
            yield temporary
            flush([temporary, *temporary.rglob("*")])
            if path.exists():
                path.rename(previous)
            try:
                temporary.rename(path)
            except BaseException:
                recover(path)
                raise
            flush([path.parent])
            _remove(path, previous)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> None:
    """Restore a store that an interrupted extension had renamed, and remove what it had begun."""
    previous = sibling_path(path, "previous")
    name = re.compile(rf"\.{re.escape(path.name)}\.({BEGUN}|{REMOVED})(-[0-9a-f]{{8}})?")
    with store_errors(path):
        if previous.exists() and is_vacant(path):
            if path.exists():
                path.rmdir()
            previous.rename(path)
        _remove(path, previous)
        for folder in path.parent.iterdir():
            if name.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def create(place: AbstractPlace, layout: Layout) -> None:
    """Make an empty store."""
    with place.replacing() as temporary:
        write_header(temporary, layout)


def write_header(place: AbstractPlace, layout: Layout, **attributes: Any) -> None:
    """Write a store without results at a new place: attributes, coordinates, and empty arrays.

    Blosc (bits shuffled, LZ4) compresses curves three to nine times faster than Zarr's own choice
    (Zstandard) and about as well: 1.4 against 1.2 for networks, 2.9 against 3.5 for skills. It does
    not notice when a file is cut or altered; the checksum does.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    attributes = {**layout.attributes(), **attributes, "complete": 0}
    attributes[CHECKSUM] = checksum(attributes)
    root = place.open_group("w-", attributes=attributes)
    run_id, codecs = layout.row_ids, (BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec())
    for name, observable in layout.observables.items():
        shape = layout.shape(name)
        root.create_array(
            name,
            shape=(layout.n_rows, *shape),
            chunks=(layout.shard_length, *shape),
            dtype=np.dtype(layout.dtypes[name]),
            fill_value=layout.fill(name),
            compressors=codecs,
            dimension_names=("run_slot", *observable.dims),
            attributes={"units": observable.units, "long_name": observable.description},
        )
    root.create_array(  # a lost chunk is no run 0
        "run_id", data=run_id, fill_value=NO_RUN, dimension_names=("run_slot",), compressors=codecs
    )
    columns = _columns(layout, run_id)
    for dim, arrays in (("run_slot", columns), (None, layout.coordinates)):
        for name, values in arrays.items():
            label: dict[str, Any] = {"long_name": in_words(name)}
            dims, data = (dim or name,), _writable(values)
            root.create_array(name, data=data, dimension_names=dims, attributes=label)
    root.create_array(
        "done", shape=(layout.n_rows // layout.shard_length,), chunks=(1,), dtype=bool,
        fill_value=False, dimension_names=("chunk",),
    )  # fmt: skip
    root.update_attributes({"coordinates": " ".join(["run_id", *columns])})


def _columns(layout: Layout, run_id: np.ndarray) -> dict[str, np.ndarray]:
    """Axis values and seed of the run of each row."""
    index, columns = positions(layout.grid, np.maximum(run_id, 0)), {}
    for name, values in layout.grid.coordinates.items():
        columns[name] = _writable(values)[index[name]]
    return columns


def _writable(values: np.ndarray) -> np.ndarray:
    """Text as Zarr 3 specifies it, of variable length, and numbers as they are."""
    return values.astype(np.dtypes.StringDType()) if values.dtype.kind == "U" else values
