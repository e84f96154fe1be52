"""Allocations and predictions of fits: one program, their inputs, and the memory that they take."""

import tracemalloc

import numpy as np
import pandas
import pytest
from checks import compilations

import jaxscale as js
from jaxscale.analysis import allocate

LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def _runs(n=40, seed=0):
    rng = np.random.default_rng(seed)
    size, tokens = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(9, 11.5, n)
    noise = np.exp(0.02 * rng.standard_normal(n))
    loss = np.asarray(js.forms.chinchilla(size, tokens, **LAW)) * noise
    return pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss})


@pytest.fixture(scope="module")
def fitted():
    return js.calibrate(js.forms.chinchilla, _runs())


def test_an_allocation_compiles_once_for_any_number_of_operations(fitted):
    one = allocate(fitted, 1e20)
    with compilations() as compiled:
        many = allocate(fitted, np.geomspace(1e19, 1e21, 5))
        square = allocate(fitted, np.asarray([[1e20, 1e21]]))
    assert not compiled
    for name, best in one.best.items():
        assert many.best[name][2] == square.best[name][0, 0] == best
        assert many.interval[name][0][2] == square.interval[name][0][0, 0] == one.interval[name][0]


def test_an_allocation_is_the_closed_form_of_its_law(fitted):
    law, flop = fitted.values, np.asarray([1e20, 1e21])
    alpha, beta = law["alpha"], law["beta"]
    balance = (alpha * law["A"] / (beta * law["B"])) ** (1 / (alpha + beta))
    size = balance * (flop / 6) ** (beta / (alpha + beta))
    expected = {"n_parameters": size, "n_tokens": flop / 6 / size}
    expected["loss"] = js.forms.chinchilla(*expected.values(), **law)
    allocation = allocate(fitted, flop)
    for name, values in expected.items():
        np.testing.assert_allclose(allocation.best[name], values, rtol=1e-6)
    np.testing.assert_allclose(allocation.exponent, beta / (alpha + beta), rtol=1e-6)


def test_other_inputs_of_an_allocation_are_checked_before_anything_compiles():
    families = [_runs(20).assign(family=name) for name in ("new", "old")]
    shared = ["A", "B", "alpha", "beta"]
    form = js.forms.grouped(js.forms.chinchilla, "family", shared)
    squares = {"loss": js.residuals.Squared(), "bootstrap": 0}
    fit = js.calibrate(form, pandas.concat(families), **squares)
    refused = (
        ({}, "`family` must have a value: the form depends on it"),
        ({"family": "new", "familiy": "old"}, "`familiy` is not an input .*did you mean `family`"),
        ({"family": "newer"}, "`family` must be one of new, old, got 'newer'"),
        ({"family": ["new", "old"]}, r"`family` must be a scalar, got shape \(2,\)"),
    )
    with compilations(traces=True) as traced:
        for others, message in refused:
            with pytest.raises(ValueError, match=message):
                allocate(fit, 1e20, **others)
    assert not traced
    assert float(allocate(fit, 1e20, family="old").decades_outside) == 0.0


def test_an_allocation_of_no_operations_is_refused(fitted):
    with pytest.raises(ValueError, match="`flop` must be positive numbers, got '1e21'"):
        allocate(fitted, "1e21")
    with pytest.raises(ValueError, match=r"`flop` must hold at least one number, got \[\]"):
        allocate(fitted, [])


def test_another_input_of_chinchilla_is_refused(fitted):
    with pytest.raises(ValueError, match=r"`sparsity` is not an input of chinchilla.*are none"):
        allocate(fitted, 1e20, sparsity=2.0)


def test_predictions_take_the_inputs_of_the_fit():
    def law(x, scale=2.0, *, a, b):
        return a * scale * x**-b

    values = {"a": 1.0, "b": 1.0}
    x = np.geomspace(1, 100, 12)
    table = pandas.DataFrame({"x": x, "scale": np.tile([1.0, 3.0], 6)})
    table["loss"] = 4 * table["scale"] * x**-0.5
    mapped = js.calibrate(js.Formula(law, values), table, [*values], columns={"scale": "scale"})
    assert mapped.predict(x=4.0, scale=3.0)["loss"][0] == pytest.approx(6.0)
    with pytest.raises(ValueError, match="`scale` must be given: the fit has a column of it"):
        mapped.predict(x=4.0)
    alone = js.calibrate(js.Formula(law, values), table.assign(loss=4 * x**-0.5), [*values])
    assert alone.predict(x=4.0)["loss"][0] == pytest.approx(2.0)
    with pytest.raises(ValueError, match=r"`scale` is not an input of the fit, which took 2\.0"):
        alone.predict(x=4.0, scale=3.0)
    with pytest.raises(ValueError, match=r"`a` is not an input of the fit, which took 1\.0"):
        alone.predict(x=4.0, a=3.0)
    with pytest.raises(ValueError, match="`y` is not an input of the fit; there are x"):
        alone.predict(x=4.0, y=3.0)
    with pytest.raises(ValueError, match="`x` must hold numbers, got 'four'"):
        alone.predict(x="four")


def test_predictions_of_many_places_take_the_memory_of_few(fitted):
    n = 1500
    places = {"n_parameters": np.geomspace(1e7, 1e10, n), "n_tokens": np.full(n, 1e10)}
    fitted.predict(**places)
    tracemalloc.start()
    every = fitted.predict(**places)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6  # every curve with every error is 240 MB in itself
    part = fitted.predict(**{name: x[250:260] for name, x in places.items()})
    for name in ("new_low", "new_high"):
        assert np.array_equal(every[name][250:260], part[name])
