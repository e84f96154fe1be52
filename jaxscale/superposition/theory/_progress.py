"""Scales of the bottleneck that need no matrix: shared progress and the stable learning rate."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._roots import bisect, root
from jaxscale._theory import is_plain, symbols
from jaxscale.spectra import power_law_probabilities, require
from jaxscale.superposition.theory._checks import theory_function
from jaxscale.superposition.theory._sequential import features


def _check_size(values: Mapping[str, Any]) -> None:
    size, fraction, n_features = (values[n] for n in ("latent_size", "fraction", "n_features"))
    if is_plain(size, fraction):
        product = np.asarray(size) * np.asarray(fraction)
        what = f"below `n_features` = {n_features} times 1 / `fraction` = {fraction}"
        require("latent_size", size, lambda _: product < n_features, what)


@theory_function("n_features", check=_check_size)
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

    **Example**

    >>> at = dict(frequency_exponent=1.5, n_features=256, learning_rate=0.1)
    >>> print(f"{js.superposition.theory.shared_progress_time(latent_size=64, **at):.3g}")
    3.5e+03
    """
    a, eta = symbols(frequency_exponent, learning_rate)
    share = power_law_probabilities(a, n_features)
    goal = symbols(latent_size * fraction)[0]
    never = goal >= n_features
    goal = jnp.where(never, n_features / 2, goal)

    def missing(x: Array, share: Array, goal: Array) -> tuple[Array, Array]:
        """Learned features minus the goal and its slope, in x = ln(eta E u^2 t)."""
        done = share * jnp.exp(x)
        return jnp.sum(-jnp.expm1(-done)) - goal, jnp.sum(done * jnp.exp(-done))

    # r <= e^x, and r >= N (1 - e^{-share_N e^x})
    low = jnp.log(goal)
    high = jnp.log(-jnp.log1p(-goal / n_features) / jnp.min(share))
    n_steps = 56 if low.dtype == jnp.float64 else 28
    x = root(missing, (share, goal), low, high, n_steps, rising=True)
    return jnp.where(never, jnp.inf, jnp.exp(x) / (eta * mean_active * second_moment))


def _top(weight: Array, latent: Array) -> Array:
    r"""Largest eigenvalue of sum_i omega_i w_i w_i^T, for a falling spectrum and large K.

    The unit vector w_1 on top of the rest: omega_1 s(z) = 1 with s the resolvent of the rest, and
    z(s) = 1/s + (1/K) sum_{i>1} omega_i/(1 - omega_i s). The top is z(1/omega_1) if that lies on
    the falling branch of z, otherwise the edge of the bulk, the minimum of z.
    """
    first, rest = weight[0], weight[1:]

    def z(s: Array) -> Array:
        return 1 / s + jnp.sum(rest / (1 - rest * s)) / latent

    def falls(s: Array) -> Array:
        return jnp.sum((rest * s / (1 - rest * s)) ** 2) / latent < 1

    if rest.size == 0:
        return first
    n_steps = 50 if first.dtype == jnp.float64 else 22
    edge = bisect(falls, jnp.zeros_like(first), 1 / rest[0], n_steps)
    return z(jnp.minimum(edge, 1 / first))


@theory_function("n_features", "loss_weighted", "tight")
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

    **Reference:** Marchenko and Pastur 1967 for g_max; m_max derived here: the top eigenvector is
    close to w_1, on which every other w_i has mean square 1/K.

    **Example**

    >>> at = dict(frequency_exponent=1.5, n_features=256)
    >>> print(f"{js.superposition.theory.random_max_learning_rate(latent_size=64, **at):.3g}")
    0.405
    """
    k, a, b = symbols(latent_size, frequency_exponent, importance_exponent)
    share, _, weight = features(a, b, n_features, loss_weighted)
    load = n_features / k
    moment = share[0] + jnp.sum(share[1:]) / k
    if loss_weighted:
        gram = jnp.minimum(weight[0] + jnp.sum(weight[1:]) / k, load)
        gram = gram if tight else _top(weight, k)
    else:
        gram = load if tight else (1 + jnp.sqrt(load)) ** 2
    return 2 / (gram * moment * mean_active * second_moment)
