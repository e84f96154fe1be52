"""Every theory function as a program: its gradient, `vmap`, and both precisions, in one of each.

Functions with a case of `references` are here in float32 only: `test_formulas.py` compares values
and all slopes in float64 with 50 digits.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references._cases import CASES as REFERENCES

from jaxscale.emergence import theory as emergence
from jaxscale.sparse import theory as sparse
from jaxscale.superposition import theory as superposition

DYNAMICS = {"learning_rate": 0.7, "target_scale": 1.5, "initial_strength": 0.03}
START = {"target_scale": 1.5, "initial_strength": 0.03}
EXPONENT = {"skill_exponent": 0.6}
SPECTRUM = {"spectrum_exponent": 0.8, "sparsity_exponent": 2.1, "activity": 0.9}
SPARSITY = {"sparsity_exponent": 2.1, "activity": 0.9}
W = np.random.default_rng(0).standard_normal((4, 9)) / 2
EXPONENTS = {"frequency_exponent": 1.3, "importance_exponent": 0.4}
INPUTS = {"second_moment": 1.2, "mean_active": 0.9}
RATES = {**EXPONENTS, "learning_rate": 0.6, **INPUTS}
WINDOW = {"latent_size": 64.0, "gain": 1.3, "bias_learning_rate": 0.7, **EXPONENTS, "energy": 1.1}


def _embedded(name, **options):
    def call(**x):
        scaled = {k: v for k, v in x.items() if k != "size"}
        w = jnp.asarray(W, jnp.asarray(x["size"]).dtype) * x["size"]
        value = getattr(superposition, name)(embedding=w, **scaled, **options)
        return value if value.ndim == 0 else value[1, 2]

    return call


def _allocated(**x):
    best = sparse.optimal_allocation(**x)
    return jnp.stack([best.n_features, best.loss])


# name: function of floats only, or its case in `references`, and its float arguments
EMERGENCE = {
    "probabilities": ("emergence.skill_probabilities", EXPONENT),
    "strength": ("emergence.skill_strength", {"time": 9.0, "probability": 0.3, **DYNAMICS}),
    "emergence_time": (
        "emergence.emergence_time",
        {"probability": 0.3, **DYNAMICS, "fraction": 0.4},
    ),
    "minimum_norm": (
        lambda **x: emergence.data_emergence(**x, learner="minimum_norm"),
        {"n_samples": 80_000.3, "probability": 0.1, "shots": 7990.4},
    ),
    "paper": (
        lambda **x: emergence.data_emergence(**x, learner="paper"),
        {"n_samples": 80.3, "probability": 0.1, "shots": 9.4},
    ),
    "expected_count": (
        lambda **x: emergence.data_emergence(**x, learner="expected_count"),
        {"n_samples": 80.3, "probability": 0.1, "shots": 9.4},
    ),
    "threshold": (
        lambda **x: emergence.data_emergence(**x, learner="threshold"),
        {"n_samples": 80.3, "probability": 0.1, "shots": 9.4},
    ),
    "width": (
        "emergence.width_emergence",
        {"width": 5.5, "units_per_skill": 2.3},
    ),
    "loss": (
        emergence.loss,
        {"time": 2e4, "n_samples": 4000.3, "n_parameters": 2000.4, **EXPONENT, **DYNAMICS},
    ),
    "data_loss": (
        lambda **x: emergence.data_loss(**x, n_skills=12),
        {"n_samples": 200.3, **EXPONENT, "shots": 9.4, "target_scale": 1.5},
    ),
    "width_loss": (
        "emergence.width_loss, inf skills",
        {"width": 9.5, **EXPONENT, "units_per_skill": 2.7, "target_scale": 1.5},
    ),
    "time_law": (lambda **x: emergence.time_law(**x)(30.0), {**EXPONENT, **START}),
    "data_law": ("emergence.data_law, threshold", {**EXPONENT, **START, "shots": 4.0}),
    "minimum_norm_law": (
        "emergence.data_law, minimum_norm",
        {**EXPONENT, **START, "shots": 4.0},
    ),
    "parameter_law": ("emergence.parameter_law", {**EXPONENT, "target_scale": 1.5}),
    "compute_law": (lambda **x: emergence.compute_law(**x)(30.0), {**EXPONENT, **START}),
    "time_parameter": (
        lambda **x: emergence.time_parameter_loss(**x, n_skills=90),
        {"time": 50.0, "n_parameters": 9.3, **EXPONENT, **DYNAMICS},
    ),
    "time_loss": (
        lambda **x: emergence.time_loss(**x, n_skills=90),
        {"time": 50.0, **EXPONENT, **DYNAMICS},
    ),
    "parameter_loss": (
        "emergence.parameter_loss, 100 skills",
        {"n_parameters": 9.3, **EXPONENT, "target_scale": 1.5},
    ),
    "data_parameter": (
        "emergence.data_parameter_loss",
        {"n_samples": 50.0, "n_parameters": 9.3, **EXPONENT, **START},
    ),
    "allocation": (
        lambda **x: emergence.optimal_allocation(**x).n_parameters,
        {"compute": 1e4, **EXPONENT, **DYNAMICS},
    ),
    "limiting_allocation": (
        "emergence.limiting_allocation",
        {"compute": 1e4, **EXPONENT, **DYNAMICS},
    ),
}
SUPERPOSITION = {
    "loss": (
        "superposition.sequential_loss",
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "loss_steps": (
        "superposition.sequential_loss, steps",
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "loss_weighted": (
        "superposition.sequential_loss, loss weighted",
        {"time": 30.0, **RATES, "initial_strength": 0.2},
    ),
    "strength": (
        "superposition.sequential_strength",
        {"time": 30.0, "rank": 5.0, **RATES, "initial_strength": 0.2},
    ),
    "sgd_loss": (
        "superposition.sgd_loss",
        {
            "time": 30.0,
            "batch_size": 6.0,
            **EXPONENTS,
            "learning_rate": 0.6,
            "second_moment": 1.2,
            "fourth_moment": 3.0,
            "initial_strength": 0.2,
        },
    ),
    "law": ("superposition.sequential_law, inf features", {**EXPONENTS, **INPUTS}),
    "asymptote": (
        "superposition.sequential_loss_asymptote",
        {"time": 60.0, **RATES},
    ),
    "asymptote_late": (
        "superposition.sequential_loss_asymptote",
        {"time": 900.0, **RATES},
    ),
    "local": (
        "superposition.sequential_local_exponent",
        {"time": 60.0, **RATES},
    ),
    "local_late": (
        "superposition.sequential_local_exponent",
        {"time": 900.0, **RATES},
    ),
    "bottleneck": (_embedded("bottleneck_loss"), {"time": 9.0, "size": 1.1, **RATES}),
    "bottleneck_steps": (
        _embedded("bottleneck_loss", discrete=True, loss_weighted=True),
        {"time": 9.0, "size": 1.1, **RATES},
    ),
    "matrix": (_embedded("bottleneck_matrix"), {"time": 9.0, "size": 1.1, **RATES}),
    "floor": (
        _embedded("bottleneck_floor", loss_weighted=True),
        {"size": 1.1, **EXPONENTS, **INPUTS},
    ),
    "rate": (
        _embedded("max_learning_rate", loss_weighted=True),
        {"size": 1.1, **EXPONENTS, **INPUTS},
    ),
    "shared": (
        "superposition.shared_progress_time",
        {
            "latent_size": 16.0,
            "fraction": 0.7,
            "frequency_exponent": 1.3,
            "learning_rate": 0.6,
            **INPUTS,
        },
    ),
    "random_rate": (
        lambda **x: superposition.random_max_learning_rate(**x, n_features=40, loss_weighted=True),
        {"latent_size": 16.0, **EXPONENTS, **INPUTS},
    ),
    "interference": (
        superposition.interference_loss,
        {"time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 99.0},
    ),
    "pareto": (
        lambda index, **x: superposition.interference_loss(tail=superposition.Pareto(index), **x),
        {"index": 4.0, "time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 9.0},
    ),
    "bounded": (
        lambda order, **x: superposition.interference_loss(tail=superposition.Bounded(order), **x),
        {"order": 4.0, "time": 300.0, "scale": 0.2, "bias_learning_rate": 0.7, "n_features": 9.0},
    ),
    "scale": (
        "superposition.interference_scale",
        {"latent_size": 16.0, "gain": 1.3, "energy": 1.1},
    ),
    "gain": ("superposition.matched_gain", {"latent_size": 16.0, "threshold": 1.7}),
    "universal": ("superposition.universal_law", {"tail_index": 0.2}),
    "window": (lambda **x: superposition.interference_window(**x, n_features=4096).closes, WINDOW),
}
SPARSE = {
    "unseen_loss": (sparse.unseen_loss, {"n_samples": 700.0, **SPECTRUM}),
    "unseen_law": ("sparse.unseen_law", SPECTRUM),
    "expected_seen": ("sparse.expected_seen, inf coordinates", {"n_samples": 700.0, **SPARSITY}),
    "expected_rank": (sparse.expected_rank, {"n_samples": 700.0, **SPARSITY}),
    "dense_delta": (sparse.dense_delta, {"n": 30.0, "spectrum_exponent": 0.8}),
    "dense_loss": (
        sparse.dense_loss,
        {"n_features": 30.0, "n_samples": 70.0, "spectrum_exponent": 0.8},
    ),
    "loss_below": (sparse.loss, {"n_features": 12.0, "n_samples": 700.0, **SPECTRUM}),
    "loss_above": (sparse.loss, {"n_features": 90.0, "n_samples": 700.0, **SPECTRUM}),
    "loss_ridge": (
        sparse.loss,
        {"n_features": 90.0, "n_samples": 700.0, **SPECTRUM, "ridge": 3e-3},
    ),
    "gd_loss": (
        sparse.gd_loss,
        {"time": 300.0, "n_samples": 700.0, "learning_rate": 0.4, **SPECTRUM},
    ),
    "instability": (
        sparse.instability_probability,
        {
            "n_samples": 60.0,
            "learning_rate": 0.9,
            "spectrum_exponent": 0.8,
            "sparsity_exponent": 2.5,
            "activity": 0.9,
        },
    ),
    "instability_law": (
        "sparse.instability_law",
        {"learning_rate": 0.9, "spectrum_exponent": 0.8, "sparsity_exponent": 2.5, "activity": 0.9},
    ),
    "allocation_laws": ("sparse.allocation_laws, n_features", SPECTRUM),
    "allocation_n": (_allocated, {"compute": 1e5, **SPECTRUM}),
    "allocation_loss": (_allocated, {"compute": 1e5, **SPECTRUM}),
}

CASES = {
    f"{package}-{name}": case
    for package, cases in (
        ("emergence", EMERGENCE), ("superposition", SUPERPOSITION), ("sparse", SPARSE),
    )
    for name, case in cases.items()
}  # fmt: skip
PART = {"sparse-allocation_loss": 1}  # of several results; the first of all others
UNUSED = {("superposition-floor", "size")}  # the floor depends on the row space only


ENDS = {  # values at which a closed form has a limit
    "batch_size": (np.inf,),
    "energy": (0.0,),
    "latent_size": (np.inf,),
    "n": (np.inf,),
    "n_features": (np.inf,),
    "n_parameters": (np.inf,),
    "n_samples": (np.inf,),
    "ridge": (0.0,),
    "time": (0.0, np.inf),
    "width": (np.inf,),
}


@dataclass
class Accuracy:
    """Relative: of a plain call, of finite differences (with their step), and of float32."""

    plain: float
    slope: float
    single: float
    step: float
    active: float  # a relative slope above this counts as an argument that matters


ACCURACY = {
    "emergence": Accuracy(1e-12, 2e-6, 1e-4, 2e-5, 1e-7),
    "superposition": Accuracy(1e-11, 2e-6, 1e-4, 2e-5, 1e-9),
    "superposition-window": Accuracy(
        1e-11, 2e-2, 1e-4, 2e-5, 1e-9
    ),  # linear between points of its grid
    "sparse": Accuracy(1e-7, 1e-5, 2e-4, 1e-4, 1e-5),
    "sparse-allocation_n": Accuracy(1e-7, 3e-4, 2e-3, 2e-3, 1e-5),
    "sparse-allocation_loss": Accuracy(1e-7, 1e-5, 2e-4, 2e-3, 1e-5),
}


SLOW = {  # seconds of compilation; the others share their sums and integrals
    *(f"emergence-{n}" for n in (
        "loss", "data_loss", "compute_law", "minimum_norm", "paper", "allocation",
        "time_parameter", "minimum_norm_law", "threshold", "time_loss", "data_parameter",
        "data_law", "width_loss", "probabilities",
    )),
    *(f"superposition-{n}" for n in (
        "bottleneck_steps", "loss_weighted", "pareto", "shared", "floor", "asymptote",
        "asymptote_late", "bottleneck", "local", "local_late", "matrix", "window",
        "loss_steps", "random_rate", "rate", "strength", "loss",
    )),
    *(f"sparse-{n}" for n in (
        "allocation_n", "allocation_loss", "loss_below", "loss_above", "loss_ridge", "unseen_loss",
        "expected_seen", "dense_delta", "instability", "expected_rank", "dense_loss",
    )),
}  # fmt: skip


@functools.cache  # cases that differ in their points share a program
def _program(function, keys):
    """Values of every part of the result, and their gradients, at rows of arguments."""

    def one(row):
        def parts(row):
            return jnp.ravel(function(**dict(zip(keys, row, strict=True))))

        values, pull = jax.vjp(parts, row)
        return values, jnp.stack([pull(v)[0] for v in jnp.eye(values.size, dtype=row.dtype)])

    return jax.jit(jax.vmap(one))


@functools.cache  # cases that differ in their parts share results
def _results(function, keys, rows, dtype):
    """Values and gradients as arrays of NumPy, and the result of a plain call at the first row."""
    with jax.enable_x64(dtype == "float64"):
        both = _program(function, keys)(jnp.asarray(rows, dtype))
        plain = function(**dict(zip(keys, rows[0], strict=True))) if dtype == "float64" else ()
        return *map(np.asarray, both), np.ravel(plain)


def _compared_with_differences(name, accuracy):
    """Value and gradient in float64; they agree with a plain call and with differences."""
    function, point = CASES[name]
    part = PART.get(name, 0)
    x = np.array(list(point.values()))
    step = accuracy.step * x
    stencil = np.stack([x] + [x + i * np.diag(step)[j] for j in range(x.size) for i in (-1, 1)])
    rows = tuple(map(tuple, stencil.tolist()))
    values, gradients, alone = _results(function, tuple(point), rows, "float64")
    values, gradients = values[:, part], gradients[:, part]
    assert values.dtype == np.float64
    np.testing.assert_allclose(values[0], alone[part], rtol=accuracy.plain)
    slope = (values[2::2] - values[1::2]) / (2 * step)
    scale = abs(values[0]) / x
    tolerance = accuracy.slope
    np.testing.assert_allclose(gradients[0] / scale, slope / scale, atol=tolerance, rtol=tolerance)
    matters = [(name, key) not in UNUSED for key in point]
    np.testing.assert_array_equal(np.abs(gradients[0] / scale) > accuracy.active, matters)
    return values[0], gradients[0]


def _exact(case, point):
    """Value and gradient with 50 digits, rounded to float64."""
    return case.reference(point)[0], np.array([case.slope(point, key) for key in point])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_gradient_vmap_and_float32(name):
    function, point = CASES[name]
    accuracy = ACCURACY.get(name) or ACCURACY[name.partition("-")[0]]
    if function in REFERENCES:
        case = REFERENCES[function]
        function = case.compute
        value, gradient = _exact(case, point)
    else:
        value, gradient = _compared_with_differences(name, accuracy)
    keys, x = tuple(point), np.array(list(point.values()))
    points = [x, *(np.where(np.array(keys) == k, end, x) for k in keys for end in ENDS.get(k, ()))]
    points.append(np.array([ENDS.get(k, (v,))[-1] for k, v in point.items()]))
    rows = tuple(map(tuple, np.stack(points).tolist()))
    single, slopes, _ = _results(function, keys, rows, "float32")
    single, slopes = single[:, PART.get(name, 0)], slopes[:, PART.get(name, 0)]
    assert single.dtype == slopes.dtype == np.float32
    np.testing.assert_allclose(single[0], value, rtol=accuracy.single)
    scale, tolerance = abs(value) / x, 100 * accuracy.single
    np.testing.assert_allclose(
        slopes[0] / scale, gradient / scale, rtol=tolerance, atol=tolerance, equal_nan=False
    )
    # at infinity, too, and at 0: neither 0 * inf nor a square that underflows
    assert not np.isnan(slopes[np.isfinite(single)]).any()


def test_functions_that_are_here_in_float32_only_have_all_slopes_in_their_tables():
    names = [function for function, _ in CASES.values() if function in REFERENCES]
    assert all(REFERENCES[name].slopes is True for name in names)
