"""The atlas from grids to figures: which setups there are, and what is made of their runs."""

import dataclasses
import importlib
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.papers.atlas import _setups as setups
from jaxscale.papers.atlas._measures import decades
from jaxscale.papers.atlas._reduced import cells_of, measure_atlas, read_atlas, write_atlas
from jaxscale.papers.atlas._study import STUDY, evaluate, figures_of, tables_of
from jaxscale.papers.atlas._verdicts import Kind
from jaxscale.papers.superposition._scores import EXPONENTS

SEEDS = 3


def test_every_combination_is_run_or_left_out_for_one_reason():
    assert len(setups.COMBINATIONS) == 60
    assert len(setups.SETUPS) + sum(setups.excluded_counts().values()) == 60
    assert all(setups.excluded_counts().values())
    named = list(setups.builders("paper"))
    assert {s.name for s in setups.SETUPS} <= set(named)
    assert not any("small-random" in name or "identity-none" in name for name in named)
    assert {setups.setup_of(s.name) for s in setups.SETUPS} == {(s, "") for s in setups.SETUPS}
    assert setups.setup_of("adam-tied-common-1024") == (setups.STRONGEST, "1024")
    assert named[: len(setups.LEADS)] == [s.name for s in setups.LEADS]  # first what matters


@pytest.mark.parametrize("setup", setups.SETUPS, ids=lambda setup: setup.name)
def test_every_setup_builds(setup):
    design = dataclasses.replace(setups.DESIGNS["paper"], crowdings=(2,), a=(1.5,), b=(0.5,))
    grid = design.grid_of(setup)
    assert len(grid.seeds) == (8 if setup in setups.LEADS else 3)
    assert len(grid.axes[setup.way.path]) == (1 if setup.student == "joint" else 2)
    system = grid.system
    assert system.decoder.bias == (setup.biases != "none")
    own = [system.bias_learning_rate, system.bias_rate_factor]
    assert (own != [None, None]) == (setup.biases == "own")
    assert system.schedule.factor(jnp.asarray([0]), 3162) <= 1
    assert isinstance(system.schedule, js.WarmUp) == (setup.optimizer == "adamw")


def test_the_records_hold_the_ends_of_every_window():
    for design in setups.DESIGNS.values():
        ends = {end for window in decades(design.n_steps) for end in window}
        assert ends <= set(design.record)
        assert design.record[-1] == design.n_steps


def test_the_quick_scale_is_planned_without_compiling():
    for grid in STUDY.grids("quick").values():
        plan = js.plan(grid)
        assert plan.n_runs in (32, 64)
        assert plan.n_programs == 1
        assert plan.own_flops < 1e11  # seconds of a core


def runs_of(grid, exponent_of):
    """Results of a grid whose losses are powers of the time."""
    steps = np.asarray(grid.system.record, float)
    dims = (*grid.axes, "seed", "step")
    values = np.empty((*grid.shape, steps.size))
    rng = np.random.default_rng(0)
    at = xarray.DataArray(np.zeros(grid.shape), coords=grid.coordinates, dims=dims[:-1])
    power = exponent_of(at[EXPONENTS[0]], at[EXPONENTS[1]])
    power = np.asarray((at + power).transpose(*dims[:-1]))[..., None]
    values[:] = 0.5 * (1 + steps) ** -power * np.exp(0.02 * rng.normal(size=values.shape))
    coordinates = {**grid.coordinates, "step": steps.astype(int)}
    runs = xarray.Dataset({"loss": (dims, values.astype(np.float32))}, coordinates)
    runs["step_size"] = runs["loss"] * 0 + np.float32(0.1)
    runs["status"] = (dims[:-1], np.zeros(grid.shape, int))
    return runs.assign_attrs(grid=json.dumps(grid.to_dict()), device="cpu", versions="{}")


@pytest.fixture(scope="module")
def runs():
    grids = STUDY.grids("quick")
    lead, *others = grids
    made = {name: runs_of(grids[name], lambda a, b: (a + 2 * b - 1) / a) for name in others}
    return {lead: runs_of(grids[lead], lambda a, b: 1.0 + 0 * a * b), **made}


@pytest.fixture(scope="module")
def atlas(runs):
    return measure_atlas(runs)


def test_synthetic_runs_get_the_verdict_they_were_made_for(atlas):
    kinds = {name: {c.kind for (n, _), c in cells_of(atlas).items() if n == name}
             for name in atlas["setup"].values}  # fmt: skip
    assert kinds.pop(setups.STRONGEST.name) == {Kind.one}
    assert all(kind == {Kind.no} for kind in kinds.values())
    late = atlas["exponent"].sel(setup=setups.STRONGEST.name).isel(window=-1, rate=0)
    np.testing.assert_allclose(late, 1.0, atol=0.03)


def test_a_file_holds_what_the_figures_show(atlas, tmp_path):
    write_atlas(atlas, tmp_path / "atlas.nc")
    again = read_atlas(tmp_path / "atlas.nc")
    assert (tmp_path / "atlas.nc").stat().st_size < 1e6
    cells = cells_of(again)
    assert {k: str(c.kind) for k, c in cells.items()} == {
        k: str(c.kind) for k, c in cells_of(atlas).items()
    }
    texts = [str(table) for table in tables_of(again, cells)]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80
    figures = figures_of(again, cells)
    assert [f.name for f in figures] == ["atlas_map", "atlas_local"]
    assert "Multiplicity: 6 cells" in figures[0].caption
    assert "Runs that ended badly: 0, in 0 of 3 setups." in figures[0].caption
    drawn = {t.get_text() for axes in figures[0].drawing.axes for t in axes.texts}
    assert {"● 75%", "0%"} <= drawn


@pytest.mark.slow
def test_the_page_is_made_of_what_has_ended(runs, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "docs")
    site = importlib.import_module("site_atlas")
    assert "| SGD, " in site.part()  # of the committed file
    monkeypatch.setattr(site, "REDUCED", tmp_path / "map.nc")
    done = {name: run for name, run in runs.items() if name != "adam-control"}
    monkeypatch.setattr(site, "ended", lambda *_: done.items())
    site.reduce(tmp_path, "paper")
    monkeypatch.setattr(importlib.import_module("draw_figures"), "FIGURES", tmp_path)
    site.draw()
    assert (tmp_path / "atlas_local.png").stat().st_size > 5000
    text = site.part()
    assert text.startswith("3 setups of 51: the run has not ended, N = 64, 316 steps.")
    assert "*about 1 for all data* 2, *no* 4" in text
    assert text.count("| agrees |") >= 4
    (row,) = (line for line in text.splitlines() if line.startswith("| tied W") and "| 8 |" in line)
    assert row.split("|")[6].strip() == "–"  # no exponent of K = N
    assert text.count(":::{dropdown}") == text.count("\n:::\n")


def test_the_study_concludes(runs):
    conclusion = evaluate(runs)
    verdicts = {c.id: str(c.verdict) for c in conclusion.claims}
    assert len(verdicts) == 12
    lead = [v for k, v in verdicts.items() if k.startswith(setups.STRONGEST.name)]
    assert lead == ["agrees"] * 4
    assert any(v == "disagrees" for v in verdicts.values())
    json.dumps(conclusion.scores, allow_nan=False)


@pytest.mark.parametrize("control", [False, True])
def test_one_run_that_diverged_at_every_crowding_does_not_end_the_study(runs, control):
    lead = next(iter(runs))
    failed = {name: data.copy(deep=True) for name, data in runs.items()}
    at = {name: 0 for name in EXPONENTS} | {"seed": 3}
    for name in (lead, "adam-control") if control else (lead,):
        late = {"step": slice(-3, None)}
        failed[name]["loss"][at | late] = np.nan
        failed[name]["status"][at] = js.Status.diverged
    conclusion = evaluate(failed)
    claims = {c.id: str(c.verdict) for c in conclusion.claims if c.id.startswith(lead)}
    assert set(claims.values()) == {"out of range"}
    drawing, caption = conclusion.figures[1].drawing, conclusion.figures[0].caption
    assert len(drawing.axes) == 3  # two crowdings, and the control
    lost, other = (line.get_ydata() for line in drawing.axes[0].lines[:2])
    assert np.isfinite([lost[1], other[-1]]).all()  # the first record has too few around it
    assert np.isnan(lost[-1])
    n = int((failed[lead]["status"] != js.Status.ok).sum())
    assert f"Runs that ended badly: {n}, in 1 of 3 setups." in caption
