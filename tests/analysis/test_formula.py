"""Formulas fitted to tables: files, frames and Datasets, bounds, outliers, warnings."""

import json
import re

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.emergence import MultilinearSkills

STEPS = np.unique(np.geomspace(1, 1000, 30).round())
TRUTH = {"frequency_exponent": 1.5, "learning_rate": 0.1}
FIXED = {"importance_exponent": 0.0, "n_features": 64}
START = {"frequency_exponent": 1.2, "learning_rate": 0.3}
FREE = list(START)


def _formula(**values):
    return js.Formula(js.superposition.theory.sequential_loss, {**FIXED, **START, **values})


def _table(n_runs=1, sigma=0.0):
    rng, rows = np.random.default_rng(0), []
    exact = np.asarray(_formula(**TRUTH).predicted(time=STEPS)["loss"])
    for run in range(n_runs):
        loss = exact * np.exp(sigma * rng.standard_normal(len(STEPS)))
        rows.append(pandas.DataFrame({"time": STEPS, "loss": loss, "run": run}))
    return pandas.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def noisy():
    """Four runs with 3 % noise."""
    return _table(4, 0.03)


def test_file_frame_and_dataset_give_one_answer(noisy, tmp_path):
    theirs = noisy.rename(columns={"time": "iteration", "loss": "train"})
    theirs["loss"] = 7.0  # a column of that name that is not meant
    theirs.to_csv(tmp_path / "curves.csv", index=False)
    columns = {"time": "iteration", "loss": "train"}
    fits = [
        js.calibrate(_formula(), noisy, FREE, n_starts=1),
        js.calibrate(_formula(), theirs, FREE, columns=columns, n_starts=1),
        js.calibrate(_formula(), tmp_path / "curves.csv", FREE, columns=columns, n_starts=1),
        js.calibrate(_formula(), noisy.set_index(["run", "time"]).to_xarray(), FREE, n_starts=1),
    ]
    for fit in fits:
        assert fit.n_points == len(noisy)
        for name, value in fits[0].values.items():
            assert fit.values[name] == pytest.approx(value, rel=1e-9)
            low, high = fit.interval()[name]
            assert low < TRUTH[name] < high
            assert low < value < high


def test_every_start_is_reported(noisy):
    fit = js.calibrate(_formula(learning_rate=30.0), noisy, FREE, n_starts=4)
    assert fit.starts.status.shape == (4,)
    assert set(fit.starts.status) <= {"converged", "not converged", "not finite"}
    assert fit.starts.cost.min() == pytest.approx(
        float(
            np.sum((np.log(noisy["loss"]) - np.log(fit.predict(time=noisy["time"])["loss"])) ** 2)
        )
        / 2
    )
    assert fit.converged
    assert fit.values["learning_rate"] == pytest.approx(0.1, rel=0.2)


@pytest.mark.slow
def test_separate_fits_have_groups_of_their_own_length(noisy):
    short = noisy[(noisy["run"] > 0) | (noisy["time"] < 100)]
    fit = js.calibrate(_formula(), short, FREE, each="run", n_starts=1)
    assert fit.labels == (0, 1, 2, 3)
    for i, run in enumerate(fit.labels):
        alone = js.calibrate(_formula(), short[short["run"] == run], FREE, n_starts=1)
        for name in FREE:
            assert fit.values[name][i] == pytest.approx(alone.values[name], rel=1e-6)
            np.testing.assert_allclose(
                fit.standard_error[name][i], alone.standard_error[name], rtol=1e-4
            )
            for end, expected in zip(fit.interval()[name], alone.interval()[name], strict=True):
                np.testing.assert_allclose(end[i], expected, rtol=1e-4)  # own degrees of freedom
    predicted = fit.predict(time=STEPS)
    bands = ["loss_low", "loss_high", "new_low", "new_high", "decades_outside"]
    assert list(predicted.columns) == ["time", "loss", *bands, "run"]
    assert len(predicted) == 4 * len(STEPS)


def test_a_bound_is_respected_and_so_is_its_interval(noisy):
    bounds = {"frequency_exponent": js.bounds.Between(low=1.0, high=1.45)}
    with pytest.warns(UserWarning, match="frequency_exponent lies at an end of Between"):
        fit = js.calibrate(_formula(), noisy, FREE, bounds=bounds, n_starts=1)
    low, high = fit.interval()["frequency_exponent"]
    assert 1.0 <= low <= fit.values["frequency_exponent"] <= high <= 1.45
    assert fit.values["frequency_exponent"] > 1.449  # the truth, 1.5, lies beyond
    wide = {"frequency_exponent": js.bounds.Between(low=1.0, high=3.0)}
    free = js.calibrate(_formula(), noisy, FREE, n_starts=1)
    same = js.calibrate(_formula(), noisy, FREE, bounds=wide, n_starts=1)
    assert same.values["frequency_exponent"] == pytest.approx(free.values["frequency_exponent"])
    assert same.standard_error["frequency_exponent"] == pytest.approx(
        free.standard_error["frequency_exponent"], rel=1e-4
    )


@pytest.mark.slow
def test_outliers_move_a_square_and_not_a_huber(noisy):
    spoiled = noisy.copy()
    spoiled.loc[::9, "loss"] *= 3.0
    clean = js.calibrate(_formula(), noisy, FREE, n_starts=1)
    square = js.calibrate(_formula(), spoiled, FREE, n_starts=1)
    loss = js.residuals.Huber(delta=0.03)
    robust = js.calibrate(_formula(), spoiled, FREE, loss=loss, n_starts=1)
    moved = [abs(np.log(f.values["learning_rate"] / clean.values["learning_rate"]))
             for f in (square, robust)]  # fmt: skip
    assert moved[0] > 5 * moved[1]
    assert np.isnan([clean.huber_delta, robust.huber_delta]).all()
    assert "outweigh" not in f"{clean}{robust}{clean.table().note}{robust.table().note}"
    assert 0.06 < square.huber_delta < 0.3
    hint = f"loss=Huber(delta={square.huber_delta:.2g})"
    assert hint in str(square)
    assert hint in square.table().note


def test_a_run_that_failed_is_reported_as_such_and_not_rounding(noisy):
    spoiled = noisy.copy()
    spoiled.loc[spoiled["run"].eq(3) & spoiled["time"].gt(300), "loss"] = 1e3
    fit = js.calibrate(_formula(), spoiled, FREE, n_starts=1)
    assert "a few residuals outweigh the others: look for a run that failed" in str(fit)
    exact = js.calibrate(_formula(), _table(), FREE, n_starts=1)
    assert np.isnan(exact.huber_delta)
    assert exact.to_dict()["huber_delta"] is None


@pytest.mark.slow
def test_a_huber_loss_says_why_there_is_no_interval(noisy):
    loss = js.residuals.Huber(delta=1e-4)
    with pytest.warns(UserWarning, match="1 of 1 fits have no standard error .*: fewer than 10"):
        fit = js.calibrate(_formula(), noisy, FREE, loss=loss, n_starts=1, bootstrap=0)
    table = fit.table()
    assert [column.name for column in table.columns] == ["parameter", "value"]
    assert table.note == "no intervals: the covariance is undefined"
    assert "nan" not in str(fit)
    one = noisy[noisy["run"] == 0]
    by_refits = js.calibrate(_formula(), one, FREE, loss=loss, n_starts=1)  # without a warning
    assert np.isfinite([*by_refits.interval().values()]).all()
    # so sharp a loss has refits that do not end at a minimum: they are left out and counted
    said = rf"percentiles of 200 resamples of {len(one)} points(, (\d+) of 200 refits lost)?"
    lost = re.fullmatch(said, by_refits.method)[2]
    assert int(lost or 0) == np.isnan(by_refits.resamples).any(axis=1).sum() < 20


@pytest.mark.slow
def test_bootstrap_over_runs(noisy):
    options = {"bootstrap": 50, "resample": "run", "n_starts": 1}
    with pytest.warns(UserWarning, match="no interval, for 4 values of run are too few to be"):
        fit = js.calibrate(_formula(), noisy, FREE, **options)
    assert fit.resamples.shape == (50, 2)
    assert np.isfinite(fit.resamples).all()
    assert np.isnan([*fit.interval().values()]).all()
    assert {len(row) for row in fit.table().rows} == {2}  # a parameter and its value
    # four runs have at most 35 resamples, of points there are many more
    assert len(np.unique(fit.resamples[:, 0].round(9))) <= 35
    five = pandas.concat([noisy, noisy[noisy["run"] == 0].assign(run=4)])
    fit, again, other = (js.calibrate(_formula(), five, FREE, **options, key=k) for k in (0, 0, 1))
    low, high = fit.interval()["learning_rate"]
    assert low < fit.values["learning_rate"] < high
    assert fit.method == "percentiles of 50 resamples of 5 values of run"
    with pytest.warns(DeprecationWarning, match="use `interval`"):
        assert fit.bootstrap_interval() == fit.interval()
    np.testing.assert_array_equal(fit.resamples, again.resamples)
    assert not np.array_equal(fit.resamples, other.resamples)


def test_parameters_that_the_data_do_not_tell_apart_are_named():
    n = np.geomspace(1, 100, 20)
    table = pandas.DataFrame({"n": n, "loss": 6.0 * n**-0.5})
    product = js.Formula(lambda n, a, b, c: a * b * n**-c, {"a": 1.0, "b": 1.0, "c": 1.0})
    with pytest.warns(UserWarning, match=r"do not constrain a and b separately \(condition number"):
        fit = js.calibrate(product, table, ["a", "b", "c"], n_starts=1)
    assert fit.condition > 1e6
    assert fit.values["c"] == pytest.approx(0.5)
    assert fit.values["a"] * fit.values["b"] == pytest.approx(6.0)


@pytest.mark.slow
def test_values_without_a_logarithm_are_reported_and_left_out(noisy):
    spoiled = noisy.copy()
    spoiled.loc[:2, "loss"] = [0.0, -1.0, np.nan]
    with pytest.warns(UserWarning, match="2 values of loss without a logarithm"):
        fit = js.calibrate(_formula(), spoiled, FREE, n_starts=1)
    assert (fit.n_points, fit.n_left_out) == (len(noisy) - 3, 3)
    scaled = js.calibrate(_formula(), spoiled, FREE, residual=js.residuals.Scaled(), n_starts=1)
    assert (scaled.n_points, scaled.n_left_out) == (len(noisy) - 1, 1)


@pytest.mark.slow
def test_a_law_is_evaluated_at_its_column():
    n = np.geomspace(10, 1000, 12)
    law = js.emergence.theory.parameter_law(skill_exponent=0.6, target_scale=3.0)
    table = pandas.DataFrame({"N": n, "L": np.asarray(law(n))})
    formula = js.Formula(js.emergence.theory.parameter_law,
                         {"skill_exponent": 1.0, "target_scale": 1.0})  # fmt: skip
    fit = js.calibrate(formula, table, ["skill_exponent", "target_scale"],
                       columns={"x": "N", "loss": "L"}, n_starts=1)  # fmt: skip
    assert fit.values["skill_exponent"] == pytest.approx(0.6, rel=1e-5)
    assert fit.values["target_scale"] == pytest.approx(3.0, rel=1e-4)


@pytest.mark.slow
def test_the_result_writes_plain_json(noisy, tmp_path):
    fit = js.calibrate(_formula(), noisy, FREE, each="run", n_starts=2)
    fit.to_json(tmp_path / "fit.json")
    written = json.loads((tmp_path / "fit.json").read_text())
    assert [p["label"] for p in written["parameters"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert written["parameters"][0]["value"] == pytest.approx(fit.values["frequency_exponent"][0])
    assert written["starts"]["status"][0] == ["converged", "converged"]
    assert "95 % interval" in [c.name for c in fit.table().columns]


@pytest.mark.slow
def test_a_table_of_own_steps_is_fitted_by_a_system(tmp_path):
    system = MultilinearSkills(n_skills=5, n_steps=300, record=[0, 10, 35, 111, 300])
    exact = js.predict(js.Grid(system, {"learning_rate": [0.05, 0.1]}))[["loss"]]
    table = exact.to_dataframe().reset_index().rename(columns={"step": "iteration", "loss": "l"})
    table.to_csv(tmp_path / "own.csv", index=False)
    start = MultilinearSkills(n_skills=5, n_steps=20, skill_exponent=1.0)
    grid = js.Grid(start, {"learning_rate": [0.05, 0.1]})
    columns = {"step": "iteration", "loss": "l"}
    fit = js.calibrate(grid, tmp_path / "own.csv", ["skill_exponent"], columns=columns, n_starts=2)
    assert fit.values["skill_exponent"] == pytest.approx(0.6, rel=1e-6)
    assert fit.n_points == 10
    assert fit.predict()["step"].values.tolist() == [0, 10, 35, 111, 300]
    twice = pandas.concat([table, table.assign(l=2 * table["l"])])
    with pytest.raises(ValueError, match=r"one row for each.*several at"):
        js.calibrate(grid, twice, ["skill_exponent"], columns=columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"free": ["frequency_exponen"]}, "`free` must name parameters with a value"),
        ({"free": ["frequency_exponent", "n_feature"]}, "`free`"),
        ({"columns": {"time": "iteration"}}, "no column 'iteration'; there are time, loss, run"),
        ({"columns": {"time": "run", "loss": "run"}}, "`columns` must name each column once"),
        ({"each": "colour"}, "`each` must be one of time, loss, run, got 'colour'"),
        ({"resample": "colour", "bootstrap": 40}, "`resample` must be one of time, loss, run, got"),
        ({"bounds": {"run": js.bounds.Positive()}}, "`bounds` must be of free parameters"),
        ({"bounds": {"learning_rate": js.bounds.Between(low=0.5, high=2.0)}},
         "`learning_rate` must start inside Between"),
        ({"n_starts": 0}, "`n_starts` must be a whole number of at least 1"),
        ({"bootstrap": -1}, "`bootstrap`"),
        ({"observables": ["skill_loss"]}, "`observables` of a formula"),
    ],
)  # fmt: skip
def test_bad_input(change, message):
    options = {"free": FREE, "n_starts": 1, **change}
    with pytest.raises(ValueError, match=message):
        js.calibrate(_formula(), _table(), options.pop("free"), **options)


def test_bad_formulas_and_tables():
    with pytest.raises(ValueError, match="did you mean `learning_rate`"):
        _formula(learning_rat=0.1)
    with pytest.raises(ValueError, match=r"`data` nowhere\.csv does not exist"):
        js.calibrate(_formula(), "nowhere.csv", FREE)
    with pytest.raises(ValueError, match="`data` must be a Dataset"):
        js.calibrate(_formula(), [1, 2], FREE)
    words = _table().assign(loss="much")
    with pytest.raises(ValueError, match="`loss` must be a column of numbers, got 'much'"):
        js.calibrate(_formula(), words, FREE)
    with pytest.raises(ValueError, match="no complete row"):
        js.calibrate(_formula(), _table().assign(loss=np.nan), FREE)
    with pytest.raises(ValueError, match="`learning_rate`"):  # the function's own check
        js.calibrate(_formula(learning_rate=-1.0), _table(), FREE)
    with pytest.raises(ValueError, match="must return a PowerLaw"):
        js.calibrate(js.Formula(lambda a=1.0: a, {"a": 1.0}), _table().assign(x=1.0), ["a"])
    law = js.Formula(lambda n, a: a, {"a": 1.0})
    with pytest.raises(ValueError, match="one value per row"):
        js.calibrate(law, _table().rename(columns={"time": "n"}), ["a"])
    with pytest.raises(ValueError, match="`high` must be greater"):
        js.bounds.Between(low=1.0, high=1.0)


@pytest.mark.slow
def test_variables_on_other_dimensions_repeat_no_points():
    system = MultilinearSkills(n_skills=9, n_steps=200, record=range(0, 201, 20))
    data = js.predict(js.Grid(system))
    formula = js.Formula(js.emergence.theory.loss, {
        "skill_exponent": 0.6, "n_skills": 9, "n_samples": np.inf, "n_parameters": np.inf,
        "learning_rate": 0.05,
    })  # fmt: skip
    fit = js.calibrate(formula, data, ["learning_rate"], columns={"time": "step"}, n_starts=1)
    assert fit.n_points == 11
    assert fit.values["learning_rate"] == pytest.approx(0.1, rel=1e-6)


def test_a_start_without_a_logarithm_is_refused_and_not_left_out():
    t = np.linspace(0, 100, 50)
    table = pandas.DataFrame({"t": t, "loss": np.exp(-0.05 * t)})
    law = js.Formula(lambda t, k: 1.0 - k * t, {"k": 0.5})
    with pytest.raises(ValueError, match="zero, negative or infinite at 49 points"):
        js.calibrate(law, table, ["k"], n_starts=1)


def test_a_default_bound_is_named_where_the_data_want_more():
    n = np.geomspace(1, 100, 30)
    table = pandas.DataFrame({"n": n, "loss": 2.0 * n**0.15})
    law = js.Formula(lambda n, a, c: a * n**-c, {"a": 1.0, "c": 0.5})
    with pytest.warns(UserWarning, match=r"c lies at an end of Positive\(\)"):
        js.calibrate(law, table, ["a", "c"], n_starts=1)
    wide = {"c": js.bounds.Unbounded()}
    fit = js.calibrate(law, table, ["a", "c"], bounds=wide, n_starts=1)
    assert fit.values["c"] == pytest.approx(-0.15)


def test_an_unknown_parameter_of_a_form_is_told_those_that_it_has():
    table = pandas.DataFrame({"n_parameters": [1e7], "n_tokens": [1e9], "loss": [3.0]})
    with pytest.raises(ValueError, match=r"`free` must .* got 'q'; there are E, A, B, alpha"):
        js.calibrate(js.forms.chinchilla, table, ["q"])


def test_what_would_be_ignored_is_refused(noisy):
    with pytest.raises(ValueError, match="`bootstrap` must be given"):
        js.calibrate(_formula(), noisy, FREE, resample="run", bootstrap=0)
    with pytest.raises(ValueError, match="must not map 'learning_rate', which has a value"):
        js.calibrate(_formula(), noisy, FREE, columns={"learning_rate": "run"})
    with pytest.raises(ValueError, match=r"`columns` must map arguments .* got 'losss'"):
        js.calibrate(_formula(), noisy, FREE, columns={"losss": "loss"})
    with pytest.raises(ValueError, match="`n_starts` must be at most"):
        js.calibrate(_formula(), noisy, FREE, n_starts=70)


def test_sizes_and_numpy_functions_are_refused_in_one_line(noisy):
    with pytest.raises(ValueError, match=r"`free` \(n_features\) must be numbers that JAX"):
        js.calibrate(_formula(), noisy, ["n_features"])
    table = pandas.DataFrame({"n": [1.0, 2.0, 3.0], "loss": [1.0, 2.0, 3.0]})
    own = js.Formula(lambda n, a: float(a) * n, {"a": 1.0})
    with pytest.raises(ValueError, match=r"your own functions use jax\.numpy"):
        js.calibrate(own, table, ["a"])
