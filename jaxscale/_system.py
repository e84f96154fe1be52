"""The one interface of a solvable model: what it simulates, what it predicts, what it costs."""

import abc
import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Key, Num

from jaxscale._deprecated import warn_deprecated
from jaxscale._text import described
from jaxscale.fields import Configurable, as_real, declared_sizes, is_traced, recorded, size_names

Observables: TypeAlias = dict[str, Num[Array, "..."]]


TRAFFIC_PASSES = 6.0  # over the working floats, in one step of a program for an H200


class TheoryKind(enum.StrEnum):
    """How far the closed form of an observable goes."""

    exact = "exact"
    asymptotic = "asymptotic"
    calibrated = "calibrated"
    none = "none"


class Observable(eqx.Module):
    """Description of one observable: its axes, its unit, and what theory says of it.

    Its values are kept in the float type of the system, whole numbers, too: float32 rounds those
    beyond 2**24.

    - `dims`, `units`, `description`: its dimensions in a run, its unit, and what it is.
    - `predicted`: how far its closed form goes.
    - `limits`: within which the closed form holds.
    - `signed`: whether it takes both signs, so that fits compare it as it is, not its logarithm.
    - `functions`: theory functions with its closed form, such as "emergence.theory.loss".
    - `fitted`: fields that `js.calibrate` fits to some of the data before a `calibrated` closed
      form predicts the rest. While they have their default values the theory is uncalibrated.
    - `no_theory`: why there is no closed form, such as "no closed form with decoder=Relu()".
    """

    dims: tuple[str, ...]
    units: str
    description: str
    predicted: TheoryKind = TheoryKind.none
    limits: str = ""
    signed: bool = False
    functions: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    no_theory: str = ""

    def __check_init__(self):
        if self.predicted is TheoryKind.none and self.limits and not self.no_theory:
            warn_deprecated("limits of an observable without a closed form", "no_theory")
            object.__setattr__(self, "no_theory", self.limits)
            object.__setattr__(self, "limits", "")
        if not isinstance(self.dims, tuple) or not all(isinstance(d, str) for d in self.dims):
            way = f": write ({self.dims!r},)" if isinstance(self.dims, str) else ""
            raise ValueError(
                f"`dims` of the observable {self.description!r} must be a tuple of names, got "
                f"{self.dims!r}{way}."
            )


def no_closed_form(system: "AbstractSystem", parts: Iterable[str]) -> str:
    """Return the reason why theory says nothing: `system` has these parts."""
    return "no closed form with " + ", ".join(f"{n}={getattr(system, n)!r}" for n in parts)


class Schema(eqx.Module):
    """Observables of a system by name, and the coordinates of their dimensions.

    `solved` says that `predict` solves equations, which can fail: it then returns a `status`, too.
    """

    observables: Mapping[str, Observable]
    coordinates: Mapping[str, np.ndarray]
    regime: str = ""
    solved: bool = False

    def __check_init__(self):
        for name, observable in self.observables.items():
            if not isinstance(observable, Observable):
                raise ValueError(
                    f"`observables` of a schema must be of js.Observable, got "
                    f"{described(observable)} for {name!r}."
                )
            for dim in observable.dims:
                if dim not in self.coordinates:
                    raise ValueError(
                        f"each dimension of `{name}` must be one of the coordinates of its schema "
                        f"({', '.join(self.coordinates) or 'none'}), got {dim!r}: give the schema "
                        f"one, such as {{{dim!r}: np.arange(3)}}."
                    )

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
        for name in observables:
            if name in self.observables:
                raise ValueError(f"`{name}` is an observable already; choose another name.")
        return dataclasses.replace(self, observables={**self.observables, **observables})

    def predicted(self) -> list[str]:
        """Names of the observables that have a closed form."""
        kinds = self.observables.items()
        return [name for name, o in kinds if o.predicted is not TheoryKind.none]


class Work(eqx.Module):
    """Cost of one run, counted from its shapes, for the planner.

    - `flops`: floating-point operations of the whole run.
    - `working_floats`: floats that one step touches (what should stay in cache).
    - `resident_floats`: floats that the run holds in memory at its peak.
    - `n_steps`: sequential steps.
    - `branches`: whether a run takes branches, all of which `vmap` computes: on a CPU such runs go
      one at a time.
    - `draws`: numbers drawn or gathered for the batches of all steps.
    - `traffic_floats`: floats that all steps move between an accelerator and its memory; by default
      6 times `working_floats` in every step, as it was counted for networks and students.
    - `kernels`: loops over arrays in a step, each of which a CPU has to start.
    - `vector_bits`: width of a CPU's vectors that its loops gain from; by default XLA's, 256, which
      is no slower for most.
    - `quick`: whether code that is compiled quickly is nearly as fast, as it is for most systems
      of jaxscale, and five times slower for sums of exponentials. A sweep that a CPU finishes
      within a few seconds is then compiled in about half the time.
    """

    flops: float
    working_floats: float
    resident_floats: float
    n_steps: int
    branches: bool = False
    draws: float = 0.0
    traffic_floats: float | None = None
    kernels: float = 10.0
    vector_bits: int | None = None
    quick: bool = False

    def __check_init__(self):
        for name in ("flops", "working_floats", "resident_floats", "n_steps"):
            value = getattr(self, name)
            if type(value) is not float or not 0 <= value < math.inf:  # plans make many
                as_real(f"{name}` of `Work", value, at_least=0.0)
        if self.traffic_floats is None:
            moved = TRAFFIC_PASSES * self.working_floats * self.n_steps
            object.__setattr__(self, "traffic_floats", moved)


def require_schema(system: "AbstractSystem") -> None:
    """Raise `ValueError` unless the schema of a system is one."""
    if not isinstance(system.schema, Schema):
        raise ValueError(
            f"`schema` of {type(system).__name__} must be a property that returns a js.Schema, got "
            f"{described(system.schema)}."
        )


def require_work(system: "AbstractSystem") -> None:
    """Raise `ValueError` unless a system counts its work."""
    work = system.work() if callable(system.work) else system.work
    if not callable(system.work) or not isinstance(work, Work):
        raise ValueError(
            f"`work` of {type(system).__name__} must be a method that returns a js.Work, got "
            f"{described(work)}."
        )


def largest_divisor(n: int, most: float) -> int:
    """Largest divisor of `n` that is at most `most`, at least 1."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return max((d for d in (*small, *(n // d for d in small)) if d <= most), default=1)


Lengths: TypeAlias = tuple[tuple[str, int], ...]
_System = TypeVar("_System", bound="AbstractSystem")


class AbstractSystem(Configurable):
    """One solvable model at one setting of its parameters.

    Leaves are what is swept, static fields are what sets a shape. `simulate` and `predict` return
    the same observables, described by `schema`.

    A `size()` field is both: a leaf, and an array length that holds it, `system.padded("width")`.
    The lengths are recorded when a system is built, since inside a program its sizes are traced;
    `padded_for` makes them longer, and entries beyond the size are masked by the system.
    """

    dtype: eqx.AbstractVar[str]
    lengths: Lengths = recorded(())

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

    def within_limits(self) -> dict[str, Bool[Array, "..."]]:
        """Where theory makes its claims: by observable, whether its `limits` hold.

        The shape is that of the observable, or its leading part. An observable that is not named is
        claimed wherever its prediction is a number. By default none is named.
        """
        return {}

    @abc.abstractmethod
    def work(self) -> Work:
        """Cost of one run."""

    def lengths_for(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Array lengths, by name, that hold every run of `columns` (field path to values).

        By default every `size()` field at its largest. A system overrides this if it has lengths
        that follow from several fields. Lengths that follow from traced numbers are omitted.
        """
        lengths = {}
        for name in size_names(self):
            values = [v for v in (getattr(self, name), columns.get(name)) if v is not None]
            if values and not is_traced(*values):
                lengths[name] = int(max(np.max(v) for v in values))
        return lengths

    def with_micro_batch(self, max_floats: float) -> "AbstractSystem":
        """Return the system with its steps cut so that one slice touches at most `max_floats`."""
        return self

    def unsupported(self, platform: str) -> str:
        """Why no run of this system is planned for a platform, "" if it can be.

        By default that is float64 on a TPU, which XLA emulates: for a v5e, networks and linear
        students did not compile in 220 s, least norm took 121 s.

        **Arguments**

        - `platform`: as JAX names it: "cpu", "gpu" or "tpu".
        """
        emulated = platform == "tpu" and self.dtype == "float64"
        return "its float64 programs take minutes to compile for a TPU" if emulated else ""

    def warnings(self) -> list[str]:
        """What the planner says before anything runs, such as of a rate above the stability limit.

        A system without such a limit in closed form (a parity network, sparse regression) says
        nothing: a run of it that leaves the finite numbers ends as `diverged` or `nonfinite`.
        """
        return []

    def padded(self, name: str) -> int:
        """Static length of the arrays along a size.

        **Arguments**

        - `name`: a `size()` field, or another name of `lengths_for`.

        **Returns** the length, the size itself in a system that is not padded.

        **Raises** `ValueError` if the numbers it follows from were traced when it was built.
        """
        lengths = dict(self.lengths)
        if name not in lengths:
            raise ValueError(
                f"`{name}` of {type(self).__name__} has no padded length (there is "
                f"{', '.join(lengths) or 'none'}): where the numbers it follows from are traced, "
                "start from `system.padded_for({path: values})` of a system with plain numbers; "
                "`dataclasses.replace` keeps its lengths."
            )
        return lengths[name]

    def padded_for(self: _System, columns: Mapping[str, Any]) -> _System:
        """Return the same system with arrays that hold every run of `columns`.

        **Arguments**

        - `columns`: values by field path.

        **Returns** a system with the same results to rounding, and other `padded` lengths.
        """
        return dataclasses.replace(self, lengths=tuple(self.lengths_for(columns).items()))

    def padded_like(self: _System, other: "AbstractSystem") -> _System:
        """Return this system at the padded lengths of `other`, where their own lengths agree."""
        if self.lengths == other.lengths:
            return self
        own, before = self.lengths_for({}), other.lengths_for({})
        same = {n: k for n, k in other.lengths if own.get(n) == before.get(n)}
        if same.items() <= dict(self.lengths).items():
            return self
        return dataclasses.replace(self, lengths=tuple(same.items()))

    def enclosing(self: _System, columns: Mapping[str, Any]) -> _System:
        """Deprecated name of `padded_for`."""
        warn_deprecated("enclosing", "padded_for")
        return self.padded_for(columns)

    def __check_init__(self):
        # Equinox calls this once fields are converted, after the check of the system's own class.
        own = self.lengths_for({})
        lengths = {**own, **dict(self.lengths)}
        object.__setattr__(self, "lengths", tuple(lengths.items()))
        for name in size_names(self):
            if name in own and own[name] > lengths[name]:
                raise ValueError(
                    f"`{name}` must be at most its padded length {lengths[name]}, got {own[name]}."
                )

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name, new in (("enclosing", "lengths_for"), ("sliced", "with_micro_batch")):
            if name in cls.__dict__:
                raise TypeError(f"`{cls.__name__}.{name}` is called no longer: define `{new}`.")
        for name in declared_sizes(cls):
            if f"max_{name}" in cls.__dict__:
                warn_deprecated(f"{cls.__name__}.max_{name}", f'self.padded("{name}")')
