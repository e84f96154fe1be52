"""The experiments of the study: the shipped ones, and the paper's scale at toy size."""

import dataclasses

import numpy as np
import pytest
from rich.console import Console

import jaxscale as js
from jaxscale.papers.superposition import _scores as scores
from jaxscale.papers.superposition._study import STUDY
from jaxscale.report._study import reproduce
from jaxscale.sweep._config import preset_path

PAIRS = [(1.1, 0.0), (1.1, 1.0), (1.5, 0.0), (1.5, 0.5), (2.0, 0.0), (2.0, 1.0)]


@pytest.mark.slow
def test_one_over_t_where_interference_dominates():
    """The six pairs on which the regime was established, on steps 10 to 100."""
    exponents = {"importance_exponent": [0.0, 0.5, 1.0]}
    grid = js.Grid.from_toml("superposition_interference", axes=exponents, seeds=2)
    runs = js.run(grid, progress=False)
    assert np.all(runs["status"] == js.Status.ok)
    start = runs["loss"].sel(step=0, importance_exponent=0.0).mean("seed")
    np.testing.assert_allclose(start, 2048 * 1.4**2 / (4 * 32), rtol=0.05)
    slopes = scores.measure_slopes(runs, (10.0, 100.0))
    chosen = [s for s in slopes if tuple(s.at.values()) in PAIRS]
    assert len(chosen) == 6
    for one in chosen:
        assert np.all((one.loss > 0.85) & (one.loss < 1.25)), (one.at, one.loss)
    assert np.all(scores.spread(chosen, "loss") < 0.3)
    assert np.all(scores.spread(chosen, "control") > 0.6)


TOY = {
    "sequential": ("n_features = 1024", "n_features = 24", "n_steps = 20000", "n_steps = 300"),
    "bottleneck": (
        "n_features = 1024", "n_features = 24", "latent_size = 256", "latent_size = 12",
        "[128, 256, 512]", "[6, 12]", "n_steps = 20000", "n_steps = 40",
    ),
    "interference": (
        "n_features = 32768", "n_features = 96", "latent_size = 128", "latent_size = 6",
        "n_steps = 3000", "n_steps = 100", "batch_size = 1024", "batch_size = 32",
    ),
    "small": (
        "n_features = 1024", "n_features = 24", "latent_size = 512", "latent_size = 12",
        "[128, 256, 512]", "[6, 12]", "n_steps = 20000", "n_steps = 300",
    ),
    "crowding": (
        "n_features = 32768", "n_features = 64", "latent_size = 128", "latent_size = 16",
        "[128, 512, 2048, 8192]", "[4, 8, 16]", "n_steps = 1000", "n_steps = 100",
        "batch_size = 1024", "batch_size = 32",
    ),
}  # fmt: skip
TOY["adam"] = TOY["small"]


@pytest.mark.slow
def test_the_scale_of_the_paper_concludes_at_toy_size(tmp_path):
    for name in STUDY.presets["paper"]:
        path = preset_path(name)[0]
        text = path.read_text()
        changes = TOY[name.removeprefix("superposition_").removesuffix("_paper")]
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text, (name, old)
            text = text.replace(old, new)
        (tmp_path / path.name).write_text(text)
    presets = tuple(str(tmp_path / f"{name}.toml") for name in STUDY.presets["paper"])
    study = dataclasses.replace(STUDY, presets={"paper": presets})
    result = reproduce(study, tmp_path / "out", scale="paper", console=Console(quiet=True))
    ids = {c.id for c in result.claims}
    assert {"bottleneck-exact", "universal-spread", "adam-spread-6", "tail-gaussian"} <= ids
    assert {c.id: str(c.verdict) for c in result.claims}["bottleneck-exact"] == "agrees"
    assert result.scores["bottleneck_distance"] < 1e-10
    for figure in result.figures:
        assert (tmp_path / "out" / "figures" / f"{figure.name}.svg").stat().st_size > 5000


@pytest.mark.parametrize("name", [n for names in STUDY.presets.values() for n in names])
def test_presets_have_enough_runs(name):
    assert js.Grid.from_toml(name).n_runs >= 48
