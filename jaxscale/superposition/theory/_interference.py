r"""False positives under trained biases: the one regime with an exponent near 1 for all (a, b).

An inactive output sees z of scale s = g sqrt(E sum x^2 / K), the interference of the active
features through random overlaps. Its bias -s v follows dv/dt = eta_b E relu(z/s - v), whatever a
and b are: thresholds are per output and never see the targets.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import is_plain, number, positive, symbols
from jaxscale.spectra import as_floats, require
from jaxscale.superposition.theory._checks import theory_function
from jaxscale.superposition.theory._sequential import features
from jaxscale.superposition.theory._tails import AbstractTail, Gaussian

_OPENING = 5.0  # bias_learning_rate times the time at which the window opens
_N_GRID = 2048
_LAST = 1e30  # of the grid


@theory_function(vectorize=False, trees=("tail",), n_features=positive)
def interference_loss(
    time: Real[ArrayLike, "..."],
    *,
    tail: AbstractTail = Gaussian(),  # noqa: B008  (no state)
    scale: Real[ArrayLike, "..."],
    bias_learning_rate: Real[ArrayLike, "..."],
    n_features: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""Loss of the false positives at N inactive outputs while their biases are trained.

    $$L = \frac{N s^2}{2}\,E\,\mathrm{relu}(z - v)^2, \qquad
      \frac{dv}{d\tau} = E\,\mathrm{relu}(z - v), \quad v(0) = 0, \quad \tau = \eta_b t$$

    with z of unit scale. The ODE is exact for an output whose interference has the law `tail` at
    every time; in a trained network the law is that of finitely many overlaps and holds up to
    about the inverse probability of the rarest. For late times L ~ t^-(1 - 2 xi); the Gaussian has
    a logarithmic correction, L ~ N s^2/(2 tau ln tau). This is the flow: steps of
    eta_b = 1 (Gaussian) give 13% less after 10 of them and 3% less after 100. Trained networks lie
    lower, on steps 10 to 100 of the shipped preset by factors of .47 to .79 if only the biases are
    trained, of .15 to .52 if the matrix is, too.

    **Arguments:** (any shapes that broadcast)

    - `time`: t >= 0, steps or flow time, may be infinite.
    - `tail`: law of the interference in units of its scale.
    - `scale`: s >= 0, in units of the output, see `interference_scale`.
    - `bias_learning_rate`: eta_b > 0.
    - `n_features`: N > 0.

    **Returns:** half the summed squared false output, broadcast shape.

    **Reference:** derived here, for the model of arXiv 2602.01045: gradient flow of
    E relu(s z + beta)^2/2 in beta = -s v.

    **Example**

    >>> time = np.asarray([0.0, 10.0, 100.0])
    >>> at = dict(scale=0.5, bias_learning_rate=1.0, n_features=512)
    >>> print(np.asarray(js.superposition.theory.interference_loss(time, **at)).round(3))
    [32.     2.598  0.155]
    """
    t, s, eta, n = symbols(time, scale, bias_learning_rate, n_features)
    endless = jnp.isinf(t)
    residual = tail.residual(eta * jnp.where(endless, 0.0, t))
    residual, s, n = as_floats(residual, s, n)
    return jnp.where(endless, 0.0, n) * s**2 / 2 * residual  # 0, also of infinitely many outputs


@theory_function()
def interference_scale(
    *,
    latent_size: Real[ArrayLike, "..."],
    gain: Real[ArrayLike, "..."],
    energy: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""Standard deviation of the interference of random unit columns.

    $$s = g \sqrt{E \textstyle\sum_j x_j^2 / K}$$

    The decoder is g times the identity; overlaps of random unit columns have variance 1/K, so a
    Gaussian tail of this scale holds for large K or many active features.

    **Arguments:** (any shapes that broadcast)

    - `latent_size`: K >= 1.
    - `gain`: g >= 0, dimensionless.
    - `energy`: mean of the sum of squares of the inputs; mean_active times second_moment.

    **Returns:** s, broadcast shape.

    **Example**

    >>> scale = js.superposition.theory.interference_scale(latent_size=8, gain=1.4, energy=1.0)
    >>> print(f"{scale:.3f}")
    0.495
    """
    k, g, e = symbols(latent_size, gain, energy)
    share = e / k
    return g * jnp.where(share == 0, 0.0, jnp.sqrt(jnp.where(share == 0, 1.0, share)))


@theory_function(tail_index=number(lambda v: v < 0.5, "below 1/2"))
def universal_law(tail_index: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Exponent of the false-positive loss in time.

    $$L \sim t^{-(1 - 2\xi)}$$

    xi is the extreme-value index of the interference: 0 for the Gumbel class (Gaussian,
    exponential), 1/q for a tail x^-q, -1/k for a bounded end (1 - x)^k. For the Gaussian the local
    exponent is 1 + 1/ln t.

    **Arguments:** `tail_index`, xi < 1/2, any shape.

    **Returns:** 1 - 2 xi, the same shape.

    **Raises:** `ValueError` for a plain xi of 1/2 or above.

    **Reference:** derived here: E relu(z - v) ~ v^{1-q} gives v ~ t^{1/q} and L ~ v^{2-q}; likewise
    for a bounded end with q replaced by -k.

    **Example**

    >>> print(js.superposition.theory.universal_law(0.0))
    1.0
    """
    return 1 - 2 * symbols(tail_index)[0]


def _check_gain(values: Mapping[str, Any]) -> None:
    threshold = values["threshold"]
    if is_plain(threshold):
        bound = np.asarray(threshold) ** 2
        what = f"above `threshold` squared = {bound}"
        require("latent_size", values["latent_size"], lambda v: v > bound, what)


@theory_function(check=_check_gain)
def matched_gain(
    latent_size: Real[ArrayLike, "..."], *, threshold: Real[ArrayLike, "..."] = 1.8
) -> Float[Array, "..."]:
    r"""Gain at which the bias brings an active output of target 1 to its target.

    $$g = \frac{1}{1 - v_*/\sqrt K}$$

    The active output is g - s v with s = g/sqrt K (one-hot inputs of amplitude 1), which is 1 at
    v = v_*. The default, 1.8, lies where the window is best centred.

    **Arguments:** (any shapes that broadcast)

    - `latent_size`: K > v_*^2.
    - `threshold`: v_* > 0, in units of the scale of the interference.

    **Returns:** g, broadcast shape.

    **Example**

    >>> print(f"{js.superposition.theory.matched_gain(32):.3f}")
    1.467
    """
    k, v = symbols(latent_size, threshold)
    return 1 / (1 - v / jnp.sqrt(k))


class Window(NamedTuple):
    """Times between which false positives dominate and decay universally; equal if none."""

    opens: Float[Array, "..."]
    closes: Float[Array, "..."]


@theory_function("n_features", trees=("tail",))
def interference_window(
    *,
    latent_size: Real[ArrayLike, "..."],
    gain: Real[ArrayLike, "..."],
    bias_learning_rate: Real[ArrayLike, "..."],
    n_features: int,
    frequency_exponent: Real[ArrayLike, "..."],
    importance_exponent: Real[ArrayLike, "..."],
    energy: Real[ArrayLike, "..."] = 1.0,
    tail: AbstractTail = Gaussian(),  # noqa: B008  (no state)
) -> Window:
    r"""Predict when the false positives dominate the loss and follow their own law.

    $$\text{opens: } \eta_b t = 5; \qquad \text{closes: }
      \frac{N s^2}{2} E\,\mathrm{relu}(z - v)^2
      = \frac12\sum_i p_i\big(\mathrm{relu}(g - s v) - A_i\big)^2$$

    With the matrix frozen at g I and unit columns, the output of the one active feature is
    g + beta = g - s v, and its squared distance from A_i = i^-b is the signal residual. Thresholds
    of frequent features, which also grow by their own errors, are taken equal to the others. For
    one-hot inputs of amplitude 1. The crossing is located on 2048 values of tau up to 1e30, then by
    interpolation of the logarithms (about 0.1%).

    **Arguments:** (any shapes that broadcast)

    - `latent_size`: K >= 1.
    - `gain`: g >= 0, see `matched_gain`.
    - `bias_learning_rate`: eta_b > 0.
    - `n_features`: N, a Python integer.
    - `frequency_exponent`, `importance_exponent`: a, b >= 0.
    - `energy`: mean sum of squares of the inputs, for the scale of the interference.
    - `tail`: law of the interference; one law for all entries.

    **Returns:** two times; infinite `closes` if the loss never falls to the residual, and
    `closes = opens` if it is below from the start.

    **Example**

    >>> window = js.superposition.theory.interference_window(
    ...     latent_size=32, gain=1.4, bias_learning_rate=1.0,
    ...     n_features=512, frequency_exponent=1.5, importance_exponent=0.5,
    ... )
    >>> print(f"{window.opens:.3g} to {window.closes:.3g}")
    5 to 52.1
    """
    k, g, rate, a, b, e = symbols(
        latent_size, gain, bias_learning_rate, frequency_exponent, importance_exponent, energy
    )
    p, target, _ = features(a, b, n_features, False)
    mean = jnp.sum(p * target)
    spread = jnp.sum(p * (target - mean) ** 2)
    scale = interference_scale(latent_size=k, gain=g, energy=e)
    grid = np.linspace(np.log(_OPENING), np.log(_LAST), _N_GRID)
    log_tau = jnp.asarray(grid, k.dtype)
    tau = jnp.exp(log_tau)
    false = n_features * scale**2 / 2 * tail.residual(tau)
    active = jax.nn.relu(g - scale * tail.threshold(tau))
    signal = ((active - mean) ** 2 + spread) / 2
    tiny = float(jnp.finfo(k.dtype).tiny)
    height = jnp.log(jnp.maximum(false, tiny)) - jnp.log(jnp.maximum(signal, tiny))
    below = height <= 0
    j = jnp.clip(jnp.argmax(below), 1, _N_GRID - 1)
    drop = height[j - 1] - height[j]
    part = height[j - 1] / jnp.where(drop > 0, drop, 1.0)
    crossing = jnp.exp(log_tau[j - 1] + part * (log_tau[j] - log_tau[j - 1]))
    crossing = jnp.where(below[0], _OPENING, crossing)
    return Window(_OPENING / rate, jnp.where(jnp.any(below), crossing, jnp.inf) / rate)
