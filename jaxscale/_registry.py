"""Classes by the name under which sweep files and stores write them.

Every subclass of `Configurable` registers itself when it is defined, ours and the user's alike.
"""

import dataclasses
import inspect
import sys
from typing import Any

_CLASSES: dict[str, Any] = {}


def written_name(cls: type) -> str:
    """Name of a class in files: `Sgd`, `emergence.FiniteSet` in a folder, else `module:Class`."""
    package, *names = cls.__module__.split(".")
    if package != "jaxscale":
        return f"{cls.__module__}:{cls.__qualname__}"
    return ".".join([*names[:-1][:1], cls.__qualname__])


def register(cls: type) -> None:
    """Make a class available under its name; a class that is defined again replaces the old."""
    _CLASSES[written_name(cls)] = cls


def class_named(name: str) -> type | None:
    """Class of a written name, or None; imports nothing.

    The classes of a module count as long as the module is imported. `module:Class` may also name
    what the module re-exports.
    """
    cls = _CLASSES.get(name)
    if cls is not None and cls.__module__ in sys.modules:
        return cls
    module, colon, attribute = name.partition(":")
    exported = getattr(sys.modules.get(module), attribute, None) if colon else None
    return exported if isinstance(exported, type) else None


def is_plain(cls: type) -> bool:
    """Whether a class of modules is built from its fields, so that a file can say how."""
    fields = [f.name for f in dataclasses.fields(cls) if f.init]
    return list(inspect.signature(cls).parameters) == fields


def class_names(module: str) -> list[str]:
    """Names of the classes of an imported module."""
    names = (name.partition(":") for name in _CLASSES)
    return [cls for place, _, cls in names if place == module]


def shipped_classes() -> dict[str, type]:
    """Concrete classes of jaxscale that users make, by name, in alphabetical order."""
    return {
        name: cls
        for name, cls in sorted(_CLASSES.items())
        if ":" not in name and not (cls.__name__.startswith("Abstract") or cls.DERIVED)
    }
