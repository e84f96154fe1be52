"""Embeddings W of N features in K dimensions: none, frozen, or trained with the student."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale._linalg import eigh
from jaxscale.fields import Configurable, Real, is_traced, matrix, part, real, static_int
from jaxscale.keys import normals_by_row
from jaxscale.superposition._data import Source
from jaxscale.superposition._losses import batch_loss
from jaxscale.superposition._outputs import Relu
from jaxscale.superposition._student import MATRIX, READOUT, Problem, Student, Teacher

TIGHTENINGS = 64
AUTOENCODER = Relu(bias=True)


class Frame(eqx.Module):
    """What an embedding is drawn for: its dimensions, padded to a static number, and the inputs."""

    latent_size: Int[Array, ""]
    padded_size: int = eqx.field(static=True)
    problem: Problem
    source: Source

    @property
    def inside(self) -> Bool[Array, " k"]:
        """Which dimensions are not padding."""
        return jnp.arange(self.padded_size, dtype=jnp.int32) < self.latent_size


class AbstractEmbedding(Configurable):
    """How features are embedded; `trains`: with the student; `matrix_name`: of B or V."""

    trains: ClassVar[bool] = False
    matrix_name: ClassVar[str | None] = MATRIX

    @abc.abstractmethod
    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"] | None:
        """Rows `w_i` of the features, zero in padded dimensions; None without a bottleneck."""


class AbstractDrawn(AbstractEmbedding):
    """An embedding with a bottleneck that does not train."""


class Identity(AbstractEmbedding):
    """No superposition: `W` is the identity and `K = N`."""

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"] | None:
        return None


def _normal_rows(key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
    """Standard normal entries; entry (i, k) depends on i and k only."""
    probability = frame.problem.probability
    latent = jnp.arange(frame.padded_size, dtype=jnp.int32)
    rows = normals_by_row(key, latent, probability.shape[0], str(probability.dtype))
    return jnp.where(frame.inside[:, None], rows, jnp.zeros_like(rows)).T


class RandomUnit(AbstractDrawn):
    """Normal directions of unit length, frozen; entry (k, i) depends on k and i only."""

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
        return _unit(_normal_rows(key, frame))


class RandomGaussian(AbstractDrawn):
    """Independent normal entries of variance 1/K, frozen: the draw of `RandomUnit`, not scaled."""

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
        rows = _normal_rows(key, frame)
        return rows / jnp.sqrt(frame.latent_size.astype(rows.dtype))


class TightFrame(AbstractDrawn):
    r"""Unit directions with `W W^T = (N/K) I`, frozen: random ones, made tight.

    The polar factor is the nearest tight frame; normalising its rows and taking a Newton step of
    the polar factor `W (3 - (K/N) W W^T) / 2` alternate 64 times. Then rows are of length 1 to
    rounding, and `W W^T = (N/K) I` holds to 1e-6, or to 1e-3 where K is within 2 % of N.
    """

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
        random = RandomUnit().directions(key, frame)
        dtype = random.dtype
        square = jnp.asarray(random.shape[0], dtype) / frame.latent_size.astype(dtype)
        value, vector = eigh(random.T @ random)
        inside = frame.inside[::-1]  # eigenvalues ascend: padded dimensions come first
        inverse = jnp.where(inside, 1 / jnp.sqrt(jnp.where(inside, value, 1.0)), 0.0)
        polar = jnp.sqrt(square) * random @ ((vector * inverse) @ vector.T)

        def tighten(_: Any, rows: Float[Array, "f k"]) -> Float[Array, "f k"]:
            rows = _unit(rows)
            return 1.5 * rows - 0.5 * rows @ ((rows.T @ rows) / square)

        return _unit(jax.lax.fori_loop(0, TIGHTENINGS, tighten, polar))


class Pretrained(AbstractDrawn):
    """Directions of the autoencoder `relu(W^T W x + bias)`, trained with Adam, then frozen.

    It starts from `RandomUnit`, sees fresh batches of the same inputs, and minimises
    `sum_i (yhat_i - x_i)^2 / 2`. Its directions are not normalised afterwards.
    """

    n_steps: int = static_int(1500)
    learning_rate: Real = real(3e-3, above=0.0)
    batch_size: int = static_int(256)

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
        start_key, step_key = jr.fold_in(key, 0), jr.fold_in(key, 1)
        rows = RandomUnit().directions(start_key, frame)
        ones = jnp.ones_like(frame.problem.probability)
        numbers = jnp.arange(self.batch_size, dtype=jnp.int32)
        optimizer = optax.adam(self.learning_rate)  # pyright: ignore

        def loss(student: Student, key: Key[Array, ""]) -> Float[Array, ""]:
            samples = frame.problem.inputs.draw(key, numbers, frame.source, str(ones.dtype))
            total = batch_loss(student, samples, AUTOENCODER, Teacher(ones, ones), listed=False)
            return total / self.batch_size

        def step(t: Int[Array, ""], state: Any) -> Any:
            student, memory = state
            gradient = jax.grad(loss)(student, jr.fold_in(step_key, t))
            with jax.numpy_dtype_promotion("standard"):
                update, memory = optimizer.update(gradient, memory, student)
            moved = jax.tree.map(lambda p, u: p + u.astype(p.dtype), student, update)
            return moved, memory

        student = Student(None, jnp.zeros_like(ones), rows)
        state = (student, optimizer.init(student))  # pyright: ignore
        student, _ = jax.lax.fori_loop(0, self.n_steps, step, state)
        return student.directions


class Given(AbstractDrawn):
    """A frozen W of your own, `(K, N)`.

    With `Linear()`, `Population()`, `Sgd()` without momentum at a constant rate, and
    `initial=Zeros()` or `ScaledIdentity()`, its training curve is predicted exactly.
    """

    matrix: Float[Array | np.ndarray, "k f"] = matrix()

    def __check_init__(self):
        if is_traced(self.matrix):
            return
        if self.matrix.shape[0] > self.matrix.shape[1]:
            raise ValueError(f"`matrix` must be (K, N) with K <= N, got {self.matrix.shape}.")
        largest = float(np.max(np.abs(self.matrix)))
        if not 1e-6 < largest < 1e6:
            raise ValueError(
                f"`matrix` must have its largest entry between 1e-6 and 1e6, got {largest:g}."
            )

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"]:
        rows = jnp.asarray(self.matrix).astype(frame.problem.probability.dtype).T
        return jnp.pad(rows, ((0, 0), (0, frame.padded_size - rows.shape[1])))


class Joint(AbstractEmbedding):
    """W trained together with B, from `start`, at the system's `embedding_learning_rate`."""

    start: AbstractDrawn = part(AbstractDrawn, RandomUnit())
    trains: ClassVar[bool] = True

    def directions(self, key: Key[Array, ""], frame: Frame) -> Float[Array, "f k"] | None:
        return self.start.directions(key, frame)


class Tied(Joint):
    """`yhat = f(W^T W x + bias)`: W trained alone, there is no B."""

    matrix_name: ClassVar[str | None] = None


class Untied(Joint):
    """`yhat = f(V W x + bias)`: W and a readout V, `(N, K)`, both trained, and no B.

    It starts as `Joint(start)` does, from `V = W^T B(0)`. V has the system's `learning_rate`; if
    not given, half the stability limit of descent in V alone.
    """

    matrix_name: ClassVar[str | None] = READOUT


def start_of(embedding: AbstractEmbedding) -> AbstractEmbedding:
    """The embedding that is drawn: that of a trained one at its start."""
    return embedding.start if isinstance(embedding, Joint) else embedding


def _unit(rows: Float[Array, "f k"]) -> Float[Array, "f k"]:
    return rows / jnp.sqrt(jnp.sum(rows**2, axis=1, keepdims=True))
