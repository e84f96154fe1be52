"""Warnings that show the user's own line, however deep inside of this package they arise."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

INNER = ("jaxscale", "equinox", "dataclasses", "jaxtyping", "beartype")
COLLECTED: ContextVar[list[str] | None] = ContextVar("COLLECTED", default=None)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect in a list what this package warns of in the block.

    `warnings.catch_warnings` would change filters that all threads share.
    """
    texts: list[str] = []
    token = COLLECTED.set(texts)
    try:
        yield texts
    finally:
        COLLECTED.reset(token)


def warn_user(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn the caller of this package.

    Python shows warnings where they blame the user's own code, so frames of this package, of
    Equinox and of `dataclasses.replace` are passed over.
    """
    if (texts := COLLECTED.get()) is not None:
        return texts.append(text)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inner(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _is_inner(module: str) -> bool:
    return module.partition(".")[0] in INNER
