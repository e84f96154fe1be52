"""Where the importance `i^-b` of feature `i` enters: in the teacher, or in the loss."""

import abc

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale.fields import Configurable

Vector = Float[Array, " f"]


class AbstractImportance(Configurable):
    """Targets `A_i x_i` and weights `w_i` of the loss `sum_i w_i (yhat_i - A_i x_i)^2 / 2`."""

    @abc.abstractmethod
    def targets(self, importance: Vector) -> Vector:
        """`A_i`."""

    @abc.abstractmethod
    def weights(self, importance: Vector) -> Vector:
        """`w_i`."""


class InTarget(AbstractImportance):
    """`A_i = i^-b`, `w_i = 1`: important features are large in the teacher."""

    def targets(self, importance: Vector) -> Vector:
        """The importance."""
        return importance

    def weights(self, importance: Vector) -> Vector:
        """One."""
        return jnp.ones_like(importance)


class InLoss(AbstractImportance):
    """`A_i = 1`, `w_i = i^-2b`: the same loss where nothing is learned, other dynamics."""

    def targets(self, importance: Vector) -> Vector:
        """One."""
        return jnp.ones_like(importance)

    def weights(self, importance: Vector) -> Vector:
        """The square of the importance."""
        return importance**2
