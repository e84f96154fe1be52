"""Teachers `y = w x`: all of them at once, or one."""

import abc

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxscale.fields import Configurable
from jaxscale.keys import words
from jaxscale.sparse._data import Inputs


class AbstractTeacher(Configurable):
    """Directions `W` of the targets `y = x W`, with `E W W^T = I`."""

    @abc.abstractmethod
    def directions(self, key: Key[Array, ""], inputs: Inputs) -> Float[Array, "d t"]:
        """`W` on the columns of `inputs`, zero in padded ones; the loss sums over its columns."""


class Averaged(AbstractTeacher):
    """The exact mean over all teachers with `E w w^T = I`: one target per coordinate."""

    def directions(self, key: Key[Array, ""], inputs: Inputs) -> Float[Array, "d t"]:
        return jnp.diag(inputs.seen.astype(inputs.values.dtype))


class Sampled(AbstractTeacher):
    """One teacher of independent signs `w_i = +-1`, drawn with the run."""

    def directions(self, key: Key[Array, ""], inputs: Inputs) -> Float[Array, "d t"]:
        positive = words(key, inputs.ids, 1)[0] >> jnp.uint32(31) == 1
        sign = jnp.where(positive, 1.0, -1.0)
        return jnp.where(inputs.seen, sign, 0.0)[:, None].astype(inputs.values.dtype)
