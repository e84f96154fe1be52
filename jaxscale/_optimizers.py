"""Optimizers as objects: optax chains built inside the program from traced numbers.

The learning rate is a field of the system, because theory needs it; the object holds the rest.
"""

import abc
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxscale._factories import PlainNumber, plain_numbers
from jaxscale._text import nearest
from jaxscale.fields import Configurable, Real, as_real, is_traced, real


class AbstractOptimizer(Configurable):
    """How a gradient becomes an update."""

    @abc.abstractmethod
    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """The optax transformation at this (traced) learning rate."""

    def init(self, params: Any) -> Any:
        """Optimizer state of `params`."""
        return self.transform(jnp.asarray(1.0)).init(params)

    def update(
        self, params: Any, gradient: Any, state: Any, learning_rate: Real, factor: Float[Array, ""]
    ) -> tuple[Any, Any]:
        """Parameters and optimizer state after one step, from matching trees.

        The schedule multiplies the learning rate by `factor`.
        """
        # optax mixes its int32 counters with floats, which strict promotion refuses
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.transform(learning_rate).update(gradient, state, params)
        params = jax.tree.map(lambda p, u: p + (factor * u).astype(p.dtype), params, updates)
        return params, state


class Sgd(AbstractOptimizer):
    """Gradient descent; `momentum=None` keeps no buffer."""

    momentum: Real | None = real(None, at_least=0.0, below=1.0, optional=True)

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """`optax.sgd`."""
        return optax.sgd(learning_rate, momentum=self.momentum)  # pyright: ignore


def scale_by_adam(b1: Real, b2: Real, eps: Real) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, with a derivative where no gradient was ever seen.

    That of optax is NaN there, for absent skills and for the units that pad a size: the slope of
    the root of zero is infinite. The state is optax's.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)

        def averaged(decay: Real, order: int, moments: Any) -> Any:
            return jax.tree.map(
                lambda g, m: ((1 - decay) * g**order + decay * m).astype(m.dtype), updates, moments
            )

        def corrected(moment: Array, decay: Real) -> Array:
            return moment / jnp.asarray(1 - decay**count).astype(moment.dtype)

        def step(mean: Array, square: Array) -> Array:
            square = corrected(square, b2)
            seen = square > 0
            root = jnp.where(seen, jnp.sqrt(jnp.where(seen, square, 1.0)), 0.0)
            return corrected(mean, b1) / (root + eps)

        mu, nu = averaged(b1, 1, state.mu), averaged(b2, 2, state.nu)
        return jax.tree.map(step, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


class Adam(AbstractOptimizer):
    """Adam with optax's conventions.

    `weight_decay` times the parameters is added to the gradient, as in PyTorch's `Adam`; `AdamW`
    decays matrices themselves, and `Optax("adamw", weight_decay=...)` all parameters.

    **Reference** Kingma and Ba 2015, arXiv 1412.6980.
    """

    REFERENCES = ("kingma2015adam",)

    b1: Real = real(0.9, at_least=0.0, below=1.0)
    b2: Real = real(0.999, at_least=0.0, below=1.0)
    eps: Real = real(1e-8, above=0.0)
    weight_decay: Real | None = real(None, at_least=0.0, optional=True)

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """`optax.adam`, of the gradient with its weight decay."""
        adam = optax.chain(
            scale_by_adam(self.b1, self.b2, self.eps),
            optax.scale_by_learning_rate(learning_rate),  # pyright: ignore
        )
        if self.weight_decay is None:
            return adam
        return optax.chain(optax.add_decayed_weights(self.weight_decay), adam)  # pyright: ignore


class AdamW(AbstractOptimizer):
    r"""Adam with decoupled weight decay of matrices; vectors and scalars do not decay.

    A row `w` of a matrix of parameters is decayed by `learning_rate * weight_decay * w`, or, with a
    `row_length`, towards that length: `w (1 - row_length / |w|)` takes the place of `w`. The
    schedule multiplies both the decay and the step of Adam. Biases of a student are vectors, and so
    is the readout of a `ParityNetwork`; that of a `ParityTransformer` is a matrix. Rows of W and V
    of a student belong to features; those of a network's weights, to inputs.

    **Reference** Loshchilov and Hutter 2019, arXiv 1711.05101.
    """

    REFERENCES = ("loshchilov2019decoupled",)

    b1: Real = real(0.9, at_least=0.0, below=1.0)
    b2: Real = real(0.999, at_least=0.0, below=1.0)
    eps: Real = real(1e-8, above=0.0)
    weight_decay: Real = real(1e-2, at_least=0.0)
    row_length: Real | None = real(None, above=0.0, optional=True)

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """`optax.adamw` with a mask, but for `row_length`."""

        def decayed(update: Array, param: Array) -> Array:
            if param.ndim < 2:
                return update
            pull = param
            if self.row_length is not None:  # rows that pad a size are zero
                square = jnp.sum(param**2, axis=-1, keepdims=True)
                norm = jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
                pull = param * (1 - self.row_length / (norm + self.eps))
            return update + self.weight_decay * pull

        return optax.chain(
            scale_by_adam(self.b1, self.b2, self.eps),
            optax.stateless_with_tree_map(decayed),  # pyright: ignore
            optax.scale_by_learning_rate(learning_rate),  # pyright: ignore
        )


class Optax(AbstractOptimizer):
    """Any optax factory, or a user's own, called with the traced learning rate.

    `Optax("adamw", weight_decay=1e-4)` names a factory of optax; `Optax("my_module:my_chain",
    clip=1.0)` a module-level function; a function may also be passed itself, and is stored by name,
    so that systems pickle; its module must be imported where the system is rebuilt. A factory that
    mixes parameters (noise, factored or global statistics) also sees the zero units that pad a
    sweep over sizes. The keyword numbers are leaves and can be swept, as
    `optimizer.hyperparameters.weight_decay`. Those that the factory branches on (`if clip > 0`)
    reach it as Python floats instead: every value has a program of its own, and they are swept as
    objects, `axes={"optimizer": [Optax(f, clip=0.0), Optax(f, clip=1.0)]}`. The learning rate is
    always traced: a factory that branches on it is refused. It is that of the step: the schedule
    multiplies what the factory gets, as optax's own schedules do.
    """

    factory: str = eqx.field(static=True)
    hyperparameters: dict[str, Real | float]

    def __init__(
        self,
        factory: str | Callable[..., Any],
        hyperparameters: Mapping[str, Any] | None = None,
        **more: Any,
    ):
        if hyperparameters is not None and not isinstance(hyperparameters, Mapping):
            raise ValueError(
                f"`hyperparameters` must map names to numbers, got {hyperparameters!r}: give them "
                'by name, as in Optax("adamw", weight_decay=1e-4).'
            )
        if twice := sorted({*(hyperparameters or {})} & {*more}):
            raise ValueError(f"`{twice[0]}` must be given once, not in `hyperparameters`, too.")
        given_factory = factory
        if callable(factory):
            name = getattr(factory, "__qualname__", "")
            if not name or "<" in name:
                raise ValueError(
                    f"`factory` must be a module-level function, got {factory!r}: define it by "
                    "`def` outside of other functions, with its numbers as arguments, as in "
                    "Optax(f, clip=1.0)."
                )
            is_of_optax = getattr(optax, name, None) is factory  # wherever optax defines it
            factory = name if is_of_optax else f"{factory.__module__}:{name}"
        if not isinstance(factory, str):
            raise ValueError(
                "`factory` must be a function that makes a transformation, or the name of one, got "
                f"a {type(factory).__name__}."
            )
        self.factory = factory
        function = self.function  # raises if there is none
        if callable(given_factory) and function is not given_factory:
            raise ValueError(
                f"`factory` must be what its name stands for, got {given_factory!r}, but "
                f"{self.factory!r} is another function; one that wraps another needs a name of its "
                "own (`__qualname__`)."
            )
        given = {**(hyperparameters or {}), **more}
        for name in [k for k, v in given.items() if isinstance(v, bool | np.bool_)]:
            raise ValueError(f"`{name}` must be a number, got {given[name]}: write 1 or 0.")
        leaves = {k: as_real(k, v) for k, v in sorted(given.items())}
        if is_traced(*leaves.values()):
            fixed = {k: v for k, v in given.items() if isinstance(v, PlainNumber)}
            self.hyperparameters = {**leaves, **fixed}
            return
        numbers = {k: float(v) for k, v in leaves.items()}
        try:
            built = self.function(learning_rate=0.1, **numbers)
        except TypeError as error:
            raise ValueError(f"`factory` {self.factory!r} refuses its numbers: {error}.") from None
        if not isinstance(built, optax.GradientTransformation):
            raise ValueError(f"`factory` must return an optax transformation, got {built!r}.")
        needed = plain_numbers(factory, function, numbers)
        self.hyperparameters = {**leaves, **{k: PlainNumber(numbers[k]) for k in needed}}

    @property
    def function(self) -> Callable[..., Any]:
        """The factory itself."""
        module, _, name = self.factory.rpartition(":")
        function: Any = sys.modules.get(module) if module else optax
        for part in name.split("."):
            function = getattr(function, part, None)
        if not callable(function):
            raise ValueError(
                "`factory` must name a function of optax, or `module:function` of a module that "
                f"is imported, got {self.factory!r}{nearest(name, dir(optax)) or '.'}"
            )
        own = function.func if isinstance(function, functools.partial) else function
        if str(getattr(own, "__module__", "")).partition(".")[0] in sys.stdlib_module_names:
            raise ValueError(  # a store must not call them
                f"`factory` must make an optax transformation, got {self.factory!r} of Python's "
                "own library."
            )
        return function

    def update(
        self, params: Any, gradient: Any, state: Any, learning_rate: Real, factor: Float[Array, ""]
    ) -> tuple[Any, Any]:
        """As of every optimizer; what the factory keeps behind the learning rate sees it, too."""
        rate, one = learning_rate * factor, jnp.ones_like(factor)
        return super().update(params, gradient, state, rate, one)  # pyright: ignore

    def transform(self, learning_rate: Real) -> optax.GradientTransformation:
        """`factory(learning_rate=learning_rate, **hyperparameters)`."""
        numbers = {k: float(v) if isinstance(v, PlainNumber) else v
                   for k, v in self.hyperparameters.items()}  # fmt: skip
        return self.function(learning_rate=learning_rate, **numbers)
