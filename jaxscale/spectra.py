"""Power laws shared by every system: probabilities, finite and infinite sums, zeta functions.

Sums are never truncated. A few terms are added directly and the rest follows from the
Euler-Maclaurin formula, so a sum to infinity costs as much as a short one and stays
differentiable in its exponent and in its limits.
"""

import math
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._convert import (
    as_floats as as_floats,
    require as require,
    require_count as require_count,
)
from jaxscale._quadrature import (
    gauss_legendre as gauss_legendre,
    integrate as integrate,
    tail_rule as tail_rule,
)

_N_DIRECT = 16  # terms added directly before Euler-Maclaurin
_PRECISE = (lambda v: v >= -2.5, "at least -2.5")  # below, large terms cancel
_BERNOULLI = (  # B_2j / (2j)! for j = 1, 2, ...
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600,
)  # fmt: skip


def _as_float_array(x: ArrayLike) -> Array:
    return as_floats(x)[0]


class PowerLaw(eqx.Module):
    r"""A power law `law(x) = prefactor * x**-exponent`.

    $$y = a\, x^{-b}$$

    **Arguments:**

    - `prefactor`: scalar or array, in the units of `y`.
    - `exponent`: scalar or array, dimensionless; positive when the law decays.

    **Returns:** a callable pytree with two array leaves.

    **Example**

    >>> law = js.spectra.PowerLaw(2.0, 0.5)
    >>> print(law(4.0))
    1.0
    """

    prefactor: Float[Array, "..."] = eqx.field(converter=_as_float_array)
    exponent: Float[Array, "..."] = eqx.field(converter=_as_float_array)

    def __call__(self, x: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Evaluate the law at `x` (any shape that broadcasts with the two leaves)."""
        value, prefactor, exponent = as_floats(x, self.prefactor, self.exponent)
        return prefactor * value**-exponent


def _zeta_remainder(s: Array, q: Array) -> Array:
    """Euler-Maclaurin at the end `q` of a sum of k^-s, without the integral."""
    term = s * q ** (-s - 1)
    total = q**-s / 2
    for j, coefficient in enumerate(_BERNOULLI):
        total = total + coefficient * term
        term = term * (s + 2 * j + 1) * (s + 2 * j + 2) / q**2
    return total


def _direct(s: Array, q: Array) -> Array:
    steps = jnp.arange(_N_DIRECT, dtype=q.dtype)
    return jnp.sum((q[..., None] + steps) ** -s[..., None], axis=-1)


@jax.jit
def _hurwitz_zeta(s: Array, q: Array) -> Array:
    s, q = jnp.broadcast_arrays(s, q)
    end = q + _N_DIRECT
    return _direct(s, q) + end ** (1 - s) / (s - 1) + _zeta_remainder(s, end)


def hurwitz_zeta(s: Real[ArrayLike, "..."], q: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Hurwitz zeta function, differentiable in both arguments.

    $$\zeta(s, q) = \sum_{k \ge 0} (q + k)^{-s}$$

    Relative error below 1e-13 in float64 for s > 1. For s < 1 the analytic continuation is
    returned, within 1e-10 of its largest term.

    **Arguments:**

    - `s`: exponent, any shape, at least -2.5, not 1.
    - `q`: offset, positive, broadcastable with `s`.

    **Returns:** the broadcast shape of `s` and `q`.

    **Raises:** `ValueError` for a plain number `s` below -2.5 or equal to 1, or `q` not positive.

    **Reference:** Euler-Maclaurin with seven Bernoulli terms (DLMF 25.11.5, 2.10.1).

    **Example**

    >>> print(f"{js.spectra.hurwitz_zeta(2.0, 1.0):.4f}")  # pi^2 / 6
    1.6449
    """
    require("s", s, lambda v: (v != 1) & (v >= -2.5), "at least -2.5 and different from 1")
    require("q", q, lambda v: v > 0, "positive")
    return _hurwitz_zeta(*as_floats(s, q))


@jax.jit
def _power_tail(s: Array, first: Array, last: Array) -> Array:
    s, first, last = jnp.broadcast_arrays(s, first, last)
    infinite = jnp.isinf(last)
    empty = (last < first) | jnp.isinf(first)
    first = jnp.where(empty, 1.0, first)
    stop = jnp.where(empty | infinite, first, last) + 1  # first index beyond the sum
    a, b = first + _N_DIRECT, stop + _N_DIRECT
    # integral of x^-s from a to b: a^(1-s) L (e^y - 1)/y with y = (1-s) L, L = ln(b/a);
    # no cancellation when a and b are close, and y = 0 is the logarithm.
    log_ratio = jnp.log1p((stop - first) / a)
    y = (1 - s) * log_ratio
    small = jnp.abs(y) < 1e-5
    ratio = jnp.where(small, 1 + y / 2 + y**2 / 6, jnp.expm1(y) / jnp.where(small, 1.0, y))
    between = a ** (1 - s) * log_ratio * ratio
    near = _direct(s, first) + _zeta_remainder(s, a)
    finite = between + near - _direct(s, stop) - _zeta_remainder(s, b)
    # the last where: a divergent infinite sum is reported as such, not continued analytically
    decays = s > 1
    to_infinity = a ** (1 - s) / jnp.where(decays, s - 1, 1.0) + near
    total = jnp.where(infinite, jnp.where(decays, to_infinity, jnp.inf), finite)
    return jnp.where(empty, 0.0, total)


def power_tail(
    exponent: Real[ArrayLike, "..."],
    first: Real[ArrayLike, "..."],
    last: Real[ArrayLike, "..."] = math.inf,
) -> Float[Array, "..."]:
    r"""Sum of a power over a range of indices; the range may be traced.

    $$\sum_{k=\text{first}}^{\text{last}} k^{-\text{exponent}}$$

    Zero when `last < first`; between whole `first` and `last`, the Hurwitz zeta function
    interpolates. Relative error below 1e-12 in float64 (tested against mpmath); in float32 below
    1e-6 for exponents of at least 0, and up to 2e-4 at -2.5, where large terms cancel.

    **Arguments:**

    - `exponent`: any shape, at least -2.5; the sum to infinity is infinite for 1 and below.
    - `first`: first index, at least 1, broadcastable.
    - `last`: last index, broadcastable, may be infinite.

    **Returns:** the broadcast shape.

    **Raises:** `ValueError` for a plain number `exponent` below -2.5 or `first` below 1, and for
    what is not a number.

    **Reference:** Euler-Maclaurin at both ends.

    **Example**

    >>> print(f"{js.spectra.power_tail(2.0, 10, 20):.4f} of {js.spectra.power_tail(2.0, 10):.4f}")
    0.0564 of 0.1052
    """
    require("exponent", exponent, *_PRECISE)
    require("first", first, lambda v: v >= 1, "at least 1")
    require("last", last, lambda v: v == v, "a number")  # not NaN
    return _power_tail(*as_floats(exponent, first, last))


def power_sum(exponent: Real[ArrayLike, "..."], n: int | float) -> Float[Array, "..."]:
    r"""Generalised harmonic number.

    $$H_n(s) = \sum_{k=1}^{n} k^{-s}, \qquad H_\infty(s) = \zeta(s)$$

    **Arguments:**

    - `exponent`: any shape, at least -2.5 for finite `n`, above 1 for infinite `n`.
    - `n`: number of terms, a Python integer or `math.inf`.

    **Returns:** the shape of `exponent`.

    **Raises:** `ValueError` for a bad `n`, or for a plain exponent below its limit.

    **Reference:** 16 direct terms, then Euler-Maclaurin; relative error below 1e-13 for exponents
    of at least 0, below 1e-12 for others, in float64 (tested); in float32 that of `power_tail`.

    **Example**

    >>> print(f"{js.spectra.power_sum(1.0, 4):.4f} {js.spectra.power_sum(2.0, np.inf):.4f}")
    2.0833 1.6449
    """
    require_count("n", n)
    if n == math.inf:
        require("exponent", exponent, lambda v: v > 1, "above 1 for an infinite sum")
    return power_tail(exponent, 1.0, float(n))


def power_law_probabilities(exponent: Real[ArrayLike, ""], n: int) -> Float[Array, " n"]:
    r"""Normalised power law over `n` ranks.

    $$p_k = k^{-\text{exponent}} / H_n(\text{exponent}), \quad k = 1..n$$

    **Arguments:**

    - `exponent`: scalar, at least -2.5.
    - `n`: number of ranks, a Python integer.

    **Returns:** `(n,)` probabilities in the dtype of `exponent` (the default float dtype for a
    Python number); relative error below 1e-6 in float32 for exponents of at least 0, and up to 2e-4
    at -2.5.

    **Raises:** `ValueError` for a bad `n`, and for an exponent below -2.5 or an array of several.

    **Reference:** Zipf's law.

    **Example**

    >>> print(np.asarray(js.spectra.power_law_probabilities(1.0, 3)).round(3))
    [0.545 0.273 0.182]
    """
    require_count("n", n)
    require("n", n, np.isfinite, "finite")
    if np.ndim(exponent):
        raise ValueError(
            f"`exponent` must be a scalar, got shape {np.shape(exponent)}: use jax.vmap for "
            "several."
        )
    (s,) = as_floats(exponent)
    return jnp.arange(1, n + 1, dtype=s.dtype) ** -s / power_sum(s, n)


@typing.overload
def power_law_shares(exponent: float, n: int) -> np.ndarray: ...
@typing.overload
def power_law_shares(exponent: Float[Array, ""], n: int) -> Array: ...
def power_law_shares(exponent: float | Float[Array, ""], n: int) -> Array | np.ndarray:
    """Divide a power law over `n` ranks by its sum as it rounds: the shares that are drawn from.

    `power_law_probabilities` is more precise in float32; draws must not depend on that.

    **Arguments:** `exponent`, a Python number or a JAX scalar; the number of ranks.

    **Returns:** `(n,)` shares, in NumPy for a Python number.
    """
    if isinstance(exponent, jax.Array):
        weight = jnp.arange(1, n + 1, dtype=exponent.dtype) ** -exponent
        return weight / jnp.sum(weight)
    weight = np.arange(1.0, n + 1) ** -exponent
    return weight / weight.sum()
