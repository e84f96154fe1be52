"""How figures look in light and dark, and what they dash."""

import numpy as np
import pytest

pytest.importorskip("bokeh")

from bokeh.models import Div, NoOverlap

from jaxscale.explorer._curve_figure import CurveFigure, Shown
from jaxscale.explorer._themes import THEMES, dress_legend, new_figure


def luminance(color):
    """Relative luminance of WCAG 2."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_colors_contrast_with_the_paper_and_those_of_low_values_most(theme):
    contrasts = []
    for color in theme.scale:
        dark, light = sorted((luminance(color), luminance(theme.paper)))
        contrasts.append((light + 0.05) / (dark + 0.05))
    assert min(contrasts) >= 3
    assert contrasts[0] == pytest.approx(max(contrasts), rel=0.05)
    assert contrasts[-1] < contrasts[0] / 3


def test_the_local_exponent_is_dashed_where_the_curve_is():
    x = np.geomspace(1, 100, 12)
    claimed = np.ones((1, 12), bool)
    claimed[0, 5:8] = False
    shown = Shown("loss", x, x[None] ** -0.5, claimed, ("",))
    figure = CurveFigure(shown, THEMES["light"], x="step", y="", title=Div(), log="xy")
    for curve, slope in ((figure.claimed, figure.slopes), (figure.other, figure.other_slopes)):
        places = [np.isfinite(source.data["ys"][0]) for source in (curve, slope)]
        assert places[0].tolist() == places[1].tolist()
    assert np.isnan(figure.slopes.data["ys"][0]).sum() == 3


def test_a_legend_has_the_columns_that_a_narrow_page_has_room_for():
    columns = []
    for labels in ((), ("skill 1", "skill 2"), ("learning_rate 0.03", "learning_rate 0.1")):
        figure = new_figure(THEMES["light"], x="", y="")
        figure.line([0, 1], [0, 1], legend_label="a")
        dress_legend(figure, THEMES["light"], labels)
        columns.append(figure.legend[0].ncols)
    assert columns == [4, 4, 2]


def test_labels_of_an_axis_never_overlap():
    figure = new_figure(THEMES["light"], x="", y="", log="xy")
    assert all(isinstance(axis.major_label_policy, NoOverlap) for axis in figure.axis)


def test_pinned_curves_are_all_that_is_drawn_and_none_warns_without_a_value():
    x = np.geomspace(1, 100, 12)
    lines = np.stack([x**-0.5, np.full(12, np.nan)])
    shown = Shown("loss", x, lines, np.stack([x < 20, x < 0]), ("a", "b"))
    assert not shown.is_constant
    figure = CurveFigure(shown, THEMES["light"], x="step", y="", title=Div(), log="x")
    figure.pin(True)
    np.testing.assert_array_equal(figure.pinned.data["ys"], lines)
    figure.pin(False)
    assert figure.pinned.data == {"xs": [], "ys": []}
