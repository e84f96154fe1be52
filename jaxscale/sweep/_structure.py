"""The structure of a system: all that decides its program, and no value of a leaf.

That includes the code of the user's classes, and what it reads.
"""

import contextlib
import dataclasses
import dis
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from types import CodeType, FunctionType
from typing import Any

import equinox as eqx
import jax

from jaxscale._optimizers import Optax
from jaxscale.fields import field_names

SETTINGS = (  # of JAX, that change what is traced or compiled
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_device",
    "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion", "jax_threefry_partitionable",
    "jax_debug_nans", "jax_debug_infs", "jax_disable_jit", "jax_default_prng_impl",
    "jax_random_seed_offset", "jax_softmax_custom_jvp",
)  # fmt: skip
FIXED = ("jaxscale", "equinox", "builtins", "abc")  # their classes are not edited meanwhile
PLAIN = (int, float, complex, str, bytes, type(None))


class Identity:
    """An object that equals itself alone, and lives as long as it is compared."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def structure_key(system: Any, is_traced: Callable[[Any], bool] = eqx.is_array_like) -> Hashable:
    """Static fields, shapes and types of the leaves, code of the user's classes, settings of JAX.

    Two systems (or tuples of modules) share the key if and only if one program serves both.
    `is_traced` says which leaves are arguments of the program: their values are not looked at.
    """
    leaves, tree = jax.tree.flatten(system)
    kinds = [jax.typeof(x) if is_traced(x) else (type(x), x) for x in leaves]
    settings = tuple(getattr(jax.config, name) for name in SETTINGS)
    return tree, tuple(kinds), code_read(system), settings


def code_read(system: Any) -> tuple[Hashable, ...]:
    """Functions and constants that the code of the user's classes reads, by their names.

    A class of the user's is edited and run again in one notebook. Functions of the same module are
    followed. Changes in place (an entry of a dictionary) are not noticed, nor are changes in what
    other modules read.
    """
    read: dict[Hashable, None] = {}
    followed: dict[int, Any] = {}
    pending: list[FunctionType] = []

    def add(name: str, value: Any, follow: bool = True) -> None:
        if isinstance(value, PLAIN):
            read[name, type(value), value] = None
            return
        value = inspect.unwrap(value) if callable(value) else value
        # a function is its code: %autoreload changes that in place, and cloudpickle (Dask,
        # submitit) makes equal functions anew with every task
        is_function = isinstance(value, FunctionType)
        read[name, value.__code__ if is_function else Identity(value)] = None
        if not follow or id(value) in followed:
            return
        followed[id(value)] = value
        if is_function:
            pending.append(value)
        elif isinstance(value, type):
            add_class(value)

    def add_class(cls: type) -> None:
        for base in filter(_is_edited, cls.__mro__):
            for name, member in vars(base).items():
                member = _function(member)
                generated = name == "__init__" and dataclasses.is_dataclass(base)
                if isinstance(member, (FunctionType, *PLAIN)) and not generated:
                    add(name, member)

    for part in _parts(system):
        if isinstance(part, FunctionType):
            add(part.__name__, part, follow=_is_edited(part))
            continue
        # 2 and 2.0, 1 and True are equal in the tree, and not in a formula
        static = [f.name for f in dataclasses.fields(part) if f.metadata.get("static")]
        read[tuple((name, type(getattr(part, name))) for name in static)] = None
        if isinstance(part, Optax) and ":" in part.factory:
            add(part.factory, part.function)
        add_class(type(part))
    while pending:
        function = pending.pop()
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            add(function.__name__, value)
        for name in _globals_read(function.__code__):
            if name in function.__globals__:
                value = function.__globals__[name]
                add(name, value, getattr(value, "__module__", None) == function.__module__)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            with contextlib.suppress(ValueError):  # not filled yet
                add(name, cell.cell_contents)
    return tuple(read)


def _is_edited(value: Any) -> bool:
    """Whether a class or function belongs to the user, who may edit it while the process lives."""
    return value.__module__.partition(".")[0] not in FIXED


def _parts(value: Any) -> Iterator[Any]:
    """A module, and all modules and functions in it."""
    if callable(value) and not isinstance(value, eqx.Module | type):
        function = inspect.unwrap(value)
        if isinstance(function, FunctionType):
            yield function
    elif isinstance(value, eqx.Module):
        yield value
        yield from _parts([getattr(value, name) for name in field_names(value)])
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item)


def _function(member: Any) -> Any:
    """The function behind a property or a class method; other members as they are."""
    for name in ("fget", "func", "__func__"):
        member = getattr(member, name, member)
    return inspect.unwrap(member) if callable(member) else member


@functools.lru_cache(maxsize=4096)
def _globals_read(code: CodeType) -> tuple[str, ...]:
    """Names of the module that a function and its inner functions read.

    `co_names` also holds attributes: a global of a notebook that shares the name of one would
    make a program compile anew whenever it is assigned.
    """
    names = [i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"]
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return tuple(dict.fromkeys([*names, *(n for c in inner for n in _globals_read(c))]))
