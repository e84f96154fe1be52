r"""Features `phi(x)` of the inputs, all divided by `sqrt(N)` so that many features have a limit.

`F` has independent standard normal entries; entry `(n, i)` depends on the run, the feature `n` and
the coordinate `i` only.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxscale._registry import is_plain
from jaxscale.fields import Configurable, Real, Rule, real
from jaxscale.keys import normal_table
from jaxscale.sparse._data import Inputs

Count = Int[Array, ""]
Matrix = Float[Array, "f d"]
ScalarKey = Key[Array, ""]


class AbstractFeatures(Configurable):
    """Features of a random-feature regression."""


class AbstractLinear(AbstractFeatures):
    """Features that are linear in the inputs: their population loss is a closed form."""

    @abc.abstractmethod
    def projection(self, key: ScalarKey, inputs: Inputs, n_features: Count, padded: int) -> Matrix:
        """Matrix `F / sqrt(N)` on the columns of `inputs`, zero in padded rows and columns."""

    @abc.abstractmethod
    def leak(self, n_features: Count) -> Float[Array, ""]:
        """Factor of `|theta|^2 Lambda_U` that unseen coordinates add to the loss."""


class Linear(AbstractLinear):
    """`phi = F x / sqrt(N)`."""

    def projection(self, key: ScalarKey, inputs: Inputs, n_features: Count, padded: int) -> Matrix:
        rows = gaussian_projection(key, inputs, n_features, padded)
        return rows / jnp.sqrt(n_features.astype(jnp.float64))

    def leak(self, n_features: Count) -> Float[Array, ""]:
        """Return `1/N`: the projection of every unseen coordinate is random."""
        return 1.0 / n_features.astype(jnp.float64)


class Identity(AbstractLinear):
    """`phi = x`: the limit of `Linear` for infinitely many features."""

    def projection(self, key: ScalarKey, inputs: Inputs, n_features: Count, padded: int) -> Matrix:
        return jnp.diag(inputs.seen.astype(jnp.float64))

    def leak(self, n_features: Count) -> Float[Array, ""]:
        """Return 0: unseen coordinates get no weight."""
        return jnp.zeros((), jnp.float64)


class AbstractNonlinear(AbstractFeatures):
    """Features `phi = activation(F x) / sqrt(N)`; the loss is measured on a test set."""

    @abc.abstractmethod
    def activation(self, preactivation: Float[Array, "..."]) -> Float[Array, "..."]:
        """Elementwise activation."""

    def design(
        self,
        values: Float[Array, "n d"],
        projection: Float[Array, "f d"],
        n_features: Count,
    ) -> Float[Array, "n f"]:
        """`phi` of each sample, zero in padded features."""
        phi = self.activation(values @ projection.T) / jnp.sqrt(n_features.astype(jnp.float64))
        return jnp.where(jnp.arange(projection.shape[0], dtype=jnp.int32) < n_features, phi, 0.0)


class Relu(AbstractNonlinear):
    """`phi = max(0, F x) / sqrt(N)`."""

    def activation(self, preactivation: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.relu(preactivation)


class Tanh(AbstractNonlinear):
    """`phi = tanh(scale F x) / sqrt(N)`.

    **Arguments**

    - `scale`: kappa > 0; small values stay linear.
    """

    scale: Real = real(1.0, above=0.0)

    def activation(self, preactivation: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.tanh(self.scale * preactivation)


def _activation(name: str, module: Any) -> eqx.Module:
    """Rule of a module that stores can write, and that maps arrays to such of the same shape."""
    form = "class Cube(eqx.Module): def __call__(self, x): return x**3"
    if not (isinstance(module, eqx.Module) and callable(module)):
        raise ValueError(f"`{name}` must be a callable eqx.Module, such as Cube() of {form}, "
                         f"got {module!r}.")  # fmt: skip
    values = [getattr(module, field.name) for field in dataclasses.fields(module)]
    numbers = all(np.ndim(v) == 0 and eqx.is_array_like(v) for v in values)
    if not (numbers and is_plain(type(module))):
        raise ValueError(
            f"`{name}` must be built from fields that are numbers, so that a store can write it "
            f"(as {form}), got {module!r}."
        )
    given = jax.ShapeDtypeStruct((2, 3), np.float32)
    try:
        shape = jax.eval_shape(module, given).shape  # pyright: ignore
    except (AttributeError, TypeError, ValueError) as error:
        shape = f"{type(error).__name__}: {error}"
    if shape != given.shape:
        raise ValueError(
            f"`{name}` must map an array to one of the same shape, entry by entry, got {module!r}: "
            f"of shape {given.shape} it makes {shape}."
        )
    return module


_MODULE = Rule(_activation)
_MODULE.base = eqx.Module


class Elementwise(AbstractNonlinear):
    """`phi = module(F x) / sqrt(N)` for an Equinox module that acts elementwise.

    **Arguments**

    - `module`: a callable `eqx.Module` that maps an array to one of the same shape, entry by entry.
      Its fields are numbers, which its constructor takes as they are: so a store can write it.

    **Raises** `ValueError` for another module.
    """

    module: eqx.Module = eqx.field(converter=_MODULE)

    def activation(self, preactivation: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.module(preactivation)  # pyright: ignore


def features_field(default: AbstractFeatures) -> Any:
    """Declare the features: an object of this file, or a callable module to wrap."""

    def convert(name: str, value: Any) -> AbstractFeatures:
        if isinstance(value, AbstractFeatures):
            return value
        if isinstance(value, eqx.Module) and callable(value):
            return Elementwise(value)
        raise ValueError(
            f"`{name}` must be Linear(), Identity(), Relu(), Tanh(scale) or a callable "
            f"eqx.Module, got {value!r}."
        )

    return eqx.field(converter=Rule(convert), default_factory=lambda: default, kw_only=True)


def gaussian_projection(key: ScalarKey, inputs: Inputs, n_features: Count, padded: int) -> Matrix:
    """`F` on the columns of `inputs`, zero in padded rows and columns."""
    rows = jnp.arange(padded, dtype=jnp.int32)
    real = (rows < n_features)[:, None] & inputs.seen
    return jnp.where(real, normal_table(key, rows, inputs.ids), 0.0)
