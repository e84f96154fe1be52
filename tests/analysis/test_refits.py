"""Refits of resamples where a floor may be zero: with it, and without it."""

import jax
import numpy as np
import pytest

from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._expansion import DataSets, Expansion, FitProblem
from jaxscale.analysis._form import exponent, factor, floor
from jaxscale.analysis._refits import refitted
from jaxscale.analysis._starts import form_starts
from jaxscale.analysis.bounds import NotNegative, Positive
from jaxscale.analysis.residuals import Log, Squared

X, N = np.geomspace(1.0, 1e3, 30), 24


def _law(values, inputs):
    return {"y": values[0] + values[1] * inputs["x"] ** -values[2]}


@pytest.fixture(scope="module")
def refits():
    """Coordinates and shares of a curve without a floor, and of one with a high floor."""
    noise = np.exp(0.1 * np.random.default_rng(1).standard_normal((2, 30)))
    y = (np.asarray([[0.0], [5.0]]) + 3.0 * X**-0.5) * noise
    bounds = (NotNegative.of_scale(float(y.min())), Positive(), Positive())
    problem = FitProblem(_law, bounds, {"y": Log()}, {"y": np.asarray(1.0)}, Squared())
    inputs = {"x": np.broadcast_to(X, y.shape).copy()}
    groups = np.broadcast_to(np.arange(30), (2, 1, 30))
    data = DataSets(inputs, np.log(y)[:, None], np.ones((2, 1, 30)), groups, 30)
    with jax.enable_x64(True):
        expand = Expansion(problem, data, 2 * N)
        starts = form_starts(expand, [floor(), factor(), exponent()], y[:, None])
        result = least_squares.fit(expand, starts, 4)
        return refitted(expand, result, starts, N, jax.random.key(0))


def test_a_second_block_has_no_floor_and_its_share_is_that_of_floors_of_zero(refits):
    z, shares = refits
    assert z.shape == (2, 2 * N, 3)
    first, without = z[0, :N], z[0, N:]
    at_zero = first[:, 0] == -np.inf
    assert 3 < at_zero.sum() < N
    np.testing.assert_allclose(shares, [[1, at_zero.mean()], [1, 0]])
    assert (without[:, 0] == -np.inf).all()
    # a refit whose floor is zero by itself is the one without it; others fall less steeply
    np.testing.assert_allclose(without[at_zero, 1:], first[at_zero, 1:], atol=1e-3)
    assert (without[~at_zero, 2] < first[~at_zero, 2]).all()


def test_a_floor_that_is_never_zero_is_refitted_once(refits):
    z, _ = refits
    assert np.isfinite(z[1]).all()
    np.testing.assert_array_equal(z[1, N:], z[1, :N])
