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
from jaxtyping import Array, Bool, Float, Int

from jaxscale._linalg import (
    cholesky,
    cholesky_solve,
    eigh,
    gram,
    qr,
    singular_values,
    solve_lower,
    solve_upper,
    svd,
    triangular_factor,
)
from jaxscale._system import Observable
from jaxscale.fields import Configurable, Real, real

RANK_CUT = 1e-11  # of the Gram matrix of unit-norm columns (eigenvalues)
INVERSE_LIMIT = 1e6  # of its inverse's trace, below which the columns are independent for certain
SINGULAR_CUT = 1e-12  # of a design whose row rank is not known
CONDITION_LIMIT = 1e10


class Rows(eqx.Module):
    """Rows `R` with `R^T R = X^T X`, those that are not zero first; `rank` counts them if known."""

    values: Float[Array, "m k"]
    rank: Int[Array, ""] | None = None


class Problem(eqx.Module):
    """Least squares `|A theta - b|^2` of a padded design.

    - `design`, `targets`: `A` (m, n) and `b` (m, t); one column per teacher direction.
    - `n_samples`: D, the samples behind the rows.
    - `n_columns`: features that are not padding. Fewer than the rank, they come first; `Identity`,
      whose unseen columns leave holes, always has more.
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


CONDITION = Observable((), "1", "largest over smallest non-zero singular value of Phi")
RANK = Observable((), "1", "rank of Phi")


class MinNorm(AbstractSolver):
    r"""The solution of least norm among those of least squares (ridgeless regression).

    `theta = A^+ b`. The rows span the row space of `X`, found from the Gram matrix of its columns
    scaled to unit norm: by Cholesky factorisation where the trace of its inverse, a bound on its
    smallest eigenvalue, shows that the columns are independent, as those of sparse samples mostly
    are; else by its eigenvectors. At N >= r the
    equations are met exactly and each may be scaled; at N < r their scale is the metric. Either way
    one QR factorisation of the smaller side is solved, so that no condition number is squared. A
    design of unknown rank (nonlinear features) goes through its singular value decomposition.

    **Reference**: derived here; see Golub and Van Loan, Matrix Computations, section 5.
    """

    @property
    def diagnostics(self) -> dict[str, Observable]:
        """`rank` and `condition`."""
        return {"rank": RANK, "condition": CONDITION}

    def rows(self, inputs: Float[Array, "d k"]) -> Rows:
        """The triangular factor of independent columns, else rotated samples, largest first."""
        norm = column_norms(inputs)
        unit = inputs / jnp.where(norm > 0, norm, 1.0)
        if inputs.shape[1] > inputs.shape[0]:
            return _rotated(inputs, unit)
        real = norm > 0
        product = gram(unit.T)
        lower = cholesky(product + jnp.diag(1.0 - real.astype(norm.dtype)))
        leading = jnp.all(real[:-1] >= real[1:])
        inverse = solve_lower(lower, jnp.eye(lower.shape[0], dtype=lower.dtype))
        independent = (jnp.sum(inverse**2) < INVERSE_LIMIT) & leading  # False where NaN
        count = jnp.sum(real, dtype=jnp.int32)
        return jax.lax.cond(
            independent,
            lambda: Rows(lower.T * norm, count),
            lambda: _rotated_columns(product, norm),
        )

    def solve(self, problem: Problem) -> Fit:
        """QR where the row rank is known, else SVD."""
        if problem.rank is None:
            return _pseudo_inverse(problem)
        rank = jnp.minimum(problem.rank, problem.n_columns)
        # a real branch where runs are walked over, as on a CPU; under `vmap` both are computed
        theta, factor, solved = jax.lax.cond(
            problem.n_columns >= problem.rank, _underdetermined, _overdetermined, problem
        )
        condition = condition_number(singular_values(factor), rank)
        found = {"rank": rank.astype(theta.dtype), "condition": condition}
        return Fit(None, theta[None], found, _diagonal_ratio(solved, rank) < CONDITION_LIMIT)


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
        product = gram(a.T if primal else a) / d
        matrix = product + self.strength * jnp.eye(product.shape[0], dtype=product.dtype)
        # the row vector times the matrix reads it once and in order: 5x faster than its transpose
        right = ((problem.targets.T @ a).T if primal else problem.targets) / d
        factor = cholesky(matrix)
        solution = cholesky_solve(factor, right)
        condition = 1.0 + jnp.trace(product) / self.strength
        basis = None if primal else a.T
        trusted = condition < CONDITION_LIMIT
        return Fit(basis, solution[None], {"condition": condition}, trusted)


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


def condition_number(singular: Float[Array, " q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """First over `rank`-th singular value; 1 for rank 0."""
    last = singular[jnp.maximum(rank - 1, 0)]
    return jnp.where(rank > 0, singular[0] / jnp.where(rank > 0, last, 1.0), 1.0)


def numerical_rank(singular: Float[Array, " q"]) -> Int[Array, ""]:
    """Number of singular values above `SINGULAR_CUT` of the first."""
    kept = (singular > SINGULAR_CUT * singular[0]) & (singular > 0)
    return jnp.sum(kept, dtype=jnp.int32)


def _rotated(inputs: Float[Array, "d k"], unit: Float[Array, "d k"]) -> Rows:
    """Rows of wide inputs: the eigenvectors of the samples' Gram matrix, applied to them."""
    value, vector = eigh(gram(unit))
    kept = _kept(value[::-1])
    rotated = vector[:, ::-1].T @ inputs
    return Rows(jnp.where(kept[:, None], rotated, 0.0), jnp.sum(kept, dtype=jnp.int32))


def _rotated_columns(product: Float[Array, "k k"], norm: Float[Array, " k"]) -> Rows:
    """Rows of tall inputs: eigenvectors of the columns' Gram matrix, with the columns' norms."""
    value, vector = eigh(product)
    value, vector = value[::-1], vector[:, ::-1]
    kept = _kept(value)
    rotated = jnp.sqrt(jnp.where(kept, value, 0.0))[:, None] * vector.T * norm
    return Rows(jnp.where(kept[:, None], rotated, 0.0), jnp.sum(kept, dtype=jnp.int32))


def _kept(value: Float[Array, " q"]) -> Bool[Array, " q"]:
    """Which of the descending eigenvalues stand for rank."""
    return (value > RANK_CUT * value[0]) & (value > 0)


def _pseudo_inverse(problem: Problem) -> Fit:
    left, singular, right = svd(problem.design)
    rank = numerical_rank(singular)
    kept = jnp.arange(singular.shape[0], dtype=jnp.int32) < rank
    inverse = jnp.where(kept, 1.0 / jnp.where(kept, singular, 1.0), 0.0)
    theta = right.T @ (inverse[:, None] * (left.T @ problem.targets))
    condition = condition_number(singular, rank)
    found = {"rank": rank.astype(singular.dtype), "condition": condition}
    return Fit(None, theta[None], found, condition < CONDITION_LIMIT)


def _unit_beyond(square: Float[Array, "q q"], active: Int[Array, ""]) -> Float[Array, "q q"]:
    """A triangular factor with ones on the diagonal from `active` on."""
    inactive = jnp.arange(square.shape[0], dtype=jnp.int32) >= active
    return jnp.where(jnp.diag(inactive), 1.0, square)


def _diagonal_ratio(factor: Float[Array, "q q"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """Largest over smallest leading diagonal entry: a lower bound of the condition."""
    size = jnp.abs(jnp.diag(factor))
    kept = jnp.arange(size.shape[0], dtype=jnp.int32) < rank
    smallest = jnp.min(jnp.where(kept, size, jnp.inf))
    ratio = jnp.max(jnp.where(kept, size, 0.0)) / jnp.where(smallest > 0, smallest, 1.0)
    return jnp.where(rank == 0, 1.0, jnp.where(smallest > 0, ratio, jnp.inf))


def _underdetermined(
    problem: Problem,
) -> tuple[Float[Array, "n t"], Float[Array, "q q"], Float[Array, "q q"]]:
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
    factor = triangular_factor(a.T)
    assert problem.rank is not None
    upper = _unit_beyond(factor, problem.rank)
    dual = solve_upper(upper, solve_lower(upper.T, b / scale[:, None]))
    return a.T @ dual, factor * scale, factor


def _overdetermined(
    problem: Problem,
) -> tuple[Float[Array, "n t"], Float[Array, "q q"], Float[Array, "q q"]]:
    """Least-squares solution for the leading unknowns, and the factor of the design, twice."""
    n_features = problem.design.shape[1]
    size = min(problem.design.shape)
    q, factor = qr(problem.design[:, :size])
    kept = jnp.arange(size, dtype=jnp.int32) < problem.n_columns
    right = jnp.where(kept[:, None], q.T @ problem.targets, 0.0)
    theta = solve_upper(_unit_beyond(factor, problem.n_columns), right)
    return jnp.pad(theta, ((0, n_features - size), (0, 0))), factor, factor
