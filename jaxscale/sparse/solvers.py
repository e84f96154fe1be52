r"""Solvers of the regression, each batched by `vmap` over problems padded to one shape.

A linear regression of features `phi = F x` on `X` (D x K) sees the samples only through `X^T X`.
Each solver therefore starts from *rows* `R` with `R^T R = X^T X` and at most `min(D, K)` of them:
the triangular factor of `X`, or the rotated samples of its row space. The design is `A = R F^T`,
the targets are `R W` for a teacher `W`, and padded rows and features of both are zero.
"""

import abc
import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxscale.fields import Configurable, Real, real, record_field, static_int
from jaxscale.linalg import (
    cholesky,
    cholesky_solve,
    eigh,
    qr,
    singular_values,
    solve_lower,
    solve_upper,
    svd,
    triangular_factor,
)
from jaxscale.system import Observable
from jaxscale.training import check_record, log_spaced_steps

RANK_CUT = 1e-11  # of the Gram matrix of unit-norm columns (eigenvalues)
SINGULAR_CUT = 1e-12  # of a design whose row rank is not known
CONDITION_LIMIT = 1e10


class Rows(eqx.Module):
    """Rows `R` with `R^T R = X^T X`; `rank`, where known, counts the leading rows that are not 0."""

    values: Float[Array, "m k"]
    rank: Int[Array, ""] | None = None


class Problem(eqx.Module):
    """Least squares `|A theta - b|^2` of a padded design.

    - `design`, `targets`: `A` (m, n) and `b` (m, t); one column per teacher direction.
    - `n_samples`: D, the samples behind the rows.
    - `n_columns`: features that are not padding; they come first unless they exceed the rank.
    - `rank`: number of leading rows that are not zero and independent; None if unknown.
    """

    design: Float[Array, "m n"]
    targets: Float[Array, "m t"]
    n_samples: Float[Array, ""]
    n_columns: Int[Array, ""]
    rank: Int[Array, ""] | None = None


class Fit(eqx.Module):
    """Solutions `theta = basis @ coefficients[r]`, one per record; no basis means the unit matrix.

    - `diagnostics`: scalars by observable name.
    - `trusted`: whether the problem was conditioned well enough to be solved in float64.
    """

    basis: Float[Array, "n q"] | None
    coefficients: Float[Array, "r q t"]
    diagnostics: dict[str, Float[Array, ""]]
    trusted: Bool[Array, ""]


class AbstractSolver(Configurable):
    """How the weights of the features are found."""

    @property
    def record_steps(self) -> tuple[int, ...] | None:
        """Steps at which a path is recorded; None for a solver without steps."""
        return None

    @property
    @abc.abstractmethod
    def diagnostics(self) -> dict[str, Observable]:
        """Descriptions of what `solve` tells beside the weights."""

    @abc.abstractmethod
    def rows(self, inputs: Float[Array, "d k"]) -> Rows:
        """Rows that stand for the samples of a linear regression."""

    @abc.abstractmethod
    def solve(self, problem: Problem) -> Fit:
        """Solve a least-squares problem."""


_CONDITION = Observable((), "1", "largest over smallest non-zero singular value of Phi")
_RANK = Observable((), "1", "rank of Phi")


class MinNorm(AbstractSolver):
    r"""The solution of least norm among those of least squares (ridgeless regression).

    `theta = A^+ b`. The rows span the row space of `X`, found from the Gram matrix of its columns
    scaled to unit norm. At N >= r the equations are met exactly and each may be scaled; at N < r
    their scale is the metric. Either way one QR factorisation of the smaller side is solved, so
    that no condition number is squared. A design of unknown rank (nonlinear features) goes through
    its singular value decomposition.

    **Reference**: derived here; see Golub and Van Loan, Matrix Computations, section 5.
    """

    @property
    def diagnostics(self) -> dict[str, Observable]:
        """`rank` and `condition`."""
        return {"rank": _RANK, "condition": _CONDITION}

    def rows(self, inputs: Float[Array, "d k"]) -> Rows:
        """Rotated samples of the row space, largest first."""
        norm = column_norms(inputs)
        unit = inputs / jnp.where(norm > 0, norm, 1.0)
        wide = inputs.shape[1] > inputs.shape[0]
        value, vector = eigh(unit @ unit.T if wide else unit.T @ unit)
        value, vector = value[::-1], vector[:, ::-1]
        kept = (value > RANK_CUT * value[0]) & (value > 0)
        if wide:
            rotated = vector.T @ inputs
        else:
            rotated = jnp.sqrt(jnp.where(kept, value, 0.0))[:, None] * vector.T * norm
        return Rows(jnp.where(kept[:, None], rotated, 0.0), jnp.sum(kept, dtype=jnp.int32))

    def solve(self, problem: Problem) -> Fit:
        """QR where the row rank is known, else SVD."""
        if problem.rank is None:
            return _pseudo_inverse(problem)
        over = problem.n_columns >= problem.rank
        scale = jnp.linalg.norm(problem.design, axis=1)
        scale = jnp.where(over & (scale > 0), scale, 1.0)[:, None]
        a, b = problem.design / scale, problem.targets / scale
        wide = _underdetermined(jnp.where(over, a, 0.0), b, jnp.where(over, problem.rank, 0))
        tall = _overdetermined(jnp.where(over, 0.0, a), b, jnp.where(over, 0, problem.n_columns))
        theta = jnp.where(over, wide, tall)
        singular = singular_values(problem.design)
        rank = jnp.minimum(problem.rank, problem.n_columns)
        condition = _ratio(singular, rank)
        found = {"rank": rank.astype(singular.dtype), "condition": condition}
        return Fit(None, theta[None], found, condition < CONDITION_LIMIT)


class Ridge(AbstractSolver):
    r"""Ridge regression by Cholesky factorisation and one step of refinement.

    `theta = argmin |A theta - b|^2 / (2 D) + (strength / 2) |theta|^2`, through the normal
    equations of the smaller side of `A`.

    **Arguments**

    - `strength`: rho > 0, with features `phi = F x / sqrt(N)`.
    """

    strength: Real = real(1e-3, above=0.0)

    @property
    def diagnostics(self) -> dict[str, Observable]:
        """`condition`, an upper bound."""
        bound = "upper bound 1 + |Phi|^2 / (D rho) on the condition of the normal equations"
        return {"condition": Observable((), "1", bound)}

    def rows(self, inputs: Float[Array, "d k"]) -> Rows:
        """Triangular factor of the samples, or the samples."""
        return triangular(inputs)

    def solve(self, problem: Problem) -> Fit:
        """Primal for fewer features than rows, else dual."""
        a, d = problem.design, problem.n_samples
        n_rows, n_features = a.shape
        primal = n_features <= n_rows
        gram = (a.T @ a if primal else a @ a.T) / d
        matrix = gram + self.strength * jnp.eye(gram.shape[0], dtype=gram.dtype)
        right = (a.T @ problem.targets if primal else problem.targets) / d
        factor = cholesky(matrix)
        solution = cholesky_solve(factor, right)
        solution = solution + cholesky_solve(factor, right - matrix @ solution)
        condition = 1.0 + jnp.trace(gram) / self.strength
        basis = None if primal else a.T
        trusted = condition < CONDITION_LIMIT
        return Fit(basis, solution[None], {"condition": condition}, trusted)


class AbstractGradientDescent(AbstractSolver):
    r"""Full-batch gradient descent from `theta = 0` with a fixed step.

    `theta <- theta + (learning_rate / D) A^T (b - A theta)`.
    """

    learning_rate: eqx.AbstractVar[Real]
    n_steps: eqx.AbstractVar[int]
    record: eqx.AbstractVar[tuple[int, ...] | None]

    @property
    def record_steps(self) -> tuple[int, ...]:
        """`record`, or 0 and log-spaced steps to the end."""
        return log_spaced_steps(self.n_steps, 40) if self.record is None else self.record

    @property
    def diagnostics(self) -> dict[str, Observable]:
        """Spectrum of `H = Phi^T Phi / D` and stability."""
        return {
            "rank": _RANK,
            "condition": _CONDITION,
            "largest_eigenvalue": Observable((), "variance", "largest eigenvalue of Phi^T Phi / D"),
            "stable": Observable(
                (), "1", "1 where learning_rate * largest_eigenvalue <= 2, else 0"
            ),
        }

    def rows(self, inputs: Float[Array, "d k"]) -> Rows:
        """Triangular factor of the samples, or the samples."""
        return triangular(inputs)

    def spectrum(
        self, singular: Float[Array, " q"], n_samples: Float[Array, ""]
    ) -> dict[str, Float[Array, ""]]:
        """Diagnostics from the singular values of the design."""
        rank = _numerical_rank(singular)
        largest = singular[0] ** 2 / n_samples
        return {
            "rank": rank.astype(singular.dtype),
            "condition": _ratio(singular, rank),
            "largest_eigenvalue": largest,
            "stable": (self.learning_rate * largest <= 2.0).astype(singular.dtype),
        }


class GradientDescent(AbstractGradientDescent):
    r"""Gradient descent at any step in closed form.

    With `A = U s V^T`: `theta_t = V diag((1 - (1 - learning_rate s^2 / D)^t) / s) U^T b`.

    **Arguments**

    - `learning_rate`: eta > 0, of `H = Phi^T Phi / D` with `phi = F x / sqrt(N)`.
    - `n_steps`, `record`: last step, and the steps to record (None for log-spaced).
    """

    learning_rate: Real = real(0.5, above=0.0)
    n_steps: int = static_int(10000)
    record: tuple[int, ...] | None = record_field()

    def __check_init__(self):
        check_record(self.record, self.n_steps)

    def solve(self, problem: Problem) -> Fit:
        """Filter of the singular values."""
        left, singular, right = svd(problem.design)
        steps = jnp.asarray(self.record_steps, singular.dtype)[:, None]
        rate = self.learning_rate * singular**2 / problem.n_samples
        filtered = one_minus_power(rate, steps) / jnp.where(singular > 0, singular, 1.0)
        coefficients = filtered[:, :, None] * (left.T @ problem.targets)
        found = self.spectrum(singular, problem.n_samples)
        return Fit(right.T, coefficients, found, jnp.asarray(True))


class GradientSteps(AbstractGradientDescent):
    """Gradient descent step by step; costs `n_steps` products and agrees with `GradientDescent`.

    **Arguments**: as `GradientDescent`.
    """

    learning_rate: Real = real(0.5, above=0.0)
    n_steps: int = static_int(1000)
    record: tuple[int, ...] | None = record_field()

    def __check_init__(self):
        check_record(self.record, self.n_steps)

    def solve(self, problem: Problem) -> Fit:
        """Steps of `beta`, where `theta = A^T beta`."""
        a, b, d = problem.design, problem.targets, problem.n_samples
        gram = a @ a.T
        stops = jnp.asarray(self.record_steps, jnp.int32)
        starts = jnp.concatenate([jnp.zeros((1,), jnp.int32), stops[:-1]])

        def step(_: int, beta: Float[Array, "m t"]) -> Float[Array, "m t"]:
            return beta + self.learning_rate / d * (b - gram @ beta)

        def segment(beta: Float[Array, "m t"], ends: tuple[Array, Array]) -> tuple[Array, Array]:
            beta = jax.lax.fori_loop(ends[0], ends[1], step, beta)
            return beta, beta

        _, path = jax.lax.scan(segment, jnp.zeros_like(b), (starts, stops))
        found = self.spectrum(singular_values(a), d)
        return Fit(a.T, path, found, jnp.asarray(True))


def one_minus_power(rate: Float[Array, "..."], steps: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 - (1 - rate)^steps` for whole `steps`, without cancellation at small rates."""
    slow = rate < 0.5
    small = -jnp.expm1(steps * jnp.log1p(-jnp.where(slow, rate, 0.0)))
    return jnp.where(slow, small, 1.0 - jnp.power(1.0 - jnp.where(slow, 1.0, rate), steps))


def column_norms(values: Float[Array, "d k"]) -> Float[Array, " k"]:
    """Euclidean norms that neither overflow nor underflow."""
    largest = jnp.max(jnp.abs(values), axis=0)
    safe = jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sqrt(jnp.sum((values / safe) ** 2, axis=0))


def triangular(inputs: Float[Array, "d k"]) -> Rows:
    """The triangular factor of tall inputs, wide inputs themselves."""
    if inputs.shape[0] <= inputs.shape[1]:
        return Rows(inputs)
    return Rows(triangular_factor(inputs))


def _ratio(singular: Float[Array, " q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """First over `rank`-th singular value; 1 for rank 0."""
    last = singular[jnp.maximum(rank - 1, 0)]
    return jnp.where(rank > 0, singular[0] / jnp.where(rank > 0, last, 1.0), 1.0)


def _numerical_rank(singular: Float[Array, " q"]) -> Int[Array, ""]:
    kept = (singular > SINGULAR_CUT * singular[0]) & (singular > 0)
    return jnp.sum(kept, dtype=jnp.int32)


def _pseudo_inverse(problem: Problem) -> Fit:
    left, singular, right = svd(problem.design)
    rank = _numerical_rank(singular)
    kept = jnp.arange(singular.shape[0], dtype=jnp.int32) < rank
    inverse = jnp.where(kept, 1.0 / jnp.where(kept, singular, 1.0), 0.0)
    theta = right.T @ (inverse[:, None] * (left.T @ problem.targets))
    condition = _ratio(singular, rank)
    found = {"rank": rank.astype(singular.dtype), "condition": condition}
    return Fit(None, theta[None], found, condition < CONDITION_LIMIT)


def _unit_beyond(square: Float[Array, "q q"], active: Int[Array, ""]) -> Float[Array, "q q"]:
    """A triangular factor with ones on the diagonal from `active` on."""
    inactive = jnp.arange(square.shape[0], dtype=jnp.int32) >= active
    return jnp.where(jnp.diag(inactive), 1.0, square)


def _underdetermined(
    a: Float[Array, "m n"], b: Float[Array, "m t"], active: Int[Array, ""]
) -> Float[Array, "n t"]:
    """Least-norm solution of `active` independent leading equations."""
    q, r = qr(a.T)
    size = r.shape[0]
    lower = _unit_beyond(r[:, :size], active).T
    return q @ solve_lower(lower, b[:size])


def _overdetermined(
    a: Float[Array, "m n"], b: Float[Array, "m t"], active: Int[Array, ""]
) -> Float[Array, "n t"]:
    """Least-squares solution for `active` leading unknowns."""
    q, r = qr(a)
    size = r.shape[0]
    kept = jnp.arange(size, dtype=jnp.int32) < active
    theta = solve_upper(_unit_beyond(r[:, :size], active), jnp.where(kept[:, None], q.T @ b, 0.0))
    return jnp.pad(theta, ((0, a.shape[1] - size), (0, 0)))
