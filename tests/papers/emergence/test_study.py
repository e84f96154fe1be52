"""`reproduce` at toy size: a network trains until its skills emerge; everything is written."""

import dataclasses
import json

import numpy as np
import pytest
import xarray
from rich.console import Console

import jaxscale as js
from jaxscale.papers.emergence._study import STUDY, evaluate
from jaxscale.report import _save
from jaxscale.report._page import prose
from jaxscale.report._study import reproduce
from jaxscale.sweep import _execute as execute
from jaxscale.sweep._layout import grid_text

TIME = """
system = "emergence.ParityNetwork"
seeds = 8
[fields]
n_skills = 2
n_bits = 4
skill_size = 2
width = 32
batch_size = 128
n_steps = 1500
n_evaluation = 256
init_scale = 0.1
learning_rate = 0.1
record = {log = 60}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    (folder / "toy.toml").write_text(TIME)
    laws = {}
    for name, fields in {
        "emergence_laws": ("n_steps = 40000", "n_steps = 4000"),
        "emergence_law_parameters": ("n_steps", "n_steps"),
        "emergence_law_data": ("seeds = 64", "seeds = 8"),
    }.items():
        from jaxscale.sweep._config import preset_path

        text = preset_path(name)[0].read_text().replace(*fields)
        if name == "emergence_laws":
            text = text.replace("learning_rate = 0.1", "learning_rate = 1.0")
        (folder / f"{name}.toml").write_text(text)
        laws[name] = str(folder / f"{name}.toml")
    return dataclasses.replace(STUDY, presets={"quick": (str(folder / "toy.toml"), *laws.values())})


def skills(rising):
    """Runs of a toy network over three seeds, whose two skills rise by half a logistic curve."""
    system = js.emergence.ParityNetwork(n_skills=2, n_steps=1000, record=range(0, 1001, 25))
    grid = js.Grid(system, seeds=3)
    steps = np.asarray(grid.system.record_steps)
    middle, width = np.array([100.0, 300.0]) if rising else np.array([9e3, 9e3]), 20.0
    curve = float(grid.system.target_scale) / (1 + np.exp((middle - steps[:, None]) / width))
    data = {"skill_strength": (("seed", "step", "skill"), np.stack([curve] * 3)),
            "status": ("seed", [js.Status.ok] * 3)}  # fmt: skip
    coordinates = {"seed": range(3), "step": steps, "skill": [1, 2]}
    return xarray.Dataset(data, coordinates, {"grid": grid_text(grid)})


def test_one_seed_that_diverged_leaves_no_estimate_and_does_not_end_the_study():
    intact, runs = skills(rising=True), skills(rising=True)
    runs["skill_strength"][1, 5:] = np.nan
    runs["status"][1] = js.Status.diverged
    expected = evaluate({"toy": intact}).scores["toy"]["value_per_seed"]
    conclusion = evaluate({"toy": runs})
    first, lost, last = conclusion.scores["toy"]["value_per_seed"]
    assert lost is None
    np.testing.assert_allclose([first, last], expected[::2], rtol=1e-6)
    assert conclusion.scores["toy"]["half_point_per_seed"][1] == [None, None]
    claims = {c.id: c for c in conclusion.claims}
    assert claims["emergence-time-all"].measured == pytest.approx(2 / 3)
    assert claims["emergence-time-delta"].verdict == "inconclusive"


@pytest.mark.parametrize("failed", [False, True])
def test_a_study_in_which_nothing_emerges_concludes(failed):
    runs = skills(rising=False)
    if failed:
        runs["skill_strength"][:] = np.nan
        runs["status"][:] = js.Status.diverged
    conclusion = evaluate({"toy": runs})
    assert {str(c.verdict) for c in conclusion.claims} <= {"no verdict", "inconclusive"}
    assert "rms $δ$ = –" in conclusion.figures[0].caption


@pytest.mark.slow
def test_everything_is_written_and_nothing_is_computed_twice(study, tmp_path, monkeypatch):
    quiet = Console(quiet=True)
    conclusion = reproduce(study, tmp_path, console=quiet)
    claims = json.loads((tmp_path / "claims.json").read_text())
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["toy"]["all_emerged"]
    assert scores["toy"]["rms_delta"] < 0.5
    assert {c["verdict"] for c in claims} <= {"agrees", "disagrees", "inconclusive"}
    verdicts = {c["id"]: c["verdict"] for c in claims}
    assert verdicts["emergence-time-all"] == "agrees"
    assert verdicts["law-N-0.6"] == "agrees"
    for figure in ("emergence_time", "emergence_laws", "emergence_frontier"):
        for kind in ("svg", "png"):
            assert (tmp_path / "figures" / f"{figure}.{kind}").stat().st_size > 5000
    page = (tmp_path / "report.html").read_text()
    assert all(prose(c.statement) in page for c in conclusion.claims)  # formulas are MathML

    monkeypatch.setattr(execute, "compute", None)  # computing anything would fail
    monkeypatch.setattr(_save, "write_images", lambda _, stem: [stem.with_suffix(".svg")])
    again = reproduce(study, tmp_path, console=quiet)
    assert [c.measured for c in again.claims] == [c.measured for c in conclusion.claims]


def test_unknown_scales_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="`scale` must be one of quick, got 'huge'"):
        reproduce(study, tmp_path, scale="huge")
    assert {"quick", "paper"} <= set(STUDY.presets)
