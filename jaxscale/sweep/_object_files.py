"""Objects of a bucket, through obstore: read, written, compared and swapped, listed.

obstore repeats what a server refuses for a while (503, 429) or what a cut connection lost, with
growing pauses. What it gives up is raised as an `OSError`, as by a file system.
"""

import contextlib
import datetime
import functools
import io
import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jaxscale.sweep._states import FOLDER, AbstractStates, save
from jaxscale.sweep._stretches import State

PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a request is repeated, doubled each time
PATIENCE = 60.0  # seconds for which a request is repeated
RETRIES: Any = {  # by obstore, of the errors that it takes for passing
    "max_retries": 100,
    "backoff": {"base": 3, "max_backoff": datetime.timedelta(seconds=LONGEST_PAUSE)},
    "retry_timeout": datetime.timedelta(seconds=PATIENCE / 2),
}
SHOWN = 200  # characters of a server's message
Result = TypeVar("Result")


class NoBucket(OSError):
    """A bucket does not exist."""


class Changed(Exception):
    """An object is not what it was when it was read."""


@contextlib.contextmanager
def os_errors() -> Iterator[None]:
    """Raise errors of obstore as those of a file system, in a line."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise NoBucket("there is no such bucket") from None
        raise
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(_in_a_line(error)) from None
    except exceptions.BaseError as error:
        if "169.254.169.254" in str(error):  # where machines in a cloud ask for their role
            raise PermissionError("there are no credentials") from None
        raise OSError(_in_a_line(error)) from None


def _in_a_line(error: Exception) -> str:
    """What the server said, or what went wrong on the way to it."""
    text = str(error).partition("\n\nDebug source")[0]
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text) for tag in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    return " ".join(text.split())[:SHOWN]


class Attempt(contextlib.AbstractContextManager["Attempt"]):
    """A try of what may fail for a moment: such errors are swallowed until `end`."""

    def __init__(self, number: int, end: float):
        self.pause, self.end = min(PAUSE * 2**number, LONGEST_PAUSE), end

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        lasting = (PermissionError, FileNotFoundError, NoBucket)
        passing = isinstance(error, OSError) and not isinstance(error, lasting)
        return passing and time.monotonic() < self.end


def attempts() -> Iterator[Attempt]:
    """Tries of what obstore gives up or does not repeat, such as a body that is cut."""
    end = time.monotonic() + PATIENCE
    return (Attempt(number, end) for number in itertools.count())


class Objects:
    """Objects of a bucket, by their keys."""

    def __init__(self, bucket: Any):
        self.bucket = bucket

    def read(self, key: str) -> tuple[bytes, dict[str, str]]:
        """An object, and its version for `swap`; `FileNotFoundError` if there is none."""
        import obstore

        def read() -> tuple[bytes, dict[str, str]]:
            result = obstore.get(self.bucket, key)
            return bytes(result.bytes()), _version(result.meta)

        return _attempted(read)

    def seconds(self, key: str) -> float:
        """When an object was written, by the server's clock; `FileNotFoundError` without it."""
        import obstore

        head = _attempted(lambda: obstore.head(self.bucket, key))
        return head["last_modified"].timestamp()

    def has(self, key: str) -> bool:
        """Whether there is an object."""
        try:
            self.seconds(key)
        except FileNotFoundError:
            return False
        return True

    def write(self, key: str, data: Any) -> None:
        """Replace an object at once."""
        import obstore

        _attempted(lambda: obstore.put(self.bucket, key, data))

    def swap(self, key: str, data: bytes, version: dict[str, str] | None) -> dict[str, str]:
        """Replace the object of this version, or make it if that is None; return its new version.

        No other swap may write the same `data`. An answer that is lost leaves open whether the
        object was written: it is read then. Raises `Changed` if it has another version.
        """
        import obstore
        from obstore import exceptions

        mode: Any = "create" if version is None else version

        def put() -> dict[str, str] | None:
            try:
                return _version(obstore.put(self.bucket, key, data, mode=mode))
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return None

        if (new := _attempted(put)) is not None:
            return new
        with contextlib.suppress(FileNotFoundError):
            present, version = self.read(key)
            if present == data:  # an attempt of which the answer was lost
                return version
        raise Changed

    def remove(self, keys: list[str]) -> None:
        """Delete objects, if they are there."""
        import obstore

        with contextlib.suppress(FileNotFoundError):
            if keys:
                _attempted(lambda: obstore.delete(self.bucket, keys))

    def keys(self, prefix: str) -> list[str]:
        """Keys below a prefix; a server may list what it had a moment ago."""
        import obstore

        def listed() -> list[str]:
            return [o["path"] for part in obstore.list(self.bucket, f"{prefix}/") for o in part]

        return _attempted(listed)

    def inside(self, prefix: str) -> set[str]:
        """First parts of the keys below a prefix."""
        import obstore

        listed = _attempted(lambda: obstore.list_with_delimiter(self.bucket, f"{prefix}/"))
        paths = [*listed["common_prefixes"], *(o["path"] for o in listed["objects"])]
        return {path.rstrip("/").rpartition("/")[2] for path in paths}


def _attempted(call: Callable[[], Result]) -> Result:
    """What a call returns, which is repeated after errors that may pass."""
    for attempt in attempts():
        with attempt, os_errors():
            return call()
        time.sleep(attempt.pause)
    raise AssertionError  # there is always another one


def _version(meta: Any) -> dict[str, str]:
    """What tells an object from those that were there before it."""
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


class ObjectStates(AbstractStates):
    """Objects with the states of chunks in a store."""

    def __init__(self, objects: Objects, prefix: str, url: str):
        self.objects, self.folder, self.url = objects, f"{prefix}/{FOLDER}", url

    def _key(self, bucket: int, chunk: int) -> str:
        return f"{self.folder}/{bucket}-{chunk}.npz"

    def name(self, bucket: int, chunk: int) -> str:
        return f"{self.url}/{self._key(bucket, chunk)}"

    def names(self) -> list[str]:
        return [key.rpartition("/")[2] for key in self.objects.keys(self.folder)]

    def write(self, bucket: int, chunk: int, state: State) -> None:
        file = io.BytesIO()
        save(file, state)
        self.objects.write(self._key(bucket, chunk), file.getbuffer())

    def opened(self, bucket: int, chunk: int) -> io.BufferedIOBase:
        """The object as it is now: parts that are read one by one may be of several states."""
        return io.BytesIO(self.objects.read(self._key(bucket, chunk))[0])

    def remove(self, bucket: int, chunk: int) -> None:
        self.objects.remove([self._key(bucket, chunk)])


def bucket_of(scheme: str, name: str) -> Objects:
    """The objects of a bucket; what reaches it is in the environment, as obstore reads it."""
    try:
        from obstore.store import GCSStore, S3Store
    except ImportError:
        raise ValueError(
            f"`store` {scheme}://{name} needs obstore: pip install 'jaxscale[cloud]'."
        ) from None
    if scheme == "memory":
        return Objects(_memory())
    if scheme == "gs":
        return Objects(GCSStore(name, retry_config=RETRIES))
    options: Any = {"retry_config": RETRIES, "client_options": {"allow_http": True}}
    return Objects(S3Store(name, **options))  # http if the endpoint says so


@functools.cache
def _memory() -> Any:
    """Objects that live as long as this process."""
    from obstore.store import MemoryStore

    return MemoryStore()
