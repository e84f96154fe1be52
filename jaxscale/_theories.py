"""Theories by name, for the command line: `emergence.time_law`, `superposition.sequential_loss`."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jaxscale import emergence, sparse, streaming, superposition
from jaxscale._deprecated import warn_deprecated
from jaxscale._text import choices
from jaxscale.analysis.forms import chinchilla
from jaxscale.spectra import PowerLaw

PACKAGES: dict[str, ModuleType] = {
    "emergence": emergence.theory,
    "sparse": sparse.theory,
    "superposition": superposition.theory,
    "streaming": streaming.theory,
}


def theories() -> dict[str, Callable[..., Any]]:
    """Every theory function by its name: `chinchilla`, and `system.function`."""
    functions: dict[str, Callable[..., Any]] = {"chinchilla": chinchilla}
    for system, package in PACKAGES.items():
        functions |= {f"{system}.{n}": f for n, f in vars(package).items() if _is_curve(f)}
    return functions


def _is_curve(value: Any) -> bool:
    """Whether `value` is a function that returns one array, or a power law."""
    if not inspect.isroutine(value):
        return False
    returned = inspect.signature(value).return_annotation
    return returned is PowerLaw or ("Array" in repr(returned) and "uple" not in repr(returned))


def theory_named(name: str) -> Callable[..., Any]:
    """Return the theory function `"system.function"` or `"chinchilla"`.

    **Raises** `ValueError` with the nearest names if there is no such function.
    """
    functions = theories()
    if name == "loss_surface":
        warn_deprecated(name, "chinchilla")
        name = "chinchilla"
    if name not in functions:
        hint = choices(name, functions)
        raise ValueError(f"`theory` must name a theory function, got {name!r}{hint}")
    return functions[name]
