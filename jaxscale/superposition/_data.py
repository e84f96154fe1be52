r"""Sparse features: which are active in a sample, and how strongly; drawn as short lists.

Feature `i` is active with probability `p_i`, a power law `p_i = E i^-a / sum_j j^-a` or a table.
A sample is the list of its active features, so that drawing it costs their number and not `N`.

Independent features are drawn exactly: give feature `i` a Poisson number of events of mean
`-ln(1 - p_i)`, and call it active if it has any. The total number of events is Poisson, each event
falls on a feature with probability proportional to its mean, and repeated features count once.
"""

import abc
import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, Float, Int, Key

from jaxscale._linalg import cumulative_sum
from jaxscale.fields import Configurable, Real, is_traced, part, real, vector
from jaxscale.keys import categorical, words
from jaxscale.superposition._outputs import AbstractAmplitude, Uniform

Numbers = Int[Array, " n"]
ScalarKey = Key[Array, ""]
Vector = Float[Array | np.ndarray, " f"]
TRUNCATED = 1e-9  # chance that a sample has more active features than its list holds


class Samples(eqx.Module):
    """Active features of a batch and their amplitudes; unused places have amplitude 0."""

    index: Int[Array, "n l"]
    value: Float[Array, "n l"]

    def dense(self, n_inputs: int) -> Float[Array, "n f"]:
        """The inputs `x` themselves."""
        n = self.index.shape[0]
        rows = jnp.arange(n, dtype=jnp.int32)[:, None]
        empty = jnp.zeros((n, n_inputs), self.value.dtype)
        return empty.at[rows, self.index].add(self.value)


class Source(eqx.Module):
    """Tables for drawing samples by comparison."""

    survival: Float[Array, " f"]  # share of events on feature i or a rarer one
    counts: Float[Array, " l"]  # probability of at least 1, 2, ... events


class AbstractInputs(Configurable):
    """Distribution of the inputs, with a table of probabilities or the power law of the system."""

    amplitude: eqx.AbstractVar[AbstractAmplitude]
    probabilities: eqx.AbstractVar[Float[Array | np.ndarray, " f"] | None]

    @abc.abstractmethod
    def probability(self, shares: Vector) -> Any:
        """`p_i` from normalised shares."""

    def n_listed(self, shares: np.ndarray) -> int:
        """Places for the active features of a sample, all by default."""
        return len(shares)

    @abc.abstractmethod
    def source(self, probability: Float[Array, " f"], n_listed: int) -> Source:
        """Tables to draw from."""

    @abc.abstractmethod
    def draw(self, key: ScalarKey, samples: Numbers, source: Source, dtype: str) -> Samples:
        """The samples of these numbers; each depends on `key` and its number only."""

    @abc.abstractmethod
    def moments(self, probability: Vector) -> tuple[Any, Any]:
        r"""`D` and `v` of the exact second moments `E x x^T = diag(D) + v v^T`."""

    @abc.abstractmethod
    def active_share(self, probability: Float[Array, " f"]) -> Float[Array, " f"]:
        """Chance that feature `i` is active when some other feature is."""


class OneHot(AbstractInputs):
    """Exactly one active feature: `p_i` sums to 1."""

    amplitude: AbstractAmplitude = part(AbstractAmplitude, Uniform())
    probabilities: Float[Array | np.ndarray, " f"] | None = vector(
        above=0.0, below=1.0, optional=True
    )

    def __check_init__(self):
        if self.probabilities is None or is_traced(self.probabilities):
            return
        total = float(np.sum(self.probabilities))
        if abs(total - 1) > 1e-6:
            raise ValueError(f"`probabilities` must sum to 1 with OneHot(), got a sum of {total}.")

    def probability(self, shares: Vector) -> Any:
        return shares

    def source(self, probability: Float[Array, " f"], n_listed: int) -> Source:
        return Source(_survival(probability), jnp.ones((1,), probability.dtype))

    def draw(self, key: ScalarKey, samples: Numbers, source: Source, dtype: str) -> Samples:
        """One word for the feature, one for its amplitude."""
        drawn = words(key, samples, 2)
        index = categorical(drawn[0], source.survival)
        return Samples(index[:, None], self.amplitude.of_words(drawn[1], dtype)[:, None])

    def moments(self, probability: Vector) -> tuple[Any, Any]:
        """Exactly diagonal: two features are never active together."""
        return probability * self.amplitude.moment(2), 0 * probability

    def active_share(self, probability: Float[Array, " f"]) -> Float[Array, " f"]:
        return jnp.zeros_like(probability)


class Bernoulli(AbstractInputs):
    """Independent features, `mean_active` of them on average.

    `mean_active` is ignored where `probabilities` are given.

    **Raises** `ValueError` (from the system) where some `p_i` would reach 1.
    """

    mean_active: Real = real(1.0, above=0.0)
    amplitude: AbstractAmplitude = part(AbstractAmplitude, Uniform())
    probabilities: Float[Array | np.ndarray, " f"] | None = vector(
        above=0.0, below=1.0, optional=True
    )

    def probability(self, shares: Vector) -> Any:
        return shares if self.probabilities is not None else shares * self.mean_active

    def n_listed(self, shares: np.ndarray) -> int:
        """Places for the active features of a sample: fewer than one in 1e9 has more events.

        **Raises** `ValueError` for probabilities of 1 or above.
        """
        given = self.probabilities is not None
        p = shares if given else float(self.mean_active) * shares
        if p.max() >= 1:
            raise ValueError(
                "`mean_active` times the largest share must be below 1 (each feature is active at "
                f"most once), got {float(self.mean_active)} * {shares.max():.4g}."
            )
        return _most_events(float(-np.sum(np.log1p(-p))))

    def source(self, probability: Float[Array, " f"], n_listed: int) -> Source:
        events = -jnp.log1p(-probability)
        total = jnp.sum(events)
        at_least = jnp.arange(1, n_listed + 1, dtype=probability.dtype)
        counts = gammainc(at_least, jnp.broadcast_to(total, at_least.shape))
        return Source(_survival(events / total), counts)

    def draw(self, key: ScalarKey, samples: Numbers, source: Source, dtype: str) -> Samples:
        """One word for the number of events, two for each: its feature and its amplitude."""
        n_places = source.counts.shape[0]
        drawn = words(key, samples, 1 + 2 * n_places)
        unit = drawn[0].astype(dtype) * jnp.asarray(2.0**-32, dtype)
        n_events = jnp.sum(unit[:, None] < source.counts, axis=1, dtype=jnp.int32)
        index = categorical(drawn[1::2].T.ravel(), source.survival).reshape(-1, n_places)
        value = self.amplitude.of_words(drawn[2::2].T, dtype)
        place = jnp.arange(n_places, dtype=jnp.int32)
        earlier = place[None, :] < place[:, None]
        again = jnp.any((index[:, :, None] == index[:, None, :]) & earlier, axis=-1)
        active = (place < n_events[:, None]) & ~again
        return Samples(index, jnp.where(active, value, jnp.zeros_like(value)))

    def moments(self, probability: Vector) -> tuple[Any, Any]:
        """`D_i = p_i E u^2 - v_i^2` and `v_i = p_i E u`."""
        mean = probability * self.amplitude.moment(1)
        return probability * self.amplitude.moment(2) - mean**2, mean

    def active_share(self, probability: Float[Array, " f"]) -> Float[Array, " f"]:
        return probability


@functools.lru_cache(maxsize=65536)
def _most_events(mean: float) -> int:
    from scipy.stats import poisson

    return max(1, int(poisson.isf(TRUNCATED, mean)))


def _survival(share: Float[Array, " f"]) -> Float[Array, " f"]:
    """`sum_{j >= i} share_j`, summed from the rare end so that rare features keep their share."""
    tail = cumulative_sum(share[::-1])[::-1]
    return tail / tail[0]
