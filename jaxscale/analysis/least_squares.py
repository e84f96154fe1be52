"""Fits of many data sets from many starts, with covariance and bootstrap, in one program each.

Data sets, starts and resamples are lanes of one solver (`levenberg`). Nothing here knows where a
theory or its data come from.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.levenberg import FAILED, Local, Points, Problem, descend
from jaxscale.linalg import eigh

STATUS_NAMES = ("converged", "not converged", "not finite", "stuck")
INSIDE = 10  # residuals per parameter that a Huber loss needs inside delta for a covariance
AT_ONCE = 2**16  # floats of the Jacobians of one chunk: it stays in cache, and few lanes wait
CANDIDATES = 64  # per parameter
LANES = "lanes"


class Fit(eqx.Module):
    """Fits of data sets `n` from starts `s`; the best is that of the lowest cost."""

    z: Float[Array, "n p"]
    covariance: Float[Array, "n p p"]
    condition: Float[Array, " n"]
    weakest: Float[Array, "n p"]
    blind: Bool[Array, "n p"]
    rms: Float[Array, " n"]
    n_points: Float[Array, " n"]
    status: Int[Array, " n"]
    start_z: Float[Array, "n s p"]
    start_cost: Float[Array, "n s"]
    start_status: Int[Array, "n s"]


def candidates(bounds: tuple[AbstractBound, ...], z: Float[np.ndarray, " p"]) -> np.ndarray:
    """Scattered coordinates around `z`, dense near it: a Sobol sequence with squared distances."""
    from scipy.stats.qmc import Sobol

    n_bits = math.ceil(math.log2(CANDIDATES * len(z)))
    u = 2 * Sobol(len(z), scramble=False).random_base2(n_bits) - 1
    reach = [float(bound.reach(jnp.asarray(at))) for bound, at in zip(bounds, z, strict=True)]
    return z + np.asarray(reach) * u * np.abs(u)


@eqx.filter_jit
def fit(
    problem: Problem,
    z: Float[Array | np.ndarray, " p"],
    scattered: Float[Array | np.ndarray, "c p"],
    n_starts: int,
    points: Points,
) -> Fit:
    """Fit every data set of `points` (leading axis n) from `z` and the best of `scattered`."""
    n_sets = jax.tree.leaves(points.target)[0].shape[0]
    starts = jnp.broadcast_to(z, (n_sets, 1, z.size))
    if n_starts > 1:
        cost_of = jax.vmap(problem.cost, (None, 0))
        costs = jax.lax.map(lambda at: cost_of(at, points), scattered).T
        _, best = jax.lax.top_k(-jnp.where(jnp.isfinite(costs), costs, jnp.inf), n_starts - 1)
        starts = jnp.concatenate([starts, scattered[best]], axis=1)
    lanes = jnp.arange(n_sets * n_starts)
    flat = starts.reshape(-1, z.size)

    def some(lane: Int[Array, " l"]) -> Any:
        own = jax.tree.map(lambda x: x[lane // n_starts], points)
        return descend(problem, flat[lane], own)

    found = _in_chunks(some, lanes, points, z.size)
    end, local, status = jax.tree.map(lambda x: x.reshape(n_sets, n_starts, *x.shape[1:]), found)
    cost = jnp.where(status == FAILED, jnp.inf, local.cost)
    at = (jnp.arange(n_sets), jnp.argmin(cost, axis=1))
    best = jax.tree.map(lambda x: x[at], local)
    n = jnp.sum(points.rows[1], axis=(-2, -1))
    return Fit(
        z=end[at],
        **jax.vmap(uncertainty)(best, n),
        rms=jnp.sqrt(best.squares / jnp.maximum(n, 1)),
        n_points=n,
        status=status[at],
        start_z=end,
        start_cost=local.cost,
        start_status=status,
    )


@eqx.filter_jit
def refit(
    problem: Problem,
    z: Float[Array | np.ndarray, "n p"],
    points: Points,
    units: dict[str, Int[Array | np.ndarray, "..."]],
    n_units: int,
    n_resamples: int,
    key: Key[Array, ""],
) -> tuple[Float[Array, "n b p"], Int[Array, "n b"]]:
    """Fits of resamples of every data set, from its own optimum: units drawn with replacement."""
    n_sets = z.shape[0]

    def some(lane: Int[Array, " l"]) -> Any:
        def resampled(lane: Int[Array, ""]) -> Points:
            own = jax.tree.map(lambda x: x[lane // n_resamples], points)
            here = jax.random.fold_in(key, lane // n_resamples)
            count = _drawn(jax.random.fold_in(here, lane % n_resamples), own, units, n_units)
            weight = {n: w * count[units[n]] for n, w in own.weight.items()}
            return Points(own.inputs, own.target, weight)

        drawn = jax.vmap(resampled)(lane)
        end, _, status = descend(problem, z[lane // n_resamples], drawn)
        enough = jnp.sum(drawn.rows[1] > 0, axis=(-2, -1)) > z.shape[1]
        return end, jnp.where(enough, status, FAILED)

    found = _in_chunks(some, jnp.arange(n_sets * n_resamples), points, z.shape[1])
    return jax.tree.map(lambda x: x.reshape(n_sets, n_resamples, *x.shape[1:]), found)


def _drawn(
    key: Key[Array, ""],
    points: Points,
    units: dict[str, Int[Array | np.ndarray, "o t"]],
    n_units: int,
) -> Float[Array, " u"]:
    """How often each unit is drawn: as many draws as units hold a point with weight, among those.

    Draws come one by one from the key, so that padding by units without weight changes none.
    """
    held = jnp.zeros(n_units)
    for name, weight in points.weight.items():
        held = held.at[units[name]].max((weight > 0).astype(held.dtype))
    n_held = jnp.sum(held)
    first = jnp.argsort(-held, stable=True)  # those that hold one, in order
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n_units, dtype=jnp.uint32))
    at = jax.vmap(lambda k: jax.random.uniform(k, dtype=held.dtype))(keys) * n_held
    used = (jnp.arange(n_units, dtype=held.dtype) < n_held).astype(held.dtype)
    return jnp.zeros(n_units).at[first[at.astype(jnp.int32)]].add(used)


def _in_chunks(
    function: Callable[[Array], Any], lanes: Int[Array, " l"], points: Points, p: int
) -> Any:
    """`function` of all lanes: chunks that fit into a cache, spread over the local devices."""
    floats = sum(t.shape[-1] * (t.shape[-2] + p + 1) for t in points.target.values())
    chunk = min(max(1, AT_ONCE // floats), lanes.size)
    n_chunks = -(-lanes.size // chunk)
    if n_chunks == 1:
        return function(lanes)
    devices = jax.local_devices()
    n_chunks += -n_chunks % len(devices)
    padded = jnp.minimum(jnp.arange(n_chunks * chunk), lanes.size - 1).reshape(n_chunks, chunk)
    spread = jax.shard_map(
        lambda chunks: jax.lax.map(function, chunks),
        mesh=Mesh(np.asarray(devices), (LANES,)),
        in_specs=PartitionSpec(LANES),
        out_specs=PartitionSpec(LANES),
        check_vma=False,
    )
    found = spread(padded)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: lanes.size], found)


def uncertainty(best: Local, n: Float[Array, ""]) -> dict[str, Array]:
    r"""Covariance of the coordinates, condition number, weakest direction and blind coordinates.

    $$\Sigma = \frac{\sum w \psi^2 / (n - p)}{(\sum w \psi' / n)^2} (J^T W J)^{-1}$$

    For squares this is the usual `s^2 (J^T W J)^-1`. With a Huber loss it needs residuals inside
    delta: it is NaN for fewer than 10 per parameter, where it would be far too small (measured:
    95 % intervals cover 39 % with 40 points and delta a fiftieth of the noise). The condition
    number is that of the Jacobian with columns of unit length.

    **Arguments:** the loss around the optimum, and the number of points.

    **Returns:** `covariance`, `condition`, `weakest` and `blind` by name.

    **Raises:** nothing.

    **Reference:** Huber 1973, Ann. Statist. 1, 799.
    """
    p = best.gradient.size
    scale = best.spread / jnp.maximum(n - p, 1) / (best.bend / jnp.maximum(n, 1)) ** 2
    length = jnp.sqrt(jnp.diagonal(best.gram))
    blind = ~(length > 0)
    safe = jnp.where(blind, 1.0, length)
    normalised = jnp.where(blind[:, None] | blind, jnp.eye(p), best.gram / safe[:, None] / safe)
    value, vector = eigh(normalised)
    value = jnp.maximum(value, jnp.finfo(value.dtype).eps)
    covariance = (vector / value) @ vector.T / safe[:, None] / safe * scale
    covariance = jnp.where((best.bend < n) & (best.bend < INSIDE * p), jnp.nan, covariance)
    return {
        "covariance": jnp.where(jnp.diag(blind), jnp.inf, covariance),
        "condition": jnp.where(jnp.any(blind), jnp.inf, jnp.sqrt(value[-1] / value[0])),
        "weakest": vector[:, 0],
        "blind": blind,
    }
