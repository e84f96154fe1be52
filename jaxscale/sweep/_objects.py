"""Stores in buckets: S3 and what speaks its protocol, Google Cloud Storage, or memory.

An object is replaced at once, and cannot be renamed. The objects of a store therefore lie in a
*generation* of it, a Zarr group whose name is used once; the *root*, a Zarr group without arrays of
its own, names the current one. To replace a store is to write another generation, and then to swap
the root. The root also names the session that may do so: whoever takes over the lock writes it
anew, and a predecessor that wakes up in the middle of its work fails to swap it.
"""

import contextlib
import dataclasses
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxscale.sweep._object_files import Changed, NoBucket, Objects, ObjectStates
from jaxscale.sweep._object_lock import Lease
from jaxscale.sweep._place import AbstractPlace

SCHEMES = ("s3", "gs", "memory")
CURRENT, WRITER = "jaxscale_generation", "jaxscale_writer"  # attributes of the root
ROOT = "jaxscale_root"  # attribute of a generation: the prefix that it belongs to
GENERATION = re.compile(r"runs-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True)
class Root:
    """The root of a store: its version, the generation and the writer that it names, if any."""

    version: dict[str, str]
    generation: str | None = None
    writer: str | None = None
    is_copied: bool = False  # with arrays of its own, as in a folder


@dataclasses.dataclass(frozen=True)
class ObjectPlace(AbstractPlace):
    """Objects whose keys begin with `prefix`; with a `generation`, that of the store alone."""

    objects: Objects
    bucket: str  # as a URL
    prefix: str
    lease: Lease
    generation: str | None = None

    @classmethod
    def of(cls, objects: Objects, bucket: str, prefix: str) -> "ObjectPlace":
        """The place of a store in a bucket."""
        folder, _, name = prefix.rpartition("/")
        key = f"{folder}/.{name}.lock".lstrip("/")
        return cls(objects, bucket, prefix, Lease(objects, key, f"{bucket}/{prefix}"))

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}"

    @property
    def _base(self) -> str:
        return self.prefix if self.generation is None else f"{self.prefix}/{self.generation}"

    @property
    def _header(self) -> str:
        return f"{self._base}/zarr.json"

    @property
    def states(self) -> ObjectStates:
        return ObjectStates(self.objects, self._base, self.bucket)

    def current(self) -> "ObjectPlace":
        """The current generation; the place itself if it is one, or if the root names none."""
        if self.generation is not None:
            return self
        with self._reached():
            root = self._root()
        return dataclasses.replace(self, generation=root and root.generation)

    def identity(self) -> Any:
        """The generation, or the version of a root that names none."""
        with self._reached():
            root = self._root()
        return root and (root.generation or str(root.version))

    def _root(self) -> Root | None:
        try:
            data, version = self.objects.read(f"{self.prefix}/zarr.json")
        except FileNotFoundError:
            return None
        try:
            attributes = json.loads(data)["attributes"]
            named = attributes.get(CURRENT), attributes.get(WRITER)
            return Root(version, *named, is_copied="jaxscale_format" in attributes)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Root(version)

    def _swap_root(self, generation: str, root: Root | None) -> None:
        attributes = {CURRENT: generation, WRITER: self.lease.token}
        header = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        data = json.dumps(header, indent=2).encode()
        try:
            self.objects.swap(f"{self.prefix}/zarr.json", data, root and root.version)
        except Changed:
            self.lease.check()
            raise ValueError(
                f"`store` {self} was replaced by another process meanwhile; give the same call "
                "again."
            ) from None

    def open_group(self, mode: Any, **header: Any) -> Any:
        import zarr

        from jaxscale.sweep._zarr_objects import ZarrObjects

        store = ZarrObjects(self.objects.bucket, self._base, read_only=mode == "r")
        if "attributes" in header:
            header["attributes"] = {**header["attributes"], ROOT: self.prefix}
        return zarr.open_group(store, mode=mode, zarr_format=3, **header)

    def has_header(self) -> bool:
        with self._reached():
            return self.objects.has(self._header)

    def read_header(self) -> bytes:
        return self.objects.read(self._header)[0]

    def write_header(self, text: str) -> None:
        self.objects.write(self._header, text.encode())

    def chunk_name(self, name: str, n_axes: int, chunk: int) -> str:
        parts = [self.bucket, self._base, name, "c", str(chunk), *["0"] * (n_axes - 1)]
        return "/".join(parts)

    def missing(self, name: str, n_axes: int, chunks: Iterable[int]) -> Iterable[int]:
        return ()  # `ZarrObjects` raises an error, which costs no request

    def flush(self, n_axes: Mapping[str, int], chunks: Sequence[int]) -> None:
        """Nothing: an answer to a request says that its object is safe."""

    def remove_unfinished(self) -> None:
        """Nothing: an object is there when all of it is."""

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Raise what goes wrong on the way as a `ValueError`."""
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"`store` {self} cannot be reached ({error}); {_way_out(error)}."
            ) from None

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        with self._reached():
            self.lease.check()
            yield

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with self._reached():
                stack.enter_context(self.lease.held())
            yield

    def is_locked(self) -> bool:
        with self._reached():
            return self.lease.is_held()

    def recover(self) -> None:
        """Claim the root for this session, and delete what others had begun."""
        with self.errors():
            root = self._root()
            current = root and root.generation
            if root is not None and current is None:
                if root.is_copied:
                    raise ValueError(
                        f"`store` {self} was copied there from a folder and can be read; to write "
                        "it, copy it into a folder, or choose another store."
                    )
                return
            if current is not None:
                self._swap_root(current, root)
            for name in self.objects.inside(self.prefix) - {current}:
                if self._is_own(name):
                    dataclasses.replace(self, generation=name)._delete()

    def is_free(self) -> bool:
        """Whether there is no root, and nothing else below the prefix."""
        with self.errors():
            root = self._root()
            if root is not None:
                return False
            return all(self._is_own(name) for name in self.objects.inside(self.prefix))

    def _is_own(self, name: str) -> bool:
        """Whether what lies below the prefix is a generation of this store, and nobody else's."""
        if not GENERATION.fullmatch(name):
            return False
        try:
            data, _ = self.objects.read(f"{self.prefix}/{name}/zarr.json")
            return json.loads(data)["attributes"].get(ROOT) == self.prefix
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return False

    @contextlib.contextmanager
    def replacing(self) -> Iterator["ObjectPlace"]:
        with self.errors():
            root = self._root()
            if root is not None and root.writer != self.lease.token:
                raise ValueError(f"`store` {self} is written by another process now.")
            new = dataclasses.replace(self, generation=f"runs-{uuid.uuid4().hex[:12]}")
            try:
                yield new
                self.lease.check()
                self._swap_root(str(new.generation), root)
            except BaseException:
                with contextlib.suppress(OSError):
                    new._delete_unless_current()
                raise
            if root is not None:
                with contextlib.suppress(OSError):  # the next session does
                    dataclasses.replace(self, generation=root.generation)._delete()

    def _delete(self) -> None:
        """Delete the objects of a generation, its header last: it says whose they are."""
        assert self.generation is not None
        self.objects.remove([key for key in self.objects.keys(self._base) if key != self._header])
        self.objects.remove([self._header])

    def _delete_unless_current(self) -> None:
        root = self._root()  # Ctrl-C may have come when it was swapped already
        if root is None or root.generation != self.generation:
            self._delete()


def _way_out(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            "check the credentials (in the environment, such as AWS_ACCESS_KEY_ID, or the role of "
            "the machine), and that they may read, write, list and delete there"
        )
    if isinstance(error, NoBucket):
        return "make the bucket first, or choose another store"
    return "what was finished is kept, and the same call continues it"
