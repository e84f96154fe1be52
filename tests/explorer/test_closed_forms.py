"""One program per structure gives the closed forms at any values, and says what it reads."""

import jax
import numpy as np
import pytest
from checks import assert_close, compilations
from systems import SYSTEMS

import jaxscale as js
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._knobs import knob_of
from jaxscale.explorer._sources import example_systems
from jaxscale.paths import get, replace

PREDICTED = [n for n, s in SYSTEMS.items() if s.schema.predicted() and n != "one pass"]


@pytest.mark.parametrize("name", PREDICTED)
def test_they_equal_predict_and_read_what_they_depend_on(name):
    system = SYSTEMS[name]
    forms = ClosedForms(system)
    assert_close(forms.with_claims({})[0], _predicted(system), 1e-12)
    start, changing = forms.with_claims({})[0], set()
    for path in forms.paths:
        moved = float(get(system, path)) * 1.3 + 0.01
        moved = round(moved + 1) if get(system, path).dtype.kind == "i" else moved
        other = forms.with_claims({path: moved})[0]
        same = all(np.array_equal(start[n], other[n], equal_nan=True) for n in start)
        if not same:
            changing.add(path)
    assert changing
    assert changing <= set(forms.used)
    unread = set(forms.used) - changing
    assert unread <= {"importance_exponent", "inputs.amplitude.low", "n_features"}, (
        "read, and nothing changes"
    )


def test_a_value_is_that_of_a_system_with_it_and_compiles_nothing():
    system = SYSTEMS["least norm, few features"]
    forms = ClosedForms(system)
    forms.with_claims({})
    values = {"spectrum_exponent": 0.7, "n_samples": 90.0}
    with compilations() as programs:
        moved = forms.with_claims(values)[0]
    assert not programs
    for path, value in values.items():
        system = replace(system, path, value)
    assert_close(moved, _predicted(system), 1e-12)


def test_along_a_field():
    system = SYSTEMS["multilinear"]
    knob = knob_of(system, "skill_exponent")
    at = knob.spaced(4)
    forms = ClosedForms(system, "skill_exponent", 4)
    along = forms.with_claims({"target_scale": 2.0}, at)[0]
    for k, value in enumerate(at):
        one = replace(replace(system, "target_scale", 2.0), "skill_exponent", value)
        assert_close({n: v[k] for n, v in along.items()}, _predicted(one), 1e-12)


def test_claims_end_next_to_the_interpolation_threshold():
    system = example_systems()["sparse.RandomFeatureRegression"]()
    with jax.enable_x64(True):
        rank = float(js.sparse.theory.expected_rank(
            1000.0, spectrum=js.sparse.theory.power_law_coordinates(
                spectrum_exponent=1.0, sparsity_exponent=2.0, activity=1.0, n_coordinates=np.inf)
        ))  # fmt: skip
    at = np.round(rank * np.array([0.5, 0.9, 1.0, 1.15, 1.3]))
    values, claims = ClosedForms(system, "n_features", 5).with_claims({}, at)
    np.testing.assert_array_equal(claims["loss"], [True, False, False, False, True])
    assert claims["loss"].shape == values["loss"].shape
    assert "rank" not in claims  # claimed everywhere


def test_gradient_flow_is_claimed_from_the_tenth_step_on():
    system = js.sparse.RandomFeatureRegression(
        n_samples=64, spectrum_exponent=1.0, sparsity_exponent=2.0, features=js.sparse.Identity(),
        solver=js.sparse.GradientDescent(learning_rate=0.5, record=[0, 9, 10, 100]),
    )  # fmt: skip
    claims = ClosedForms(system).with_claims({})[1]
    np.testing.assert_array_equal(claims["loss"], [False, False, True, True])


def _predicted(system):
    with jax.enable_x64(True):
        predicted = js.predict(js.Grid(system)).squeeze(drop=False)
    names = [n for n in predicted.data_vars if n != "status"]
    return {n: np.asarray(predicted[n]).reshape(_shape(system, n)) for n in names}


def _shape(system, name):
    return system.schema.shape(name)


def test_tables_are_arguments_too():
    def system(variance):
        spectrum = js.sparse.Tabulated(variance=variance, probability=[1.0, 0.5, 0.3])
        return js.sparse.RandomFeatureRegression(n_features=2, n_samples=3, spectrum=spectrum)

    for variance in ([1.0, 0.5, 0.25], [9.0, 0.5, 0.25]):
        one = system(variance)
        assert_close(ClosedForms(one).with_claims({})[0], _predicted(one), 1e-12)
