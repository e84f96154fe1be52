"""Learning rates at which full-batch descent of the linear student is stable."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale.linalg import eigh
from jaxscale.superposition.data import Bernoulli
from jaxscale.superposition.embedding import Given, Identity, Joint, TightFrame
from jaxscale.superposition.gradient import Quadratic
from jaxscale.superposition.losses import Teacher

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


def estimated_limit(system: Any) -> float:
    """The stability limit without drawing W, for `plan`; within a few per cent above K = 16.

    `g_max` is the edge of the Marchenko-Pastur law, `(1 + sqrt(N/K))^2`, or `N/K` of a tight frame;
    the largest eigenvalue of `W diag(lambda) W^T` is about `lambda_1 + sum_{i>1} lambda_i / K`.
    """
    n, inputs = system.n_features, system.inputs
    with jax.enable_x64(True):
        first, second = (float(inputs.amplitude.moment(k)) for k in (1, 2))
        p = np.asarray(inputs.probability(system.shares))
        weight = np.asarray(system.teacher.weights)
    independent = isinstance(inputs, Bernoulli)
    mean = p * first if independent else np.zeros(n)
    scale = p * second - mean**2
    embedding = system.embedding
    start = embedding.start if isinstance(embedding, Joint) else embedding
    if isinstance(start, Identity):
        return 2.0 / float(weight.max() * (scale.max() + np.sum(mean**2)))
    if isinstance(start, Given):
        w = np.asarray(start.matrix, np.float64)
        gram, moved = (w * weight) @ w.T, w @ mean
        inputs_gram = (w * scale) @ w.T + np.outer(moved, moved)
        return 2.0 / float(np.linalg.eigvalsh(gram)[-1] * np.linalg.eigvalsh(inputs_gram)[-1])
    k = int(system.latent_size)
    flat = bool(np.ptp(weight) < 1e-12)
    tight = isinstance(start, TightFrame)
    gram = weight[0] * (n / k if tight else (1 + np.sqrt(n / k)) ** 2) if flat else _top(weight, k)
    return 2.0 / float(gram * (_top(scale, k) + np.sum(mean**2)))


def _top(values: np.ndarray, k: int) -> float:
    """About the largest eigenvalue of `W diag(values) W^T` for random unit directions."""
    return float(values.max() + (values.sum() - values.max()) / k)
