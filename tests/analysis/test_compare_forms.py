"""Forms are compared by what they predict of runs that their fits have not had."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.analysis import _compare_forms, compare_forms, held_out
from jaxscale.analysis._form import FORMS

pytestmark = pytest.mark.filterwarnings("ignore:.*(do not constrain|is 0 in|lies at an end)")
SQUARED = js.residuals.Squared()


EXPONENT = js.forms.exponent(0.05, 2.0)


@js.forms.form(
    E=js.forms.floor(), A=js.forms.factor(), alpha=EXPONENT, B=js.forms.factor(), beta=EXPONENT,
    reference="a test",
)  # fmt: skip
def two_terms(x, *, E, A, alpha, B, beta):
    return E + A * x**-alpha + B * x**-beta


TWO_TERMS = FORMS.pop("two_terms")  # other tests of this process list forms


@pytest.fixture(scope="module", autouse=True)
def listed():
    FORMS["two_terms"] = TWO_TERMS
    yield
    for name in ("two_terms", "scaled"):
        FORMS.pop(name, None)


def _curve(sigma=0.005):
    """Eight scales of a power law above a floor, four runs each."""
    x = np.repeat(np.geomspace(1.0, 1e4, 8), 4)
    noise = sigma * np.random.default_rng(0).standard_normal(x.size)
    return pandas.DataFrame({"size": x, "loss": (1 + 3 * x**-0.4) * np.exp(noise)})


@pytest.fixture(scope="module")
def scores():
    power = js.Formula(js.forms.power_law, {"E": 0.0})
    forms = {"no floor": power, "floor": js.forms.power_law}
    return compare_forms(forms, _curve(), by="x", columns={"x": "size"})


def test_the_true_form_comes_first_with_its_lead_in_standard_errors(scores):
    first, second = scores.scores.to_dict("records")
    assert (first["form"], second["form"]) == ("floor", "no floor")
    assert (first["n_free"], second["n_free"]) == (3, 2)
    assert (first["worse"], first["worse_error"], first["aic"]) == (0.0, 0.0, 0.0)
    assert second["worse"] > 2 * second["worse_error"] > 0
    assert second["worse"] == pytest.approx(second["held_out"] - first["held_out"])
    assert second["rolled_out"] > 5 * first["rolled_out"]
    assert second["aic"] > 50
    text = str(scores)
    assert text.index("no floor") > text.index("floor ")
    assert "32 runs, 8 scales of x" in text


def test_the_numbers_are_those_of_held_out(scores):
    alone = held_out(js.forms.power_law, _curve(), "x", columns={"x": "size"})
    assert scores.scores["held_out"][0] == pytest.approx(alone.rms, rel=1e-9)
    own = scores.held_out["floor"].in_sample
    assert scores.scores["in_sample"][0] == pytest.approx(np.sqrt(np.mean(own**2)))


def test_scales_of_single_runs_have_scores(scores):
    every = scores.held_out["floor"]
    parts = {n: getattr(every, n)[::4].reset_index(drop=True) for n in ("predictions", "data")}
    scales = dataclasses.replace(every, **parts).scales
    assert scales["n_runs"].tolist() == [1] * 8
    assert scales["fitted_to"].tolist() == every.scales["fitted_to"].tolist()
    np.testing.assert_allclose(scales["rms"], abs(parts["predictions"]["error"]))


def test_scores_are_their_formulas_on_written_errors(scores):
    rng = np.random.default_rng(0)
    scale = np.asarray([0, 0, 0, 1, 1, 2, 3, 3])
    own, best = (
        dataclasses.replace(
            scores.held_out["floor"],
            predictions=pandas.DataFrame({"error": errors, "scale": scale}),
            in_sample=errors / 2,
        )
        for errors in (0.2 * rng.standard_normal(8), 0.1 * rng.standard_normal(8))
    )
    row = _compare_forms._row("one", own, best, None)
    each = own.predictions["error"] ** 2 - best.predictions["error"] ** 2
    sums = np.asarray([np.sum(each[scale == k] - each.mean()) for k in range(4)])
    error = np.sqrt(4 / 3 * np.sum(sums**2)) / 8 / (own.rms + best.rms)
    assert row["worse"] == pytest.approx(own.rms - best.rms)
    assert row["worse_error"] == pytest.approx(error)
    assert row["aic"] == pytest.approx(8 * np.log(np.mean(own.in_sample**2)) + 2 * (3 + 1))
    assert _compare_forms._row("one", best, best, own)["worse_error"] == 0


def test_a_form_with_needless_parameters_wins_in_sample_alone():
    needless = js.Formula(two_terms, {"beta": 1.0})
    scores = compare_forms({"needless": needless, "true": js.forms.power_law}, _curve(), by="x",
                           columns={"x": "size"}, loss=SQUARED)  # fmt: skip
    own = scores.scores.set_index("form")
    assert own["in_sample"]["needless"] <= own["in_sample"]["true"] * (1 + 1e-6)
    assert scores.scores["form"][0] == "true"


def test_three_scales_have_nothing_to_roll_out_and_functions_must_be_forms():
    runs = _curve()
    few = runs[runs["size"] < 20.0]
    function = js.Formula(lambda x, a, b: a * x**-b, {"a": 1.0, "b": 0.3})
    with pytest.raises(ValueError, match=r"`free` .* only a form knows"):
        compare_forms({"function": function}, few, by="x", columns={"x": "size"})
    named = {str(floor): js.Formula(js.forms.power_law, {"E": floor}) for floor in (0.0, 0.9)}
    scores = compare_forms(named, few, by="x", columns={"x": "size"})
    assert np.isnan(scores.scores["rolled_out"]).all()
    assert scores.rolled_out == {}
    assert "–" in str(scores)


@pytest.mark.slow
def test_rows_that_lack_an_input_of_one_form_are_left_out_for_all():
    runs = _curve().assign(other=1.0).rename(columns={"size": "x"})
    runs.loc[:2, "other"] = [np.nan, np.nan, np.inf]

    def scaled(x, other, *, A, alpha):
        return A * other * x**-alpha

    parts = {"A": js.forms.factor(), "alpha": js.forms.exponent(), "reference": "a test"}
    forms = [js.forms.form(**parts)(scaled), js.forms.power_law]
    both = compare_forms(forms, runs, by="x")
    assert [len(h.in_sample) for h in both.held_out.values()] == [29, 29]
    assert both.n_left_out == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:4 rows in . of . fits, or fewer, where scaled or its der")
def test_a_form_with_an_undefined_prediction_comes_last():
    @js.forms.form(E=js.forms.floor(), A=js.forms.factor(), alpha=EXPONENT, reference="a test")
    def scaled(x, *, E, A, alpha):  # as good as the power law, where it says something
        return jnp.where(x > 5e3, jnp.nan, E + A * x**-alpha)

    forms = {"silent": scaled, "no floor": js.Formula(js.forms.power_law, {"E": 0.0})}
    with pytest.warns(UserWarning, match="4 of .. predictions of scaled are not positive"):
        scores = compare_forms(forms, _curve(), by="x", columns={"x": "size"})
    first, last = scores.scores.to_dict("records")
    assert (first["form"], first["n_undefined"]) == ("no floor", 0)
    assert (last["form"], last["n_undefined"]) == ("silent", 4)
    assert last["held_out"] == last["worse"] == last["in_sample"] == last["aic"] == np.inf
    assert first["aic"] == 0.0
    assert "silent comes last, for 4 predictions of it are undefined" in " ".join(
        str(scores).split()
    )


@pytest.mark.slow
def test_grouped_forms_are_compared_with_others():
    runs = _curve().rename(columns={"size": "x"})
    both = [runs.assign(family="a"), runs.assign(family="b", loss=1.3 * runs["loss"])]
    runs = pandas.concat(both, ignore_index=True)
    runs.loc[3, "loss"] = np.nan
    apart = js.forms.grouped(js.forms.power_law, "family", ["alpha"])
    scores = compare_forms([js.forms.power_law, apart], runs, by="x", loss=SQUARED)
    assert scores.scores["form"].tolist() == ["power_law by family", "power_law"]
    assert scores.scores["n_free"].tolist() == [5, 3]
    assert scores.scores["worse"][1] > 0.1
    assert np.isfinite(scores.scores["rolled_out"]).all()
    assert scores.n_left_out == 1
    assert "; 1 row left out;" in " ".join(str(scores).split())


def test_bad_arguments_are_named():
    power = js.Formula(js.forms.power_law, {"E": 0.0})
    with pytest.raises(ValueError, match="`forms` has 'power_law' twice"):
        compare_forms([js.forms.power_law, power], _curve())
    with pytest.raises(ValueError, match="`forms` must hold"):
        compare_forms([], _curve())
