"""`ParityNetwork`: a two-layer ReLU network trained on multitask sparse parity."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from jaxscale._deprecated import deprecated_lengths
from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import (
    Observables,
    Schema,
    Work,
    no_closed_form,
)
from jaxscale.emergence._data import (
    AbstractData,
    AbstractSkills,
    DisjointSkills,
    FiniteSet,
    Online,
    Samples,
    check_strength,
    n_control_bits,
)
from jaxscale.emergence._parity import EVALUATION_BLOCK, SET_BLOCK
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

OFF_THE_SKILLS = "no closed form: a network also errs off the skills"


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
        strength: dict[str, Any]
        if parts := regime.missing_parts(self):
            strength = {"no_theory": no_closed_form(self, parts)}
        else:
            strength = {"predicted": regime.predicted, "limits": regime.limits}
            strength |= {"functions": regime.functions, "fitted": (regime.parameter,)}
        return self._schema(OFF_THE_SKILLS, strength, regime.name)

    def _network(self, key: Key[Array, ""]) -> Network:
        return init_network(
            key,
            jnp.asarray(self.width),
            jnp.asarray(self.init_scale),
            n_inputs=self.n_skills + self.n_bits,
            padded_width=self.padded("width"),
            dtype=self.dtype,
        )

    def _half_squared_error(self, network: Network, samples: Samples) -> Float[Array, " b"]:
        return half_squared_error(network, samples, jnp.asarray(self.target_scale), self.n_skills)

    def _sums(
        self,
        network: Network,
        packed: UInt32[Array, "n e"],
        counted: Float[Array, " e"],
        masks: UInt32[Array, "k n"],
        at_once: int,
    ) -> tuple[Sums, Float[Array, " k"]]:
        scale = jnp.asarray(self.target_scale)
        return evaluate(network, packed, counted, masks, scale, self.n_bits, self.strength, at_once)

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
