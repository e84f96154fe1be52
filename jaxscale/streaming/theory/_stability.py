"""Where one-pass SGD and heavy ball are stable, and the loss that their noise leaves."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._roots import root
from jaxscale._theory import symbols
from jaxscale.streaming.theory._checks import check_modes, theory_function


class _Gains(NamedTuple):
    """`N_i = noise / room` of every mode; there is no room beyond its limit of stability."""

    noise: Float[Array, " d"]
    room: Float[Array, " d"]


def _gains(eta: Array, lam: Array, batch: Array, mu: Array) -> _Gains:
    x, r = eta * lam, 1 / batch
    return _Gains(r * x * (1 + mu), 2 * (1 - mu**2) - x * ((1 - mu) + (1 + mu) * r))


def norm_of(eta: Array, lam: Array, batch: Array, mu: Array) -> Float[Array, ""]:
    """`N` of arrays of one dtype, infinite where a mode is unstable by itself."""
    noise, room = _gains(eta, lam, batch, mu)
    stable = jnp.all(room > 0)
    return jnp.where(stable, jnp.sum(noise / jnp.where(stable, room, 1.0)), jnp.inf)


@theory_function(vectorize=False, check=check_modes)
def kernel_norm(
    learning_rate: Real[ArrayLike, ""],
    eigenvalues: Real[ArrayLike, " d"],
    *,
    batch_size: Real[ArrayLike, ""] = 1.0,
    momentum: Real[ArrayLike, ""] = 0.0,
) -> Float[Array, ""]:
    r"""Loss that the noise of one unit of loss leaves: the sum of the kernel of SGD or heavy ball.

    $$N = \sum_i \frac{a_i}{1 - a_i}, \qquad
      a_i = \frac{\eta\lambda_i (1 + \mu)}{B (1 - \mu)(2 (1 + \mu) - \eta\lambda_i)}, \qquad
      N = \sum_i \frac{\eta\lambda_i}{2 B - (B + 1)\,\eta\lambda_i} \quad (\mu = 0)$$

    Exact. The mean loss converges where N < 1.

    **Arguments:**

    - `learning_rate`: eta.
    - `eigenvalues`: lambda_i, the eigenvalues of E phi phi^T, `(d,)`; zeros change nothing.
    - `batch_size`: B, may be infinite.
    - `momentum`: mu of heavy ball.

    **Returns:** a scalar, infinite if a mode is unstable by itself.

    **Raises:** `ValueError` for a plain number out of range, or an array where a scalar is due.

    **Example**

    >>> eigenvalues = np.arange(1, 33) ** -1.6
    >>> norm = js.streaming.theory.kernel_norm(0.3, eigenvalues, batch_size=2)
    >>> print(f"{norm:.3f}")
    0.181
    """
    eta, lam, batch, mu = symbols(learning_rate, eigenvalues, batch_size, momentum)
    return norm_of(eta, lam, batch, mu)


@theory_function(vectorize=False, check=check_modes)
def max_learning_rate(
    eigenvalues: Real[ArrayLike, " d"],
    *,
    batch_size: Real[ArrayLike, ""] = 1.0,
    momentum: Real[ArrayLike, ""] = 0.0,
) -> Float[Array, ""]:
    r"""Learning rate above which the mean loss of SGD or heavy ball diverges.

    $$N(\eta_{max}) = 1, \qquad \frac{2 B}{\mathrm{tr} + (B + 1)\lambda_1} \le \eta_{max}
      \le \min\Big(\frac{2 B}{\mathrm{tr}}, \frac{2 B}{(B + 2)\lambda_1}\Big) \quad (\mu = 0)$$

    Exact: the spectral radius of a step of the second moments is 1 there, to 1e-12 in float64.
    Single runs are rarer than their mean: above .5 of this rate a typical run lies far below it.

    **Arguments:** as `kernel_norm`.

    **Returns:** a scalar, infinite if all eigenvalues are 0.

    **Raises:** as `kernel_norm`.

    **Example**

    >>> eigenvalues = np.arange(1, 33) ** -1.6
    >>> print(f"{js.streaming.theory.max_learning_rate(eigenvalues):.3f}")
    0.569
    """
    lam, batch, mu = symbols(eigenvalues, batch_size, momentum)
    any_mode = jnp.any(lam > 0)
    lam = jnp.where(any_mode, lam, jnp.ones_like(lam))
    largest, trace = jnp.max(lam), jnp.sum(lam)
    r, room = 1 / batch, 2 * (1 - mu**2)
    own = (1 - mu) + (1 + mu) * r
    low = room / (r * (1 + mu) * trace + own * largest)
    alone = room / (own + r * (1 + mu)) / largest
    high = 1 / jnp.maximum(1 / alone, r * trace / (2 * (1 - mu)))
    rate = root(_excess_norm, (lam, batch, mu), low, high, jnp.finfo(lam.dtype).nmant, rising=True)
    return jnp.where(any_mode, rate, jnp.inf)


def _excess_norm(eta: Array, lam: Array, batch: Array, mu: Array) -> tuple[Array, Array]:
    """`N - 1` times the room of the largest eigenvalue, and its slope: finite at its pole, too."""
    noise, room = _gains(eta, lam, batch, mu)
    top = lam == jnp.max(lam)
    n_top = jnp.sum(top).astype(lam.dtype)
    noise_of_top = jnp.sum(jnp.where(top, noise, 0.0))
    room_of_top = jnp.sum(jnp.where(top, room, 0.0)) / n_top
    others = jnp.where(top, 0.0, noise / jnp.where(top, 1.0, room))
    # room = c - eta s lam and noise = eta n lam: noise / room has the slope noise c / (eta room^2)
    constant = 2 * (1 - mu**2)
    slopes = jnp.where(top, 0.0, others * constant / jnp.where(top, 1.0, room)) / eta
    value = noise_of_top + room_of_top * (jnp.sum(others) - 1)
    slope_of_room = (room_of_top - constant) / eta
    slope = noise_of_top / eta + slope_of_room * (jnp.sum(others) - 1)
    return value, slope + room_of_top * jnp.sum(slopes)


@theory_function(vectorize=False, check=check_modes)
def noise_floor(
    eigenvalues: Real[ArrayLike, " d"],
    *,
    unreachable: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    batch_size: Real[ArrayLike, ""] = 1.0,
    momentum: Real[ArrayLike, ""] = 0.0,
) -> Float[Array, ""]:
    r"""Mean loss that SGD or heavy ball ends at.

    $$L_\infty = \frac{\omega/2}{1 - N}$$

    with N = `kernel_norm`. Exact.

    **Arguments:** as `kernel_norm`, and

    - `unreachable`: omega, twice the smallest loss of any weights, label noise included.

    **Returns:** a scalar, infinite at and above the largest learning rate.

    **Raises:** as `kernel_norm`.

    **Example**

    >>> eigenvalues = np.arange(1, 33) ** -1.6
    >>> floor = js.streaming.theory.noise_floor(eigenvalues, unreachable=0.1, learning_rate=0.3)
    >>> print(f"{floor:.4f}")
    0.0812
    """
    omega, eta, lam, batch, mu = symbols(
        unreachable, learning_rate, eigenvalues, batch_size, momentum
    )
    norm = norm_of(eta, lam, batch, mu)
    stable = norm < 1
    return jnp.where(stable, omega / 2 / (1 - jnp.where(stable, norm, 0.0)), jnp.inf)
