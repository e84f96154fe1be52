"""`StreamingRegression`: one-pass SGD and its relatives on power-law random features."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxscale._arguments import hinted
from jaxscale._optimizers import AbstractOptimizer, Sgd
from jaxscale._schedules import AbstractSchedule, Constant
from jaxscale._system import Observables, Schema, Work
from jaxscale.fields import (
    Integer,
    Real,
    Steps,
    dtype_field,
    part,
    real,
    record_field,
    size,
    static_count,
    static_int,
)
from jaxscale.keys import check_key
from jaxscale.streaming._features import (
    COORDINATES_PER_FEATURE,
    Features,
    Modes,
    Problem,
    draw_features,
)
from jaxscale.streaming._limits import LIMIT_SHARE, has_limit, limit_rate
from jaxscale.streaming._optimizers import AbstractLinearOptimizer, linear_form
from jaxscale.streaming._predictions import floor_of, observables, predicted, rate_warnings
from jaxscale.streaming._spaces import AbstractSpace, Coordinates, Eigenbasis
from jaxscale.streaming.theory import _moments
from jaxscale.streaming.theory._checks import check_data
from jaxscale.training import INIT_STREAM, AbstractTrainedSystem, cast

FEATURE_STREAM = 0
DRAW_FLOPS = 40.0  # threefry and the inverse error function, per normal number
NORMAL_DRAWS = 2.0  # numbers of a batch of bits that take as long on a CPU as a normal one
SVD_PRODUCTS = 12.0


class StreamState(eqx.Module):
    """Problem, parameters, optimizer, mean squares of the errors, and the number of steps taken."""

    problem: Problem
    parameters: Float[Array, " d"]
    optimizer: Any
    moments: Any
    rate: Float[Array, ""]
    count: Int[Array, ""]

    @property
    def modes(self) -> Modes:
        """The modes of the features, of `Eigenbasis` in the order in which it draws them."""
        return self.problem.modes


class StreamingRegression(AbstractTrainedSystem):
    r"""One pass over the data: each step takes a fresh batch of `y = sum_j j^-beta x_j + noise`.

    Inputs are `x_j = j^-alpha z_j` with normal `z_j`, `j = 1..V`; the student is linear in `d`
    random features `W^T x` with normal entries of variance `1/d`, and starts at zero. The loss is
    `E (theta . phi - y)^2 / 2`, label noise included; gradients are means over the batch.

    **Arguments**

    - `n_features`: d.
    - `input_exponent`: alpha > 0; above 1/2 unless `n_coordinates` is finite.
    - `target_exponent`: beta, with `alpha + beta > 1/2` unless `n_coordinates` is finite.
    - `noise`: sigma, standard deviation of the label noise.
    - `n_coordinates`: V; infinite by default, as `4 d` coordinates and the isotropic rest.
    - `batch_size`: B.
    - `learning_rate`: eta; None for a quarter of the rate above which the mean loss diverges, which
      depends on the W that was drawn and is in the observable `step_size`. `Dana` needs a number.
    - `schedule`: such as `js.WarmUp(n_warm_up=100, then=js.LinearDecay())`, which multiplies it.
    - `optimizer`: `js.Sgd(momentum=...)`, `Nesterov()`, `PolyakAverage()`, `ExponentialAverage()`,
      `ScheduleFree()`, `Dana(decay=...)`, all with theory for a given W; `SignSgd()`, `js.Adam()`
      and others without, in `space=Coordinates()`.
    - `space`: `Eigenbasis()`, fast, or `Coordinates()`: equal in law for linear optimizers.
    - `n_steps`, `record`, `dtype`: as in every trained system.

    `expected_loss` is the exact mean of the loss over the data, for the W of the run; above the
    stability limit it is infinite from where it overflows, which ends no run. A single run is
    skewed: its median falls below the mean as the rate nears its limit.

    **Raises** `ValueError` for anything out of range.

    **Reference**: derived here, for the model of Maloney, Roberts and Sully 2022, arXiv 2210.16859,
    and Paquette, Paquette, Xiao and Pennington 2024, arXiv 2405.15074.
    """

    n_features: Integer = size(128)
    input_exponent: Real = real(0.8, above=0.0)
    target_exponent: Real = real(0.3)
    noise: Real = real(0.0, at_least=0.0)
    n_coordinates: int | float = static_count(math.inf)
    batch_size: int = static_int(1)
    learning_rate: Real | None = real(None, above=0.0, optional=True)
    schedule: AbstractSchedule = part(AbstractSchedule, Constant())
    optimizer: AbstractOptimizer = part(AbstractOptimizer, Sgd())
    space: AbstractSpace = part(AbstractSpace, Eigenbasis())
    n_steps: int = static_int(1000)
    record: Steps | None = record_field()
    dtype: str = dtype_field("float32")

    def __check_init__(self):
        if linear_form(self.optimizer) is None and isinstance(self.space, Eigenbasis):
            raise ValueError(
                f"`optimizer` {self.optimizer!r} is not linear in the gradient: its runs depend on "
                "the axes; give space=Coordinates(), too."
            )
        if self.learning_rate is None and not has_limit(self.optimizer):
            raise ValueError(
                f"`learning_rate` must be given with optimizer={self.optimizer!r}: no single step "
                "sets its stability limit. That of plain SGD is "
                "`streaming.theory.max_learning_rate`."
            )
        names = ("input_exponent", "target_exponent", "n_coordinates")
        check_data({name: getattr(self, name) for name in names})

    def lengths_for(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Features, fewer than coordinates."""
        lengths = super().lengths_for(columns)
        if lengths.get("n_features", 0) >= self.n_coordinates:
            raise ValueError(
                f"`n_features` must be below n_coordinates = {self.n_coordinates}, got "
                f"{lengths['n_features']}."
            )
        return lengths

    @property
    def schema(self) -> Schema:
        """Losses, their limits, and the step size."""
        described = observables(self)
        return Schema(described, {"step": np.asarray(self.record_steps)}, "streaming regression")

    def _drawn(self, key: Key[Array, ""]) -> Features:
        """W of a run, by the key of its start."""
        return draw_features(
            jr.fold_in(key, FEATURE_STREAM),
            jnp.asarray(self.n_features, jnp.int32),
            self.padded("n_features"),
            None if self.n_coordinates == math.inf else int(self.n_coordinates),
            jnp.asarray(self.input_exponent),
            jnp.asarray(self.target_exponent),
            jnp.asarray(self.noise),
        )

    def init(self, key: Key[Array, ""]) -> StreamState:
        """Draw W, find its modes and the learning rate."""
        features = self._drawn(key)
        modes = features.modes()
        rate = self.learning_rate
        if rate is None:
            rate = LIMIT_SHARE * limit_rate(self.optimizer, modes.eigenvalues, self.batch_size)
        problem = self.space.problem(features, modes)
        parameters, linear = self.space.start(problem), linear_form(self.optimizer)
        moments = None
        if linear is not None:
            moments = _moments.start(_recursion_of(problem.modes), linear)
        return StreamState(
            problem=problem,
            parameters=parameters,
            optimizer=self.optimizer.init(parameters),
            moments=moments,
            rate=jnp.asarray(rate).astype(modes.eigenvalues.dtype),
            count=jnp.zeros((), jnp.int32),
        )

    def step(self, state: StreamState, key: Key[Array, ""]) -> StreamState:
        """One step on a fresh batch, and that of the mean squares of the errors."""
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        gradient = self.space.gradient(state.parameters, state.problem, self.batch_size, key)
        parameters, optimizer = self.optimizer.update(
            state.parameters, gradient, state.optimizer, state.rate, factor
        )
        moments = state.moments
        if (linear := linear_form(self.optimizer)) is not None:
            moments = _moments.advance(
                moments,
                _recursion_of(state.modes),
                linear.linear_step(state.rate * factor, state.count),
                batch_size=jnp.asarray(self.batch_size, self.dtype),
                unreachable=state.modes.unreachable,
            )
        return dataclasses.replace(
            state,
            parameters=parameters,
            optimizer=optimizer,
            moments=moments,
            count=state.count + 1,
        )

    def must_be_finite(self, state: StreamState) -> StreamState:
        """All but the exact mean squares, which overflow where rare runs carry the mean."""
        return dataclasses.replace(state, moments=None)

    def observe(self, state: StreamState) -> Observables:
        """The loss, its exact mean for this W, their limits, and the step size."""
        linear, parameters = linear_form(self.optimizer), state.parameters
        if isinstance(self.optimizer, AbstractLinearOptimizer):
            parameters = self.optimizer.evaluated(state.optimizer)
        factor = self.schedule.factor(state.count, self.n_steps).astype(self.dtype)
        observed = {"loss": self.space.loss(parameters, state.problem)}
        if linear is not None:
            mean = _moments.loss_of(
                state.moments, _recursion_of(state.modes), linear, state.modes.unreachable
            )
            defined = jnp.isfinite(mean) | (state.count == 0)  # an overflow is NaN one step later
            observed["expected_loss"] = jnp.where(defined, mean, jnp.inf)
        if isinstance(self.optimizer, Sgd):
            observed["floor"] = floor_of(self, state.modes, state.rate)
        least = 0.5 * state.modes.out_of_reach
        return observed | {"limit_loss": least, "step_size": state.rate * factor}

    def predict(self) -> Observables:
        """Deterministic equivalents: means over the data and the random features, see `schema`."""
        return predicted(self)

    def work(self) -> Work:
        """Count the draws and products of every step, and the singular values of the start."""
        d = self.padded("n_features")
        endless = self.n_coordinates == math.inf
        v = COORDINATES_PER_FEATURE * d if endless else int(self.n_coordinates)
        draws = self.batch_size * self.space.n_draws(d, v, endless)
        in_coordinates = isinstance(self.space, Coordinates)
        product = 4.0 * v * d if in_coordinates else 6.0 * d
        step = DRAW_FLOPS * draws + self.batch_size * product + 40.0 * d
        held = 12.0 * d + 2.0 * draws + (v * d if in_coordinates else 0.0)
        return Work(
            flops=self.n_steps * step + DRAW_FLOPS * v * d + SVD_PRODUCTS * v * d * d,
            working_floats=held,
            resident_floats=max(held, 4.0 * v * d),
            n_steps=self.n_steps,
            draws=NORMAL_DRAWS * self.n_steps * draws,
            vector_bits=512,
            quick=True,
        )

    def warnings(self) -> list[str]:
        """A rate above which the mean loss of typical features diverges."""
        return rate_warnings(self)


def _recursion_of(modes: Modes) -> _moments.WeightedModes:
    """The modes in the exact recursion of the mean loss."""
    return _moments.drawn_modes(modes.eigenvalues, modes.target_power)


@hinted
def modes_of(system: StreamingRegression, key: Key[Array, ""]) -> Modes:
    """Modes of the features that a run draws, for the theory of given features.

    **Arguments**

    - `system`: the system; a float64 one within `with jax.enable_x64(True):`.
    - `key`: key of the run, as `js.select` returns it; many by `vmap`.

    **Returns** `Modes`: `eigenvalues`, `target` and `target_power` `(d,)`, zeros in padding, and
    the scalars `unreachable`, `out_of_reach` (twice the least loss without label noise) and
    `label_variance`.

    **Raises** `ValueError` for a key of another kind.

    **Example**

    >>> st = js.streaming
    >>> system = st.StreamingRegression(n_features=16, learning_rate=0.1)
    >>> modes = st.modes_of(system, jax.random.key(0))
    >>> at = dict(unreachable=modes.unreachable, learning_rate=0.1)
    >>> loss = st.theory.sgd_loss(np.array([1e3]), modes.eigenvalues, modes.target_power, **at)
    """
    if not isinstance(system, StreamingRegression):
        raise ValueError(f"`system` must be a StreamingRegression, got {type(system).__name__}.")
    check_key(key)
    return _modes_of(system, key)


@eqx.filter_jit
def _modes_of(system: StreamingRegression, key: Key[Array, ""]) -> Modes:
    return cast(system, system.dtype)._drawn(jr.fold_in(key, INIT_STREAM)).modes()
