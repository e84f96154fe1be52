"""Forms that are fitted to groups, listed and compared: shared exponents, labels, held-out runs."""

import json

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from planted_forms import double, sizes
from rich.console import Console

import jaxscale as js
from jaxscale.analysis._form import FORMS
from jaxscale.analysis._grouped import lacking, with_groups

forms = js.forms
FAMILIES = {"llama-2": (1.7, 400.0, 410.0), "b c": (1.9, 300.0, 600.0), "7B": (1.5, 700.0, 500.0)}
EXPONENTS = {"alpha": 0.34, "beta": 0.28}
SHARED = forms.grouped(forms.chinchilla, by="family", shared=("alpha", "beta"))


def families(rng, n=20, scatter=0.0):
    """Runs of three families that share their exponents, in a random order."""
    tables = []
    for family, (e, a, b) in FAMILIES.items():
        inputs = sizes(rng, n)
        loss = double(forms.chinchilla, **inputs, E=e, A=a, B=b, **EXPONENTS)
        noisy = loss * np.exp(scatter * rng.standard_normal(n))
        tables.append(pandas.DataFrame({**inputs, "loss": noisy, "family": family}))
    return pandas.concat(tables, ignore_index=True).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return js.calibrate(SHARED, families(np.random.default_rng(0), scatter=0.01), bootstrap=60)


def test_groups_without_noise_are_recovered():
    fit = js.calibrate(SHARED, families(np.random.default_rng(0)), bootstrap=0)
    truth = {f"{n}[{k}]": v for k, own in FAMILIES.items() for n, v in zip("EAB", own, strict=True)}
    assert set(fit.values) == {*truth, *EXPONENTS}
    for name, value in (truth | EXPONENTS).items():
        assert fit.values[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
def test_shared_exponents_have_smaller_errors_than_separate_fits():
    errors = {"shared": [], "separate": []}
    for seed in range(8):
        table = families(np.random.default_rng(seed), scatter=0.01)
        options = {"bootstrap": 0, "loss": js.residuals.Squared()}
        shared = js.calibrate(SHARED, table, **options)
        separate = js.calibrate(forms.chinchilla, table, each="family", **options)
        for name, value in EXPONENTS.items():
            errors["shared"].append(np.log(shared.values[name] / value))
            errors["separate"].extend(np.log(separate.values[name] / value))
    rms = {kind: np.sqrt(np.mean(np.square(e))) for kind, e in errors.items()}
    assert rms["shared"] < 0.75 * rms["separate"]


def test_labels_are_read_in_print_json_and_predictions(fitted):
    assert "E[llama-2] = " in str(fitted)
    assert "A[b c]" in str(fitted.table())
    written = json.loads(json.dumps(fitted.to_dict()))
    assert written["theory"]["formula"] == "chinchilla by family"
    assert "B[7B]" in [row["parameter"] for row in written["parameters"]]
    at = {"n_parameters": [1e9, 1e9], "n_tokens": [2e10, 2e10], "family": ["b c", "7B"]}
    table = fitted.predict(**at)
    assert table["family"].tolist() == ["b c", "7B"]
    v = fitted.values
    own = {n: v[f"{n}[b c]"] for n in "EAB"}
    alone = double(forms.chinchilla, 1e9, 2e10, **own, alpha=v["alpha"], beta=v["beta"])
    assert table["loss"][0] == pytest.approx(float(alone), rel=1e-12)
    assert (table["loss_low"] < table["loss"]).all()
    assert (table["decades_outside"] == 0).all()


def test_every_group_has_an_allocation_of_its_own(fitted):
    v, flop = fitted.values, np.asarray([1e21])
    for family in FAMILIES:
        best = js.analysis.allocate(fitted, flop, family=family).best["n_parameters"]
        g = v["alpha"] * v[f"A[{family}]"] / (v["beta"] * v[f"B[{family}]"])
        expected = (g * (1e21 / 6) ** v["beta"]) ** (1 / (v["alpha"] + v["beta"]))
        assert best == pytest.approx([expected], rel=1e-6)


def test_groups_of_a_file_and_values_that_are_fixed(tmp_path):
    table = families(np.random.default_rng(0))
    path = tmp_path / "runs.csv"
    table.rename(columns={"family": "kind"}).to_csv(path, index=False)
    columns = {"family": "kind"}
    fit = js.calibrate(SHARED, path, columns=columns, bootstrap=0)
    assert fit.values["E[b c]"] == pytest.approx(1.9, rel=1e-6)
    partly = js.Formula(SHARED.of(sorted(FAMILIES)), {"E[b c]": 1.9})
    fit = js.calibrate(partly, path, columns=columns, bootstrap=0)
    assert "E[b c]" not in fit.values
    assert fit.values["alpha"] == pytest.approx(EXPONENTS["alpha"], rel=1e-6)


def test_groups_that_cannot_be_fitted_are_refused(fitted):
    with pytest.raises(ValueError, match="`form` must be a form"):
        forms.grouped(np.sin, "family", ["alpha"])
    with pytest.raises(ValueError, match=r"`shared` must be one of .* got 'alpah'; did you mean"):
        forms.grouped(forms.chinchilla, "family", ["alpah"])
    with pytest.raises(ValueError, match="`by` must be another column"):
        forms.grouped(forms.chinchilla, "n_tokens", ["alpha"])
    with pytest.raises(ValueError, match="`labels` must be distinct as text"):
        SHARED.of([1, "1"])
    with pytest.raises(ValueError, match="no column 'family'"):
        js.calibrate(SHARED, families(np.random.default_rng(0)).drop(columns="family"))
    with pytest.raises(ValueError, match="`family` must be one of 7B, b c, llama-2, got 'opt'"):
        fitted.predict(n_parameters=[1e9], n_tokens=[1e10], family=["opt"])


@pytest.mark.parametrize(("apart", "expected"), [([5.0, 5.0], ["family = 'b'"]), ([5.0, 6.0], [])])
def test_groups_at_fewer_sizes_than_they_have_parameters_are_named(apart, expected):
    table = pandas.DataFrame({"x": [1.0, 2.0, 4.0, *apart], "family": [*"aaabb"], "loss": 1.0})
    formula = with_groups(js.forms.grouped(js.forms.power_law, "family", ["alpha"]), table)
    inputs = formula.coded({name: table[name].to_numpy() for name in ("x", "family")})
    assert lacking(formula, inputs) == expected


def test_a_wrong_form_has_larger_errors_on_runs_that_were_held_out():
    rng = np.random.default_rng(0)
    inputs = sizes(rng, 150)
    law = {"E": 1.2, "A": 3000.0, "B": 18000.0, "alpha": 0.4, "beta": 0.43, "gamma": 0.45}
    loss = double(forms.chinchilla_coupled, **inputs, **law) * np.exp(
        0.003 * rng.standard_normal(150)
    )
    table = pandas.DataFrame({**inputs, "loss": loss})
    large = table["n_parameters"] * table["n_tokens"] > 10**20
    errors = {}
    for form in (forms.chinchilla_coupled, forms.chinchilla, forms.chinchilla_one_exponent):
        fit = js.calibrate(form, table[~large], bootstrap=0, loss=js.residuals.Squared())
        held_out = table[large]
        predicted = fit.predict(**{n: held_out[n].to_numpy() for n in inputs})["loss"].to_numpy()
        errors[form.__name__] = np.sqrt(np.mean(np.log(predicted / held_out["loss"]) ** 2))
    assert errors["chinchilla_coupled"] < 0.004
    assert errors["chinchilla"] > 2 * errors["chinchilla_coupled"]
    assert errors["chinchilla_one_exponent"] > 2 * errors["chinchilla_coupled"]


@pytest.fixture
def own_form():
    """A form of a user's, which is listed until the test ends."""

    @forms.form(E=forms.floor(), rate=forms.scale(0.01, 10.0), A=forms.factor(),
                reference="derived here", result="error")  # fmt: skip
    def relaxation(time, *, E, A, rate):
        r"""Exponential above a floor: $$y = E + A e^{-r t}$$"""
        return E + A * jnp.exp(-rate * time)

    yield relaxation
    del FORMS["relaxation"]


def test_the_table_lists_every_form_and_those_of_the_users(own_form):
    table = forms.table()
    rows = {row[0]: row for row in table.rows}
    assert set(rows) == set(FORMS)
    assert rows["relaxation"] == [
        "relaxation", "y = E + A e^(-r t)", "time", "error", "E, A, rate", "derived here",
    ]  # fmt: skip
    shipped = [row for name, row in rows.items() if hasattr(forms, name)]
    assert all(all(row) for row in shipped), "a form without equation, inputs or source"
    Console(width=200, quiet=True).print(table)


def test_the_result_of_a_form_is_a_column_of_its_own_name(own_form):
    time = np.linspace(0.0, 5.0, 30)
    data = pandas.DataFrame({"time": time, "error": 0.2 + 3 * np.exp(-1.3 * time)})
    fit = js.calibrate(own_form, data)
    assert fit.values["rate"] == pytest.approx(1.3, rel=1e-6)
    assert "error" in fit.predict(time=[1.0, 2.0])
    assert js.Formula(forms.critical_batch).result == "steps"
    assert js.Formula(forms.critical_batch, result="updates").result == "updates"
    with pytest.raises(ValueError, match="no column 'steps'"):
        js.calibrate(forms.critical_batch, pandas.DataFrame({"batch_size": [1.0], "loss": [1.0]}))
