"""One latent dimension per feature (K = N): features are learned one after another. Exact."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import symbols
from jaxscale.spectra import power_law_probabilities, power_sum
from jaxscale.superposition.theory._checks import theory_function
from jaxscale.superposition.theory._modes import decay, progress


def features(a: Array, b: Array, n: int, loss_weighted: bool) -> tuple[Array, Array, Array]:
    r"""Shares, targets and loss weights of all features; the p_i are `mean_active` q_i.

    $$q_i = \frac{i^{-a}}{\sum_{j\le N} j^{-a}}, \qquad
      (A_i, w_i) = (i^{-b}, 1) \quad\text{or, if loss_weighted,}\quad (1, i^{-2b})$$
    """
    i = jnp.arange(1, n + 1, dtype=a.dtype)
    share = power_law_probabilities(a, n)
    if loss_weighted:
        return share, jnp.ones_like(i), i ** (-2 * b)
    return share, i**-b, jnp.ones_like(i)


@theory_function("n_features", "loss_weighted", "discrete")
def sequential_loss(
    time: Real[ArrayLike, "..."],
    *,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.0,
    loss_weighted: bool = False,
    discrete: bool = False,
) -> Float[Array, "..."]:
    r"""Loss without superposition, K = N, under gradient flow or descent on the population.

    $$L(t) = \tfrac12 \sum_{i\le N} w_i\lambda_i (A_i - s_0)^2 e^{-2\eta w_i\lambda_i t}, \qquad
      \lambda_i = E\,\overline{u^2}\,\frac{i^{-a}}{\sum_j j^{-a}}$$

    with A_i = i^-b, w_i = 1, or A_i = 1, w_i = i^-2b if `loss_weighted`; (1 - eta w lambda)^{2t}
    instead of the exponential if `discrete`. Exact when the covariance of the inputs is diagonal
    (one-hot or symmetric amplitudes) and the student starts from a multiple of the identity.
    The descent is stable iff eta w_1 lambda_1 < 2.

    **Arguments:** (any shapes that broadcast)

    - `time`: t >= 0, steps or flow time, may be infinite.
    - `frequency_exponent`: a >= 0.
    - `importance_exponent`: b >= 0.
    - `n_features`: N, a Python integer.
    - `learning_rate`: eta > 0.
    - `second_moment`: mean square of an active amplitude, 4/3 for u uniform on (0, 2).
    - `mean_active`: E > 0, mean number of active features.
    - `initial_strength`: s_0, in units of the output, the same for every feature.
    - `loss_weighted`: importance in the weight of the loss instead of the target.
    - `discrete`: steps instead of flow.

    **Returns:** half the summed squared error, broadcast shape.

    **Reference:** arXiv 2602.01045 (setting); derived here: s_i' = eta w_i lambda_i (A_i - s_i).

    **Example**

    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, n_features=64, learning_rate=0.1)
    >>> loss = js.superposition.theory.sequential_loss(np.asarray([0.0, 10.0, 1000.0]), **at)
    >>> print(np.asarray(loss).round(3))
    [0.378 0.165 0.001]
    """
    t, a, b, eta, start = symbols(
        time, frequency_exponent, importance_exponent, learning_rate, initial_strength
    )
    share, target, weight = features(a, b, n_features, loss_weighted)
    variance = mean_active * second_moment * share
    gap = decay(eta * weight * variance, t, discrete=discrete) * (target - start)
    return 0.5 * jnp.sum(weight * variance * gap**2)


@theory_function("n_features", "loss_weighted", "discrete")
def sequential_strength(
    time: Real[ArrayLike, "..."],
    *,
    rank: Real[ArrayLike, "..."],
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    initial_strength: Real[ArrayLike, "..."] = 0.0,
    loss_weighted: bool = False,
    discrete: bool = False,
) -> Float[Array, "..."]:
    r"""Strength of one feature in units of its target, K = N.

    $$s_i(t)/A_i = 1 - (1 - s_0/A_i)\,e^{-\eta w_i\lambda_i t}$$

    and (1 - eta w lambda)^t if `discrete`, whose sign beyond eta w lambda = 1 is that of the
    nearest integer t.

    **Arguments:** `rank`, i >= 1, of the feature; the others as in `sequential_loss`.

    **Returns:** s_i/A_i, broadcast shape.

    **Reference:** as `sequential_loss`.

    **Example**

    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, n_features=64, learning_rate=0.1)
    >>> rank = np.asarray([1, 4, 16])
    >>> strength = js.superposition.theory.sequential_strength(100.0, rank=rank, **at)
    >>> print(np.asarray(strength).round(3))
    [0.996 0.506 0.084]
    """
    t, i, a, b, eta, start = symbols(
        time, rank, frequency_exponent, importance_exponent, learning_rate, initial_strength
    )
    variance = mean_active * second_moment * i**-a / power_sum(a, n_features)
    weight = i ** (-2 * b) if loss_weighted else jnp.ones_like(i)
    target = jnp.ones_like(i) if loss_weighted else i**-b
    rate, steps = eta * weight * variance, {"discrete": discrete}
    return progress(rate, t, **steps) + start / target * decay(rate, t, **steps)


@theory_function("n_features")
def sgd_loss(
    time: Real[ArrayLike, "..."],
    *,
    batch_size: Real[ArrayLike, "..."],
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    fourth_moment: Real[ArrayLike, "..."] = 16 / 5,
    initial_strength: Real[ArrayLike, "..."] = 0.0,
) -> Float[Array, "..."]:
    r"""Mean loss of minibatch descent on one-hot inputs, K = N, over the draws of the data.

    $$E L(t) = \tfrac12 \sum_i \lambda_i (A_i - s_0)^2
      \Big[(1 - \eta\lambda_i)^2 + \frac{\eta^2}{B}\big(p_i \overline{u^4} - \lambda_i^2\big)
      \Big]^t$$

    Exact: with one active feature per sample the student stays diagonal, and the deviation of
    feature i is multiplied in every step by 1 - eta z_i, z_i the mean of x_i^2 over the batch.
    Fresh samples make the factors independent, so their second moment is raised to the power t.

    **Arguments:** (any shapes that broadcast)

    - `time`: t >= 0, steps.
    - `batch_size`: B > 0, samples per step, may be infinite.
    - `frequency_exponent`, `importance_exponent`, `n_features`, `learning_rate`,
      `second_moment`, `initial_strength`: as in `sequential_loss`, with one active feature.
    - `fourth_moment`: mean fourth power of the amplitude, 16/5 for u uniform on (0, 2).

    **Returns:** the mean of half the summed squared error, broadcast shape.

    **Example**

    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, n_features=64, learning_rate=0.1)
    >>> print(f"{js.superposition.theory.sgd_loss(100.0, batch_size=32, **at):.3f}")
    0.016
    """
    t, a, b, eta, start = symbols(
        time, frequency_exponent, importance_exponent, learning_rate, initial_strength
    )
    p, target, _ = features(a, b, n_features, False)
    variance = second_moment * p
    # one minus the mean square of 1 - eta z, z the mean of x^2 over the batch
    spread = (p * fourth_moment - variance**2) / batch_size
    rate = 2 * eta * variance - eta**2 * (variance**2 + spread)
    return 0.5 * jnp.sum(variance * (target - start) ** 2 * decay(rate, t, discrete=True))
