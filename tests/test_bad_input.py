"""Bad input is refused with the field's name and the value seen, before anything compiles."""

import importlib
import inspect
import math
import re
from pathlib import Path

import jax
import numpy as np
import pandas
import pytest
import xarray
from checks import compilations

import jaxscale as js
from jaxscale import emergence
from jaxscale._theories import theory_named
from jaxscale.sparse.theory import Coordinates

NETWORK = [
    ("n_skills", 0),
    ("n_skills", -1),
    ("n_skills", 2.5),
    ("n_skills", "five"),
    ("n_skills", None),
    ("n_skills", True),
    ("n_bits", 0),
    ("n_bits", 14),
    ("n_bits", math.inf),
    ("skill_size", 0),
    ("skill_size", 4),
    ("skills", "disjoint"),
    ("skill_exponent", 0.0),
    ("skill_exponent", -0.5),
    ("skill_exponent", math.nan),
    ("skill_exponent", "steep"),
    ("target_scale", 0.0),
    ("target_scale", -1.0),
    ("target_scale", math.inf),
    ("width", 0),
    ("width", -4),
    ("width", 1.5),
    ("width", [16, 32]),
    ("init_scale", 0.0),
    ("init_scale", -0.01),
    ("init_scale", math.nan),
    ("data", "online"),
    ("data", 1000),
    ("batch_size", 0),
    ("batch_size", -512),
    ("batch_size", 0.5),
    ("n_steps", 0),
    ("n_steps", -1),
    ("n_steps", 2**31),
    ("record", []),
    ("record", [0, 12001]),
    ("record", [0, 0]),
    ("record", [5, 3]),
    ("record", [-1, 3]),
    ("record", [0.5]),
    ("record", 7),
    ("record", "all"),
    ("n_evaluation", 0),
    ("learning_rate", 0.0),
    ("learning_rate", -0.1),
    ("learning_rate", math.nan),
    ("learning_rate", math.inf),
    ("learning_rate", "fast"),
    ("learning_rate", [0.1, 0.2]),
    ("learning_rate", 10**400),
    ("learning_rate", np.datetime64("2026-01-01")),
    ("width", 10**400),
    ("learning_rate", None),
    ("schedule", 0.5),
    ("optimizer", "adam"),
    ("micro_batch", 100),
    ("micro_batch", 0),
    ("dtype", "float16"),
    ("dtype", "fast"),
    ("regime", "time"),
    ("time_scale", 0.0),
    ("shots", -1.0),
    ("units_per_skill", 0.0),
    ("initial_strength", 0.0),
    ("initial_strength", 5.0),
]

PARTS = [
    (lambda: emergence.FiniteSet(n_samples=0), "n_samples", "0"),
    (lambda: emergence.FiniteSet(n_samples=math.nan), "n_samples", "nan"),
    (lambda: emergence.MultilinearSkills(n_parameters=101), "n_parameters", "101"),
    (lambda: emergence.MultilinearSkills(initial_strength=1.0), "initial_strength", "1.0"),
    (lambda: emergence.MultilinearSkills(record=[10001]), "record", "10001"),
    (lambda: emergence.DataLimited(learner="guess"), "learner", "guess"),
    (lambda: js.Sgd(momentum=1.0), "momentum", "1.0"),
    (lambda: js.Adam(b1=-0.1), "b1", "-0.1"),
    (lambda: js.Adam(eps=0.0), "eps", "0.0"),
    (lambda: js.AdamW(weight_decay=-1.0), "weight_decay", "-1.0"),
    (lambda: js.AdamW(row_length=0.0), "row_length", "0.0"),
    (lambda: js.Optax("adamm"), "factory", "adamm"),
    (lambda: js.Optax(lambda learning_rate: None), "factory", "lambda"),
    (lambda: js.Optax(lambda learning_rate: None), "factory", "by `def` outside"),
    (lambda: js.Optax("adamw", weight_decay="some"), "weight_decay", "some"),
    (lambda: js.StepDecay(every=0), "every", "0"),
    (lambda: js.StepDecay(ratio=-1.0), "ratio", "-1.0"),
    (lambda: js.TwoDrops(first_at=1.5), "first_at", "1.5"),
    (lambda: js.Cosine(final_ratio=-0.1), "final_ratio", "-0.1"),
    (lambda: js.WarmUp(n_warm_up=0), "n_warm_up", "0"),
    (lambda: js.WarmUp(then=0.5), "then", "0.5"),
    (lambda: js.WarmUp(then=js.WarmUp()), "then", "WarmUp(n_warm_up=100"),
]


NUMBERS = np.linspace(1.0, 2.0, 8)
RUNS = pandas.DataFrame({"n_parameters": NUMBERS, "n_tokens": NUMBERS, "L": NUMBERS})
LOOKUPS = [  # what a name resembles, and the first bad value with its row
    (lambda: js.Optax(weight_decay=1e-4), "`factory` of Optax must be given"),
    (lambda: emergence.FiniteSet(1000), "FiniteSet takes its fields by name"),
    (lambda: emergence.ParityNetwork(widht=3), "`widht` is not a field of ParityNetwork; did you "
     "mean `width`?"),
    (lambda: emergence.FiniteSet(), "`n_samples` of FiniteSet must be given"),
    (lambda: js.Sgd(0.9), "Sgd takes its fields by name (momentum)"),
    (lambda: emergence.ParityNetwork(optimizer="adam"), "did you mean `Adam()`?"),
    (lambda: emergence.ParityNetwork(optimizer=js.Adam), "did you mean `Adam()`?"),
    (lambda: emergence.theory.time_law(skill_exponnt=1.0), "did you mean `skill_exponent`?"),
    (lambda: js.Optax("adamww"), "did you mean `adamw`?"),
    (lambda: js.plan(js.Grid(emergence.MultilinearSkills()), matmul_precision="hihg"),
     "did you mean `high`?"),
    (lambda: theory_named("time_lw"), "did you mean `emergence.time_law`?"),
    (lambda: js.Formula(js.forms.chinchilla, {"alhpa": 1.0}), "did you mean `alpha`?"),
    (lambda: js.open_store("nosuch.zarr"), "does not exist"),
    (lambda: js.Grid(emergence.MultilinearSkills(), seed=3), "'seed'; did you mean `seeds`?"),
    (lambda: js.fit_loss_surface(NUMBERS, NUMBERS, -NUMBERS),
     "`loss` must be positive and finite, got -1.0 in row 0 (counted from 0)."),
    (lambda: js.fit_loss_surface(NUMBERS.astype(str), NUMBERS, NUMBERS),
     "`n_parameters` must be a vector of numbers"),
    (lambda: js.fit_loss_surface("nosuch.csv"), "`data` nosuch.csv does not exist"),
    (lambda: js.fit_loss_surface(RUNS), "no column 'loss'"),
    (lambda: js.fit_loss_surface(RUNS, columns={"loss": "l"}), "did you mean `L`?"),
    (lambda: js.fit_loss_surface(RUNS.assign(loss=["1", *"bcdefgh"])),
     "`loss` must be a column of numbers, got 'b' in row 1 (counted from 0)."),
]  # fmt: skip


@pytest.fixture
def compiled():
    """What is traced, lowered or compiled in the test."""
    with compilations(traces=True) as events:
        yield events


@pytest.mark.parametrize(("field", "value"), NETWORK, ids=lambda v: repr(v)[:20])
def test_network_names_the_field_and_the_value(field, value, compiled):
    with pytest.raises(ValueError) as error:
        emergence.ParityNetwork(**{field: value})
    message = str(error.value)
    named = {"skill_size": "n_bits"}.get(field, field)
    assert f"`{named}" in message or f"`{field}" in message
    shown = {("n_bits", 14): "14", ("skill_size", 4): "20"}
    expected = shown.get((field, value)) if np.isscalar(value) else None
    last = value[-1] if isinstance(value, list) and field == "record" and value else value
    candidates = {expected, repr(value), str(last), f"({len(value)},)"} if isinstance(
        value, list
    ) else {expected, repr(value), str(value)}  # fmt: skip
    assert any(c is not None and c in message for c in candidates), message
    assert not compiled


@pytest.mark.parametrize(("build", "field", "value"), PARTS, ids=[p[1] + p[2] for p in PARTS])
def test_parts_name_the_field_and_the_value(build, field, value, compiled):
    with pytest.raises(ValueError) as error:
        build()
    assert f"`{field}`" in str(error.value)
    assert value in str(error.value)
    assert not compiled


@pytest.mark.parametrize("path", ["learning_rte", "data.n_samples", "optimizer.b1", "", "width."])
def test_unknown_paths(path, compiled):
    system = emergence.ParityNetwork()
    with pytest.raises(ValueError, match=f"`{path}` is not a field of"):
        js.replace(system, path, 1.0)
    with pytest.raises(ValueError, match=f"`{path}` is not a field of"):
        js.Grid(system, axes={path: [1.0]})
    assert not compiled


@pytest.mark.parametrize(
    ("vectors", "field", "value"),
    [
        (([1.0, -0.5], [1.0, 1.0], [1.0, 1.0]), "variance", "-0.5"),
        (([1.0, math.nan], [1.0, 1.0], [1.0, 1.0]), "variance", "nan"),
        (([[1.0]], [1.0], [1.0]), "variance", "(1, 1)"),
        (([1.0], [0.0], [1.0]), "probability", "[0.]"),
        (([1.0], [1.5], [1.0]), "probability", "1.5"),
        (([1.0, 2.0], [0.1, 0.2], [1.0, 1.0]), "probability", "[0.1 0.2]"),
        (([1.0], [1.0], [math.inf]), "weight", "inf"),
        (([1.0], [1.0], ["one"]), "weight", "one"),
    ],
)
def test_coordinates_name_the_field_and_the_value(vectors, field, value):
    with pytest.raises(ValueError, match=f"`{field}` must be .* got .*{re.escape(value)}"):
        Coordinates(*vectors)


def test_a_grid_of_traced_numbers_is_refused():
    system = emergence.MultilinearSkills(n_skills=3, n_steps=20)

    def at(rate):
        return js.predict(js.Grid(js.replace(system, "learning_rate", rate)))["loss"].values[-1]

    def along(rate):
        return js.predict(js.Grid(system, {"learning_rate": [rate]}))["loss"].values[-1, 0]

    for function in (at, along):
        with pytest.raises(ValueError, match=r"plain numbers, .* `system\.predict\(\)`"):
            jax.grad(function)(0.1)


def test_coordinates_of_different_lengths():
    with pytest.raises((ValueError, TypeError), match="weight"):  # beartype refuses them first
        Coordinates([1.0, 0.5], [1.0, 0.5], [1.0])


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean `learning_rate`"):
        js.replace(emergence.ParityNetwork(), "learning_rte", 0.1)


def test_a_system_alone_is_no_plan():
    with pytest.raises((ValueError, TypeError)) as error:
        js.run(emergence.MultilinearSkills())
    if isinstance(error.value, ValueError):  # else beartype has refused it first
        assert "must be a Plan or a Grid, such as js.Grid(system)" in str(error.value)


UNNAMED = pandas.DataFrame({"params": [1e6, 2e6], "n_tokens": [1e8, 2e8], "loss": [3.0, 2.9]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda runs: js.predict(runs), "got a Dataset: take the grid that was run, js.predict(gr"),
        (lambda runs: js.plan(runs), "`grid` must be a Grid, got a Dataset."),
        (lambda runs: js.run(runs), "such as js.Grid(system), got a Dataset."),
        (
            lambda runs: js.theory_of(emergence.ParityNetwork),
            "got the class ParityNetwork (write ParityNetwork() for an object of it).",
        ),
        (lambda runs: js.Grid(emergence.ParityNetwork), "got the class ParityNetwork (write"),
        (
            lambda runs: js.train(js.Grid(emergence.MultilinearSkills()), jax.random.key(0)),
            "got Grid(MultilinearSkills, {}, seeds=1): take one run, js.train(*js.select(js.run(",
        ),
        (
            lambda runs: js.train(emergence.MultilinearSkills, jax.random.key(0)),
            "got the class MultilinearSkills (write MultilinearSkills() for an object of it).",
        ),
        (lambda runs: js.fit_loss_surface([1.0] * 3, [1.0] * 2, [1.0] * 2), "got 3, 2, 2."),
        (
            lambda runs: js.calibrate(js.forms.chinchilla, UNNAMED),
            "(params, n_tokens, loss): name its column with columns=dict(n_parameters='params') "
            "(in a shell, --x n_parameters=params), or give it a value",
        ),
    ],
)
def test_what_was_given_is_said_in_a_few_words(call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        call(xarray.Dataset({"loss": ("seed", [1.0, 2.0])}))
    if isinstance(error.value, ValueError):  # else beartype has refused it first
        assert message in str(error.value)
        assert len(str(error.value)) < 300


def test_functions_say_which_argument_was_meant():
    """All public functions that take their arguments by name; those of theory have rules too."""
    n_functions = 0
    for line in Path(__file__).with_name("public_names.txt").read_text().split():
        module, _, name = line.rpartition(".")
        function = getattr(importlib.import_module(module), name)
        if module not in ("jaxscale", "jaxscale.analysis", "jaxscale.report"):
            continue
        if not inspect.isfunction(function) or name == "open":  # the old name of `open_store`
            continue
        parameters = inspect.signature(function).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or not parameters:
            continue
        last = list(parameters)[-1]
        with pytest.raises(TypeError, match=f"did you mean `{last}`"):
            function(**{f"{last}x": 1})
        n_functions += 1
    assert n_functions > 20


@pytest.mark.parametrize(("call", "message"), LOOKUPS, ids=[m[-20:] for _, m in LOOKUPS])
def test_errors_say_what_to_write(call, message, compiled):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert message in str(error.value)
    assert not compiled


@pytest.mark.parametrize(
    "key", [0, jax.random.PRNGKey(0), jax.random.key(0, impl="rbg"), None], ids=str
)
def test_keys_of_another_kind_are_refused(key):
    with pytest.raises((ValueError, TypeError), match="key"):
        emergence.MultilinearSkills(n_steps=2).simulate(key)


def test_float64_needs_the_flag():
    system = emergence.MultilinearSkills(n_steps=2, dtype="float64")
    with pytest.raises(ValueError, match="`dtype` float64"):
        system.simulate(jax.random.key(0))
