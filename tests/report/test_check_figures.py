"""Figures that check a fit: residuals, isoFLOP curves, allocations; NaN draws less, never fails."""

import dataclasses
import io

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.analysis import allocate, isoflop
from jaxscale.report import allocation_figure, isoflop_figure, residuals_figure


def _runs(sigma=0.003):
    rng, tables = np.random.default_rng(0), []
    for c in (1e19, 1e20, 1e21):
        size = np.sqrt(c / 120) * np.exp(np.linspace(-1.4, 1.4, 8))
        loss = 1.7 + 400 * size**-0.34 + 400 * (c / 6 / size) ** -0.28
        loss *= np.exp(sigma * rng.standard_normal(8))
        tokens = c / 6 / size
        tables.append(pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss}))
    return pandas.concat(tables)


@pytest.fixture(scope="module")
def fit():
    return js.calibrate(js.forms.chinchilla, _runs(), bootstrap=40)


def _drawn(figure):
    """The figure, rendered."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def test_residuals_are_drawn_against_the_fit_the_inputs_and_the_normal_law(fit):
    axes = _drawn(residuals_figure(fit))
    names = ["fitted loss", "n_parameters", "n_tokens", "normal quantile"]
    assert [a.get_xlabel() for a in axes] == names
    x, y = axes[0].lines[0].get_data()
    np.testing.assert_allclose(np.log(_runs()["loss"] / x), y, atol=1e-9)
    np.testing.assert_allclose(y, -fit.residuals.ravel())
    assert all(a.get_ylabel().endswith("measured less fitted") for a in axes)
    np.testing.assert_array_equal(axes[1].lines[0].get_xdata(), fit.inputs["n_parameters"])
    assert [a.get_xscale() for a in axes] == ["linear", "log", "log", "linear"]
    normal, own = axes[3].lines[0].get_data()
    assert np.all(np.diff(own) >= 0)
    assert np.sum(own) == pytest.approx(np.sum(y) / np.sqrt(np.mean(y**2)), abs=1e-9)
    np.testing.assert_allclose(normal, -normal[::-1], atol=1e-9)
    assert np.mean(own**2) == pytest.approx(1.0)


@pytest.mark.slow
def test_residuals_of_several_fits_have_colours_and_gaps_none():
    table = pandas.concat([_runs().assign(run=run) for run in (3, 4)])[:-5]
    law = js.Formula(js.forms.power_law, {"E": 0.0})
    fit = js.calibrate(law, table, columns={"x": "n_parameters"}, each="run")
    axes = _drawn(residuals_figure(fit))
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["run 3", "run 4"]
    assert len(axes[-1].lines[1].get_xdata()) == 19
    blank = dataclasses.replace(fit, residuals=np.full_like(fit.residuals, np.nan))
    assert len(_drawn(residuals_figure(blank))[-1].lines) == 1
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=100, record=range(0, 101, 10))
    runs = js.predict(js.Grid(system))
    grid = js.calibrate(js.Grid(js.replace(system, "learning_rate", 0.08)), runs, ["learning_rate"])
    with pytest.raises(ValueError, match="`fit` must be of a Formula"):
        residuals_figure(grid)


def test_isoflop_curves_have_their_parabolas_and_minima():
    fitted = isoflop(_runs(), bootstrap=100)
    curves, growth = _drawn(isoflop_figure(fitted))
    assert len(curves.lines) == 9
    minima = np.asarray([line.get_xydata()[0] for line in curves.lines[2::3]])
    np.testing.assert_allclose(minima, fitted.groups[["n_parameters", "loss"]])
    for g in range(3):
        x, y = curves.lines[3 * g + 1].get_data()
        assert y.min() == pytest.approx(minima[g, 1], rel=1e-4)
        assert abs(np.log(x[y.argmin()] / minima[g, 0])) < 0.05
    assert {t.get_text() for t in growth.texts} == {"best N", "best D"}
    assert len(growth.collections) == 2
    np.testing.assert_allclose(growth.lines[2].get_ydata(), fitted.groups["n_parameters"])


def test_of_many_groups_at_most_seven_are_named():
    many = [_runs(0.0).assign(C=1e18 * 1.5 ** (3 * i + np.repeat(range(3), 8))) for i in range(4)]
    curves, _ = _drawn(isoflop_figure(isoflop(pandas.concat(many), flop="C", bootstrap=0)))
    assert len(curves.lines) == 3 * 12
    names = [text.get_text() for text in curves.texts]
    assert len(names) == 7
    assert {"1e+18", "8.6e+19"} < set(names)


def test_without_minima_there_are_points():
    runs = _runs(0.0)
    cut = runs[runs["n_parameters"] > np.sqrt(runs["n_parameters"] * runs["n_tokens"] / 20)]
    fitted = isoflop(cut, bootstrap=40)
    assert fitted.n_without == 3
    curves, _ = _drawn(isoflop_figure(fitted))
    assert "3 without a minimum" in curves.get_title()
    assert len(curves.lines[0].get_xdata()) >= 2
    few = isoflop(pandas.concat([runs[:8], runs[8:10]]), bootstrap=40)
    assert few.n_without == 1
    _drawn(isoflop_figure(few))


@pytest.mark.slow
def test_an_allocation_has_bands_and_says_where_the_runs_end(fit):
    flop = np.geomspace(1e18, 1e23, 21)
    best = allocate(fit, flop)
    (axes,) = _drawn(allocation_figure(best))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), best.best["n_parameters"])
    assert len(axes.collections) == 2
    dotted = sorted(line.get_xdata()[0] for line in axes.lines[2:])
    np.testing.assert_allclose(dotted, [flop[4], flop[12]])
    assert axes.get_title().startswith("best N and D, 95% bands; dotted")
    options = {"loss": js.residuals.Squared(), "bootstrap": 0}
    bare = allocate(js.calibrate(js.forms.chinchilla, _runs(), **options), flop)
    (axes,) = _drawn(allocation_figure(bare))
    assert "bands" not in axes.get_title()
    nothing = {n: np.full(21, np.nan) for n in bare.best}
    _drawn(allocation_figure(dataclasses.replace(bare, best=nothing)))
    _drawn(allocation_figure(allocate(fit, 1e20)))
