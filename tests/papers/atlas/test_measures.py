"""Exponents, windows and intervals of the atlas, on curves whose exponents are given."""

import numpy as np
import pytest
import xarray

from jaxscale.analysis import jackknife, seed_interval
from jaxscale.papers.atlas._measures import (
    clock_windows,
    decades,
    exponents,
    natural_window,
    pseudo_values,
    replicates,
    student_interval,
    time_to_equal_loss,
)

TIME = np.concatenate([[0.0], np.geomspace(1, 3162, 43)])
LATE = TIME > 0


def power(exponent, time=TIME):
    """1 at the start, then a power of the time."""
    return np.where(time > 0, 0.5 * np.maximum(time, 1.0) ** -exponent, 1.0)


def test_windows_are_decades_that_slide_by_half():
    expected = [(1, 10), (3, 32), (10, 100), (32, 316), (100, 1000), (316, 3162)]
    assert decades(3162) == expected
    assert decades(3161) == expected[:-1]
    assert decades(316) == expected[:4]


def test_windows_of_a_clock_are_decades_back_from_its_end():
    steps = np.unique(np.round(10 ** (np.arange(43) / 12)))
    steps = steps[steps <= 3162]
    same = zip(clock_windows(steps, 6), decades(3162), strict=True)
    assert all(np.array_equal(inside, (steps >= a) & (steps <= b)) for inside, (a, b) in same)
    clock = steps**2  # of 7 decades
    for inside, end in zip(clock_windows(clock, 6), clock[-1] * 10 ** np.arange(-2.5, 0.1, 0.5),
                           strict=True):  # fmt: skip
        assert 0.09 * end < clock[inside].min() < 0.14 * end
        assert 0.7 * end < clock[inside].max() < 1.02 * end


@pytest.mark.parametrize("exponent", [0.09, 1.0, 1.91])
def test_a_power_law_has_its_exponent_on_every_window(exponent):
    curves = np.stack([power(exponent), 7 * power(exponent)])
    for low, high in decades(3162):
        inside = (TIME >= low) & (TIME <= high)
        np.testing.assert_allclose(exponents(curves, TIME, inside), exponent, rtol=1e-12)
    # by a clock that runs with the square of the steps it is half of that
    np.testing.assert_allclose(exponents(curves, TIME**2, LATE), exponent / 2, rtol=1e-12)


def test_what_cannot_be_fitted_is_missing():
    bad = power(1.0)
    bad[20] = np.nan
    assert np.isnan(exponents(bad[None], TIME, LATE)).all()
    assert np.isnan(exponents(power(1.0)[None], TIME, TIME > 2900)).all()  # two points
    assert np.isfinite(exponents(bad[None], TIME, TIME > TIME[20])).all()


def test_jackknife_values_are_those_of_analysis():
    rng = np.random.default_rng(0)
    losses = power(1.0) * np.exp(0.1 * rng.normal(size=(2, 8, TIME.size)))
    values = pseudo_values(exponents(replicates(losses), TIME, LATE))
    for row, curves in enumerate(losses):
        array = xarray.DataArray(curves, dims=("seed", "step"))
        expected = jackknife(array, lambda mean: exponents(mean.values[None], TIME, LATE)[0])
        np.testing.assert_allclose(values[:, row], expected, rtol=1e-9)
    mean, half = student_interval(values)
    ends = seed_interval(values[:, 0])
    np.testing.assert_allclose([mean[0] - half[0], mean[0] + half[0]], [ends.low, ends.high])


def test_few_seeds_have_wide_intervals():
    values = np.asarray([[0.9, 1.0, np.nan], [1.1, np.nan, np.nan], [1.0, np.nan, np.nan]])
    mean, half = student_interval(values)
    np.testing.assert_allclose(mean[:2], [1.0, 1.0])
    np.testing.assert_allclose(half[0], 4.30265 * 0.1 / np.sqrt(3), rtol=1e-5)
    assert np.isinf(half[1])
    assert np.isnan(half[2])
    assert pseudo_values(replicates(power(1.0)[None])).shape == (1, TIME.size)


def test_the_natural_window_is_from_half_to_ten_floors():
    curve = power(1.0)
    low, high = natural_window(curve, TIME, floor=1e-3)
    assert low == 1.0
    assert high == TIME[curve >= 1e-2].max()
    assert natural_window(curve, TIME, floor=1e-9) == (1.0, TIME[-1])
    slow = np.where(TIME < 100, 1.0, 0.3)
    assert natural_window(slow, TIME, floor=1e-3)[0] == TIME[TIME >= 100].min()
    assert np.isnan(natural_window(np.ones_like(TIME), TIME, floor=0.01)).all()
    assert np.isnan(natural_window(curve, TIME, floor=0.2)).all()


def test_time_to_equal_loss_is_a_ratio_of_times():
    run, control = power(1.0), power(1.0, TIME / 8)
    assert time_to_equal_loss(run, control, TIME) == pytest.approx(8.0, rel=0.02)
    assert time_to_equal_loss(control, run, TIME) == pytest.approx(1 / 8, rel=0.02)
    assert np.isnan(time_to_equal_loss(run * np.nan, control, TIME))
    assert np.isnan(time_to_equal_loss(np.append(np.ones(43), 1.1), control, TIME))  # never falls
