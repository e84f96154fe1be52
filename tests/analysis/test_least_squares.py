"""The solver behind every fit: against NumPy and SciPy, lane by lane."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxscale.analysis import _expansion as expansion, _least_squares as least_squares
from jaxscale.analysis._expansion import DataSets, Expansion, FitProblem
from jaxscale.analysis._levenberg import (
    CONVERGED,
    FAILED,
    STUCK,
    QuadraticModel,
    levenberg_marquardt,
    solve_positive,
)
from jaxscale.analysis.bounds import AbstractBound, Between, Positive, Unbounded
from jaxscale.analysis.residuals import AbstractResidual, Huber, Log, Scaled, Squared

X = np.linspace(0.0, 3.0, 40)
ONE = {"y": np.asarray(1.0)}


def _decay(values, inputs):
    return {"y": values[0] * jnp.exp(-values[1] * inputs["x"])}


TWO = (Positive(), Positive())


def _problem(loss=None, theory=_decay, bounds=TWO):
    return FitProblem(theory, bounds, {"y": Scaled()}, ONE, loss or Squared())


def _points(y, weight=None, groups=None):
    """Data sets with groups of single points, or of the points that `groups` numbers."""
    y = np.atleast_2d(y)[:, None] if np.ndim(y) < 3 else y
    weight = np.ones_like(y) if weight is None else weight[:, None]
    groups = np.arange(y[0].size).reshape(y[0].shape) if groups is None else groups
    inputs = {"x": np.broadcast_to(X, (len(y), X.size)).copy()}
    own = np.broadcast_to(groups, y.shape)
    return DataSets(inputs, y, weight, own, int(groups.max()) + 1).weighted(weight)


def _noisy(n, outliers=0):
    rng = np.random.default_rng(0)
    y = 2.0 * np.exp(-0.7 * X) + 0.02 * rng.standard_normal((n, len(X)))
    y[:, :outliers] += 1.0
    return y


def _starts(z, scattered=(), n_sets=1):
    """The given coordinates and scattered ones, of every data set."""
    starts = np.stack([z, *scattered])
    return np.broadcast_to(starts, (n_sets, *starts.shape))


def _fit(problem, points, start=(1.0, 1.0), n_starts=1):
    with jax.enable_x64(True):
        z = np.log(np.asarray(start))
        scattered = least_squares.candidates(problem.bounds, z)
        n_lanes = len(points.target) * n_starts
        return least_squares.fit(
            Expansion(problem, points, n_lanes),
            _starts(z, scattered, len(points.target)),
            n_starts,
            1,
        )


def test_small_systems_are_solved():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((50, 4, 6))
    matrix, right = half @ half.transpose(0, 2, 1), rng.standard_normal((50, 4))
    scale = 10.0 ** rng.uniform(-150, 150, (50, 4))  # coordinates have units of their own
    expected = np.linalg.solve(matrix, right[..., None])[..., 0] / scale
    matrix, right = matrix * scale[:, None] * scale[..., None], right * scale
    np.testing.assert_allclose(solve_positive(matrix, right), expected, rtol=1e-8)
    matrix[7] = 1.0  # singular: no other system notices
    with np.errstate(all="ignore"):
        solved = solve_positive(matrix, right)
    assert not np.isfinite(solved[7]).all()
    np.testing.assert_allclose(np.delete(solved, 7, 0), np.delete(expected, 7, 0), rtol=1e-8)


def test_damping_follows_what_a_step_saved_of_its_promise():
    """Nielsen 1999: mu max(1/3, 1 - (2 rho - 1)^3), and 2 mu, 8 mu where the cost rises."""
    first = 3e-3
    promised = (1 + 2 * first) / (1 + first) ** 2 / 2  # of slope and curvature 1
    gain = np.array([0.0, 0.1, 0.5, 0.8, 1.0, 3.0, -0.1])
    costs = [np.full(7, 10.0), 10 - gain * promised, np.full(7, 1e9)]
    starts = []

    def expand(z, lanes):
        cost = costs[min(len(starts), 2)][lanes]
        starts.append(z.copy())
        one = np.ones((len(lanes), 1))
        return QuadraticModel(
            cost.copy(), one, one[..., None].copy(), one[..., None], *one.T[[0] * 3]
        )

    _, _, status = levenberg_marquardt(expand, np.zeros((7, 1)))
    assert (status == STUCK).all()
    start, moved, second, third = (z[:, 0] for z in starts[:4])
    at = np.where(gain >= 0, moved, start)
    damping = [first, *([1 - (2 * g - 1) ** 3 for g in gain[:4]]), 1 / 3, 1 / 3, 2.0]
    expected = np.array(damping[1:]) * first
    np.testing.assert_allclose(-1 / (second - at) - 1, expected, rtol=1e-9)
    expected *= np.where(gain >= 0, 2, 4)
    np.testing.assert_allclose(-1 / (third - at) - 1, expected, rtol=1e-9)


def test_a_step_that_cannot_be_computed_is_damped_more():
    """A singular curvature, once the damping is below its rounding."""

    def expand(z, lanes):
        slope = np.where(z < 40, -1.0, 0.0)
        cost = np.maximum(40 - z, 0.0).sum(1)
        return QuadraticModel(cost, slope, np.ones((1, 2, 2)), np.ones((1, 2, 2)), *np.ones((3, 1)))

    _, _, status = levenberg_marquardt(expand, np.zeros((1, 2)))
    assert status == CONVERGED


def test_candidates_fill_the_search_radius_and_crowd_around_the_start():
    z, bounds = np.asarray([0.3, -1.0]), (Unbounded(), Positive())
    radius = [b.search_radius(at) for b, at in zip(bounds, z, strict=True)]
    share = (least_squares.candidates(bounds, z) - z) / np.asarray(radius)
    # squared distances; independent draws would be twice as uneven
    even = np.sort(np.sign(share) * np.sqrt(abs(share)), axis=0)
    n = least_squares.CANDIDATES * 2
    np.testing.assert_allclose(even, np.linspace(-1, 1, n)[:, None] * [1, 1], atol=0.1)


def test_a_covariance_needs_ten_residuals_inside_delta_per_parameter():
    inside = np.asarray([20, 20 - 1e-9, 18, 18 * (1 - 2e-9)])
    n, eye, one = np.asarray([40, 40, 18, 18]), np.stack([np.eye(2)] * 4), np.ones(4)
    optimum = QuadraticModel(one, np.zeros((4, 2)), eye, eye, 3 * one, inside, one)
    covariance, *_, few = least_squares.uncertainty(optimum, n, np.zeros((4, 2), bool))
    assert few.tolist() == [False, True, False, True]
    expected = np.where(few, np.nan, 3 / (n - 2) / (inside / n) ** 2)
    np.testing.assert_allclose(covariance[:, 0, 0], expected, rtol=1e-14)


def test_optimum_and_covariance_are_those_of_scipy():
    y = _noisy(3)
    result = _fit(_problem(), _points(y))
    assert (result.status == CONVERGED).all()
    for i in range(3):
        popt, pcov = optimize.curve_fit(lambda x, a, b: a * np.exp(-b * x), X, y[i], p0=[1, 1])
        np.testing.assert_allclose(np.exp(result.z[i]), popt, rtol=1e-6)
        covariance = result.covariance[i] * popt * popt[:, None]  # of the values, not logarithms
        np.testing.assert_allclose(covariance, pcov, rtol=1e-3)


@pytest.mark.parametrize("delta", [0.1, 0.01])
def test_the_robust_optimum_is_that_of_scipy(delta):
    y = _noisy(1, outliers=4)

    def residual(p):
        return p[0] * np.exp(-p[1] * X) - y[0]

    best = optimize.least_squares(residual, [1.0, 1.0], loss="huber", f_scale=delta,
                                  xtol=1e-14, ftol=1e-14, gtol=1e-14)  # fmt: skip
    result = _fit(_problem(Huber(delta=delta)), _points(y))
    np.testing.assert_allclose(np.exp(result.z[0]), best.x, rtol=1e-5)
    assert result.start_cost[0, 0] == pytest.approx(best.cost, rel=1e-9)
    plain = _fit(_problem(), _points(y))
    assert abs(np.exp(plain.z[0, 0]) - 2.0) > 3 * abs(np.exp(result.z[0, 0]) - 2.0)


def test_a_lane_that_fails_leaves_its_neighbours_alone():
    def theory(values, inputs):
        return {"y": jnp.where(inputs["x"] < 0, jnp.nan, _decay(values, inputs)["y"])}

    y = _noisy(3)
    good = _fit(_problem(theory=theory), _points(y))
    bad = _points(y)
    bad.inputs["x"] = np.array(bad.inputs["x"])
    bad.inputs["x"][1] *= -1
    result = _fit(_problem(theory=theory), bad)
    assert result.status.tolist() == [CONVERGED, FAILED, CONVERGED]
    np.testing.assert_array_equal(result.z[[0, 2]], good.z[[0, 2]])


def test_single_lanes_and_blocks_of_any_length_have_one_result(monkeypatch):
    points = _points(_noisy(5))
    single = _fit(_problem(), points, n_starts=3)
    monkeypatch.setattr(expansion, "FEW_LANES", 0)
    for lanes in (64, 4):  # four of fifteen lanes at once
        monkeypatch.setattr(expansion, "LANES", lanes)
        blocks = _fit(_problem(), points, n_starts=3)
        np.testing.assert_allclose(blocks.start_z, single.start_z, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(blocks.start_status, single.start_status)


def test_resamples_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    with jax.enable_x64(True):
        expand = Expansion(_problem(), _points(_noisy(3)), 15)
        best = _fit(_problem(), _points(_noisy(3)))
        key = jax.random.key(1)
        together, _ = least_squares.refit(expand, best.z[:, None], 5, key)
        monkeypatch.setattr(least_squares, "DRAWN_AT_ONCE", 4 * len(X))  # four of fifteen
        parts, _ = least_squares.refit(expand, best.z[:, None], 5, key)
    np.testing.assert_allclose(parts, together, rtol=0, atol=1e-8)


def test_scattered_starts_find_the_deeper_of_two_minima():
    def wave(values, inputs):
        return {"y": jnp.sin(values[0] * inputs["x"])}

    y = np.sin(5.0 * X)
    problem = _problem(theory=wave, bounds=(Unbounded(),))
    with jax.enable_x64(True):
        z = np.asarray([1.0])
        scattered = least_squares.candidates(problem.bounds, z)
        expand = Expansion(problem, _points(y), 8)
        alone = least_squares.fit(expand, _starts(z), 1)
        result = least_squares.fit(expand, _starts(z, scattered), 8, 1)
        assert abs(float(alone.z[0, 0]) - 5.0) > 0.5
        assert float(result.z[0, 0]) == pytest.approx(5.0, abs=1e-6)
        assert result.start_cost.shape == (1, 8)


def test_weights_are_precisions_of_single_points():
    y, weight = _noisy(1), np.ones((1, len(X)))
    weight[0, :7] = 3.0
    result = _fit(_problem(), _points(y, weight))
    popt, pcov = optimize.curve_fit(
        lambda x, a, b: a * np.exp(-b * x), X, y[0], p0=[1, 1], sigma=weight[0] ** -0.5
    )
    assert result.n_points[0] == len(X)
    np.testing.assert_allclose(np.exp(result.z[0]), popt, rtol=1e-6)
    np.testing.assert_allclose(result.covariance[0] * popt * popt[:, None], pcov, rtol=1e-3)


def test_resamples_are_fits_of_what_was_drawn():
    y = _noisy(1)
    # ten groups of four points
    points, problem = _points(y, groups=np.arange(len(X))[None] // 4), _problem()
    with jax.enable_x64(True):
        best = _fit(problem, points)
        key = jax.random.key(3)
        expand = Expansion(problem, points, 25)
        z, status = least_squares.refit(expand, best.z[:, None], 25, key)
        again, _ = least_squares.refit(expand, best.z[:, None], 25, key)
        held, number = np.ones((1, 10), bool), np.asarray([6])
        count = least_squares.draw_counts(key, 0 * number, number, held)[0].astype(int)
    assert count.sum() == 10
    assert (status == CONVERGED).all()
    np.testing.assert_array_equal(z, again)
    rows = np.concatenate([np.tile(np.arange(4) + 4 * u, n) for u, n in enumerate(count)])
    popt, _ = optimize.curve_fit(lambda x, a, b: a * np.exp(-b * x), X[rows], y[0, rows], p0=[1, 1])
    np.testing.assert_allclose(np.exp(np.asarray(z)[0, 6]), popt, rtol=1e-6)
    assert len(np.unique(np.asarray(z)[0, :, 0])) == 25


def test_seeds_share_the_theory_and_count_as_points():
    y = _noisy(6)
    with jax.enable_x64(True):
        one = _fit(_problem(Huber(delta=0.02)), _points(y[None]))
        tiled = {"x": np.tile(X, 6)[None]}
        long = dataclasses.replace(_points(y.reshape(1, -1)), inputs=tiled)
        other = _fit(_problem(Huber(delta=0.02)), long)
    np.testing.assert_allclose(one.z, other.z, rtol=1e-8)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6)
    assert one.n_points == other.n_points == y.size


def test_draws_are_those_of_the_key_and_do_not_depend_on_padding():
    key, first = jax.random.key(0), np.zeros(1, int)
    full = np.ones((1, 30), bool)
    held = np.ones((1, 40), bool)
    held[0, 30:] = False
    with jax.enable_x64(True):
        short = least_squares.draw_counts(key, first, first, full)[0]
        padded = least_squares.draw_counts(key, first, first, held)[0]
        own = jax.random.fold_in(jax.random.fold_in(key, 0), 0)
        one_by_one = [float(jax.random.uniform(jax.random.fold_in(own, i))) for i in range(30)]
    np.testing.assert_array_equal(padded[:30], short)
    assert int(padded.sum()) == 30
    assert int(padded[30:].sum()) == 0
    drawn = (30 * np.asarray(one_by_one)).astype(int)
    np.testing.assert_array_equal(short, np.bincount(drawn, minlength=30))


def test_a_solver_that_cannot_move_says_so():
    def wall(values, inputs):  # undefined below 1, where the data want it
        return {"y": jnp.where(values[0] < 1, jnp.nan, values[0] * jnp.ones_like(inputs["x"]))}

    y = np.full((1, len(X)), 0.5)
    result = _fit(_problem(theory=wall, bounds=(Positive(),)), _points(y), start=(1.5,))
    assert result.status.tolist() == [STUCK]


def test_a_tiny_parameter_is_found_from_zero():
    def line(values, inputs):
        return {"y": values[0] * inputs["x"]}

    y = 3e-11 * X[None]
    problem = FitProblem(line, (Unbounded(),), {"y": Scaled()}, {"y": np.asarray(1e-11)}, Squared())
    points = _points(y / 1e-11)
    with jax.enable_x64(True):
        result = least_squares.fit(Expansion(problem, points, 1), _starts(np.zeros(1)), 1)
    assert float(result.z[0, 0]) == pytest.approx(3e-11, rel=1e-9)


@pytest.mark.slow
def test_huber_covers_where_it_claims_a_covariance():
    n_sets, sigma = 400, 0.05
    y = 2.0 * np.exp(-0.7 * X) + sigma * np.random.default_rng(0).standard_normal((n_sets, len(X)))
    for delta in (0.1, 0.05):
        result = _fit(_problem(Huber(delta=delta)), _points(y))
        pull = (result.z[:, 0] - np.log(2.0)) / np.sqrt(result.covariance[:, 0, 0])
        assert 0.91 < np.mean(abs(pull) < 2.02) < 0.98, delta
    small = _fit(_problem(Huber(delta=1e-3)), _points(y))
    assert np.isnan(small.covariance).all()


def test_derivatives_are_those_of_the_maps():
    z = np.linspace(-3.0, 3.0, 7)
    bounds = (Unbounded(), Positive(), Between(low=0.5, high=2.0))
    with jax.enable_x64(True):
        for bound in bounds:
            traced = jax.vmap(bound.constrain)(jnp.asarray(z))
            np.testing.assert_allclose(bound.constrain(z), traced, rtol=1e-14)
            np.testing.assert_allclose(bound.unconstrain(bound.constrain(z)), z, atol=1e-12)
            expected = AbstractBound.derivative(bound, z)
            np.testing.assert_allclose(bound.derivative(z), expected, rtol=1e-12)
        for residual in (Log(), Scaled()):
            expected = AbstractResidual.derivative(residual, np.exp(z))
            np.testing.assert_allclose(residual.derivative(np.exp(z)), expected, rtol=1e-12)


class SquareRoot(AbstractBound):
    """A bound of the user's, by JAX and without its derivative: above zero, by its root."""

    def unconstrain(self, value):
        return jnp.sqrt(value)

    def constrain(self, coordinate):
        return coordinate**2

    def contains(self, value):
        return value > 0

    def search_radius(self, coordinate):
        return jnp.abs(coordinate)


def test_a_bound_of_the_users_finds_the_same_optimum():
    points = _points(_noisy(2))
    expected = np.exp(_fit(_problem(), points).z)
    with jax.enable_x64(True):
        expand = Expansion(_problem(bounds=(SquareRoot(), SquareRoot())), points, 2)
        own = least_squares.fit(expand, _starts(np.ones(2), n_sets=2), 1)
    np.testing.assert_allclose(own.z**2, expected, rtol=1e-6)


def test_one_block_of_lanes_is_in_memory_at_a_time(monkeypatch):
    """A theory and its Jacobian at every lane of a scan would take gigabytes."""
    evaluated = []
    evaluate = Expansion._evaluate

    def counted(self, values, sets):
        evaluated.append(len(sets))
        return evaluate(self, values, sets)

    monkeypatch.setattr(Expansion, "_evaluate", counted)
    with jax.enable_x64(True):
        expand = Expansion(_problem(), _points(_noisy(1)), 1000)
        blocks = expand._run(np.zeros((1000, 2)), np.zeros(1000, int))
        assert len(next(blocks)[0]) == evaluated[0] < 1000
    assert len(evaluated) == 1


def test_old_names_of_methods_still_work_and_warn():
    for bound, old, new, at in [
        (Positive(), "coordinate", "unconstrain", 2.0),
        (Positive(), "value", "constrain", 0.5),
        (Unbounded(), "reach", "search_radius", 3.0),
        (Squared(), "bend", "second_derivative", 1.0),
    ]:
        with pytest.warns(
            DeprecationWarning, match=f"`{old}` is deprecated, use `{new}`"
        ) as caught:
            before = getattr(bound, old)(jnp.asarray(at))
        assert caught[0].filename == __file__  # or Python would not show it
        np.testing.assert_array_equal(before, getattr(bound, new)(jnp.asarray(at)))
