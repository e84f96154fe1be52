"""What theory says of streaming regression: of a given W, and of the mean over W."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._optimizers import Sgd
from jaxscale._schedules import Constant
from jaxscale._system import Observable, Observables, TheoryKind, no_closed_form
from jaxscale.fields import is_traced
from jaxscale.streaming import theory
from jaxscale.streaming._features import Modes
from jaxscale.streaming._limits import (
    LIMIT_SHARE,
    exceeded_limit,
    follows_sgd,
    has_limit,
    momentum_of,
)
from jaxscale.streaming._optimizers import Dana, ScheduleFree, linear_form
from jaxscale.streaming.theory._contour import limit_of, nodes_of
from jaxscale.streaming.theory._equivalent import limit_rate_of_mean, mean_losses, norm_of_mean

LONG = 50_000  # steps from which sixty jumps cost less than all steps
MEAN = "mean over features: within 2 / n_features, late in training; runs differ by W"
RATE = "mean over features: that of a run scatters around it, by 4 to 14 % at 128 features"
LOSSES = (
    f"{MEAN}; none where it diverges, nor in runs of SGD of more than {LONG:,} steps above the "
    "stability limit; others have few digits above .95 of it at large batches"
)


def floor_of(system: Any, modes: Modes, rate: Float[Array, ""]) -> Float[Array, ""]:
    """Where the mean loss of SGD or heavy ball rests at a constant rate."""
    return theory.noise_floor(
        modes.eigenvalues,
        unreachable=modes.unreachable,
        learning_rate=rate,
        batch_size=system.batch_size,
        momentum=momentum_of(system.optimizer),
    )


def missing_parts(system: Any) -> list[str]:
    """Names of the parts with which the mean over features has no closed form."""
    optimizer = system.optimizer
    if linear_form(optimizer) is None or isinstance(optimizer, Dana):
        return ["optimizer"]
    return [] if system.learning_rate is not None or follows_sgd(optimizer) else ["learning_rate"]


def observables(system: Any) -> dict[str, Observable]:
    """Describe the observables, and what theory says of each."""
    step, square = ("step",), "target²"
    missing = missing_parts(system)
    reason = no_closed_form(system, missing) if missing else ""

    def said(limits: str, *functions: str) -> dict[str, Any]:
        names = tuple(f"streaming.theory.{name}" for name in functions)
        return {"predicted": TheoryKind.asymptotic, "limits": limits, "functions": names}

    curve = said(LOSSES, "loss", "mean_optimizer_loss")
    if missing:
        curve = {"no_theory": reason}
    described: dict[str, tuple[str, str, dict[str, Any]]] = {
        "loss": (square, "half the mean square error, label noise included", curve)
    }
    if linear_form(system.optimizer) is not None:
        mean = "exact mean of the loss over the data, for the features of the run"
        described["expected_loss"] = (square, mean, curve)
    if isinstance(system.optimizer, Sgd):
        rest = "where the mean loss rests at the full learning rate"
        described["floor"] = (square, rest, said(MEAN, "noise_floor", "limit_loss"))
    least = "least loss of these features, without label noise"
    described["limit_loss"] = (square, least, said(MEAN, "limit_loss"))
    rate: dict[str, Any] = {"predicted": TheoryKind.exact}
    if "learning_rate" in missing:
        rate = {"no_theory": reason}
    elif system.learning_rate is None:
        rate = said(RATE, "mean_max_learning_rate")
    described["step_size"] = ("1", "learning rate at this step", rate)
    return {
        name: Observable(step, unit, text, **says) for name, (unit, text, says) in described.items()
    }


def rate_warnings(system: Any) -> list[str]:
    """A rate above the stability limit of typical features."""
    rate, alpha, size, optimizer = (
        getattr(system, n) for n in ("learning_rate", "input_exponent", "n_features", "optimizer")
    )  # schedule-free stands larger rates
    has = has_limit(optimizer) and not isinstance(optimizer, ScheduleFree)
    momentum = getattr(optimizer, "momentum", None)
    if not has or rate is None or is_traced(rate, alpha, size, momentum):
        return []
    given = (int(size), float(alpha), float(system.n_coordinates), system.batch_size)
    limit = exceeded_limit(float(rate), optimizer, *given)
    if limit is None:
        return []
    return [
        f"learning_rate {float(rate):g} exceeds the stability limit of typical features, about "
        f"{limit:.2g}"
    ]


def jumps(system: Any) -> bool:
    """Whether the mean over features is that of `theory.loss`, at a cost that no time changes."""
    plain = isinstance(system.optimizer, Sgd) and system.optimizer.momentum is None
    return plain and isinstance(system.schedule, Constant) and system.n_steps > LONG


def predicted(system: Any) -> Observables:
    """Deterministic equivalents of the observables that have one."""
    alpha, beta, noise = (
        jnp.asarray(x) for x in (system.input_exponent, system.target_exponent, system.noise)
    )
    size, batch = (jnp.asarray(x, alpha.dtype) for x in (system.n_features, system.batch_size))
    law = (size, alpha, beta, jnp.asarray(system.n_coordinates, alpha.dtype))
    mu = jnp.asarray(momentum_of(system.optimizer)).astype(alpha.dtype)
    steps, missing = np.asarray(system.record_steps), missing_parts(system)
    limit = limit_of(law)
    constant = jnp.ones(steps.shape, alpha.dtype)
    values = {"limit_loss": limit / 2 * constant}
    if "learning_rate" in missing:
        return values
    rate = system.learning_rate
    if rate is None:
        rate = LIMIT_SHARE * limit_rate_of_mean(size, alpha, law[3], batch, mu)
    rate = jnp.asarray(rate).astype(alpha.dtype)
    factor = system.schedule.factor(jnp.arange(system.n_steps + 1), system.n_steps)
    rates = rate * factor.astype(alpha.dtype)
    values["step_size"] = rates[steps]
    if isinstance(system.optimizer, Sgd):
        norm = norm_of_mean(rate, size, alpha, law[3], batch, mu)
        stable = rate < limit_rate_of_mean(size, alpha, law[3], batch, mu)
        rest = (limit + noise**2) / 2 / jnp.where(stable, 1 - norm, 1.0)
        values["floor"] = jnp.where(stable, rest, jnp.inf) * constant
    linear = linear_form(system.optimizer)
    if linear is not None and not missing:
        if jumps(system):
            curve = theory.loss(
                steps.astype(alpha.dtype),
                size,
                input_exponent=alpha,
                target_exponent=beta,
                learning_rate=rate,
                batch_size=batch,
                noise=noise,
                n_coordinates=law[3],
            )
        else:
            every = mean_losses(nodes_of(law), linear, rates[:-1], batch, limit + noise**2)
            curve = every[steps]
        values |= {"loss": curve, "expected_loss": curve}
    return values
