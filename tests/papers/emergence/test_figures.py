"""The figure of the four laws: means over seeds as points, closed forms dashed."""

import numpy as np
import xarray

from jaxscale.papers.emergence._claims import LawCurve
from jaxscale.papers.emergence._figures import law_figure
from jaxscale.report._figures import darker

TITLES = {"T": "time", "D": "data", "N": "parameters", "C": "compute"}


def _law_curve(name, alpha):
    """Two seeds around a power law, at three points."""
    x = np.array([1.0, 4.0, 16.0])
    law = xarray.DataArray(x**-alpha, {name: x}, dims=name)
    simulated = xarray.concat([0.9 * law, 1.3 * law], "seed").assign_coords(skill_exponent=alpha)
    return LawCurve(simulated, law, -alpha)


def test_the_law_figure_draws_means_over_seeds_and_laws():
    alphas = (0.3, 0.6)
    figure = law_figure({name: [_law_curve(name, a) for a in alphas] for name in TITLES})
    assert len(figure.axes) == len(TITLES)
    colors = []
    for axes, (name, word) in zip(figure.axes, TITLES.items(), strict=True):
        assert axes.get_title().startswith(f"law in {word}: exponent")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_ylabel() == "loss [S²]"
        assert [t.get_text() for t in axes.texts] == ["α = 0.3", "α = 0.6"]
        assert len(axes.lines) == 2 * len(alphas)
        for i, alpha in enumerate(alphas):
            points, dashed = axes.lines[2 * i : 2 * i + 2]
            law = np.asarray(_law_curve(name, alpha).law)
            np.testing.assert_allclose(points.get_ydata(), 1.1 * law)
            np.testing.assert_allclose(dashed.get_ydata(), law)
            np.testing.assert_allclose(points.get_xdata(), dashed.get_xdata())
            assert (points.get_linestyle(), points.get_marker()) == ("None", "o")
            assert (dashed.get_linestyle(), dashed.get_marker()) == ("--", "None")
            assert points.get_color() == axes.texts[i].get_color()
            assert dashed.get_color() == darker(points.get_color())
        colors.append([line.get_color() for line in axes.lines[::2]])
    assert all(one == colors[0] for one in colors)
    assert len(set(colors[0])) == len(alphas)
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["simulation", "closed form"]
