"""Intervals of fits cover the truth as often as they say: 1000 data sets per system."""

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.emergence import MultilinearSkills

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


def _superposition():
    steps = np.unique(np.geomspace(1, 1000, 25).round())
    truth = {"frequency_exponent": 1.5, "learning_rate": 0.1}
    fixed = {"importance_exponent": 0.0, "n_features": 128}
    formula = js.Formula(js.superposition.theory.sequential_loss, {**truth, **fixed})
    exact = formula.predicted(time=steps)["loss"]
    return formula, _sets(steps, "time", exact, 0.03), truth


def _covered(fit, truth, level):
    found = {}
    for name, value in truth.items():
        low, high = fit.interval(level)[name]
        found[name] = float(np.mean((low < value) & (value < high)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("system", [_emergence, _sparse, _superposition])
def test_intervals_cover_the_truth(system):
    theory, table, truth = system()
    fit = js.calibrate(theory, table, list(truth), each="set", n_starts=1)
    assert fit.converged.mean() > 0.999
    assert len(fit.labels) == N_SETS
    for level, (low, high) in LEVELS.items():
        for name, share in _covered(fit, truth, level).items():
            assert low < share < high, (name, level, share)
    # power: intervals of a third of the noise's size would cover far less
    narrow = {n: (fit.values[n] - truth[n]) / (fit.standard_error[n] / 2) for n in truth}
    for name, pull in narrow.items():
        assert np.mean(abs(pull) < 1.96) < 0.75, name


@pytest.mark.slow
def test_bootstrap_intervals_over_runs_cover_the_truth():
    formula, table, truth = _superposition()
    runs = table[table["set"] < 480].copy()  # 40 experiments of 12 runs that move as wholes
    rng = np.random.default_rng(1)
    runs["loss"] *= np.exp(0.05 * rng.standard_normal(480))[runs["set"]]
    runs["experiment"], runs["run"] = runs["set"] // 12, runs["set"] % 12
    options = {"each": "experiment", "n_starts": 1, "bootstrap": 200}
    whole = js.calibrate(formula, runs, list(truth), resample="run", **options)
    points = js.calibrate(formula, runs, list(truth), **options)
    assert np.isfinite(whole.resamples).all()

    def share(fit):
        low, high = fit.bootstrap_interval()["learning_rate"]
        return np.mean((low < truth["learning_rate"]) & (truth["learning_rate"] < high))

    # percentiles of 12 runs are somewhat narrow; single points as units are far too narrow
    assert share(whole) >= 0.8
    assert share(points) < share(whole)
