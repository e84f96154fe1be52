"""What the fields of a teacher-student system must be together, and the lists that follow."""

import functools
from typing import Any

import numpy as np

from jaxscale.fields import converted, is_traced
from jaxscale.optimizers import Sgd
from jaxscale.superposition.data import AbstractInputs, Bernoulli, OneHot
from jaxscale.superposition.decoders import Relu
from jaxscale.superposition.embedding import Given, Identity
from jaxscale.superposition.stability import power_law
from jaxscale.superposition.student import Zeros


def places_of(system: Any) -> int | None:
    """Places for active features of a system of plain numbers; runs before the fields' rules."""
    exponent, inputs = converted(system, "frequency_exponent"), converted(system, "inputs")
    n, table = converted(system, "n_features"), inputs.probabilities
    if (exponent is None) == (table is None):
        rule = "be given" if table is None else "be left out with a table of probabilities"
        raise ValueError(f"`frequency_exponent` must {rule}, got {system.frequency_exponent!r}.")
    if table is not None and np.shape(table) != (n,):
        raise ValueError(f"`probabilities` must have n_features = {n} entries, got {len(table)}.")
    if isinstance(inputs, OneHot):
        return 1
    active = inputs.mean_active
    if is_traced(exponent, active, table):
        return None
    return places_at(inputs, n, np.nan if exponent is None else float(exponent), float(active))


@functools.lru_cache(maxsize=65536)
def _power_law_places(exponent: float, active: float, n: int) -> int:
    return Bernoulli(mean_active=np.asarray(active)).n_listed(power_law(exponent, n))


def places_at(inputs: AbstractInputs, n: int, exponent: float, active: float) -> int:
    """Places of a list at these numbers, in the inputs' own table if they have one."""
    if inputs.probabilities is not None:
        return inputs.n_listed(np.asarray(inputs.probabilities))
    return _power_law_places(exponent, active, n)


def check_rates(system: Any) -> None:
    """Refuse rates of what does not train, and a start that never does."""
    if system.embedding_learning_rate is not None and not system.embedding.trains:
        raise ValueError(
            f"`embedding_learning_rate` must be left out with {system.embedding!r}, which does not "
            f"train, got {system.embedding_learning_rate}."
        )
    if system.bias_learning_rate is not None and not system.decoder.has_bias:
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


def check_sizes(system: Any) -> None:
    """Refuse sizes that do not fit each other."""
    n, embedding = system.n_features, system.embedding
    latent = system.latent_size
    if latent is not None and not is_traced(latent):
        if int(latent) > n:
            raise ValueError(f"`latent_size` must be at most n_features = {n}, got {int(latent)}.")
        if isinstance(embedding, Identity) and int(latent) != n:
            raise ValueError(
                f"`latent_size` must be n_features = {n} with Identity(), got {int(latent)}."
            )
        if int(latent) > system.padded_latent_size:
            raise ValueError(
                f"`latent_size` must be at most max_latent_size = {system.padded_latent_size}, "
                f"got {int(latent)}."
            )
    start: Any = getattr(embedding, "start", embedding)
    if isinstance(start, Given):
        shape = np.shape(start.matrix)
        if shape[1] != n or (latent is not None and not is_traced(latent) and shape[0] != latent):
            raise ValueError(
                f"`matrix` must have shape (latent_size, n_features) = ({latent}, {n}), "
                f"got {shape}."
            )
