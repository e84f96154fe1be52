"""Systems, grids and selections as the Python that makes them."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from jaxscale._optimizers import Optax
from jaxscale._registry import written_name
from jaxscale.fields import field_names

LOCAL = "<locals>"  # in names of classes that are defined in functions


def python_of(value: Any) -> str:
    """Return the expression that makes a number, a part or a system, `import jaxscale as js` given.

    Fields with their default values are left out.
    """
    if isinstance(value, eqx.Module):
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
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {python_of(v)}' for k, v in value.items())}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def imports_of(*values: Any) -> list[str]:
    """Lines that import what `python_of` of these values needs."""
    modules = dict.fromkeys(module for value in values for module in _modules(value))
    text = " ".join(map(python_of, values))
    numpy = ["import numpy as np"] if "np.asarray(" in text else []
    local = dict.fromkeys(name for value in values for name in local_names(value))
    return [
        *numpy,
        "import jaxscale as js",
        *(f"import {module}" for module in modules),
        *(f"# {name} is defined in a function: define it here, by this name" for name in local),
    ]


def local_names(value: Any) -> dict[str, type]:
    """Classes that no other file can import, by the name that `python_of` gives them."""
    classes = map(type, _parts(value))
    return {cls.__name__: cls for cls in classes if LOCAL in cls.__qualname__}


def axes_python(axes: Mapping[str, Any]) -> str:
    """Axes of a grid as a dictionary."""
    items = (f"{path!r}: {python_of(list(values))}" for path, values in axes.items())
    return f"{{{', '.join(items)}}}"


def _not_default(module: eqx.Module) -> list[str]:
    names = field_names(module)
    bare: dict[str, Any] = {}
    for field in module.__dataclass_fields__.values():
        if field.name in names:
            factory = field.default_factory
            made = factory() if callable(factory) else field.default
            bare[field.name] = made
    return [n for n in names if not _same(getattr(module, n), bare[n])]


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, eqx.Module) or isinstance(default, eqx.Module):
        return type(value) is type(default) and python_of(value) == python_of(default)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return isinstance(default, int | float) and value.item() == default
    return type(value) is type(default) and bool(np.all(value == default))


def _class_name(cls: type) -> str:
    if LOCAL in cls.__qualname__:
        return cls.__name__
    name = written_name(cls)
    module, colon, inner = name.partition(":")
    return f"{module}.{inner}" if colon else f"js.{name}"


def _modules(value: Any) -> list[str]:
    parts = _parts(value)
    names = [written_name(type(part)) for part in parts if LOCAL not in type(part).__qualname__]
    names += [part.factory for part in parts if isinstance(part, Optax)]
    return [name.partition(":")[0] for name in names if ":" in name]


def _parts(value: Any) -> list[eqx.Module]:
    """A module and those that its fields hold."""
    if isinstance(value, list | tuple):
        return [part for item in value for part in _parts(item)]
    if not isinstance(value, eqx.Module):
        return []
    inner = [part for name in field_names(value) for part in _parts(getattr(value, name))]
    return [value, *inner]
