"""Scales of the bottleneck that need no matrix: shared progress and the stable learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale.roots import bisect
from jaxscale.spectra import as_floats, require
from jaxscale.superposition.theory.checks import check, check_features
from jaxscale.superposition.theory.sequential import features
from jaxscale.vectorize import vectorized


def _shared(latent, fraction, a, eta, second, active, n_features):
    share, _, _ = features(a, jnp.zeros_like(a), n_features, False)
    wanted = latent * fraction
    never = wanted >= n_features
    wanted = jnp.where(never, n_features / 2, wanted)
    share_held, held = jax.lax.stop_gradient((share, wanted))

    def progress(x, share, wanted):
        done = share * jnp.exp(x)
        return jnp.sum(-jnp.expm1(-done)) - wanted, jnp.sum(done * jnp.exp(-done))

    # r <= e^x, and r >= N (1 - e^{-share_N e^x})
    low = jnp.log(held)
    high = jnp.log(-jnp.log1p(-held / n_features) / jnp.min(share_held))
    steps = 56 if low.dtype == jnp.float64 else 28
    x = bisect(lambda x: progress(x, share_held, held)[0] < 0, low, high, steps)
    x = jax.lax.stop_gradient(x)
    for _ in range(2):  # these carry the derivatives
        gap, slope = progress(x, share, wanted)
        x = x - gap / slope
    return jnp.where(never, jnp.inf, jnp.exp(x) / (eta * active * second))


_shared_jit = vectorized(_shared, "n_features")


def shared_progress_time(
    *,
    latent_size: Real[ArrayLike, "..."],
    fraction: Real[ArrayLike, "..."] = 1.0,
    frequency_exponent: Real[ArrayLike, "..."],
    n_features: int,
    learning_rate: Real[ArrayLike, "..."],
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
) -> Float[Array, "..."]:
    r"""Time at which the learned features fill a fraction of the latent space.

    $$r(t) = \sum_{i\le N} \big(1 - e^{-\eta\lambda_i t}\big) = f K$$

    Heuristic: with B = sum_i (1 - e^{-eta lambda_i t}) w_i w_i^T, every unlearned feature sees the
    strength w_i^T B w_i = r/K, so that rare features are learned together when r comes near K, at
    a time that grows as K^a instead of N^a. Measured half-times of the tail lay within a factor 2
    of the interval from f = 1/2 to f = 1.

    **Arguments:** (any shapes that broadcast)

    - `latent_size`: K >= 1.
    - `fraction`: f > 0, with f K < n_features.
    - the others as in `sequential_loss`.

    **Returns:** a time, broadcast shape; infinite where a traced f K reaches n_features.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here.

    **Example**

    >>> at = dict(frequency_exponent=1.5, n_features=256, learning_rate=0.1)
    >>> print(f"{js.superposition.theory.shared_progress_time(latent_size=64, **at):.3g}")
    3.5e+03
    """
    check_features(n_features)
    check(
        latent_size=latent_size,
        fraction=fraction,
        frequency_exponent=frequency_exponent,
        learning_rate=learning_rate,
        second_moment=second_moment,
        mean_active=mean_active,
    )
    if not isinstance(latent_size, jax.Array) and not isinstance(fraction, jax.Array):
        product = np.asarray(latent_size) * np.asarray(fraction)
        what = f"below `n_features` = {n_features} times 1 / `fraction` = {fraction}"
        require("latent_size", latent_size, lambda _: product < n_features, what)
    arrays = as_floats(
        latent_size, fraction, frequency_exponent, learning_rate, second_moment, mean_active
    )
    return _shared_jit(*arrays, n_features=n_features)


def _top(weight: Array, latent: Array) -> Array:
    r"""Largest eigenvalue of sum_i omega_i w_i w_i^T, for a falling spectrum and large K.

    The unit vector w_1 on top of the rest: omega_1 s(z) = 1 with s the resolvent of the rest, and
    z(s) = 1/s + (1/K) sum_{i>1} omega_i/(1 - omega_i s). The top is z(1/omega_1) if that lies on
    the falling branch of z, otherwise the edge of the bulk, the minimum of z.
    """
    first, rest = weight[0], weight[1:]

    def z(s):
        return 1 / s + jnp.sum(rest / (1 - rest * s)) / latent

    def falls(s):
        return jnp.sum((rest * s / (1 - rest * s)) ** 2) / latent < 1

    if rest.size == 0:
        return first
    held = jax.lax.stop_gradient(rest[0])
    low, high = jnp.zeros_like(first), 1 / held
    edge = bisect(falls, low, high, 50 if low.dtype == jnp.float64 else 22)
    edge = jax.lax.stop_gradient(edge)
    return z(jnp.minimum(edge, 1 / first))


def _random_rate(latent, a, b, second, active, n_features, loss_weighted, tight):
    share, _, weight = features(a, b, n_features, loss_weighted)
    load = n_features / latent
    moment = share[0] + jnp.sum(share[1:]) / latent
    if loss_weighted:
        gram = jnp.minimum(weight[0] + jnp.sum(weight[1:]) / latent, load)
        gram = gram if tight else _top(weight, latent)
    else:
        gram = load if tight else (1 + jnp.sqrt(load)) ** 2
    return 2 / (gram * moment * active * second)


_random_rate_jit = vectorized(_random_rate, "n_features", "loss_weighted", "tight")


def random_max_learning_rate(
    *,
    latent_size: Real[ArrayLike, "..."],
    n_features: int,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."] = 0.0,
    second_moment: Real[ArrayLike, "..."] = 4 / 3,
    mean_active: Real[ArrayLike, "..."] = 1.0,
    loss_weighted: bool = False,
    tight: bool = False,
) -> Float[Array, "..."]:
    r"""Estimate `max_learning_rate` of a random W with unit columns, without drawing it.

    $$\eta_{max} \approx \frac{2}{g_{max} m_{max}}, \quad
      g_{max} = \big(1 + \sqrt{N/K}\big)^2 \text{ or } N/K \text{ if tight}, \quad
      m_{max} = \lambda_1 + \tfrac1K \sum_{i>1} \lambda_i$$

    An estimate for large K and N, not a bound: stay below it by the error. If `loss_weighted`,
    g_max is that of sum_i w_i w_i^T i^-2b (spike or edge of the bulk; tight: as m_max, at most
    N/K).

    **Arguments:** (any shapes that broadcast)

    - `latent_size`: K >= 1.
    - `importance_exponent`: b >= 0, matters only if `loss_weighted`.
    - `tight`: W W^T = (N/K) I.
    - the others as in `sequential_loss`.

    **Returns:** a learning rate, broadcast shape.

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** Marchenko and Pastur 1967 for g_max; m_max derived here: the top eigenvector is
    close to w_1, on which every other w_i has mean square 1/K.

    **Example**

    >>> at = dict(frequency_exponent=1.5, n_features=256)
    >>> print(f"{js.superposition.theory.random_max_learning_rate(latent_size=64, **at):.3g}")
    0.405
    """
    check_features(n_features)
    check(
        latent_size=latent_size,
        frequency_exponent=frequency_exponent,
        importance_exponent=importance_exponent,
        second_moment=second_moment,
        mean_active=mean_active,
    )
    arrays = as_floats(
        latent_size, frequency_exponent, importance_exponent, second_moment, mean_active
    )
    return _random_rate_jit(
        *arrays, n_features=n_features, loss_weighted=loss_weighted, tight=tight
    )
