"""Mean loss over drawn features against its equivalent, and what replaces coordinates not drawn."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxscale as js
from jaxscale.spectra import power_sum, power_tail
from jaxscale.streaming._features import draw_features
from jaxscale.streaming._optimizers import Descent
from jaxscale.streaming.theory._contour import Nodes, nodes_of
from jaxscale.streaming.theory._equivalent import mean_losses

T = js.streaming.theory
TIMES = np.array([100.0, 1e3, 1e4])
PHASES = {"Ia": (0.8, 0.3), "II": (1.2, 0.8), "III": (0.8, 1.2), "IVa": (0.4, 0.9)}
N_DRAWS = {32: 1000, 256: 40}
pytestmark = pytest.mark.usefixtures("x64")


def rate_of(alpha, last=np.inf):
    return 0.6 / (float(power_sum(2 * alpha, last)) + 2.0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def losses_of_draws(size, last, keys, alpha, beta, rate):
    """Exact losses at `TIMES` and least loss of every draw."""

    def one(key):
        zero = jnp.zeros_like(alpha)
        numbers = (jnp.asarray(size, jnp.int32), size, last, alpha, beta, zero)
        modes = draw_features(key, *numbers).modes()
        at = {"unreachable": modes.unreachable, "learning_rate": rate}
        losses = T.sgd_loss(TIMES, modes.eigenvalues, modes.target_power, **at)
        return jnp.append(losses, modes.out_of_reach / 2)

    return jax.lax.map(one, keys)


@pytest.mark.slow
@pytest.mark.parametrize("size", N_DRAWS)
@pytest.mark.parametrize("phase", PHASES)
def test_the_mean_over_draws_is_the_equivalent(phase, size):
    """Within 2/d and two standard errors, which a loss without the noise of SGD is not."""
    alpha, beta = PHASES[phase]
    last = None if 2 * alpha > 1 else 4 * size
    end = np.inf if last is None else float(last)
    rate = rate_of(alpha, end)
    keys = jr.split(jr.key(size), N_DRAWS[size])
    drawn = losses_of_draws(size, last, keys, *map(jnp.asarray, (alpha, beta, rate)))
    law = {"input_exponent": alpha, "target_exponent": beta, "n_coordinates": end}

    def excess(**fields):
        losses = T.loss(TIMES, float(size), **law, learning_rate=rate, **fields)
        ratio = np.asarray(drawn) / np.append(losses, T.limit_loss(float(size), **law))
        error = ratio.std(0, ddof=1) / np.sqrt(len(ratio))
        return np.abs(ratio.mean(0) - 1) / (2 / size + 2 * error), error

    distance, error = excess()
    print(f"{phase}, d = {size}: {distance.round(2)} of the margin, errors {error.round(4)}")
    assert np.all(distance <= 1)
    assert np.max(excess(batch_size=1e9)[0]) > 1


@functools.partial(jax.jit, static_argnums=0)
def with_isotropic_tail(size, alpha, beta, rate):
    """Least loss and loss at step 100 in the mean over features, as 4 d coordinates and a tail.

    The tail moves every eigenvalue up by its variance; it is no part of the target.
    """
    last = 4.0 * size
    law = (jnp.asarray(float(size)), alpha, beta, jnp.asarray(last))
    variance = power_tail(2 * alpha, last + 1) / size
    nodes = nodes_of(law)
    z = nodes.nodes + variance.astype(nodes.nodes.dtype)
    target = nodes.target_weights * nodes.nodes / z
    limit = power_sum(2 * (alpha + beta), np.inf) - jnp.sum(target.real)
    moved = Nodes(z, target, nodes.noise_weights)
    curve = mean_losses(moved, Descent(), jnp.full(100, rate), jnp.asarray(1.0), limit)
    return jnp.stack([limit / 2, curve[-1]])


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.8), (0.8, 0.3), (0.8, 1.2)])
def test_the_isotropic_tail_replaces_coordinates_that_are_not_drawn(alpha, beta):
    size, rate = 100, rate_of(alpha) / 0.6
    at = {"input_exponent": alpha, "target_exponent": beta}

    def both(last):
        loss = T.loss(100.0, size, learning_rate=rate, n_coordinates=last, **at)
        return np.array([T.limit_loss(size, n_coordinates=last, **at), loss])

    endless = both(np.inf)
    tail = with_isotropic_tail(size, *map(jnp.asarray, (alpha, beta, rate))) / endless - 1
    none = both(4.0 * size) / endless - 1
    print(
        f"({alpha}, {beta}): {100 * tail.round(4)} % with the tail, {100 * none.round(3)} without"
    )
    assert np.all(np.abs(tail) < 0.035)
    assert np.all(np.abs(tail) < np.abs(none) / 20)
