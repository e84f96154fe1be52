"""Names of the release before: they work for one release more, and warn in the user's own line."""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxscale.fields import as_int

C = TypeVar("C", bound=type)
INNER = ("jaxscale", "equinox", "dataclasses", "jaxtyping", "beartype")


def warn_deprecated(old: str, new: str) -> None:
    """Warn the caller that `old` is the name of `new` for one release more.

    Python shows such warnings where they blame the user's own code, so frames of this package, of
    Equinox and of `dataclasses.replace` are passed over.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inner(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"`{old}` is deprecated, use `{new}`.", DeprecationWarning, stacklevel=level)


def _is_inner(module: str) -> bool:
    return module.partition(".")[0] in INNER


def deprecated_lengths(**lengths: str) -> Callable[[C], C]:
    """Let a class of systems take and show padded lengths by old names: `max_width="width"`.

    `js.replace` and sweep files also accept these names.
    """

    def decorate(cls: C) -> C:
        init: Any = cls.__init__

        @functools.wraps(init)
        def build(self: Any, *args: Any, **fields: Any) -> None:
            for old in lengths.keys() & fields.keys():
                longest = fields.pop(old)
                if longest is not None:
                    warn_deprecated(old, f"system.padded_for({{{lengths[old]!r}: values}})")
                    before = fields.get("lengths", ())
                    fields["lengths"] = (*before, (lengths[old], as_int(old, longest)))
            init(self, *args, **fields)

        def reader(old: str) -> property:
            def read(self: Any) -> int:
                warn_deprecated(old, f"padded({lengths[old]!r})")
                return self.padded(lengths[old])

            return property(read, doc=f"Deprecated: `padded({lengths[old]!r})`.")

        members = {"__init__": build, "OLD_LENGTHS": lengths, **{n: reader(n) for n in lengths}}
        for name, member in members.items():
            setattr(cls, name, member)
        return cls

    return decorate


def old_lengths(cls: type) -> Mapping[str, str]:
    """Return the table of `deprecated_lengths`, empty for a class that it does not decorate."""
    return vars(cls).get("OLD_LENGTHS", {})
