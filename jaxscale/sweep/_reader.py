"""Reading a store: what it holds, how it was cut, and whether it is intact."""

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._devices import host_memory
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import CHECKSUM, FORMAT, Layout, checksum, grid_text
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._plan import Options, Plan, continued
from jaxscale.sweep._states import Where
from jaxscale.sweep._stretches import State

if TYPE_CHECKING:
    import xarray

NOT_SHOWN = ("coordinates", CHECKSUM)  # attributes that serve the store alone
READ_AT_ONCE = 2**27  # bytes
LOADED_SHARE = 0.25  # of the host's memory that results may take, else they stay on disk


def open_root(place: AbstractPlace) -> tuple[Any, dict[str, Any]]:
    """The group of a store and its attributes; `ValueError` if there is none of this format."""
    try:
        root = place.open_group("r")
        attributes = dict(root.attrs)
    except Exception as error:  # a header may hold anything
        broken = isinstance(error, PermissionError) or place.has_header()
        what = f"cannot be read at its zarr.json ({error})" if broken else "is not a jaxscale store"
        raise ValueError(f"`store` {place} {what}.") from None
    version = attributes.get("jaxscale_format")
    if version is None:
        raise ValueError(f"`store` {place} is not a jaxscale store; nothing was written.")
    if version != FORMAT:
        raise ValueError(f"`store` {place} has format {version}, expected {FORMAT}.")
    if CHECKSUM in attributes and attributes[CHECKSUM] != checksum(attributes):
        what = "(its checksum differs); it was damaged"
        raise ValueError(f"`store` {place} cannot be read at its zarr.json {what}.")
    return root, attributes


def open_array(place: AbstractPlace, root: Any, name: str) -> Any:
    """An array of a store; `ValueError` if it is missing or its header cannot be read."""
    with _reading(place, name), contextlib.suppress(KeyError):
        return root[name]
    raise ValueError(
        f"`store` {place} lacks {name!r}; it was damaged, its class was changed, or it is a "
        "Dataset that xarray wrote: open that with xarray.open_zarr."
    )


@contextlib.contextmanager
def _reading(place: AbstractPlace, name: str, damage: str = "it was damaged") -> Iterator[None]:
    """Raise what goes wrong as a `ValueError`; an array that the system refuses may be sound."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # headers may hold anything, and each codec has errors of its own
        advice = "" if isinstance(error, OSError) else f"; {damage}"
        raise ValueError(f"`store` {place} cannot be read at {name!r} ({error}){advice}.") from None


def read_marks(place: AbstractPlace, array: Any) -> np.ndarray:
    """Which shards are done. A mark that cannot be decoded counts as not done: recomputing is safe.

    If the file system refuses, a mark may be sound: that raises `ValueError`.
    """

    def read(which: Any) -> Any:
        with _reading(place, "done"):
            try:
                return array[which]
            except (OSError, MemoryError):
                raise
            except Exception:  # each codec has errors of its own
                return None

    marks = read(slice(None))
    return np.array([bool(read(i)) for i in range(array.size)]) if marks is None else marks


class StoreReader:
    """How the store at `place` was cut, and what is done; an equal `grid` saves parsing it."""

    def __init__(self, place: AbstractPlace, grid: Grid | None = None):
        self.place, self._identity = place, place.identity()
        self._current = place.current()
        self._root, self.attributes = open_root(self._current)
        try:
            text = self.attributes["grid"]
            if grid is None or text != grid_text(grid):
                grid = Grid.from_dict(json.loads(text))
            self.grid = grid
            self.shard_length = int(self.attributes["slots"])
            self._summary = json.loads(self.attributes["plan"])
            self._buckets = self._summary["buckets"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            why = f": {error}"
            if "`import " not in why:
                why = f" ({str(error).rstrip('.')}): it was damaged, or is of another version."
            raise ValueError(f"`store` {place} has no readable grid{why}") from None
        self._arrays: dict[str, Any] = {}
        self.states = self._current.states
        self.run_id, self.done = self._values("run_id"), read_marks(place, self._array("done"))
        self._check_same()
        n_marks, rest = divmod(self.run_id.size, self.shard_length)
        if rest or (self.done.size, self._array("done").chunks) != (n_marks, (1,)):
            raise ValueError(f"`store` {place} does not mark its runs in 'done'; it was damaged.")
        rows = np.flatnonzero(self.run_id >= 0)
        if not np.array_equal(np.sort(self.run_id[rows]), np.arange(self.grid.n_runs)):
            raise ValueError(f"`store` {place} does not name its runs in 'run_id'; it was damaged.")
        self._row_of = rows[np.argsort(self.run_id[rows])]

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = open_array(self.place, self._root, name)
        return self._arrays[name]

    def _values(self, name: str) -> np.ndarray:
        array = self._array(name)
        with _reading(self.place, name):
            if array.nbytes > LOADED_SHARE * host_memory():
                raise ValueError(f"its header says that it has {array.nbytes:.2g} bytes")
            return np.asarray(array[:])

    def layout(self, plan: Plan) -> Layout:
        """How the results of a plan of this store lie in it.

        If its systems make something else than the store holds, for a class of the user's changed
        since, that raises `ValueError`.
        """
        layout = Layout.of(plan, self.shard_length)
        for name in layout.observables:
            array, dtype = self._array(name), np.dtype(layout.dtypes[name])
            shape = layout.shape(name)
            stored = (array.shape, array.chunks, array.dtype)
            expected = ((layout.n_rows, *shape), (self.shard_length, *shape), dtype)
            if stored != expected:
                raise self._changed(name, f"is {stored}, not {expected}")
        for name, values in layout.coordinates.items():
            if not np.array_equal(self._values(name), values):
                raise self._changed(name, "has other values")
        return layout

    def _changed(self, name: str, how: str) -> ValueError:
        return ValueError(
            f"`store` {self.place} holds something else than its system makes here: {name!r} "
            f"{how}; it was damaged, or its class was changed."
        )

    def check_precision(self, options: Options) -> None:
        """Raise `ValueError` for a plan of another `matmul_precision`: results are not mixed."""
        made_with = self._summary["matmul_precision"]
        if made_with != options.matmul_precision:
            raise ValueError(
                f"`store` {self.place} was made with matmul_precision {made_with!r}, got "
                f"{options.matmul_precision!r}: plan with the first, choose another store, or "
                "read this one with js.open_store."
            )

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is done."""
        return bool(np.all(self.done))

    @property
    def cuts(self) -> list[tuple[np.ndarray, int, int, bool]]:
        """Runs, runs per chunk and per group of every bucket, and whether it has stretches."""
        cuts, first = [], 0
        for bucket in self._buckets:
            chunk = bucket["runs_per_chunk"]
            last = first + bucket["chunks"] * -(-chunk // self.shard_length) * self.shard_length
            ids = self.run_id[first:last]
            stretched = bucket.get("stretched", False)
            cuts.append((ids[ids >= 0], chunk, bucket["runs_per_group"], stretched))
            first = last
        return cuts

    def plan(self, options: Options) -> Plan:
        """The stored plan on the devices of this process."""
        return continued(self.grid, self.cuts, options)

    def read(self, name: str, first: int, last: int) -> np.ndarray:
        """Values of some rows of a variable.

        If a finished chunk is missing or cannot be decoded, a `ValueError` says how to have it
        computed anew, or that the store was replaced.
        """
        try:
            return self._read(name, first, last)
        except ValueError:
            self._check_same()  # an extension may have taken the chunks away
            raise

    def _read(self, name: str, first: int, last: int) -> np.ndarray:
        array = self._array(name)
        chunks = range(first // self.shard_length, last // self.shard_length)
        for i in self._current.missing(name, array.ndim, [i for i in chunks if self.done[i]]):
            file = self._current.chunk_name(name, array.ndim, i)
            raise ValueError(f"`store` {self.place} lacks {file}; {self._advice(i)}.")
        if len(chunks) > 1:
            with contextlib.suppress(Exception):  # of one of them: reading each tells which
                return np.asarray(array[first:last])
            spans = [(i * self.shard_length, (i + 1) * self.shard_length) for i in chunks]
            return np.concatenate([self._read(name, *span) for span in spans])
        with _reading(self.place, name, self._advice(chunks[0])):
            return np.asarray(array[first:last])

    def _advice(self, chunk: int) -> str:
        mark = self._current.chunk_name("done", 1, chunk)
        return f"it was damaged; delete {mark} to have what it marks computed anew"

    def of_runs(self, name: str, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Finished values of some runs: positions in `ids`, and their values, a part at a time."""
        self._check_same()
        row = self._row_of[ids]
        order = np.argsort(row, kind="stable")
        ordered = row[order]
        marks = np.unique(ordered // self.shard_length)
        for first, last in self._spans(name, marks[self.done[marks]]):
            inside = order[np.searchsorted(ordered, first) : np.searchsorted(ordered, last)]
            yield inside, self.read(name, first, last)[row[inside] - first]
        self._check_same()

    def _begun(self, layout: Layout) -> list[Where]:
        """Unfinished chunks with a state."""
        begun = [] if self.is_complete else self.states.among(layout.rows)
        return [where for where in begun if not np.all(self.done[layout.shards(*where)])]

    def under_way(self, layout: Layout) -> dict[Where, State]:
        """How far unfinished chunks are whose runs are trained in stretches; without leaves."""
        states = {}
        for where in self._begun(layout):
            with contextlib.suppress(ValueError):  # a damaged one, which the next run refuses
                states[where] = self.states.look(*where)
        return {where: state for where, state in states.items() if state is not None}

    def _of_begun_runs(
        self, layout: Layout, states: dict[Where, State], name: str, ids: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values as `of_runs` yields them, then what runs under way have recorded so far."""
        yield from self.of_runs(name, ids)
        for (bucket, chunk), state in states.items():
            own, system = layout.buckets[bucket].ids_of(chunk), layout.buckets[bucket].padded_system
            values = state.values(system)
            if name in values:  # all but the status
                inside = np.flatnonzero(np.isin(ids, own))
                order = np.argsort(own)
                rows = order[np.searchsorted(own, ids[inside], sorter=order)]
                yield inside, layout.place(name, values[name], layout.positions[bucket])[rows]

    def _check_same(self) -> None:
        """Refuse a store that was replaced: an extension moves runs to other rows."""
        identity = self.place.identity()
        if identity != self._identity:
            became = "was replaced since it was opened" if identity else "is no longer there"
            raise ValueError(f"`store` {self.place} {became}; open it again.")

    def _spans(self, name: str, marks: np.ndarray) -> Iterator[tuple[int, int]]:
        """First and last row of neighbouring shards, as many as are read at once."""
        array = self._array(name)
        size = self.shard_length * math.prod(array.shape[1:]) * array.dtype.itemsize
        most = max(1, READ_AT_ONCE // max(size, 1))
        for near in np.split(marks, np.flatnonzero(np.diff(marks) > 1) + 1):
            for begin in range(0, len(near), most):
                part = near[begin : begin + most]
                yield int(part[0]) * self.shard_length, (int(part[-1]) + 1) * self.shard_length

    def check(self, layout: Layout) -> None:
        """Read every finished chunk once, and states of others; `ValueError` for a damaged one."""
        for name in layout.observables:
            for first, last in self._spans(name, np.flatnonzero(self.done)):
                self.read(name, first, last)
        for where in self._begun(layout):
            self.states.read(*where)

    def dataset(
        self, layout: Layout | None = None, most_bytes: float | None = None
    ) -> "xarray.Dataset":
        """Everything that is done, on the grid's axes; `complete` follows from what is.

        Results of more than `most_bytes` stay on disk and are read when they are used; None is a
        quarter of the memory.
        """
        from jaxscale.sweep._variable import lazy_values

        layout = self.layout(self.plan(Options())) if layout is None else layout
        attributes = {k: v for k, v in self.attributes.items() if k not in NOT_SHOWN}
        attributes["complete"] = int(self.is_complete)
        read = functools.partial(self._of_begun_runs, layout, self.under_way(layout))
        values = {name: lazy_values(read, layout, name) for name in layout.observables}
        runs = layout.dataset(values, attributes)
        most = LOADED_SHARE * host_memory() if most_bytes is None else most_bytes
        return runs.load() if layout.result_bytes <= most else runs
