"""`TeacherStudent`: a student learns `y = A x` of sparse features, with or without a bottleneck."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxscale._deprecated import deprecated_lengths
from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import Observable, Observables, Schema, Work, largest_divisor
from jaxscale.fields import (
    Integer,
    Real,
    Steps,
    dtype_field,
    is_traced,
    part,
    real,
    record_field,
    size,
    static_int,
)
from jaxscale.paths import get, replace
from jaxscale.spectra import power_law_shares
from jaxscale.superposition._cost import work
from jaxscale.superposition._data import AbstractInputs, OneHot
from jaxscale.superposition._embedding import (
    AbstractEmbedding,
    Frame,
    Given,
    Identity,
    RandomUnit,
)
from jaxscale.superposition._interface import ACTIVE, AbstractTeacherStudent
from jaxscale.superposition._losses import (
    AbstractGradient,
    AbstractReduction,
    FreshBatches,
    Population,
    SumOverOutputs,
    exact_split,
    feature_groups,
    feature_strength,
    has_exact_losses,
    sampled_split,
)
from jaxscale.superposition._outputs import AbstractDecoder, Linear, Relu
from jaxscale.superposition._predictions import (
    estimated_limit,
    predictions,
    rate_warnings,
    what_theory_says,
)
from jaxscale.superposition._student import (
    BIAS,
    DIRECTIONS,
    MATRIX,
    READOUT,
    AbstractImportance,
    AbstractInitial,
    InTarget,
    Problem,
    Quadratic,
    RandomNormal,
    Student,
    Task,
    Teacher,
    half_limit,
)

EMBEDDING_STREAM, MATRIX_STREAM, EVALUATION_STREAM, BIAS_STREAM = range(4)


class StudentState(eqx.Module):
    """Task, trained parameters by name, their optimizers and the number of steps taken."""

    task: Task
    trained: dict[str, Array]
    optimizer: dict[str, Any]
    count: Int[Array, ""]

    @property
    def student(self) -> Student:
        """The student, trained and frozen parts together."""
        return self.task.student(self.trained)


FREQUENCY = "frequency_exponent"


@functools.lru_cache(maxsize=16)
def _places_at(*inputs: Hashable) -> dict[tuple[float, ...], int]:
    """Places by frequency exponent and numbers of these inputs, for all programs a plan tries."""
    return {}


@deprecated_lengths(
    max_latent_size="latent_size",
    padded_latent_size="latent_size",
    max_active=ACTIVE,
    places=ACTIVE,
)
class TeacherStudent(AbstractTeacherStudent):
    r"""Student `yhat = f(W^T B W x + bias)` of the teacher `y_i = A_i x_i` on sparse features.

    Feature `i = 1..N` is active with probability `p_i` proportional to `i^-a` and has importance
    `i^-b`; W embeds the features in K dimensions, B is `(K, K)`. The loss is
    `sum_i w_i E (yhat_i - A_i x_i)^2 / 2`: the **sum** over outputs (a mean over outputs needs
    N/2 times the learning rate; `reduction=MeanOverOutputs()` reads rates in that convention).

    **Arguments**

    - `n_features`: N.
    - `latent_size`: K <= N; N with `Identity()`.
    - `frequency_exponent`: a; not given where `inputs` has a table of probabilities.
    - `importance_exponent`: b >= 0.
    - `inputs`: `OneHot(amplitude)` or `Bernoulli(mean_active, amplitude)`, with `Uniform(low,
      high)` or `Fixed(value)` amplitudes.
    - `importance`: `InTarget()` (`A_i = i^-b`) or `InLoss()` (`w_i = i^-2b`).
    - `embedding`: `Identity()` (no superposition), `RandomUnit()`, `RandomGaussian()`,
      `TightFrame()`, `Pretrained()`, `Given(matrix)`; `Joint(start)`, `Tied(start)` (no B) and
      `Untied(start)` (V in place of `W^T B`) train W.
    - `decoder`: `Linear()` or `Relu(bias=True, bias_scale=0.0)`.
    - `initial`: B(0): `RandomNormal(scale)`, `ScaledIdentity(gain)` or `Zeros()`.
    - `gradient`: `Population()` or `FreshBatches(batch_size)`.
    - `learning_rate`: of B (of V with `Untied()`); None, with `Sgd()`, for half the stability limit
      of the linear student whose W is frozen, which depends on the W that was drawn and is in the
      observable `step_size`.
    - `bias_learning_rate`, `embedding_learning_rate`: of the biases and of W; None for the same.
    - `bias_rate_factor`: the rate of the biases over `learning_rate`, in place of the former.
    - `reduction`: `SumOverOutputs()` or `MeanOverOutputs(factor)`: what is descended on. With
      `Sgd()` it multiplies the rates that are given, and `step_size` is that of the sum.
    - `optimizer`, `schedule`, `n_steps`, `record`: as in every trained system.
    - `n_evaluation`: samples of the loss where it has no closed form (`Relu()` on `Bernoulli()`).
    - `dtype`: float32 or float64.

    `signal_loss` is what outputs lose in samples in which their own feature is active,
    `interference_loss` what they lose in the others, where they should be silent. Their sum is
    exact with `Linear()` and on `OneHot()` inputs.

    `predict` needs `Linear()`, `Identity()` or `Given(matrix)`, and `Sgd()` without momentum at a
    constant rate; unless the embedding is `Identity()` and the inputs `OneHot()`, also
    `Population()` and a start that is not drawn. `dead_outputs` is never predicted. For a W that
    was drawn and is frozen, take `w = js.train(system, key).student.embedding` and use
    `theory.bottleneck_loss(steps, w, ..., initial_matrix=..., discrete=True)`, or the same system
    with `Given(matrix=w)`, `Population()` and such a start.

    **Raises** `ValueError` for anything out of range.

    **Reference**: derived here, for the setting of Chen, Chen, Liu and Gore 2026, arXiv 2602.01045,
    of which the abstract is known; not a copy of their student.
    """

    n_features: int = static_int(256)
    latent_size: Integer | None = size(None, optional=True)
    frequency_exponent: Real | None = real(None, at_least=0.0, optional=True)
    importance_exponent: Real = real(0.0, at_least=0.0)
    inputs: AbstractInputs = part(AbstractInputs, OneHot())
    importance: AbstractImportance = part(AbstractImportance, InTarget())
    embedding: AbstractEmbedding = part(AbstractEmbedding, RandomUnit())
    decoder: AbstractDecoder = part(AbstractDecoder, Relu())
    initial: AbstractInitial = part(AbstractInitial, RandomNormal())
    gradient: AbstractGradient = part(AbstractGradient, FreshBatches())
    learning_rate: Real | None = real(None, above=0.0, optional=True)
    bias_learning_rate: Real | None = real(None, above=0.0, optional=True)
    bias_rate_factor: Real | None = real(None, above=0.0, optional=True)
    embedding_learning_rate: Real | None = real(None, above=0.0, optional=True)
    reduction: AbstractReduction = part(AbstractReduction, SumOverOutputs())
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    n_steps: int = static_int(1000)
    record: Steps | None = record_field()
    n_evaluation: int = static_int(4096)
    dtype: str = dtype_field("float32")

    def lengths_for(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Dimensions of the embedding, and places for the active features of a sample."""
        lengths, inputs = super().lengths_for(columns), self.inputs
        if isinstance(self.embedding, Identity):
            lengths["latent_size"] = self.n_features
        elif isinstance(self.embedding, Given) and self.latent_size is None:
            lengths["latent_size"] = np.shape(self.embedding.matrix)[0]
        if isinstance(inputs, OneHot):
            lengths[ACTIVE] = 1
        elif not is_traced(self.frequency_exponent, *jax.tree.leaves(inputs)):
            lengths[ACTIVE] = self._places(columns)
        return lengths

    def _places(self, columns: Mapping[str, Any]) -> int:
        """Places for the active features of this system and of every run of `columns`."""
        paths = [FREQUENCY, *(p for p in columns if p.rpartition(".")[0] == "inputs")]
        own = [np.atleast_1d(get(self, path)) for path in paths]
        swept = (np.atleast_1d(columns.get(p, o)) for p, o in zip(paths, own, strict=True))
        numbers = zip(own, np.broadcast_arrays(*swept), strict=True)
        rows = set(zip(*(np.append(*pair).tolist() for pair in numbers), strict=True))
        leaves, structure = jax.tree.flatten(self.inputs)
        content = tuple(np.asarray(leaf).tobytes() for leaf in leaves)
        places = _places_at(structure, content, tuple(paths), self.n_features)
        for row in rows - places.keys():
            inputs = self.inputs
            for path, value in zip(paths[1:], row[1:], strict=True):
                inputs = replace(inputs, path.removeprefix("inputs."), value)
            places[row] = inputs.n_listed(self._shares(row[0]))
        return max(places[row] for row in rows)

    def _shares(self, exponent: Any) -> np.ndarray:
        n, table = self.n_features, self.inputs.probabilities
        return power_law_shares(float(exponent), n) if table is None else np.asarray(table)

    @property
    def problem(self) -> Problem:
        """Inputs, teacher and output function at this setting."""
        n, table, a = self.n_features, self.inputs.probabilities, self.frequency_exponent
        shares = power_law_shares(jnp.asarray(a), n) if table is None else jnp.asarray(table)
        exponent = jnp.asarray(self.importance_exponent)
        importance = jnp.arange(1, n + 1, dtype=exponent.dtype) ** -exponent
        teacher = Teacher(*self.importance.targets_and_weights(importance))
        return Problem(self.inputs, self.inputs.probability(shares), teacher, self.decoder)

    def _problem_of(self, task: Task) -> Problem:
        """The problem of a run, with what its state holds."""
        return Problem(self.inputs, task.probability, task.teacher, self.decoder)

    def matrix_rate(self, half_limit: Callable[[], Float[Array, ""]]) -> Float[Array, ""]:
        """Learning rate of B: the one that is given, or half the stability limit."""
        return half_limit() if self.learning_rate is None else self._scaled(self.learning_rate)

    def _scaled(self, rate: Real) -> Float[Array, ""]:
        """A rate that is given, for the summed loss if it multiplies the gradient."""
        plain = isinstance(self.optimizer, Sgd)
        return jnp.asarray(rate) * (self.reduction.scale(self.n_features) if plain else 1.0)

    @property
    def schema(self) -> Schema:
        """Losses, strengths by group of features, dead outputs and the step size."""
        theory = what_theory_says(self)
        step, group = ("step",), ("step", "group")
        response = "response of outputs to their own feature over its target, mean of the group"
        table = {
            "loss": (step, "target²", "population loss, summed over outputs"),
            "signal_loss": (step, "target²", "part of the loss on outputs of active features"),
            "interference_loss": (step, "target²", "part of the loss on outputs of silent ones"),
            "feature_strength": (group, "1", response),
            "dead_outputs": (step, "1", "outputs that no amplitude of their own feature moves"),
            "step_size": (step, "1", "learning rate of B (V, or W where tied) at this step"),
        }
        observables = {
            name: Observable(*described, signed=name == "feature_strength", **theory[name])
            for name, described in table.items()
        }
        groups = np.asarray(feature_groups(self.n_features))
        coordinates = {"step": np.asarray(self.record_steps), "group": groups}
        return Schema(observables, coordinates, "teacher-student")

    def init(self, key: Key[Array, ""]) -> StudentState:
        """Draw W and B, set the rates, and start the optimizers."""
        problem, embedding, padded = self.problem, self.embedding, self.padded("latent_size")
        latent = jnp.asarray(padded if self.latent_size is None else self.latent_size, jnp.int32)
        source = self.inputs.source(problem.probability, self.padded(ACTIVE))
        frame = Frame(latent, padded, problem, source)
        directions = embedding.directions(jr.fold_in(key, EMBEDDING_STREAM), frame)
        trained: dict[str, Any] = {}
        if embedding.matrix_name is not None:
            matrix_key = jr.fold_in(key, MATRIX_STREAM)
            matrix = self.initial.matrix(matrix_key, frame.inside, self.dtype)
            if embedding.matrix_name == READOUT and directions is not None:
                matrix = directions @ matrix
            trained[embedding.matrix_name] = matrix
        if self.decoder.bias:
            bias_key = jr.fold_in(key, BIAS_STREAM)
            trained[BIAS] = self.decoder.initial_bias(bias_key, self.n_features, self.dtype)
        if embedding.trains:
            trained[DIRECTIONS] = directions
        form = None if directions is None else Quadratic.of(directions, problem)
        rate = self.matrix_rate(lambda: half_limit(problem, form, embedding.matrix_name))
        own = {BIAS: self.bias_learning_rate, DIRECTIONS: self.embedding_learning_rate}
        rates = {name: rate if r is None else self._scaled(r) for name, r in own.items()}
        if self.bias_rate_factor is not None:
            rates[BIAS] = jnp.asarray(self.bias_rate_factor) * rate
        linear = isinstance(self.decoder, Linear) and isinstance(self.gradient, Population)
        task = Task(
            probability=problem.probability,
            teacher=problem.teacher,
            source=source,
            directions=None if embedding.trains else directions,
            quadratic=form if linear and trained.keys() == {MATRIX} else None,
            rates={embedding.matrix_name or MATRIX: rate, **rates},
            evaluation_key=jr.fold_in(key, EVALUATION_STREAM),
        )
        optimizer = {name: self.optimizer.init(value) for name, value in trained.items()}
        return StudentState(task, trained, optimizer, jnp.zeros((), jnp.int32))

    def step(self, state: StudentState, key: Key[Array, ""]) -> StudentState:
        """One step of every group of parameters at its own rate."""
        gradient = self.gradient(state.trained, state.task, self._problem_of(state.task), key)
        if not isinstance(self.optimizer, Sgd):
            scale = self.reduction.scale(self.n_features)
            gradient = jax.tree.map(lambda g: scale * g, gradient)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        trained, optimizer = {}, {}
        for name, value in state.trained.items():
            trained[name], optimizer[name] = self.optimizer.update(
                value, gradient[name], state.optimizer[name], state.task.rates[name], factor
            )
        return StudentState(state.task, trained, optimizer, state.count + 1)

    def observe(self, state: StudentState) -> Observables:
        """Losses split into signal and interference, strengths, dead outputs, step size."""
        student, problem = state.student, self._problem_of(state.task)
        if has_exact_losses(self.decoder, self.inputs):
            split = exact_split(student, problem)
        else:
            split = sampled_split(student, state.task, problem, self.n_evaluation)
        weights = problem.teacher.weights
        signal = jnp.sum(weights * split.signal)
        interference = jnp.sum(weights * split.interference)
        dead = self.decoder.dead(self.inputs.amplitude, student.own_slopes(), student.bias)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        rate = self.embedding.matrix_name or DIRECTIONS
        return {
            "loss": signal + interference,
            "signal_loss": signal,
            "interference_loss": interference,
            "feature_strength": feature_strength(student, problem),
            "dead_outputs": jnp.sum(dead, dtype=self.dtype),
            "step_size": state.task.rates[rate] * factor,
        }

    def predict(self) -> Observables:
        """Exact curves of a linear student whose W is known, see `schema`."""
        return predictions(self)

    def work(self) -> Work:
        """Products with W and B of every step, the losses at the records, and the start."""
        return work(self)

    def with_micro_batch(self, max_floats: float) -> "TeacherStudent":
        """Gradient slices of the largest divisor of the batch whose outputs fit."""
        gradient = self.gradient
        if not isinstance(gradient, FreshBatches) or gradient.micro_batch is not None:
            return self
        n, batch = self.n_features, gradient.batch_size
        micro = largest_divisor(batch, max_floats / n)
        if 8 * micro * n < max_floats or micro < min(64, batch):
            return self  # slices so thin would waste the products they are made of
        return dataclasses.replace(self, gradient=replace(gradient, "micro_batch", micro))

    def warnings(self) -> list[str]:
        """A rate of plain descent above the stability limit of the linear student."""
        return rate_warnings(self)

    def estimated_limit(self) -> float:
        """The stability limit, before W is drawn."""
        n, inputs = self.n_features, self.inputs
        p = np.asarray(inputs.probability(self._shares(self.frequency_exponent)))
        scale, mean = (np.asarray(moment) for moment in inputs.moments(p))
        importance = np.arange(1.0, n + 1) ** -float(self.importance_exponent)
        _, weights = self.importance.targets_and_weights(importance)
        latent = n if self.latent_size is None else int(self.latent_size)
        return estimated_limit(self.embedding, latent, scale, mean, weights)
