r"""Random features of power-law inputs: what is drawn, and the modes that training sees.

Coordinate `j = 1..V` of an input is `x_j = j^-alpha z_j`, the target `sum_j j^-beta x_j` and noise;
the features are `W^T x` with normal entries of variance `1/d`. With `G_jk = j^-alpha W_jk` and
`t_j = j^-(alpha + beta)` the loss is `|G theta - t|^2 / 2`. Coordinates beyond V of infinitely many
act on the features as isotropic noise of variance `tau = sum_{j > V} j^-2alpha / d`, and on the
target as label noise.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale._linalg import svd
from jaxscale.keys import normal_table
from jaxscale.spectra import power_tail
from jaxscale.streaming.theory._moments import Modes, drawn_modes

COORDINATES_PER_FEATURE = 4  # drawn one by one where there are infinitely many


class DrawnModes(eqx.Module):
    """Eigenvalues of the features' covariance, the target along each, and what none reaches.

    - `eigenvalues`: lambda_i, 0 in padding.
    - `target`: c_i, the target along the normalised feature of mode i.
    - `out_of_reach`: `|t|^2 - sum_i c_i^2`, twice the least loss without label noise.
    - `label_variance`: sigma^2.
    """

    eigenvalues: Float[Array, " d"]
    target: Float[Array, " d"]
    out_of_reach: Float[Array, ""]
    label_variance: Float[Array, ""]

    @property
    def target_power(self) -> Float[Array, " d"]:
        """`c_i^2`."""
        return self.target**2

    @property
    def unreachable(self) -> Float[Array, ""]:
        """Twice the least loss: what acts as label noise."""
        return self.out_of_reach + self.label_variance

    @property
    def exact(self) -> Modes:
        """The modes of the exact recursion of the mean loss."""
        return drawn_modes(self.eigenvalues, self.target_power)


class Features(eqx.Module):
    """Random features of one run, in the coordinates of its inputs.

    - `matrix`: G, 0 in padding.
    - `target`: t.
    - `tail_variance`: tau, of every feature.
    - `tail_target`: target power of the coordinates that are not drawn.
    - `label_variance`: sigma^2.
    - `inside`: which columns are no padding.
    """

    matrix: Float[Array, "v d"]
    target: Float[Array, " v"]
    tail_variance: Float[Array, ""]
    tail_target: Float[Array, ""]
    label_variance: Float[Array, ""]
    inside: Bool[Array, " d"]

    def modes(self) -> DrawnModes:
        """Diagonalise, by singular values: all but the least loss keep their relative accuracy."""
        basis, singular, _ = svd(self.matrix)
        inside = self.inside[: singular.shape[0]]
        values = jnp.where(inside, singular**2 + self.tail_variance, 0.0)
        along = jnp.where(inside, self.target @ basis, 0.0)
        lost = self.tail_variance / jnp.where(inside, values, 1.0)  # share of c_i^2 in the tail
        rest = self.target - basis @ along
        out_of_reach = jnp.sum(rest**2) + jnp.sum(along**2 * lost) + self.tail_target
        target = along * jnp.sqrt(1.0 - jnp.where(inside, lost, 0.0))
        return DrawnModes(values, target, out_of_reach, self.label_variance)


def draw_features(
    key: Key[Array, ""],
    n_features: Int[Array, ""],
    padded: int,
    n_coordinates: int | None,
    input_exponent: Float[Array, ""],
    target_exponent: Float[Array, ""],
    noise: Float[Array, ""],
) -> Features:
    """Draw W; entry (j, k) depends on the key, j and k alone.

    `n_coordinates` is V, None for infinitely many.
    """
    dtype = input_exponent.dtype
    endless = n_coordinates is None
    n_rows = COORDINATES_PER_FEATURE * padded if n_coordinates is None else n_coordinates
    rows, columns = jnp.arange(n_rows, dtype=jnp.int32), jnp.arange(padded, dtype=jnp.int32)
    inside, size = columns < n_features, n_features.astype(dtype)
    drawn = rows < (COORDINATES_PER_FEATURE * n_features if endless else n_rows)
    j = (rows + 1).astype(dtype)
    scale = jnp.where(drawn, j**-input_exponent, 0.0)
    entries = normal_table(key, rows, columns, str(dtype)) / jnp.sqrt(size)
    matrix = jnp.where(inside, scale[:, None] * entries, 0.0)
    tail_variance, tail_target = jnp.zeros((), dtype), jnp.zeros((), dtype)
    power = 2.0 * (input_exponent + target_exponent)
    if endless:
        first = COORDINATES_PER_FEATURE * size + 1.0
        tail_variance = power_tail(2.0 * input_exponent, first) / size
        tail_target = power_tail(power, first)
    target = scale * j**-target_exponent
    return Features(matrix, target, tail_variance, tail_target, noise**2, inside)
