"""The mean curve's exponent and its interval on synthetic curves with multiplicative noise."""

import numpy as np
import pytest
import xarray

from jaxscale.analysis import fit_exponent, jackknife, jackknife_exponents, seed_interval


def _curves(rng: np.random.Generator, n: int, growth: float) -> xarray.DataArray:
    """y = x^-0.5 on average, log-normal over seeds, noisier at small x."""
    x = np.geomspace(10, 1000, 6)
    sigma = growth * (x / 10) ** -0.3
    noise = np.exp(sigma * rng.standard_normal((n, 6)) - sigma**2 / 2)
    return xarray.DataArray(x**-0.5 * noise, dims=("seed", "x"), coords={"x": x})


def test_without_noise_it_is_the_fit():
    curve = _curves(np.random.default_rng(0), 5, 0.0)
    np.testing.assert_allclose(jackknife_exponents(curve, "x", (10, 1000)), -0.5, rtol=1e-10)


def test_all_means_look_alike_and_the_mean_is_its_own_jackknife():
    coordinates = []

    def estimate(mean):
        coordinates.append((mean.dims, set(mean.coords)))
        return np.asarray(mean)

    curve = _curves(np.random.default_rng(0), 3, 0.5).assign_coords(seed=[4, 5, 6])
    np.testing.assert_allclose(jackknife(curve, estimate), curve, rtol=1e-12)
    assert coordinates == [(("x",), {"x"})] * 4


@pytest.mark.slow
def test_the_interval_covers_the_mean_law_where_per_seed_fits_do_not():
    rng = np.random.default_rng(0)
    covered, biased = 0, 0
    for _ in range(200):
        curve = _curves(rng, 24, 0.6)
        ours = seed_interval(jackknife_exponents(curve, "x", (10, 1000)))
        typical = fit_exponent(curve, "x", (10, 1000)).interval
        covered += ours.low <= -0.5 <= ours.high
        biased += typical[0] <= -0.5 <= typical[1]
    assert 0.88 < covered / 200 < 0.99
    assert biased / 200 < 0.85


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="`values` must have at least 2 seeds, got 1"):
        jackknife_exponents(_curves(np.random.default_rng(0), 1, 0.1), "x", (10, 1000))
