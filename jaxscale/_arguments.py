"""Keyword arguments that a function does not take: its error names the one that was meant."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from jaxscale._text import nearest

P = ParamSpec("P")
R = TypeVar("R")


def hinted(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of named arguments; Python before 3.13 gives no hint by itself."""
    names = tuple(inspect.signature(function).parameters)
    owner = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(owner, names, kwargs)
        return function(*args, **kwargs)

    return call


def check_names(owner: str, names: Sequence[str], given: Iterable[str]) -> None:
    """Raise `TypeError` for the first keyword argument that `owner` does not take."""
    for name in given:
        if name not in names:
            own = [n for n in names if n not in ("self", "cls")]
            hint = nearest(name, own) or f"; it takes {', '.join(own)}."
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}{hint}")
