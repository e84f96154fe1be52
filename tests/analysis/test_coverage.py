"""Intervals of fits cover the truth as often as they say: 1000 data sets per system."""

import numpy as np
import pandas
import pytest
from scipy.special import ndtr, stdtrit

import jaxscale as js
from jaxscale.analysis._new_value import noise_of
from jaxscale.analysis._resamples import Resamples
from jaxscale.emergence import MultilinearSkills

SKILLS = MultilinearSkills(n_skills=5, n_steps=200, record=range(50, 201, 25))
N_SETS = 1000
# binomial standard errors over 1000 sets are 0.7 % and 1.5 %
LEVELS = {0.95: (0.92, 0.98), 0.68: (0.63, 0.73)}


def _sets(x, name, exact, sigma):
    """Tables with multiplicative noise, one below the other."""
    noise = np.exp(sigma * np.random.default_rng(0).standard_normal((N_SETS, len(x))))
    return pandas.DataFrame({
        name: np.tile(x, N_SETS),
        "loss": (np.asarray(exact) * noise).ravel(),
        "set": np.repeat(np.arange(N_SETS), len(x)),
    })  # fmt: skip


def _emergence():
    record = range(0, 401, 20)
    system = MultilinearSkills(n_skills=10, n_steps=400, learning_rate=0.1, record=record)
    exact = js.predict(js.Grid(system))["loss"]
    table = _sets(exact.step.values, "step", exact, 0.05)
    truth = {"skill_exponent": 0.6, "learning_rate": 0.1}
    return js.Grid(system), table, truth


def _sparse():
    samples = np.geomspace(50, 3000, 12).round()
    truth = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0, "activity": 0.8}
    formula = js.Formula(js.sparse.theory.unseen_loss, {**truth, "n_coordinates": 400})
    exact = formula.predicted(n_samples=samples)["loss"]
    free = {k: truth[k] for k in ("spectrum_exponent", "activity")}
    return formula, _sets(samples, "n_samples", exact, 0.02), free


def _superposition(sigma=0.01):
    steps = np.unique(np.geomspace(1, 1000, 25).round())
    truth = {"frequency_exponent": 1.5, "learning_rate": 0.1}
    fixed = {"importance_exponent": 0.0, "n_features": 128}
    formula = js.Formula(js.superposition.theory.sequential_loss, {**truth, **fixed})
    exact = formula.predicted(time=steps)["loss"]
    return formula, _sets(steps, "time", exact, sigma), truth


def _covered(fit, truth, level):
    coverage = {}
    for name, value in truth.items():
        low, high = fit.interval(level)[name]
        coverage[name] = float(np.mean((low < value) & (value < high)))
    return coverage


@pytest.mark.parametrize(
    "system", [_emergence, pytest.param(_sparse, marks=pytest.mark.slow), _superposition]
)
def test_intervals_cover_the_truth(system):
    theory, table, truth = system()
    fit = js.calibrate(theory, table, list(truth), each="set", n_starts=1)
    assert fit.converged.mean() > 0.999
    assert len(fit.labels) == N_SETS
    for level, (low, high) in LEVELS.items():
        for name, share in _covered(fit, truth, level).items():
            assert low < share < high, (name, level, share)
    # power: intervals of half the width would cover far less
    narrow = {n: (fit.values[n] - truth[n]) / (fit.standard_error[n] / 2) for n in truth}
    for name, pull in narrow.items():
        assert np.mean(abs(pull) < 1.96) < 0.75, name


@pytest.mark.slow
def test_curvature_is_why_intervals_are_narrow_at_large_noise():
    # the covariance is that of the tangent plane; at 3 % noise on 23 points the exponent and the
    # rate trade along a curve, and 95 % intervals cover 92 % (0.5 % noise: 95 %)
    covered, scatter = {}, {}
    for sigma in (0.005, 0.03):
        formula, table, truth = _superposition(sigma)
        fit = js.calibrate(formula, table, list(truth), each="set", n_starts=1)
        covered[sigma] = _covered(fit, truth, 0.95)["learning_rate"]
        pull = (np.log(fit.values["learning_rate"]) - np.log(truth["learning_rate"])) / (
            fit.standard_error["learning_rate"] / fit.values["learning_rate"]
        )
        scatter[sigma] = np.std(pull)
    assert 0.93 < covered[0.005] < 0.97
    assert 0.88 < covered[0.03] < covered[0.005]
    assert scatter[0.03] > scatter[0.005] + 0.05


@pytest.mark.slow
def test_bootstrap_intervals_over_runs_cover_the_truth():
    # 24 experiments of 12 runs; every run has a learning rate of its own, scattered by 10 %
    formula, table, truth = _superposition()
    rng, steps = np.random.default_rng(1), table["time"].unique()[::2]
    rates = truth["learning_rate"] * np.exp(0.1 * rng.standard_normal(24 * 12))
    parts = []
    for i, rate in enumerate(rates):
        loss = formula.replaced({"learning_rate": rate}).predicted(time=steps)["loss"]
        noise = np.exp(0.01 * rng.standard_normal(len(steps)))
        parts.append(pandas.DataFrame({
            "time": steps, "loss": loss * noise, "experiment": i // 12, "run": i % 12
        }))  # fmt: skip
    runs = pandas.concat(parts, ignore_index=True)
    options = {"each": "experiment", "n_starts": 1, "bootstrap": 100}
    by_run = js.calibrate(formula, runs, ["learning_rate"], resample="run", **options)
    few = runs[runs["experiment"] < 6]
    points = js.calibrate(formula, few, ["learning_rate"], **{**options, "bootstrap": 40})
    assert np.isfinite(by_run.resamples).all()

    def covered_and_width(ends):
        low, high = np.log(ends["learning_rate"])
        at = np.log(truth["learning_rate"])
        return np.mean((low < at) & (at < high)), np.mean(high - low)

    share, width = covered_and_width(by_run.interval())
    assert share >= 0.8
    # Student's interval of the scatter that was drawn
    scatter = np.log(rates).reshape(24, 12).std(axis=1, ddof=1).mean()
    assert width == pytest.approx(2 * stdtrit(11, 0.975) * scatter / np.sqrt(12), rel=0.08)
    # single points, resampled or by the covariance, take 144 points for 144 runs
    for ends in (points.interval(), points.covariance_interval()):
        assert covered_and_width(ends)[1] < 0.5 * width


@pytest.mark.parametrize("n", [5, 6, 8])
def test_intervals_of_few_groups_cover_the_truth(n):
    """Of means of n normal numbers: 200 resamples, 3000 sets."""
    rng, n_sets = np.random.default_rng(n), 3000
    x = rng.standard_normal((n_sets, n))
    drawn = rng.integers(n, size=(n_sets, 200, n))
    means = np.take_along_axis(x[:, None], drawn, axis=2).mean(axis=2)
    resamples = Resamples(means[..., None], "seed", np.full(n_sets, n))
    low, high = resamples.ends(means, 0.95)
    assert 0.925 < np.mean((low < 0) & (0 < high)) < 0.975
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low < 0) & (0 < high)) < 0.92  # plain percentiles are too narrow


def test_intervals_of_few_groups_respect_bounds():
    """The interval is stretched where the parameter is unbounded: in its logarithm."""
    runs = js.predict(js.Grid(SKILLS))[["loss"]].expand_dims(seed=5)
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.2, (5, 1)))
    fit = js.calibrate(js.Grid(SKILLS), runs * noise, ["learning_rate"], n_starts=1)
    low, high = fit.interval(0.99)["learning_rate"]
    drawn = fit.bootstrap["learning_rate"]
    assert 0 < low < drawn.min() < drawn.max() < high


def _new_runs(n_groups, n_points, shared, alone, n_sets=200):
    """Coverage and half width of the 95 % interval of a new run, of the mean of noisy numbers."""
    rng = np.random.default_rng(0)
    noise = shared * rng.standard_normal((n_sets, n_groups, 1))
    noise = noise + alone * rng.standard_normal((n_sets, n_groups, n_points))
    number = np.arange(n_groups * n_points)
    table = pandas.DataFrame({
        "x": 1.0, "loss": np.exp(noise.ravel()), "set": np.repeat(np.arange(n_sets), len(number)),
        "run": np.tile(number // n_points, n_sets),
    })  # fmt: skip
    mean = js.Formula(lambda x, a: a + 0 * x, {"a": 1.0})
    of = "points" if n_points == 1 else "run"
    fit = js.calibrate(mean, table, ["a"], each="set", n_starts=1, bootstrap=200, resample=of)
    new = fit.predict(x=[1.0])
    low, high = (np.log(new[n]) / np.hypot(shared, alone) for n in ("new_low", "new_high"))
    return np.mean(ndtr(high) - ndtr(low)), np.mean(high - low) / 2


@pytest.mark.parametrize(
    ("n_groups", "n_points", "shared", "alone", "df"),
    [
        (12, 1, 0.0, 0.02, 11),
        pytest.param(10, 20, 0.02, 0.002, 9, marks=pytest.mark.slow),
        pytest.param(10, 20, 0.0, 0.02, 199, marks=pytest.mark.slow),
    ],
)
def test_intervals_of_a_new_run_are_widened_once(n_groups, n_points, shared, alone, df):
    """Student's t with as many degrees of freedom as there are independent errors, not twice."""
    covered, half = _new_runs(n_groups, n_points, shared, alone)
    assert 0.935 < covered < 0.965
    variance = 1 + (1 / n_groups if df < 20 else 1 / 200)
    assert half == pytest.approx(stdtrit(df, 0.975) * np.sqrt(variance), rel=0.05)


def test_noise_that_runs_share_is_estimated_from_the_runs():
    """Ten runs at their own sizes, three parameters: residuals are smaller than errors."""
    rng, noises = np.random.default_rng(0), []
    group = np.repeat(np.arange(10), 8)
    basis = np.stack([np.ones(10), np.arange(10.0), np.arange(10.0) ** 2])[:, group].T
    project = np.eye(80) - basis @ np.linalg.pinv(basis)
    for _ in range(2000):
        errors = rng.standard_normal(10)[group] + 0.5 * rng.standard_normal(80)
        noises.append(noise_of(project @ errors, group, group, 3))
    variances, df = np.asarray(noises).T
    assert np.mean(variances) == pytest.approx(1.25, rel=0.03)
    between, within = 1 + 0.25 / 8, 0.25 * 7 / 8
    assert np.median(df) == pytest.approx(1.25**2 / (between**2 / 7 + within**2 / 70), rel=0.1)
    together = noise_of(errors, group, np.tile(np.arange(8), 10), 3)  # runs at the same sizes
    assert together.df > noises[-1].df
