"""Keyword arguments that a function does not take: its error names the one that was meant."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

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


def check_names(owner: str, names: Sequence[str], given: Collection[str]) -> None:
    """Raise `TypeError` for the first keyword argument that `owner` does not take."""
    for name in given:
        if name not in names:
            own = [n for n in names if n not in ("self", "cls")]
            free = [n for n in own if n not in given]  # what is given already is not meant
            hint = nearest(name, free) or f"; it takes {', '.join(own)}."
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}{hint}")


def bound_arguments(
    owner: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Bind arguments; a `TypeError` for what does not bind names `owner`."""
    check_names(owner, tuple(signature.parameters), kwargs)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{owner}() {error}") from None
