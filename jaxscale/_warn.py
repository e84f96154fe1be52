"""Warnings that show the user's own line, however deep inside of this package they arise."""

import sys
import warnings

INNER = ("jaxscale", "equinox", "dataclasses", "jaxtyping", "beartype")


def warn_user(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn the caller of this package.

    Python shows warnings where they blame the user's own code, so frames of this package, of
    Equinox and of `dataclasses.replace` are passed over.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inner(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _is_inner(module: str) -> bool:
    return module.partition(".")[0] in INNER
