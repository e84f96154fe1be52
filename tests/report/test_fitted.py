"""Figures of fits: the data as points, the fitted curve and its band, measured over fitted."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.analysis import calibrate
from jaxscale.report._figures import OKABE_ITO
from jaxscale.report._fitted import fit_figure
from jaxscale.report._form_file import FormFile
from jaxscale.report._save import write_images


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
    with pytest.raises(ValueError, match=r"got one of .* Calibration: .*residuals_figure\(fit\)"):
        js.plot(fit)
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


def test_a_table_with_other_names_is_drawn_by_the_map_of_the_fit(curves):
    formula = js.Formula(power, {"scale": 1.0, "exponent": 0.7})
    renamed = curves.rename(columns={"x": "time", "loss": "train"})
    columns = {"x": "time", "loss": "train"}
    fit = calibrate(formula, renamed, ["scale", "exponent"], each="run", columns=columns)
    axes = js.plot(renamed, fit, columns=columns).axes[0]
    own = curves[curves["run"] == 0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), own[["x", "loss"]].to_numpy())
    with pytest.raises(ValueError, match=r"`runs` has no column 'x': give the fit's `columns`"):
        js.plot(renamed, fit)
    for option in ({"x": "x"}, {"title": "mine"}, {"log": ""}):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` is of a Dataset"):
            js.plot(renamed, fit, columns=columns, **option)


@pytest.mark.filterwarnings("ignore:E.* is 0 in 1 fit of 1")
def test_residuals_are_drawn_over_the_labels_of_groups(curves):
    form = js.forms.grouped(js.forms.power_law, "family", ["alpha"])
    table = curves.assign(family=np.where(curves["run"] == 0, "wide nets", "deep nets"))
    fit = calibrate(form, table, bootstrap=0, loss=js.residuals.Squared())
    axes = js.report.residuals_figure(fit).axes[2]
    assert axes.get_xlabel() == "family"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["deep nets", "wide nets"]
    assert axes.get_xscale() == "linear"


def test_the_fit_of_a_grid_is_refused():
    record = range(0, 101, 10)
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=100, record=record)
    runs = js.predict(js.Grid(system))
    fit = calibrate(js.Grid(js.replace(system, "learning_rate", 0.08)), runs, ["learning_rate"])
    with pytest.raises(ValueError, match=r"`fit` must be of a Formula; `js\.plot"):
        fit_figure(fit, pandas.DataFrame())


def _drawn(figure, tmp_path):
    """Finite points of every line, after the figure is written as files are."""
    write_images(figure, tmp_path / "fit")
    return [line.get_xydata() for axes in figure.axes for line in axes.lines]


@pytest.mark.slow
def test_a_formula_that_overflows_at_data_is_drawn_where_it_is_finite(curves, tmp_path):
    def steep(x, scale, exponent):
        return scale * x**-exponent + jnp.where(x > 50, jnp.exp(scale * 1e3), 0.0)

    def negative(x, scale, exponent):
        return scale * x**-exponent - jnp.where(x > 50, 10.0, 0.0)

    run = curves[curves["run"] == 0]
    fit = calibrate(js.Formula(power, {"scale": 1.0, "exponent": 0.7}), run, ["scale", "exponent"])
    spoiled = pandas.concat([run, pandas.DataFrame({"x": [3.0], "loss": [np.inf]})])
    for function in (steep, negative):
        other = dataclasses.replace(fit, theory=js.Formula(function, fit.theory.values))
        figure = fit_figure(other, spoiled)
        points, curve = _drawn(figure, tmp_path)
        assert len(points) == len(run)
        np.testing.assert_array_equal(np.isfinite(curve[:, 1]), curve[:, 0] <= 50)
        title = figure.axes[0].get_title()
        hidden = "1 point, 1 curve, 1 band" if function is steep else "1 point, 1 curve"
        assert title.endswith(f"95 % band\nnot drawn in full: {hidden}")
        assert figure.axes[0].get_yscale() == "log"


@pytest.mark.slow
def test_step_0_and_a_band_that_overflows_are_drawn_without_errors(curves, tmp_path):
    start = pandas.DataFrame({"x": [0.0], "loss": [9.0], "run": [0]})
    table = pandas.concat([start, curves[curves["run"] == 0]])
    law = js.Formula(power, {"scale": 1.0, "exponent": 0.7})
    with pytest.warns(UserWarning, match="1 row with x = 0"):
        fit = calibrate(law, table, ["scale", "exponent"])
    figure = fit_figure(fit, table)
    assert len(_drawn(figure, tmp_path)[0]) == len(table)
    assert figure.axes[0].get_title().endswith("not drawn in full: 1 curve, 1 band")
    wide = dataclasses.replace(fit, covariance=np.diag([1e6, 1e6]))
    figure = fit_figure(wide, curves[curves["run"] == 0])
    _drawn(figure, tmp_path)
    assert figure.axes[0].get_title().endswith("not drawn in full: 1 band")


@pytest.mark.slow
def test_fits_that_did_not_converge_or_have_no_data_are_drawn(curves, tmp_path):
    law = js.Formula(power, {"scale": 1.0, "exponent": 0.7})
    fit = calibrate(law, curves, ["scale", "exponent"], each="run")
    lost = np.where([[True], [False]], np.nan, fit.coordinates)
    broken = dataclasses.replace(
        fit, coordinates=lost, covariance=np.full_like(fit.covariance, np.inf),
        converged=np.asarray([False, False]),
    )  # fmt: skip
    figure = fit_figure(broken, curves)
    curve = _drawn(figure, tmp_path)[1]
    assert np.isnan(curve[:, 1]).all()
    title = figure.axes[0].get_title()
    assert title.endswith("not drawn in full: 1 curve, 2 bands; 2 fits did not converge")
    assert {t.get_text() for t in figure.axes[0].texts} == {"run 0", "run 1"}
    nothing = curves.assign(loss=np.nan)
    figure = fit_figure(fit, curves[curves["run"] == 0])
    assert figure.axes[0].get_title().endswith("not drawn in full: 1 fit")
    figure = fit_figure(fit, nothing)
    assert not _drawn(figure, tmp_path)


@pytest.mark.slow
def test_ratios_to_a_fit_that_is_zero_or_refused_are_not_drawn(tmp_path):
    table = pandas.DataFrame({"x": [1.0, 2.0, 9.0, 50.0], "y": [1.0, 2.0, 1.0, 0.0]})
    table["loss"] = product(table["x"], table["y"], 3.0, 0.5) + 0.1 * (table["y"] == 0)
    fit = calibrate(js.Formula(product, {"scale": 2.0, "exponent": 0.5}), table[:3], ["scale"])
    figure = fit_figure(fit, table)
    assert np.isnan(_drawn(figure, tmp_path)[0][:, 1]).tolist() == [False, False, False, True]
    assert figure.axes[0].get_title() == "not drawn in full: 1 point"

    def refuses(x, y, scale, exponent):
        raise ValueError("`scale` must be smaller.")

    figure = fit_figure(
        dataclasses.replace(fit, theory=js.Formula(refuses, fit.theory.values)), table
    )
    _drawn(figure, tmp_path)
    assert figure.axes[0].get_title() == "not drawn in full: 4 points"


FLAT = {"alpha": 0.0, "beta": 0.0}


@pytest.fixture(scope="module")
def chinchilla_fit():
    """Eight runs of a surface, and a fit of them."""
    n = np.geomspace(1e6, 1e9, 24)
    runs = pandas.DataFrame({"n_parameters": n, "n_tokens": np.roll(n, 9) * 20})
    exact = js.forms.chinchilla(**runs, E=1.7, A=400.0, B=400.0, alpha=0.3, beta=0.3)
    runs["loss"] = np.asarray(exact) * np.exp(0.01 * np.random.default_rng(0).normal(size=24))
    return js.calibrate(js.forms.chinchilla, runs, bootstrap=40), runs


@pytest.mark.parametrize(
    ("spoil", "hidden"),
    [
        (FLAT, "best N"),
        pytest.param({"A": np.inf}, "best D", marks=pytest.mark.slow),
        pytest.param({"B": 0.0}, "best N", marks=pytest.mark.slow),
        pytest.param({"E": np.nan}, "loss", marks=pytest.mark.slow),
    ],
)
def test_a_surface_that_degenerates_is_drawn_where_it_is_finite(
    chinchilla_fit, tmp_path, spoil, hidden
):
    fit, runs = chinchilla_fit
    values = {**fit.values, **spoil}
    with np.errstate(all="ignore"):
        z = np.log([values[name] for name in fit.free])
    drawn = dataclasses.replace(fit.drawn, z=np.tile(z, (40, 1)))
    file = FormFile(dataclasses.replace(fit, coordinates=z, drawn=drawn), runs, (1e20,))
    file.tables()
    file.write(str(tmp_path / "surface"))
    titles = " ".join(axes.get_title() for axes in file.allocation_figure().axes)
    assert "not drawn in full: " in titles
    assert f"{hidden}, band of {hidden}" in titles
