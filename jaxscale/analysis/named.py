"""Theories by name, for the command line: `emergence.time_law`, `superposition.sequential_loss`."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import jax

from jaxscale.analysis.loss_surface import loss_surface
from jaxscale.spectra import PowerLaw
from jaxscale.sweep.config import SYSTEM_PACKAGES
from jaxscale.text import nearest

PLAIN: dict[str, Callable[..., Any]] = {"loss_surface": loss_surface}


def theory_names() -> list[str]:
    """Every theory function that can be named, as `system.function`, and `loss_surface`."""
    found = list(PLAIN)
    for system in SYSTEM_PACKAGES:
        module = importlib.import_module(f"jaxscale.{system}.theory")
        found += [f"{system}.{name}" for name, value in vars(module).items() if _is_curve(value)]
    return found


def _is_curve(value: Any) -> bool:
    """Whether `value` is a function that returns one array, or a power law."""
    if not (inspect.isroutine(value) or isinstance(value, jax.stages.Wrapped)):
        return False
    returned = inspect.signature(value).return_annotation
    return returned is PowerLaw or ("Array" in repr(returned) and "uple" not in repr(returned))


def theory_named(name: str) -> Callable[..., Any]:
    """The theory function `name`.

    **Arguments**

    - `name`: `"system.function"`, such as `"sparse.unseen_loss"`, or `"loss_surface"`.

    **Returns** the function.

    **Raises** `ValueError` with the nearest names for one that there is not.
    """
    known = theory_names()
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(known)}."
        raise ValueError(f"`theory` must name a theory function, got {name!r}{hint}")
    system, dot, function = name.partition(".")
    if not dot:
        return PLAIN[name]
    return getattr(importlib.import_module(f"jaxscale.{system}.theory"), function)
