"""Teacher `y_i = A_i x_i`, student `yhat = f(W^T B W x + bias)`, and what a run computes once."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale._linalg import eigh
from jaxscale.fields import Configurable, Real, real
from jaxscale.keys import normal_table
from jaxscale.superposition._data import AbstractInputs, Samples, Source
from jaxscale.superposition._outputs import AbstractDecoder

MATRIX, BIAS, DIRECTIONS, READOUT = "matrix", "bias", "directions", "readout"
NARROW = 128  # dimensions of an embedding, up to which its gradient is computed transposed

Mask = Bool[Array, " k"]
Vector = Float[Array | np.ndarray, " f"]


class Teacher(eqx.Module):
    """Targets `A_i` and weights `w_i` of the loss `sum_i w_i (yhat_i - A_i x_i)^2 / 2`."""

    targets: Float[Array, " f"]
    weights: Float[Array, " f"]


class AbstractImportance(Configurable):
    """Where the importance `i^-b` of feature `i` enters: in the teacher, or in the loss."""

    @abc.abstractmethod
    def targets_and_weights(self, importance: Vector) -> tuple[Any, Any]:
        """`A_i` and `w_i` of features of this importance, in NumPy or JAX."""


class InTarget(AbstractImportance):
    """`A_i = i^-b`, `w_i = 1`: important features are large in the teacher."""

    def targets_and_weights(self, importance: Vector) -> tuple[Any, Any]:
        return importance, 0 * importance + 1


class InLoss(AbstractImportance):
    """`A_i = 1`, `w_i = i^-2b`: the same loss where nothing is learned, other dynamics."""

    def targets_and_weights(self, importance: Vector) -> tuple[Any, Any]:
        return 0 * importance + 1, importance**2


class Problem(eqx.Module):
    """Inputs, the probabilities `p_i` of their features, the teacher and the output function."""

    inputs: AbstractInputs
    probability: Float[Array, " f"]
    teacher: Teacher
    decoder: AbstractDecoder

    def moments(self) -> tuple[Any, Any]:
        """`D` and `v` of the second moments `diag(D) + v v^T` of the inputs."""
        return self.inputs.moments(self.probability)


def _embedded(
    rows: Float[Array, "f k"], index: Int[Array, "n l"], value: Float[Array, "n l"]
) -> Float[Array, "n k"]:
    """`W x`, differentiable: by lists on a CPU, where dense products cost several times more.

    Accelerators take dense products: adding to the same row in no fixed order would not repeat.
    """
    n, places = index.shape

    def listed(rows: Array, index: Array, value: Array) -> Array:
        def add(place: Int[Array, ""], total: Array) -> Array:
            return total + value[:, place, None] * rows[index[:, place]]

        return jax.lax.fori_loop(0, places, add, jnp.zeros((n, rows.shape[1]), rows.dtype))

    def dense(rows: Array, index: Array, value: Array) -> Array:
        return Samples(index, value).dense(rows.shape[0]) @ rows

    return jax.lax.platform_dependent(rows, index, value, cpu=listed, default=dense)


def _gradients_of_embedded(saved: tuple[Array, Array, Array], image: Float[Array, "n k"]) -> Any:
    """Gradients of W, `x^T` times that of `W x` (unused places are dropped), and of amplitudes."""
    rows, index, value = saved
    n_features, places = rows.shape[0], index.shape[1]

    def listed(index: Array, value: Array, image: Array) -> Array:
        row = jnp.where(value != 0, index, n_features)

        def add(place: Int[Array, ""], total: Array) -> Array:
            return total.at[row[:, place]].add(value[:, place, None] * image, mode="drop")

        return jax.lax.fori_loop(0, places, add, jnp.zeros(rows.shape, image.dtype))

    def dense(index: Array, value: Array, image: Array) -> Array:
        return Samples(index, value).dense(n_features).T @ image

    own = jax.lax.platform_dependent(index, value, image, cpu=listed, default=dense)
    return own, None, jnp.einsum("nk,nlk->nl", image, rows[index])


# A forward rule that called the function itself could not be differentiated once more.
embedded = jax.custom_vjp(_embedded)
embedded.defvjp(lambda *given: (_embedded(*given), given), _gradients_of_embedded)


def _decoded(latent: Float[Array, "n k"], rows: Float[Array, "f k"]) -> Float[Array, "n f"]:
    """`V` times every latent sample, differentiable in both."""
    return latent @ rows.T


def _gradients_of_decoded(saved: tuple[Array, Array], image: Float[Array, "n f"]) -> Any:
    """Gradients of latent samples and of V; on a CPU narrow ones transposed, 2 to 5 times faster.

    Without the barriers XLA would make one product of the transposes and the product again.
    """
    latent, rows = saved

    def transposed(latent: Array, image: Array) -> Array:
        barrier = jax.lax.optimization_barrier
        return barrier(barrier(latent.T) @ image).T

    def plain(latent: Array, image: Array) -> Array:
        return image.T @ latent

    fast = transposed if latent.shape[1] <= NARROW else plain
    own = jax.lax.platform_dependent(latent, image, cpu=fast, default=plain)
    return image @ rows, own


decoded = jax.custom_vjp(_decoded)
decoded.defvjp(lambda *both: (_decoded(*both), both), _gradients_of_decoded)


class Student(eqx.Module):
    """Parameters of a student.

    - `matrix`: B, `(K, K)`; `(N, N)` without a bottleneck; None if it is the identity (tied).
    - `bias`: one per output, zero where it is not trained.
    - `directions`: rows `w_i`, `(N, K)`; None without a bottleneck, which has a matrix.
    - `readout`: V, `(N, K)`, in place of `W^T` where that is not what decodes.
    """

    matrix: Float[Array, "k k"] | None
    bias: Float[Array, " f"]
    directions: Float[Array, "f k"] | None
    readout: Float[Array, "f k"] | None = None

    @property
    def output_rows(self) -> Float[Array, "f k"] | None:
        """`W^T`, or V in its place."""
        return self.directions if self.readout is None else self.readout

    @property
    def embedding(self) -> Float[Array, "k f"]:
        """W, `(K, N)`, as the theory takes it."""
        if self.directions is None:
            return jnp.eye(self.bias.shape[0], dtype=self.bias.dtype)
        return self.directions.T

    def preactivation(
        self, samples: Samples, dense: Float[Array, "n f"], *, listed: bool
    ) -> Float[Array, "n f"]:
        """`W^T B W x + bias`; `listed`, on any device, where W has no gradient."""
        if self.directions is None:
            latent = dense
        elif listed:
            rows = self.directions[samples.index]
            latent = jnp.einsum("nl,nlk->nk", samples.value, rows)
        else:
            latent = embedded(self.directions, samples.index, samples.value)
        if self.matrix is not None:
            latent = latent @ self.matrix.T
        if self.output_rows is not None:
            latent = latent @ self.output_rows.T if listed else decoded(latent, self.output_rows)
        return latent + self.bias

    def slopes(self, features: Int[Array, " m"]) -> Float[Array, "f m"]:
        """Columns of `M = W^T B W`: slopes of all outputs on some features."""
        if self.directions is None or self.output_rows is None:
            assert self.matrix is not None
            return self.matrix[:, features]
        latent = self.directions[features].T
        if self.matrix is not None:
            latent = self.matrix @ latent
        return self.output_rows @ latent

    def own_slopes(self) -> Float[Array, " f"]:
        """Diagonal of M: the slope of every output on its own feature."""
        if self.directions is None or self.output_rows is None:
            assert self.matrix is not None
            return jnp.diagonal(self.matrix)
        answered = self.output_rows if self.matrix is None else self.output_rows @ self.matrix
        return jnp.sum(answered * self.directions, axis=1)

    def project(self, vector: Float[Array, " f"]) -> Float[Array, " f"]:
        """`M v`."""
        latent = vector if self.directions is None else self.directions.T @ vector
        latent = latent if self.matrix is None else self.matrix @ latent
        return latent if self.output_rows is None else self.output_rows @ latent


class AbstractInitial(Configurable):
    """Matrix B at the start."""

    @abc.abstractmethod
    def matrix(self, key: Key[Array, ""], inside: Mask, dtype: str) -> Float[Array, "k k"]:
        """B(0), zero in the rows and columns that are not `inside`, of the padding."""


class Zeros(AbstractInitial):
    """`B(0) = 0`; a student with `Relu()` whose biases start at 0 never leaves it."""

    def matrix(self, key: Key[Array, ""], inside: Mask, dtype: str) -> Float[Array, "k k"]:
        return jnp.zeros((inside.size, inside.size), dtype)


class RandomNormal(AbstractInitial):
    """Independent normal entries of standard deviation `scale / sqrt(K)`."""

    scale: Real = real(0.01, above=0.0)

    def matrix(self, key: Key[Array, ""], inside: Mask, dtype: str) -> Float[Array, "k k"]:
        """Entry (i, j) depends on the key, i and j only."""
        index = jnp.arange(inside.size, dtype=jnp.int32)
        drawn = normal_table(key, index, index, dtype)
        size = jnp.sum(inside, dtype=dtype)
        deviation = jnp.asarray(self.scale).astype(dtype) / jnp.sqrt(size)
        return jnp.where(inside[:, None] & inside, deviation * drawn, jnp.zeros_like(drawn))


class ScaledIdentity(AbstractInitial):
    """`B(0) = gain` times the identity: the signal is there, and so is the interference."""

    gain: Real = real(1.0)

    def matrix(self, key: Key[Array, ""], inside: Mask, dtype: str) -> Float[Array, "k k"]:
        return jnp.diag(jnp.where(inside, jnp.asarray(self.gain).astype(dtype), 0.0))


class Quadratic(eqx.Module):
    r"""Population loss of B with a linear decoder and a frozen W: a quadratic form.

    $$\nabla_B L = G B M - C, \qquad G = W \Omega W^T, \quad M = W \Sigma W^T, \quad
      C = W \Omega A \Sigma W^T$$

    where `Omega` holds the weights and `A` the targets.
    """

    gram: Float[Array, "k k"]
    inputs: Float[Array, "k k"]
    cross: Float[Array, "k k"]

    @classmethod
    def of(cls, rows: Float[Array, "f k"], problem: Problem) -> "Quadratic":
        """The form of the embedding with these rows."""
        teacher, (scale, mean) = problem.teacher, problem.moments()
        weighted = rows * teacher.weights[:, None]
        image = mean @ rows
        inputs = (rows * scale[:, None]).T @ rows + jnp.outer(image, image)
        answered = weighted * teacher.targets[:, None]
        cross = (answered * scale[:, None]).T @ rows + jnp.outer(mean @ answered, image)
        return cls(weighted.T @ rows, inputs, cross)

    def gradient(self, matrix: Float[Array, "k k"]) -> Float[Array, "k k"]:
        """Gradient in B."""
        return self.gram @ matrix @ self.inputs - self.cross


def half_limit(
    problem: Problem, form: Quadratic | None, parameter: str | None = MATRIX
) -> Float[Array, ""]:
    """`1 / (g_max m_max)`, half the rate at which descent of the linear student in B diverges.

    Without a bottleneck (`form` is None) `m_max` is bounded by `max D + |v|^2`; there, and for the
    `parameter` V, `g_max` is the largest weight.
    """
    outputs = jnp.max(problem.teacher.weights)
    if form is None:
        scale, mean = problem.moments()
        return 1.0 / (outputs * (jnp.max(scale) + jnp.sum(mean**2)))
    if parameter != READOUT:
        outputs = eigh(form.gram)[0][-1]
    return 1.0 / (outputs * eigh(form.inputs)[0][-1])


class Task(eqx.Module):
    """What a run computes once: features, tables of samples, frozen directions, rates and key."""

    probability: Float[Array, " f"]
    teacher: Teacher
    source: Source
    directions: Float[Array, "f k"] | None
    quadratic: Quadratic | None
    rates: dict[str, Float[Array, ""]]
    evaluation_key: Key[Array, ""]

    def student(self, trained: dict[str, Array]) -> Student:
        """The student with its trained parameters, the others as they were drawn."""
        silent = jnp.zeros_like(self.probability)
        directions = trained.get(DIRECTIONS, self.directions)
        bias = trained.get(BIAS, silent)
        return Student(trained.get(MATRIX), bias, directions, trained.get(READOUT))
