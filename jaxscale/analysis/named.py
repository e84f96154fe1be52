"""Theories by name, for the command line: `emergence.time_law`, `superposition.sequential_loss`."""

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import jax

from jaxscale.analysis.loss_surface import loss_surface
from jaxscale.sweep.config import SYSTEM_PACKAGES

PLAIN: dict[str, Callable[..., Any]] = {"loss_surface": loss_surface}


def theory_names() -> list[str]:
    """Every theory function that can be named, as `system.function`, and `loss_surface`."""
    found = list(PLAIN)
    for system in SYSTEM_PACKAGES:
        module = importlib.import_module(f"jaxscale.{system}.theory")
        found += [
            f"{system}.{name}"
            for name, value in vars(module).items()
            if inspect.isroutine(value) or isinstance(value, jax.stages.Wrapped)
        ]
    return found


def theory_named(name: str) -> Callable[..., Any]:
    """The theory function `name`.

    **Arguments**

    - `name`: `"system.function"`, such as `"sparse.unseen_loss"`, or `"loss_surface"`.

    **Returns** the function.

    **Raises** `ValueError` with the nearest names for one that there is not.
    """
    known = theory_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}."
        raise ValueError(f"`theory` must name a theory function, got {name!r}; {hint}")
    system, dot, function = name.partition(".")
    if not dot:
        return PLAIN[name]
    return getattr(importlib.import_module(f"jaxscale.{system}.theory"), function)
