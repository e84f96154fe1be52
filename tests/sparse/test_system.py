"""`RandomFeatureRegression` as a system: sweeps, files, schema, derivatives, bad input."""

import itertools
import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from checks import count_chunks

import jaxscale as js
from jaxscale.paths import set_leaf
from jaxscale.sparse import (
    Averaged,
    Elementwise,
    GradientDescent,
    GradientSteps,
    Identity,
    Linear,
    MinNorm,
    RandomFeatureRegression,
    Relu,
    Ridge,
    Sampled,
    Tabulated,
    Tanh,
)

SPARSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
AXES = {
    "n_features": [4, 9],
    "n_samples": [6, 20],
    "spectrum_exponent": [0.8, 1.2],
    "sparsity_exponent": [1.5, 2.0],
    "activity": [0.7, 1.0],
    "solver.strength": [1e-3, 0.1],
}


def _all_axes():
    system = RandomFeatureRegression(n_features=4, n_samples=6, solver=Ridge(), **SPARSE)
    return js.Grid(system, AXES, seeds=2, key=3)


def _alone(runs, **at):
    """The chosen run, compiled at its own sizes."""
    system, key = js.select(runs, **at)
    with jax.enable_x64(True):
        out = jax.jit(lambda key: system.simulate(key))(key)
    return system, jax.tree.map(np.asarray, out)


def _check_a_run_alone(runs):
    at = {path: values[0] for path, values in AXES.items()} | {"sparsity_exponent": 2.0, "seed": 1}
    system, out = _alone(runs, **at)
    assert system.padded("n_samples") == 6
    swept = runs.sel(at)
    assert set(out) == set(runs.data_vars)
    for name in out:
        np.testing.assert_allclose(swept[name], out[name], rtol=1e-9)


def _check_pairs(runs):
    """A seed draws the same inputs whatever the features and the solver."""
    n_seen = runs["n_seen"]
    for path in ("n_features", "solver.strength", "spectrum_exponent"):
        assert (n_seen.std(path) == 0).all()
    more = runs["unseen_loss"].diff("n_samples")
    assert (more <= 0).all()
    assert (n_seen.isel(seed=0) != n_seen.isel(seed=1)).any()
    assert (runs["loss"].diff("solver.strength") != 0).all()


def _check_stores(plan, runs, path, monkeypatch):
    js.run(plan, store=path / "whole.zarr", progress=False)
    assert js.open_store(path / "whole.zarr").equals(runs)
    with monkeypatch.context() as patch:
        count_chunks(patch, stop_after=2)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C: 64 of 128 runs"):
            half = js.run(plan, store=path / "half.zarr", progress=False)
    assert 0 < int(half["loss"].notnull().sum()) < runs["loss"].size
    resumed = js.run(plan, store=path / "half.zarr", progress=False)
    assert resumed.equals(runs)
    assert js.select(resumed, **{p: v[0] for p, v in AXES.items()}, seed=0)[0].n_samples == 6


@pytest.mark.slow
def test_a_grid_over_every_leaf_is_one_program(tmp_path, monkeypatch):
    plan = js.plan(_all_axes(), max_runs_per_chunk=32)
    assert plan.n_programs == 1
    runs = js.run(plan, progress=False)
    assert (plan.n_runs, len(plan.buckets)) == (128, 1)
    assert (runs["status"] == js.Status.ok).all()
    assert runs["loss"].dims == (*AXES, "seed")
    _check_pairs(runs)
    _check_a_run_alone(runs)
    _check_stores(plan, runs, tmp_path, monkeypatch)


@pytest.mark.slow
def test_predictions_of_a_grid_are_those_of_its_systems():
    grid = _all_axes()
    flow = js.predict(grid)
    assert set(flow) == {"loss", "n_seen", "unseen_loss", "status"}
    assert (flow["status"] == js.Status.ok).all()
    for at in ({p: v[0] for p, v in AXES.items()}, {p: v[1] for p, v in AXES.items()}):
        system = grid._at(at)
        with jax.enable_x64(True):
            out = system.predict()
        for name in out:
            np.testing.assert_allclose(flow[name].sel(at), out[name], rtol=1e-10)
        fields = {k: float(getattr(system, k)) for k in (*SPARSE, "activity")}
        with jax.enable_x64(True):
            reference = js.sparse.theory.loss(
                float(system.n_features), float(system.n_samples),
                ridge=float(system.solver.strength), **fields,
            )  # fmt: skip
        np.testing.assert_allclose(out["loss"], reference, rtol=1e-9)


SYSTEMS = {
    "endless": RandomFeatureRegression(n_features=5, n_samples=9, **SPARSE),
    "dense": RandomFeatureRegression(
        n_features=5, n_samples=9, n_coordinates=40, spectrum_exponent=1.0, sparsity_exponent=0.0,
        teacher=Sampled(), solver=Ridge(strength=0.2),
    ),
    "tabulated": RandomFeatureRegression(
        n_samples=9, features=Identity(), activity=0.5,
        spectrum=Tabulated(variance=[1.0, 0.5, 0.7], probability=[1.0, 0.3, 0.3]),
        solver=GradientDescent(learning_rate=0.3, n_steps=9, record=[0, 4, 9]),
    ),
    "tanh": RandomFeatureRegression(
        n_features=5, n_samples=9, features=Tanh(scale=0.3), n_evaluation=60, **SPARSE
    ),
    "module": RandomFeatureRegression(
        n_features=5, n_samples=9, features=Relu(), solver=GradientSteps(n_steps=9), **SPARSE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_files_rebuild_the_system(name):
    grid = js.Grid(SYSTEMS[name], {"n_samples": [9, 12]}, seeds=2)
    again = js.Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert eqx.tree_equal(again.system, grid.system)
    assert again.to_dict() == grid.to_dict()
    assert "padding" not in grid.to_dict()["fields"]


def test_a_toml_file_is_a_grid(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text("""
        system = "sparse.RandomFeatureRegression"
        seeds = 2
        [fields]
        n_features = 5
        n_samples = 9
        n_coordinates = inf
        spectrum_exponent = 1.0
        sparsity_exponent = 2.0
        features = {type = "Tanh", scale = 0.3}
        solver = {type = "Ridge", strength = 0.2}
        [axes]
        "solver.strength" = [0.1, 0.2]
        features = [{type = "Linear"}, {type = "Tanh", scale = 0.3}]
    """)
    grid = js.Grid.from_toml(str(path))
    assert grid.system.n_coordinates == math.inf
    assert grid.system.features.scale == 0.3
    assert isinstance(grid.system.solver, Ridge)
    assert js.plan(grid).n_programs == 2
    spectrum = tmp_path / "spectrum.toml"
    spectrum.write_text("""
        system = "sparse.RandomFeatureRegression"
        [fields]
        n_samples = 9
        features = {type = "Identity"}
        spectrum = {type = "Tabulated", variance = [1.0, 0.5], probability = [1.0, 0.3]}
    """)
    read = js.Grid.from_toml(str(spectrum)).system
    np.testing.assert_array_equal(read.spectrum.probability, [1.0, 0.3])


class Shape(eqx.Module):
    """An activation without parameters."""

    def __call__(self, h):
        return h**2


FEATURES = [Linear(), Identity(), Relu(), Tanh(scale=0.3), Elementwise(Shape())]
SOLVERS = [
    MinNorm(),
    pytest.param(Ridge(), marks=pytest.mark.slow),
    GradientDescent(n_steps=4, record=[0, 4]),
    pytest.param(GradientSteps(n_steps=4), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_the_schema_describes_what_comes_out(solver):
    for features, teacher in itertools.product(FEATURES, [Averaged(), Sampled()]):
        if isinstance(teacher, Sampled) and not isinstance(features, Linear | Relu):
            continue
        system = RandomFeatureRegression(
            n_features=None if isinstance(features, Identity) else 3, n_samples=4,
            features=features, solver=solver, teacher=teacher, n_evaluation=8, **SPARSE,
        )  # fmt: skip
        schema = system.schema
        with jax.enable_x64(True):
            out = jax.eval_shape(system.simulate, jr.key(0))
            predictions = jax.eval_shape(system.predict)
        assert set(out) == {*schema.observables, "status"}
        for name in schema.observables:
            assert out[name].shape == schema.shape(name)
            assert out[name].dtype == np.float64
        assert set(predictions) == {*schema.predicted(), "status"}
        for name in schema.predicted():
            assert predictions[name].shape == schema.shape(name)
        predicts_loss = isinstance(features, Linear) and not isinstance(solver, GradientDescent)
        if isinstance(features, Relu):
            assert "loss" not in predictions
        if predicts_loss and isinstance(solver, MinNorm | Ridge):
            assert "loss" in predictions
        limits = schema.observables["loss"].limits
        if isinstance(solver, MinNorm) and isinstance(features, Linear | Identity):
            assert "median" in limits
        assert all(o.description and o.units for o in schema.observables.values())


def _derivative(system, path, at):
    """Pushed forward, and by central differences, in one program."""

    def loss(value):
        return set_leaf(system, path, value).simulate(jr.key(0))["loss"]

    with jax.enable_x64(True):
        at = jnp.asarray(at)

        def both(at):
            h = 1e-5 * at
            losses = jax.vmap(loss)(jnp.stack([at - h, at + h]))
            return jax.jvp(loss, (at,), (jnp.ones(()),))[1], (losses[1] - losses[0]) / (2 * h)

        return [np.asarray(v) for v in jax.jit(both)(at)]


@pytest.mark.slow
def test_losses_have_derivatives_in_the_solver():
    base = {"n_features": 6, "n_samples": 15, "n_coordinates": 30, **SPARSE}
    ridge = RandomFeatureRegression(solver=Ridge(), **base)
    pushed, wanted = _derivative(ridge, "solver.strength", 0.03)
    np.testing.assert_allclose(pushed, wanted, rtol=1e-6)
    descent = GradientDescent(n_steps=60, record=[1, 8, 60])
    steps = RandomFeatureRegression(solver=descent, **base)
    pushed, wanted = _derivative(steps, "solver.learning_rate", 0.4)
    np.testing.assert_allclose(pushed, wanted, rtol=1e-6)
    assert np.all(np.abs(pushed) > 1e-6)


@pytest.mark.slow
def test_runs_have_derivatives_one_by_one():
    """`vmap` over seeds of a derivative, rather than the derivative of a batch."""
    base = {"n_features": 6, "n_samples": 15, "n_coordinates": 30, **SPARSE}
    system = RandomFeatureRegression(solver=Ridge(), **base)

    def slope(key):
        def loss(value):
            return set_leaf(system, "solver.strength", value).simulate(key)["loss"]

        return jax.jvp(loss, (jnp.asarray(0.03),), (jnp.ones(()),))[1]

    with jax.enable_x64(True):
        jax.jit(jax.vmap(slope))(jr.split(jr.key(0), 2))


def _prediction_slopes(system, point):
    """Derivatives of every prediction in every field: pushed forward, and by differences."""

    def predict(*values):
        changed = system
        for path, value in zip(point, values, strict=True):
            changed = set_leaf(changed, path, value)
        return {k: v for k, v in changed.predict().items() if k != "status"}

    with jax.enable_x64(True):
        x = [jnp.asarray(v) for v in point.values()]
        pushed = jax.jit(jax.jacfwd(predict, tuple(range(len(x)))))(*x)
        batch = jax.jit(jax.vmap(predict))
        h = 1e-4
        stencil = [
            [v * (1 + (s * h if i == j else 0.0)) for i, v in enumerate(x)]
            for j in range(len(x)) for s in (-1, 1)
        ]  # fmt: skip
        shifted = batch(*(jnp.stack(column) for column in zip(*stencil, strict=True)))
    for name, value in shifted.items():
        for j, v in enumerate(x):
            wanted = (np.asarray(value[2 * j + 1]) - np.asarray(value[2 * j])) / (2 * h)
            actual = np.asarray(pushed[name][j]) * float(v)
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-7)
    return pushed


@pytest.mark.slow
def test_predictions_of_descent_are_differentiable():
    system = RandomFeatureRegression(
        n_samples=60, features=Identity(), spectrum_exponent=1.0, sparsity_exponent=2.6,
        activity=0.9, solver=GradientDescent(learning_rate=0.7, n_steps=100, record=[0, 10, 100]),
    )  # fmt: skip
    names = ("spectrum_exponent", "sparsity_exponent", "activity", "solver.learning_rate")
    pushed = _prediction_slopes(system, dict(zip(names, (1.0, 2.6, 0.9, 0.7), strict=True)))
    assert np.all(np.abs(np.asarray(pushed["loss"][3])[1:]) > 1e-4)
    assert abs(float(pushed["stable"][3])) > 1e-4
    assert float(pushed["n_seen"][3]) == 0


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(("n_features", "solver"), [(6, MinNorm()), (90, Ridge(strength=1e-3))])
def test_predictions_of_the_plane_are_differentiable(n_features, solver):
    fields = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.1, "activity": 0.9}
    system = RandomFeatureRegression(n_features=n_features, n_samples=700, solver=solver, **fields)
    point = {**fields, **({} if isinstance(solver, MinNorm) else {"solver.strength": 1e-3})}
    pushed = _prediction_slopes(system, point)
    assert all(np.abs(v) > 1e-4 for v in pushed["loss"])


GOOD = {"n_features": 4, "n_samples": 9, **SPARSE}
TABLE = {"n_samples": 9, "features": Identity()}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_features": None}, ["`n_features`", "Identity()", "None"]),
        ({"features": Identity()}, ["`n_features`", "Identity()", "4"]),
        ({"n_features": 0}, ["`n_features`", "0"]),
        ({"n_samples": 2.5}, ["`n_samples`", "2.5"]),
        ({"n_samples": -1}, ["`n_samples`", "-1"]),
        ({"sparsity_exponent": 1.0}, ["`n_coordinates`", "sparsity_exponent", "1"]),
        ({"sparsity_exponent": 0.7}, ["`n_coordinates`", "sparsity_exponent", "0.7"]),
        ({"sparsity_exponent": -0.5}, ["`sparsity_exponent`", "-0.5"]),
        ({"sparsity_exponent": None}, ["`sparsity_exponent`", "None"]),
        ({"spectrum_exponent": -1.0}, ["`spectrum_exponent`", "-1"]),
        ({"spectrum_exponent": 0.0}, ["`spectrum_exponent`", "0.0"]),
        ({"spectrum_exponent": None}, ["`spectrum_exponent`", "None"]),
        ({"spectrum_exponent": math.nan}, ["`spectrum_exponent`", "nan"]),
        ({"activity": 0.0}, ["`activity`", "0.0"]),
        ({"activity": "much"}, ["`activity`", "much"]),
        ({"n_coordinates": 0}, ["`n_coordinates`", "0"]),
        ({"n_coordinates": 2.5}, ["`n_coordinates`", "2.5"]),
        ({"dtype": "float32"}, ["`dtype`", "float32", "float64"]),
        ({"features": "relu"}, ["`features`", "Relu()", "'relu'"]),
        ({"features": jnp.tanh}, ["`features`", "tanh"]),
        ({"solver": "ridge"}, ["`solver`", "'ridge'"]),
        ({"teacher": "mean"}, ["`teacher`", "'mean'"]),
        ({"n_evaluation": 0}, ["`n_evaluation`", "0"]),
        ({"spectrum": [1.0]}, ["`spectrum`", "Tabulated", "1.0"]),
    ],
)
def test_bad_fields_are_named_with_their_value(fields, words):
    with pytest.raises(ValueError, match=words[0]) as caught:
        RandomFeatureRegression(**{**GOOD, **fields})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Ridge(strength=0.0), ["`strength`", "0.0"]),
        (lambda: GradientDescent(learning_rate=-0.1), ["`learning_rate`", "-0.1"]),
        (lambda: GradientDescent(n_steps=10, record=[0, 20]), ["`record`", "20", "10"]),
        (lambda: GradientSteps(n_steps=10, record=[3, 2]), ["`record`", "[3, 2]"]),
        (lambda: Tanh(scale=0.0), ["`scale`", "0.0"]),
        (
            lambda: Tabulated(variance=[1.0, 2.0], probability=[1.0]),
            ["`probability`", "length", "2", "1"],
        ),
        (
            lambda: Tabulated(variance=[1.0, 2.0], probability=[0.1, 0.2]),
            ["`probability`", "0.1", "0.2"],
        ),
        (lambda: Tabulated(variance=[-1.0], probability=[1.0]), ["`variance`", "-1"]),
        (lambda: Tabulated(variance=[1.0], probability=[1.5]), ["`probability`", "1.5"]),
        (lambda: Tabulated(variance=[], probability=[]), ["`variance`", "0"]),
        (
            lambda: RandomFeatureRegression(
                **TABLE, **SPARSE, spectrum=Tabulated(variance=[1.0], probability=[1.0])
            ),
            ["`spectrum_exponent`", "1.0"],
        ),
        (
            lambda: RandomFeatureRegression(
                **TABLE, n_coordinates=7, spectrum=Tabulated(variance=[1.0], probability=[1.0])
            ),
            ["`n_coordinates`", "7"],
        ),
    ],
)
def test_bad_parts_are_named_with_their_value(make, words):
    with pytest.raises(ValueError, match=words[0]) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bare_calls_need_double_precision_and_a_key():
    system = RandomFeatureRegression(**GOOD)
    with pytest.raises(ValueError, match="enable_x64"):
        system.simulate(jr.key(0))
    with jax.enable_x64(True), pytest.raises(ValueError, match="`key`"):
        jax.eval_shape(system.simulate, jr.key(0, impl="rbg"))


def test_a_tpu_is_refused_with_the_reason():
    system = RandomFeatureRegression(**GOOD)
    assert "float64" in system.unsupported("tpu")
    assert system.unsupported("cpu") == system.unsupported("gpu") == ""


def test_work_grows_with_every_size():
    small = RandomFeatureRegression(**GOOD).work()
    for name, value in (("n_features", 40), ("n_samples", 400)):
        large = RandomFeatureRegression(**{**GOOD, name: value}).work()
        assert large.flops > small.flops
        assert large.resident_floats > small.resident_floats


def test_work_of_few_nonlinear_features_holds_no_factorisation_of_the_size_of_the_samples():
    n, d = 16, 8192
    fields = {**GOOD, "n_features": n, "n_samples": d, "features": Relu(), "n_evaluation": 64}
    assert RandomFeatureRegression(**fields).work().flops < 30 * d**2 * n / 10


@pytest.mark.slow
def test_unstable_runs_count_as_unstable_whatever_becomes_of_their_path():
    """Overflow between two records is divergence; `stable` stays known, and `compare` uses it."""
    system = RandomFeatureRegression(
        n_samples=50,
        spectrum_exponent=0.5,
        sparsity_exponent=2.5,
        features=js.sparse.Identity(),
        solver=js.sparse.GradientDescent(learning_rate=1.0, n_steps=20000, record=[0, 20000]),
    )
    grid = js.Grid(system, seeds=400)
    with pytest.warns(UserWarning, match="of 400 runs ended badly"):
        runs = js.run(grid)
    unstable = np.asarray(runs["stable"] == 0)
    assert 0 < unstable.sum() < 60
    assert np.array_equal(np.asarray(runs["status"] == js.Status.diverged), unstable)
    assert np.isnan(np.asarray(runs["loss"].sel(step=20000))[unstable]).all()
    assert np.isfinite(np.asarray(runs["n_seen"])).all()
    (row,) = (r for r in js.compare(runs, js.predict(grid)).rows if r.observable == "stable")
    assert row.n_compared == 1
    assert row.passed


def test_an_axis_over_the_number_of_coordinates_has_programs_of_its_own():
    system = RandomFeatureRegression(n_features=4, n_samples=8, **SPARSE)
    grid = js.Grid(system, axes={"n_coordinates": [30, np.inf]})
    assert js.plan(grid).n_programs == 2


@pytest.mark.slow
def test_a_traced_activity_is_predicted():
    def expected(activity):
        return RandomFeatureRegression(
            n_features=4, n_samples=30, activity=activity, **SPARSE
        ).predict()["n_seen"]

    with jax.enable_x64(True):
        value, slope = jax.jvp(expected, (jnp.asarray(0.5),), (jnp.ones(()),))
    assert float(value) > 0
    assert float(slope) > 0


def test_a_plan_over_many_exponents_is_quick_to_bound():
    """One table per pair of exponents, no system per pair."""
    system = RandomFeatureRegression(n_features=4, n_samples=30, **SPARSE)
    gammas, activities = np.linspace(1.2, 3, 40), np.linspace(0.1, 1, 40)
    columns = {"sparsity_exponent": np.repeat(gammas, 40), "activity": np.tile(activities, 40)}
    wide = system.padded_for(columns).padding
    for gamma, activity in ((1.2, 1.0), (3.0, 0.1)):
        one = RandomFeatureRegression(
            n_features=4, n_samples=30, spectrum_exponent=1.0, sparsity_exponent=gamma,
            activity=activity,
        ).padding  # fmt: skip
        assert all(getattr(one, name) <= size for name, size in vars(wide).items())
