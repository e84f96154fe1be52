import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import jaxscale as js
from jaxscale.sparse._data import draw_inputs
from jaxscale.training import cast

N_DRAWS = 4000


def regression(n_samples, gamma=2.0, **fields):
    fields = {"spectrum_exponent": 1.0, "features": js.sparse.Identity(), **fields}
    if "spectrum" not in fields:
        fields["sparsity_exponent"] = gamma
    else:
        del fields["spectrum_exponent"]
    return js.sparse.RandomFeatureRegression(n_samples=n_samples, **fields)


def draw(system, n_draws=N_DRAWS, padding=None, key=0):
    with jax.enable_x64(True):
        padding = padding or system.padding
        plain = cast(system, "float64")

        def one(key):
            return draw_inputs(key, plain.coordinates, jnp.asarray(plain.n_samples), padding)

        keys = jr.split(jr.key(key), n_draws)
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


def limit(n_comparisons):
    return scipy.stats.norm.isf(0.5e-3 / n_comparisons)


def columns_by_coordinate(inputs, n_coordinates):
    """(draws, rows, coordinates) of the first coordinates, zero where unseen."""
    draws, rows, _ = inputs.values.shape
    full = np.zeros((draws, rows, n_coordinates + 1))
    ids = np.where(inputs.seen, np.minimum(inputs.ids, n_coordinates + 1), n_coordinates + 1)
    for i in range(draws):
        within = ids[i] <= n_coordinates
        full[i][:, ids[i][within] - 1] = inputs.values[i][:, within]
    return full[..., :n_coordinates]


@pytest.fixture(scope="module")
def sparse_draws():
    return draw(regression(12, gamma=1.5, activity=0.9))


def test_counts_are_binomial_and_rows_are_distinct(sparse_draws):
    x = columns_by_coordinate(sparse_draws, 40)
    counts = np.sum(x != 0, axis=1)
    p = 0.9 * np.arange(1.0, 41) ** -1.5
    chances = []
    for i in (0, 1, 2, 5):
        expected = scipy.stats.binom.pmf(np.arange(13), 12, p[i]) * N_DRAWS
        common = expected > 5
        histogram = np.bincount(counts[:, i], minlength=13)
        observed = np.append(histogram[common], histogram[~common].sum())
        wanted = np.append(expected[common], expected[~common].sum())
        frequent = wanted > 1
        chances.append(
            scipy.stats.chisquare(observed[frequent], wanted[frequent], sum_check=False).pvalue
        )
    assert min(chances) > 1e-3 / 4
    mean, error = counts.mean(axis=0), np.sqrt(12 * p * (1 - p) / N_DRAWS)
    assert np.max(np.abs(mean - 12 * p) / error) < limit(40)
    # the check has power: a sampler with Poisson cells counted twice would be far off
    assert np.max(np.abs(mean - 12 * -np.log1p(-p)) / error) > limit(40)


def test_rows_are_uniform_and_amplitudes_are_normal(sparse_draws):
    x = columns_by_coordinate(sparse_draws, 40)
    by_row = np.sum(x[:, :, 1:] != 0, axis=(0, 2))
    assert scipy.stats.chisquare(by_row).pvalue > 1e-3
    sigma = np.sqrt(np.arange(1.0, 41) ** -2.0 / (0.9 * np.arange(1.0, 41) ** -1.5))
    z = (x / sigma)[x != 0]
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(np.mean(z[::2][: z.size // 2] * z[1::2])) * math.sqrt(z.size / 2) < limit(1)


def test_coordinates_are_independent(sparse_draws):
    x = columns_by_coordinate(sparse_draws, 6) != 0
    z = []
    for i, j in itertools.combinations(range(6), 2):
        both = np.mean(x[:, :, i] & x[:, :, j])
        chance = x[:, :, i].mean() * x[:, :, j].mean()
        z.append((both - chance) / math.sqrt(chance / (N_DRAWS * 12)))
    assert np.max(np.abs(z)) < limit(len(z))


@pytest.mark.parametrize(
    ("gamma", "n_coordinates", "n_samples"),
    [
        (2.0, math.inf, 64),
        pytest.param(1.3, math.inf, 16, marks=pytest.mark.slow),
        pytest.param(1.3, 20000, 16, marks=pytest.mark.slow),
        pytest.param(0.5, 300, 8, marks=pytest.mark.slow),
        pytest.param(1.0, 9000, 32, marks=pytest.mark.slow),
    ],
)
def test_seen_coordinates_and_unseen_variance_have_the_exact_means(gamma, n_coordinates, n_samples):
    inputs = draw(regression(n_samples, gamma, n_coordinates=n_coordinates), 1500)
    assert inputs.complete.all()
    last = 3_000_000 if n_coordinates == math.inf else n_coordinates
    i = np.arange(1.0, last + 1)
    unseen = (1 - i**-gamma) ** n_samples
    n_seen = np.sum(1 - unseen)
    if n_coordinates == math.inf:
        n_seen += n_samples * (last + 0.5) ** (1 - gamma) / (gamma - 1)
    variance = np.sum(i**-2.0 * unseen) + (1 / last if n_coordinates == math.inf else 0.0)
    z = []
    for measured, wanted in ((inputs.seen.sum(axis=1), n_seen), (inputs.unseen_variance, variance)):
        z.append((measured.mean() - wanted) / (measured.std() / math.sqrt(1500)))
    assert np.max(np.abs(z)) < limit(2)


def test_dense_inputs_are_gaussian_and_nothing_is_unseen():
    inputs = draw(regression(4, 0.0, n_coordinates=6), 2000)
    assert inputs.seen.all()
    assert np.all(inputs.unseen_variance == 0)
    z = inputs.values / np.arange(1.0, 7) ** -1.0
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3


@pytest.mark.slow
def test_a_tabulated_power_law_draws_what_the_power_law_draws():
    i = np.arange(1.0, 201)
    table = js.sparse.Tabulated(variance=i**-2.0, probability=i**-1.5)
    one = draw(regression(16, spectrum=table), 50)
    other = draw(regression(16, 1.5, n_coordinates=200), 50)
    for name in ("values", "variance", "seen", "unseen_variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)


@pytest.mark.slow
def test_padding_changes_no_draw():
    small = regression(10, 1.4)
    wide = small.padded_for({"n_samples": [10, 33], "sparsity_exponent": [1.4, 1.2]})
    assert wide.padding.seen > small.padding.seen
    assert wide.padding.head >= small.padding.head
    one, other = draw(small, 100), draw(small, 100, wide.padding)
    k = one.values.shape[2]
    np.testing.assert_array_equal(one.values, other.values[:, :10, :k])
    np.testing.assert_array_equal(one.ids, other.ids[:, :k])
    assert not other.values[:, 10:].any()
    assert not other.values[:, :, k:].any()
    np.testing.assert_allclose(one.unseen_variance, other.unseen_variance, rtol=1e-13)


@pytest.mark.slow
def test_other_runs_of_a_program_change_no_draw():
    """A longer head beside this run moves neither its table nor its tail."""
    alone = regression(20, 1.4, n_coordinates=20_000)
    padded = alone.padded_for({"sparsity_exponent": [1.4, 0.9], "activity": [1.0, 40.0]})
    assert padded.padding.head > 20 + alone.padding.head
    one, other = draw(alone, 40), draw(alone, 40, padded.padding)
    for name in ("unseen_variance", "complete"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-13)
    k = one.values.shape[2]
    np.testing.assert_array_equal(one.values, other.values[:, :, :k])
    assert not other.active[:, :, k:].any()


@pytest.mark.slow
def test_a_coordinate_without_variance_is_seen():
    table = js.sparse.Tabulated(variance=[1.0, 0.0, 0.5], probability=[0.9, 0.6, 0.3])
    assert np.all(draw(regression(60, spectrum=table), 20).seen.sum(axis=1) == 3)


@pytest.mark.slow
def test_too_little_padding_is_reported():
    system = regression(64, 1.5)
    sizes = dict(vars(system.padding))
    few = type(system.padding)(**{**sizes, "points": 20})
    narrow = type(system.padding)(**{**sizes, "seen": 8})
    short = dataclasses.replace(system, lengths=(("seen", 8),))
    assert short.padding == narrow
    assert not draw(system, 20, few).complete.any()
    assert not draw(system, 20, narrow).complete.any()
    with jax.enable_x64(True):
        out = jax.jit(lambda key: short.simulate(key))(jr.key(0))
    assert out["status"] == js.Status.truncated
    assert np.isnan(out["loss"])
    assert np.isnan(out["n_seen"])
