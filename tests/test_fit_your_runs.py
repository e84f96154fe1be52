"""The guide to fitting one's own runs, and what it says of the published ones."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
from blocks import execute

import jaxscale as js
from jaxscale import cli

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "fit_your_runs.md"
RUNS = ROOT / "examples" / "chinchilla_runs.csv"
PUBLISHED = 0.00101864  # sum of Huber losses of Besiroglu et al. at their optimum, of 240 runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the runs."""
    shutil.copy(RUNS, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide(folder, capsys, monkeypatch):
    _, n_checked = execute(GUIDE)
    assert n_checked == 6
    (line,) = re.findall(r"^jaxscale (fit .*)$", GUIDE.read_text().replace("\\\n", " "), re.M)
    monkeypatch.setattr("sys.argv", ["jaxscale", *line.split()])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code
    output = capsys.readouterr().out
    for title in ("Best allocation of C = 6 N D", "Runs of equal compute", "Held out"):
        assert title in output
    assert "N* = 0.227 C^0.480 (0.433 to 0.526, by the scatter of 17 minima), by" in output
    assert "By the form the exponent is 0.570 (0.508 to 0.636): where" in " ".join(output.split())
    written = json.loads((folder / "chinchilla_runs-fit.json").read_text())["isoflop"]
    assert written["interval"] == pytest.approx([0.433, 0.526], abs=1e-3)
    assert written["interval_by"] == "scatter of the minima"
    assert {p.name for p in folder.glob("*.png")} == {
        f"chinchilla_runs-fit{end}.png" for end in ("", "-residuals", "-isoflop")
    }


def test_the_published_optimum_and_allocation():
    runs = pandas.read_csv(RUNS, comment="#")
    runs = runs.rename(columns={"params": "n_parameters", "tokens": "n_tokens"})
    few_tokens = (runs["n_tokens"] / runs["n_parameters"]).rank() <= 5
    loss = js.residuals.Huber(delta=np.asarray(1e-3))
    fit = js.calibrate(js.forms.chinchilla, runs[~few_tokens], loss=loss)
    assert fit.objective <= PUBLISHED
    assert fit.objective == pytest.approx(PUBLISHED, rel=1e-3)
    errors = {"E": 0.026, "A": 125.0, "B": 1293.0, "alpha": 0.015, "beta": 0.021}
    values = {"E": 1.817, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
    for name, value in values.items():
        assert abs(fit.values[name] - value) < errors[name] / 10
        assert fit.standard_error[name] == pytest.approx(errors[name], rel=0.25)
    made = js.analysis.allocate(fit, [1e22, 5.88e23])
    low, high = made.interval["n_parameters"]
    assert low[1] < 70e9 < high[1]  # Chinchilla itself
