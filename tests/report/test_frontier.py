"""Figures of frontiers: every size against compute, the optima with intervals, the closed form."""

import numpy as np
import xarray

import jaxscale as js
from jaxscale.report._figures import darker, new_figure
from jaxscale.report._frontier import draw_curves, draw_frontier

COMPUTE = np.geomspace(1e4, 1e5, 4)
NAMES = {"size": "n_parameters", "time": "step"}


def _losses(n_seeds=None):
    n, t = np.geomspace(8, 2000, 12), np.geomspace(1, 1e5, 30)
    values = n[:, None] ** -0.6 + 3 * t**-0.4
    loss = xarray.DataArray(values, {"n_parameters": n, "step": t}, dims=("n_parameters", "step"))
    if n_seeds is None:
        return loss
    noise = np.random.default_rng(0).normal(1.0, 0.01, (n_seeds, n.size, 1))
    return (loss.expand_dims(seed=n_seeds) * noise).transpose("step", "seed", "n_parameters")


def test_every_size_is_a_curve_against_compute():
    axes = new_figure(1)[1][0, 0]
    loss = _losses(3)
    start = loss.isel(step=0).assign_coords(step=0.0)
    draw_curves(axes, xarray.concat([start, loss], "step"), **NAMES)
    assert len(axes.lines) == loss.sizes["n_parameters"]
    for line, n in zip(axes.lines, np.asarray(loss["n_parameters"]), strict=True):
        expected = loss.sel(n_parameters=n).mean("seed")
        np.testing.assert_allclose(line.get_xdata(), n * expected["step"])  # without time 0
        np.testing.assert_allclose(line.get_ydata(), expected)


def test_optima_are_points_with_intervals_and_the_law_is_dashed():
    frontier = js.frontier(_losses(8), COMPUTE, **NAMES, neighbours=2)
    assert np.isfinite(frontier.loss).all()
    for quantity in ("loss", "n_parameters", "step"):
        axes, law = new_figure(1)[1][0, 0], COMPUTE**0.5
        draw_frontier(axes, frontier, quantity, law, "red", "name")
        points, dashed = axes.lines
        np.testing.assert_allclose(points.get_xdata(), COMPUTE)
        np.testing.assert_allclose(points.get_ydata(), getattr(frontier, quantity))
        assert (points.get_marker(), points.get_linestyle()) == ("o", "None")
        np.testing.assert_allclose(dashed.get_xydata(), np.stack([COMPUTE, law], axis=1))
        assert dashed.get_linestyle() == "--"
        (bars,) = axes.collections
        ends = np.asarray(bars.get_segments())[..., 1].T
        np.testing.assert_allclose(ends, frontier.interval[quantity])
        assert [line.get_color() for line in axes.lines] == ["red", darker("red")]


def test_a_curve_without_seeds_has_no_bars():
    axes = new_figure(1)[1][0, 0]
    draw_frontier(axes, js.frontier(_losses(), COMPUTE, **NAMES), "loss", COMPUTE, "red", "name")
    assert not axes.collections
    assert len(axes.lines) == 2
