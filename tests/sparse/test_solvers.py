"""Solvers against dense linear algebra of NumPy on the same draws."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import jaxscale as js
from jaxscale.paths import set_leaf
from jaxscale.sparse import theory
from jaxscale.sparse._data import Inputs, draw_inputs
from jaxscale.sparse._gradient import one_minus_power
from jaxscale.sparse._losses import linear_loss
from jaxscale.sparse._solvers import Problem, _condition_in_batch
from jaxscale.sparse._system import DATA_STREAM, FEATURE_STREAM, TEACHER_STREAM
from jaxscale.training import cast

STEPS = [0, 1, 2, 30, 500]
BASE = js.sparse.RandomFeatureRegression(
    n_features=30, n_samples=60, n_coordinates=40, spectrum_exponent=1.0, sparsity_exponent=1.5,
)  # fmt: skip
FAST, SLOW = (
    js.sparse.GradientDescent(learning_rate=0.5, n_steps=500, record=STEPS),
    js.sparse.GradientSteps(learning_rate=0.5, n_steps=500, record=STEPS),
)
DIRECT = {
    "min_norm": {},
    "sampled": {"teacher": js.sparse.Sampled()},
    "identity": {"features": js.sparse.Identity(), "n_features": None},
    "ridge": {"solver": js.sparse.Ridge(strength=0.01)},
}
PATHS = {"descent": {"solver": FAST}, "steps": {"solver": SLOW}}
# N, D, gamma, activity; all in one padded program
CASES = {
    "under": (6, 60, 1.5, 1.0),
    "over": (30, 12, 1.5, 1.0),
    "dense_under": (5, 30, 0.0, 1.0),
    "dense_over": (30, 9, 0.0, 1.0),
    "wide": (24, 7, 1.1, 1.0),
    "half_active": (8, 50, 1.2, 0.5),
    "one_feature": (1, 20, 1.5, 1.0),
    "one_sample": (3, 1, 1.5, 1.0),
    "nothing_seen": (4, 1, 1.5, 1e-12),
}
FIELDS = ("n_features", "n_samples", "sparsity_exponent", "activity")
COLUMNS = {f: np.asarray(v) for f, v in zip(FIELDS, zip(*CASES.values(), strict=True), strict=True)}
N_KEYS = 3


def _systems(variants):
    systems = {}
    for name, fields in variants.items():
        given = {"n_features": 30, **fields}
        system = js.sparse.RandomFeatureRegression(
            n_samples=60, n_coordinates=40, spectrum_exponent=1.0, sparsity_exponent=1.5, **given,
        )  # fmt: skip
        columns = COLUMNS if given["n_features"] else {**COLUMNS, "n_features": [None]}
        columns = {k: v for k, v in columns.items() if given["n_features"] or k != "n_features"}
        systems[name] = system.padded_for(columns)
    return systems


def _pieces(system, key):
    """What the simulation draws."""
    system = cast(system, "float64")
    d, n = jnp.asarray(system.n_samples), jnp.asarray(system.n_features)
    inputs = draw_inputs(jr.fold_in(key, DATA_STREAM), system.coordinates, d, system.padding)
    projection = system.features.projection(
        jr.fold_in(key, FEATURE_STREAM), inputs, n, system.padded("n_features")
    )
    signs = js.sparse.Sampled().directions(jr.fold_in(key, TEACHER_STREAM), inputs)
    return {"inputs": inputs, "projection": projection, "signs": signs}


def _program(variants, with_pieces=True):
    systems = _systems(variants)

    def one(columns, key):
        out = {}
        for name, system in systems.items():
            for path, value in columns.items():
                if path != "n_features" or system.n_features is not None:
                    system = set_leaf(system, path, value)
            out[name] = system.simulate(key)
            if with_pieces and name in ("min_norm", "descent"):
                out["pieces"] = _pieces(system, key)
        return out

    return jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))


class Run:
    """One run without its padding."""

    def __init__(self, out, case, key):
        self.out = jax.tree.map(lambda x: x[case, key], out)
        inputs, (n, d, _, _) = self.out["pieces"]["inputs"], list(CASES.values())[case]
        k = inputs.seen
        self.x, self.lam, self.unseen = inputs.values[:d, k], inputs.variance[k], float(
            inputs.unseen_variance
        )  # fmt: skip
        self.f = self.out["pieces"]["projection"][:n][:, k]
        self.signs = self.out["pieces"]["signs"][k]
        self.n, self.d = n, d
        assert not inputs.values[d:].any()
        assert not self.out["pieces"]["projection"][n:].any()

    @property
    def phi(self):
        return self.x @ self.f.T

    def loss(self, theta, w=None):
        w = np.eye(len(self.lam)) if w is None else w
        residual = w - self.f.T @ theta
        leak = np.sum(theta**2) / self.n
        return 0.5 * (self.unseen * (1 + leak) + np.sum(self.lam[:, None] * residual**2))


def _runs(variants):
    with jax.enable_x64(True):
        columns = {k: jnp.asarray(v) for k, v in COLUMNS.items()}
        columns = {k: v.astype(jnp.int32) if k.startswith("n_") else v for k, v in columns.items()}
        out = _program(variants)(columns, jr.split(jr.key(0), N_KEYS))
        out = jax.tree.map(np.asarray, out)
    return {(c, k): Run(out, i, k) for i, c in enumerate(CASES) for k in range(N_KEYS)}


def _close(actual, wanted, rtol=1e-10):
    np.testing.assert_allclose(actual, wanted, rtol=rtol)


def _check_minimum_norm_is_the_pseudo_inverse(runs):
    ranks = {}
    for (case, _), run in runs.items():
        theta = np.linalg.pinv(run.phi, rcond=1e-11) @ run.x
        rank = np.linalg.matrix_rank(run.phi, tol=1e-11 * np.linalg.norm(run.phi, 2))
        result = run.out["min_norm"]
        _close(result["loss"], run.loss(theta))
        assert result["rank"] == rank
        assert result["n_seen"] == len(run.lam)
        assert result["status"] == js.Status.ok
        _close(result["unseen_loss"], run.unseen / 2)
        if rank:
            singular = np.linalg.svd(run.phi, compute_uv=False)
            _close(result["condition"], singular[0] / singular[rank - 1], 1e-6)
        ranks.setdefault(case, []).append((rank, len(run.lam), run.n))
    # the cases are what their names say
    assert all(r == n < k for r, k, n in ranks["under"])
    assert all(r < n for r, k, n in ranks["over"])
    assert all(r == 9 and k == 40 for r, k, n in ranks["dense_over"])
    assert all(k > 7 for r, k, n in ranks["wide"])
    assert all(r == k == 0 for r, k, n in ranks["nothing_seen"])
    # collisions: fewer dimensions than coordinates, although the samples would allow for more
    assert any(r < min(k, 12) for r, k, n in ranks["over"])


def _check_one_teacher_is_the_same_problem(runs):
    for run in runs.values():
        theta = np.linalg.pinv(run.phi, rcond=1e-11) @ (run.x @ run.signs)
        _close(run.out["sampled"]["loss"], run.loss(theta, run.signs))
        assert np.all(np.abs(run.signs) == 1)


def _check_no_column_leaves_all_variance(runs, names):
    total = np.sum(np.arange(1.0, 41) ** -2.0) / 2
    for k in range(N_KEYS):
        out = runs["nothing_seen", k].out
        for name in names:
            _close(out[name]["loss"], np.full_like(out[name]["loss"], total), 1e-14)
            assert out[name]["status"] == js.Status.ok
            assert all(np.all(np.isfinite(v)) for v in out[name].values())
        if "min_norm" in names:
            _close(out["min_norm"]["residual_loss"], total, 1e-14)


def _check_the_residual_is_orthogonal_to_the_samples(runs):
    equal = unequal = 0
    for run in runs.values():
        result = run.out["min_norm"]
        projector = np.linalg.pinv(run.x, rcond=1e-11) @ run.x
        missed = run.lam @ (1 - np.diag(projector))
        _close(result["residual_loss"], 0.5 * (run.unseen + missed))
        _close(run.out["identity"]["residual_loss"], result["residual_loss"])
        _close(run.out["identity"]["loss"], result["residual_loss"])
        if np.linalg.matrix_rank(run.x, tol=1e-11) == len(run.lam):
            equal += 1
            np.testing.assert_allclose(
                result["residual_loss"], result["unseen_loss"], rtol=1e-10, atol=1e-13
            )
        else:
            unequal += 1
            assert result["residual_loss"] > result["unseen_loss"] * (1 + 1e-9)
    assert equal >= 3
    assert unequal >= 3


def _check_theory_of_the_residual_sees_the_same_inputs(runs):
    run = runs["over", 0]
    with jax.enable_x64(True):
        for key in range(N_KEYS):
            inputs = runs["over", key].out["pieces"]["inputs"]
            residual, rank = theory.row_space_residual(
                inputs.values, inputs.variance, unseen_variance=inputs.unseen_variance
            )
            _close(residual / 2, runs["over", key].out["min_norm"]["residual_loss"])
            assert rank == np.linalg.matrix_rank(runs["over", key].x, tol=1e-11)
    assert run.n > 12


def _check_ridge_solves_the_normal_equations(runs):
    for run in runs.values():
        gram = run.phi.T @ run.phi / run.d + 0.01 * np.eye(run.n)
        theta = np.linalg.solve(gram, run.phi.T @ run.x / run.d)
        _close(run.out["ridge"]["loss"], run.loss(theta))
        kernel = run.phi @ run.phi.T / run.d + 0.01 * np.eye(run.d)
        _close(run.loss(run.phi.T @ np.linalg.solve(kernel, run.x) / run.d), run.loss(theta))
        bound = 1 + np.sum(run.phi**2) / run.d / 0.01
        _close(run.out["ridge"]["condition"], bound)
        assert bound >= np.linalg.cond(gram) * (1 - 1e-9)


def _check_descent_in_closed_form_is_descent_step_by_step(paths):
    for run in paths.values():
        theta, losses = np.zeros((run.n, len(run.lam))), []
        for step in range(501):
            if step in STEPS:
                losses.append(run.loss(theta))
            theta = theta + 0.5 / run.d * run.phi.T @ (run.x - run.phi @ theta)
        largest = np.linalg.norm(run.phi, 2) ** 2 / run.d if run.phi.size else 0.0
        finite = np.isfinite(run.out["descent"]["loss"])
        for name in PATHS:
            result = run.out[name]
            assert result["stable"] == (0.5 * largest <= 2)
            _close(result["largest_eigenvalue"], largest)
            if result["stable"]:
                assert finite.all()
                assert result["status"] == js.Status.ok
            _close(result["loss"][finite], np.array(losses)[finite])
            assert np.array_equal(np.isfinite(result["loss"]), finite)
    assert any(run.out["steps"]["stable"] for run in paths.values())


@pytest.mark.slow
def test_solutions_equal_those_of_dense_algebra():
    """One compiled program for all cases, so one test."""
    runs = _runs(DIRECT)
    _check_minimum_norm_is_the_pseudo_inverse(runs)
    _check_one_teacher_is_the_same_problem(runs)
    _check_the_residual_is_orthogonal_to_the_samples(runs)
    _check_theory_of_the_residual_sees_the_same_inputs(runs)
    _check_ridge_solves_the_normal_equations(runs)
    _check_no_column_leaves_all_variance(runs, DIRECT)


@pytest.mark.slow
def test_paths_equal_those_of_explicit_steps():
    paths = _runs(PATHS)
    _check_descent_in_closed_form_is_descent_step_by_step(paths)
    _check_no_column_leaves_all_variance(paths, PATHS)


def _small(n_rows, n_features, seed=0):
    rng = np.random.default_rng(seed)
    design = rng.standard_normal((n_rows, n_features))
    return design, rng.standard_normal((n_rows, 3))


@eqx.filter_jit
def _solve(solver, design, targets, n_columns, rank, d):
    fit = solver.solve(Problem(design, targets, d, n_columns, rank))
    theta = fit.coefficients if fit.basis is None else fit.basis @ fit.coefficients
    return theta, fit.diagnostics, fit.trusted


def _fit(solver, design, targets, n_columns=None, rank=None, d=None):
    with jax.enable_x64(True):
        solver = cast(solver, "float64")
        n = jnp.asarray(design.shape[1] if n_columns is None else n_columns, jnp.int32)
        rank = None if rank is None else jnp.asarray(rank, jnp.int32)
        d = jnp.asarray(float(design.shape[0] if d is None else d))
        out = _solve(solver, jnp.asarray(design), jnp.asarray(targets), n, rank, d)
        return jax.tree.map(np.asarray, out)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)], ids=["primal", "dual"])
def test_ridge_goes_through_the_smaller_side(shape):
    a, b = _small(*shape)
    theta, _, trusted = _fit(js.sparse.Ridge(strength=0.3), a, b)
    wanted = np.linalg.solve(a.T @ a / shape[0] + 0.3 * np.eye(shape[1]), a.T @ b / shape[0])
    _close(theta[0], wanted)
    assert trusted
    _, result, trusted = _fit(js.sparse.Ridge(strength=1e-14), a, b)
    assert not trusted
    assert result["condition"] > 1e10


@pytest.mark.parametrize("solver", [js.sparse.MinNorm(), js.sparse.Ridge(strength=0.1), FAST])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7)], ids=["tall", "wide"])
def test_padding_adds_nothing(solver, shape):
    m, n = shape
    a, b = _small(m, n)
    rank = m if isinstance(solver, js.sparse.MinNorm) else None
    small = _fit(solver, a, b, rank=rank, d=11)
    wide_a, wide_b = np.zeros((10, 12)), np.zeros((10, 3))
    wide_a[:m, :n], wide_b[:m] = a, b
    wide = _fit(solver, wide_a, wide_b, n_columns=n, rank=rank, d=11)
    np.testing.assert_allclose(wide[0][:, :n], small[0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(wide[0][:, n:], 0.0, atol=1e-14)
    for name in small[1]:
        if name != "condition" or rank is not None:
            _close(wide[1][name], small[1][name])


def test_a_design_of_unknown_rank_goes_through_its_singular_values():
    a, b = _small(8, 5)
    a[:, 4] = a[:, 0] - 2 * a[:, 1]  # a dependent feature
    a[7], b[7] = a[6], b[6]  # a repeated sample
    theta, result, trusted = _fit(js.sparse.MinNorm(), a, b)
    np.testing.assert_allclose(theta[0], np.linalg.pinv(a, rcond=1e-12) @ b, rtol=1e-10)
    assert result["rank"] == 4
    assert trusted


@pytest.mark.parametrize("shape", [(10, 6), (6, 10)], ids=["tall", "wide"])
def test_rows_keep_the_gram_matrix_of_rank_deficient_inputs(shape):
    x = np.random.default_rng(3).standard_normal(shape) * 10.0 ** -np.arange(shape[1])
    x[4], x[5] = x[0], 3 * x[1]  # repeated directions
    if shape[1] == 10:
        x[3] = 0.0
    x[:, 3] = 0.0  # never seen
    rank = np.linalg.matrix_rank(x / np.maximum(np.linalg.norm(x, axis=0), 1e-300), tol=1e-8)
    for solver in (js.sparse.MinNorm(), js.sparse.Ridge()):
        with jax.enable_x64(True):
            rows = jax.tree.map(np.asarray, solver.rows(jnp.asarray(x)))
        scale = np.linalg.norm(x, axis=0)
        gram = np.abs(rows.values.T @ rows.values - x.T @ x)
        assert np.max(gram / np.maximum(np.outer(scale, scale), 1e-300)) < 1e-13
        if rows.rank is not None:
            assert rows.rank == rank < min(shape)
            assert not rows.values[rank:].any()


def test_the_condition_of_a_batch_is_that_of_singular_values():
    """From the norms of a triangle and of its inverse, at a relative error of 1e-16 conditions."""
    rng = np.random.default_rng(0)
    triangles, ranks = np.zeros((7, 6, 6)), [0, 1, 3, 6, 6, 6, 6]
    for i, rank in enumerate(ranks):
        grades = 10.0 ** -np.linspace(0, max(0, 3 * (i - 3)), 6)
        triangles[i, :rank, :rank] = np.triu((rng.standard_normal((6, 6)) * grades)[:rank, :rank])
    with jax.enable_x64(True):
        rank = jnp.asarray(ranks, jnp.int32)
        batch = np.asarray(jax.jit(jax.vmap(_condition_in_batch))(triangles, rank))
    wanted = [
        np.linalg.cond(t[:r, :r]) if r else 1.0 for t, r in zip(triangles, ranks, strict=True)
    ]
    assert max(wanted) > 1e8
    assert np.all(np.abs(batch / wanted - 1) < 1e-14 * np.asarray(wanted) + 1e-14)


def test_an_accelerator_factors_for_use():
    """No Cholesky factor that a batch throws away, no singular values one matrix at a time."""
    x, k = jax.ShapeDtypeStruct((2, 12, 8), "float64"), jax.ShapeDtypeStruct((2,), "int32")

    @jax.jit
    @jax.vmap
    def solved(x, k):
        rows = js.sparse.MinNorm().rows(x)
        fit = js.sparse.MinNorm().solve(Problem(rows.values, rows.values, x[0, 0], k, rows.rank))
        return fit.coefficients, fit.diagnostics

    with jax.enable_x64(True):
        for platform, calls in (
            ("cuda", ["syev"]),
            ("cpu", ["gesdd", "potrf", "cholesky", "syev"]),
        ):
            text = jax.export.export(solved, platforms=[platform])(x, k).mlir_module().lower()
            assert [
                c for c in ("gesdd", "gesvd", "potrf", "cholesky", "syev") if c in text
            ] == calls


@pytest.mark.slow
def test_infinite_data_depend_on_the_variances_alone():
    lam = np.arange(1.0, 13) ** -2.0
    f = np.random.default_rng(0).standard_normal((5, 12)) / np.sqrt(5)
    with jax.enable_x64(True):
        solver = js.sparse.MinNorm()
        rows = solver.rows(jnp.asarray(np.diag(np.sqrt(lam))))
        full = jnp.ones(12, bool)
        inputs = Inputs(
            rows.values, rows.values != 0, jnp.asarray(lam), full, jnp.arange(12, dtype=jnp.int32),
            jnp.zeros(()), jnp.asarray(True),
        )  # fmt: skip
        projection = jnp.asarray(f)
        n = jnp.asarray(5, jnp.int32)
        design = rows.values @ projection.T
        fit = solver.solve(Problem(design, rows.values, jnp.asarray(1.0), n, rows.rank))
        loss = linear_loss(fit, inputs, projection, jnp.eye(12), jnp.asarray(0.2))
    core = np.linalg.solve(f @ np.diag(lam) @ f.T, f @ np.diag(lam))
    _close(loss[0], 0.5 * np.trace(np.diag(lam) - np.diag(lam) @ f.T @ core))


def test_all_sign_vectors_average_to_the_mean_teacher():
    """Exact, since the loss is quadratic in the teacher."""
    lam, rng = np.arange(1.0, 7) ** -1.5, np.random.default_rng(1)
    x, f = rng.standard_normal((4, 6)), rng.standard_normal((5, 6)) / np.sqrt(5)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))

    def loss(directions):
        theta, *_ = _fit(js.sparse.MinNorm(), x @ f.T, x @ directions)
        return np.sum(lam[:, None] * (directions - f.T @ theta[0]) ** 2, axis=0) / 2

    _close(np.mean(loss(signs.T)), np.sum(loss(np.eye(6))))


def test_sampled_signs_are_fair_and_independent():
    with jax.enable_x64(True):
        inputs = Inputs(
            jnp.ones((1, 4)), jnp.ones((1, 4), bool), jnp.ones(4), jnp.ones(4, bool),
            jnp.array([1, 2, 7, 2**30], jnp.int32), jnp.zeros(()), jnp.asarray(True),
        )  # fmt: skip
        draw = jax.vmap(lambda key: js.sparse.Sampled().directions(key, inputs))
        w = np.asarray(draw(jr.split(jr.key(0), 4000)))[:, :, 0]
    pairs = [np.mean(w[:, i] * w[:, j]) for i, j in itertools.combinations(range(4), 2)]
    z = np.sqrt(4000) * np.array([*w.mean(axis=0), *pairs])
    assert np.max(np.abs(z)) < scipy.stats.norm.isf(0.5e-3 / z.size)


def test_one_minus_power():
    rate = np.array([0.0, 1e-18, 1e-9, 0.3, 0.4999, 0.5, 1.0, 1.5, 2.0])
    steps = np.array([[0.0], [1.0], [2.0], [7.0], [1e4]])
    with jax.enable_x64(True):
        actual = np.asarray(one_minus_power(jnp.asarray(rate), jnp.asarray(steps)))
        grown = float(one_minus_power(jnp.asarray(2.5), jnp.asarray(3.0)))
    exact = -np.expm1(steps * np.log1p(-np.minimum(rate, 0.5)))
    direct = 1 - (1 - rate) ** steps
    np.testing.assert_allclose(actual, np.where(rate < 0.5, exact, direct), rtol=1e-13, atol=1e-300)
    assert actual[4, 1] == pytest.approx(1e-14, rel=1e-12)  # 1 - (1 - r)^t would be 0
    assert grown == pytest.approx(1 + 1.5**3)


@pytest.mark.slow
def test_an_unstable_rate_diverges_and_touches_no_neighbour():
    """Records before it diverges are kept, those from then on are NaN."""
    system = js.sparse.RandomFeatureRegression(
        n_samples=40, n_coordinates=30, spectrum_exponent=1.0, sparsity_exponent=1.5,
        features=js.sparse.Identity(),
        solver=js.sparse.GradientDescent(n_steps=300, record=[0, 1, 2, 100, 300]),
    )  # fmt: skip

    def one(rate):
        return set_leaf(system, "solver.learning_rate", rate).simulate(jr.key(0))

    with jax.enable_x64(True):
        batch = jax.jit(jax.vmap(one))
        runs = jax.tree.map(np.asarray, batch(jnp.array([0.3, 8.0, 0.2])))
        calm = jax.tree.map(np.asarray, batch(jnp.array([0.3, 0.1, 0.2])))
    assert runs["status"].tolist() == [js.Status.ok, js.Status.diverged, js.Status.ok]
    assert runs["stable"].tolist() == [1, 0, 1]
    finite = np.isfinite(runs["loss"])
    assert finite[1].tolist() == [True, True, True, False, False]
    assert finite[[0, 2]].all()
    assert runs["largest_eigenvalue"][1] == runs["largest_eigenvalue"][0] > 2 / 8
    for name in runs:
        np.testing.assert_array_equal(runs[name][[0, 2]], calm[name][[0, 2]])


@pytest.mark.slow
def test_identity_is_the_limit_of_many_features():
    """Losses of ridge regression approach it as `N^-1/2`, the distance of the random kernels."""
    system = js.sparse.RandomFeatureRegression(
        n_features=10_000, n_samples=8, n_coordinates=12, spectrum_exponent=1.0,
        sparsity_exponent=1.0, solver=js.sparse.Ridge(strength=0.01),
    )  # fmt: skip
    sizes = [100, 1000, 10_000]
    linear = js.run(js.Grid(system, {"n_features": sizes}, seeds=40), progress=False)
    endless = js.sparse.RandomFeatureRegression(
        n_samples=8, n_coordinates=12, spectrum_exponent=1.0, sparsity_exponent=1.0,
        solver=js.sparse.Ridge(strength=0.01), features=js.sparse.Identity(),
    )  # fmt: skip
    limit = js.run(js.Grid(endless, seeds=40), progress=False)
    gap = abs(linear["loss"] / limit["loss"] - 1).mean("seed").values
    assert gap[2] < 0.01
    slope = np.polyfit(np.log(sizes), np.log(gap), 1)[0]
    assert -0.75 < slope < -0.35


@pytest.mark.slow
def test_much_data_forget_the_sparsity():
    """`D -> inf`: sparse and dense inputs, the same features, the same loss."""
    system = js.sparse.RandomFeatureRegression(
        n_features=4, n_samples=20_000, n_coordinates=8, spectrum_exponent=1.0,
        sparsity_exponent=1.0,
    )  # fmt: skip
    grid = js.Grid(system, {"sparsity_exponent": [0.0, 1.0]}, seeds=8)
    loss = js.run(grid, progress=False)["loss"].values
    np.testing.assert_allclose(loss[0], loss[1], rtol=2e-3)
    assert np.std(loss[0]) > 0.02 * np.mean(loss[0])
