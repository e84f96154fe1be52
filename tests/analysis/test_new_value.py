"""Noise of a new measurement and tails of residuals, against their formulas."""

import numpy as np
import pytest
from scipy.stats.mstats import hdquantiles

from jaxscale.analysis._new_value import _tails, noise_of


@pytest.mark.parametrize("tail", [0.025, 0.2])
def test_tails_are_quantiles_of_harrell_and_davis(tail):
    residuals = np.random.default_rng(0).exponential(size=40) - 1.0
    low, high = hdquantiles(residuals, [tail, 1 - tail])
    np.testing.assert_allclose(_tails(residuals, tail), np.abs([high, low]), rtol=1e-12)


@pytest.mark.parametrize(("n_groups", "n_free", "between"), [(2, 3, 1), (5, 2, 1), (4, 1, 1)])
def test_noise_that_groups_share_is_split_by_their_means(n_groups, n_free, between):
    """Groups of two and three points at the same locations, one of which each group repeats."""
    counts = np.resize([2, 3], n_groups)
    group = np.repeat(np.arange(n_groups), counts)
    location = np.concatenate([np.asarray([0, 1, 1])[:n] for n in counts])
    r = np.random.default_rng(0).standard_normal(len(group))
    mean = np.asarray([r[group == g].mean() for g in range(n_groups)])
    df = n_groups - between, len(r) - n_groups - n_free + between
    v = np.sum(mean**2) / df[0]
    w = (1 - np.mean(1 / counts)) * np.sum((r - mean[group]) ** 2) / df[1]
    noise = noise_of(r, group, location, n_free)
    np.testing.assert_allclose(noise, [v + w, (v + w) ** 2 / (v**2 / df[0] + w**2 / df[1])])


def test_noise_of_single_points_is_theirs_less_the_parameters():
    r, each = np.asarray([1.0, -2.0, 2.0, 1.0]), np.arange(4)
    assert noise_of(r, each, each, 2) == (5.0, 2)
    assert noise_of(r, each, each, 4) == (10.0, 1)  # at least one
