"""`reproduce all`: one page of every study; a system that fails leaves the others' results."""

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from jaxscale import cli, papers
from jaxscale._table import Table
from jaxscale.analysis._claim import Claim
from jaxscale.report import _study
from jaxscale.report._figures import new_figure
from jaxscale.report._study import Conclusion, Figure, Study, reproduce, reproduce_all

TOY = """
system = "emergence.MultilinearSkills"
seeds = 1
[fields]
n_skills = 2
n_steps = 3
"""
SYSTEMS = ("emergence", "sparse", "superposition")


def _evaluate(system, failure=None):
    def evaluate(runs):
        if failure is not None:
            raise failure
        loss = float(runs["toy"]["loss"].isel(step=0).mean())
        claim = Claim.from_seeds(
            f"{system}-first", f"the loss of {system} starts as it must", "here", predicted=loss,
            values=np.full(8, loss), margin=0.1, reason="it is the same number",
        )  # fmt: skip
        figure, axes = new_figure(1)
        axes[0, 0].plot([1, 2], [2, 1])
        table = Table(f"table of {system}", "", ("", "x"), (("row", "1"),))
        return Conclusion(
            [claim], [Figure("drawn", f"figure of {system}", figure)], {"loss": loss}, [table]
        )

    return evaluate


@pytest.fixture
def studies(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TOY)

    def make(**failures):
        return [
            Study(
                system, f"Study <of> {system}", f"{system}, arXiv 2001.00001",
                dict.fromkeys(("quick", "paper"), (str(path),)),
                _evaluate(system, failures.get(system)), paper_scale=f"Of {system}: our own sizes.",
            )
            for system in SYSTEMS
        ]  # fmt: skip

    return make


def test_the_scale_of_the_paper_says_first_what_it_is_and_needs(
    studies, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(papers, "STUDIES", {"sparse": studies()[1]})
    monkeypatch.setattr(_study, "LONG", 0.0)
    monkeypatch.chdir(tmp_path)
    cli.reproduce("sparse", "full")  # the old name
    out, err = capsys.readouterr()
    assert err == 'warning: `scale="full"` is deprecated, use `scale="paper"`.\n'
    order = [
        "Of sparse: our own sizes.",
        "toy: Grid(",
        "in all: 1 runs",
        "This is long",
        "toy: 1 runs in",
    ]
    places = [out.index(text) for text in order]
    assert places == sorted(places)
    assert (tmp_path / "jaxscale-sparse-paper" / "report.html").exists()
    with pytest.warns(DeprecationWarning, match='`scale="full"` is deprecated'):
        reproduce(studies()[1], tmp_path / "out", scale="full", console=Console(quiet=True))


def test_a_folder_says_what_it_holds_and_refuses_other_grids(studies, tmp_path, capsys):
    study, out, console = studies()[0], tmp_path / "out", Console(file=None)
    reproduce(study, out, console=console)
    text = capsys.readouterr().out
    assert ("1 runs, about" in text, "toy: 1 runs in" in text) == (True, True)
    reproduce(study, out, console=console)
    text = capsys.readouterr().out
    assert ": 1 runs, which are there already\n" in text
    assert "toy: 1 runs were there already (they took" in text
    (tmp_path / "toy.toml").write_text(TOY.replace("n_skills = 2", "n_skills = 3"))
    with pytest.raises(ValueError, match=r"n_skills 2, not 3.*Choose another folder.*--out"):
        reproduce(study, out, scale="paper", console=console)
    assert not capsys.readouterr().out  # before the plan


def test_many_grids_are_planned_in_a_line_each(studies, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_study, "MOST_TABLES", 0)
    reproduce(studies()[0], tmp_path / "out", scale="paper", console=Console(file=None))
    out = capsys.readouterr().out
    assert "toy: 1 runs, 1 program, " in out
    assert "in all: 1 runs, about" in out
    assert "Grid(" not in out


def test_the_command_writes_one_page(studies, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(papers, "STUDIES", {study.system: study for study in studies()})
    monkeypatch.chdir(tmp_path)
    cli.reproduce("all")
    out = tmp_path / "jaxscale-all-quick"
    page = (out / "report.html").read_text()
    for system in SYSTEMS:
        assert f'<section id="{system}">' in page
        assert f"Study &lt;of&gt; {system}" in page
        for part in (f"figure of {system}", f"table of {system}", f"the loss of {system} starts"):
            assert part in page
        own = (out / system / "report.html").read_text()
        assert f'<section id="{system}">' in own
        assert own.count("<section") == 1
        assert json.loads((out / system / "claims.json").read_text())[0]["verdict"] == "agrees"
        assert (out / system / "figures" / "drawn.png").exists()
    assert page.count("<section") == page.count("<img") == 3
    assert "3 claims, agrees 3" in page
    assert "jaxscale-all-quick/report.html" in capsys.readouterr().out


def test_claims_and_tables_are_printed_in_the_width_of_the_terminal(studies, tmp_path, capsys):
    quiet = Console(quiet=True)
    reproduce(studies()[0], tmp_path, console=quiet).print(Console(width=80))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["claim", "predicted", "measured", "95", "%", "interval", "verdict"]
    assert shown[2].split()[0] == "emergence-first"
    assert shown[2].split()[-1] == "agrees"
    assert shown[4:8] == ["table of emergence", "     x", "───  ─", "row  1"]
    assert max(map(len, shown)) <= 80


def test_a_failed_system_leaves_the_others(studies, tmp_path, capsys):
    made = studies(sparse=KeyError("nothing [here]"), superposition=ValueError("late"))
    with pytest.raises(KeyError, match="nothing"):  # the first, when all have had their turn
        reproduce_all(made, tmp_path / "out", console=Console())
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<section") == 3
    assert page.count("<img") == 1
    assert "the loss of emergence starts" in page
    assert "failed: KeyError: &#39;nothing [here]&#39;" in page
    assert "failed: ValueError: late" in page
    assert (tmp_path / "out" / "emergence" / "claims.json").exists()
    said = capsys.readouterr().out
    assert "sparse failed: KeyError: 'nothing [here]'" in said
    assert "out/report.html" in said


def test_a_system_that_fails_before_it_writes_leaves_the_others(studies, tmp_path):
    def grids():
        raise ValueError("no grid")

    first, *others = studies()
    made = [dataclasses.replace(first, presets={"quick": grids}), *others]
    with pytest.raises(ValueError, match="no grid"):
        reproduce_all(made, tmp_path / "new", console=Console(quiet=True))
    assert (tmp_path / "new" / "report.html").read_text().count("<img") == len(others)


def test_a_stopped_system_leaves_the_others(studies, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        reproduce_all(
            studies(sparse=KeyboardInterrupt()), tmp_path, console=Console(quiet=True)
        )  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert page.count("<section") == 1
    assert "the loss of emergence starts" in page


def test_the_page_of_one_is_the_same_with_one_section(studies, tmp_path):
    quiet = Console(quiet=True)
    reproduce(studies()[0], tmp_path / "one", console=quiet)
    reproduce_all(studies()[:1], tmp_path / "all", console=quiet)
    pages = [tmp_path / "one/report.html", tmp_path / "all/emergence/report.html"]
    one, other = (p.read_text().partition("How it was made")[0] for p in pages)
    assert _without_seconds(one) == _without_seconds(other)


def _without_seconds(page):
    return page.partition("<h3>Summary")[0] + page.partition('<section id="emergence">')[2]


def test_what_needs_no_results_is_under_way_while_grids_run(studies, tmp_path):
    study, values = studies()[0], []

    def runs_begin():
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if (tmp_path / "out" / "emergence.zarr" / "toy").exists():
                return "theory"
            time.sleep(0.001)

    def ahead(pool):
        return pool.submit(runs_begin)

    def evaluate(runs, begun):
        values.append(begun.result())
        return study.evaluate(runs)

    other = dataclasses.replace(study, ahead=ahead, evaluate=evaluate)
    reproduce(other, tmp_path / "out", console=Console(quiet=True))
    assert values == ["theory"]


def test_a_failure_waits_for_nothing_that_has_not_begun(studies, tmp_path):
    first, tasks = threading.Event(), []

    def ahead(pool):
        tasks.extend(pool.submit(first.wait, 60) for _ in range(9))

    def evaluate(runs, begun):
        threading.Timer(1.0, first.set).start()
        raise KeyboardInterrupt

    stopped = dataclasses.replace(studies()[0], ahead=ahead, evaluate=evaluate)
    with pytest.raises(KeyboardInterrupt):
        reproduce(stopped, tmp_path / "out", console=Console(quiet=True))
    assert [task.cancelled() for task in tasks] == [False] * 2 + [True] * 7


def test_unknown_scales_are_refused_before_anything_runs(studies, tmp_path):
    with pytest.raises(ValueError, match="`scale` must be one of quick, paper, got 'huge'"):
        reproduce_all(studies(), tmp_path / "out", scale="huge")
    assert not (tmp_path / "out").exists()


def test_unknown_systems_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`system` must be one of emergence, .*, got 'parity'"):
        cli.reproduce("parity")
    assert not list(tmp_path.iterdir())
