"""How to split compute between parameters and training time."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._roots import root
from jaxscale._theory import symbols
from jaxscale.emergence.theory._checks import theory_function
from jaxscale.emergence.theory._quadrature import (
    front,
    front_end,
    odds,
    residual,
    residual_moment,
    scales,
)


class Allocation(eqx.Module):
    r"""The best split of a compute budget, and the loss it reaches.

    $$N T = C, \qquad L = \min_N L(N, C/N)$$

    - `n_parameters`: N, a real number.
    - `time`: T, training steps, a real number.
    - `loss`: squared units of the target.
    """

    n_parameters: Float[Array, "..."]
    time: Float[Array, "..."]
    loss: Float[Array, "..."]


def optimum(
    alpha: Array, log_m: Array, norm: Array, s: Array, b: Array
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Position and height of the compute-optimal point, in units of S^2/2.

    With u = tau P_N, the argument of the last fitted skill, A(lambda) = b [Q_F(u) +
    u^s (1 - F(u))] and lambda = (A/u)^{1/(alpha+1)}. Setting the derivative of
    ln A(lambda) + alpha/(alpha+2) ln(lambda) to 0, and Q_F' = u^s F', leaves

    $$Q_F(u) = (\alpha + 1)\,u^s\,(1 - F(u)),$$

    whose two sides fall and rise with u, so the root is unique; it depends on alpha and M only. At
    the root A(lambda) = b (alpha + 2) u^s (1 - F(u)). Derived here, of scalars: ln M and A, s, b
    of `scales`; returns lambda* and A_C / (S^2/2).
    """

    def imbalance(y: Array, alpha: Array, s: Array, log_m: Array) -> tuple[Array, Array]:
        """Logarithm of the right side over the left one and its slope, in y = ln u."""
        u = jnp.exp(y)
        learned, moment = 1 - residual(u, log_m), residual_moment(u, s, log_m)
        ratio = jnp.log((alpha + 1) * u**s * learned) - jnp.log(moment)
        return ratio, s + u * front(u, log_m) * (1 / learned + u**s / moment)

    upper = jnp.log(front_end(log_m) - 1.0)
    lower = jnp.full_like(upper, -14.0)
    n_steps = 52 if upper.dtype == jnp.float64 else 26
    y = root(imbalance, (alpha, s, log_m), lower, upper, n_steps, rising=True)
    u = jnp.exp(y)
    size = jnp.exp((jnp.log(norm) - y) / (alpha + 1))  # a quotient's slope overflows for r near S
    height = b * (alpha + 2) * u**s * (1 - residual(u, log_m))
    return size, height * size ** (alpha / (alpha + 2))


def _split(
    compute: Array, alpha: Array, rate: Array, scale: Array, size: Array, height: Array
) -> Allocation:
    """Split compute at the optimum lambda* = `size`, A_C = S^2/2 `height`."""
    x = rate * scale * compute
    n = size ** ((alpha + 1) / (alpha + 2)) * x ** (1 / (alpha + 2))
    return Allocation(n, compute / n, scale**2 / 2 * height * x ** (-alpha / (alpha + 2)))


@theory_function()
def optimal_allocation(
    compute: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Allocation:
    r"""Find the parameters and training time that minimise the loss at given compute.

    $$N^* = \lambda^{*\frac{\alpha+1}{\alpha+2}} X^{\frac{1}{\alpha+2}}, \quad
      T^* = C/N^*, \quad L^* = \mathcal A_C X^{-\frac{\alpha}{\alpha+2}}, \quad
      X = \eta S C, \quad C = N T$$

    Asymptotic in X, with infinitely many skills and infinite data; N* is a real number. lambda*
    solves a one-dimensional equation (see `optimum`) to 1e-10 in float64.

    **Arguments:** (any shapes that broadcast)

    - `compute`: C = parameters x steps (not FLOPs), positive.
    - `skill_exponent`: alpha > 0.
    - `learning_rate`: eta, per step.
    - `target_scale`: S, units of the target.
    - `initial_strength`: r = R_k(0), 0 < r < S.

    **Returns:** an `Allocation` in the broadcast shape.

    **Reference:** exponents: Nam et al. 2024, arXiv 2404.17563, section on the compute law;
    lambda* and A_C derived here.

    **Example**

    >>> best = js.emergence.theory.optimal_allocation(1e6, skill_exponent=0.6)
    >>> print(f"N = {best.n_parameters:.3g}, T = {best.time:.3g}, loss = {best.loss:.3g}")
    N = 121, T = 8.3e+03, loss = 0.0219
    """
    c, alpha, rate, scale, strength = symbols(
        compute, skill_exponent, learning_rate, target_scale, initial_strength
    )
    norm, s, b = scales(alpha, np.inf)
    size, height = optimum(alpha, odds(scale, strength), norm, s, b)
    return _split(c, alpha, rate, scale, size, height)


@theory_function()
def limiting_allocation(
    compute: Real[ArrayLike, "..."],
    *,
    skill_exponent: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."] = 1.0,
    target_scale: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.01,
) -> Allocation:
    r"""Evaluate the closed form of the optimal allocation for a vanishing initial strength.

    $$\lambda^* \to (2A/\ln M)^{1/(\alpha+1)}, \qquad
      \mathcal A_C \to \frac{S^2}{2}\,\frac{A}{\alpha}
      \Big(\frac{\ln M}{2A}\Big)^{\alpha/(\alpha+2)}$$

    Training stops just when the last fitted skill emerges, u* = ln(M)/2. At S/r = 100 the loss is
    0.03% to 1.1% high for alpha 0.3 to 0.9, and lambda* 16% to 18% low.

    **Arguments:** as `optimal_allocation`; `initial_strength` below S/2, so that ln M > 0.

    **Returns:** an `Allocation` in the broadcast shape.

    **Reference:** derived here, from F(u) -> 1[u < ln(M)/2] as r -> 0.

    **Example**

    >>> best = js.emergence.theory.limiting_allocation(1e6, skill_exponent=0.6)
    >>> print(f"N = {best.n_parameters:.3g}, T = {best.time:.3g}, loss = {best.loss:.3g}")
    N = 107, T = 9.32e+03, loss = 0.022
    """
    c, alpha, rate, scale, strength = symbols(
        compute, skill_exponent, learning_rate, target_scale, initial_strength
    )
    norm, _, _ = scales(alpha, np.inf)
    u = odds(scale, strength) / 2
    size = (norm / u) ** (1 / (alpha + 1))
    height = norm / alpha * (u / norm) ** (alpha / (alpha + 2))
    return _split(c, alpha, rate, scale, size, height)
