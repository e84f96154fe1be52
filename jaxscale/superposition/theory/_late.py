"""Features that are learned one after another (K = N), late: power laws and where they end."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._quadrature import integrate
from jaxscale._roots import bisect
from jaxscale._theory import Check, is_plain, symbols
from jaxscale.spectra import PowerLaw, power_sum, require, require_count
from jaxscale.superposition.theory._checks import theory_function

_NEGLIGIBLE = 45.0  # minus the logarithm of a share that counts as nothing


def _scales(a: Array, b: Array, n: float, energy: Any, loss_weighted: bool) -> tuple[Array, ...]:
    """Exponent r of the rates, beta = (a + 2b - 1)/r, and c of an `energy` E sum x^2."""
    rate = a + 2 * b if loss_weighted else a
    return rate, (a + 2 * b - 1) / rate, energy / power_sum(a, n)


def _check_sum(ok: Callable[[Any, float], Any], what: str) -> Check:
    """Check that a > 0 and a + 2 b is `what`; a > 1 for infinitely many features."""

    def check(values: Mapping[str, Any]) -> None:
        a, b = values["frequency_exponent"], values["importance_exponent"]
        require("frequency_exponent", a, lambda v: v > 0, "positive")
        if is_plain(a, b) and not np.all(ok(np.asarray(a) + 2 * np.asarray(b), 1)):
            names = "`frequency_exponent` + 2 `importance_exponent`"
            raise ValueError(f"{names} must be {what}, got {a} and {b}.")
        if values["n_features"] == math.inf:
            require("frequency_exponent", a, lambda v: v > 1, "above 1")

    return check


_decaying = _check_sum(operator.gt, "above 1")
_not_growing = _check_sum(operator.ge, "at least 1")


def _peaked(
    power: Array, tau: Array, rate: Array, low: Array | float, high: Array | float
) -> tuple[Array, Array, Array]:
    r"""Integral of a function between two ends, in units of its peak.

    $$\int e^{-py - \tau e^{-ry}}\,dy$$

    Evaluated as far as it matters around its only peak: no cancellation and no gamma functions,
    for any p and for an end far in either tail. Returns y and tau e^{-ry} at the peak, and the
    integral.
    """
    power_or_tiny = jnp.maximum(power, float(jnp.finfo(power.dtype).tiny) ** 0.5)
    peak = jax.lax.stop_gradient(jnp.clip(jnp.log(tau * rate / power_or_tiny) / rate, low, high))
    height = tau * jnp.exp(-rate * peak)

    def log_share(d: Array) -> Array:
        return -power * d - height * jnp.expm1(-rate * d)

    middle = jnp.zeros_like(peak)
    start = bisect(lambda d: log_share(d) < -_NEGLIGIBLE, low - peak, middle, 60)
    stop = bisect(lambda d: log_share(d) > -_NEGLIGIBLE, middle, high - peak, 60)
    sides = [(start, middle), (middle, stop)]
    parts = [integrate(lambda d: jnp.exp(log_share(d)), *ends, 24, 16) for ends in sides]
    return peak, height, sum(parts, middle)


@theory_function("n_features", "loss_weighted", n_features=require_count, check=_decaying)
def sequential_law(
    *,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int | float = math.inf,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    loss_weighted: bool = False,
) -> PowerLaw:
    r"""Loss without superposition against time, for infinitely many features.

    $$L \simeq \frac{c}{2a}\,\Gamma(\beta)\,\tau^{-\beta}, \quad \beta = \frac{a + 2b - 1}{a},
      \quad \tau = 2\eta c t, \quad c = \frac{E\,\overline{u^2}}{\sum_{j\le N} j^{-a}}$$

    From the sum over i as an integral over tau i^-a. For 1 << tau << N^a, and of little use when
    beta is small: at N = 1024, tau = 100, b = 0 the error is 382% for a = 1.1, 19% for 1.5 and
    1.1% for 2; `sequential_loss_asymptote` has the finite-N form. If `loss_weighted`, a is
    replaced by a + 2b everywhere but in the sum and the numerator.

    **Arguments:** (any shapes that broadcast)

    - `frequency_exponent`: a > 0; above 1 for infinite N.
    - `importance_exponent`: b >= 0, with a + 2b > 1.
    - `n_features`: N, an integer or `math.inf`; enters c only.
    - `mean_active`, `second_moment`, `loss_weighted`: as in `sequential_loss`.

    **Returns:** the law in tau = 2 learning_rate c time.

    **Reference:** arXiv 2602.01045 (setting); derived here.

    **Example**

    >>> exponents = dict(frequency_exponent=1.5, importance_exponent=0.5)
    >>> law = js.superposition.theory.sequential_law(**exponents)
    >>> print(f"{law.prefactor:.3g} * tau^-{law.exponent:.3g}")
    0.17 * tau^-1
    """
    a, b = symbols(frequency_exponent, importance_exponent)
    rate, beta, c = _scales(a, b, n_features, mean_active * second_moment, loss_weighted)
    return PowerLaw(c / (2 * rate) * jnp.exp(gammaln(beta)), beta)


@theory_function("n_features", "loss_weighted", check=_not_growing)
def sequential_loss_asymptote(
    time: Real[ArrayLike, "..."],
    *,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    loss_weighted: bool = False,
) -> Float[Array, "..."]:
    r"""Loss without superposition at late times, for finitely many features.

    $$L \simeq \frac{c}{2} \int_{1/2}^{N + 1/2} i^{-(a + 2b)} e^{-\tau i^{-a}}\,di
      = \frac{c}{2a}\,\tau^{-\beta}
      \big[\gamma(\beta, 2^a\tau) - \gamma(\beta, (N + \tfrac12)^{-a}\tau)\big]$$

    The sum from 1 to N as an integral. For tau >> 1: within 0.5% at tau = 10
    and 2e-5 from tau = 100 on (N = 1024, a of 1.1, 1.5, 2, b of 0, 1/2, 1), until the loss is the
    exponential of the last feature.

    **Arguments:** as `sequential_loss`, for a student that starts from 0, a > 0 and a + 2b >= 1.

    **Returns:** half the summed squared error, broadcast shape.

    **Example**

    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, n_features=64, learning_rate=0.1)
    >>> print(f"{js.superposition.theory.sequential_loss_asymptote(1e3, **at):.3g}")
    0.00134
    """
    t, a, b, eta = symbols(time, frequency_exponent, importance_exponent, learning_rate)
    rate, _, c = _scales(a, b, n_features, mean_active * second_moment, loss_weighted)
    endless = jnp.isinf(t)
    tau = 2 * eta * c * jnp.where(endless, 0.0, t)
    ends = (-math.log(2), math.log(n_features + 0.5))  # of ln i
    power = a + 2 * b - 1
    peak, height, integral = _peaked(power, tau, rate, *ends)
    return jnp.where(endless, 0.0, c / 2 * jnp.exp(-power * peak - height) * integral)


@theory_function("n_features", "loss_weighted", check=_not_growing)
def sequential_local_exponent(
    time: Real[ArrayLike, "..."],
    *,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    loss_weighted: bool = False,
) -> Float[Array, "..."]:
    r"""Local exponent of the loss without superposition at late times.

    $$-\frac{d\ln L}{d\ln t} \simeq \beta + \frac{x^\beta e^{-x}}{\Gamma(\beta, x)}, \qquad
      x = \tau N^{-a}$$

    For tau >> 1. The second term fakes larger exponents well before the cutoff at
    t = N^a/(2 eta c): at N = 1000, a = 1.1, b = 0 the slope is .26 to .38 although beta = .09.

    **Arguments:** as `sequential_loss_asymptote`.

    **Returns:** the exponent, positive for a falling loss, broadcast shape.

    **Reference:** derived here, from `sequential_loss_asymptote` with infinite upper limit.

    **Example**

    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, n_features=64, learning_rate=0.1)
    >>> print(f"{js.superposition.theory.sequential_local_exponent(1e3, **at):.3g}")
    1.22
    """
    t, a, b, eta = symbols(time, frequency_exponent, importance_exponent, learning_rate)
    rate, beta, c = _scales(a, b, n_features, mean_active * second_moment, loss_weighted)
    at_end = (t == 0) | jnp.isinf(t)
    x = 2 * eta * c * jnp.where(at_end, 1.0, t) * n_features**-rate
    # beyond this end, in ln i - ln N, nothing is left of the peak, at x = beta or the end at 0
    far = jnp.log(2 + (2 * beta + 100) / x)
    low = -jnp.minimum(far, _NEGLIGIBLE / jnp.maximum(x - beta, 0.01)) / rate
    power = a + 2 * b - 1
    peak, height, integral = _peaked(power, x, rate, low, 0.0)
    cutoff = jnp.exp(power * peak - height * jnp.expm1(rate * peak)) / (rate * integral)
    return beta + jnp.where(at_end, t, cutoff)
