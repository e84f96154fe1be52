"""`ParityTransformer`: a causal transformer trained on multitask sparse parity."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import Observables, Schema, Work
from jaxscale.emergence._attention import Sizes, Transformer, forward, init_transformer
from jaxscale.emergence._data import (
    AbstractData,
    AbstractSkills,
    DisjointSkills,
    FiniteSet,
    Online,
    Samples,
    bits_of_words,
)
from jaxscale.emergence._parity import EVALUATION_BLOCK, SET_BLOCK, AbstractParity
from jaxscale.emergence._strength import AbstractStrength, Correlation, Sums, sums_by_skill
from jaxscale.fields import (
    Configurable,
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

NO_THEORY = "no closed form; theory gives only the order of emergence times, k^(alpha + 1)"

SCORE_FLOPS = 300.0  # of a softmax and a choice by bit, forward: measured on a CPU
MIN_SLICE = 16  # samples of a gradient slice
KERNELS, BLOCK_KERNELS = 100.0, 150.0  # of a step on a CPU: counted 314, 513 and 889 at 1, 2 and 4


class AbstractReadout(Configurable):
    """Which tokens the output is a linear map of."""

    @abc.abstractmethod
    def n_read(self, n_tokens: int) -> int:
        """How many of the last tokens are read."""


class LastToken(AbstractReadout):
    """The last token, which attends to all: a block computes little of the others."""

    def n_read(self, n_tokens: int) -> int:
        return 1


class EveryToken(AbstractReadout):
    """All tokens, as in the authors' code."""

    def n_read(self, n_tokens: int) -> int:
        return n_tokens


class ParityTransformer(AbstractParity):
    """Causal transformer on multitask sparse parity with power-law skill frequencies.

    Data, target and loss are those of `ParityNetwork`. Tokens are single bits, those of `n_skills`
    control bits first; a token is `relu(bit embedding + position embedding + bias)`. A block has a
    layer norm before its attention and one before its two layers with a ReLU; the output is a
    linear map of the normalised tokens that are read. Weights and biases start as PyTorch's
    `Linear` does, uniform within 1 over the root of the number of inputs; those that end a branch
    of a block are divided by `2 n_blocks^(1/2)`.

    **Arguments**

    - `n_skills`, `n_bits`, `skill_size`: skills, skill bits, bits per skill.
    - `skills`: `DisjointSkills()`, `ShuffledSkills()` or `RandomSkills()`.
    - `skill_exponent`: alpha > 0.
    - `target_scale`: S > 0.
    - `n_blocks`, `n_heads`: blocks, and heads of each.
    - `width`: units of a token, a multiple of `n_heads`.
    - `mlp_width`: hidden units of the two layers.
    - `readout`: `LastToken()`, or `EveryToken()` as the authors have.
    - `data`: `Online()` or `FiniteSet(n_samples=...)`.
    - `batch_size`, `n_steps`: samples per step and steps.
    - `record`: increasing steps to record; None for log-spaced.
    - `n_evaluation`: inputs per skill of the fixed evaluation set.
    - `strength`: what `skill_strength` is: `Correlation()`, or `Covariance()` as the authors have.
    - `learning_rate`: multiplies the gradient of the batch mean.
    - `schedule`, `optimizer`: such as `js.Cosine()` and `js.Adam()`.
    - `micro_batch`: samples per gradient slice; None for the whole batch (set by the planner).
    - `dtype`: float32 or float64.

    **Raises** `ValueError` for anything out of range.

    **Reference**: Nam et al. 2024, arXiv 2404.17563, figure 4.
    """

    REFERENCES = ("michaud2023quantization",)

    n_skills: int = static_int(5)
    n_bits: int = static_int(16)
    skill_size: int = static_int(3)
    skills: AbstractSkills = part(AbstractSkills, DisjointSkills())
    skill_exponent: Real = real(0.9, above=0.0)
    target_scale: Real = real(1.0, above=0.0)
    n_blocks: int = static_int(1)
    n_heads: int = static_int(4)
    width: Integer = size(32)
    mlp_width: Integer = size(128)
    readout: AbstractReadout = part(AbstractReadout, LastToken())
    data: AbstractData = part(AbstractData, Online())
    batch_size: int = static_int(256)
    n_steps: int = static_int(30000)
    record: Steps | None = record_field()
    n_evaluation: int = static_int(1024)
    strength: AbstractStrength = part(AbstractStrength, Correlation())
    learning_rate: Real = real(0.03, above=0.0)
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    micro_batch: int | None = static_int(None, optional=True)
    dtype: str = dtype_field("float32")

    def __check_init__(self):
        if not is_traced(self.width) and self.width % self.n_heads:
            raise ValueError(
                f"`width` must be a multiple of n_heads = {self.n_heads}, got {int(self.width)}."
            )

    def lengths_for(self, columns: Any) -> dict[str, int]:
        """Every width at its largest, that of tokens rounded up to a multiple of `n_heads`."""
        lengths = super().lengths_for(columns)
        if "width" in lengths:
            lengths["width"] = -(-lengths["width"] // self.n_heads) * self.n_heads
        return lengths

    @property
    def schema(self) -> Schema:
        """`loss`, `skill_strength`, `skill_loss`, and `train_loss` on a finite set."""
        return self._schema(NO_THEORY, {"no_theory": NO_THEORY})

    @property
    def n_tokens(self) -> int:
        """Control bits and skill bits."""
        return self.n_skills + self.n_bits

    def _network(self, key: Key[Array, ""]) -> Transformer:
        sizes = Sizes(
            jnp.asarray(self.width),
            jnp.asarray(self.mlp_width),
            padded_width=self.padded("width"),
            padded_mlp_width=self.padded("mlp_width"),
            n_tokens=self.n_tokens,
            n_read=self.readout.n_read(self.n_tokens),
            n_heads=self.n_heads,
            n_blocks=self.n_blocks,
        )
        return init_transformer(key, sizes, self.dtype)

    def _outputs(
        self, network: Transformer, control: Float[Array, "b k"], bits: Float[Array, "b d"]
    ) -> Float[Array, " b"]:
        tokens = jnp.concatenate([control, bits], axis=1)
        return forward(network, tokens, jnp.asarray(self.width), self.n_heads)

    def _half_squared_error(self, network: Transformer, samples: Samples) -> Float[Array, " b"]:
        control = jax.nn.one_hot(samples.skill, self.n_skills, dtype=self.dtype)
        outputs = self._outputs(network, control, samples.inputs[:, -self.n_bits :])
        return 0.5 * (outputs - jnp.asarray(self.target_scale) * samples.sign) ** 2

    def _sums(
        self,
        network: Transformer,
        packed: UInt32[Array, "n e"],
        counted: Float[Array, " e"],
        masks: UInt32[Array, "k n"],
        at_once: int,
    ) -> tuple[Sums, Float[Array, " k"]]:
        bits = bits_of_words(packed, self.n_bits, self.dtype)

        def output(control: Float[Array, " k"]) -> Float[Array, " e"]:
            return self._outputs(
                network, jnp.broadcast_to(control, (len(bits), len(control))), bits
            )

        rows, scale = jnp.eye(self.n_skills, dtype=self.dtype), jnp.asarray(self.target_scale)
        return sums_by_skill(output, rows, packed, counted, masks, scale, self.strength, at_once)

    def predict(self) -> Observables:
        """Nothing: see `schema`."""
        return {}

    def work(self) -> Work:
        """Products of the queries; what is tabled for all samples is little."""
        width, hidden, n_tokens = self.padded("width"), self.padded("mlp_width"), self.n_tokens
        n_read, n_records = self.readout.n_read(n_tokens), len(self.record_steps)
        n_scores = 2 * self.n_heads * n_tokens  # of a query, of both bits
        queries = [*[n_tokens] * (self.n_blocks - 1), n_read]
        products = queries[0] * width * (n_scores + 2 * hidden)
        for n in queries[1:]:
            products += 2 * width * (n_tokens * width + n * (width + n_tokens + hidden))
        scores = SCORE_FLOPS * sum(queries) * n_scores
        n_weights = width * (self.n_blocks * (4 * width + 2 * hidden) + 2 * n_tokens)
        held = sum(queries) * (3 * n_scores + 3 * hidden + 6 * width)
        micro = self.micro_batch or self.batch_size
        evaluated = min(self.n_evaluation, EVALUATION_BLOCK)
        if isinstance(self.data, FiniteSet):
            evaluated = max(evaluated, SET_BLOCK)
        evaluated *= sum(queries) * hidden + 2 * n_scores + 2 * width
        return Work(
            flops=self.n_steps * self.batch_size * (6.0 * products + 3.0 * scores)
            + n_records * self.n_skills * self.n_evaluation * (2.0 * products + scores),
            working_floats=micro * sum(queries) * (n_scores + hidden),
            resident_floats=float(max(micro * held, evaluated) + 5 * n_weights),
            n_steps=self.n_steps,
            draws=float(self.n_steps * self.batch_size * n_tokens),
            traffic_floats=3.0 * self.n_steps * self.batch_size * held,
            kernels=KERNELS + BLOCK_KERNELS * self.n_blocks,
        )

    def with_micro_batch(self, max_floats: float) -> "ParityTransformer":
        """Gradient slices of `MIN_SLICE` samples or more, since each computes the tables."""
        per_sample = self.work().working_floats / (self.micro_batch or self.batch_size)
        return super().with_micro_batch(max(max_floats, MIN_SLICE * per_sample))
