"""What a fit refuses and warns of: too few points, idle parameters, bounds, failures."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.least_squares import STATUS_NAMES
from jaxscale.analysis.levenberg import CONVERGED

FEW_UNITS = 5
INDISTINCT = 1e3  # condition number from which parameters are not told apart


def check_count(name: str, value: int, least: int) -> None:
    """Refuse what is not a whole number of at least `least`, with a `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")


def edges(bounds: tuple[AbstractBound, ...], z: np.ndarray) -> np.ndarray:
    """Which parameters of which fits ended at the end of their interval, shape `(n, p)`."""
    found = [[b.at_edge(float(v)) for b, v in zip(bounds, row, strict=True)] for row in z]
    return np.asarray(found)


def tell_edges(free: Sequence[str], bounds: tuple[AbstractBound, ...], edge: np.ndarray) -> None:
    """Warn of parameters at an end of their interval."""
    for i in np.flatnonzero(edge.any(axis=0)).tolist():
        warnings.warn(
            f"{free[i]} lies at an end of {bounds[i]!r} in {edge[:, i].sum()} of {len(edge)} fits: "
            "the data want it outside, and it has no standard error there",
            stacklevel=3,
        )


def check_points(
    found: Any,
    free: Sequence[str],
    start: np.ndarray,
    n_stated: Any,
    edge: np.ndarray,
    labels: Sequence[Any],
) -> None:
    """Refuse fits with too few points, and parameters that matter nowhere.

    **Raises** `ValueError` naming the data set or the parameter.
    """
    fewest = int(np.argmin(found.n_points))
    if found.n_points[fewest] <= len(free):
        why = "" if n_stated else ": theory makes no statement there at the start values"
        where = f" for {labels[fewest]!r}" if len(labels) else ""
        raise ValueError(
            f"`data` must hold more points with a theory than {len(free)} free parameters, "
            f"got {int(found.n_points[fewest])}{where}{why}."
        )
    for i in np.flatnonzero((found.blind & ~edge).any(axis=0)).tolist():
        # what matters nowhere never leaves its start
        if found.blind[:, i].all() and np.all(found.start_z[:, 0, i] == start[i]):
            raise ValueError(f"`free` names {free[i]!r}, which does not change what is compared.")
        warnings.warn(
            f"{free[i]} has no effect at the optimum of {int(found.blind[:, i].sum())} of "
            f"{len(found.blind)} fits: another start or bound may find a better one",
            stacklevel=3,
        )


def tell_few(n_units: int) -> None:
    """Warn of a bootstrap with few units."""
    if n_units < FEW_UNITS:
        warnings.warn(
            f"{n_units} things to resample are too few for an interval; take at least {FEW_UNITS}",
            stacklevel=3,
        )


def tell_failed(found: Any, labels: Sequence[Any]) -> None:
    """Warn of fits that did not converge."""
    failed = np.flatnonzero(found.status != CONVERGED).tolist()
    if not failed:
        return
    which = f" ({', '.join(str(labels[i]) for i in failed[:5])})" if len(labels) else ""
    names = sorted({STATUS_NAMES[found.status[i]] for i in failed})
    warnings.warn(
        f"{len(failed)} of {len(found.status)} fits{which} did not converge: {', '.join(names)}; "
        "their values are where the solver stopped",
        stacklevel=3,
    )


def tell_indistinct(found: Any, free: Sequence[str], edge: np.ndarray) -> None:
    """Warn where the data hardly tell some combination of the parameters."""
    untold = edge.any(axis=1) | found.blind.any(axis=1) | ~np.isfinite(found.condition)
    condition = np.where(untold, 1.0, found.condition)
    worst = int(np.argmax(condition))
    if not condition[worst] > INDISTINCT:
        return
    direction = found.weakest[worst]
    involved = [n for n, share in zip(free, direction, strict=True) if abs(share) > 0.3]
    warnings.warn(
        f"the data do not tell {', '.join(involved)} apart: condition number "
        f"{condition[worst]:.2g} of the scaled Jacobian; fix one of them",
        stacklevel=3,
    )
