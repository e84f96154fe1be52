"""Power laws of one quantity."""

from jaxtyping import Array, ArrayLike, Float

from jaxscale._theory import symbols
from jaxscale.analysis._form import exponent, factor, floor, form, power


@form(
    E=floor(), A=factor(), alpha=exponent(0.05, 2.0),
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
