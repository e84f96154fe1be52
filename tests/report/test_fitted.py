"""Figures of fits: the data as points, the fitted curve and its band, measured over fitted."""

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.analysis import calibrate
from jaxscale.report._figures import OKABE_ITO
from jaxscale.report._fitted import fit_figure


def power(x, scale, exponent):
    return scale * x**-exponent


def product(x, y, scale, exponent):
    return scale * x**-exponent * y


@pytest.fixture(scope="module")
def curves():
    """Two runs of a power law with noise of 2 %."""
    x, rng = np.geomspace(1.0, 100.0, 12), np.random.default_rng(0)
    tables = []
    for run, exponent in enumerate((0.5, 1.0)):
        loss = power(x, 3.0, exponent) * np.exp(0.02 * rng.standard_normal(x.size))
        tables.append(pandas.DataFrame({"x": x, "loss": loss, "run": run}))
    return pandas.concat(tables)


def test_each_fit_is_a_curve_with_its_band_over_its_points(curves):
    formula = js.Formula(power, {"scale": 1.0, "exponent": 0.7})
    fit = calibrate(formula, curves, ["scale", "exponent"], each="run")
    axes = js.plot(curves, fit).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "loss")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title() == "power: points, fit and its 95 % band"
    labels = {t.get_text(): t.get_color() for t in axes.texts}
    assert labels == {"run 0": OKABE_ITO[0], "run 1": OKABE_ITO[1]}
    assert len(axes.lines) == 4
    for run in range(2):
        points, curve = axes.lines[2 * run : 2 * run + 2]
        own = curves[curves["run"] == run]
        np.testing.assert_array_equal(points.get_xydata(), own[["x", "loss"]].to_numpy())
        x, y = curve.get_data()
        values = {name: float(v[run]) for name, v in fit.values.items()}
        np.testing.assert_allclose(y, power(x, **values))
        np.testing.assert_allclose([x[0], x[-1]], [1.0, 100.0])
        low, high = _edges(axes.collections[run], x)
        assert np.all((low < y) & (y < high))
        width = (high - low) / y
        assert 0.002 < width.min() < width.max() < 0.1  # noise of 2 % at 12 points
        assert points.get_color() == curve.get_color() == OKABE_ITO[run]
        assert points.get_marker() == "o"


def _edges(area, x):
    """The two edges of a filled area at `x`."""
    vertices = area.get_paths()[0].vertices
    at = [vertices[np.isclose(vertices[:, 0], one), 1] for one in x]
    return np.array([y.min() for y in at]), np.array([y.max() for y in at])


def test_several_inputs_show_measured_over_fitted():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(1.0, 50.0, 20), rng.uniform(1.0, 2.0, 20)
    table = pandas.DataFrame({"x": x, "y": y, "loss": 1.1 * product(x, y, 3.0, 0.5)})
    formula = js.Formula(product, {"scale": 3.0, "exponent": 0.5})
    table["run"] = 7
    fit = calibrate(formula, table, ["scale"], each="run")
    assert str(fit).startswith("run 7: scale = 3.3")
    figure = fit_figure(fit, table)
    assert [t.get_text() for t in figure.axes[1].get_legend().get_texts()] == ["run 7"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["x", "y"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]
    for axes, name in zip(figure.axes, ("x", "y"), strict=True):
        points, line = axes.lines
        np.testing.assert_array_equal(points.get_xdata(), table[name])
        np.testing.assert_allclose(points.get_ydata(), 1.0, rtol=1e-6)
        np.testing.assert_array_equal(line.get_ydata(), [1.0, 1.0])
        assert axes.get_ylabel() == "measured loss / fitted"


def test_the_fit_of_a_grid_is_refused():
    record = range(0, 101, 10)
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=100, record=record)
    runs = js.predict(js.Grid(system))
    fit = calibrate(js.Grid(js.replace(system, "learning_rate", 0.08)), runs, ["learning_rate"])
    with pytest.raises(ValueError, match=r"`fit` must be of a Formula; `js\.plot"):
        fit_figure(fit, pandas.DataFrame())
