"""Names of the release before: they work for one release more, and warn in the user's own line."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxscale._convert import as_int
from jaxscale._warn import warn_user

C = TypeVar("C", bound=type)


def warn_deprecated(old: str, new: str) -> None:
    """Warn the caller that `old` is the name of `new` for one release more."""
    warn_user(f"`{old}` is deprecated, use `{new}`.", DeprecationWarning)


def deprecated_property(old: str, new: str) -> property:
    """Let the attribute `new` of a class be read by its old name."""

    def read(self: Any) -> Any:
        warn_deprecated(old, new)
        return getattr(self, new)

    return property(read, doc=f"Deprecated: `{new}`.")


def deprecated_lengths(**lengths: str) -> Callable[[C], C]:
    """Let a class of systems take and show padded lengths by old names: `max_width="width"`.

    So do the classes derived from it; `js.replace`, axes and sweep files accept these names, too.
    """

    def reader(old: str) -> property:
        def read(self: Any) -> int:
            warn_deprecated(old, f"padded({lengths[old]!r})")
            return self.padded(lengths[old])

        return property(read, doc=f"Deprecated: `padded({lengths[old]!r})`.")

    def decorate(cls: C) -> C:
        for name, member in {"OLD_LENGTHS": lengths, **{n: reader(n) for n in lengths}}.items():
            setattr(cls, name, member)
        return cls

    return decorate


def old_lengths(cls: type) -> Mapping[str, str]:
    """Return the table of `deprecated_lengths`, empty for a class without one."""
    return getattr(cls, "OLD_LENGTHS", {})


def current_fields(cls: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of a constructor by the names of today."""
    for old, new in old_lengths(cls).items():
        longest = fields.pop(old, None)
        if longest is not None:
            warn_deprecated(old, f"system.padded_for({{{new!r}: values}})")
            fields["lengths"] = (*fields.get("lengths", ()), (new, as_int(old, longest)))
    return fields
