"""Fields by dotted path: read, replaced with validation, or set inside a program."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx

from jaxscale._arguments import hinted
from jaxscale._deprecated import old_lengths
from jaxscale._system import AbstractSystem
from jaxscale._text import choices, nested
from jaxscale.fields import field_names


def get(module: Any, path: str) -> Any:
    """Value of the field at dotted `path`.

    **Raises** `ValueError` naming the path, the module and the nearest field names.
    """
    if not isinstance(path, str):
        raise ValueError(f"`path` must be a dotted field name, got {path!r}.")
    value: Any = module
    for name in path.split("."):
        names = _names(value)
        if name not in names and name not in old_lengths(type(value)):
            owner = type(value).__name__
            raise ValueError(f"`{path}` is not a field of {owner}{choices(name, names)}")
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def is_static(module: Any, path: str) -> bool:
    """Whether the field at dotted `path` is static: its values need programs of their own."""
    head, _, name = path.rpartition(".")
    owner = get(module, head) if head else module
    if not dataclasses.is_dataclass(owner):
        return False
    static = [f.name for f in dataclasses.fields(owner) if f.metadata.get("static")]
    return name in (*static, *old_lengths(type(owner)))


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return list(value)
    return field_names(value) if isinstance(value, eqx.Module) else []


@hinted
def replace(module: Any, path: str, value: Any) -> Any:
    """Return `module` with the field at dotted `path` replaced.

    The module is rebuilt by its constructor, so that the value is converted and validated; a padded
    length that follows from the value (of `width`: `system.padded("width")`) is derived anew.

    **Arguments**

    - `module`: a system or one of its parts.
    - `path`: the field, such as `"learning_rate"` or `"data.n_samples"`.
    - `value`: a plain number, a traced scalar, or a module where the field holds one.

    **Returns** a new module of the same type.

    **Raises** `ValueError` for an unknown path or a value that its field refuses.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> float(js.replace(system, "learning_rate", 0.3).learning_rate)
    0.3
    >>> js.replace(system, "learning_rate", -1)
    Traceback (most recent call last):
        ...
    ValueError: `learning_rate` must be greater than 0, got -1.
    """
    get(module, path)  # refuses what is no path
    if path in old_lengths(type(module)):
        return dataclasses.replace(module, **{path: value})
    return replace_together(module, {path: value})


def replace_together(module: Any, values: Mapping[str, Any]) -> Any:
    """`replace` of several paths in one step, for values that are valid only together."""
    for inner, outer in nested(values):
        raise ValueError(f"`{inner}` must not lie inside of `{outer}`, which is replaced, too.")
    inside: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        get(module, path)
        head, _, rest = path.partition(".")
        inside.setdefault(head, {})[rest] = value
    changes = {
        head: own[""] if "" in own else replace_together(get(module, head), own)
        for head, own in inside.items()
    }
    if isinstance(module, dict):
        return {**module, **changes}
    kwargs = {name: getattr(module, name) for name in field_names(module)} | changes
    for head in changes:
        if f"max_{head}" in kwargs:  # of a class that declares it, which is deprecated
            kwargs[f"max_{head}"] = None
    changed = type(module)(**kwargs)
    return changed.padded_like(module) if isinstance(changed, AbstractSystem) else changed


def set_leaf(module: Any, path: str, value: Any) -> Any:
    """Put `value` at dotted `path` without validation: for traced values inside a program."""
    return eqx.tree_at(lambda m: get(m, path), module, value, is_leaf=lambda x: x is None)


def set_leaves(module: Any, values: Mapping[str, Any]) -> Any:
    """`set_leaf` of several paths."""
    for path, value in values.items():
        module = set_leaf(module, path, value)
    return module
