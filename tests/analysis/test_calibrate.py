"""`calibrate` recovers known parameters, with honest errors, and refuses what it cannot fit."""

import functools
import re
import warnings

import numpy as np
import pandas
import pytest
import xarray
from checks import compilations

import jaxscale as js
from jaxscale.analysis import _least_squares as least_squares
from jaxscale.emergence import FiniteSet, MultilinearSkills, ParityNetwork, WidthLimited

SYSTEM = ParityNetwork(n_steps=2000, time_scale=1.0, record=range(0, 2001, 50))


def _planted(system, free, sigma, n_seeds, axes=None):
    """The theory at planted values plus Gaussian noise over seeds."""
    for path, value in free.items():
        system = js.replace(system, path, value)
    theory = js.predict(js.Grid(system, axes))
    rng = np.random.default_rng(0)
    seeds = {"seed": np.arange(n_seeds)}
    noisy = theory.expand_dims(seeds)
    return noisy + sigma * rng.standard_normal(noisy["skill_strength"].shape)


@pytest.mark.slow
def test_a_planted_time_scale_is_recovered_from_far_away():
    for start in (1.0, 1e-4, 300.0):
        grid = js.Grid(js.replace(SYSTEM, "time_scale", start))
        fit = js.calibrate(grid, _planted(SYSTEM, {"time_scale": 0.0437}, 0.0, 1), ["time_scale"])
        assert fit.values["time_scale"] == pytest.approx(0.0437, rel=1e-6)
        assert fit.converged
        assert fit.residual_rms < 1e-8


SKILLS = MultilinearSkills(n_skills=5, n_steps=500, record=range(0, 501, 25))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["skill_exponent", "target_scale", "initial_strength", "learning_rate"]
)
def test_every_field_of_the_skills_is_recovered_from_near_and_far(path):
    data = js.predict(js.Grid(SKILLS)).expand_dims(seed=[0])
    truth = float(getattr(SKILLS, path))
    for factor in (0.5, 2.0, 5.0):
        grid = js.Grid(js.replace(SKILLS, path, factor * truth))
        fit = js.calibrate(grid, data, [path], observables=list(data))
        assert fit.values[path] == pytest.approx(truth, rel=1e-4)
        assert fit.converged
        assert fit.n_points == 21 + 2 * 21 * 5


@pytest.mark.slow
def test_values_where_theory_is_undefined_are_refused():
    # half of the scan, and the first steps of the solver, have r >= S, where theory is NaN
    truth = js.replace(SKILLS, "initial_strength", 0.9)
    data = js.predict(js.Grid(truth)).expand_dims(seed=[0])
    for start in (0.01, 0.45, 0.99):
        grid = js.Grid(js.replace(SKILLS, "initial_strength", start))
        fit = js.calibrate(grid, data, ["initial_strength"])
        assert fit.values["initial_strength"] == pytest.approx(0.9, rel=1e-4)
        assert fit.converged
    start = js.replace(js.replace(SKILLS, "target_scale", 3.0), "initial_strength", 0.02)
    both = js.calibrate(js.Grid(start), data, ["target_scale", "initial_strength"])
    assert both.values["target_scale"] == pytest.approx(1.0, rel=1e-4)
    assert both.values["initial_strength"] == pytest.approx(0.9, rel=1e-4)


@pytest.mark.slow
def test_a_like_call_does_not_compile_again():
    data = js.predict(js.Grid(SKILLS)).expand_dims(seed=[0])
    js.calibrate(js.Grid(SKILLS), data, ["learning_rate"])
    with compilations() as compiled:
        for start in (0.1, 0.2):
            grid = js.Grid(js.replace(SKILLS, "learning_rate", start))
            js.calibrate(grid, data, ["learning_rate"])
            js.calibrate(grid, 0.9 * data, ["learning_rate"])
        assert not compiled
        js.calibrate(js.Grid(SKILLS), data.isel(step=slice(3)), ["learning_rate"])
        assert compiled


def test_one_start_is_the_given_one_and_no_candidate_is_evaluated(monkeypatch):
    monkeypatch.setattr(least_squares, "costs", None)
    data = js.predict(js.Grid(SKILLS)).expand_dims(seed=[0])
    start = js.Grid(js.replace(SKILLS, "learning_rate", 0.15))
    fit = js.calibrate(start, data, ["learning_rate"], n_starts=1)
    assert fit.values["learning_rate"] == pytest.approx(0.1, rel=1e-6)


@pytest.mark.slow
def test_the_error_covers_the_truth_and_shrinks_with_the_noise():
    truth, errors, pulls = 0.0437, {}, []
    for sigma in (0.05, 0.2):
        data = _planted(SYSTEM, {"time_scale": truth}, sigma, 40)
        fit = js.calibrate(js.Grid(SYSTEM), data, ["time_scale"], each="seed")
        assert fit.values["time_scale"].shape == (40,)
        assert fit.labels == tuple(range(40))
        pulls.append((fit.values["time_scale"] - truth) / fit.standard_error["time_scale"])
        errors[sigma] = fit.standard_error["time_scale"].mean()
    assert errors[0.2] / errors[0.05] == pytest.approx(4.0, rel=0.1)
    pull = np.concatenate(pulls)
    assert abs(pull.mean()) < 3.5 / np.sqrt(80)
    assert 0.75 < pull.std() < 1.3


@pytest.mark.slow
def test_two_parameters_at_once_with_their_covariance():
    system = MultilinearSkills(n_skills=20, n_steps=2000, learning_rate=0.05)
    start = js.replace(js.replace(system, "skill_exponent", 0.9), "initial_strength", 0.05)
    rng = np.random.default_rng(1)
    data = js.predict(js.Grid(system)).expand_dims(seed=[0])[["skill_strength"]]
    data = data + 0.01 * rng.standard_normal(data["skill_strength"].shape)
    fit = js.calibrate(js.Grid(start), data, ["skill_exponent", "initial_strength"])
    assert fit.covariance.shape == (2, 2)
    assert np.all(np.linalg.eigvalsh(fit.covariance) > 0)
    assert abs(fit.values["skill_exponent"] - 0.6) < 5 * fit.standard_error["skill_exponent"]
    assert abs(fit.values["initial_strength"] - 0.01) < 5 * fit.standard_error["initial_strength"]
    assert abs(fit.values["skill_exponent"] - 0.9) > 5 * fit.standard_error["skill_exponent"]


def test_the_first_skill_alone_determines_the_others():
    data = _planted(SYSTEM, {"time_scale": 0.05}, 0.01, 3)
    fit = js.calibrate(js.Grid(SYSTEM), data.sel(skill=[1]), ["time_scale"], each="seed")
    predicted = fit.predict()
    assert predicted["skill_strength"].dims == ("seed", "step", "skill")
    difference = predicted["skill_strength"] - data["skill_strength"]
    assert float(np.abs(difference).max()) < 0.2
    dropped = js.calibrate(js.Grid(SYSTEM), data.isel(skill=0), ["time_scale"], each="seed")
    np.testing.assert_allclose(dropped.values["time_scale"], fit.values["time_scale"])


@pytest.mark.parametrize(
    ("system", "axes", "path", "value"),
    [
        pytest.param(
            ParityNetwork(data=FiniteSet(n_samples=100), record=[0, 12000], shots=30.0),
            {"data.n_samples": [100, 300, 1000, 3000, 10000]}, "shots", 250.0,
            marks=pytest.mark.slow,
        ),
        (
            ParityNetwork(regime=WidthLimited(), record=[0, 12000], units_per_skill=1.0),
            {"width": [1, 2, 3, 4, 6, 8, 12, 16, 24]}, "units_per_skill", 3.3,
        ),
    ],
    ids=["data", "width"],
)  # fmt: skip
def test_the_data_and_width_regimes_are_fitted_over_an_axis(system, axes, path, value):
    data = _planted(system, {path: value}, 1e-3, 2, axes)
    fit = js.calibrate(js.Grid(system, axes), data, [path])
    assert fit.values[path] == pytest.approx(value, rel=0.01)
    assert path in str(fit)


def test_bad_points_are_left_out():
    data = _planted(SYSTEM, {"time_scale": 0.05}, 0.0, 2)
    data["skill_strength"][1, 10:] = np.nan
    fit = js.calibrate(js.Grid(SYSTEM), data, ["time_scale"], each="seed")
    np.testing.assert_allclose(fit.values["time_scale"], 0.05, rtol=1e-5)


@pytest.mark.slow
def test_the_logarithm_of_the_mean_is_fitted_without_bias_where_one_size_spreads_widely():
    """Planted for logarithms: a bias of 5 standard errors, for one of three spreads by .6."""
    rng, n_sets = np.random.default_rng(0), 20
    grid = js.Grid(
        js.replace(SKILLS, "target_scale", 0.8), axes={"learning_rate": [0.05, 0.1, 0.2]}
    )
    truth = js.predict(grid.replace(system=SKILLS))[["loss"]].isel(step=slice(0, None, 4))
    spread = xarray.DataArray([0.1, 0.3, 0.6], dims="learning_rate")
    inside = {"LogMean": 0, "Log": 0}
    for _ in range(n_sets):
        normal = xarray.DataArray(rng.standard_normal((256, 3)), dims=("seed", "learning_rate"))
        runs = truth * np.exp(spread * normal - spread**2 / 2)
        runs = runs.assign_coords(seed=range(256)).transpose("learning_rate", "seed", "step")
        for name in inside:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore" if name == "Log" else "error", "loss spreads by")
                fit = js.calibrate(
                    grid, runs, ["target_scale"], n_starts=1, bootstrap=60,
                    residual=getattr(js.residuals, name)(),
                )  # fmt: skip
            low, high = fit.interval()["target_scale"]
            inside[name] += low <= 1.0 <= high
    assert inside["LogMean"] >= 15  # fewer at 95 % in .03 % of cases
    assert inside["Log"] <= 2


@pytest.mark.parametrize("spread", [0.1, 0.7])
def test_few_points_that_spread_are_named_where_they_move_a_parameter(spread):
    """Over all points the spread is too small to say, for two of the last steps alone have any."""
    grid = js.Grid(js.replace(SKILLS, "target_scale", 0.8))
    truth = js.predict(js.Grid(SKILLS))[["loss"]]
    is_last = np.arange(truth.sizes["step"]) >= truth.sizes["step"] - 2
    wide = xarray.DataArray(np.where(is_last, spread, 0.01), dims="step")
    normal = np.random.default_rng(0).standard_normal((32, truth.sizes["step"]))
    factor = np.exp(wide * xarray.DataArray(normal, dims=("seed", "step")) - wide**2 / 2)
    runs = (truth * factor).assign_coords(seed=range(32)).transpose("seed", "step")
    fitted = functools.partial(js.calibrate, grid, runs, ["target_scale"], n_starts=1)
    if spread < 0.5:
        assert fitted().values["target_scale"] == pytest.approx(1.0, abs=1e-3)
        return
    with pytest.warns(UserWarning, match=r"moves target_scale by about 0\.\d+, up to") as said:
        fit = fitted()
    (moved,) = re.findall(r"by about (0\.\d+)", str(said[0].message))
    assert fit.values["target_scale"] - 1 == pytest.approx(float(moved), rel=0.5)
    assert np.isnan(fit.huber_delta)  # no run has failed
    mean = fitted(residual=js.residuals.LogMean())
    assert abs(mean.values["target_scale"] - 1) < 3 * mean.standard_error["target_scale"]


def test_a_mean_over_runs_needs_runs():
    one = js.predict(js.Grid(SKILLS))[["loss"]]
    with pytest.raises(ValueError, match=r"`residual` LogMean\(\) takes the mean over seeds"):
        js.calibrate(js.Grid(SKILLS), one, ["target_scale"], residual=js.residuals.LogMean())


def test_a_mean_over_runs_is_fitted_by_squares_alone():
    runs = js.predict(js.Grid(SKILLS, seeds=6))[["loss"]]
    huber, mean = js.residuals.Huber(delta=0.1), js.residuals.LogMean()
    with pytest.raises(ValueError, match=r"`loss` must be Squared\(\) with LogMean\(\)"):
        js.calibrate(js.Grid(SKILLS, seeds=6), runs, ["target_scale"], residual=mean, loss=huber)


def test_a_logarithm_of_a_mean_takes_zeros_of_single_runs():
    data = np.asarray([[[2.0, 0.0, -1.0], [4.0, 1.0, 0.5], [np.nan, 2.0, np.nan]]])
    kind = js.residuals.LogMean()
    usable = kind.usable(data)
    assert usable.tolist() == [[[True, True, False]] * 2 + [[False, True, False]]]
    target = kind.target(data)
    np.testing.assert_allclose(np.nanmean(target[..., :2], axis=1), np.log([[3.0, 1.0]]))


def test_failed_runs_are_left_out_and_counted_and_a_wide_spread_warns():
    clean = js.predict(js.Grid(SKILLS))[["loss"]]
    factors = np.exp(np.random.default_rng(0).normal(0, 0.6, (33, 1)))
    data = clean.expand_dims(seed=range(33)) * (factors / factors[:32].mean())
    data["loss"][32] = 50 * clean["loss"].where(clean["step"] < 100)
    data["status"] = "seed", np.where(data["seed"] == 32, js.Status.diverged, js.Status.ok)
    start, options = js.Grid(js.replace(SKILLS, "target_scale", 0.8)), {"n_starts": 1}
    with pytest.warns(UserWarning, match=r"loss spreads by 0\.\d+ in the log.*residual=LogMean"):
        log = js.calibrate(start, data, ["target_scale"], **options)
    assert (log.n_left_out, log.n_points) == (21, 32 * 21)  # recorded or not
    assert "672 points, 21 left out, rms" in str(log)
    mean = data.where(data["status"] == js.Status.ok).mean("seed")[["loss"]]
    fit = js.calibrate(start, mean, ["target_scale"], **options)
    assert log.values["target_scale"] < 0.96
    assert fit.values["target_scale"] == pytest.approx(1.0, abs=1e-6)
    blank = mean["loss"].to_dataframe().reset_index()
    blank.loc[3, "loss"] = np.nan
    assert js.calibrate(start, blank, ["target_scale"], **options).n_left_out == 1
    for bad, message in ((-blank["loss"], "20 are not positive"), (np.nan, "that is not blank")):
        with pytest.raises(ValueError, match=message):
            js.calibrate(start, blank.assign(loss=bad), ["target_scale"])


@pytest.mark.parametrize(
    ("free", "options", "message"),
    [
        ([], {}, "`free`"),
        ("time_scale", {}, "`free`"),
        (["time_scal"], {}, "did you mean `time_scale`"),
        (["n_steps"], {}, "`free`"),
        (["width"], {}, "`free` must name finite float .* there are .*time_scale, .*shots"),
        (["initial_strength"], {}, "`free`"),
        (["time_scale", "time_scale"], {}, "`free` must name distinct parameters"),
        (["shots"], {}, "`free` names 'shots', which does not change"),
        (["time_scale"], {"observables": ["loss"]}, "`observables`"),
        (["time_scale"], {"each": "skill"}, "`each`"),
        (["time_scale"], {"each": "colour"}, "`each`"),
    ],
)
def test_bad_input(free, options, message):
    data = js.predict(js.Grid(SYSTEM)).expand_dims(seed=[0])
    with pytest.raises(ValueError, match=message):
        js.calibrate(js.Grid(SYSTEM), data, free, **options)


def test_an_infinite_field_is_none_to_fit():
    system = js.streaming.StreamingRegression(
        n_features=4, n_steps=10, learning_rate=0.05, record=[0, 10]
    )
    grid = js.Grid(system)
    data = js.predict(grid)[["loss"]].expand_dims(seed=[0])
    fields = "input_exponent, target_exponent, noise, learning_rate"
    with pytest.raises(ValueError, match=f"'n_coordinates'; there are {fields}[.]"):
        js.calibrate(grid, data, ["n_coordinates"])


class _Noisy(MultilinearSkills):
    @property
    def schema(self):
        return super().schema.adding(noise=js.Observable(("step",), "", "noise"))


def test_an_observable_without_theory_has_a_hint():
    grid = js.Grid(_Noisy(n_skills=3, n_steps=10))
    data = xarray.Dataset({"noise": ("step", np.ones(11))})
    with pytest.raises(ValueError, match=r"got 'noise'(; did you mean `\w+`\?|; there are \w+)"):
        js.calibrate(grid, data, ["target_scale"], observables=["noise"])


def test_data_of_another_grid_or_without_points_is_refused():
    data = js.predict(js.Grid(SYSTEM)).expand_dims(seed=[0])
    moved = data.assign_coords(step=data["step"] + 1)
    with pytest.raises(ValueError, match="step"):
        js.calibrate(js.Grid(SYSTEM), moved, ["time_scale"])
    with pytest.raises(ValueError, match="`data`"):
        js.calibrate(js.Grid(SYSTEM), data.drop_vars("skill_strength"), ["time_scale"])
    with pytest.raises(ValueError, match="more points"):
        js.calibrate(js.Grid(SYSTEM), data * np.nan, ["time_scale"])


@pytest.mark.slow
def test_a_theory_without_a_statement_at_the_start_is_refused():
    system = ParityNetwork(data=FiniteSet(n_samples=100), n_steps=200, record=[0, 100])
    grid = js.Grid(system)
    data = js.predict(grid).expand_dims(seed=[0]).fillna(0.5)
    with pytest.raises(ValueError, match=r"more points.*no statement.*start"):
        js.calibrate(grid, data, ["shots"])


@pytest.mark.slow
def test_results_of_runs_are_fitted_without_options():
    # every observable of a run repeats the others, and late skills lie below float32 rounding
    system = MultilinearSkills(n_skills=10, n_steps=400, learning_rate=0.02)
    runs = js.run(js.Grid(system, seeds=2), progress=False)
    start = js.Grid(js.replace(system, "skill_exponent", 0.8))
    fit = js.calibrate(start, runs, ["skill_exponent"])
    assert fit.values["skill_exponent"] == pytest.approx(0.6, rel=0.02)
    assert fit.n_points == 2 * runs.sizes["step"]
    model = js.sparse.RandomFeatureRegression(
        n_features=200, n_samples=100, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    grid = js.Grid(model, {"n_samples": [32, 256]}, seeds=64)
    spectrum = js.calibrate(
        js.Grid(js.replace(model, "spectrum_exponent", 1.3), grid.axes),
        js.run(grid, progress=False), ["spectrum_exponent"], bootstrap=40, resample="seed",
    )  # fmt: skip
    low, high = spectrum.interval()["spectrum_exponent"]
    assert 0.9 < low < high < 1.2


def test_rounding_of_the_runs_is_left_out_and_a_schedule_keeps_its_length():
    data = js.predict(js.Grid(SKILLS))[["loss"]].expand_dims(seed=[0]).astype(np.float32)
    data["loss"][0, -2:] = 1e-9
    with pytest.warns(UserWarning, match="2 values of loss lie below the rounding of float32"):
        fit = js.calibrate(js.Grid(SKILLS), data, ["learning_rate"], n_starts=1)
    assert fit.n_points == 19
    waning = js.replace(SKILLS, "schedule", js.Cosine())
    table = data["loss"].isel(seed=0).to_dataframe().reset_index()
    table.loc[len(table)] = table.iloc[-1]
    table.loc[len(table) - 1, "step"] = 900
    with pytest.raises(ValueError, match="`n_steps` must be that of your runs"):
        js.calibrate(js.Grid(waning), table, ["learning_rate"])


def test_predictions_of_a_grid_have_the_intervals_of_its_parameters():
    """The loss falls with the rate at every step: its interval is that of the rate."""
    runs = js.predict(js.Grid(SKILLS))[["loss"]].expand_dims(seed=12)  # from ten on, percentiles
    noise = np.random.default_rng(0).normal(1.0, 0.02, runs.loss.shape)
    runs = runs.assign(loss=runs.loss * noise)
    fit = js.calibrate(js.Grid(SKILLS), runs, ["learning_rate"], n_starts=1)
    assert fit.drawn.of == "seed"
    predicted = fit.predict(level=0.9)
    low, high = fit.interval(0.9)["learning_rate"]
    assert low < fit.values["learning_rate"] < high
    for rate, end in ((low, "loss_high"), (high, "loss_low")):
        exact = js.predict(js.Grid(js.replace(SKILLS, "learning_rate", rate)))
        np.testing.assert_allclose(predicted[end], exact.loss, rtol=1e-12)
    assert "skill_strength_low" not in predicted  # it was not fitted
    apart = js.calibrate(js.Grid(SKILLS), runs, ["learning_rate"], each="seed", n_starts=1)
    assert apart.predict().loss_low.dims == ("seed", "step")
    assert (apart.predict().loss_low <= apart.predict().loss).all()
    with pytest.raises(ValueError, match="`n_parameters` is an input, of which the fit of a grid"):
        fit.predict(n_parameters=[1.0])


@pytest.mark.filterwarnings("ignore:.* spreads by")
def test_the_interval_of_a_loss_is_one_of_its_logarithm_whatever_else_is_fitted():
    """Stretched in the loss itself, 99.9 % intervals of five seeds would reach below 0."""
    rates = SKILLS.learning_rate * np.exp([0.8, -0.9, 0.1, 0.5, -0.6])
    grids = [js.Grid(js.replace(SKILLS, "learning_rate", rate)) for rate in rates]
    runs = xarray.concat([js.predict(g)[["loss", "skill_strength"]] for g in grids], dim="seed")
    grid, names = js.Grid(SKILLS), ["loss", "skill_strength"]
    fit = js.calibrate(grid, runs, ["learning_rate"], observables=names, n_starts=1)
    assert sorted(type(kind).__name__ for kind in fit.residual.values()) == ["Log", "Scaled"]
    predicted = fit.predict(level=0.999)
    assert (predicted.loss_low > 0).all()
    middle = np.sqrt(predicted.loss_low * predicted.loss_high)
    assert float(predicted.loss_high[-1] / middle[-1]) > 2


def test_the_mean_of_wild_runs_is_fitted_by_the_residual_that_the_warning_names():
    """A fit of logarithms is low by exp(-s^2 / 2) = .83, the exponent right."""
    rng, x = np.random.default_rng(0), np.tile(np.geomspace(1, 100, 20), 50)
    loss = 0.8 * x**-0.5 * np.exp(0.62 * rng.standard_normal(1000) - 0.62**2 / 2)
    table = pandas.DataFrame({"x": x, "loss": loss})
    law = js.Formula(lambda x, a, alpha: a * x**-alpha, {"a": 1.0, "alpha": 0.3})
    with pytest.warns(UserWarning, match=r"loss spread by 0\.5"):
        low = js.calibrate(law, table, ["a", "alpha"], n_starts=1)
    fit = js.calibrate(law, table, ["a", "alpha"], n_starts=1, residual=js.residuals.Scaled())
    assert float(low.values["a"]) == pytest.approx(0.8 * np.exp(-(0.62**2) / 2), rel=0.06)
    assert float(low.values["alpha"]) == pytest.approx(0.5, abs=0.05)
    assert float(fit.values["a"]) == pytest.approx(0.8, rel=0.12)
    for delta, biased in ((0.001, True), (5.0, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            huber = js.calibrate(
                law, table, ["a", "alpha"], n_starts=1, residual=js.residuals.Scaled(),
                loss=js.residuals.Huber(delta=delta), bootstrap=0,
            )  # fmt: skip
        said = any("a Huber loss of a delta within it follows the median" in str(w.message)
                   and "--huber inf" in str(w.message) for w in caught)  # fmt: skip
        assert said == biased
        assert (float(huber.values["a"]) < 0.95 * float(fit.values["a"])) == biased


def test_a_data_set_beside_a_larger_one_is_fitted_as_alone():
    """Also by Huber's loss, whose delta is in units of the data of each."""
    rng, x = np.random.default_rng(1), np.geomspace(1, 100, 60)
    loss = 2 + 3 * x**-0.5 + 0.1 * rng.standard_normal(60)
    loss[::12] += 3
    small = pandas.DataFrame({"x": x, "loss": loss, "run": "small"})
    large = small.assign(loss=100 * loss, run="large")
    law = js.Formula(lambda x, E, A: E + A * x**-0.5, {"E": 1.0, "A": 1.0})
    options = {"each": "run", "residual": js.residuals.Scaled(), "n_starts": 1, "bootstrap": 0,
               "loss": js.residuals.Huber(delta=0.05)}  # fmt: skip
    alone = js.calibrate(law, small, ["E", "A"], **options)
    both = pandas.concat([large, small], ignore_index=True)
    joint = js.calibrate(law, both, ["E", "A"], **options)
    own = list(joint.labels).index("small")
    for name, (value,) in alone.values.items():
        assert joint.values[name][own] == pytest.approx(value, rel=1e-6)
        assert joint.values[name][1 - own] == pytest.approx(100 * value, rel=1e-4)
    assert joint.residual_rms == pytest.approx(np.repeat(alone.residual_rms, 2), rel=1e-6)
    columns = ["loss", "new_low", "new_high"]
    predicted, expected = (fit.predict(x=x)[columns].to_numpy() for fit in (joint, alone))
    np.testing.assert_allclose(predicted.reshape(2, 60, 3)[own], expected, rtol=1e-4)


@pytest.mark.parametrize("rates", [[0.01, 0.1], [0.02]])
def test_runs_of_another_grid_are_refused(rates):
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20, learning_rate=0.1)
    runs = js.run(js.Grid(system, axes={"learning_rate": rates}, seeds=2), progress=False)
    with pytest.raises(ValueError, match=r"`data` .* learning_rate of the grid, 0.1, got 0.0"):
        js.calibrate(js.Grid(system), runs, ["skill_exponent"])
