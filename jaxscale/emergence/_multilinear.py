"""`MultilinearSkills`: the exactly solvable model, trained by gradient descent on its products."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import Observable, Observables, Schema, TheoryKind, Work
from jaxscale.emergence import theory
from jaxscale.emergence._data import (
    COUNT_BLOCK,
    AbstractData,
    FiniteSet,
    Online,
    check_strength,
    skill_frequencies,
)
from jaxscale.fields import (
    Integer,
    Real,
    Steps,
    count,
    dtype_field,
    is_traced,
    part,
    real,
    record_field,
    static_int,
)
from jaxscale.spectra import power_law_shares
from jaxscale.training import AbstractTrainedSystem

SET_STREAM = 0


class ProductState(eqx.Module):
    """Skill shares of the data (`P_k`, or `d_k/D`), the factors `a = b`, and the step."""

    share: Float[Array, " k"]
    probability: Float[Array, " k"]
    a: Float[Array, " k"]
    count: Int[Array, ""]

    @property
    def b(self) -> Float[Array, " k"]:
        """The other factor: it starts as `a` and has its gradient, so it stays equal to it."""
        return self.a


class MultilinearSkills(AbstractTrainedSystem):
    """`f = sum_{k <= N} a_k b_k g_k`, trained by gradient descent on its loss over the data.

    The skills decouple: `a_k += eta (d_k/D) (S - a_k b_k) b_k`, and the same with a and b
    exchanged, from `a_k = b_k = sqrt(r)`; `R_k = a_k b_k`.

    **Arguments**

    - `n_skills`: number of skills n_s.
    - `skill_exponent`: alpha > 0.
    - `target_scale`: S > 0.
    - `n_parameters`: N, skills that the model has; None for all.
    - `data`: `Online()` (population gradient) or `FiniteSet(n_samples=D)` (sampled counts d_k).
    - `initial_strength`: r, with 0 < r < S.
    - `learning_rate`: eta, multiplies the gradient of the mean over the data.
    - `schedule`: such as `js.Cosine()`, which multiplies it.
    - `n_steps`, `record`, `dtype`: as for every trained system.

    **Raises** `ValueError` for anything out of range.

    **Reference**: Nam et al. 2024, arXiv 2404.17563, section 3.
    """

    n_skills: int = static_int(100)
    skill_exponent: Real = real(0.6, above=0.0)
    target_scale: Real = real(1.0, above=0.0)
    n_parameters: Integer | None = count(None, optional=True)
    data: AbstractData = part(AbstractData, Online())
    initial_strength: Real = real(0.01, above=0.0)
    learning_rate: Real = real(0.1, above=0.0)
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    n_steps: int = static_int(10000)
    record: Steps | None = record_field()
    dtype: str = dtype_field("float32")

    def __check_init__(self):
        check_strength(self.initial_strength, self.target_scale)
        n = self.n_parameters
        if n is not None and not is_traced(n) and int(n) > self.n_skills:
            raise ValueError(
                f"`n_parameters` must be at most n_skills = {self.n_skills}, got {int(n)}."
            )

    @property
    def schema(self) -> Schema:
        """`loss`, `skill_strength`, `skill_loss`, all with a closed form."""
        limits = "gradient flow: simulation approaches it as learning_rate * S * P_1 -> 0"
        if isinstance(self.data, FiniteSet):
            limits += "; mean over data sets"
        exact = (TheoryKind.exact, limits)
        skill = ("emergence.theory.expected_skill",)
        total = ("emergence.theory.loss", "emergence.theory.data_loss")
        by_skill, loss = ("step", "skill"), "(S - R_k)² / 2"
        observables = {
            "loss": Observable(("step",), "target²", "population loss", *exact, False, total),
            "skill_strength": Observable(
                by_skill, "target", "product a_k b_k", *exact, True, skill
            ),
            "skill_loss": Observable(by_skill, "target²", loss, *exact, False, skill),
        }
        ranks = np.arange(1, self.n_skills + 1)
        coordinates = {"step": np.asarray(self.record_steps), "skill": ranks}
        return Schema(observables, coordinates, "multilinear")

    def init(self, key: Key[Array, ""]) -> ProductState:
        """Draw the data set; start every product of the model at r."""
        skills = skill_frequencies(jnp.asarray(self.skill_exponent), self.n_skills)
        share = self.data.frequencies(jr.fold_in(key, SET_STREAM), skills)
        start = jnp.broadcast_to(jnp.sqrt(jnp.asarray(self.initial_strength)), share.shape)
        if self.n_parameters is not None:
            rank = jnp.arange(1, self.n_skills + 1, dtype=jnp.int32)
            start = jnp.where(rank <= self.n_parameters, start, jnp.zeros_like(start))
        return ProductState(share, skills.probability, start, jnp.zeros((), jnp.int32))

    def step(self, state: ProductState, key: Key[Array, ""]) -> ProductState:
        """One step of gradient descent on the loss over the data; uses no randomness.

        Only `a` is computed: two factors would take twice the memory traffic, which is the time.
        """
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        rate = jnp.asarray(self.learning_rate) * factor
        pull = rate * state.share * (self.target_scale - state.a * state.b)
        a = state.a + pull * state.b
        return ProductState(state.share, state.probability, a, state.count + 1)

    def observe(self, state: ProductState) -> Observables:
        """`R_k = a_k b_k` and the population losses."""
        strength = state.a * state.b
        skill_loss = 0.5 * (jnp.asarray(self.target_scale) - strength) ** 2
        return {
            "loss": jnp.sum(state.probability * skill_loss),
            "skill_strength": strength,
            "skill_loss": skill_loss,
        }

    def predict(self) -> Observables:
        """Exact gradient flow; on a finite set the mean over d_k ~ Binomial(D, P_k)."""
        rate = jnp.asarray(self.learning_rate)
        steps = self.schedule.effective_steps(self.record_steps, self.n_steps)
        time = steps.astype(rate.dtype)[:, None]
        probability = theory.skill_probabilities(self.skill_exponent, self.n_skills)
        n_samples = getattr(self.data, "n_samples", np.inf)
        moments = theory.expected_skill(
            time,
            n_samples,
            probability[None, :],
            learning_rate=rate,
            target_scale=self.target_scale,
            initial_strength=self.initial_strength,
        )
        strength, skill_loss = jnp.asarray(moments.strength), jnp.asarray(moments.loss)
        if self.n_parameters is not None:
            learns = jnp.arange(1, self.n_skills + 1, dtype=jnp.int32) <= self.n_parameters
            strength = jnp.where(learns, strength, 0.0)
            skill_loss = jnp.where(learns, skill_loss, 0.5 * jnp.asarray(self.target_scale) ** 2)
        return {
            "loss": jnp.sum(probability * skill_loss, axis=-1),
            "skill_strength": strength,
            "skill_loss": skill_loss,
        }

    def work(self) -> Work:
        """Six operations per skill and step, in one loop; a finite set is counted in blocks."""
        counting = 7.0 * COUNT_BLOCK if isinstance(self.data, FiniteSet) else 0.0
        return Work(
            flops=6.0 * self.n_skills * self.n_steps,
            working_floats=6.0 * self.n_skills,
            resident_floats=16.0 * self.n_skills + counting,
            n_steps=self.n_steps,
            kernels=1,
        )

    def warnings(self) -> list[str]:
        """Gradient descent on a product is stable below eta S P_1 = 1."""
        if is_traced(self.learning_rate, self.target_scale, self.skill_exponent):
            return []
        share = power_law_shares(1 + float(self.skill_exponent), self.n_skills)[0]
        limit = 1.0 / float(self.target_scale * share)
        if float(self.learning_rate) < limit:
            return []
        return [
            f"learning_rate {float(self.learning_rate):g} exceeds the stability limit {limit:g}"
        ]
