"""`TeacherStudent`: a student learns `y = A x` of sparse features, with or without a bottleneck."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
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
from jaxscale.paths import replace
from jaxscale.spectra import power_law_shares
from jaxscale.superposition._data import AbstractInputs, Bernoulli, OneHot
from jaxscale.superposition._embedding import (
    TIGHTENINGS,
    AbstractEmbedding,
    Frame,
    Given,
    Identity,
    Pretrained,
    RandomUnit,
    TightFrame,
    start_of,
)
from jaxscale.superposition._losses import (
    BLOCK_FLOATS,
    SAMPLE_BLOCK,
    AbstractGradient,
    FreshBatches,
    Population,
    exact_split,
    feature_groups,
    feature_strength,
    has_exact_losses,
    sampled_split,
)
from jaxscale.superposition._outputs import AbstractDecoder, Linear, Relu
from jaxscale.superposition._predictions import estimated_limit, predictions, what_theory_says
from jaxscale.superposition._student import (
    BIAS,
    DIRECTIONS,
    MATRIX,
    AbstractImportance,
    AbstractInitial,
    InTarget,
    Problem,
    Quadratic,
    RandomNormal,
    Student,
    Task,
    Teacher,
    Zeros,
    half_limit,
)
from jaxscale.training import AbstractTrainedSystem

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
    - `frequency_exponent`: a; not given where `inputs` has a table of probabilities.
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
      which depends on the W that was drawn and is in the observable `step_size`.
    - `bias_learning_rate`, `embedding_learning_rate`: of the biases and of W; None for the same.
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
    embedding_learning_rate: Real | None = real(None, above=0.0, optional=True)
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    n_steps: int = static_int(1000)
    record: Steps | None = record_field()
    n_evaluation: int = static_int(4096)
    dtype: str = dtype_field("float32")

    def __check_init__(self):
        self._check_frequencies()
        self._check_sizes()
        self._check_training()

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
        n, embedding, latent = self.n_features, self.embedding, self.latent_size
        if latent is None and not isinstance(embedding, Identity | Given):
            raise ValueError("`latent_size` must be given with a bottleneck, got None.")
        if latent is not None and not is_traced(latent):
            flat = isinstance(embedding, Identity)
            if int(latent) > n or (flat and int(latent) < n):
                rule = f"n_features = {n} with Identity()" if flat else f"at most n_features = {n}"
                raise ValueError(f"`latent_size` must be {rule}, got {int(latent)}.")
        start = start_of(embedding)
        if isinstance(start, Given):
            shape = np.shape(start.matrix)
            other = latent is not None and not is_traced(latent) and shape[0] != latent
            if shape[1] != n or other:
                raise ValueError(
                    f"`matrix` must have shape (latent_size, n_features) = ({latent}, {n}), "
                    f"got {shape}."
                )

    def _check_training(self) -> None:
        """Refuse a gradient that does not exist, rates of what does not train, and a dead start."""
        exact = has_exact_losses(self.decoder, self.inputs)
        if isinstance(self.gradient, Population) and not exact:
            raise ValueError(
                "`gradient` must be FreshBatches(...) where several features are active and the "
                "decoder is not linear, got Population() with "
                f"{self.decoder!r} and {self.inputs!r}."
            )
        if self.embedding_learning_rate is not None and not self.embedding.trains:
            raise ValueError(
                f"`embedding_learning_rate` must be left out with {self.embedding!r}, which does "
                f"not train, got {self.embedding_learning_rate}."
            )
        if self.bias_learning_rate is not None and not self.decoder.bias:
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
        inputs, exponent = self.inputs, self.frequency_exponent
        if isinstance(inputs, OneHot):
            lengths[ACTIVE] = 1
        elif is_traced(exponent, *jax.tree.leaves(inputs)):
            return lengths
        elif inputs.probabilities is not None:
            lengths[ACTIVE] = inputs.n_listed(np.asarray(inputs.probabilities))
        elif not isinstance(inputs, Bernoulli):
            shares = power_law_shares(float(exponent), self.n_features)  # pyright: ignore
            lengths[ACTIVE] = inputs.n_listed(shares)
        else:
            own = (float(exponent), float(inputs.mean_active))  # pyright: ignore
            names = ("frequency_exponent", "inputs.mean_active")
            swept = (np.atleast_1d(columns.get(*pair)) for pair in zip(names, own, strict=True))
            rows = (column.tolist() for column in np.broadcast_arrays(*swept))
            runs = {own, *zip(*rows, strict=True)}
            lengths[ACTIVE] = max(_n_listed(a, mean, self.n_features) for a, mean in runs)
        return lengths

    @property
    def problem(self) -> Problem:
        """Inputs, teacher and output function at this setting."""
        n, table = self.n_features, self.inputs.probabilities
        if table is None:
            shares = power_law_shares(jnp.asarray(self.frequency_exponent), n)
        else:
            shares = jnp.asarray(table)
        exponent = jnp.asarray(self.importance_exponent)
        importance = jnp.arange(1, n + 1, dtype=exponent.dtype) ** -exponent
        teacher = Teacher(*self.importance.targets_and_weights(importance))
        return Problem(self.inputs, self.inputs.probability(shares), teacher, self.decoder)

    def _problem_of(self, task: Task) -> Problem:
        """The problem of a run, with what its state holds."""
        return Problem(self.inputs, task.probability, task.teacher, self.decoder)

    def matrix_rate(self, half_limit: Callable[[], Float[Array, ""]]) -> Float[Array, ""]:
        """Learning rate of B: the one that is given, or half the stability limit."""
        return half_limit() if self.learning_rate is None else jnp.asarray(self.learning_rate)

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
            "step_size": (step, "1", "learning rate of B (of W where tied) at this step"),
        }
        observables = {
            name: Observable(*described, signed=name == "feature_strength", **theory[name])
            for name, described in table.items()
        }
        coordinates = {
            "step": np.asarray(self.record_steps),
            "group": np.asarray(feature_groups(self.n_features)),
        }
        return Schema(observables, coordinates, "teacher-student")

    def init(self, key: Key[Array, ""]) -> StudentState:
        """Draw W and B, set the rates, and start the optimizers."""
        problem, embedding, padded = self.problem, self.embedding, self.padded("latent_size")
        latent = jnp.asarray(padded if self.latent_size is None else self.latent_size, jnp.int32)
        source = self.inputs.source(problem.probability, self.padded(ACTIVE))
        frame = Frame(latent, padded, problem, source)
        directions = embedding.directions(jr.fold_in(key, EMBEDDING_STREAM), frame)
        trained: dict[str, Any] = {}
        if embedding.has_matrix:
            matrix_key = jr.fold_in(key, MATRIX_STREAM)
            trained[MATRIX] = self.initial.matrix(matrix_key, frame.inside, self.dtype)
        if self.decoder.bias:
            trained[BIAS] = jnp.zeros_like(problem.probability)
        if embedding.trains:
            trained[DIRECTIONS] = directions
        form = None if directions is None else Quadratic.of(directions, problem)
        rate = self.matrix_rate(lambda: half_limit(problem, form))
        own = {BIAS: self.bias_learning_rate, DIRECTIONS: self.embedding_learning_rate}
        rates = {name: rate if r is None else jnp.asarray(r) for name, r in own.items()}
        linear = isinstance(self.decoder, Linear) and isinstance(self.gradient, Population)
        task = Task(
            probability=problem.probability,
            teacher=problem.teacher,
            source=source,
            directions=None if embedding.trains else directions,
            quadratic=form if linear and trained.keys() == {MATRIX} else None,
            rates={MATRIX: rate, **rates},
            evaluation_key=jr.fold_in(key, EVALUATION_STREAM),
        )
        optimizer = {name: self.optimizer.init(value) for name, value in trained.items()}
        return StudentState(task, trained, optimizer, jnp.zeros((), jnp.int32))

    def step(self, state: StudentState, key: Key[Array, ""]) -> StudentState:
        """One step of every group of parameters at its own rate."""
        gradient = self.gradient(state.trained, state.task, self._problem_of(state.task), key)
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
        rate = MATRIX if self.embedding.has_matrix else DIRECTIONS
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
        """Products with W and B of every step, the losses at the records, and the start.

        Per sample a step reads W at the active features, applies B and `W^T`, and goes back through
        both for the gradient of B (through W, too, where it trains). A population step of a
        nonlinear student touches every column of M, one of a linear student `(K, K)` matrices.
        """
        n, k = self.n_features, self.padded("latent_size")
        flat, start = isinstance(self.embedding, Identity), start_of(self.embedding)
        trains, matrix = self.embedding.trains, self.embedding.has_matrix
        batches = self.gradient if isinstance(self.gradient, FreshBatches) else None
        batch, places = batches.slice_length if batches else n, self.padded(ACTIVE)
        quick = batches is None and isinstance(self.decoder, Linear) and not trains
        if quick:
            step, working = (4.0 * n * n, 3.0 * n * n) if flat else (4.0 * k**3, 6.0 * k * k)
            held = 6.0 * n * n if flat else 10.0 * k * k + n * k
        else:
            product = 4.0 * n * k + (6.0 if trains else 4.0) * k * k * matrix
            per_sample = 4.0 * n * n if flat else product
            per_sample += 12.0 * n + (4.0 * n * k if trains else 2.0 * places * k)
            step = batch * per_sample * (1.0 if batches else 2.0)
            working = batch * n + (n * k if trains else 0.0) + (2.0 * n * n if flat else 0.0)
            held = 4.0 * batch * (n + k) + batch * places * (k + 6)
            held += (3.0 * n * n if flat else 8.0 * k * k) + 8.0 * n
            held += (8.0 if trains else 2.0) * n * k
        if has_exact_losses(self.decoder, self.inputs):
            record_flops = (4.0 if flat else 2.0 * k + 12.0) * n * n
            record_floats = 1.2 * min(n * n, BLOCK_FLOATS) + n * k
        else:
            per_sample = 2.0 * n * (n if flat else k) + 2.0 * k * k + 12.0 * n
            record_flops = self.n_evaluation * per_sample
            block = min(SAMPLE_BLOCK, self.n_evaluation)
            record_floats = 4.0 * block * n + block * places * (k + 6)
        drawn = 40.0 * n * k + 4.0 * n * k * k + 2 * EIGENVALUES * k**3
        init = 60.0 * n * n if flat else drawn
        if isinstance(start, TightFrame):
            init += TIGHTENINGS * 4.0 * n * k * k
        if isinstance(start, Pretrained):
            init += start.n_steps * start.batch_size * 8.0 * n * k
            held = max(held, start.batch_size * 2.5 * n + 5.0 * n * k)
        if batches and isinstance(self.inputs, Bernoulli):
            step += 40.0 * batch * places
        return Work(
            flops=self.n_steps * step + len(self.record_steps) * record_flops + init,
            working_floats=working,
            resident_floats=max(held, record_floats + 2.0 * n * k + 3.0 * k * k),
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
        learned = isinstance(start_of(self.embedding), Pretrained)
        if rate is None or not plain or learned or is_traced(*jax.tree.leaves(self)):
            return []
        limit = self.estimated_limit()
        if float(rate) < limit:
            return []
        size = "" if self.latent_size is None else f" at latent_size {int(self.latent_size)}"
        return [f"{name} {float(rate):g} exceeds the stability limit, about {limit:.3g}{size}"]

    def estimated_limit(self) -> float:
        """The stability limit, before W is drawn."""
        n, inputs, table = self.n_features, self.inputs, self.inputs.probabilities
        if table is None:
            table = power_law_shares(float(self.frequency_exponent), n)  # pyright: ignore
        p = np.asarray(inputs.probability(table))
        scale, mean = (np.asarray(moment) for moment in inputs.moments(p))
        importance = np.arange(1.0, n + 1) ** -float(self.importance_exponent)
        _, weights = self.importance.targets_and_weights(importance)
        latent = n if self.latent_size is None else int(self.latent_size)
        return estimated_limit(self.embedding, latent, scale, mean, weights)


@functools.lru_cache(maxsize=65536)
def _n_listed(exponent: float, active: float, n: int) -> int:
    """Places for active features where frequencies are a power law."""
    return Bernoulli(mean_active=np.asarray(active)).n_listed(power_law_shares(exponent, n))
