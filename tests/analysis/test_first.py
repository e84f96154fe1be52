"""Which run was first to a level, of curves that fall and of curves that rise."""

import numpy as np
import pytest
import xarray

from jaxscale.analysis import crossing, first_to

T = np.arange(6.0)


def _curves(rows, **labels):
    (name, values), = labels.items()  # fmt: skip
    return xarray.DataArray(np.asarray(rows, float), {name: values, "time": T}, name="loss")


def test_losses_pass_from_above():
    losses = _curves([3 - 0.5 * T, 3 - T, 3 - 0.1 * T], rate=[0.1, 0.3, 1.0])
    first = first_to(losses, "time", 1.5)
    assert first.falls
    assert first.label == {"rate": 0.3}
    assert type(first.label["rate"]) is float  # text and JSON show it as a number of Python
    assert first.time == pytest.approx(1.5)
    np.testing.assert_allclose(first.times, [3.0, 1.5, np.nan])
    np.testing.assert_array_equal(first.ranks, [2.0, 1.0, np.nan])
    assert first.times.dims == first.ranks.dims == ("rate",)
    assert first.times.attrs["long_name"] == "time at which loss passes 1.5"


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int64"])
def test_whole_numbers_and_truth_values_are_numbers(dtype):
    rows = np.asarray([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])
    curves = _curves(rows, rate=[0.1, 0.3])
    expected, first = (first_to(c, "time", 0.5) for c in (curves, curves.astype(dtype)))
    assert first.falls
    assert first.label == {"rate": 0.3}
    np.testing.assert_array_equal(first.times, expected.times)


def test_accuracies_pass_from_below_and_for_good():
    rows = [T / 5, np.asarray([0, 0.9, 0.1, 0.2, 0.9, 1.0]), np.full(6, 0.8)]
    first = first_to(_curves(rows, optimizer=["sgd", "adam", "done"]), "time", 0.5)
    assert not first.falls
    assert first.label == {"optimizer": "done"}
    assert first.time == 0.0  # past the level at every point
    expected = crossing(_curves(rows, optimizer=["sgd", "adam", "done"]), "time", 0.5)
    np.testing.assert_allclose(first.times, expected)
    assert first.times[1] > 3.0  # not at its first, passing maximum
    np.testing.assert_array_equal(first.ranks, [2.0, 3.0, 1.0])


def test_several_dimensions_and_equal_curves():
    rows = np.stack([_curves([3 - T, 3 - T], width=[8, 16]), _curves([3 - 2 * T, 3 + 0 * T],
                     width=[8, 16])])  # fmt: skip
    curves = xarray.DataArray(rows, {"seed": [5, 6], "width": [8, 16], "time": T})
    first = first_to(curves, "time", 1.0)
    assert first.label == {"seed": 6, "width": 8}
    np.testing.assert_array_equal(first.ranks, [[2.0, 2.0], [1.0, np.nan]])
    assert first_to(curves.drop_vars("seed"), "time", 1.0).label == {"seed": 1, "width": 8}


def test_as_many_curves_fall_as_rise():
    first = first_to(_curves([3 - T, T], width=[8, 16]), "time", 1.5)
    assert not first.falls
    assert first.label == {"width": 16}
    assert first_to(_curves([3 - T, T, 4 - T], width=[8, 16, 32]), "time", 1.5).falls


def test_a_curve_that_rises_and_then_sinks_a_little_rises():
    curve = np.asarray([0, 5, 4.9, 4.8, 4.7, 4.6])
    assert not first_to(_curves([curve, 2 * curve], width=[8, 16]), "time", 1.0).falls


def test_where_none_passes_there_is_no_first():
    first = first_to(_curves([3 - T, 3 - T / 2], width=[8, 16]), "time", -9.0)
    assert first.label == {}
    assert np.isnan(first.time)
    assert np.isnan(first.ranks).all()
    blank = first_to(_curves(np.full((2, 6), np.nan), width=[8, 16]), "time", 1.0)
    assert np.isnan(blank.time)


def test_bad_arguments_are_named():
    curves = _curves([3 - T, 3 - T / 2], width=[8, 16])
    with pytest.raises(ValueError, match="`level`"):
        first_to(curves, "time", np.inf)
    with pytest.raises(ValueError, match="`dim` must be one of"):
        first_to(curves, "step", 1.0)
    with pytest.raises(ValueError, match="`curves` must have a dimension besides 'time'"):
        first_to(curves[0], "time", 1.0)
