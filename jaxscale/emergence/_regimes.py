"""Which limit the closed form of a network describes: training time, data, or width.

A network is not the multilinear model; each regime has one number that is calibrated on the first
skill, after which the later skills are predictions.
"""

# pyright: reportGeneralTypeIssues=false
# (it takes an `AbstractVar` for a field without a default)
import abc
from typing import Any, ClassVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import Sgd
from jaxscale._system import TheoryKind
from jaxscale.emergence import theory
from jaxscale.emergence._data import FiniteSet
from jaxscale.emergence._parity import AbstractParity
from jaxscale.fields import Configurable, Integer, Real, static_choice


class AbstractNetwork(AbstractParity):
    """A network on skills that has closed forms: what these read of it."""

    width: eqx.AbstractVar[Integer]
    init_scale: eqx.AbstractVar[Real]
    time_scale: eqx.AbstractVar[Real]
    shots: eqx.AbstractVar[Real]
    units_per_skill: eqx.AbstractVar[Real]
    initial_strength: eqx.AbstractVar[Real | None]


class AbstractRegime(Configurable):
    """One limit of the scaling law."""

    name: ClassVar[str]
    predicted: ClassVar[TheoryKind] = TheoryKind.calibrated
    parameter: ClassVar[str]
    limits: ClassVar[str]
    functions: ClassVar[tuple[str, ...]] = ()

    def missing_parts(self, system: AbstractNetwork) -> list[str]:
        """Names of the parts of the system with which there is no closed form: by default none."""
        return []

    @abc.abstractmethod
    def skill_strength(self, system: AbstractNetwork) -> Float[Array, "t k"]:
        """R_k at the recorded steps."""

    @abc.abstractmethod
    def half_point(self, system: AbstractNetwork) -> Float[Array, " k"]:
        """Where skill `k` reaches half its strength: in steps, samples or units."""


def _at_last_step(system: AbstractNetwork, strength: Float[Array, " k"]) -> Float[Array, "t k"]:
    is_last = np.asarray(system.record_steps) == system.n_steps
    return jnp.where(is_last[:, None], strength[None, :], jnp.nan)


def _dynamics(system: AbstractNetwork) -> dict[str, Any]:
    strength = system.initial_strength
    return {
        "learning_rate": system.learning_rate,
        "target_scale": system.target_scale,
        "initial_strength": system.init_scale**2 if strength is None else strength,
    }


class TimeLimited(AbstractRegime):
    """`R_k(t)` of the multilinear model at the rescaled time `B^2 t`."""

    name = "time"
    parameter = "time_scale"
    limits = "online data, wide network, SGD; one fitted parameter, time_scale = B²"
    functions = ("emergence.theory.skill_strength", "emergence.theory.emergence_time")

    def missing_parts(self, system: AbstractNetwork) -> list[str]:
        """Gradient descent only: other optimizers move in another time."""
        return [] if isinstance(system.optimizer, Sgd) else ["optimizer"]

    def skill_strength(self, system: AbstractNetwork) -> Float[Array, "t k"]:
        """Sigmoids in time; a schedule enters through its effective steps."""
        time_scale = jnp.asarray(system.time_scale)
        steps = system.schedule.effective_steps(system.record_steps, system.n_steps)
        return theory.skill_strength(
            (time_scale * steps.astype(time_scale.dtype))[:, None],
            theory.skill_probabilities(system.skill_exponent, system.n_skills)[None, :],
            **_dynamics(system),
        )

    def half_point(self, system: AbstractNetwork) -> Float[Array, " k"]:
        """`T_1/2` in steps; without a schedule proportional to `1 / P_k`."""
        probability = theory.skill_probabilities(system.skill_exponent, system.n_skills)
        effective = theory.emergence_time(probability, **_dynamics(system)) / system.time_scale
        return system.schedule.steps_to_reach(effective, system.n_steps)


class DataLimited(AbstractRegime):
    """`E R_k` after long training on `n_samples` samples, `D_c = shots` per skill."""

    name = "data"
    parameter = "shots"
    limits = "last step of a converged run; one fitted parameter, shots = D_c; NaN before"
    functions = ("emergence.theory.data_emergence",)

    learner: theory.Learner = static_choice(
        "minimum_norm", get_args(theory.Learner), renamed={"projection": "minimum_norm"}
    )

    def missing_parts(self, system: AbstractNetwork) -> list[str]:
        """A finite set only."""
        return [] if isinstance(system.data, FiniteSet) else ["data"]

    def skill_strength(self, system: AbstractNetwork) -> Float[Array, "t k"]:
        n_samples = system.data.n_samples  # pyright: ignore
        shots = jnp.asarray(system.shots)
        share = theory.data_emergence(
            jnp.asarray(n_samples).astype(shots.dtype),
            theory.skill_probabilities(system.skill_exponent, system.n_skills),
            shots,
            learner=self.learner,
        )
        return _at_last_step(system, jnp.asarray(system.target_scale) * share)

    def half_point(self, system: AbstractNetwork) -> Float[Array, " k"]:
        """`D_1/2`, interpolated on expected counts from a tenth to ten times `shots`."""
        shots = jnp.asarray(system.shots)
        probability = theory.skill_probabilities(system.skill_exponent, system.n_skills)
        count = shots * jnp.geomspace(0.1, 10.0, 400, dtype=shots.dtype)
        samples = count[None, :] / probability[:, None]
        share = theory.data_emergence(samples, probability[:, None], shots, learner=self.learner)
        return jax.vmap(lambda r, d: jnp.interp(jnp.asarray(0.5, r.dtype), r, d))(share, samples)


class WidthLimited(AbstractRegime):
    """`R_k` after long training of a narrow network, `N_c = units_per_skill`."""

    name = "width"
    parameter = "units_per_skill"
    limits = "last step of a converged run; one fitted parameter, units_per_skill = N_c; NaN before"
    functions = ("emergence.theory.width_emergence",)

    def skill_strength(self, system: AbstractNetwork) -> Float[Array, "t k"]:
        per_skill = jnp.asarray(system.units_per_skill)
        width = jnp.asarray(system.width).astype(per_skill.dtype)
        share = theory.width_emergence(width, system.n_skills, per_skill)
        return _at_last_step(system, jnp.asarray(system.target_scale) * share)

    def half_point(self, system: AbstractNetwork) -> Float[Array, " k"]:
        """`N_1/2 = (k - 1/2) N_c`."""
        per_skill = jnp.asarray(system.units_per_skill)
        return (jnp.arange(1, system.n_skills + 1, dtype=per_skill.dtype) - 0.5) * per_skill
