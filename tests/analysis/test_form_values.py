"""What fits of forms refuse and say: values outside of bounds, columns, data without a floor."""

import dataclasses
import warnings

import numpy as np
import pandas
import pytest

import jaxscale as js

CHINCHILLA = js.forms.chinchilla
LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def _runs(n=40):
    rng = np.random.default_rng(0)
    size, tokens = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(9, 11.5, n)
    noise = np.exp(0.02 * rng.standard_normal(n))
    loss = np.asarray(CHINCHILLA(size, tokens, **LAW)) * noise
    return pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"E": -1.8}, r"`E` of chinchilla must be at least 0, got -1.8"),
        ({"A": -1.0}, r"`A` of chinchilla must be at least 0, got -1"),
        ({"alpha": 0.0}, r"`alpha` of chinchilla must be greater than 0, got 0"),
        ({"E": "abc"}, "`E` must be a real number, got 'abc'"),
        ({"E": np.nan}, "`E` must be finite, got nan"),
        ({"E": [1.0, 2.0]}, r"`E` must be a scalar, got shape \(2,\)"),
    ],
)
def test_values_of_a_form_lie_inside_their_bounds(values, message):
    with pytest.raises(ValueError, match=message):
        js.Formula(CHINCHILLA, values)


def test_values_of_groups_lie_inside_their_bounds_too():
    form = js.forms.grouped(CHINCHILLA, "family", ["alpha", "beta"]).of(["new", "old"])
    with pytest.raises(ValueError, match=r"`E\[old\]` of chinchilla by family must be"):
        js.Formula(form, {"E[old]": -1.0})
    assert js.Formula(form, {"E[old]": 0.0}).values == {"E[old]": 0.0}


def test_bounds_of_a_fit_may_be_wider_than_those_of_its_form():
    runs = _runs().assign(loss=lambda t: t["loss"] - 1.8)
    runs = runs[runs["loss"] > 0.02]
    bounds = {"E": js.bounds.Unbounded()}
    fit = js.calibrate(CHINCHILLA, runs, bounds=bounds, bootstrap=0, loss=js.residuals.Squared())
    assert fit.values["E"] < 0
    assert fit.fitted().values["E"] == fit.values["E"]
    assert np.isfinite(fit.predict(n_parameters=1e8, n_tokens=1e10)["loss"][0])


def test_an_error_of_which_nothing_is_known_is_a_dash():
    fit = js.calibrate(CHINCHILLA, _runs(), bootstrap=40)
    z = fit.drawn.z.copy()
    z[:, 0] = -np.inf  # a floor of 0 in every refit
    drawn = dataclasses.replace(fit.drawn, z=z)
    none = dataclasses.replace(fit, coordinates=np.r_[-np.inf, fit.coordinates[1:]], drawn=drawn)
    assert str(none).splitlines()[0] == "E = 0 ± –"
    assert none.table().rows[0][:3] == ("E", "0", "–")
    assert none.to_dict()["parameters"][0]["standard_error"] is None


def test_the_start_of_a_parameter_is_what_was_given():
    free = js.calibrate(CHINCHILLA, _runs(), bootstrap=0, loss=js.residuals.Squared())
    assert free.to_dict()["start"] == dict.fromkeys(LAW)
    given = js.Formula(CHINCHILLA, LAW)
    fit = js.calibrate(given, _runs(), ["E", "A"], bootstrap=0, loss=js.residuals.Squared())
    assert fit.to_dict()["start"] == {"E": 1.69, "A": 406.4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resample": "lss"}, "`resample` must be one of n_parameters.*did you mean `loss`"),
        ({"weights": "lss"}, "`weights` must be one of n_parameters, .*did you mean `loss`"),
        ({"each": "lss"}, "`each` must be one of n_parameters, .*did you mean `loss`"),
        ({"weights": "text"}, "`weights=text` must be a column of numbers, got 'a' in row 3"),
        ({"weights": "zero"}, r"`weights=zero` must be positive and finite, got 0\.0 in row 4"),
    ],
)
def test_columns_beside_the_inputs_are_named_by_their_argument(options, message):
    table = _runs().assign(text=[1.0, 1.0, 1.0, *37 * ["a"]], zero=np.r_[4 * [1.0], 36 * [0.0]])
    table.loc[0, "loss"] = np.nan  # rows are counted in the table of the user
    with pytest.raises(ValueError, match=message):
        js.calibrate(CHINCHILLA, table, **options)


def test_numbers_that_a_file_holds_as_text_are_weights():
    table = _runs().assign(w="2")
    weighted = js.calibrate(
        CHINCHILLA, table, weights="w", bootstrap=0, loss=js.residuals.Squared()
    )
    alone = js.calibrate(CHINCHILLA, _runs(), bootstrap=0, loss=js.residuals.Squared())
    assert weighted.values == pytest.approx(alone.values)


@pytest.mark.parametrize("residual", [None, js.residuals.Scaled()])
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_data_without_a_positive_value_have_no_floor(residual, factor):
    table = _runs()
    table["loss"] *= factor
    with pytest.raises(ValueError, match=r"`data` has no positive value of loss.*E of at least"):
        js.calibrate(CHINCHILLA, table, residual=residual)


def test_a_form_without_a_free_parameter_is_not_fitted():
    message = "`free` must name what to fit: every parameter of chinchilla has a value"
    with pytest.raises(ValueError, match=message):
        js.calibrate(js.Formula(CHINCHILLA, LAW), _runs())


@pytest.mark.slow
def test_warnings_show_the_line_of_the_user(tmp_path):
    """A fit of few points, its refits, its file, and fits inside of other functions."""
    path = tmp_path / "runs.csv"
    _runs(8).to_csv(path, index=False)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "# a comment", *lines[2:]]))
    spoiled = _runs()
    spoiled.loc[0, "loss"] = -1.0
    for call in (
        lambda: js.calibrate(CHINCHILLA, path),
        lambda: js.fit_loss_surface(path),
        lambda: js.calibrate(CHINCHILLA, spoiled, bootstrap=20),
        lambda: js.analysis.held_out(CHINCHILLA, path, "n_tokens", n_bins=2, bootstrap=20),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with np.errstate(all="ignore"):
                try:
                    call()
                except ValueError:
                    pass
        assert caught
        assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_forms_without_a_floor_take_data_of_any_sign_but_not_of_zeros():
    table = pandas.DataFrame({"batch_size": np.geomspace(10, 1e4, 20), "steps": -1.0})
    options = {"residual": js.residuals.Scaled(), "bootstrap": 0}
    assert js.calibrate(js.forms.critical_batch, table, **options).values["S_min"] < 1e-9
    one = table.assign(steps=np.r_[0.0, 1 + 1e3 / table["batch_size"][1:]])
    fit = js.calibrate(js.forms.critical_batch, one, **options)
    assert fit.values["S_min"] == pytest.approx(1.0, rel=0.1)
    with pytest.raises(ValueError, match="`data` is 0 at every point, which holds no information"):
        js.calibrate(js.forms.critical_batch, table.assign(steps=0.0), **options)
    negative = table.assign(batch_size=-table["batch_size"], steps=1.0)
    with pytest.raises(ValueError, match="`batch_size` must be positive somewhere, got -10 and"):
        js.calibrate(js.forms.critical_batch, negative)
