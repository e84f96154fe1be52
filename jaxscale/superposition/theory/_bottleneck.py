"""A linear student with fewer latent dimensions than features (K < N), W frozen: exact."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import symbols
from jaxscale.superposition.theory._checks import theory_function
from jaxscale.superposition.theory._modes import Modes, modes, over_times
from jaxscale.superposition.theory._sequential import features


def _check_shapes(values: Mapping[str, Any]) -> None:
    """Check that the matrices fit each other, and that only the time is an array."""
    shape = np.shape(values["embedding"])
    if len(shape) != 2:
        raise ValueError(f"`embedding` must be a matrix (K, N), got shape {shape}.")
    arrays = ("time", "embedding", "covariance", "initial_matrix")
    for name, value in values.items():
        if name not in arrays and np.shape(value):
            raise ValueError(f"`{name}` must be a scalar, got shape {np.shape(value)}; use vmap.")
    for name, size in (("covariance", shape[1]), ("initial_matrix", shape[0])):
        value = values.get(name)
        if value is not None and np.shape(value) != (size, size):
            raise ValueError(
                f"`{name}` must have shape {(size, size)} for an embedding of shape {shape}, "
                f"got {np.shape(value)}."
            )


def _modes(
    w: Any, covariance: Any, loss_weighted: bool, a: Any, b: Any, second: Any, active: Any
) -> Modes:
    """Decouple the student with embedding W; a covariance of None is diagonal."""
    share, target, weight = features(a, b, w.shape[1], loss_weighted)
    sigma = second * active * share if covariance is None else covariance
    return modes(w, target, weight, sigma)


@theory_function("loss_weighted", "discrete", vectorize=False, check=_check_shapes)
def bottleneck_loss(
    time: Real[ArrayLike, "..."],
    embedding: Real[ArrayLike, "latent feature"],
    *,
    frequency_exponent: Real[ArrayLike, ""],
    importance_exponent: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    second_moment: Real[ArrayLike, ""] = 4 / 3,
    mean_active: Real[ArrayLike, ""] = 1.0,
    covariance: Real[ArrayLike, "feature feature"] | None = None,
    initial_matrix: Real[ArrayLike, "latent latent"] | None = None,
    loss_weighted: bool = False,
    discrete: bool = False,
) -> Float[Array, "..."]:
    r"""Loss of the linear student W^T B W x under flow or descent on B, W frozen.

    $$L(t) = L_\infty + \tfrac12\sum_{ij} g_i m_j
      (\tilde B_{ij}(0) - \tilde B^\infty_{ij})^2 e^{-2\eta g_i m_j t}, \qquad
      \tilde B^\infty_{ij} = \tilde C_{ij}/(g_i m_j)$$

    with G = W Omega W^T = U g U^T, M = W Sigma W^T = V m V^T, C = W Omega A Sigma W^T and
    tilde C = U^T C V; (1 - eta g m)^{2t} instead of the exponential if `discrete`. Modes with
    g_i m_j = 0 stay where they start, so rows of W may be zero. The cost does not depend on the
    times. Against brute-force descent: 1e-12 relative in float64 (tested). First derivatives are
    exact for every argument, also for orthonormal or tight W, as long as the rank of W is kept;
    second derivatives in time and learning rate only.

    **Arguments:**

    - `time`: t >= 0, steps or flow time, any shape, may be infinite.
    - `embedding`: W, shape (K, N).
    - `frequency_exponent`, `importance_exponent`, `learning_rate`, `second_moment`,
      `mean_active`: scalars, as in `sequential_loss`; a grid of them by `vmap`.
    - `covariance`: E x x^T, (N, N); None for the diagonal lambda_i. When given,
      the frequencies are not used.
    - `initial_matrix`: B(0), (K, K); None for zeros.
    - `loss_weighted`: importance in the loss, Omega = diag(i^-2b) and A = 1, instead of the target.
    - `discrete`: steps instead of flow.

    **Returns:** half the summed squared error, the shape of `time`.

    **Raises:** `ValueError` for a plain number out of range or a matrix of another size.

    **Reference:** arXiv 2602.01045 (setting); derived here: dB/dt = -eta (G B M - C) decouples in
    the two eigenbases, and the loss is quadratic around B-infinity.

    **Example**

    >>> embedding = np.eye(4)[:2]  # two of four features have a latent dimension
    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, learning_rate=0.1)
    >>> time = np.asarray([0.0, 10.0, 100.0])
    >>> loss = js.superposition.theory.bottleneck_loss(time, embedding, **at)
    >>> print(np.asarray(loss).round(3))
    [0.508 0.159 0.038]
    """
    t, eta, a, b = symbols(time, learning_rate, frequency_exponent, importance_exponent)
    m = _modes(embedding, covariance, loss_weighted, a, b, second_moment, mean_active)
    return m.floor + over_times(m.excess(eta, initial_matrix, discrete), t, m.gram.size)


@theory_function("loss_weighted", "discrete", vectorize=False, check=_check_shapes)
def bottleneck_matrix(
    time: Real[ArrayLike, "..."],
    embedding: Real[ArrayLike, "latent feature"],
    *,
    frequency_exponent: Real[ArrayLike, ""],
    importance_exponent: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
    second_moment: Real[ArrayLike, ""] = 4 / 3,
    mean_active: Real[ArrayLike, ""] = 1.0,
    covariance: Real[ArrayLike, "feature feature"] | None = None,
    initial_matrix: Real[ArrayLike, "latent latent"] | None = None,
    loss_weighted: bool = False,
    discrete: bool = False,
) -> Float[Array, "... latent latent"]:
    r"""Matrix B(t) of the linear student.

    $$\tilde B_{ij}(t) = \tilde B^\infty_{ij}
      + (\tilde B_{ij}(0) - \tilde B^\infty_{ij})\,e^{-\eta g_i m_j t}$$

    **Arguments:** as `bottleneck_loss`.

    **Returns:** B, `time.shape + (K, K)`.

    **Raises:** as `bottleneck_loss`.

    **Reference:** as `bottleneck_loss`.

    **Example**

    >>> embedding = np.eye(4)[:2]  # two of four features have a latent dimension
    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5, learning_rate=0.1)
    >>> matrix = js.superposition.theory.bottleneck_matrix(100.0, embedding, **at)
    >>> print(np.asarray(matrix).round(3))
    [[1.    0.   ]
     [0.    0.665]]
    """
    t, eta, a, b = symbols(time, learning_rate, frequency_exponent, importance_exponent)
    m = _modes(embedding, covariance, loss_weighted, a, b, second_moment, mean_active)
    return over_times(m.matrix(eta, initial_matrix, discrete), t, m.gram.size)


@theory_function("loss_weighted", vectorize=False, check=_check_shapes)
def bottleneck_floor(
    embedding: Real[ArrayLike, "latent feature"],
    *,
    frequency_exponent: Real[ArrayLike, ""],
    importance_exponent: Real[ArrayLike, ""],
    second_moment: Real[ArrayLike, ""] = 4 / 3,
    mean_active: Real[ArrayLike, ""] = 1.0,
    covariance: Real[ArrayLike, "feature feature"] | None = None,
    loss_weighted: bool = False,
) -> Float[Array, ""]:
    r"""Loss that the linear student cannot fall below.

    $$L_\infty = \tfrac12\big\|\Omega^{1/2}(W^T B^\infty W - A)\Sigma^{1/2}\big\|_F^2$$

    computed as the squared distance of Omega^{1/2} A Sigma^{1/2} from its projection, so that it is
    1e-30 and not 1e-16 where W is square and invertible. For b = 0 its mean over random W is
    (1 - K/N) L(0), whatever a.

    **Arguments:** as `bottleneck_loss`.

    **Returns:** a scalar.

    **Raises:** as `bottleneck_loss`.

    **Example**

    >>> embedding = np.eye(4)[:2]  # two of four features have a latent dimension
    >>> at = dict(frequency_exponent=1.5, importance_exponent=0.5)
    >>> floor = js.superposition.theory.bottleneck_floor(embedding, **at)
    >>> print(f"{floor:.3f}")
    0.038
    """
    a, b = symbols(frequency_exponent, importance_exponent)
    m = _modes(embedding, covariance, loss_weighted, a, b, second_moment, mean_active)
    return m.floor


@theory_function("loss_weighted", vectorize=False, check=_check_shapes)
def max_learning_rate(
    embedding: Real[ArrayLike, "latent feature"],
    *,
    frequency_exponent: Real[ArrayLike, ""],
    importance_exponent: Real[ArrayLike, ""] = 0.0,
    second_moment: Real[ArrayLike, ""] = 4 / 3,
    mean_active: Real[ArrayLike, ""] = 1.0,
    covariance: Real[ArrayLike, "feature feature"] | None = None,
    loss_weighted: bool = False,
) -> Float[Array, ""]:
    r"""Learning rate at which full-batch descent of the linear student becomes unstable.

    $$\eta_{max} = \frac{2}{g_{max}\,m_{max}}$$

    **Arguments:** as `bottleneck_loss`; `importance_exponent` matters only if `loss_weighted`.

    **Returns:** a scalar.

    **Raises:** as `bottleneck_loss`.

    **Reference:** derived here: |1 - eta g m| < 1 for every mode.

    **Example**

    >>> embedding = np.eye(4)[:2]  # two of four features have a latent dimension
    >>> limit = js.superposition.theory.max_learning_rate(embedding, frequency_exponent=1.5)
    >>> print(f"{limit:.3f}")
    2.507
    """
    a, b = symbols(frequency_exponent, importance_exponent)
    m = _modes(embedding, covariance, loss_weighted, a, b, second_moment, mean_active)
    return m.max_learning_rate
