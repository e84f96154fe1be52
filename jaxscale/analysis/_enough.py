"""Whether data suffice for what a form leaves free: points of each group, losses above a floor."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from jaxscale._text import counted
from jaxscale._warn import warn_user
from jaxscale.analysis._compared import only_observable
from jaxscale.analysis._expansion import DataSets
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._grouped import GroupedForm
from jaxscale.analysis._information import check_places
from jaxscale.analysis._least_squares import FitResult
from jaxscale.analysis._resamples import POINTS_PER_PARAMETER
from jaxscale.analysis.bounds import AbstractBound, NotNegative


def at_ends(result: FitResult, bounds: tuple[AbstractBound, ...]) -> Bool[np.ndarray, " n"]:
    """Which fits have a parameter at an end of its bound, but for floors of 0: so have refits."""
    others = np.asarray([not isinstance(bound, NotNegative) for bound in bounds])
    return np.asarray((result.ended & others).any(axis=1))


def check_points(formula: Formula, free: Sequence[str], data: FitData, points: DataSets) -> None:
    """Refuse data sets, and groups of them, with too few points or different inputs to be fitted.

    **Raises** `ValueError` before anything compiles.
    """
    check_places(points, free, data.labels)
    form = formula.function
    for i, weight in enumerate(points.weight):
        used = np.any(weight > 0, axis=0)
        where = f" for {data.labels[i]!r}" if data.labels else ""
        if (weight > 0).sum() <= len(free):
            raise ValueError(
                f"`data` must hold more points with a theory than {len(free)} free parameters, "
                f"got {int((weight > 0).sum())}{where}."
            )
        if not isinstance(form, GroupedForm):
            continue
        others = np.stack([x[i] for name, x in data.inputs.items() if name != form.by])
        for place, label in enumerate(form.labels):
            own = others[:, used & (data.inputs[form.by][i] == place)]
            n_places, n_own = np.unique(own, axis=1).shape[1], form.n_own(free, place)
            if 0 < n_places < n_own:
                raise ValueError(
                    f"`data` must have {form.by} = {label!r} at {n_own} different inputs or more, "
                    f"for as many parameters of its own, got {n_places}{where}: share more "
                    "parameters, or leave the group out."
                )


def has_points_by_group(
    formula: Formula, free: Sequence[str], data: FitData, points: DataSets
) -> Bool[np.ndarray, " n"]:
    """Whether every group of a grouped form has points enough to be resampled; warn of others.

    A group of few points, of which a resample has one or none, would seem to scatter little.
    """
    form, n_sets = formula.function, len(points.weight)
    if not isinstance(form, GroupedForm):
        return np.ones(n_sets, bool)
    codes, used = np.asarray(data.inputs[form.by]), (points.weight > 0).any(axis=1)
    enough = np.ones(n_sets, bool)
    for place, label in enumerate(form.labels):
        number, n_own = ((codes == place) & used).sum(axis=1), form.n_own(free, place)
        needed = POINTS_PER_PARAMETER * n_own
        short = (number > 0) & (number < needed)
        enough &= ~short
        if short.any():
            warn_user(
                f"{form.by} {label!r} has {counted(int(number[short][0]), 'point')}, too few to be "
                f"resampled for its {counted(n_own, 'parameter')}; take {needed} or more"
            )
    return enough


def check_floors(formula: Formula, free: Sequence[str], data: FitData) -> None:
    """Refuse a fixed floor above all data, and warn of one above some of them."""
    form = formula.form
    if form is None or form.labels:  # a floor of a group is one of its own data
        return
    for name, parameter in form.parameters.items():
        value = formula.values.get(name)
        if not parameter.floor or value is None or name in free:
            continue
        values = only_observable(data.data)
        given = values[np.isfinite(values)]
        n_below = int(np.sum(given < value))
        if given.size and n_below == given.size:
            raise ValueError(
                f"`{name}` is a floor and must lie below the data, whose lowest value is "
                f"{given.min():.6g}, got {value:g}: leave it free, or fix a lower one."
            )
        if n_below:
            warn_user(
                f"{name} = {value:g} is a floor, but {n_below} of {given.size} values of "
                f"{formula.result} lie below it: fix a lower one, or leave it free"
            )
