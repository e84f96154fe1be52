r"""Population loss `L = E (y - theta phi(x))^2 / 2`, over fresh inputs and unseen coordinates.

Coordinates that training never saw are averaged out: their teacher has `E w_i^2 = 1`, and their
columns of `F` are independent of everything, so they add `Lambda_U (1 + |theta|^2 / N) / 2`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._linalg import qr
from jaxscale.sparse._data import Inputs
from jaxscale.sparse._solvers import Fit, Rows

TEST_BLOCK = 512


def linear_loss(
    fit: Fit,
    inputs: Inputs,
    projection: Float[Array, "f d"],
    directions: Float[Array, "d t"],
    leak: Float[Array, ""],
) -> Float[Array, " r"]:
    r"""Exact loss of linear features, one value per record of `fit`.

    $$L = \tfrac12 \Lambda_U (1 + \text{leak}\,|\theta|^2)
      + \tfrac12 \sum_{i \in S} \lambda_i |W_i - (F^T \theta)_i|^2$$

    `projection` is `F / sqrt(N)` on the seen coordinates; `directions`, the teacher `W`; `leak`,
    `1/N`, or 0 if unseen coordinates get no weight.
    """
    basis = fit.on_basis(projection.T)

    def one(coefficients: Float[Array, "q t"]) -> Float[Array, ""]:
        theta = coefficients if fit.basis is None else fit.basis @ coefficients
        residual = directions - basis @ coefficients
        seen = jnp.sum(inputs.variance[:, None] * residual**2)
        return 0.5 * (inputs.unseen_variance * (1.0 + leak * jnp.sum(theta**2)) + seen)

    return jax.lax.map(one, fit.coefficients)


def sampled_loss(
    fit: Fit,
    inputs: Inputs,
    test: Float[Array, "e d"],
    design: Callable[[Float[Array, "b d"]], Float[Array, "b f"]],
    directions: Float[Array, "d t"],
) -> Float[Array, " r"]:
    """Loss of nonlinear features on test inputs, one value per record of `fit`.

    Targets of coordinates that training never saw have weight zero and are added exactly; the
    features of a test input see them.

    `test` holds inputs on the same columns, and `design` maps them to features.
    """
    size = min(TEST_BLOCK, test.shape[0])
    n_blocks = -(-test.shape[0] // size)
    padded = jnp.pad(test, ((0, n_blocks * size - test.shape[0]), (0, 0)))
    real = jnp.arange(n_blocks * size, dtype=jnp.int32) < test.shape[0]

    def block(part: tuple[Array, Array]) -> Float[Array, " r"]:
        x, counted = part
        fitted = jnp.einsum("eq,rqt->ret", fit.on_basis(design(x)), fit.coefficients)
        squares = jnp.sum((x @ directions - fitted) ** 2, axis=2)
        return jnp.sum(jnp.where(counted, squares, 0.0), axis=1)

    blocks = (padded.reshape(n_blocks, size, -1), real.reshape(n_blocks, size))
    total = jnp.sum(jax.lax.map(block, blocks), axis=0)
    return 0.5 * (inputs.unseen_variance + total / test.shape[0])


def residual_loss(inputs: Inputs, rows: Rows) -> Float[Array, ""]:
    r"""Loss at infinitely many features: what is orthogonal to every sample.

    $$\tfrac12 \operatorname{tr} \Lambda (I - X^+ X)$$

    `rows` span the row space of `inputs` by `rank` leading rows.
    """
    assert rows.rank is not None
    norm = jnp.linalg.norm(rows.values, axis=1)
    unit = rows.values / jnp.where(norm > 0, norm, 1.0)[:, None]
    axes, _ = qr(unit.T)
    used = jnp.arange(axes.shape[1], dtype=jnp.int32) < rows.rank
    inside = jnp.sum(jnp.where(used, axes, 0.0) ** 2, axis=1)
    missed = jnp.sum(inputs.variance * jnp.maximum(1.0 - inside, 0.0))
    return 0.5 * (inputs.unseen_variance + missed)
