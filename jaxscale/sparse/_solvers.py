r"""Solvers of the regression, each batched by `vmap` over problems padded to one shape.

A linear regression of features `phi = F x` on `X` (D x K) sees the samples only through `X^T X`.
Each solver therefore starts from *rows* `R` with `R^T R = X^T X` and at most `min(D, K)` of them:
the triangular factor of `X`, or the rotated samples of its row space. The design is `A = R F^T`,
the targets are `R W` for a teacher `W`, and padded rows and features of both are zero.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxscale import _linalg as linalg
from jaxscale._system import Observable
from jaxscale.fields import Configurable, Real, real

RANK_CUT = 1e-11  # of the Gram matrix of unit-norm columns (eigenvalues)
INVERSE_LIMIT = 1e6  # of its inverse's trace, below which the columns are independent for certain
SINGULAR_CUT = 1e-12  # of a design whose row rank was not determined
CONDITION_LIMIT = 1e10
CONDITION = Observable((), "1", "largest over smallest non-zero singular value of Phi")
RANK = Observable((), "1", "rank of Phi")
Factored = tuple[Float[Array, "f t"], Float[Array, "q q"], Float[Array, "q q"]]


class Rows(eqx.Module):
    """Rows `R` with `R^T R = X^T X`, those that are not zero first; `rank` may count them."""

    values: Float[Array, "m d"]
    rank: Int[Array, ""] | None = None


class Problem(eqx.Module):
    """Least squares `|A theta - b|^2` of a padded design.

    - `design`, `targets`: `A` (m, f) and `b` (m, t); one column per teacher direction.
    - `n_samples`: D, the samples behind the rows.
    - `n_columns`: features that are not padding. Fewer than the rank, they come first; `Identity`,
      whose unseen columns leave holes, always has more.
    - `rank`: number of leading rows that are not zero and independent; None if not determined.
    """

    design: Float[Array, "m f"]
    targets: Float[Array, "m t"]
    n_samples: Float[Array, ""]
    n_columns: Int[Array, ""]
    rank: Int[Array, ""] | None = None

    def per_sample(self, total: Float[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        """Divide by the number of samples."""
        return jnp.asarray(total) / self.n_samples


class Fit(eqx.Module):
    """Solutions `theta = basis @ coefficients[r]`, one per record; no basis means the unit matrix.

    - `diagnostics`: scalars by observable name.
    - `trusted`: whether the problem was conditioned well enough to be solved in float64.
    """

    basis: Float[Array, "f q"] | None
    coefficients: Float[Array, "r q t"]
    diagnostics: dict[str, Float[Array, ""]]
    trusted: Bool[Array, ""]

    def on_basis(self, matrix: Float[Array, "m f"]) -> Float[Array, "m q"]:
        """Columns of `matrix @ theta` for unit coefficients."""
        return matrix if self.basis is None else matrix @ self.basis


class AbstractSolver(Configurable):
    """How the weights of the features are chosen."""

    @property
    def record_steps(self) -> tuple[int, ...] | None:
        """Steps at which a path is recorded; None for a solver without steps."""
        return None

    @property
    @abc.abstractmethod
    def diagnostics(self) -> dict[str, Observable]:
        """Descriptions of what `solve` measures besides the weights."""

    @abc.abstractmethod
    def rows(self, inputs: Float[Array, "n d"]) -> Rows:
        """Rows that stand for the samples of a linear regression."""

    @abc.abstractmethod
    def solve(self, problem: Problem) -> Fit:
        """Solve a least-squares problem."""


class MinNorm(AbstractSolver):
    r"""The solution of least norm among those of least squares (ridgeless regression).

    `theta = A^+ b`. The rows span the row space of `X`, computed from the Gram matrix of its
    columns scaled to unit norm: by Cholesky factorisation where the trace of its inverse, a bound
    on its smallest eigenvalue, shows that the columns are independent, as those of sparse samples
    mostly are; else by its eigenvectors. At N >= r the equations are met exactly and each may be
    scaled; at N < r their scale is the metric. Either way one QR factorisation of the smaller side
    is solved, so that no condition number is squared. A design of undetermined rank (nonlinear
    features) goes through its singular value decomposition.

    **Reference**: derived here; see Golub and Van Loan, Matrix Computations, section 5.
    """

    @property
    def diagnostics(self) -> dict[str, Observable]:
        return {"rank": RANK, "condition": CONDITION}

    def rows(self, inputs: Float[Array, "n d"]) -> Rows:
        """Factor independent columns, else rotate the samples, largest first."""
        norm = column_norms(inputs)
        unit = inputs / jnp.where(norm > 0, norm, 1.0)
        if inputs.shape[1] > inputs.shape[0]:
            value, vector = linalg.eigh(linalg.gram(unit))
            return _ranked(value[::-1], vector[:, ::-1].T @ inputs)
        product, real = linalg.gram(unit.T), norm > 0

        def rotated() -> Rows:
            value, vector = linalg.eigh(product)
            scale = jnp.sqrt(jnp.maximum(value[::-1], 0.0))
            return _ranked(value[::-1], scale[:, None] * vector[:, ::-1].T * norm)

        def chosen() -> Rows:
            lower = linalg.cholesky(product + jnp.diag(1.0 - real.astype(norm.dtype)))
            leading = jnp.all(real[:-1] >= real[1:])
            inverse = linalg.solve_lower(lower, jnp.eye(lower.shape[0], dtype=lower.dtype))
            independent = (jnp.sum(inverse**2) < INVERSE_LIMIT) & leading  # False where NaN
            count = jnp.sum(real, dtype=jnp.int32)
            return jax.lax.cond(independent, lambda: Rows(lower.T * norm, count), rotated)

        # in a batch every run would be rotated, and most of them factored for nothing
        return jax.lax.platform_dependent(cpu=chosen, default=rotated)

    def solve(self, problem: Problem) -> Fit:
        """Factor by QR where the row rank was determined, else by SVD."""
        if problem.rank is None:
            return _pseudo_inverse(problem)
        rank = jnp.minimum(problem.rank, problem.n_columns)
        # a real branch where runs take turns, as on a CPU; under `vmap` both are computed
        theta, factor, solved = jax.lax.cond(
            problem.n_columns >= problem.rank, _underdetermined, _overdetermined, problem
        )
        condition = jax.lax.platform_dependent(
            factor, rank, cpu=_condition_alone, default=_condition_in_batch
        )
        diagnostics = {"rank": rank.astype(theta.dtype), "condition": condition}
        return Fit(None, theta[None], diagnostics, _diagonal_ratio(solved, rank) < CONDITION_LIMIT)


class Ridge(AbstractSolver):
    r"""Ridge regression by Cholesky factorisation.

    `theta = argmin |A theta - b|^2 / (2 D) + (strength / 2) |theta|^2`, through the normal
    equations of the smaller side of `A`.

    **Arguments**

    - `strength`: rho > 0, with features `phi = F x / sqrt(N)`.
    """

    strength: Real = real(1e-3, above=0.0)

    @property
    def diagnostics(self) -> dict[str, Observable]:
        bound = "upper bound 1 + |Phi|^2 / (D rho) on the condition of the normal equations"
        return {"condition": Observable((), "1", bound)}

    def rows(self, inputs: Float[Array, "n d"]) -> Rows:
        return triangular(inputs)

    def solve(self, problem: Problem) -> Fit:
        """Solve the primal problem for fewer features than rows, else the dual one."""
        a = problem.design
        primal = a.shape[1] <= a.shape[0]
        product = problem.per_sample(linalg.gram(a.T if primal else a))
        matrix = product + self.strength * jnp.eye(product.shape[0], dtype=product.dtype)
        # the row vector times the matrix reads it once and in order: 5x faster than its transpose
        right = problem.per_sample((problem.targets.T @ a).T if primal else problem.targets)
        solution = linalg.cholesky_solve(linalg.cholesky(matrix), right)
        condition = 1.0 + jnp.trace(product) / self.strength
        basis = None if primal else a.T
        trusted = condition < CONDITION_LIMIT
        return Fit(basis, solution[None], {"condition": condition}, trusted)


def column_norms(values: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Euclidean norms that neither overflow nor underflow."""
    largest = jnp.max(jnp.abs(values), axis=0)
    safe = jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sqrt(jnp.sum((values / safe) ** 2, axis=0))


def triangular(inputs: Float[Array, "n d"]) -> Rows:
    """Take the triangular factor of tall inputs, wide inputs themselves."""
    return Rows(inputs if inputs.shape[0] <= inputs.shape[1] else linalg.triangular_factor(inputs))


def condition_number(singular: Float[Array, " q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """First over `rank`-th singular value; 1 for rank 0."""
    last = singular[jnp.maximum(rank - 1, 0)]
    return jnp.where(rank > 0, singular[0] / jnp.where(rank > 0, last, 1.0), 1.0)


def numerical_rank(value: Float[Array, " q"], cut: float = SINGULAR_CUT) -> Int[Array, ""]:
    """Number of descending singular values or eigenvalues above `cut` times the first."""
    return jnp.sum((value > cut * value[0]) & (value > 0), dtype=jnp.int32)


def _leading(size: int, count: Int[Array, ""]) -> Bool[Array, " q"]:
    """Which of `size` entries are among the first `count`."""
    return jnp.arange(size, dtype=jnp.int32) < count


def _ranked(value: Float[Array, " q"], rows: Float[Array, "q d"]) -> Rows:
    """Rows whose descending eigenvalues stand for rank; the others are zero."""
    rank = numerical_rank(value, RANK_CUT)
    return Rows(jnp.where(_leading(value.shape[0], rank)[:, None], rows, 0.0), rank)


def _pseudo_inverse(problem: Problem) -> Fit:
    u, singular, vt = linalg.svd(problem.design)
    rank = numerical_rank(singular)
    used = _leading(singular.shape[0], rank)
    inverse = jnp.where(used, 1.0 / jnp.where(used, singular, 1.0), 0.0)
    theta = vt.T @ (inverse[:, None] * (u.T @ problem.targets))
    condition = condition_number(singular, rank)
    diagnostics = {"rank": rank.astype(singular.dtype), "condition": condition}
    return Fit(None, theta[None], diagnostics, condition < CONDITION_LIMIT)


def _unit_beyond(square: Float[Array, "q q"], active: Int[Array, ""]) -> Float[Array, "q q"]:
    """Put ones on the diagonal of a triangular factor from `active` on."""
    return jnp.where(jnp.diag(~_leading(square.shape[0], active)), 1.0, square)


def _diagonal_ratio(factor: Float[Array, "q q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """Largest over smallest leading diagonal entry: a lower bound of the condition."""
    size = jnp.abs(jnp.diag(factor))
    used = _leading(size.shape[0], rank)
    smallest = jnp.min(jnp.where(used, size, jnp.inf))
    ratio = jnp.max(jnp.where(used, size, 0.0)) / jnp.where(smallest > 0, smallest, 1.0)
    return jnp.where(rank == 0, 1.0, jnp.where(smallest > 0, ratio, jnp.inf))


def _condition_alone(factor: Float[Array, "q q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    return condition_number(linalg.singular_values(factor), rank)


def _condition_in_batch(factor: Float[Array, "q q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """Condition number of the leading triangle `R`, `|R| |R^-1|`.

    Each norm is the largest eigenvalue of a Gram matrix, exact to rounding, so that the relative
    error is that of the inverse, about 1e-16 times the condition. GPUs batch eigenvalues of every
    size, but singular values only up to 32 x 32.
    """
    used = jnp.diag(_leading(factor.shape[0], rank).astype(factor.dtype))
    both = jnp.stack([factor, linalg.solve_upper(_unit_beyond(factor, rank), used)])
    norms = jnp.sqrt(jnp.linalg.eigvalsh(both @ both.mT)[:, -1])
    condition = jnp.where(rank > 0, norms[0] * norms[1], 1.0)
    return jnp.where(jnp.isnan(condition), jnp.inf, condition)  # of a singular triangle


def _underdetermined(problem: Problem) -> Factored:
    """Least-norm solution of `rank` independent leading equations, and factors.

    The factors are those of the design, and of the design with rows of unit norm that is solved.

    `theta = A^T (R^T R)^-1 b` with `A^T = Q R`: these seminormal equations need no `Q`, and their
    error grows with the condition of `A`, not with its square (Demmel and Higham 1993).
    """
    size = min(problem.design.shape)
    a, b = problem.design[:size], problem.targets[:size]
    scale = jnp.linalg.norm(a, axis=1)
    scale = jnp.where(scale > 0, scale, 1.0)
    a = a / scale[:, None]
    factor = linalg.triangular_factor(a.T)
    assert problem.rank is not None
    upper = _unit_beyond(factor, problem.rank)
    dual = linalg.solve_upper(upper, linalg.solve_lower(upper.T, b / scale[:, None]))
    return a.T @ dual, factor * scale, factor


def _overdetermined(problem: Problem) -> Factored:
    """Least-squares solution for the leading unknowns, and the factor of the design, twice."""
    size, n = min(problem.design.shape), problem.design.shape[1]
    q, factor = linalg.qr(problem.design[:, :size])
    used = _leading(size, problem.n_columns)
    right = jnp.where(used[:, None], q.T @ problem.targets, 0.0)
    theta = linalg.solve_upper(_unit_beyond(factor, problem.n_columns), right)
    return jnp.pad(theta, ((0, n - size), (0, 0))), factor, factor
