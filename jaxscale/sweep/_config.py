"""Grids as plain data: the same form in sweep files (TOML) and in the attributes of a store.

A module is written as `{type = "FiniteSet", n_samples = 1000}`: its type is a name of
`jaxscale._registry`, where short names are looked up in the folder of the system first. Reading a
sweep file imports the module of its system; the attributes of a store import nothing.
"""

import contextlib
import importlib
import importlib.resources
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxscale._deprecated import warn_deprecated
from jaxscale._files import require_file
from jaxscale._registry import class_named, class_names, is_plain, shipped_classes, written_name
from jaxscale._system import AbstractSystem
from jaxscale._text import choices, nearest, unknown
from jaxscale.fields import (
    Configurable,
    as_int,
    as_real,
    base_of,
    field_names,
    size_names,
)
from jaxscale.sweep._toml_error import place, toml_error
from jaxscale.training import log_spaced_steps

SPACINGS = ("geom", "lin")
OF_NUMBERS = re.compile(rf"({'|'.join(SPACINGS)}):|[\w.]*[:(][-+.\d]|[-+.\d]+(\.\.|;)")
# as log:1:10:3, range(3), 8..16, 8;16
MOST_VALUES = 100_000_000  # that a file may ask for with a few letters
LARGE = ("paper", "full")  # tables of the large version; `full` is the old name
KEYS = ("system", "fields", "axes", "seeds", "key", "store", "description", *LARGE)


def _find_class(name: str, package: str | None, base: type = Configurable) -> type:
    """Class of a written name; short names are looked up in `package` first.

    Only systems and their parts are made, so that a file cannot call other classes. Errors list
    those of `base`, which is what the field may hold.
    """
    short = package and ":" not in name and "." not in name
    for candidate in (f"{package}.{name}", name) if short else (name,):
        cls = class_named(candidate)
        if cls is None or not issubclass(cls, (Configurable, base)):
            continue
        if issubclass(cls, Configurable) or is_plain(cls):
            return cls
    module, colon, attribute = name.partition(":")
    if colon and module in sys.modules:
        listed = choices(attribute, class_names(module))
        raise ValueError(f"`type` {name!r}: {module} has no class {attribute!r}{listed}")
    if colon:
        shell = f"(in a shell, --import {module})"
        raise ValueError(f"`type` {name!r} needs `import {module}` first {shell}.")
    raise unknown("`type`", name, _type_names(package, base))


def _type_names(package: str | None, base: type) -> list[str]:
    """Names that a file may use where `package` is the folder of its system."""
    packages = {name.rpartition(".")[0] for name in _system_names()}
    fitting = [name for name, cls in shipped_classes().items() if issubclass(cls, base)]
    names = [name.rpartition(".") for name in fitting]
    if package in packages:
        return sorted(cls for place, _, cls in names if place in ("", package))
    return [f"{place}.{cls}" for place, _, cls in names if place in packages]


def _system_names() -> list[str]:
    return [name for name, cls in shipped_classes().items() if issubclass(cls, AbstractSystem)]


def check_system(name: Any) -> str:
    """Return the name of a system; refuse what is none of jaxscale's or `module:Class`."""
    names = _system_names()
    if not isinstance(name, str):
        raise ValueError(f"`system` must be a name, beside its `fields`, got {name!r}.")
    if name not in names and ":" not in name:
        raise unknown("`system`", name, names, " or module:Class")
    return name


def import_from(folder: Path, module: str, what: str) -> None:
    """Import a module whose file may lie in `folder`; refusals begin with `what`.

    As for a script, the folder joins the search path, where workers look for the module, too.
    """
    directory = str(folder.resolve())
    own = Path(directory, f"{module}.py")
    if module in sys.modules:
        loaded = getattr(sys.modules[module], "__file__", None)
        if own.is_file() and (loaded is None or not own.samefile(loaded)):
            raise ValueError(
                f"{what}: {own} is not the module {module!r} that is imported already, "
                f"{loaded}; rename one of them."
            )
        return
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        importlib.import_module(module)
    except Exception as error:  # the module is the user's: anything may go wrong in it
        kind = type(error).__name__
        raise ValueError(
            f"{what}: {module!r} cannot be imported, neither from {directory} nor from where "
            f"Python finds modules ({kind}: {error})."
        ) from error


def encode(value: Any) -> Any:
    """Plain data of a field value: numbers, strings, lists, tables."""
    if isinstance(value, eqx.Module):
        fields, sizes = field_names(value), size_names(value)
        names = [n for n in fields if not (n.startswith("max_") and n[4:] in sizes)]
        table = {name: encode(getattr(value, name)) for name in names}
        table = {name: plain for name, plain in table.items() if plain is not None}
        return {"type": written_name(type(value)), **table}
    if isinstance(value, Mapping):
        return {key: encode(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    return value


def decode(value: Any, package: str | None = None, base: type | None = None) -> Any:
    """Inverse of `encode`; where a field holds modules of type `base`, a name is a type, too."""
    if base is not None and isinstance(value, str):
        value = {"type": value}
    if isinstance(value, Mapping) and "type" in value:
        name = str(value["type"])
        cls = _find_class(name, package, base or Configurable)
        inner = name.rpartition(".")[0] or package
        plain = {k: v for k, v in value.items() if k != "type"}
        fields = {k: decode(v, inner, base_of(cls, k)) for k, v in plain.items()}
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"`{name}` cannot be built: {error}.") from None
    if isinstance(value, Mapping):
        return {key: decode(v, package) for key, v in value.items()}
    if isinstance(value, list):
        return [decode(v, package) for v in value]
    return value


def record_steps(value: Mapping[str, Any], n_steps: int) -> list[int]:
    """Record steps of a file: `{every = 100}` or `{log = 60}` (points up to the end)."""
    if len(value) != 1 or next(iter(value)) not in ("every", "log"):
        hint = nearest(next(iter(value), ""), ("every", "log")) or "."
        raise ValueError(
            f"`record` must be a list, {{every = n}} or {{log = n}}, got {dict(value)!r}{hint}"
        )
    kind, number = next(iter(value.items()))
    number = as_int(f"record.{kind}", number, at_least=1)
    n_records = number if kind == "log" else n_steps // number
    if n_records > MOST_VALUES:
        raise ValueError(f"`record` must make at most 1e8 steps, got {dict(value)!r}.")
    if kind == "log":
        return list(log_spaced_steps(n_steps, number))
    return [*range(0, n_steps, number), n_steps]


def require_values(path: str, values: Any) -> None:
    """Refuse what is no sequence of values for the axis `path`, such as a single one."""
    if isinstance(values, str | bytes | set | Mapping) or not np.iterable(values):
        raise ValueError(
            f"axis `{path}` must be a sequence of values, got {values!r}: write one value in "
            "brackets, or make it a field."
        )


def axis_values(path: str, value: Any, base: type | None = None) -> Any:
    """Values of the axis `path`: a list, `{geom = [lo, hi, n]}` or `{lin = [lo, hi, n]}`.

    `base` is the class of the modules that the field holds, None where it holds none.
    """
    if not isinstance(value, Mapping) or "type" in value:
        require_values(path, value)
        return value
    if len(value) != 1 or next(iter(value)) not in SPACINGS:
        hint = nearest(next(iter(value), ""), SPACINGS) or "."
        inner = _inner_path(path, value)
        if base is not None and inner != path:
            hint = f': write "{inner}" in quotes.'
        raise ValueError(
            f"axis `{path}` must be a list, {{geom = [lo, hi, n]}} or {{lin = ...}}, "
            f"got {dict(value)!r}{hint}"
        )
    kind, numbers = next(iter(value.items()))
    if not isinstance(numbers, list) or len(numbers) != 3:
        raise ValueError(f"axis `{path}`: {kind} must be lo, hi, n, got {numbers!r}.")
    low, high = (float(as_real(f"{path}.{kind}", v)) for v in numbers[:2])
    n = as_int(f"{path}.{kind}", numbers[2])
    if not 1 <= n <= MOST_VALUES or (kind == "geom" and min(low, high) <= 0):
        needs = "n from 1 to 1e8" + (" and positive ends" if kind == "geom" else "")
        raise ValueError(f"axis `{path}`: {kind} needs {needs}, got {numbers!r}.")
    space = np.geomspace if kind == "geom" else np.linspace
    return [float(v) for v in space(low, high, n)]


def _inner_path(path: str, table: Mapping[str, Any]) -> str:
    """The dotted path that TOML reads as tables inside of each other, where it has no quotes."""
    while isinstance(table, Mapping) and table and not {*SPACINGS} & {*table}:
        name = next(iter(table))
        path, table = f"{path}.{name}", table[name]
    return path


def parse_setting(text: str) -> tuple[str, Any]:
    """`field=value` from the command line."""
    path, equals, value = text.partition("=")
    if not (equals and path):
        raise ValueError(f"`set` must be field=value, got {text!r}.")
    return path, _parse_unbroken("set", path, value)


def parse_axis(text: str) -> tuple[str, Any]:
    """`field=v1,v2`, `field=geom:lo:hi:n` or `field=lin:lo:hi:n` from the command line."""
    path, equals, values = text.partition("=")
    kind, *numbers = values.split(":")
    spaced = kind in SPACINGS and len(numbers) == 3
    if not (equals and path and values) or (not spaced and OF_NUMBERS.match(values)):
        raise ValueError(
            f"`axis` must be field=v1,v2, field=geom:lo:hi:n or field=lin:lo:hi:n, got {text!r}."
        )
    listed = parse_value(f"[{values}]")  # commas inside tables and lists are not ours to split
    if spaced:
        listed = [{kind: [parse_value(n) for n in numbers]}]
    elif not isinstance(listed, list):
        parts = re.split(r",(?![^{\[]*[}\]])", values)
        listed = [_parse_unbroken("axis", path, part) for part in parts]
    table = listed[0] if len(listed) == 1 else None
    if not isinstance(table, Mapping) or "type" in table:
        return path, listed
    try:
        return path, axis_values(path, table)
    except ValueError as error:
        raise ValueError(f"`axis`: {error}") from None  # it names the field


def _parse_unbroken(option: str, path: str, text: str) -> Any:
    """`parse_value` of the value of a field, which is refused where a table or a list is broken."""
    value = parse_value(text)
    if isinstance(value, str) and text[:1] in ("{", "["):
        raise ValueError(
            f"`{option}` {path}: {text!r} is no table or list of TOML; texts in it need quotes, "
            f"and all of it single ones: '{path}={{type = \"Name\"}}'."
        )
    return value


def parse_value(text: str) -> Any:
    """A TOML value from the command line; bare words are strings, `none` is None, `.5` a number."""
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        with contextlib.suppress(ValueError):  # TOML wants digits on both sides of a point
            return float(text)
        return text


def preset_names() -> list[str]:
    """Names of the shipped sweep files; those with a table `paper` have a second, `NAME_paper`."""
    names = []
    for name, path in _presets().items():
        names += [name, f"{name}_paper"] if "paper" in _load(path) else [name]
    return names


def descriptions() -> dict[str, str]:
    """What each of `preset_names` simulates."""
    return {name: read_toml(name).get("description", "") for name in preset_names()}


def _presets() -> dict[str, Path]:
    package = Path(str(importlib.resources.files("jaxscale")))
    return {path.stem: path for path in sorted(package.glob("papers/*/presets/*.toml"))}


def preset_path(name: str) -> tuple[Path, bool]:
    """Path of a sweep file, or of a shipped one, and whether its table `paper` is meant.

    `NAME_paper` is the file `NAME` with its table `paper`, unless there is a file of that name.
    """
    path, presets = Path(name), _presets()
    files, current = [(path, False), (presets.get(name), False)], path
    for table in LARGE:
        if (stem := path.stem.removesuffix(f"_{table}")) not in ("", path.stem):
            base, current = path.with_stem(stem), path.with_stem(f"{stem}_paper")
            large = (base, presets.get(str(base)))
            files += [(presets.get(str(current)), False), *((file, True) for file in large)]
    for file, is_large in files:
        if file is not None and file.is_file() and (not is_large or _large(_load(file))):
            if file.stem != path.stem != current.stem:
                warn_deprecated(name, str(current))
            return file, is_large
    if (path / "zarr.json").is_file():
        raise ValueError(
            f"`file` must be a TOML file or a preset, got the store {path}: jaxscale show "
            "tells what it holds, jaxscale fit fits its theory."
        )
    if path.suffix or path.exists() or len(path.parts) > 1:
        require_file("file", path)
    hint = choices(name, preset_names())
    raise ValueError(f"`file` must be a TOML file or a preset, got {name!r}{hint}")


def _large(table: Mapping[str, Any]) -> str | None:
    """Name of the table of the large version, if there is one."""
    return next((name for name in LARGE if name in table), None)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {toml_error(text, str(error))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None


def default_store(name: str, table: Mapping[str, Any]) -> str:
    """The store of a sweep file or preset where the command line gives none."""
    return table.get("store", f"{Path(name).stem}.zarr")


def read_toml(name: str) -> dict[str, Any]:
    """Plain data of a sweep file or preset, its keys checked, its system's module imported.

    `fields` and `axes` of a table `paper` replace single fields and axes of the file, its other
    keys those of the file.
    """
    path, is_large = preset_path(name)
    table = _load(path)
    _check_keys(path, table, "", KEYS)
    if "system" not in table:
        raise ValueError(f"{path}: `system` is missing.")
    if not isinstance(table["system"], str):
        at = place(path, path, "system")
        raise ValueError(f"{at}: `system` must be a name, got {table['system']!r}.")
    if "full" in table:
        warn_deprecated("[full]", "[paper]")
    key = _large(table) or LARGE[0]
    large = {name: table.pop(name, {}) for name in LARGE}[key]
    _check_keys(path, large, f"{key}.", tuple(k for k in KEYS if k not in ("system", *LARGE)))
    if is_large:
        merged = {key: {**table.get(key, {}), **large.get(key, {})} for key in ("fields", "axes")}
        table = {**table, **large, **merged}
    module, colon, _ = table["system"].partition(":")
    if colon:
        import_from(path.parent, module, f"`system` {table['system']!r}")
    return table


def _check_keys(path: Path, table: dict[str, Any], prefix: str, allowed: tuple[str, ...]) -> None:
    for key in table:
        if key not in allowed:
            hint = choices(key, [name for name in allowed if name != "full"])
            fields = " Fields go under [fields], several values under [axes]."
            raise ValueError(
                f"{place(path, path, key)}: `{prefix}{key}` is not a key of a sweep{hint}"
                f"{fields if hint.endswith('.') else ''}"
            )
    if not isinstance(table.get("store", ""), str):
        raise ValueError(
            f"{place(path, path, 'store')}: `{prefix}store` must be a path, got {table['store']!r}."
        )
    for key in ("fields", "axes", *LARGE):
        if not isinstance(table.get(key, {}), dict):
            at = place(path, path, key)
            raise ValueError(f"{at}: `{prefix}{key}` must be a table, got {table[key]!r}.")
