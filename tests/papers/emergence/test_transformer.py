"""The claim on a transformer, on planted half times and in runs at toy size."""

import numpy as np
import pytest

import jaxscale as js
from jaxscale.papers.emergence._study import STUDY, evaluate
from jaxscale.papers.emergence._transformer import order_claim

FEW = {"n_steps": 4000, "record": [*range(0, 4001, 50)]}


@pytest.mark.parametrize(
    ("exponent", "n_seeds", "verdict"),
    [(1.9, 8, "agrees"), (0.9, 8, "disagrees"), (2.8, 8, "disagrees"), (1.9, 7, "no verdict")],
)
def test_the_order_of_planted_half_times(exponent, n_seeds, verdict):
    scatter = np.exp(0.05 * np.random.default_rng(0).standard_normal((n_seeds, 4)))
    claim = order_claim("planted", 100 * np.arange(1, 5) ** exponent * scatter, 0.9)
    assert claim.verdict == verdict
    assert claim.measured == pytest.approx(exponent, abs=0.1)


def test_a_seed_that_misses_a_skill_leaves_no_estimate():
    half = np.full((8, 3), 100 * np.arange(1.0, 4) ** 1.9)
    half[5, 2] = np.nan
    assert order_claim("planted", half, 0.9).verdict == "inconclusive"


def test_the_papers_scale_runs_the_toy_and_an_accelerator_the_authors_size():
    assert "emergence_transformer" in STUDY.presets["paper"]
    assert "emergence_transformer" not in STUDY.presets["quick"]
    system = js.Grid.from_toml("emergence_transformer_paper").system
    assert (system.n_tokens, system.n_blocks, system.n_heads) == (37, 1, 4)
    assert (int(system.width), int(system.mlp_width)) == (512, 2048)
    assert (system.batch_size, system.n_steps, system.record_steps[1]) == (5000, 1_200_000, 400)
    assert float(system.learning_rate) == 1e-4  # theirs, 5e-5, multiplies twice our gradient


@pytest.mark.slow
def test_a_skill_of_a_transformer_emerges():
    """One seed of the preset, as far as its first skill: evaluated, drawn, without a verdict."""
    grid = js.Grid.from_toml("emergence_transformer", fields=FEW, seeds=1)
    runs = js.run(grid, progress=False)
    assert np.all(runs["status"] == js.Status.ok)
    first = runs["skill_strength"].sel(skill=1).isel(step=[0, -1]) / float(grid.system.target_scale)
    assert np.all(np.abs(first.isel(step=0)) < 0.2)
    assert np.all(first.isel(step=-1) > 0.5)
    conclusion = evaluate({"emergence_transformer": runs})
    (claim,) = conclusion.claims
    assert claim.id == "emergence-transformer-order"
    assert claim.verdict in ("no verdict", "inconclusive")
    assert [figure.name for figure in conclusion.figures] == ["emergence_transformer"]
