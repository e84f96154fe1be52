"""What theory says of a random-feature regression: its observables, and their closed forms."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxscale._status import Status
from jaxscale._system import Observable, Observables, TheoryKind
from jaxscale.fields import Integer
from jaxscale.sparse import theory
from jaxscale.sparse._features import AbstractFeatures, AbstractLinear, Identity
from jaxscale.sparse._gradient import AbstractGradientDescent
from jaxscale.sparse._solvers import AbstractSolver, MinNorm, Ridge
from jaxscale.sparse._spectrum import AbstractCoordinates, Tabulated

PLANE = (
    "mean within 6 % for 10 < N < 0.55 r or N > 1.7 r where the rank r > 50; medians within 20 % "
    "for 0.7 < N/r < 1.4; no claim for 0.85 < N/r < 1.2: within about two standard deviations of "
    "N = r the mean over data sets is infinite, take the median over seeds there"
)
RIDGE = "mean within 7 %, 28 % next to the interpolation threshold N = r"
NO_CLAIM = (0.85, 1.2)  # N / r
FIRST_STEP_OF_FLOW = 10
FLOW = "gradient flow at infinitely many features: within 10 % from the tenth step on while stable"
COLLISIONS = "mean field of coordinates seen in common samples: within 4 % of the mean"
_SEEN, _UNSEEN = ("sparse.theory.expected_seen",), ("sparse.theory.unseen_loss",)
SPIKES = "probability of stability, one rare spike: unstable runs 1.0 to 1.2 times as many"


def observables(features: AbstractFeatures, solver: AbstractSolver) -> dict[str, Observable]:
    """Describe the observables of a regression, and what theory says of each."""
    linear, endless = isinstance(features, AbstractLinear), isinstance(features, Identity)
    stepped = isinstance(solver, AbstractGradientDescent)
    closed: dict[str, tuple[str, str]] = {}  # limits and function of the closed forms
    missing = f"no closed form with features={features!r}"
    if linear and isinstance(solver, MinNorm):
        closed = {"loss": (PLANE, "loss"), "residual_loss": (COLLISIONS, "residual_loss")}
    elif linear and isinstance(solver, Ridge):
        closed = {"loss": (RIDGE, "loss")}
    elif endless and stepped:
        closed = {"loss": (FLOW, "gd_loss"), "stable": (SPIKES, "instability_probability")}
    elif linear:
        needs = ": it takes features=Identity()" if stepped else ""
        missing = f"no closed form with solver={type(solver).__name__}{needs}"
    if linear:
        closed["rank"] = (COLLISIONS, "expected_rank")
    dims = () if solver.record_steps is None else ("step",)
    unseen, mean = "half the variance of the coordinates never seen", (TheoryKind.exact, "mean")
    described = {
        "loss": Observable(dims, "target²", "population loss, half the mean square error"),
        "n_seen": Observable((), "1", "coordinates seen in training", *mean, False, _SEEN),
        "unseen_loss": Observable((), "target²", unseen, *mean, False, _UNSEEN),
    }
    if "residual_loss" in closed:
        described["residual_loss"] = Observable((), "target²", "loss at infinitely many features")
    described |= solver.diagnostics
    for name in described.keys() - {"n_seen", "unseen_loss"}:
        theory: dict[str, Any] = {
            "no_theory": missing if name in ("loss", "stable") else "no closed form"
        }
        if name in closed:
            limits, function = closed[name]
            theory = {"predicted": TheoryKind.asymptotic, "limits": limits}
            theory["functions"] = (f"sparse.theory.{function}",)
        described[name] = dataclasses.replace(described[name], **theory)
    return described


def predicted(
    names: Collection[str],
    solver: AbstractSolver,
    coordinates: AbstractCoordinates,
    n: Integer | None,
    d: Integer,
) -> Observables:
    """Evaluate the closed forms of the observables `names`; NaN and a status where one failed.

    `n` and `d` are numbers of features, None for infinitely many, and of samples.
    """
    spectrum = _theory_spectrum(coordinates)
    d = jnp.asarray(d).astype(spectrum.variance.dtype)
    n = jnp.full_like(d, jnp.inf) if n is None else jnp.asarray(n).astype(d.dtype)
    values: Observables = {
        "n_seen": theory.expected_seen(d, spectrum=spectrum),
        "unseen_loss": theory.unseen_loss(d, spectrum=spectrum),
    }
    status = jnp.asarray(Status.ok, jnp.int32)
    if "rank" in names:
        values["rank"] = jnp.minimum(n, theory.expected_rank(d, spectrum=spectrum))
    if "residual_loss" in names:
        endless = jnp.full_like(d, jnp.inf)
        residual = theory.deterministic_equivalent(endless, d, spectrum=spectrum)
        values["residual_loss"], status = residual.loss, residual.status
    if isinstance(solver, AbstractGradientDescent):
        rate = jnp.asarray(solver.learning_rate)
        if "loss" in names:
            steps = jnp.asarray(solver.record_steps, d.dtype)
            values["loss"] = theory.gd_loss(steps, d, learning_rate=rate, spectrum=spectrum)
        if "stable" in names:
            unstable = theory.instability_probability(d, rate, spectrum=spectrum)
            values["stable"] = 1.0 - unstable
    elif "loss" in names:
        ridge = jnp.asarray(solver.strength if isinstance(solver, Ridge) else 0.0)
        equivalent = theory.deterministic_equivalent(n, d, ridge=ridge, spectrum=spectrum)
        values["loss"] = equivalent.loss
        status = jnp.maximum(status, equivalent.status)
    return {**values, "status": status}


def within_limits(
    names: Collection[str],
    solver: AbstractSolver,
    coordinates: AbstractCoordinates,
    n: Integer | None,
    d: Integer,
) -> dict[str, Bool[Array, "..."]]:
    """Where the closed form of the loss is claimed, see `PLANE` and `FLOW`; as for `predicted`."""
    if "loss" not in names:
        return {}
    if isinstance(solver, AbstractGradientDescent):
        return {"loss": jnp.asarray(solver.record_steps) >= FIRST_STEP_OF_FLOW}
    if not isinstance(solver, MinNorm) or n is None:
        return {}
    spectrum = _theory_spectrum(coordinates)
    d = jnp.asarray(d).astype(spectrum.variance.dtype)
    ratio = jnp.asarray(n).astype(d.dtype) / theory.expected_rank(d, spectrum=spectrum)
    low, high = NO_CLAIM
    return {"loss": (ratio <= low) | (ratio >= high)}


def _theory_spectrum(coordinates: AbstractCoordinates) -> theory.Coordinates:
    if isinstance(coordinates, Tabulated):
        variance, probability = map(jnp.asarray, (coordinates.variance, coordinates.probability))
        return theory.Coordinates(variance, probability, jnp.ones_like(variance))
    return theory.power_law_coordinates(**vars(coordinates))
