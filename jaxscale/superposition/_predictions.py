r"""What theory predicts of a teacher-student run: its stability limit, and exact curves.

The curves are those of linear students with a given W. Without a bottleneck on one-hot inputs
every entry of the slopes M relaxes alone. With `z_ij = eta w_i lambda_j` and the mean square
`q_ij` of one step,

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
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import Sgd
from jaxscale._schedules import Constant
from jaxscale._system import Observables, TheoryKind, no_closed_form
from jaxscale.fields import is_traced
from jaxscale.superposition._data import OneHot
from jaxscale.superposition._embedding import (
    AbstractEmbedding,
    Given,
    Identity,
    Pretrained,
    TightFrame,
    start_of,
)
from jaxscale.superposition._interface import AbstractTeacherStudent
from jaxscale.superposition._losses import (
    FreshBatches,
    Population,
    by_group,
    feature_strength,
    linear_split,
)
from jaxscale.superposition._outputs import Linear
from jaxscale.superposition._student import READOUT, Problem, RandomNormal, Student, half_limit
from jaxscale.superposition.theory._modes import decay, modes

NAMES = ("loss", "signal_loss", "interference_loss", "feature_strength", "step_size")
DEAD = "dead_outputs"
SOLVED = {  # values of the parts with which curves have closed forms
    "decoder": "Linear()", "embedding": "Identity() or Given(...)", "optimizer": "js.Sgd()",
    "schedule": "Constant()", "gradient": "Population()", "initial": "Zeros() or ScaledIdentity()",
}  # fmt: skip


def _relaxes_alone(system: AbstractTeacherStudent) -> bool:
    """Whether every entry of M relaxes alone."""
    return isinstance(system.embedding, Identity) and isinstance(system.inputs, OneHot)


def missing_parts(system: AbstractTeacherStudent) -> list[str]:
    """Names of the parts with which no curve has a closed form."""
    optimizer, alone = system.optimizer, _relaxes_alone(system)
    solved = {
        "decoder": isinstance(system.decoder, Linear),
        "embedding": isinstance(system.embedding, Identity | Given),
        "optimizer": isinstance(optimizer, Sgd) and optimizer.momentum is None,
        "schedule": isinstance(system.schedule, Constant),
        "gradient": alone or isinstance(system.gradient, Population),
        "initial": alone or not isinstance(system.initial, RandomNormal),
    }
    return [name for name, has_theory in solved.items() if not has_theory]


def what_theory_says(system: AbstractTeacherStudent) -> dict[str, dict[str, Any]]:
    """Fields of `Observable` for what has a closed form, and the reason for what has none."""
    if parts := missing_parts(system):
        needs = " unless inputs=OneHot() and embedding=Identity()"
        reason = no_closed_form(system, parts)
        reason += needs if {"gradient", "initial"} >= set(parts) else ""
        reason += f"; take {', '.join(f'{part}={SOLVED[part]}' for part in parts)}"
        return {name: {"no_theory": reason} for name in (*NAMES, DEAD)}
    alone, batches = _relaxes_alone(system), not isinstance(system.gradient, Population)
    curve = "bottleneck_loss"
    if alone:
        curve = "sgd_loss" if batches else "sequential_loss"
    functions = {
        "loss": curve,
        "signal_loss": curve if alone else "bottleneck_matrix",
        "interference_loss": curve if alone else "bottleneck_matrix",
        "feature_strength": "sequential_strength" if alone else "bottleneck_matrix",
        "step_size": "max_learning_rate",
    }
    limits = "mean over initial matrices and batches" if alone else "for the given W"
    return {DEAD: {"no_theory": "no closed form: it counts"}} | {
        name: {
            "predicted": TheoryKind.exact,
            "limits": limits,
            "functions": (f"superposition.theory.{function}",),
        }
        for name, function in functions.items()
    }


def predictions(system: AbstractTeacherStudent) -> Observables:
    """Observables with a closed form, differentiable in every float field."""
    if missing_parts(system):
        return {}
    problem = system.problem
    time = jnp.asarray(system.record_steps).astype(problem.teacher.targets.dtype)
    curves = _alone if _relaxes_alone(system) else _in_modes
    signal, interference, strength, rate = curves(system, problem, time)
    return {
        "loss": signal + interference,
        "signal_loss": signal,
        "interference_loss": interference,
        "feature_strength": strength,
        "step_size": jnp.broadcast_to(rate, time.shape),
    }


def _alone(
    system: AbstractTeacherStudent, problem: Problem, time: Float[Array, " t"]
) -> tuple[Array, ...]:
    scale, _ = problem.moments()
    weight, target = problem.teacher.weights, problem.teacher.targets
    rate, initial = system.matrix_rate(lambda: half_limit(problem, None)), system.initial
    start, noise = jnp.asarray(getattr(initial, "gain", 0.0)), None
    if isinstance(initial, RandomNormal):
        noise = jnp.asarray(initial.scale) ** 2 / scale.size
    spread = jnp.zeros_like(scale)
    if isinstance(system.gradient, FreshBatches):
        fourth = problem.probability * problem.inputs.amplitude.moment(4)
        spread = (fourth - scale**2) / system.gradient.batch_size

    def mean_square(weight: Array, t: Array) -> Array:
        z = rate * weight * scale
        return decay(2 * z - z**2 - (rate * weight) ** 2 * spread, t, discrete=True)

    def at(t: Float[Array, ""]) -> tuple[Array, ...]:
        gap = (target - start) ** 2
        interference = jnp.zeros(())
        if noise is not None:
            gap = gap + noise
            every = weight[:, None] * scale * mean_square(weight[:, None], t)
            interference = 0.5 * noise * (jnp.sum(every) - jnp.trace(every))
        signal = 0.5 * jnp.sum(weight * scale * gap * mean_square(weight, t))
        shrink = decay(rate * weight * scale, t, discrete=True)
        return signal, interference, by_group(1 - (1 - start / target) * shrink)

    return (*jax.lax.map(at, time), rate)


def _in_modes(
    system: AbstractTeacherStudent, problem: Problem, time: Float[Array, " t"]
) -> tuple[Array, ...]:
    p, teacher, (scale, mean) = problem.probability, problem.teacher, problem.moments()
    embedding: Any = system.embedding
    given = isinstance(embedding, Given)
    w = jnp.asarray(embedding.matrix) if given else jnp.eye(p.size, dtype=p.dtype)
    solved = modes(w, teacher.targets, teacher.weights, jnp.diag(scale) + jnp.outer(mean, mean))
    rate = system.matrix_rate(
        lambda: solved.max_learning_rate / 2 if given else half_limit(problem, None)
    )
    start = jnp.asarray(getattr(system.initial, "gain", 0.0)) * jnp.eye(w.shape[0], dtype=p.dtype)
    matrix = solved.matrix(rate, start, discrete=True)

    def at(t: Float[Array, ""]) -> tuple[Array, ...]:
        student = Student(matrix(t), jnp.zeros_like(p), w.T if given else None)
        split = linear_split(student, problem)
        signal = jnp.sum(teacher.weights * split.signal)
        interference = jnp.sum(teacher.weights * split.interference)
        return signal, interference, feature_strength(student, problem)

    return (*jax.lax.map(at, time), rate)


def rate_warnings(system: AbstractTeacherStudent) -> list[str]:
    """A rate of plain descent above the stability limit of the linear student."""
    name = "learning_rate" if system.embedding.matrix_name else "embedding_learning_rate"
    rate = system.learning_rate if getattr(system, name) is None else getattr(system, name)
    plain = isinstance(system.optimizer, Sgd) and system.optimizer.momentum is None
    learned = isinstance(start_of(system.embedding), Pretrained)
    if rate is None or not plain or learned or is_traced(*jax.tree.leaves(system)):
        return []
    limit = system.estimated_limit() / float(system.reduction.scale(system.n_features))
    if float(rate) < limit:
        return []
    size = "" if system.latent_size is None else f" at latent_size {int(system.latent_size)}"
    return [f"{name} {float(rate):g} exceeds the stability limit, about {limit:.3g}{size}"]


def estimated_limit(
    embedding: AbstractEmbedding,
    latent_size: int,
    scale: Float[np.ndarray, " f"],
    mean: Float[np.ndarray, " f"],
    weights: Float[np.ndarray, " f"],
) -> float:
    """Estimate the rate at which descent diverges without drawing W, for `plan`, in NumPy.

    `scale` and `mean` are D and v of the second moments `diag(D) + v v^T` of the inputs, `weights`
    those of the outputs in the loss.

    Random unit columns are taken as independent; the largest eigenvalue of `W diag(x) W^T` is then
    the spike of the first column on top of the others, or the edge of their bulk (`_top`). The
    edges of small matrices lie below those of large ones: at K = 32 the estimate is 0 to 25 % low.
    For V in place of `W^T B` only the inputs go through W.
    """
    start, untied = start_of(embedding), embedding.matrix_name == READOUT
    if isinstance(start, Identity):
        return 2.0 / float(weights.max() * (scale.max() + np.sum(mean**2)))
    if isinstance(start, Given):
        w = np.asarray(start.matrix, np.float64)
        moved = w @ mean
        inputs_gram = (w * scale) @ w.T + np.outer(moved, moved)
        gram = weights.max() if untied else np.linalg.eigvalsh((w * weights) @ w.T)[-1]
        return 2.0 / float(gram * np.linalg.eigvalsh(inputs_gram)[-1])
    tight = isinstance(start, TightFrame)
    gram = weights.max() if untied else _top(weights, latent_size, tight)
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
