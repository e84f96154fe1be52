"""What is said of the result of a fit, from results that are written down here."""

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.analysis._diagnostics import (
    check_result,
    huber_delta,
    warn_logarithms,
    warn_of,
    warn_spread,
)
from jaxscale.analysis._enough import short_groups
from jaxscale.analysis._expansion import DataSets
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._grouped import with_groups
from jaxscale.analysis._least_squares import FitResult
from jaxscale.analysis._levenberg import CONVERGED


def _result(blind, start_z, n_points=(9, 9)):
    blank = FitResult(**dict.fromkeys(FitResult._fields))
    return blank._replace(
        n_points=np.asarray(n_points),
        blind=np.asarray(blind)[:, None],
        ended=np.zeros((len(blind), 1), bool),
        start_z=np.asarray(start_z)[:, None, None],
    )


@pytest.mark.parametrize(("n_points", "refused"), [((2, 9), False), ((9, 1), True)])
def test_a_fit_has_more_points_than_free_parameters(n_points, refused):
    result = _result([False, False], [0.0, 0.0], n_points)
    if refused:
        with pytest.raises(ValueError, match="than 1 free parameters, got 1 for 'b'"):
            check_result(result, ["x"], np.zeros(1), 9, ["a", "b"])
    else:
        check_result(result, ["x"], np.zeros(1), 9, ["a", "b"])


def test_a_parameter_without_effect_is_refused_where_it_never_left_its_start():
    with pytest.raises(ValueError, match="`free` names 'x', which does not change"):
        check_result(_result([True, True], [0.5, 0.5]), ["x"], np.asarray([0.5]), 9, [])
    for blind, ends, n in (([True, True], [0.5, 0.7], 2), ([True, False], [0.5, 0.5], 1)):
        with pytest.warns(UserWarning, match=f"x has no effect at the optimum of {n} of 2 fits"):
            check_result(_result(blind, ends), ["x"], np.asarray([0.5]), 9, [])


def test_a_huber_delta_is_twice_the_robust_scale_where_the_rms_is_three_times_that():
    ten = np.asarray([-2.0, -1, -1, -1, 0, 0, 1, 1, 1, 2])
    heavy = np.where(ten == 2, 30.0, ten)
    rows = np.stack([ten, heavy, np.where(ten == 0, np.nan, heavy)])[:, None]
    delta = huber_delta(rows)  # the last has eight
    np.testing.assert_allclose(delta, [np.nan, 2 * 1.4826, np.nan], rtol=1e-12)


@pytest.mark.parametrize(("spread", "warned"), [(0.2, False), (2.0, True)])
def test_a_wide_spread_over_runs_is_named_with_its_bias(spread, warned):
    logs = spread * np.asarray([-1.0, 0.0, 1.0])[:, None] * np.ones((1, 3, 4))
    values = np.exp(logs)
    values[0, :2, 0] = -1.0  # one value alone has no spread
    if warned:
        with pytest.warns(UserWarning, match="loss spreads by 2 in the logarithm .* variance, 2,"):
            warn_spread({"loss": values})
    else:
        warn_spread({"loss": values})


@pytest.mark.parametrize("squared", [False, True])
def test_a_wide_spread_of_residuals_of_logarithms_is_named_with_its_bias(squared):
    """A failed run is none, and neither is what nine points may do by chance."""
    residuals = 0.62 * np.random.default_rng(0).standard_normal((2, 1, 2000))
    residuals[0] *= 0.1
    how = "--residual scaled --boot" if squared else "--residual scaled --huber inf --boot"
    with pytest.warns(UserWarning, match=rf"loss spread by 0\.6.* variance, 0\.1.* take .*{how}"):
        warn_logarithms("loss", residuals, squared)
    warn_logarithms("loss", residuals[..., :9], squared)
    residuals *= 0.4
    residuals[..., :20] = 9.0
    warn_logarithms("loss", residuals, squared)


def test_a_huber_loss_without_covariance_is_told_what_helps():
    blank = _result([False], [0.0], [20])
    result = blank._replace(
        few_inside=np.asarray([True]), status=np.asarray([CONVERGED]), condition=np.ones(1)
    )
    for free, advice in ((["a"], "inside its delta; take a larger"), ("abc", "3; take intervals")):
        ended = np.zeros((1, len(free)), bool)
        with pytest.warns(UserWarning, match=f"no standard error .*{advice}"):
            warn_of(result._replace(ended=ended), free, (), [], resampled=False)


def _short(shared, of, groups, weight=1.0):
    """Why groups of eight points, of two families, are too few."""
    columns = {"x": 1.0 + np.arange(16), "family": np.repeat(["a", "b"], 8)}
    table = pandas.DataFrame({**columns, "loss": 1.0})
    formula = with_groups(js.forms.grouped(js.forms.power_law, "family", shared), table)
    groups, ones = np.asarray(groups)[None, None], np.ones((1, 1, 16))
    inputs = {n: np.asarray(v)[None] for n, v in formula.coded(columns).items()}
    data = FitData(
        theory=lambda values, inputs: {}, start=np.zeros(1), data={"loss": ones}, inputs=inputs,
        groups=groups, n_groups=16, labels=(), signed=frozenset(), bounds={}, n_left_out=0,
    )  # fmt: skip
    weights = ones.copy()
    weights[..., -1] = weight
    points = DataSets(inputs, ones, weights, groups, 16)
    (reason,) = short_groups(formula.form, formula.unset, data, points, of)
    return reason


def test_groups_of_too_few_points_or_values_are_named():
    points, runs = np.arange(16), np.arange(16) // 2
    assert _short(["alpha"], "points", points) == ""
    assert _short(["alpha"], "points", points, weight=0.0) == (
        "family 'b' has 7 points, too few to be resampled for its 2 parameters; take 8 or more"
    )
    assert _short([], "points", points).startswith("family 'a' has 8 points")  # the first of both
    assert _short(["E", "alpha"], "run", runs) == (
        "family 'a' has 4 values of run, too few to be resampled for its 1 parameter; take 5 or "
        "more"
    )
    every = ["A", "E", "alpha"]
    assert _short(every, "run", runs) == _short(every, "points", points) == ""


def floor_and_power(n, b):
    return 1 + n**-b


@pytest.mark.parametrize("resamples", [0, 40], ids=["covariance", "refits"])
def test_an_exponent_whose_term_is_not_seen_is_not_constrained(resamples):
    """Where losses scatter about the floor, the solver converges and any steep exponent will do."""
    n = np.repeat([10.0, 20.0, 50.0, 100.0], 4)
    noise = np.tile([-1e-3, 2e-3, -2e-3, 1e-3], 4)
    law = js.Formula(floor_and_power, {"b": 8.0})
    hidden = pandas.DataFrame({"n": n, "loss": (1 + n**-8.0) * np.exp(noise)})
    with pytest.warns(
        UserWarning, match=r"do not constrain b \(\d+.* ± .*\): fix what they do not"
    ):
        fit = js.calibrate(law, hidden, ["b"], bootstrap=resamples)
    assert fit.converged
    assert "not constrained by the data: b (" in str(fit)
    steep = js.calibrate(
        law, hidden.assign(loss=(1 + n**-0.5) * np.exp(noise)), ["b"], bootstrap=resamples
    )
    assert "not constrained" not in str(steep)
