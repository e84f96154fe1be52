"""What every theory function shares: checks, one dtype, broadcasting and compilation.

A decorated function holds its docstring and its formula, of scalars. Callers pass numbers or arrays
of any shapes that broadcast.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike

from jaxscale._arguments import bound_arguments
from jaxscale._compilation import quick_options
from jaxscale._convert import is_traced
from jaxscale._text import nearest
from jaxscale.spectra import as_floats, require, require_count

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[[str, Any], None]
Check = Callable[[Mapping[str, Any]], None]


def number(ok: Callable[[Any], Any], what: str) -> Rule:
    """Rule that `ok` holds of the values of an argument, which must be `what`; JAX arrays pass."""
    return lambda name, value: require(name, value, ok, what)


positive = number(lambda v: (v > 0) & (v < np.inf), "positive and finite")
positive_or_infinite = number(lambda v: v > 0, "positive")
not_negative = number(lambda v: (v >= 0) & (v < np.inf), "at least 0 and finite")
not_negative_or_infinite = number(lambda v: v >= 0, "at least 0")
_numbers = number(lambda v: True, "a number or an array of numbers")


def finite_count(name: str, value: Any) -> None:
    """Rule for a static number of terms that must be finite."""
    require_count(name, value, finite=True)


def is_plain(*values: Any) -> bool:
    """Whether all values are numbers that a check may compare: neither JAX arrays nor tracers."""
    return not any(isinstance(v, jax.Array) for v in values)


def symbols(*values: ArrayLike) -> tuple[Any, ...]:
    """Name the arguments of a theory function by the letters of its equation.

    Inside a decorated function they are arrays of one dtype, or constants of the program.
    """
    return values


def check_choices(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Rule for a name out of a closed list."""
    if value not in choices:
        *first, last = (f'"{c}"' for c in choices)
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise ValueError(
            f"`{name}` must be {', '.join(first)} or {last}, got {value!r}{hint or '.'}"
        )


def check_flag(name: str, value: Any) -> None:
    """Rule for what is true or false: text would be true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False, got {value!r}.")


def check_shapes(values: Mapping[str, Any]) -> None:
    """Refuse arrays that do not broadcast, by the names of those that have a shape."""
    shapes = {name: shape for name, value in values.items() if (shape := np.shape(value))}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"the shapes of {given} do not broadcast: give some further axes, as x[:, None]."
        ) from None


@dataclasses.dataclass(frozen=True)
class TheoryFunction:
    """Decorator of the theory functions of one package.

    `rules` say what an argument of a given name must be, wherever it occurs; `check` gets all
    arguments by name. Docstrings get the sections that most functions share, unless they have their
    own: what is raised, and the `reference`.
    """

    rules: Mapping[str, Rule]
    check: Check | None = None
    reference: str | None = None

    def __call__(
        self,
        *static: str,
        vectorize: bool = True,
        in_parts: bool = False,
        trees: tuple[str, ...] = (),
        cast_trees: bool = False,
        least: DTypeLike = np.float32,
        plain: Callable[[Mapping[str, Any]], Mapping[str, Hashable]] | None = None,
        check: Check | None = None,
        **rules: Rule,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Check, cast, broadcast and compile a formula.

        Arguments are checked before anything compiles; traced values pass, and `None` where it is
        the default. Numbers and arrays become arrays of one floating dtype. The result may be any
        pytree of arrays.

        **Arguments**

        - `static`: names of arguments that are constants of the compiled program. One annotated
          as a `Literal` is checked against its choices, one as a `bool` must be one.
        - `vectorize`: the formula is of scalars; otherwise it broadcasts by itself.
        - `in_parts`: the formula calls functions that are compiled one by one, which it shares with
          others.
        - `trees`: names of arguments that are pytrees, the same for all scalars.
        - `cast_trees`: the arrays in these pytrees and the numbers get one dtype.
        - `least`: the least precise dtype of the formula, whatever that of its arguments.
        - `plain`: what plain values say before anything compiles: constants of the program, by
          name, which replace arguments of that name. Parameters of the formula whose names begin
          with an underscore are no arguments: they are for these constants.
        - `check`, `rules`: checks of this function alone; a rule replaces that of the package.
        """
        checks = [c for c in (self.check, check) if c is not None]

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            signature = inspect.signature(function)
            public = [p for n, p in signature.parameters.items() if not n.startswith("_")]
            signature = signature.replace(parameters=public)
            names = tuple(signature.parameters)
            optional = {n for n, p in signature.parameters.items() if p.default is None}
            own = {n: r for n in names if (r := rules.get(n, self.rules.get(n))) is not None}
            for name in static:
                annotation = signature.parameters[name].annotation
                if name not in own and typing.get_origin(annotation) is typing.Literal:
                    choices = typing.get_args(annotation)
                    own[name] = functools.partial(check_choices, choices=choices)
                elif name not in own and annotation is bool:
                    own[name] = check_flag
            floats = tuple(n for n in names if n not in static and n not in trees)
            compiled = _compiled(function, vectorize, in_parts)
            raises = "`ValueError` for a plain number out of range." if own or checks else None
            own.update((n, _numbers) for n in floats if n not in own)

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                bound = bound_arguments(function.__name__, signature, args, kwargs)
                bound.apply_defaults()
                values = bound.arguments
                for name, rule in own.items():
                    if values[name] is not None or name not in optional:
                        rule(name, values[name])
                for together in checks:
                    together(values)
                constants: dict[str, Any] = {n: values[n] for n in static}
                constants.update(plain(values) if plain is not None else {})
                given = [n for n in floats if values[n] is not None]
                objects = {n: values[n] for n in trees}
                leaves, structure = jax.tree.flatten(objects) if cast_trees else ([], None)
                arrays = as_floats(*(values[n] for n in given), *leaves, least=least)
                if leaves:
                    objects = jax.tree.unflatten(structure, arrays[len(given) :])
                objects.update((n, None) for n in floats if n not in given)
                used = {n: a for n, a in zip(given, arrays, strict=False) if n not in constants}
                if vectorize:
                    check_shapes(used)
                return compiled(tuple(used.values()), objects, (tuple(used), *constants.items()))

            sections = {"Raises": raises, "Reference": self.reference}
            call.__doc__ = _documented(function.__doc__ or "", sections)
            call.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
            shown = {*names, "return"}
            call.__annotations__ = {n: a for n, a in function.__annotations__.items() if n in shown}
            return call

        return decorate


def _documented(text: str, sections: Mapping[str, str | None]) -> str:
    """Add the sections that a docstring lacks behind what it returns and raises."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    missing = [f"**{n}:** {s}" for n, s in sections.items() if s and f"**{n}:**" not in text]
    heads = ("**Returns:**", "**Raises:**")
    ends = [end for end, text in enumerate(paragraphs, 1) if text.startswith(heads)]
    if ends:
        paragraphs[ends[-1] : ends[-1]] = missing
    return "\n\n".join(paragraphs)


def _compiled(function: Callable[..., R], vectorize: bool, in_parts: bool) -> Callable[..., R]:
    """Compile `function` for arrays, pytrees, and constants: names of the arrays, then options."""

    def core(arrays: tuple[Array, ...], trees: dict[str, Any], constants: Any) -> Any:
        names, *options = constants

        def formula(*values: Array) -> Any:
            return function(**dict(zip(names, values, strict=True)), **trees, **dict(options))

        return _vectorized(formula)(*arrays) if vectorize else formula(*arrays)

    core.__name__ = core.__qualname__ = function.__name__  # the name of the compiled program
    return core if in_parts else compiled_quickly(core, static_argnums=2)


def compiled_quickly(function: Callable[..., R], **options: Any) -> Callable[..., R]:
    """`jax.jit` of a formula that is mostly evaluated a few times.

    Where it is called by itself, it is compiled with `quick_options`, and its values take as long.
    Within other programs it is compiled as they are.
    """
    part = jax.jit(function, **options)

    @functools.cache
    def alone() -> Callable[..., R]:
        return jax.jit(function, compiler_options=quick_options(), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        inside = is_traced(*jax.tree.leaves((args, kwargs)))
        # a program may close over all arguments: then what is made here is traced
        inside = inside or is_traced(jax.lax.iota("int32", 1))
        return (part if inside else alone())(*args, **kwargs)

    return call


def _vectorized(formula: Callable[..., Any]) -> Callable[..., Any]:
    """`jnp.vectorize` for a function that returns a pytree."""

    def broadcast(*arrays: Array) -> Any:
        structures = []

        def flat(*scalars: Array) -> tuple[Array, ...]:
            leaves, structure = jax.tree.flatten(formula(*scalars))
            structures.append(structure)
            return tuple(leaves)

        leaves = jnp.vectorize(flat)(*arrays)
        return jax.tree.unflatten(structures[-1], leaves)

    return broadcast
