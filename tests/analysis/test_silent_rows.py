"""Rows of which a formula says nothing: left out, counted and named, or refused by name."""

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import jaxscale as js

OPTIONS = {"bootstrap": 0, "loss": js.residuals.Squared()}
LAW = {"E": 0.65, "A": 45.0, "F": 16.8, "B": 300.0, "alpha": 0.245, "beta": 0.3, "gamma": 0.722}


def _runs(sparsity, n=60, seed=0):
    rng = np.random.default_rng(seed)
    size, tokens = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(9, 12, n)
    share = rng.choice(sparsity, n)
    loss = (
        LAW["E"] + (LAW["A"] + LAW["F"] * (1 - share) ** LAW["gamma"]) * size ** -LAW["alpha"]
        + LAW["B"] * tokens ** -LAW["beta"]
    )  # fmt: skip
    return pandas.DataFrame(
        {"n_parameters": size, "n_tokens": tokens, "sparsity": share, "loss": loss}
    )


def test_a_row_without_a_derivative_spoils_no_fit():
    runs = _runs([0.0, 0.5, 0.75, 0.9])
    spoiled = pandas.concat([runs, runs.head(3).assign(sparsity=[1.0, 1.0, 1.5])])
    message = (
        r"3 rows where sparsity or its derivative is not a finite number, the first at "
        r"n_parameters = .*, sparsity = 1: left out"
    )
    with pytest.warns(UserWarning, match=message):
        fit = js.calibrate(js.forms.sparsity, spoiled, **OPTIONS)
    assert fit.converged
    assert (int(fit.n_points), fit.n_left_out) == (60, 3)
    alone = js.calibrate(js.forms.sparsity, runs, **OPTIONS)
    for name, value in LAW.items():
        assert fit.values[name] == pytest.approx(alone.values[name], rel=1e-6)
        assert fit.values[name] == pytest.approx(value, rel=1e-3)


def test_an_infinite_prediction_of_a_form_is_no_statement():
    rng = np.random.default_rng(1)
    x = np.geomspace(1, 100, 30)
    table = pandas.DataFrame({"n_parameters": 1e7 * x, "n_tokens": 1e9 * rng.permutation(x)})
    loss = js.forms.chinchilla(*table.to_numpy().T, E=1.0, A=400.0, B=400.0, alpha=0.3, beta=0.3)
    table = table.assign(loss=np.asarray(loss, float), family="a b")
    spoiled = pandas.concat([table, table.head(2).assign(n_tokens=[-1e9, -2e9])])
    form = js.forms.grouped(js.forms.chinchilla, "family", ["alpha", "beta"])
    message = "2 rows where chinchilla by family .* n_tokens = -1e\\+09, family = 'a b': left out"
    with pytest.warns(UserWarning, match=message):
        fit = js.calibrate(form, spoiled, **OPTIONS)
    assert fit.n_left_out == 2
    assert fit.values["alpha"] == pytest.approx(0.3, rel=1e-3)


def test_an_infinite_start_of_a_formula_is_refused_with_its_place():
    formula = js.Formula(lambda x, a: a / jnp.abs(x - 3.0), {"a": 1.0})
    table = pandas.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "loss": 1.0})
    with pytest.raises(
        ValueError, match=r"infinite at 1 points .* from, the first at x = 3: start"
    ):
        js.calibrate(formula, table, ["a"])


def test_groups_that_cannot_be_fitted_are_refused_before_the_work():
    x = np.geomspace(1, 100, 12)
    tables = [pandas.DataFrame({"x": x, "loss": 1 + x**-0.5, "family": f}) for f in "ab"]
    table = pandas.concat([*tables, tables[0].head(1).assign(family="c d")])
    form = js.forms.grouped(js.forms.power_law, "family", ["alpha"])
    with pytest.raises(ValueError, match=r"`data` must have family = 'c d' at 2 different inputs"):
        js.calibrate(form, table)
    with pytest.raises(ValueError, match=r"more points with a theory than 5 free .*, got 4\."):
        js.calibrate(form, pandas.concat([t.head(2) for t in tables]))
