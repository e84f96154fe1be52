r"""Amplitudes of active features, what outputs answer to them, and exact means of the answers.

An output that receives slope `m` and bias `b` from a feature of amplitude `u` answers `m u + b`,
or its positive part. The means over `u` that a loss needs are closed forms:

$$\langle r^2 \rangle, \qquad \langle (r - A u)^2 \rangle, \qquad \langle r\,u \rangle,
  \qquad r = m u + b \ \text{ or } \max(m u + b, 0)$$

For a uniform amplitude the positive part is on over an interval of `u`; on it every integrand is a
product of two functions linear in `u`, whose integral is `(2 x0 y0 + 2 x1 y1 + x0 y1 + x1 y0)/6`
times its length. Nothing large is subtracted, so small losses keep their relative precision.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32

from jaxscale.fields import Configurable, Real, Rule, is_traced, real
from jaxscale.keys import normal_table

Values = Float[Array, "..."]


class AbstractAmplitude(Configurable):
    """Distribution of the amplitude `u` of an active feature."""

    @abc.abstractmethod
    def moment(self, order: int) -> Any:
        """`E u^order`, a scalar of the kind of the fields: NumPy or JAX."""

    @abc.abstractmethod
    def of_words(self, word: UInt32[Array, "..."], dtype: str) -> Values:
        """Amplitudes of random words."""

    @abc.abstractmethod
    def positive_square(self, slope: Values, bias: Values) -> Values:
        """`E max(m u + b, 0)^2`."""

    @abc.abstractmethod
    def positive_error(self, slope: Values, bias: Values, target: Values) -> Values:
        """`E (max(m u + b, 0) - A u)^2`."""

    @abc.abstractmethod
    def positive_product(self, slope: Values, bias: Values) -> Values:
        """`E u max(m u + b, 0)`."""


class Fixed(AbstractAmplitude):
    """The same amplitude every time."""

    value: Real = real(1.0, above=0.0)

    def moment(self, order: int) -> Any:
        return self.value**order

    def of_words(self, word: UInt32[Array, "..."], dtype: str) -> Values:
        return jnp.broadcast_to(jnp.asarray(self.value).astype(dtype), word.shape)

    def positive_square(self, slope: Values, bias: Values) -> Values:
        return jax.nn.relu(slope * self.value + bias) ** 2

    def positive_error(self, slope: Values, bias: Values, target: Values) -> Values:
        return (jax.nn.relu(slope * self.value + bias) - target * self.value) ** 2

    def positive_product(self, slope: Values, bias: Values) -> Values:
        return jax.nn.relu(slope * self.value + bias) * self.value


class Uniform(AbstractAmplitude):
    """Uniform between `low` and `high`; `Uniform(low=-1.0, high=1.0)` is symmetric.

    **Raises** `ValueError` unless `low < high`.
    """

    low: Real = real(0.0)
    high: Real = real(2.0)

    def __check_init__(self):
        if not is_traced(self.low, self.high) and not self.low < self.high:
            raise ValueError(
                f"`high` must be greater than low = {float(self.low)}, got {float(self.high)}."
            )

    def moment(self, order: int) -> Any:
        """`sum_k low^k high^(order - k) / (order + 1)`."""
        terms = (self.low**k * self.high ** (order - k) for k in range(order + 1))
        return sum(terms) / (order + 1)

    def of_words(self, word: UInt32[Array, "..."], dtype: str) -> Values:
        """`low + (high - low) (word + 1/2) / 2^32`."""
        unit = (word.astype(dtype) + 0.5) * jnp.asarray(2.0**-32, dtype)
        return (jnp.asarray(self.high) - self.low) * unit + self.low

    def _on(self, slope: Values, bias: Values) -> tuple[Values, ...]:
        """Share of amplitudes that respond, the ends of their interval, and the responses there."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        first, last = slope * low + bias, slope * high + bias
        off_first, off_last = first <= 0, last <= 0
        crosses = off_first != off_last
        gap = jnp.where(crosses, last - first, jnp.ones_like(first))
        before = jnp.where(off_first, -first / gap, jnp.zeros_like(gap))
        after = jnp.where(off_last, last / gap, jnp.zeros_like(gap))
        begin = low + (high - low) * jnp.where(crosses, before, jnp.zeros_like(before))
        end = high - (high - low) * jnp.where(crosses, after, jnp.zeros_like(after))
        share = jnp.where(crosses, 1 - before - after, 1 - off_first.astype(gap.dtype))
        return share, begin, end, jax.nn.relu(first), jax.nn.relu(last)

    def positive_square(self, slope: Values, bias: Values) -> Values:
        first = slope * self.low + bias
        last = slope * self.high + bias
        crosses = (first <= 0) != (last <= 0)
        p, q = jax.nn.relu(first), jax.nn.relu(last)
        gap = jnp.where(crosses, last - first, jnp.ones_like(first))
        share = jnp.where(crosses, (q - p) / gap, jnp.ones_like(gap))
        return share * _squared(p, q)

    def positive_error(self, slope: Values, bias: Values, target: Values) -> Values:
        """The interval that responds, and the amplitudes outside it, which are missed."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        share, begin, end, p, q = self._on(slope, bias)
        inside = share * _squared(p - target * begin, q - target * end)
        silent = share <= 0
        length = high - low
        outside = _squared(low, begin) * (begin - low) + _squared(end, high) * (high - end)
        return inside + target**2 * jnp.where(silent, _squared(low, high), outside / length)

    def positive_product(self, slope: Values, bias: Values) -> Values:
        share, begin, end, p, q = self._on(slope, bias)
        return share * (2 * begin * p + 2 * end * q + begin * q + end * p) / 6


def _squared(first: Values, last: Values) -> Values:
    """Mean of the square of a linear function between its two ends."""
    return (first**2 + first * last + last**2) / 3


class AbstractDecoder(Configurable):
    """Elementwise output function of `z = W^T B W x + bias`; `bias`: whether biases are trained.

    The means below are over the amplitude `u` of one active feature that reaches an output with
    slope `m`: the output is `f(m u + bias)`.
    """

    bias: eqx.AbstractVar[bool]

    def initial_bias(self, key: Key[Array, ""], n_outputs: int, dtype: str) -> Float[Array, " f"]:
        """Biases before training: zero by default."""
        return jnp.zeros((n_outputs,), dtype)

    @abc.abstractmethod
    def __call__(self, preactivation: Values) -> Values:
        """Outputs of `z`."""

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
    def bias(self) -> bool:
        return False

    def __call__(self, preactivation: Values) -> Values:
        return preactivation

    def square(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        return slope**2 * amplitude.moment(2)

    def error(
        self, amplitude: AbstractAmplitude, slope: Values, bias: Values, target: Values
    ) -> Values:
        return (slope - target) ** 2 * amplitude.moment(2)

    def product(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        return slope * amplitude.moment(2)

    def dead(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Bool[Array, "..."]:
        """Never: a linear output can always recover."""
        return jnp.zeros(slope.shape, bool)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be true or false, got {value!r}.")
    return value


class Relu(AbstractDecoder):
    """`yhat = max(z, 0)`; with `bias`, a bias per output is trained from `N(0, bias_scale^2)`.

    **Raises** `ValueError` for a `bias_scale` without `bias`.
    """

    bias: bool = eqx.field(converter=Rule(_flag), static=True, kw_only=True, default=True)
    bias_scale: Real = real(0.0, at_least=0.0)

    def __check_init__(self):
        if not self.bias and not is_traced(self.bias_scale) and self.bias_scale > 0:
            raise ValueError(f"`bias_scale` must be 0 without a bias, got {self.bias_scale}.")

    def initial_bias(self, key: Key[Array, ""], n_outputs: int, dtype: str) -> Float[Array, " f"]:
        """Output `i` starts at a number that depends on the key and i only."""
        output, scale = jnp.arange(n_outputs, dtype=jnp.int32), jnp.asarray(self.bias_scale)
        drawn = normal_table(key, output, jnp.zeros((1,), jnp.int32), dtype)[:, 0]
        return scale.astype(dtype) * drawn

    def __call__(self, preactivation: Values) -> Values:
        return jax.nn.relu(preactivation)

    def square(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        return amplitude.positive_square(slope, bias)

    def error(
        self, amplitude: AbstractAmplitude, slope: Values, bias: Values, target: Values
    ) -> Values:
        return amplitude.positive_error(slope, bias, target)

    def product(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Values:
        return amplitude.positive_product(slope, bias)

    def dead(self, amplitude: AbstractAmplitude, slope: Values, bias: Values) -> Bool[Array, "..."]:
        """Where the response to its own feature is exactly zero, and with it that gradient."""
        return amplitude.positive_square(slope, bias) <= 0
