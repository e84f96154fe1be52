"""Which place a user means by the `store` that is given: a folder, or objects of a bucket."""

import re
from pathlib import Path

from jaxscale._files import require_file, require_new_folder
from jaxscale.sweep._local import LocalPlace
from jaxscale.sweep._object_files import bucket_of
from jaxscale.sweep._objects import SCHEMES, ObjectPlace
from jaxscale.sweep._place import AbstractPlace
from jaxscale.sweep._store import is_vacant, sibling_path

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_remote(store: str | Path) -> bool:
    """Whether a store is meant that lies in no folder."""
    return SCHEME.match(str(store)) is not None


def place_of(store: str | Path) -> AbstractPlace:
    """The place of a store, whether there is one or not; `ValueError` if it cannot be a place."""
    if match := SCHEME.match(str(store)):
        return _objects(str(store), match[1])
    if isinstance(store, Path) and (match := re.match(rf"({'|'.join(SCHEMES)}):/", str(store))):
        raise ValueError(f"`store` {store} must be given as text: a Path loses one slash of it.")
    return LocalPlace(_path(store))


def require_place(store: str | Path) -> None:
    """Raise `ValueError` where a store is new and cannot be made."""
    place = place_of(store)
    if isinstance(place, LocalPlace) and not place.path.exists():
        require_new_folder("store", place.path)


def existing_place(store: str | Path) -> AbstractPlace:
    """The place of a store, or of a folder of stores; `ValueError` if there is nothing."""
    place = place_of(store)
    if not isinstance(place, LocalPlace):
        if place.identity() is None:
            raise ValueError(f"`store` {place} does not exist.")
        return place
    path, previous = place.path, sibling_path(place.path, "previous")
    # between two renamings of an extension that was killed, the old store is the store
    path = previous if previous.exists() and is_vacant(path) else path
    require_file("store", path, folder=True)
    return LocalPlace(path)


def existing_places(store: str | Path) -> list[AbstractPlace]:
    """The place of a store, or those of all stores in a folder."""
    place = existing_place(store)
    if not isinstance(place, LocalPlace):
        return [place]
    stores = sorted(run_id.parent for run_id in place.path.glob("[!.]*/run_id"))
    return [LocalPlace(path) for path in stores] or [place]


def _path(store: str | Path) -> Path:
    """Absolute path of a store: links are resolved, `~` is the home folder."""
    if not str(store):
        raise ValueError(f"`store` must be the path of a folder, got {store!r}.")
    try:
        return Path(store).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"`store` {store!r} is not a path ({error}).") from None


def _objects(store: str, scheme: str) -> ObjectPlace:
    """Objects whose names begin with what follows the bucket."""
    if scheme not in SCHEMES:
        raise ValueError(
            f"`store` must be the path of a folder, or begin with one of "
            f"{', '.join(f'{s}://' for s in SCHEMES)}, got {store!r}."
        )
    rest, has_buckets = store.partition("://")[2].rstrip("/"), scheme != "memory"
    bucket, _, prefix = rest.partition("/") if has_buckets else ("", "", rest)
    if {"", ".", ".."} & set(prefix.split("/")) or bool(bucket) != has_buckets:
        example = f"{scheme}://{'BUCKET/' if has_buckets else ''}NAME"
        raise ValueError(f"`store` must be like {example}, got {store!r}.")
    url = f"{scheme}://{bucket}" if has_buckets else f"{scheme}:/"
    return ObjectPlace.of(bucket_of(scheme, bucket), url, prefix)
