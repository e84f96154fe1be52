"""What the guides in docs/ show is executed, and prints what they show."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from blocks import blocks, execute

import jaxscale as js
import jaxscale.cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FITTING = (DOCS / "fitting.md").read_text().replace("\\\n", " ")  # one line per command
EXAMPLE = ROOT / "examples" / "power_law_regression.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the example in it, whose module is forgotten afterwards."""
    shutil.copy(EXAMPLE, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop(EXAMPLE.stem, None)


def call(monkeypatch, line):
    """Exit code of a command line."""
    monkeypatch.setattr("sys.argv", ["jaxscale", *line.split()])
    with pytest.raises(SystemExit) as done:
        js.cli.main()
    return done.value.code or 0


def test_own_model(folder, capsys, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    names, n_checked = execute(DOCS / "own_model.md")
    assert n_checked == 5
    assert js.open_store("regression.zarr").equals(names["runs"])
    assert (folder / "regression.png").stat().st_size > 10_000
    assert names["estimates"].mean() == pytest.approx(0.7, abs=0.01)
    sys.modules.pop(EXAMPLE.stem)  # as in another process
    fit = "fit regression.zarr --free spectrum_exponent"
    assert call(monkeypatch, fit) == 2
    assert "needs `import power_law_regression` first (--import" in " ".join(
        capsys.readouterr().err.split()
    )
    assert call(monkeypatch, f"{fit} --import {EXAMPLE.stem}") == 0
    assert (folder / "regression-fit.json").is_file()


def test_own_model_quotes_the_example():
    lines = EXAMPLE.read_text().splitlines()
    quoted = [text for mark, _, text in blocks(DOCS / "own_model.md") if mark == "from the example"]
    assert len(quoted) == 5
    for line in "".join(quoted).splitlines():
        assert line in lines, line


def test_own_model_as_a_sweep_file(folder, monkeypatch):
    page = (DOCS / "own_model.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (folder / "regression.toml").write_text(text)
    grid = js.Grid.from_toml("regression.toml")
    assert grid.shape == (3, 3, 16)
    assert type(grid.system).__module__ == EXAMPLE.stem
    plan, run = re.findall(r"^jaxscale ((?:plan|run) regression.*)$", page, re.M)
    assert "regression.zarr" not in run  # which is the store of the Python blocks
    assert call(monkeypatch, plan) == 0
    assert call(monkeypatch, f"{run} --axis n_features=16 --seeds 2") == 0
    assert (folder / "out.png").stat().st_size > 10_000


def test_own_curves(folder):
    names, n_checked = execute(DOCS / "own_curves.md")
    assert n_checked == 6
    assert (folder / "curves.png").stat().st_size > 10_000
    assert names["comparison"].passed
    assert not names["forgotten"].passed
    assert abs(names["estimates"].mean() - 0.6) < 3 * names["error"]


def test_fitting(folder, capsys, monkeypatch):
    names, n_checked = execute(DOCS / "fitting.md")
    assert n_checked == 11
    low, high = names["by_run"].interval()["frequency_exponent"]
    assert low < 1.5 < high
    assert names["spread"] < 0.05
    best = names["best"]
    assert 6 * best["n_parameters"] * best["n_tokens"] == pytest.approx(1e21)
    (line,) = re.findall(r"^jaxscale (fit curves.*)$", FITTING, re.M)
    assert call(monkeypatch, line) == 0
    assert "frequency_exp" in capsys.readouterr().out
    (line,) = re.findall(r"^jaxscale (fit llm.*)$", FITTING, re.M)
    assert call(monkeypatch, line) == 0  # of the file that the page has written
    assert f"1e+21 n_tokens {best['n_tokens']:.4g}" in " ".join(capsys.readouterr().out.split())
