"""Where fits of a form start: the best floor and factor at every exponent of a grid."""

import jax
import numpy as np
import pytest

from jaxscale.analysis._expansion import DataSets, Expansion, FitProblem
from jaxscale.analysis._form import exponent, factor, floor
from jaxscale.analysis._starts import FLOORS, form_starts
from jaxscale.analysis.bounds import Between, Positive
from jaxscale.analysis.residuals import Log, Squared

X = np.geomspace(1.0, 100.0, 6)


def _law(values, inputs):
    return {"y": values[0] + values[1] * inputs["x"] ** -values[2]}


def _starts(y, of_exponent):
    """Values of the starts of data sets `y`, shape `(n, o, t)`."""
    bounds = (Positive(), Positive(), of_exponent)
    problem = FitProblem(_law, bounds, {"y": Log()}, {"y": np.asarray(1.0)}, Squared())
    inputs, weight = {"x": np.broadcast_to(X, (len(y), 6)).copy()}, np.ones_like(y)
    groups = np.zeros(y.shape, int)
    with jax.enable_x64(True):
        expand = Expansion(problem, DataSets(inputs, np.log(y), weight, groups, 1), 4)
        z = form_starts(expand, [floor(), factor(), exponent()], y)
    return np.stack([problem.by_parameter("constrain", own) for own in z])


def test_other_parameters_are_the_best_at_every_exponent_and_floor():
    truth = ((1.0, 3.0, 1.0), (20.0, 50.0, 0.1))
    curves = np.stack([e + a * X**-alpha for e, a, alpha in truth])
    y = curves[:, None] * np.asarray([0.8, 1.2])[:, None]  # the mean of two runs is the law
    y[0, 1] = np.nan
    y[0, 0] = curves[0]
    for own, planted, curve in zip(_starts(y, Positive()), truth, curves, strict=True):
        assert np.min(np.abs(own / planted - 1).max(axis=1)) < 1e-9
        shares = own[:, 0] / curve.min()
        grid = np.unique(own[:, 2].round(12))
        assert (grid.min(), grid.max()) == pytest.approx((0.1, 1.0))
        for share in FLOORS:
            chosen = own[np.isclose(shares, share, rtol=1e-12)]
            assert len(chosen) == len(grid)
            slope = X ** -chosen[:, 2:] / curve
            missing = 1 - chosen[:, :1] / curve
            best = np.sum(slope * missing, axis=1) / np.sum(slope**2, axis=1)
            np.testing.assert_allclose(chosen[:, 1], best, rtol=1e-9)


def test_no_start_lies_near_the_end_of_an_interval():
    y = (1.0 + 3.0 * X**-0.5)[None, None]
    own = _starts(y, Between(low=0.2, high=0.8))[0]
    assert (own[:, 2].min(), own[:, 2].max()) == pytest.approx((0.23, 0.77))


def test_data_of_zeros_are_refused():
    with pytest.raises(ValueError, match="`data` is 0 at every point"), np.errstate(all="ignore"):
        _starts(np.zeros((1, 1, 6)), Positive())
