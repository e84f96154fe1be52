"""The one interface of a solvable model: what it simulates, what it predicts, what it costs."""

import abc
import enum
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, Num

from jaxscale.fields import Configurable
from jaxscale.training import log_spaced_steps, trajectory

Observables: TypeAlias = dict[str, Num[Array, "..."]]


class Predicted(enum.StrEnum):
    """How far the closed form of an observable goes."""

    exact = "exact"
    asymptotic = "asymptotic"
    calibrated = "calibrated"
    none = "none"


class Observable(eqx.Module):
    """Description of one observable: its axes, its unit, and what theory says of it.

    `signed` says that it takes both signs, so that fits compare it as it is, not its logarithm.
    """

    dims: tuple[str, ...]
    units: str
    description: str
    predicted: Predicted = Predicted.none
    limits: str = ""
    signed: bool = False


class Schema(eqx.Module):
    """Observables of a system by name, and the coordinates of their dimensions.

    `solved` says that `predict` solves equations, which can fail: it then returns a `status`, too.
    """

    observables: Mapping[str, Observable]
    coordinates: Mapping[str, np.ndarray]
    regime: str = ""
    solved: bool = False

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the observable `name`."""
        return tuple(len(self.coordinates[d]) for d in self.observables[name].dims)

    def adding(self, **observables: Observable) -> "Schema":
        """The same schema with observables of your own, on its dimensions.

        ```python
        class Measured(js.emergence.ParityNetwork):
            @property
            def schema(self):
                norm = js.Observable(("step",), "1", "norm of the readout")
                return super().schema.adding(readout_norm=norm)

            def observe(self, state):
                norm = jnp.linalg.norm(state.network.readout)
                return super().observe(state) | {"readout_norm": norm}
        ```

        **Raises** `ValueError` for a name that is taken or a dimension without coordinates.
        """
        for name, observable in observables.items():
            if name in self.observables:
                raise ValueError(f"`{name}` is an observable already; choose another name.")
            for dim in observable.dims:
                if dim not in self.coordinates:
                    known = ", ".join(self.coordinates)
                    raise ValueError(f"`{name}` must have dimensions among {known}, got {dim!r}.")
        known = {**self.observables, **observables}
        return Schema(known, self.coordinates, self.regime, self.solved)

    def predicted(self) -> list[str]:
        """Names of the observables that have a closed form."""
        kinds = self.observables.items()
        return [name for name, o in kinds if o.predicted is not Predicted.none]


class Work(eqx.Module):
    """Cost of one run, counted from its shapes, for the planner.

    - `flops`: floating-point operations of the whole run.
    - `working_floats`: floats that one step touches (what should stay in cache).
    - `resident_floats`: floats that the run holds in memory at its peak.
    - `n_steps`: sequential steps.
    - `branches`: whether a run takes branches, which `vmap` computes all: on a CPU such runs are
      walked over.
    """

    flops: float
    working_floats: float
    resident_floats: float
    n_steps: int
    branches: bool = False


def largest_divisor(n: int, most: float) -> int:
    """Largest divisor of `n` that is at most `most`, at least 1."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return max((d for d in (*small, *(n // d for d in small)) if d <= most), default=1)


class AbstractSystem(Configurable):
    """One solvable model at one setting of its parameters.

    Leaves are what is swept, static fields are what sets a shape. `simulate` and `predict` return
    the same observables, described by `schema`.
    """

    dtype: eqx.AbstractVar[str]

    @property
    @abc.abstractmethod
    def schema(self) -> Schema:
        """Dimensions, coordinates, units and theory of every observable."""

    @abc.abstractmethod
    def simulate(self, key: Key[Array, ""]) -> Observables:
        """One run: pure, jit- and vmap-safe. Adds the integer observable `status`."""

    @abc.abstractmethod
    def predict(self) -> Observables:
        """Closed form of every observable that has one, differentiable in every float field.

        Adds the integer `status` if the schema says `solved`.
        """

    @abc.abstractmethod
    def work(self) -> Work:
        """Cost of one run."""

    def enclosing(self, columns: Mapping[str, np.ndarray]) -> "AbstractSystem":
        """The same system with static sizes that hold every run of `columns` (path to values).

        Sizes swept under a maximum are at their largest value already; this is for sizes that
        follow from other fields.
        """
        return self

    def sliced(self, max_floats: float) -> "AbstractSystem":
        """The same system with its steps cut so that one slice touches at most `max_floats`."""
        return self

    def warnings(self) -> list[str]:
        """What the planner should tell before anything runs (a rate above stability, ...)."""
        return []


class AbstractTrainedSystem(AbstractSystem):
    """A system that trains step by step; `simulate` is written once, in `training`."""

    n_steps: eqx.AbstractVar[int]
    record: eqx.AbstractVar[tuple[int, ...] | None]

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Any:
        """State before the first step."""

    @abc.abstractmethod
    def step(self, state: Any, key: Key[Array, ""]) -> Any:
        """State after one more step; `key` belongs to this step of this run."""

    @abc.abstractmethod
    def observe(self, state: Any) -> Observables:
        """Observables of a state; must contain the scalar `loss`."""

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Increasing steps at which `converged` looks, recorded or not; the last is `n_steps`."""
        return (self.n_steps,)

    def converged(self, history: Observables) -> Bool[Array, ""]:
        """Whether the tolerance that the system names was met; `history` is at `checkpoints`."""
        return jnp.asarray(True)

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps at which observables are recorded: `record`, or 0 and log-spaced to the end."""
        return log_spaced_steps(self.n_steps) if self.record is None else self.record

    def simulate(self, key: Key[Array, ""]) -> Observables:
        """Train from `key`, recording the observables at `record_steps`."""
        return trajectory(self, key)[1]
