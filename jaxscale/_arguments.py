"""Keyword arguments that a function does not take: its error names the one that was meant."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jaxscale._text import choices

P = ParamSpec("P")
R = TypeVar("R")


def hinted(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of named arguments; Python before 3.13 gives no hint by itself."""
    names = tuple(inspect.signature(function).parameters)
    owner = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                said = f"{owner}() got an unexpected keyword argument {name!r}"
                raise TypeError(f"{said}{choices(name, [n for n in names if n != 'self'])}")
        return function(*args, **kwargs)

    return call
