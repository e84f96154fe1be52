"""Power laws of the sequential regime (K = N) and where a finite number of features ends them."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammainc, gammaincc, gammaln
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import symbols
from jaxscale.spectra import PowerLaw, power_sum, require, require_count
from jaxscale.superposition.theory._checks import check_decay, theory_function

_N_LEVELS = 48  # of the continued fraction


def _exponents(a: Array, b: Array, loss_weighted: bool) -> tuple[Array, Array]:
    """Exponent r of the rates and beta = (a + 2b - 1)/r."""
    rate = a + 2 * b if loss_weighted else a
    return rate, (a + 2 * b - 1) / rate


def _check_law(values: Mapping[str, Any]) -> None:
    check_decay(values)
    if values["n_features"] == math.inf:
        require("frequency_exponent", values["frequency_exponent"], lambda v: v > 1, "above 1")


def hazard(beta: Float[Array, "*s"], x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    r"""Ratio of the integrand to its upper incomplete gamma function, never 0/0.

    $$\frac{x^\beta e^{-x}}{\Gamma(\beta, x)}$$

    **Arguments:** beta > 0 and x >= 0, of one shape.

    **Returns:** the same shape; grows as x + 1 - beta.

    **Reference:** DLMF 8.9.2, the continued fraction, for x >= 2.
    """
    far = x >= 2
    near = jnp.where(far, 1.0, x)
    gamma = jnp.exp(gammaln(beta)) * gammaincc(beta, near)
    low = near**beta * jnp.exp(-near) / gamma
    z = jnp.where(far, x, 2.0)
    level = z + 2 * _N_LEVELS + 1 - beta
    for n in range(_N_LEVELS, 0, -1):
        level = z + 2 * n - 1 - beta - n * (n - beta) / level
    return jnp.where(far, level, low)


@theory_function("n_features", "loss_weighted", n_features=require_count, check=_check_law)
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

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** arXiv 2602.01045 (setting); derived here.

    **Example**

    >>> law = js.superposition.theory.sequential_law(
    ...     frequency_exponent=1.5, importance_exponent=0.5
    ... )
    >>> print(f"{law.prefactor:.3g} * tau^-{law.exponent:.3g}")
    0.17 * tau^-1
    """
    a, b = symbols(frequency_exponent, importance_exponent)
    rate, beta = _exponents(a, b, loss_weighted)
    c = mean_active * second_moment / power_sum(a, n_features)
    return PowerLaw(c / (2 * rate) * jnp.exp(gammaln(beta)), beta)


@theory_function("n_features", "loss_weighted", check=check_decay)
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

    $$L \simeq \frac{c}{2a}\,\tau^{-\beta}
      \big[\gamma(\beta, 2^a\tau) - \gamma(\beta, (N + \tfrac12)^{-a}\tau)\big]$$

    The sum from 1 to N as the integral from 1/2 to N + 1/2. For tau >> 1: within 0.5% at tau = 10
    and 2e-5 from tau = 100 on (N = 1024, a of 1.1, 1.5, 2, b of 0, 1/2, 1), until the loss is the
    exponential of the last feature.

    **Arguments:** (any shapes that broadcast) as `sequential_loss`, for a student that starts
    from 0, with a > 0 and a + 2b > 1.

    **Returns:** half the summed squared error, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here.

    **Example**

    >>> at = dict(
    ...     frequency_exponent=1.5, importance_exponent=0.5, n_features=256, learning_rate=0.1
    ... )
    >>> print(f"{js.superposition.theory.sequential_loss_asymptote(1e3, **at):.3g}")
    0.00162
    """
    t, a, b, eta = symbols(time, frequency_exponent, importance_exponent, learning_rate)
    rate, beta = _exponents(a, b, loss_weighted)
    c = mean_active * second_moment / power_sum(a, n_features)

    endless = jnp.isinf(t)
    tau = 2 * eta * c * jnp.where(endless | (t == 0), 1.0, t)
    first, last = tau * 2**rate, tau * (n_features + 0.5) ** -rate
    # complements once the end of the spectrum is reached, where both functions are near 1
    between = jnp.where(
        last > 1,
        gammaincc(beta, last) - gammaincc(beta, first),
        gammainc(beta, first) - gammainc(beta, last),
    )
    value = c / (2 * rate) * jnp.exp(gammaln(beta)) * tau**-beta * between
    # t = 0: the same midpoint integral of i^-(a + 2b) without the exponential
    power = a + 2 * b - 1
    start = c / 2 * (2**power - (n_features + 0.5) ** -power) / power
    return jnp.where(endless, 0.0, jnp.where(t == 0, start, value))


@theory_function("n_features", "loss_weighted", check=check_decay)
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

    **Arguments:** (any shapes that broadcast) as `sequential_loss_asymptote`.

    **Returns:** the exponent, positive for a falling loss, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, from `sequential_loss_asymptote` with infinite upper limit.

    **Example**

    >>> at = dict(
    ...     frequency_exponent=1.5, importance_exponent=0.5, n_features=256, learning_rate=0.1
    ... )
    >>> print(f"{js.superposition.theory.sequential_local_exponent(1e3, **at):.3g}")
    1.03
    """
    t, a, b, eta = symbols(time, frequency_exponent, importance_exponent, learning_rate)
    rate, beta = _exponents(a, b, loss_weighted)
    c = mean_active * second_moment / power_sum(a, n_features)

    tau = 2 * eta * c * t
    return beta + hazard(beta, tau * n_features**-rate)
