"""The method of Levenberg and Marquardt on many lanes, in NumPy.

A lane is a data set, weights and a start. Only the theory and its Jacobian are compiled, see
`_expansion`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

CONVERGED, UNFINISHED, FAILED, STUCK = 0, 1, 2, 3
STATUS_NAMES = ("converged", "not converged", "not finite", "stuck")
MAX_STEPS = 512
NEGLIGIBLE = 1e-13  # share of the cost that a full step could still save
ROUGH = 1e-8  # the same, of starts and resamples: by this they move .3 % of their scatter
NEGLIGIBLE_COST = 1e-24  # and what it may save in any case: residuals of 1e-12 are rounding
ROUNDING = 4 * np.finfo(np.float64).eps  # of the cost, over its root: a step cannot save less
MAX_DAMPING = 1e14  # beyond it no step helps
FIRST_DAMPING = 3e-3
EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny


class QuadraticModel(NamedTuple):
    """The cost around a point: its value, gradient and curvature, and sums for the covariance.

    `curvature` is that of Gauss and Newton with the loss, `jtj` the `J^T W J` without it.
    """

    cost: Float[np.ndarray, "..."]
    gradient: Float[np.ndarray, "... p"]
    curvature: Float[np.ndarray, "... p p"]
    jtj: Float[np.ndarray, "... p p"]
    influence_squares: Float[np.ndarray, "..."]
    second_derivatives: Float[np.ndarray, "..."]
    squares: Float[np.ndarray, "..."]

    @property
    def usable(self) -> Bool[np.ndarray, "..."]:
        """Whether a step can start from this point."""
        finite = np.isfinite(self.gradient).all(-1) & np.isfinite(self.curvature).all((-1, -2))
        return finite & np.isfinite(self.cost)


def levenberg_marquardt(
    expand: Callable[[np.ndarray, np.ndarray], QuadraticModel],
    z: Float[np.ndarray, "l p"],
    negligible: float = NEGLIGIBLE,
) -> tuple[Float[np.ndarray, "l p"], QuadraticModel, Int[np.ndarray, " l"]]:
    """Minimise costs by the method of Levenberg and Marquardt, lane by lane.

    `expand` returns models at given coordinates of given lanes; `z` are the starts; a lane ends
    where a full step could save no more than `negligible` of its cost. Returns coordinates, the
    models around them, and status codes.

    **Reference:** Nielsen 1999, IMM-REP-1999-05 (damping); Moré 1978 (scaling by the curvature).
    """
    n_lanes, p = z.shape
    z, status = z.copy(), np.full(n_lanes, UNFINISHED, np.int32)
    damping, nu = np.full(n_lanes, FIRST_DAMPING), np.full(n_lanes, 2.0)
    active, n_steps = np.arange(n_lanes), 0
    best = expand(z, active)
    unusable = ~best.usable
    for x in best:
        x[unusable] = np.inf
    with np.errstate(all="ignore"):
        while True:
            model = QuadraticModel(*(x[active] for x in best))
            diagonal = np.diagonal(model.curvature, axis1=-2, axis2=-1)
            # judged by the full step of Gauss and Newton: a short one may only be a damped one
            regular = model.curvature + (EPS * diagonal + TINY)[..., None] * np.eye(p)
            full = np.sum(model.gradient * solve_positive(regular, model.gradient), -1) / 2
            rounding = ROUNDING * np.sqrt(model.cost) + NEGLIGIBLE_COST
            finished = full <= negligible * model.cost + rounding
            status[active] = np.select(
                [~model.usable, finished, damping[active] > MAX_DAMPING],
                [FAILED, CONVERGED, STUCK],
                UNFINISHED,
            )
            goes_on = status[active] == UNFINISHED
            active, n_steps = active[goes_on], n_steps + 1
            if not active.size or n_steps == MAX_STEPS:
                return z, best, status
            curvature, gradient = model.curvature[goes_on], model.gradient[goes_on]
            ridge = np.maximum(damping[active, None] * diagonal[goes_on], TINY)
            move = -solve_positive(curvature + ridge[..., None] * np.eye(p), gradient)
            move = np.where(np.isfinite(move), move, 0.0)
            saving = np.sum(move * (ridge * move - gradient), -1) / 2
            new = expand(z[active] + move, active)
            saved = model.cost[goes_on] - new.cost
            better = new.usable & (saved >= 0) & (saving > 0)  # a step that overflowed saves none
            gain = np.clip(saved / saving, 0, 1.26)
            calmer = np.maximum(1 / 3, 1 - (2 * gain - 1) ** 3)
            damping[active] *= np.where(better, calmer, nu[active])
            nu[active] = np.where(better, 2.0, 2 * nu[active])
            moved = active[better]
            z[moved] += move[better]
            for old, x in zip(best, new, strict=True):
                old[moved] = x[better]


def solve_positive(
    matrix: Float[np.ndarray, "l p p"], right: Float[np.ndarray, "l p"]
) -> Float[np.ndarray, "l p"]:
    """Solve symmetric positive definite systems, each scaled to a unit diagonal.

    By elimination on all lanes: a singular one gets numbers that are not finite, and no other
    notices, where `numpy.linalg.solve` would refuse them all.
    """
    p = matrix.shape[-1]
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=-2, axis2=-1), TINY))
    a = matrix * scale[:, :, None] * scale[:, None, :]
    x = right * scale
    for i in range(p - 1):
        factor = a[:, i + 1 :, i] / a[:, i, i, None]
        a[:, i + 1 :, i + 1 :] -= factor[..., None] * a[:, i, None, i + 1 :]
        x[:, i + 1 :] -= factor * x[:, i, None]
    for i in reversed(range(p)):
        x[:, i] = (x[:, i] - np.sum(a[:, i, i + 1 :] * x[:, i + 1 :], -1)) / a[:, i, i]
    return x * scale
