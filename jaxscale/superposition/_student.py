"""The student `yhat = f(W^T B W x + bias)`: its parameters, its start and its outputs."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxscale.fields import Configurable, Real, real
from jaxscale.keys import normal_table
from jaxscale.superposition._data import Samples
from jaxscale.superposition._decoders import AbstractDecoder

MATRIX, BIAS, DIRECTIONS = "matrix", "bias", "directions"


class Student(eqx.Module):
    """Parameters of a student.

    - `matrix`: B, `(K, K)`; `(N, N)` without a bottleneck; None if it is the identity (tied).
    - `bias`: one per output, zero where it is not trained.
    - `directions`: rows `w_i`, `(N, K)`; None without a bottleneck.
    """

    matrix: Float[Array, "k k"] | None
    bias: Float[Array, " f"]
    directions: Float[Array, "f k"] | None

    @property
    def embedding(self) -> Float[Array, "k f"]:
        """W, `(K, N)`, as the theory takes it."""
        if self.directions is None:
            return jnp.eye(self.bias.shape[0], dtype=self.bias.dtype)
        return self.directions.T

    def preactivation(
        self, samples: Samples, dense: Float[Array, "n f"], *, listed: bool
    ) -> Float[Array, "n f"]:
        """`W^T B W x + bias`; `listed` reads W at the active features alone."""
        if self.directions is None:
            latent = dense
        elif listed:
            rows = self.directions[samples.index]
            latent = jnp.einsum("nl,nlk->nk", samples.value, rows)
        else:
            latent = dense @ self.directions
        if self.matrix is not None:
            latent = latent @ self.matrix.T
        if self.directions is not None:
            latent = latent @ self.directions.T
        return latent + self.bias

    def slopes(self, features: Int[Array, " m"]) -> Float[Array, "f m"]:
        """Columns of `M = W^T B W`: slopes of all outputs on some features."""
        if self.directions is None:
            if self.matrix is None:
                raise ValueError("`student` must have a matrix or directions.")
            return self.matrix[:, features]
        latent = self.directions[features].T
        if self.matrix is not None:
            latent = self.matrix @ latent
        return self.directions @ latent

    def own_slopes(self) -> Float[Array, " f"]:
        """Diagonal of M: the slope of every output on its own feature."""
        if self.directions is None:
            if self.matrix is None:
                raise ValueError("`student` must have a matrix or directions.")
            return jnp.diagonal(self.matrix)
        answered = self.directions if self.matrix is None else self.directions @ self.matrix
        return jnp.sum(answered * self.directions, axis=1)

    def project(self, vector: Float[Array, " f"]) -> Float[Array, " f"]:
        """`M v`."""
        latent = vector if self.directions is None else self.directions.T @ vector
        latent = latent if self.matrix is None else self.matrix @ latent
        return latent if self.directions is None else self.directions @ latent


def batch_loss(
    student: Student,
    samples: Samples,
    decoder: AbstractDecoder,
    targets: Float[Array, " f"],
    weights: Float[Array, " f"],
    *,
    listed: bool,
) -> Float[Array, ""]:
    """Sum over a batch of `sum_i w_i (yhat_i - A_i x_i)^2 / 2`."""
    dense = samples.dense(targets.shape[0])
    output = decoder(student.preactivation(samples, dense, listed=listed))
    return 0.5 * jnp.sum(weights * (output - targets * dense) ** 2)


class AbstractInitial(Configurable):
    """Matrix B at the start."""

    @abc.abstractmethod
    def matrix(
        self, key: Key[Array, ""], size: Int[Array, ""], max_size: int, dtype: str
    ) -> Float[Array, "k k"]:
        """B(0), zero in padded rows and columns."""


class Zeros(AbstractInitial):
    """`B(0) = 0`; a student with `Relu()` never leaves it."""

    def matrix(
        self, key: Key[Array, ""], size: Int[Array, ""], max_size: int, dtype: str
    ) -> Float[Array, "k k"]:
        """Nothing."""
        return jnp.zeros((max_size, max_size), dtype)


class RandomNormal(AbstractInitial):
    """Independent normal entries of standard deviation `scale / sqrt(K)`."""

    scale: Real = real(0.01, above=0.0)

    def matrix(
        self, key: Key[Array, ""], size: Int[Array, ""], max_size: int, dtype: str
    ) -> Float[Array, "k k"]:
        """Entry (i, j) depends on the key, i and j only."""
        index = jnp.arange(max_size, dtype=jnp.int32)
        drawn = normal_table(key, index, index, dtype)
        real = (index < size)[:, None] & (index < size)[None, :]
        deviation = jnp.asarray(self.scale).astype(dtype) / jnp.sqrt(size.astype(dtype))
        return jnp.where(real, deviation * drawn, jnp.zeros_like(drawn))


class ScaledIdentity(AbstractInitial):
    """`B(0) = gain` times the identity: the signal is there, and so is the interference."""

    gain: Real = real(1.0)

    def matrix(
        self, key: Key[Array, ""], size: Int[Array, ""], max_size: int, dtype: str
    ) -> Float[Array, "k k"]:
        """A diagonal."""
        real = jnp.arange(max_size, dtype=jnp.int32) < size
        return jnp.diag(jnp.where(real, jnp.asarray(self.gain).astype(dtype), 0.0))
