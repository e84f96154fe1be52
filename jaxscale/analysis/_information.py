"""What the data themselves do not say: rows where an input is zero, one size, a constant loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._expansion import DataSets

CONSTANT = 1e-12  # relative differences below it are rounding


def is_constant(values: np.ndarray) -> bool:
    """Whether all values are equal, up to rounding."""
    return bool(np.ptp(values) <= CONSTANT * np.max(np.abs(values)))


def warn_zero_inputs(
    inputs: Any, theory: Float[np.ndarray, "n t"], weight: Float[np.ndarray, "n o t"]
) -> Bool[np.ndarray, "n t"]:
    """Return where a theory is not finite and an input is zero; warn of the data that lie there."""
    bad = ~np.isfinite(theory)
    zero = {name: (values == 0) & bad for name, values in (inputs or {}).items()}
    dropped = np.any([*zero.values(), np.zeros_like(bad)], axis=0)
    used = (weight > 0) & dropped[:, None]
    if used.any():
        names = " or ".join(n for n, z in zero.items() if (used & z[:, None]).any())
        infinite = np.isinf(theory[used.any(axis=1)]).all()
        warn_user(
            f"{counted(int(used.sum()), 'row')} with {names} = 0, where the theory is "
            f"{'infinite' if infinite else 'not a number'}: left out"
        )
    return dropped


def warn_single_inputs(inputs: Any, poorly: bool) -> None:
    """Warn of inputs of which the data have one value, where a fit is `poorly` constrained."""
    for name, values in (inputs or {}).items():
        if poorly and is_constant(values):
            warn_user(
                f"{name} is {values.flat[0]:g} at every point: the data hold no information on how "
                "the theory depends on it"
            )


def check_locations(points: DataSets, free: Sequence[str], labels: Sequence[Any]) -> None:
    """Refuse data at fewer different inputs than there are free parameters, with a `ValueError`.

    Every point at one input measures the same value of the theory.
    """
    if not points.inputs:
        return
    names = ", ".join(points.inputs)
    for i, weight in enumerate(points.weight):
        used = np.any(weight, axis=0)
        own = np.stack([values[i, used] for values in points.inputs.values()])
        n_locations = np.unique(own, axis=1).shape[1]
        if used.sum() > n_locations < len(free):
            only = ", ".join(f"{n} = {v[0]:g}" for n, v in zip(points.inputs, own, strict=True))
            got = only if n_locations == 1 else f"{n_locations}"
            where = f" for {labels[i]!r}" if len(labels) else ""
            raise ValueError(
                f"`data` must have at least {len(free)} different values of {names} for the free "
                f"{', '.join(free)}, got {got}{where}: they hold no information on the others."
            )


def warn_constant(
    data: Mapping[str, Float[np.ndarray, "n o _"]],
    weight: Float[np.ndarray, "n o t"],
    free: Sequence[str],
) -> Bool[np.ndarray, " n"]:
    """Warn of data that are the same at all locations of the theory; weights are joined along it.

    Returns which data sets hold nothing on one of several free parameters.
    """
    first, silent = 0, np.full(len(weight), len(free) > 1)
    for name, values in sorted(data.items()):
        used = weight[..., first : first + values.shape[-1]] > 0
        first += values.shape[-1]
        constant = []
        for i, (own, points) in enumerate(zip(values, used, strict=True)):
            if points.any(axis=0).sum() > 1 and is_constant(own[points]):
                constant.append(own[points][0])
            elif points.any():
                silent[i] = False
        if constant:
            sets = f" in {len(constant)} of {len(values)} fits" if len(values) > 1 else ""
            most = f", and on one number at most of {', '.join(free)}" if len(free) > 1 else ""
            warn_user(
                f"{name} is {constant[0]:g} at every point{sets}: data that do not vary hold no "
                f"information on an exponent{most}"
            )
    return silent
