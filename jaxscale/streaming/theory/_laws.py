"""Power laws of one-pass SGD on random features: leading terms, phases, optimal exponents."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gamma
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import is_plain, symbols
from jaxscale.spectra import power_tail
from jaxscale.streaming.theory._checks import check_data, theory_function

DIRECT, TERMS = 64, 8
IVA = 1.0 - 1.0 / np.sqrt(2.0)  # alpha between IVb and IVa
NO_LIMIT = "no limit"


def phase(input_exponent: float, target_exponent: float) -> str:
    r"""Phase of one-pass SGD at fixed compute: which terms of the loss limit it.

    | phase | where | loss is the sum of |
    |---|---|---|
    | Ia | $2\beta < 1 < 2\alpha$ | population bias, capacity |
    | Ib, Ic | $2\alpha < 1$ and $2\beta < 1$; or $2\beta > 1$, $\alpha < 1/4$ | the same |
    | II | $2\alpha > 1$, $1/2 < \beta < \alpha$ | population bias, embedding bias, capacity |
    | III | $2\alpha > 1$, $\beta > \alpha$ | noise of SGD, embedding bias, capacity |
    | IVa, IVb | $2\beta > 1$, $1/4 < \alpha < 1/2$ | population bias, noise of SGD, capacity |

    **Arguments:**

    - `input_exponent`, `target_exponent`: alpha and beta, numbers.

    **Returns:** the name, or "no limit" for `2 alpha + 2 beta <= 1`.

    **Raises:** `ValueError` for traced numbers or alpha not positive.

    **Reference:** derived here; all seven are those of Paquette et al. 2024, arXiv 2405.15074.

    **Example**

    >>> js.streaming.theory.phase(1.2, 0.8), js.streaming.theory.phase(0.8, 1.2)
    ('II', 'III')
    """
    if not is_plain(input_exponent, target_exponent):
        raise ValueError("`input_exponent` and `target_exponent` must be plain numbers.")
    for name, value in {
        "input_exponent": input_exponent,
        "target_exponent": target_exponent,
    }.items():
        if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf" or np.isnan(value):
            raise ValueError(f"`{name}` must be a number, got {value!r}.")
    a, b = float(input_exponent), float(target_exponent)
    if not 0 < a < np.inf:
        raise ValueError(f"`input_exponent` must be positive and finite, got {a:g}.")
    if 2 * a + 2 * b <= 1:
        return NO_LIMIT
    if 2 * a > 1:
        return "Ia" if 2 * b < 1 else "II" if b < a else "III"
    if 2 * b < 1:
        return "Ib"
    return "Ic" if a < 0.25 else "IVb" if a < IVA else "IVa"


class Exponents(NamedTuple):
    """Compute-optimal exponents, positive: best size `C^n_features`, lowest loss `C^-loss`."""

    n_features: Float[Array, "..."]
    loss: Float[Array, "..."]


@theory_function()
def optimal_exponents(
    *, input_exponent: Real[ArrayLike, "..."], target_exponent: Real[ArrayLike, "..."]
) -> Exponents:
    r"""Exponents of the best size and of the lowest loss in compute `C = d B t`.

    $$d^* \propto C^a, \qquad L^* \propto C^{-b}$$

    with $g = 2\alpha + 2\beta - 1$, by phase: Ia $(1, g) / (2\alpha + 1)$; Ib
    $(1/2, \alpha + \beta - 1/2)$; Ic $(g, 2\alpha g) / 2q$, $q = 3\alpha + 2\beta - 1 -
    2\alpha\beta$; II $(2\beta, g) / 2(\alpha + \beta)$; III $(1/2, 1 - 1/4\alpha)$; IVa
    $(1/2, \alpha)$; IVb $(2(\beta - \alpha), (1 - 2\alpha) g) / 2s$, $s = 2\beta - \alpha -
    2\alpha\beta$.

    **Arguments:** as `limit_loss`.

    **Returns:** `Exponents(n_features, loss)`, each of the shape of both arguments broadcast; NaN
    without a limit. They are reached slowly: within .01 at C = 1e14 amid a phase but for IVb, where
    the loss falls by .31 for .295 even at 1e28, and later near borders: .60 for .5 features in IVa
    at (.3, .9). Compare a simulated frontier with `loss` on its window.

    **Raises:** `ValueError` for a plain number out of range.

    **Example**

    >>> best = js.streaming.theory.optimal_exponents(input_exponent=1.2, target_exponent=0.8)
    >>> print(f"{float(best.n_features):.2f} {float(best.loss):.2f}")
    0.40 0.75
    """
    a, b = symbols(input_exponent, target_exponent)
    g, half = 2 * a + 2 * b - 1, jnp.full_like(a, 0.5)
    q, s = 3 * a + 2 * b - 1 - 2 * a * b, 2 * b - a - 2 * a * b
    steep, rich = 2 * a > 1, 2 * b > 1
    table = [
        (g <= 0, jnp.full_like(a, jnp.nan), jnp.full_like(a, jnp.nan)),
        (steep & ~rich, 1 / (2 * a + 1), g / (2 * a + 1)),
        (steep & (b < a), b / (a + b), g / (2 * (a + b))),
        (steep, half, 1 - 1 / (4 * a)),
        (~rich, half, a + b - 0.5),
        (a < 0.25, g / (2 * q), a * g / q),
        (a < IVA, (b - a) / s, (1 - 2 * a) * g / (2 * s)),
    ]
    size, loss = half, a
    for where, in_size, in_loss in reversed(table):
        size, loss = jnp.where(where, in_size, size), jnp.where(where, in_loss, loss)
    return Exponents(size, loss)


class LossTerms(NamedTuple):
    """Leading terms of the loss, each with the gain by noise, and their sum.

    - `population_bias`: modes learned one after another.
    - `embedding_bias`: large coordinates of the target that leak into small modes.
    - `capacity`: what no weights reach.
    - `sgd_noise`: noise of early steps that small modes remember.
    - `loss`: the sum.
    """

    population_bias: Float[Array, "..."]
    embedding_bias: Float[Array, "..."]
    capacity: Float[Array, "..."]
    sgd_noise: Float[Array, "..."]
    loss: Float[Array, "..."]


def _series(first: Array, ratio: Array, alpha: Array) -> Array:
    """`sum_j j^-first / (1 - ratio j^-2alpha)`: directly, then by powers of the ratio."""
    j = jnp.arange(1, DIRECT + 1).astype(alpha.dtype)
    direct = jnp.sum(j**-first / (1.0 - ratio * j ** (-2.0 * alpha)))
    start = jnp.asarray(DIRECT + 1.0, alpha.dtype)
    terms = (ratio**k * power_tail(first + 2.0 * alpha * k, start) for k in range(TERMS))
    return direct + sum(terms)


@theory_function(check=check_data)
def loss_law(
    time: Real[ArrayLike, "..."],
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    target_exponent: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."],
    batch_size: Real[ArrayLike, "..."] = 1.0,
) -> LossTerms:
    r"""Leading terms of the mean loss without label noise, with their prefactors.

    $$L = \frac{F_{pp} + F_{ac} + F_0}{1 - N} + \frac{K_{pp} S}{(1 - N)^2}, \quad
      F_{pp} = \frac{\Gamma(e)}{2p} (2\tau)^{-e}, \quad
      F_{ac} = \frac{\zeta(2\beta)\,\Gamma(1 - 1/p)}{2 p d} (2\tau)^{-(1 - 1/p)}, \quad
      K_{pp} = \frac{\eta^2 \Gamma(2 - 1/p)}{B p} (2\tau)^{-(2 - 1/p)}$$

    with $p = 2\alpha$, $e = (2\alpha + 2\beta - 1)/p$, $\tau = \eta t$, `N` and `S` the sums of the
    kernel and of the bias over infinitely many features. `F_ac` and the last term are absent for
    $2\beta < 1$.

    **Arguments:** as `loss`; `input_exponent` above 1/2.

    **Returns:** `LossTerms`, each of the shape of all arguments broadcast. Over the equivalent:
    within 7 % at (.8, .3) and (.8, 1.2) up to $\tau = 10^{-3} d^{2\alpha}$, 1.5 times within a
    factor 30 of $\tau = d^{2\alpha}$: it has no cut-off of `F_ac`. It diverges on $2\beta = 1$ from
    both sides, 7 times too large at $\beta = .49$ and $.51$; stable rates only.

    **Raises:** `ValueError` for a plain number out of range.

    **Example**

    >>> at = dict(input_exponent=0.8, target_exponent=0.3, learning_rate=0.23)
    >>> terms = js.streaming.theory.loss_law(1e4, 1e6, **at)
    >>> print([f"{float(term):.2g}" for term in terms])
    ['0.00098', '0', '3.1e-07', '0', '0.00098']
    """
    t, d, a, b, eta, batch = symbols(
        time, n_features, input_exponent, target_exponent, learning_rate, batch_size
    )
    p, tau, rich = 2 * a, 2 * eta * t, 2 * b > 1
    beta = jnp.where(rich, b, 1.0)
    ratio = eta * (1 + 1 / batch) / 2
    norm = eta / (2 * batch) * _series(p, ratio, a)
    gain = 1 / (1 - norm)
    zeta = power_tail(2 * beta, jnp.ones_like(beta))
    e = (2 * a + 2 * b - 1) / p
    population = gamma(e) / (2 * p) * tau**-e
    embedding = zeta * gamma(1 - 1 / p) / (2 * p * d) * tau ** (1 / p - 1)
    kappa = (np.pi / p / jnp.sin(np.pi / p) / (d + 0.5)) ** p
    share = jnp.where(rich, 0.5, (1 - 2 * b) / p)
    poor = kappa ** (1 - share) * np.pi / p / jnp.sin(np.pi * share) / 2
    capacity = jnp.where(rich, zeta * kappa / 2, poor)
    kernel = eta**2 / batch * gamma(2 - 1 / p) / p * tau ** (1 / p - 2)
    total = _series(2 * beta, ratio, a) / (4 * eta)
    zero = jnp.zeros_like(population)
    terms = (
        population * gain,
        jnp.where(rich, embedding * gain, zero),
        capacity * gain + zero,
        jnp.where(rich, kernel * total * gain**2, zero),
    )
    return LossTerms(*terms, sum(terms[1:], terms[0]))
