"""Parts of a fit by themselves: borders of bounds, scales of residuals, starts of parameters."""

import math

import numpy as np
import pytest

import jaxscale as js
from jaxscale.analysis._form import Parameter, within
from jaxscale.analysis.bounds import AbstractBound, Between, NotNegative, Positive, Unbounded
from jaxscale.analysis.residuals import (
    AbstractLoss,
    AbstractResidual,
    AdaptiveHuber,
    Log,
    Scaled,
)

TINY = math.ulp(0.0)


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (Between(low=0.5, high=2.0), [0.51, 1.99], [0.5, 2.0, 0.4, 2.5, math.nan]),
        (Positive(), [TINY, 1e300], [0.0, -1.0, math.nan]),
        (NotNegative(zero=1e-6), [0.0, 1e300], [-TINY, math.nan]),
        (Unbounded(), [-1e300, 0.0, 1e300], []),
    ],
)
def test_what_lies_inside_of_a_bound(bound, inside, outside):
    assert [bound.contains(value) for value in inside] == [True] * len(inside)
    assert [bound.contains(value) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    ("bound", "at_it", "off_it"),
    [
        (Between(low=0.5, high=2.0), [-15.1, 15.1], [-14.9, 0.0, 14.9]),
        (Positive(), [-80.1], [-79.9, 0.0, 100.0]),
        (NotNegative(zero=1e-6), [math.log(0.9e-6)], [math.log(1.1e-6), 0.0]),
        (Unbounded(), [], [-1e300, 0.0, 1e300]),
    ],
)
def test_what_counts_as_the_end_of_a_bound(bound, at_it, off_it):
    assert [bound.at_bound(z) for z in at_it] == [True] * len(at_it)
    assert [bound.at_bound(z) for z in off_it] == [False] * len(off_it)


@pytest.mark.parametrize(
    ("kind", "usable", "not_usable", "unit"),
    [
        (Log(), [TINY, 1e300], [0.0, -0.5, -2.0, math.inf, math.nan], 1.0),
        (Scaled(), [-1.0, 0.0, 1e300], [math.inf, -math.inf, math.nan], math.sqrt(12.5)),
    ],
)
def test_which_data_have_a_residual_and_its_unit(kind, usable, not_usable, unit):
    assert kind.usable(np.asarray(usable)).all()
    assert not kind.usable(np.asarray(not_usable)).any()
    assert kind.unit(np.asarray([3.0, 4.0])) == pytest.approx(unit)
    for nothing in (np.zeros(3), np.zeros(0)):
        assert kind.unit(nothing) == 1.0


def test_an_adaptive_delta_is_the_scatter_and_infinite_where_that_is_rounding():
    residuals = np.asarray([[1.0, -2.0, 30.0], [1e-5, -1e-6, 0.0], [1e-8, -1e-7, 1.0]])
    delta = AdaptiveHuber().huber(residuals).delta
    scatter = 1.345 * 1.4826 * np.asarray([2.0, 1e-6, 1e-7])
    np.testing.assert_allclose(delta, [*scatter[:2], np.inf], rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "methods"),
    [
        (AbstractBound, {"constrain", "contains", "search_radius", "unconstrain"}),
        (AbstractResidual, {"scaled", "shifted", "unit", "usable"}),
        (AbstractLoss, {"influence", "root", "second_derivative"}),
    ],
)
def test_what_a_kind_of_the_users_must_define(kind, methods):
    assert kind.__abstractmethods__ == methods


def test_starts_of_a_parameter_are_even_in_the_logarithm():
    np.testing.assert_allclose(Parameter().starts({}, 3), [0.1, math.sqrt(0.1), 1.0])
    x = np.asarray([math.nan, -5.0, 0.0, 1.0, 16.0, math.inf, 4.0])
    np.testing.assert_allclose(within("x").starts({"x": x}, 3), [2.0, 4.0, 8.0])
    assert [p.varied for p in (Parameter(), within("x"), Parameter(low=1.0))] == [True, True, False]
    with pytest.raises(ValueError, match="`x` must be positive somewhere, got -1"):
        within("x").starts({"x": np.asarray([-1.0, 0.0])}, 3)


def test_a_map_of_columns_serves_the_arguments_and_the_result_of_a_formula():
    law = js.Formula(lambda n, a, b: a * n**-b, {"a": 1.0, "b": 1.0})
    mapped = {"n": "size", "loss": "final", "extra": "x", "zone": "z"}
    assert law.columns_of(mapped) == {"n": "n", "loss": "loss"}


def test_a_formula_describes_what_is_fixed_as_plain_data():
    law = js.Formula(lambda n, a, b, k: a * n**-b, {"a": 1.0, "b": 2, "k": (1, 2)})
    assert law.described(["a"])["fixed"] == {"b": 2, "k": "(1, 2)"}
