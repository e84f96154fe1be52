"""The compute-optimal frontier of simulated curves: the lowest loss at a fixed product N T."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import ArrayLike, Float

if TYPE_CHECKING:
    import xarray


def envelope(
    loss: "xarray.DataArray", compute: Float[ArrayLike, " c"], *, size: str, time: str
) -> "xarray.Dataset":
    r"""Lowest loss over sizes at fixed compute, with the size that attains it.

    $$L^*(C) = \min_N L(N, C/N)$$

    Each curve is interpolated linearly in the logarithms of loss and time; the minimum over the
    simulated sizes is refined by a parabola in `ln N` through its two neighbours.

    **Arguments**

    - `loss`: positive loss over `size` and `time`, and any further dimensions.
    - `compute`: values of `N T`, shape `(c,)`.
    - `size`, `time`: names of the two dimensions.

    **Returns** a Dataset over `compute` and the further dimensions with `loss`, `size` and `time`;
    NaN where the lowest simulated loss lies at the edge of the sizes that reach that compute.

    **Raises** `ValueError` for a missing dimension or compute that is not positive.
    """
    import xarray

    c = np.asarray(compute, np.float64)
    if c.ndim != 1 or not np.all(c > 0):
        raise ValueError(f"`compute` must be positive and one-dimensional, got {compute!r}.")
    for dim in (size, time):
        if dim not in loss.dims:
            raise ValueError(f"`loss` must have the dimension {dim!r}, got {loss.dims}.")
    rest = [d for d in loss.dims if d not in (size, time)]
    values = np.asarray(loss.transpose(*rest, size, time), np.float64)
    n, t = np.asarray(loss[size], np.float64), np.asarray(loss[time], np.float64)
    flat = values.reshape(-1, len(n), len(t))
    found = np.stack([_envelope(curves, n, t, c) for curves in flat])
    shape = [loss.sizes[d] for d in rest]
    low, best = (found[:, i].reshape(*shape, len(c)) for i in range(2))
    dims = (*rest, "compute")
    coordinates = {d: loss[d] for d in rest if d in loss.coords}
    return xarray.Dataset(
        {"loss": (dims, low), "size": (dims, best), "time": (dims, c / best)},
        {**coordinates, "compute": c},
    )


def _envelope(
    curves: np.ndarray, sizes: np.ndarray, times: np.ndarray, compute: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    positive = times > 0
    log_t, log_l = np.log(times[positive]), np.log(curves[:, positive])
    low, best = np.full(len(compute), np.nan), np.full(len(compute), np.nan)
    for i, c in enumerate(compute):
        at = np.log(c / sizes)
        reached = (at >= log_t[0]) & (at <= log_t[-1])
        if reached.sum() < 3:
            continue
        x = np.log(sizes[reached])
        y = np.asarray(
            [np.interp(a, log_t, row) for a, row in zip(at[reached], log_l[reached], strict=True)]
        )
        j = int(np.argmin(y))
        if 0 < j < len(y) - 1:
            a, b, d = np.polyfit(x[j - 1 : j + 2] - x[j], y[j - 1 : j + 2], 2)
            low[i], best[i] = np.exp(d - b**2 / (4 * a)), np.exp(x[j] - b / (2 * a))
    return low, best
