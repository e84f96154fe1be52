"""Scores and claims of sparse regression on curves planted by hand, where every answer is known."""

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import xarray

import jaxscale as js
from jaxscale.analysis import Claim
from jaxscale.analysis._jackknife import jackknife, jackknife_exponents
from jaxscale.papers.sparse._claims import (
    data_claims,
    parameter_claims,
    peak_claims,
    plane,
    slope,
)
from jaxscale.papers.sparse._claims_allocation import (
    frontier_claims,
    plane_claims,
    relu_plane_claims,
)
from jaxscale.papers.sparse._claims_descent import descent_claims, instability_claims
from jaxscale.papers.sparse._claims_relu import nonlinear_claims, relu_parameter_claims
from jaxscale.papers.sparse._figures import frontier_figure, relu_figure
from jaxscale.papers.sparse._scores import (
    PLANE_COMPUTE,
    measure_frontier,
    measure_instability,
    measure_plane,
    peak_over,
    tuned,
)
from jaxscale.papers.sparse._study import instability_table
from jaxscale.sparse import GradientDescent, Identity, RandomFeatureRegression, theory

ALPHA, GAMMA = 1.0, 2.0
SAMPLES = 2 ** np.arange(4, 12)
COMPUTE = np.geomspace(1e3, 1e5, 7)


def _noisy(mean, n_seeds=12, spread=0.01):
    """Values over (seed, ...) with independent factors around `mean`."""
    noise = np.random.default_rng(0).normal(size=(n_seeds, *np.shape(mean)))
    return mean * np.exp(spread * noise)


def _runs(mean, n_seeds=12, spread=0.01, name="loss", **coords):
    """A Dataset of one noisy variable over `coords` and seeds."""
    dims = ("seed", *coords)
    values = _noisy(mean, n_seeds, spread)
    coords = {"seed": np.arange(n_seeds), **coords}
    return xarray.Dataset({name: (dims, values)}, coords=coords)


def _verdicts(claims, start=""):
    verdicts = {c.id: str(c.verdict) for c in claims if c.id.startswith(start)}
    assert verdicts, f"no claim starts with {start!r}"
    return verdicts


def _all(claims, verdict, start=""):
    verdicts = _verdicts(claims, start)
    assert set(verdicts.values()) == {verdict}, verdicts


# ---------------------------------------------------------------- frontier


def _power_laws(a=0.5, b=0.5, k=1.7, n_seeds=12, spread=0.0):
    d = SAMPLES.astype(float)
    runs = _runs(d**-a, n_seeds, spread, "residual_loss", n_samples=SAMPLES)
    runs["rank"] = runs["residual_loss"].copy(data=_noisy(k * d**b, n_seeds, spread))
    return runs


def _direct(a, b, k, c):
    """(ln N, ln D, ln L) of the best split, by minimisation over ln D."""

    def log_loss(x):
        n, r = c * np.exp(-x), k * np.exp(b * x)
        return -a * x + np.log((n - 1) / (n - r - 1)) if n >= r + 2 else np.inf

    most = scipy.optimize.brentq(lambda x: c * np.exp(-x) - k * np.exp(b * x) - 2, 0, np.log(c))
    optimum = scipy.optimize.minimize_scalar(
        log_loss, bounds=(0, most), method="bounded", options={"xatol": 1e-9}
    )
    return np.log(c) - optimum.x, optimum.x, optimum.fun


@pytest.mark.parametrize(("a", "b", "k"), [(0.5, 0.5, 1.7), (0.35, 0.4, 2.5)])
def test_the_frontier_of_power_laws_is_that_of_direct_minimisation(a, b, k):
    frontier = measure_frontier(_power_laws(a, b, k), COMPUTE)
    expected = np.array([_direct(a, b, k, c) for c in COMPUTE]).T
    np.testing.assert_allclose(np.log(frontier.n_features), expected[0], atol=1e-3)
    np.testing.assert_allclose(np.log(frontier.n_samples), expected[1], atol=1e-3)
    np.testing.assert_allclose(np.log(frontier.loss), expected[2], atol=1e-6)
    np.testing.assert_allclose(frontier.n_features * frontier.n_samples, COMPUTE)
    slopes = [np.polyfit(np.log(COMPUTE), e, 1)[0] for e in expected]
    for name, expected_slope in zip(("n_features", "n_samples", "loss"), slopes, strict=True):
        per_seed = frontier.exponent[name].per_seed
        np.testing.assert_allclose(per_seed, np.full(12, expected_slope), atol=1e-3)
    # far from N ~ 1 the best N is a fixed multiple of the rank
    np.testing.assert_allclose(slopes[:2], [b / (1 + b), 1 / (1 + b)], atol=0.03)


@pytest.mark.parametrize(("c", "end"), [(30.0, "first"), (1e7, "last")])
def test_an_optimum_at_an_end_of_the_samples_is_nan(c, end):
    expected = np.exp(_direct(0.5, 0.5, 1.7, c)[1])
    assert expected < SAMPLES[0] if end == "first" else expected > SAMPLES[-1]
    frontier = measure_frontier(_power_laws(), np.array([1e3, 1e4, c]))
    for values in (frontier.n_features, frontier.n_samples, frontier.loss):
        np.testing.assert_array_equal(np.isnan(values), [False, False, True])
    assert all(np.isnan(e.per_seed).all() for e in frontier.exponent.values())
    _all(frontier_claims(frontier, ALPHA, GAMMA), "inconclusive")


def test_a_seed_without_a_value_leaves_no_frontier():
    runs = _power_laws(spread=0.01)
    runs["rank"][3, 2] = np.nan
    frontier = measure_frontier(runs, COMPUTE)
    assert all(np.isnan(e.per_seed).all() for e in frontier.exponent.values())
    _all(frontier_claims(frontier, ALPHA, GAMMA), "inconclusive")


# ------------------------------------------------------------- instability


def test_unstable_runs_are_counted_with_exact_binomial_limits():
    n, unstable = 60, [0, 7, 31, 60]
    largest = np.full((n, 4), 3.9)
    for column, count in enumerate(unstable):
        largest[:count, column] = 4.1
    eigenvalues = xarray.DataArray(
        largest, dims=("seed", "n_samples"), coords={"n_samples": [10, 20, 40, 80]}
    )
    # eta lambda > 2 is strict: 0.25 * 3.9 < 2, 0.5 * 4.1 > 2, and every run beyond 2 / 3.9
    instability = measure_instability(eigenvalues, np.array([0.25, 0.5, 0.6]))
    np.testing.assert_array_equal(instability.n_runs, n)
    assert instability.runs == "60"
    np.testing.assert_array_equal(instability.count, [[0] * 4, unstable, [n] * 4])
    for i, j in np.ndindex(instability.count.shape):
        count = int(instability.count[i, j])
        exact = scipy.stats.binomtest(count, n).proportion_ci(method="exact")
        assert instability.low[i, j] == pytest.approx(exact.low, abs=1e-12)
        assert instability.high[i, j] == pytest.approx(exact.high, abs=1e-12)
    assert instability.low[0, 0] == 0.0
    assert instability.high[2, 0] == 1.0
    np.testing.assert_allclose(instability.share.mean("seed"), instability.count / n)


def test_shares_are_of_the_runs_that_have_an_eigenvalue():
    largest = np.full((40, 3), 3.9)
    largest[:10] = 4.1
    largest[30:, 1] = largest[:, 2] = np.nan
    eigenvalues = xarray.DataArray(
        largest, dims=("seed", "n_samples"), coords={"n_samples": [10, 20, 40]}
    )
    instability = measure_instability(eigenvalues, np.array([0.5]))
    np.testing.assert_array_equal(instability.n_runs, [40, 30, 0])
    np.testing.assert_array_equal(instability.count, [[10, 10, np.nan]])
    for j, n in enumerate([40, 30]):
        exact = scipy.stats.binomtest(10, n).proportion_ci(method="exact")
        assert instability.low[0, j] == pytest.approx(exact.low, abs=1e-12)
        assert instability.high[0, j] == pytest.approx(exact.high, abs=1e-12)
    assert (instability.low[0, 2], instability.high[0, 2]) == (0.0, 1.0)
    table = instability_table(instability)
    assert [row[2] for row in table.rows] == ["0.25", "0.33", "nan"]
    assert table.note.startswith("Of 0 to 40 data sets")


def test_the_threshold_itself_is_stable():
    eigenvalues = xarray.DataArray(
        np.full((20, 1), 4.0), dims=("seed", "n_samples"), coords={"n_samples": [10]}
    )
    assert measure_instability(eigenvalues, np.array([0.5])).count.item() == 0


# ----------------------------------------------------- peaks, and jackknife


def test_peaks_are_in_units_of_each_seed():
    n = np.array([10, 20, 30, 40])
    loss = xarray.DataArray(
        [[1, 9, 2, 1], [1, 2, 3, 9], [9, 1, np.inf, 1]],
        dims=("seed", "n_features"), coords={"n_features": n},
    ).astype(float)  # fmt: skip
    unit = xarray.DataArray([20.0, 50.0, 15.0], dims="seed")
    np.testing.assert_allclose(peak_over(loss, unit), [1.0, 0.8, 2.0])


def test_a_seed_without_a_loss_has_no_peak():
    n = np.array([10, 20, 30])
    loss = xarray.DataArray(
        [[1, np.nan, 2], [1, 2, 3], [np.nan] * 3], dims=("seed", "n_features"),
        coords={"n_features": n},
    )  # fmt: skip
    unit = xarray.DataArray([20.0, 20.0, 20.0], dims="seed")
    np.testing.assert_allclose(peak_over(loss, unit), [np.nan, 1.5, np.nan])


def test_the_jackknife_takes_estimates_of_any_shape():
    values = _runs(np.array([1.0, 2.0, 4.0]), 12, 0.1, x=[1, 2, 4])["loss"]
    of_mean = jackknife(values, lambda mean: np.outer([1.0, 2.0], np.asarray(mean)))
    assert of_mean.shape == (12, 2, 3)  # of a linear estimate, the values themselves
    np.testing.assert_allclose(of_mean[:, 0], values, rtol=1e-12)
    np.testing.assert_allclose(of_mean[:, 1], 2 * values, rtol=1e-12)
    both = jackknife(values, lambda mean: np.array([slope(mean["x"], mean), float(mean.sum())]))
    np.testing.assert_allclose(both[:, 0], jackknife_exponents(values, "x", (1, 4)), rtol=1e-9)


def test_a_seed_without_a_value_is_not_left_out():
    values = _runs(np.array([1.0, 2.0, 4.0]), 12, 0.01, x=[1, 2, 4])["loss"]
    values[3, 1] = np.nan
    estimates = jackknife(values, np.asarray)
    assert estimates.shape == (12, 3)
    assert np.isnan(estimates).all()
    claim = Claim.from_seeds(
        "toy", "x", "x", predicted=2.0, values=estimates[:, 1], margin=0.5, reason="toy"
    )
    assert claim.verdict == "inconclusive"


def test_a_seed_without_any_value_leaves_no_exponent():
    runs = _planted_relu(sparse=-1 / 3)
    runs["loss"][3] = np.nan
    assert {str(claim.verdict) for claim in nonlinear_claims(runs)} == {"inconclusive"}


# ------------------------------------------------------------------ claims


@pytest.fixture(scope="module")
def dense():
    """The results of `sparse_dense` that the theory predicts, with 16 seeds."""
    grid = js.Grid.from_toml("sparse_dense")
    d, n = (np.asarray(grid.axes[name], float) for name in ("n_samples", "n_features"))
    with jax.enable_x64(True):
        keywords = {"spectrum_exponent": ALPHA, "n_coordinates": 512}
        both = theory.dense_loss(np.array([*n, np.inf]), d[:, None], **keywords)
    both = np.nan_to_num(np.asarray(both), posinf=1e3)
    coords = {"n_samples": d.astype(int), "n_features": n.astype(int)}
    runs = _runs(both[:, :-1], 16, **coords)
    residual = np.broadcast_to(both[:, -1:], both[:, :-1].shape)
    # the residual of the samples alone: one value per seed, whatever the features
    noisy = np.broadcast_to(_noisy(both[:, -1], 16)[..., None], (16, *residual.shape))
    runs["residual_loss"] = runs["loss"].copy(data=noisy)
    return runs


def _data(exponent=None):
    """The results of `sparse_data` that the theory predicts, or power laws of given exponents."""
    alphas, gammas = [0.5, 1.0], [2.0, 3.0]
    d = SAMPLES.astype(float)
    mean = np.empty((2, 2, d.size))
    for i, alpha in enumerate(alphas):
        for j, gamma in enumerate(gammas):
            at = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
            mean[i, j] = plane(np.inf, d, **at) if exponent is None else d ** -exponent(alpha)
    coords = {"spectrum_exponent": alphas, "sparsity_exponent": gammas, "n_samples": SAMPLES}
    return _runs(mean, 12, 0.01, "residual_loss", **coords)


@pytest.fixture(scope="module")
def data():
    return _data()


def test_data_of_the_theory_agree(data, dense):
    claims = data_claims(data, dense)
    _all(claims, "agrees")
    assert len(_verdicts(claims, "data-gap")) == 2
    assert len(claims) == 6


@pytest.mark.slow
def test_data_with_the_exponent_of_dense_inputs_disagree(dense):
    _all(data_claims(_data(lambda alpha: alpha), dense), "disagrees")


@pytest.mark.slow
def test_a_seed_of_data_without_any_value_is_reported(data, dense):
    broken = data.copy(deep=True)
    broken["residual_loss"][3] = np.nan
    assert {str(claim.verdict) for claim in data_claims(broken, dense)} == {"inconclusive"}


@pytest.mark.slow
def test_parameters_of_the_theory_agree_and_the_data_exponent_disagrees():
    system = RandomFeatureRegression(
        n_features=11, n_samples=4096, spectrum_exponent=ALPHA, sparsity_exponent=GAMMA
    )
    n = np.array([11, 16, 23, 32, 45])
    coords = {"spectrum_exponent": [0.5, 1.0], "n_features": n}
    means = [plane(n, 4096.0, spectrum_exponent=a, sparsity_exponent=GAMMA) for a in (0.5, 1.0)]
    claims = parameter_claims(_runs(np.array(means), **coords), system)
    _all(claims, "agrees", "parameters-")
    wrong = np.tile(n ** -(ALPHA / GAMMA), (2, 1))
    _all(parameter_claims(_runs(wrong, **coords), system), "disagrees", "parameters-")


def _peaked(centre):
    """Loss with its peak where N is `centre(rank of the seed)`, and the rank min(N, r)."""
    n = np.array([12, 18, 24, 30, 36, 42, 48, 54, 64, 80, 112, 160])
    rank = np.random.default_rng(0).integers(36, 43, size=(12, 1))
    dims = ("seed", "n_features")
    return xarray.Dataset(
        {
            "loss": (dims, 1 / (1 + np.abs(n - centre(rank)))),
            "rank": (dims, np.minimum(n, rank)),
        },
        coords={"n_features": n, "seed": np.arange(12)},
    )


def test_peaks_at_the_rank_agree_and_at_twice_the_rank_disagree(dense):
    _all(peak_claims(_peaked(lambda r: r), dense), "agrees", "peak-")
    wrong = peak_claims(_peaked(lambda r: 2 * r), dense)
    _all(wrong, "disagrees", "peak-sparse")
    _all(wrong, "agrees", "peak-dense")


def test_dense_inputs_that_peak_elsewhere_disagree(dense):
    moved = dense.assign_coords(n_features=dense["n_features"] + 12)
    _all(peak_claims(_peaked(lambda r: r), moved), "disagrees", "peak-dense")


@pytest.fixture(scope="module")
def frontier_runs(data):
    """`residual_loss` and `rank` of the theory at one pair of exponents."""
    at = {"spectrum_exponent": ALPHA, "sparsity_exponent": GAMMA}
    runs = data.sel(at, drop=True)
    # the rank as `allocation_laws` has it
    rank = scipy.special.gamma(1 - 1 / GAMMA) * SAMPLES ** (1 / GAMMA)
    runs["rank"] = runs["residual_loss"].copy(data=_noisy(rank))
    return runs


def test_the_frontier_of_the_theory_agrees(frontier_runs):
    frontier = measure_frontier(frontier_runs, COMPUTE)
    claims = frontier_claims(frontier, ALPHA, GAMMA)
    _all(claims, "agrees")
    _all(claims, "agrees", "frontier-L")
    _all(claims, "agrees", "frontier-data-first")


def test_a_frontier_of_other_exponents_disagrees(frontier_runs):
    """Loss and rank of dense inputs: L = D^-alpha and r = D."""
    d = SAMPLES.astype(float)
    runs = frontier_runs.copy()
    runs["residual_loss"] = runs["residual_loss"].copy(data=_noisy(d**-ALPHA))
    runs["rank"] = runs["rank"].copy(data=_noisy(d))
    claims = frontier_claims(measure_frontier(runs, COMPUTE), ALPHA, GAMMA)
    _all(claims, "disagrees")


def _descent(factor):
    """The results of `sparse_descent` that the theory predicts, times `factor(step)`."""
    system = RandomFeatureRegression(
        n_samples=512, spectrum_exponent=ALPHA, sparsity_exponent=GAMMA, features=Identity(),
        solver=GradientDescent(learning_rate=0.5, n_steps=10000),
    )  # fmt: skip
    steps = np.array([0, 1, 3, *np.unique(np.geomspace(10, 10000, 16).round().astype(int))])
    alphas, t = [0.5, 1.0], np.maximum(steps, 1).astype(float)
    keywords = {"learning_rate": 0.5, "sparsity_exponent": GAMMA}
    with jax.enable_x64(True):
        factors = [
            np.asarray(theory.gd_loss(t[3:], 512.0, spectrum_exponent=a, **keywords))
            for a in alphas
        ]
    mean = np.concatenate([np.ones((2, 3)), factors], axis=1) * factor(t)
    return _runs(mean, spectrum_exponent=alphas, step=steps), system


def test_descent_of_the_theory_agrees():
    claims = descent_claims(*_descent(np.ones_like))
    assert len(claims) == 4
    _all(claims, "agrees", "descent-")


def test_descent_that_is_slower_or_higher_disagrees():
    slower = descent_claims(*_descent(lambda t: (t / 100) ** 0.1))
    _all(slower, "disagrees", "descent-exponent-")
    higher = descent_claims(*_descent(lambda t: np.full_like(t, 1.3)))
    _all(higher, "disagrees", "descent-ratio-")
    _all(higher, "agrees", "descent-exponent-")


def test_instability_of_the_theory_agrees_and_of_another_exponent_disagrees():
    rate, d, n_runs = np.array([0.25, 0.5, 1.0]), np.array([50, 100, 200]), 200_000
    with jax.enable_x64(True):
        p = np.asarray(
            theory.instability_probability(
                d[None, :].astype(float), rate[:, None],
                spectrum_exponent=0.5, sparsity_exponent=2.5,
            )
        )  # fmt: skip
    rows = np.random.default_rng(0).uniform(size=(n_runs, d.size))
    largest = np.select([rows < p[0], rows < p[1], rows < p[2]], [10.0, 5.0, 3.0], 1.0)
    eigenvalues = xarray.DataArray(
        largest, dims=("seed", "n_samples"), coords={"n_samples": d}, name="largest_eigenvalue"
    )
    instability = measure_instability(eigenvalues, rate)
    assert np.all((instability.low < p) & (p < instability.high))
    claims = instability_claims(instability, 0.5, 2.5)
    assert len(claims) == 3
    _all(claims, "agrees", "instability-")
    wrong = _verdicts(instability_claims(instability, 0.5, 4.0))
    assert wrong["instability-samples"] == "disagrees"
    assert wrong["instability-rate"] == "disagrees"


def _planted_relu(sparse, gap=0.355):
    d = np.array([32, 64, 128])
    mean = np.array([d ** (sparse - gap), d**sparse])
    return _runs(mean, sparsity_exponent=[0.0, 3.0], n_samples=d)


def test_nonlinear_features_agree_and_with_dense_exponents_disagree():
    _all(nonlinear_claims(_planted_relu(-1 / 3)), "agrees", "relu-")
    _all(nonlinear_claims(_planted_relu(-0.8, gap=0.0)), "disagrees", "relu-")


# ------------------------------------------------- planes of simulated losses


def _plane(a, b, **coords):
    """Losses N^-a + D^-b, best where both fall alike: N* ~ C^(b/(a + b))."""
    n, d = np.array([16, 23, 32, 45, 64, 91, 128, 181, 256, 362]), 2 ** np.arange(2, 11)
    mean = 2 * n[:, None] ** -a + d**-b
    return _runs(mean, 12, 0.002, n_features=n, n_samples=d)["loss"]


def test_a_plane_of_sparse_exponents_agrees_and_a_dense_one_disagrees():
    sparse, dense = (measure_plane(_plane(1.0, b)) for b in (0.5, 1.0))
    assert sparse.exponent["n_samples"].value == pytest.approx(2 / 3, abs=0.02)
    np.testing.assert_allclose(sparse.n_features * sparse.n_samples, PLANE_COMPUTE)
    for claims_of, more in ((plane_claims, ()), (relu_plane_claims, ("no ridge",))):
        claims = claims_of(sparse, ALPHA, GAMMA, *more)
        assert len(claims) == 3
        _all(claims, "agrees")
        _all(claims_of(dense, ALPHA, GAMMA, *more), "disagrees")
    assert "with no ridge" in claims[0].statement


def test_the_best_ridge_is_that_of_the_mean_over_seeds_at_every_point():
    loss = _runs(np.array([[1.0, 4.0], [3.0, 2.0]]), 8, 0.01, n_features=[1, 2],
                 **{"solver.strength": [1e-4, 1e-2]})["loss"]  # fmt: skip
    loss[0, 0] = [9.0, 0.1]  # one seed does not choose its own
    best = tuned(loss)
    np.testing.assert_array_equal(best, np.stack([loss[:, 0, 0], loss[:, 1, 1]], axis=1))
    assert tuned(best) is best


def test_parameter_exponents_that_differ_from_the_dense_one_disagree():
    n = np.array([12.0, 23.0, 45.0])

    def claims(*exponents):
        mean = np.stack([n**-a for a in (0.75, *exponents)])
        return relu_parameter_claims(_runs(mean, sparsity_exponent=[0.0, 2.0, 3.0], n_features=n))

    _all(claims(0.73, 0.78), "agrees")
    _all(claims(0.4, 1.1), "disagrees")
    assert set(_verdicts(claims(0.7, 0.7))) == {"relu-parameters-2", "relu-parameters-3"}


# ----------------------------------------------------------------- figures


def test_the_frontier_is_drawn(frontier_runs):
    frontier = measure_frontier(frontier_runs, COMPUTE)
    figure = frontier_figure({(ALPHA, GAMMA): frontier})
    assert len(figure.axes) == 3
    for axes, name in zip(figure.axes, ("n_features", "n_samples", "loss"), strict=True):
        measured, law = (line.get_ydata() for line in axes.lines)
        np.testing.assert_allclose(measured, getattr(frontier, name))
        np.testing.assert_allclose(law, measured, rtol=0.3)
    figure.draw_without_rendering()


def test_relu_features_are_drawn_next_to_linear_ones():
    n = np.array([12, 23, 45])
    few = _runs(np.stack([n**-0.75, n**-0.7]), sparsity_exponent=[0.0, 2.0], n_features=n)
    relu, linear = (measure_plane(_plane(a, 0.5)) for a in (0.75, 1.0))
    at = (ALPHA, GAMMA)
    figure = relu_figure(_planted_relu(-1 / 3), few, {at: relu}, {at: linear})
    measured, _, hollow = (line.get_ydata() for line in figure.axes[2].lines)
    np.testing.assert_allclose(measured, relu.n_samples)
    np.testing.assert_allclose(hollow, linear.n_samples)
    figure.draw_without_rendering()
