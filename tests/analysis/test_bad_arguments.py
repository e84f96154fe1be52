"""Bad arguments of fits and of their figures: refused by name before anything compiles."""

import inspect

import numpy as np
import pandas
import pytest
import xarray
from checks import compilations
from jaxtyping import TypeCheckError

import jaxscale as js
from jaxscale import analysis, report

REFUSED = (ValueError, TypeCheckError)  # of types by beartype, where it looks first
FORM = js.forms.power_law
X = np.geomspace(1.0, 100.0, 12)
CURVE = pandas.DataFrame({"x": X, "loss": 1 + X**-0.5})
RUNS = pandas.DataFrame({"n_parameters": X, "n_tokens": X, "loss": X})
CURVES = xarray.DataArray(np.ones((3, 12)), {"width": [1.0, 2.0, 4.0], "step": X})
GIVEN = CURVES.to_dataset(name="loss").assign_coords(dtype="float32")  # as grids may have it
LAW = {"E": 1.7, "A": 400.0, "B": 500.0, "alpha": 0.34, "beta": 0.28}

CALLS = [
    (lambda: js.calibrate(FORM, CURVE, key="a"), "`key` must be a whole number, got 'a'"),
    (lambda: js.calibrate(FORM, CURVE, key=2**64), "`key` must be less than 9007199254740992"),
    (lambda: js.calibrate(FORM, CURVE, weights=X), r"`weights` must be the name of a column, got"),
    (
        lambda: js.calibrate(FORM, CURVE, weights=[1.0]),
        r"`weights` must be the name .* got \[1\.0\]",
    ),
    (lambda: js.calibrate(FORM, CURVE, resample=["x"]), "`resample` must be the name of a column"),
    (lambda: js.calibrate(FORM, CURVE, each=["x"]), "`each` must be the name of a column"),
    (lambda: js.calibrate(FORM, CURVE, columns="x"), "`columns` must map our names to yours"),
    (lambda: js.calibrate(FORM, CURVE, columns={"x": ["x"]}), r"`columns\['x'\]` must be the name"),
    (
        lambda: analysis.held_out(FORM, CURVE, "x", n_bins=2.5),
        "`n_bins` must be a whole .* got 2.5",
    ),
    (lambda: analysis.held_out(FORM, CURVE, ["x"]), "`by` must be the name of a column"),
    (lambda: analysis.held_out(FORM, CURVE, "x", weights=X), "`weights` must be the name of a col"),
    (
        lambda: analysis.rolled_out(FORM, CURVE, 1.5),
        "`along` must be the name of a column, got 1.5",
    ),
    (
        lambda: analysis.compare_forms(FORM, CURVE),
        r"`forms` must be a list of forms, .*, got <func",
    ),
    (lambda: analysis.compare_forms("kaplan", CURVE), "`forms` must be a list of .* got 'kaplan'"),
    (lambda: analysis.compare_forms([FORM], CURVE, by=None), "`by` must be the name of a column"),
    (lambda: analysis.compare_forms(["kaplan"], CURVE), "`theory` must be a Formula .* got 'kap"),
    (
        lambda: analysis.noise_components(CURVE, inputs="x", run=["a", "b"]),
        r"`run` must be the name of a column, got \['a', 'b'\]",
    ),
    (
        lambda: analysis.noise_components(CURVE, inputs=[1.5], run="x"),
        r"`inputs\[0\]` must be the name of a column, got 1\.5",
    ),
    (
        lambda: analysis.noise_components(CURVE, inputs="x", run="r", residual="log"),
        r"`residual` must be Log\(\) or Scaled\(\), got 'log'",
    ),
    (lambda: analysis.first_to(X, "step", 1.0), "`curves` must be a DataArray, got ndarray"),
    (lambda: analysis.first_to(CURVES, "step", "a"), "`level` must be a real number, got 'a'"),
    (lambda: analysis.collapse(X, "step", "width"), "`curves` must be a DataArray, got ndarray"),
    (
        lambda: analysis.collapse(CURVES.to_dataset(name="loss"), "step", "width"),
        "`curves` must be a DataArray, got a Dataset: give runs.loss",
    ),
    (
        lambda: analysis.Frontier.of(GIVEN, np.mean, [1.0, 2.0], size="width", time="step"),
        "`values` must be a DataArray, got a Dataset: give runs.loss",
    ),
    (lambda: js.plot(GIVEN, title=3), "`title` must be text, got 3; write"),
    (lambda: js.plot(GIVEN, observables=3), "`observables` must be names, got 3; write"),
    (lambda: analysis.local_exponent(GIVEN, "step"), "`curve` must be a DataArray, got a Dataset"),
    (lambda: analysis.crossing(GIVEN, "step", 1.0), "`curve` must be .* Dataset: give runs.loss"),
    (lambda: analysis.fit_exponent(GIVEN, "step", (1, 9)), "`curve` must be .* Dataset: give runs"),
    (lambda: analysis.fit_saturating(GIVEN, "step", (1, 9)), "`curve` must be .* got a Dataset"),
    (lambda: analysis.first_to(GIVEN, "step", 1.0), "`curves` must be a DataArray, got a Dataset"),
    (lambda: analysis.jackknife(GIVEN, float), "`values` must be a DataArray, got a Dataset"),
    (
        lambda: analysis.jackknife_exponents(GIVEN, "step", (1, 9)),
        "`curve` must be a DataArray, got a Dataset",
    ),
    (
        lambda: js.frontier(GIVEN, X, size="width", time="step"),
        "`loss` must be a DataArray, got a Dataset: give runs.loss",
    ),
    (
        lambda: js.frontier(CURVES, 1e3, size="width", time="step"),
        r"`compute` must be a sequence of computes, such as \[1000\], got",
    ),
    (
        lambda: analysis.collapse(CURVES.astype(str), "step", "width"),
        "`curves` must hold real numbers",
    ),
    (
        lambda: analysis.collapse(CURVES.assign_coords(width=["a", "b", "c"]), "step", "width"),
        "`width` must have coordinates that are numbers",
    ),
    (lambda: analysis.collapse(CURVES, "step", "width", height="a"), "`height` must be a real num"),
    (
        lambda: analysis.collapse(CURVES, "step", "width", level="a"),
        "`level` must be a real number",
    ),
    (lambda: analysis.seed_interval(X, "a"), "`level` must be a real number, got 'a'"),
    (lambda: analysis.seed_interval(X, [0.5]), r"`level` must be a scalar, got shape \(1,\)"),
    (lambda: report.residuals_figure(CURVE), "`fit` must be what .* got DataFrame"),
    (lambda: report.isoflop_figure(RUNS), "`isoflop` must be what js.analysis.isoflop ret"),
    (lambda: report.allocation_figure(RUNS), "`allocation` must be what js.analysis"),
    (
        lambda: analysis.allocate(RUNS, 1e20),
        "`fit` must be what js.calibrate ret",
    ),
    (lambda: analysis.profile(RUNS, RUNS, "E"), "`fit` must be what js.cali"),
    (
        lambda: analysis.isoflop(RUNS, columns={"flop": "budget"}),
        "`columns` must map n_parameters, n_tokens, loss, got 'flop'; flop='budget' names the col",
    ),
    (lambda: analysis.isoflop(RUNS, columns={"los": "L"}), "got 'los'; did you mean `loss`"),
    (lambda: analysis.isoflop(RUNS, flop=X), "`flop` must be the name of a column"),
    (lambda: analysis.isoflop(RUNS, key="a"), "`key` must be a whole number, got 'a'"),
    (lambda: analysis.isoflop(RUNS, key=2**64), "`key` must be less than 9007199254740992"),
    (
        lambda: analysis.isoflop(RUNS, flop_per_parameter_token=-6.0),
        r"`flop_per_parameter_token` must be greater than 0, got -6\.0",
    ),
    (lambda: js.fit_loss_surface(RUNS, resample=["x"]), "`resample` must be the name of a column"),
    (
        lambda: js.fit_loss_surface(RUNS.drop(columns="n_tokens").to_xarray()),
        "no column 'n_tokens'",
    ),
    (
        lambda: js.forms.annealing_areas(X, momentum=1.5),
        r"`momentum` must be less than 1, got 1\.5",
    ),
    (lambda: js.forms.annealing_areas(-X), r"`learning_rate` must be at least 0, got -100\.0"),
    (lambda: js.forms.annealing_areas(0.1), r"`learning_rate` must be a non-empty vector"),
    (lambda: FORM(-1.0, E=1.0, A=1.0, alpha=0.5), r"`x` must be positive, got -1\.0"),
    (lambda: FORM(np.asarray([1.0, 0.0]), E=1.0, A=1.0, alpha=0.5), "`x` must be positive, got"),
    (lambda: FORM("a", E=1.0, A=1.0, alpha=0.5), "`x` must be positive, got 'a'"),
    (lambda: js.forms.chinchilla(1e9, -1e10, **LAW), "`n_tokens` must be positive, got -1"),
    (
        lambda: js.forms.sparsity(1e9, 1e10, 1.0, **LAW, F=1.0, gamma=1.0),
        r"`sparsity` must be at least 0 and below 1, got 1\.0",
    ),
    (lambda: js.plot(CURVES, columns={"x": "step"}), "`columns` is of a table and the fit of a"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_bad_arguments_are_named_before_anything_compiles(call, message):
    with compilations(traces=True) as traced, pytest.raises(REFUSED) as error:
        call()
    if isinstance(error.value, ValueError):
        error.match(message)
    assert not traced


@pytest.fixture(scope="module")
def fitted():
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(40))
    size = np.tile(np.geomspace(1e7, 1e10, 8), 5)
    tokens = np.repeat(np.geomspace(1e9, 1e11, 5), 8)
    loss = np.asarray(js.forms.chinchilla(size, tokens, **LAW)) * noise
    table = pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss})
    return js.calibrate(js.forms.chinchilla, table, bootstrap=40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.interval("a"), "`level` must be a real number, got 'a'"),
        (lambda f: f.covariance_interval([0.5]), "`level` must be a scalar"),
        (lambda f: f.predict(n_parameters=-1e9, n_tokens=1e10), "`n_parameters` must be positive"),
        (lambda f: f.predict(n_parameters=[1e9, 0.0], n_tokens=1e10), "`n_parameters` must be pos"),
        (
            lambda f: analysis.allocate(f, 1e20, flop_per_parameter_token=-6.0),
            "`flop_per_parameter_token` must be greater than 0, got -6",
        ),
        (lambda f: analysis.allocate(f, "much"), "`flop` must be positive numbers, got 'much'"),
        (lambda f: analysis.allocate(f, -1e20), "`flop` must be positive and finite, got -1e"),
    ],
)
def test_what_a_fit_is_asked_is_checked(fitted, call, message):
    with pytest.raises(REFUSED) as error:
        call(fitted)
    if isinstance(error.value, ValueError):
        error.match(message)


DEFAULTS = {"level": 0.95, "key": 0}


def test_arguments_of_public_functions_may_be_named_and_have_one_default():
    for name, function in vars(analysis).items():
        if inspect.isfunction(function):
            for p in inspect.signature(function).parameters.values():
                assert p.kind is not p.POSITIONAL_ONLY, f"{name}({p.name})"
                if p.name in DEFAULTS and p.default is not p.empty:
                    assert p.default == DEFAULTS[p.name], f"{name}({p.name})"


@pytest.mark.parametrize("window", [5, ("a", "b"), (1, 2, 3), (1,), None])
def test_a_window_is_two_numbers(window):
    x = np.geomspace(1, 1000, 13)
    curve = xarray.DataArray(3 * x**-0.7, {"step": x}, "step")
    with pytest.raises(ValueError, match="`window` must be two finite numbers 0 < low < high, got"):
        js.analysis.fit_exponent(curve, "step", window)
