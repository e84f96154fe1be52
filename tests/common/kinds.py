"""Small systems with every part that the package ships and that `systems.py` leaves out."""

import equinox as eqx
import jax
import numpy as np
from systems import regression, student

import jaxscale as js

emergence, sparse, superposition = js.emergence, js.sparse, js.superposition
streaming = js.streaming
FLAT = {"embedding": superposition.Identity(), "latent_size": None, "decoder": superposition.Relu()}
TABLE = np.arange(1.0, 41.0) ** -2


class Softplus(eqx.Module):
    """A nonlinearity of the user's."""

    def __call__(self, x):
        return jax.nn.softplus(x)


def network(**fields):
    given = {"width": 16, "n_steps": 100, "batch_size": 64, "n_evaluation": 64, "record": [0, 100]}
    return emergence.ParityNetwork(**{**given, **fields})


KINDS = {
    "random skills, Adam by optax, cosine": network(
        n_skills=20, n_bits=24, skills=emergence.RandomSkills(), schedule=js.Cosine(),
        optimizer=js.Optax("adamw", weight_decay=1e-4), learning_rate=1e-3,
        regime=emergence.WidthLimited(),
    ),
    "step decay, momentum": network(
        schedule=js.StepDecay(every=30), optimizer=js.Sgd(momentum=0.9), learning_rate=0.01,
        regime=emergence.TimeLimited(),
    ),
    "two drops on a finite set": network(
        schedule=js.TwoDrops(), data=emergence.FiniteSet(n_samples=300),
        regime=emergence.DataLimited(),
    ),
    "conventions of the authors of emergence": network(
        skills=emergence.ShuffledSkills(), strength=emergence.Covariance(),
    ),
    "transformer that reads every token": emergence.ParityTransformer(
        n_skills=3, n_bits=6, skill_size=2, n_heads=2, width=8, mlp_width=16, n_steps=50,
        batch_size=32, n_evaluation=64, record=[0, 50], readout=emergence.EveryToken(),
    ),
    "evaluation of many skills": network(n_skills=40, n_bits=120, n_evaluation=2048),
    "inputs as features": regression(
        n_features=None, features=sparse.Identity(), solver=sparse.Ridge(strength=1e-2)
    ),
    "tanh features": regression(
        n_features=8, features=sparse.Tanh(), n_evaluation=200, teacher=sparse.Sampled(),
        solver=sparse.GradientSteps(n_steps=50, record=[0, 50]),
    ),
    "tabulated spectrum, features of one's own": regression(
        n_features=8, features=sparse.Elementwise(Softplus()), n_evaluation=200,
        spectrum_exponent=None, sparsity_exponent=None, teacher=sparse.Sampled(),
        spectrum=sparse.Tabulated(variance=TABLE, probability=TABLE**0.5),
    ),
    "no bottleneck, several features at once": student(
        **FLAT, inputs=superposition.Bernoulli(amplitude=superposition.Fixed()), n_features=16,
        importance=superposition.InLoss(), importance_exponent=0.5,
    ),
    "tight frame": student(
        embedding=superposition.TightFrame(), initial=superposition.ScaledIdentity()
    ),
    "pretrained embedding": student(embedding=superposition.Pretrained(n_steps=50)),
    "given embedding": student(
        embedding=superposition.Given(matrix=np.eye(32)[:8]), decoder=superposition.Linear(),
        gradient=superposition.Population(), initial=superposition.Zeros(),
    ),
    "joint embedding": student(
        embedding=superposition.Joint(), optimizer=js.Adam(), learning_rate=1e-3
    ),
    "tied embedding": student(embedding=superposition.Tied()),
    "one pass, in coordinates": streaming.StreamingRegression(
        n_features=8, n_steps=50, space=streaming.Coordinates(), optimizer=js.Adam(),
        learning_rate=1e-2, n_coordinates=20,
    ),
    "one pass with DANA": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.Dana(decay=0.6), learning_rate=0.1,
        schedule=js.WarmUp(n_warm_up=9, then=js.LinearDecay()),
    ),
    "one pass with Nesterov's momentum": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.Nesterov(), learning_rate=0.01,
    ),
    "one pass, Polyak": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.PolyakAverage(),
    ),
    "one pass, moving average": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.ExponentialAverage(),
    ),
    "one pass along signs": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.SignSgd(), space=streaming.Coordinates(),
        learning_rate=1e-3,
    ),
    "schedule-free": streaming.StreamingRegression(
        n_features=8, n_steps=50, optimizer=streaming.ScheduleFree(), learning_rate=0.1,
        schedule=js.WarmUp(n_warm_up=9),
    ),
    "untied, mean over outputs, AdamW, warm-up": student(
        embedding=superposition.Untied(start=superposition.RandomGaussian()),
        reduction=superposition.MeanOverOutputs(),
        decoder=superposition.Relu(bias_scale=1.0), bias_rate_factor=2.0, learning_rate=1e-3,
        optimizer=js.AdamW(row_length=1.0), schedule=js.WarmUp(n_warm_up=9, then=js.Cosine()),
    ),
}  # fmt: skip
