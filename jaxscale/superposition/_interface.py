"""Parts of a teacher-student system: what its cost and closed forms read, and what is refused."""

# pyright: reportGeneralTypeIssues=false
# (it takes an `AbstractVar` for a field without a default)
import abc
from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule
from jaxscale.fields import Integer, Real, is_traced
from jaxscale.superposition._data import AbstractInputs
from jaxscale.superposition._embedding import AbstractEmbedding, Given, Identity, start_of
from jaxscale.superposition._losses import (
    AbstractGradient,
    AbstractReduction,
    Population,
    has_exact_losses,
)
from jaxscale.superposition._outputs import AbstractDecoder, Relu
from jaxscale.superposition._student import AbstractInitial, Problem, Zeros
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
    bias_rate_factor: eqx.AbstractVar[Real | None]
    embedding_learning_rate: eqx.AbstractVar[Real | None]
    reduction: eqx.AbstractVar[AbstractReduction]
    optimizer: eqx.AbstractVar[AbstractOptimizer]
    schedule: eqx.AbstractVar[AbstractSchedule]
    n_evaluation: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def problem(self) -> Problem:
        """Inputs, teacher and output function at this setting."""

    @abc.abstractmethod
    def estimated_limit(self) -> float:
        """The stability limit, before W is drawn."""

    @abc.abstractmethod
    def matrix_rate(self, half_limit: Callable[[], Float[Array, ""]]) -> Float[Array, ""]:
        """Learning rate of B: the one that is given, or half the stability limit."""

    def __check_init__(self):
        n, embedding, latent = self.n_features, self.embedding, self.latent_size
        table, decoder = self.inputs.probabilities, self.decoder
        if (self.frequency_exponent is None) == (table is None):
            rule = "be given" if table is None else "be left out with a table of probabilities"
            raise ValueError(f"`frequency_exponent` must {rule}, got {self.frequency_exponent!r}.")
        if table is not None and np.shape(table) != (n,):
            raise ValueError(
                f"`probabilities` must have n_features = {n} entries, got {len(table)}."
            )
        if latent is None and not isinstance(embedding, Identity | Given):
            raise ValueError("`latent_size` must be given with a bottleneck, got None.")
        if latent is not None and not is_traced(latent):
            flat = isinstance(embedding, Identity)
            if int(latent) > n or (flat and int(latent) < n):
                rule = f"n_features = {n} with Identity()" if flat else f"at most n_features = {n}"
                raise ValueError(f"`latent_size` must be {rule}, got {int(latent)}.")
        start = start_of(embedding)
        if isinstance(start, Given):
            shape = np.shape(start.matrix)
            other = latent is not None and not is_traced(latent) and shape[0] != latent
            if shape[1] != n or other:
                raise ValueError(
                    f"`matrix` must have shape (latent_size, n_features) = ({latent}, {n}), "
                    f"got {shape}."
                )
        if isinstance(self.gradient, Population) and not has_exact_losses(decoder, self.inputs):
            raise ValueError(
                "`gradient` must be FreshBatches(...) where several features are active and the "
                f"decoder is not linear, got Population() with {decoder!r} and {self.inputs!r}."
            )
        for name, part, trains, why in (
            ("embedding_learning_rate", embedding, embedding.trains, "does not train"),
            ("bias_learning_rate", decoder, decoder.bias, "has no bias"),
            ("bias_rate_factor", decoder, decoder.bias, "has no bias"),
        ):
            if getattr(self, name) is not None and not trains:
                rule = f"must be left out with {part!r}, which {why}"
                raise ValueError(f"`{name}` {rule}, got {getattr(self, name)}.")
        if self.bias_learning_rate is not None and self.bias_rate_factor is not None:
            raise ValueError(
                "`bias_rate_factor` must be left out where bias_learning_rate is given, got "
                f"{self.bias_rate_factor} and {self.bias_learning_rate}."
            )
        if self.learning_rate is None and not isinstance(self.optimizer, Sgd):
            raise ValueError(
                f"`learning_rate` must be given with {self.optimizer!r} (its default is half the "
                "stability limit of plain descent), got None."
            )
        if isinstance(self.initial, Zeros) and isinstance(decoder, Relu) and embedding.matrix_name:
            if not is_traced(decoder.bias_scale) and decoder.bias_scale == 0:
                rule = f"must not be Zeros() with {decoder!r}: it never trains"
                raise ValueError(f"`initial` {rule}; choose another or a `bias_scale` above 0.")
