"""The example of a model of one's own: 70 lines, and every tool of the package works on it."""

import importlib.util
import re
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
from jaxscale.fields import Real, Steps, dtype_field, real, record_field, static_int

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


MISTAKES = {  # what a method returns, from what it should: the method is the first word
    "schema a dict": lambda schema: dict(schema.observables),
    "work a number": lambda work: 5,
    "work negative": lambda work: js.Work(-1.0, 0.0, 0.0, 0),
    "predict nothing": lambda predicted: None,
    "predict a number": lambda predicted: {"loss": 3.0},
    "step another shape": lambda state: jnp.stack([state, state]),
    "step another type": lambda state: state.astype("float16"),
    "step nothing": lambda state: None,
    "step a dictionary": lambda state: {"w": state},
    "observe nothing": lambda observed: None,
    "observe a text": lambda observed: {"loss": "small"},
    "observe a vector": lambda observed: {"loss": jnp.ones(3) * observed["loss"]},
    "observe more of it": lambda observed: {**observed, "added": observed["loss"]},
    "observe numbers": lambda observed: {"loss": 3.0},
}


class Mode(js.AbstractTrainedSystem):
    """A mode that decays, one of whose methods may be mistaken."""

    noise: Real = real(0.5)
    mistake: str = eqx.field(static=True, default="")
    n_steps: int = static_int(3)
    record: Steps | None = record_field()
    dtype: str = dtype_field("float32")

    def of(self, method, right):
        mistaken = self.mistake.partition(" ")[0] == method
        return MISTAKES[self.mistake](right) if mistaken else right

    @property
    def schema(self):
        loss = js.Observable(("step",), "1", "loss", js.TheoryKind.exact)
        steps = np.asarray(self.record_steps)
        return self.of("schema", js.Schema({"loss": loss}, {"step": steps}))

    def init(self, key):
        return jnp.ones((), self.dtype)

    def step(self, state, key):
        return self.of("step", state * 0.5)

    def observe(self, state):
        return self.of("observe", {"loss": state**2})

    def predict(self):
        steps = jnp.asarray(self.record_steps, "float32")
        return self.of("predict", {"loss": 0.25**steps})

    def work(self):
        return self.of("work", js.Work(5.0 * self.n_steps, 1.0, 1.0, self.n_steps))


LIKE = "`step` of Mode must return a state like that of `init`"
OBSERVE = "`observe` of Mode must return"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("step another shape", f"{LIKE}: float32[] became float32[2]."),
        ("step another type", f"{LIKE}: float32[] became float16[]."),
        ("step nothing", f"{LIKE}: float32[] became None."),
        ("step a dictionary", f"{LIKE}: float32[] became {{'w': f32[]}}."),
        ("observe nothing", f"{OBSERVE} 'loss', which says whether a run is healthy; it returns "
         "None."),
        ("observe a text", f"{OBSERVE} numbers, got 'small' for 'loss'."),
        ("observe a vector", f"{OBSERVE} a scalar 'loss', got shape (3,): return its mean"),
    ],
)  # fmt: skip
def test_a_step_or_a_loss_of_another_shape_is_refused(mistake, message, tmp_path):
    system, key = Mode(mistake=mistake), jax.random.key(0)
    plan = js.plan(js.Grid(system), keep_states=True)  # in stretches
    for call in (
        lambda: js.run(js.Grid(system)),
        lambda: js.train(system, key),
        lambda: js.run(plan, store=tmp_path / "runs.zarr"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


class Weights(Mode):
    """A mode whose state is a dictionary, and its second leaf grows."""

    def init(self, key):
        return {"v": super().init(key), "w": super().init(key)}

    def step(self, state, key):
        return {"v": state["v"], "w": jnp.stack([state["w"]] * 2)}

    def observe(self, state):
        return super().observe(state["v"])


def test_the_leaf_that_changed_is_named():
    with pytest.raises(ValueError, match=r"`init`: leaf \['w'\] float32\[\] became float32\[2\]\."):
        js.train(Weights(), jax.random.key(0))


def test_observables_may_be_python_numbers(tmp_path):
    grid = js.Grid(Mode(mistake="observe numbers"), seeds=2)
    plan = js.plan(grid, keep_states=True)
    for runs in (js.run(grid), js.run(plan, store=tmp_path / "runs.zarr")):
        np.testing.assert_array_equal(runs.loss, np.full(runs.loss.shape, 3.0))
        assert runs.loss.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "mistake", "message"),
    [
        (js.plan, "schema a dict", "`schema` of Mode must be a property that returns a js.Schema"),
        (js.run, "schema a dict", "`schema` of Mode must be a property that returns a js.Schema"),
        (js.predict, "schema a dict", "`schema` of Mode must be a property that returns"),
        (js.plan, "work a number", "`work` of Mode must be a method that returns a js.Work, got 5"),
        (js.plan, "work negative", "`flops` of `Work` must be at least 0, got -1.0."),
        (js.predict, "predict nothing", "`predict` of Mode must return a dictionary of arrays, got "
         "None."),
        (js.run, "observe more of it", "`schema` of Mode must declare 'added', which it returns "
         "with shape (4,): return `schema.adding(added=js.Observable(dims, units, description))`"),
    ],
)  # fmt: skip
def test_what_another_method_returns_is_checked(call, mistake, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(js.Grid(Mode(mistake=mistake)))


class Unworked(Mode):
    """A mode that says that it has no work."""

    work = None


def test_a_model_counts_its_work():
    with pytest.raises(ValueError, match=r"`work` of Unworked must be a method .*, got None"):
        js.plan(js.Grid(Unworked()))


def test_a_prediction_that_is_a_python_number_is_refused_by_its_shape():
    grid = js.Grid(Mode(mistake="predict a number", record=[3]))
    with pytest.raises(ValueError, match=r"must return 'loss' with dimensions .*, got \(\)"):
        js.predict(grid)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: js.Observable("step", "1", "spread"), "`dims` of the observable 'spread' must be "
         "a tuple of names, got 'step': write ('step',)."),
        (lambda: js.Observable((1,), "1", "spread"), "must be a tuple of names, got (1,)."),
        (lambda: js.Schema({"v": js.Observable(("step", "mode"), "1", "")}, {"step": np.arange(3)}),
         "each dimension of `v` must be one of the coordinates of its schema (step), got 'mode': "
         "give the schema one, such as {'mode': np.arange(3)}."),
        (lambda: js.Schema({"v": ("step",)}, {"step": np.arange(3)}),
         "`observables` of a schema must be of js.Observable, got ('step',) for 'v'."),
    ],
)  # fmt: skip
def test_a_schema_has_all_that_its_observables_need(build, message):
    with pytest.raises((ValueError, TypeError)) as error:
        build()
    if isinstance(error.value, ValueError):  # else beartype has refused it first
        assert message in str(error.value)


class Modes(Mode):
    """Three modes along a dimension that may have the name of an axis."""

    dim: str = eqx.field(static=True, default="mode")

    @property
    def schema(self):
        own, modes = super().schema, js.Observable(("step", self.dim), "1", "weights")
        coordinates = {**own.coordinates, self.dim: np.arange(3)}
        return js.Schema(own.observables, coordinates).adding(weights=modes)

    def observe(self, state):
        return super().observe(state) | {"weights": jnp.stack([state] * 3)}


@pytest.mark.parametrize(
    ("dim", "words"), [("noise", "an axis"), ("seed", "what results .*"), ("status", "what res.*")]
)
def test_a_dimension_has_a_name_of_its_own(dim, words):
    axes = {"noise": [0.1, 0.2, 0.3]}
    message = f"dimension `{dim}` of Modes has the name of {words}: rename it in `schema`"
    with pytest.raises(ValueError, match=message):
        js.plan(js.Grid(Modes(dim=dim), axes))
    assert js.run(js.Grid(Modes(), axes)).weights.dims == ("noise", "seed", "step", "mode")
