"""The exact mean over features and targets, for one given set of inputs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from jaxscale._linalg import qr, svd
from jaxscale._theory import symbols
from jaxscale.sparse.theory._checks import theory_function


def _row_space(inputs: Array) -> tuple[Array, Array]:
    """Diagonal of the projector on the row space, and the rank."""
    norms = jnp.sqrt(jnp.sum(inputs**2, axis=0))
    scaled = inputs / jnp.where(norms > 0, norms, 1.0)
    _, size, rows = svd(scaled)
    independent = size > size[0] * float(jnp.finfo(size.dtype).eps) ** (2 / 3)
    basis = (jnp.where(independent[:, None], rows, 0.0) * norms).T
    # rows of equal length: the QR of the independent columns, which come first
    lengths = jnp.sqrt(jnp.sum(basis**2, axis=0))
    basis, _ = qr(basis / jnp.where(independent, lengths, 1.0))
    return jnp.sum(jnp.where(independent, basis, 0.0) ** 2, axis=1), jnp.sum(independent)


@theory_function(vectorize=False)
def row_space_residual(
    inputs: Real[ArrayLike, "n d"],
    variances: Real[ArrayLike, " d"],
    *,
    unseen_variance: Real[ArrayLike, ""] = 0.0,
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    r"""Population variance outside of the row space of the inputs, and their rank.

    $$\operatorname{tr} \Lambda P_\perp(X), \qquad P_\perp = I - X^+ X, \qquad
      r = \operatorname{rank} X$$

    Exact. Columns are scaled to unit norm before the singular values are cut off (at 4e-11 of the
    largest in float64, 2e-5 in float32), so amplitudes that differ by orders of magnitude do not
    count as dependent. Linear in the variances; the inputs are held fixed in gradients. Relative to
    the sum of the variances within 1e-12 in float64; in float32 within 1e-5, the rank may be off by
    one near collisions.

    **Arguments:**

    - `inputs`: X, `(n, d)`, samples times coordinates; columns of zeros are unseen coordinates.
    - `variances`: lambda, `(d,)`.
    - `unseen_variance`: sum of the variances of coordinates left out of X because they are 0 in
      every row.

    **Returns:** the residual, a scalar in the units of the variances, and the rank.

    **Example**

    >>> inputs = np.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> variances = np.asarray([1.0, 0.5, 0.25])
    >>> residual, rank = js.sparse.theory.row_space_residual(inputs, variances)
    >>> print(f"{residual:.2f} {rank}")
    0.25 2
    """
    x, lam, rest = symbols(inputs, variances, unseen_variance)
    explained, rank = _row_space(jax.lax.stop_gradient(x))
    return rest + jnp.sum(lam * jnp.maximum(1 - explained, 0.0)), rank


@theory_function(vectorize=False)
def conditional_loss(
    inputs: Real[ArrayLike, "n d"],
    n_features: Real[ArrayLike, "..."],
    variances: Real[ArrayLike, " d"],
    *,
    unseen_variance: Real[ArrayLike, ""] = 0.0,
) -> Float[Array, "..."]:
    r"""Exact mean loss of the minimum-norm fit over features and targets, for given inputs.

    $$\mathbb E_{F,w}[L \mid X] = \tfrac12 \operatorname{tr}(\Lambda P_\perp)\,\frac{N-1}{N-r-1},
      \qquad N \ge r + 2$$

    F restricted to the row space and to its complement are independent; the minimum norm averages
    r/(N - r - 1) (inverse Wishart) and is the variance of the prediction on the complement. The
    mean over the inputs is infinite near N = r, since r fluctuates.

    **Arguments:**

    - `inputs`: X, `(n, d)`, as in `row_space_residual`.
    - `n_features`: N > 0, any shape, may be infinite.
    - `variances`: lambda, `(d,)`.
    - `unseen_variance`: as in `row_space_residual`.

    **Returns:** loss in squared units of the target, in the shape of `n_features`; infinite for
    r <= N <= r + 1 and NaN for N < r, where no such formula exists.

    **Raises:** `ValueError` for a plain `n_features` that is not positive.

    **Example**

    >>> inputs = np.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> print(f"{js.sparse.theory.conditional_loss(inputs, 8, np.asarray([1.0, 0.5, 0.25])):.3f}")
    0.175
    """
    (n,) = symbols(n_features)
    residual, rank = row_space_residual(inputs, variances, unseen_variance=unseen_variance)
    r = rank.astype(n.dtype)
    finite = n > r + 1
    per_feature = 1 / jnp.where(finite, n, 2 * r + 4)
    value = residual / 2 * (1 - per_feature) / (1 - (r + 1) * per_feature)
    return jnp.where(finite, value, jnp.where(n >= r, jnp.inf, jnp.nan))
