"""`citation`: BibTeX of exactly what was used.

Whatever has a paper names it in `REFERENCES`: a module or package (for all that it defines), a
class, or a function as its attribute. Each item is a key of `references.bib` or, for a system that
is not part of jaxscale, a BibTeX entry of its own.
"""

import dataclasses
import functools
import importlib.resources
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from jaxscale._arguments import hinted
from jaxscale._text import choices
from jaxscale.fields import Configurable

ENTRY = re.compile(r"@\w+\s*\{\s*([^\s,{}]+)\s*,.*?^\}", re.S | re.M)


@functools.cache
def library() -> Mapping[str, str]:
    """BibTeX entries that jaxscale ships, by key."""
    text = (importlib.resources.files("jaxscale") / "references.bib").read_text("utf-8")
    return {entry[1]: entry[0] for entry in ENTRY.finditer(text)}


@hinted
def citation(*objects: Any) -> str:
    """BibTeX of jaxscale and of the papers behind what was used, each once.

    A class of your own adds its paper by an attribute: `REFERENCES = ("@article{me, ...}",)`, one
    string per entry, or keys of shipped entries; those of its base classes and parts also count.

    **Arguments**

    - `objects`: systems, grids, plans, results of `js.run`, `js.predict` and `js.calibrate`,
      optimizers, theory modules and functions.

    **Returns** BibTeX entries separated by blank lines, jaxscale first.

    **Raises** `ValueError` naming an object that has no paper, or an unknown reference.

    ```python
    >>> print(js.citation(js.sparse.theory.loss))
    @software{jaxscale,
      ...
    }
    <BLANKLINE>
    @misc{sous2026asymmetric,
      title = {Asymmetric Scaling Laws from Sparse Features},
      author = {Sous, John and Winer, Michael},
      ...
    }

    ```
    """
    entries = {"jaxscale": library()["jaxscale"]}
    for value in objects:
        if not _is_citable(value):
            raise ValueError(
                "`objects` must be systems, grids, results, or modules and functions of theory, "
                f"got {value!r}."
            )
        for reference in _references(value):
            key, text = _entry(reference)
            if entries.setdefault(key, text) != text:
                raise ValueError(f"`REFERENCES` must hold one entry {key!r}, got two.")
    return "\n\n".join(entries.values())


def _entry(reference: Any) -> tuple[str, str]:
    """Key and text of a reference, which is a key of the library or an entry itself."""
    if isinstance(reference, str) and reference in library():
        return reference, library()[reference]
    # the brace that closes an entry may stand on its last line
    text = re.sub(r"\}\s*\Z", "\n}", reference.strip()) if isinstance(reference, str) else ""
    entry = ENTRY.fullmatch(text)
    if entry is None or text.count("{") != text.count("}"):
        hint = choices(str(reference), library())
        raise ValueError(f"`REFERENCES` must hold BibTeX entries or keys, got {reference!r}{hint}")
    return entry[1], reference.strip()


def _is_citable(value: Any) -> bool:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    own = isinstance(value, Configurable) or str(home).partition(".")[0] == "jaxscale"
    return own or _is_dataset(value) or next(_references(value), None) is not None


def _is_dataset(value: Any) -> bool:
    xarray = sys.modules.get("xarray")  # who has a Dataset has imported it
    return xarray is not None and isinstance(value, xarray.Dataset)


def _references(value: Any) -> Iterator[Any]:
    """What `value` declares: by its packages and module, by its classes, and by its parts."""
    if _is_dataset(value):
        from jaxscale.sweep._predict import grid_of

        yield from _references(grid_of(value))
    elif isinstance(value, ModuleType):
        yield from _of_module(value.__name__)
    elif isinstance(value, type):
        for cls in value.__mro__[::-1]:
            yield from _of_module(cls.__module__)
            yield from _declared(cls)
    elif inspect.isroutine(value) or inspect.isroutine(getattr(value, "__wrapped__", None)):
        yield from _of_module(value.__module__)
        yield from _declared(value)
    elif type(value).__module__.partition(".")[0] != "builtins":
        yield from _references(type(value))
        for part in _parts(value):
            yield from _references(part)


def _parts(value: Any) -> list[Any]:
    """What an object is made of: fields of dataclasses, and the system and axes of a grid."""
    from jaxscale.sweep._grid import Grid

    if isinstance(value, Grid):
        return [value.system, *(v for values in value.axes.values() for v in values)]
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return [getattr(value, field.name) for field in fields]


def _of_module(name: str) -> Iterator[Any]:
    """What a module and the packages around it declare, the outermost first."""
    parts = name.split(".")
    for depth in range(len(parts)):
        yield from _declared(sys.modules.get(".".join(parts[: depth + 1])))


def _declared(owner: Any) -> tuple[Any, ...]:
    declared = getattr(owner, "__dict__", {}).get("REFERENCES", ())
    return (declared,) if isinstance(declared, str) else tuple(declared)
