"""Systems, grids and selections as the Python that makes them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale._registry import written_name
from jaxscale.fields import Configurable, field_names


def python_of(value: Any) -> str:
    """Return the expression that makes a number, a part or a system, `import jaxscale as js` given.

    Fields with their default values are left out.
    """
    if isinstance(value, Configurable):
        given = (f"{n}={python_of(getattr(value, n))}" for n in _not_default(value))
        return f"{_class_name(type(value))}({', '.join(given)})"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return python_of(value.item())
    if isinstance(value, np.ndarray):
        return f"np.asarray({value.tolist()!r})"
    if isinstance(value, np.generic):
        return python_of(value.item())
    if isinstance(value, list | tuple):
        inner = ", ".join(map(python_of, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if value else "()"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def imports_of(*values: Any) -> list[str]:
    """Lines that import what `python_of` of these values needs."""
    modules = dict.fromkeys(module for value in values for module in _modules(value))
    text = " ".join(map(python_of, values))
    numpy = ["import numpy as np"] if "np.asarray(" in text else []
    return [*numpy, "import jaxscale as js", *(f"import {module}" for module in modules)]


def axes_python(axes: Mapping[str, Any]) -> str:
    """Axes of a grid as a dictionary."""
    items = (f"{path!r}: {python_of(list(values))}" for path, values in axes.items())
    return f"{{{', '.join(items)}}}"


def _not_default(module: Configurable) -> list[str]:
    names = field_names(module)
    bare: dict[str, Any] = {}
    for field in module.__dataclass_fields__.values():
        if field.name in names:
            factory = field.default_factory
            made = factory() if callable(factory) else field.default
            bare[field.name] = made
    return [n for n in names if not _same(getattr(module, n), bare[n])]


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, Configurable) or isinstance(default, Configurable):
        return type(value) is type(default) and python_of(value) == python_of(default)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return isinstance(default, int | float) and value.item() == default
    return type(value) is type(default) and bool(np.all(value == default))


def _class_name(cls: type) -> str:
    name = written_name(cls)
    module, colon, inner = name.partition(":")
    return f"{module}.{inner}" if colon else f"js.{name}"


def _modules(value: Any) -> list[str]:
    if not isinstance(value, Configurable):
        return []
    own, colon, _ = written_name(type(value)).partition(":")
    inner = [m for n in field_names(value) for m in _modules(getattr(value, n))]
    return [*([own] if colon else []), *inner]
