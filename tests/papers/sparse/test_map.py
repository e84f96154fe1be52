"""The map of sparse regression at toy size: every simulation is on it, in the colours of theory."""

import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.papers.sparse._claims import plane
from jaxscale.papers.sparse._figures_map import map_figure
from jaxscale.papers.sparse._scores import measure_frontier
from jaxscale.sparse import Identity, RandomFeatureRegression
from jaxscale.sweep._layout import grid_text

AT = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


@pytest.fixture(scope="module")
def runs():
    """Those of twice the samples are planted: a third of the losses."""
    system = RandomFeatureRegression(n_features=8, n_samples=64, **AT)
    wide = js.replace(system, "n_samples", 128)
    endless = RandomFeatureRegression(n_samples=64, features=Identity(), **AT)
    axes = {"spectrum_exponent": [0.5, 1.0], "n_features": [4, 8]}
    law = {"spectrum_exponent": [1.0], "sparsity_exponent": [2.0], "n_samples": [8, 32, 128]}
    peak = js.run(js.Grid(system, {"n_features": [4, 8, 40]}, seeds=3), progress=False)
    data = js.run(js.Grid(endless, law, seeds=3), progress=False)
    few = (peak[["loss"]] / 3).sel(n_features=[4, 8]) * xarray.DataArray(
        [9.0, 1.0], {"spectrum_exponent": [0.5, 1.0]}
    )
    return peak, few.assign_attrs(grid=grid_text(js.Grid(wide, axes, seeds=3))), data


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
    np.testing.assert_allclose(shown, [*median, *(median[:2] / 3)])
    assert strip.collections[1].get_offsets().shape == (3, 2)
    expected = plane(at[:, 0], at[:, 1], **AT)
    drawn = np.concatenate([c.lines[0].get_ydata() for c in ratio.containers])
    np.testing.assert_allclose(drawn, shown / expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("features N", "samples D")
