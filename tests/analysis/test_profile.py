"""Profile intervals: those of the covariance where theory is linear, and better where it is not."""

import numpy as np
import pandas
import pytest
from checks import compilations
from scipy.optimize import brentq, minimize_scalar
from scipy.special import stdtrit
from scipy.stats import binom

import jaxscale as js
from jaxscale.analysis import profile

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
SQUARED = js.residuals.Squared()


def line(x, a, b):
    return a + b * x


def _line(weights=False):
    rng, x = np.random.default_rng(0), np.linspace(1.0, 9.0, 12)
    table = pandas.DataFrame({"x": x, "loss": 2 - 0.7 * x + 0.3 * rng.standard_normal(12)})
    table["weight"] = 1.0 + (x > 5)
    bounds = {n: js.bounds.Unbounded() for n in "ab"}
    formula = js.Formula(line, {"a": 1.0, "b": 1.0})
    options = {"residual": js.residuals.Scaled(), "bounds": bounds, "n_starts": 1}
    options |= {"weights": "weight"} if weights else {}
    return js.calibrate(formula, table, ["a", "b"], **options), table


def _surface(n_sets=1, sigma=0.01, n=40):
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(7.5, 10.2, n)
    tokens = size * 10 ** rng.uniform(0, 2.3, n)
    clean = (
        TRUTH["E"] + TRUTH["A"] * size ** -TRUTH["alpha"] + TRUTH["B"] * tokens ** -TRUTH["beta"]
    )
    loss = clean * np.exp(sigma * rng.standard_normal((n_sets, n)))
    return pandas.DataFrame({
        "n_parameters": np.tile(size, n_sets), "n_tokens": np.tile(tokens, n_sets),
        "loss": loss.ravel(), "set": np.repeat(np.arange(n_sets), n),
    })  # fmt: skip


@pytest.mark.parametrize("weights", [False, True])
def test_of_a_linear_theory_it_is_the_interval_of_the_covariance(weights):
    fit, table = _line(weights)
    for level in (0.68, 0.95):
        for name in fit.free:
            own = profile(fit, table, name, level, weights="weight" if weights else None)
            expected = fit.covariance_interval(level)[name]
            np.testing.assert_allclose(own, expected, rtol=1e-5)
    huber = js.calibrate(fit.theory, table, ["a", "b"], residual=js.residuals.Scaled(),
                         bounds=dict(zip("ab", fit.bounds, strict=True)),
                         loss=js.residuals.Huber(delta=10.0), bootstrap=0, n_starts=1)  # fmt: skip
    if not weights:
        np.testing.assert_allclose(profile(huber, table, "a"), profile(fit, table, "a"), rtol=1e-4)


def test_the_ends_are_where_the_objective_of_another_minimiser_says():
    # y = a x^-b: given b, the best ln a is a mean
    rng, x = np.random.default_rng(1), np.geomspace(1.0, 100.0, 8)
    table = pandas.DataFrame({"x": x, "loss": 3 * x**-0.5 * np.exp(0.1 * rng.standard_normal(8))})
    law = js.Formula(js.forms.power_law, {"A": 3.0})
    options = {"loss": SQUARED, "bootstrap": 0}
    fit = js.calibrate(law, table, ["E", "alpha"], n_starts=1, **options)

    def cost(alpha, e):
        return np.sum((np.log(e + 3 * x**-alpha) - np.log(table["loss"])) ** 2)

    def best(alpha):
        options = {"bounds": (0.0, 0.5), "method": "bounded", "options": {"xatol": 1e-10}}
        return minimize_scalar(lambda e: cost(alpha, e), **options).fun

    optimum = 2 * fit.objective
    limit = optimum * (1 + stdtrit(6, 0.975) ** 2 / 6)
    low, high = profile(fit, table, "alpha")
    middle = fit.values["alpha"]
    assert low == pytest.approx(brentq(lambda a: best(a) - limit, 0.3, middle), rel=1e-4)
    assert high == pytest.approx(brentq(lambda a: best(a) - limit, middle, 2.0), rel=1e-4)


def test_a_floor_that_the_data_may_lack_begins_at_zero_and_a_limitless_end_is_infinite():
    rng, x = np.random.default_rng(1), np.geomspace(1.0, 100.0, 8)
    table = pandas.DataFrame({"x": x, "loss": 3 * x**-0.5 * np.exp(0.05 * rng.standard_normal(8))})
    fit = js.calibrate(js.forms.power_law, table, loss=SQUARED, bootstrap=0)
    low, high = profile(fit, table, "E")
    assert low == 0.0
    assert 0 < high < table["loss"].min()
    narrow = profile(fit, table, "E", 0.3)
    assert narrow[1] < high
    blunt = js.Formula(lambda x, a, b: a / (1 + b * x), {"a": 1.0, "b": 1.0})
    flat = pandas.DataFrame({"x": x, "loss": np.exp(0.05 * rng.standard_normal(8) - 4e-4 * x)})
    loose = js.calibrate(blunt, flat, ["a", "b"], n_starts=1)
    low, high = profile(loose, flat, "b")
    assert low == 0.0
    assert loose.values["b"] < high < 0.1


@pytest.mark.slow
def test_of_the_loss_of_text_it_is_skewed_and_covers():
    table, n_sets = _surface(100, sigma=0.02), 100
    options = {"loss": SQUARED, "n_starts": 2, "each": "set", "bootstrap": 0}
    fit = js.calibrate(js.forms.chinchilla, table, **options)
    low, high = profile(fit, table, "E")
    assert low.shape == (n_sets,)
    covered = np.mean((low < TRUTH["E"]) & (TRUTH["E"] < high))
    assert binom.ppf(1e-3, n_sets, 0.95) / n_sets <= covered
    below, above = fit.values["E"] - low, high - fit.values["E"]
    assert np.median(below / above) > 1.2
    narrow = profile(fit, table, "E", 0.5)
    share = np.mean((narrow[0] < TRUTH["E"]) & (TRUTH["E"] < narrow[1]))
    assert binom.ppf(1e-3, n_sets, 0.5) <= n_sets * share <= binom.ppf(1 - 1e-3, n_sets, 0.5)


def test_the_loss_of_the_form_has_a_profile_and_nothing_compiles():
    table = _surface(n=80)
    fit = js.calibrate(js.forms.chinchilla, table, bootstrap=0)
    with compilations() as compiled:
        low, high = profile(fit, table, "alpha")
    assert not compiled
    assert low < fit.values["alpha"] < high
    ends = fit.covariance_interval()["alpha"]
    assert (high - low) == pytest.approx(ends[1] - ends[0], rel=0.3)


@pytest.mark.slow
def test_what_has_no_profile_is_refused():
    table = _surface(n=80)
    fit = js.calibrate(js.forms.chinchilla, table, loss=SQUARED, bootstrap=0)
    with pytest.raises(ValueError, match="`name` must be one of E, A"):
        profile(fit, table, "gamma")
    with pytest.raises(ValueError, match="`level`"):
        profile(fit, table, "E", 1.5)
    with pytest.raises(ValueError, match="`data` must be what was fitted: its objective"):
        profile(fit, table.assign(loss=1.1 * table["loss"]), "E")
    with pytest.raises(ValueError, match="got another number of points"):
        profile(fit, table[:-1], "E")
    robust = {"loss": js.residuals.Huber(delta=1e-4), "bootstrap": 40}
    small = js.calibrate(js.forms.chinchilla, table, **robust, n_starts=1)
    with pytest.raises(ValueError, match=r"delta = 0\.0001, below the scatter .* bootstrap"):
        profile(small, table, "E")
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=100, record=range(0, 101, 10))
    runs = js.predict(js.Grid(system))
    grid = js.calibrate(js.Grid(js.replace(system, "learning_rate", 0.08)), runs, ["learning_rate"])
    with pytest.raises(ValueError, match="got the fit of a grid"):
        profile(grid, runs, "learning_rate")
