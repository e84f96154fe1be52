"""Simulations against `sparse.theory`: Student-t for exact means, stated windows for the others.

Means of a window are refused where they leave it by more than the Student-t quantile at
1e-3 / comparisons, in standard errors over data sets. Every number is printed (`pytest -s`).
"""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from checks import largest_z

import jaxscale as js
from jaxscale.sparse import GradientDescent, Identity, RandomFeatureRegression, Ridge, theory
from jaxscale.sparse._data import draw_inputs
from jaxscale.sparse._losses import linear_loss
from jaxscale.sparse._solvers import Problem
from jaxscale.training import cast


def _system(alpha=1.0, gamma=2.0, **fields):
    fields = {"features": Identity(), **fields} if "n_features" not in fields else fields
    return RandomFeatureRegression(spectrum_exponent=alpha, sparsity_exponent=gamma, **fields)


def _run(system, axes=None, seeds=200):
    runs = js.run(js.Grid(system, axes, seeds=seeds), progress=False)
    assert (runs["status"] == js.Status.ok).all()
    return runs


def _excess(values, wanted, window, n_comparisons, label):
    """How far the mean over seeds (last axis) leaves the window, over what chance allows."""
    n = values.shape[-1]
    ratio = values.mean(axis=-1) / wanted
    error = values.std(axis=-1, ddof=1) / math.sqrt(n) / wanted
    text = ", ".join(f"{r:.3f}+-{e:.3f}" for r, e in zip(ratio.ravel(), error.ravel(), strict=True))
    print(f"{label}: measured/theory {text}")
    return (np.abs(ratio - 1) - window) / (error * largest_z(n, n_comparisons))


def _predict(function, *arguments, **options):
    with jax.enable_x64(True):
        return np.asarray(function(*arguments, **options))


@pytest.mark.slow
def test_counts_and_unseen_variance_have_their_exact_means():
    axes = {
        "n_samples": [10, 30], "spectrum_exponent": [0.5, 1.0], "sparsity_exponent": [1.5, 2.5],
    }  # fmt: skip
    runs = _run(_system(n_samples=30, activity=0.7, solver=Ridge()), axes, seeds=300)
    values = np.meshgrid(*axes.values(), indexing="ij")
    d, alpha, gamma = (v.astype(float) for v in values)
    c = 0.7
    for name, wanted, wrong in [
        (
            "n_seen",
            _predict(theory.expected_seen, d, sparsity_exponent=gamma, activity=c),
            _predict(theory.expected_seen, d, sparsity_exponent=gamma, activity=1.15 * c),
        ),
        (
            "unseen_loss",
            _predict(
                theory.unseen_loss, d, spectrum_exponent=alpha, sparsity_exponent=gamma, activity=c
            ),
            _predict(
                theory.unseen_loss, d, spectrum_exponent=alpha, sparsity_exponent=gamma + 0.1,
                activity=c,
            ),
        ),
    ]:  # fmt: skip
        measured = runs[name].values
        assert np.max(_excess(measured, wanted, 0.0, 16, name)) < 1
        assert np.max(_excess(measured, wrong, 0.0, 16, f"{name}, wrong")) > 1


@pytest.mark.slow
def test_mean_over_features_at_given_inputs():
    """`residual (N - 1)/(N - r - 1)` is exact; its large-N form N/(N - r) is refused."""
    system = _system(gamma=1.5, n_features=24, n_samples=16)

    def losses(keys):
        plain = cast(system, "float64")
        d, n = plain.n_samples, plain.n_features
        inputs = draw_inputs(jr.key(5), plain.coordinates, d, system.padding)
        rows = plain.solver.rows(inputs.values)
        directions, leak = jnp.diag(inputs.seen.astype(jnp.float64)), plain.features.leak(n)

        def loss(key):
            f = plain.features.projection(key, inputs, n, 24)
            design, targets = rows.values @ f.T, rows.values @ directions
            problem = Problem(design, targets, d.astype(jnp.float64), n, rows.rank)
            return linear_loss(plain.solver.solve(problem), inputs, f, directions, leak)[0]

        given = inputs.values, inputs.variance
        residual, rank = theory.row_space_residual(*given, unseen_variance=inputs.unseen_variance)
        exact = theory.conditional_loss(
            given[0], 24.0, given[1], unseen_variance=inputs.unseen_variance
        )
        return jax.vmap(loss)(keys), residual, rank, rows.rank, exact

    with jax.enable_x64(True):
        out = jax.jit(losses)(jr.split(jr.key(0), 2000))
    measured, residual, rank, same, exact = (np.asarray(v) for v in out)
    assert rank == same <= 14
    np.testing.assert_allclose(exact, residual / 2 * 23 / (23 - rank), rtol=1e-12)
    assert _excess(measured, exact, 0.0, 1, f"given inputs, r = {rank}") < 1
    assert _excess(measured, residual / 2 * 24 / (24 - rank), 0.0, 1, "wrong") > 1


@pytest.mark.parametrize(
    ("alpha", "gamma", "d", "sizes", "seeds"),
    [
        pytest.param(1.0, 2.0, 1024, [17, 28, 112, 280], 120, marks=pytest.mark.slow),
        (0.5, 2.0, 1024, [6, 28, 112], 80),
        pytest.param(1.0, 1.5, 256, [11, 32, 50, 200], 120, marks=pytest.mark.slow),
    ],
)
def test_deterministic_equivalent_away_from_the_peak(alpha, gamma, d, sizes, seeds):
    """Within 6 % for N/r < 0.55 and N/r > 1.7 at r > 50."""
    rank = float(_predict(theory.expected_rank, float(d), sparsity_exponent=gamma))
    nu = np.array(sizes) / rank
    assert rank > 50
    assert np.all((nu < 0.55) | (nu > 1.7))
    system = _system(alpha, gamma, n_features=max(sizes), n_samples=d)
    runs = _run(system, {"n_features": sizes}, seeds)
    options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
    n = np.array(sizes, float)
    wanted = _predict(theory.loss, n, float(d), **options)
    measured = runs["loss"].values
    error = measured.std(axis=1) / math.sqrt(measured.shape[1]) / measured.mean(axis=1)
    assert np.max(error) < 0.015
    label = f"alpha {alpha}, gamma {gamma}, D {d}, N/r {np.round(nu, 2)}"
    assert np.max(_excess(measured, wanted, 0.06, len(sizes), label)) < 1
    dense = _predict(theory.dense_loss, n, float(d), spectrum_exponent=alpha)
    assert np.max(_excess(measured, dense, 0.06, len(sizes), "dense formula")) > 1
    ranks = runs["rank"].values[-1]
    assert abs(ranks.mean() / rank - 1) < 0.03


@pytest.mark.parametrize(
    ("sizes", "samples", "seeds"),
    [
        pytest.param([64], [128, 256], 30, marks=pytest.mark.slow),
        pytest.param([128, 256], [64], 30, marks=pytest.mark.slow),
        ([128], [64], 16),
    ],
    ids=["below the peak", "above the peak", "just above the peak"],
)
def test_dense_inputs_follow_the_dense_formula(sizes, samples, seeds):
    """Within 2 % where one size is at least twice the other; both sides of the peak."""
    axes = {"n_features": sizes, "n_samples": samples}
    system = _system(1.0, 0.0, n_features=max(sizes), n_samples=max(samples), n_coordinates=400)
    losses = _run(system, axes, seeds)["loss"].values
    n, d = (v.astype(float) for v in np.meshgrid(*axes.values(), indexing="ij"))
    options = {"spectrum_exponent": 1.0, "n_coordinates": 400}
    wanted = _predict(theory.dense_loss, n, d, **options)
    assert np.max(_excess(losses, wanted, 0.02, 4, f"dense, N {sizes}, D {samples}")) < 1
    steep = _predict(theory.dense_loss, n, d, **{**options, "spectrum_exponent": 1.05})
    assert np.min(_excess(losses, steep, 0.02, 4, "alpha + 0.05")) > 1


def _slope_and_error(x, values):
    """Slope of ln mean on ln x, and its jackknife error over the seeds (last axis)."""

    def slope(v):
        return np.polyfit(np.log(x), np.log(v.mean(axis=-1)), 1)[0]

    n = values.shape[-1]
    without_one = np.array([slope(np.delete(values, i, axis=-1)) for i in range(n)])
    return slope(values), math.sqrt((n - 1) / n * np.sum((without_one - without_one.mean()) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gamma", "sizes", "seeds"),
    [
        (1.5, [64, 128, 256], 100),
        (3.0, [64, 128, 256, 512, 1024], 150),
    ],
)
def test_exponents_in_data(gamma, sizes, seeds):
    """Slope of the loss at infinitely many features, within 3 s.e. of theory on the same window."""
    axes = {"spectrum_exponent": [0.5, 1.0], "n_samples": sizes}
    runs = _run(_system(1.0, gamma, n_samples=max(sizes)), axes, seeds)
    d = np.array(sizes, float)
    for i, alpha in enumerate(axes["spectrum_exponent"]):
        measured = runs["residual_loss"].values[i]
        np.testing.assert_allclose(runs["loss"].values[i], measured, rtol=1e-8)
        options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
        wanted = _predict(theory.residual_loss, d, **options)
        slope, error = _slope_and_error(d, measured)
        predicted = np.polyfit(np.log(d), np.log(wanted), 1)[0]
        print(
            f"alpha {alpha}, gamma {gamma}: slope {slope:.4f} +- {error:.4f}, "
            f"theory {predicted:.4f}, limit {-alpha / gamma:.4f}, dense {-alpha:.1f}"
        )
        assert abs(slope - predicted) < 3 * error
        assert abs(slope + alpha) > 3 * error
        excess = _excess(measured, wanted, 0.04, 2 * len(sizes), "residual loss")
        assert np.max(excess) < 1


@pytest.mark.slow
def test_ridge_regression_follows_the_equivalent():
    """Within 7 % away from the peak (r is about 39)."""
    axes = {"n_features": [12, 128], "solver.strength": [1e-4, 1e-3, 1e-2, 1e-1]}
    system = _system(n_features=128, n_samples=512, solver=Ridge())
    measured = _run(system, axes, seeds=60)["loss"].values
    n, ridge = np.meshgrid(*axes.values(), indexing="ij")
    options = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
    wanted = _predict(theory.loss, n.astype(float), 512.0, ridge=ridge, **options)
    assert np.max(_excess(measured, wanted, 0.07, 8, "ridge")) < 1
    ridgeless = _predict(theory.loss, n.astype(float), 512.0, **options)
    assert np.max(_excess(measured, ridgeless, 0.07, 8, "without ridge")) > 1


def test_descent_follows_the_flow():
    """Within 10 % from the tenth step on (section 8: 1.5 % to 4 % at these exponents)."""
    steps = [0, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000, 1_000_000]
    solver = GradientDescent(learning_rate=0.5, n_steps=steps[-1], record=steps)
    system = _system(n_samples=512, n_coordinates=1500, solver=solver)
    runs = _run(system, seeds=200)
    measured = runs["loss"].values.T
    options = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0, "n_coordinates": 1500}
    time = np.array(steps, float)
    wanted = _predict(theory.gd_loss, time, 512.0, learning_rate=0.5, **options)
    np.testing.assert_allclose(measured[0], wanted[0], rtol=1e-6)
    assert np.max(_excess(measured[1:], wanted[1:], 0.10, 9, "descent")) < 1
    half = _predict(theory.gd_loss, time, 512.0, learning_rate=0.25, **options)
    assert np.max(_excess(measured[1:], half[1:], 0.10, 9, "half the rate")) > 1
    assert (runs["stable"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "gamma", "seeds"), [(0.5, 2.5, 2500), (0.5, 3.0, 3000)])
def test_instability_is_as_rare_as_one_spike(alpha, gamma, seeds):
    """Exponents in D and eta within 3 s.e., counts over predictions within 25 %."""
    sizes, rates = [50, 100, 200], np.array([0.25, 0.5, 1.0])
    solver = GradientDescent(learning_rate=0.1, n_steps=1, record=[0])
    system = _system(alpha, gamma, n_samples=200, solver=solver)
    grid = js.Grid(system, {"n_samples": sizes}, seeds=seeds)
    largest = js.run(grid, progress=False)["largest_eigenvalue"].values
    unstable = largest[:, None, :] > 2 / rates[:, None]
    options = {"spectrum_exponent": alpha, "sparsity_exponent": gamma}
    d = np.array(sizes, float)[:, None]
    chance = _predict(theory.instability_probability, d, rates, **options)
    counts = unstable.sum(axis=-1)
    ratio = counts.sum() / (seeds * chance.sum())
    print(f"alpha {alpha}, gamma {gamma}: counts {counts.tolist()}, predicted "
          f"{np.round(seeds * chance).astype(int).tolist()}, ratio {ratio:.3f}")  # fmt: skip

    def exponents(p):
        """Weighted by the expected counts, one slope for all rates and one for all sizes."""
        logs, weight = np.log(p), seeds * chance
        x = np.stack([np.log(d + 0 * rates), np.log(rates + 0 * d), np.ones_like(p)], axis=-1)
        root = np.sqrt(weight).ravel()
        return np.linalg.lstsq(x.reshape(-1, 3) * root[:, None], logs.ravel() * root)[0][:2]

    rng = np.random.default_rng(0)
    again = []
    for _ in range(200):
        chosen = rng.integers(seeds, size=seeds)  # keeps what the thresholds and sizes share
        again.append(exponents(unstable[..., chosen].mean(axis=-1)))
    measured, error, predicted = exponents(counts / seeds), np.std(again, axis=0), exponents(chance)
    k = (gamma - 1) / (gamma - 1 - alpha)
    print(f"exponents in D and eta: {measured.round(3)} +- {error.round(3)}, "
          f"theory {predicted.round(3)}, limits {1 - k:.3f}, {k:.3f}")  # fmt: skip
    assert np.all(np.abs(measured - predicted) < 3 * error)
    assert 0.75 < ratio < 1.25
    assert np.all(np.abs(measured) > 3 * error)
