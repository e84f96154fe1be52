"""How the strength `R_k` of a skill is read off a network's outputs."""

import abc
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from jaxscale.emergence._data import parity_sign
from jaxscale.fields import Configurable

Sums = tuple[Array, ...]


class AbstractStrength(Configurable):
    """A number per skill from outputs `f` and parities `g` of the evaluation inputs."""

    @abc.abstractmethod
    def sums(
        self, counted: Float[Array, " e"], sign: Float[Array, " e"], output: Float[Array, " e"]
    ) -> Sums:
        """Sums over inputs of one skill; `counted` is 1, and 0 for padding."""

    @abc.abstractmethod
    def of_means(self, means: Sums) -> Float[Array, " k"]:
        """The strengths, from the `sums` divided by the number of inputs."""


class Correlation(AbstractStrength):
    """`R_k = E f g_k`."""

    def sums(
        self, counted: Float[Array, " e"], sign: Float[Array, " e"], output: Float[Array, " e"]
    ) -> Sums:
        return (jnp.sum(counted * sign * output),)

    def of_means(self, means: Sums) -> Float[Array, " k"]:
        return means[0]


class Covariance(AbstractStrength):
    """`R_k = E f g_k - E f E g_k`, as in the authors' code: the output's mean is removed.

    It differs from `Correlation` by the mean of `g_k` over the evaluation inputs alone: by a
    number of order `E f / n_evaluation^(1/2)`.
    """

    def sums(
        self, counted: Float[Array, " e"], sign: Float[Array, " e"], output: Float[Array, " e"]
    ) -> Sums:
        weighted = counted * output
        return jnp.sum(weighted * sign), jnp.sum(weighted), jnp.sum(counted * sign)

    def of_means(self, means: Sums) -> Float[Array, " k"]:
        both, output, sign = means
        return both - output * sign


def sums_by_skill(
    output: Callable[[Array], Float[Array, " e"]],
    rows: Float[Array, "k w"],
    packed: UInt32[Array, "n e"],
    counted: Float[Array, " e"],
    masks: UInt32[Array, "k n"],
    target_scale: Float[Array, ""],
    strength: AbstractStrength,
    at_once: int = 1,
) -> tuple[Sums, Float[Array, " k"]]:
    """Sums over evaluation inputs for the strength and of `(S g_k - f)^2 / 2`, for every skill.

    Every skill sees the same inputs: their bits are `packed`; `counted` is 1, and 0 for padding.
    `output` maps the row of a skill to the outputs. On a CPU skills go one by one, so that their
    activations stay in its cache; elsewhere `at_once` of them, for the sake of fewer launches.
    """

    def skill(row: tuple[Float[Array, " w"], UInt32[Array, " n"]]) -> tuple[Sums, Array]:
        own, mask = row
        f = output(own)
        sign = parity_sign(packed, mask[None, :], f.dtype.name)
        error = 0.5 * (target_scale * sign - f) ** 2
        return strength.sums(counted, sign, f), jnp.sum(counted * error)

    one_by_one = functools.partial(jax.lax.map, skill)
    batched = functools.partial(one_by_one, batch_size=at_once)
    return jax.lax.platform_dependent((rows, masks), cpu=one_by_one, default=batched)
