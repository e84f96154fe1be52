"""`RandomFeatureRegression`: least squares on random features of sparse power-law inputs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Key

from jaxscale.fields import (
    Integer,
    Real,
    cast,
    converted,
    derived,
    is_traced,
    part,
    real,
    replace,
    size,
    static_choice,
    static_count,
    static_int,
)
from jaxscale.keys import check_key
from jaxscale.sparse.closed_form import observables, predicted
from jaxscale.sparse.features import (
    AbstractFeatures,
    AbstractNonlinear,
    Identity,
    Linear,
    features_field,
)
from jaxscale.sparse.simulation import simulation
from jaxscale.sparse.sizes import Padding, padding_for, power_law_table
from jaxscale.sparse.solvers import AbstractSolver, MinNorm
from jaxscale.sparse.spectrum import (
    AbstractCoordinates,
    PowerLawCoordinates,
    Tabulated,
    TabulatedCoordinates,
)
from jaxscale.sparse.teacher import AbstractTeacher, Averaged
from jaxscale.system import AbstractSystem, Observables, Schema, Work

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
    - `spectrum`: a `Tabulated` spectrum instead of the two exponents and M.
    - `features`: `Linear()`, `Identity()`, `Relu()`, `Tanh(scale)` or a callable module.
    - `solver`: `MinNorm()`, `Ridge(strength)`, `GradientDescent(...)`, `GradientSteps(...)`.
    - `teacher`: `Averaged()` (the exact mean over teachers) or `Sampled()`.
    - `n_evaluation`: test inputs of nonlinear features; linear ones need none.
    - `dtype`: float64 alone: Gram matrices and rare spikes need it.
    - `padding`: static sizes, set by the planner.

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
            raise ValueError(
                "`n_features` must be given, except with features=Identity(), got "
                f"{self.n_features!r} with {self.features!r}."
            )
        if not is_traced(self.n_samples, self.n_features):
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
            return TabulatedCoordinates(spectrum=self.spectrum, activity=self.activity)
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
        system = self
        for path in ("n_features", "n_samples"):
            if path in columns:
                system = replace(system, path, np.max(columns[path]))
        paths = [path for path in ("sparsity_exponent", "activity") if path in columns]
        if not paths:
            return replace(self, "padding", system.sizes)
        found = system.sizes
        for point in np.unique(np.stack([columns[path] for path in paths], axis=-1), axis=0):
            one = system
            for path, value in zip(paths, point, strict=True):
                one = replace(one, path, value)
            found = found.union(one.sizes)
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
        resident = 4.0 * s.n_rows * s.seen + 6.0 * rows * n + 2.0 * s.seen * n + 6.0 * s.seen**2
        if isinstance(self.features, AbstractNonlinear):
            flops += 2.0 * s.n_evaluation * n * 2 * s.seen + 30.0 * s.n_samples**2 * n
            resident += 6.0 * s.n_samples * n
        steps = self.solver.record_steps
        if steps is not None:
            flops += 4.0 * len(steps) * small * s.seen * s.seen
            resident += 2.0 * len(steps) * small * s.seen
        return Work(flops, resident, resident, 1)


def _own_padding(system: RandomFeatureRegression) -> Padding | None:
    """Sizes of a system of plain numbers, None if one is traced; runs before the fields' rules."""
    names = ("n_features", "n_samples", "n_coordinates", "sparsity_exponent", "spectrum_exponent",
             "activity", "spectrum", "features", "n_evaluation")  # fmt: skip
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
    sizes = [value[n] for n in ("n_features", "n_samples", "sparsity_exponent", "activity")]
    if is_traced(probability, *sizes):
        return None
    activity, tail = float(value["activity"]), 0.0
    if probability is None:
        gamma = float(value["sparsity_exponent"])
        probability, tail = power_law_table(gamma, activity, value["n_coordinates"])
    else:
        probability = np.minimum(1.0, activity * probability)
    nonlinear = isinstance(value["features"], AbstractNonlinear)
    return padding_for(
        0 if value["n_features"] is None else int(value["n_features"]),
        int(value["n_samples"]),
        value["n_evaluation"] if nonlinear else 0,
        probability,
        tail,
    )
