"""How data become data sets: axes of a theory, rows of others, groups of a resample."""

import numpy as np
import pytest
import xarray

from jaxscale._status import Status
from jaxscale.analysis._compared import scaled_data
from jaxscale.analysis._fit_data import FitData, aligned, groups_of, rows_of
from jaxscale.analysis.residuals import Log, Scaled

STEPS = np.asarray([0, 1, 10, 100])
A, B = np.arange(24.0).reshape(2, 3, 4), -np.arange(1.0, 11.0).reshape(2, 5)


def _runs():
    loss = xarray.DataArray(
        np.arange(1.0, 13).reshape(3, 2, 2), {"step": [100, 1, 0], "run": ["a", "b"]},
        ("step", "seed", "run"),
    )  # fmt: skip
    return xarray.Dataset({"loss": loss, "status": (("seed", "run"), [[0, 0], [1, 0]])})


def test_data_are_put_on_the_axes_of_the_theory_whatever_their_order():
    data, index, labels, order, n_missing = aligned(
        _runs(), {"loss": {"step": STEPS}, "absent": {}}, "run", frozenset()
    )
    assert (labels, order, n_missing) == (("a", "b"), {"loss": ["seed", "step"]}, 3)
    expected = [[[1, 5, 9], [np.nan] * 3], [[2, 6, 10], [4, 8, 12]]]  # run, seed, step
    np.testing.assert_array_equal(data["loss"], expected)
    assert [x.tolist() for x in index["loss"]] == [[3, 1, 0]]
    alone, _, labels, order, _ = aligned(_runs(), {"loss": {"step": STEPS}}, None, frozenset())
    assert (labels, alone["loss"].shape) == ((), (1, 2, 2, 3))
    assert order == {"loss": ["seed", "run", "step"]}


@pytest.mark.parametrize(
    ("names", "each", "message"),
    [
        ({"loss": {"width": STEPS}}, None, "must keep the dimension 'width' of 'loss'"),
        ({"loss": {"step": STEPS}}, "step", "`each` must not be a dimension of the theory"),
        ({"loss": {"step": STEPS}}, "width", "`each` must be a dimension of `data`, got 'width'"),
        ({"loss": {"step": STEPS[:3]}}, None, "`data` has step = 100, which the grid does not"),
        ({"other": {}}, None, "`data` must hold one of other, got"),
    ],
)
def test_data_off_the_axes_of_the_theory_are_refused(names, each, message):
    with pytest.raises(ValueError, match=message):
        aligned(_runs(), names, each, frozenset())


def test_runs_that_have_not_run_are_counted():
    runs = _runs()
    runs["status"] = runs["status"] * 0 + Status.not_run
    with pytest.raises(ValueError, match="`data`: 4 of 4 runs have not run: continue the sweep"):
        aligned(runs, {"loss": {"step": STEPS}}, None, frozenset())


def test_values_below_the_rounding_of_their_type_are_left_out_unless_they_have_both_signs():
    values = xarray.DataArray(np.float32([1.0, 0.0, 1e-9, np.nan]), dims="step").to_dataset(
        name="y"
    )
    with pytest.warns(UserWarning, match="1 values of y lie below the rounding of float32"):
        data, *_, n_missing = aligned(values, {"y": {"step": np.arange(4)}}, None, frozenset())
    assert np.isnan(data["y"][0]).tolist() == [False, False, True, True]
    assert n_missing == 1
    data, *_ = aligned(values, {"y": {"step": np.arange(4)}}, None, frozenset({"y"}))
    assert data["y"][0, 2] == np.float32(1e-9)


def test_rows_of_all_observables_are_as_many_and_short_ones_end_blank():
    rows = rows_of({"a": A, "b": B}, {"a": 1, "b": 1}, np.nan)
    np.testing.assert_array_equal(rows["a"], A)
    np.testing.assert_array_equal(rows["b"][:, :1], B[:, None])
    assert rows["b"].shape == (2, 3, 5)
    assert np.isnan(rows["b"][:, 1:]).all()
    assert rows_of({"a": A}, {"a": 2}, 0)["a"].shape == (2, 1, 12)


def test_points_are_groups_of_their_own_and_slices_are_groups_together():
    order = {"a": ["seed", "step"], "b": ["seed"]}
    groups, n = groups_of({"a": A, "b": B}, order, None)
    assert n == 17
    np.testing.assert_array_equal(groups["a"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(groups["b"], np.arange(12, 17))
    groups, n = groups_of({"a": A, "b": B}, order, "seed")
    assert n == 5
    np.testing.assert_array_equal(groups["a"], [[0] * 4, [1] * 4, [2] * 4])
    np.testing.assert_array_equal(groups["b"], np.arange(5))
    with pytest.raises(ValueError, match="`resample` must be a dimension of the data, got 'step'"):
        groups_of({"a": A, "b": B}, order, "step")


def test_data_without_a_value_say_how_many_are_blank_and_how_many_not_positive():
    values = {"y": np.asarray([[[-1.0, 0.0, np.nan, -2.0, np.inf]]])}
    data = FitData(
        theory=lambda values, inputs: {}, start=np.zeros(1), data=values, inputs=None,
        groups=np.zeros((1, 1, 5), int), n_groups=1, labels=(), signed=frozenset(), bounds={},
        n_left_out=3,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"y to fit: 3 are blank, .* and 4 are not positive"):
        scaled_data(data, {"y": Log()})
    with pytest.warns(UserWarning, match="1 value of y without a logarithm, not positive or inf"):
        points, units, n_missing = scaled_data(data, {"y": Scaled()})
    assert (n_missing, units["y"].tolist()) == (4, [pytest.approx(np.sqrt(5 / 3))])
    np.testing.assert_allclose(points.weight[0, 0], [1, 1, 0, 1, 0])
    np.testing.assert_allclose(points.target[0, 0] * units["y"][0], [-1, 0, 0, -2, 0])
