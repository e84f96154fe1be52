"""How the strength `R_k` of a skill is read off a network's outputs."""

import abc

import jax.numpy as jnp
from jaxtyping import Array, Float

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
