"""Gradient descent on the regression: in closed form at any step, or step by step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxscale._linalg import gram, singular_values, svd
from jaxscale._system import Observable
from jaxscale.fields import Real, Steps, real, record_field, static_int
from jaxscale.sparse._solvers import (
    CONDITION,
    RANK,
    AbstractSolver,
    Fit,
    Problem,
    Rows,
    condition_number,
    numerical_rank,
    triangular,
)
from jaxscale.training import check_record, log_spaced_steps


class AbstractGradientDescent(AbstractSolver):
    r"""Full-batch gradient descent from `theta = 0` with a fixed step.

    `theta <- theta + (learning_rate / D) A^T (b - A theta)`.
    """

    learning_rate: eqx.AbstractVar[Real]
    n_steps: eqx.AbstractVar[int]
    record: eqx.AbstractVar[tuple[int, ...] | None]

    def __check_init__(self):
        check_record(self.record, self.n_steps)

    @property
    def record_steps(self) -> tuple[int, ...]:
        """`record`, or 0 and log-spaced steps to the end."""
        return log_spaced_steps(self.n_steps, 40) if self.record is None else self.record

    @property
    def diagnostics(self) -> dict[str, Observable]:
        return {
            "rank": RANK,
            "condition": CONDITION,
            "largest_eigenvalue": Observable((), "variance", "largest eigenvalue of Phi^T Phi / D"),
            "stable": Observable(
                (), "1", "1 where learning_rate * largest_eigenvalue <= 2, else 0"
            ),
        }

    def rows(self, inputs: Float[Array, "n d"]) -> Rows:
        return triangular(inputs)

    def measured(
        self, singular: Float[Array, " q"], problem: Problem
    ) -> dict[str, Float[Array, ""]]:
        """Derive the diagnostics from the singular values of the design."""
        rank = numerical_rank(singular)
        largest = problem.per_sample(singular[0] ** 2)
        return {
            "rank": rank.astype(singular.dtype),
            "condition": condition_number(singular, rank),
            "largest_eigenvalue": largest,
            "stable": (jnp.asarray(self.learning_rate) * largest <= 2.0).astype(singular.dtype),
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
    record: Steps | None = record_field()

    def solve(self, problem: Problem) -> Fit:
        """Filter the singular values."""
        u, singular, vt = svd(problem.design)
        steps = jnp.asarray(self.record_steps, singular.dtype)[:, None]
        rate = problem.per_sample(self.learning_rate * singular**2)
        filtered = one_minus_power(rate, steps) / jnp.where(singular > 0, singular, 1.0)
        coefficients = filtered[:, :, None] * (u.T @ problem.targets)
        return Fit(vt.T, coefficients, self.measured(singular, problem), jnp.asarray(True))


class GradientSteps(AbstractGradientDescent):
    """Gradient descent step by step; costs `n_steps` products and agrees with `GradientDescent`.

    **Arguments**: as `GradientDescent`.
    """

    learning_rate: Real = real(0.5, above=0.0)
    n_steps: int = static_int(1000)
    record: Steps | None = record_field()

    def solve(self, problem: Problem) -> Fit:
        """Step `beta`, where `theta = A^T beta`."""
        a, b = problem.design, problem.targets
        product, rate = gram(a), problem.per_sample(jnp.asarray(self.learning_rate))
        stops = jnp.asarray(self.record_steps, jnp.int32)
        starts = jnp.concatenate([jnp.zeros((1,), jnp.int32), stops[:-1]])

        def step(_: Int[Array, ""], beta: Float[Array, "m t"]) -> Float[Array, "m t"]:
            return beta + rate * (b - product @ beta)

        def segment(beta: Float[Array, "m t"], ends: tuple[Array, Array]) -> tuple[Array, Array]:
            beta = jax.lax.fori_loop(ends[0], ends[1], step, beta)
            return beta, beta

        _, path = jax.lax.scan(segment, jnp.zeros_like(b), (starts, stops))
        diagnostics = self.measured(singular_values(a), problem)
        return Fit(a.T, path, diagnostics, jnp.asarray(True))


def one_minus_power(rate: Float[Array, "..."], steps: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 - (1 - rate)^steps` for whole `steps`, without cancellation at small rates."""
    slow = rate < 0.5
    small = -jnp.expm1(steps * jnp.log1p(-jnp.where(slow, rate, 0.0)))
    return jnp.where(slow, small, 1.0 - jnp.power(1.0 - jnp.where(slow, 1.0, rate), steps))
