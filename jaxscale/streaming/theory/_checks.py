"""The decorator of the theory functions of this package: what their arguments must be."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxscale import _theory as rules
from jaxscale._theory import Check, P, R

LEAST = 1000  # batches of a budget

theory_function = rules.TheoryFunction(
    {
        "batch_size": rules.positive_or_infinite,
        "compute": rules.positive,
        "coordinates_per_feature": rules.number(lambda v: v > 1, "above 1"),
        "eigenvalues": rules.not_negative,
        "input_exponent": rules.positive,
        "learning_rate": rules.positive,
        "n_coordinates": rules.positive_or_infinite,
        "n_features": rules.number(lambda v: (v >= 1) & (v < np.inf), "at least 1 and finite"),
        "noise": rules.not_negative,
        "momentum": rules.number(lambda v: (v >= 0) & (v < 1), "at least 0 and below 1"),
        "target_exponent": rules.number(np.isfinite, "finite"),
        "target_power": rules.not_negative,
        "time": rules.not_negative_or_infinite,
        "unreachable": rules.not_negative,
    },
    reference="derived here, for the model of arXiv 2405.15074 (Paquette et al.).",
)


def check_modes(values: Mapping[str, Any]) -> None:
    """Check that modes are vectors of one length, and that only the time may be an array, too."""
    shape = np.shape(values["eigenvalues"])
    if len(shape) != 1 or not shape[0]:
        hint = "; use vmap." if len(shape) > 1 else "."
        raise ValueError(f"`eigenvalues` must be a vector (d,), d >= 1, got shape {shape}{hint}")
    if "target_power" in values and np.shape(values["target_power"]) != shape:
        raise ValueError(
            f"`target_power` must have the shape {shape} of `eigenvalues`, "
            f"got {np.shape(values['target_power'])}."
        )
    check_scalars(values, ("unreachable", "learning_rate", "batch_size", "momentum"))


def check_scalars(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that arguments that are given are no arrays."""
    for name in names:
        if np.shape(values.get(name, 0.0)):
            raise ValueError(
                f"`{name}` must be a scalar, got shape {np.shape(values[name])}; use vmap."
            )


def check_nodes(values: Mapping[str, Any]) -> None:
    """Check precision and data, and that there is one law."""
    check_scalars(values, values)
    check_equivalent(values)


def check_data(values: Mapping[str, Any]) -> None:
    """Check that inputs and target have a variance, and that coordinates outnumber features."""
    alpha, beta = values["input_exponent"], values.get("target_exponent")
    last, size = values.get("n_coordinates", np.inf), values.get("n_features", 0.0)
    if rules.is_plain(last, size) and np.any(np.asarray(last) <= np.asarray(size)):
        raise ValueError(f"`n_coordinates` must be above n_features = {size}, got {last}.")
    if not rules.is_plain(last):
        return
    endless = np.isinf(last)
    if rules.is_plain(alpha) and np.any(endless & (np.asarray(alpha) <= 0.5)):
        if "coordinates_per_feature" in values:
            way_out = "give `coordinates_per_feature`, such as 4"
        elif "n_coordinates" in values:
            way_out = "give `n_coordinates`, such as 4 n_features"
        else:
            way_out = "use `loss`, which takes `n_coordinates`"
        raise ValueError(
            f"`input_exponent` must be above 1/2 with infinitely many coordinates, got {alpha}: "
            f"{way_out}."
        )
    if beta is not None and rules.is_plain(alpha, beta):
        if np.any(endless & (np.asarray(alpha) + np.asarray(beta) <= 0.5)):
            raise ValueError(
                f"`target_exponent` must be above 1/2 - input_exponent with infinitely many "
                f"coordinates, got {beta}: the target has no variance."
            )


def check_float64(values: Mapping[str, Any]) -> None:
    """Refuse single precision, in which roots over many decades and contours in time are lost."""
    if not jax.config.jax_enable_x64:  # pyright: ignore
        raise ValueError(
            "means over random features need float64: call this function under "
            "`with jax.enable_x64(True):`, as `js.predict` does."
        )


def check_equivalent(values: Mapping[str, Any]) -> None:
    """Check precision and data."""
    check_float64(values)
    check_data(values)


def check_allocation(values: Mapping[str, Any]) -> None:
    """Check precision, data, and that a hundred steps of ten features can be afforded."""
    check_equivalent({**values, "n_coordinates": values["coordinates_per_feature"]})
    compute, batch = values["compute"], values["batch_size"]
    if rules.is_plain(compute, batch) and np.any(np.asarray(compute) < LEAST * np.asarray(batch)):
        raise ValueError(f"`compute` must be at least {LEAST} batches of {batch}, got {compute}.")


def over_features(
    *static: str, check: Check = check_equivalent, **more: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a mean over features: evaluated in float64, whatever its arguments are in."""
    return theory_function(*static, check=check, least=np.float64, **more)
