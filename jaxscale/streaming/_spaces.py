"""Where training takes place: in the modes of the features, or in coordinates of the inputs."""

import abc
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from jaxscale.fields import Configurable
from jaxscale.keys import float32_normals, normals, words
from jaxscale.streaming._features import DrawnModes, Features

TAIL_STREAM = 0


class AbstractSpace(Configurable):
    """How samples are drawn and parameters are written; all agree in law."""

    @abc.abstractmethod
    def problem(self, features: Features, modes: DrawnModes) -> Any:
        """What a run keeps of its features."""

    @abc.abstractmethod
    def start(self, problem: Any) -> Float[Array, " d"]:
        """Parameters whose weights theta are zero."""

    @abc.abstractmethod
    def gradient(
        self, parameters: Float[Array, " d"], problem: Any, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """Mean gradient over a batch of fresh samples."""

    @abc.abstractmethod
    def loss(self, parameters: Float[Array, " d"], problem: Any) -> Float[Array, ""]:
        """Half the mean square error, label noise included."""

    @abc.abstractmethod
    def n_draws(self, n_features: int, n_coordinates: int) -> int:
        """Normal numbers per sample."""


class Eigenbasis(AbstractSpace):
    r"""The d modes: equal in law to all coordinates for every linear optimizer, at their cost.

    A sample is `phi_i = lambda_i^(1/2) zeta_i`; the part of the target that no feature reaches is
    independent of them and acts as label noise. Parameters are the errors along the modes.
    """

    def problem(self, features: Features, modes: DrawnModes) -> DrawnModes:
        """The modes alone."""
        return modes

    def start(self, problem: DrawnModes) -> Float[Array, " d"]:
        """`-c_i / lambda_i^(1/2)`."""
        values = problem.eigenvalues
        return jnp.where(
            values > 0, -problem.target / jnp.sqrt(jnp.where(values > 0, values, 1)), 0
        )

    def gradient(
        self,
        parameters: Float[Array, " d"],
        problem: DrawnModes,
        batch_size: int,
        key: Key[Array, ""],
    ) -> Float[Array, " d"]:
        """`sum phi (phi.u - omega^(1/2) eps) / B`."""
        zeta, eps = _draws(key, batch_size, parameters.shape[0], parameters.dtype)
        phi = jnp.sqrt(problem.eigenvalues)[:, None] * zeta
        residual = parameters @ phi - jnp.sqrt(problem.unreachable) * eps
        return phi @ residual / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: DrawnModes) -> Float[Array, ""]:
        """`(omega + sum lambda_i u_i^2) / 2`."""
        return 0.5 * (problem.unreachable + jnp.sum(problem.eigenvalues * parameters**2))

    def n_draws(self, n_features: int, n_coordinates: int) -> int:
        """One per mode, and one for the label."""
        return n_features + 1


class Coordinates(AbstractSpace):
    """All coordinates of the inputs: for optimizers that depend on the axes, and as a check.

    Parameters are the weights theta of the features.
    """

    def problem(self, features: Features, modes: DrawnModes) -> Features:
        """The features as they were drawn."""
        return features

    def start(self, problem: Features) -> Float[Array, " d"]:
        """No weights."""
        return jnp.zeros_like(problem.matrix[0])

    def gradient(
        self,
        parameters: Float[Array, " d"],
        problem: Features,
        batch_size: int,
        key: Key[Array, ""],
    ) -> Float[Array, " d"]:
        """Features and targets of samples in V coordinates; what lies beyond as normal noise."""
        v, d = problem.matrix.shape
        z, eps = _draws(key, batch_size, v, parameters.dtype)
        beyond, _ = _draws(jr.fold_in(key, TAIL_STREAM), batch_size, d, parameters.dtype)
        tail = jnp.where(problem.inside, jnp.sqrt(problem.tail_variance), 0.0)
        phi = problem.matrix.T @ z + tail[:, None] * beyond
        spread = jnp.sqrt(problem.label_variance + problem.tail_target)
        residual = parameters @ phi - problem.target @ z - spread * eps
        return phi @ residual / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: Features) -> Float[Array, ""]:
        """`(|G theta - t|^2 + tau |theta|^2 + ...) / 2`."""
        missed = problem.matrix @ parameters - problem.target
        tail = problem.tail_variance * jnp.sum(parameters**2) + problem.tail_target
        return 0.5 * (jnp.sum(missed**2) + tail + problem.label_variance)

    def n_draws(self, n_features: int, n_coordinates: int) -> int:
        """One per coordinate and feature, and one for the label."""
        return n_coordinates + n_features + 1


def _draws(
    key: Key[Array, ""], n_samples: int, width: int, dtype: Any
) -> tuple[Float[Array, "width n"], Float[Array, " n"]]:
    """Normal numbers of the inputs and labels of samples.

    Entry (i, s) depends on the key, i and s alone.
    """
    samples = jnp.arange(n_samples, dtype=jnp.int32)
    if dtype == jnp.float64:
        pairs = words(key, samples, 2 * (width + 1))
        drawn = normals(pairs[0::2], pairs[1::2])
    else:
        drawn = float32_normals(words(key, samples, width + 1))
    return drawn[1:], drawn[0]
