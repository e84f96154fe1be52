"""Numbers out of what users give: converted, or refused by the field's name and the value."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

if TYPE_CHECKING:  # what constructors take; fields hold arrays
    Real = float | Array | np.ndarray
    Integer = int | np.integer | Array | np.ndarray
    Steps = Sequence[int] | np.ndarray
else:
    Real = Float[Array | np.ndarray, ""]
    Integer = Int[Array | np.ndarray, ""]
    Steps = tuple[int, ...]


def is_traced(*values: Any) -> bool:
    """Whether any of `values` is a tracer, which has no number yet."""
    return any(isinstance(value, Tracer) for value in values)


LARGEST = int(np.finfo(float).max)  # of whole numbers that a float holds
MOST_ROUNDING = 1e-3  # distance of a float from the whole number that it stands for

_COMPARISONS = {
    "above": (operator.gt, "greater than"),
    "at_least": (operator.ge, "at least"),
    "below": (operator.lt, "less than"),
    "at_most": (operator.le, "at most"),
}


def _check_interval(name: str, value: float, bounds: Mapping[str, float | None]) -> None:
    for key, bound in bounds.items():
        holds, words = _COMPARISONS[key]
        if bound is not None and not holds(value, bound):
            raise ValueError(f"`{name}` must be {words} {bound:.16g}, got {value!r}.")


def as_real(name: str, value: Any, **bounds: float | None) -> Any:
    """Convert `value` to a host float64 scalar; traced values pass through.

    **Raises** `ValueError` naming `name` for what is not a finite scalar within `bounds`.
    """
    return float_array(name, value, 0, bounds)


def float_array(name: str, value: Any, ndim: int, bounds: Mapping[str, float | None]) -> Any:
    if is_traced(value):
        return value
    numbers = "an array of real numbers" if ndim else "a real number"
    shape = ("a scalar", "a non-empty vector", "a non-empty matrix")[ndim]
    try:
        if value is None or isinstance(value, bool | str | bytes):
            raise TypeError
        if np.asarray(value).dtype.kind not in "iufO":  # dates, too, which NumPy counts in units
            raise TypeError
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{name}` must be {numbers}, got {value!r}.") from None
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"`{name}` must be {shape}, got shape {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite, got {float(array[~np.isfinite(array)][0])!r}.")
    for number in (array.min(), array.max()) if ndim else (array,):
        own = value if type(value) is int else float(number)  # as it was written
        _check_interval(name, own, bounds)
    return array


def as_int(name: str, value: Any, **bounds: float | None) -> int:
    """Convert `value` to a Python int.

    **Raises** `ValueError` naming `name` for what is not a whole number within `bounds`.
    """
    try:
        number = _exact(value)
        is_integer = abs(number - round(number)) <= min(1e-9 * abs(number), MOST_ROUNDING)
    except (TypeError, ValueError, OverflowError):  # the last two also of NaN and infinity
        is_integer = False
    if not is_integer:
        raise ValueError(f"`{name}` must be a whole number, got {value!r}.")
    _check_interval(name, round(number), bounds)
    return round(number)


def _exact(value: Any) -> int | float:
    """An integer with all its digits, anything else as a float."""
    if isinstance(value, bool | np.bool | str | bytes):
        raise TypeError
    try:
        return operator.index(value)
    except TypeError:
        return float(value)


def as_floats(*values: Any, least: DTypeLike = np.float32) -> tuple[Array, ...]:
    r"""Convert numbers and arrays to floating arrays of one common dtype.

    $$\text{dtype} = \max_i \text{dtype}(x_i)$$ over the arguments that are floating arrays;
    Python numbers and integers follow them, or the default float dtype if there are none.

    **Arguments:**

    - `values`: scalars, or arrays, lists and columns of any shape.
    - `least`: the least precise dtype; half precision becomes single.

    **Returns:** one array per argument, shapes unchanged.
    """
    # through NumPy: one transfer for each number, and no conversion on the device
    arrays = [v if isinstance(v, jax.Array | int | float) else np.asarray(v) for v in values]
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(jnp.result_type(float, *arrays), least)
    return tuple(
        a.astype(dtype) if isinstance(a, jax.Array) else jnp.asarray(np.asarray(a, dtype))
        for a in arrays
    )


def require_instance(name: str, value: object, kind: type, source: str) -> None:
    """Raise `ValueError` unless `value` is a `kind`, which the function `source` returns."""
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` must be what {source} returns, got {type(value).__name__}.")


def require_float_type(name: str, value: Any) -> str:
    """Name of a floating type that runs may have.

    **Raises** `ValueError` naming `name` for anything but float32 and float64.
    """
    try:
        float_type = "" if value is None else np.dtype(value).name  # NumPy takes None for float64
    except TypeError:
        float_type = ""
    if float_type not in ("float32", "float64"):
        raise ValueError(f"`{name}` must be float32 or float64, got {value!r}.")
    return float_type


def require_float64(dtype: str) -> None:
    """Refuse float64 where JAX would make it float32."""
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore
        raise ValueError("`dtype` float64 needs `with jax.enable_x64(True):` around a bare call.")


def require(name: str, value: Any, ok: Callable[[Any], Any], what: str) -> None:
    """Check a plain Python or NumPy number or array; JAX arrays and tracers pass.

    **Raises:** `ValueError` "`name` must be `what`, got ..." unless `ok(value)` is true throughout.
    """
    if type(value) in (int, float):  # the usual case; NumPy takes several times as long
        valid = ok(value) if type(value) is float or abs(value) <= LARGEST else False
    elif isinstance(value, jax.Array):
        return
    else:
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"`{name}` must be {what}, got {value!r}.")
        valid = ok(array)
    if valid is not True and not np.all(valid):
        raise ValueError(f"`{name}` must be {what}, got {value}.")


class ArrayAsLength(ValueError):
    """An array, or a traced number, where a length of the program must be a plain number."""


def require_count(name: str, value: Any, *, finite: bool = False) -> None:
    """Check a static number of terms: an integer of at least 1, or `math.inf` where it may be.

    **Raises:** `ValueError` that names `name` and the value.
    """
    if isinstance(value, jax.Array | np.ndarray):
        raise ArrayAsLength(
            f"`{name}` sets a length in the program and must be a number of Python, got {value}: "
            "take int(...) of an array, and a loop over several."
        )
    is_number = isinstance(value, int | float | np.number)
    is_count = is_number and value >= 1 and (value == math.inf or int(value) == value)
    if not is_count or (finite and value == math.inf):
        what = "a finite integer of at least 1" if finite else "an integer of at least 1"
        other = "" if finite else " or math.inf"
        raise ValueError(f"`{name}` must be {what}{other}, got {value}.")
