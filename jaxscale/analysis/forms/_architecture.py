"""Loss of models with fewer weights, fewer active ones, or fewer bits."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import number, positive_or_infinite, symbols
from jaxscale.analysis._form import exponent, factor, floor, form, power, scale
from jaxscale.analysis.forms._compute import SIZES

share = number(lambda v: (v >= 0) & (v < 1), "at least 0 and below 1")


@form(
    E=floor(), A=factor(), F=factor(), B=factor(), alpha=exponent(), beta=exponent(),
    gamma=exponent(0.1, 2.0),
    inputs={**SIZES, "sparsity": share},
    reference="Frantar et al. 2023, arXiv 2309.08520, equation 1",
)  # fmt: skip
def sparsity(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    sparsity: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    F: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    gamma: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss of a network of which a share of the weights is zero.

    $$L(N, D, S) = E + \left(A + F (1 - S)^\gamma\right) N^{-\alpha} + B D^{-\beta}$$

    The paper writes $a_S = F$, $b_S = \gamma$, $c_S = A$, $b_N = \alpha$, $b_D = \beta$,
    $a_D^{b_D} = B$ and $c = E$.

    **Arguments**

    - `n_parameters`: N, those that are not zero; `n_tokens`: D.
    - `sparsity`: S, share of zeros, at least 0 and below 1.
    - `E`, `B`, `alpha`, `beta`: as in `chinchilla`; `A`: prefactor of a very sparse network.
    - `F`, `gamma`: what a dense one of the same N loses against it, and its exponent.

    **Returns** the loss, in the units of `E`.

    **Reference** Frantar et al. 2023, arXiv 2309.08520, equation 1.

    >>> law = {"E": 0.65, "A": 45.0, "F": 16.8, "alpha": 0.245, "gamma": 0.722}
    >>> round(float(js.forms.sparsity(1e8, 1e10, 0.75, **law, B=300.0, beta=0.3)), 2)
    1.51
    """
    n, d, s, e, a, f, b = symbols(n_parameters, n_tokens, sparsity, E, A, F, B)
    p, q, t = symbols(alpha, beta, gamma)
    return e + (a + f * power(1 - s, t)) * power(n, -p) + b * power(d, -q)


@form(
    E=floor(), A=factor(), B=factor(), C=factor(), F=factor(), alpha=exponent(), beta=exponent(),
    kappa=exponent(), delta=exponent(), gamma=exponent(),
    inputs={**SIZES, "sparsity": share},
    reference="Abnar et al. 2025, arXiv 2501.12370, equation 6",
)  # fmt: skip
def mixture_of_experts(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    sparsity: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    C: Float[ArrayLike, ""],
    F: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    kappa: Float[ArrayLike, ""],
    delta: Float[ArrayLike, ""],
    gamma: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss of a mixture of experts by its parameters, tokens and sparsity.

    $$L(N, D, S) = E + A N^{-\alpha} + B D^{-\beta} + C (1 - S)^\kappa
      + F (1 - S)^{-\delta} N^{-\gamma}$$

    The paper writes $\lambda = -\kappa$, which it finds to be -0.17, and d for F.

    **Arguments**

    - `n_parameters`: N, active or not; `n_tokens`: D.
    - `sparsity`: S, share of experts that are not active, at least 0 and below 1.
    - `E`, `A`, `B`, `alpha`, `beta`: as in `chinchilla`.
    - `C`, `kappa`: loss that sparsity saves at a given N; `F`, `delta`, `gamma`: what it costs.

    **Returns** the loss, in the units of `E`.

    **Reference** Abnar et al. 2025, arXiv 2501.12370, equation 6.

    >>> law = {"E": 0.94, "A": 16612.5, "B": 5455.67, "C": 0.4598, "F": 17.26}
    >>> exponents = {"alpha": 0.5962, "beta": 0.3954, "kappa": 0.1666, "delta": 0.1603}
    >>> loss = js.forms.mixture_of_experts(1e10, 1e11, 0.9, **law, **exponents, gamma=0.1595)
    >>> round(float(loss), 2)
    2.15
    """
    n, d, s, e, a, b, c, f = symbols(n_parameters, n_tokens, sparsity, E, A, B, C, F)
    p, q, k, r, t = symbols(alpha, beta, kappa, delta, gamma)
    active = jnp.log1p(-s)
    together = f * jnp.exp(-r * active - t * jnp.log(n))
    return e + a * power(n, -p) + b * power(d, -q) + c * jnp.exp(k * active) + together


@form(
    E=floor(), A=factor(), B=factor(), alpha=exponent(), beta=exponent(), gamma=scale(0.5, 5.0),
    inputs={**SIZES, "bits": positive_or_infinite},
    reference="Kumar et al. 2024, arXiv 2411.04330, equation 3",
)  # fmt: skip
def precision(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    bits: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    gamma: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss of a network that is trained with weights of few bits.

    $$L(N, D, P) = E + A \left[N \left(1 - e^{-P / \gamma}\right)\right]^{-\alpha}
      + B D^{-\beta}$$

    The paper's other factors, of the precision of activations and of the cache of keys and values,
    and its loss by quantisation after training are left out.

    **Arguments**

    - `n_parameters`, `n_tokens`: N and D; `bits`: P, of a weight during training.
    - `E`, `A`, `B`, `alpha`, `beta`: as in `chinchilla`.
    - `gamma`: bits below which weights are worth much less.

    **Returns** the loss, in the units of `E`.

    **Reference** Kumar et al. 2024, arXiv 2411.04330, equation 3.

    >>> law = {"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.34, "beta": 0.28}
    >>> round(float(js.forms.precision(1e9, 2e10, 4.0, **law, gamma=2.67)), 2)
    2.6
    """
    n, d, w, e, a, b = symbols(n_parameters, n_tokens, bits, E, A, B)
    p, q, g = symbols(alpha, beta, gamma)
    effective = -n * jnp.expm1(-w / g)
    return e + a * power(effective, -p) + b * power(d, -q)
