"""Every program lowers for CUDA and for TPU: no rule is missing, and nothing calls the host.

`jax.export` needs neither a device nor a plugin.
"""

import contextlib
import functools
import itertools
import re

import equinox as eqx
import jax
import numpy as np
import pytest
from jax import export
from systems import SYSTEMS

import jaxscale as js
from jaxscale._registry import shipped_classes
from jaxscale.fields import Configurable
from jaxscale.sweep._bucket import uncut_bucket
from jaxscale.sweep._predict import closed_forms, predict_columns, theory_layout
from jaxscale.sweep._program import mesh_of, program_function
from jaxscale.sweep._stretches import stretch_function

E, P, S, D = js.emergence, js.sparse, js.superposition, js.streaming
SLOW = pytest.mark.slow
ONE_OF_A_KIND = [
    "network", "multilinear", pytest.param("least norm, few features", marks=SLOW),
    pytest.param("relu student", marks=SLOW), pytest.param("transformer", marks=SLOW),
]  # fmt: skip
AXES = {  # a field that is swept, so that a program has a column
    E.ParityNetwork: "skill_exponent",
    E.ParityTransformer: "skill_exponent",
    E.MultilinearSkills: "skill_exponent",
    P.RandomFeatureRegression: "activity",
    S.TeacherStudent: "importance_exponent",
    D.StreamingRegression: "noise",
}


def check(function, arguments, dtype):
    """`function` exports for both platforms, computes in `dtype` alone, and calls no host."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
        exported = export.export(jax.jit(function), platforms=("cuda", "tpu"))(*arguments)
    text = exported.mlir_module()
    assert not re.findall(r"custom_call @\S*callback|\b(?:send|recv|infeed|outfeed)\b", text)
    floats = {f"float{bits}" for bits in re.findall(r"[x<]f(16|32|64)>", text)}
    assert floats == {dtype}


def check_program(system, stretched=False):
    """The program of two runs at two values of a field, as the engine compiles it."""
    grid = js.Grid(system, axes={AXES[type(system)]: [0.5, 1.0]})
    bucket = uncut_bucket(grid, np.arange(2), stretched)
    with jax.enable_x64(system.dtype == "float64"):
        make = stretch_function if stretched else program_function
        function, arguments = make(bucket, mesh_of(1))
    check(function, arguments, system.dtype)


def check_theory(system):
    """The closed forms of two runs, as `js.predict` computes them; False if there are none."""
    grid = js.Grid(system, axes={AXES[type(system)]: [0.5, 1.0]})
    layout = theory_layout(grid)
    (bucket,) = layout.buckets
    if not closed_forms(layout):
        return False
    leaves, static = eqx.partition(bucket.padded_system, eqx.is_array_like)

    def predict(leaves, columns):
        return predict_columns(eqx.combine(leaves, static), columns, 2)

    check(predict, (leaves, bucket.columns), "float64")
    return True


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_program_exports(name):
    check_program(SYSTEMS[name])


@pytest.mark.parametrize(
    "name", ["network", "multilinear", pytest.param("relu student", marks=SLOW)]
)
def test_a_stretch_exports(name):
    check_program(SYSTEMS[name], stretched=True)


@pytest.mark.parametrize("name", ["network", "multilinear", "ridge"])
def test_theory_exports(name):
    assert check_theory(SYSTEMS[name])


class CallsTheHost(E.MultilinearSkills):
    """Its runs ask Python for their loss."""

    def simulate(self, key):
        values = super().simulate(key)
        loss = values["loss"]
        double = jax.pure_callback(lambda x: 2 * x, loss, loss, vmap_method="sequential")
        return values | {"loss": double}


class OnlyOnGpus(E.MultilinearSkills):
    """Its runs need what no TPU computes."""

    def simulate(self, key):
        values = super().simulate(key)
        one = jax.numpy.linalg.eigvals(values["loss"][:1, None])
        return values | {"loss": values["loss"] * abs(one)}


@pytest.mark.parametrize("cls", [CallsTheHost, OnlyOnGpus])
def test_what_does_not_export_is_noticed(cls, monkeypatch):
    monkeypatch.setitem(AXES, cls, "skill_exponent")
    with pytest.raises((AssertionError, NotImplementedError), match=r"callback|eig"):
        check_program(cls(n_skills=3, n_steps=4))


OPTIMIZERS = [js.Sgd(), js.Sgd(momentum=0.9), js.Adam(), js.AdamW(), js.Optax("lion")]
WARM_UP = js.WarmUp(n_warm_up=2, then=js.Cosine(final_ratio=0.05))
SCHEDULES = [
    js.Constant(),
    js.StepDecay(every=2),
    js.TwoDrops(),
    js.Cosine(),
    js.LinearDecay(),
    WARM_UP,
]
DTYPES = ["float32", "float64"]
STEPS = {"n_steps": 4, "record": [0, 2, 4]}
DATA = [E.Online(), E.FiniteSet(n_samples=30)]
POWER_LAW = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
TABLE = P.Tabulated(variance=[1.0, 0.5, 0.2, 0.1], probability=[0.9, 0.6, 0.3, 0.3])
STUDENTS = dict(
    gradient=[S.Population(), S.FreshBatches(batch_size=8)],
    inputs=[S.OneHot(amplitude=S.Fixed(value=2.0)), S.Bernoulli()],
    decoder=[S.Linear(), S.Relu()],
)


class Sigmoid(eqx.Module):
    """A user's features."""

    def __call__(self, x):
        return jax.nn.sigmoid(x)


def network(**parts):
    return E.ParityNetwork(n_bits=60, width=6, batch_size=16, n_evaluation=32, **STEPS, **parts)


def regression(features, coordinates, n_features, **parts):
    if not isinstance(features, P.Identity):
        parts["n_features"] = n_features
    return P.RandomFeatureRegression(
        n_samples=8, n_evaluation=16, features=features, **coordinates, **parts
    )


def student(embedding, learning_rate, **parts):
    if not isinstance(embedding, S.Identity):
        parts["latent_size"] = 4
    if not isinstance(parts["optimizer"], js.Sgd):
        learning_rate = 1e-2
    return S.TeacherStudent(
        n_features=8, frequency_exponent=1.5, n_evaluation=16, **STEPS,
        embedding=embedding, learning_rate=learning_rate, **parts,
    )  # fmt: skip


PRODUCTS = {  # constructor, parts that are crossed, parts that are drawn
    "network": (
        network,
        dict(
            data=DATA, dtype=DTYPES,
            skills=[E.DisjointSkills(), E.RandomSkills(), E.ShuffledSkills()],
        ),
        dict(
            optimizer=OPTIMIZERS, schedule=SCHEDULES, n_skills=[3, 20], micro_batch=[None, 8],
            regime=[None, E.TimeLimited(), E.DataLimited(), E.WidthLimited()],
            strength=[E.Correlation(), E.Covariance()],
        ),
    ),
    "transformer": (
        lambda **parts: E.ParityTransformer(
            n_skills=3, n_bits=6, skill_size=2, n_heads=2, width=8, mlp_width=16, batch_size=8,
            n_evaluation=16, **STEPS, **parts,
        ),
        dict(readout=[E.LastToken(), E.EveryToken()], dtype=["float64"]),
        dict(data=DATA, optimizer=[js.Sgd(), js.AdamW()]),
    ),
    "multilinear": (
        lambda **parts: E.MultilinearSkills(n_skills=3, **STEPS, **parts),
        dict(data=DATA, schedule=SCHEDULES, dtype=DTYPES),
        dict(n_parameters=[None, 2]),
    ),
    "regression": (
        regression,
        dict(
            solver=[
                P.MinNorm(), P.Ridge(), P.GradientDescent(n_steps=4, record=[0, 2, 4]),
                P.GradientSteps(n_steps=4, record=[0, 2, 4]),
            ],
            features=[P.Linear(), P.Identity(), P.Relu()],
        ),
        dict(
            coordinates=[POWER_LAW, {"spectrum": TABLE}], teacher=[P.Averaged(), P.Sampled()],
            n_features=[3, 12],
        ),
    ),
    "regression, activations": (
        regression,
        dict(features=[P.Tanh(), P.Elementwise(Sigmoid())], solver=[P.MinNorm()]),
        dict(coordinates=[POWER_LAW], n_features=[12]),
    ),
    "student, optimizers": (
        student,
        dict(optimizer=OPTIMIZERS, dtype=["float64"]),
        STUDENTS | dict(
            embedding=[S.RandomUnit(), S.Joint(), S.Untied()], initial=[S.RandomNormal()],
            reduction=[S.SumOverOutputs(), S.MeanOverOutputs()],
            importance=[S.InTarget(), S.InLoss()], schedule=SCHEDULES,
            learning_rate=[None, 1e-2],
        ),
    ),
    "student, embeddings": (
        student,
        dict(dtype=DTYPES) | STUDENTS | dict(
            embedding=[
                S.Identity(), S.RandomUnit(), S.TightFrame(), S.Given(matrix=np.eye(4, 8)),
                S.Pretrained(n_steps=4, batch_size=8), S.Joint(), S.Tied(start=S.TightFrame()),
                S.RandomGaussian(),
            ],
        ),
        dict(
            initial=[S.RandomNormal(), S.ScaledIdentity(), S.Zeros()], optimizer=[js.Sgd()],
            importance=[S.InTarget(), S.InLoss()], schedule=[js.Constant()],
            learning_rate=[1e-2],
        ),
    ),
    "one pass": (
        lambda **parts: D.StreamingRegression(n_features=4, learning_rate=0.01, **STEPS, **parts),
        dict(space=[D.Eigenbasis(), D.Coordinates()], dtype=DTYPES, n_coordinates=[np.inf, 12]),
        dict(
            optimizer=[
                js.Sgd(), js.Sgd(momentum=0.9), D.Nesterov(), D.PolyakAverage(),
                D.ExponentialAverage(), D.ScheduleFree(), D.Dana(decay=0.6), D.SignSgd(),
            ],
            schedule=SCHEDULES,
        ),
    ),
}  # fmt: skip


LEAST_CANDIDATES = 64  # enough that every part that is drawn occurs


@functools.cache
def covering(name):
    """Few systems of a product: every two crossed parts meet that can, and all others occur.

    How an operation is lowered depends on it and its types, so on a part, and on the few places
    where one part chooses what another computes: those are crossed. Three at a time add nothing.
    """
    build, crossed, drawn = PRODUCTS[name]
    rng = np.random.default_rng(0)
    candidates = []  # a system, and what it covers: pairs of crossed parts, and parts drawn
    product = list(itertools.product(*(range(len(some)) for some in crossed.values())))
    for values in product * max(1, LEAST_CANDIDATES // len(product)):
        chosen = dict(zip(crossed, values, strict=True))
        others = {part: int(rng.integers(len(some))) for part, some in drawn.items()}
        covered = {*itertools.combinations(chosen.items(), 2), *others.items()}
        parts = {n: (crossed | drawn)[n][i] for n, i in (chosen | others).items()}
        with contextlib.suppress(ValueError):
            candidates.append((build(**parts), covered))
    missing = set().union(*(covered for _, covered in candidates))
    assert missing >= {(part, i) for part, some in drawn.items() for i in range(len(some))}
    systems = []
    while missing:
        system, covered = max(candidates, key=lambda candidate: len(candidate[1] & missing))
        systems.append(system)
        missing -= covered
    return systems


WITHOUT_THEORY = ("student, optimizers", "transformer")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRODUCTS)
def test_every_two_crossed_parts_export(name):
    with_theory = 0
    for system in covering(name):
        try:
            check_program(system)
            with_theory += check_theory(system)
        except Exception as error:
            raise AssertionError(f"{system!r} does not export") from error
    assert (with_theory == 0) == (name in WITHOUT_THEORY)


@pytest.mark.slow
def test_no_part_is_forgotten():
    every = itertools.chain.from_iterable(map(covering, PRODUCTS))
    parts = {type(part) for system in every for part in _parts(system)}
    shipped = {n: c for n, c in shipped_classes().items() if not n.startswith("analysis.")}
    assert not [name for name, cls in shipped.items() if cls not in parts]


def _parts(part):
    """A system and everything in it that a sweep file can name."""
    yield part
    for value in vars(part).values():
        if isinstance(value, Configurable):
            yield from _parts(value)
