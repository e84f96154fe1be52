"""`ParityNetwork`: a two-layer ReLU network trained on multitask sparse parity."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from jaxscale._deprecated import deprecated_lengths
from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import (
    Observable,
    Observables,
    Schema,
    Work,
    largest_divisor,
    no_closed_form,
)
from jaxscale.emergence._data import (
    AbstractData,
    AbstractSkills,
    DisjointSkills,
    FiniteSet,
    Frequencies,
    Online,
    check_strength,
    decode,
    n_bit_words,
    n_control_bits,
    packed_masks,
    skill_frequencies,
)
from jaxscale.emergence._regimes import AbstractNetwork, AbstractRegime, DataLimited, TimeLimited
from jaxscale.emergence._strength import AbstractStrength, Correlation, Sums
from jaxscale.emergence._student import Network, evaluate, half_squared_error, init_network
from jaxscale.fields import (
    Integer,
    Real,
    Steps,
    dtype_field,
    part,
    real,
    record_field,
    size,
    static_int,
)
from jaxscale.keys import words

NETWORK_STREAM, SKILL_STREAM, SET_STREAM, EVALUATION_STREAM = range(4)
EVALUATION_BLOCK = 512
SET_BLOCK = 1024
CONVERGED_FALL = 0.01
OFF_THE_SKILLS = "no closed form: a network also errs off the skills"


class Task(eqx.Module):
    """What a run draws once: skill frequencies, the bits of each skill, and two data keys."""

    frequencies: Frequencies
    masks: UInt32[Array, "k n"]
    set_key: Key[Array, ""]
    evaluation_key: Key[Array, ""]


class NetworkState(eqx.Module):
    """Task, weights, optimizer state and the number of steps taken."""

    task: Task
    network: Network
    optimizer: Any
    count: Int[Array, ""]


@deprecated_lengths(max_width="width", padded_width="width")
class ParityNetwork(AbstractNetwork):
    """Two-layer ReLU network on multitask sparse parity with power-law skill frequencies.

    Skill `k` occurs with probability `P_k` proportional to `k^-(skill_exponent + 1)`; the target is
    `S (-1)^(sum of its bits)`; the loss is `E (f - target)^2 / 2`, one half of PyTorch's `MSELoss`.

    **Arguments**

    - `n_skills`, `n_bits`, `skill_size`: skills, skill bits, bits per skill.
    - `skills`: `DisjointSkills()`, `ShuffledSkills()` or `RandomSkills()`.
    - `skill_exponent`: alpha > 0.
    - `target_scale`: S > 0.
    - `width`: hidden units.
    - `init_scale`: sigma of every initial parameter, biases included.
    - `data`: `Online()` or `FiniteSet(n_samples=...)`.
    - `batch_size`, `n_steps`: samples per step and steps.
    - `record`: increasing steps to record; None for log-spaced.
    - `n_evaluation`: inputs per skill of the fixed evaluation set.
    - `strength`: what `skill_strength` is: `Correlation()`, or `Covariance()` as the authors have.
    - `learning_rate`: multiplies the gradient of the batch mean.
    - `schedule`, `optimizer`: such as `js.Cosine()` and `js.Adam()`.
    - `micro_batch`: samples per gradient slice; None for the whole batch (set by the planner).
    - `dtype`: float32 or float64.
    - `regime`: which limit `predict` describes; by default data for a finite set, else time.
    - `time_scale` (B^2), `shots` (D_c), `units_per_skill` (N_c), `initial_strength` (default
      `init_scale**2`): the calibrated numbers of those predictions. The authors' are
      `time_scale = 1/22`, `shots = 800`, `units_per_skill = 4`, with
      `initial_strength = init_scale**2 / 3.6` and `DataLimited(learner="expected_count")`.

    **Raises** `ValueError` for anything out of range.

    **Reference**: Nam et al. 2024, arXiv 2404.17563, section 5 and appendix K.
    """

    REFERENCES = ("michaud2023quantization",)

    n_skills: int = static_int(5)
    n_bits: int = static_int(16)
    skill_size: int = static_int(3)
    skills: AbstractSkills = part(AbstractSkills, DisjointSkills())
    skill_exponent: Real = real(0.6, above=0.0)
    target_scale: Real = real(5.0, above=0.0)
    width: Integer = size(256)
    init_scale: Real = real(0.01, above=0.0)
    data: AbstractData = part(AbstractData, Online())
    batch_size: int = static_int(512)
    n_steps: int = static_int(12000)
    record: Steps | None = record_field()
    n_evaluation: int = static_int(4096)
    strength: AbstractStrength = part(AbstractStrength, Correlation())
    learning_rate: Real = real(0.1, above=0.0)
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    micro_batch: int | None = static_int(None, optional=True)
    dtype: str = dtype_field("float32")
    regime: AbstractRegime | None = part(AbstractRegime, None, optional=True)
    time_scale: Real = real(1.0, above=0.0)
    shots: Real = real(1.0, above=0.0)
    units_per_skill: Real = real(1.0, above=0.0)
    initial_strength: Real | None = real(None, above=0.0, optional=True)

    def __check_init__(self):
        self.skills.check(self.n_skills, self.skill_size, self.n_bits)
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(
                f"`micro_batch` must divide batch_size = {self.batch_size}, got {self.micro_batch}."
            )
        check_strength(self.initial_strength, self.target_scale)

    @property
    def described_regime(self) -> AbstractRegime:
        """The regime that `predict` describes."""
        if self.regime is not None:
            return self.regime
        return DataLimited() if isinstance(self.data, FiniteSet) else TimeLimited()

    @property
    def schema(self) -> Schema:
        """`loss`, `skill_strength`, `skill_loss`, and `train_loss` on a finite set."""
        regime = self.described_regime
        none: dict[str, Any] = {"no_theory": OFF_THE_SKILLS}
        strength: dict[str, Any]
        if parts := regime.missing_parts(self):
            strength = {"no_theory": no_closed_form(self, parts)}
        else:
            strength = {"predicted": regime.predicted, "limits": regime.limits}
            strength |= {"functions": regime.functions, "fitted": (regime.parameter,)}
        text = (
            f"{type(self.strength).__name__.lower()} R_k of the output with skill k, given skill k"
        )
        loss = "population loss, half the mean square error"
        observables = {
            "loss": Observable(("step",), "target²", loss, **none),
            "skill_strength": Observable(
                ("step", "skill"), "target", text, **strength, signed=True
            ),
            "skill_loss": Observable(("step", "skill"), "target²", "loss given skill k", **none),
        }
        if isinstance(self.data, FiniteSet):
            on_the_set = Observable(("step",), "target²", "loss on the finite set", **none)
            observables["train_loss"] = on_the_set
        ranks = np.arange(1, self.n_skills + 1)
        coordinates = {"step": np.asarray(self.record_steps), "skill": ranks}
        return Schema(observables, coordinates, regime.name)

    def init(self, key: Key[Array, ""]) -> NetworkState:
        """Draw the task, the network and an empty optimizer state."""
        task_bits = self.skills.bits(
            jr.fold_in(key, SKILL_STREAM), self.n_skills, self.skill_size, self.n_bits
        )
        network = init_network(
            jr.fold_in(key, NETWORK_STREAM),
            jnp.asarray(self.width),
            jnp.asarray(self.init_scale),
            n_inputs=self.n_skills + self.n_bits,
            padded_width=self.padded("width"),
            dtype=self.dtype,
        )
        task = Task(
            frequencies=skill_frequencies(jnp.asarray(self.skill_exponent), self.n_skills),
            masks=packed_masks(task_bits, self.n_bits),
            set_key=jr.fold_in(key, SET_STREAM),
            evaluation_key=jr.fold_in(key, EVALUATION_STREAM),
        )
        optimizer = self.optimizer.init(network)
        return NetworkState(task, network, optimizer, jnp.zeros((), dtype=jnp.int32))

    def _error(
        self, network: Network, task: Task, drawn: UInt32[Array, "n b"]
    ) -> Float[Array, " b"]:
        samples = decode(drawn, task.frequencies.survival, task.masks, self.n_bits, self.dtype)
        return half_squared_error(network, samples, jnp.asarray(self.target_scale), self.n_skills)

    def _gradient(self, network: Network, task: Task, key: Key[Array, ""]) -> Network:
        n_words = 1 + n_bit_words(self.n_bits)
        micro = self.micro_batch or self.batch_size

        def slice_loss(network: Network, first: Int[Array, ""]) -> Float[Array, ""]:
            samples = first + jnp.arange(micro, dtype=jnp.int32)
            drawn = self.data.batch(task.set_key, key, samples, n_words)
            return jnp.sum(self._error(network, task, drawn)) / self.batch_size

        if micro == self.batch_size:
            return jax.grad(slice_loss)(network, jnp.zeros((), jnp.int32))

        def add(total: Network, first: Int[Array, ""]) -> tuple[Network, None]:
            gradient = jax.grad(slice_loss)(network, first)
            return jax.tree.map(jnp.add, total, gradient), None

        firsts = jnp.arange(0, self.batch_size, micro, dtype=jnp.int32)
        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, network), firsts)[0]

    def step(self, state: NetworkState, key: Key[Array, ""]) -> NetworkState:
        """One optimizer step on a fresh batch; its samples are indexed by (key, sample)."""
        gradient = self._gradient(state.network, state.task, key)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        network, optimizer = self.optimizer.update(
            state.network, gradient, state.optimizer, jnp.asarray(self.learning_rate), factor
        )
        return NetworkState(state.task, network, optimizer, state.count + 1)

    def observe(self, state: NetworkState) -> Observables:
        """Skill strengths and losses on the evaluation set; the loss weighs them by `P_k`."""
        strength, skill_loss = self._evaluate(state)
        observed = {
            "loss": jnp.sum(state.task.frequencies.probability * skill_loss),
            "skill_strength": strength,
            "skill_loss": skill_loss,
        }
        if isinstance(self.data, FiniteSet):
            observed["train_loss"] = self._train_loss(state, jnp.asarray(self.data.n_samples))
        return observed

    def _evaluate(self, state: NetworkState) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        n, n_words = self.n_evaluation, n_bit_words(self.n_bits)
        block, scale = min(n, EVALUATION_BLOCK), jnp.asarray(self.target_scale)
        micro = self.micro_batch or self.batch_size
        at_once = max(1, micro // block)  # activations of no more memory than those of a step

        def part(first: Int[Array, ""]) -> tuple[Sums, Array]:
            inputs = first + jnp.arange(block, dtype=jnp.int32)
            packed = words(state.task.evaluation_key, inputs, n_words)
            counted = (inputs < n).astype(self.dtype)
            masks, strength = state.task.masks, self.strength
            return evaluate(
                state.network, packed, counted, masks, scale, self.n_bits, strength, at_once
            )

        sums = jax.lax.map(part, jnp.arange(0, n, block, dtype=jnp.int32))
        means, skill_loss = jax.tree.map(lambda s: jnp.sum(s, axis=0) / n, sums)
        return self.strength.of_means(means), skill_loss

    def _train_loss(self, state: NetworkState, n_samples: Int[Array, ""]) -> Float[Array, ""]:
        n_words = 1 + n_bit_words(self.n_bits)

        def add(i: Int[Array, ""], total: Float[Array, ""]) -> Float[Array, ""]:
            samples = i * SET_BLOCK + jnp.arange(SET_BLOCK, dtype=jnp.int32)
            drawn = words(state.task.set_key, samples, n_words)
            error = self._error(state.network, state.task, drawn)
            return total + jnp.sum(jnp.where(samples < n_samples, error, jnp.zeros_like(error)))

        n_blocks = (n_samples + SET_BLOCK - 1) // SET_BLOCK
        total = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros((), self.dtype))
        return total / n_samples.astype(self.dtype)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The end, and on a finite set the start of the last quarter."""
        last_quarter = (3 * self.n_steps // 4,) if isinstance(self.data, FiniteSet) else ()
        return (*last_quarter, self.n_steps)

    def converged(self, history: Observables) -> Bool[Array, ""]:
        """On a finite set: the loss on it fell by less than 1 % over the last quarter.

        One per cent of `S^2 / 2`, the loss of a network that has learned nothing: any skill with
        `P_k` above 1 % that emerges in the last quarter shows. (Relative to its present value, the
        loss of an interpolating network never stops falling.)
        """
        if "train_loss" not in history:
            return jnp.asarray(True)
        fall = history["train_loss"][0] - history["train_loss"][-1]
        return fall < CONVERGED_FALL * 0.5 * jnp.asarray(self.target_scale) ** 2

    def predict(self) -> Observables:
        """`skill_strength` in the regime of time, data or width; nothing where none applies."""
        regime = self.described_regime
        return {} if regime.missing_parts(self) else {"skill_strength": regime.skill_strength(self)}

    def work(self) -> Work:
        """A product forward and one for the weights' gradient; seven passes of activations."""
        n_inputs = self.n_bits + n_control_bits(self.n_skills)
        width, records = self.padded("width"), len(self.record_steps)
        per_sample = 4.0 * n_inputs * width + 8.0 * width
        moved = 6.0 * width + 3.5 * n_inputs  # of a sample, within 20 % of the counts
        evaluated = self.n_evaluation * (2.0 * self.n_bits + 4.0 * self.n_skills) * width
        micro = self.micro_batch or self.batch_size
        weights = (self.n_skills + self.n_bits + 2) * width
        block = min(self.n_evaluation, EVALUATION_BLOCK)
        held = 2.2 * max(micro * (width + n_inputs), block * width)
        if isinstance(self.data, FiniteSet):
            held = max(held, 1.2 * SET_BLOCK * (width + n_inputs))  # for the loss on the set
        return Work(
            flops=self.n_steps * self.batch_size * per_sample + records * evaluated,
            working_floats=micro * width,
            resident_floats=held + 6 * weights,
            n_steps=self.n_steps,
            draws=float(self.n_steps * self.batch_size * self.n_bits),
            traffic_floats=self.n_steps * self.batch_size * moved,
        )

    def with_micro_batch(self, max_floats: float) -> "ParityNetwork":
        """Gradient slices of the largest divisor of the batch whose activations fit."""
        if self.micro_batch is not None:
            return self
        width = self.padded("width")
        micro = largest_divisor(self.batch_size, max_floats / width)
        if 8 * micro * width < max_floats:
            return self  # a batch without such divisors is better not cut
        return dataclasses.replace(self, micro_batch=micro)
