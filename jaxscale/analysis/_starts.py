"""Where the fits of a form start: candidates of some parameters, the best values of the others."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxscale.analysis._expansion import Expansion
from jaxscale.analysis._form import Parameter, nonlinear_starts
from jaxscale.analysis.bounds import Between

FLOORS = (0.3, 0.6, 0.8, 0.95)  # as a share of the lowest value
EDGE = 0.05  # of an interval, outside of which nothing starts
LEAST = 1e-3  # of what a prefactor or floor starts at, in units of the data


def form_starts(
    expand: Expansion,
    parameters: Sequence[Parameter],
    data: Float[np.ndarray, "n o t"],
) -> Float[np.ndarray, "n c p"]:
    r"""Coordinates from which the fits of every data set may start.

    The parameters in which the form is not linear lie on a grid. Given those, the other ones
    minimise the relative error

    $$\sum_i \left(\frac{\sum_j c_j f_j(x_i)}{y_i} - 1\right)^2, \qquad c_j \ge 0$$

    with the floor among them, and for floors of 0.3 to 0.95 of the lowest value. Fits of logarithms
    minimise something else, so these are starts.

    **Raises:** `ValueError` for data that are 0 at every point.

    **Arguments:** `parameters` that are free, in the order of the coordinates; `data`, NaN where
    there is none.

    **Reference:** Golub and Pereyra 1973, SIAM J. Numer. Anal. 10, 413 (variable projection).
    """
    linear = np.asarray([p.linear for p in parameters])
    floor = np.asarray([p.floor for p in parameters])
    with np.errstate(all="ignore"):
        measured = np.where(np.isfinite(data).any(axis=1), np.nansum(data, axis=1), np.nan)
        measured = measured / np.maximum(np.isfinite(data).sum(axis=1), 1)
    inputs: Mapping[str, np.ndarray] = expand.data.inputs
    curved = [p for p in parameters if not p.linear]
    starts = []
    for i, y in enumerate(measured):
        if (y == 0).any() and not np.nan_to_num(y).any():
            raise ValueError("`data` is 0 at every point, which holds no information on a form: "
                             "leave such data out, or check the column of the result.")  # fmt: skip
        own = {name: np.asarray(x[i]) for name, x in inputs.items()}
        values = np.ones((len(curved_starts := nonlinear_starts(curved, own)), len(parameters)))
        values[:, ~linear] = curved_starts
        theory, jacobian = expand.evaluate(values, np.full(len(values), i))
        completed = _completed(values, theory, jacobian, y, linear, floor)
        for k, bound in enumerate(expand.problem.bounds):
            if isinstance(bound, Between):
                low, high = float(bound.low), float(bound.high)
                margin = EDGE * (high - low)
                completed[:, k] = np.clip(completed[:, k], low + margin, high - margin)
        starts.append(completed)
    with np.errstate(all="ignore"):
        return np.stack([expand.problem.by_parameter("unconstrain", s) for s in starts])


def _completed(
    values: Float[np.ndarray, "c p"],
    theory: Float[np.ndarray, "c t"],
    jacobian: Float[np.ndarray, "c p t"],
    y: Float[np.ndarray, " t"],
    linear: np.ndarray,
    floor: np.ndarray,
) -> Float[np.ndarray, "d p"]:
    """Candidates with the best linear parameters, for several floors if there is one."""
    if not linear.any():
        return values
    from scipy.optimize import nnls

    lowest = np.nanmin(y)
    floors = (None, *(share * lowest for share in FLOORS)) if floor.any() else (None,)
    done = []
    for own, curve, slopes in zip(values, theory, jacobian, strict=True):
        rest = curve - slopes[linear].sum(axis=0)
        good = np.isfinite(curve) & np.isfinite(slopes).all(axis=0) & np.isfinite(y) & (y != 0)
        scale = np.where(good, y, 1.0)
        for fixed in floors:
            sought = linear if fixed is None else linear & ~floor
            offset = rest if fixed is None else rest + fixed * slopes[floor].sum(axis=0)
            columns = (slopes[sought] / scale)[:, good].T
            size = np.maximum(np.abs(columns).max(axis=0, initial=0.0), np.finfo(float).tiny)
            solvable = good.any() and sought.any()  # nnls writes past the end of no columns
            weights = nnls(columns / size, (1 - offset / scale)[good])[0] if solvable else size
            start = own.copy()
            start[sought] = np.maximum(weights, LEAST) / size
            if fixed is not None:
                start[floor] = fixed
            done.append(start)
    return np.asarray(done)
