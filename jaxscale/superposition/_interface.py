"""What the checks, the cost and the closed forms of a teacher-student system read of it."""

# pyright: reportGeneralTypeIssues=false
# (it takes an `AbstractVar` for a field without a default)
import abc
from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Float

from jaxscale._optimizers import AbstractOptimizer
from jaxscale._schedules import AbstractSchedule
from jaxscale.fields import Integer, Real
from jaxscale.superposition._data import AbstractInputs
from jaxscale.superposition._embedding import AbstractEmbedding
from jaxscale.superposition._losses import AbstractGradient
from jaxscale.superposition._outputs import AbstractDecoder
from jaxscale.superposition._student import AbstractInitial, Problem
from jaxscale.training import AbstractTrainedSystem

ACTIVE = "active"  # the length of the lists of active features


class AbstractTeacherStudent(AbstractTrainedSystem):
    """A student of a linear teacher."""

    n_features: eqx.AbstractVar[int]
    latent_size: eqx.AbstractVar[Integer | None]
    frequency_exponent: eqx.AbstractVar[Real | None]
    inputs: eqx.AbstractVar[AbstractInputs]
    embedding: eqx.AbstractVar[AbstractEmbedding]
    decoder: eqx.AbstractVar[AbstractDecoder]
    initial: eqx.AbstractVar[AbstractInitial]
    gradient: eqx.AbstractVar[AbstractGradient]
    learning_rate: eqx.AbstractVar[Real | None]
    bias_learning_rate: eqx.AbstractVar[Real | None]
    embedding_learning_rate: eqx.AbstractVar[Real | None]
    optimizer: eqx.AbstractVar[AbstractOptimizer]
    schedule: eqx.AbstractVar[AbstractSchedule]
    n_evaluation: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def problem(self) -> Problem:
        """Inputs, teacher and output function at this setting."""

    @abc.abstractmethod
    def matrix_rate(self, half_limit: Callable[[], Float[Array, ""]]) -> Float[Array, ""]:
        """Learning rate of B: the one that is given, or half the stability limit."""
