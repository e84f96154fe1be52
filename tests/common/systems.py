"""Small systems of every kind, for tests of what holds of all of them."""

import jaxscale as js

emergence, sparse, superposition = js.emergence, js.sparse, js.superposition
streaming = js.streaming
ONLINE = emergence.MultilinearSkills(n_skills=5, n_steps=20)
FINITE = emergence.MultilinearSkills(n_skills=5, n_steps=20, data=emergence.FiniteSet(n_samples=30))


def regression(**fields):
    given = {"n_features": 16, "n_samples": 64, "spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
    return sparse.RandomFeatureRegression(**{**given, **fields})


def student(**fields):
    given = {"n_features": 32, "latent_size": 8, "frequency_exponent": 1.5, "n_steps": 100}
    return superposition.TeacherStudent(**{**given, **fields})


SYSTEMS = {
    "network": emergence.ParityNetwork(
        width=16, n_steps=200, batch_size=64, n_evaluation=256, record=[0, 200]
    ),
    "network, float64": emergence.ParityNetwork(
        width=16, n_steps=200, batch_size=64, n_evaluation=256, record=[0, 200], dtype="float64"
    ),
    "gathered control bits": emergence.ParityNetwork(
        n_skills=20, n_bits=60, width=16, n_steps=100, batch_size=64, n_evaluation=64,
        record=[0, 100],
    ),
    "network on a finite set": emergence.ParityNetwork(
        width=16, n_steps=100, batch_size=64, n_evaluation=64, record=[0, 100],
        data=emergence.FiniteSet(n_samples=300), optimizer=js.Adam(), learning_rate=1e-3,
    ),
    "transformer": emergence.ParityTransformer(
        n_skills=3, n_bits=6, skill_size=2, n_heads=2, width=8, mlp_width=16, n_steps=50,
        batch_size=32, n_evaluation=64, record=[0, 50], learning_rate=3e-3,
        optimizer=js.AdamW(row_length=1.0), schedule=js.WarmUp(n_warm_up=30),
    ),
    "multilinear": emergence.MultilinearSkills(n_steps=500),
    "multilinear on a finite set": emergence.MultilinearSkills(
        n_steps=500, data=emergence.FiniteSet(n_samples=300)
    ),
    "least norm, few features": regression(n_features=4),
    "least norm, many features": regression(n_features=48),
    "ridge": regression(solver=sparse.Ridge(strength=1e-2)),
    "gradient descent": regression(
        solver=sparse.GradientDescent(learning_rate=0.5, record=[0, 10, 100])
    ),
    "relu features": regression(
        n_features=8, features=sparse.Relu(), n_evaluation=200, teacher=sparse.Sampled()
    ),
    "relu student": student(gradient=superposition.Population()),
    "linear student, float64": student(
        decoder=superposition.Linear(), gradient=superposition.Population(), dtype="float64"
    ),
    "one pass": streaming.StreamingRegression(n_features=16, noise=0.1, n_steps=100),
    "student on fresh batches": student(gradient=superposition.FreshBatches(batch_size=64)),
}  # fmt: skip
