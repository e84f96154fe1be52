"""`MultilinearSkills` against the exact flow and the exact mean over data sets."""

import equinox as eqx
import jax
import numpy as np
import pytest
from checks import largest_z
from scipy.stats import binom

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, theory

SHARE = 1 / sum(k**-1.6 for k in range(1, 11))  # P_1 of ten skills at alpha = 0.6
OBSERVABLES = ["loss", "skill_strength", "skill_loss"]


def _worst_error(rate: float) -> float:
    """Largest |R - R_flow| / S over all skills and recorded times, up to tau P_1 = 12."""
    n_steps = round(12 / (rate * SHARE))
    system = MultilinearSkills(n_skills=10, learning_rate=rate, n_steps=n_steps, dtype="float64")
    grid = js.Grid(system)
    runs, flow = js.run(grid, progress=False), js.predict(grid)
    return float(abs(runs["skill_strength"] - flow["skill_strength"]).max())


def test_euler_error_is_first_order_and_small():
    """`eta S P_1` = 1e-3: error below 1e-3, and half of that at twice the rate."""
    error, double = _worst_error(1e-3 / SHARE), _worst_error(2e-3 / SHARE)
    assert error <= 1e-3
    assert 1.9 < double / error < 2.1


def test_observables_are_consistent():
    system = MultilinearSkills(n_skills=6, n_steps=50, n_parameters=4, target_scale=2.0)
    out = eqx.filter_jit(system.simulate)(jax.random.key(0))
    strength = np.asarray(out["skill_strength"])
    assert np.all(strength[:, 4:] == 0)
    np.testing.assert_allclose(out["skill_loss"], 0.5 * (2.0 - strength) ** 2, rtol=1e-5)
    p = np.arange(1.0, 7) ** -1.6
    p /= p.sum()
    np.testing.assert_allclose(out["loss"], out["skill_loss"] @ p, rtol=1e-5)


def test_the_factors_are_those_of_gradient_descent_on_both():
    system = MultilinearSkills(n_skills=6, n_steps=50, record=[0, 1, 50], target_scale=2.0)
    out = eqx.filter_jit(system.simulate)(jax.random.key(0))
    p = np.arange(1.0, 7) ** -1.6
    a = b = np.full(6, 0.1)
    expected = {0: a * b}
    for step in range(1, 51):
        pull = 0.1 * p / p.sum() * (2.0 - a * b)
        a, b = a + pull * b, b + pull * a
        expected[step] = a * b
    np.testing.assert_allclose(out["skill_strength"], [expected[t] for t in (0, 1, 50)], rtol=1e-5)


@pytest.fixture(scope="module")
def sampled():
    """64 runs at three sizes of the data set: the grid and the runs."""
    system = MultilinearSkills(
        n_skills=20, learning_rate=0.02 / SHARE, n_steps=3000, record=[0, 100, 300, 1000, 3000],
        data=FiniteSet(n_samples=100), dtype="float64",
    )  # fmt: skip
    grid = js.Grid(system, axes={"data.n_samples": [30, 100, 300]}, seeds=64, key=0)
    return grid, js.run(grid, progress=False)


def _discretisation(grid: js.Grid):
    """|value at rate eta - value of the flow|, measured online where there is no noise."""
    one = js.Grid(js.replace(grid.system, "data", js.emergence.Online()))
    runs, flow = js.run(one, progress=False), js.predict(one)
    return {n: abs(runs[n] - flow[n]).isel(seed=0, drop=True) for n in OBSERVABLES}


def test_sampled_counts_agree_with_the_mean_over_data_sets(sampled):
    """Max |z| below the Student-t quantile at 1e-3 / comparisons; the same data see alpha + 0.1.

    The Euler errors are measured online, where there is no noise, and allowed for. At 7 points of
    skill strength (2.9 %) nothing in 64 data sets shows what moves the mean: unresolved.
    """
    grid, runs = sampled
    runs, allowance = runs.drop_vars("skill_loss"), _discretisation(grid)
    del allowance["skill_loss"]
    assert float(allowance["loss"].max()) < 2e-3
    assert float(allowance["skill_strength"].max()) < 6e-3
    comparison = js.compare(runs, js.predict(grid), allowance=allowance)
    assert comparison.passed
    assert sum(row.n_unresolved for row in comparison.rows) < 0.05 * comparison.n_comparisons
    wrong = js.Grid(js.replace(grid.system, "skill_exponent", 0.7), grid.axes, seeds=64)
    refused = js.compare(runs, js.predict(wrong), allowance=allowance)
    assert [row.passed for row in refused.rows] == [False, False]


def _skill_loss_moments(samples: int, steps: np.ndarray, exponent: float):
    """Mean and variance of skill loss in the flow, by enumeration of the binomial counts."""
    p = np.arange(1.0, 21) ** -(1 + exponent)
    counts = np.arange(samples + 1)
    weight = binom.pmf(counts[:, None], samples, p / p.sum())
    time = 0.02 / SHARE * steps[:, None] * counts / samples
    value = 0.5 * (1 - 0.01 / (0.01 + 0.99 * np.exp(-2 * time))) ** 2
    mean = value @ weight
    return mean, np.maximum((value**2) @ weight - mean**2, 0.0)


def _exact_z(grid, runs, exponent: float):
    """Mean over sets, and |z| in standard errors of the theory where those exceed 1e-12."""
    measured, samples = runs["skill_loss"].mean("seed").values, grid.axes["data.n_samples"]
    parts = [_skill_loss_moments(d, runs["step"].values, exponent) for d in samples]
    mean, variance = (np.stack(part) for part in zip(*parts, strict=True))
    allowance = _discretisation(grid)["skill_loss"].values
    error = np.sqrt(variance / runs.sizes["seed"])
    assert allowance.max() < 4e-3
    excess = np.maximum(abs(measured - mean) - allowance, 0.0)
    return mean, excess[error > 1e-12] / error[error > 1e-12]


def test_sampled_skill_loss_agrees_in_standard_errors_of_the_theory(sampled):
    """All points pass with the exact standard error, and the same data see alpha + 0.1.

    The standard error of 64 sets is not enough: late, skill loss lives in the few sets that lack
    the skill. `compare` refuses 2 points, the worst with 0.3 such sets expected and |z| = 80.
    """
    grid, runs = sampled
    exact = js.predict(grid)["skill_loss"]
    mean, z = _exact_z(grid, runs, 0.6)
    np.testing.assert_allclose(mean, exact.values, rtol=1e-9, atol=1e-14)
    threshold = largest_z(64, z.size)
    assert z.size > 230
    assert z.max() < threshold < _exact_z(grid, runs, 0.7)[1].max()
    bound = {"skill_loss": _discretisation(grid)["skill_loss"]}
    worst = js.compare(
        runs[["skill_loss", "status"]], js.predict(grid), allowance=bound, resolution=1e-3
    ).rows[0]
    assert not worst.passed
    assert worst.at == {"data.n_samples": 30, "step": 3000, "skill": 2}
    assert worst.n_unresolved == 12


@pytest.mark.slow
def test_long_training_reaches_the_data_law():
    """T -> infinity: `E L = (S - r)^2/2 sum P_k (1 - P_k)^D`, by z-scores over 64 sets."""
    system = MultilinearSkills(
        n_skills=50, learning_rate=1.0, n_steps=4000, record=[0, 4000], dtype="float64",
        data=FiniteSet(n_samples=100),
    )  # fmt: skip
    runs = js.run(js.Grid(system, axes={"data.n_samples": [50, 150]}, seeds=64), progress=False)
    loss = runs["loss"].isel(step=-1).values
    for samples, losses in zip([50, 150], loss, strict=True):
        expected = theory.loss(np.inf, samples, np.inf, skill_exponent=0.6, n_skills=50)
        error, threshold = losses.std(ddof=1) / 8, largest_z(64, 2)
        assert abs(losses.mean() - float(expected)) / error < threshold
        wrong = theory.loss(np.inf, samples, np.inf, skill_exponent=0.8, n_skills=50)
        assert abs(losses.mean() - float(wrong)) / error > threshold


def test_the_stability_limit_is_reported_before_anything_runs():
    safe = js.plan(js.Grid(MultilinearSkills(learning_rate=1.0)))
    assert not safe.warnings
    plan = js.plan(js.Grid(MultilinearSkills(), axes={"learning_rate": [0.1, 5.0]}))
    assert len(plan.warnings) == 1
    assert "stability limit" in plan.warnings[0]
    exponents = {"skill_exponent": [0.3, 0.9], "n_parameters": [3, 4]}
    plan = js.plan(js.Grid(MultilinearSkills(learning_rate=100.0), axes=exponents))
    assert [text.rpartition(" at ")[2] for text in plan.warnings] == [
        "skill_exponent = 0.3",
        "skill_exponent = 0.9",
    ]


@pytest.mark.parametrize("n_parameters", [1, 7, 20])
def test_predict_masks_what_the_model_lacks(n_parameters):
    system = MultilinearSkills(n_skills=20, n_parameters=n_parameters, n_steps=100)
    with jax.enable_x64(True):
        out = system.predict()
        steps = np.asarray(system.record_steps, float)
        exact = theory.loss(steps, np.inf, n_parameters, skill_exponent=0.6, n_skills=20,
                            learning_rate=0.1)  # fmt: skip
    assert np.all(np.asarray(out["skill_strength"])[:, n_parameters:] == 0)
    np.testing.assert_allclose(out["loss"], exact, rtol=1e-10)
