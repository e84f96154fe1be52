"""The systems of the table of theories: each system with the parts that change its theory."""

import numpy as np

import jaxscale as js

Cases = list[tuple[str, js.AbstractSystem]]


def emergence() -> Cases:
    """Systems of emergence."""
    em = js.emergence
    skills = em.MultilinearSkills(n_skills=3, n_steps=10)
    network = em.ParityNetwork(n_steps=10, width=8)
    few = em.FiniteSet(n_samples=20)
    return [
        ("`MultilinearSkills`, fresh data", skills),
        ("`MultilinearSkills`, `data=FiniteSet(...)`", js.replace(skills, "data", few)),
        ("`ParityNetwork`, fresh data (time is the bottleneck)", network),
        ("the same, `optimizer=Adam()`", js.replace(network, "optimizer", js.Adam())),
        ("the same, `schedule=Cosine()`", js.replace(network, "schedule", js.Cosine())),
        (
            "`ParityNetwork`, `data=FiniteSet(...)` (data are the bottleneck)",
            js.replace(network, "data", few),
        ),
        (
            "`ParityNetwork`, `regime=WidthLimited()`",
            js.replace(network, "regime", em.WidthLimited()),
        ),
        ("`ParityTransformer`", em.ParityTransformer(n_steps=10, width=8, mlp_width=8)),
    ]


def sparse() -> Cases:
    """Systems of sparse regression."""
    sp = js.sparse
    linear = sp.RandomFeatureRegression(
        n_features=8, n_samples=16, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    endless = sp.RandomFeatureRegression(
        n_samples=16, spectrum_exponent=1.0, sparsity_exponent=2.0, features=sp.Identity()
    )
    descent = sp.GradientDescent(n_steps=10)
    return [
        ("`RandomFeatureRegression`, `solver=MinNorm()`", linear),
        ("`solver=Ridge(...)`", js.replace(linear, "solver", sp.Ridge(strength=1e-3))),
        ("`solver=GradientDescent(...)`", js.replace(linear, "solver", descent)),
        ("`features=Identity()`, `solver=MinNorm()`", endless),
        (
            "`features=Identity()`, `solver=GradientDescent(...)`",
            js.replace(endless, "solver", descent),
        ),
        (
            "`features=Relu()`, `Tanh(...)`, `Elementwise(...)`",
            js.replace(linear, "features", sp.Relu()),
        ),
    ]


def superposition() -> Cases:
    """Systems of superposition."""
    sp = js.superposition

    def student(**parts: object) -> js.AbstractSystem:
        given = {"n_features": 8, "frequency_exponent": 1.5, "n_steps": 10, **parts}
        return sp.TeacherStudent(**given)

    flat = {"embedding": sp.Identity(), "decoder": sp.Linear(), "gradient": sp.Population()}
    own = {
        "embedding": sp.Given(matrix=np.eye(8)[:4]),
        "decoder": sp.Linear(),
        "gradient": sp.Population(),
        "initial": sp.Zeros(),
    }
    drawn = {"latent_size": 4, "embedding": sp.RandomUnit(), "gradient": sp.Population()}
    batches = {"gradient": sp.FreshBatches(batch_size=4), "learning_rate": 0.1}
    return [
        (
            "`TeacherStudent`, `embedding=Identity()`, `decoder=Linear()`, `gradient=Population()`",
            student(**flat),
        ),
        ("the same, `gradient=FreshBatches(...)`", student(**{**flat, **batches})),
        (
            "the first, `optimizer=Adam()`",
            student(**flat, optimizer=js.Adam(), learning_rate=0.1),
        ),
        (
            "`embedding=Given(...)`, `decoder=Linear()`, `gradient=Population()`, "
            "`initial=Zeros()`",
            student(**own),
        ),
        ("the same, `gradient=FreshBatches(...)`", student(**{**own, **batches})),
        (
            "`embedding=RandomUnit()`, `TightFrame()`, `Pretrained(...)`, `decoder=Linear()`, "
            "`gradient=Population()`, `initial=Zeros()`",
            student(**drawn, decoder=sp.Linear(), initial=sp.Zeros()),
        ),
        (
            "`decoder=Relu()`, any embedding, `gradient=Population()`, `initial=ScaledIdentity()`",
            student(**drawn, initial=sp.ScaledIdentity()),
        ),
    ]


def streaming() -> Cases:
    """Systems of streaming regression."""
    st = js.streaming

    def one_pass(**parts: object) -> js.AbstractSystem:
        return st.StreamingRegression(**{"n_features": 8, "n_steps": 10, **parts})

    rate = {"learning_rate": 0.1}
    return [
        ("`StreamingRegression`, `optimizer=Sgd(...)`, any schedule", one_pass()),
        (
            "`optimizer=Nesterov()`, `PolyakAverage()`, `ExponentialAverage()`, `ScheduleFree()`",
            one_pass(optimizer=st.Nesterov(), **rate),
        ),
        ("`optimizer=Dana(...)`", one_pass(optimizer=st.Dana(decay=0.6), **rate)),
        (
            "`optimizer=Adam()`, `space=Coordinates()`",
            one_pass(optimizer=js.Adam(), space=st.Coordinates(), **rate),
        ),
    ]


def systems() -> dict[str, Cases]:
    """Return systems by the heading under which they stand, each with a label."""
    return {
        "Emergence": emergence(),
        "Sparse regression": sparse(),
        "Superposition": superposition(),
        "Streaming regression": streaming(),
    }
