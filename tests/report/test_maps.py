"""Maps and labels: simulation on the colours of theory, numbers in cells, labels apart."""

import numpy as np
import pytest
from matplotlib.colors import Normalize

from jaxscale.report._figures import LINE_HEIGHT, label_ends, legend, log_axis, new_figure
from jaxscale.report._maps import cells, color_bar, dots, log_colors, surface
from jaxscale.report._save import save


def test_circles_have_the_colours_of_the_closed_form(tmp_path):
    figure, grid = new_figure(1)
    axes = grid[0, 0]
    x, y = np.meshgrid(np.geomspace(1, 100, 8), np.geomspace(2, 30, 5))
    values = x / y
    values[0, 0] = np.inf
    colors = log_colors(0.1, 10.0)
    surface(axes, x, y, values, colors)
    dots(axes, x[1], y[1], values[1], colors)
    color_bar(figure, [axes], colors, "ratio [1]")
    mesh, circles = axes.collections
    shown, drawn = np.asarray(mesh.get_array()).reshape(x.shape), np.asarray(circles.get_array())
    assert mesh.norm is circles.norm is colors
    assert mesh.get_cmap() is circles.get_cmap() or mesh.get_cmap() == circles.get_cmap()
    np.testing.assert_allclose(shown[1], np.clip(values[1], 0.1, 10.0))
    assert shown[0, 0] == 10.0
    np.testing.assert_allclose(drawn, values[1])
    np.testing.assert_allclose(circles.get_offsets(), np.stack([x[1], y[1]], axis=1))
    np.testing.assert_allclose(mesh.get_coordinates(), np.stack([x, y], axis=-1))
    assert circles.get_zorder() > mesh.get_zorder()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert figure.axes[1].get_ylabel() == "ratio [1]"
    np.testing.assert_allclose(figure.axes[1].get_ylim(), (0.1, 10.0))  # the scale of the colours
    assert figure.axes[1].get_yscale() == "log"
    vector, _ = save(figure, tmp_path, "map")
    assert b"<image" in vector.read_bytes()  # the colours are a bitmap, all else stays vector


def test_cells_hold_their_numbers():
    _, grid = new_figure(1)
    axes = grid[0, 0]
    values = np.array([[0.1, 1.0, np.nan], [1.9, 1.25, 0.5]])
    cells(axes, values, np.array([0.0, 0.5]), np.array([1.1, 1.5, 2.0]), Normalize(0.0, 2.0))
    texts = {t.get_position(): (t.get_text(), t.get_color()) for t in axes.texts}
    assert texts == {
        (0, 0): ("0.10", "white"),
        (1, 0): ("1.00", "black"),
        (0, 1): ("1.90", "white"),
        (1, 1): ("1.25", "black"),
        (2, 1): ("0.50", "black"),
    }
    (mesh,) = axes.collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(2, 3), values)
    np.testing.assert_allclose([mesh.norm.vmin, mesh.norm.vmax], [0.0, 2.0])
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-0.5, 0.5, 1.5, 2.5])
    assert not any(spine.get_visible() for spine in axes.spines.values())
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1.1", "1.5", "2"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0", "0.5"]


def test_labels_that_would_overlap_are_moved_apart():
    _, grid = new_figure(1)
    axes = grid[0, 0]
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    right = [("b", 0.5), ("c", 0.501), ("a", 0.1), ("d", 0.499), ("no", np.nan)]
    ends = [(1.0, y, name, "red") for name, y in right]
    label_ends(axes, [*ends, (0.5, 0.5, "alone", "red")])
    height = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(height) == {"a", "b", "c", "d", "alone"}
    np.testing.assert_allclose([height["a"], height["alone"]], [0.1, 0.5])
    np.testing.assert_allclose(height["c"] - height["b"], LINE_HEIGHT)
    np.testing.assert_allclose(height["b"] - height["d"], LINE_HEIGHT)
    np.testing.assert_allclose(height["b"], 0.5, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (11.0, 45.0, [20, 30]),
        (24.0, 150.0, [50, 100]),
        (2.0, 90.0, [2, 5, 10, 20, 50]),
        (30.0, 130.0, [50, 100]),
        (5.0, 5.6, [5.0]),
    ],
)
def test_short_axes_have_plain_ticks(low, high, ticks):
    _, grid = new_figure(1)
    axes = grid[0, 0]
    axes.plot([low, high], [1, 2])
    log_axis(axes, "x")
    placed = axes.get_xticks()
    assert set(ticks) <= set(np.round(placed, 9))
    assert len(placed) >= 3 or high / low < 1.2
    assert [t.get_text() for t in axes.get_xticklabels()] == [f"{x:g}" for x in placed]
    assert not any(t.get_text() for t in axes.get_xticklabels(minor=True))


def test_long_axes_keep_the_ticks_of_decades():
    _, grid = new_figure(1)
    axes = grid[0, 0]
    axes.plot([1, 2], [1.0, 1e5])
    log_axis(axes, "y")
    assert axes.get_yscale() == "log"
    assert axes.get_xscale() == "linear"
    ratios = np.diff(np.log10(axes.get_yticks()))
    np.testing.assert_allclose(ratios, ratios[0])


def test_the_legend_says_how_lines_are_drawn():
    figure, _ = new_figure(2)
    legend(figure, {"simulation": {"lw": 1.0}, "closed form": {"ls": "--", "color": "red"}})
    (drawn,) = figure.legends
    assert [text.get_text() for text in drawn.get_texts()] == ["simulation", "closed form"]
    solid, dashed = drawn.get_lines()
    assert (solid.get_linestyle(), solid.get_linewidth(), solid.get_color()) == (
        "-",
        1.0,
        "#444444",
    )
    assert (dashed.get_linestyle(), dashed.get_color()) == ("--", "red")
    assert all(len(axes.get_lines()) == 0 for axes in figure.axes)  # it stands above the panels
