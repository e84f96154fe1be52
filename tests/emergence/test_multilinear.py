"""`MultilinearSkills` against the exact flow and the exact mean over data sets."""

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy.stats import t as student_t

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, theory

SHARE = 1 / sum(k**-1.6 for k in range(1, 11))  # P_1 of ten skills at alpha = 0.6


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


def _sampled(n_seeds: int = 64):
    system = MultilinearSkills(
        n_skills=20, learning_rate=0.02 / SHARE, n_steps=3000, record=[0, 100, 300, 1000, 3000],
        data=FiniteSet(n_samples=100), dtype="float64",
    )  # fmt: skip
    grid = js.Grid(system, axes={"data.n_samples": [30, 100, 300]}, seeds=n_seeds, key=0)
    return grid, js.run(grid, progress=False)


def test_sampled_counts_agree_with_the_mean_over_data_sets():
    """Max |z| below the Student-t quantile at 1e-3 / comparisons; the same data see alpha + 0.1.

    The Euler error of the mean loss is measured online, where there is no noise, and allowed for.
    """
    grid, runs = _sampled()
    runs, allowance = runs[["loss", "status"]], {"loss": _discretisation(grid)}
    assert float(allowance["loss"].max()) < 2e-3
    assert js.compare(runs, js.predict(grid), allowance=allowance).passed
    wrong = js.Grid(js.replace(grid.system, "skill_exponent", 0.7), grid.axes, seeds=64)
    assert not js.compare(runs, js.predict(wrong), allowance=allowance).passed


def _discretisation(grid: js.Grid):
    """|mean loss at rate eta - mean loss of the flow|, measured online where there is no noise."""
    online = js.replace(grid.system, "data", js.emergence.Online())
    one = js.Grid(online)
    return (
        abs(js.run(one, progress=False)["loss"] - js.predict(one)["loss"])
        .isel(seed=0)
        .drop_vars("seed")
    )


def test_long_training_reaches_the_data_law():
    """T -> infinity: `E L = (S - r)^2/2 sum P_k (1 - P_k)^D`, by z-scores over 64 sets."""
    system = MultilinearSkills(
        n_skills=50, learning_rate=1.0, n_steps=4000, record=[0, 4000], dtype="float64",
        data=FiniteSet(n_samples=100),
    )  # fmt: skip
    runs = js.run(js.Grid(system, axes={"data.n_samples": [50, 150]}, seeds=64), progress=False)
    loss = runs["loss"].isel(step=-1).values
    for samples, found in zip([50, 150], loss, strict=True):
        expected = theory.loss(np.inf, samples, np.inf, skill_exponent=0.6, n_skills=50)
        error, threshold = found.std(ddof=1) / 8, student_t.isf(0.5e-3 / 2, 63)
        assert abs(found.mean() - float(expected)) / error < threshold
        wrong = theory.loss(np.inf, samples, np.inf, skill_exponent=0.8, n_skills=50)
        assert abs(found.mean() - float(wrong)) / error > threshold


def test_the_stability_limit_is_told_before_anything_runs():
    safe = js.plan(js.Grid(MultilinearSkills(learning_rate=1.0)))
    assert not safe.warnings
    plan = js.plan(js.Grid(MultilinearSkills(), axes={"learning_rate": [0.1, 5.0]}))
    assert len(plan.warnings) == 1
    assert "stability limit" in plan.warnings[0]


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
