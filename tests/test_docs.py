"""What docs/sweeps.md shows is executed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from blocks import run_shell

import jaxscale as js
from jaxscale import cli

ROOT = Path(__file__).parent.parent
SWEEPS = (ROOT / "docs" / "sweeps.md").read_text()
FITTING = (ROOT / "docs" / "fitting.md").read_text()
BLOCKS = re.findall(r"(?:<!-- ([\w ]+) -->\n)?```python\n(.*?)```", SWEEPS, re.S)
PLAIN = "\n".join(code for mark, code in BLOCKS if not mark)
DISTRIBUTED = "\n".join(code for mark, code in BLOCKS if mark == "distributed")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Folder in which the blocks of the page ran, and what they named."""
    folder = tmp_path_factory.mktemp("sweeps")
    names = {"__name__": __name__}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(sys.modules, "__main__", sys.modules[__name__])
        exec(compile(PLAIN, "docs/sweeps.md", "exec"), names)
    return folder, names


def test_the_blocks_run_in_order(shown):
    names = shown[1]
    assert names["more"].sizes["n_parameters"] == 4
    assert names["more"].sizes["seed"] == 16
    assert names["same"].equals(names["more"])
    assert int((names["more"].status == js.Status.ok).sum()) == 4 * 4 * 16
    measured = names["measured"]
    assert (names["loss"].std("seed") > 0).all()  # the seeds of the example differ
    assert float(measured.strength_spread.isel(step=-1).std("seed")) > 0
    assert measured.strength_spread.dims == ("seed", "step")
    assert measured.strength_spread.attrs["long_name"].startswith("largest minus smallest")
    spread = measured.skill_strength.max("skill") - measured.skill_strength.min("skill")
    assert abs(spread - measured.strength_spread).max() < 1e-6


@pytest.mark.slow
def test_the_store_of_the_page_is_fitted(shown, monkeypatch, capsys):
    monkeypatch.chdir(shown[0])
    (line,) = re.findall(r"^jaxscale (fit sweep.zarr .*)$", FITTING, re.M)
    monkeypatch.setattr("sys.argv", ["jaxscale", *line.split()])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code
    printed = re.search(r"skill_exponent .* (0\.\d+) to (0\.\d+)", capsys.readouterr().out)
    (said,) = re.findall(r"interval, (\S+) to (\S+?),? resamples seeds", FITTING)
    assert [round(float(end), 3) for end in printed.groups()] == [float(end) for end in said]
    assert (shown[0] / "sweep-fit.png").stat().st_size > 10_000


def test_the_sweep_file_plans(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", SWEEPS, re.S)
    assert f'"{tomllib.loads(text)["store"]}"' not in PLAIN  # both run in one folder
    (tmp_path / "sweep.toml").write_text(text)
    grid = js.Grid.from_toml(str(tmp_path / "sweep.toml"))
    assert grid.shape == (3, 5, 8)
    assert len(grid.system.record_steps) <= 41


def test_the_first_lines_of_a_script_use_every_core(tmp_path):
    (script,) = [code for mark, code in BLOCKS if mark == "script"]
    code = f"{script}\nimport os\nimport jax\nassert jax.device_count() == os.cpu_count()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_the_shell_plans_for_devices_elsewhere(monkeypatch, capsys):
    printed = run_shell(SWEEPS, monkeypatch, capsys)
    assert "(v5e)" in printed
    assert "scaled from what one H200 reached" in printed


def test_every_block_runs_somewhere():
    marks = set()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        marks |= set(re.findall(r"<!-- ([^\n:]+) -->\n```", page.read_text()))
    assert marks == {"bucket", "distributed", "from the example", "script"}  # each has a test


@pytest.mark.dist
def test_the_distributed_blocks_run(tmp_path):
    setup = BLOCKS[0][1]
    (tmp_path / "script.py").write_text(
        setup + DISTRIBUTED + "\n    print(float(runs.loss.min()))\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pool.zarr").is_dir()
    assert js.open_store(tmp_path / "pool.zarr").equals(js.open_store(tmp_path / "dask.zarr"))


def test_own_observables_must_be_new_and_have_coordinates():
    schema = js.emergence.MultilinearSkills(n_skills=3, n_steps=10).schema
    with pytest.raises(ValueError, match="`loss` is an observable already"):
        schema.adding(loss=js.Observable((), "1", "again"))
    with pytest.raises(ValueError, match=r"dimension of `mine` must be one of .*got 'unit'"):
        schema.adding(mine=js.Observable(("unit",), "1", "per unit"))
