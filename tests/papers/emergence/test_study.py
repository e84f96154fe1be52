"""`reproduce` at toy size: a network trains until its skills emerge; everything is written."""

import dataclasses
import json

import pytest
from rich.console import Console

from jaxscale.papers.emergence._study import STUDY
from jaxscale.report._page import prose
from jaxscale.report._study import reproduce
from jaxscale.sweep import _execute as execute

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
    again = reproduce(study, tmp_path, console=quiet)
    assert [c.measured for c in again.claims] == [c.measured for c in conclusion.claims]


def test_unknown_scales_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="`scale` must be one of quick, got 'huge'"):
        reproduce(study, tmp_path, scale="huge")
    assert {"quick", "paper"} <= set(STUDY.presets)
