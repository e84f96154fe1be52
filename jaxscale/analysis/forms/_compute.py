"""Loss over parameters and tokens."""

from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import symbols
from jaxscale.analysis._form import exponent, factor, floor, form, power


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(), beta=exponent(),
    reference="Hoffmann et al. 2022, arXiv 2203.15556, equation 2",
)  # fmt: skip
def chinchilla(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss of a language model by its parameters and training tokens.

    $$L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$$

    **Arguments**

    - `n_parameters`, `n_tokens`: N and D, of shapes that broadcast.
    - `E`: entropy of text; `A`, `alpha`, `B`, `beta`: prefactors and exponents.

    **Returns** the loss, in the units of `E`.

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, equation 2.

    >>> chinchilla = js.forms.chinchilla
    >>> round(float(chinchilla(1e9, 2e10, E=1.7, A=400.0, B=400.0, alpha=0.34, beta=0.28)), 2)
    2.57
    """
    n, d, e, a, b, p, q = symbols(n_parameters, n_tokens, E, A, B, alpha, beta)
    return e + a * power(n, -p) + b * power(d, -q)
