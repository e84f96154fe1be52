"""What is said of data that hold no information, from data that are written down here."""

import dataclasses

import numpy as np
import pytest

from jaxscale.analysis._expansion import DataSets
from jaxscale.analysis._information import check_locations, warn_constant, warn_zero_inputs


def test_a_constant_observable_is_told_from_one_that_varies():
    """Weights of the two lie behind one another, of three and two locations."""
    varies = np.arange(12.0).reshape(2, 2, 3)
    constant = np.full((2, 2, 2), 5.0)
    weight = np.ones((2, 2, 5))
    with pytest.warns(
        UserWarning, match=r"b is 5 at every point in 2 of 2 fits: .* at most of x, y"
    ):
        silent = warn_constant({"b": constant, "a": varies}, weight, ["x", "y"])
    assert silent.tolist() == [False, False]
    weight[1, :, :3] = 0  # the second set has the constant alone
    with pytest.warns(UserWarning, match="b is 5 at every point"):
        silent = warn_constant({"b": constant, "a": varies}, weight, ["x", "y"])
    assert silent.tolist() == [False, True]
    with pytest.warns(UserWarning, match="an exponent$"):  # one parameter is still found
        assert not warn_constant({"b": constant}, weight[..., 3:], ["x"]).any()


def test_rows_where_an_input_is_zero_are_counted_and_named():
    inputs = {"n": np.asarray([[0.0, 0.0, 2.0]]), "d": np.asarray([[1.0, 0.0, 3.0]])}
    theory = np.asarray([[np.inf, 1.0, np.inf]])
    weight = np.asarray([[[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    with pytest.warns(UserWarning, match="2 rows with n = 0, where the theory is infinite: left"):
        dropped = warn_zero_inputs(inputs, theory, weight)
    assert dropped.tolist() == [[True, False, False]]
    assert not warn_zero_inputs({"d": inputs["d"]}, theory, weight).any()  # nothing to say


def test_several_values_of_the_inputs_are_needed_for_several_parameters():
    inputs = {"n": np.asarray([[1.0, 1.0, 1.0, 2.0]]), "d": np.asarray([[3.0, 3.0, 4.0, 4.0]])}
    weight = np.ones((1, 1, 4))
    points = DataSets(inputs, weight, weight, np.zeros((1, 1, 4), int), 1)
    check_locations(points, ["x", "y", "z"], [])
    check_locations(dataclasses.replace(points, inputs={}), ["x", "y", "z"], [])
    weight[..., 3] = 0
    with pytest.raises(ValueError, match=r"at least 3 different values of n, d .* x, y, z, got 2:"):
        check_locations(points, ["x", "y", "z"], [])
    weight[..., 2] = 0
    with pytest.raises(ValueError, match="free x, y, got n = 1, d = 3 for 'a'"):
        check_locations(points, ["x", "y"], ["a"])
