"""`RandomFeatureRegression`: least squares on random features of sparse power-law inputs."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Key

from jaxscale.fields import (
    Integer,
    Real,
    converted,
    derived,
    is_traced,
    part,
    real,
    size,
    static_choice,
    static_count,
    static_int,
)
from jaxscale.keys import check_key
from jaxscale.paths import cast, replace
from jaxscale.sparse.closed_form import observables, predicted
from jaxscale.sparse.features import (
    AbstractFeatures,
    AbstractNonlinear,
    Identity,
    Linear,
    features_field,
)
from jaxscale.sparse.padding import Padding, padding_for, power_law_padding
from jaxscale.sparse.simulation import simulation
from jaxscale.sparse.solvers import AbstractSolver, MinNorm
from jaxscale.sparse.spectrum import (
    AbstractCoordinates,
    PowerLawCoordinates,
    Tabulated,
    TabulatedCoordinates,
)
from jaxscale.sparse.teacher import AbstractTeacher, Averaged
from jaxscale.system import AbstractSystem, Observables, Schema, Work

PADDED_BY = ("n_features", "n_samples", "sparsity_exponent", "activity")
DRAW_FLOPS = 100.0  # threefry and the inverse error function, per normal number


class RandomFeatureRegression(AbstractSystem):
    r"""Regression of `y = w x` on N random features of D sparse inputs.

    Coordinate `i = 1..M` of an input is active with probability `p_i = min(1, c i^-gamma)` and has
    variance `lambda_i = i^-(1 + alpha)`: `x_i = s_i z_i sqrt(lambda_i / p_i)`, `s_i` Bernoulli,
    `z_i` standard normal. The teacher has `E w w^T = I`; the loss is `E (y - theta phi)^2 / 2`.

    **Arguments**

    - `n_features`: N; None with `Identity()`.
    - `n_samples`: D.
    - `n_coordinates`: M, a whole number or `math.inf` (which needs gamma > 1).
    - `spectrum_exponent`: alpha > 0.
    - `sparsity_exponent`: gamma >= 0; 0 with activity 1 is dense Gaussian data.
    - `activity`: c > 0.
    - `spectrum`: a `Tabulated` spectrum instead of the two exponents and M; its probabilities are
      multiplied by the activity, up to 1.
    - `features`: `Linear()`, `Identity()`, `Relu()`, `Tanh(scale=...)` or a callable module.
    - `solver`: `MinNorm()`, `Ridge(strength=...)`, `GradientDescent(...)`, `GradientSteps(...)`;
      their numbers are axes, too: `"solver.strength"`, `"solver.learning_rate"`.
    - `teacher`: `Averaged()` (the exact mean over teachers) or `Sampled()`.
    - `n_evaluation`: test inputs of nonlinear features; linear ones need none.
    - `dtype`: float64 alone: Gram matrices and rare spikes need it.
    - `padding`: static sizes, set by the planner.

    Observables: `loss` (over `step` for a solver with steps), `n_seen` and `unseen_loss`; `rank`,
    `condition` and `residual_loss` (at infinitely many features) with `MinNorm`; `condition` with
    `Ridge`; `rank`, `condition`, `largest_eigenvalue` and `stable` (1 or 0) with gradient descent.
    `system.schema` says what theory predicts of each.

    `simulate` needs `with jax.enable_x64(True):` around a bare call (`js.run` opens it). It has
    forward-mode derivatives in `solver.strength` and `solver.learning_rate`. In what
    the inputs depend on (exponents, activity) they are NaN: the factorisations of padded matrices
    have none. `predict` is differentiable in all of them.

    **Raises** `ValueError` for anything out of range.

    **Reference**: derived here, for the model introduced by Sous and Winer 2026, arXiv 2605.23591.
    """

    n_features: Integer | None = size(None, optional=True)
    n_samples: Integer = size()
    n_coordinates: int | float = static_count(math.inf)
    spectrum_exponent: Real | None = real(None, above=0.0, optional=True)
    sparsity_exponent: Real | None = real(None, at_least=0.0, optional=True)
    activity: Real = real(1.0, above=0.0)
    spectrum: Tabulated | None = part(Tabulated, None, optional=True)
    features: AbstractFeatures = features_field(Linear())
    solver: AbstractSolver = part(AbstractSolver, MinNorm())
    teacher: AbstractTeacher = part(AbstractTeacher, Averaged())
    n_evaluation: int = static_int(10_000)
    dtype: str = static_choice("float64", ("float64",))
    padding: Padding | None = derived(Padding)

    def __post_init__(self):
        if self.padding is None:
            self.padding = _own_padding(self)

    def __check_init__(self):
        if (self.n_features is None) != isinstance(self.features, Identity):
            rule = "be given" if self.n_features is None else "be left out"
            raise ValueError(
                f"`n_features` must {rule} with {self.features!r} (it is left out with Identity() "
                f"alone), got {self.n_features}."
            )
        if self.padding is not None and not is_traced(self.n_samples, self.n_features):
            for name in ("n_features", "n_samples"):
                value, most = getattr(self, name), getattr(self.sizes, name)
                if value is not None and int(value) > most:
                    raise ValueError(
                        f"`{name}` must be at most its padding {most}, got {int(value)}."
                    )

    @property
    def sizes(self) -> Padding:
        """Static sizes of the arrays."""
        if self.padding is None:
            raise ValueError(
                "`padding` must be given where n_samples, sparsity_exponent or activity is traced: "
                "take it from `system.enclosing({path: values})` of a system with plain numbers."
            )
        return self.padding

    @property
    def coordinates(self) -> AbstractCoordinates:
        """The spectrum, as the simulation draws from it."""
        if self.spectrum is not None:
            return TabulatedCoordinates(spectrum=self.spectrum, activity=self.activity)  # pyright: ignore
        return PowerLawCoordinates(
            spectrum_exponent=self.spectrum_exponent,  # pyright: ignore
            sparsity_exponent=self.sparsity_exponent,  # pyright: ignore
            activity=self.activity,
            n_coordinates=self.n_coordinates,
        )

    @property
    def schema(self) -> Schema:
        """Loss and diagnostics of the solver; a solver with steps has a loss per step."""
        steps = self.solver.record_steps
        coordinates = {} if steps is None else {"step": np.asarray(steps)}
        return Schema(observables(self), coordinates, "sparse regression", solved=True)

    def enclosing(self, columns: Mapping[str, Any]) -> "RandomFeatureRegression":
        """The same system with sizes that hold every run of `columns`."""
        value = {name: columns.get(name, getattr(self, name)) for name in PADDED_BY}
        largest = [0 if value[n] is None else int(np.max(value[n])) for n in PADDED_BY[:2]]
        swept = [np.atleast_1d(0.0 if value[n] is None else value[n]) for n in PADDED_BY[2:]]
        pairs = np.unique(np.stack(np.broadcast_arrays(*swept), axis=-1), axis=0)
        found = None
        for gamma, activity in pairs.astype(float).tolist():
            one = _padding(self, largest[0], largest[1], gamma, activity)
            found = one if found is None else found.union(one)
        return replace(self, "padding", found)

    def simulate(self, key: Key[Array, ""]) -> Observables:
        """Draw data, features and teacher; solve; measure."""
        check_key(key)
        return simulation(cast(self, self.dtype), key)

    def predict(self) -> Observables:
        """Closed forms of `sparse.theory` for every observable that has one."""
        return predicted(self)

    def work(self) -> Work:
        """Draws, the reduction of the samples, the design and the solver."""
        s = self.sizes
        rows = min(s.seen, s.n_samples)
        n = s.seen if isinstance(self.features, Identity) else s.n_features
        draws = s.points * 10.0 + s.head * s.n_rows + s.seen * n
        small = min(rows, n)
        flops = DRAW_FLOPS * draws + 2.0 * s.n_samples * s.seen * rows + 2.0 * rows * n * s.seen
        flops += 30.0 * (rows**3 + small**2 * max(rows, n)) + 4.0 * s.seen * s.seen * n
        resident = 2.5 * s.n_rows * s.seen + 3.0 * rows * n + 1.5 * s.seen * n + 3.0 * s.seen**2
        if isinstance(self.features, AbstractNonlinear):
            flops += 2.0 * s.n_evaluation * n * 2 * s.seen + 30.0 * s.n_samples**2 * n
            resident += 3.0 * s.n_samples * n
        steps = self.solver.record_steps
        if steps is not None:
            flops += 4.0 * len(steps) * small * s.seen * s.seen
            resident += len(steps) * small * s.seen
        return Work(flops, resident, resident, 1, branches=True)


def _own_padding(system: RandomFeatureRegression) -> Padding | None:
    """Sizes of a system of plain numbers, None if one is traced; runs before the fields' rules."""
    names = (*PADDED_BY, "n_coordinates", "spectrum_exponent", "spectrum")
    value = {name: converted(system, name) for name in names}
    exponents = ("spectrum_exponent", "sparsity_exponent")
    spectrum = value["spectrum"]
    for name in exponents:
        if (value[name] is None) == (spectrum is None):
            rule = "be given unless there is a spectrum" if spectrum is None else "be left out"
            raise ValueError(f"`{name}` must {rule}, got {getattr(system, name)!r}.")
    if spectrum is not None and value["n_coordinates"] != math.inf:
        raise ValueError(f"`n_coordinates` must be left out, got {value['n_coordinates']!r}.")
    probability = None if spectrum is None else spectrum.probability
    sizes = [value[n] for n in PADDED_BY]
    if is_traced(probability, *sizes):
        return None
    numbers = [0 if v is None else v for v in sizes]
    n_features, n_samples = int(numbers[0]), int(numbers[1])
    return _padding(system, n_features, n_samples, float(numbers[2]), float(numbers[3]))


def _padding(
    system: RandomFeatureRegression, n_features: int, n_samples: int, gamma: float, activity: float
) -> Padding:
    """Sizes of one run with these numbers and the static fields of `system`."""
    spectrum = converted(system, "spectrum")
    nonlinear = isinstance(converted(system, "features"), AbstractNonlinear)
    n_evaluation = converted(system, "n_evaluation") if nonlinear else 0
    if spectrum is None:
        n_coordinates = converted(system, "n_coordinates")
        found = power_law_padding(n_samples, n_evaluation, gamma, activity, n_coordinates)
    else:
        probability = np.minimum(1.0, activity * spectrum.probability)
        found = padding_for(n_samples, n_evaluation, probability, 0.0, len(probability))
    return dataclasses.replace(found, n_features=n_features)
