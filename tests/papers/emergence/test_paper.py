"""The authors' conventions: their formulas in NumPy, and their experiments on planted data."""

import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.papers.emergence import _paper as paper
from jaxscale.papers.emergence._study import evaluate

P = np.arange(1, 6) ** -1.6 / np.sum(np.arange(1, 6) ** -1.6)
HALF_POINTS = {  # published formulas at half their value, rounded
    "emergence_time_paper": [1123, 3404, 6513, 10319, 14747],
    "emergence_one_skill_paper": [666],
    "emergence_data_paper": [1012, 3069, 5871, 9303, 13295],
    "emergence_data_reduced": [1012, 3069, 5871, 9303, 13295],
    "emergence_width_paper": [2, 6, 10, 14, 18],
    "emergence_width_reduced": [2, 6, 10, 14, 18],
}


def _published(name):
    """R / S by the authors' formulas, in their units."""
    if name == "emergence_time_paper":
        m, t = 3.6 * 5 / 0.01**2 - 1, np.arange(0, 30001, 50.0)[:, None]
        return 1 / (1 + m * np.exp(-4 * 0.02 * P * 5 * t / 22))
    if name == "emergence_data_paper":
        return 1 - np.sqrt(np.maximum(0, 1 - np.arange(500, 10001, 500.0)[:, None] * P / 800))
    return np.clip(np.arange(1, 21)[:, None] / 4 - np.arange(5), 0, 1)


def _planted(grid, **changes):
    """What the theory of the grid, with other numbers, says in each of its seeds."""
    for name, value in changes.items():
        grid = grid.replace(system=js.replace(grid.system, name, value))
    strength = js.predict(grid)["skill_strength"].expand_dims(seed=list(grid.seeds))
    status = xarray.zeros_like(strength.isel(step=0, skill=0, drop=True), int)
    return xarray.Dataset({"skill_strength": strength, "status": status})


def _judged(name, score):
    claims = paper.paper_claims(score, name)
    return {claim.id.removeprefix(f"{name}-"): str(claim.verdict) for claim in claims}


def _verdicts(name, grid, runs):
    return _judged(name, paper.paper_score(grid, runs))


@pytest.mark.parametrize("name", HALF_POINTS)
def test_presets_hold_the_published_numbers(name):
    system = js.Grid.from_toml(name).system
    half = np.asarray(system.described_regime.half_point(system), float)
    np.testing.assert_allclose(half, HALF_POINTS[name], rtol=1e-3)


@pytest.mark.parametrize(
    "name", [n for n in HALF_POINTS if n.endswith("_paper") and "one" not in n]
)
def test_presets_predict_what_the_authors_predict(name):
    predicted = js.predict(js.Grid.from_toml(name, seeds=1))["skill_strength"]
    curves = predicted if name == "emergence_time_paper" else predicted.isel(step=-1)
    np.testing.assert_allclose(curves / 5, _published(name), atol=2e-5)


@pytest.mark.slow
def test_planted_runs_in_time_agree_and_a_wrong_number_does_not():
    grid = js.Grid.from_toml("emergence_time_paper", seeds=8)
    assert set(_verdicts("t", grid, _planted(grid)).values()) == {"agrees"}
    score = paper.paper_score(grid, _planted(grid, time_scale=1 / 30))
    wrong = _judged("t", score)
    expected = dict.fromkeys(wrong, "disagrees")
    assert wrong == expected | dict.fromkeys(["all", "rms-fitted", "order"], "agrees")
    rows = {row[0]: row[1:] for row in paper.half_point_table("t", score).rows}
    late = f"{np.log(30 / 22):+.3f}"
    assert rows["δ = ln(measured / formula)"] == (late,) * 5
    assert rows["δ of it"][0] in ("+0.000", "-0.000")
    steeper = _verdicts("t", grid, _planted(grid, skill_exponent=0.8))
    assert steeper["order"] == "disagrees"


@pytest.mark.slow
def test_what_the_sets_do_not_reach_is_out_of_range():
    grid = js.Grid.from_toml("emergence_data_reduced")
    verdicts = _verdicts("d", grid, _planted(grid))
    assert verdicts.pop("half-5") == "out of range"
    assert set(verdicts.values()) == {"agrees"}
    wrong = _verdicts("d", grid, _planted(grid, shots=1200.0))
    assert {wrong[n] for n in ("calibration", "half-1", "half-2")} == {"disagrees"}


@pytest.mark.slow
def test_a_run_that_failed_is_no_smaller_sample():
    grid = js.Grid.from_toml("emergence_width_reduced", seeds=8)
    runs = _planted(grid)
    assert set(_verdicts("w", grid, runs).values()) == {"agrees"}
    runs["status"][{"seed": 3}] = int(js.Status.diverged)
    assert "agrees" not in _verdicts("w", grid, runs).values()


@pytest.mark.slow
def test_the_job_list_is_scored_from_its_own_starts():
    """Planted with every start's sigma^2 / 3.6; the preset itself starts from sigma^2."""
    seeds = {"skill_exponent": [0.6, 2.0], "init_scale": [0.01, 0.1]}
    grid = js.Grid.from_toml("emergence_starts_paper", {}, seeds, 2)
    parts = [
        _planted(grid.replace(axes={"skill_exponent": [0.6, 2.0], "init_scale": [sigma]}),
                 initial_strength=sigma**2 / 3.6)
        for sigma in seeds["init_scale"]
    ]  # fmt: skip
    runs = xarray.concat(parts, "init_scale")
    scores = dict(paper.start_scores(grid, runs))
    assert list(scores) == ["0.6, 0.01", "0.6, 0.1", "2, 0.01", "2, 0.1"]
    for score in scores.values():
        np.testing.assert_allclose(score.constant, 22, rtol=1e-3)
    assert scores["2, 0.01"].reached.sum() == 3
    assert len(paper.start_table(scores).rows) == 4
    conclusion = evaluate({"emergence_starts_paper": runs.assign_attrs(js.predict(grid).attrs)})
    assert not conclusion.claims
    assert [table.title for table in conclusion.tables] == [paper.start_table(scores).title]
