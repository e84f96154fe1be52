"""Whether data suffice for what a form leaves free: points of each group, losses above a floor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._compared import only_observable
from jaxscale.analysis._expansion import DataSets
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._form import Form
from jaxscale.analysis._information import check_locations
from jaxscale.analysis._least_squares import FitResult
from jaxscale.analysis._resamples import FEW_GROUPS, POINTS, POINTS_PER_PARAMETER, what_of
from jaxscale.analysis.bounds import AbstractBound, NotNegative

SINGULAR = 1e6  # condition number of the scaled Jacobian, as far as its square resolves one


def check_points(form: Form | None, free: Sequence[str], data: FitData, points: DataSets) -> None:
    """Refuse data sets, and groups of them, with too few points or different inputs to be fitted.

    **Raises** `ValueError` before anything compiles.
    """
    check_locations(points, free, data.labels)
    for i, weight in enumerate(points.weight):
        used = np.any(weight > 0, axis=0)
        where = f" for {data.labels[i]!r}" if data.labels else ""
        if (weight > 0).sum() <= len(free):
            raise ValueError(
                f"`data` must hold more points with a theory than {len(free)} free parameters, "
                f"got {int((weight > 0).sum())}{where}."
            )
        if form is None:
            continue
        for by, values in form.labels.items():
            others = np.stack([x[i] for name, x in data.inputs.items() if name != by])
            for code, label in enumerate(values):
                own = others[:, used & (data.inputs[by][i] == code)]
                n_locations, n_own = np.unique(own, axis=1).shape[1], form.n_own(free, code)
                if 0 < n_locations < n_own:
                    raise ValueError(
                        f"`data` must have {by} = {label!r} at {n_own} different inputs or more, "
                        f"for as many parameters of its own, got {n_locations}{where}: share more "
                        "parameters, or leave the group out."
                    )


def withheld(
    result: FitResult,
    bounds: tuple[AbstractBound, ...],
    silent: Bool[np.ndarray, " n"],
    short: Sequence[str],
) -> np.ndarray:
    """Why a data set has no interval, in words that follow "for"; empty where it has one.

    Refits of such data end where they started, which says nothing of how far they could go.
    `silent` are sets that do not vary, `short` says which have a group of too few.
    """
    confined = np.asarray([not isinstance(bound, NotNegative) for bound in bounds])
    reasons = {
        "the data do not vary": silent,
        "a parameter lies at an end of its bound": (result.ended & confined).any(axis=1),
        "the data do not constrain all parameters: fix one": ~(result.condition < SINGULAR),
    }
    every = np.asarray(short, object)
    for reason, holds in reversed(reasons.items()):
        every = np.where(holds, reason, every)
    return every


def short_groups(
    form: Form | None, free: Sequence[str], data: FitData, points: DataSets, of: str
) -> list[str]:
    """Which group of a grouped form has too few points, or values of `of`, to be resampled.

    A group of few, of which a resample has one or none, would seem to scatter little.

    **Returns** a reason for each data set, empty where every group has enough.
    """
    reasons = [""] * len(points.weight)
    if form is None:
        return reasons
    for by, labels in form.labels.items():
        codes, used = np.asarray(data.inputs[by]), (points.weight > 0).any(axis=1)
        for i in reversed(range(len(labels))):
            n_own = form.n_own(free, i)
            needed = POINTS_PER_PARAMETER * n_own if of == POINTS else FEW_GROUPS * (n_own > 0)
            for k, own in enumerate((codes == i) & used):
                number = len(np.unique(points.groups[k][:, own]))
                if 0 < number < needed:
                    reasons[k] = (
                        f"{by} {labels[i]!r} has {what_of(of, number)}, too few to be resampled "
                        f"for its {counted(n_own, 'parameter')}; take {needed} or more"
                    )
    return reasons


def check_floors(form: Form | None, values: Mapping[str, Any], data: FitData) -> None:
    """Refuse a fixed floor above all its data, and warn of one above some of them.

    `values` are those of the parameters that are not free.
    """
    if form is None:
        return
    floors = [n for n, p in form.parameters.items() if p.floor]
    for name in [n for n in floors if values.get(n) is not None]:
        own = only_observable(data.data)
        if name in form.label_of:
            (codes,) = (data.inputs[by] for by in form.labels)
            own = own[codes[:, None] == form.label_of[name]]
        given, value = own[np.isfinite(own)], values[name]
        n_below, result = int(np.sum(given < value)), next(iter(data.data))
        if given.size and n_below == given.size:
            raise ValueError(
                f"`{name}` is a floor and must lie below the data, whose lowest value is "
                f"{given.min():.6g}, got {value:g}: leave it free, or fix a lower one."
            )
        if n_below:
            warn_user(
                f"{name} = {value:g} is a floor, but {n_below} of {given.size} values of "
                f"{result} lie below it: fix a lower one, or leave it free"
            )
