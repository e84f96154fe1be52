"""A case: a function of the package, the same formula in mpmath, and the box of its arguments."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import gmpy2
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from mpmath import mpf

from references._mpfr import in_mpfr

DIGITS = 50
BATCH = 8  # points of one call: one program for all
SPECIAL = 0.2  # share of random coordinates that are special values
STEP = 1e-12  # of differences, relative; they are exact to its square


@dataclasses.dataclass(frozen=True)
class Axis:
    """Range of an argument, and values inside or at its ends that every table holds."""

    low: float
    high: float
    at: tuple[float, ...] = ()
    linear: bool = False
    integer: bool = False  # integers only: there is no slope

    @property
    def ends(self) -> list[float | None]:
        """The smallest and the largest finite value, and None if infinity is one, too."""
        values = (self.low, self.high, *self.at)
        finite = [v for v in values if math.isfinite(v)]
        return [min(finite), max(finite), *[None] * (len(finite) < len(values))]

    def value(self, unit: float) -> float:
        """Return the value at a share of the range, of its logarithm unless `linear`.

        Shares above 1 are the special values, one after the other.
        """
        if unit > 1:
            return (self.low, self.high, *self.at)[int((unit - 1) / SPECIAL * (2 + len(self.at)))]
        if self.linear:
            value = self.low + (self.high - self.low) * unit
        else:
            value = math.exp(math.log(self.low) * (1 - unit) + math.log(self.high) * unit)
        value = min(max(value, self.low), self.high)
        return float(round(value)) if self.integer else value


@dataclasses.dataclass(frozen=True)
class Case:
    """One function over one box.

    `compute` maps float arrays of one shape to an array, `exact` the same arguments as `mpf` to an
    `mpf`. `derive` turns a point of the box into arguments, where one depends on another. An error
    is relative to the larger of the value and `size`, of the arguments as `mpf`: the largest term
    of a sum that may be 0, or what a program leaves out.
    """

    name: str
    compute: Callable[..., jax.Array]
    exact: Callable[..., mpf]
    box: Mapping[str, Axis]
    derive: Callable[..., dict[str, float]] | None = None
    size: Callable[..., mpf] | None = None
    relative_to: str = "value"
    bound: float = 1e-10
    slope_bound: float = 1e-8
    extra: tuple[Mapping[str, float], ...] = ()  # points of the table; other values in the middle
    n_random: int = 12  # of the table; a long hunt takes four times as many
    slopes: Literal[True] | tuple[str, ...] = True  # arguments whose derivatives are compared

    def arguments(self, point: Mapping[str, float]) -> dict[str, float]:
        """Return the arguments at a point of the box."""
        values = {k: float(v) for k, v in point.items()}
        return self.derive(**values) if self.derive is not None else values

    def at(self, units: np.ndarray) -> dict[str, float]:
        """Return the arguments at shares of the ranges, `(n_axes,)`."""
        return self.arguments(self.point(units))

    def point(self, units: np.ndarray) -> dict[str, float]:
        """Return the point of the box at shares of the ranges."""
        axes = zip(self.box.items(), units, strict=True)
        return {name: axis.value(unit) for (name, axis), unit in axes}

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Shares of the ranges at random; some are special values."""
        return rng.random(len(self.box)) * (1 + SPECIAL)

    def points(self, rng: np.random.Generator) -> list[dict[str, float]]:
        """Random points, every end and special value with the others at random, and `extra`."""
        points = [self.at(self.sample(rng)) for _ in range(self.n_random)]
        for name, axis in self.box.items():
            for value in (axis.low, axis.high, *axis.at):
                point = self.point(rng.random(len(self.box)))
                points.append(self.arguments(point | {name: value}))
        middle = {k: a.value(0.5) for k, a in self.box.items()}
        return points + [self.arguments(middle | extra) for extra in self.extra]

    def reference(self, arguments: Mapping[str, float]) -> tuple[float, float]:
        """The value with `DIGITS` digits, rounded, and the size that an error is relative to."""
        with mpmath.workdps(DIGITS):
            exact = {k: mpf(v) for k, v in arguments.items()}
            value = _once(self.exact, *exact.items())
            size = abs(value) if self.size is None else max(abs(value), self.size(**exact))
            return float(value), float(size)

    def slope(self, arguments: Mapping[str, float], name: str) -> float:
        """Derivative in one argument by differences; NaN at 0, infinity, and kinks."""
        x = arguments[name]
        axis = self.box.get(name)
        skipped = self.slopes is not True and name not in self.slopes
        if skipped or x == 0 or math.isinf(x) or (axis is not None and axis.integer):
            return math.nan
        with mpmath.workdps(DIGITS):
            exact = {k: mpf(v) for k, v in arguments.items()}
            step = abs(exact[name]) * mpf(STEP)
            low, middle, high = (
                _once(self.exact, *(exact | {name: exact[name] + i * step}).items())
                for i in (-1, 0, 1)
            )
            scale = max(abs(high - low), abs(middle) * mpf(STEP))
            kink = abs(high - 2 * middle + low) > scale * mpf("1e-9")
            return math.nan if kink else float((high - low) / (2 * step))

    def values(self, arguments: list[dict[str, float]]) -> np.ndarray:
        """What the package returns, one number per point."""
        rows = _padded(arguments)
        columns = {k: np.reshape(rows[:, i], (-1, BATCH)) for i, k in enumerate(arguments[0])}
        with jax.enable_x64(True):
            batches = zip(*columns.values(), strict=True)
            values = [self.compute(**dict(zip(columns, x, strict=True))) for x in batches]
        return np.ravel(np.asarray(values, float))[: len(arguments)]

    def with_gradients(self, arguments: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Values and derivatives by JAX, `(n_points,)` and `(n_points, n_arguments)`."""
        names = tuple(arguments[0])
        with jax.enable_x64(True):
            program = _with_gradient(self.compute, names)
            parts = [program(rows) for rows in _padded(arguments).reshape(-1, BATCH, len(names))]
        values, gradients = map(np.concatenate, zip(*parts, strict=True))
        return values[: len(arguments)], gradients[: len(arguments)]


def _padded(arguments: list[dict[str, float]]) -> np.ndarray:
    """Arguments in rows, whose number is a multiple of `BATCH`."""
    padded = arguments + arguments[:1] * (-len(arguments) % BATCH)
    return np.array([[a[k] for k in arguments[0]] for a in padded])


@functools.cache
def _with_gradient(
    compute: Callable[..., jax.Array], names: tuple[str, ...]
) -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
    """Values and derivatives at rows of arguments: one program for all of them."""

    def one(row: jax.Array) -> jax.Array:
        return compute(**dict(zip(names, row, strict=True)))

    return jax.jit(jax.vmap(jax.value_and_grad(one)))


@functools.lru_cache(maxsize=1024)
def _once(exact: Callable[..., mpf], *arguments: tuple[str, mpf]) -> mpf:
    """A value that several differences need."""
    return exact(**dict(arguments))


def over_points(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Map a function of scalars over points."""

    def call(**columns: jax.Array) -> jax.Array:
        def one(*values: jax.Array) -> jax.Array:
            return function(**dict(zip(columns, values, strict=True)))

        return jnp.vectorize(one)(*columns.values())

    return call


def relative(values: np.ndarray, exact: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Errors relative to `size`: 0 where both are equal, infinite where one is not a number.

    Numbers below the smallest that a float64 holds in full have no relative error.
    """
    least = float(np.finfo(float).tiny) * 1e20
    with np.errstate(invalid="ignore"):
        error = np.abs(values - exact) / np.maximum(size, least)
    error = np.where(values == exact, 0.0, error)
    return np.where(np.isnan(error), np.inf, error)


def hurwitz(s: mpf, q: mpf | int) -> mpf:
    """Sum of k^-s from q on, continued to s < 1; as many digits as the context has.

    Euler-Maclaurin (DLMF 2.10.1); `mpmath.zeta` takes seconds for s < 1 and a large q.
    """
    n = max(0, int(mpmath.ceil(mpmath.mp.dps * 0.7 + 10 + abs(s) / 4 - q)))
    return _euler_maclaurin(s, mpf(q), n)


@in_mpfr
def _euler_maclaurin(s: Any, q: Any, n: int) -> Any:
    """The first n terms one by one, the others as an integral and its corrections."""
    a = q + n
    last = a**-s
    total = gmpy2.fsum([(q + k) ** -s for k in range(n)]) + a * last / (s - 1) + last / 2
    factor = s * last / a
    least = abs(total) / 2**mpmath.mp.prec / 1000
    for j in range(1, 300):
        term = _bernoulli(j, gmpy2.get_context().precision) * factor
        total += term
        if abs(term) < least or term == 0:
            return total
        factor *= (s + 2 * j - 1) * (s + 2 * j) / a**2
    raise ArithmeticError(f"no convergence at s = {s}, q = {q}")


@functools.cache
def _bernoulli(j: int, precision: int) -> Any:
    """`B_2j / (2j)!`, with bits."""
    numerator, denominator = mpmath.bernfrac(2 * j)
    with gmpy2.context(precision=precision):
        return gmpy2.mpfr(gmpy2.mpq(numerator, denominator * math.factorial(2 * j)))


def power_sum(s: mpf, first: mpf | int, last: mpf | int | float) -> mpf:
    """Sum of k^-s from `first` to `last`, continued to real ends."""
    if last == math.inf:
        return hurwitz(s, mpf(first))
    if last < first:
        return mpf(0)
    if s == 1:
        return mpmath.digamma(mpf(last) + 1) - mpmath.digamma(mpf(first))
    length = mpf(last) - mpf(first) + 1
    if length <= 50 and length == int(length):
        return mpmath.fsum((first + k) ** -s for k in range(int(length)))
    with mpmath.extradps(20):
        return hurwitz(s, mpf(first)) - hurwitz(s, mpf(last) + 1)
