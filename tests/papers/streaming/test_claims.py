"""Claims of streaming regression on draws, whose losses are those of runs, and on planted ones."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.papers._runs import in_float64
from jaxscale.papers.streaming import (
    _claims as claims,
    _draws as drawn,
    _figures as figures,
    _scores as measure,
)
from jaxscale.papers.streaming._draws import GROUPS

COUNTS = {8: 2 * GROUPS, 16: 2 * GROUPS}


@pytest.fixture(scope="module")
def draws():
    with ThreadPoolExecutor(2) as pool:
        return drawn.start_draws(pool, COUNTS).result()


def verdicts(judged):
    return {claim.id: str(claim.verdict) for claim in judged}


def planted(draws, loss=None, rest=None):
    """Draws of 16 to 512 features with other losses, and the equivalent 1 / d."""
    sizes = [16, 32, 64, 128, 256, 512]
    phases = draws.loss["phase"].values
    d = xarray.DataArray(np.array(sizes, float), dims="n_features", coords={"n_features": sizes})
    t = xarray.DataArray(drawn.TIMES, dims="step", coords={"step": drawn.TIMES})
    one = xarray.DataArray(np.ones(len(phases)), dims="phase", coords={"phase": phases})
    noise = 1 + 0.001 * np.random.default_rng(0).normal(size=GROUPS)
    seed = xarray.DataArray(noise, dims="seed")
    expected = (one * (1 / d + 3 / t)).transpose("phase", "n_features", "step")
    changed = {"expected": expected}
    if loss is not None:
        changed["loss"] = expected * loss(d, t) * seed
    if rest is not None:
        first = one * (1 + 0 * d) * (seed / float(seed.mean()))
        changed["rest"] = xarray.concat([first, 1 + rest(d) ** 2 + 0 * first], dim="moment")
    return draws._replace(**changed)


@pytest.mark.parametrize("phase", ["III", "Ib"])
def test_draws_are_those_of_the_system_and_losses_those_of_the_recursion(draws, phase):
    size, steps = 16, drawn.TIMES[drawn.TIMES < 200]
    last = drawn.coordinates(phase, size)
    alpha, beta = drawn.PHASES[phase]
    system = js.streaming.StreamingRegression(
        n_features=size,
        input_exponent=alpha,
        target_exponent=beta,
        n_coordinates=last if last == np.inf else int(last),
        learning_rate=drawn.rate(phase, size),
    )
    seeds = jnp.arange(COUNTS[size])
    state = jax.jit(jax.vmap(lambda seed: system.init(jr.fold_in(jr.key(0), seed))))(seeds)
    modes = draws.modes[phase, size]
    own = np.sort(state.modes.eigenvalues, axis=1)[:, ::-1]  # those of runs are in another order
    np.testing.assert_allclose(modes.eigenvalues, own, rtol=1e-4)

    def recursion(modes):
        return js.streaming.theory.optimizer_loss(
            steps, modes.eigenvalues, modes.target_power, unreachable=modes.unreachable,
            learning_rate=system.learning_rate, optimizer=js.Sgd(), n_steps=200,
        )  # fmt: skip

    exact = drawn.groups(np.asarray(jax.vmap(recursion)(state.modes), float)).T
    values = draws.loss.sel(phase=phase, n_features=size).sel(step=steps)
    np.testing.assert_allclose(values, exact, rtol=1e-4)
    observed = jax.jit(jax.vmap(system.observe))(state)
    floor = drawn.groups(np.asarray(observed["floor"], float))
    rest = draws.rest.sel(phase=phase, n_features=size)
    np.testing.assert_allclose(rest.isel(moment=0), floor, rtol=1e-4)


@pytest.mark.parametrize("phase", ["III", "II", "IVa"])
def test_losses_of_draws_are_those_of_the_eigenvectors(draws, phase):
    size, rate = 16, drawn.rate(phase, 16)
    modes = draws.modes[phase, size]

    def jump(eigenvalues, power, unreachable):
        return js.streaming.theory.sgd_loss(
            np.append(drawn.TIMES, np.inf),
            eigenvalues,
            power,
            unreachable=unreachable,
            learning_rate=rate,
        )

    given = (modes.eigenvalues, modes.target.astype(float) ** 2, modes.out_of_reach)
    exact = drawn.groups(in_float64(jax.vmap(jump), *(x.astype(float) for x in given))).T
    at = {"phase": phase, "n_features": size}
    np.testing.assert_allclose(draws.loss.sel(at), exact[:-1], rtol=1e-11)
    np.testing.assert_allclose(draws.rest.sel(at).isel(moment=0), exact[-1], rtol=1e-11)


def test_the_equivalent_is_computed_where_claims_need_it(draws):
    has_curve = draws.expected.notnull().all("step")
    for size in COUNTS:
        phases = draws.expected["phase"].values[has_curve.sel(n_features=size)]
        assert set(phases) == set(drawn.WINDOWS)
    assert not set(COUNTS) & set(drawn.COMPARED)  # at these sizes all phases have one


def test_excess_is_that_of_the_rest_at_last(draws):
    modes = draws.modes["III", 16]
    rates = jnp.full(modes.unreachable.shape, drawn.rate("III", 16), jnp.float32)
    last = drawn._excess(modes, rates, jnp.float32(1.0), js.Constant(), 20_000)
    moments = draws.rest.sel(phase="III", n_features=16)
    exact = moments.isel(moment=0) - drawn.groups(np.asarray(modes.out_of_reach, float)) / 2
    np.testing.assert_allclose(drawn.groups(np.asarray(last, float)), exact, rtol=1e-3)


def test_planted_means_and_scatters_are_judged(draws):
    def scatter(d):  # another one where it is not measured
        return 1.5 / np.sqrt(d) * np.where((d < 32) | (d > 256), 3.0, 1.0)

    right = verdicts(claims.feature_claims(planted(draws, lambda d, t: 1.0, scatter)))
    assert set(right.values()) == {"agrees"}
    assert len(right) == 12
    wrong = verdicts(
        claims.feature_claims(planted(draws, lambda d, t: 1 + 6 / d**0.5, lambda d: 1.5 / d**0.25))
    )
    assert set(wrong.values()) == {"disagrees"}


def test_planted_frontiers_are_judged(draws):
    right = measure.frontiers_of(planted(draws, lambda d, t: 1.0))
    assert set(verdicts(claims.frontier_claims(right)).values()) == {"agrees"}
    tilted = measure.frontiers_of(planted(draws, lambda d, t: (d * t) ** 0.1))
    judged = verdicts(claims.frontier_claims(tilted))
    assert {v for name, v in judged.items() if "loss" in name} == {"disagrees"}


def test_planted_schedules_are_judged(monkeypatch):
    ratios = {phase: measure.decay_ratio(phase) for phase in claims.DECAYS}
    monkeypatch.setattr(measure, "decay_ratio", ratios.get)  # takes seconds
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=GROUPS)

    def judged(sign):
        rows = [[1.0, ratio**sign, 1.0] for ratio in ratios.values()]
        excess = xarray.DataArray(
            np.array(rows)[:, :, None] * noise,
            dims=("phase", "schedule", "seed"),
            coords={
                "phase": list(claims.DECAYS),
                "schedule": ["Constant", "LinearDecay", "WarmUp"],
            },
        )
        return set(verdicts(claims.schedule_claims(excess)).values())

    assert judged(1) == {"agrees"}
    assert judged(-1) == {"disagrees"}


def test_a_ratio_is_that_of_means():
    values = xarray.DataArray([1.0, 3.0, 8.0], dims="seed")
    np.testing.assert_allclose(measure.ratio_of_means(2 * values, values), 2.0)
    pseudo = measure.ratio_of_means(values, xarray.DataArray([1.0, 1.0, 2.0], dims="seed"))
    ratios = np.array([3.0, 11 / 3, 3.0, 2.0])  # of all, and without each
    np.testing.assert_allclose(pseudo, 3 * ratios[0] - 2 * ratios[1:])


def ratios(values):
    """Runs whose loss is `values` over (seed, step) times their exact mean; NaN has diverged."""
    values = np.asarray(values, float)
    dims, steps = ("seed", "step"), [0, 10, 100, 1000][-values.shape[1] :]
    bad = np.where(np.isnan(values).any(axis=1), js.Status.diverged, js.Status.ok)
    data = {"loss": (dims, 3 * values), "expected_loss": (dims, np.full(values.shape, 3.0))}
    return xarray.Dataset({**data, "status": ("seed", bad)}, coords={"step": steps})


def test_a_run_that_diverged_does_not_count_with_its_records_before():
    runs = ratios([[9, 9, 1.0, 1.5], [9, 9, 0.5, np.nan], [np.nan, np.nan, 1.0, 1.0]])
    np.testing.assert_allclose(measure.ratio_to_exact(runs), [1.25, np.nan, 1.0])


def test_the_median_is_below_runs_that_diverged():
    values = np.tile([[1.0, 0.7], [1.0, 0.8], [1.0, 0.9]], (measure.MEDIAN_GROUPS, 1))
    np.testing.assert_allclose(measure.median_ratio(ratios(values)), 0.8)
    values[::3, 1] = np.nan
    runs = ratios(values)
    np.testing.assert_allclose(measure.median_ratio(runs), 0.9)
    figure = figures.stability_figure(runs.expand_dims(learning_rate=[0.1]))
    median, mean = figure.axes[0].lines
    np.testing.assert_allclose(median.get_ydata(), [1.0, 0.9])
    np.testing.assert_allclose(mean.get_ydata(), [1.0, np.inf])
    runs["status"][:] = js.Status.not_run  # of which nothing is known
    np.testing.assert_allclose(measure.median_ratio(runs), 0.85)
