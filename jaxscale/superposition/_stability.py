"""Learning rates at which full-batch descent of the linear student is stable."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._linalg import eigh
from jaxscale.superposition._embedding import AbstractEmbedding, Given, Identity, Joint, TightFrame
from jaxscale.superposition._gradient import Quadratic
from jaxscale.superposition._losses import Teacher

Vector = Float[Array, " f"]


def half_limit(
    form: Quadratic | None, scale: Vector, mean: Vector, teacher: Teacher
) -> Float[Array, ""]:
    """`1 / (g_max m_max)`, half the rate at which the linear student diverges.

    Without a bottleneck (`form` is None) `m_max` is bounded by `max D + |v|^2`.
    """
    if form is None:
        largest = jnp.max(teacher.weights) * (jnp.max(scale) + jnp.sum(mean**2))
    else:
        largest = eigh(form.gram)[0][-1] * eigh(form.inputs)[0][-1]
    return 1.0 / largest


def estimated_limit(
    embedding: AbstractEmbedding,
    latent_size: int | None,
    scale: Float[np.ndarray, " f"],
    mean: Float[np.ndarray, " f"],
    weights: Float[np.ndarray, " f"],
) -> float:
    """Estimate the stability limit without drawing W, for `plan`, in NumPy.

    Random unit columns are taken as independent; the largest eigenvalue of `W diag(x) W^T` is then
    the spike of the first column on top of the others, or the edge of their bulk (`_top`). The
    edges of small matrices lie below those of large ones: at K = 32 the estimate is 0 to 25 % low.

    **Arguments**

    - `embedding`, `latent_size`: which W, and K; None with `Identity()` and `Given(matrix)`.
    - `scale`, `mean`: `D` and `v` of the second moments `diag(D) + v v^T` of the inputs.
    - `weights`: of the outputs in the loss.

    **Returns** the rate at which descent diverges.
    """
    start = embedding.start if isinstance(embedding, Joint) else embedding
    if isinstance(start, Identity):
        return 2.0 / float(weights.max() * (scale.max() + np.sum(mean**2)))
    if isinstance(start, Given):
        w = np.asarray(start.matrix, np.float64)
        gram, moved = (w * weights) @ w.T, w @ mean
        inputs_gram = (w * scale) @ w.T + np.outer(moved, moved)
        return 2.0 / float(np.linalg.eigvalsh(gram)[-1] * np.linalg.eigvalsh(inputs_gram)[-1])
    if latent_size is None:
        raise ValueError(f"`latent_size` must be given with {start!r}, got None.")
    tight = isinstance(start, TightFrame)
    gram = _top(weights, latent_size, tight)
    return 2.0 / float(gram * (_top(scale, latent_size, tight) + np.sum(mean**2)))


def _top(values: np.ndarray, k: int, tight: bool) -> float:
    """Largest eigenvalue of `sum_i x_i w_i w_i^T` for random unit columns: spike or edge of bulk.

    In a tight frame the others add their mean to the first, `x_1 + sum_{i>1} x_i / K`. Else, with s
    the resolvent of all but the largest x, `z(s) = 1/s + sum_i x_i / (1 - x_i s) / K`; the
    spike is z(1/x_1) if z falls there, else the edge is the minimum of z.
    """
    from scipy.optimize import brentq

    order = np.sort(values)[::-1]
    top, rest = float(order[0]), order[1:]
    if rest.size == 0 or rest[0] <= 0:
        return top
    if tight:
        return top + float(rest.sum()) / k

    def rises(s: float) -> float:
        return float(np.sum((rest * s / (1 - rest * s)) ** 2) / k - 1)

    end = (1 - 1e-9) / float(rest[0])
    edge = brentq(rises, 0.0, end) if rises(end) > 0 else end
    s = min(float(edge), 1 / top)  # pyright: ignore
    return float(1 / s + np.sum(rest / (1 - rest * s)) / k)
