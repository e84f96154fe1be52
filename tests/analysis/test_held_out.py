"""Runs of other scales, predicted by fits that have not had them."""

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import xarray
from checks import compilations
from scipy.stats import binom

import jaxscale as js
from jaxscale.analysis import compare_forms, held_out, rolled_out
from jaxscale.analysis._form import FORMS
from jaxscale.analysis._scales import positive_column

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


@pytest.mark.slow
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


@pytest.fixture
def silent():
    """A power law that predicts nothing beyond 1000."""

    @js.forms.form(A=js.forms.factor(), alpha=js.forms.exponent(), reference="a test")
    def silent(x, *, A, alpha):
        return jnp.where(x > 1e3, jnp.nan, A * x**-alpha)

    yield silent
    del FORMS["silent"]


def _curve(sigma=0.005):
    """Eight scales of one quantity, four runs each."""
    x = np.repeat(np.geomspace(1.0, 1e4, 8), 4)
    noise = np.exp(sigma * np.random.default_rng(0).standard_normal(x.size))
    return pandas.DataFrame({"x": x, "loss": 3 * x**-0.4 * noise})


@pytest.mark.filterwarnings("ignore:8 rows in . of 9 fits, or fewer, where silent or its der")
def test_predictions_that_are_undefined_count_as_infinitely_wrong(silent):
    runs = _curve()
    with pytest.warns(UserWarning, match="8 of 32 predictions of silent are not positive numbers"):
        scored = held_out(silent, runs, "x", **SQUARED)
    assert (scored.n_undefined, scored.rms) == (8, np.inf)
    assert np.isnan(scored.bias)
    assert scored.scales["n_undefined"].tolist() == [0] * 6 + [4, 4]
    assert np.isfinite(scored.scales["rms"]).tolist() == [True] * 6 + [False] * 2
    assert "rms of ln error – (in sample –), bias –" in str(scored)
    assert str(scored).endswith("; 8 predictions undefined")
    assert "8 predictions undefined" in " ".join(str(scored.table()).split())
    assert scored.runs["inside"][24:].tolist() == [0.0] * 8
    assert scored.coverage <= 24 / 32
    below = held_out(silent, runs[runs["x"] < 1e3], "x", **SQUARED)
    assert (below.n_undefined, below.rms < 0.01) == (0, True)
    assert "undefined" not in str(below)


def test_rows_without_a_positive_result_are_counted():
    runs = _curve()
    runs.loc[3, "loss"], runs.loc[9, "loss"] = 0.0, np.nan
    with pytest.warns(UserWarning, match="1 row with loss that is not positive"):
        scored = held_out(js.forms.power_law, runs, "x", **SQUARED)
    assert (scored.n_left_out, len(scored.predictions)) == (2, 30)
    assert "; 2 rows left out" in str(scored)


OWN = ["scale", "fold", "predicted", "low", "high", "error", "inside", "decades", "fitted_to"]


def test_columns_of_the_user_are_never_touched():
    runs = _curve()
    own = {name: [f"{name} {i}" for i in range(len(runs))] for name in [*OWN, "low_"]}
    plain = held_out(js.forms.power_law, runs, "x", **SQUARED)
    scored = held_out(js.forms.power_law, runs.assign(**own), "x", **SQUARED)
    for name, values in own.items():
        assert scored.runs[name].tolist() == values
    assert scored.fit.each == "fold_"
    np.testing.assert_array_equal(scored.runs["error_"], plain.runs["error"])
    np.testing.assert_array_equal(scored.runs["low__"], plain.runs["low"])
    pandas.testing.assert_frame_equal(scored.scales, plain.scales)
    assert list(plain.runs.columns) == ["x", "loss", *OWN]


@pytest.mark.parametrize(
    "name",
    [
        "scale",
        "fold",
        pytest.param("decades", marks=pytest.mark.slow),
        pytest.param("fitted_to", marks=pytest.mark.slow),
        pytest.param("rms", marks=pytest.mark.slow),
    ],
)
def test_scales_may_have_any_name(name):
    runs, alone = _curve(), held_out(js.forms.power_law, _curve(), "x", **SQUARED)
    named = held_out(js.forms.power_law, runs.assign(**{name: runs["x"]}), name, **SQUARED)
    np.testing.assert_allclose(named.scales.to_numpy(float), alone.scales.to_numpy(float))
    np.testing.assert_allclose(named.scales.iloc[:, 1], np.unique(runs["x"]))
    assert named.rms == alone.rms
    assert name in str(named.table())
    mapped = runs.rename(columns={"x": name})
    renamed = rolled_out(js.forms.power_law, mapped, name, columns={"x": name}, **SQUARED)
    assert renamed.rms == rolled_out(js.forms.power_law, runs, "x", **SQUARED).rms


FAMILIES = js.forms.grouped(js.forms.power_law, "family", ["alpha"])


def _families(labels=("a", "b"), sigma=0.005):
    """Curves with one exponent, a factor for each family, and text for its label."""
    tables = [_curve(sigma) for _ in labels]
    for i, (label, table) in enumerate(zip(labels, tables, strict=True)):
        table["loss"] = (1 + i) * (0.2 + table["loss"])
        table["family"] = label
    return pandas.concat(tables, ignore_index=True)


@pytest.mark.slow
def test_groups_are_predicted_by_fits_to_other_scales_of_all_groups():
    runs = _families()
    scored = held_out(FAMILIES, runs, "x", **SQUARED)
    assert scored.scales["n_runs"].tolist() == [8] * 8
    assert scored.rms < 0.01
    assert set(scored.runs["family"]) == {"a", "b"}
    away = runs["x"] < 9e3
    alone = js.calibrate(FAMILIES, runs[away], **SQUARED)
    largest = {n: runs[~away][n].to_numpy() for n in ("x", "family")}
    expected = np.log(alone.predict(**largest)["loss"].to_numpy() / runs["loss"][~away])
    np.testing.assert_allclose(scored.runs["error"][-8:], expected, atol=1e-6)
    one = held_out(js.forms.power_law, runs, "x", **SQUARED)
    assert one.rms > 10 * scored.rms
    rolled = rolled_out(FAMILIES, runs, "x", **SQUARED)
    assert rolled.scales["fold"].tolist() == [0, 1, 2, 3, 4]
    fixed = js.Formula(FAMILIES.of(["a", "b"]), {"E[a]": 0.2})
    assert held_out(fixed, runs, "x", **SQUARED).rms < 0.01


def test_a_group_that_a_fold_lacks_is_named():
    runs = _families(labels=("a", "b c"))
    few = runs[(runs["family"] == "a") | (runs["x"] > 3e3)]
    message = r"`by` must leave every group enough runs: without x = .* those of family = 'b c'"
    with pytest.raises(ValueError, match=message):
        held_out(FAMILIES, few, "x", **SQUARED)
    late = runs[(runs["family"] == "a") | (runs["x"] > 100.0)]
    rolled = rolled_out(FAMILIES, late, "x", **SQUARED)  # from two scales of both groups on
    assert rolled.scales["fold"].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"`along` .* different inputs, and enough of family ="):
        rolled_out(FAMILIES, few, "x", **SQUARED)


def test_compute_is_six_n_d_where_it_is_no_column():
    sizes = pandas.DataFrame({"n_parameters": [1e6, 2e6], "n_tokens": [3e8, 5e8]})
    np.testing.assert_array_equal(positive_column(sizes, "compute", "by"), [1.8e15, 6e15])
    own = sizes.assign(compute=[1.0, 2.0])
    np.testing.assert_array_equal(positive_column(own, "compute", "by"), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"`by` .*'compute'"):
        positive_column(sizes[["n_tokens"]], "compute", "by")


def test_too_few_scales_name_the_group_that_the_largest_of_them_lack():
    runs, at = _families(), np.geomspace(1.0, 1e4, 8)
    a = (runs["family"] == "a") & runs["x"].isin(at[[1, 2]])
    b = (runs["family"] == "b") & runs["x"].isin(at[[0, 3]])
    with pytest.raises(ValueError, match="enough of family = 'b', got 4 scales"):
        rolled_out(FAMILIES, runs[a | b], "x", **SQUARED)
    with pytest.raises(ValueError, match="than 5 different inputs, got 3 scales"):
        rolled_out(FAMILIES, runs[runs["x"] < 1.1 * at[2]], "x", **SQUARED)


@pytest.mark.slow
def test_folds_with_different_groups_are_resampled_by_group():
    runs = _curve().assign(run=np.arange(32) // 2)
    scored = held_out(js.forms.power_law, runs, "x", bootstrap=40, resample="run")
    assert scored.fit.drawn.of == "run"
    assert scored.fit.drawn.n_groups.tolist() == [16] + [14] * 8
    assert 0.6 < scored.coverage <= 1.0


def test_other_variables_of_a_dataset_repeat_no_runs():
    curve = _curve()
    runs = xarray.Dataset(
        {"loss": (("x", "seed"), curve["loss"].to_numpy().reshape(8, 4)),
         "errors": (("x", "seed", "group"), np.zeros((8, 4, 5)))},
        {"x": np.unique(curve["x"]), "seed": range(4)},
    )  # fmt: skip
    scored = held_out(js.forms.power_law, runs, "x", **SQUARED)
    assert scored.fit.n_points.tolist() == [32] + [28] * 8
    assert scored.rms == pytest.approx(held_out(js.forms.power_law, curve, "x", **SQUARED).rms)
    scores = compare_forms([js.forms.power_law], runs, by="x")
    assert len(scored.in_sample) == len(scores.held_out["power_law"].in_sample) == 32


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
        (lambda r: held_out(js.forms.chinchilla, r, each="n_tokens"), "`each` must not be given"),
        (lambda r: held_out(js.forms.chinchilla, r.assign(loss="high")), "`loss` .* got 'high' in"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(_runs(0.01, n_sizes=12))
