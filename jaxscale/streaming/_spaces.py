"""Where training takes place: in the modes of the features, or in coordinates of the inputs."""

import abc
import dataclasses
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxscale.fields import Configurable
from jaxscale.keys import normal_table, word_pairs
from jaxscale.streaming._features import Features, Modes, Problem

TAIL_STREAM = 0
MANY = 24  # samples from which words are hashed sample by sample
# times sqrt(2), of w - 2.5 in the middle and of sqrt(w) - 3 in the tails, the highest powers first
COEFFICIENTS = np.sqrt(2.0) * np.array(
    [
        (2.81022636e-08, -0.000200214257),
        (3.43273939e-07, 0.000100950558),
        (-3.5233877e-06, 0.00134934322),
        (-4.39150654e-06, -0.00367342844),
        (0.00021858087, 0.00573950773),
        (-0.00125372503, -0.0076224613),
        (-0.00417768164, 0.00943887047),
        (0.246640727, 1.00167406),
        (1.50140941, 2.83297682),
    ]
)


class AbstractSpace(Configurable):
    """How samples are drawn and parameters are written; all agree in law."""

    @abc.abstractmethod
    def problem(self, features: Features, modes: Modes) -> Problem:
        """What a run keeps of its features."""

    @abc.abstractmethod
    def start(self, problem: Problem) -> Float[Array, " d"]:
        """Parameters whose weights theta are zero."""

    @abc.abstractmethod
    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """Mean gradient over a batch of fresh samples."""

    @abc.abstractmethod
    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """Half the mean square error, label noise included."""

    @abc.abstractmethod
    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """Normal numbers per sample."""


class Eigenbasis(AbstractSpace):
    r"""The d modes: equal in law to all coordinates for every linear optimizer, at their cost.

    A sample is `phi_i = lambda_i^(1/2) zeta_i`; the part of the target that no feature reaches is
    independent of them and acts as label noise. Parameters are the errors along the modes.
    """

    def problem(self, features: Features, modes: Modes) -> Problem:
        """The modes alone."""
        order = order_of_draws(modes.eigenvalues.shape[0])
        values, target = modes.eigenvalues[order], modes.target[order]
        return Problem(Modes(values, target, modes.out_of_reach, modes.label_variance), None)

    def start(self, problem: Problem) -> Float[Array, " d"]:
        """`-c_i / lambda_i^(1/2)`."""
        values = problem.modes.eigenvalues
        inside = values > 0
        return jnp.where(inside, -problem.modes.target / jnp.sqrt(jnp.where(inside, values, 1)), 0)

    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """`sum phi (phi.u - omega^(1/2) eps) / B`."""
        zeta, eps = draw_samples(key, batch_size, parameters.shape[0], parameters.dtype)
        phi = jnp.sqrt(problem.modes.eigenvalues) * zeta
        residual = phi @ parameters - jnp.sqrt(problem.modes.unreachable) * eps
        return residual @ phi / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """`(omega + sum lambda_i u_i^2) / 2`."""
        modes = problem.modes
        return 0.5 * (modes.unreachable + jnp.sum(modes.eigenvalues * parameters**2))

    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """One per mode, and one for the label."""
        return n_features + 1


class Coordinates(AbstractSpace):
    """All coordinates of the inputs: for optimizers that depend on the axes, and as a check.

    Parameters are the weights theta of the features.
    """

    def problem(self, features: Features, modes: Modes) -> Problem:
        """The features as they were drawn, too."""
        rows, columns = (order_of_draws(n) for n in features.matrix.shape)
        ordered = dataclasses.replace(
            features,
            matrix=features.matrix[rows][:, columns],
            target=features.target[rows],
            inside=features.inside[columns],
        )
        return Problem(modes, ordered)

    def start(self, problem: Problem) -> Float[Array, " d"]:
        """No weights."""
        return jnp.zeros_like(problem.modes.eigenvalues)

    def gradient(
        self, parameters: Float[Array, " d"], problem: Problem, batch_size: int, key: Key[Array, ""]
    ) -> Float[Array, " d"]:
        """Features and targets of samples in V coordinates; what lies beyond as normal noise."""
        features = _features_of(problem)
        v, d = features.matrix.shape
        z, eps = draw_samples(key, batch_size, v, parameters.dtype)
        phi, variance = z @ features.matrix, features.label_variance
        if features.tail is not None:
            beyond, _ = draw_samples(jr.fold_in(key, TAIL_STREAM), batch_size, d, parameters.dtype)
            phi = phi + jnp.where(features.inside, jnp.sqrt(features.tail.variance), 0.0) * beyond
            variance = variance + features.tail.target
        residual = phi @ parameters - z @ features.target - jnp.sqrt(variance) * eps
        return residual @ phi / batch_size

    def loss(self, parameters: Float[Array, " d"], problem: Problem) -> Float[Array, ""]:
        """`(|G theta - t|^2 + tau |theta|^2 + ...) / 2`."""
        features = _features_of(problem)
        missed = features.matrix @ parameters - features.target
        twice = jnp.sum(missed**2) + features.label_variance
        if features.tail is not None:
            tail = features.tail
            twice = twice + tail.variance * jnp.sum(parameters**2) + tail.target
        return 0.5 * twice

    def n_draws(self, n_features: int, n_coordinates: int, endless: bool) -> int:
        """One per coordinate, one per feature for the coordinates beyond, and one for the label."""
        return n_coordinates + 1 + (n_features + 1 if endless else 0)


def _features_of(problem: Problem) -> Features:
    assert problem.features is not None
    return problem.features


def order_of_draws(width: int) -> Int[np.ndarray, " width"]:
    """Index of each entry that `draw_samples` returns: even ones come first, then odd ones."""
    return np.concatenate([np.arange(0, width, 2), np.arange(1, width, 2)])


def draw_samples(
    key: Key[Array, ""], n_samples: int, width: int, dtype: Any
) -> tuple[Float[Array, "n width"], Float[Array, " n"]]:
    """Normal numbers of the inputs, in the order of `order_of_draws`, and labels of samples.

    Entry (s, i) depends on the key, s and i alone; the label comes before entry 0. A hash gives two
    numbers; in this order they need not be woven together at every step.
    """
    samples = jnp.arange(n_samples, dtype=jnp.int32)
    if dtype == jnp.float64:
        index = jnp.asarray([0, *(order_of_draws(width) + 1)], jnp.int32)
        table = normal_table(key, index, samples)
        return table[1:].T, table[0]
    pairs, n_even = jnp.arange(width // 2 + 1, dtype=jnp.int32), -(-width // 2)
    if n_samples < MANY:
        high, low = word_pairs(key, pairs, samples[:, None])
    else:
        high, low = (word.T for word in word_pairs(key, pairs[:, None], samples))
    inputs = jnp.concatenate([low[:, :n_even], high[:, 1 : 1 + width // 2]], axis=1)
    return _normals(inputs), _normals(high[:, 0])


def _normals(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    r"""Standard normal float32 numbers from a word each: sqrt(2) erfinv(2u - 1), `(...)`.

    By Giles' polynomials in `w = -ln(1 - x^2) = -ln(4 u (1 - u))`. Without the rounding of
    `x = 2u - 1` they are right to 9e-7, where `float32_normals` is to 2e-5, and take less time.
    """
    unit = ((word >> jnp.uint32(9)).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)
    w = -jnp.log(4.0 * unit * (1.0 - unit))
    middle = w < 5.0
    at = jnp.where(middle, w - 2.5, jnp.sqrt(w) - 3.0)
    total = jnp.zeros_like(at)
    for near, far in COEFFICIENTS:
        total = total * at + jnp.where(middle, jnp.float32(near), jnp.float32(far))
    return total * (2.0 * unit - 1.0)
