"""Field declarations of systems and their parts: conversion and validation in one place.

A *leaf* field (`real`, `size`) holds a 0-d NumPy array, so that it can be swept, traced and
differentiated. A *static* field (`static_int`, `static_choice`, ...) sets a shape or selects code.
A *part* field holds another module. Bad input raises `ValueError` with the field's name before
anything compiles; traced values pass through untouched.
"""

import dataclasses
import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import numpy as np

from jaxscale._convert import (
    Integer as Integer,
    Real as Real,
    Steps as Steps,
    as_int as as_int,
    as_real as as_real,
    float_array,
    is_traced as is_traced,
    require_float_type,
)
from jaxscale._deprecated import current_fields
from jaxscale._registry import register
from jaxscale._text import choices as listing, nearest, unknown

RECORDED = "recorded"


class Rule:
    """Converter of one field; learns the field's name when its class is created."""

    def __init__(self, convert: Callable[[str, Any], Any], *, optional: bool = False):
        self.name = "value"
        self.optional = optional
        self.interval: tuple[float | None, float | None] = (None, None)
        self.choices: tuple[str, ...] = ()  # names that a static choice has
        self.is_size = False
        self.base: type | None = None  # of the module that the field holds
        self._convert = convert

    def __call__(self, value: Any) -> Any:
        """Convert and validate `value`; None passes where it is optional."""
        return None if value is None and self.optional else self._convert(self.name, value)


class _Constructor(type(eqx.Module)):  # pyright: ignore
    """Refuse arguments that are not fields as any bad input: with a `ValueError`."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        fields = current_fields(cls, fields)
        # JAX looks at arguments first, and warns of what it cannot repeat
        fields = {k: tuple(v) if isinstance(v, Iterator) else v for k, v in fields.items()}
        try:
            return super().__call__(*args, **fields)
        except TypeError:
            signature = inspect.signature(cls)
            try:
                signature.bind(*args, **fields)
            except TypeError as error:
                raise _refused(cls, signature, fields, error) from None
            raise


def _refused(
    cls: type, signature: inspect.Signature, fields: Mapping[str, Any], error: TypeError
) -> ValueError:
    """Error of a constructor whose arguments do not bind."""
    owner, names, parameters = cls.__name__, field_names(cls), signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in fields:
        if name not in parameters and not takes_any:
            return ValueError(f"`{name}` is not a field of {owner}{listing(name, names)}")
    if "positional" not in str(error):
        for name, p in parameters.items():
            one = p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            if one and p.default is p.empty and name not in fields:
                return ValueError(f"`{name}` of {owner} must be given ({error}).")
    return ValueError(f"{owner} takes its fields by name ({', '.join(names)}): {error}.")


if TYPE_CHECKING:  # type checkers read constructors from fields, unless a metaclass has `__call__`
    _Module = eqx.Module
else:

    class _Module(eqx.Module, metaclass=_Constructor):
        pass


class Configurable(_Module):
    """Base of everything with declared fields: systems, data, optimizers, schedules.

    A class is `DERIVED` if systems make it from their other fields, and no user does.
    """

    DERIVED: ClassVar[bool] = False

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in field_names(self)}
        shown = {k: v.item() if isinstance(v, np.ndarray) and v.ndim == 0 else v
                 for k, v in values.items() if v is not None}  # fmt: skip
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name, rule in _rules(vars(cls)).items():
            rule.name = name
        register(cls)


def _field(rule: Rule, default: Any, static: bool = False) -> Any:
    shared: dict[str, Any] = {"converter": rule, "static": static, "kw_only": True}
    if isinstance(default, eqx.Module):
        return eqx.field(default_factory=lambda: default, **shared)
    return eqx.field(default=default, **shared)


def real(
    default: Any = dataclasses.MISSING,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
) -> Any:
    """Declare a real leaf, kept as a host float64 scalar until execution casts it.

    **Arguments**

    - `default`: value of the field if none is given; without it the field must be given.
    - `above`, `below`: bounds that the value must not reach.
    - `at_least`, `at_most`: bounds that it may reach.
    - `optional`: whether None is a value.

    **Returns** the declaration, for a class body: `learning_rate: Real = real(0.1, above=0.0)`.
    """
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    rule = Rule(lambda name, value: as_real(name, value, **bounds), optional=optional)
    rule.interval = (above if at_least is None else at_least, below if at_most is None else at_most)
    return _field(rule, default)


def size(default: Any = dataclasses.MISSING, *, at_least: int = 1, optional: bool = False) -> Any:
    """Declare a size that is swept: an integer leaf, and the static length of arrays that hold it.

    A system reads the length by `self.padded(name)` and masks the entries beyond the size. One
    program then serves every size up to that length.

    **Arguments**

    - `default`, `optional`: as for `real`.
    - `at_least`: smallest value.

    **Returns** the declaration, for the class body of a system: `width: Integer = size(64)`.
    """
    rule = _integer_leaf(at_least, optional)
    rule.is_size = True
    return _field(rule, default)


def count(default: Any = dataclasses.MISSING, *, at_least: int = 1, optional: bool = False) -> Any:
    """Declare an integer leaf that sets no array length, such as a number of samples drawn anew.

    **Arguments**: as for `size`.

    **Returns** the declaration.
    """
    return _field(_integer_leaf(at_least, optional), default)


def _integer_leaf(at_least: int, optional: bool) -> Rule:
    to_int = _int32(at_least)

    def convert(name: str, value: Any) -> Any:
        return value if is_traced(value) else np.asarray(to_int(name, value), dtype=np.int32)

    rule = Rule(convert, optional=optional)
    rule.interval = (at_least, None)
    return rule


def _int32(at_least: int) -> Callable[[str, Any], int]:
    return functools.partial(as_int, at_least=at_least, at_most=2**31 - 1)


def static_int(
    default: Any = dataclasses.MISSING, *, at_least: int = 1, optional: bool = False
) -> Any:
    """Declare a static integer: it sets a shape or a loop length.

    **Arguments**: `default`, `at_least` and `optional` as for `size`.

    **Returns** the declaration; every value on an axis needs a program of its own.
    """
    rule = Rule(_int32(at_least), optional=optional)
    rule.interval = (at_least, None)
    return _field(rule, default, static=True)


def static_count(default: Any = dataclasses.MISSING, *, at_least: int = 1) -> Any:
    """Declare a static whole number that may be infinite (`math.inf`)."""
    to_int = _int32(at_least)

    def convert(name: str, value: Any) -> int | float:
        if value is None:
            raise ValueError(
                f"`{name}` must be a whole number or math.inf (inf in TOML), got None."
            )
        endless = isinstance(value, float | np.floating) and value == math.inf
        return math.inf if endless else to_int(name, value)

    return _field(Rule(convert), default, static=True)


def vector(
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
) -> Any:
    """Declare a leaf that holds a one-dimensional array of real numbers."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    rule = Rule(lambda name, value: float_array(name, value, 1, bounds), optional=optional)
    return _field(rule, None if optional else dataclasses.MISSING)


def matrix() -> Any:
    """Declare a leaf that holds a two-dimensional array of real numbers."""
    return _field(Rule(lambda name, value: float_array(name, value, 2, {})), dataclasses.MISSING)


def recorded(default: Any) -> Any:
    """Declare a static field that a module sets itself: hidden, never written to files."""
    return eqx.field(static=True, kw_only=True, default=default, metadata={RECORDED: True})


def static_choice(
    default: str, choices: tuple[str, ...], *, renamed: Mapping[str, str] | None = None
) -> Any:
    """Declare a static name out of a closed list.

    **Arguments**: `default`; `choices`, the names that are allowed; `renamed`, current names by
    the old ones that stores may hold.

    **Returns** the declaration.
    """

    def convert(name: str, value: Any) -> str:
        value = (renamed or {}).get(str(value), str(value))
        if value not in choices:
            raise unknown(f"`{name}`", value, choices)
        return value

    rule = Rule(convert)
    rule.choices = choices
    return _field(rule, default, static=True)


def dtype_field(default: str) -> Any:
    """Declare the floating type of the simulation, a static `float32` or `float64`."""

    def convert(name: str, value: Any) -> str:
        return require_float_type(name, value)

    return _field(Rule(convert), default, static=True)


def record_field() -> Any:
    """Declare static record steps: None for log-spaced, else increasing whole numbers."""

    def convert(name: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, str | bytes) or not np.iterable(value):
            raise ValueError(f"`{name}` must be a sequence of steps, or None, got {value!r}.")
        steps = tuple(as_int(name, v) for v in value)
        if not steps:
            raise ValueError(f"`{name}` must name at least one step, got {value!r}.")
        if steps[0] < 0 or any(b <= a for a, b in itertools.pairwise(steps)):
            raise ValueError(f"`{name}` must be increasing steps from 0 on, got {value!r}.")
        return steps

    return _field(Rule(convert, optional=True), None, static=True)


def part(base: type, default: Any = dataclasses.MISSING, *, optional: bool = False) -> Any:
    """Declare a field that holds a module of type `base`.

    **Arguments**

    - `base`: class of the modules that are allowed, usually an abstract one.
    - `default`, `optional`: as for `real`; the default is a module.

    **Returns** the declaration; the numbers of the module can be swept by dotted path.
    """

    def convert(name: str, value: Any) -> Any:
        if not isinstance(value, base):
            names = [cls.__name__ for cls in concrete_classes(base)] or [base.__name__]
            given = value.__name__ if isinstance(value, type) else str(value)
            hint = nearest(given, [f"{n}()" for n in names]) or "."
            if isinstance(value, Mapping):
                fitting = [
                    c for c in concrete_classes(base) if {*value} <= {"type", *field_names(c)}
                ]
                kind = fitting[0].__name__ if fitting else names[0]
                hint = f': write {kind}(...), in a file {name} = {{type = "{kind}", ...}}.'
            raise ValueError(f"`{name}` must be one of {', '.join(names)}, got {value!r}{hint}")
        return value

    rule = Rule(convert, optional=optional)
    rule.base = base
    return _field(rule, default)


def concrete_classes(base: type) -> list[type]:
    """Classes of the modules that a field of type `base` may hold."""
    derived = getattr(base, "DERIVED", False)
    own = [] if base.__name__.startswith("Abstract") or derived else [base]
    below = [cls for child in base.__subclasses__() for cls in concrete_classes(child)]
    return list({cls.__name__: cls for cls in (*own, *below)}.values())


def field_names(module: eqx.Module | type[eqx.Module]) -> list[str]:
    """Names of the fields of a module, or of a class of them, that its user gives."""
    fields = dataclasses.fields(module)
    return [f.name for f in fields if f.init and not f.metadata.get(RECORDED)]


def size_names(module: eqx.Module) -> list[str]:
    """Names of the fields of `module` that `size` declares."""
    return [n for n, rule in _rules(module.__dataclass_fields__).items() if rule.is_size]


def declared_sizes(cls: type) -> list[str]:
    """Names of the fields that `size` declares in the body of `cls`."""
    return [name for name, rule in _rules(vars(cls)).items() if rule.is_size]


def _rules(attributes: Mapping[str, Any]) -> dict[str, Rule]:
    fields = {n: a for n, a in attributes.items() if isinstance(a, dataclasses.Field)}
    rules = {name: field.metadata.get("converter") for name, field in fields.items()}
    return {name: rule for name, rule in rules.items() if isinstance(rule, Rule)}


def interval_of(module: Any, path: str) -> tuple[float | None, float | None]:
    """Ends that the field at dotted `path` declares; None where it has none."""
    rule = _rule_at(module, path)
    return (None, None) if rule is None else rule.interval


def choices_of(module: Any, path: str) -> tuple[str, ...]:
    """Names that the field at dotted `path` may have; empty where it is no choice of names."""
    rule = _rule_at(module, path)
    return () if rule is None else rule.choices


def base_of(module: Any, path: str) -> type | None:
    """Class of the modules that the field at dotted `path` holds; None where it holds none."""
    rule = _rule_at(module, path)
    return None if rule is None else rule.base


def _rule_at(module: Any, path: str) -> Rule | None:
    *owners, name = path.split(".")
    for owner in owners:
        module = getattr(module, owner, None)
    return _rules(getattr(module, "__dataclass_fields__", {})).get(name)
