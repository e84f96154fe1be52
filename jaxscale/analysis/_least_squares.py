"""Fits of data sets from many starts, with covariance, and of their resamples.

Data sets, starts and resamples are lanes of one solver, `levenberg_marquardt`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale.analysis._expansion import Expansion
from jaxscale.analysis._levenberg import EPS, FAILED, ROUGH, QuadraticModel, levenberg_marquardt
from jaxscale.analysis.bounds import AbstractBound

INSIDE = 10  # residuals per parameter that a Huber loss needs inside delta for a covariance
ROUNDING = 1e-9  # of sums of weights, whose mean is one
CANDIDATES = 64  # per parameter
FEW_STARTS = 4
DRAWN_AT_ONCE = 2**22  # weights, by which the resamples in memory are bounded


class FitResult(NamedTuple):
    """Fits of data sets `n` from starts `s`; the best is that of the lowest cost."""

    z: Float[np.ndarray, "n p"]
    covariance: Float[np.ndarray, "n p p"]
    condition: Float[np.ndarray, " n"]
    weakest: Float[np.ndarray, "n p"]
    blind: Bool[np.ndarray, "n p"]
    few_inside: Bool[np.ndarray, " n"]
    ended: Bool[np.ndarray, "n p"]
    rms: Float[np.ndarray, " n"]
    n_points: Int[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"]
    status: Int[np.ndarray, " n"]
    start_z: Float[np.ndarray, "n s p"]
    start_cost: Float[np.ndarray, "n s"]
    start_status: Int[np.ndarray, "n s"]


def candidates(bounds: tuple[AbstractBound, ...], z: Float[np.ndarray, " p"]) -> np.ndarray:
    """Scatter coordinates around `z`, dense near it: an even sequence with squared distances.

    **Reference:** Roberts 2018, "The unreasonable effectiveness of quasirandom sequences".
    """
    p, root = len(z), 1.0
    for _ in range(64):  # of x^(p + 1) = x + 1
        root = (1 + root) ** (1 / (p + 1))
    number = np.arange(1, CANDIDATES * p + 1)[:, None]
    u = 2 * ((0.5 + number * root ** -np.arange(1.0, p + 1)) % 1) - 1
    radius = [np.asarray(b.search_radius(at)) for b, at in zip(bounds, z, strict=True)]
    return z + np.stack(radius) * u * np.abs(u)


def fit(
    expand: Expansion, starts: Float[np.ndarray, "n c p"], n_starts: int, given: int = 0
) -> FitResult:
    """Fit every data set from `n_starts` of its starts: the first `given`, then the best others.

    All are followed until a step saves next to nothing; the best is then polished.
    """
    n_sets, c, p = starts.shape
    if n_starts <= given:
        starts = starts[:, :n_starts]
    elif n_starts < c:
        cost = costs(expand, starts)
        cost[:, :given] = -np.inf
        order = np.argsort(cost, axis=1, stable=True)[:, :n_starts]
        starts = np.take_along_axis(starts, order[..., None], axis=1)
    n_starts = starts.shape[1]
    sets = np.repeat(np.arange(n_sets), n_starts)
    end, model, status = levenberg_marquardt(expand.lanes(sets), starts.reshape(-1, p), ROUGH)
    cost = np.where(status == FAILED, np.inf, model.cost).reshape(n_sets, n_starts)
    best = np.argmin(cost, axis=1) + n_starts * np.arange(n_sets)
    end[best], optimum, code = levenberg_marquardt(expand.lanes(np.arange(n_sets)), end[best])
    model.cost[best], status[best] = optimum.cost, code
    n = np.sum(expand.points_by_group, axis=1)
    bounds = enumerate(expand.problem.bounds)
    ended = np.stack([[b.at_bound(float(v)) for v in end[best, i]] for i, b in bounds], axis=1)
    return FitResult(
        end[best],
        *uncertainty(optimum, n, ended),
        ended=ended,
        rms=np.sqrt(optimum.squares / np.maximum(n, 1)),
        n_points=n,
        cost=optimum.cost,
        status=code,
        start_z=end.reshape(n_sets, n_starts, p),
        start_cost=np.asarray(model.cost).reshape(n_sets, n_starts),
        start_status=status.reshape(n_sets, n_starts),
    )


def costs(expand: Expansion, z: Float[np.ndarray, "n c p"]) -> Float[np.ndarray, "n c"]:
    """Costs of coordinates of every data set; infinite where they are not finite."""
    n_sets, c, p = z.shape
    lanes = np.arange(n_sets * c)
    cost = expand.lanes(np.repeat(np.arange(n_sets), c))(z.reshape(-1, p), lanes).cost
    return np.where(np.isfinite(cost), cost, np.inf).reshape(n_sets, c)


def refit(
    expand: Expansion, starts: Float[np.ndarray, "n s p"], n_resamples: int, key: Key[Array, ""]
) -> tuple[Float[np.ndarray, "n b p"], Int[np.ndarray, "n b"]]:
    """Fit resamples of every data set from its `starts`: coordinates and status codes.

    A resample with no more points than parameters has failed.
    """
    n_sets, n_starts, p = starts.shape
    lanes = np.arange(n_sets * n_resamples)
    floats = max(expand.data.n_groups, expand.data.target[0].size)
    size = min(lanes.size, max(1, DRAWN_AT_ONCE // floats))
    ends, codes = np.empty((lanes.size, p)), np.empty(lanes.size, np.int32)
    for first in range(0, lanes.size, size):
        # every chunk has the same size: the last one begins in the one before it
        chunk = lanes[max(0, min(first, lanes.size - size)) :][:size]
        sets, number = np.divmod(chunk, n_resamples)
        counts = draw_counts(key, sets, number, expand.points_by_group > 0)
        lowest = np.full(size, np.inf)
        for k in range(n_starts):
            z, model, status = levenberg_marquardt(
                expand.lanes(sets, counts), starts[sets, k], ROUGH
            )
            cost = np.where(status == FAILED, np.inf, model.cost)
            better = cost < lowest if k else np.ones(size, bool)
            lowest = np.where(better, cost, lowest)
            ends[chunk[better]], codes[chunk[better]] = z[better], status[better]
        n_points = np.sum((counts > 0) * expand.points_by_group[sets], axis=1)
        codes[chunk] = np.where(n_points > p, codes[chunk], FAILED)
    return ends.reshape(n_sets, n_resamples, p), codes.reshape(n_sets, n_resamples)


def draw_counts(
    key: Key[Array, ""],
    sets: Int[np.ndarray, " l"],
    number: Int[np.ndarray, " l"],
    held: Bool[np.ndarray, "n u"],
) -> Float[np.ndarray, "l u"]:
    """Count how often each group is drawn: as many draws as groups hold a point, among those.

    Draws come one by one from the key, so that padding by empty groups changes none. `held` says
    which groups of which data set hold a point with weight.
    """
    (n_lanes, n_groups), n_held = (len(sets), held.shape[1]), held.sum(axis=1)[sets, None]
    uniform = np.asarray(_uniform(key, sets, number, n_groups))
    in_order = np.argsort(~held, axis=1, stable=True)  # those that hold a point come first
    drawn = in_order[sets[:, None], (uniform * n_held).astype(np.int32)]
    position = drawn + n_groups * np.arange(n_lanes)[:, None]
    used = np.arange(n_groups) < n_held
    return (
        np.bincount(position[used], minlength=n_lanes * n_groups).reshape(n_lanes, -1).astype(float)
    )


@functools.partial(jax.jit, static_argnums=3)
def _uniform(key: Key[Array, ""], sets: Array, number: Array, n_groups: int) -> Array:
    def one(i: Array, j: Array, group: Array) -> Array:
        # in a loop, which compiles in half the time of three calls
        path = jnp.stack([i, j, group])
        own, _ = jax.lax.scan(lambda k, n: (jax.random.fold_in(k, n), None), key, path)
        return jax.random.uniform(own, dtype=jnp.float64)

    each = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    return each(sets, number, jnp.arange(n_groups, dtype=sets.dtype))


def uncertainty(
    optimum: QuadraticModel, n: Int[np.ndarray, " n"], ended: Bool[np.ndarray, "n p"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""Estimate the covariance of coordinates, and how well the data constrain them.

    $$\Sigma = \frac{\sum w \psi^2 / (n - p)}{(\sum w \psi' / n)^2} (J^T W J)^{-1}$$

    For squares this is the usual `s^2 (J^T W J)^-1`. With a Huber loss it needs residuals inside
    delta: it is NaN for fewer than 10 per parameter, where it would be far too small (measured:
    95 % intervals cover 39 % with 40 points and delta a fiftieth of the noise). The condition
    number is that of the Jacobian with columns of unit length, of the parameters that have not
    `ended` at a bound, which have no covariance. Returns covariances, condition numbers, weakest
    directions, which coordinates change nothing, and which fits have few residuals inside delta.

    **Reference:** Huber 1973, Ann. Statist. 1, 799.
    """
    p = optimum.gradient.shape[-1]
    inside = np.asarray(optimum.second_derivatives)
    with np.errstate(all="ignore"):
        scale = optimum.influence_squares / np.maximum(n - p, 1) / (inside / np.maximum(n, 1)) ** 2
        length = np.sqrt(np.diagonal(optimum.jtj, axis1=-2, axis2=-1))
        blind = ~(length > 0)
        idle = blind | ended
        norm = np.where(idle, 1.0, length)
        norms = norm[:, :, None] * norm[:, None, :]
        usable = ~(idle[:, :, None] | idle[:, None, :])
        normalised = np.where(usable, optimum.jtj / norms, np.eye(p))
        finite: Any = np.isfinite(normalised).all(axis=(1, 2))
        normalised = np.where(finite[:, None, None], normalised, np.eye(p))
        value, vector = np.linalg.eigh(normalised)
        value = np.maximum(value, EPS)
        covariance = (vector / value[:, None]) @ vector.swapaxes(-1, -2) / norms
        covariance *= scale[:, None, None]
        condition = np.where(finite, np.sqrt(value[:, -1] / value[:, 0]), np.nan)
        condition = np.where((blind & ~ended).any(axis=1), np.inf, condition)
    few = (inside < n * (1 - ROUNDING)) & (inside < INSIDE * p)
    covariance = np.where((few | ~finite)[:, None, None], np.nan, covariance)
    covariance = np.where(idle[:, :, None] & np.eye(p, dtype=bool), np.inf, covariance)
    return covariance, condition, vector[:, :, 0], blind, few
