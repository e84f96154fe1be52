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

from jaxscale._linalg import svd, triangular_factor
from jaxscale.keys import normal_table
from jaxscale.spectra import power_tail

COORDINATES_PER_FEATURE = 4  # drawn one by one where there are infinitely many


class Modes(eqx.Module):
    """Eigenvalues of the features' covariance, the target along each, and what none reaches.

    - `eigenvalues`: lambda_i, falling; 0 in padding.
    - `target`: c_i, the target along the normalised feature of mode i; of every target `m`.
    - `out_of_reach`: `|t|^2 - sum_i c_i^2`, twice the least loss without label noise.
    - `label_variance`: sigma^2.
    """

    eigenvalues: Float[Array, " d"]
    target: Float[Array, "*m d"]
    out_of_reach: Float[Array, "*m"]
    label_variance: Float[Array, ""]

    @property
    def target_power(self) -> Float[Array, "*m d"]:
        """`c_i^2`."""
        return self.target**2

    @property
    def unreachable(self) -> Float[Array, "*m"]:
        """Twice the least loss: what acts as label noise."""
        return self.out_of_reach + self.label_variance


class Tail(eqx.Module):
    """Coordinates that are not drawn one by one.

    - `variance`: tau, of every feature.
    - `target`: their target power.
    """

    variance: Float[Array, ""]
    target: Float[Array, "*m"]


class Features(eqx.Module):
    """Random features of one run, in the coordinates of its inputs.

    - `matrix`: G, 0 in padding.
    - `target`: t, or several.
    - `tail`: None for finitely many coordinates.
    - `label_variance`: sigma^2.
    - `inside`: which columns are no padding.
    """

    matrix: Float[Array, "v d"]
    target: Float[Array, "*m v"]
    tail: Tail | None
    label_variance: Float[Array, ""]
    inside: Bool[Array, " d"]

    def modes(self) -> Modes:
        """Diagonalise, by singular values: all but the least loss keep their relative accuracy.

        A triangular factor of features and target has the target in their span in its last column,
        and what is out of it in the rest of that column. Several targets have a column each.
        """
        (v, d), several = self.matrix.shape, self.target.shape[:-1]
        factor = triangular_factor(jnp.hstack([self.matrix, self.target.reshape(-1, v).T]))
        columns = factor[:, d:].T.reshape(*several, -1)
        within = jnp.where(self.inside, columns[..., :d], 0.0)
        rest = jnp.concatenate([columns[..., :d] - within, columns[..., d:]], axis=-1)
        basis, singular, _ = svd(factor[:d, :d])
        values = jnp.where(self.inside, singular**2, 0.0)
        target = jnp.where(self.inside, within @ basis, 0.0)
        out_of_reach = jnp.sum(rest**2, axis=-1)
        if (tail := self.tail) is not None:
            values = jnp.where(self.inside, values + tail.variance, 0.0)
            lost = jnp.where(self.inside, tail.variance / jnp.where(self.inside, values, 1.0), 0.0)
            out_of_reach = out_of_reach + jnp.sum(target**2 * lost, axis=-1) + tail.target
            target = target * jnp.sqrt(1.0 - lost)
        return Modes(values, target, out_of_reach, self.label_variance)


class Problem(eqx.Module):
    """What one run learns: the modes, and the features where training takes place in them."""

    modes: Modes
    features: Features | None


def draw_features(
    key: Key[Array, ""],
    n_features: Int[Array, ""],
    padded: int,
    n_coordinates: int | None,
    input_exponent: Float[Array, ""],
    target_exponent: Float[Array, "*m"],
    noise: Float[Array, ""],
) -> Features:
    """Draw W; entry (j, k) depends on the key, j and k alone.

    `n_coordinates` is V, None for infinitely many; several target exponents share one W.
    """
    dtype = input_exponent.dtype
    endless = n_coordinates is None
    n_rows = COORDINATES_PER_FEATURE * padded if endless else n_coordinates
    rows, columns = jnp.arange(n_rows, dtype=jnp.int32), jnp.arange(padded, dtype=jnp.int32)
    inside, size = columns < n_features, n_features.astype(dtype)
    drawn = rows < (COORDINATES_PER_FEATURE * n_features if endless else n_rows)
    j = (rows + 1).astype(dtype)
    scale = jnp.where(drawn, j**-input_exponent, 0.0)
    entries = normal_table(key, rows, columns, str(dtype)) / jnp.sqrt(size)
    matrix = jnp.where(inside, scale[:, None] * entries, 0.0)
    target = scale * j ** -target_exponent[..., None]
    if not endless:
        return Features(matrix, target, None, noise**2, inside)
    first = COORDINATES_PER_FEATURE * size + 1.0
    powers = jnp.append(2.0 * input_exponent, 2.0 * (input_exponent + target_exponent))
    tails = power_tail(powers, first)
    beyond, missed = tails[0] / size, tails[1:].reshape(target_exponent.shape)
    return Features(matrix, target, Tail(beyond, missed), noise**2, inside)
