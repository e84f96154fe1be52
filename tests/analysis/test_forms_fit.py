"""Fits of forms and their intervals: starts, floors, lost refits, few points, predictions."""

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats.mstats import hdquantiles

import jaxscale as js
from jaxscale.analysis import _calibrate
from jaxscale.analysis._form import FORMS
from jaxscale.analysis._information import warn_constant
from jaxscale.analysis._prediction import band_of
from jaxscale.analysis._resamples import Resamples
from jaxscale.analysis.bounds import NotNegative

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def _runs(n, sigma=0.02, seed=0, **values):
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(7, 10, n)
    table = pandas.DataFrame({"n_parameters": size, "n_tokens": 10 ** rng.uniform(9, 11.5, n)})
    v = {**TRUTH, **values}
    exact = (
        v["E"] + v["A"] * table.n_parameters ** -v["alpha"] + v["B"] * table.n_tokens ** -v["beta"]
    )
    return table.assign(loss=exact * np.exp(sigma * rng.standard_normal(n)))


@pytest.fixture(scope="module")
def fitted():
    """A fit of 120 runs of 2 % scatter."""
    return js.calibrate(js.forms.chinchilla, _runs(120))


def test_a_form_needs_no_starts_and_recovers_exact_runs():
    fit = js.calibrate(js.forms.chinchilla, _runs(30, sigma=0.0), bootstrap=0)
    for name, value in TRUTH.items():
        assert fit.values[name] == pytest.approx(value, rel=1e-6)
    assert fit.converged
    with pytest.raises(ValueError, match="`free` must name what to fit, got None"):
        js.calibrate(js.Formula(lambda n, a: a / n, {"a": 1.0}), _runs(9))
    with pytest.raises(ValueError, match="`theory` must be a Grid, a Formula or a form"):
        js.calibrate(lambda n, a: a / n, _runs(9))


def test_rows_at_which_an_extreme_start_is_infinite_are_fitted():
    """e^(3 / .001) is infinite, but the scale may start elsewhere."""

    def growth(x, *, A, scale):
        return A * jnp.exp(x / scale)

    grown = js.forms.form(
        A=js.forms.factor(), scale=js.forms.scale(1e-3, 1e3), reference="derived here"
    )(growth)
    del FORMS["growth"]
    x = np.linspace(0.1, 3, 30)
    fit = js.calibrate(grown, pandas.DataFrame({"x": x, "loss": 2 * np.exp(x / 2)}), bootstrap=0)
    assert (fit.n_points, fit.n_left_out) == (30, 0)
    assert fit.values == pytest.approx({"A": 2.0, "scale": 2.0}, rel=1e-9)


def test_fixed_and_given_values_of_a_form():
    runs = _runs(60)
    form = js.Formula(js.forms.chinchilla, {"E": 1.69, "beta": 0.28})
    fit = js.calibrate(form, runs, bootstrap=0)
    assert fit.free == ("A", "B", "alpha")
    given = {"A": 100.0, "B": 100.0, "alpha": 0.5}
    started = js.calibrate(form.replaced(given), runs, list(given), bootstrap=0)
    for name in given:
        assert started.values[name] == pytest.approx(fit.values[name], rel=1e-3)
    with pytest.raises(ValueError, match="`A` of chinchilla has no value"):
        js.calibrate(form, runs, ["B", "alpha"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:E is 0")
def test_a_floor_that_is_not_there():
    """40 runs without a floor: E may be zero, and its interval says how large it can be."""
    lower, upper, truth_inside = [], [], []
    for seed in range(6):
        fit = js.calibrate(js.forms.chinchilla, _runs(40, seed=seed, E=0.0))
        ends = fit.interval()
        lower.append(ends["E"][0])
        upper.append(ends["E"][1])
        truth_inside.append(ends["beta"][0] < 0.28 < ends["beta"][1])
        assert fit.condition < 500
        assert fit.converged
        assert fit.n_lost == 0
    assert sum(low == 0.0 for low in lower) >= 4
    assert max(upper) > 0.1
    assert sum(truth_inside) >= 4
    with pytest.warns(UserWarning, match="E is 0 in 1 fit of 1: the data show none"):
        fit = js.calibrate(js.forms.chinchilla, _runs(40, sigma=0.0, E=0.0), bootstrap=0)
    assert fit.values["E"] == 0.0
    assert fit.values["beta"] == pytest.approx(0.28, rel=1e-5)
    bound = NotNegative(zero=np.asarray(1e-6))
    assert bound.contains(0.0)
    assert not bound.contains(-1.0)


def test_lost_refits_are_counted_and_leave_no_interval():
    values = np.random.default_rng(0).normal(size=(200, 2))
    for n_lost, warns, given in (
        (2, None, True),
        (10, "10 of 200", True),
        (30, "30 of 200", False),
    ):
        z = values.copy()
        z[:n_lost] = np.nan
        drawn = Resamples(z, "points", np.asarray(50))
        assert drawn.n_lost == n_lost
        assert f"{n_lost} of 200 refits lost" in drawn.text
        low, high = drawn.ends(z[:, 0], 0.95)
        assert bool(np.isfinite(low + high)) is given
        low, high = drawn.ends(z[:, 0], 0.95, max_lost=0.5)
        assert low < -1.5 < 1.5 < high
        if warns is None:
            drawn.warn()
        else:
            with pytest.warns(UserWarning, match=f"{warns} refits were lost"):
                drawn.warn()


def test_a_fit_says_how_many_refits_it_lost(fitted):
    z = fitted.drawn.z.copy()
    z[:30] = np.nan
    spoiled = dataclasses.replace(fitted, drawn=dataclasses.replace(fitted.drawn, z=z))
    assert spoiled.to_dict()["n_lost"] == spoiled.n_lost == 30
    assert "30 of 200 refits lost" in str(spoiled)
    assert "30 of 200 refits lost" in spoiled.table().note
    assert np.isnan([*spoiled.interval().values()]).all()
    assert np.isfinite([*spoiled.interval(max_lost=0.2).values()]).all()
    assert spoiled.to_dict()["parameters"][0]["interval"] == [None, None]


@pytest.mark.parametrize("n", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 8)), 10])
def test_few_runs_have_values_and_no_intervals(n):
    table = _runs(n)
    with pytest.warns(UserWarning, match=f"no interval, for {n} points are too few.*take 20"):
        surface = js.fit_loss_surface(table, bootstrap=40)
    assert np.isnan([*surface.interval().values()]).all()
    assert np.isfinite([*surface.values.values()]).all()
    assert "nan" not in surface.fit.table().rows[0]


@pytest.mark.filterwarnings("ignore:.*(refits were lost|do not constrain)")
@pytest.mark.parametrize(("n", "enough"), [(4, False), (5, False), (8, False), (12, True)])
def test_three_parameters_on_few_points(n, enough):
    x = np.geomspace(1, 1000, n)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(n))
    table = pandas.DataFrame({"x": x, "loss": (0.5 + 2 * x**-0.4) * noise})
    if enough:
        fit = js.calibrate(js.forms.power_law, table)
    else:
        with pytest.warns(UserWarning, match=f"no interval, for {n} points.*take 12 or more"):
            fit = js.calibrate(js.forms.power_law, table)
    assert bool(np.isfinite([*fit.interval().values()]).all()) is enough


def test_points_of_a_run_are_resampled_together():
    """Five runs whose points share an error: intervals of points are far too narrow."""
    rng, x = np.random.default_rng(0), np.geomspace(1, 1000, 20)
    parts = []
    for run in range(5):
        loss = (0.5 + 2 * x**-0.4) * np.exp(0.05 * rng.standard_normal())
        noise = np.exp(0.005 * rng.standard_normal(20))
        parts.append(pandas.DataFrame({"x": x, "loss": loss * noise, "run": run}))
    table = pandas.concat(parts)
    by_point = js.calibrate(js.forms.power_law, table)
    by_run = js.calibrate(js.forms.power_law, table, resample="run")
    assert by_run.method == "percentiles of 200 resamples of 5 values of run"
    width = [np.ptp(fit.interval()["A"]) for fit in (by_point, by_run)]
    assert width[1] > 1.5 * width[0]


def test_weights_count_by_their_ratios():
    table = _runs(40)
    weights = np.where(np.arange(40) < 10, 3.0, 1.0)
    twice = pandas.concat([table, table[:10], table[:10]])
    options = {"bootstrap": 0, "loss": js.residuals.Squared()}
    fit = js.calibrate(js.forms.chinchilla, table.assign(w=7 * weights), weights="w", **options)
    again = js.calibrate(js.forms.chinchilla, twice, **options)
    for name, value in again.values.items():
        assert fit.values[name] == pytest.approx(value, rel=1e-4)
    assert fit.n_points == 40
    with pytest.raises(
        ValueError, match=r"`weights=w` must be positive and finite, got 0\.0 in row 0"
    ):
        js.calibrate(js.forms.chinchilla, table.assign(w=0.0), weights="w")
    grid = js.Grid(js.emergence.MultilinearSkills(n_steps=10))
    with pytest.raises(ValueError, match="`weights` belong to the points of a formula's table"):
        js.calibrate(grid, js.predict(grid), ["learning_rate"], weights="w")


def test_an_adaptive_loss_is_that_of_its_delta_and_ignores_outliers():
    table = _runs(80)
    spoiled = table.copy()
    spoiled.loc[:3, "loss"] *= 1.5
    fit = js.calibrate(js.forms.chinchilla, table, bootstrap=0)
    scatter = 1.4826 * np.median(np.abs(fit.residuals))
    assert float(fit.loss.delta) == pytest.approx(1.345 * scatter, rel=0.01)
    again = js.calibrate(js.forms.chinchilla, table, bootstrap=0, loss=fit.loss)
    assert again.objective == pytest.approx(fit.objective, rel=1e-9)
    moved = {
        name: abs(js.calibrate(js.forms.chinchilla, spoiled, bootstrap=0, **loss).values["beta"]
                  - fit.values["beta"])
        for name, loss in (("adaptive", {}), ("squares", {"loss": js.residuals.Squared()}))
    }  # fmt: skip
    assert moved["adaptive"] < moved["squares"] / 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(no standard error|is 0 in|do not constrain)")
def test_a_delta_is_followed_until_it_stays_or_the_fit_says_that_it_does_not(monkeypatch):
    """Of 100 sets with heavy tails, and of 5 points for 3 parameters, most of which are met."""
    rng, x = np.random.default_rng(0), np.geomspace(1, 1000, 20)
    noise = np.exp(0.02 * rng.standard_t(2, (100, 20)))
    sets = {"set": np.repeat(np.arange(100), 20), "x": np.tile(x, 100)}
    table = pandas.DataFrame({**sets, "loss": ((0.5 + 2 * x**-0.4) * noise).ravel()})
    fit = js.calibrate(js.forms.power_law, table, each="set", bootstrap=0)
    scatter = 1.4826 * np.median(np.abs(fit.residuals), axis=(1, 2))
    np.testing.assert_allclose(fit.loss.delta, 1.345 * scatter, rtol=3e-3)
    x = np.geomspace(1, 1000, 5)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(5))
    few = pandas.DataFrame({"x": x, "loss": (0.5 + 2 * x**-0.4) * noise})
    fit = js.calibrate(js.forms.power_law, few, bootstrap=0)
    assert np.sum(np.abs(fit.residuals) < 1e-5) >= 3
    monkeypatch.setattr(_calibrate, "ADAPTATIONS", 2)
    with pytest.warns(UserWarning, match="an adaptive loss does not settle in 1 of 1 fits"):
        js.calibrate(js.forms.power_law, few, bootstrap=0)


def test_one_heavy_weight_loses_no_refit():
    x = np.geomspace(1, 1e4, 20)
    noise = 0.02 * np.random.default_rng(0).standard_normal(20)
    table = pandas.DataFrame({"x": x, "loss": (0.5 + 3 * x**-0.5) * np.exp(noise), "w": 1.0})
    table.loc[0, "w"] = 100.0  # the sum of the others is 3 when the mean of all is one
    fit = js.calibrate(js.forms.power_law, table, weights="w")
    assert (fit.n_points, fit.n_lost) == (20, 0)


@pytest.mark.filterwarnings("ignore:E is 0")
def test_each_data_set_has_a_delta_of_its_own():
    """A family with 20 times the scatter: with a common delta neither is fitted as if alone."""
    families = {"calm": _runs(60, sigma=0.01), "loud": _runs(60, sigma=0.2, seed=1)}
    both = pandas.concat([t.assign(family=n) for n, t in families.items()])
    fit = js.calibrate(js.forms.chinchilla, both, each="family", bootstrap=0)
    for i, table in enumerate(families.values()):
        alone = js.calibrate(js.forms.chinchilla, table, bootstrap=0)
        assert float(fit.loss.delta[i]) == pytest.approx(float(alone.loss.delta), rel=1e-3)
        assert fit.objective[i] == pytest.approx(alone.objective, rel=1e-4)
    assert float(fit.loss.delta[1] / fit.loss.delta[0]) == pytest.approx(20, rel=0.5)


@pytest.mark.filterwarnings("ignore:E is 0")
def test_a_floor_that_starts_at_zero_moves():
    runs = _runs(60)
    start = js.Formula(js.forms.chinchilla, {**TRUTH, "E": 0.0})
    fit = js.calibrate(start, runs, list(TRUTH), n_starts=1, bootstrap=0)
    free = js.calibrate(js.forms.chinchilla, runs, bootstrap=0)
    assert fit.objective == pytest.approx(free.objective, rel=1e-6)
    assert fit.values["E"] == pytest.approx(free.values["E"], rel=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:E\[")
def test_floors_of_groups_may_be_zero_alone_and_together():
    """The interval of a floor holds what the fit says when another one, or all, are zero."""
    groups = {"a": _runs(40, E=0.0), "b": _runs(40, seed=1, E=0.0)}
    table = pandas.concat([t.assign(g=n) for n, t in groups.items()])
    form = js.forms.grouped(js.forms.chinchilla, "g", ["A", "B", "alpha", "beta"])
    fit = js.calibrate(form, table, bootstrap=100)
    assert fit.drawn.n_blocks == 4
    assert fit.resamples.shape == (100, 6)
    last = fit.drawn.z[300:]
    assert (last[:, :2] == -np.inf).all()
    assert all(len(values) == 100 for values in fit.bootstrap.values())
    assert all(len(values) == 400 for values in fit.refits.values())
    assert all(low == 0 for low, _ in (fit.interval()[f"E[{g}]"] for g in groups))


@pytest.mark.slow
def test_groups_that_are_resampled_may_differ_between_data_sets():
    runs = _runs(60).assign(seed=np.arange(60) % 6, family=np.repeat(["a", "b"], 30))
    runs.loc[30:32, "loss"] = np.nan  # the rows of b are no longer those of a
    fit = js.calibrate(js.forms.chinchilla, runs, each="family", bootstrap=40)
    assert fit.drawn.of == "seed"  # a table is resampled as a Dataset is
    assert fit.drawn.n_groups.tolist() == [6, 6]
    alone = js.calibrate(js.forms.chinchilla, runs[runs.family == "a"], bootstrap=40)
    for name, (low, high) in alone.interval().items():
        assert low == pytest.approx(fit.interval()[name][0][0], rel=1e-3)
        assert high == pytest.approx(fit.interval()[name][1][0], rel=1e-3)
    by_point = js.calibrate(js.forms.chinchilla, runs[:30], resample="points")
    assert by_point.method == "percentiles of 200 resamples of 30 points"


def test_predictions_say_how_sure_and_how_far(fitted):
    inside = {"n_parameters": np.asarray([1e8, 1e9]), "n_tokens": np.asarray([1e10, 1e10])}
    outside = {"n_parameters": np.asarray([1e12]), "n_tokens": np.asarray([1e13])}
    near, far = fitted.predict(**inside), fitted.predict(**outside)
    assert near["decades_outside"].tolist() == [0.0, 0.0]
    assert far["decades_outside"][0] == pytest.approx(2.0, abs=0.1)
    for table in (near, far):
        assert (table["new_low"] < table["loss_low"]).all()
        assert (table["loss_low"] < table["loss"]).all()
        assert (table["loss"] < table["loss_high"]).all()
        assert (table["loss_high"] < table["new_high"]).all()
    width = [np.log(t["loss_high"] / t["loss_low"]).iloc[0] for t in (near, far)]
    assert width[1] > 3 * width[0]
    new = np.log(near["new_high"] / near["new_low"])
    ends = hdquantiles(fitted.residuals.ravel(), [0.025, 0.975])
    scatter = np.ptp(ends) * np.sqrt(120 / 115) * stdtrit(115, 0.975) / ndtri(0.975)
    means = np.log(near["loss_high"] / near["loss_low"])
    assert new.tolist() == pytest.approx(np.hypot(scatter, means).tolist(), rel=0.1)
    band = band_of(fitted, fitted.theory, 0, inside)  # that of figures
    np.testing.assert_allclose(band, near[["loss_low", "loss_high"]].to_numpy().T, rtol=1e-12)
    wide = fitted.predict(**inside, level=0.999)
    assert (wide["loss_low"] < near["loss_low"]).all()


def test_a_floor_that_exact_data_do_not_have_is_zero():
    x = np.geomspace(1.0, 1e3, 12)
    table = pandas.DataFrame({"x": x, "loss": 3.0 * x**-0.5})
    with pytest.warns(UserWarning, match="E is 0 in 1 fit of 1"):
        fit = js.calibrate(js.forms.power_law, table, bootstrap=0, loss=js.residuals.Squared())
    assert fit.values == {"E": 0.0, "A": pytest.approx(3.0), "alpha": pytest.approx(0.5)}


def test_what_a_prediction_is_not_asked_is_named_with_what_it_took():
    law = js.Formula(lambda n, a, b, c=2.0: c * a * n**-b, {"a": 1.0, "b": 0.7})
    table = pandas.DataFrame({"n": [1.0, 2.0, 4.0], "loss": [2.0, 1.0, 0.5]})
    fit = js.calibrate(law, table, ["b"], n_starts=1)
    for name, hint in (("a", "which took 1.0"), ("c", "which took 2.0"), ("m", "there are n")):
        with pytest.raises(ValueError, match=rf"`{name}` is not an input of the fit.*{hint}"):
            fit.predict(n=3.0, **{name: 4.0})


def test_allocation_of_what_cannot_be_allocated(fitted):
    made = js.analysis.allocate(fitted, [1e19, 1e21])
    v = fitted.values
    assert made.exponent.tolist() == pytest.approx(
        [v["beta"] / (v["alpha"] + v["beta"])] * 2, rel=1e-6
    )
    assert list(made.table()["flop"]) == [1e19, 1e21]
    x = np.geomspace(1, 1000, 20)
    law = js.calibrate(
        js.forms.power_law, pandas.DataFrame({"x": x, "loss": 1 + x**-0.5}), bootstrap=0
    )
    with pytest.raises(ValueError, match="`fit` must be one fit of a form of n_parameters and"):
        js.analysis.allocate(law, 1e20)


def test_what_holds_no_information_has_no_interval():
    runs = _runs(60)
    flat = runs.assign(loss=2.0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit = js.calibrate(js.forms.chinchilla, flat, bootstrap=60)
    assert any("hold no information on an exponent" in str(w.message) for w in warned)
    assert np.isnan([*fit.interval().values()]).all()
    bound = {"alpha": js.bounds.Between(low=0.4, high=0.5)}  # the data say .34
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit = js.calibrate(js.forms.chinchilla, runs, bounds=bound, bootstrap=60)
    assert any("alpha lies at an end" in str(w.message) for w in warned)
    assert fit.values["alpha"] == pytest.approx(0.4, abs=1e-3)
    assert np.isnan(fit.interval()["alpha"]).all()
    assert "alpha = 0.4 ± –" in str(fit)


def test_a_fixed_floor_lies_below_the_data():
    runs = _runs(60)
    lowest = np.sort(runs.loss)
    with pytest.raises(ValueError, match="`E` is a floor and must lie below the data, whose lowe"):
        js.calibrate(js.Formula(js.forms.chinchilla, {"E": 9.0}), runs)
    form = js.Formula(js.forms.chinchilla, {"E": float(lowest[2]) - 1e-9})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        js.calibrate(form, runs, bootstrap=0)
    assert "is a floor, but 2 of 60 values of loss lie below it" in str(warned[0].message)


def test_a_fixed_floor_of_groups_lies_below_their_own_data():
    groups = {"a": _runs(30), "b": _runs(30, seed=1, E=3.0)}
    table = pandas.concat([t.assign(g=n) for n, t in groups.items()])
    every = js.forms.grouped(js.forms.chinchilla, "g", ["E", "A", "B", "alpha"]).of(["a", "b"])
    with pytest.raises(ValueError, match="`E` is a floor and must lie below the data"):
        js.calibrate(js.Formula(every, {"E": 9.0}), table)
    own = js.forms.grouped(js.forms.chinchilla, "g", ["A", "B", "alpha", "beta"]).of(["a", "b"])
    lowest = f"{groups['a'].loss.min():.6g}"
    assert float(lowest) < 3.0 < groups["b"].loss.min()
    with pytest.raises(ValueError, match=rf"`E\[a\]` is a floor.*lowest value is {lowest}, got 9"):
        js.calibrate(js.Formula(own, {"E[a]": 9.0}), table)
    squares = js.residuals.Squared()
    fit = js.calibrate(js.Formula(own, {"E[b]": 3.0}), table, bootstrap=0, loss=squares)
    assert fit.values["E[a]"] < 3.0


def test_groups_of_few_points_have_no_interval():
    """Resamples of a group of three points have none, or one again and again."""
    x = np.geomspace(1, 1000, 30)
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"x": [*x, 2.0, 20.0, 200.0], "g": [*["a"] * 30, *["z"] * 3]})
    exact = 1 + table.x**-0.5
    table["loss"] = exact * np.exp(0.02 * rng.standard_normal(33))
    form = js.forms.grouped(js.forms.power_law, "g", ["A", "alpha"])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit = js.calibrate(form, table, bootstrap=60)
    assert "g 'z' has 3 points, too few to be resampled for its 1 parameter" in str(
        warned[0].message
    )
    assert np.isnan([*fit.interval().values()]).all()
    assert np.isfinite([*js.calibrate(form, table[:30], bootstrap=60).interval().values()]).all()
    (message,) = {str(w.message) for w in warned if "no interval" in str(w.message)}
    assert message == (
        "1 of 1 fit: no interval, for g 'z' has 3 points, too few to be resampled for its 1 "
        "parameter; take 4 or more"
    )
    with pytest.raises(ValueError, match="`each` must be another column than that of the groups"):
        js.calibrate(form, table, each="g")


def test_groups_of_two_runs_have_no_interval():
    """All 30 points of a group come from two runs, which a resample holds twice, or not at all."""
    x = np.geomspace(1, 1000, 15)
    rng = np.random.default_rng(0)
    runs = [("a", k) for k in range(8)] + [("z", 8), ("z", 9)]
    parts = [
        pandas.DataFrame({"x": x, "g": g, "run": k, "loss": (1 + x**-0.5) * np.exp(shared)})
        for (g, k), shared in zip(runs, 0.05 * rng.standard_normal(10), strict=True)
    ]
    form = js.forms.grouped(js.forms.power_law, "g", ["A", "alpha"])
    with pytest.warns(UserWarning, match="for g 'z' has 2 values of run.*take 5 or more"):
        fit = js.calibrate(form, pandas.concat(parts), resample="run", bootstrap=60)
    assert np.isnan([*fit.interval().values()]).all()
    fit = js.calibrate(form, pandas.concat(parts[:8]), resample="run", bootstrap=60)
    assert np.isfinite([*fit.interval().values()]).all()


def test_every_fit_without_an_interval_has_one_reason():
    z = np.zeros((3, 60, 1))
    drawn = Resamples(z, "run", np.asarray([3, 8, 8]), withheld=np.asarray(["no a", "no a", ""]))
    assert drawn.reasons.tolist()[1:] == ["no a", ""]
    assert drawn.usable.tolist() == [False, False, True]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        drawn.warn()
    messages = sorted(str(w.message) for w in warned)
    assert messages == [
        "1 of 3 fits: no interval, for 3 values of run are too few to be resampled; take 5 or more",
        "1 of 3 fits: no interval, for no a",
    ]
    assert [drawn.of_set(i).reasons.item() == "" for i in range(3)] == [False, False, True]


def test_refits_without_a_floor_count_where_a_tail_of_the_others_ends_at_zero():
    """A tenth of the refits has a floor of 0: a 95 % interval is that of both, one of 70 % not."""
    values = np.concatenate([np.linspace(1, 2, 200), np.linspace(5, 6, 200)])
    drawn = Resamples(values[:, None], "points", np.asarray(50), np.asarray([1.0, 0.1]))
    assert drawn.n_blocks == 2
    low, high = drawn.ends(values, 0.95)
    assert 1 <= low < 1.1
    assert 5.9 < high <= 6
    low, high = drawn.ends(values, 0.7)
    assert 1 <= low < high <= 2
    rare = dataclasses.replace(drawn, shares=np.asarray([1.0, 0.01]))  # of 200 refits
    assert rare.ends(values, 0.95)[1] <= 2
    assert rare.ends(values, 0.99)[1] > 5


def test_standard_errors_of_few_seeds_are_those_of_their_mean():
    """Of 5 seeds the scatter of resampled means is sqrt(4 / 5) of the standard error."""
    y = np.asarray([1.0, 1.3, 0.8, 1.1, 0.9])
    table = pandas.DataFrame({"x": 0.0, "seed": range(5), "loss": y})
    mean = js.Formula(lambda x, a: a + 0 * x, {"a": 1.0})
    fit = js.calibrate(mean, table, ["a"], residual=js.residuals.Scaled(), n_starts=1,
                       bootstrap=4000)  # fmt: skip
    assert fit.drawn.of == "seed"
    expected = y.std(ddof=1) / np.sqrt(5)
    assert fit.standard_error["a"] == pytest.approx(expected, rel=0.04)


def test_errors_of_a_form_with_a_break_have_as_many_degrees_of_freedom_as_points_less_parameters():
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e4, 40)
    values = {"E": 0.5, "A": 4.0, "alpha": 0.2, "beta": 0.8, "x_break": 60.0, "width": 0.3}
    exact = js.forms.broken_power_law(x, **values)
    table = pandas.DataFrame({"x": x, "loss": exact * np.exp(0.02 * rng.standard_normal(40))})
    table["run"] = np.arange(40)
    fit = js.calibrate(js.forms.broken_power_law, table)
    by_run = js.calibrate(js.forms.broken_power_law, table, resample="run")
    for one, n_spent in ((fit, 6), (by_run, 1)):
        spread = np.std(one.bootstrap["A"], ddof=1)
        assert one.standard_error["A"] == pytest.approx(spread * np.sqrt(40 / (40 - n_spent)))
        t = stdtrit(40 - n_spent, 0.975) * np.sqrt(40 / (40 - n_spent))
        tail = ndtr(-t)
        ends = np.quantile(one.bootstrap["A"], [tail, 1 - tail], method="inverted_cdf")
        assert one.interval()["A"] == pytest.approx(ends, rel=1e-12)


def test_predictions_of_few_points_have_the_tails_of_student():
    """The mean of 5 numbers: its interval is s / sqrt(5) times the quantile of Student's t."""
    y = np.asarray([1.0, 1.3, 0.8, 1.1, 0.9])
    table = pandas.DataFrame({"x": np.arange(5.0), "loss": y})
    mean = js.Formula(lambda x, a: a + 0 * x, {"a": 1.0})
    fit = js.calibrate(mean, table, ["a"], residual=js.residuals.Scaled(), n_starts=1,
                       bounds={"a": js.bounds.Unbounded()})  # fmt: skip
    predicted = fit.predict(x=[0.0])
    half = 2.776 * y.std(ddof=1) / np.sqrt(5)
    assert float(predicted["loss_high"][0] - y.mean()) == pytest.approx(half, rel=0.2)
    assert float(y.mean() - predicted["loss_low"][0]) == pytest.approx(half, rel=0.2)


@pytest.mark.parametrize("constant", [{"loss"}, {"skill_strength"}, {"loss", "skill_strength"}])
def test_one_observable_that_does_not_vary_leaves_the_others(constant):
    rng = np.random.default_rng(0)
    data = {n: rng.uniform(1, 2, (1, 3, 5)) for n in ("loss", "skill_strength")}
    data |= {name: np.full((1, 3, 5), 2.0) for name in constant}
    with pytest.warns(UserWarning, match="is 2 at every point"):
        silent = warn_constant(data, np.ones((1, 3, 10)), ["learning_rate", "skill_exponent"])
    assert silent.tolist() == [len(constant) == 2]
