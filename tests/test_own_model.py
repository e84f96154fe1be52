"""The example of a model of one's own: 70 lines, and every tool of the package works on it."""

import importlib.util
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxscale as js
from jaxscale import cli

EXAMPLE = Path(__file__).parent.parent / "examples" / "power_law_regression.py"
AXES = {"n_features": [8, 24, 40], "learning_rate": [0.2, 0.6], "spectrum_exponent": [0.5, 1.0]}


@pytest.fixture(scope="module")
def model():
    """The class of the example, under a name that other tests do not use."""
    name = "own_model_of_a_test"
    spec = importlib.util.spec_from_file_location(name, EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module.PowerLawRegression
    del sys.modules[name]


@pytest.fixture(scope="module")
def grid(model):
    return js.Grid(model(n_steps=200, init_scale=0.3), AXES, seeds=16)


@pytest.fixture(scope="module")
def runs(grid):
    return js.run(js.plan(grid, max_programs=1))


def test_it_takes_70_lines():
    assert len(EXAMPLE.read_text().splitlines()) <= 70


@pytest.mark.parametrize(
    ("dtype", "error"),
    [pytest.param("float32", 1e-5, marks=pytest.mark.slow), ("float64", 1e-12)],
)
def test_theory_equals_simulation_without_initial_noise(model, dtype, error):
    grid = js.Grid(model(n_steps=200, init_scale=0.0, dtype=dtype), AXES)
    runs, theory = js.run(grid).isel(seed=0), js.predict(grid)
    for name in ("loss", "weight"):
        assert float(abs(runs[name] - theory[name]).max()) < error * float(theory[name].max())


def test_theory_is_the_mean_over_initial_weights(model, grid, runs):
    assert js.compare(runs, js.predict(grid)).passed
    noisy = js.Grid(model(n_steps=200, init_scale=1.0), seeds=64)
    curves = js.run(noisy)
    assert js.compare(curves, js.predict(noisy)).passed
    without = js.Grid(js.replace(noisy.system, "init_scale", 0.0))
    assert not js.compare(curves, js.predict(without)).passed  # the noise of the start is seen


@pytest.mark.parametrize("name", ["learning_rate", "spectrum_exponent", "init_scale"])
def test_predict_has_gradients(model, name):
    system, h = model(n_steps=50, n_features=20, spectrum_exponent=0.8, init_scale=0.3), 1e-5

    def last_loss(value):
        return js.replace(system, name, value).predict()["loss"][-1]

    with jax.enable_x64(True):
        at = float(getattr(system, name))
        slope = float(jax.jit(jax.grad(last_loss))(at))
        value = jax.jit(last_loss)
        difference = float(value(at + h) - value(at - h)) / (2 * h)
    assert slope == pytest.approx(difference, rel=1e-6)


@pytest.mark.slow
def test_it_maps_over_leaves(model):
    rates = jnp.asarray([0.1, 0.2, 0.3])
    system, key = model(n_steps=20, n_features=10), jax.random.key(0)

    def loss(rate):
        return js.replace(system, "learning_rate", rate).simulate(key)["loss"]

    together, one = jax.jit(jax.vmap(loss))(rates), jax.jit(loss)
    assert together.shape == (3, len(system.record_steps))
    together = np.asarray(together)
    for i, rate in enumerate((0.1, 0.2, 0.3)):
        np.testing.assert_allclose(together[i], one(rate), rtol=1e-5)


@pytest.mark.parametrize("most", [1, 3])
def test_one_program_per_bucket(model, grid, monkeypatch, most):
    traces, simulate = [], js.AbstractTrainedSystem.simulate
    monkeypatch.setattr(model, "simulate", lambda s, key: traces.append(s) or simulate(s, key))
    plan = js.plan(grid, max_programs=most)
    js.run(plan)
    assert len(traces) == plan.n_programs == len(plan.buckets) <= most


@pytest.mark.slow
def test_padding_changes_nothing(grid, runs):
    for n_features in AXES["n_features"]:  # in a program that is padded to 40
        at = {"n_features": n_features, "learning_rate": 0.6, "spectrum_exponent": 0.5}
        system, key = js.select(runs, **at, seed=5)
        assert system.padded("n_features") == n_features
        alone = eqx.filter_jit(type(system).simulate)(system, key)
        for name in ("loss", "weight"):
            padded = runs[name].sel(**at, seed=5)
            np.testing.assert_allclose(padded, alone[name], rtol=2e-5, atol=1e-6)
        trained = js.train(system, key)
        assert trained.shape == (n_features,)
        np.testing.assert_allclose(trained[:4], alone["weight"][-1], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_stores_continue_and_are_extended(grid, tmp_path, runs):
    small = js.Grid(grid.system, {**AXES, "n_features": [8, 24]}, seeds=4)
    js.run(small, store=tmp_path / "runs.zarr")
    more = js.run(grid, store=tmp_path / "runs.zarr")
    assert more.equals(js.open_store(tmp_path / "runs.zarr"))
    np.testing.assert_allclose(more.loss, runs.loss, rtol=2e-5)


@pytest.mark.slow
def test_the_exponent_is_found_from_curves(model, runs):
    curves = runs.sel(spectrum_exponent=0.5, drop=True)
    axes = {name: AXES[name] for name in ("n_features", "learning_rate")}
    unknown = js.Grid(model(n_steps=200, init_scale=0.3, spectrum_exponent=2.0), axes)
    fit = js.calibrate(
        unknown, curves, free=["spectrum_exponent"], observables=["loss"], each="seed"
    )
    exponents = fit.values["spectrum_exponent"]
    assert np.all(fit.converged)
    assert abs(exponents.mean() - 0.5) < 4 * exponents.std(ddof=1) / 4


def test_figures_and_citation(runs, grid):
    figure = js.plot(runs, js.predict(grid))
    assert len(figure.axes) == 2
    cited = js.citation(runs)
    assert cited.startswith("@software{jaxscale,")
    assert "@misc{me2026" in cited


@pytest.mark.parametrize(
    ("field", "value"),
    [("learning_rate", 1.0), ("n_features", 3), ("spectrum_exponent", 0.0), ("init_scale", -1.0)],
)
def test_bad_numbers_are_refused_by_name(model, field, value):
    with pytest.raises(ValueError, match=f"`{field}` must be .* got {value}"):
        model(**{field: value})


SWEEP = """
system = "{module}:{cls}"
seeds = 2
[fields]
n_steps = 20
[axes]
n_features = [4, 8]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the example as `mine.py`, which Python does not search."""
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text())
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mine", None)


def test_a_sweep_file_imports_the_module_next_to_it(folder):
    (folder / "sweep.toml").write_text(SWEEP.format(module="mine", cls="PowerLawRegression"))
    arguments = ["run", str(folder / "sweep.toml"), "--store", str(folder / "runs.zarr")]
    done = CliRunner().invoke(cli.app, [*arguments, "--axis", "learning_rate=0.1,0.2"])
    assert done.exit_code == 0, done.output
    assert "8 runs ok" in done.output
    runs = js.open_store(folder / "runs.zarr")
    assert runs.sizes["learning_rate"] == runs.sizes["n_features"] == 2
    sys.modules.pop("mine")
    with pytest.raises(ValueError, match=r"needs `import \w+` first"):
        js.open_store(folder / "runs.zarr")  # a store imports nothing


@pytest.mark.parametrize(
    ("module", "cls", "words"),
    [
        ("nowhere", "Mine", ["`system`", "'nowhere'", "ModuleNotFoundError"]),
        ("broken", "Mine", ["`system`", "'broken'", "division by zero"]),
        ("mine", "PowerLaw", ["sweep.toml", "`type`", "'mine:PowerLaw'"]),
        ("mine", "normals_by_row", ["sweep.toml", "`type`", "'mine:normals_by_row'"]),
    ],
)
def test_a_sweep_file_with_a_bad_class_is_refused(folder, module, cls, words):
    (folder / "sweep.toml").write_text(SWEEP.format(module=module, cls=cls))
    with pytest.raises(ValueError) as error:
        js.Grid.from_toml(str(folder / "sweep.toml"))
    for word in words:
        assert word in str(error.value)
