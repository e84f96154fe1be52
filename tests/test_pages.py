"""What the pages of the site show is executed, as printed; guides have tests of their own."""

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from blocks import blocks, execute, run_shell

import jaxscale as js
import jaxscale.cli
from jaxscale._table import Table
from jaxscale.report._study import Conclusion

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = {
    "choosing.md", "fit_your_runs.md", "sweeps.md", "own_curves.md", "own_model.md", "fitting.md",
}  # fmt: skip
SYSTEMS = {"emergence.md", "sparse.md", "superposition.md", "streaming.md"}
EXECUTED = {"usage.md", "explore.md", "cite.md", *SYSTEMS}
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_made", "_build"} & set(p.parts))


def test_every_page_with_code_is_executed():
    with_code = {page.name for page in PAGES if "```python" in page.read_text()}
    assert with_code == EXECUTED | GUIDES


@pytest.mark.slow
def test_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    n_checked = execute(DOCS / "usage.md")[1]
    assert n_checked == 8
    assert js.open_store("widths.zarr").sizes["seed"] == 3
    printed = run_shell((DOCS / "usage.md").read_text(), monkeypatch, capsys)  # in the same folder
    assert "nothing was left to run" in " ".join(printed.split())
    assert "1e+21 n_tokens" in " ".join(printed.split())
    for figure in ("widths.png", "calibrated.png"):
        assert (tmp_path / figure).stat().st_size > 10_000


def test_the_fits_of_usage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = [text for _, _, text in blocks(DOCS / "usage.md") if "js.Formula" in text]
    names: dict[str, Any] = {"js": js}
    exec(compile(code, "usage.md", "exec"), names)
    low, high = names["fit"].interval(0.998)["skill_exponent"]
    assert low < 0.6 < high < low + 0.02
    assert set(names["fit"].starts.status) <= {"converged", "not converged"}
    low, high = names["surface"].interval(0.998)["alpha"]
    assert low < 0.35 < high


def test_explore():
    names, _ = execute(DOCS / "explore.md")
    assert names["page"].url.startswith("http://127.0.0.1:")


def test_sparse():
    names, _ = execute(DOCS / "systems" / "sparse.md")
    ratio = names["runs"].loss.median("seed") / names["theory"].loss
    assert 0.9 < float(ratio.sel(n_features=128, n_samples=256)) < 1.1


def test_superposition():
    names, _ = execute(DOCS / "systems" / "superposition.md")
    loss = names["runs"].loss.sel(importance_exponent=0.0).mean("seed")
    assert loss[0] > 10 * names["exact"][0]
    assert loss[-1] < names["exact"][-1]


def test_streaming():
    names, _ = execute(DOCS / "systems" / "streaming.md")
    ratio = (names["runs"].loss / names["runs"].expected_loss).sel(step=1000)
    error = ratio.std("seed", ddof=1) / 4
    assert np.all(abs(ratio.mean("seed") - 1) < 5 * error)


@pytest.mark.slow
def test_choosing():
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
        names, _ = execute(DOCS / "choosing.md")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for phase, gain in (("II", 1.4), ("III", 1.8), ("III, label noise", 1.7), ("IVa", 1.3)):
            modes = names["PHASES"][phase]
            shares = np.linspace(0.05, 0.95, 19)
            flat = min(float(names["constant"](share, modes)) for share in shares)
            assert flat / names["best_schedule"](modes)[0] > gain


def test_experiments_of_the_papers_are_reduced_and_shown(tmp_path, monkeypatch):
    """Of an interrupted store: the seeds that have ended, what is measured, what does not run."""
    monkeypatch.syspath_prepend(DOCS)
    site = importlib.import_module("site_papers")
    monkeypatch.setattr(site, "RESULTS", tmp_path / "results")
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=8, record=range(9))
    js.run(js.Grid(system, seeds=3), store=tmp_path / "store", progress=False)
    opened = js.open_store(tmp_path / "store")
    opened["status"] = opened["status"].where(opened["seed"] < 2, int(js.Status.not_run))
    monkeypatch.setattr(js, "open_store", lambda store: opened)
    site.reduce("emergence_starts_paper", tmp_path / "store")
    reduced = site.load("emergence_starts_paper")
    assert dict(reduced.sizes) == {"seed": 2, "step": 5, "skill": 2}
    np.testing.assert_array_equal(
        reduced["skill_strength"], opened["skill_strength"][:2, ::2].astype(np.float32)
    )

    def evaluate(runs):
        shown = float(next(iter(runs.values()))["skill_strength"][0, -1, 0])
        claim = js.Claim.from_seeds(
            "one", "a $x^2$ grows", "this test", predicted=shown, values=[shown] * 8, margin=0.1,
            reason="it is the same number",
        )  # fmt: skip
        return Conclusion([claim], [], {}, [Table("", "A note.", ("", "x"), [("row", "1")])])

    monkeypatch.setattr(site, "evaluate", evaluate)
    site.record("emergence_starts_paper")
    text = site.experiments()
    assert "2 of 3 seeds" in text
    assert re.search(
        r"\| a x\^2 grows \| 0\.\d+ ± 0\.1 \| .* \| agrees \| it is the same number \|", text
    )
    assert "A note.\n\n|  | x |\n|---|---|\n| row | 1 |" in text
    assert "Not run yet: `jaxscale run emergence_time_paper`" in text


def test_verdicts_of_the_site_follow_from_recorded_numbers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    site_claims = importlib.import_module("site_claims")
    every = [c for claims in site_claims.recorded().values() for c in claims]
    text = site_claims.by_verdict()
    tabs = dict(re.findall(r"\{tab-item\} ([\w ]+) \((\d+)\)", text))
    assert sum(map(int, tabs.values())) == len(every) > 90
    assert next(iter(tabs)) == "disagrees"
    assert all(f"(`{c.id}`)" in text for c in every)
    papers = json.loads(site_claims.RECORD.read_text())
    agreeing = next(c for c in papers["sparse"] if c["id"] == "peak-dense")
    agreeing["interval"] = [agreeing["predicted"] + 9 * agreeing["margin"]] * 2
    (tmp_path / "claims.json").write_text(json.dumps(papers))
    monkeypatch.setattr(site_claims, "RECORD", tmp_path / "claims.json")
    changed = dict(re.findall(r"\{tab-item\} ([\w ]+) \((\d+)\)", site_claims.by_verdict()))
    assert int(changed["disagrees"]) == int(tabs["disagrees"]) + 1
    assert int(changed["agrees"]) == int(tabs["agrees"]) - 1


@pytest.mark.parametrize("page", ["systems/emergence.md", "cite.md"])
def test_short_pages(page):
    assert execute(DOCS / page)[1] == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_files_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("http") and "_made/" not in target:
            assert (page.parent / target).is_file(), target


def sweeps_of(text: str) -> list[str]:
    """The command lines of shell blocks that run or plan a preset."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    return re.findall(r"^jaxscale ((?:run|plan) (?!.*\.toml).*)$", shell, re.M)


LINES = [
    line for page in [*PAGES, DOCS.parent / "README.md"] for line in sweeps_of(page.read_text())
]


@pytest.mark.parametrize("line", LINES)
def test_command_lines_plan(line, capsys, monkeypatch):
    """A line that runs a preset is planned, without what only a run has."""
    arguments = re.sub(
        r" --(store|figure|calibrate|where) \S+", "", line.replace("run ", "plan ", 1)
    )
    monkeypatch.setattr("sys.argv", ["jaxscale", *shlex.split(arguments, comments=True)])
    with pytest.raises(SystemExit) as done:
        js.cli.main()
    assert not done.value.code
    assert " runs" in capsys.readouterr().out


def test_there_are_command_lines():
    assert len(LINES) >= 4
