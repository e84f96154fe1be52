"""What theory says of a random-feature regression: its observables, and their closed forms."""

from typing import Any

import jax.numpy as jnp

from jaxscale._status import Status
from jaxscale._system import Observable, Observables, TheoryKind
from jaxscale.sparse import theory
from jaxscale.sparse._features import AbstractLinear, Identity
from jaxscale.sparse._gradient import AbstractGradientDescent
from jaxscale.sparse._solvers import MinNorm, Ridge

PLANE = (
    "mean within 6 % for 10 < N < 0.55 r or N > 1.7 r where the rank r > 50; medians within 20 % "
    "for 0.7 < N/r < 1.4; no claim for 0.85 < N/r < 1.2: within about two standard deviations of "
    "N = r the mean over data sets is infinite, take the median over seeds there"
)
RIDGE = "mean within 7 %, 28 % next to the interpolation threshold N = r"
FLOW = "gradient flow at infinitely many features: within 10 % from the tenth step on while stable"
COLLISIONS = "mean field of coordinates seen in common samples: within 4 % of the mean"
SPIKES = "probability of stability, one rare spike: unstable runs 1.0 to 1.2 times as many"


def observables(system: Any) -> dict[str, Observable]:
    """Observables of a `RandomFeatureRegression` and what theory says of each."""
    linear = isinstance(system.features, AbstractLinear)
    endless = isinstance(system.features, Identity)
    solver = system.solver
    dims = () if solver.record_steps is None else ("step",)
    text = "population loss, half the mean square error"
    none, asymptotic, exact = TheoryKind.none, TheoryKind.asymptotic, TheoryKind.exact
    told = (none, "")
    if linear and isinstance(solver, MinNorm):
        told = (asymptotic, PLANE)
    elif linear and isinstance(solver, Ridge):
        told = (asymptotic, RIDGE)
    elif endless and isinstance(solver, AbstractGradientDescent):
        told = (asymptotic, FLOW)
    found = {
        "loss": Observable(dims, "target²", text, *told),
        "n_seen": Observable((), "1", "coordinates seen in training", exact, "mean"),
        "unseen_loss": Observable(
            (), "target²", "half the variance of the coordinates never seen", exact, "mean"
        ),
    }
    if linear and isinstance(solver, MinNorm):
        found["residual_loss"] = Observable(
            (), "target²", "loss at infinitely many features", asymptotic, COLLISIONS
        )
    for name, observable in solver.diagnostics.items():
        described = (none, "")
        if linear and name == "rank":
            described = (asymptotic, COLLISIONS)
        if endless and name == "stable":
            described = (asymptotic, SPIKES)
        units, words = observable.units, observable.description
        found[name] = Observable(observable.dims, units, words, *described)
    return found


def predicted(system: Any) -> Observables:
    """Closed forms of the observables that have one; NaN and a status where one failed."""
    coordinates = _coordinates(system)
    d = jnp.asarray(system.n_samples).astype(coordinates.variance.dtype)
    n = jnp.full_like(d, jnp.inf)
    if system.n_features is not None:
        n = jnp.asarray(system.n_features).astype(d.dtype)
    kinds = {k for k, o in observables(system).items() if o.predicted is not TheoryKind.none}
    found: Observables = {
        "n_seen": theory.expected_seen(d, spectrum=coordinates),
        "unseen_loss": theory.unseen_loss(d, spectrum=coordinates),
    }
    status = jnp.asarray(Status.ok, jnp.int32)
    if "rank" in kinds:
        found["rank"] = jnp.minimum(n, theory.expected_rank(d, spectrum=coordinates))
    if "residual_loss" in kinds:
        residual = theory.deterministic_equivalent(
            jnp.full_like(d, jnp.inf), d, spectrum=coordinates
        )
        found["residual_loss"], status = residual.loss, residual.status
    solver = system.solver
    if "loss" in kinds and isinstance(solver, AbstractGradientDescent):
        steps = jnp.asarray(solver.record_steps, d.dtype)
        rate = jnp.asarray(solver.learning_rate)
        found["loss"] = theory.gd_loss(steps, d, learning_rate=rate, spectrum=coordinates)
    elif "loss" in kinds:
        ridge = solver.strength if isinstance(solver, Ridge) else 0.0
        equivalent = theory.deterministic_equivalent(
            n, d, ridge=jnp.asarray(ridge), spectrum=coordinates
        )
        found["loss"] = equivalent.loss
        status = jnp.maximum(status, equivalent.status)
    if "stable" in kinds:
        rate = jnp.asarray(solver.learning_rate)  # pyright: ignore
        found["stable"] = 1.0 - theory.instability_probability(d, rate, spectrum=coordinates)
    return {**found, "status": status}


def _coordinates(system: Any) -> theory.Coordinates:
    if system.spectrum is None:
        return theory.power_law_coordinates(
            spectrum_exponent=system.spectrum_exponent,
            sparsity_exponent=system.sparsity_exponent,
            activity=system.activity,
            n_coordinates=system.n_coordinates,
        )
    probability = jnp.minimum(1.0, system.activity * jnp.asarray(system.spectrum.probability))
    return theory.Coordinates(
        jnp.asarray(system.spectrum.variance), probability, jnp.ones_like(probability)
    )
