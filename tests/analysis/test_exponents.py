"""Exponents: exact curves to rounding, noisy curves by the coverage of their intervals."""

import numpy as np
import pytest
import xarray
from scipy.stats import norm, t as student_t

from jaxscale.analysis import (
    crossing,
    fit_exponent,
    fit_saturating,
    local_exponent,
    seed_interval,
)

X = np.geomspace(1.0, 1e4, 25)


def curve(y, x=X, dims=("step",)):
    coords = {"step": x} | (
        {"seed": np.arange(np.shape(y)[dims.index("seed")])} if "seed" in dims else {}
    )
    return xarray.DataArray(y, dims=dims, coords=coords, name="loss")


def test_local_exponent_of_a_power_law_is_exact():
    y = np.stack([3 * X**-0.7, 0.2 * X**1.3], axis=1)
    array = xarray.DataArray(y, dims=("step", "skill"), coords={"step": X, "skill": [1, 2]})
    slopes = local_exponent(array, "step")
    assert slopes.dims == array.dims
    np.testing.assert_allclose(slopes[:, 0], -0.7, rtol=0, atol=1e-12)
    np.testing.assert_allclose(slopes[:, 1], 1.3, rtol=0, atol=1e-12)


def test_local_exponent_is_of_second_order_on_an_irregular_grid():
    errors = []
    for n in (41, 81):
        x = np.exp(np.linspace(0, 1, n) ** 2 * 3 + 0.1)
        slopes = local_exponent(curve(np.exp(np.sin(np.log(x))), x), "step")
        errors.append(np.abs(slopes - np.cos(np.log(x))).max().item())
    assert 3.3 < errors[0] / errors[1] < 4.7


def test_local_exponent_leaves_out_what_has_no_logarithm():
    x = np.array([0.0, 1, 2, 4, 8, 16, 32])
    y = np.where(x > 0, np.maximum(x, 1) ** -0.5, 1.0)
    slopes = local_exponent(curve(y, x), "step")
    assert np.isnan(slopes[0])
    np.testing.assert_allclose(slopes[1:], -0.5, atol=1e-12)
    y[3] = -1.0
    missing = np.isnan(np.asarray(local_exponent(curve(y, x), "step")))
    assert missing.tolist() == [True, True, True, True, True, False, False]
    y[4] = np.nan  # not a slope between its neighbours
    assert np.isnan(np.asarray(local_exponent(curve(y, x), "step"))[4])
    y[3], y[4] = x[3] ** -0.5, np.nan
    missing = np.isnan(np.asarray(local_exponent(curve(y, x), "step")))
    assert missing.tolist() == [True, False, False, True, True, True, True]


def test_fit_of_a_power_law_is_exact_and_keeps_its_window():
    y = np.where(X < 10, 5.0, 3 * X**-0.7)
    fit = fit_exponent(curve(y), "step", (10, 1000))
    assert fit.value == pytest.approx(-0.7, abs=1e-12)
    assert fit.prefactor == pytest.approx(3, rel=1e-12)
    assert fit.interval == pytest.approx((-0.7, -0.7), abs=1e-12)
    assert (fit.window, fit.n_points) == ((10.0, 1000.0), 13)
    assert (fit.n_seeds, fit.method, fit.floor) == (None, "residuals", 0.0)


def test_fit_is_made_per_seed_in_either_order_of_dimensions():
    slopes = -0.5 + 0.01 * np.arange(8)
    y = 2 * X[:, None] ** slopes
    fit = fit_exponent(curve(y, dims=("step", "seed")), "step", (1, 1e4))
    np.testing.assert_allclose(fit.per_seed, slopes, atol=1e-12)
    assert fit.value == pytest.approx(slopes.mean(), abs=1e-12)
    assert (fit.n_seeds, fit.method) == (8, "student-t")
    swapped = fit_exponent(curve(y.T, dims=("seed", "step")), "step", (1, 1e4))
    np.testing.assert_array_equal(swapped.per_seed, fit.per_seed)


def test_a_seed_that_lacks_a_point_is_left_out_and_a_point_that_all_lack_is_no_point():
    y = np.tile(X**-0.5, (9, 1))
    y[:, 3] = np.nan
    y[2, 20:] = np.nan
    fit = fit_exponent(curve(y, dims=("seed", "step")), "step", (1, 1e4))
    assert (fit.n_seeds, fit.n_points) == (8, 24)
    assert np.isnan(fit.per_seed).tolist() == [i == 2 for i in range(9)]
    assert fit.value == pytest.approx(-0.5, abs=1e-12)


@pytest.mark.parametrize(
    ("fit", "sign", "floor", "power"), [(fit_exponent, -1, 0.0, 0.5), (fit_saturating, 1, 0.3, 0.5)]
)
def test_the_interval_of_one_curve_comes_from_its_residuals(fit, sign, floor, power):
    noise = np.exp(0.05 * np.random.default_rng(0).normal(size=(40, len(X))))
    fits = [fit(curve(y), "step", (1, 1e4)) for y in (floor + 2 * X**-power) * noise]
    low, high = np.transpose([f.interval for f in fits])
    assert np.mean((low < sign * power) & (sign * power < high)) > 0.88
    assert np.mean(high - low) < 0.08
    assert np.isnan(fit_exponent(curve(X), "step", (1, 2)).interval).all()


@pytest.mark.parametrize(("floor", "exponent"), [(0.3, 0.6), (2.0, 1.4), (1e-3, 0.25)])
def test_saturating_fit_is_exact(floor, exponent):
    fit = fit_saturating(curve(floor + 5 * X**-exponent), "step", (1, 1e4))
    assert fit.value == pytest.approx(exponent, abs=1e-6)
    assert fit.floor == pytest.approx(floor, rel=1e-5)
    assert fit.prefactor == pytest.approx(5, rel=1e-5)


def test_saturating_fit_of_a_curve_without_floor_finds_none():
    fit = fit_saturating(curve(5 * X**-0.5), "step", (1, 1e4))
    assert fit.value == pytest.approx(0.5, abs=1e-6)
    assert 0 <= fit.floor < 1e-6
    assert "x^-value" in fit.law


def test_saturating_fit_sees_a_floor_that_a_power_law_takes_for_a_slope():
    noise = np.exp(0.01 * np.random.default_rng(1).normal(size=(8, len(X))))
    y = curve((0.3 + 5 * X**-0.6) * noise, dims=("seed", "step"))
    low, high = fit_saturating(y, "step", (1, 1e4)).interval
    assert low < 0.6 < high
    assert high - low < 0.03
    plain = fit_exponent(y, "step", (1, 1e4))
    assert plain.interval[1] < -0.2
    assert plain.interval[0] > -0.5


def coverage(n_seeds, *exponents, n_sets=400):
    """Shares of synthetic data sets of exponent -0.5 whose interval holds each of `exponents`."""
    rng = np.random.default_rng(0)
    slopes = -0.5 + 0.02 * rng.normal(size=(n_sets, n_seeds))
    noise = np.exp(0.1 * rng.normal(size=(n_sets, n_seeds, len(X))))
    y = 2 * X ** slopes[..., None] * noise
    fits = [fit_exponent(curve(one, dims=("seed", "step")), "step", (1, 1e4)) for one in y]
    assert {f.method for f in fits} == {"student-t" if n_seeds < 30 else "bootstrap"}
    low, high = np.transpose([f.interval for f in fits])
    return [np.mean((low <= value) & (value <= high)) for value in exponents]


@pytest.mark.parametrize("n_seeds", [5, 8])
def test_student_intervals_cover_the_truth_and_not_a_wrong_exponent(n_seeds):
    right, wrong = coverage(n_seeds, -0.5, -0.55)
    assert 0.91 <= right <= 0.99
    assert wrong < 0.1


def test_bootstrap_intervals_cover_the_truth_and_not_a_wrong_exponent():
    right, wrong = coverage(30, -0.5, -0.52, n_sets=200)
    assert 0.89 <= right <= 0.98
    assert wrong < 0.1


def test_seed_interval_by_number_of_seeds():
    values = np.random.default_rng(3).normal(size=40)
    assert seed_interval(1.5) == seed_interval(np.asarray(1.5))
    assert seed_interval(1.5).method == "deterministic"
    three = seed_interval(values[:3])
    assert (three.low, three.high, three.method) == (min(values[:3]), max(values[:3]), "range")
    five = seed_interval(values[:5])
    half = 2.7764451 * values[:5].std(ddof=1) / np.sqrt(5)
    assert five.high - five.low == pytest.approx(2 * half, rel=1e-6)
    assert seed_interval(values[:29]).method == "student-t"
    assert seed_interval(values) == seed_interval(values)
    assert seed_interval(values).method == "bootstrap"


def percentiles_of_means(values, tail):
    """Ends between which 1 - 2 tail of 2000 resampled means lie, of every row of values."""
    n = values.shape[-1]
    drawn = np.random.default_rng(0).integers(n, size=(2000, n))
    counts = np.stack([np.bincount(one, minlength=n) for one in drawn])
    return np.quantile(values @ counts.T / n, [tail, 1 - tail], axis=-1)


def tail_of(n, level):
    return norm.sf(student_t.isf((1 - level) / 2, n - 1) * np.sqrt(n / (n - 1)))


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_from_30_seeds_on_ends_are_percentiles_of_2000_means(level):
    values = np.random.default_rng(1).exponential(size=30)
    ends = seed_interval(values, level)
    expected = percentiles_of_means(values, tail_of(30, level))
    np.testing.assert_allclose([ends.low, ends.high], expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"must be a number or one axis, got shape \(15, 2\)"):
        seed_interval(values.reshape(15, 2), level)


@pytest.mark.parametrize("n", [30, 32])
def test_intervals_of_30_seeds_hold_the_mean_as_often_as_they_say_and_plain_percentiles_do_not(n):
    values = np.random.default_rng(5).standard_normal((8000, n))

    def coverage(tail):
        low, high = percentiles_of_means(values, tail)
        return np.mean((low <= 0) & (high >= 0))

    error = np.sqrt(0.95 * 0.05 / len(values))
    assert abs(coverage(tail_of(n, 0.95)) - 0.95) < 3 * error
    assert coverage(0.025) < 0.95 - 3 * error


def test_seed_interval_leaves_out_missing_values():
    values = np.array([1.0, 2, 3, 4, 5, np.nan])
    assert seed_interval(values) == seed_interval(values[:5])
    assert np.isnan(seed_interval(np.array([np.nan, np.nan])).low)


@pytest.mark.parametrize("n", [2, 8, 40])
def test_an_interval_of_an_infinite_value_ends_there(n):
    values = np.arange(float(n))
    values[0] = -np.inf
    ends = seed_interval([*values, np.nan])
    assert (ends.low, ends.high, ends.method) == (-np.inf, n - 1, "range")
    ends = seed_interval(-values)
    assert (ends.low, ends.high, ends.method) == (1 - n, np.inf, "range")


def test_a_higher_level_gives_a_wider_interval():
    values = np.arange(8.0)
    narrow, wide = seed_interval(values, 0.8), seed_interval(values, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([0.0, 0.2, 0.6, 1.0], 3.5),
        ([0.0, 0.9, 0.1, 0.9], 6.0),  # the last upward crossing counts
        ([0.0, 0.9, 0.9, 0.5], np.nan),  # at the level is not above it
        ([0.6, 0.7, 0.8, 0.9], 1.0),
        ([0.0, np.nan, 1.0, np.nan], 2.5),  # missing points are passed over
        ([np.nan] * 4, np.nan),
    ],
)
def test_crossing(y, expected):
    x = np.array([1.0, 2, 4, 8])
    np.testing.assert_allclose(crossing(curve(y, x), "step", 0.5), expected, rtol=1e-12)


def test_crossing_keeps_the_other_dimensions():
    y = np.stack([X / 10, X / 1000], axis=1)[None]
    array = xarray.DataArray(
        y, dims=("width", "step", "skill"), coords={"width": [8], "step": X, "skill": [1, 2]}
    )
    result = crossing(array, "step", 0.5)
    assert result.dims == ("width", "skill")
    np.testing.assert_allclose(result, [[5.0, 500.0]], rtol=1e-12)
    assert "step" not in result.coords


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda c: fit_exponent(c.values, "step", (1, 10)), r"`curve` must be a DataArray.*'step'"),
        (lambda c: local_exponent([1, 2], "step"), "`curve` must be a DataArray, got list"),
        (lambda c: local_exponent(c, "width"), "`dim`.*'width'"),
        (lambda c: local_exponent(c.isel(step=slice(0, 1)), "step"), "`step`"),
        (lambda c: local_exponent(c.isel(step=slice(None, None, -1)), "step"), "`step`"),
        (lambda c: local_exponent(c.drop_vars("step"), "step"), "`dim`"),
        (lambda c: fit_exponent(c, "step", (10, 1)), r"`window`.*\(10, 1\)"),
        (lambda c: fit_exponent(c, "step", (0, 10)), "`window`"),
        (lambda c: fit_exponent(c, "step", (1, np.inf)), "`window`"),
        (lambda c: fit_exponent(c, "step", (1.1, 1.2)), "`window`.*got 0"),
        (lambda c: fit_saturating(c, "step", (1, 3)), "`window`.*at least 4.*got 3"),
        (lambda c: fit_exponent(c - 0.5, "step", (1, 1e4)), "`curve` must be positive"),
        (lambda c: fit_exponent(c.expand_dims("width"), "step", (1, 10)), "`curve`.*width"),
        (lambda c: fit_exponent(c, "step", (1, 10), level=1.0), "`level`.*1.0"),
        (lambda c: crossing(c, "step", np.nan), "`level`.*nan"),
        (lambda c: seed_interval(np.ones((2, 2))), r"`values`.*\(2, 2\)"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call(curve(X**-0.5))


def test_a_curve_lacks_coordinates_and_not_a_dimension():
    bare = xarray.DataArray(np.ones(5), dims="step")
    with pytest.raises(ValueError, match=r"`dim` 'step' of `curve` must have coord.*assign_coords"):
        fit_exponent(bare, "step", (1, 3))
    with pytest.raises(ValueError, match="`dim` must be one of step, got 'stp'"):
        fit_exponent(curve(3 * X**-0.7), "stp", (1, 3))


def test_a_constant_curve_has_an_exponent_without_a_floor_and_no_warning():
    assert fit_exponent(curve(np.full(X.shape, 2.0)), "step", (1, 1000)).value == pytest.approx(0)


def test_one_seed_has_the_interval_of_its_curve_alone():
    x = np.geomspace(1, 100, 12)
    y = 3 * x**-0.7 * np.exp(0.05 * np.sin(9 * x))
    alone = xarray.DataArray(y, {"step": x}, "step")
    seeded = alone.expand_dims(seed=[4])
    for fit in (fit_exponent, fit_saturating):
        one, bare = fit(seeded, "step", (1, 100)), fit(alone, "step", (1, 100))
        assert one.interval == bare.interval
        assert one.interval[0] < one.value < one.interval[1]
        assert (one.n_seeds, one.method) == (1, "residuals")
    lost = xarray.concat([np.nan * seeded, seeded], "seed")  # the other seed has no curve
    assert (
        fit_exponent(lost, "step", (1, 100)).interval
        == fit_exponent(alone, "step", (1, 100)).interval
    )


def test_an_infinite_value_is_a_missing_one():
    x = np.geomspace(1, 100, 12)
    y = 3 * x**-0.7
    y[4] = np.inf
    curve = xarray.DataArray(y, {"step": x}, "step")
    fit = fit_exponent(curve, "step", (1, 100))
    assert fit.n_points == 11
    np.testing.assert_allclose(fit.value, -0.7, rtol=1e-9)
    np.testing.assert_allclose(fit_saturating(curve + 1, "step", (1, 100)).value, 0.7, rtol=1e-6)
    two = xarray.concat([curve, curve.where(np.isfinite(curve), 1.0)], "seed")
    assert np.isnan(fit_exponent(two, "step", (1, 100)).per_seed).tolist() == [True, False]
    with pytest.raises(ValueError, match="at least 2 points, got 0"):
        fit_exponent(np.inf * curve, "step", (1, 100))
