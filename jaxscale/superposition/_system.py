"""`TeacherStudent`: a student learns `y = A x` of sparse features, with or without a bottleneck."""

import dataclasses
import functools
from collections.abc import Mapping
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
from jaxscale._system import (
    Observable,
    Observables,
    Schema,
    TheoryKind,
    Work,
    largest_divisor,
)
from jaxscale.fields import (
    Integer,
    Real,
    dtype_field,
    is_traced,
    part,
    real,
    record_field,
    size,
    static_int,
)
from jaxscale.paths import replace
from jaxscale.spectra import power_law_shares
from jaxscale.superposition._closed_form import predicted, predicted_kinds
from jaxscale.superposition._data import AbstractInputs, Bernoulli, OneHot
from jaxscale.superposition._decoders import AbstractDecoder, Linear, Relu
from jaxscale.superposition._embedding import (
    AbstractEmbedding,
    Frame,
    Given,
    Identity,
    Joint,
    Pretrained,
    RandomUnit,
    TightFrame,
)
from jaxscale.superposition._gradient import (
    AbstractGradient,
    FreshBatches,
    Population,
    Quadratic,
    Task,
)
from jaxscale.superposition._importance import AbstractImportance, InTarget
from jaxscale.superposition._losses import (
    BLOCK_FLOATS,
    SAMPLE_BLOCK,
    Teacher,
    feature_groups,
    feature_strength,
    split_losses,
)
from jaxscale.superposition._stability import estimated_limit, half_limit
from jaxscale.superposition._student import (
    BIAS,
    DIRECTIONS,
    MATRIX,
    AbstractInitial,
    RandomNormal,
    Student,
    Zeros,
)
from jaxscale.training import AbstractTrainedSystem, check_record

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


OPEN = (TheoryKind.none, "")
SIGNED = ("feature_strength",)
ACTIVE = "active"  # the length of the lists of active features
EIGENVALUES = 10.0  # of a (K, K) matrix, in products of such matrices


@deprecated_lengths(
    max_latent_size="latent_size",
    padded_latent_size="latent_size",
    max_active=ACTIVE,
    places=ACTIVE,
)
class TeacherStudent(AbstractTrainedSystem):
    r"""Student `yhat = f(W^T B W x + bias)` of the teacher `y_i = A_i x_i` on sparse features.

    Feature `i = 1..N` is active with probability `p_i` proportional to `i^-a` and has importance
    `i^-b`; W embeds the features in K dimensions, B is `(K, K)`. The loss is
    `sum_i w_i E (yhat_i - A_i x_i)^2 / 2`: the **sum** over outputs (a mean over outputs needs
    N/2 times the learning rate).

    **Arguments**

    - `n_features`: N.
    - `latent_size`: K <= N; N with `Identity()`.
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

    def __check_init__(self):
        check_record(self.record, self.n_steps)
        self.gradient.check(self.decoder, self.inputs)
        self._check_frequencies()
        self._check_sizes()
        self._check_rates()

    def _check_frequencies(self) -> None:
        """Refuse both or neither of a power law and a table of probabilities."""
        table, n = self.inputs.probabilities, self.n_features
        if (self.frequency_exponent is None) == (table is None):
            rule = "be given" if table is None else "be left out with a table of probabilities"
            raise ValueError(f"`frequency_exponent` must {rule}, got {self.frequency_exponent!r}.")
        if table is not None and np.shape(table) != (n,):
            raise ValueError(
                f"`probabilities` must have n_features = {n} entries, got {len(table)}."
            )

    def _check_sizes(self) -> None:
        """Refuse sizes that do not fit each other."""
        n, embedding, latent = self.n_features, self.embedding, self.latent_size
        if latent is None and not isinstance(embedding, Identity | Given):
            raise ValueError("`latent_size` must be given with a bottleneck, got None.")
        if latent is not None and not is_traced(latent):
            if int(latent) > n:
                raise ValueError(
                    f"`latent_size` must be at most n_features = {n}, got {int(latent)}."
                )
            if isinstance(embedding, Identity) and int(latent) != n:
                raise ValueError(
                    f"`latent_size` must be n_features = {n} with Identity(), got {int(latent)}."
                )
        start: Any = getattr(embedding, "start", embedding)
        if isinstance(start, Given):
            shape = np.shape(start.matrix)
            other = latent is not None and not is_traced(latent) and shape[0] != latent
            if shape[1] != n or other:
                raise ValueError(
                    f"`matrix` must have shape (latent_size, n_features) = ({latent}, {n}), "
                    f"got {shape}."
                )

    def _check_rates(self) -> None:
        """Refuse rates of what does not train, and a start that never does."""
        if self.embedding_learning_rate is not None and not self.embedding.trains:
            raise ValueError(
                f"`embedding_learning_rate` must be left out with {self.embedding!r}, which does "
                f"not train, got {self.embedding_learning_rate}."
            )
        if self.bias_learning_rate is not None and not self.decoder.has_bias:
            raise ValueError(
                f"`bias_learning_rate` must be left out with {self.decoder!r}, which has no bias, "
                f"got {self.bias_learning_rate}."
            )
        if self.learning_rate is None and not isinstance(self.optimizer, Sgd):
            raise ValueError(
                f"`learning_rate` must be given with {self.optimizer!r} (its default is half the "
                "stability limit of plain descent), got None."
            )
        stuck = isinstance(self.initial, Zeros) and isinstance(self.decoder, Relu)
        if stuck and self.embedding.has_matrix:
            raise ValueError(
                f"`initial` must not be Zeros() with {self.decoder!r}: it never trains."
            )

    def lengths_for(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Dimensions of the embedding, and places for the active features of a sample."""
        lengths = super().lengths_for(columns)
        if isinstance(self.embedding, Identity):
            lengths["latent_size"] = self.n_features
        elif isinstance(self.embedding, Given) and self.latent_size is None:
            lengths["latent_size"] = np.shape(self.embedding.matrix)[0]
        inputs, table, n = self.inputs, self.inputs.probabilities, self.n_features
        if isinstance(inputs, OneHot):
            return {**lengths, ACTIVE: 1}
        if is_traced(self.frequency_exponent, *jax.tree.leaves(inputs)):
            return lengths
        if table is not None:
            return {**lengths, ACTIVE: inputs.n_listed(np.asarray(table))}
        exponents = np.atleast_1d(columns.get("frequency_exponent", self.frequency_exponent))
        if not isinstance(inputs, Bernoulli):
            most = max(
                inputs.n_listed(power_law_shares(a, n)) for a in np.unique(exponents).tolist()
            )
            return {**lengths, ACTIVE: most}
        active = np.atleast_1d(columns.get("inputs.mean_active", inputs.mean_active))
        pairs = {(float(self.frequency_exponent), float(inputs.mean_active))}  # pyright: ignore
        swept = (column.tolist() for column in np.broadcast_arrays(exponents, active))
        pairs |= set(zip(*swept, strict=True))
        return {**lengths, ACTIVE: max(_places(a, mean, n) for a, mean in pairs)}

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

    def init(self, key: Key[Array, ""]) -> StudentState:
        """Draw W and B, find the rates, and start the optimizers."""
        task, start = self._task(key)
        optimizer = {name: self.optimizer.init(value) for name, value in start.items()}
        return StudentState(task, start, optimizer, jnp.zeros((), jnp.int32))

    def _task(self, key: Key[Array, ""]) -> tuple[Task, dict[str, Array]]:
        padded = self.padded("latent_size")
        latent = jnp.asarray(padded if self.latent_size is None else self.latent_size, jnp.int32)
        probability = self.inputs.probability(self.shares)
        source = self.inputs.source(probability, self.padded(ACTIVE))
        teacher = self.teacher
        frame = Frame(latent, padded, self.inputs, source)
        directions = self.embedding.directions(jr.fold_in(key, EMBEDDING_STREAM), frame)
        matrix = None
        if self.embedding.has_matrix:
            matrix = self.initial.matrix(jr.fold_in(key, MATRIX_STREAM), latent, padded, self.dtype)
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
        measured = self.measure(state.student, state.task)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        rate = MATRIX if self.embedding.has_matrix else DIRECTIONS
        return {**measured, "step_size": state.task.rates[rate] * factor}

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
        """Products with W and B of every step, the losses at the records, and the start.

        Per sample a step reads W at the active features, applies B and `W^T`, and goes back through
        both for the gradient of B (through W, too, where it trains). A population step of a
        nonlinear student touches every column of M, one of a linear student `(K, K)` matrices.
        """
        n, k = self.n_features, self.padded("latent_size")
        embedding, inputs = self.embedding, self.inputs
        flat = isinstance(embedding, Identity)
        trains, matrix = embedding.trains, embedding.has_matrix
        linear = isinstance(self.decoder, Linear)
        population = isinstance(self.gradient, Population)
        quick = population and linear and not trains
        batch, places = self.gradient.batch(n), self.padded(ACTIVE)
        if quick:
            step, working = (4.0 * n * n, 3.0 * n * n) if flat else (4.0 * k**3, 6.0 * k * k)
            held = 6.0 * n * n if flat else 10.0 * k * k + n * k
        else:
            per_sample = (
                4.0 * n * n if flat else 4.0 * n * k + (6.0 if trains else 4.0) * k * k * matrix
            )
            per_sample += 12.0 * n + (4.0 * n * k if trains else 2.0 * places * k)
            step = batch * per_sample * (2.0 if population else 1.0)
            working = batch * n + (n * k if trains else 0.0) + (2.0 * n * n if flat else 0.0)
            held = 4.0 * batch * (n + k) + batch * places * (k + 6)
            held += (
                (3.0 * n * n if flat else 8.0 * k * k) + 8.0 * n + (8.0 if trains else 2.0) * n * k
            )
        exact = linear or isinstance(inputs, OneHot)
        if exact:
            looked = (4.0 if flat else 2.0 * k + 12.0) * n * n
            seen = 1.2 * min(n * n, BLOCK_FLOATS) + n * k
        else:
            looked = self.n_evaluation * (2.0 * n * (n if flat else k) + 2.0 * k * k + 12.0 * n)
            block = min(SAMPLE_BLOCK, self.n_evaluation)
            seen = 4.0 * block * n + block * places * (k + 6)
        start = (
            40.0 * n * k + 4.0 * n * k * k + 2 * EIGENVALUES * k**3 if not flat else 60.0 * n * n
        )
        drawn = embedding.start if isinstance(embedding, Joint) else embedding
        if isinstance(drawn, TightFrame):
            start += 64 * 4.0 * n * k * k
        if isinstance(drawn, Pretrained):
            start += drawn.n_steps * drawn.batch_size * 8.0 * n * k
            held = max(held, drawn.batch_size * 2.5 * n + 5.0 * n * k)
        if isinstance(inputs, Bernoulli):
            step += 40.0 * batch * places * (0.0 if population else 1.0)
        return Work(
            flops=self.n_steps * step + len(self.record_steps) * looked + start,
            working_floats=working,
            resident_floats=max(held, seen + 2.0 * n * k + 3.0 * k * k),
            n_steps=self.n_steps,
        )

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
        name = "learning_rate" if self.embedding.has_matrix else "embedding_learning_rate"
        rate = self.learning_rate if getattr(self, name) is None else getattr(self, name)
        plain = isinstance(self.optimizer, Sgd) and self.optimizer.momentum is None
        learned = isinstance(getattr(self.embedding, "start", self.embedding), Pretrained)
        if rate is None or not plain or learned or is_traced(*jax.tree.leaves(self)):
            return []
        limit = self.estimated_limit()
        if float(rate) < limit:
            return []
        size = "" if self.latent_size is None else f" at latent_size {int(self.latent_size)}"
        return [f"{name} {float(rate):g} exceeds the stability limit, about {limit:.3g}{size}"]

    def estimated_limit(self) -> float:
        """The stability limit, before W is drawn."""
        n, inputs = self.n_features, self.inputs
        table = inputs.probabilities
        shares = power_law_shares(float(self.frequency_exponent), n) if table is None else table  # pyright: ignore
        p = np.asarray(inputs.probability(shares))
        first, second = (float(inputs.amplitude.moment(k)) for k in (1, 2))
        mean = p * first if isinstance(inputs, Bernoulli) else 0.0 * p
        importance = np.arange(1.0, n + 1) ** -float(self.importance_exponent)
        weights = np.asarray(self.importance.weights(importance))
        latent = None if self.latent_size is None else int(self.latent_size)
        return estimated_limit(self.embedding, latent, p * second - mean**2, mean, weights)


@functools.lru_cache(maxsize=65536)
def _places(exponent: float, active: float, n: int) -> int:
    """Places for active features where frequencies are a power law."""
    return Bernoulli(mean_active=np.asarray(active)).n_listed(power_law_shares(exponent, n))
