"""Where training takes place: in the modes of the features, or in coordinates of the inputs."""

import abc
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from jaxscale.fields import Configurable
from jaxscale.keys import float32_normals, normal_table, words, words_at
from jaxscale.streaming._features import Features, Modes, Problem

TAIL_STREAM = 0
MANY = 24  # samples from which the words of pairs are hashed once


class AbstractSpace(Configurable):
    """How samples are drawn and parameters are written; all agree in law."""

    @abc.abstractmethod
    def problem(self, features: Features, modes: Modes) -> Problem:
        """What a run keeps of its features."""

    @abc.abstractmethod
    def start(self, problem: Problem) -> Float[Array, " d"]:
        """Parameters whose weights theta are zero."""

    @abc.abstractmethod
    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """Mean gradient over a batch of fresh samples."""

    @abc.abstractmethod
    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """Half the mean square error, label noise included."""

    @abc.abstractmethod
    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """Normal numbers per sample."""


class Eigenbasis(AbstractSpace):
    r"""The d modes: equal in law to all coordinates for every linear optimizer, at their cost.

    A sample is `phi_i = lambda_i^(1/2) zeta_i`; the part of the target that no feature reaches is
    independent of them and acts as label noise. Parameters are the errors along the modes.
    """

    def problem(self, features: Features, modes: Modes) -> Problem:
        """The modes alone."""
        return Problem(modes, None)

    def start(self, problem: Problem) -> Float[Array, " d"]:
        """`-c_i / lambda_i^(1/2)`."""
        values = problem.modes.eigenvalues
        inside = values > 0
        return jnp.where(inside, -problem.modes.target / jnp.sqrt(jnp.where(inside, values, 1)), 0)

    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """`sum phi (phi.u - omega^(1/2) eps) / B`."""
        zeta, eps = draw_samples(key, batch_size, parameters.shape[0], parameters.dtype)
        phi = jnp.sqrt(problem.modes.eigenvalues) * zeta
        residual = phi @ parameters - jnp.sqrt(problem.modes.unreachable) * eps
        return residual @ phi / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """`(omega + sum lambda_i u_i^2) / 2`."""
        modes = problem.modes
        return 0.5 * (modes.unreachable + jnp.sum(modes.eigenvalues * parameters**2))

    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """One per mode, and one for the label."""
        return n_features + 1


class Coordinates(AbstractSpace):
    """All coordinates of the inputs: for optimizers that depend on the axes, and as a check.

    Parameters are the weights theta of the features.
    """

    def problem(self, features: Features, modes: Modes) -> Problem:
        """The features as they were drawn, too."""
        return Problem(modes, features)

    def start(self, problem: Problem) -> Float[Array, " d"]:
        """No weights."""
        return jnp.zeros_like(problem.modes.eigenvalues)

    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """Features and targets of samples in V coordinates; what lies beyond as normal noise."""
        features = _features_of(problem)
        v, d = features.matrix.shape
        z, eps = draw_samples(key, batch_size, v, parameters.dtype)
        phi, variance = z @ features.matrix, features.label_variance
        if features.tail is not None:
            beyond, _ = draw_samples(jr.fold_in(key, TAIL_STREAM), batch_size, d, parameters.dtype)
            phi = phi + jnp.where(features.inside, jnp.sqrt(features.tail.variance), 0.0) * beyond
            variance = variance + features.tail.target
        residual = phi @ parameters - z @ features.target - jnp.sqrt(variance) * eps
        return residual @ phi / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """`(|G theta - t|^2 + tau |theta|^2 + ...) / 2`."""
        features = _features_of(problem)
        missed = features.matrix @ parameters - features.target
        twice = jnp.sum(missed**2) + features.label_variance
        if features.tail is not None:
            tail = features.tail
            twice = twice + tail.variance * jnp.sum(parameters**2) + tail.target
        return 0.5 * twice

    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """One per coordinate, one per feature for the coordinates beyond, and one for the label."""
        return n_coordinates + 1 + (n_features + 1 if endless else 0)


def _features_of(problem: Problem) -> Features:
    assert problem.features is not None
    return problem.features


def draw_samples(
    key: Key[Array, ""], n_samples: int, width: int, dtype: Any
) -> tuple[Float[Array, "n width"], Float[Array, " n"]]:
    """Normal numbers of the inputs and labels of samples.

    Entry (s, i) depends on the key, s and i alone; the label is entry 0 of its sample.
    """
    samples = jnp.arange(n_samples, dtype=jnp.int32)
    index = jnp.arange(width + 1, dtype=jnp.int32)
    if dtype == jnp.float64:
        table = normal_table(key, index, samples)
        return table[1:].T, table[0]
    if n_samples < MANY:
        drawn = words_at(key, index[1:], samples[:, None])
        labels = words_at(key, index[:1], samples)
    else:
        table = words(key, samples, width + 1)
        drawn, labels = table[1:].T, table[0]
    return float32_normals(drawn), float32_normals(labels)
