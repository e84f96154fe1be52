"""How latent vectors become outputs, and exact means of the output over amplitudes."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxscale.fields import Configurable, Rule
from jaxscale.superposition._amplitudes import AbstractAmplitude

Values = Float[Array, "..."]


class AbstractDecoder(Configurable):
    """Elementwise output function of `z = W^T B W x + bias`.

    The means below are over the amplitude `u` of one active feature that reaches an output with
    slope `m`: the output is `f(m u + bias)`.
    """

    @property
    @abc.abstractmethod
    def has_bias(self) -> bool:
        """Whether a bias per output is trained."""

    @abc.abstractmethod
    def __call__(self, preactivation: Values) -> Values:
        """Outputs."""

    @abc.abstractmethod
    def square(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """`E f(m u + bias)^2`."""

    @abc.abstractmethod
    def error(
        self, amplitude: AbstractAmplitude, slope: Values, bias: Values, target: Values
    ) -> Values:
        """`E (f(m u + bias) - A u)^2`."""

    @abc.abstractmethod
    def product(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """`E u f(m u + bias)`."""

    @abc.abstractmethod
    def dead(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Bool[Array, "..."]:
        """Whether an output stays silent at every amplitude of its own feature."""


class Linear(AbstractDecoder):
    """`yhat = z`, without biases."""

    @property
    def has_bias(self) -> bool:
        """No: the bias is zero."""
        return False

    def __call__(self, preactivation: Values) -> Values:
        """The same."""
        return preactivation

    def square(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """`m^2 E u^2`."""
        return slope**2 * amplitude.moment(2)

    def error(
        self, amplitude: AbstractAmplitude, slope: Values, bias: Values, target: Values
    ) -> Values:
        """`(m - A)^2 E u^2`."""
        return (slope - target) ** 2 * amplitude.moment(2)

    def product(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """`m E u^2`."""
        return slope * amplitude.moment(2)

    def dead(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Bool[Array, "..."]:
        """Never: a linear output can always recover."""
        return jnp.zeros(slope.shape, bool)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be true or false, got {value!r}.")
    return value


class Relu(AbstractDecoder):
    """`yhat = max(z, 0)`; with `bias`, a bias per output is trained from 0."""

    bias: bool = eqx.field(converter=Rule(_flag), static=True, kw_only=True, default=True)

    @property
    def has_bias(self) -> bool:
        """As asked for."""
        return self.bias

    def __call__(self, preactivation: Values) -> Values:
        """The positive part."""
        return jax.nn.relu(preactivation)

    def square(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """Exact for every amplitude."""
        return amplitude.positive_square(slope, bias)

    def error(
        self, amplitude: AbstractAmplitude, slope: Values, bias: Values, target: Values
    ) -> Values:
        """Exact for every amplitude."""
        return amplitude.positive_error(slope, bias, target)

    def product(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        """Exact for every amplitude."""
        return amplitude.positive_product(slope, bias)

    def dead(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Bool[Array, "..."]:
        """Where the response to its own feature is exactly zero, and with it that gradient."""
        return amplitude.positive_square(slope, bias) <= 0
