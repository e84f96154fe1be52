"""The mean of runs of streaming regression is their exact curve, for every linear optimizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import largest_z
from streamed import run_seeds, small_system, start_states

import jaxscale as js

S = js.streaming
WARM = js.WarmUp(n_warm_up=30, then=js.LinearDecay(final_ratio=0.1))
OPTIMIZERS = {
    "sgd": {"learning_rate": 0.14},
    "heavy ball": {"optimizer": js.Sgd(momentum=0.9), "batch_size": 2, "learning_rate": 0.02},
    "nesterov": {"optimizer": S.Nesterov(), "batch_size": 2, "learning_rate": 0.02},
    "dana": {"optimizer": S.Dana(decay=0.625), "learning_rate": 0.1},
    "polyak": {"optimizer": S.PolyakAverage(), "learning_rate": 0.14},
    "ema": {"optimizer": S.ExponentialAverage(), "learning_rate": 0.14},
    "schedule-free": {"optimizer": S.ScheduleFree(), "learning_rate": 0.14},
    "warm-up and decay": {"schedule": WARM, "batch_size": 4, "learning_rate": 0.2},
}


def z_scores(values, expected, n_comparisons):
    """Largest |z| of the mean over seeds, first axis, and the bound of Student's t."""
    n = len(values)
    z = (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(n))
    return np.max(np.abs(z)), largest_z(n, n_comparisons)


def assert_mean_is_exact(fields, n_seeds, **more):
    results = run_seeds(small_system(**fields, **more), n_seeds)
    ratio = (results["loss"] / results["expected_loss"]).values[:, 1:]
    worst, bound = z_scores(ratio, 1.0, ratio.shape[1] * len(OPTIMIZERS))
    assert worst < bound
    return results


@pytest.mark.parametrize("name", ["sgd", "dana"])
def test_the_mean_of_runs_is_their_exact_curve(name):
    assert_mean_is_exact(OPTIMIZERS[name], 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_mean_of_many_runs_is_their_exact_curve(name):
    """It is not that of a planted error, on half of the same runs."""
    length = {"n_steps": 1000, "record": [0, 100, 1000]}
    results = assert_mean_is_exact(OPTIMIZERS[name], 512, **length)
    assert_errors_are_seen(small_system(**OPTIMIZERS[name], **length), results, 256)


ERRORS = ("nothing unreachable", "no noise term")


def assert_errors_are_seen(one, results, n_seeds, errors=ERRORS):
    """Mean losses differ from curves without a part of what drives the noise of SGD."""

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def wrong(modes, quiet):
        driving, forgotten = modes.label_variance, modes.out_of_reach
        curve = S.theory.optimizer_loss(
            jnp.asarray(one.record_steps[1:]), modes.eigenvalues, modes.target_power,
            unreachable=jnp.where(quiet, driving + forgotten, driving), n_steps=one.n_steps,
            learning_rate=one.learning_rate, batch_size=jnp.where(quiet, 1e12, one.batch_size),
            optimizer=one.optimizer, schedule=one.schedule,
        )  # fmt: skip
        return jnp.where(quiet, curve, curve + forgotten / 2)

    modes = start_states(one, n_seeds).modes
    for error in errors:
        curves = np.asarray(wrong(modes, error == "no noise term"))
        worst, bound = z_scores(results["loss"].values[:n_seeds, 1:] / curves, 1.0, 2)
        print(f"{error}: z = {worst:.1f}, bound {bound:.2f}")
        assert worst > 1.5 * bound, error


@pytest.mark.parametrize("error", ERRORS)
def test_a_planted_error_is_seen(error):
    one = small_system(noise=0.0, learning_rate=0.14)
    assert_errors_are_seen(one, run_seeds(one, 256), 256, [error])


def test_modes_and_coordinates_agree_in_law():
    by_space = [
        np.log(run_seeds(small_system(learning_rate=0.14, space=space), 512)["loss"].values[:, 1:])
        for space in (S.Eigenbasis(), S.Coordinates())
    ]
    paired = by_space[0] - by_space[1]  # the same features, other samples
    worst, bound = z_scores(paired, 0.0, 2 * paired.shape[1])
    assert worst < bound
    squares = [(x - x.mean(0)) ** 2 for x in by_space]
    worst, bound = z_scores(squares[0] - squares[1], 0.0, 2 * paired.shape[1])
    assert worst < bound
