"""Where the importance `i^-b` of feature `i` enters: in the teacher, or in the loss."""

import abc
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxscale.fields import Configurable

Vector = Float[Array | np.ndarray, " f"]


class AbstractImportance(Configurable):
    """Targets `A_i x_i` and weights `w_i` of the loss `sum_i w_i (yhat_i - A_i x_i)^2 / 2`."""

    @abc.abstractmethod
    def targets(self, importance: Vector) -> Any:
        """`A_i`."""

    @abc.abstractmethod
    def weights(self, importance: Vector) -> Any:
        """`w_i`."""


class InTarget(AbstractImportance):
    """`A_i = i^-b`, `w_i = 1`: important features are large in the teacher."""

    def targets(self, importance: Vector) -> Any:
        """The importance."""
        return importance

    def weights(self, importance: Vector) -> Any:
        """One."""
        return 0 * importance + 1


class InLoss(AbstractImportance):
    """`A_i = 1`, `w_i = i^-2b`: the same loss where nothing is learned, other dynamics."""

    def targets(self, importance: Vector) -> Any:
        """One."""
        return 0 * importance + 1

    def weights(self, importance: Vector) -> Any:
        """The square of the importance."""
        return importance**2
