"""Where a store lies: what differs between a folder of a file system and a prefix of a bucket."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from jaxscale.sweep._states import AbstractStates


class AbstractPlace(abc.ABC):
    """The place of a store, whether there is one or not; `str` is its name in errors.

    A chunk of a variable is given by `name`, by the number of its axes (stores are cut along the
    first one only), and by its number along that axis.
    """

    @property
    @abc.abstractmethod
    def states(self) -> AbstractStates:
        """States of runs in the store."""

    @abc.abstractmethod
    def current(self) -> "AbstractPlace":
        """The place that stays with the store as it is now, when an extension replaces it."""

    @abc.abstractmethod
    def identity(self) -> Any:
        """What distinguishes the stores that follow one another here; None if there is none."""

    @abc.abstractmethod
    def open_group(self, mode: Any, **header: Any) -> Any:
        """The Zarr group of the store, as `zarr.open_group` opens it; of Zarr 3 alone."""

    @abc.abstractmethod
    def has_header(self) -> bool:
        """Whether there is a header, readable or not."""

    @abc.abstractmethod
    def read_header(self) -> bytes:
        """The header of the store's group, as Zarr wrote it."""

    @abc.abstractmethod
    def write_header(self, text: str) -> None:
        """Replace the header: readers and a power failure meet the old one or the new one."""

    @abc.abstractmethod
    def chunk_name(self, name: str, n_axes: int, chunk: int) -> str:
        """Where the user finds a chunk, and may delete it."""

    @abc.abstractmethod
    def missing(self, name: str, n_axes: int, chunks: Iterable[int]) -> Iterable[int]:
        """Those of the chunks that are not there, unless reading them raises an error anyway."""

    @abc.abstractmethod
    def flush(self, n_axes: Mapping[str, int], chunks: Sequence[int]) -> None:
        """Return when these chunks of all variables of `n_axes` survive a power failure."""

    @abc.abstractmethod
    def remove_unfinished(self) -> None:
        """Delete chunks and states that a writer that was killed had begun to write."""

    @abc.abstractmethod
    def errors(self) -> AbstractContextManager[None]:
        """Raise what goes wrong with writing as a `ValueError` that names the store."""

    @abc.abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Hold the right to write the store; `ValueError` naming the owner if it is taken."""

    @abc.abstractmethod
    def is_locked(self) -> bool:
        """Whether the store is being written at the moment."""

    @abc.abstractmethod
    def recover(self) -> None:
        """Undo what a writer that was killed had begun; only under the lock."""

    @abc.abstractmethod
    def is_free(self) -> bool:
        """Whether a store can be made here, for there is nothing."""

    @abc.abstractmethod
    def replacing(self) -> AbstractContextManager["AbstractPlace"]:
        """Yield another place; the store that is written there becomes this one's at the end.

        If the block raises, or its process is killed, the store stays what it was.
        """
