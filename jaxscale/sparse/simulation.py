"""One run of a random-feature regression: draw, solve, measure, and say how it ended."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale.sparse.data import Inputs, draw_inputs
from jaxscale.sparse.features import AbstractLinear, AbstractNonlinear, gaussian_projection
from jaxscale.sparse.losses import linear_loss, residual_loss, sampled_loss
from jaxscale.sparse.narrow_columns import on_seen_columns
from jaxscale.sparse.solvers import Problem
from jaxscale.status import DIVERGED, Status
from jaxscale.system import Observables

DATA_STREAM, FEATURE_STREAM, TEACHER_STREAM = range(3)


def simulation(system: Any, key: Key[Array, ""]) -> Observables:
    """Simulate one run of a `RandomFeatureRegression`, whose leaves are float64 already."""
    sizes = system.sizes
    n_samples = jnp.asarray(system.n_samples)
    everything = draw_inputs(
        jr.fold_in(key, DATA_STREAM),
        system.coordinates,
        n_samples + sizes.n_evaluation,
        sizes,
    )
    feature_key = jr.fold_in(key, FEATURE_STREAM)
    train = everything.without(sizes.n_evaluation)
    teacher_key = jr.fold_in(key, TEACHER_STREAM)
    n_seen = jnp.sum(train.seen, dtype=jnp.int32)
    n_features = n_seen if system.n_features is None else jnp.asarray(system.n_features)
    d = n_samples.astype(train.values.dtype)
    seen: Observables = {
        "n_seen": n_seen.astype(d.dtype),
        "unseen_loss": 0.5 * train.unseen_variance,
    }
    features = system.features
    if isinstance(features, AbstractLinear):
        columns = sizes.n_features

        def solved(train: Inputs) -> tuple[Any, ...]:
            projection = features.projection(feature_key, train, n_features, columns)
            directions = system.teacher.directions(teacher_key, train)
            rows = system.solver.rows(train.values)
            found = {} if rows.rank is None else {"residual_loss": residual_loss(train, rows)}
            design, targets = rows.values @ projection.T, rows.values @ directions
            fit = system.solver.solve(Problem(design, targets, d, n_features, rows.rank))
            loss = linear_loss(fit, train, projection, directions, features.leak(n_features))
            return loss, fit.trusted, found | fit.diagnostics, _start(train, directions)

        loss, trusted, found, start = on_seen_columns(solved, train, sizes)
    elif isinstance(features, AbstractNonlinear):
        directions = system.teacher.directions(teacher_key, train)
        projection = gaussian_projection(feature_key, everything, n_features, sizes.n_features)
        phi = features.design(train.values, projection, n_features)
        real = jnp.arange(sizes.n_samples, dtype=jnp.int32) < n_samples
        phi = jnp.where(real[:, None], phi, 0.0)
        fit = system.solver.solve(Problem(phi, train.values @ directions, d, n_features))
        test = everything.values[: sizes.n_evaluation]
        loss = sampled_loss(fit, train, test, features, projection, directions, n_features)
        trusted, found, start = fit.trusted, fit.diagnostics, _start(train, directions)
    else:
        raise ValueError(f"`features` must be linear or nonlinear, got {features!r}.")
    steps = system.solver.record_steps
    loss, status = _health(loss, start, steps is not None, trusted, everything.complete)
    seen |= found  # known before the first step, whatever becomes of the path
    kept = status != Status.truncated
    seen = {n: jnp.where(kept & jnp.isfinite(v), v, jnp.nan) for n, v in seen.items()}
    return {"loss": loss[0] if steps is None else loss, **seen, "status": status}


def _start(train: Inputs, directions: Float[Array, "k t"]) -> Float[Array, ""]:
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
