"""`RandomFeatureRegression`: least squares on random features of sparse power-law inputs."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale._deprecated import warn_deprecated
from jaxscale._status import DIVERGED, Status
from jaxscale._system import AbstractSystem, Observables, Schema, Work
from jaxscale.fields import (
    Integer,
    Real,
    is_traced,
    part,
    real,
    size,
    static_choice,
    static_count,
    static_int,
)
from jaxscale.keys import check_key
from jaxscale.sparse._data import Inputs, draw_inputs
from jaxscale.sparse._features import (
    AbstractFeatures,
    AbstractLinear,
    AbstractNonlinear,
    Identity,
    Linear,
    features_field,
    gaussian_projection,
)
from jaxscale.sparse._losses import linear_loss, residual_loss, sampled_loss
from jaxscale.sparse._narrow_columns import on_seen_columns
from jaxscale.sparse._padding import Padding, padding_for, power_law_padding
from jaxscale.sparse._predictions import observables, predicted, within_limits
from jaxscale.sparse._solvers import AbstractSolver, MinNorm, Problem
from jaxscale.sparse._spectrum import AbstractCoordinates, PowerLawCoordinates, Tabulated
from jaxscale.sparse._teacher import AbstractTeacher, Averaged
from jaxscale.training import cast

SIZES, SPARSITY = ("n_features", "n_samples"), ("sparsity_exponent", "activity")
DATA_STREAM, FEATURE_STREAM, TEACHER_STREAM = range(3)
DRAW_FLOPS = 100.0  # threefry and the inverse error function, per normal number
NORMAL_DRAWS = 3.0  # numbers of a float32 batch that take as long on a CPU as a float64 normal one


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

    def __check_init__(self):
        spectrum = self.spectrum
        for name in ("spectrum_exponent", "sparsity_exponent"):
            value = getattr(self, name)
            if spectrum is None and value is None:
                raise ValueError(f"`{name}` must be given unless there is a spectrum, got None.")
            if spectrum is not None and value is not None:
                raise ValueError(f"`{name}` must be left out with a spectrum, got {value}.")
        if spectrum is not None and self.n_coordinates != math.inf:
            raise ValueError(f"`n_coordinates` must be left out, got {self.n_coordinates!r}.")
        if (self.n_features is None) != isinstance(self.features, Identity):
            rule = "be given" if self.n_features is None else "be left out"
            raise ValueError(
                f"`n_features` must {rule} with {self.features!r} (it is left out with Identity() "
                f"alone), got {self.n_features}."
            )

    def lengths_for(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Rows, columns and events of the draws, see `Padding`, samples and features."""
        value = {name: columns.get(name, getattr(self, name)) for name in (*SIZES, *SPARSITY)}
        table = None if self.spectrum is None else self.spectrum.probability
        if is_traced(table, *value.values()):
            return {}
        lengths = {n: 0 if value[n] is None else int(np.max(value[n])) for n in SIZES}
        swept = (np.atleast_1d(0.0 if value[n] is None else value[n]) for n in SPARSITY)
        sparsities = (c.astype(float).tolist() for c in np.broadcast_arrays(*swept))
        n_rows = lengths["n_samples"] + self._n_test
        pairs = set(zip(*sparsities, strict=True))
        paddings = [vars(self._padding_of(n_rows, *pair)) for pair in pairs]
        return {name: max(p[name] for p in paddings) for name in paddings[0]} | lengths

    def _padding_of(self, n_rows: int, gamma: float, activity: float) -> Padding:
        """Padding of the draws of one run with these numbers."""
        if self.spectrum is None:
            return power_law_padding(n_rows, gamma, activity, self.n_coordinates)
        probability = np.minimum(1.0, activity * self.spectrum.probability)
        return padding_for(n_rows, probability, 0.0, len(probability))

    @property
    def _n_test(self) -> int:
        """Test inputs that are drawn: linear features need none."""
        return self.n_evaluation if isinstance(self.features, AbstractNonlinear) else 0

    @property
    def padding(self) -> Padding:
        """Static sizes of the draws."""
        return Padding(**{f.name: self.padded(f.name) for f in dataclasses.fields(Padding)})

    @property
    def sizes(self) -> Padding:
        """Deprecated name of `padding`."""
        warn_deprecated("sizes", "padding")
        return self.padding

    @property
    def coordinates(self) -> AbstractCoordinates:
        """The spectrum, as the simulation draws from it."""
        if self.spectrum is not None:
            probability = jnp.minimum(1.0, self.activity * jnp.asarray(self.spectrum.probability))
            return dataclasses.replace(self.spectrum, probability=probability)
        names = ("spectrum_exponent", "sparsity_exponent", "activity", "n_coordinates")
        return PowerLawCoordinates(**{name: getattr(self, name) for name in names})

    @property
    def schema(self) -> Schema:
        """Loss and diagnostics of the solver; a solver with steps has a loss per step."""
        steps = self.solver.record_steps
        coordinates = {} if steps is None else {"step": np.asarray(steps)}
        described = observables(self.features, self.solver)
        return Schema(described, coordinates, "sparse regression", solved=True)

    def simulate(self, key: Key[Array, ""]) -> Observables:
        """Draw data, features and teacher; solve; measure."""
        check_key(key)
        return cast(self, self.dtype)._simulate(key)

    def _simulate(self, key: Key[Array, ""]) -> Observables:
        """`simulate`, of leaves that are float64 already."""
        padding, n_test = self.padding, self._n_test
        n_samples = jnp.asarray(self.n_samples)
        data_key = jr.fold_in(key, DATA_STREAM)
        everything = draw_inputs(data_key, self.coordinates, n_samples + n_test, padding)
        feature_key = jr.fold_in(key, FEATURE_STREAM)
        train = everything.without(n_test)
        teacher_key = jr.fold_in(key, TEACHER_STREAM)
        n_seen = jnp.sum(train.seen, dtype=jnp.int32)
        n_features = n_seen if self.n_features is None else jnp.asarray(self.n_features)
        max_features = self.padded("n_features")
        d = n_samples.astype(train.values.dtype)
        features = self.features
        if isinstance(features, AbstractLinear):

            def solved(train: Inputs) -> tuple[Any, ...]:
                projection = features.projection(feature_key, train, n_features, max_features)
                directions = self.teacher.directions(teacher_key, train)
                rows = self.solver.rows(train.values)
                exact = {} if rows.rank is None else {"residual_loss": residual_loss(train, rows)}
                design, targets = rows.values @ projection.T, rows.values @ directions
                fit = self.solver.solve(Problem(design, targets, d, n_features, rows.rank))
                loss = linear_loss(fit, train, projection, directions, features.leak(n_features))
                return loss, fit.trusted, exact | fit.diagnostics, _start(train, directions)

            loss, trusted, measured, start = on_seen_columns(solved, train, padding)
        elif isinstance(features, AbstractNonlinear):
            directions = self.teacher.directions(teacher_key, train)
            projection = gaussian_projection(feature_key, everything, n_features, max_features)

            def design(values: Float[Array, "b d"]) -> Float[Array, "b f"]:
                return features.design(values, projection, n_features)

            phi = design(train.values)
            real = jnp.arange(phi.shape[0], dtype=jnp.int32) < n_samples
            phi = jnp.where(real[:, None], phi, 0.0)
            fit = self.solver.solve(Problem(phi, train.values @ directions, d, n_features))
            loss = sampled_loss(fit, train, everything.values[:n_test], design, directions)
            trusted, measured, start = fit.trusted, fit.diagnostics, _start(train, directions)
        else:
            raise ValueError(f"`features` must be linear or nonlinear, got {features!r}.")
        steps = self.solver.record_steps
        loss, status = _health(loss, start, steps is not None, trusted, everything.complete)
        # measured before the first step, whatever becomes of the path
        measured |= {"n_seen": n_seen.astype(d.dtype), "unseen_loss": 0.5 * train.unseen_variance}
        drawn = status != Status.truncated
        measured = {n: jnp.where(drawn & jnp.isfinite(v), v, jnp.nan) for n, v in measured.items()}
        return {"loss": loss[0] if steps is None else loss, **measured, "status": status}

    def predict(self) -> Observables:
        """Closed forms of `sparse.theory` for every observable that has one."""
        names = self.schema.predicted()
        return predicted(names, self.solver, self.coordinates, self.n_features, self.n_samples)

    def within_limits(self) -> dict[str, Bool[Array, "..."]]:
        """Where the closed form of the loss is claimed: not next to the interpolation threshold."""
        names = self.schema.predicted()
        return within_limits(names, self.solver, self.coordinates, self.n_features, self.n_samples)

    def work(self) -> Work:
        """Count draws, the reduction of the samples, the design and the solver."""
        p, d, n_test = self.padding, self.padded("n_samples"), self._n_test
        rows = min(p.seen, d)
        n = p.seen if isinstance(self.features, Identity) else self.padded("n_features")
        draws = p.points * 10.0 + p.head * p.n_rows + p.seen * n
        small = min(rows, n)
        flops = DRAW_FLOPS * draws + 2.0 * d * p.seen * rows + 2.0 * rows * n * p.seen
        flops += 30.0 * (rows**3 + small**2 * max(rows, n)) + 4.0 * p.seen * p.seen * n
        resident = 2.5 * p.n_rows * p.seen + 3.0 * rows * n + 1.5 * p.seen * n + 3.0 * p.seen**2
        if n_test:
            flops += 2.0 * n_test * n * 2 * p.seen + 30.0 * min(d, n) ** 2 * max(d, n)
            resident += 3.0 * d * n
        steps = self.solver.record_steps
        if steps is not None:
            flops += 4.0 * len(steps) * small * p.seen * p.seen
            resident += len(steps) * small * p.seen
        draws *= NORMAL_DRAWS
        return Work(flops, resident, resident, 1, branches=True, draws=draws, quick=True)


def _start(train: Inputs, directions: Float[Array, "d t"]) -> Float[Array, ""]:
    """Loss of no weights."""
    return 0.5 * (train.unseen_variance + jnp.sum(train.variance[:, None] * directions**2))


def _health(
    loss: Float[Array, " r"],
    start: Float[Array, ""],
    is_path: bool,
    trusted: Bool[Array, ""],
    complete: Bool[Array, ""],
) -> tuple[Float[Array, " r"], Int[Array, ""]]:
    """Losses with NaN from the first bad record on, and the status of the run.

    A path diverges when its loss exceeds `DIVERGED` times that of no weights, or overflows between
    two records; the loss of a solution may be anything near the interpolation threshold.
    """
    finite = jnp.isfinite(loss)
    fine = finite & (loss <= DIVERGED * start) if is_path else finite
    good = jnp.cumprod(fine, dtype=jnp.int32) == 1
    bad = jnp.where(finite[0], Status.diverged, Status.nonfinite)
    status = jnp.where(jnp.all(good), Status.ok, bad)
    status = jnp.where((status == Status.ok) & ~trusted, Status.ill_conditioned, status)
    status = jnp.where(complete, status, Status.truncated)
    return jnp.where(good & complete, loss, jnp.nan), status.astype(jnp.int32)
