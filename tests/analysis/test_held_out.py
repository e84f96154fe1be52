"""Runs of other scales, predicted by fits that have not had them."""

import numpy as np
import pandas
import pytest
from checks import compilations
from scipy.stats import binom

import jaxscale as js
from jaxscale.analysis import held_out, rolled_out

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(do not constrain|is 0 in|no interval|no standard)"
)
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
SQUARED = {"loss": js.residuals.Squared(), "bootstrap": 0}


def _runs(sigma, seed=0, n_sizes=6):
    """A grid of sizes and tokens with noise."""
    sizes = np.geomspace(3e7, 1e10, n_sizes), np.geomspace(1e9, 3e11, 5)
    n, d = (x.ravel() for x in np.meshgrid(*sizes))
    noise = sigma * np.random.default_rng(seed).standard_normal(n.size)
    clean = TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    return pandas.DataFrame({"n_parameters": n, "n_tokens": d, "loss": clean * np.exp(noise)})


@pytest.fixture(scope="module")
def scored():
    return held_out(js.forms.chinchilla, _runs(0.01), **SQUARED)


def test_every_scale_is_predicted_by_a_fit_to_the_others(scored):
    runs = _runs(0.01)
    assert len(scored.runs) == len(runs)
    assert scored.scales["n_runs"].tolist() == [5] * 6
    np.testing.assert_allclose(scored.scales["decades"] > 0, [1, 0, 0, 0, 0, 1])
    for size in (3e7, 1e10):
        away = ~np.isclose(runs["n_parameters"], size)
        alone = js.calibrate(js.forms.chinchilla, runs[away], **SQUARED)
        own = scored.runs[np.isclose(scored.runs["n_parameters"], size)]
        sizes = own["n_parameters"].to_numpy(), own["n_tokens"].to_numpy()
        expected = np.log(np.asarray(js.forms.chinchilla(*sizes, **alone.values)) / own["loss"])
        np.testing.assert_allclose(own["error"], expected, atol=1e-5)
    assert 0.007 < np.sqrt(np.mean(scored.in_sample**2)) < scored.rms < 0.02
    assert abs(scored.bias) < scored.rms
    text = str(scored.table())
    assert "inside the 95% interval of a new run" in " ".join(text.split())
    assert text.count("e+") >= 12


def test_errors_of_a_true_form_vanish_with_the_noise_and_those_of_a_wrong_one_do_not():
    exact = _runs(0.0)
    assert held_out(js.forms.chinchilla, exact, **SQUARED).rms < 1e-5
    assert rolled_out(js.forms.chinchilla, exact, **SQUARED).rms < 1e-4
    alone = js.Formula(js.forms.chinchilla, {"B": 0.0, "beta": 1.0})  # power: no term of tokens
    wrong = held_out(alone, exact, **SQUARED)
    assert wrong.rms > 0.05
    assert np.sqrt(np.mean(wrong.in_sample**2)) > 0.05


def test_intervals_of_new_runs_hold_as_many_as_they_say():
    inside = []
    for seed in range(8):
        inside += (
            held_out(js.forms.chinchilla, _runs(0.01, seed), **SQUARED).runs["inside"].tolist()
        )
    n = len(inside)
    assert n == 240
    # runs of one scale share a fit, so that 48 of them are independent at least
    assert binom.ppf(1e-3, 48, 0.95) / 48 < np.mean(inside) <= 1.0
    narrow = held_out(js.forms.chinchilla, _runs(0.01), **SQUARED, level=0.3)
    assert narrow.coverage < 0.6  # power


def test_rolling_out_predicts_the_scales_above():
    runs = _runs(0.005)
    scored = rolled_out(js.forms.chinchilla, runs, "n_parameters", ahead=2, **SQUARED)
    assert scored.scales["fold"].tolist() == [0, 0, 1, 1, 2]
    distances = np.log10(scored.scales["n_parameters"] / scored.scales["fitted_to"])
    np.testing.assert_allclose(scored.scales["decades"], distances, rtol=1e-6)
    assert (scored.runs["decades"] > 0.4).all()
    lower = runs[runs["n_parameters"] < 4e8]
    alone = js.calibrate(js.forms.chinchilla, lower, **SQUARED)
    first = scored.runs[scored.runs["fold"] == 0]
    sizes = first["n_parameters"].to_numpy(), first["n_tokens"].to_numpy()
    expected = np.asarray(js.forms.chinchilla(*sizes, **alone.values))
    np.testing.assert_allclose(first["predicted"], expected, rtol=1e-4)
    by_compute = rolled_out(js.forms.chinchilla, runs, "compute", n_bins=5, **SQUARED)
    assert by_compute.by == "compute"
    assert by_compute.runs["fold"].nunique() == 2


def test_other_values_compile_nothing_and_another_length_one_program_of_the_fit():
    held_out(js.forms.chinchilla, _runs(0.01), bootstrap=0)
    with compilations() as compiled:
        held_out(js.forms.chinchilla, _runs(0.01, 1), bootstrap=0)
        assert not compiled
        held_out(js.forms.chinchilla, _runs(0.01)[1:], bootstrap=0)
        assert 1 <= len(compiled) <= 2  # the fit, and its prediction


def test_columns_have_the_names_of_the_file():
    runs = _runs(0.01)
    names = {"n_parameters": "N", "n_tokens": "D", "loss": "final"}
    renamed = runs.rename(columns=names)
    scored = held_out(js.forms.chinchilla, renamed, columns=names, bootstrap=0)
    assert scored.rms == pytest.approx(held_out(js.forms.chinchilla, runs, bootstrap=0).rms)
    assert np.isnan(scored.coverage)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: held_out(js.forms.chinchilla, r, "n_layers"), "`by` must be one of .*compute"),
        (lambda r: held_out(js.forms.chinchilla, r[:5], "n_tokens"), "`by` must have two scales"),
        (lambda r: held_out(js.Grid, r), "`theory` must be a Formula or a form"),
        (lambda r: held_out(js.forms.chinchilla, r, "loss"), "has 60 different values: .*n_bins=8"),
        (lambda r: rolled_out(js.forms.chinchilla, r[::15]), "more than 3 scales"),
        (lambda r: rolled_out(js.forms.chinchilla, r, ahead=0), "`ahead`"),
        (lambda r: held_out(js.forms.chinchilla, r, level=1.0), "`level`"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(_runs(0.01, n_sizes=12))
