"""Loss where unique tokens are scarce."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import positive_or_infinite, symbols
from jaxscale.analysis._form import exponent, factor, floor, form, scale
from jaxscale.analysis.forms._compute import SIZES


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(), beta=exponent(),
    R_D=scale(1.0, 50.0), R_N=scale(1.0, 50.0),
    inputs={**SIZES, "n_unique_tokens": positive_or_infinite},
    reference="Muennighoff et al. 2023, arXiv 2305.16264",
)  # fmt: skip
def data_constrained(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    n_unique_tokens: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    R_D: Float[ArrayLike, ""],
    R_N: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss by parameters, tokens and unique tokens: repeated tokens count less each time.

    $$L = E + A N'^{-\alpha} + B D'^{-\beta}, \quad
      D' = U_D \left(1 + R_D \left(1 - e^{-(D / U_D - 1) / R_D}\right)\right), \quad
      N' = U_N \left(1 + R_N \left(1 - e^{-(N / U_N - 1) / R_N}\right)\right)$$

    $U_D = \min(D, U)$ are the tokens that are seen at all, $U_N$ as many parameters as are best for
    them, or N if that is less:

    $$U_N = \min\left(N,\, G (G U_D)^{\beta / \alpha}\right), \quad
      G = \left(\frac{\alpha A}{\beta B}\right)^{1 / (\alpha + \beta)}$$

    Without repetition and excess parameters it is `chinchilla`. Data constrain `R_D` if some tokens
    are repeated, and `R_N` if some models are larger than $U_N$.

    **Arguments**

    - `n_parameters`, `n_tokens`, `n_unique_tokens`: N, D and U, of shapes that broadcast.
    - `E`: entropy of text; `A`, `alpha`, `B`, `beta`: prefactors and exponents.
    - `R_D`, `R_N`: repetitions, and excess parameters in units of $U_N$, after which little is
      gained; $R_D^*$ and $R_N^*$ in the paper.

    **Returns** the loss, in the units of `E`.

    **Reference** Muennighoff et al. 2023, arXiv 2305.16264; $U_N$ as in their code.

    >>> law = {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353}
    >>> constrained = js.forms.data_constrained
    >>> round(float(constrained(6.34e9, 242e9, 25e9, **law, R_D=15.4, R_N=5.31)), 2)
    2.22
    """
    n, d, e, a, b, p, q = symbols(n_parameters, n_tokens, E, A, B, alpha, beta)
    r_d, r_n = symbols(R_D, R_N)
    # in logarithms: with beta >> alpha, or prefactors far apart, U_N overflows or underflows
    log_n, log_d = jnp.log(n), jnp.log(d)
    unique = jnp.minimum(log_d, jnp.log(n_unique_tokens))
    g = jnp.log(p * a / (q * b)) / (p + q)
    enough = jnp.minimum(log_n, g + q / p * (g + unique))
    log_n, log_d = _log_effective(log_n, enough, r_n), _log_effective(log_d, unique, r_d)
    return e + a * jnp.exp(-p * log_n) + b * jnp.exp(-q * log_d)


def _log_effective(used: Array, unique: Array, constant: Array) -> Array:
    """What counts of `used`, of which `unique` count in full; all three sizes are logarithms."""
    repeated = jnp.expm1(jnp.minimum(used - unique, 80.0))  # beyond, nothing counts
    return unique + jnp.log1p(-constant * jnp.expm1(-repeated / constant))
