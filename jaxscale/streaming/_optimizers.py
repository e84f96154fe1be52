r"""Optimizers that are linear in the gradient: one step of their memory, for simulation and theory.

The memory of a parameter is a vector `s` of k numbers: weights, averages of weights, momenta. A
step takes the gradient `g` at `h.s` and maps `s` to `P s + q g`; the loss is that of `o.s`.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale.fields import Real, real


class LinearStep(eqx.Module):
    """One step of the memory of a parameter.

    - `carry`: P, what the memory becomes without a gradient.
    - `push`: q, what it gains per unit of the gradient.
    - `read`: h, the weights at which the gradient is taken, the same at every step.
    """

    carry: Float[Array, "k k"]
    push: Float[Array, " k"]
    read: Float[Array, " k"]


class _State(NamedTuple):
    """The k numbers of every parameter, each as a tree, and the number of steps taken."""

    memory: tuple[Any, ...]
    count: Int[Array, ""]


class AbstractLinearOptimizer(AbstractOptimizer):
    """An optimizer whose step is linear in weights, momenta and gradient."""

    weights: eqx.AbstractClassVar[tuple[float, ...]]  # 1 for numbers that hold weights
    loss_at: eqx.AbstractClassVar[tuple[float, ...]]  # o

    @abc.abstractmethod
    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """The step after `step` others, at the learning rate of this step."""

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """The step as an optax transformation of the weights at which gradients are taken."""

        def init(params: Any) -> _State:
            memory = tuple(jax.tree.map(lambda p, w=w: w * p, params) for w in self.weights)
            return _State(memory, jnp.zeros((), jnp.int32))

        def update(gradient: Any, state: _State, params: Any = None) -> tuple[Any, _State]:
            s = self.linear_step(jnp.asarray(learning_rate), state.count)
            rows = [(*carried, push) for carried, push in zip(s.carry, s.push, strict=True)]
            memory = tuple(_combined(row, (*state.memory, gradient)) for row in rows)
            read = _combined(s.read, memory)
            return jax.tree.map(jnp.subtract, read, params), _State(memory, state.count + 1)

        return optax.GradientTransformation(init, update)  # pyright: ignore

    def update(
        self, params: Any, gradient: Any, state: Any, learning_rate: Real, factor: Float[Array, ""]
    ) -> tuple[Any, Any]:
        """Parameters and memory after one step at the rate that the schedule leaves."""
        rate = jnp.asarray(learning_rate)
        transform = self.transform(rate * factor.astype(rate.dtype))
        updates, state = transform.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    def evaluated(self, state: Any) -> Any:
        """The weights whose loss counts, of an optimizer state."""
        return _combined(jnp.asarray(self.loss_at), state.memory)


def _combined(factors: Any, trees: tuple[Any, ...]) -> Any:
    """Sum of trees, each times its factor."""

    def one(*leaves: Array) -> Any:
        return sum(jnp.asarray(f, x.dtype) * x for f, x in zip(factors, leaves, strict=True))

    return jax.tree.map(one, *trees)


def _step(dtype: Any, carry: list[list[Any]], push: list[Any], read: list[Any]) -> LinearStep:
    """A step of these numbers, in one dtype."""

    def stacked(numbers: list[Any]) -> Array:
        return jnp.stack([jnp.asarray(x, dtype) for x in numbers])

    return LinearStep(jnp.stack([stacked(row) for row in carry]), stacked(push), stacked(read))


class Descent(AbstractLinearOptimizer):
    """`Sgd()` without momentum."""

    DERIVED = True

    weights: ClassVar[tuple[float, ...]] = (1.0,)
    loss_at: ClassVar[tuple[float, ...]] = (1.0,)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """`theta' = theta - eta g`."""
        return _step(learning_rate.dtype, [[1.0]], [-learning_rate], [1.0])


class HeavyBall(AbstractLinearOptimizer):
    """`Sgd(momentum)`."""

    DERIVED = True

    momentum: Real = real(at_least=0.0, below=1.0)
    weights: ClassVar[tuple[float, ...]] = (1.0, 0.0)
    loss_at: ClassVar[tuple[float, ...]] = (1.0, 0.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """`u' = mu u + g`, `theta' = theta - eta u'`."""
        eta, mu = learning_rate, jnp.asarray(self.momentum, learning_rate.dtype)
        return _step(eta.dtype, [[1.0, -eta * mu], [0.0, mu]], [-eta, 1.0], [1.0, 0.0])


class Nesterov(AbstractLinearOptimizer):
    """SGD with Nesterov's momentum, `u' = mu u + g`, `theta' = theta - eta (g + mu u')`.

    **Reference** Nesterov 1983; the step of `optax.sgd(nesterov=True)` and of PyTorch.
    """

    momentum: Real = real(0.9, at_least=0.0, below=1.0)
    weights: ClassVar[tuple[float, ...]] = (1.0, 0.0)
    loss_at: ClassVar[tuple[float, ...]] = (1.0, 0.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """The step at `theta`, not at the point ahead."""
        eta, mu = learning_rate, jnp.asarray(self.momentum, learning_rate.dtype)
        carry = [[1.0, -eta * mu**2], [0.0, mu]]
        return _step(eta.dtype, carry, [-eta * (1.0 + mu), 1.0], [1.0, 0.0])


class PolyakAverage(AbstractLinearOptimizer):
    """SGD whose loss is that of the mean of all weights so far, the start not included.

    **Reference** Polyak and Juditsky 1992.
    """

    weights: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    loss_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """`a' = (1 - w) a + w theta'` with `w = 1 / (t + 1)`."""
        return _averaged(learning_rate, _share_of_newest(learning_rate, step))


class ExponentialAverage(AbstractLinearOptimizer):
    """SGD whose loss is that of an exponential moving average (EMA) of its weights.

    `weight` is that of the newest weights: 0.001 is an EMA with decay 0.999.
    """

    weight: Real = real(0.01, above=0.0, at_most=1.0)
    weights: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    loss_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """`a' = (1 - w) a + w theta'`."""
        return _averaged(learning_rate, jnp.asarray(self.weight, learning_rate.dtype))


def _averaged(eta: Float[Array, ""], w: Float[Array, ""], at: Any = 0.0) -> LinearStep:
    """A step of descent, and an average with this weight of the newest; read at a share of it."""
    return _step(eta.dtype, [[1.0, 0.0], [w, 1.0 - w]], [-eta, -eta * w], [1.0 - at, at])


def _share_of_newest(eta: Float[Array, ""], step: Int[Array, ""]) -> Float[Array, ""]:
    """Weight of the newest of `step + 1` weights in their mean."""
    return 1.0 / (step.astype(eta.dtype) + 1.0)


class ScheduleFree(AbstractLinearOptimizer):
    """Schedule-free SGD: gradients at `y = (1 - b) z + b x`, loss at the average `x` of `z`.

    **Reference** Defazio et al. 2024, arXiv 2405.15682.
    """

    REFERENCES = ("defazio2024road",)

    b: Real = real(0.9, at_least=0.0, at_most=1.0)
    weights: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    loss_at: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """`z' = z - eta g(y)`, `x' = (1 - c) x + c z'` with `c = 1 / (t + 1)`."""
        b = jnp.asarray(self.b, learning_rate.dtype)
        return _averaged(learning_rate, _share_of_newest(learning_rate, step), b)


class Dana(AbstractLinearOptimizer):
    """SGD with a momentum whose memory grows with time, and whose gain may fall (DANA).

    `y' = (1 - delta / (delta + t)) y + g`, `theta' = theta - eta (g + gain (1 + t)^-decay y')`.
    DANA-constant has `decay=0` and a gain of the order of 1 over the number of features;
    DANA-decaying has `decay = 1 / (2 alpha)`, below which it diverges on many features.

    **Reference** Ferbach et al. 2025, arXiv 2505.16098.
    """

    REFERENCES = ("ferbach2025dana",)

    gain: Real = real(0.5, above=0.0)
    decay: Real = real(at_least=0.0)
    delta: Real = real(8.0, above=0.0)
    weights: ClassVar[tuple[float, ...]] = (1.0, 0.0)
    loss_at: ClassVar[tuple[float, ...]] = (1.0, 0.0)

    def linear_step(self, learning_rate: Float[Array, ""], step: Int[Array, ""]) -> LinearStep:
        """The step after `step` others; the first has no memory of the past."""
        eta = learning_rate
        t = step.astype(eta.dtype)
        numbers = (self.gain, self.decay, self.delta)
        gain, decay, delta = (jnp.asarray(x, eta.dtype) for x in numbers)
        retained, c = t / (delta + t), eta * gain * (1.0 + t) ** -decay
        return _step(
            eta.dtype, [[1.0, -c * retained], [0.0, retained]], [-eta - c, 1.0], [1.0, 0.0]
        )


class SignSgd(AbstractOptimizer):
    """Descent along the sign of every gradient, `theta' = theta - eta sign(g)`.

    It depends on the axes: `space=Coordinates()`. `streaming.theory.sign_sgd_loss` is asymptotic.
    """

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """`optax.sign_sgd`."""
        return optax.sign_sgd(learning_rate)  # pyright: ignore


def linear_form(optimizer: AbstractOptimizer) -> AbstractLinearOptimizer | None:
    """The optimizer with its linear step, None if it has none."""
    if isinstance(optimizer, Sgd):
        return Descent() if optimizer.momentum is None else HeavyBall(momentum=optimizer.momentum)
    return optimizer if isinstance(optimizer, AbstractLinearOptimizer) else None
