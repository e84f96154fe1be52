"""Scores and claims of emergence on planted data, where every answer is known."""

import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, ParityNetwork, WidthLimited
from jaxscale.papers.emergence._claims import emergence_claims, law_claims, law_curves
from jaxscale.papers.emergence._scores import score_emergence

TIME = ParityNetwork(n_steps=12000, record=range(0, 12001, 50))


def _planted(grid: js.Grid, shift: np.ndarray, n_seeds: int) -> xarray.Dataset:
    """The theory of the grid, skill k delayed by `exp(shift[k])`, equal in every seed."""
    theory = js.predict(grid)
    dim = next(iter(grid.axes), "step")
    strength = theory["skill_strength"]
    x = np.asarray(strength[dim], float)
    curves = []
    for k, delay in enumerate(shift):
        one = strength.isel(skill=k)
        stretched = np.apply_along_axis(
            lambda y, d=delay: np.interp(x / np.exp(d), x, y), one.get_axis_num(dim), one.values
        )
        curves.append(one.copy(data=stretched))
    joined = xarray.concat(curves, dim=strength["skill"]).transpose(*strength.dims)
    runs = joined.to_dataset(name="skill_strength").expand_dims(seed=np.arange(n_seeds))
    shape = (n_seeds, *grid.shape[:-1])
    runs["status"] = (("seed", *grid.axes), np.zeros(shape, int))
    return runs


@pytest.mark.slow
def test_delays_of_the_later_skills_are_measured():
    grid = js.Grid(js.replace(TIME, "time_scale", 0.05))
    shift = np.array([0.0, 0.1, -0.1, 0.2, 0.0])
    score = score_emergence(grid, _planted(grid, shift, 8))
    np.testing.assert_allclose(score.constant, 0.05, rtol=1e-3)
    np.testing.assert_allclose(score.delta, shift, atol=0.01)
    assert score.rms_delta == pytest.approx(np.sqrt(np.mean(shift[1:] ** 2)), abs=0.01)
    assert score.all_emerged
    # at the front dR/dlnT = (ln M / 4) S with ln M = 10.8, as long as the delay is small
    assert score.max_error[0] < 0.01
    assert 0.2 < score.max_error[1] < 0.3
    claims = {c.id: c for c in emergence_claims(score, 0.6, "time")}
    assert claims["emergence-time-delta"].verdict == "agrees"
    assert claims["emergence-time-order"].measured == pytest.approx(1.6, abs=0.1)


@pytest.mark.slow
def test_a_skill_that_does_not_emerge_is_reported():
    grid = js.Grid(js.replace(TIME, "time_scale", 0.05))
    runs = _planted(grid, np.array([0, 0, 0, 0, 5.0]), 8)
    score = score_emergence(grid, runs)
    assert not score.all_emerged
    assert np.isnan(score.measured[:, 4]).all()
    claims = emergence_claims(score, 0.6, "time")
    assert {c.id: str(c.verdict) for c in claims} == {
        "emergence-time-all": "disagrees",
        "emergence-time-order": "inconclusive",
        "emergence-time-delta": "inconclusive",
    }
    assert score.to_dict()["delta"][4] is None


@pytest.mark.slow
def test_one_seed_that_fails_is_not_left_out():
    grid = js.Grid(js.replace(TIME, "time_scale", 0.05))
    runs = _planted(grid, np.zeros(5), 10)
    failed = (runs["seed"] < 2) & (runs["skill"] == 5)
    runs["skill_strength"] = runs["skill_strength"].where(~failed, 0.0)
    claims = emergence_claims(score_emergence(grid, runs), 0.6, "time")
    assert all(c.verdict != "agrees" for c in claims)


@pytest.mark.slow
def test_a_schedule_moves_the_half_points_with_it():
    system = ParityNetwork(
        n_steps=12000, record=range(0, 12001, 20), time_scale=0.1,
        schedule=js.StepDecay(ratio=0.5, every=2000),
    )  # fmt: skip
    grid = js.Grid(system)
    score = score_emergence(grid, _planted(grid, np.zeros(5), 8))
    np.testing.assert_allclose(score.delta, 0, atol=0.01)
    assert score.all_emerged


def test_a_wrong_spacing_disagrees_and_three_seeds_give_no_verdict():
    grid = js.Grid(js.replace(TIME, "time_scale", 0.2))
    shift = 0.8 * np.log(np.arange(1, 6))
    verdicts = [
        c.verdict
        for c in emergence_claims(score_emergence(grid, _planted(grid, shift, 8)), 0.6, "time")
    ]
    assert verdicts == ["agrees", "disagrees", "disagrees"]
    few = emergence_claims(score_emergence(grid, _planted(grid, shift, 3)), 0.6, "time")
    assert {str(c.verdict) for c in few} == {"no verdict"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "axes", "value"),
    [
        (
            ParityNetwork(data=FiniteSet(n_samples=100), record=[0, 12000], shots=300.0),
            {"data.n_samples": [round(100 * 2 ** (i / 2)) for i in range(18)]},
            300.0,
        ),
        (
            ParityNetwork(regime=WidthLimited(), record=[0, 12000], units_per_skill=4.0),
            {"width": list(range(1, 25))},
            4.0,
        ),
    ],
    ids=["data", "width"],
)
def test_the_other_regimes(system, axes, value):
    grid = js.Grid(system, axes)
    score = score_emergence(grid, _planted(grid, np.zeros(5), 2))  # seeds are equal
    np.testing.assert_allclose(score.constant, value, rtol=0.02)
    np.testing.assert_allclose(score.delta, 0, atol=0.03)
    assert score.max_error.max() < 0.02


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match="`grid`"):
        score_emergence(js.Grid(MultilinearSkills()), xarray.Dataset())
    with pytest.raises(ValueError, match="`grid`"):
        score_emergence(js.Grid(TIME, axes={"width": [4, 8]}), xarray.Dataset())


@pytest.fixture(scope="module")
def law_runs():
    """The law presets at one skill exponent, every other size, and fewer sets and larger steps."""
    few = js.Grid.from_toml("emergence_laws").axes["n_parameters"][::2]
    grids = [
        ("emergence_laws", {"learning_rate": 0.4, "n_steps": 10_000}, {"n_parameters": few}, None),
        ("emergence_law_parameters", {"learning_rate": 2.0, "n_steps": 10_000}, {}, None),
        ("emergence_law_data", {"learning_rate": 2.0, "n_steps": 5_000}, {}, 16),
    ]
    runs = []
    for name, fields, axes, seeds in grids:
        if name != "emergence_laws":
            n_steps = fields["n_steps"]
            fields = {**fields, "record": [0, n_steps // 2, n_steps]}
        grid = js.Grid.from_toml(name, fields, {"skill_exponent": [0.6], **axes}, seeds)
        runs.append(js.run(grid, progress=False))
    return runs


@pytest.mark.slow
def test_the_laws_hold_on_the_presets(law_runs):
    claims = {c.id: c for c in law_claims(law_curves(*law_runs))}
    assert len(claims) == 10
    for name, exponent in {"T": 0.375, "D": 0.375, "N": 0.6, "C": 0.6 / 2.6}.items():
        assert claims[f"law-{name}-0.6"].measured == pytest.approx(-exponent, abs=0.03)
        assert claims[f"law-{name}-prefactor"].measured == pytest.approx(1.0, abs=0.04)
        assert claims[f"law-{name}-0.6"].verdict != "disagrees"
    assert claims["law-best-N-0.6"].verdict == "agrees"
    assert claims["law-best-N-prefactor"].verdict == "agrees"


@pytest.mark.slow
def test_a_planted_wrong_exponent_disagrees(law_runs):
    """The same runs, read as if their skill exponent were 0.7."""
    wrong = [r.assign_coords(skill_exponent=[0.7]) for r in law_runs]
    claims = {c.id: c for c in law_claims(law_curves(*wrong))}
    for name in "TNC":
        assert claims[f"law-{name}-0.7"].verdict == "disagrees"
    assert claims["law-best-N-0.7"].verdict == "disagrees"
    assert claims["law-D-0.7"].verdict != "agrees"  # 16 sets cannot tell more
    assert claims["law-T-prefactor"].verdict == "disagrees"
