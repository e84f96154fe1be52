"""Which numbers a factory of optimizers must get as Python numbers, because it branches on them."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

WAY = "use `jnp.where` or `jax.lax.cond` in the factory"


@jax.tree_util.register_static
class PlainNumber(float):
    """A number that is no leaf: part of the structure of a program, a Python number inside it."""


@functools.lru_cache(256)
def _trace_error(
    function: Callable[..., Any],
    code: Any,
    traced: tuple[str, ...],
    fixed: tuple[tuple[str, float], ...],
) -> tuple[bool, str]:
    """Trace a factory, and a step of what it makes, over the learning rate and numbers `traced`.

    `code` is that of the function, which may change in place.

    **Returns** whether it needs one of them as a number, and the first line of its error, if any.
    """
    number = jax.ShapeDtypeStruct((), np.float32)
    params = {
        "matrix": jax.ShapeDtypeStruct((2, 2), np.float32),
        "vector": number.update(shape=(2,)),
    }

    def step(learning_rate: Any, numbers: dict[str, Any], params: Any) -> Any:
        made = function(learning_rate=learning_rate, **numbers, **dict(fixed))
        return made.update(params, made.init(params), params)[0]

    try:
        with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
            warnings.simplefilter("ignore")
            jax.eval_shape(step, number, dict.fromkeys(traced, number), params)
    except Exception as error:  # the factory is the user's: anything may go wrong in it
        line = (str(error).splitlines() or [""])[0]
        return isinstance(error, jax.errors.JAXTypeError), f"{type(error).__name__}: {line}"
    return False, ""


def plain_numbers(
    name: str, function: Callable[..., Any], numbers: Mapping[str, float]
) -> tuple[str, ...]:
    """Names of the numbers that the factory `name` must get as Python numbers.

    A factory that also fails with Python numbers alone does so for the parameters of the trial:
    nothing is known of it, and all its numbers may be traced.

    **Raises** `ValueError` for a factory that branches on the learning rate, which is traced, and
    for one whose updates need more than gradients (a line search).
    """

    code = getattr(inspect.unwrap(function), "__code__", None)

    def failure(*traced: str) -> tuple[bool, str]:
        fixed = tuple((n, v) for n, v in numbers.items() if n not in traced)
        return _trace_error(function, code, traced, fixed)

    if not failure(*numbers)[1]:
        return ()
    needs_number, error = failure()
    if needs_number:
        raise ValueError(
            f"`factory` {name!r} must not branch on `learning_rate`, or need it as a Python "
            f"number: it is traced; {WAY} ({error})."
        )
    if "required keyword-only argument" in error:
        raise ValueError(
            f"`factory` {name!r} must make a transformation of gradients alone, but its updates "
            f"need more: {error}. Choose another factory."
        )
    if error:
        return ()
    needed = [n for n in numbers if failure(n)[1]]
    together = failure(*(n for n in numbers if n not in needed))[1]
    return tuple(numbers) if together else tuple(needed)


def plain_axis_error(path: str, factory: str) -> ValueError:
    """Return the error of an axis over a number that its factory needs as a Python number."""
    owner, _, name = path.rpartition(".hyperparameters.")
    return ValueError(
        f"axis `{path}`: the factory {factory!r} branches on {name!r}, or needs it as a Python "
        f"number. Sweep {owner!r} over one Optax({factory!r}, {name}=...) for each value, or {WAY}."
    )
