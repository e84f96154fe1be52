"""What the formulas are made of, in mpmath: integrals, binomial sums, long sums."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import gmpy2
import mpmath
import numpy as np
from mpmath import mpf

from references._case import hurwitz, power_sum
from references._mpfr import in_mpfr, powers, to_mpfr

NODES = 44  # 40 digits on panels as wide as the distance to the nearest pole


@functools.cache
def gauss_legendre(n: int = NODES) -> list[tuple[mpf, mpf]]:
    """Points and weights on (-1, 1) with 60 digits: Newton's method from those of NumPy."""
    rule = []
    with mpmath.workdps(60):
        for start in np.polynomial.legendre.leggauss(n)[0]:
            x = mpf(float(start))
            for _ in range(4):
                before, value = mpf(1), x
                for k in range(2, n + 1):
                    before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
                slope = n * (before - x * value) / (1 - x**2)
                x -= value / slope
            rule.append((x, 2 / ((1 - x**2) * slope**2)))
    return rule


@functools.cache
def _rule(precision: int) -> list[tuple[Any, Any]]:
    """The points and weights with bits."""
    with gmpy2.context(precision=precision):
        return [(to_mpfr(x), to_mpfr(w)) for x, w in gauss_legendre()]


def integrate(f: Callable[[Any], Any], ends: list[Any]) -> Any:
    """Integrate a smooth function over adjacent panels, with the numbers of the ends."""
    with_mpmath = isinstance(ends[0], mpf)
    rule = gauss_legendre() if with_mpmath else _rule(gmpy2.get_context().precision)
    total = 0 * ends[0]
    for low, high in itertools.pairwise(ends):
        half, middle = (high - low) / 2, (high + low) / 2
        total += half * sum(w * f(middle + half * x) for x, w in rule)
    return total


def _panels(low: Any, high: Any, width: int) -> list[Any]:
    n = max(1, math.ceil((high - low) / width))
    return [low + (high - low) * i / n for i in range(n + 1)]


def _residual(u: Any, odds: Any) -> Any:
    return (1 + gmpy2.exp(2 * u) / odds) ** -2


@in_mpfr
def residual(u: Any, odds: Any) -> Any:
    """F(u) = (1 + e^2u / M)^-2, M the odds."""
    return _residual(u, odds)


@in_mpfr
def residual_integral(low: Any, s: Any, odds: Any) -> Any:
    """Integral of u^(s-1) F(u) from `low` to infinity; by parts, for a start at 0."""

    def front(u: Any) -> Any:
        y = gmpy2.exp(2 * u) / odds
        return 4 * y / (1 + y) ** 3

    def of_log(y: Any) -> Any:
        return gmpy2.exp((1 + s) * y) * front(gmpy2.exp(y))

    one = gmpy2.mpfr(1)
    end = max(gmpy2.log(odds), 0) / 2 + 40
    first = max(low, gmpy2.exp(-110 / (1 + s)))
    total = 0 * one
    if first < 1:
        total += integrate(of_log, _panels(gmpy2.log(first), 0 * one, 2))
    if first < end:
        total += integrate(lambda u: u**s * front(u), _panels(max(first, one), end, 2))
    edge = low**s * _residual(low, odds) if low > 0 else 0
    return (total - edge) / s


def binomial(n: int, p: mpf) -> list[tuple[int, mpf]]:
    """Counts and their probabilities, of all that matter to 1e-40."""
    n = int(n)
    if n == 0 or p == 1:
        return [(n, mpf(1))]
    spread = mpmath.sqrt(n * p * (1 - p))
    low = max(0, int(n * p - 14 * spread - 60))
    high = min(n, int(n * p + 14 * spread + 60))
    mass = mpmath.exp(
        mpmath.loggamma(n + 1) - mpmath.loggamma(low + 1) - mpmath.loggamma(n - low + 1)
        + low * mpmath.log(p) + (n - low) * mpmath.log1p(-p)
    )  # fmt: skip
    masses, ratio = [], p / (1 - p)
    for d in range(low, high + 1):
        masses.append((d, mass))
        mass = mass * (n - d) * ratio / (d + 1)
    return masses


def skill_sum(
    f: Callable[[int], mpf], n: int, alpha: mpf, first: mpf | int, last: mpf | float, norm: mpf
) -> mpf:
    """Sum of P_k E f(d_k), d_k ~ Binomial(n, P_k), over a range of skills: Newton's series.

    E f(d) is the sum over j of binom(n, j) p^j times the j-th difference of f at 0, so that each
    power of P_k is a zeta function. Its terms grow as 2^n: digits are added.
    """
    n = int(n)
    with mpmath.extradps(int(0.65 * n) + 10):
        row = [mpf(f(d)) for d in range(n + 1)]
        total, choose = mpf(0), mpf(1)
        for j in range(n + 1):
            exponent = (alpha + 1) * (j + 1)
            total += choose * row[0] * norm ** (j + 1) * power_sum(exponent, first, last)
            row = [b - a for a, b in itertools.pairwise(row)]
            choose = choose * (n - j) / (j + 1)
        return +total


def fresh_sum(tau: mpf, odds: mpf, alpha: mpf, last: mpf | float, norm: mpf) -> mpf:
    """Sum of P_k F(tau P_k) up to `last`: terms one by one, then the powers of P_k as zetas."""
    n_direct = int(mpmath.ceil((norm * tau / mpf("0.4")) ** (1 / (alpha + 1)))) + 1
    if n_direct > 6000:
        raise ValueError(f"{n_direct} terms")
    n_direct = int(min(n_direct, last))
    total = _direct(tau, odds, alpha, norm, n_direct)
    if n_direct == last:
        return total
    for j, c in enumerate(_taylor(odds)):
        exponent = (alpha + 1) * (j + 1)
        powers = hurwitz(exponent, n_direct + 1)
        if last != mpmath.inf:
            powers = power_sum(exponent, n_direct + 1, last)
        term = c * tau**j * norm ** (j + 1) * powers
        total += term
        if abs(term) < mpf(10) ** -mpmath.mp.dps * total:
            break
    return total


@in_mpfr
def _direct(tau: Any, odds: Any, alpha: Any, norm: Any, n: int) -> Any:
    """The first n terms of `fresh_sum`."""
    probabilities = [norm * x for x in powers(-(alpha + 1), n)]
    return gmpy2.fsum([p * _residual(tau * p, odds) for p in probabilities])


@functools.lru_cache(maxsize=16)
@in_mpfr
def _taylor(odds: Any, order: int = 75) -> list[Any]:
    """Coefficients of F at 0: those of g = 1 + e^2u / M, inverted and squared."""
    g = [2**j / odds / math.factorial(j) for j in range(order)]
    g[0] += 1
    inverse = [1 / g[0]]
    for j in range(1, order):
        inverse.append(-gmpy2.fsum([g[i] * inverse[j - i] for i in range(1, j + 1)]) / g[0])
    return [gmpy2.fsum([inverse[i] * inverse[j - i] for i in range(j + 1)]) for j in range(order)]


def long_sum(
    h: Callable[[Any], Any], first: int, last: int, steepness: mpf, origin: int = 0
) -> mpf:
    """Sum of a smooth function over first..last: an integral over ln k, corrected at its ends.

    The function is one of numbers of gmpy2.
    `steepness` bounds the logarithmic slope of h; the midpoint Euler-Maclaurin formula (DLMF 2.10)
    is exact to (steepness / (2 pi first))^14. Next to an `origin` in front of the first, h may be a
    power of the distance: the integral is over the logarithm of that.
    """

    @in_mpfr
    def near(first: int, last: int) -> Any:
        return sum((h(gmpy2.mpfr(k)) for k in range(first, last + 1)), gmpy2.mpfr(0))

    @in_mpfr
    def far(low: Any, high: Any) -> Any:
        panels = _panels(gmpy2.log(low - origin), gmpy2.log(high - origin), 1)
        return integrate(lambda y: h(origin + gmpy2.exp(y)) * gmpy2.exp(y), panels)

    if last - first < 400:
        return near(first, last)
    start = int(first + 60 + 8 * steepness)
    low, high = mpf(start) - mpf("0.5"), mpf(last) + mpf("0.5")
    total = near(first, start - 1) + far(low, high)
    for end, sign in ((high, 1), (low, -1)):
        derivatives = mpmath.taylor(in_mpfr(h), end, 13)
        for k in range(1, 8):
            bernoulli = (mpf(2) ** (1 - 2 * k) - 1) * mpmath.bernoulli(2 * k)
            total += sign * bernoulli / (2 * k) * derivatives[2 * k - 1]
    return total
