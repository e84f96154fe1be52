"""Objects as Zarr reads and writes them. `_objects` imports this file when it opens a group."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from zarr.storage import ObjectStore

from jaxscale.sweep._object_files import attempts, os_errors

Result = TypeVar("Result")


async def _attempted(call: Callable[[], Awaitable[Result]]) -> Result:
    """What a call returns, which is repeated after errors that may pass."""
    for attempt in attempts():
        with attempt, os_errors():
            return await call()
        await asyncio.sleep(attempt.pause)
    raise AssertionError  # there is always another one


async def _listed(names: Callable[[str], AsyncGenerator[str, None]], prefix: str) -> list[str]:
    """All names below a prefix."""

    async def listed() -> list[str]:
        return [name async for name in names(prefix)]

    return await _attempted(listed)


class ZarrObjects(ObjectStore):
    """Zarr's store of objects, for those below a prefix: Zarr would write headers above it, too.

    Its errors are those of a file system. A chunk that is not there is an error and no fill value,
    unless it is a mark: only what was finished is read.
    """

    def __init__(self, bucket: Any, prefix: str, *, read_only: bool):
        super().__init__(bucket, read_only=read_only)
        self.prefix = prefix

    def with_read_only(self, read_only: bool = False) -> "ZarrObjects":
        return ZarrObjects(self.store, self.prefix, read_only=read_only)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.prefix == getattr(other, "prefix", None)

    def __str__(self) -> str:
        return f"{super().__str__()}/{self.prefix}"

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        own = super()
        value = await _attempted(lambda: own.get(f"{self.prefix}/{key}", prototype, byte_range))
        if value is None and "/c/" in key and not key.startswith("done/"):
            raise LookupError(f"{self.prefix}/{key} is not there")
        return value

    async def set(self, key: str, value: Any) -> None:
        own = super()
        await _attempted(lambda: own.set(f"{self.prefix}/{key}", value))

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        own = super()
        await _attempted(lambda: own.set_if_not_exists(f"{self.prefix}/{key}", value))

    async def exists(self, key: str) -> bool:
        own = super()
        return await _attempted(lambda: own.exists(f"{self.prefix}/{key}"))

    async def delete(self, key: str) -> None:
        own = super()
        await _attempted(lambda: own.delete(f"{self.prefix}/{key}"))

    async def getsize(self, key: str) -> int:
        own = super()
        return await _attempted(lambda: own.getsize(f"{self.prefix}/{key}"))

    async def getsize_prefix(self, prefix: str) -> int:
        own = super()
        return await _attempted(lambda: own.getsize_prefix(f"{self.prefix}/{prefix}"))

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str, None]:
        for key in await _listed(super().list_prefix, f"{self.prefix}/{prefix}"):
            yield key.removeprefix(f"{self.prefix}/")

    def list(self) -> AsyncGenerator[str, None]:
        return self.list_prefix("")

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        for name in await _listed(super().list_dir, f"{self.prefix}/{prefix}".rstrip("/")):
            yield name

    async def delete_dir(self, prefix: str) -> None:
        async for key in self.list_prefix(prefix):
            await self.delete(key)
