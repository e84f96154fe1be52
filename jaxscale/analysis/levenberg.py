"""Levenberg and Marquardt's method on many lanes: one theory, a data set and a start for each.

The parameters are real coordinates `z` behind bounds. Lanes move side by side and stop one by one.
The loop is written for lanes rather than a solver of optimistix mapped over them: mapping its loop
traced and compiled the theory many times over (first call of two fields of `MultilinearSkills` with
8 starts: 21.6 s of CPU against 8.1 s).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual

CONVERGED, UNFINISHED, FAILED, STUCK = 0, 1, 2, 3
MAX_STEPS = 512
NEGLIGIBLE = 1e-13  # share of the cost that a full step could still save
ROUNDING = 1e-24  # and what it may save in any case: residuals of 1e-12 are rounding
MAX_DAMPING = 1e14  # beyond it no step is left that could help


class Points(eqx.Module):
    """One data set: where theory is evaluated, the data on its residual's scale, and weights.

    `target` and `weight` hold, by observable, arrays of shape `(others, theory)`: as many data as
    there are at each value of the theory, flattened. Observables with fewer others are padded by
    points without weight.
    """

    inputs: Any
    target: dict[str, Float[Array | np.ndarray, "... o t"]]
    weight: dict[str, Float[Array | np.ndarray, "... o t"]]

    @property
    def rows(self) -> tuple[Float[Array, "... o t"], Float[Array, "... o t"]]:
        """Targets and weights of all observables side by side."""
        sides = (self.target.values(), self.weight.values())
        target, weight = (jnp.concatenate(list(side), axis=-1) for side in sides)
        return target, weight


class Local(eqx.Module):
    """The loss around one point: its value, gradient and curvature, and sums for the covariance."""

    cost: Float[Array, "..."]
    gradient: Float[Array, "... p"]
    descent: Float[Array, "... p p"]
    gram: Float[Array, "... p p"]
    spread: Float[Array, "..."]
    bend: Float[Array, "..."]
    squares: Float[Array, "..."]

    @property
    def usable(self) -> Bool[Array, "..."]:
        """Whether a step can start from here."""
        finite = jnp.isfinite(self.gradient).all(-1) & jnp.isfinite(self.descent).all((-1, -2))
        return finite & jnp.isfinite(self.cost)


class Problem(eqx.Module):
    """A theory, a function of `(values, inputs)`, and how it is compared with data."""

    theory: Callable[[Array, Any], dict[str, Array]]
    bounds: tuple[AbstractBound, ...]
    residuals: dict[str, AbstractResidual]
    units: dict[str, Any]
    loss: AbstractLoss

    def values(self, z: Float[Array, " p"]) -> Float[Array, " p"]:
        """Parameters at coordinates `z`."""
        return jnp.stack([bound.value(z[i]) for i, bound in enumerate(self.bounds)])

    def scaled(self, z: Float[Array, " p"], inputs: Any) -> dict[str, Array]:
        """Theory on the scale of each residual."""
        found = self.theory(self.values(z), inputs)
        return {n: self.residuals[n].scaled(v) / self.units[n] for n, v in found.items()}

    def theory_of(self, z: Float[Array, " p"], inputs: Any) -> Float[Array, " t"]:
        """Scaled theory of all observables, one after the other."""
        return jnp.concatenate([v.ravel() for v in self.scaled(z, inputs).values()])

    def residuals_of(
        self, theory: Float[Array, " t"], points: Points
    ) -> tuple[Float[Array, "o t"], Float[Array, "o t"], Float[Array, ""]]:
        """Theory minus data, zero where a point has no weight, the weights, and a penalty.

        The penalty is infinite where theory is lost at a point with weight, else zero.
        """
        target, weight = points.rows
        defined = jnp.isfinite(theory)
        used = weight > 0
        difference = jnp.where(used, jnp.where(defined, theory, 0.0) - target, 0.0)
        lost = jnp.any(~defined & used)
        return difference, weight, jnp.where(lost, jnp.inf, 0.0)

    def cost(self, z: Float[Array, " p"], points: Points) -> Float[Array, ""]:
        """Weighted sum of the loss; infinite where theory is lost."""
        r, weight, penalty = self.residuals_of(self.theory_of(z, points.inputs), points)
        return jnp.sum(weight * self.loss.root(r) ** 2) / 2 + penalty

    def local(self, z: Float[Array, " p"], points: Points) -> "Local":
        """The loss around `z`, from one pass through the theory.

        Many data at one value of the theory (seeds) share a row of the Jacobian.
        """
        linear: Any = jax.linearize(lambda at: self.theory_of(at, points.inputs), z)
        theory, push = linear
        jacobian = jax.vmap(push, out_axes=1)(jnp.eye(z.size, dtype=z.dtype))
        jacobian = jnp.where(jnp.isfinite(theory)[:, None], jacobian, 0.0)
        r, w, penalty = self.residuals_of(theory, points)
        root, influence = self.loss.root(r), self.loss.influence(r)
        # d root / d r = psi / root, and 1 where both vanish
        slope = jnp.where(root == 0, 1.0, influence / jnp.where(root == 0, 1.0, root))
        curvature = jnp.sum(w * slope**2, axis=0)
        return Local(
            cost=jnp.sum(w * root**2) / 2 + penalty,
            gradient=jacobian.T @ jnp.sum(w * influence, axis=0),
            descent=(jacobian * curvature[:, None]).T @ jacobian,
            gram=(jacobian * jnp.sum(w, axis=0)[:, None]).T @ jacobian,
            spread=jnp.sum(w * influence**2),
            bend=jnp.sum(w * self.loss.bend(r)),
            squares=jnp.sum(w * r**2),
        )


class _State(eqx.Module):
    """Lanes `l` of the solver: where they are, where they look next, and how boldly."""

    z: Float[Array, "l p"]
    local: Local
    trial: Float[Array, "l p"]
    saving: Float[Array, " l"]
    damping: Float[Array, " l"]
    growth: Float[Array, " l"]
    status: Int[Array, " l"]
    done: Bool[Array, " l"]
    n: Int[Array, ""]


def descend(
    problem: Problem, z: Float[Array, "l p"], points: Points
) -> tuple[Float[Array, "l p"], Local, Int[Array, " l"]]:
    """Levenberg and Marquardt's method on every lane, each with a data set of its own.

    **Arguments:** the problem, starts, and data sets whose arrays all have the leading axis `l`.

    **Returns:** coordinates, the loss around them, and a status code per lane.

    **Raises:** nothing.

    **Reference:** Nielsen 1999, IMM-REP-1999-05 (damping); Moré 1978 (scaling by the curvature).
    """
    local = jax.vmap(problem.local)

    def look(state: _State) -> _State:
        found = local(state.trial, points)
        saved = state.local.cost - found.cost
        better = found.usable & (saved >= 0) & ~state.done
        looked = state.saving > 0  # else this is the first look, which leaves the damping alone
        gain = jnp.where(looked, saved / jnp.where(looked, state.saving, 1.0), 0.5)
        kept = _where(better, found, state.local)
        z = _where(better, state.trial, state.z)
        calmer = jnp.maximum(1 / 3, 1 - (2 * jnp.clip(gain, 0, 1.26) - 1) ** 3)
        damping = state.damping * jnp.where(better, calmer, state.growth)
        growth = jnp.where(better, 2.0, 2 * state.growth)
        diagonal = jnp.diagonal(kept.descent, axis1=-2, axis2=-1)
        ridge = jnp.maximum(damping[:, None] * diagonal, jnp.finfo(z.dtype).tiny)
        damped = kept.descent + ridge[..., None] * jnp.eye(z.shape[1], dtype=z.dtype)
        step = -solve_positive(damped, kept.gradient)
        step = jnp.where(jnp.isfinite(step), step, 0.0)
        saving = (jnp.sum(step * (ridge * step - kept.gradient), -1)) / 2
        # judged by the full step of Gauss and Newton: a short one may only be a damped one
        least = jnp.finfo(z.dtype).eps * diagonal + jnp.finfo(z.dtype).tiny
        regular = kept.descent + least[..., None] * jnp.eye(z.shape[1], dtype=z.dtype)
        full = jnp.sum(kept.gradient * solve_positive(regular, kept.gradient), -1) / 2
        finished = kept.usable & (full <= NEGLIGIBLE * kept.cost + ROUNDING)
        lost, stuck = ~kept.usable, damping > MAX_DAMPING
        ended = jnp.where(lost, FAILED, jnp.where(stuck, STUCK, UNFINISHED))
        status = jnp.where(finished, CONVERGED, ended)
        return _State(
            z=z,
            local=kept,
            trial=_where(state.done, state.trial, z + step),
            saving=saving,
            damping=damping,
            growth=growth,
            status=jnp.where(state.done, state.status, status.astype(jnp.int32)),
            done=state.done | finished | lost | stuck,
            n=state.n + 1,
        )

    n_lanes = z.shape[0]
    worst = jax.tree.map(
        lambda x: jnp.full(x.shape, jnp.inf, x.dtype), jax.eval_shape(local, z, points)
    )
    state = _State(
        z=z, local=worst, trial=z, saving=jnp.zeros(n_lanes), damping=jnp.full(n_lanes, 3e-3),
        growth=jnp.full(n_lanes, 2.0), status=jnp.full(n_lanes, UNFINISHED, jnp.int32),
        done=jnp.zeros(n_lanes, bool), n=jnp.asarray(0, jnp.int32),
    )  # fmt: skip
    state = jax.lax.while_loop(lambda s: ~s.done.all() & (s.n < MAX_STEPS), look, state)
    return state.z, state.local, state.status


def _where(choice: Bool[Array, " l"], yes: Any, no: Any) -> Any:
    """`jnp.where` lane by lane, of pytrees."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(choice.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, yes, no)


def solve_positive(
    matrix: Float[Array, "l p p"], right: Float[Array, "l p"]
) -> Float[Array, "l p"]:
    """Solve small symmetric positive definite systems by unrolled elimination.

    Batched calls of LAPACK can hang a CPU (see `jaxscale.linalg`), and thousands of systems of a
    handful of unknowns are solved faster as plain arithmetic on their lanes.
    """
    p = matrix.shape[-1]
    tiny = jnp.finfo(matrix.dtype).tiny
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(matrix, axis1=-2, axis2=-1), tiny))
    rows = [matrix[:, i] * scale[:, i, None] * scale for i in range(p)]
    values = [right[:, i] * scale[:, i] for i in range(p)]
    for i in range(p):
        for j in range(i + 1, p):
            factor = rows[j][:, i] / rows[i][:, i]
            rows[j] = rows[j] - factor[:, None] * rows[i]
            values[j] = values[j] - factor * values[i]
    zero = jnp.zeros_like(values[0])
    solution = [zero] * p
    for i in reversed(range(p)):
        known = [rows[i][:, j] * solution[j] for j in range(i + 1, p)]
        solution[i] = (values[i] - sum(known, zero)) / rows[i][:, i]
    return jnp.stack(solution, axis=-1) * scale
