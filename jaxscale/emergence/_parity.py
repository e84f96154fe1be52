"""What networks on multitask sparse parity share: the task, training, and its observables."""

# pyright: reportGeneralTypeIssues=false
# (it takes an `AbstractVar` for a field without a default)
import abc
import dataclasses
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from jaxscale._optimizers import AbstractOptimizer
from jaxscale._schedules import AbstractSchedule
from jaxscale._system import Observable, Observables, Schema, largest_divisor
from jaxscale.emergence._data import (
    AbstractData,
    AbstractSkills,
    FiniteSet,
    Frequencies,
    Samples,
    decode,
    n_bit_words,
    packed_masks,
    skill_frequencies,
)
from jaxscale.emergence._strength import AbstractStrength, Sums
from jaxscale.fields import Real
from jaxscale.keys import words
from jaxscale.training import AbstractTrainedSystem

NETWORK_STREAM, SKILL_STREAM, SET_STREAM, EVALUATION_STREAM = range(4)
EVALUATION_BLOCK = 512
SET_BLOCK = 1024
CONVERGED_FALL = 0.01

_System = TypeVar("_System", bound="AbstractParity")


class Task(eqx.Module):
    """What a run draws once: skill frequencies, the bits of each skill, and two data keys."""

    frequencies: Frequencies
    masks: UInt32[Array, "k n"]
    set_key: Key[Array, ""]
    evaluation_key: Key[Array, ""]


class NetworkState(eqx.Module):
    """Task, weights, optimizer state and the number of steps taken."""

    task: Task
    network: Any
    optimizer: Any
    count: Int[Array, ""]


class AbstractParity(AbstractTrainedSystem):
    """A network trained on multitask sparse parity; a subclass says what the network is."""

    n_skills: eqx.AbstractVar[int]
    n_bits: eqx.AbstractVar[int]
    skill_size: eqx.AbstractVar[int]
    skills: eqx.AbstractVar[AbstractSkills]
    skill_exponent: eqx.AbstractVar[Real]
    target_scale: eqx.AbstractVar[Real]
    data: eqx.AbstractVar[AbstractData]
    batch_size: eqx.AbstractVar[int]
    n_evaluation: eqx.AbstractVar[int]
    strength: eqx.AbstractVar[AbstractStrength]
    learning_rate: eqx.AbstractVar[Real]
    schedule: eqx.AbstractVar[AbstractSchedule]
    optimizer: eqx.AbstractVar[AbstractOptimizer]
    micro_batch: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def _network(self, key: Key[Array, ""]) -> Any:
        """Draw the parameters."""

    @abc.abstractmethod
    def _half_squared_error(self, network: Any, samples: Samples) -> Float[Array, " b"]:
        """`(f - S g)^2 / 2` of every sample."""

    @abc.abstractmethod
    def _sums(
        self,
        network: Any,
        packed: UInt32[Array, "n e"],
        counted: Float[Array, " e"],
        masks: UInt32[Array, "k n"],
        at_once: int,
    ) -> tuple[Sums, Float[Array, " k"]]:
        """Sums over evaluation inputs, by `sums_by_skill`."""

    def __check_init__(self):
        self.skills.check(self.n_skills, self.skill_size, self.n_bits)
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(
                f"`micro_batch` must divide batch_size = {self.batch_size}, got {self.micro_batch}."
            )

    def _schema(self, reason: str, strength: dict[str, Any], regime: str = "") -> Schema:
        """Observables; without a theory for `reason`, but for what `strength` says of its own."""
        none: dict[str, Any] = {"no_theory": reason}
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
        return Schema(observables, coordinates, regime)

    def init(self, key: Key[Array, ""]) -> NetworkState:
        """Draw the task, the network and an empty optimizer state."""
        task_bits = self.skills.bits(
            jr.fold_in(key, SKILL_STREAM), self.n_skills, self.skill_size, self.n_bits
        )
        network = self._network(jr.fold_in(key, NETWORK_STREAM))
        task = Task(
            frequencies=skill_frequencies(jnp.asarray(self.skill_exponent), self.n_skills),
            masks=packed_masks(task_bits, self.n_bits),
            set_key=jr.fold_in(key, SET_STREAM),
            evaluation_key=jr.fold_in(key, EVALUATION_STREAM),
        )
        optimizer = self.optimizer.init(network)
        return NetworkState(task, network, optimizer, jnp.zeros((), dtype=jnp.int32))

    def _error(self, network: Any, task: Task, drawn: UInt32[Array, "n b"]) -> Float[Array, " b"]:
        samples = decode(drawn, task.frequencies.survival, task.masks, self.n_bits, self.dtype)
        return self._half_squared_error(network, samples)

    def _gradient(self, network: Any, task: Task, key: Key[Array, ""]) -> Any:
        n_words = 1 + n_bit_words(self.n_bits)
        micro = self.micro_batch or self.batch_size

        def slice_loss(network: Any, first: Int[Array, ""]) -> Float[Array, ""]:
            samples = first + jnp.arange(micro, dtype=jnp.int32)
            drawn = self.data.batch(task.set_key, key, samples, n_words)
            return jnp.sum(self._error(network, task, drawn)) / self.batch_size

        if micro == self.batch_size:
            return jax.grad(slice_loss)(network, jnp.zeros((), jnp.int32))

        def add(total: Any, first: Int[Array, ""]) -> tuple[Any, None]:
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
        block = min(n, EVALUATION_BLOCK)
        micro = self.micro_batch or self.batch_size
        at_once = max(1, micro // block)  # activations of no more memory than those of a step

        def part(first: Int[Array, ""]) -> tuple[Sums, Array]:
            inputs = first + jnp.arange(block, dtype=jnp.int32)
            packed = words(state.task.evaluation_key, inputs, n_words)
            counted = (inputs < n).astype(self.dtype)
            return self._sums(state.network, packed, counted, state.task.masks, at_once)

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

    def with_micro_batch(self: _System, max_floats: float) -> _System:
        """Gradient slices of the largest divisor of the batch whose activations fit."""
        if self.micro_batch is not None:
            return self
        per_sample = self.work().working_floats / self.batch_size
        micro = largest_divisor(self.batch_size, max_floats / per_sample)
        if 8 * micro * per_sample < max_floats:
            return self  # a batch without such divisors is better not cut
        return dataclasses.replace(self, micro_batch=micro)
