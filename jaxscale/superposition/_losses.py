r"""Losses of a student, exact where there is a closed form, and gradients to descend on.

Every loss is split by output: `signal`, what output `i` loses in samples in which feature `i` is
active, and `interference`, what it loses in the others, where it should be silent. With
`M = W^T B W`, independent features of second moments `diag(D) + v v^T`, and a linear decoder,
output `i` receives from the other features a sum of mean `r_i` and variance `s_i`,

$$r_i = \sum_{j \ne i} M_{ij} v_j, \quad s_i = \sum_{j \ne i} M_{ij}^2 D_j, \qquad
  2 L^{\text{int}}_i = (1 - p_i)(r_i^2 + s_i), \qquad
  2 L^{\text{sig}}_i = p_i \left[\langle (M_{ii} - A_i)^2 u^2 \rangle
    + 2 (M_{ii} - A_i) \langle u \rangle r_i + r_i^2 + s_i\right]$$

With exactly one active feature, any decoder has

$$2 L^{\text{int}}_i = \sum_{j \ne i} p_j \langle f(M_{ij} u + b_i)^2 \rangle, \qquad
  2 L^{\text{sig}}_i = p_i \langle (f(M_{ii} u + b_i) - A_i u)^2 \rangle$$
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxscale.fields import Configurable, Real, real, static_int
from jaxscale.superposition._data import OneHot, Samples, ScalarKey
from jaxscale.superposition._outputs import AbstractDecoder, Linear
from jaxscale.superposition._student import DIRECTIONS, MATRIX, Problem, Student, Task, Teacher

BLOCK_FLOATS = 2**19  # entries of M that are computed at once
SAMPLE_BLOCK = 256

Vector = Float[Array, " f"]
Columns = Float[Array, "f m"]
Trained = dict[str, Array]


class Split(eqx.Module):
    """Losses by output, not weighted."""

    signal: Vector
    interference: Vector


def _crossed(student: Student, share: Vector, square: Callable[[Columns], Columns]) -> Vector:
    """`sum_{j != i} share_j square(M_ij)` for every output, over blocks of columns of M."""
    n = share.shape[0]
    block = max(1, min(n, BLOCK_FLOATS // n))
    rank = jnp.arange(n, dtype=jnp.int32)

    @jax.checkpoint
    def part(first: Int[Array, ""]) -> Vector:
        columns = first + jnp.arange(block, dtype=jnp.int32)
        inside = jnp.minimum(columns, n - 1)
        squares = square(student.slopes(inside))
        counted = jnp.where(columns < n, share[inside], jnp.zeros_like(share[inside]))
        others = rank[:, None] != columns[None, :]
        return jnp.where(others, squares, jnp.zeros_like(squares)) @ counted

    if block == n:
        return part(jnp.zeros((), jnp.int32))
    starts = jnp.arange(0, n, block, dtype=jnp.int32)

    def add(total: Vector, first: Int[Array, ""]) -> tuple[Vector, None]:
        return total + part(first), None

    return jax.lax.scan(add, jnp.zeros_like(share), starts)[0]


def linear_split(student: Student, problem: Problem) -> Split:
    """Exact losses of a linear decoder."""
    amplitude, p = problem.inputs.amplitude, problem.probability
    scale, mean = problem.moments()
    own = student.own_slopes()
    missing = own - problem.teacher.targets
    received = student.project(mean) - own * mean
    other = _crossed(student, scale, lambda slope: slope**2) + received**2
    first, second = amplitude.moment(1), amplitude.moment(2)
    signal = p * (missing**2 * second + 2 * missing * first * received)
    together = problem.inputs.active_share(p)
    return Split(0.5 * (signal + together * other), 0.5 * (1 - together) * other)


def one_hot_split(student: Student, problem: Problem) -> Split:
    """Exact losses of any decoder on exactly one active feature."""
    amplitude, decoder, bias = problem.inputs.amplitude, problem.decoder, student.bias
    error = decoder.error(amplitude, student.own_slopes(), bias, problem.teacher.targets)

    def square(slope: Columns) -> Columns:
        return decoder.square(amplitude, slope, bias[:, None])

    other = _crossed(student, problem.probability, square)
    return Split(0.5 * problem.probability * error, 0.5 * other)


def exact_split(student: Student, problem: Problem) -> Split:
    """Exact losses, of a linear decoder or on exactly one active feature."""
    split = linear_split if isinstance(problem.decoder, Linear) else one_hot_split
    return split(student, problem)


def sampled_split(student: Student, task: Task, problem: Problem, n_samples: int) -> Split:
    """Mean losses over `n_samples` fixed samples of the evaluation key."""
    empty = jnp.zeros_like(problem.probability)
    block = min(n_samples, SAMPLE_BLOCK)

    def add(total: Split, first: Int[Array, ""]) -> tuple[Split, None]:
        numbers = first + jnp.arange(block, dtype=jnp.int32)
        samples = problem.inputs.draw(task.evaluation_key, numbers, task.source, str(empty.dtype))
        dense = samples.dense(empty.shape[0])
        output = problem.decoder(student.preactivation(samples, dense, listed=True))
        counted = (numbers < n_samples).astype(empty.dtype)[:, None]
        error = 0.5 * counted * (output - problem.teacher.targets * dense) ** 2
        zero = jnp.zeros_like(error)
        signal = jnp.sum(jnp.where(dense != 0, error, zero), axis=0)
        interference = jnp.sum(jnp.where(dense != 0, zero, error), axis=0)
        return jax.tree.map(jnp.add, total, Split(signal, interference)), None

    starts = jnp.arange(0, n_samples, block, dtype=jnp.int32)
    total, _ = jax.lax.scan(add, Split(empty, empty), starts)
    return jax.tree.map(lambda x: x / n_samples, total)


def has_exact_losses(decoder: AbstractDecoder, inputs: object) -> bool:
    """Whether the losses over the population have a closed form."""
    return isinstance(decoder, Linear) or isinstance(inputs, OneHot)


def batch_loss(
    student: Student, samples: Samples, decoder: AbstractDecoder, teacher: Teacher, *, listed: bool
) -> Float[Array, ""]:
    """Sum over a batch of `sum_i w_i (yhat_i - A_i x_i)^2 / 2`."""
    dense = samples.dense(teacher.targets.shape[0])
    output = decoder(student.preactivation(samples, dense, listed=listed))
    return 0.5 * jnp.sum(teacher.weights * (output - teacher.targets * dense) ** 2)


def feature_groups(n: int) -> list[int]:
    """First feature, counted from 1, of the groups 1, 2-3, 4-7, 8-15, ... of `n`."""
    return [2**k for k in range(n.bit_length())]


def by_group(values: Vector) -> Float[Array, " g"]:
    """Mean of every group of features."""
    _, *later = feature_groups(values.shape[0])
    groups = jnp.split(values, [first - 1 for first in later])
    return jnp.stack([jnp.mean(group) for group in groups])


def feature_strength(student: Student, problem: Problem) -> Float[Array, " g"]:
    r"""`<f(M_ii u + b_i) u> / (A_i <u^2>)`, averaged over the features of each group.

    The response of output `i` to its own feature alone: 0 before, 1 after it is learned.
    """
    amplitude = problem.inputs.amplitude
    product = problem.decoder.product(amplitude, student.own_slopes(), student.bias)
    return by_group(product / (problem.teacher.targets * amplitude.moment(2)))


class AbstractReduction(Configurable):
    """How outputs are reduced to the loss that is descended on; the `loss` recorded is the sum."""

    @abc.abstractmethod
    def scale(self, n_outputs: int) -> Any:
        """What is descended on, over `sum_i w_i E (yhat_i - A_i x_i)^2 / 2`."""


class SumOverOutputs(AbstractReduction):
    """Half the sum of squares."""

    def scale(self, n_outputs: int) -> Any:
        """One."""
        return 1.0


class MeanOverOutputs(AbstractReduction):
    """`factor` times the mean of squares, without 1/2: PyTorch's `MSELoss`.

    To plain descent it is a learning rate of `2 factor / N` times the one that is given; Adam does
    not see it until gradients are as small as its `eps`.
    """

    factor: Real = real(1.0, above=0.0)

    def scale(self, n_outputs: int) -> Any:
        """`2 factor / N`."""
        return 2.0 * self.factor / n_outputs


class AbstractGradient(Configurable):
    """How the gradient of the loss is computed."""

    @abc.abstractmethod
    def __call__(self, trained: Trained, task: Task, problem: Problem, key: ScalarKey) -> Trained:
        """Gradient of the loss in every trained parameter."""


class Population(AbstractGradient):
    """The exact gradient: of linear students, and of any student on one-hot inputs."""

    def __call__(self, trained: Trained, task: Task, problem: Problem, key: ScalarKey) -> Trained:
        """A quadratic form where there is one, else automatic differentiation."""
        if task.quadratic is not None:
            return {MATRIX: task.quadratic.gradient(trained[MATRIX])}
        teacher = problem.teacher
        if isinstance(problem.decoder, Linear) and task.student(trained).directions is None:
            scale, mean = problem.moments()
            missing = trained[MATRIX] - jnp.diag(teacher.targets)
            pull = missing * scale + jnp.outer(missing @ mean, mean)
            return {MATRIX: teacher.weights[:, None] * pull}

        def loss(trained: Trained) -> Float[Array, ""]:
            split = exact_split(task.student(trained), problem)
            return jnp.sum(teacher.weights * (split.signal + split.interference))

        return jax.grad(loss)(trained)


class FreshBatches(AbstractGradient):
    """The mean over `batch_size` fresh samples; `micro_batch` of them at once (by the planner)."""

    batch_size: int = static_int(128)
    micro_batch: int | None = static_int(None, optional=True)

    def __check_init__(self):
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(
                f"`micro_batch` must divide batch_size = {self.batch_size}, got {self.micro_batch}."
            )

    @property
    def slice_length(self) -> int:
        return self.micro_batch or self.batch_size

    def __call__(self, trained: Trained, task: Task, problem: Problem, key: ScalarKey) -> Trained:
        """Automatic differentiation; samples are indexed by (key, sample)."""
        listed, dtype = DIRECTIONS not in trained, str(task.probability.dtype)

        def loss(trained: Trained, first: Int[Array, ""]) -> Float[Array, ""]:
            numbers = first + jnp.arange(self.slice_length, dtype=jnp.int32)
            samples = problem.inputs.draw(key, numbers, task.source, dtype)
            student = task.student(trained)
            total = batch_loss(student, samples, problem.decoder, problem.teacher, listed=listed)
            return total / self.batch_size

        if self.slice_length == self.batch_size:
            return jax.grad(loss)(trained, jnp.zeros((), jnp.int32))

        def add(total: Trained, first: Int[Array, ""]) -> tuple[Trained, None]:
            return jax.tree.map(jnp.add, total, jax.grad(loss)(trained, first)), None

        firsts = jnp.arange(0, self.batch_size, self.slice_length, dtype=jnp.int32)
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, trained), firsts)[0]
