"""A solvable model of your own: linear regression on a power-law spectrum (docs/own_model.md)."""

import jax.numpy as jnp
import numpy as np

import jaxscale as js
from jaxscale.fields import Integer, Real, Steps, dtype_field, real, record_field, size, static_int
from jaxscale.keys import normals_by_row

SHOWN = 4  # modes whose weights are observed


class PowerLawRegression(js.AbstractTrainedSystem):
    """Gradient descent on `E (f - y)^2 / 2` over N weights that start at `init_scale * normal`."""

    REFERENCES = ("@misc{me2026, title = {My model}, author = {Me}, year = {2026}}",)
    spectrum_exponent: Real = real(1.0, above=0.0)  # a leaf: swept, traced, differentiated
    n_features: Integer = size(100, at_least=SHOWN)  # N: a leaf, and the length of its arrays
    init_scale: Real = real(0.1, at_least=0.0)
    learning_rate: Real = real(0.5, above=0.0, below=1.0)  # lambda_1 = 1: no mode overshoots
    n_steps: int = static_int(1000)
    record: Steps | None = record_field()
    dtype: str = dtype_field("float32")

    @property
    def mode(self):
        """Ranks of the modes that the arrays hold."""
        return np.arange(1, self.padded("n_features") + 1, dtype=np.int32)

    def variance(self):
        """lambda_k, 0 beyond N: what is padding learns nothing and weighs nothing."""
        s = jnp.asarray(1 + self.spectrum_exponent)
        return jnp.where(self.mode <= self.n_features, jnp.asarray(self.mode, s.dtype) ** -s, 0.0)

    def loss(self, square):
        """`sum_k lambda_k (1 - w_k)^2 / 2`; beyond N, where w_k = 0, a sum to infinity."""
        beyond = js.spectra.power_tail(1 + self.spectrum_exponent, self.n_features + 1)
        return (jnp.sum(self.variance() * square, axis=-1) + beyond) / 2

    @property
    def schema(self):
        """What is observed, on which dimensions, and how far theory goes."""
        theory = (js.TheoryKind.exact, "mean over initial weights")
        loss = js.Observable(("step",), "target²", "population loss", *theory)
        weight = js.Observable(("step", "mode"), "1", "weight of mode k", *theory)
        coordinates = {"step": np.asarray(self.record_steps), "mode": self.mode[:SHOWN]}
        return js.Schema({"loss": loss, "weight": weight}, coordinates)

    def init(self, key):
        """Weights keyed by their rank, so that padding changes none of them."""
        return self.init_scale * normals_by_row(key, jnp.asarray(self.mode), 1, self.dtype)[:, 0]

    def step(self, state, key):
        """One step down the gradient `-lambda_k (1 - w_k)`; minibatches would draw from `key`."""
        return state + self.learning_rate * self.variance() * (1 - state)

    def observe(self, state):
        """Observables of a state."""
        return {"loss": self.loss((1 - state) ** 2), "weight": state[:SHOWN]}

    def predict(self):
        """Every step multiplies `1 - w_k` by `1 - eta lambda_k`; its square starts at 1 + s^2."""
        shrink = 1 - self.learning_rate * self.variance()
        gap = shrink ** jnp.asarray(self.record_steps, shrink.dtype)[:, None]
        return {"loss": self.loss((1 + self.init_scale**2) * gap**2), "weight": 1 - gap[:, :SHOWN]}

    def work(self):
        """Operations of a run, floats that a step touches, floats in memory, steps."""
        n = self.padded("n_features")
        return js.Work(4.0 * n * self.n_steps, 3.0 * n, 4.0 * n, self.n_steps)
