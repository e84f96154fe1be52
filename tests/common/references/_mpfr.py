"""Long loops in MPFR, by gmpy2: with the digits of mpmath, and more of them in a second."""

import functools
from collections.abc import Callable
from typing import Any

import gmpy2
import mpmath
from mpmath import libmp, mpf

GUARD = 30  # bits beyond those of mpmath


def to_mpfr(x: Any) -> Any:
    """Finite numbers of mpmath as those of gmpy2; anything else as it is."""
    if isinstance(x, mpmath.mpc):
        return gmpy2.mpc(to_mpfr(x.real), to_mpfr(x.imag))
    if not isinstance(x, mpf) or not mpmath.isfinite(x):
        return x
    mantissa, exponent = libmp.to_man_exp(x._mpf_, signed=True)
    scale = gmpy2.mul_2exp if exponent >= 0 else gmpy2.div_2exp
    return scale(gmpy2.mpfr(mantissa), abs(exponent))


def to_mpf(x: Any) -> Any:
    """Finite numbers of gmpy2, or a list of them, as those of mpmath."""
    if isinstance(x, list):
        return [to_mpf(value) for value in x]
    if isinstance(x, gmpy2.mpc):
        return mpmath.mpc(to_mpf(x.real), to_mpf(x.imag))
    mantissa, exponent = x.as_mantissa_exp()
    return mpf((mantissa, int(exponent)))


def digits() -> Any:
    """Context in which numbers of gmpy2 have as many digits as those of mpmath have now."""
    return gmpy2.context(precision=mpmath.mp.prec + GUARD)


def in_mpfr(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of numbers of mpmath compute with those of gmpy2."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        with digits():
            return to_mpf(function(*map(to_mpfr, arguments)))

    return call


def powers(p: Any, n: int) -> list[Any]:
    """`j^p` of 1..n: of primes, whose products are the others."""
    values: list[Any] = [gmpy2.mpfr(1)] * (n + 1)
    is_prime = [True] * (n + 1)
    for j in range(2, n + 1):
        if is_prime[j]:
            values[j] = gmpy2.mpfr(j) ** p
            for multiple in range(2 * j, n + 1, j):
                is_prime[multiple] = False
                values[multiple] = values[j] * values[multiple // j]
    return values[1:]
