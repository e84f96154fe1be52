"""Means over the random features: their deterministic equivalent."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale import _theory as rules
from jaxscale._status import DIVERGED
from jaxscale._theory import symbols
from jaxscale.fields import is_traced
from jaxscale.spectra import power_tail
from jaxscale.streaming._optimizers import AbstractLinearOptimizer, Descent
from jaxscale.streaming.theory import _kappa, _sums
from jaxscale.streaming.theory._checks import check_equivalent, check_nodes, over_features
from jaxscale.streaming.theory._contour import (
    Nodes,
    constant_rate_loss,
    edges_of,
    limit_of,
    mean_resolvent,
    nodes_of,
)
from jaxscale.streaming.theory._moments import contour_modes, losses

LATE = 10  # steps from which the contour in time is right; before, the recursion


class Edges(NamedTuple):
    """Lower and upper edge of the eigenvalues of random features."""

    low: Float[Array, "..."]
    high: Float[Array, "..."]


@over_features()
def limit_loss(
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    target_exponent: Real[ArrayLike, "..."],
    n_coordinates: Real[ArrayLike, "..."] = np.inf,
) -> Float[Array, "..."]:
    r"""Least loss that d random features reach, in the mean over them.

    $$F_0 = \tfrac12 \kappa_0 Q(\kappa_0), \qquad
      \sum_{j \le V} (1 + \kappa_0 j^{2\alpha})^{-1} = d, \qquad
      Q(\kappa) = \sum_{j \le V} \frac{j^{-2\beta}}{1 + \kappa j^{2\alpha}}$$

    **Arguments:**

    - `n_features`: d, which need not be a whole number.
    - `input_exponent`, `target_exponent`: alpha and beta.
    - `n_coordinates`: V, above d; if V is no integer, the last coordinate counts in part.

    **Returns:** the shape of all arguments broadcast; label noise is not included. The mean over
    draws is about 1/d of itself larger or smaller.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    >>> with jax.enable_x64(True):
    ...     at = dict(input_exponent=0.8, target_exponent=0.3)
    ...     loss = js.streaming.theory.limit_loss(np.array([100, 1e8]), **at)
    >>> print([f"{float(x):.3g}" for x in loss])
    ['0.0115', '8.61e-10']
    """
    return limit_of(symbols(n_features, input_exponent, target_exponent, n_coordinates)) / 2


@over_features()
def spectrum_edges(
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    n_coordinates: Real[ArrayLike, "..."] = np.inf,
) -> Edges:
    r"""Edges of the eigenvalues of the covariance of d random features.

    $$\lambda = -\kappa (1 - S_1(\kappa) / d) \quad \text{where} \quad S_2(\kappa) = d$$

    **Arguments:** as `limit_loss`.

    **Returns:** `Edges(low, high)`, each of the shape of all arguments broadcast. The largest
    eigenvalue of one draw scatters around the upper edge by about `d^(-1/2)` of itself.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    >>> with jax.enable_x64(True):
    ...     edges = js.streaming.theory.spectrum_edges(1000, input_exponent=0.8)
    >>> print(f"{float(edges.low):.3g} {float(edges.high):.4f}")
    1.84e-05 1.0658
    """
    return Edges(*edges_of(*symbols(n_features, input_exponent, n_coordinates)))


@over_features(check=check_nodes, vectorize=False)
def spectrum_nodes(
    n_features: Real[ArrayLike, ""],
    *,
    input_exponent: Real[ArrayLike, ""],
    target_exponent: Real[ArrayLike, ""],
    n_coordinates: Real[ArrayLike, ""] = np.inf,
) -> Nodes:
    r"""Complex nodes that stand for the eigenvalues of d random features in the mean over them.

    $$\sum_i c_i^2 f(\lambda_i) = \mathrm{Re} \sum_k w_k f(z_k), \qquad
      \sum_i f(\lambda_i) = \mathrm{Re} \sum_k v_k f(z_k)$$

    for every analytic f. The number of features, the trace and the power of the target are right to
    about `exp(-307 / (alpha ln d))`, or to rounding: 1e-10 at alpha = .8 and 1e7 features, 1e-5 at
    alpha = 2 and 1e6. Functions that change fast near the largest eigenvalue, such as `A(z)^t` at
    late t, have fewer digits: see `mean_optimizer_loss`. An undamped oscillation grows at complex
    nodes: they serve SGD, momentum and averages at any schedule, and not DANA.

    **Arguments:** as `limit_loss`, scalars.

    **Returns:** `nodes`, `target_weights` and `noise_weights`, each `(256,)`.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    ```python
    with jax.enable_x64(True):
        m = js.streaming.theory.spectrum_nodes(50.0, input_exponent=0.8, target_exponent=0.3)
    print(f"{float((m.noise_weights * m.nodes**2).sum().real):.4f}")  # sum of lambda_i^2
    ```
    """
    return nodes_of(symbols(n_features, input_exponent, target_exponent, n_coordinates))


def _parts(values: Mapping[str, Any]) -> dict[str, tuple[bool, bool]]:
    """Whether times are before `LATE` and from it on: each needs a program of its own."""
    if is_traced(values["time"]):
        return {}
    time = np.asarray(values["time"], float)
    return {"_parts": (bool((time < LATE).any()), not (time < LATE).all())}


def _check_loss(values: Mapping[str, Any]) -> None:
    """Check precision, data and shapes."""
    check_equivalent(values)
    rules.check_shapes(values)


@over_features(
    vectorize=False,
    in_parts=True,
    check=_check_loss,
    plain=_parts,
    time=rules.not_negative,
    batch_size=rules.positive,
)
def loss(
    time: Real[ArrayLike, "..."],
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    target_exponent: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, "..."],
    batch_size: Real[ArrayLike, "..."] = 1.0,
    noise: Real[ArrayLike, "..."] = 0.0,
    n_coordinates: Real[ArrayLike, "..."] = np.inf,
    _parts: tuple[bool, bool] = (True, True),
) -> Float[Array, "..."]:
    r"""Mean loss of one pass of SGD at a constant rate, over the data and the random features.

    $$\sum_t L(t)\, x^t = \frac{\hat F(x)}{1 - x \hat K(x)}, \qquad
      \hat F = \frac{\omega / 2}{1 - x} + \frac12 \sum_i \frac{c_i^2}{1 - x A_i}, \qquad
      \hat K = \frac{\eta^2}{B} \sum_i \frac{\lambda_i^2}{1 - x A_i}$$

    with `A = (1 - eta lambda)^2 + (eta lambda)^2 / B`, whose sums over modes are closed forms of
    the self-consistent kappa. From step 10 on it is inverted by a contour of 12 nodes, at the same
    cost for any time and any number of features; earlier steps are those of the recursion.

    **Arguments:**

    - `time`: t, finite; rounded below 10, where the loss has no slope in it (0).
    - `n_features`, `input_exponent`, `target_exponent`, `n_coordinates`: as in `limit_loss`.
    - `learning_rate`, `batch_size`: eta and B, finite.
    - `noise`: sigma of the labels.

    **Returns:** half the mean squared error, label noise included; the shape of all arguments
    broadcast. From step 10 on it is NaN, as its slope in eta, at rates of `mean_max_learning_rate`
    and above (`mean_optimizer_loss` is not, until it has grown a thousandfold); before, where it
    has grown a thousandfold, and where `spectrum_nodes` are useless.
    Errors of the contour are about `1e-12 L(0) / t` and 3e-11 of the loss. The mean over draws of
    the features is within about 1/d at rates of up to half the limit; beyond, draws whose own limit
    is lower carry it, and few features have none.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    ```python
    with jax.enable_x64(True):
        at = dict(input_exponent=0.8, target_exponent=0.3, learning_rate=0.14)
        loss = js.streaming.theory.loss([100.0, 1e4, 1e12], 1e8, **at)
    print([f"{float(x):.3g}" for x in loss])  # ['0.0318', '0.00105', '1.6e-09']
    ```
    """
    t, size, alpha, beta, eta, batch, sigma, last = symbols(
        time, n_features, input_exponent, target_exponent, learning_rate, batch_size, noise,
        n_coordinates,
    )  # fmt: skip
    (has_early, has_late), of_run, law = _parts, (eta, batch, sigma), (size, alpha, beta, last)
    if not has_early:
        return _late_loss(t, *law, *of_run)
    early = _early_loss(t, *_nodes_and_limit(*law), *of_run)
    if not has_late:
        return early
    return jnp.where(t < LATE, early, _late_loss(t, *law, *of_run))


@functools.partial(jnp.vectorize, signature="(),(),(),()->(n),(n),(n),()")
def _nodes_and_limit(*law: Array) -> tuple[Array, Array, Array, Array]:
    """Programs that do not depend on the times, and serve other functions, too."""
    nodes = nodes_of(law)
    return nodes.nodes, nodes.target_weights, nodes.noise_weights, limit_of(law)


@rules.compiled_quickly
@functools.partial(jnp.vectorize, signature="(),(n),(n),(n),(),(),(),()->()")
def _early_loss(
    t: Array, z: Array, target: Array, own: Array, limit: Array,
    eta: Array, batch: Array, sigma: Array,
) -> Float[Array, ""]:  # fmt: skip
    """Mean loss of SGD at a constant rate before `LATE`, by the recursion."""
    nodes = Nodes(z, target, own)
    curve = mean_losses(nodes, Descent(), jnp.broadcast_to(eta, (LATE,)), batch, limit + sigma**2)
    value = curve[jnp.clip(jnp.round(t), 0, LATE).astype(jnp.int32)]
    step = eta * jnp.real(z[0])  # where there is no loss, derivatives are none either
    return value + step * jnp.where(jnp.isnan(value), jnp.nan, 0.0)


@rules.compiled_quickly
@jnp.vectorize
def _late_loss(
    t: Array, size: Array, alpha: Array, beta: Array, last: Array,
    eta: Array, batch: Array, sigma: Array,
) -> Float[Array, ""]:  # fmt: skip
    """The same from `LATE` on, by the contour in time."""
    from_late_on, law = jnp.where(t >= LATE, t, float(LATE)), (size, alpha, beta, last)
    late = constant_rate_loss(from_late_on, mean_resolvent(law, sigma**2), eta, batch)
    given = jax.lax.stop_gradient((size, alpha, last, batch, jnp.zeros_like(eta)))
    unstable = (t >= LATE) & ~(eta < limit_rate_of_mean(*given))  # a pole to the right
    return late * jnp.where(unstable, jnp.nan, 1.0)  # and derivatives


def mean_losses(
    nodes: Nodes,
    optimizer: AbstractLinearOptimizer,
    rates: Float[Array, " t"],
    batch: Array,
    unreachable: Array,
) -> Float[Array, " t+1"]:
    """Mean loss before the first step and after each, of any linear optimizer but DANA.

    It is NaN from the step on at which it is below the least loss or has diverged: above the limit
    of stability nodes off the spectrum grow without bound, and single draws carry the mean.
    """
    on_nodes = contour_modes(nodes.nodes, nodes.target_weights, nodes.noise_weights)
    curve = losses(on_nodes, optimizer, rates, batch_size=batch, unreachable=unreachable)
    holds = (curve > (1 - 1e-6) * unreachable / 2) & (curve < DIVERGED * curve[0])
    return jnp.where(jnp.cumsum(~holds) > 0, jnp.nan, curve)


def norm_of_mean(eta: Array, size: Array, alpha: Array, last: Array, batch: Array, mu: Array):
    """`N` of the mean over features."""
    scale = batch * (1 - mu) + 1 + mu
    z = 2 * batch * (1 - mu**2) / (eta * scale)
    inputs = _sums.inputs_of(alpha, last)
    kappa = _kappa.kappa_of(jax.lax.complex(z, jnp.zeros_like(z)), size, inputs)
    return -jnp.real(_sums.s1(kappa, inputs)) * (1 + mu) / scale


def limit_rate_of_mean(size: Array, alpha: Array, last: Array, batch: Array, mu: Array) -> Array:
    """Rate at which the mean over features of `N` is 1, or of the upper edge if that is lower."""
    scale, inputs = batch * (1 - mu) + 1 + mu, _sums.inputs_of(alpha, last)
    kappa = _kappa.kappa_beyond(size, scale / (1 + mu), inputs)
    return 2 * batch * (1 - mu**2) / (scale * _kappa.z_of(kappa, size, inputs))


@over_features(batch_size=rules.positive)
def mean_max_learning_rate(
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    batch_size: Real[ArrayLike, "..."] = 1.0,
    momentum: Real[ArrayLike, "..."] = 0.0,
    n_coordinates: Real[ArrayLike, "..."] = np.inf,
) -> Float[Array, "..."]:
    r"""Learning rate above which the mean loss of SGD or heavy ball diverges, for typical features.

    $$N(\eta) = 1, \qquad N = \sum_i \frac{\eta\lambda_i}{2B - (B + 1)\,\eta\lambda_i}
      = -\frac{S_1(\kappa)}{B + 1} \quad \text{at} \quad z(\kappa) = \frac{2B}{(B + 1)\eta}$$

    **Arguments:** as `limit_loss`, and

    - `batch_size`, `momentum`: B and mu.

    **Returns:** eta, the shape of all arguments broadcast. `max_learning_rate` of single draws
    scatters around it by 4 to 14 % at d = 128.

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    >>> with jax.enable_x64(True):
    ...     at = dict(input_exponent=0.8, batch_size=np.array([1, 16]))
    ...     rate = js.streaming.theory.mean_max_learning_rate(512, **at)
    >>> print(np.asarray(rate).round(2))
    [0.55 1.71]
    """
    size, alpha, batch, mu, last = symbols(
        n_features, input_exponent, batch_size, momentum, n_coordinates
    )
    return limit_rate_of_mean(size, alpha, last, batch, mu)


@over_features()
def critical_batch_size(
    n_features: Real[ArrayLike, "..."],
    *,
    input_exponent: Real[ArrayLike, "..."],
    n_coordinates: Real[ArrayLike, "..."] = np.inf,
) -> Float[Array, "..."]:
    r"""Batch at which the two bounds of the largest stable learning rate of SGD cross.

    $$B^* = \frac{\sum_j j^{-2\alpha}}{\lambda_{\max}}$$

    The limit rises as `2 B / sum` far below it and saturates at `2 / lambda_max` far above; at it,
    it is about half of its final value.

    **Arguments:** as `limit_loss`.

    **Returns:** the shape of all arguments broadcast. The largest eigenvalue is that of the
    equivalent: of few features with a steep spectrum single draws scatter around one that is lower,
    and their B* is higher (1.09 instead of .69 at alpha = 2 and 16 features, 1.08 instead of .89 at
    100).

    **Raises:** `ValueError` for a plain number out of range, or without float64.

    **Example**

    >>> with jax.enable_x64(True):
    ...     batch = js.streaming.theory.critical_batch_size(512, input_exponent=0.8)
    >>> print(f"{float(batch):.2f}")
    2.09
    """
    size, alpha, last = symbols(n_features, input_exponent, n_coordinates)
    trace = power_tail(2.0 * alpha, jnp.ones_like(alpha), last)
    return trace / edges_of(size, alpha, last)[1]
