"""Loss along a schedule of learning rates; steps by batch size."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxscale._convert import as_floats, as_real, float_array
from jaxscale._theory import positive_or_infinite, symbols
from jaxscale.analysis._form import exponent, factor, floor, form, power, within


@form(
    E=floor(), A=factor(), C=factor(), alpha=exponent(0.05, 2.0),
    inputs={"forward_area": positive_or_infinite},
    reference="Tissue, Wang and Wang 2024, arXiv 2408.11029",
)  # fmt: skip
def annealing(
    forward_area: Float[ArrayLike, "..."],
    annealing_area: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    C: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss along a schedule of learning rates, by two areas under it.

    $$L = E + A S_1^{-\alpha} - C S_2$$

    `annealing_areas` returns both areas of every step. Data constrain `C` if the learning rate
    falls.

    **Arguments**

    - `forward_area`, `annealing_area`: $S_1$, positive, and $S_2$.
    - `E`: floor, $L_0$ in the paper; `A`, `alpha`: prefactor and exponent.
    - `C`: loss that is saved per annealing area, positive.

    **Returns** the loss, in the units of `E`.

    **Reference** Tissue, Wang and Wang 2024, arXiv 2408.11029.

    >>> round(float(js.forms.annealing(4.0, 0.2, E=2.6, A=0.5, C=0.4, alpha=0.5)), 2)
    2.77
    """
    s1, s2, e, a, c, p = symbols(forward_area, annealing_area, E, A, C, alpha)
    return e + a * power(s1, -p) - c * s2


def annealing_areas(
    learning_rate: Float[ArrayLike, " t"], *, momentum: Float[ArrayLike, ""] = 0.999
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    r"""Return the forward and annealing areas of a schedule up to every step.

    $$S_1(s) = \sum_{i \le s} \eta_i, \quad S_2(s) = \sum_{i \le s} m_i, \quad
      m_i = \lambda m_{i - 1} + \eta_{i - 1} - \eta_i$$

    with $m_1 = 0$. The paper counts steps of warm-up at the highest learning rate.

    **Arguments**

    - `learning_rate`: $\eta_i$ of every step, at least 0.
    - `momentum`: $\lambda$, at least 0 and below 1; the paper's own code takes 0.999.

    **Returns** $S_1$ and $S_2$, in units of the learning rate.

    **Raises** `ValueError` for other values, and for anything but a vector and a number.

    **Reference** Tissue, Wang and Wang 2024, arXiv 2408.11029.

    >>> import jax.numpy as jnp
    >>> forward, annealing = js.forms.annealing_areas(jnp.asarray([2.0, 2.0, 1.0]), momentum=0.5)
    >>> print(forward, annealing)
    [2. 4. 5.] [0. 0. 1.]
    """
    float_array("learning_rate", learning_rate, 1, {"at_least": 0})
    as_real("momentum", momentum, at_least=0, below=1)
    return _areas(*as_floats(learning_rate, momentum))


@jax.jit
def _areas(rates: Array, momentum: Array) -> tuple[Array, Array]:
    def step(before: Array, fall: Array) -> tuple[Array, Array]:
        now = momentum * before + fall
        return now, now

    falls = -jnp.diff(rates, prepend=rates[:1])
    _, momenta = jax.lax.scan(step, jnp.zeros_like(momentum), falls)
    return jnp.cumsum(rates), jnp.cumsum(momenta)


@form(
    S_min=factor(), B_crit=within("batch_size"), result="steps",
    inputs={"batch_size": positive_or_infinite},
    reference="McCandlish et al. 2018, arXiv 1812.06162, equations 2.11 and 2.12",
)  # fmt: skip
def critical_batch(
    batch_size: Float[ArrayLike, "..."],
    *,
    S_min: Float[ArrayLike, ""],
    B_crit: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Steps to a loss by the batch size.

    $$S(B) = S_{\min} \left(1 + \frac{B_{\text{crit}}}{B}\right)$$

    It follows from $(S / S_{\min} - 1)(E / E_{\min} - 1) = 1$ with $E = B S$ examples and
    $B_{\text{crit}} = E_{\min} / S_{\min}$: at the critical batch size steps and examples are twice
    their least.

    **Arguments**

    - `batch_size`: B, in examples or tokens.
    - `S_min`: steps of a large batch; `B_crit`: critical batch size, in the units of B.

    **Returns** steps until the loss that was aimed at; times B, the examples.

    **Reference** McCandlish et al. 2018, arXiv 1812.06162, equations 2.11 and 2.12.

    >>> round(float(js.forms.critical_batch(512.0, S_min=1000.0, B_crit=2048.0)))
    5000
    """
    b, least, critical = symbols(batch_size, S_min, B_crit)
    return least * (1 + critical / b)
