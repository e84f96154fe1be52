"""Loss over parameters and tokens."""

from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import positive_or_infinite, symbols
from jaxscale.analysis._form import Rule, exponent, factor, floor, form, power, scale, starts_at

SIZES: dict[str, Rule] = dict.fromkeys(("n_parameters", "n_tokens"), positive_or_infinite)


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(), beta=exponent(),
    inputs=SIZES,
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


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(),
    inputs=SIZES,
    reference="Muennighoff et al. 2023, arXiv 2305.16264, whose fit has alpha = beta",
)  # fmt: skip
def chinchilla_one_exponent(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss by parameters and tokens with one exponent for both.

    $$L(N, D) = E + A N^{-\alpha} + B D^{-\alpha}$$

    The best N and D for a number of operations both grow as its square root.

    **Arguments**

    - `n_parameters`, `n_tokens`: N and D, of shapes that broadcast.
    - `E`: entropy of text; `A`, `B`, `alpha`: prefactors and exponent.

    **Returns** the loss, in the units of `E`.

    **Reference** Muennighoff et al. 2023, arXiv 2305.16264, whose fit has alpha = beta.

    >>> one = js.forms.chinchilla_one_exponent
    >>> round(float(one(1e9, 2e10, E=1.87, A=521.0, B=1488.0, alpha=0.353)), 2)
    2.56
    """
    n, d, e, a, b, p = symbols(n_parameters, n_tokens, E, A, B, alpha)
    return e + a * power(n, -p) + b * power(d, -p)


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(), beta=exponent(), gamma=starts_at(1.0),
    inputs=SIZES,
    reference="Busbridge et al. 2025, arXiv 2502.08606, equation 1",
)  # fmt: skip
def chinchilla_coupled(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    gamma: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss by parameters and tokens whose shortages act together.

    $$L(N, D) = E + \left(A N^{-\alpha} + B D^{-\beta}\right)^\gamma$$

    `gamma = 1` is `chinchilla`, from which fits start. Where one of the two terms is small
    everywhere, `gamma` is not constrained.

    **Arguments**

    - `n_parameters`, `n_tokens`: N and D, of shapes that broadcast.
    - `E`: entropy of text; `A`, `alpha`, `B`, `beta`: prefactors and exponents inside the power.
    - `gamma`: power.

    **Returns** the loss, in the units of `E`.

    **Reference** Busbridge et al. 2025, arXiv 2502.08606, equation 1.

    >>> coupled = js.forms.chinchilla_coupled
    >>> exponents = {"alpha": 0.4, "beta": 0.43, "gamma": 0.45}
    >>> round(float(coupled(1e9, 2e10, E=1.2, A=3400.0, B=18000.0, **exponents)), 2)
    2.41
    """
    n, d, e, a, b, p, q = symbols(n_parameters, n_tokens, E, A, B, alpha, beta)
    return e + power(a * power(n, -p) + b * power(d, -q), gamma)


@form(
    N_c=scale(1e6, 1e18), D_c=scale(1e6, 1e18), alpha_N=exponent(0.03, 0.5),
    alpha_D=exponent(0.03, 0.5),
    inputs=SIZES,
    reference="Kaplan et al. 2020, arXiv 2001.08361, equation 1.5",
)  # fmt: skip
def kaplan(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    *,
    N_c: Float[ArrayLike, ""],
    D_c: Float[ArrayLike, ""],
    alpha_N: Float[ArrayLike, ""],
    alpha_D: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss by parameters and tokens without a floor.

    $$L(N, D) =
      \left[\left(\frac{N_c}{N}\right)^{\alpha_N / \alpha_D} + \frac{D_c}{D}\right]^{\alpha_D}$$

    With plenty of data it is $(N_c / N)^{\alpha_N}$, with plenty of parameters
    $(D_c / D)^{\alpha_D}$.

    **Arguments**

    - `n_parameters`, `n_tokens`: N, without embeddings in the paper, and D.
    - `N_c`, `D_c`: where these two laws would reach a loss of 1.
    - `alpha_N`, `alpha_D`: their exponents.

    **Returns** the loss; the scales `N_c` and `D_c` depend on its units.

    **Reference** Kaplan et al. 2020, arXiv 2001.08361, equation 1.5.

    >>> kaplan, exponents = js.forms.kaplan, {"alpha_N": 0.076, "alpha_D": 0.103}
    >>> round(float(kaplan(1e9, 2e10, N_c=6.4e13, D_c=1.8e13, **exponents)), 2)
    2.37
    """
    n, d, p, q = symbols(n_parameters, n_tokens, alpha_N, alpha_D)
    return power(power(N_c / n, p / q) + D_c / d, q)
