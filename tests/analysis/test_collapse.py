"""Scaling collapse: planted powers are recovered, and curves that are not one score badly."""

import numpy as np
import pytest
import xarray
from scipy.stats import binom

from jaxscale.analysis import _collapse, collapse

T = np.geomspace(1.0, 1e4, 40)
S = np.asarray([8.0, 16.0, 32.0, 64.0, 128.0])
APART = np.arange(40) // 8 == np.arange(5)[:, None]  # times of each scale that no other has


def _curves(a=-0.5, b=1.2, sigma=0.0, n_seeds=1, seed=0):
    """A plateau of height s^a that falls beyond s^b, with noise at every point of every seed."""
    x = T / S[:, None] ** b
    noise = np.random.default_rng(seed).standard_normal((n_seeds, len(S), len(T)))
    y = S[:, None] ** a / (1 + x) ** 0.7 * np.exp(sigma * noise)
    return xarray.DataArray(
        y, {"seed": np.arange(n_seeds), "width": S, "step": T}, name="loss"
    )  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [(-0.5, 1.2), (0.0, 0.5), (0.3, -0.4), (-1.0, 0.0)])
def test_planted_powers_are_recovered(a, b):
    fit = collapse(_curves(a, b).isel(seed=0), "step", "width")
    assert fit.height == pytest.approx(a, abs=0.01)
    assert fit.time == pytest.approx(b, abs=0.01)
    assert fit.spread < 2e-3  # of straight lines between points
    assert fit.score > 0.9999
    assert fit.jackknifed == "width"
    for value, ends in ((fit.height, fit.height_interval), (fit.time, fit.time_interval)):
        assert ends.low - 0.01 < value < ends.high + 0.01
        assert ends.high - ends.low < 0.03
    np.testing.assert_allclose(fit.curves["scaled"], T / S[:, None] ** fit.time)
    assert fit.curves.dims == ("width", "step")
    expected = _curves(a, b).isel(seed=0) / S[:, None] ** fit.height
    np.testing.assert_allclose(fit.curves, expected)


def test_curves_without_a_collapse_score_badly():
    good = collapse(_curves(sigma=0.02), "step", "width")
    assert 0.01 < good.spread < 0.03
    slopes = np.linspace(0.3, 1.1, 5)[:, None]  # another exponent for each width
    apart = _curves().isel(seed=0).copy(data=1 / (1 + T / S[:, None] ** 1.2) ** slopes)
    bad = collapse(apart, "step", "width")
    assert bad.spread > 5 * good.spread
    assert 1 - bad.score > 10 * (1 - good.score)
    wrong = collapse(_curves(sigma=0.02), "step", "width", height=-0.5, time=0.9)
    assert wrong.spread > 5 * good.spread


def test_given_powers_stay_and_the_other_follows():
    fit = collapse(_curves(), "step", "width", time=1.2)
    assert (fit.time, fit.time_interval.low, fit.time_interval.high) == (1.2, 1.2, 1.2)
    assert fit.height == pytest.approx(-0.5, abs=1e-3)
    other = collapse(_curves(), "step", "width", height=-0.5)
    assert other.time == pytest.approx(1.2, abs=0.01)
    assert "height s^-0.5 " in str(other)
    both = collapse(_curves(), "step", "width", height=-0.5, time=1.2)
    assert both.spread < 2e-3


def test_the_text_says_how_the_intervals_of_fitted_powers_were_made():
    curves = _curves(sigma=0.02, n_seeds=6)
    fits = [
        str(collapse(curves, "step", "width", **given))
        for given in ({}, {"time": 1.2}, {"height": -0.5}, {"height": -0.5, "time": 1.2})
    ]
    assert fits[0].endswith("; intervals: jackknife over seed, student-t")
    assert "time s^1.2 (given)" in fits[1]
    assert fits[1].endswith("; interval of height: jackknife over seed, student-t")
    assert "height s^-0.5 (given)" in fits[2]
    assert fits[2].endswith("; interval of time: jackknife over seed, student-t")
    assert "interval" not in fits[3]


def test_powers_that_depend_on_one_scale_have_no_interval():
    """Without the middle scale the others do not meet."""
    t, s = np.geomspace(1, 1e3, 40), np.asarray([1.0, 30.0, 900.0])
    y = s[:, None] ** -0.5 / (1 + t / s[:, None])
    curves = xarray.DataArray(y, {"width": s, "step": t})
    fit = collapse(curves, "step", "width", time=1.0)
    assert fit.height == pytest.approx(-0.5, abs=0.01)
    assert np.isnan([fit.height_interval.low, fit.height_interval.high]).all()
    assert fit.height_interval.method == "range"
    assert "height s^-0.5 (–), time s^1 (given)" in str(fit)


@pytest.mark.slow
def test_intervals_over_seeds_cover_the_powers():
    covered = []
    for seed in range(30):
        fit = collapse(_curves(sigma=0.1, n_seeds=6, seed=seed), "step", "width")
        assert fit.jackknifed == "seed"
        ends = (fit.height_interval, fit.time_interval)
        pairs = zip(ends, (-0.5, 1.2), strict=True)
        covered.append([end.low < truth < end.high for end, truth in pairs])
        assert ends[1].high - ends[1].low < 0.2
    share = np.mean(covered, axis=0)
    assert np.all(share >= binom.ppf(1e-3 / 2, 30, 0.95) / 30)


def test_what_is_missing_or_not_positive_is_passed_over():
    curves = _curves().isel(seed=0)
    curves[1, ::3] = np.nan
    curves[2, -5:] = -1.0
    curves[4] = np.nan
    start = xarray.concat([curves.isel(step=[0]).assign_coords(step=[0.0]), curves], "step")
    with pytest.warns(UserWarning, match="1 of 5 runs without two positive values: left out"):
        fit = collapse(start, "step", "width")
    assert fit.time == pytest.approx(1.2, abs=0.02)
    assert fit.height == pytest.approx(-0.5, abs=0.01)
    without = collapse(start.isel(width=slice(4)), "step", "width")
    assert (fit.time, fit.time_interval) == (without.time, without.time_interval)


def test_runs_that_are_empty_are_left_out_and_counted():
    curves = _curves(sigma=0.05, n_seeds=6)
    full = collapse(curves, "step", "width")
    assert full.n_left_out == 0
    one = curves.copy(deep=True)
    one[2, 3] = np.nan
    one[4, 1, 1:] = np.nan  # one point is no curve
    with pytest.warns(UserWarning, match="2 of 30 runs"):
        fit = collapse(one, "step", "width")
    assert (fit.n_left_out, fit.jackknifed) == (2, "seed")
    assert str(fit).endswith("student-t; 2 runs left out")
    assert fit.time == pytest.approx(full.time, abs=0.02)
    assert fit.time != full.time
    width = [f.time_interval.high - f.time_interval.low for f in (fit, full)]
    assert 0.5 * width[1] < width[0] < 2 * width[1]
    seed = curves.copy(deep=True)
    seed[2] = np.nan
    with pytest.warns(UserWarning, match="5 of 30 runs"):
        fit = collapse(seed, "step", "width")
    others = collapse(curves.isel(seed=[0, 1, 3, 4, 5]), "step", "width")
    assert (fit.time, fit.height_interval) == (others.time, others.height_interval)


@pytest.mark.parametrize("sigma", [0.0, 0.03])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_curves_that_determine_no_power_are_refused(sigma, power):
    for seed in range(5 if sigma else 1):
        curves = _curves(sigma=sigma, seed=seed).isel(seed=0)
        straight = curves / _curves().isel(seed=0) * S[:, None] ** 0.3 * T**-power
        with pytest.raises(ValueError, match=r"`time` must be given: .* are power laws in step"):
            collapse(straight, "step", "width")
        given = collapse(straight, "step", "width", time=0.6)
        assert given.height == pytest.approx(0.3 - 0.6 * power, abs=0.05)
        if power:  # with a height the slope says the other
            other = collapse(straight, "step", "width", height=0.0)
            assert other.time == pytest.approx(0.3 / power, abs=0.1)
        else:
            with pytest.raises(ValueError, match=r"`time` must be given: .* are constant in step"):
                collapse(straight, "step", "width", height=0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: collapse(c, "time", "width"), "`dim` must be one of"),
        (lambda c: collapse(c, "step", "depth"), "`scale` must be one of width, got 'depth'"),
        (lambda c: collapse(c, "step", "seed"), "`scale` must be one of width"),
        (lambda c: collapse(c[:, :2], "step", "width"), "`width` must have three values"),
        (lambda c: collapse(c.expand_dims("depth"), "step", "width"), "no dimension but 'step'"),
        (lambda c: collapse(c.where(APART), "step", "width", time=0.0), "`curves` must meet"),
        (lambda c: collapse(c * np.nan, "step", "width"), "`width` .* with a curve, got 0"),
        (
            lambda c: collapse(c.assign_coords(width=-S), "step", "width"),
            "`width` must be positive",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(_curves())


def test_curves_are_what_has_two_points_and_reach_their_ends():
    x, first, last = np.asarray([1.0, 2.0, 3.0, 4.0]), np.asarray([2.0]), np.asarray([3.0])
    assert _collapse._reached(x, first, last).tolist() == [False, True, True, False]
    y = np.asarray([[1.0, 2.0, np.nan, 4.0], [0.0, 3.0, np.nan, -1.0], [np.nan, 0.0, -1.0, 0.0]])
    curves = _collapse._Curves.of(x, y, np.exp([1.0, 2.0, 3.0]))
    ((log_x, log_y),) = curves.points
    np.testing.assert_allclose(np.exp([log_x, log_y]), [[1, 2, 4], [1, 2, 4]])
    np.testing.assert_allclose(curves.log_s, [1.0])


def test_scales_without_coordinates_are_named():
    x = np.geomspace(1, 1000, 30)
    one = xarray.DataArray(2 + 3 * x**-0.7, {"step": x}, "step")
    with pytest.raises(ValueError, match="`scale` 'w' of `curves` must have coordinates"):
        collapse(xarray.concat([one, 2 * one], "w"), "step", "w")
