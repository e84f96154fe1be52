r"""What theory predicts of a teacher-student run: exact curves of linear students with a known W.

Without a bottleneck on one-hot inputs every entry of S relaxes alone. With
`z_ij = eta w_i lambda_j` and the mean square `q_ij` of one step,

$$q_{ij} = (1 - z_{ij})^2 \quad \text{(population)}, \qquad
  q_{ij} = (1 - z_{ij})^2 + \frac{\eta^2 w_i^2}{n}\left(p_j \langle u^4 \rangle
    - \lambda_j^2\right) \quad \text{(fresh batches of } n)$$

a normal start of variance `e^2` adds `e^2 w_i lambda_j q_ij^t / 2` to the mean loss on entry
(i, j). Otherwise B(t) follows from the eigenbases of `theory.bottleneck_matrix`, and its losses
from the same formulas as those of the simulation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxscale._optimizers import Sgd
from jaxscale._schedules import Constant
from jaxscale._system import Observables, TheoryKind
from jaxscale.superposition._data import OneHot
from jaxscale.superposition._decoders import Linear
from jaxscale.superposition._embedding import Given, Identity
from jaxscale.superposition._gradient import FreshBatches, Population
from jaxscale.superposition._losses import by_group, feature_strength, linear_split
from jaxscale.superposition._stability import half_limit
from jaxscale.superposition._student import RandomNormal, Student
from jaxscale.superposition.theory._modes import modes
from jaxscale.superposition.theory._relaxation import decay

NAMES = ("loss", "signal_loss", "interference_loss", "feature_strength", "step_size")


def _is_alone(system: Any) -> bool:
    """Whether every entry of S relaxes alone."""
    return isinstance(system.embedding, Identity) and isinstance(system.inputs, OneHot)


def predicted_kinds(system: Any) -> dict[str, tuple[TheoryKind, str]]:
    """Observables with a closed form, and its limits."""
    plain = isinstance(system.optimizer, Sgd) and system.optimizer.momentum is None
    plain &= isinstance(system.schedule, Constant) and isinstance(system.decoder, Linear)
    alone = _is_alone(system)
    if not plain or not isinstance(system.embedding, Identity | Given):
        return {}
    if not alone and not isinstance(system.gradient, Population):
        return {}
    random = isinstance(system.initial, RandomNormal)
    if random and not alone:
        return {}
    limits = "mean over initial matrices and batches" if alone else ""
    return dict.fromkeys(NAMES, (TheoryKind.exact, limits))


def predicted(system: Any) -> Observables:
    """Observables of `predicted_kinds`, differentiable in every float field."""
    if not predicted_kinds(system):
        return {}
    time = jnp.asarray(system.record_steps).astype(jnp.asarray(system.importance_exponent).dtype)
    values = _alone(system, time) if _is_alone(system) else _in_modes(system, time)
    signal, interference, strength, rate = values
    return {
        "loss": signal + interference,
        "signal_loss": signal,
        "interference_loss": interference,
        "feature_strength": strength,
        "step_size": jnp.broadcast_to(rate, time.shape),
    }


def _alone(system: Any, time: Float[Array, " t"]) -> tuple[Array, ...]:
    teacher, n = system.teacher, system.n_features
    p = system.inputs.probability(system.shares)
    scale, mean = system.inputs.moments(p)
    given = system.learning_rate
    rate = half_limit(None, scale, mean, teacher) if given is None else jnp.asarray(given)
    weight, target, initial = teacher.weights, teacher.targets, system.initial
    start = jnp.asarray(getattr(initial, "gain", 0.0))
    noise = jnp.asarray(initial.scale) ** 2 / n if isinstance(initial, RandomNormal) else None
    spread = jnp.zeros_like(scale)
    if isinstance(system.gradient, FreshBatches):
        fourth = p * system.inputs.amplitude.moment(4)
        spread = (fourth - scale**2) / system.gradient.batch_size

    def mean_square(weight: Array, t: Array) -> Array:
        z = rate * weight * scale
        return decay(2 * z - z**2 - (rate * weight) ** 2 * spread, t, discrete=True)

    def at(t: Float[Array, ""]) -> tuple[Array, ...]:
        own = mean_square(weight, t)
        gap = (target - start) ** 2
        interference = jnp.zeros(())
        if noise is not None:
            gap = gap + noise
            every = weight[:, None] * scale * mean_square(weight[:, None], t)
            interference = 0.5 * noise * (jnp.sum(every) - jnp.trace(every))
        signal = 0.5 * jnp.sum(weight * scale * gap * own)
        shrink = decay(rate * weight * scale, t, discrete=True)
        strength = 1 - (1 - start / target) * shrink
        return signal, interference, by_group(strength)

    return (*jax.lax.map(at, time), rate)


def _in_modes(system: Any, time: Float[Array, " t"]) -> tuple[Array, ...]:
    teacher, n = system.teacher, system.n_features
    p = system.inputs.probability(system.shares)
    scale, mean = system.inputs.moments(p)
    has_matrix = isinstance(system.embedding, Given)
    w = jnp.asarray(system.embedding.matrix) if has_matrix else jnp.eye(n, dtype=p.dtype)
    problem = modes(w, teacher.targets, teacher.weights, jnp.diag(scale) + jnp.outer(mean, mean))
    if system.learning_rate is not None:
        rate = jnp.asarray(system.learning_rate)
    elif has_matrix:
        rate = problem.max_learning_rate / 2
    else:
        rate = half_limit(None, scale, mean, teacher)
    start = jnp.asarray(getattr(system.initial, "gain", 0.0)) * jnp.eye(w.shape[0], dtype=p.dtype)
    matrix = problem.matrix(rate, start, discrete=True)

    def at(t: Float[Array, ""]) -> tuple[Array, ...]:
        student = Student(matrix(t), jnp.zeros_like(p), w.T if has_matrix else None)
        split = linear_split(student, system.inputs, p, teacher)
        strength = feature_strength(student, system.decoder, system.inputs, teacher)
        signal = jnp.sum(teacher.weights * split.signal)
        return signal, jnp.sum(teacher.weights * split.interference), strength

    return (*jax.lax.map(at, time), rate)
