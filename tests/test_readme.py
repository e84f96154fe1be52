"""What the README shows is executed."""

import re
import tomllib
from pathlib import Path

import pytest
from blocks import run_shell

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "runs.zarr").is_dir()
    assert (tmp_path / "emergence.png").stat().st_size > 10_000
    assert names["weights"].readout.shape == (64,)
    assert set(names["runs"].sizes) == {"learning_rate", "seed", "step", "skill"}
    (tmp_path / "emergence.png").unlink()
    printed = " ".join(run_shell(README, monkeypatch, capsys).split())  # in the same folder
    assert "8 runs ok" in printed
    assert "a few residuals outweigh the others" in printed  # as the text below it explains
    assert "nothing was left to run" in printed
    assert f"time_scale {names['fit'].values['time_scale']:.6g}" in printed
    assert "not calibrated" not in printed
    assert (tmp_path / "emergence.png").stat().st_size > 10_000


def test_its_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("extra", re.findall(r"\.\[(\w+)\]", README))
def test_its_extras_exist(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
