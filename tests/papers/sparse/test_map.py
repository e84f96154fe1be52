"""The map of sparse regression at toy size: every simulation is on it, in the colours of theory."""

import numpy as np
import pytest

import jaxscale as js
from jaxscale.papers.sparse._claims import plane
from jaxscale.papers.sparse._figures_map import map_figure
from jaxscale.papers.sparse._scores import measure_frontier
from jaxscale.sparse import Identity, RandomFeatureRegression

AT = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


@pytest.fixture(scope="module")
def runs():
    system = RandomFeatureRegression(n_features=8, n_samples=64, **AT)
    wide = js.replace(system, "n_samples", 128)
    endless = RandomFeatureRegression(n_samples=64, features=Identity(), **AT)
    grids = [
        js.Grid(system, {"n_features": [4, 8, 40]}, seeds=3),
        js.Grid(wide, {"spectrum_exponent": [0.5, 1.0], "n_features": [4, 8]}, seeds=3),
        js.Grid(
            endless,
            {"spectrum_exponent": [1.0], "sparsity_exponent": [2.0], "n_samples": [8, 32, 128]},
            seeds=3,
        ),
    ]
    return [js.run(grid, progress=False) for grid in grids]


@pytest.mark.slow
def test_every_simulation_is_on_the_map(runs):
    peak, few, data = runs
    frontier = measure_frontier(data.sel(AT, drop=True), np.array([600.0, 1000.0]))
    figure = map_figure(peak, few, data, frontier)
    axes, ratio = figure.axes[:2]
    (strip,) = axes.child_axes
    mesh, circles = axes.collections
    assert mesh.norm is circles.norm is strip.collections[1].norm
    at = np.asarray(circles.get_offsets())
    np.testing.assert_array_equal(at, [[4, 64], [8, 64], [40, 64], [4, 128], [8, 128]])
    median = np.asarray(peak["loss"].median("seed"))
    shown = np.asarray(circles.get_array())
    np.testing.assert_allclose(shown[:3], median)
    assert strip.collections[1].get_offsets().shape == (3, 2)
    expected = plane(at[:, 0], at[:, 1], **AT)
    drawn = np.concatenate([c.lines[0].get_ydata() for c in ratio.containers])
    np.testing.assert_allclose(drawn, shown / expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("features N", "samples D")
