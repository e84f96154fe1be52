"""Settings of a teacher-student system that are refused, by name, before anything compiles."""

import numpy as np

from jaxscale._optimizers import Sgd
from jaxscale.fields import is_traced
from jaxscale.superposition._embedding import Given, Identity, start_of
from jaxscale.superposition._interface import AbstractTeacherStudent
from jaxscale.superposition._losses import Population, has_exact_losses
from jaxscale.superposition._outputs import Relu
from jaxscale.superposition._student import Zeros


def check(system: AbstractTeacherStudent) -> None:
    """Refuse parts that contradict one another, with a `ValueError`."""
    _check_frequencies(system)
    _check_sizes(system)
    _check_training(system)


def _check_frequencies(system: AbstractTeacherStudent) -> None:
    """Refuse both or neither of a power law and a table of probabilities."""
    table, n = system.inputs.probabilities, system.n_features
    if (system.frequency_exponent is None) == (table is None):
        rule = "be given" if table is None else "be left out with a table of probabilities"
        raise ValueError(f"`frequency_exponent` must {rule}, got {system.frequency_exponent!r}.")
    if table is not None and np.shape(table) != (n,):
        raise ValueError(f"`probabilities` must have n_features = {n} entries, got {len(table)}.")


def _check_sizes(system: AbstractTeacherStudent) -> None:
    n, embedding, latent = system.n_features, system.embedding, system.latent_size
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


def _check_training(system: AbstractTeacherStudent) -> None:
    """Refuse a gradient that does not exist, rates of what does not train, and a dead start."""
    exact = has_exact_losses(system.decoder, system.inputs)
    if isinstance(system.gradient, Population) and not exact:
        raise ValueError(
            "`gradient` must be FreshBatches(...) where several features are active and the "
            "decoder is not linear, got Population() with "
            f"{system.decoder!r} and {system.inputs!r}."
        )
    if system.embedding_learning_rate is not None and not system.embedding.trains:
        raise ValueError(
            f"`embedding_learning_rate` must be left out with {system.embedding!r}, which does "
            f"not train, got {system.embedding_learning_rate}."
        )
    if system.bias_learning_rate is not None and not system.decoder.bias:
        raise ValueError(
            f"`bias_learning_rate` must be left out with {system.decoder!r}, which has no bias, "
            f"got {system.bias_learning_rate}."
        )
    if system.learning_rate is None and not isinstance(system.optimizer, Sgd):
        raise ValueError(
            f"`learning_rate` must be given with {system.optimizer!r} (its default is half the "
            "stability limit of plain descent), got None."
        )
    stuck = isinstance(system.initial, Zeros) and isinstance(system.decoder, Relu)
    if stuck and system.embedding.has_matrix:
        raise ValueError(f"`initial` must not be Zeros() with {system.decoder!r}: it never trains.")
