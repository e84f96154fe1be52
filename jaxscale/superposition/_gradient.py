"""What a step descends on: the exact population loss, or the mean over a fresh batch."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxscale.fields import Configurable, static_int
from jaxscale.superposition._data import AbstractInputs, OneHot, Source
from jaxscale.superposition._decoders import AbstractDecoder, Linear
from jaxscale.superposition._losses import Teacher, linear_split, one_hot_split
from jaxscale.superposition._student import BIAS, DIRECTIONS, MATRIX, Student, batch_loss

Trained = dict[str, Array]


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
    def of(cls, rows: Float[Array, "f k"], scale: Any, mean: Any, teacher: Teacher) -> "Quadratic":
        """The form of an embedding and second moments `diag(scale) + mean mean^T`."""
        weighted = rows * teacher.weights[:, None]
        image = mean @ rows
        inputs = (rows * scale[:, None]).T @ rows + jnp.outer(image, image)
        answered = weighted * teacher.targets[:, None]
        cross = (answered * scale[:, None]).T @ rows + jnp.outer(mean @ answered, image)
        return cls(weighted.T @ rows, inputs, cross)

    def gradient(self, matrix: Float[Array, "k k"]) -> Float[Array, "k k"]:
        """Two products of (K, K) matrices."""
        return self.gram @ matrix @ self.inputs - self.cross


class Task(eqx.Module):
    """What a run draws once: source of samples, teacher, frozen directions, rates and key."""

    source: Source
    teacher: Teacher
    directions: Float[Array, "f k"] | None
    quadratic: Quadratic | None
    rates: dict[str, Float[Array, ""]]
    evaluation_key: Key[Array, ""]

    def student(self, trained: Trained) -> Student:
        """The student with its trained parameters, the others as they were drawn."""
        silent = jnp.zeros_like(self.source.probability)
        directions = trained.get(DIRECTIONS, self.directions)
        return Student(trained.get(MATRIX), trained.get(BIAS, silent), directions)


class AbstractGradient(Configurable):
    """How the gradient of the loss is found."""

    @abc.abstractmethod
    def check(self, decoder: AbstractDecoder, inputs: AbstractInputs) -> None:
        """Raise `ValueError` where there is no such gradient."""

    @abc.abstractmethod
    def __call__(
        self,
        trained: Trained,
        task: Task,
        decoder: AbstractDecoder,
        inputs: AbstractInputs,
        key: Key[Array, ""],
    ) -> Trained:
        """Gradient of the loss in every trained parameter."""

    @abc.abstractmethod
    def batch(self, n_features: int) -> int:
        """Samples, or columns of M, that one step touches."""


class Population(AbstractGradient):
    """The exact gradient: of linear students, and of any student on one-hot inputs."""

    def check(self, decoder: AbstractDecoder, inputs: AbstractInputs) -> None:
        """A nonlinear decoder needs one-hot inputs."""
        if not isinstance(decoder, Linear) and not isinstance(inputs, OneHot):
            raise ValueError(
                "`gradient` must be FreshBatches(...) where several features are active and the "
                f"decoder is not linear, got Population() with {decoder!r} and {inputs!r}."
            )

    def __call__(
        self,
        trained: Trained,
        task: Task,
        decoder: AbstractDecoder,
        inputs: AbstractInputs,
        key: Key[Array, ""],
    ) -> Trained:
        """A quadratic form where there is one, else automatic differentiation."""
        if task.quadratic is not None:
            return {MATRIX: task.quadratic.gradient(trained[MATRIX])}
        teacher, probability = task.teacher, task.source.probability
        if isinstance(decoder, Linear) and task.directions is None:
            scale, mean = inputs.moments(probability)
            missing = trained[MATRIX] - jnp.diag(teacher.targets)
            pull = missing * scale + jnp.outer(missing @ mean, mean)
            return {MATRIX: teacher.weights[:, None] * pull}

        def loss(trained: Trained) -> Float[Array, ""]:
            student = task.student(trained)
            if isinstance(decoder, Linear):
                split = linear_split(student, inputs, probability, teacher)
            else:
                split = one_hot_split(student, decoder, inputs, probability, teacher)
            return jnp.sum(teacher.weights * (split.signal + split.interference))

        return jax.grad(loss)(trained)

    def batch(self, n_features: int) -> int:
        """All columns."""
        return n_features


class FreshBatches(AbstractGradient):
    """The mean over `batch_size` fresh samples; `micro_batch` of them at once (by the planner)."""

    batch_size: int = static_int(128)
    micro_batch: int | None = static_int(None, optional=True)

    def __check_init__(self):
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(
                f"`micro_batch` must divide batch_size = {self.batch_size}, got {self.micro_batch}."
            )

    def check(self, decoder: AbstractDecoder, inputs: AbstractInputs) -> None:
        """Always possible."""

    def __call__(
        self,
        trained: Trained,
        task: Task,
        decoder: AbstractDecoder,
        inputs: AbstractInputs,
        key: Key[Array, ""],
    ) -> Trained:
        """Automatic differentiation; samples are indexed by (key, sample)."""
        dtype = str(task.source.probability.dtype)
        micro = self.batch(0)

        def loss(trained: Trained, first: Int[Array, ""]) -> Float[Array, ""]:
            numbers = first + jnp.arange(micro, dtype=jnp.int32)
            samples = inputs.draw(key, numbers, task.source, dtype)
            teacher, listed = task.teacher, DIRECTIONS not in trained
            student = task.student(trained)
            total = batch_loss(
                student, samples, decoder, teacher.targets, teacher.weights, listed=listed
            )
            return total / self.batch_size

        if micro == self.batch_size:
            return jax.grad(loss)(trained, jnp.zeros((), jnp.int32))

        def add(total: Trained, first: Int[Array, ""]) -> tuple[Trained, None]:
            return jax.tree.map(jnp.add, total, jax.grad(loss)(trained, first)), None

        firsts = jnp.arange(0, self.batch_size, micro, dtype=jnp.int32)
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, trained), firsts)[0]

    def batch(self, n_features: int) -> int:
        """Samples of one slice."""
        return self.micro_batch or self.batch_size
