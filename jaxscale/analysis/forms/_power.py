"""Power laws of one quantity."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import positive_or_infinite, symbols
from jaxscale.analysis._form import exponent, factor, floor, form, power, scale, within


@form(
    E=floor(), A=factor(), alpha=exponent(0.05, 2.0),
    inputs={"x": positive_or_infinite},
    reference="Hestness et al. 2017, arXiv 1712.00409",
)  # fmt: skip
def power_law(
    x: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Power law above a floor.

    $$y(x) = E + A x^{-\alpha}$$

    **Arguments**

    - `x`: positive.
    - `E`: floor, at least 0; `A`, `alpha`: prefactor and exponent.

    **Returns** y, in the units of `E`.

    **Reference** Hestness et al. 2017, arXiv 1712.00409.

    >>> round(float(js.forms.power_law(100.0, E=1.0, A=2.0, alpha=0.5)), 2)
    1.2
    """
    e, a, p = symbols(E, A, alpha)
    return e + a * power(x, -p)


@form(
    E=floor(), A=factor(), alpha=exponent(0.05, 2.0), beta=exponent(0.05, 2.0),
    x_break=within("x"), width=scale(0.05, 1.0),
    inputs={"x": positive_or_infinite},
    reference="Caballero et al. 2022, arXiv 2210.14891, with one break",
)  # fmt: skip
def broken_power_law(
    x: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    x_break: Float[ArrayLike, ""],
    width: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Power law above a floor whose exponent changes once, smoothly.

    $$y(x) = E + A x^{-\alpha} \left(1 + (x / x_b)^{1/w}\right)^{-(\beta - \alpha) w}$$

    Before the break the exponent is `alpha`, after it `beta`; where they are equal there is no
    break, and its place and width mean nothing. The paper writes $c_0 = \alpha$,
    $c_1 = \beta - \alpha$, $d_1 = x_b$, $f_1 = w$.

    **Arguments**

    - `x`: positive.
    - `E`: floor, at least 0; `A`: prefactor.
    - `alpha`, `beta`: exponents before and after the break.
    - `x_break`, `width`: where it is, and how wide in the logarithm of x.

    **Returns** y, in the units of `E`.

    **Reference** Caballero et al. 2022, arXiv 2210.14891, with one break.

    >>> broken = js.forms.broken_power_law
    >>> y = broken(100.0, E=1.0, A=2.0, alpha=0.5, beta=1.5, x_break=100.0, width=0.1)
    >>> round(float(y), 2)
    1.19
    """
    e, a, p, q = symbols(E, A, alpha, beta)
    bent = width * jax.nn.softplus(jnp.log(x / x_break) / width)
    return e + a * jnp.exp(-p * jnp.log(x) - (q - p) * bent)
