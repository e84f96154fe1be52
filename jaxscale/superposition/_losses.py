r"""Losses of a student over the population: exact where there is a closed form, else on samples.

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

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxscale.superposition._data import AbstractInputs, Source
from jaxscale.superposition._decoders import AbstractDecoder, Linear
from jaxscale.superposition._student import Student

BLOCK_FLOATS = 2**19  # entries of M that are computed at once
SAMPLE_BLOCK = 256

Vector = Float[Array, " f"]


class Split(eqx.Module):
    """Losses by output, not weighted."""

    signal: Vector
    interference: Vector


class Teacher(eqx.Module):
    """Targets `A_i` and weights `w_i` of the loss."""

    targets: Vector
    weights: Vector


def crossed(
    student: Student,
    share: Vector,
    square: Callable[[Float[Array, "f m"]], Float[Array, "f m"]],
) -> Vector:
    """`sum_{j != i} share_j square(M_ij)` for every output, over blocks of columns of M."""
    n = share.shape[0]
    block = max(1, min(n, BLOCK_FLOATS // n))
    rank = jnp.arange(n, dtype=jnp.int32)

    @jax.checkpoint
    def part(first: Int[Array, ""]) -> Vector:
        columns = first + jnp.arange(block, dtype=jnp.int32)
        inside = jnp.minimum(columns, n - 1)
        found = square(student.slopes(inside))
        counted = jnp.where(columns < n, share[inside], jnp.zeros_like(share[inside]))
        others = rank[:, None] != columns[None, :]
        return jnp.where(others, found, jnp.zeros_like(found)) @ counted

    if block == n:
        return part(jnp.zeros((), jnp.int32))
    starts = jnp.arange(0, n, block, dtype=jnp.int32)

    def add(total: Vector, first: Int[Array, ""]) -> tuple[Vector, None]:
        return total + part(first), None

    return jax.lax.scan(add, jnp.zeros_like(share), starts)[0]


def linear_split(
    student: Student, inputs: AbstractInputs, probability: Vector, teacher: Teacher
) -> Split:
    """Exact losses of a linear decoder."""
    amplitude = inputs.amplitude
    scale, mean = inputs.moments(probability)
    own = student.own_slopes()
    missing = own - teacher.targets
    received = student.project(mean) - own * mean
    other = crossed(student, scale, lambda slope: slope**2) + received**2
    first, second = amplitude.moment(1), amplitude.moment(2)
    signal = probability * (missing**2 * second + 2 * missing * first * received)
    together = inputs.active_share(probability)
    return Split(0.5 * (signal + together * other), 0.5 * (1 - together) * other)


def one_hot_split(
    student: Student,
    decoder: AbstractDecoder,
    inputs: AbstractInputs,
    probability: Vector,
    teacher: Teacher,
) -> Split:
    """Exact losses of any decoder on exactly one active feature."""
    bias, amplitude = student.bias, inputs.amplitude
    error = decoder.error(amplitude, student.own_slopes(), bias, teacher.targets)
    other = crossed(
        student, probability, lambda slope: decoder.square(amplitude, slope, bias[:, None])
    )
    return Split(0.5 * probability * error, 0.5 * other)


def sampled_split(
    student: Student,
    decoder: AbstractDecoder,
    inputs: AbstractInputs,
    source: Source,
    teacher: Teacher,
    key: Key[Array, ""],
    n_samples: int,
) -> Split:
    """Mean losses over `n_samples` fixed samples of `key`."""
    dtype = str(source.probability.dtype)
    block = min(n_samples, SAMPLE_BLOCK)

    def add(total: Split, first: Int[Array, ""]) -> tuple[Split, None]:
        numbers = first + jnp.arange(block, dtype=jnp.int32)
        samples = inputs.draw(key, numbers, source, dtype)
        dense = samples.dense(source.probability.shape[0])
        output = decoder(student.preactivation(samples, dense, listed=True))
        counted = (numbers < n_samples).astype(dtype)[:, None]
        error = 0.5 * counted * (output - teacher.targets * dense) ** 2
        zero = jnp.zeros_like(error)
        found = Split(
            jnp.sum(jnp.where(dense != 0, error, zero), axis=0),
            jnp.sum(jnp.where(dense != 0, zero, error), axis=0),
        )
        return jax.tree.map(jnp.add, total, found), None

    empty = jnp.zeros_like(source.probability)
    starts = jnp.arange(0, n_samples, block, dtype=jnp.int32)
    total, _ = jax.lax.scan(add, Split(empty, empty), starts)
    return jax.tree.map(lambda x: x / n_samples, total)


def feature_groups(n_features: int) -> list[int]:
    """First feature, counted from 1, of the groups 1, 2-3, 4-7, 8-15, ..."""
    return [2**k for k in range(n_features.bit_length())]


def by_group(values: Vector) -> Float[Array, " g"]:
    """Mean of every group of features."""
    firsts = feature_groups(values.shape[0])
    ends = [*firsts[1:], values.shape[0] + 1]
    groups = zip(firsts, ends, strict=True)
    return jnp.stack([jnp.mean(values[a - 1 : b - 1]) for a, b in groups])


def feature_strength(
    student: Student, decoder: AbstractDecoder, inputs: AbstractInputs, teacher: Teacher
) -> Float[Array, " g"]:
    r"""`<f(M_ii u + b_i) u> / (A_i <u^2>)`, averaged over the features of each group.

    The response of output `i` to its own feature alone: 0 before, 1 after it is learned.
    """
    amplitude = inputs.amplitude
    product = decoder.product(amplitude, student.own_slopes(), student.bias)
    return by_group(product / (teacher.targets * amplitude.moment(2)))


def split_losses(
    student: Student,
    decoder: AbstractDecoder,
    inputs: AbstractInputs,
    source: Source,
    teacher: Teacher,
    key: Key[Array, ""],
    n_samples: int,
    *,
    one_hot: bool,
) -> Split:
    """Exact losses where there are, else those of `n_samples` samples."""
    if isinstance(decoder, Linear):
        return linear_split(student, inputs, source.probability, teacher)
    if one_hot:
        return one_hot_split(student, decoder, inputs, source.probability, teacher)
    return sampled_split(student, decoder, inputs, source, teacher, key, n_samples)
