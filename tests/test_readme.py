"""What the README shows is executed."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from jaxscale import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def run_shell(page, monkeypatch, capsys):
    """Run the command lines of a page that plan, run or fit, and return what they print."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.S)).replace("\\\n", " ")
    for line in re.findall(r"^jaxscale ((?:plan|run|fit) .*)$", shell, re.M):
        monkeypatch.setattr("sys.argv", ["jaxscale", *shlex.split(line)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert not done.value.code, line
    return capsys.readouterr().out


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    block, regression, crowded, fitted = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "runs.zarr").is_dir()
    assert (tmp_path / "emergence.png").stat().st_size > 10_000
    assert names["weights"].readout.shape == (64,)
    assert set(names["runs"].sizes) == {"learning_rate", "seed", "step", "skill"}
    (tmp_path / "emergence.png").unlink()
    printed = " ".join(run_shell(README, monkeypatch, capsys).split())  # in the same folder
    assert "16 runs" in printed
    assert "nothing was left to run" in printed
    assert f"time_scale {names['fit'].values['time_scale']:.6g}" in printed
    assert "not calibrated" not in printed
    assert (tmp_path / "emergence.png").stat().st_size > 10_000
    exec(compile(regression, "README.md", "exec"), names)
    ratio = names["runs"].loss.median("seed") / names["theory"].loss
    assert 0.9 < float(ratio.sel(n_features=128, n_samples=256)) < 1.1
    exec(compile(crowded, "README.md", "exec"), names)
    loss = names["runs"].loss.sel(importance_exponent=0.0).mean("seed")
    assert loss[0] > 10 * names["exact"][0]
    assert loss[-1] < names["exact"][-1]
    exec(compile(fitted, "README.md", "exec"), names)
    assert names["fit"].values["skill_exponent"] == pytest.approx(0.6, rel=1e-6)
    assert set(names["fit"].starts.status) <= {"converged", "not converged"}
    low, high = names["surface"].interval(0.998)["alpha"]
    assert low < 0.35 < high


def test_its_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("extra", re.findall(r"\.\[(\w+)\]", README))
def test_its_extras_exist(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
