"""Figures: every shape of result is drawn, with labels and units, and always the same bytes."""

from pathlib import Path

import numpy as np
import pytest
import xarray
from systems import ONLINE as SYSTEM

import jaxscale as js
from jaxscale.emergence import FiniteSet, Online
from jaxscale.report._figures import FEW, band, new_figure, plot, save

GRIDS = {
    "one": js.Grid(SYSTEM),
    "rates": js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2, 0.4]}, seeds=3),
    "objects": js.Grid(SYSTEM, {"data": [Online(), FiniteSet(n_samples=30)]}, seeds=3),
    "end": js.Grid(js.replace(SYSTEM, "record", [20]), {"learning_rate": [0.1, 0.4]}, seeds=2),
    "bad": js.Grid(SYSTEM, {"learning_rate": [0.1, 1e30]}, seeds=2),
}


@pytest.fixture(scope="module")
def results():
    return {name: (js.run(grid), js.predict(grid)) for name, grid in GRIDS.items()}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("with_theory", [True, False])
@pytest.mark.parametrize("shape", ["all", "one seed", "end"])
def test_every_shape_is_drawn(results, name, with_theory, shape):
    runs, theory = results[name]
    if shape == "one seed":
        runs = runs.isel(seed=0)
    if shape == "end":
        runs, theory = runs.isel(step=-1), theory.isel(step=-1)
    figure = plot(runs, theory if with_theory else None)
    assert [a.get_ylabel() for a in figure.axes] == [
        "loss [target²]",
        "skill_strength [target]",
        "skill_loss [target²]",
    ]
    for axes in figure.axes:
        assert axes.get_xlabel() in (*runs.dims, "seed")
        assert axes.get_title()
        assert axes.lines
        drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
        assert np.isfinite(drawn).any()
        dashed = sum(line.get_linestyle() == "--" for line in axes.lines)
        assert (dashed > 0) is with_theory


def test_the_lines_are_mean_and_theory(results):
    runs, theory = results["rates"]
    axes = plot(runs, theory, observables=["loss"]).axes[0]
    mean, dashed = axes.lines[:2]
    expected = runs["loss"].isel(learning_rate=0).mean("seed")
    np.testing.assert_allclose(mean.get_ydata(), expected, rtol=1e-6)
    np.testing.assert_allclose(dashed.get_ydata(), theory["loss"].isel(learning_rate=0))
    assert mean.get_color() == dashed.get_color()
    assert axes.get_xlabel() == "step"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["learning_rate 0.1", "learning_rate 0.2", "learning_rate 0.4"]


def _band(values, x, dims=("seed", "step")):
    """Axes with the band of `values`."""
    axes = new_figure(1)[1][0, 0]
    curve = xarray.DataArray(values, {"step": x}, dims=dims)
    band(axes, curve, "step", "red", "label")
    return axes


def test_theory_is_drawn_by_labels(results):
    runs, theory = results["rates"]
    lines = [plot(runs, t).axes[0].lines for t in (theory, theory.isel(learning_rate=[2, 0, 1]))]
    np.testing.assert_array_equal(*([line.get_ydata() for line in axes] for axes in lines))
    without = plot(runs, theory.isel(learning_rate=[0, 2])).axes[0].lines
    assert [len(without), len(lines[0])] == [5, 6]


@pytest.mark.parametrize(
    "call",
    [
        lambda path: plot(path),
        lambda path: js.compare(path, path),
        lambda path: js.calibrate(GRIDS["one"], path, ["learning_rate"]),
        lambda path: js.calibrate(js.Formula(lambda x, a: a * x, {"a": 1.0}), path, ["a"]),
        lambda path: js.select(path, seed=0),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_of_a_store_is_to_be_opened(call, kind, tmp_path):
    with pytest.raises(ValueError, match=r"js\.open_store"):
        call(kind(tmp_path))


def test_the_band_is_one_standard_deviation_over_seeds():
    x, values = np.array([1.0, 2.0, 4.0]), np.array([[1.0, 2.0, np.nan], [3.0, 2.0, np.nan]])
    axes = _band(values, x)
    (line,), (area,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_xydata(), [[1, 2], [2, 2]])  # no seed has the third
    edges = {tuple(v) for v in area.get_paths()[0].vertices}
    assert {(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)} == edges
    assert (line.get_color(), line.get_label(), line.get_marker()) == ("red", "label", "o")
    np.testing.assert_allclose(area.get_facecolor(), [[1, 0, 0, 0.2]])


def test_one_point_is_a_bar_and_many_points_have_no_markers():
    axes = _band(np.array([[1.0], [3.0]]), np.array([2.0]))
    (bar,) = axes.collections
    np.testing.assert_allclose(bar.get_segments(), [[[2, 1], [2, 3]]])
    x = np.arange(FEW + 1.0)
    axes = _band(x[None] * [[1.0], [2.0]], x)
    assert axes.lines[0].get_marker() == "None"
    axes = _band(x, x, ("step",))
    assert not axes.collections
    np.testing.assert_allclose(axes.lines[0].get_ydata(), x)


def test_object_labels_become_ticks(results):
    runs, _ = results["objects"]
    axes = plot(runs.isel(step=-1), observables=["loss"]).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["Online()", "FiniteSet(n_samples=30)"]


def test_vector_files_are_deterministic(results, tmp_path):
    runs, theory = results["rates"]
    one, bitmap = save(plot(runs, theory, observables=["loss"]), tmp_path, "one")
    two, _ = save(plot(runs, theory, observables=["loss"]), tmp_path, "two")
    assert one.read_bytes() == two.read_bytes()
    assert bitmap.read_bytes()[:4] == b"\x89PNG"
    other, _ = save(plot(runs, observables=["loss"]), tmp_path, "other")
    assert other.read_bytes() != one.read_bytes()


def test_unknown_observables_are_refused(results):
    runs, _ = results["one"]
    with pytest.raises(ValueError, match=r"loss.*got 'los'"):
        plot(runs, observables=["los"])
    with pytest.raises(ValueError, match="at least one"):
        plot(runs[["status"]])
