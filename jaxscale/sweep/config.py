"""Grids as plain data: the same form in TOML presets and in the attributes of a store.

A module is written as `{type = "FiniteSet", n_samples = 1000}`. Its type is a public name of the
system's package or of `jaxscale`, or `module:Class` for a class of the user's that is imported. The
module of a sweep file's system is imported by reading the file; the attributes of a store import
nothing.
"""

import dataclasses
import importlib
import importlib.resources
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxscale.fields import Configurable, as_int, as_real, field_names
from jaxscale.system import AbstractSystem
from jaxscale.training import log_spaced_steps

SYSTEM_PACKAGES = ("emergence", "sparse", "superposition")


def type_name(module: eqx.Module) -> str:
    """Name under which the type of `module` is written."""
    cls = type(module)
    names = cls.__module__.split(".")
    if names[0] != "jaxscale":
        return f"{cls.__module__}:{cls.__qualname__}"
    return ".".join([n for n in names[1:2] if n in SYSTEM_PACKAGES] + [cls.__qualname__])


def find_type(name: str, package: str | None = None) -> type:
    """Class of a written name; short names are looked up in `package` first.

    **Raises** `ValueError` naming the type if there is no such class.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        found = getattr(sys.modules.get(module), attribute, None)
    else:
        *prefix, attribute = name.split(".")
        found = None
        for place in prefix or [p for p in (package, "") if p is not None]:
            if place in (*SYSTEM_PACKAGES, ""):
                home = importlib.import_module(f"jaxscale.{place}".rstrip("."))
                found = found or getattr(home, attribute, None)
    if not (isinstance(found, type) and issubclass(found, eqx.Module)):
        if ":" in name:
            raise ValueError(f"`type` must be module:Class of an imported module, got {name!r}.")
        public = ", ".join(_public_types(package))
        raise ValueError(f"`type` must be one of {public}, got {name!r}.")
    return found


def import_own(name: str, folder: Path) -> None:
    """Import the module of a system `module:Class`; its file may lie in `folder`."""
    module, colon, _ = name.partition(":")
    if colon:
        import_from(folder, module, f"`system` {name!r}")


def import_from(folder: Path, module: str, what: str) -> None:
    """Import a module whose file may lie in `folder`.

    As for a script, the folder joins the search path, where workers look for the module, too.

    **Raises** `ValueError` naming `what` and the module if there is none, or if it fails.
    """
    own = folder.resolve() / f"{module}.py"
    if module in sys.modules:
        loaded = getattr(sys.modules[module], "__file__", None)
        if own.is_file() and (loaded is None or not own.samefile(loaded)):
            raise ValueError(
                f"{what}: {own} is not the module {module!r} that is imported already, "
                f"{loaded}; rename one of them."
            )
        return
    here = str(folder.resolve())
    if here not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(module)
    except Exception as error:  # the module is the user's: anything may go wrong in it
        kind = type(error).__name__
        raise ValueError(
            f"{what}: {module!r} cannot be imported, neither from {here} nor from where "
            f"Python finds modules ({kind}: {error})."
        ) from error


def check_system(name: str) -> None:
    """Refuse what is no system.

    **Raises** `ValueError` naming `system` and the systems there are.
    """
    homes = {place: vars(importlib.import_module(f"jaxscale.{place}")) for place in SYSTEM_PACKAGES}
    known = [
        f"{place}.{n}" for place, home in homes.items() for n, v in home.items()
        if isinstance(v, type) and issubclass(v, AbstractSystem)
    ]  # fmt: skip
    if name not in known and ":" not in name:
        raise ValueError(
            f"`system` must be one of {', '.join(known)} or module:Class, got {name!r}."
        )


def _public_types(package: str | None) -> list[str]:
    """Names that a file may use where `package` is the system's own."""
    names: dict[str, None] = {}
    for place in (package,) if package in SYSTEM_PACKAGES else SYSTEM_PACKAGES:
        home = importlib.import_module(f"jaxscale.{place}")
        prefix = "" if package in SYSTEM_PACKAGES else f"{place}."
        names |= {f"{prefix}{n}": None for n, v in vars(home).items() if _is_module_class(v)}
    if package in SYSTEM_PACKAGES:
        shared = vars(importlib.import_module("jaxscale")).items()
        names |= {n: None for n, v in shared if _is_module_class(v)}
    return [n for n in names if "Abstract" not in n]


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Configurable)


def encode(value: Any) -> Any:
    """Plain data of a field value: numbers, strings, lists, tables."""
    if isinstance(value, eqx.Module):
        fields = field_names(value)
        names = [n for n in fields if not (n.startswith("max_") and n[4:] in fields)]
        known = {name: encode(getattr(value, name)) for name in names}
        return {"type": type_name(value), **{k: v for k, v in known.items() if v is not None}}
    if isinstance(value, Mapping):
        return {key: encode(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    return value


def decode(value: Any, package: str | None = None) -> Any:
    """Inverse of `encode`."""
    if isinstance(value, Mapping) and "type" in value:
        name = str(value["type"])
        cls = find_type(name, package)
        inner = name.rpartition(".")[0] or package
        fields = {k: decode(v, inner) for k, v in value.items() if k != "type"}
        known = [f.name for f in dataclasses.fields(cls) if f.init]
        unknown = [k for k in fields if k not in known and "hyperparameters" not in known]
        if unknown:
            raise ValueError(
                f"`{unknown[0]}` is not a field of {cls.__name__} ({', '.join(known)})."
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"`{name}` cannot be built: {error}.") from None
    if isinstance(value, Mapping):
        return {key: decode(v, package) for key, v in value.items()}
    if isinstance(value, list):
        return [decode(v, package) for v in value]
    return value


def record_steps(value: Any, n_steps: int) -> Any:
    """Record steps of a file: a list, `{every = 100}` or `{log = 60}` (points up to the end)."""
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1 or next(iter(value)) not in ("every", "log"):
        raise ValueError(f"`record` must be a list, every or log, got {dict(value)!r}.")
    kind, number = next(iter(value.items()))
    number = as_int(f"record.{kind}", number)
    if number < 1:
        raise ValueError(f"`record.{kind}` must be at least 1, got {number}.")
    if kind == "log":
        return list(log_spaced_steps(n_steps, number))
    return [*range(0, n_steps, number), n_steps]


def axis_values(path: str, value: Any) -> Any:
    """Values of the axis `path`: a list, `{geom = [lo, hi, n]}` or `{lin = [lo, hi, n]}`."""
    if not isinstance(value, Mapping) or "type" in value:
        return value if isinstance(value, list) else [value]
    if len(value) != 1 or next(iter(value)) not in ("geom", "lin"):
        raise ValueError(f"axis `{path}` must be a list, geom or lin, got {dict(value)!r}.")
    kind, numbers = next(iter(value.items()))
    if not isinstance(numbers, list) or len(numbers) != 3:
        raise ValueError(f"axis `{path}`: {kind} must be lo, hi, n, got {numbers!r}.")
    low, high = (float(as_real(f"{path}.{kind}", v)) for v in numbers[:2])
    n = as_int(f"{path}.{kind}", numbers[2])
    if n < 1 or (kind == "geom" and min(low, high) <= 0):
        needs = "n at least 1" + (" and positive ends" if kind == "geom" else "")
        raise ValueError(f"axis `{path}`: {kind} needs {needs}, got {numbers!r}.")
    space = np.geomspace if kind == "geom" else np.linspace
    return [float(v) for v in space(low, high, n)]


def parse_axis(text: str) -> tuple[str, Any]:
    """`field=v1,v2`, `field=geom:lo:hi:n` or `field=lin:lo:hi:n` from the command line."""
    path, equals, values = text.partition("=")
    if not equals or not path or not values:
        raise ValueError(f"`axis` must be field=values, got {text!r}.")
    kind, *numbers = values.split(":")
    if kind in ("geom", "lin"):
        if len(numbers) != 3:
            raise ValueError(f"`axis` {kind} must be {kind}:lo:hi:n, got {values!r}.")
        return path, axis_values(path, {kind: [parse_value(n) for n in numbers]})
    together = parse_value(f"[{values}]")  # commas inside tables and lists are not ours to split
    return path, together if isinstance(together, list) else [
        parse_value(v) for v in values.split(",")
    ]  # fmt: skip


def parse_value(text: str) -> Any:
    """A TOML value from the command line; bare words are strings."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def preset_path(name: str) -> Path:
    """Path of a TOML file, or of the shipped preset of that name."""
    shipped = Path(str(importlib.resources.files("jaxscale") / "presets"))
    for path in (Path(name), shipped / f"{name}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.toml")))
    raise ValueError(f"`file` must be a TOML file or a preset ({known}), got {name!r}.")


def read_toml(name: str) -> dict[str, Any]:
    """Plain data of a sweep file or preset, its keys checked, its system's module imported.

    **Raises** `ValueError` naming the file and the key, or a module that cannot be imported.
    """
    path = preset_path(name)
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None
    allowed = ("system", "fields", "axes", "seeds", "key", "store", "description")
    for key in table:
        if key not in allowed:
            raise ValueError(f"{path}: `{key}` is not one of {', '.join(allowed)}.")
    if "system" not in table:
        raise ValueError(f"{path}: `system` is missing.")
    if not isinstance(table["system"], str):
        raise ValueError(f"{path}: `system` must be a name, got {table['system']!r}.")
    if not isinstance(table.get("store", ""), str):
        raise ValueError(f"{path}: `store` must be a path, got {table['store']!r}.")
    for key in ("fields", "axes"):
        if not isinstance(table.get(key, {}), dict):
            raise ValueError(f"{path}: `{key}` must be a table, got {table[key]!r}.")
    import_own(table["system"], path.parent)
    return table
