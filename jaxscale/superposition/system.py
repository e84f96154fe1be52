"""`TeacherStudent`: a student learns `y = A x` of sparse features, with or without a bottleneck."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxscale.fields import (
    Integer,
    Real,
    as_int,
    converted,
    derived,
    dtype_field,
    is_traced,
    part,
    real,
    record_field,
    size,
    static_int,
)
from jaxscale.optimizers import AbstractOptimizer, Sgd
from jaxscale.paths import replace
from jaxscale.schedules import AbstractSchedule, Constant
from jaxscale.spectra import power_law_shares
from jaxscale.superposition.checks import check_rates, check_sizes, places_at, places_of
from jaxscale.superposition.closed_form import predicted, predicted_kinds
from jaxscale.superposition.cost import work_of
from jaxscale.superposition.data import AbstractInputs, OneHot
from jaxscale.superposition.decoders import AbstractDecoder, Linear, Relu
from jaxscale.superposition.embedding import (
    AbstractEmbedding,
    Frame,
    Given,
    Identity,
    Pretrained,
    RandomUnit,
)
from jaxscale.superposition.gradient import (
    AbstractGradient,
    FreshBatches,
    Population,
    Quadratic,
    Task,
)
from jaxscale.superposition.importance import AbstractImportance, InTarget
from jaxscale.superposition.losses import (
    Teacher,
    feature_groups,
    feature_strength,
    split_losses,
)
from jaxscale.superposition.stability import estimated_limit, half_limit
from jaxscale.superposition.student import (
    BIAS,
    DIRECTIONS,
    MATRIX,
    AbstractInitial,
    RandomNormal,
    Student,
)
from jaxscale.system import (
    AbstractTrainedSystem,
    Observable,
    Observables,
    Predicted,
    Schema,
    Work,
    largest_divisor,
)
from jaxscale.training import check_record

EMBEDDING_STREAM, MATRIX_STREAM, EVALUATION_STREAM = range(3)


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


OPEN = (Predicted.none, "")
SIGNED = ("feature_strength",)


class TeacherStudent(AbstractTrainedSystem):
    r"""Student `yhat = f(W^T B W x + bias)` of the teacher `y_i = A_i x_i` on sparse features.

    Feature `i = 1..N` is active with probability `p_i` proportional to `i^-a` and has importance
    `i^-b`; W embeds the features in K dimensions, B is `(K, K)`. The loss is
    `sum_i w_i E (yhat_i - A_i x_i)^2 / 2`: the **sum** over outputs (a mean over outputs needs
    N/2 times the learning rate).

    **Arguments**

    - `n_features`: N.
    - `latent_size`: K <= N; N with `Identity()`. `max_latent_size` pads it (set by the planner).
    - `frequency_exponent`: a; left out where `inputs` has a table of probabilities.
    - `importance_exponent`: b >= 0.
    - `inputs`: `OneHot(amplitude)` or `Bernoulli(mean_active, amplitude)`, with `Uniform(low,
      high)` or `Fixed(value)` amplitudes.
    - `importance`: `InTarget()` (`A_i = i^-b`) or `InLoss()` (`w_i = i^-2b`).
    - `embedding`: `Identity()` (no superposition), `RandomUnit()`, `TightFrame()`, `Pretrained()`,
      `Given(matrix)`; `Joint(start)` and `Tied(start)` train W.
    - `decoder`: `Linear()` or `Relu(bias=True)`.
    - `initial`: B(0): `RandomNormal(scale)`, `ScaledIdentity(gain)` or `Zeros()`.
    - `gradient`: `Population()` or `FreshBatches(batch_size)`.
    - `learning_rate`: of B; None, with `Sgd()`, for half the stability limit of the linear student,
      which depends on the W that was drawn and is told by the observable `step_size`.
    - `bias_learning_rate`, `embedding_learning_rate`: of the biases and of W; None for the same.
    - `optimizer`, `schedule`, `n_steps`, `record`: as in every trained system.
    - `n_evaluation`: samples of the loss where it has no closed form (`Relu()` on `Bernoulli()`).
    - `dtype`: float32 or float64.
    - `max_active`: places for active features, set by the planner.

    `signal_loss` is what outputs lose in samples in which their own feature is active,
    `interference_loss` what they lose in the others, where they should be silent. Their sum is
    exact with `Linear()` and on `OneHot()` inputs.

    `predict` knows W only of `Identity()` and `Given(matrix)`. For a drawn one, take
    `w = js.train(system, key).student.embedding` of a frozen embedding and use
    `theory.bottleneck_loss(steps, w, ...)`, or the same system with `Given(matrix=w)`.

    **Raises** `ValueError` for anything out of range.

    **Reference**: derived here, for the setting of Chen, Chen, Liu and Gore 2026, arXiv 2602.01045,
    of which the abstract is known; not a copy of their student.
    """

    n_features: int = static_int(256)
    latent_size: Integer | None = size(None, optional=True)
    max_latent_size: int | None = static_int(None, optional=True)
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
    embedding_learning_rate: Real | None = real(None, above=0.0, optional=True)
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    n_steps: int = static_int(1000)
    record: tuple[int, ...] | None = record_field()
    n_evaluation: int = static_int(4096)
    dtype: str = dtype_field("float32")
    max_active: int | None = derived(int)

    def __post_init__(self):
        latent_size = converted(self, "latent_size")
        if latent_size is None and not isinstance(self.embedding, Identity | Given):
            raise ValueError("`latent_size` must be given with a bottleneck, got None.")
        if latent_size is not None and self.max_latent_size is None and not is_traced(latent_size):
            self.max_latent_size = as_int("latent_size", latent_size)
        needed = places_of(self)
        if self.max_active is None:
            self.max_active = needed
        elif needed is not None and self.max_active < needed:
            raise ValueError(
                f"`max_active` must be at least {needed} (leave it out), got {self.max_active}."
            )

    def __check_init__(self):
        check_record(self.record, self.n_steps)
        self.gradient.check(self.decoder, self.inputs)
        check_sizes(self)
        check_rates(self)

    @property
    def padded_latent_size(self) -> int:
        """Dimensions of the arrays, the static maximum of `latent_size`."""
        if isinstance(self.embedding, Identity):
            return self.n_features
        if isinstance(self.embedding, Given) and self.latent_size is None:
            return np.shape(self.embedding.matrix)[0]
        if self.max_latent_size is None:
            raise ValueError("`max_latent_size` must be given where `latent_size` is traced.")
        return self.max_latent_size

    @property
    def places(self) -> int:
        """Places for active features in the list of a sample."""
        if self.max_active is None:
            raise ValueError(
                "`max_active` must be given where frequency_exponent or mean_active is traced: "
                "take it from `system.enclosing({path: values})` of a system with plain numbers."
            )
        return self.max_active

    @property
    def trained_names(self) -> tuple[str, ...]:
        """Groups of parameters that train."""
        has = {
            MATRIX: self.embedding.has_matrix,
            BIAS: self.decoder.has_bias,
            DIRECTIONS: self.embedding.trains,
        }
        return tuple(name for name, there in has.items() if there)

    @property
    def shares(self) -> Float[Array, " f"]:
        """Power law `i^-a / sum_j j^-a`, or the table of the inputs."""
        if self.inputs.probabilities is not None:
            return jnp.asarray(self.inputs.probabilities)
        return power_law_shares(jnp.asarray(self.frequency_exponent), self.n_features)

    @property
    def teacher(self) -> Teacher:
        """Targets and loss weights."""
        exponent = jnp.asarray(self.importance_exponent)
        importance = jnp.arange(1, self.n_features + 1, dtype=exponent.dtype) ** -exponent
        return Teacher(self.importance.targets(importance), self.importance.weights(importance))

    @property
    def schema(self) -> Schema:
        """Losses, strengths by group of features, dead outputs and the step size."""
        kinds = predicted_kinds(self)
        step, group = ("step",), ("step", "group")
        table = {
            "loss": (step, "target²", "population loss, summed over outputs"),
            "signal_loss": (step, "target²", "part of the loss on outputs of active features"),
            "interference_loss": (step, "target²", "part of the loss on outputs of silent ones"),
            "feature_strength": (
                group,
                "1",
                "response of outputs to their own feature over its target, mean of the group",
            ),
            "dead_outputs": (step, "1", "outputs that no amplitude of their own feature moves"),
            "step_size": (step, "1", "learning rate of B (of W where tied) at this step"),
        }
        observables = {
            name: Observable(dims, units, text, *kinds.get(name, OPEN), name in SIGNED)
            for name, (dims, units, text) in table.items()
        }
        coordinates = {
            "step": np.asarray(self.record_steps),
            "group": np.asarray(feature_groups(self.n_features)),
        }
        return Schema(observables, coordinates, "teacher-student")

    def enclosing(self, columns: Mapping[str, Any]) -> "TeacherStudent":
        """The same system with places for the active features of every run of `columns`."""
        if isinstance(self.inputs, OneHot):
            return self
        own = {"frequency_exponent": self.frequency_exponent}
        own |= {"inputs.mean_active": getattr(self.inputs, "mean_active", None)}
        swept = [np.atleast_1d(columns.get(n, np.nan if v is None else v)) for n, v in own.items()]
        pairs = np.unique(np.stack(np.broadcast_arrays(*swept), axis=-1).astype(float), axis=0)
        needed = (places_at(self.inputs, self.n_features, *pair) for pair in pairs.tolist())
        most = max(places_of(self) or 1, *needed)
        return dataclasses.replace(self, max_active=most)

    def init(self, key: Key[Array, ""]) -> StudentState:
        """Draw W and B, find the rates, and start the optimizers."""
        task, start = self._task(key)
        optimizer = {name: self.optimizer.init(value) for name, value in start.items()}
        return StudentState(task, start, optimizer, jnp.zeros((), jnp.int32))

    def _task(self, key: Key[Array, ""]) -> tuple[Task, dict[str, Array]]:
        latent = jnp.asarray(
            self.padded_latent_size if self.latent_size is None else self.latent_size, jnp.int32
        )
        probability = self.inputs.probability(self.shares)
        source = self.inputs.source(probability, self.places)
        teacher = self.teacher
        frame = Frame(latent, self.padded_latent_size, self.inputs, source)
        directions = self.embedding.directions(jr.fold_in(key, EMBEDDING_STREAM), frame)
        matrix = None
        if self.embedding.has_matrix:
            matrix = self.initial.matrix(
                jr.fold_in(key, MATRIX_STREAM), latent, self.padded_latent_size, self.dtype
            )
        parts = {MATRIX: matrix, BIAS: jnp.zeros_like(probability), DIRECTIONS: directions}
        scale, mean = self.inputs.moments(probability)
        form = None if directions is None else Quadratic.of(directions, scale, mean, teacher)
        names = self.trained_names
        rate = self.learning_rate
        rate = half_limit(form, scale, mean, teacher) if rate is None else jnp.asarray(rate)
        rates = {
            MATRIX: rate,
            BIAS: rate if self.bias_learning_rate is None else jnp.asarray(self.bias_learning_rate),
            DIRECTIONS: rate
            if self.embedding_learning_rate is None
            else jnp.asarray(self.embedding_learning_rate),
        }
        linear = isinstance(self.decoder, Linear) and isinstance(self.gradient, Population)
        task = Task(
            source=source,
            teacher=teacher,
            directions=None if self.embedding.trains else directions,
            quadratic=form if linear and names == (MATRIX,) else None,
            rates=rates,
            evaluation_key=jr.fold_in(key, EVALUATION_STREAM),
        )
        return task, {name: parts[name] for name in names}

    def step(self, state: StudentState, key: Key[Array, ""]) -> StudentState:
        """One step of every group of parameters at its own rate."""
        gradient = self.gradient(state.trained, state.task, self.decoder, self.inputs, key)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        trained, optimizer = {}, {}
        for name, value in state.trained.items():
            trained[name], optimizer[name] = self.optimizer.update(
                value, gradient[name], state.optimizer[name], state.task.rates[name], factor
            )
        return StudentState(state.task, trained, optimizer, state.count + 1)

    def observe(self, state: StudentState) -> Observables:
        """Losses split into signal and interference, strengths, dead outputs, step size."""
        found = self.measure(state.student, state.task)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        rate = MATRIX if self.embedding.has_matrix else DIRECTIONS
        return {**found, "step_size": state.task.rates[rate] * factor}

    def measure(self, student: Student, task: Task) -> Observables:
        """Observables of a student."""
        split = split_losses(
            student,
            self.decoder,
            self.inputs,
            task.source,
            task.teacher,
            task.evaluation_key,
            self.n_evaluation,
            one_hot=isinstance(self.inputs, OneHot),
        )
        weights = task.teacher.weights
        signal = jnp.sum(weights * split.signal)
        interference = jnp.sum(weights * split.interference)
        dead = self.decoder.dead(self.inputs.amplitude, student.own_slopes(), student.bias)
        return {
            "loss": signal + interference,
            "signal_loss": signal,
            "interference_loss": interference,
            "feature_strength": feature_strength(student, self.decoder, self.inputs, task.teacher),
            "dead_outputs": jnp.sum(dead, dtype=self.dtype),
        }

    def predict(self) -> Observables:
        """Exact curves of a linear student whose W is known, see `schema`."""
        return predicted(self)

    def work(self) -> Work:
        """Products with W and B, forward and backward, and the losses at the recorded steps."""
        return work_of(self)

    def sliced(self, max_floats: float) -> "TeacherStudent":
        """Gradient slices of the largest divisor of the batch whose outputs fit."""
        gradient = self.gradient
        if not isinstance(gradient, FreshBatches) or gradient.micro_batch is not None:
            return self
        n, batch = self.n_features, gradient.batch_size
        micro = largest_divisor(batch, max_floats / n)
        if 8 * micro * n < max_floats or micro < min(64, batch):
            return self  # slices so thin would waste the products they are made of
        return replace(self, "gradient.micro_batch", micro)

    def warnings(self) -> list[str]:
        """A rate of plain descent above the stability limit of the linear student."""
        name = "learning_rate" if self.embedding.has_matrix else "embedding_learning_rate"
        rate = self.learning_rate if getattr(self, name) is None else getattr(self, name)
        plain = isinstance(self.optimizer, Sgd) and self.optimizer.momentum is None
        learned = isinstance(getattr(self.embedding, "start", self.embedding), Pretrained)
        if rate is None or not plain or learned or is_traced(*jax.tree.leaves(self)):
            return []
        limit = estimated_limit(self)
        if float(rate) < limit:
            return []
        size = "" if self.latent_size is None else f" at latent_size {int(self.latent_size)}"
        return [f"{name} {float(rate):g} exceeds the stability limit, about {limit:.3g}{size}"]
