"""The systems of the table of theories: each system with the parts that change its theory."""

import numpy as np

import jaxscale as js


def systems() -> dict[str, list[tuple[str, js.AbstractSystem]]]:
    """Return systems by the heading under which they stand, each with a label."""
    em, sparse, sp = js.emergence, js.sparse, js.superposition
    multilinear = em.MultilinearSkills(n_skills=3, n_steps=10)
    network = em.ParityNetwork(n_steps=10, width=8)
    regression = {
        "n_features": 8, "n_samples": 16, "spectrum_exponent": 1.0, "sparsity_exponent": 2.0,
    }  # fmt: skip
    student = {"n_features": 8, "frequency_exponent": 1.5, "n_steps": 10}
    return {
        "Emergence": [
            ("`MultilinearSkills`, fresh data", multilinear),
            (
                "`MultilinearSkills`, `data=FiniteSet(...)`",
                js.replace(multilinear, "data", em.FiniteSet(n_samples=20)),
            ),
            ("`ParityNetwork`, fresh data (time is the bottleneck)", network),
            (
                "`ParityNetwork`, `data=FiniteSet(...)` (data are the bottleneck)",
                js.replace(network, "data", em.FiniteSet(n_samples=20)),
            ),
            (
                "`ParityNetwork`, `regime=WidthLimited()`",
                js.replace(network, "regime", em.WidthLimited()),
            ),
        ],
        "Sparse regression": [
            (
                "`RandomFeatureRegression`, `MinNorm()`",
                sparse.RandomFeatureRegression(**regression),
            ),
            (
                "`solver=Ridge(...)`",
                sparse.RandomFeatureRegression(**regression, solver=sparse.Ridge(strength=1e-3)),
            ),
            (
                "`solver=GradientDescent(...)`",
                sparse.RandomFeatureRegression(
                    **regression, solver=sparse.GradientDescent(n_steps=10)
                ),
            ),
            (
                "`features=Identity()`, `solver=GradientDescent(...)`",
                sparse.RandomFeatureRegression(
                    **regression | {"n_features": None},
                    features=sparse.Identity(),
                    solver=sparse.GradientDescent(n_steps=10),
                ),
            ),
            (
                "`features=Relu()`",
                sparse.RandomFeatureRegression(**regression, features=sparse.Relu()),
            ),
        ],
        "Superposition": [
            (
                "`TeacherStudent`, `embedding=Identity()`, `decoder=Linear()`",
                sp.TeacherStudent(**student, embedding=sp.Identity(), decoder=sp.Linear()),
            ),
            (
                "`embedding=Identity()`, `decoder=Linear()`, `gradient=FreshBatches(...)`",
                sp.TeacherStudent(
                    **student,
                    embedding=sp.Identity(),
                    decoder=sp.Linear(),
                    gradient=sp.FreshBatches(batch_size=4),
                    learning_rate=0.1,
                ),
            ),
            (
                "`embedding=Given(...)`, `decoder=Linear()`",
                sp.TeacherStudent(
                    **student, embedding=sp.Given(matrix=np.eye(8)[:4]), decoder=sp.Linear()
                ),
            ),
            (
                "`embedding=RandomUnit()`, `decoder=Relu()`",
                sp.TeacherStudent(**student, latent_size=4, embedding=sp.RandomUnit()),
            ),
        ],
    }
